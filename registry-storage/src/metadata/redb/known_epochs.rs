//! The epochs of repositories that were asked for since something changed.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

use registry_core::{RepositoryEpoch, RepositoryName};

/// How many are remembered at once.
const MOST: usize = 1024;

/// Epochs by the name of the repository. Each request with a token asks for one,
/// and they seldom change; but none may be older than what was acknowledged, or
/// a token would open the successor of its repository. So all of them are void
/// with the next change, whatever that is.
#[derive(Debug, Default)]
pub(super) struct KnownEpochs(RwLock<Known>);

#[derive(Debug, Default)]
struct Known {
    /// How often something had changed when these were asked for.
    changes: u64,
    epochs: HashMap<RepositoryName, RepositoryEpoch>,
}

impl KnownEpochs {
    /// That of `repository`, if it was asked for since the last of so many
    /// `changes`.
    pub(super) fn get(&self, repository: &RepositoryName, changes: u64) -> Option<RepositoryEpoch> {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let epochs = (known.changes == changes).then_some(&known.epochs)?;
        epochs.get(repository).copied()
    }

    /// Remembers what was found after `changes` were counted.
    pub(super) fn insert(&self, repository: &RepositoryName, epoch: RepositoryEpoch, changes: u64) {
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if known.changes > changes {
            return;
        }
        if known.changes < changes || known.epochs.len() >= MOST {
            known.epochs.clear();
            known.changes = changes;
        }
        known.epochs.insert(repository.clone(), epoch);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(number: u64) -> RepositoryEpoch {
        RepositoryEpoch {
            number,
            since: None,
        }
    }

    #[test]
    fn what_was_found_before_a_change_is_void() {
        let epochs = KnownEpochs::default();
        let (a, b) = ("a".parse().unwrap(), "b".parse().unwrap());
        epochs.insert(&a, of(1), 0);
        assert_eq!(epochs.get(&a, 0), Some(of(1)));
        assert_eq!(epochs.get(&a, 1), None);
        epochs.insert(&b, of(2), 1);
        assert_eq!((epochs.get(&a, 1), epochs.get(&b, 1)), (None, Some(of(2))));
        // Somebody was slow.
        epochs.insert(&b, of(1), 0);
        epochs.insert(&a, of(1), 0);
        assert_eq!((epochs.get(&a, 1), epochs.get(&b, 1)), (None, Some(of(2))));
    }

    #[test]
    fn only_so_many_are_remembered() {
        let epochs = KnownEpochs::default();
        for number in 0..10 * MOST {
            let name = format!("repository/{number}").parse().unwrap();
            epochs.insert(&name, of(7), 0);
            assert_eq!(epochs.get(&name, 0), Some(of(7)));
            assert!(epochs.0.read().unwrap().epochs.len() <= MOST);
        }
    }
}
