//! Tokens that end before their time.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use registry_core::{Expected, Records, Result};

use super::refresh::holder_key;
use crate::Principal;
use crate::jwt::Claims;

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
            token: format!("revoked/token/{id}"),
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
        let Some(record) = records.get(&self.holder).await? else {
            return Ok(false);
        };
        // What can't be read could say anything.
        let until = std::str::from_utf8(&record.value)
            .ok()
            .and_then(|seconds| seconds.parse().ok())
            .and_then(|seconds| UNIX_EPOCH.checked_add(Duration::from_secs(seconds)));
        Ok(until.is_none_or(|until| self.issued_at <= until))
    }

    /// Revokes it. `grace` is how long a token is good after its end.
    pub(super) async fn revoke(&self, records: &dyn Records, grace: Duration) -> Result<()> {
        let end = self.expires_at.checked_add(grace);
        records
            .put(&self.token, Expected::Any, Vec::new(), end)
            .await?;
        Ok(())
    }
}

/// Revokes all tokens of `holder` that there are at `now` and that live no longer
/// than `longest`.
pub(super) async fn revoke_all(
    records: &dyn Records,
    holder: &Principal,
    now: SystemTime,
    longest: Duration,
) -> Result<()> {
    let seconds = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let (value, end) = (seconds.to_string().into_bytes(), now.checked_add(longest));
    records
        .put(&of_holder(holder), Expected::Any, value, end)
        .await?;
    Ok(())
}

fn of_holder(holder: &Principal) -> String {
    format!("revoked/holder/{}", holder_key(holder))
}
