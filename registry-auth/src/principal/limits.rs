//! What tokens limit their holders to.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use registry_core::{RepositoryEpoch, RepositoryName, Scopes};

/// How far the clock of another issuer may be ahead of ours. A second was too little
/// for Docker Hub.
pub(crate) const AHEAD_MAX: Duration = Duration::from_mins(1);

/// Who made a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenIssuer {
    /// This registry.
    Own,
    /// Another service, which this registry trusts. Its clock may be ahead by a minute: a
    /// token that doesn't say which repository of a name it is for is refused if it was
    /// made up to a minute after that was deleted.
    Foreign,
}

/// What a token limits its holder to. It grants nothing: what may be done is
/// what the policies allow now, and the token covers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenLimits {
    scopes: Scopes,
    epochs: BTreeMap<RepositoryName, u64>,
    issuer: TokenIssuer,
    issued_at: SystemTime,
    expires_at: Option<SystemTime>,
    /// Of a token of this registry, what it is called, and the key that signed it.
    #[cfg(feature = "token")]
    token: Option<(Box<str>, Box<str>)>,
}

impl TokenLimits {
    /// The limits of a token that `issuer` made at `issued_at`.
    pub fn new(scopes: Scopes, issuer: TokenIssuer, issued_at: SystemTime) -> Self {
        Self {
            scopes,
            epochs: BTreeMap::new(),
            issuer,
            issued_at,
            expires_at: None,
            #[cfg(feature = "token")]
            token: None,
        }
    }

    /// The same limits of the token `id`, which `key` signed.
    #[cfg(feature = "token")]
    pub(crate) fn of_token(mut self, id: &str, key: &str) -> Self {
        self.token = Some((id.into(), key.into()));
        self
    }

    /// What the token is called, and the key that signed it, if it is one of this
    /// registry.
    #[cfg(feature = "token")]
    pub(crate) fn token(&self) -> Option<(&str, &str)> {
        let (id, key) = self.token.as_ref()?;
        Some((id, key))
    }

    /// The same limits of a token that ends at `end`: what is given for it ends
    /// then, too.
    pub fn until(mut self, end: SystemTime) -> Self {
        self.expires_at = Some(end);
        self
    }

    /// The same limits, where `repository` is the one of its name after
    /// `number` others were deleted.
    pub fn with_epoch(mut self, repository: RepositoryName, number: u64) -> Self {
        self.epochs.insert(repository, number);
        self
    }

    /// Every repository, as often as it is written down.
    #[cfg(any(feature = "ldap", feature = "token"))]
    pub(crate) fn repositories(&self) -> impl Iterator<Item = &RepositoryName> {
        let covered = self.scopes.repositories().map(|(repository, _)| repository);
        covered.chain(self.epochs.keys())
    }

    /// What is covered.
    pub fn scopes(&self) -> &Scopes {
        &self.scopes
    }

    /// Whether the repository that the token was made for is gone: `now` is the
    /// epoch of the one that has or would have its name. A token that doesn't say
    /// which one it was made for is for that of its time.
    pub(crate) fn outlived(&self, repository: &RepositoryName, now: RepositoryEpoch) -> bool {
        match self.epochs.get(repository) {
            Some(number) => *number != now.number,
            None => now.since.is_some_and(|since| self.may_be_before(since)),
        }
    }

    /// Whether it may have been made by then, whatever its issuer's clock says.
    fn may_be_before(&self, since: SystemTime) -> bool {
        let ahead = match self.issuer {
            TokenIssuer::Own => Duration::ZERO,
            TokenIssuer::Foreign => AHEAD_MAX,
        };
        let latest = since.checked_add(ahead);
        latest.is_none_or(|latest| self.issued_at <= latest)
    }

    /// How many repositories of this name had been deleted when the token was
    /// made, if it says so.
    pub fn epoch(&self, repository: &RepositoryName) -> Option<u64> {
        self.epochs.get(repository).copied()
    }

    /// Who made the token.
    pub fn issuer(&self) -> TokenIssuer {
        self.issuer
    }

    /// When it was made.
    pub fn issued_at(&self) -> SystemTime {
        self.issued_at
    }

    /// When it ends, if it does.
    pub fn expires_at(&self) -> Option<SystemTime> {
        self.expires_at
    }
}
