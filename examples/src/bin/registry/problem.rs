//! Why the program ends, and how it says so.

use std::error::Error as StdError;
use std::fmt;
use std::io::{self, Write};
use std::process::ExitCode;

use registry_core::Error;
use registry_examples::configuration::Problem;

/// Why the program ends.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The command line, the environment or the configuration is wrong.
    Configuration(Vec<Problem>),
    /// Something else went wrong, and this sentence says what.
    Other(String),
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

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Self::Other(problem.to_string())
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
