//! Tokens that end before their time.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use registry_core::{Expected, Records, Result};

use super::refresh::holder_key;
use crate::Principal;
use crate::jwt::Claims;

/// What times are said to.
const SECOND: Duration = Duration::from_secs(1);

/// Where it is kept up to when everybody's tokens were revoked.
const EVERYBODYS: &str = "revoked/everybody";

/// Where it is kept that a token was revoked.
#[derive(Debug)]
pub(super) struct Revocable {
    /// The token itself.
    token: String,
    /// All tokens of its holder up to some time.
    holder: String,
    issued_at: SystemTime,
    expires_at: SystemTime,
}

impl Revocable {
    /// The token that makes these claims. Nothing if it can't be revoked.
    pub(super) fn new(claims: &Claims, holder: &Principal) -> Option<Self> {
        let id = claims.id().filter(|id| (1..=64).contains(&id.len()))?;
        Some(Self {
            token: of_token(id),
            holder: of_holder(holder),
            issued_at: claims.issued_at(),
            expires_at: claims.expires_at(),
        })
    }

    /// Whether it was revoked.
    pub(super) async fn is_revoked(&self, records: &dyn Records) -> Result<bool> {
        if records.get(&self.token).await?.is_some() {
            return Ok(true);
        }
        ended_at(records, &self.holder, self.issued_at).await
    }

    /// Revokes it. `held` is for how long that is kept after its end.
    pub(super) async fn revoke(&self, records: &dyn Records, held: Duration) -> Result<()> {
        let end = self.expires_at.checked_add(held);
        records
            .put(&self.token, Expected::Any, Vec::new(), end)
            .await?;
        Ok(())
    }
}

/// Whether the token `id` of `holder` was revoked.
pub(super) async fn is_revoked(
    records: &dyn Records,
    id: &str,
    holder: &Principal,
    issued_at: SystemTime,
) -> Result<bool> {
    Ok(records.get(&of_token(id)).await?.is_some()
        || ended_at(records, &of_holder(holder), issued_at).await?)
}

/// Revokes all tokens of `holder`, or of everybody, that there are at `now` and that
/// live no longer than `longest`.
pub(super) async fn revoke_all(
    records: &dyn Records,
    holder: Option<&Principal>,
    now: SystemTime,
    longest: Duration,
) -> Result<()> {
    let seconds = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let (value, end) = (seconds.to_string().into_bytes(), now.checked_add(longest));
    let key = holder.map_or_else(|| EVERYBODYS.to_owned(), of_holder);
    records.put(&key, Expected::Any, value, end).await?;
    Ok(())
}

/// Whether all tokens of `holder` that are as old as this were revoked just now.
pub(super) async fn has_ended(
    records: &dyn Records,
    holder: &Principal,
    since: SystemTime,
) -> Result<bool> {
    ended_at(records, &of_holder(holder), since).await
}

/// The same, where it is kept under `key` for the holder.
async fn ended_at(records: &dyn Records, key: &str, since: SystemTime) -> Result<bool> {
    for key in [key, EVERYBODYS] {
        let Some(record) = records.get(key).await? else {
            continue;
        };
        // What can't be read could say anything.
        let until = std::str::from_utf8(&record.value)
            .ok()
            .and_then(|seconds| seconds.parse().ok())
            .and_then(|seconds| UNIX_EPOCH.checked_add(Duration::from_secs(seconds)));
        // It is said to the second, as tokens say when they were made.
        if until
            .and_then(|until| until.checked_add(SECOND))
            .is_none_or(|end| since < end)
        {
            return Ok(true);
        }
    }
    Ok(false)
}

fn of_token(id: &str) -> String {
    format!("revoked/token/{id}")
}

fn of_holder(holder: &Principal) -> String {
    format!("revoked/holder/{}", holder_key(holder))
}
