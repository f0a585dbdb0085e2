//! The two answers to an operation.

use std::sync::Arc;

use http::HeaderValue;
use registry_core::{Access, Actor, CatalogAccess, Error, ErrorKind, Scopes};

use super::decide::{Known, Rights};
use super::{AccessControl, Inner};
use crate::Sender;
use crate::challenge::TokenError;

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
    /// What it takes to decide once more.
    pub(super) again: Again,
}

/// How something was decided.
#[derive(Debug, Clone)]
pub(super) struct Again {
    pub(super) access: AccessControl,
    pub(super) caller: Arc<Known>,
    /// Whether it was a token that was shown, or a key like one.
    pub(super) by_token: bool,
    /// Where the sender believes the registry to be.
    pub(super) base: Option<Box<str>>,
}

impl Grant {
    pub(super) fn new(rights: Rights, again: Again) -> Self {
        let Rights {
            target,
            source,
            catalog,
        } = rights;
        Self {
            target,
            source,
            catalog,
            actor: Arc::clone(again.caller.actor()),
            again,
        }
    }
}

/// Why an operation was refused.
#[non_exhaustive]
#[derive(Debug)]
pub struct Refusal {
    /// What to answer. It doesn't depend on whether the repository exists.
    pub error: Error,
    /// The value of `WWW-Authenticate`, if the caller should log in.
    pub challenge: Option<HeaderValue>,
    /// Who asked, if that was found out: for logs, as who was refused is what
    /// somebody looks for there.
    pub actor: Option<Arc<Actor>>,
}

impl From<Error> for Refusal {
    /// What nobody can mend by logging in.
    fn from(error: Error) -> Self {
        Self {
            error,
            challenge: None,
            actor: None,
        }
    }
}

/// Why something isn't granted.
pub(super) enum Refused {
    /// What the error says.
    Error(Error),
    /// Nobody known asks. A token, where there are tokens, should cover this.
    Unknown(Scopes),
    /// The token is no good.
    Token(Error),
    /// The token doesn't cover this.
    Uncovered(Scopes),
    /// The token is nobody's, and this is not for everybody.
    Nobody(Scopes),
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

impl Inner {
    /// What `sender` is answered. There is one challenge whenever somebody should
    /// log in, and none otherwise.
    pub(super) fn refusal(&self, refused: Refused, sender: &Sender<'_>) -> Refusal {
        self.refusal_at(refused, sender.registry_base())
    }

    /// The same, for whoever believes the registry to be at `base`.
    pub(super) fn refusal_at(&self, refused: Refused, base: Option<&str>) -> Refusal {
        let (error, scopes, fault) = match refused {
            Refused::Error(error) => (error, Scopes::default(), None),
            Refused::Unknown(scopes) => {
                let error = ErrorKind::Unauthorized.error("log in to do this");
                (error, scopes, None)
            }
            Refused::Token(error) => (error, Scopes::default(), Some(TokenError::Invalid)),
            // Its holder is a client, and this is what the client shows.
            Refused::Nobody(scopes) => {
                let error = ErrorKind::Unauthorized.error("log in to do this");
                (error, scopes, Some(TokenError::Insufficient))
            }
            Refused::Uncovered(scopes) => {
                let error = ErrorKind::Unauthorized
                    .error("the token doesn't cover this; ask for one that does");
                (error, scopes, Some(TokenError::Insufficient))
            }
        };
        let challenge = (error.kind() == ErrorKind::Unauthorized).then(|| {
            let sentence = error.to_string();
            let fault = fault.map(|fault| (fault, sentence.as_str()));
            self.challenge_for(base, &scopes, fault)
        });
        Refusal {
            error,
            challenge,
            actor: None,
        }
    }

    /// With tokens only a token is asked for, although a password is also taken.
    fn challenge_for(
        &self,
        base: Option<&str>,
        scopes: &Scopes,
        fault: Option<(TokenError, &str)>,
    ) -> HeaderValue {
        #[cfg(feature = "token")]
        if let Some(tokens) = &self.tokens {
            return tokens.challenge().header(base, scopes, fault);
        }
        self.challenge.header(base, scopes, fault)
    }
}
