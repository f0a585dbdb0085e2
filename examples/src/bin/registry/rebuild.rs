//! Making the metadata of a data directory again.

use std::io::{self, Write};
use std::process::ExitCode;

use registry_core::ErrorKind;
use registry_storage::{Engine, RedbOptions};

use crate::command_line::Rebuild;
use crate::problem::{Failure, sentence};
use crate::runtime;

/// Rebuilds the database of a directory from the change log beside it.
pub(crate) fn rebuild(options: &Rebuild) -> Result<ExitCode, Failure> {
    let root = options.root.display();
    let runtime = runtime::current_thread()?;
    let rebuilt = runtime
        .block_on(Engine::rebuild(
            &options.root,
            RedbOptions::default().skip_damage(options.skip_damage),
        ))
        .map_err(|error| {
            if error.kind() == ErrorKind::Corrupt && !options.skip_damage {
                let advice = "`registry rebuild --skip-damage` does the latter";
                return Failure::Other(format!("{}; {advice}", sentence(&error)));
            }
            Failure::of_data(&options.root, &error)
        })?;
    let kept = match rebuilt.kept.last() {
        Some(name) => format!(
            "; the change log before is kept, up to {}",
            options.root.join(name).display()
        ),
        None => String::new(),
    };
    let damage = match rebuilt.skipped {
        0 if rebuilt.kept.is_empty() => String::new(),
        0 => format!(
            "the end of the change log is torn and was left out: if that was no crash but the \
             disk, the last pushes or deletions are missing{kept}\n"
        ),
        1 => {
            format!("one damaged place was left out; pushes from that time may be missing{kept}\n")
        }
        skipped => format!(
            "{skipped} damaged places were left out; pushes from that time may be missing{kept}\n"
        ),
    };
    let records = match rebuilt.records {
        0 => ", as it was last written down; nothing had changed since".to_owned(),
        1 => "; one change was read".to_owned(),
        records => format!("; {records} changes were read"),
    };
    let replaced = rebuilt.replaced.map_or_else(String::new, |name| {
        format!(
            "the database before is kept as {}, until somebody removes it\n",
            options.root.join(name).display()
        )
    });
    let answer = format!("the metadata in {root} is there again{records}\n{damage}{replaced}");
    io::stdout()
        .write_all(answer.as_bytes())
        .map_err(|error| Failure::new("the answer can't be written", &error))?;
    Ok(ExitCode::SUCCESS)
}
