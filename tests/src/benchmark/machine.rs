//! Where it was measured.

use std::{fs, path::Path, thread};

use serde::Serialize;

/// What a reader needs to judge the numbers by.
#[derive(Debug, Serialize)]
pub(super) struct Machine {
    pub(super) processor: String,
    pub(super) cores: usize,
    pub(super) memory_gib: f64,
    pub(super) kernel: String,
    /// Of the directory that holds the data.
    pub(super) file_system: String,
}

impl Machine {
    /// Describes this machine as far as it tells.
    pub(super) fn here(data: &Path) -> Self {
        let field = |file: &str, key: &str| {
            let text = fs::read_to_string(file).unwrap_or_default();
            let line = text.lines().find(|line| line.starts_with(key));
            line.and_then(|line| line.split_once(':')).map_or_else(
                || "unknown".to_owned(),
                |(_, value)| value.trim().to_owned(),
            )
        };
        let memory = field("/proc/meminfo", "MemTotal");
        let kibibytes = memory.trim_end_matches(" kB").parse().unwrap_or(0.0);
        Self {
            processor: field("/proc/cpuinfo", "model name"),
            cores: thread::available_parallelism().map_or(0, usize::from),
            memory_gib: f64::round(kibibytes / f64::from(1 << 20)),
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease")
                .map_or_else(|_| "unknown".to_owned(), |text| text.trim().to_owned()),
            file_system: file_system(data).unwrap_or_else(|| "unknown".to_owned()),
        }
    }
}

/// The kind of the file system mounted deepest above the directory.
fn file_system(directory: &Path) -> Option<String> {
    let directory = directory.canonicalize().ok()?;
    let mounts = fs::read_to_string("/proc/mounts").ok()?;
    mounts
        .lines()
        .filter_map(|line| {
            let mut fields = line.split_whitespace().skip(1);
            Some((Path::new(fields.next()?), fields.next()?))
        })
        .filter(|(point, _)| directory.starts_with(point))
        .max_by_key(|(point, _)| point.components().count())
        .map(|(_, kind)| kind.to_owned())
}
