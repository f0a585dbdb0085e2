//! Tokens that end before their time.

use std::borrow::Cow;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use registry_core::{Expected, PageRequest, Records, Result};

use super::refresh::{self, holder_key};
#[cfg(feature = "keys")]
use crate::Keys;
use crate::Principal;
use crate::jwt::Claims;

/// How many tokens that were got with one key, or with the logins of one holder, are revoked
/// one by one. With one more, all of these end that there were until then, or else
/// whoever has a login fills the disk.
const MOST: usize = 512;

/// How much is kept of tokens of one holder, whatever they were got with: who has a login
/// makes keys and deletes them. No more than a list gives at once.
const MOST_OF_HOLDER: usize = 1000;

/// What times are said to.
const SECOND: Duration = Duration::from_secs(1);

/// Where it is kept up to when everybody's tokens were revoked.
const EVERYBODYS: &str = "revoked/everybody";

/// Where it is kept that a token was revoked.
#[derive(Debug)]
pub(super) struct Revocable {
    /// The token itself.
    token: String,
    /// What those begin with that were got with the same key, or with a login.
    siblings: String,
    /// All of these up to some time.
    all_siblings: String,
    /// What all of this begins with of whatever its holder got.
    any: String,
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
            token: of_token(holder, id),
            siblings: of_tokens(holder),
            all_siblings: of_all_tokens(holder),
            any: of_any(holder),
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
        ended_at(records, [&self.all_siblings, &self.holder], self.issued_at).await
    }

    /// Revokes it at `now`, or all that were got as it was if many of these were revoked.
    /// `held` is for how long that is kept after its end, and `longest` how long any
    /// token lives. If many of its `holder` were revoked, all that this one got ends, refresh
    /// tokens too.
    pub(super) async fn revoke(
        &self,
        records: &dyn Records,
        holder: &Principal,
        now: SystemTime,
        held: Duration,
        longest: Duration,
    ) -> Result<()> {
        let made = seconds(self.issued_at).to_string().into_bytes();
        let end = self.expires_at.checked_add(held);
        let page = PageRequest::first(MOST_OF_HOLDER);
        let mut others = records.list(&self.any, page).await?.items;
        let is_full = others.len() >= MOST_OF_HOLDER;
        if !is_full {
            others.retain(|other| other.key.starts_with(&self.siblings));
        }
        let is_known = others.iter().any(|other| other.key == self.token);
        if is_known || (!is_full && others.len() < MOST) {
            records.put(&self.token, Expected::Any, made, end).await?;
            return Ok(());
        }
        // Another server's clock may be ahead.
        let of_others = others
            .iter()
            .filter_map(|other| read_seconds(&other.value))
            .filter_map(|made| UNIX_EPOCH.checked_add(made));
        let until = of_others.fold(now.max(self.issued_at), SystemTime::max);
        let kept = longest.saturating_add(held);
        let ended = if is_full {
            &self.holder
        } else {
            &self.all_siblings
        };
        write_until(records, ended, until, kept).await?;
        if is_full {
            // Before anything is removed: whoever tries again finds it full again.
            refresh::end_all(records, holder).await?;
        }
        for other in others {
            records.remove(&other.key, Expected::Any).await?;
        }
        let which = if is_full {
            "of their holder end"
        } else {
            "end which were got with the same key, or with a login"
        };
        tracing::warn!("somebody revoked so many tokens one by one that all {which}");
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
    let ends = [&*of_all_tokens(holder), &*of_holder(holder)];
    Ok(records.get(&of_token(holder, id)).await?.is_some()
        || ended_at(records, ends, issued_at).await?)
}

/// Revokes all tokens of `holder`, or of everybody, that there are at `now` and that
/// live no longer than `longest`.
pub(super) async fn revoke_all(
    records: &dyn Records,
    holder: Option<&Principal>,
    now: SystemTime,
    longest: Duration,
) -> Result<()> {
    let key = holder.map_or_else(|| EVERYBODYS.to_owned(), of_holder);
    write_until(records, &key, now, longest).await
}

/// Writes under `key` that all tokens until then were revoked, or until later if that is
/// written there: another server's clock may have been ahead.
async fn write_until(
    records: &dyn Records,
    key: &str,
    until: SystemTime,
    kept: Duration,
) -> Result<()> {
    let written = records.get(key).await?;
    let written = written.and_then(|record| read_seconds(&record.value));
    let written = written.and_then(|since| UNIX_EPOCH.checked_add(since));
    let until = written.map_or(until, |written| written.max(until));
    let value = seconds(until).to_string().into_bytes();
    let end = until.checked_add(kept);
    records.put(key, Expected::Any, value, end).await?;
    Ok(())
}

/// Whether all tokens of `holder` that are as old as this were revoked just now.
pub(super) async fn has_ended(
    records: &dyn Records,
    holder: &Principal,
    since: SystemTime,
) -> Result<bool> {
    ended_at(records, [&*of_holder(holder)], since).await
}

/// The same, where it is kept under any of `keys`, or for everybody.
async fn ended_at<const N: usize>(
    records: &dyn Records,
    keys: [&str; N],
    since: SystemTime,
) -> Result<bool> {
    for key in keys.into_iter().chain([EVERYBODYS]) {
        let Some(record) = records.get(key).await? else {
            continue;
        };
        // What can't be read could say anything.
        let until = read_seconds(&record.value).and_then(|since| UNIX_EPOCH.checked_add(since));
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

fn seconds(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH);
    since.unwrap_or_default().as_secs()
}

/// The time since 1970 that is written there.
fn read_seconds(value: &[u8]) -> Option<Duration> {
    let text = std::str::from_utf8(value).ok()?;
    text.parse().ok().map(Duration::from_secs)
}

fn of_tokens(holder: &Principal) -> String {
    format!("{}of/{}/", of_any(holder), origin(holder))
}

fn of_all_tokens(holder: &Principal) -> String {
    format!("{}until/{}", of_any(holder), origin(holder))
}

fn of_any(holder: &Principal) -> String {
    format!("revoked/token/{}/", holder_key(holder))
}

/// What tokens of `holder` were got with: one of its keys, or logins.
fn origin(holder: &Principal) -> Cow<'_, str> {
    #[cfg(feature = "keys")]
    if let Some(key) = Keys::of_robot(holder) {
        return key.into();
    }
    holder.key().unwrap_or("login").into()
}

fn of_token(holder: &Principal, id: &str) -> String {
    format!("{}{id}", of_tokens(holder))
}

fn of_holder(holder: &Principal) -> String {
    format!("revoked/holder/{}", holder_key(holder))
}
