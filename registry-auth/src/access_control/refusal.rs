//! The two answers to an operation.

use std::sync::Arc;

use http::HeaderValue;
use registry_core::{Access, Actor, CatalogAccess, Error, ErrorKind};

use super::Inner;

/// The rights that an operation was granted.
#[non_exhaustive]
#[derive(Debug, Clone)]
pub struct Grant {
    /// In the operation's repository, if it has one.
    pub target: Option<Access>,
    /// In the repository that a mount names as its source. Absent if the caller
    /// may not pull there: then a mount becomes an upload.
    pub source: Option<Access>,
    /// For listing repositories and for a mount from anywhere: all
    /// repositories that the caller may pull from.
    pub catalog: Option<CatalogAccess>,
    /// Who was let in.
    pub actor: Arc<Actor>,
}

/// Why an operation was refused.
#[non_exhaustive]
#[derive(Debug)]
pub struct Refusal {
    /// What to answer. It doesn't depend on whether the repository exists.
    pub error: Error,
    /// The value of `WWW-Authenticate`, if the caller should log in.
    pub challenge: Option<HeaderValue>,
}

impl Inner {
    pub(super) fn refusal(&self, error: Error) -> Refusal {
        Refusal {
            challenge: (error.kind() == ErrorKind::Unauthorized).then(|| self.challenge.header()),
            error,
        }
    }
}

pub(super) fn login_required() -> Error {
    ErrorKind::Unauthorized.error("log in to do this")
}
