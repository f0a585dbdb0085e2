//! Why the program ends, and how it says so.

use std::error::Error as StdError;
use std::fmt;
use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use registry_auth::hide_secrets;
use registry_core::Error;
use registry_examples::configuration::{Origin, Problem};

use crate::setup;

/// Why the program ends.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The environment or the configuration is wrong, or what it names.
    Configuration(Vec<Problem>),
    /// The command line is wrong, or what it names, as this sentence says.
    Usage(String),
    /// Something else went wrong, and this sentence says what.
    Other(String),
}

/// How the program ends if what it was told, or a file that this names, has
/// mistakes: no second try helps before somebody mends them. The parser of the
/// command line ends with the same.
pub(crate) const MISTAKEN: u8 = 2;

impl Failure {
    /// A sentence about `what`, and every cause of `error`.
    pub(crate) fn new(what: impl fmt::Display, error: &(dyn StdError + 'static)) -> Self {
        Self::Other(format!("{what}: {}", sentence(error)))
    }

    /// That what the command line names can't be used.
    pub(crate) fn usage(error: &Error) -> Self {
        Self::Usage(sentence(error))
    }

    /// That the data in `root`, which the command line names, can't be used. Where no data
    /// is, that is a mistake: a second try doesn't help.
    pub(crate) fn of_data(root: &Path, error: &Error) -> Self {
        let is_nothing = match fs::read_dir(root) {
            Ok(entries) => {
                let names = entries.flatten().map(|entry| entry.file_name());
                let mut names = names.map(|name| name.to_string_lossy().into_owned());
                !names.any(|name| name.starts_with(setup::METADATA))
            }
            Err(error) => matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ),
        };
        if is_nothing {
            Self::usage(error)
        } else {
            Self::Other(sentence(error))
        }
    }

    /// Tells the operator, and returns how the program ends.
    pub(crate) fn report(&self) -> ExitCode {
        let mut stderr = io::stderr().lock();
        // Nobody is left to tell if standard error is gone.
        match self {
            Self::Configuration(problems) => {
                for problem in problems {
                    let _ = writeln!(stderr, "{problem}");
                }
                ExitCode::from(MISTAKEN)
            }
            // People type a key where a name is asked for; terminals are recorded.
            Self::Usage(sentence) => {
                let _ = writeln!(stderr, "registry: {}", hide_secrets(sentence));
                ExitCode::from(MISTAKEN)
            }
            Self::Other(sentence) => {
                let _ = writeln!(stderr, "registry: {}", hide_secrets(sentence));
                ExitCode::FAILURE
            }
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Other(sentence(&error))
    }
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Self::Configuration(vec![problem])
    }
}

impl From<Vec<Problem>> for Failure {
    fn from(problems: Vec<Problem>) -> Self {
        Self::Configuration(problems)
    }
}

/// What is wrong so far, while the rest is looked at all the same: whoever mends one
/// mistake isn't to learn of the next only then.
#[derive(Debug, Default)]
pub(crate) struct Found(Vec<Problem>);

impl Found {
    /// What came of it, or nothing and one problem more.
    pub(crate) fn take<T>(&mut self, result: Result<T, Problem>) -> Option<T> {
        self.take_all(result.map_err(|problem| vec![problem]))
    }

    /// The same of what may have several.
    pub(crate) fn take_all<T>(&mut self, result: Result<T, Vec<Problem>>) -> Option<T> {
        result.map_err(|problems| self.add(problems)).ok()
    }

    pub(crate) fn add(&mut self, problems: impl IntoIterator<Item = Problem>) {
        self.0.extend(problems);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them, in the order of the lines of the configuration.
    pub(crate) fn into_problems(mut self) -> Vec<Problem> {
        self.0.sort_by_key(|problem| match problem.origin {
            Origin::Line { line, .. } => line,
            _ => 0,
        });
        self.0
    }
}

/// An error with its causes, without those that an error before has named.
pub(crate) fn sentence(error: &(dyn StdError + 'static)) -> String {
    let mut sentence = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let cause = error.to_string();
        if !sentence.contains(&cause) {
            sentence.push_str(": ");
            sentence.push_str(&cause);
        }
        source = error.source();
    }
    sentence
}
