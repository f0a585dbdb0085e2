//! One generation of users, and which passwords were found right.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use registry_core::{Randomness, Result};
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use super::file::{self, Hash};
use super::refusal::{Costs, Work};
use crate::{Principal, Secret};

/// How long a password that was found right isn't checked again.
const REMEMBERED: Duration = Duration::from_mins(2);

/// The users of one version of the file. What was found out about their
/// passwords goes away with it.
pub(super) struct Users {
    known: HashMap<String, Arc<Known>>,
    costs: Costs,
}

/// A user of the file.
pub(super) struct Known {
    hash: Hash,
    /// Another one after the password changed.
    stamp: [u8; 16],
    verified: Mutex<Option<Verified>>,
}

struct Verified {
    fingerprint: Fingerprint,
    since: Instant,
}

impl Users {
    pub(super) fn parse(name: &str, content: &[u8]) -> Result<Self> {
        let users = file::parse(name, content)?;
        Ok(Self {
            costs: Costs::of(users.values().map(Hash::cost)),
            known: users
                .into_iter()
                .map(|(name, hash)| {
                    let known = Known {
                        stamp: stamp(&name, &hash),
                        hash,
                        verified: Mutex::default(),
                    };
                    (name, Arc::new(known))
                })
                .collect(),
        })
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.known.keys().map(String::as_str)
    }

    /// How many of these aren't in the version `now`, if any: a file that was cut short, or
    /// is another one, is as well-formed as what was meant.
    pub(super) fn missed_in(&self, now: &Self) -> Option<String> {
        let gone = self.names().filter(|name| now.get(name).is_none()).count();
        let are = if gone == 1 { "is" } else { "are" };
        (gone > 0).then(|| {
            format!(
                "{gone} of {} users {are} gone from the password file; bring them back if that \
                 wasn't meant",
                self.known.len()
            )
        })
    }

    pub(super) fn get(&self, user: &str) -> Option<&Arc<Known>> {
        self.known.get(user)
    }

    /// What it takes to check the password of `known`, or of nobody.
    /// `is_let_in` is whether a right one is of any use.
    pub(super) fn work(&self, known: Option<&Known>, is_let_in: bool) -> Work {
        let hash = known.map(|known| known.hash.clone());
        Work::new(hash, is_let_in, &self.costs)
    }
}

impl Known {
    /// Whoever logs in with the password of `user`, which this is.
    pub(super) fn principal(&self, user: &str) -> Principal {
        Principal::new(user).with_stamp(self.stamp)
    }

    pub(super) fn is_verified(&self, fingerprint: &Fingerprint) -> bool {
        let verified = self.verified.lock().unwrap_or_else(PoisonError::into_inner);
        verified.as_ref().is_some_and(|last| {
            last.fingerprint == *fingerprint && last.since.elapsed() < REMEMBERED
        })
    }

    pub(super) fn set_verified(&self, fingerprint: Fingerprint) {
        let since = Instant::now();
        let mut verified = self.verified.lock().unwrap_or_else(PoisonError::into_inner);
        *verified = Some(Verified { fingerprint, since });
    }
}

/// Of a user and the hash of the password. It tells nothing of either: the hash
/// is salted.
fn stamp(user: &str, hash: &Hash) -> [u8; 16] {
    let mut state = Sha256::new_with_prefix((user.len() as u64).to_le_bytes());
    state.update(user.as_bytes());
    state.update(hash.bytes());
    let mut stamp = [0; 16];
    for (place, byte) in stamp.iter_mut().zip(state.finalize()) {
        *place = byte;
    }
    stamp
}

/// Recognises a user name and password without keeping them. Comparing two in
/// variable time tells nothing: nobody can aim at one without the key.
#[derive(PartialEq, Eq)]
pub(super) struct Fingerprint([u8; 32]);

/// Makes fingerprints under a key that lives as long as the process.
pub(super) struct Fingerprints(Hmac<Sha256>);

impl Fingerprints {
    pub(super) fn new(randomness: &dyn Randomness) -> Result<Self> {
        let mut key = [0; 64];
        for (place, byte) in key
            .iter_mut()
            .zip(randomness.bytes()?.into_iter().chain(randomness.bytes()?))
        {
            *place = byte;
        }
        Ok(Self(Hmac::new(&key.into())))
    }

    pub(super) fn of(&self, user: &str, password: &Secret) -> Fingerprint {
        let mut mac = self.0.clone();
        // With its length in front, no other pair reads the same.
        mac.update(&(user.len() as u64).to_le_bytes());
        mac.update(user.as_bytes());
        mac.update(password.expose().as_bytes());
        Fingerprint(mac.finalize().into_bytes().into())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;
    use registry_core::SystemRandomness;

    use super::*;

    #[test]
    fn s_19_different_pairs_have_different_fingerprints() {
        let fingerprints = Fingerprints::new(&SystemRandomness).unwrap();
        let of = |user, password| fingerprints.of(user, &Secret::new(password)).0;
        assert_eq!(of("ab", "c"), of("ab", "c"));
        for (user, password) in [("a", "bc"), ("abc", ""), ("", "abc"), ("ab", "C")] {
            assert_ne!(of("ab", "c"), of(user, password), "{user}:{password}");
        }
        let others = Fingerprints::new(&SystemRandomness).unwrap();
        assert_ne!(of("ab", "c"), others.of("ab", &Secret::new("c")).0);
    }

    /// However a text is parted in two, and whatever looks like the length of the first
    /// in front of it.
    fn pairs(text: &str, other: (String, String)) -> Vec<(String, String)> {
        let places = text.char_indices().map(|(at, _)| at).chain([text.len()]);
        let mut pairs: Vec<(String, String)> = vec![other];
        for (user, rest) in places.map(|at| text.split_at(at)) {
            let length = char::from(u8::try_from(user.len()).unwrap());
            let inner = format!("{length}\0\0\0\0\0\0\0{user}");
            pairs.push((user.to_owned(), rest.to_owned()));
            pairs.push((String::new(), format!("{inner}{rest}")));
            pairs.push((inner, rest.to_owned()));
        }
        pairs.sort();
        pairs.dedup();
        pairs
    }

    proptest! {
        #[test]
        fn s_19_no_two_pairs_have_one_fingerprint(
            text in "[a\\x00-\\x02:é]{0,10}",
            other in ("[a\\x00-\\x02]{0,9}", "[a\\x00-\\x02]{0,9}"),
        ) {
            let fingerprints = Fingerprints::new(&SystemRandomness).unwrap();
            let pairs = pairs(&text, other);
            let fingerprint = |(user, password): &(String, String)| {
                fingerprints.of(user, &Secret::new(password.clone())).0
            };
            let all: HashSet<_> = pairs.iter().map(fingerprint).collect();
            prop_assert_eq!(all.len(), pairs.len());
        }

        /// Neither has another user, nor whoever has another hash, what was given out before.
        #[test]
        fn s_19_no_two_users_with_their_hashes_have_one_stamp(
            text in "[a\\x00-\\x02$é]{0,10}",
            other in ("[a\\x00-\\x02]{0,9}", "[a\\x00-\\x02]{0,9}"),
        ) {
            let pairs = pairs(&text, other);
            let stamp = |(user, hash): &(String, String)| {
                stamp(user, &Hash::Bcrypt { text: hash.as_str().into(), cost: 4 })
            };
            let all: HashSet<_> = pairs.iter().map(stamp).collect();
            prop_assert_eq!(all.len(), pairs.len());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_password_is_remembered_for_two_minutes() {
        let fingerprints = Fingerprints::new(&SystemRandomness).unwrap();
        let of = |password| fingerprints.of("a", &Secret::new(password));
        let content = b"a:$2y$05$DCq7YPn5Rq63x1Lad4cll.TV4S6ytwfsfvkgY8jIucDrjc8deX1s.";
        let users = Users::parse("users", content).unwrap();
        let known = users.get("a").unwrap();
        assert!(!known.is_verified(&of("right")));
        known.set_verified(of("right"));
        tokio::time::advance(Duration::from_secs(119)).await;
        assert!(known.is_verified(&of("right")));
        assert!(!known.is_verified(&of("wrong")));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(!known.is_verified(&of("right")));
    }
}
