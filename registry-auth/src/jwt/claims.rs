//! What a token says.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::{Json, Profile, Rejected};
use crate::principal::AHEAD_MAX;

/// What a token says whose signature and registered claims were found right.
///
/// Only [`verify`](super::verify) makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claims {
    key: String,
    issuer: String,
    subject: Option<String>,
    audiences: Vec<String>,
    times: Times,
    id: Option<String>,
    others: BTreeMap<String, Json>,
}

/// When a token is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Times {
    expires_at: SystemTime,
    not_before: Option<SystemTime>,
    issued_at: SystemTime,
}

impl Claims {
    /// Reads the payload of a token that was signed by `key`.
    pub(super) fn read(
        payload: &[u8],
        key: &str,
        expect: &Profile,
        now: SystemTime,
    ) -> Result<Self, Rejected> {
        let Ok(Json::Object(mut claims)) = Json::parse(payload) else {
            return Err(Rejected::Malformed("its claims are no acceptable JSON"));
        };
        let issuer = name(&mut claims, "iss")?.ok_or(Rejected::Claim("iss"))?;
        let expires_at = time(&mut claims, "exp")?.ok_or(Rejected::Claim("exp"))?;
        let issued_at = time(&mut claims, "iat")?.ok_or(Rejected::Claim("iat"))?;
        let claims = Self {
            key: key.to_owned(),
            issuer,
            subject: name(&mut claims, "sub")?,
            audiences: audiences(claims.remove("aud"))?,
            times: Times {
                expires_at,
                not_before: time(&mut claims, "nbf")?,
                issued_at,
            },
            id: name(&mut claims, "jti")?,
            others: claims,
        };
        if expect.issuer.is_empty() || claims.issuer != expect.issuer {
            return Err(Rejected::Issuer);
        }
        if expect.audience.is_empty() || !claims.audiences.contains(&expect.audience) {
            return Err(Rejected::Audience);
        }
        let lifetime = expires_at.duration_since(issued_at).unwrap_or_default();
        if lifetime.is_zero() || lifetime > expect.longest {
            return Err(Rejected::Lifetime);
        }
        claims.check_times(expect, now)?;
        Ok(claims)
    }

    /// Whether the token is good at `now`: it was when it was verified, and
    /// whoever remembers that asks again here.
    ///
    /// # Errors
    ///
    /// [`Rejected::Expired`] or [`Rejected::TooEarly`].
    pub fn check_times(&self, expect: &Profile, now: SystemTime) -> Result<(), Rejected> {
        self.times.check(expect, now)
    }

    /// The same of a token of which nothing else is remembered.
    pub(crate) fn times(&self) -> Times {
        self.times
    }

    /// The name of the key that signed it.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// `iss`: who issued it.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// `sub`: whom it is about. It holds no control characters, and is empty in
    /// the tokens that Docker's registry knows as anonymous.
    pub fn subject(&self) -> Option<&str> {
        self.subject.as_deref()
    }

    /// `aud`: whom it is for.
    pub fn audiences(&self) -> &[String] {
        &self.audiences
    }

    /// `exp`: when it ends.
    pub fn expires_at(&self) -> SystemTime {
        self.times.expires_at
    }

    /// `nbf`: when it begins.
    pub fn not_before(&self) -> Option<SystemTime> {
        self.times.not_before
    }

    /// `iat`: when it was issued.
    pub fn issued_at(&self) -> SystemTime {
        self.times.issued_at
    }

    /// `jti`: its own name. It holds no control characters.
    pub fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// Any claim but the seven above, such as `access`.
    pub fn get(&self, name: &str) -> Option<&Json> {
        self.others.get(name)
    }

    /// Every claim but the seven above.
    pub fn others(&self) -> impl Iterator<Item = (&str, &Json)> {
        self.others
            .iter()
            .map(|(name, value)| (name.as_str(), value))
    }
}

impl Times {
    /// Whether the token is good at `now`.
    pub(crate) fn check(self, expect: &Profile, now: SystemTime) -> Result<(), Rejected> {
        let too_early = |time: SystemTime| {
            time.duration_since(now)
                .is_ok_and(|ahead| ahead > AHEAD_MAX)
        };
        if too_early(self.issued_at) || self.not_before.is_some_and(too_early) {
            return Err(Rejected::TooEarly);
        }
        let late = now.duration_since(self.expires_at).unwrap_or_default();
        if late > expect.grace {
            return Err(Rejected::Expired);
        }
        Ok(())
    }

    /// When whoever remembers the token can forget it.
    pub(crate) fn end(self, expect: &Profile) -> SystemTime {
        let end = self.expires_at.checked_add(expect.grace);
        end.unwrap_or(self.expires_at)
    }
}

/// A claim that is a name, if it is there. Names end up in logs.
fn name(
    claims: &mut BTreeMap<String, Json>,
    claim: &'static str,
) -> Result<Option<String>, Rejected> {
    match claims.remove(claim) {
        None => Ok(None),
        Some(Json::Text(name)) if !name.contains(char::is_control) => Ok(Some(name)),
        Some(_) => Err(Rejected::Claim(claim)),
    }
}

/// A claim that is a time, if it is there: whole seconds since 1970, though RFC
/// 7519 allows fractions, which no issuer in use writes.
fn time(
    claims: &mut BTreeMap<String, Json>,
    claim: &'static str,
) -> Result<Option<SystemTime>, Rejected> {
    let Some(value) = claims.remove(claim) else {
        return Ok(None);
    };
    value
        .as_integer()
        .and_then(|seconds| u64::try_from(seconds).ok())
        .and_then(|seconds| UNIX_EPOCH.checked_add(Duration::from_secs(seconds)))
        .map(Some)
        .ok_or(Rejected::Claim(claim))
}

/// One name or a list of them.
fn audiences(claim: Option<Json>) -> Result<Vec<String>, Rejected> {
    let values = match claim {
        Some(Json::List(values)) => values,
        Some(Json::Text(name)) => return Ok(vec![name]),
        _ => return Err(Rejected::Claim("aud")),
    };
    values
        .into_iter()
        .map(|value| match value {
            Json::Text(name) => Ok(name),
            _ => Err(Rejected::Claim("aud")),
        })
        .collect()
}
