//! Authenticators: who is asking?

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use http::HeaderMap;
use registry_core::{RequestOrigin, Result};

use crate::Credentials;

/// Somebody whose identity is established.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    name: String,
    groups: BTreeSet<String>,
}

impl Principal {
    /// The user, robot or program called `name`.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            groups: BTreeSet::new(),
        }
    }

    /// The same principal as a member of `group` too.
    pub fn member_of(mut self, group: impl Into<String>) -> Self {
        self.groups.insert(group.into());
        self
    }

    /// What it is called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The groups it belongs to, in order.
    pub fn groups(&self) -> impl Iterator<Item = &str> {
        self.groups.iter().map(String::as_str)
    }

    /// Whether it belongs to `group`.
    pub fn is_member_of(&self, group: &str) -> bool {
        self.groups.contains(group)
    }
}

/// What an authenticator gets to see of a request.
#[non_exhaustive]
pub struct Caller<'a> {
    /// What the `Authorization` header says.
    pub credentials: &'a Credentials,
    /// All headers, for identities that come another way, such as a session
    /// cookie. Whoever trusts a header answers for nobody else setting it.
    pub headers: &'a HeaderMap,
    /// Where the request came from.
    pub origin: &'a RequestOrigin,
}

impl fmt::Debug for Caller<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Headers hold cookies and tokens.
        f.debug_struct("Caller")
            .field("credentials", self.credentials)
            .field("origin", self.origin)
            .finish_non_exhaustive()
    }
}

/// Finds out who is asking.
///
/// Several can be chained: the first that knows the caller answers. If there
/// are credentials and all abstain, the credentials are wrong.
#[async_trait]
pub trait Authenticator: fmt::Debug + Send + Sync + 'static {
    /// Who the caller is, or `None` to leave the question to the next one.
    ///
    /// It takes as long for a name that isn't known as for one that is, so that
    /// nobody learns which names exist.
    ///
    /// # Errors
    ///
    /// * [`Unauthorized`](registry_core::ErrorKind::Unauthorized), made by
    ///   [`wrong_credentials`](crate::wrong_credentials), if they are wrong: no
    ///   other authenticator is asked.
    /// * [`TooManyRequests`](registry_core::ErrorKind::TooManyRequests) or
    ///   [`Unavailable`](registry_core::ErrorKind::Unavailable) if they can't be
    ///   checked now.
    async fn authenticate(&self, caller: &Caller<'_>) -> Result<Option<Principal>>;
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<T: Authenticator + ?Sized> Authenticator for Arc<T> {
    async fn authenticate(&self, caller: &Caller<'_>) -> Result<Option<Principal>> {
        (**self).authenticate(caller).await
    }
}
