//! What it takes to refuse a password: the same for everybody.

use registry_core::Result;

use super::argon2;
use super::file::{Cost, Hash};
use crate::Secret;

/// How many different costs of argon2id count.
const ARGON2ID_MAX: usize = 8;

/// The costs of all hashes of a file. Each refusal takes all of them together,
/// whoever is refused: by its time nobody tells a name from another, or from one
/// that isn't known.
#[derive(Debug, Default)]
pub(super) struct Costs {
    /// The highest. Each is twice the one before, so that the lower ones add up to
    /// it.
    bcrypt: Option<u32>,
    /// Each different one, the dearest first: they add up to nothing but
    /// themselves.
    argon2id: Vec<argon2::Cost>,
}

impl Costs {
    pub(super) fn of(all: impl Iterator<Item = Cost>) -> Self {
        let mut costs = Self::default();
        for cost in all {
            match cost {
                Cost::Bcrypt(cost) => costs.bcrypt = costs.bcrypt.max(Some(cost)),
                Cost::Argon2id(cost) => costs.add(cost),
            }
        }
        costs
    }

    fn add(&mut self, cost: argon2::Cost) {
        if !self.argon2id.contains(&cost) {
            let dearer = |known: &argon2::Cost| known.volume() >= cost.volume();
            let place = self.argon2id.partition_point(dearer);
            self.argon2id.insert(place, cost);
            self.argon2id.truncate(ARGON2ID_MAX);
        }
    }

    /// What is left to spend after a hash of the cost `own` was checked, if any
    /// was.
    fn rest(&self, own: Option<Cost>) -> Vec<Cost> {
        let mut rest = Vec::new();
        match (own, self.bcrypt) {
            (Some(Cost::Bcrypt(own)), Some(most)) => rest.extend((own..most).map(Cost::Bcrypt)),
            (_, Some(most)) => rest.push(Cost::Bcrypt(most)),
            (_, None) => {}
        }
        let spent = match own {
            Some(Cost::Argon2id(own)) => self.nearest(own),
            _ => None,
        };
        let others = self.argon2id.iter().filter(|cost| spent != Some(*cost));
        rest.extend(others.map(|cost| Cost::Argon2id(*cost)));
        rest
    }

    /// The one among those that count that comes nearest to `own`; itself, unless
    /// there are too many.
    fn nearest(&self, own: argon2::Cost) -> Option<&argon2::Cost> {
        let distance = |cost: &&argon2::Cost| (**cost != own, cost.volume().abs_diff(own.volume()));
        self.argon2id.iter().min_by_key(distance)
    }
}

/// All that it takes to check a password.
pub(super) struct Work {
    /// Absent if there is no such user.
    hash: Option<Hash>,
    is_let_in: bool,
    /// What a refusal takes on top.
    rest: Vec<Cost>,
}

/// A part of it.
#[derive(Clone, Copy)]
pub(super) enum Step<'a> {
    Verify(&'a Hash),
    /// For nothing.
    Spend(Cost),
}

impl Work {
    pub(super) fn new(hash: Option<Hash>, is_let_in: bool, costs: &Costs) -> Self {
        Self {
            rest: costs.rest(hash.as_ref().map(Hash::cost)),
            hash,
            is_let_in,
        }
    }

    /// Whether there is anything to do about `password`.
    pub(super) fn is_any(&self, password: &Secret) -> bool {
        let own = self.hash.as_ref().map(Hash::cost);
        own.iter()
            .chain(&self.rest)
            .any(|cost| cost.takes(password))
    }

    /// Whether `password` is right, with each step taken by `take`. Wherever it
    /// isn't, or is of no use, that takes the same.
    pub(super) fn finish(
        &self,
        password: &Secret,
        mut take: impl FnMut(Step<'_>) -> Result<bool>,
    ) -> Result<bool> {
        let mut is_right = false;
        if let Some(hash) = self
            .hash
            .as_ref()
            .filter(|hash| hash.cost().takes(password))
        {
            is_right = take(Step::Verify(hash))?;
            if is_right && self.is_let_in {
                return Ok(true);
            }
        }
        for cost in self.rest.iter().filter(|cost| cost.takes(password)) {
            take(Step::Spend(*cost))?;
        }
        Ok(is_right)
    }
}

impl Step<'_> {
    /// Does it. It takes long.
    pub(super) fn take(self, password: &Secret) -> Result<bool> {
        match self {
            Self::Verify(hash) => hash.verify(password),
            Self::Spend(cost) => cost.spend(password).map(|()| false),
        }
    }
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects, reason = "a test fails by panicking")]
mod tests {
    use std::collections::BTreeMap;

    use super::super::users::Users;
    use super::*;

    const SALT_AND_DIGEST: &str = "c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4";

    fn bcrypt(cost: u32) -> String {
        format!("$2y${cost:02}$DCq7YPn5Rq63x1Lad4cll.TV4S6ytwfsfvkgY8jIucDrjc8deX1s.")
    }

    fn argon2id(memory: u32, passes: u32) -> String {
        format!("$argon2id$v=19$m={memory},t={passes},p=1${SALT_AND_DIGEST}")
    }

    fn users(hashes: &[String]) -> Users {
        let lines = (0..)
            .zip(hashes)
            .map(|(number, hash)| format!("user{number}:{hash}\n"));
        Users::parse("users", lines.collect::<String>().as_bytes()).unwrap()
    }

    /// What is spent in all until `password` is answered, where a check says
    /// `is_right`: rounds of bcrypt, and how often each cost of argon2id.
    fn spent(work: &Work, password: &Secret, is_right: bool) -> (u64, BTreeMap<String, u32>) {
        let (mut rounds, mut argon2id) = (0, BTreeMap::new());
        let outcome = work.finish(password, |step| {
            let cost = match step {
                Step::Verify(hash) => hash.cost(),
                Step::Spend(cost) => cost,
            };
            match cost {
                Cost::Bcrypt(cost) => rounds += 1_u64 << cost,
                Cost::Argon2id(cost) => *argon2id.entry(format!("{cost:?}")).or_default() += 1,
            }
            Ok(matches!(step, Step::Verify(_)) && is_right)
        });
        assert!(outcome.unwrap() == is_right || password.expose().len() > 72);
        (rounds, argon2id)
    }

    /// Files of hashes of several costs.
    fn mixtures() -> Vec<Vec<String>> {
        vec![
            vec![bcrypt(5)],
            vec![bcrypt(4), bcrypt(12), bcrypt(7), bcrypt(12)],
            vec![
                argon2id(64, 1),
                argon2id(64, 3),
                argon2id(4096, 1),
                argon2id(64, 3),
            ],
            vec![bcrypt(4), argon2id(65536, 3), bcrypt(10), argon2id(64, 1)],
        ]
    }

    #[test]
    fn s_46_each_refusal_takes_the_same_whoever_is_refused() {
        for hashes in mixtures() {
            let users = users(&hashes);
            // Bcrypt looks at no more than 72 bytes.
            for password in ["wrong".to_owned(), "x".repeat(73)] {
                let password = Secret::new(password);
                let nobody = spent(&users.work(None, true), &password, false);
                for number in 0..hashes.len() {
                    let known = users.get(&format!("user{number}")).unwrap();
                    let wrong = users.work(Some(known), true);
                    assert_eq!(
                        spent(&wrong, &password, false),
                        nobody,
                        "{number} of {hashes:?}"
                    );
                    // Nor is it seen that a right password of somebody disabled is.
                    let disabled = users.work(Some(known), false);
                    for is_right in [false, true] {
                        let refused = spent(
                            &disabled,
                            &password,
                            is_right && password.expose().len() < 72,
                        );
                        assert_eq!(refused, nobody, "{number} of {hashes:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn s_46_a_refusal_takes_no_less_than_the_dearest_hash() {
        let password = Secret::new("wrong");
        let [_, rounds, passes, both] = &mixtures().try_into().unwrap();
        let nobody = |hashes: &[String]| spent(&users(hashes).work(None, true), &password, false);
        assert_eq!(nobody(rounds).0, 1 << 12);
        assert_eq!(nobody(passes).1.values().sum::<u32>(), 3);
        let (rounds, passes) = nobody(both);
        assert_eq!((rounds, passes.values().sum::<u32>()), (1 << 10, 2));
    }

    #[test]
    fn who_is_let_in_pays_for_nobody_else() {
        let users = users(&[bcrypt(4), bcrypt(12), argon2id(64, 1)]);
        let right = |user| {
            spent(
                &users.work(users.get(user).map(AsRef::as_ref), true),
                &Secret::new("right"),
                true,
            )
        };
        assert_eq!(right("user0"), (1 << 4, BTreeMap::new()));
        assert_eq!(right("user1"), (1 << 12, BTreeMap::new()));
        let (rounds, passes) = right("user2");
        assert_eq!((rounds, passes.len()), (0, 1));
    }

    #[test]
    fn only_so_many_costs_of_argon2id_add_up() {
        let hashes: Vec<_> = (1..=10).map(|passes| argon2id(64, passes)).collect();
        let users = users(&hashes);
        let password = Secret::new("wrong");
        let steps = |user: Option<&str>| {
            let known = user.and_then(|user| users.get(user)).map(AsRef::as_ref);
            spent(&users.work(known, true), &password, false).1
        };
        let nobody = steps(None);
        assert_eq!(nobody.len(), ARGON2ID_MAX);
        // The dearest are those that count.
        assert_eq!(steps(Some("user9")), nobody);
        // Who has a cheaper one spends it in place of the nearest.
        assert_eq!(steps(Some("user0")).len(), ARGON2ID_MAX);
    }
}
