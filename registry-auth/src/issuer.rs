//! Tokens that another service gives out.

mod certificates;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use aws_lc_rs::digest::{SHA256, digest};
use registry_core::{Action, Actions, Clock, Result, Scopes, SystemClock};

use self::certificates::DatedKeys;
use crate::jwt::{self, Algorithm, Claims, Json, KeySet, Profile, Rejected};
use crate::remembered::Remembered;
use crate::watched_file::WatchedFile;
use crate::{
    Authenticator, Caller, Credentials, Decision, Policy, Principal, Question, Secret, TokenIssuer,
    TokenLimits, wrong_credentials,
};

/// The longest file of keys that is read, in bytes.
const FILE_MAX: u64 = 256 << 10;

/// How many verified tokens are remembered at least.
const VERIFIED: usize = 4096;

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
    profile: Profile,
    algorithms: Vec<Algorithm>,
    files: Vec<WatchedFile<Vec<DatedKeys>>>,
    verified: Remembered<Arc<Verified>>,
    clock: Arc<dyn Clock>,
}

/// A token that was found right, and the keys by which it was.
#[derive(Debug)]
struct Verified {
    claims: Claims,
    holder: Principal,
    keys: Arc<Vec<DatedKeys>>,
}

impl Issuer {
    /// Takes tokens of `issuer` (`iss`) for `service` (`aud`), both written
    /// exactly so. There are no keys yet, with which every token is refused.
    pub fn new(issuer: &str, service: &str) -> Self {
        Self {
            profile: Profile::new(issuer, service),
            algorithms: Algorithm::ALL.to_vec(),
            files: Vec::new(),
            verified: Remembered::new(VERIFIED),
            clock: Arc::new(SystemClock),
        }
    }

    /// Takes only tokens that are signed by one of `algorithms`; say so before
    /// naming files.
    pub fn algorithms(mut self, algorithms: impl IntoIterator<Item = Algorithm>) -> Self {
        self.algorithms = algorithms.into_iter().collect();
        self.profile = self.profile.algorithms(self.algorithms.iter().copied());
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
        let file = WatchedFile::open("certificates of the issuer", path.into(), parse, FILE_MAX)?;
        self.files.push(file);
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
        let parse = |json: &[u8]| Ok(vec![DatedKeys::always(KeySet::parse_jwks(json)?)]);
        let file = WatchedFile::open("keys of the issuer", path.into(), parse, FILE_MAX)?;
        self.files.push(file);
        Ok(self)
    }

    async fn verify(&self, token: &Secret, now: SystemTime) -> Result<Arc<Verified>, Rejected> {
        let mut fingerprint = [0; 32];
        fingerprint.copy_from_slice(digest(&SHA256, token.expose().as_bytes()).as_ref());
        let known = self.verified.get(&fingerprint);
        let mut rejected = Rejected::UnknownKey(None);
        for file in &self.files {
            let keys = file.current().await;
            if let Some(known) = &known
                && Arc::ptr_eq(&known.keys, &keys)
                && keys
                    .iter()
                    .any(|dated| dated.holds(known.claims.key(), now))
            {
                // What was right then may have ended since.
                known.claims.check_times(&self.profile, now)?;
                return Ok(Arc::clone(known));
            }
            for dated in keys.iter().filter(|dated| dated.are_valid(now)) {
                match jwt::verify(token.expose(), dated.keys(), &self.profile, now) {
                    Ok(claims) => {
                        let holder = holder(&claims)?;
                        let keys = Arc::clone(&keys);
                        let verified = Arc::new(Verified {
                            claims,
                            holder,
                            keys,
                        });
                        self.verified.insert(fingerprint, Arc::clone(&verified));
                        return Ok(verified);
                    }
                    // Of several keys without names any may be meant.
                    Err(Rejected::UnknownKey(kid)) => {
                        if !matches!(rejected, Rejected::Signature) {
                            rejected = Rejected::UnknownKey(kid);
                        }
                    }
                    Err(Rejected::Signature) => rejected = Rejected::Signature,
                    Err(other) => return Err(other),
                }
            }
        }
        Err(rejected)
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
        match self.verify(token, self.clock.now()).await {
            Ok(verified) => Ok(Some(verified.holder.clone())),
            Err(rejected) => {
                // The reason is for the log.
                tracing::debug!(%rejected, "a token of another issuer was refused");
                match rejected {
                    Rejected::Malformed(_)
                    | Rejected::Header(_)
                    | Rejected::Algorithm
                    | Rejected::UnknownKey(_) => Ok(None),
                    _ => Err(wrong_credentials()),
                }
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
    let limits = TokenLimits::new(scopes, TokenIssuer::Foreign, claims.issued_at());
    let principal = match claims.subject() {
        None | Some("") => Principal::anonymous(),
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
}
