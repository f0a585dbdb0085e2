//! Accounts that a directory keeps, though nobody is to use them any more.

use std::time::{SystemTime, UNIX_EPOCH};

use super::message::Entry;

/// What tells whether an account is still in use.
pub(super) const STATES: [&str; 5] = [
    "userAccountControl",
    "accountExpires",
    "nsAccountLock",
    "pwdAccountLockedTime",
    "shadowExpire",
];

/// Of `userAccountControl`: the account is disabled.
const DISABLED: u32 = 2;

/// Of `pwdAccountLockedTime`: until somebody unlocks it. Other times are those of an
/// account at which somebody guessed, and pass.
const FOR_GOOD: &[u8] = b"000001010000Z";

/// From 1601, from which `accountExpires` counts, to 1970, in seconds.
const FROM_1601: u64 = 11_644_473_600;

/// How many units of `accountExpires` are a second.
const PER_SECOND: u64 = 10_000_000;

const DAY: u64 = 24 * 3600;

/// Why nobody is to use the account of this entry at `now`: a directory may refuse
/// its password, and still finds it for whoever has a key or a token.
pub(super) fn ended(entry: &Entry, now: SystemTime) -> Option<&'static str> {
    let now = now
        .duration_since(UNIX_EPOCH)
        .map_or(0, |now| now.as_secs());
    let [control, expires, locked, locked_at, shadow] =
        STATES.map(|name| entry.values(name).first().map(Vec::as_slice));
    let over = |end: Option<u64>| end.is_some_and(|end| end <= now);
    if number(control).is_some_and(|bits: u32| bits & DISABLED != 0) {
        return Some("it is disabled");
    }
    // Nothing, and what no date is as far off as, mean never.
    let expires = number(expires).filter(|&units: &u64| units > 0);
    if over(expires.map(|units| (units / PER_SECOND).saturating_sub(FROM_1601))) {
        return Some("it has expired");
    }
    let days = number(shadow).filter(|&days: &u64| days > 0);
    if over(days.map(|days| days.saturating_mul(DAY))) {
        return Some("it has expired");
    }
    if locked.is_some_and(|locked| locked.eq_ignore_ascii_case(b"true"))
        || locked_at == Some(FOR_GOOD)
    {
        return Some("it is locked");
    }
    None
}

fn number<T: std::str::FromStr>(value: Option<&[u8]>) -> Option<T> {
    std::str::from_utf8(value?).ok()?.parse().ok()
}
