//! Bringing together what is said in several places.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::problem::{Origin, Problem};
use super::tree::{Node, Value};
use super::yaml::{self, Place};
use super::{Configuration, choice, environment, read, validate};

/// The longest configuration file in bytes.
const FILE_MAX: u64 = 1 << 20;

/// Where to look, the most important last.
#[derive(Debug, Default)]
pub struct Sources {
    /// The configuration file. Without it, a variable may name one.
    pub file: Option<PathBuf>,
    /// The variables of the environment.
    pub variables: Vec<(OsString, OsString)>,
    /// `--addr`
    pub address: Option<String>,
    /// `--root`
    pub root: Option<PathBuf>,
    /// `--plain-http`
    pub plaintext: bool,
}

/// A configuration file as it was read.
#[derive(Debug)]
pub struct Text {
    /// What problems call it.
    pub name: Arc<str>,
    /// What it holds.
    pub content: Vec<u8>,
}

/// Reads everything.
///
/// # Errors
///
/// With every problem there is, as far as one doesn't hide another.
pub fn load(sources: Sources) -> Result<Configuration, Vec<Problem>> {
    let variable = |name: &str| {
        let mut variables = sources.variables.iter();
        let (_, value) = variables.find(|(key, value)| key == name && !value.is_empty())?;
        Some(PathBuf::from(value))
    };
    let file = sources.file.clone();
    let file = file.or_else(|| variable(environment::FILE));
    let text = file.as_deref().map(read_file).transpose();
    understand(text.map_err(|problem| vec![problem])?, sources)
}

/// Finds out what a file, the environment and the flags mean together. Looks at
/// nothing else.
///
/// # Errors
///
/// As [`load`].
pub fn understand(file: Option<Text>, sources: Sources) -> Result<Configuration, Vec<Problem>> {
    let has_file = file.is_some();
    let mut tree = match file {
        Some(text) => parse(text).map_err(|problem| vec![problem])?,
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
        plaintext: sources.plaintext,
    };
    let configuration = read::read(&tree, has_file, flags, notes, &mut problems);
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

fn read_file(path: &Path) -> Result<Text, Problem> {
    let name: Arc<str> = path.display().to_string().into();
    let origin = Origin::File(Arc::clone(&name));
    let unreadable =
        |source: std::io::Error| origin.problem(format!("the file can't be read: {source}"));
    let length = fs::metadata(path).map_err(unreadable)?.len();
    if length > FILE_MAX {
        return Err(origin.problem("the file is too long for a configuration"));
    }
    let content = fs::read(path).map_err(unreadable)?;
    Ok(Text { name, content })
}

fn parse(Text { name, content }: Text) -> Result<Node, Problem> {
    let text = String::from_utf8(content)
        .map_err(|_| Origin::File(Arc::clone(&name)).problem("the file isn't UTF-8"))?;
    yaml::read(&text, &Place::File(name))
}
