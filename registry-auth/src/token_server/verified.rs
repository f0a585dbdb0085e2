//! Tokens that were found right, so that none is looked at twice.

use std::sync::Arc;
use std::time::SystemTime;

use super::access_token;
use super::revocation::Revocable;
use crate::jwt::{Claims, Profile, Rejected, Times};
use crate::remembered::{Fingerprint, Memory, Remembered};
use crate::{Principal, PrincipalKind};

/// How many are remembered at least, of those that fit.
const MOST: usize = 4096;

/// How many bytes they take at most, in each of two generations.
const BYTES: usize = 4 << 20;

/// The same of the tokens that everybody gets.
const NOBODYS_BYTES: usize = 2 << 20;

/// What is to be known of a token whose signature and claims were found right.
#[derive(Debug)]
pub(crate) struct Verified {
    times: Times,
    /// The name of the key that signed it.
    key: Box<str>,
    holder: Principal,
    source: Box<str>,
    revocable: Revocable,
}

impl Verified {
    /// The token that makes these claims.
    pub(super) fn read(claims: &Claims) -> Result<Self, Rejected> {
        let (holder, source) = access_token::read(claims).ok_or(Rejected::Claim("access"))?;
        Ok(Self {
            times: claims.times(),
            key: claims.key().into(),
            revocable: Revocable::new(claims, &holder).ok_or(Rejected::Claim("jti"))?,
            source: source.into(),
            holder,
        })
    }

    /// Who holds it, limited to what it covers, as far as the token knows.
    pub(crate) fn holder(&self) -> &Principal {
        &self.holder
    }

    /// The [source](crate::Authenticator::source) that knows the holder.
    pub(crate) fn source(&self) -> &str {
        &self.source
    }

    /// Where it would be kept that it was revoked.
    pub(super) fn revocable(&self) -> &Revocable {
        &self.revocable
    }

    /// The name of the key that signed it.
    pub(super) fn key(&self) -> &str {
        &self.key
    }

    /// Whether it is still good.
    pub(super) fn check_times(&self, expect: &Profile, now: SystemTime) -> Result<(), Rejected> {
        self.times.check(expect, now)
    }
}

/// Those that were found right, for as long as there is room.
///
/// Everybody gets as many as they like for nobody in particular, so these are kept
/// apart: they push out no other.
#[derive(Debug)]
pub(super) struct VerifiedTokens {
    known: Remembered<Arc<Verified>>,
    nobodys: Remembered<Arc<Verified>>,
}

impl VerifiedTokens {
    /// None yet.
    pub(super) fn new() -> Self {
        Self {
            known: Remembered::new(MOST, BYTES),
            nobodys: Remembered::new(MOST, NOBODYS_BYTES),
        }
    }

    pub(super) fn get(&self, token: &Fingerprint, now: SystemTime) -> Option<Arc<Verified>> {
        let known = self.known.get(token, now);
        known.or_else(|| self.nobodys.get(token, now))
    }

    /// Remembers one until its `end`.
    pub(super) fn insert(
        &self,
        token: Fingerprint,
        verified: Arc<Verified>,
        end: SystemTime,
        now: SystemTime,
    ) {
        let remembered = match verified.holder.kind() {
            PrincipalKind::Anonymous => &self.nobodys,
            _ => &self.known,
        };
        let memory = Memory {
            // Of itself it says little beside who holds it.
            bytes: verified.holder.bytes().saturating_add(512),
            value: verified,
            until: end,
        };
        remembered.insert(token, memory, now);
    }
}
