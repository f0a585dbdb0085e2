//! The token server: short-lived tokens in place of passwords.

mod access_token;
mod answer;
mod key_ring;
mod refresh;
mod request;
mod revocation;
mod signing_key;
mod signing_keys;
mod verified;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use registry_core::{
    Actor, Clock, Error, ErrorKind, Records, RepositoryName, Result, Scopes, SystemClock,
};

use self::access_token::Content;
use self::key_ring::KeyRing;
use self::refresh::{Found, Terms};
use self::signing_keys::SigningKeys;
use self::verified::{Verified, VerifiedTokens};
use crate::challenge::Bearer;
use crate::credentials::AUTHORIZATION_MAX;
use crate::jwt::{self, Algorithm, Profile, Rejected};
use crate::{MemoryRecords, Principal, PrincipalKind, Secret, TokenLimits, wrong_credentials};

pub use self::answer::TokenAnswer;
#[cfg(feature = "keys")]
pub(crate) use self::refresh::holder_key;
pub(crate) use self::request::TokenGrant;
pub use self::request::{TOKEN_REQUEST_MAX, TokenRequest};
pub use self::signing_key::SigningAlgorithm;

/// How short and how long tokens may live. Clients take it for a minute at
/// least, whatever they are told.
const LIFETIMES: std::ops::RangeInclusive<Duration> =
    Duration::from_mins(1)..=Duration::from_hours(1);

/// How short and how long the refresh tokens of a login may be good.
const REFRESH_LIFETIMES: std::ops::RangeInclusive<Duration> =
    Duration::from_hours(1)..=Duration::from_hours(24 * 730);

/// How long our own tokens are good after they expired: the clock is our own,
/// too.
const GRACE: Duration = Duration::from_secs(5);

/// How long a token that is no refresh token is good at most.
const LONGEST: Duration = LIFETIMES.end().saturating_add(GRACE);

/// How long it is kept of a token that it was revoked, after its end: whoever began
/// something with it is asked about [once more](crate::Grant::confirm).
const HELD: Duration = Duration::from_mins(15);

/// The most repositories in one token.
const REPOSITORIES_MAX: usize = 100;

/// The same in one that everybody gets: clients ask for one, and for another one where
/// they mount from there.
const NOBODYS_REPOSITORIES_MAX: usize = 20;

/// Gives out tokens and checks them: [`AccessControl::tokens`] makes it that of
/// a registry.
///
/// A token says who holds it and limits what may be done with it, so it can be
/// given away where a password can't. It grants nothing: at each use, the
/// policies decide anew about its holder. Whoever is gone, disabled or has
/// another password since loses it at once, also for a push that it began before
/// ([`Grant::confirm`](crate::Grant::confirm)).
///
/// With it, clients pull anonymously what everybody may pull, and log in for
/// everything else, from the same server: that needs tokens for those who are
/// not known, too.
///
/// Each key that signs lives in a PEM file of a directory. Another one is added
/// every 90 days and shown for ten minutes before it signs; an old one is taken
/// until its last token expired. Keys that are added to the directory or removed
/// from it are noticed within about a second, so several servers can share one.
///
/// It needs a Tokio runtime.
///
/// [`AccessControl::tokens`]: crate::AccessControl::tokens
#[derive(Debug)]
pub struct TokenServer {
    keys: SigningKeys,
    service: String,
    issuer: Option<String>,
    realm: Option<String>,
    lifetime: Duration,
    refresh_lifetime: Duration,
    rotation: Duration,
    profile: Profile,
    verified: VerifiedTokens,
    records: Arc<dyn Records>,
    /// Whether the records outlive the process.
    refreshes: bool,
}

/// What a new token is to say.
pub(crate) struct Issue<'a> {
    pub(crate) holder: &'a Principal,
    pub(crate) actor: Arc<Actor>,
    /// Whether its source can't be asked about the holder later.
    pub(crate) complete: bool,
    /// What it may do now.
    pub(crate) granted: Scopes,
    /// What was asked for.
    pub(crate) asked: Scopes,
    /// The epochs of repositories, as far as they are known.
    pub(crate) epochs: BTreeMap<RepositoryName, u64>,
    pub(crate) now: SystemTime,
}

impl TokenServer {
    /// Signs with the keys in the directory `keys`. Without any, it makes one,
    /// and the directory too, so that nobody but their owner may read them.
    ///
    /// A key is one of P-256 or Ed25519, as `openssl genpkey` writes it. It blocks
    /// while it reads; the files are small.
    ///
    /// # Errors
    ///
    /// If the directory or a key can't be read or made, if a file holds another
    /// kind of key, or if others than its owner and group may read it.
    pub fn open(keys: impl Into<PathBuf>) -> Result<Self> {
        Self::open_with(keys, SigningAlgorithm::default())
    }

    /// The same, where the keys that it makes are for `algorithm`.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub fn open_with(keys: impl Into<PathBuf>, algorithm: SigningAlgorithm) -> Result<Self> {
        let keys = SigningKeys::open(keys.into(), algorithm, SystemClock.now())?;
        Ok(Self::new(keys))
    }

    /// Signs with a key that is lost when the program ends. Clients ask for
    /// another token then.
    ///
    /// # Errors
    ///
    /// If the system can't make a key.
    pub fn ephemeral() -> Result<Self> {
        let keys = SigningKeys::ephemeral(SigningAlgorithm::default(), SystemClock.now())?;
        Ok(Self::new(keys))
    }

    fn new(keys: SigningKeys) -> Self {
        Self {
            keys,
            service: String::new(),
            issuer: None,
            realm: None,
            lifetime: Duration::from_mins(5),
            refresh_lifetime: Duration::from_hours(24 * 365),
            rotation: Duration::from_hours(24 * 90),
            profile: Profile::new("", ""),
            verified: VerifiedTokens::new(),
            records: Arc::new(MemoryRecords::new()),
            refreshes: false,
        }
        .service("registry")
    }

    /// Calls what its tokens are for `service`, in place of `registry`. Tokens for
    /// another service are refused, so registries that share keys have different
    /// ones.
    pub fn service(mut self, service: &str) -> Self {
        service.clone_into(&mut self.service);
        self.with_profile()
    }

    /// Calls itself `issuer`, in place of what the service is called.
    pub fn issuer(mut self, issuer: &str) -> Self {
        self.issuer = Some(issuer.to_owned());
        self.with_profile()
    }

    fn with_profile(mut self) -> Self {
        self.profile = Profile::new(self.issued_by(), &*self.service)
            .algorithms([Algorithm::Es256, Algorithm::EdDsa])
            .longest(*LIFETIMES.end())
            .grace(GRACE);
        self
    }

    /// Sends clients to `url` for tokens, in place of the end-point that they
    /// would find under the address that they asked.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::RequestInvalid`] if it isn't an absolute `http` or `https`
    /// URL of visible ASCII characters without a query.
    pub fn realm(mut self, url: &str) -> Result<Self> {
        Bearer::check_realm(url)?;
        self.realm = Some(url.to_owned());
        Ok(self)
    }

    /// Lets tokens live for `lifetime`, in place of five minutes.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::RequestInvalid`] if that is less than a minute or more than an
    /// hour.
    pub fn lifetime(mut self, lifetime: Duration) -> Result<Self> {
        if !LIFETIMES.contains(&lifetime) {
            return Err(ErrorKind::RequestInvalid
                .error("tokens must live for a minute at least, and for an hour at most"));
        }
        self.lifetime = Duration::from_secs(lifetime.as_secs());
        Ok(self)
    }

    /// Lets the refresh tokens of a login be good for `lifetime`, in place of 365
    /// days, however often they are used or replaced. Then one has to log in again.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::RequestInvalid`] if that is less than an hour or more than 730
    /// days.
    pub fn refresh_lifetime(mut self, lifetime: Duration) -> Result<Self> {
        if !REFRESH_LIFETIMES.contains(&lifetime) {
            return Err(ErrorKind::RequestInvalid.error(
                "refresh tokens must be good for an hour at least, and for 17520h (730 days) at most",
            ));
        }
        self.refresh_lifetime = lifetime;
        Ok(self)
    }

    /// Keeps in `records` which tokens were revoked, and refresh tokens: without
    /// them there are none, and what was revoked is forgotten when the program
    /// ends.
    ///
    /// A refresh token gets other tokens without a password, until its holder is
    /// gone, is disabled or has another password. It ends after 90 days without
    /// use, and [some time](Self::refresh_lifetime) after the login, and one that wasn't
    /// used for the longest time where a holder has more than 512. It can be used
    /// again and again, as Docker does. Whoever asks for another one with it
    /// (`access_type=offline`) ends it, and of many who do so at once one succeeds.
    pub fn records(mut self, records: impl Records) -> Self {
        self.records = Arc::new(records);
        self.refreshes = true;
        self
    }

    /// Adds another key every `rotation`, in place of 90 days. Keys follow each
    /// other by an hour at least.
    pub fn rotate_every(mut self, rotation: Duration) -> Self {
        self.rotation = rotation.max(Duration::from_hours(1));
        self
    }

    /// Adds another key now. It signs in ten minutes.
    ///
    /// # Errors
    ///
    /// If the file can't be made, or the keys are in memory.
    pub async fn rotate(&self, now: SystemTime) -> Result<()> {
        self.keys.rotate(now).await
    }

    /// Replaces all keys by another one, so that every token given out before is
    /// refused: for when a key was stolen.
    ///
    /// # Errors
    ///
    /// If the files can't be changed, or the keys are in memory.
    pub async fn replace_keys(&self, now: SystemTime) -> Result<()> {
        self.keys.replace(now).await
    }

    fn issued_by(&self) -> &str {
        self.issuer.as_deref().unwrap_or(&self.service)
    }

    /// Ends all tokens of `holder`, refresh tokens, too, and tells how many of
    /// these there were.
    ///
    /// # Errors
    ///
    /// If that can't be written down.
    pub async fn revoke_all(&self, holder: &Principal, now: SystemTime) -> Result<usize> {
        revocation::revoke_all(&*self.records, Some(holder), now, LONGEST).await?;
        refresh::end_all(&*self.records, holder).await
    }

    /// Ends all tokens of everybody, refresh tokens, too, and tells how many of
    /// these there were.
    ///
    /// # Errors
    ///
    /// If that can't be written down.
    pub async fn revoke_everybodys(&self, now: SystemTime) -> Result<usize> {
        revocation::revoke_all(&*self.records, None, now, LONGEST).await?;
        refresh::end_everybodys(&*self.records).await
    }

    /// Ends `token`, if it is one of any kind.
    pub(crate) async fn revoke(&self, token: &Secret, now: SystemTime) -> Result<()> {
        if let Some(found) = self.find_refresh_token(token, now).await? {
            return self.consume_refresh_token(&found).await.map(drop);
        }
        let ring = self.keys.current().await;
        match self.read(token, &ring, now) {
            // Nobody's gives what everybody has anyway: to write that down would only let
            // strangers fill the disk.
            Ok(verified) if verified.holder().kind() != PrincipalKind::Anonymous => {
                let (revoked, holder) = (verified.revocable(), verified.holder());
                revoked
                    .revoke(&*self.records, holder, now, HELD, LONGEST)
                    .await
            }
            _ => Ok(()),
        }
    }

    /// A refresh token for `holder`, who logged in at some time, if there are any
    /// here.
    pub(crate) async fn refresh_token(
        &self,
        holder: &Principal,
        since: SystemTime,
        now: SystemTime,
    ) -> Result<Option<Secret>> {
        if !self.refreshes {
            return Ok(None);
        }
        refresh::make(&*self.records, holder, since, self.terms(now)).await
    }

    /// The refresh token that is `token`.
    pub(crate) async fn find_refresh_token(
        &self,
        token: &Secret,
        now: SystemTime,
    ) -> Result<Option<Found>> {
        refresh::find(&*self.records, token, self.terms(now)).await
    }

    /// Takes note that a refresh token was used.
    pub(crate) async fn touch_refresh_token(&self, found: Found, now: SystemTime) -> Result<()> {
        refresh::touch(&*self.records, found, self.terms(now)).await
    }

    fn terms(&self, now: SystemTime) -> Terms<'_> {
        Terms {
            service: &self.service,
            lifetime: self.refresh_lifetime,
            now,
        }
    }

    /// Ends a refresh token, and tells whether nobody else did so before.
    pub(crate) async fn consume_refresh_token(&self, found: &Found) -> Result<bool> {
        refresh::consume(&*self.records, found).await
    }

    /// How clients are asked for tokens.
    pub(crate) fn challenge(&self) -> Bearer {
        Bearer::new(self.realm.as_deref(), &self.service)
    }

    /// Checks that a request is fit for this server.
    pub(crate) fn check(&self, request: &TokenRequest) -> Result<()> {
        if request
            .service()
            .is_some_and(|service| service != self.service)
        {
            return Err(ErrorKind::RequestInvalid
                .error("tokens for this service are given out elsewhere; compare its name"));
        }
        if request.scopes().repositories().count() > REPOSITORIES_MAX {
            return Err(ErrorKind::RequestInvalid.error(format!(
                "the token would be too large; ask for at most {REPOSITORIES_MAX} repositories"
            )));
        }
        Ok(())
    }

    /// Checks that a request of somebody unknown isn't for too much.
    pub(crate) fn check_nobodys(request: &TokenRequest) -> Result<()> {
        if request.scopes().repositories().count() > NOBODYS_REPOSITORIES_MAX {
            return Err(ErrorKind::RequestInvalid.error(format!(
                "without a login a token is for at most {NOBODYS_REPOSITORIES_MAX} repositories; ask \
                 for fewer, or log in"
            )));
        }
        Ok(())
    }

    /// Reads a token. Nothing if it isn't one that this server could have given
    /// out: then it may be somebody else's.
    pub(crate) async fn verify(
        &self,
        token: &Secret,
        now: SystemTime,
    ) -> Result<Option<Arc<Verified>>> {
        let ring = self.keys.current().await;
        match self.read(token, &ring, now) {
            Ok(verified) if verified.revocable().is_revoked(&*self.records).await? => {
                tracing::debug!("a token was refused, as it was revoked");
                Err(wrong_credentials())
            }
            Ok(verified) => Ok(Some(verified)),
            // The reason is for the log.
            Err(
                rejected @ (Rejected::Malformed(_)
                | Rejected::Header(_)
                | Rejected::Algorithm
                | Rejected::UnknownKey(_)),
            ) => {
                tracing::debug!(%rejected, "a bearer isn't a token of this server; others are asked");
                Ok(None)
            }
            Err(rejected) => {
                tracing::debug!(%rejected, "a token was refused");
                Err(wrong_credentials())
            }
        }
    }

    /// Checks that the token of `holder`, if it showed one of this server, was
    /// neither revoked nor signed by a key that is gone since `at`, when it was good.
    /// Whether it has expired isn't asked.
    pub(crate) async fn require_good(&self, holder: &Principal, at: SystemTime) -> Result<()> {
        let limits = holder.limits();
        let Some((id, key)) = limits.and_then(TokenLimits::token) else {
            return Ok(());
        };
        let issued_at = limits.map_or(at, TokenLimits::issued_at);
        if self.keys.current().await.is_trusted(key, at)
            && !revocation::is_revoked(&*self.records, id, holder, issued_at).await?
        {
            return Ok(());
        }
        tracing::debug!(%holder, "a token was taken back while something was done with it");
        Err(wrong_credentials())
    }

    fn read(
        &self,
        token: &Secret,
        ring: &KeyRing,
        now: SystemTime,
    ) -> Result<Arc<Verified>, Rejected> {
        let fingerprint = jwt::fingerprint(token);
        let verified = if let Some(verified) = self.verified.get(&fingerprint, now) {
            // What was right then may have ended since.
            verified.check_times(&self.profile, now)?;
            verified
        } else {
            let claims = jwt::verify(token.expose(), ring.all(), &self.profile, now)?;
            let verified = Arc::new(Verified::read(&claims)?);
            let end = claims.times().end(&self.profile);
            self.verified
                .insert(fingerprint, Arc::clone(&verified), end, now);
            verified
        };
        let key = verified.key();
        if ring.is_trusted(key, now) {
            Ok(verified)
        } else {
            Err(Rejected::UnknownKey(Some(key.to_owned())))
        }
    }

    /// Makes a token.
    pub(crate) async fn issue(&self, issue: &Issue<'_>) -> Result<TokenAnswer> {
        let lifetime = self.lifetime_of(issue)?;
        let ring = self.keys.renewed(self.rotation, issue.now).await;
        let content = Content {
            issuer: self.issued_by(),
            service: &self.service,
            id: &identity()?,
            issued_at: issue.now,
            expires_at: issue
                .now
                .checked_add(lifetime)
                .ok_or_else(|| ErrorKind::Internal.error("the clock is at its end"))?,
            holder: issue.holder,
            complete: issue.complete,
            granted: &issue.granted,
            asked: &issue.asked,
            epochs: &issue.epochs,
        };
        let token = ring.signing(issue.now)?.sign(&content.to_json()?)?;
        if token.expose().len() > AUTHORIZATION_MAX.saturating_sub("Bearer ".len()) {
            return Err(ErrorKind::RequestInvalid
                .error("the token would be too large; ask for fewer repositories"));
        }
        Ok(TokenAnswer {
            token,
            scopes: issue.granted.clone(),
            issued_at: issue.now,
            lifetime,
            refresh_token: None,
            actor: Arc::clone(&issue.actor),
        })
    }

    /// How long a new token is good. What it was bought with may end before: then it
    /// ends with that, or else whoever has one token has one for ever.
    fn lifetime_of(&self, issue: &Issue<'_>) -> Result<Duration> {
        let Some(end) = issue.holder.expires_at() else {
            return Ok(self.lifetime);
        };
        let rest = end.duration_since(issue.now).unwrap_or_default();
        match rest.as_secs() {
            0 => Err(wrong_credentials()),
            seconds => Ok(self.lifetime.min(Duration::from_secs(seconds))),
        }
    }

    /// The public keys, as a document for whoever checks tokens elsewhere.
    pub(crate) async fn key_set(&self, now: SystemTime) -> Result<Vec<u8>> {
        self.keys.current().await.document(now)
    }
}

/// A name that nothing else has: 32 digits.
pub(crate) fn identity() -> Result<String> {
    let mut bytes = [0_u8; 16];
    aws_lc_rs::rand::fill(&mut bytes)
        .map_err(|source| Error::internal("the system gives no random numbers", source))?;
    let mut name = String::with_capacity(32);
    for byte in bytes {
        // Writing into memory doesn't fail.
        let _ = write!(name, "{byte:02x}");
    }
    Ok(name)
}
