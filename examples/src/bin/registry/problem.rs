//! What is wrong, where, and how the program ends because of it.

use std::error::Error as StdError;
use std::fmt;
use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Arc;

use registry_core::Error;

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    /// A line of the configuration file, the first being 1.
    Line { file: Arc<str>, line: usize },
    /// The configuration file as a whole.
    File(Arc<str>),
    /// A variable of the environment.
    Variable(Arc<str>),
    /// A flag of the command line.
    Flag(&'static str),
}

/// Something that the operator has to change, or may want to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) origin: Origin,
    pub(crate) message: String,
}

/// Why the program ends.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The command line, the environment or the configuration is wrong.
    Configuration(Vec<Problem>),
    /// Something else went wrong, and this sentence says what.
    Other(String),
}

impl Origin {
    /// The error of what is said here.
    pub(crate) fn problem(&self, message: impl Into<String>) -> Problem {
        Problem {
            origin: self.clone(),
            message: message.into(),
        }
    }
}

impl Failure {
    /// A sentence about `what`, and every cause of `error`.
    pub(crate) fn new(what: impl fmt::Display, error: &(dyn StdError + 'static)) -> Self {
        Self::Other(format!("{what}: {}", sentence(error)))
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
                ExitCode::from(2)
            }
            Self::Other(sentence) => {
                let _ = writeln!(stderr, "registry: {sentence}");
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

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line { file, line } => write!(f, "{file}:{line}"),
            Self::File(file) => f.write_str(file),
            Self::Variable(name) => f.write_str(name),
            Self::Flag(name) => f.write_str(name),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.origin, self.message)
    }
}
