//! A table that stays small whoever fills it.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// The most entries of a generation.
const GENERATION: usize = 65_536;

/// What is counted, by a number that stands for whom it is about: a hash under a
/// key that nobody knows, so it isn't hashed again.
///
/// There are two generations. Once the younger one is full it becomes the older
/// one, and what was the older one is forgotten, unless it was asked for in the
/// meantime.
#[derive(Debug, Default)]
pub(crate) struct Table<V> {
    younger: Hashed<V>,
    older: Hashed<V>,
}

type Hashed<V> = HashMap<u64, V, BuildHasherDefault<Itself>>;

/// The hash of a number that is one already.
#[derive(Debug, Default)]
struct Itself(u64);

impl Hasher for Itself {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(byte);
        }
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = number;
    }
}

impl<V: Copy + Default> Table<V> {
    /// What is counted so far.
    pub(crate) fn get(&self, key: u64) -> V {
        let entry = self.younger.get(&key).or_else(|| self.older.get(&key));
        entry.copied().unwrap_or_default()
    }

    /// The same to be changed.
    pub(crate) fn entry(&mut self, key: u64) -> &mut V {
        let known = self.older.remove(&key);
        if self.younger.len() >= GENERATION && !self.younger.contains_key(&key) {
            self.older = std::mem::take(&mut self.younger);
        }
        self.younger
            .entry(key)
            .or_insert_with(|| known.unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::{GENERATION, Table};

    #[test]
    fn it_never_grows_beyond_two_generations_and_keeps_what_is_asked_for() {
        let mut table = Table::<u32>::default();
        for key in 0..10 * GENERATION as u64 {
            *table.entry(key) += 1;
            *table.entry(u64::MAX) += 1;
            assert!(table.younger.len() <= GENERATION && table.older.len() <= GENERATION);
        }
        assert_eq!(table.get(u64::MAX) as usize, 10 * GENERATION);
        assert_eq!(table.get(0), 0);
        assert_eq!(table.get(10 * GENERATION as u64 - 1), 1);
    }
}
