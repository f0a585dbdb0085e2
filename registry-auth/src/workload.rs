//! Programs that another system vouches for, such as CI jobs.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use registry_core::{Clock, ErrorKind, Result, SystemClock};

use crate::authenticator::WORKLOADS;
use crate::issuer::Verifier;
use crate::jwt::{self, Claims, Json, Profile, Rejected};
use crate::{Authenticator, Caller, Credentials, Fetch, Principal, Standing};

/// The longest name of an issuer in bytes.
const NAME_MAX: usize = 64;

/// Knows programs by the tokens (OpenID Connect) that the system which runs them
/// gives them: GitHub Actions, GitLab, Kubernetes, or any other issuer. So they
/// need no password of this registry.
///
/// Everybody can have a job at GitHub, and a token for any audience. So what a
/// workload may do is what rules say about the claims of its token, as in
/// `workload github repository=org/app may push org/app`; rules about `users` are
/// not about workloads. Its claims are those whose value is text, a truth value or
/// an integer, `sub` among them.
///
/// The token is shown to the token server, as a password of whatever user name
/// (`docker login`), or in exchange for a token of the registry's own (RFC 8693).
/// Others who check passwords are to be asked later, since who guesses them has to
/// wait. As a bearer it opens nothing: it would go to the registry with every request,
/// though it opens more than the registry. What it is exchanged for ends with it.
///
/// What a token has to be like is written at [`jwt`](crate::jwt); it may live for
/// a day. It needs a Tokio runtime.
///
/// ```
/// use registry_auth::{AccessControl, Fetch, Rules, TokenServer, Workload};
///
/// # fn access(fetch: impl Fetch) -> registry_core::Result<AccessControl> {
/// let github = Workload::new("github", Workload::GITHUB, "registry.example.com")?
///     .discover(fetch)?;
/// let rules = Rules::new().sentence(
///     "workload github repository=org/app ref=refs/heads/main may push, pull org/app",
/// );
/// let access = AccessControl::new(rules.check()?)
///     .authenticator(github)
///     .tokens(TokenServer::ephemeral()?);
/// # Ok(access)
/// # }
/// ```
#[derive(Debug)]
pub struct Workload {
    name: String,
    issuer: String,
    audience: String,
    /// Whether others are asked about tokens for other audiences.
    leaves_others: bool,
    verifier: Verifier,
    clock: Arc<dyn Clock>,
}

impl Workload {
    /// The issuer of GitHub Actions.
    pub const GITHUB: &str = "https://token.actions.githubusercontent.com";

    /// The issuer of GitLab's own service.
    pub const GITLAB: &str = "https://gitlab.com";

    /// Takes tokens of `issuer` (`iss`) for `audience` (`aud`), both written
    /// exactly so. Rules call the issuer `name`. There are no keys yet, with which
    /// every token is refused.
    ///
    /// The audience is this registry's alone: with one that others have, too,
    /// they could use the tokens that they are shown.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::RequestInvalid`] if the name isn't 1 to 64 letters, digits,
    /// `.`, `_` and `-`, or if the issuer or the audience is empty.
    pub fn new(name: &str, issuer: &str, audience: &str) -> Result<Self> {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if !(1..=NAME_MAX).contains(&name.len()) || !name.bytes().all(is_plain) {
            return Err(ErrorKind::RequestInvalid.error(
                "the name of an issuer must be 1 to 64 letters, digits, dots, hyphens or \
                 underscores",
            ));
        }
        if issuer.is_empty() || audience.is_empty() {
            return Err(ErrorKind::RequestInvalid
                .error("the issuer and the audience of its tokens must be named"));
        }
        Ok(Self {
            name: name.to_owned(),
            issuer: issuer.to_owned(),
            audience: audience.to_owned(),
            leaves_others: false,
            verifier: Verifier::new(Profile::new(issuer, audience).workload()),
            clock: Arc::new(SystemClock),
        })
    }

    /// Leaves tokens of the issuer for other audiences to whoever is asked later,
    /// in place of refusing them: for several workloads of one issuer, of which the
    /// last refuses what is for none of them.
    pub fn leave_other_audiences(mut self) -> Self {
        self.leaves_others = true;
        self
    }

    /// Takes the time from `clock`.
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Trusts the keys that the issuer says are its own, in the document below its
    /// address (OpenID Connect Discovery 1.0). Both documents are brought by
    /// `fetch`, as often as those of
    /// [`Issuer::keys_url`](crate::Issuer::keys_url).
    ///
    /// # Errors
    ///
    /// [`ErrorKind::RequestInvalid`] if the issuer isn't a URL of `https`, or of
    /// this machine.
    pub fn discover(mut self, fetch: impl Fetch) -> Result<Self> {
        self.verifier.trust_issuer(&self.issuer, fetch)?;
        Ok(self)
    }

    /// Trusts the keys in the JSON document (JWKS, RFC 7517) at `url`, as
    /// [`Issuer::keys_url`](crate::Issuer::keys_url) does.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::RequestInvalid`] if the URL isn't one of `https`, or of this
    /// machine.
    pub fn keys_url(mut self, url: &str, fetch: impl Fetch) -> Result<Self> {
        self.verifier.trust_keys_at(url, fetch)?;
        Ok(self)
    }

    /// Trusts the keys in the JSON file at `path`, for issuers that can't be
    /// reached. It is read anew when it changes.
    ///
    /// It blocks while it reads; the file is small.
    ///
    /// # Errors
    ///
    /// If the file can't be read, or holds no key that is taken.
    pub fn keys(mut self, path: impl Into<PathBuf>) -> Result<Self> {
        self.verifier.trust_keys_in(path.into())?;
        Ok(self)
    }

    /// Whom the claims are about.
    fn holder(&self, claims: &Claims) -> Result<Principal, Rejected> {
        let subject = claims.subject().filter(|subject| !subject.is_empty());
        let subject = subject.ok_or(Rejected::Claim("sub"))?;
        let workload = Principal::workload(&self.name, subject)
            .until(claims.expires_at())
            .with_claim("sub", subject);
        Ok(claims.others().fold(workload, |workload, (name, value)| {
            let value = match value {
                Json::Text(text) => text.clone(),
                Json::Bool(truth) => truth.to_string(),
                Json::Integer(integer) => integer.to_string(),
                _ => return workload,
            };
            workload.with_claim(name, value)
        }))
    }
}

#[async_trait]
impl Authenticator for Workload {
    async fn authenticate(&self, caller: &Caller<'_>) -> Result<Option<Principal>> {
        let token = match caller.credentials {
            Credentials::Basic { password, .. } => password,
            Credentials::Bearer(token) if caller.exchanges() => token,
            _ => return Ok(None),
        };
        // Else each issuer would be asked for the keys of all others.
        if jwt::said_issuer(token.expose()).as_ref() != Some(&self.issuer) {
            return Ok(None);
        }
        if self.leaves_others && !jwt::is_said_to_be_for(token.expose(), &self.audience) {
            return Ok(None);
        }
        caller.claim();
        // Nobody guesses a signature, so nobody has to wait for the next attempt.
        let now = self.clock.now();
        let holder = |claims: &Claims| self.holder(claims);
        match self.verifier.verify(token, now, holder).await {
            Ok(workload) => Ok(Some(workload)),
            Err(unverified) => {
                // The reason is for the log.
                tracing::debug!(issuer = self.name, %unverified, "the token of a workload was refused");
                Err(unverified.into_error())
            }
        }
    }

    fn source(&self) -> &'static str {
        WORKLOADS
    }

    /// The system that runs it isn't asked again: what it said holds for as long
    /// as the token that it was exchanged for, which ends with its own.
    async fn standing(&self, principal: &Principal) -> Result<Standing> {
        Ok(if principal.issuer() == Some(&self.name) {
            Standing::Unknown
        } else {
            Standing::Gone
        })
    }
}
