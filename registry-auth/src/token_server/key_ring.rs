//! Keys that come one after the other.

use std::time::{Duration, SystemTime};

use registry_core::{ErrorKind, Result};

use super::signing_key::SigningKey;
use crate::jwt::KeySet;

/// How long a new key is only shown before it signs, so that whoever checks
/// tokens has learned of it by then.
pub(super) const INTRODUCTION: Duration = Duration::from_mins(10);

/// How long the tokens of a key that doesn't sign any more are taken: as long as
/// they can live, and somewhat longer as clocks differ.
const FAREWELL: Duration = Duration::from_mins(70);

/// The keys of a token server. The newest one that has been introduced signs;
/// each is good until all that it signed has expired.
#[derive(Debug)]
pub(super) struct KeyRing {
    /// The oldest first, and at least one.
    keys: Vec<DatedKey>,
    all: KeySet,
}

/// A key, and when it was made.
#[derive(Debug)]
pub(super) struct DatedKey {
    pub(super) made_at: SystemTime,
    pub(super) key: SigningKey,
}

impl KeyRing {
    /// The ring of these keys, in any order.
    pub(super) fn new(mut keys: Vec<DatedKey>) -> Result<Self> {
        if keys.is_empty() {
            return Err(ErrorKind::Internal.error("there is no key to sign tokens with"));
        }
        keys.sort_by(|one, other| {
            let kids = || one.key.public().kid().cmp(other.key.public().kid());
            one.made_at.cmp(&other.made_at).then_with(kids)
        });
        let all = keys.iter().try_fold(KeySet::new(), |set, dated| {
            set.with(dated.key.public().clone())
        })?;
        Ok(Self { keys, all })
    }

    /// The key that signs at `now`: without one that has been introduced, the
    /// oldest, which is known for the longest time.
    pub(super) fn signing(&self, now: SystemTime) -> Result<&SigningKey> {
        self.keys
            .iter()
            .rfind(|dated| age(dated.made_at, now) >= INTRODUCTION)
            .or(self.keys.first())
            .map(|dated| &dated.key)
            .ok_or_else(|| ErrorKind::Internal.error("there is no key to sign tokens with"))
    }

    /// All keys, to find the one that may have signed a token.
    pub(super) fn all(&self) -> &KeySet {
        &self.all
    }

    /// Whether what the key called `kid` signed is taken at `now`.
    pub(super) fn is_trusted(&self, kid: &str, now: SystemTime) -> bool {
        self.trusted(now)
            .any(|dated| dated.key.public().kid() == kid)
    }

    /// The keys that others should know at `now` to check tokens.
    pub(super) fn document(&self, now: SystemTime) -> Result<Vec<u8>> {
        let set = self.trusted(now).try_fold(KeySet::new(), |set, dated| {
            set.with(dated.key.public().clone())
        })?;
        Ok(set.to_document())
    }

    /// Whether the newest key is so old that another one should follow it.
    pub(super) fn is_older_than(&self, most: Duration, now: SystemTime) -> bool {
        self.keys
            .last()
            .is_none_or(|dated| age(dated.made_at, now) >= most)
    }

    fn trusted(&self, now: SystemTime) -> impl Iterator<Item = &DatedKey> {
        let successors = self.keys.iter().skip(1).map(Some).chain([None]);
        self.keys
            .iter()
            .zip(successors)
            .filter(move |(_, successor)| {
                let replaced = |next: &DatedKey| {
                    age(next.made_at, now) >= INTRODUCTION.saturating_add(FAREWELL)
                };
                !successor.is_some_and(replaced)
            })
            .map(|(dated, _)| dated)
    }
}

/// How long ago `made_at` is.
fn age(made_at: SystemTime, now: SystemTime) -> Duration {
    now.duration_since(made_at).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::super::signing_key::SigningAlgorithm;
    use super::*;

    fn at(minutes: u64) -> SystemTime {
        let since = Duration::from_mins(1_000_000).saturating_add(Duration::from_mins(minutes));
        UNIX_EPOCH.checked_add(since).unwrap()
    }

    fn ring(made_at: &[u64]) -> (KeyRing, Vec<String>) {
        let made = made_at.iter().map(|minutes| DatedKey {
            made_at: at(*minutes),
            key: SigningKey::generate(SigningAlgorithm::EdDsa).unwrap().0,
        });
        let made: Vec<_> = made.collect();
        let kid = |dated: &DatedKey| dated.key.public().kid().to_owned();
        let kids = made.iter().map(kid).collect();
        (KeyRing::new(made).unwrap(), kids)
    }

    #[test]
    fn a_new_key_is_shown_before_it_signs_and_an_old_one_after() {
        let (ring, kids) = ring(&[0, 1000]);
        for (minutes, signs, shown) in [
            (0, 0, vec![0, 1]),
            (1000, 0, vec![0, 1]),
            (1009, 0, vec![0, 1]),
            (1010, 1, vec![0, 1]),
            (1079, 1, vec![0, 1]),
            (1080, 1, vec![1]),
            (1_000_000, 1, vec![1]),
        ] {
            let signing = ring.signing(at(minutes)).unwrap().public().kid();
            assert_eq!(signing, kids[signs], "{minutes}");
            let document = String::from_utf8(ring.document(at(minutes)).unwrap()).unwrap();
            for (number, kid) in kids.iter().enumerate() {
                assert_eq!(document.contains(kid), shown.contains(&number), "{minutes}");
                assert_eq!(ring.is_trusted(kid, at(minutes)), shown.contains(&number));
            }
        }
        assert!(!ring.is_trusted("another", at(0)));
    }

    #[test]
    fn a_first_key_signs_at_once() {
        let (ring, kids) = ring(&[5]);
        assert_eq!(ring.signing(at(5)).unwrap().public().kid(), kids[0]);
        // Whatever the clock says.
        assert_eq!(ring.signing(at(0)).unwrap().public().kid(), kids[0]);
    }
}
