//! Bringing together what is said in several places.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::problem::{Origin, Problem};
use super::tree::{Node, Value};
use super::yaml::{self, Place};
use super::{Configuration, choice, environment, keys, read, validate};

/// The longest configuration file in bytes.
const FILE_MAX: u64 = 1 << 20;

/// What a policy file has, and a configuration hasn't.
const RULES: &str = "rules";

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

/// What there is to a configuration, and what is wrong with it.
#[derive(Debug)]
pub struct Examined {
    /// What it says; nothing if it can't be read at all. With problems it is good only to
    /// look for more of them in the files that it names, and for no server.
    pub configuration: Option<Configuration>,
    /// Every problem there is, as far as one doesn't hide another, by their lines.
    pub problems: Vec<Problem>,
}

impl Examined {
    fn unreadable(problem: Problem) -> Self {
        Self {
            configuration: None,
            problems: vec![problem],
        }
    }

    fn into_result(self) -> Result<Configuration, Vec<Problem>> {
        match self.configuration {
            Some(configuration) if self.problems.is_empty() => Ok(configuration),
            _ => Err(self.problems),
        }
    }
}

/// Reads everything.
///
/// # Errors
///
/// With every problem there is, as far as one doesn't hide another.
pub fn load(sources: Sources) -> Result<Configuration, Vec<Problem>> {
    examine(sources).into_result()
}

/// The same for whoever wants to know more than that there are problems.
pub fn examine(sources: Sources) -> Examined {
    let variable = |name: &str| {
        let mut variables = sources.variables.iter();
        let (_, value) = variables.find(|(key, value)| key == name && !value.is_empty())?;
        Some(PathBuf::from(value))
    };
    let file = sources.file.clone();
    let file = file.or_else(|| variable(environment::FILE));
    match file.as_deref().map(read_file).transpose() {
        Ok(text) => put_together(text, sources),
        Err(problem) => Examined::unreadable(problem),
    }
}

/// Whether the file at `path` can be read as a configuration rather than as a policy.
pub fn is_one(path: &Path) -> bool {
    let tree = read_file(path).and_then(parse);
    tree.is_ok_and(|tree| {
        let mut entries = tree.entries().iter();
        let is_key = |name: &str| name != "version" && keys::find_in("", name).is_some();
        entries.any(|entry| is_key(&entry.name)) && tree.entry(RULES).is_none()
    })
}

/// Finds out what a file, the environment and the flags mean together. Looks at
/// nothing else.
///
/// # Errors
///
/// As [`load`].
pub fn understand(file: Option<Text>, sources: Sources) -> Result<Configuration, Vec<Problem>> {
    put_together(file, sources).into_result()
}

fn put_together(file: Option<Text>, sources: Sources) -> Examined {
    let has_file = file.is_some();
    let mut tree = match file.map(parse) {
        Some(Ok(tree)) => tree,
        Some(Err(problem)) => return Examined::unreadable(problem),
        None => Node {
            origin: Origin::Variable("the environment".into()),
            value: Value::Empty,
        },
    };
    if let Some(problem) = policy(&tree) {
        return Examined::unreadable(problem);
    }
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
    problems.sort_by_key(|problem| match problem.origin {
        Origin::Line { line, .. } => line,
        _ => 0,
    });
    Examined {
        configuration: Some(configuration),
        problems,
    }
}

/// That a policy file was taken for a configuration, if it was.
fn policy(tree: &Node) -> Option<Problem> {
    let rules = tree.entry(RULES)?;
    let mut entries = tree.entries().iter();
    if entries.any(|entry| entry.name != "version" && keys::find_in("", &entry.name).is_some()) {
        return None;
    }
    let file = match &rules.origin {
        Origin::Line { file, .. } => file,
        _ => "POLICY",
    };
    Some(rules.origin.problem(format!(
        "this is no configuration but a policy file, which one names in `auth.policy.path`; \
         `registry auth check {file}` says what is wrong with it"
    )))
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
