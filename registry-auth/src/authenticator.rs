//! Authenticators: who is asking?

use std::fmt;
use std::sync::Arc;
#[cfg(feature = "workload")]
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use http::HeaderMap;
use registry_core::{RequestOrigin, Result};

use crate::guard::Attempt;
use crate::{ClientCertificate, Credentials, Principal};

/// The source of authenticators that don't say what they are.
pub(crate) const CUSTOM: &str = "custom";

/// The [source](Authenticator::source) of workloads, whoever vouches for them.
pub(crate) const WORKLOADS: &str = "workload";

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
    /// The certificate that the connection was made with.
    pub certificate: Option<&'a ClientCertificate>,
    pub(crate) attempt: Option<&'a Attempt<'a>>,
    pub(crate) exchanges: bool,
    /// Whether somebody takes tokens of the issuer that is shown, good or not.
    #[cfg(feature = "workload")]
    pub(crate) claimed: &'a AtomicBool,
    pub(crate) lets_in: &'a (dyn Fn(&Principal) -> bool + Sync),
}

impl Caller<'_> {
    /// Whether a token of the registry's own is asked for, rather than something
    /// done: what somebody else vouches with is to be exchanged.
    pub fn exchanges(&self) -> bool {
        self.exchanges
    }

    /// To be asked before a password is checked, and not for one that was found
    /// right a moment ago: whoever guesses has to wait. Where nobody asks, no password
    /// is a guess, however wrong: that is for what can't be guessed, such as the id of
    /// a session.
    ///
    /// # Errors
    ///
    /// [`TooManyRequests`](registry_core::ErrorKind::TooManyRequests), which is
    /// to be passed on.
    pub fn admit(&self) -> Result<()> {
        self.attempt.map_or(Ok(()), Attempt::admit)
    }

    /// Whether `found` is let in by the right password. Where it isn't, since it is
    /// disabled for example, that is refused later; until then a right password has to
    /// take what a wrong one takes, so that nobody learns that it is right.
    pub fn lets_in(&self, found: &Principal) -> bool {
        !self.is_refused() && (self.lets_in)(found)
    }

    /// The token is of an issuer that is known here.
    #[cfg(feature = "workload")]
    pub(crate) fn claim(&self) {
        self.claimed.store(true, Ordering::Relaxed);
    }

    /// The password wasn't found right, before the answer says so.
    pub(crate) fn doubt(&self) {
        if let Some(attempt) = self.attempt {
            attempt.doubt();
        }
    }

    /// Somebody has the name that was typed: the log may show it.
    #[cfg(any(feature = "htpasswd", feature = "ldap"))]
    pub(crate) fn know_name(&self) {
        if let Some(attempt) = self.attempt {
            attempt.know();
        }
    }

    /// Whether the password is wrong, whatever comes of another look at it: somebody
    /// who knows the name has said so.
    pub(crate) fn is_refused(&self) -> bool {
        self.attempt.is_some_and(Attempt::is_refused)
    }
}

impl fmt::Debug for Caller<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Headers hold cookies and tokens.
        f.debug_struct("Caller")
            .field("credentials", self.credentials)
            .field("origin", self.origin)
            .field("certificate", &self.certificate)
            .finish_non_exhaustive()
    }
}

/// What has become of somebody since a token was given out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// It is still known, with these groups and this stamp.
    Current(Principal),
    /// It is no longer known.
    Gone,
    /// That can't be asked again: what the token says holds until it expires.
    Unknown,
}

/// Finds out who is asking.
///
/// Several can be chained: the first that knows the caller answers. If there
/// are credentials and all abstain, the credentials are wrong.
///
/// A password that the first who knows the name finds wrong is shown to the others,
/// too, though it stays wrong: what that takes, and what comes of it where one of
/// them is away, tells nobody who knows which names.
#[async_trait]
pub trait Authenticator: fmt::Debug + Send + Sync + 'static {
    /// Who the caller is, or `None` to leave the question to the next one.
    ///
    /// It takes as long for a name that isn't known as for one that is, so that
    /// nobody learns which names exist. Whoever checks a password
    /// [asks](Caller::admit) before.
    ///
    /// # Errors
    ///
    /// * [`Unauthorized`](registry_core::ErrorKind::Unauthorized), made by
    ///   [`wrong_credentials`](crate::wrong_credentials), if they are wrong: no
    ///   other authenticator can make them right. Others are asked all the same
    ///   where a password was [checked](Caller::admit).
    /// * [`TooManyRequests`](registry_core::ErrorKind::TooManyRequests) or
    ///   [`Unavailable`](registry_core::ErrorKind::Unavailable) if they can't be
    ///   checked now.
    async fn authenticate(&self, caller: &Caller<'_>) -> Result<Option<Principal>>;

    /// What its principals are said to come from, in one word: a token names
    /// it, so that the same source is asked again about its holder, and no other.
    ///
    /// Those that are called the same are told apart by their order: `custom`, `custom-2`
    /// and so on. With names of their own, tokens stay good when the order changes.
    fn source(&self) -> &'static str {
        CUSTOM
    }

    /// What has become of `principal`, which it knew before.
    ///
    /// # Errors
    ///
    /// [`Unavailable`](registry_core::ErrorKind::Unavailable) if that can't be
    /// told now.
    async fn standing(&self, principal: &Principal) -> Result<Standing> {
        let _ = principal;
        Ok(Standing::Unknown)
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<T: Authenticator + ?Sized> Authenticator for Arc<T> {
    async fn authenticate(&self, caller: &Caller<'_>) -> Result<Option<Principal>> {
        (**self).authenticate(caller).await
    }

    fn source(&self) -> &'static str {
        (**self).source()
    }

    async fn standing(&self, principal: &Principal) -> Result<Standing> {
        (**self).standing(principal).await
    }
}
