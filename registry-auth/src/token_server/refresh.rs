//! Refresh tokens: what gets a new token without a password.
//!
//! One is 256 random bits. Kept is who holds it and a hash of it, so that nobody
//! who reads the records can use it.
//!
//! Docker redeems the one that it was given when somebody logged in, again and again,
//! and keeps no other, and so do others that use its file: that one is used twice
//! is no sign of theft, and doesn't end it. A client that asks for another one
//! loses the old one. Whoever stole one ends with the login that it came from: no
//! later one is good for longer.

use std::fmt::Write;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use registry_core::{Error, ErrorKind, Expected, PageRequest, Records, Result};
use serde::{Deserialize, Serialize};

use super::access_token::{self, subject, word};
use super::revocation;
use crate::{Principal, Secret};

/// What refresh tokens start with, so that they are found where they shouldn't be.
const MARK: &str = "rgr_";

/// How long one is good that nobody uses.
const UNUSED: Duration = Duration::from_hours(24 * 90);

/// A day: that one is used on another day has to be kept.
const DAY: Duration = Duration::from_hours(24);

/// A minute: when one was used is kept no more precisely, so that using it costs few
/// writes.
const MINUTE: Duration = Duration::from_mins(1);

/// The most of one holder. Of more, the one that was used the longest ago goes. They
/// fit into one page.
const MOST: usize = 512;

/// Where they are kept.
const ALL: &str = "refresh/";

/// How many are looked at together.
const PAGE: usize = 1000;

/// A refresh token as its holder has it: `rgr_`, 16 digits for the holder, 16 for
/// the token, `_`, and the secret.
pub(super) struct RefreshToken {
    holder: String,
    id: String,
    secret: Secret,
}

/// What is kept of it.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    /// The SHA-256 of the secret.
    hash: String,
    service: String,
    kind: String,
    holder: String,
    source: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    stamp: Option<[u8; 16]>,
    /// Which of the holder's API keys it was made for, with which it ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    /// The day of its last use, since 1970.
    day: u64,
    /// The minute of its last use, since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    minute: Option<u64>,
    /// When its holder logged in, in seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    since: Option<u64>,
}

impl Kept {
    /// The minute of its last use.
    fn used(&self) -> u64 {
        let minutes = DAY.as_secs().checked_div(MINUTE.as_secs());
        let first = || self.day.saturating_mul(minutes.unwrap_or_default());
        self.minute.unwrap_or_else(first)
    }

    /// When its holder logged in.
    fn since(&self) -> SystemTime {
        let day = || self.day.saturating_mul(DAY.as_secs());
        let seconds = Duration::from_secs(self.since.unwrap_or_else(day));
        UNIX_EPOCH.checked_add(seconds).unwrap_or(UNIX_EPOCH)
    }
}

/// When and by whom tokens are given out.
#[derive(Clone, Copy)]
pub(super) struct Terms<'a> {
    pub(super) service: &'a str,
    /// How long one is good after a login, however often it is used or replaced.
    pub(super) lifetime: Duration,
    pub(super) now: SystemTime,
}

/// A refresh token that was found.
pub(crate) struct Found {
    key: String,
    version: u64,
    kept: Kept,
    holder: Principal,
}

impl Found {
    /// Who holds it, as far as it was known when it was made.
    pub(crate) fn holder(&self) -> &Principal {
        &self.holder
    }

    /// The [source](crate::Authenticator::source) that knows the holder.
    pub(crate) fn source(&self) -> &str {
        &self.kept.source
    }

    /// When its holder logged in: it, or one that it replaces, was given out then.
    pub(crate) fn since(&self) -> SystemTime {
        self.kept.since()
    }
}

impl RefreshToken {
    fn new(holder: &Principal) -> Result<Self> {
        let mut secret = zeroize::Zeroizing::new([0_u8; 32]);
        aws_lc_rs::rand::fill(&mut *secret)
            .map_err(|source| Error::internal("the system gives no random numbers", source))?;
        let id = super::identity()?;
        Ok(Self {
            holder: holder_key(holder),
            id: id.get(..16).unwrap_or_default().to_owned(),
            secret: Secret::new(URL_SAFE_NO_PAD.encode(*secret)),
        })
    }

    pub(super) fn parse(text: &Secret) -> Option<Self> {
        let (names, secret) = text.expose().strip_prefix(MARK)?.split_once('_')?;
        let (holder, id) = names.split_at_checked(16)?;
        let is_hex = |byte: u8| byte.is_ascii_digit() || matches!(byte, b'a'..=b'f');
        (id.len() == 16 && names.bytes().all(is_hex)).then(|| Self {
            holder: holder.to_owned(),
            id: id.to_owned(),
            secret: Secret::new(secret),
        })
    }

    fn text(&self) -> Secret {
        let Self { holder, id, secret } = self;
        Secret::new(format!("{MARK}{holder}{id}_{}", secret.expose()))
    }

    fn key(&self) -> String {
        format!("{ALL}{}/{}", self.holder, self.id)
    }

    fn hash(&self) -> String {
        URL_SAFE_NO_PAD.encode(digest(&SHA256, self.secret.expose().as_bytes()))
    }
}

/// Gives `holder`, who logged in at some time, a refresh token. Nothing if all of
/// its tokens were revoked since.
pub(super) async fn make(
    records: &dyn Records,
    holder: &Principal,
    since: SystemTime,
    terms: Terms<'_>,
) -> Result<Option<Secret>> {
    make_room(records, holder).await?;
    let token = RefreshToken::new(holder)?;
    let kept = Kept {
        hash: token.hash(),
        service: terms.service.to_owned(),
        kind: word(holder.kind()).to_owned(),
        holder: subject(holder),
        source: holder.source().to_owned(),
        stamp: holder.stamp().copied(),
        key: holder.key().map(str::to_owned),
        day: day(terms.now),
        minute: Some(minute(terms.now)),
        since: Some(seconds(since)),
    };
    let key = token.key();
    write(records, &key, Expected::Absent, &kept, terms).await?;
    // Whoever revokes writes that down before looking for what there is.
    if revocation::has_ended(records, holder, since).await? {
        records.remove(&key, Expected::Any).await?;
        return Ok(None);
    }
    Ok(Some(token.text()))
}

/// The refresh token that is `text`, if it is one of this service.
pub(super) async fn find(
    records: &dyn Records,
    text: &Secret,
    terms: Terms<'_>,
) -> Result<Option<Found>> {
    let Some(token) = RefreshToken::parse(text) else {
        return Ok(None);
    };
    let Some(record) = records.get(&token.key()).await? else {
        return Ok(None);
    };
    let kept: Kept = serde_json::from_slice(&record.value)
        .map_err(|source| Error::internal("what is kept of a refresh token is damaged", source))?;
    let end = kept.since().checked_add(terms.lifetime);
    let is_it = Secret::new(token.hash()).matches(&kept.hash)
        && kept.service == terms.service
        && end.is_none_or(|end| terms.now < end);
    let Some(mut holder) = access_token::holder(&kept.kind, &kept.holder, None) else {
        return Ok(None);
    };
    if let Some(stamp) = kept.stamp {
        holder = holder.with_stamp(stamp);
    }
    if let Some(key) = &kept.key {
        holder = holder.by_key(key);
    }
    Ok(is_it.then_some(Found {
        holder,
        key: record.key,
        version: record.version,
        kept,
    }))
}

/// Takes note that the token was used now. That it was used today has to be kept, for
/// it is good for so long; what time it was only tells which one goes first.
pub(super) async fn touch(records: &dyn Records, mut found: Found, terms: Terms<'_>) -> Result<()> {
    let (today, now) = (day(terms.now), minute(terms.now));
    let is_noted = found.kept.day == today;
    if is_noted && found.kept.used() == now {
        return Ok(());
    }
    found.kept.since = Some(seconds(found.since()));
    (found.kept.day, found.kept.minute) = (today, Some(now));
    let expected = Expected::Version(found.version);
    match write(records, &found.key, expected, &found.kept, terms).await {
        // Somebody else used it, too.
        Err(error) if error.kind() == ErrorKind::PreconditionFailed => Ok(()),
        Err(error) if is_noted => {
            tracing::debug!(%error, "when a refresh token was used could not be kept");
            Ok(())
        }
        written => written,
    }
}

/// Ends the token, and tells whether it was still there: of many who do this, one
/// hears that it was.
pub(super) async fn consume(records: &dyn Records, found: &Found) -> Result<bool> {
    // Whatever was noted about it meanwhile: no other one is ever kept there.
    match records.remove(&found.key, Expected::Any).await {
        Err(error) if error.kind() == ErrorKind::PreconditionFailed => Ok(false),
        removed => removed,
    }
}

/// Ends all tokens of `holder`, and tells how many.
pub(super) async fn end_all(records: &dyn Records, holder: &Principal) -> Result<usize> {
    end(records, &of_holder(holder)).await
}

/// Ends all tokens, and tells how many.
pub(super) async fn end_everybodys(records: &dyn Records) -> Result<usize> {
    end(records, ALL).await
}

/// Ends what there is when it begins. What comes meanwhile is left to whoever makes
/// it.
async fn end(records: &dyn Records, prefix: &str) -> Result<usize> {
    let mut ended = 0_usize;
    let mut last = None;
    loop {
        let page = PageRequest::first(PAGE).after(last);
        let found = records.list(prefix, page).await?;
        for record in found.items {
            let existed = records.remove(&record.key, Expected::Any).await?;
            ended = ended.saturating_add(existed.into());
        }
        match found.next {
            Some(next) => last = Some(next),
            None => return Ok(ended),
        }
    }
}

async fn make_room(records: &dyn Records, holder: &Principal) -> Result<()> {
    let mut known = all_of(records, holder).await?;
    known.sort_unstable();
    let surplus = known.len().saturating_add(1).saturating_sub(MOST);
    for (_, key) in known.into_iter().take(surplus) {
        records.remove(&key, Expected::Any).await?;
    }
    Ok(())
}

/// The keys of tokens of `holder`, each with its last use: the minute, and the order
/// in which it was noted.
async fn all_of(records: &dyn Records, holder: &Principal) -> Result<Vec<((u64, u64), String)>> {
    let prefix = of_holder(holder);
    let page = records.list(&prefix, PageRequest::first(PAGE)).await?;
    Ok(page
        .items
        .into_iter()
        .map(|record| {
            let kept: Option<Kept> = serde_json::from_slice(&record.value).ok();
            let used = kept.map_or(0, |kept| kept.used());
            ((used, record.version), record.key)
        })
        .collect())
}

async fn write(
    records: &dyn Records,
    key: &str,
    expected: Expected,
    kept: &Kept,
    terms: Terms<'_>,
) -> Result<()> {
    let value = serde_json::to_vec(kept)
        .map_err(|source| Error::internal("a refresh token could not be kept", source))?;
    let unused = terms.now.checked_add(UNUSED.saturating_add(DAY));
    let end = kept.since().checked_add(terms.lifetime);
    let expires_at = unused.into_iter().chain(end).min();
    records.put(key, expected, value, expires_at).await?;
    Ok(())
}

fn of_holder(holder: &Principal) -> String {
    format!("{ALL}{}/", holder_key(holder))
}

fn seconds(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH);
    since.unwrap_or_default().as_secs()
}

fn day(now: SystemTime) -> u64 {
    seconds(now).checked_div(DAY.as_secs()).unwrap_or_default()
}

fn minute(now: SystemTime) -> u64 {
    let minutes = seconds(now).checked_div(MINUTE.as_secs());
    minutes.unwrap_or_default()
}

/// What stands for somebody in keys of records: 16 digits.
pub(crate) fn holder_key(holder: &Principal) -> String {
    // No kind holds a colon, so nobody is somebody else.
    let name = format!("{}:{}", word(holder.kind()), subject(holder));
    let mut key = String::with_capacity(16);
    for byte in digest(&SHA256, name.as_bytes()).as_ref().iter().take(8) {
        // Writing into memory doesn't fail.
        let _ = write!(key, "{byte:02x}");
    }
    key
}
