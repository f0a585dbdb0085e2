//! Tokens that another service gives out.

mod certificates;
mod remote_keys;
mod verifier;

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use registry_core::{Action, Actions, Clock, Reach, Result, Scopes, SystemClock};

pub(crate) use self::verifier::Verifier;
use crate::jwt::{Algorithm, Claims, Json, Profile, Rejected};
use crate::{
    Authenticator, Caller, Credentials, Decision, Fetch, Horizon, Policy, Principal, Question,
    TokenIssuer, TokenLimits,
};

/// Takes the tokens of another service, such as GitLab or the server that a
/// Docker registry was given in `auth.token`.
///
/// A token says who holds it (`sub`, nobody if empty) and limits what may be done
/// with it (`access`). It grants nothing by itself: where the service is to
/// decide alone, [`TrustIssuer`] lets the holders of its tokens do what those
/// cover.
///
/// What a token has to be like is written at [`jwt`](crate::jwt). Clients are
/// sent to the service by [`Challenge::bearer`](crate::Challenge::bearer).
///
/// The files are read anew when they change. While one is missing or malformed,
/// the keys from before stay, and the log says why. It needs a Tokio runtime.
#[derive(Debug)]
pub struct Issuer {
    verifier: Verifier,
    algorithms: Vec<Algorithm>,
    clock: Arc<dyn Clock>,
}

impl Issuer {
    /// Takes tokens of `issuer` (`iss`) for `service` (`aud`), both written
    /// exactly so. There are no keys yet, with which every token is refused. A
    /// token that lives for more than an hour is, too.
    pub fn new(issuer: &str, service: &str) -> Self {
        Self {
            verifier: Verifier::new(Profile::new(issuer, service)),
            algorithms: Algorithm::ALL.to_vec(),
            clock: Arc::new(SystemClock),
        }
    }

    /// Takes only tokens that are signed by one of `algorithms`; say so before
    /// naming files.
    pub fn algorithms(mut self, algorithms: impl IntoIterator<Item = Algorithm>) -> Self {
        self.algorithms = algorithms.into_iter().collect();
        let taken = self.algorithms.iter().copied();
        self.verifier
            .set_profile(|profile| profile.algorithms(taken));
        self
    }

    /// Takes the time from `clock`.
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Also trusts the keys of the certificates in the PEM file at `path`, each
    /// as long as its certificate is valid.
    ///
    /// A token names a key by its thumbprint (RFC 7638), or as the Docker
    /// registry did up to version 2.
    ///
    /// It blocks while it reads; the file is small.
    ///
    /// # Errors
    ///
    /// If the file can't be read, or holds no certificate with a key that is
    /// taken.
    pub fn certificates(mut self, path: impl Into<PathBuf>) -> Result<Self> {
        let algorithms = self.algorithms.clone();
        let parse = move |pem: &[u8]| certificates::read(pem, &algorithms);
        self.verifier
            .trust_file("certificates of the issuer", path.into(), parse)?;
        Ok(self)
    }

    /// Also trusts the keys in the JSON file at `path` (JWKS, RFC 7517).
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

    /// Also trusts the keys in the JSON document (JWKS, RFC 7517) at `url`, which
    /// is brought by `fetch`.
    ///
    /// They are fetched when the first token comes, and again after as long as the
    /// answer says (`max-age`), though at least five minutes and at most an hour.
    /// A token that names a key which isn't among them has them fetched again, at
    /// most once a minute whatever comes; whoever sends it waits for that, up to
    /// two seconds. If they can't be fetched, those from before are good for 24
    /// hours; then the tokens can't be checked.
    ///
    /// # Errors
    ///
    /// [`RequestInvalid`](registry_core::ErrorKind::RequestInvalid) if the URL
    /// isn't one of `https`, or of this machine.
    pub fn keys_url(mut self, url: &str, fetch: impl Fetch) -> Result<Self> {
        self.verifier.trust_keys_at(url, fetch)?;
        Ok(self)
    }
}

#[async_trait]
impl Authenticator for Issuer {
    fn source(&self) -> &'static str {
        "issuer"
    }

    async fn authenticate(&self, caller: &Caller<'_>) -> Result<Option<Principal>> {
        let Credentials::Bearer(token) = caller.credentials else {
            return Ok(None);
        };
        let now = self.clock.now();
        match self.verifier.verify(token, now, holder).await {
            Ok(holder) => Ok(Some(holder)),
            // The reason is for the log.
            Err(unverified) if unverified.is_foreign() => {
                tracing::debug!(%unverified, "a bearer isn't a token of the other issuer; others are asked");
                Ok(None)
            }
            Err(unverified) => {
                tracing::debug!(%unverified, "a token of another issuer was refused");
                Err(unverified.into_error())
            }
        }
    }
}

/// Who holds a token, limited to what it covers. A token without `access` covers
/// nothing but that its holder is known.
fn holder(claims: &Claims) -> Result<Principal, Rejected> {
    let malformed = Rejected::Claim("access");
    let mut scopes = Scopes::default();
    if let Some(access) = claims.get("access") {
        for entry in access.as_list().ok_or(malformed.clone())? {
            let entry = entry.as_object().ok_or(malformed.clone())?;
            let text = |name: &str| entry.get(name).and_then(Json::as_text);
            let actions = entry.get("actions").and_then(Json::as_list);
            let (Some(kind), Some(name), Some(actions)) = (text("type"), text("name"), actions)
            else {
                return Err(malformed);
            };
            scopes.insert(kind, name, actions.iter().filter_map(Json::as_text));
        }
    }
    let limits = TokenLimits::new(scopes, TokenIssuer::Foreign, claims.issued_at())
        .until(claims.expires_at());
    let principal = match claims.subject() {
        None | Some("" | "anonymous") => Principal::anonymous(),
        Some(subject) => Principal::new(subject),
    };
    Ok(principal.limited(limits))
}

/// Lets whoever holds a token of another [`Issuer`] do with content whatever that
/// covers: the service decides, as for a Docker registry.
#[derive(Debug, Clone, Copy, Default)]
pub struct TrustIssuer;

impl Policy for TrustIssuer {
    fn decide(&self, question: &Question<'_>) -> Decision {
        match question.limits {
            Some(limits) if limits.issuer() == TokenIssuer::Foreign => {
                let manages = [Action::Administer, Action::Audit];
                let content = Actions::ALL
                    .iter()
                    .filter(|action| !manages.contains(action));
                Decision::allow(content.collect::<Actions>())
            }
            _ => Decision::ABSTAIN,
        }
    }

    fn lists_by_tag(&self, _: &Question<'_>) -> bool {
        false
    }

    fn horizon(&self, question: &Question<'_>) -> Horizon {
        let mut horizon = Horizon::default();
        if self.decide(question).granted().is_empty() {
            horizon.allowed = Reach::nowhere();
        }
        horizon
    }
}
