//! Checking tokens with keys that change.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use registry_core::{Error, ErrorKind, Result};

use super::certificates::DatedKeys;
use super::remote_keys::RemoteKeys;
use crate::jwt::{self, Claims, KeySet, Profile, Rejected, Times};
use crate::remembered::{Fingerprint, Memory, Remembered};
use crate::watched_file::WatchedFile;
use crate::{Fetch, Principal, Secret, wrong_credentials};

/// The longest file of keys that is read, in bytes.
const FILE_MAX: u64 = 256 << 10;

/// How many verified tokens are remembered at least.
const VERIFIED: usize = 4096;

/// How many bytes they take at most, in each of two generations: many may have tokens
/// of an issuer that are of no use here.
const VERIFIED_BYTES: usize = 4 << 20;

/// Checks tokens of one issuer, and remembers those that were right.
#[derive(Debug)]
pub(crate) struct Verifier {
    profile: Profile,
    sources: Vec<Keys>,
    verified: Remembered<Arc<Verified>>,
}

/// Where keys are.
#[derive(Debug)]
enum Keys {
    File(Box<WatchedFile<Vec<DatedKeys>>>),
    Remote(RemoteKeys),
}

/// Of a token that was found right, when it is good, who holds it, and the keys by
/// which it was.
#[derive(Debug)]
struct Verified {
    times: Times,
    /// The name of the key that signed it.
    key: Box<str>,
    holder: Principal,
    keys: Arc<Vec<DatedKeys>>,
}

/// Why nobody is known by a token.
#[derive(Debug)]
pub(crate) enum Unverified {
    Rejected(Rejected),
    /// There are no keys to check it with.
    NoKeys,
}

impl From<Rejected> for Unverified {
    fn from(rejected: Rejected) -> Self {
        Self::Rejected(rejected)
    }
}

impl fmt::Display for Unverified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rejected(rejected) => rejected.fmt(f),
            Self::NoKeys => f.write_str("there are no keys to check it with"),
        }
    }
}

impl Unverified {
    /// Whether it may be somebody else's token.
    pub(crate) fn is_foreign(&self) -> bool {
        matches!(
            self,
            Self::Rejected(
                Rejected::Malformed(_)
                    | Rejected::Header(_)
                    | Rejected::Algorithm
                    | Rejected::UnknownKey(_)
            )
        )
    }

    /// What whoever sent it is told. The reason is for the log.
    pub(crate) fn into_error(self) -> Error {
        match self {
            Self::Rejected(_) => wrong_credentials(),
            Self::NoKeys => ErrorKind::Unavailable
                .error("tokens of this issuer can't be checked now; try again later"),
        }
    }
}

impl Verifier {
    pub(crate) fn new(profile: Profile) -> Self {
        Self {
            profile,
            sources: Vec::new(),
            verified: Remembered::new(VERIFIED, VERIFIED_BYTES),
        }
    }

    pub(crate) fn set_profile(&mut self, change: impl FnOnce(Profile) -> Profile) {
        self.profile = change(self.profile.clone());
    }

    /// Trusts the keys that `parse` finds in the file at `path`, said to be of
    /// `kind`.
    pub(super) fn trust_file(
        &mut self,
        kind: &'static str,
        path: PathBuf,
        parse: impl Fn(&[u8]) -> Result<Vec<DatedKeys>> + Send + Sync + 'static,
    ) -> Result<()> {
        let file = WatchedFile::open(kind, path, parse, FILE_MAX)?;
        self.sources.push(Keys::File(Box::new(file)));
        Ok(())
    }

    /// Trusts the keys in the JSON file at `path`.
    pub(crate) fn trust_keys_in(&mut self, path: PathBuf) -> Result<()> {
        self.trust_file("keys of the issuer", path, |json| {
            Ok(vec![DatedKeys::always(KeySet::parse_jwks(json)?)])
        })
    }

    /// Trusts the keys in the JSON document at `url`.
    pub(crate) fn trust_keys_at(&mut self, url: &str, fetch: impl Fetch) -> Result<()> {
        let keys = RemoteKeys::at(url, Arc::new(fetch))?;
        self.sources.push(Keys::Remote(keys));
        Ok(())
    }

    /// Trusts the keys that `issuer` says are its own.
    #[cfg(feature = "workload")]
    pub(crate) fn trust_issuer(&mut self, issuer: &str, fetch: impl Fetch) -> Result<()> {
        let keys = RemoteKeys::of_issuer(issuer, Arc::new(fetch))?;
        self.sources.push(Keys::Remote(keys));
        Ok(())
    }

    /// Who holds `token`, as `holder` finds in its claims.
    pub(crate) async fn verify(
        &self,
        token: &Secret,
        now: SystemTime,
        holder: impl Fn(&Claims) -> Result<Principal, Rejected>,
    ) -> Result<Principal, Unverified> {
        let fingerprint = jwt::fingerprint(token);
        let known = self.verified.get(&fingerprint, now);
        let mut rejected = Rejected::UnknownKey(None);
        if known.is_none() {
            // What no key could have signed is worth no look at any.
            match jwt::verify(token.expose(), &KeySet::new(), &self.profile, now) {
                Err(unknown @ Rejected::UnknownKey(_)) => rejected = unknown,
                Err(other) => return Err(other.into()),
                Ok(_) => {}
            }
        }
        let mut remote = Vec::new();
        let mut has_all = true;
        for source in &self.sources {
            let keys = match source {
                Keys::File(file) => file.current().await,
                Keys::Remote(keys) => {
                    let Some(current) = keys.current(now).await else {
                        has_all = false;
                        continue;
                    };
                    remote.push((keys, Arc::clone(&current)));
                    current
                }
            };
            if let Some(known) = &known
                && Arc::ptr_eq(&known.keys, &keys)
                && keys.iter().any(|dated| dated.holds(&known.key, now))
            {
                // What was right then may have ended since.
                known.times.check(&self.profile, now)?;
                return Ok(known.holder.clone());
            }
            match self.verify_with(&keys, token, now) {
                Ok(claims) => return self.remember(fingerprint, &claims, keys, now, &holder),
                Err(other) => rejected = graver(rejected, other)?,
            }
        }
        if matches!(rejected, Rejected::UnknownKey(Some(_))) {
            for (source, old) in remote {
                let Some(keys) = source.after(&old, now).await else {
                    continue;
                };
                match self.verify_with(&keys, token, now) {
                    Ok(claims) => return self.remember(fingerprint, &claims, keys, now, &holder),
                    Err(other) => rejected = graver(rejected, other)?,
                }
            }
        }
        if !has_all && matches!(rejected, Rejected::UnknownKey(_)) {
            return Err(Unverified::NoKeys);
        }
        Err(rejected.into())
    }

    fn verify_with(
        &self,
        keys: &[DatedKeys],
        token: &Secret,
        now: SystemTime,
    ) -> Result<Claims, Rejected> {
        let mut rejected = Rejected::UnknownKey(None);
        for dated in keys.iter().filter(|dated| dated.are_valid(now)) {
            match jwt::verify(token.expose(), dated.keys(), &self.profile, now) {
                Ok(claims) => return Ok(claims),
                Err(other) => rejected = graver(rejected, other)?,
            }
        }
        Err(rejected)
    }

    fn remember(
        &self,
        fingerprint: Fingerprint,
        claims: &Claims,
        keys: Arc<Vec<DatedKeys>>,
        now: SystemTime,
        holder: impl Fn(&Claims) -> Result<Principal, Rejected>,
    ) -> Result<Principal, Unverified> {
        let holder = holder(claims)?;
        let memory = Memory {
            bytes: holder.bytes().saturating_add(claims.key().len()),
            until: claims.times().end(&self.profile),
            value: Arc::new(Verified {
                times: claims.times(),
                key: claims.key().into(),
                holder: holder.clone(),
                keys,
            }),
        };
        self.verified.insert(fingerprint, memory, now);
        Ok(holder)
    }
}

/// What to say of a token that was checked with several keys, unless it was more
/// than the wrong key. Of several keys without names any may be meant.
fn graver(one: Rejected, other: Rejected) -> Result<Rejected, Rejected> {
    match (one, other) {
        (Rejected::Signature, Rejected::UnknownKey(_)) => Ok(Rejected::Signature),
        // Keys that don't know the token's say so without its name.
        (one @ Rejected::UnknownKey(Some(_)), Rejected::UnknownKey(None)) => Ok(one),
        (_, other @ (Rejected::UnknownKey(_) | Rejected::Signature)) => Ok(other),
        (_, other) => Err(other),
    }
}
