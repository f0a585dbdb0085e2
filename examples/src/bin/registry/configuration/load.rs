//! Bringing together what is said in several places.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::tree::{Node, Value};
use super::yaml::{self, Place};
use super::{Configuration, choice, environment, read, validate};
use crate::problem::{Origin, Problem};

/// The longest configuration file in bytes.
const FILE_MAX: u64 = 1 << 20;

/// Where to look, the most important last.
#[derive(Debug, Default)]
pub(crate) struct Sources {
    pub(crate) file: Option<PathBuf>,
    pub(crate) variables: Vec<(OsString, OsString)>,
    /// `--addr`
    pub(crate) address: Option<String>,
    /// `--root`
    pub(crate) root: Option<PathBuf>,
}

/// Reads everything.
///
/// # Errors
///
/// With every problem there is, as far as one doesn't hide another.
pub(crate) fn load(sources: Sources) -> Result<Configuration, Vec<Problem>> {
    let variable = |name: &str| {
        let mut variables = sources.variables.iter();
        let (_, value) = variables.find(|(key, value)| key == name && !value.is_empty())?;
        Some(PathBuf::from(value))
    };
    let file = sources.file.or_else(|| variable(environment::FILE));
    let mut tree = match &file {
        Some(path) => read_file(path).map_err(|problem| vec![problem])?,
        None => Node {
            origin: Origin::Variable("the environment".into()),
            value: Value::Empty,
        },
    };
    choice::spell_out(&mut tree);
    let mut problems = Vec::new();
    let mut notes = environment::apply(&mut tree, sources.variables, &mut problems);
    choice::spell_out(&mut tree);
    notes.extend(validate::validate(&tree, &mut problems));
    let flags = read::Flags {
        address: sources.address,
        root: sources.root,
    };
    let configuration = read::read(&tree, file.as_deref(), flags, notes, &mut problems);
    match configuration {
        Some(configuration) if problems.is_empty() => Ok(configuration),
        _ => {
            problems.sort_by_key(|problem| match problem.origin {
                Origin::Line { line, .. } => line,
                _ => 0,
            });
            Err(problems)
        }
    }
}

fn read_file(path: &Path) -> Result<Node, Problem> {
    let name: Arc<str> = path.display().to_string().into();
    let origin = Origin::File(Arc::clone(&name));
    let unreadable =
        |source: std::io::Error| origin.problem(format!("the file can't be read: {source}"));
    let length = fs::metadata(path).map_err(unreadable)?.len();
    if length > FILE_MAX {
        return Err(origin.problem("the file is too long for a configuration"));
    }
    let content = fs::read(path).map_err(unreadable)?;
    let text = String::from_utf8(content).map_err(|_| origin.problem("the file isn't UTF-8"))?;
    yaml::read(&text, &Place::File(name))
}
