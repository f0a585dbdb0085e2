//! Positions in lists that clients may go on from and not read.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use registry_core::{ErrorKind, Randomness, Result};

/// What no name and no tag begins with.
const MARK: char = '~';

/// How many positions are kept.
const KEPT: usize = 1024;

/// Where a page ended without an item that the client may see: the position may be
/// the name of something hidden, so that clients get a number in its place.
///
/// They are kept in memory, the latest only. Whoever comes too late with one, or
/// after a restart, begins its list anew.
pub(crate) struct Positions {
    kept: Mutex<VecDeque<Kept>>,
    randomness: Arc<dyn Randomness>,
}

struct Kept {
    number: u128,
    /// Which list it is a position in; in another one it is none.
    list: String,
    position: String,
}

impl Positions {
    pub(crate) fn new(randomness: Arc<dyn Randomness>) -> Self {
        Self {
            kept: Mutex::default(),
            randomness,
        }
    }

    /// The position in `list` that a client goes on from which was told `after`.
    pub(crate) fn find(&self, list: &str, after: Option<String>) -> Result<Option<String>> {
        let Some(number) = after.as_deref().and_then(|after| after.strip_prefix(MARK)) else {
            return Ok(after);
        };
        let number = u128::from_str_radix(number, 16).ok();
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let found = kept
            .iter()
            .find(|kept| Some(kept.number) == number && kept.list == list);
        match found {
            Some(kept) => Ok(Some(kept.position.clone())),
            None => Err(ErrorKind::PageInvalid
                .error("the position is too old; list from the beginning again")),
        }
    }

    /// What a client is told of `next` in `list`, where the last item that it sees is `shown`.
    pub(crate) fn tell(&self, list: &str, shown: Option<&str>, next: String) -> Result<String> {
        if shown == Some(&*next) {
            return Ok(next);
        }
        let number = u128::from_be_bytes(self.randomness.bytes()?);
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= KEPT {
            kept.pop_front();
        }
        kept.push_back(Kept {
            number,
            list: list.to_owned(),
            position: next,
        });
        Ok(format!("{MARK}{number:032x}"))
    }
}

impl fmt::Debug for Positions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Positions").finish_non_exhaustive()
    }
}
