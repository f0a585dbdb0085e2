//! What was found out at some cost, for as long as there is room.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What stands for credentials: a hash that nobody can find another input for.
pub(crate) type Fingerprint = [u8; 32];

/// Values by the fingerprint of what they were found for, at most twice as many
/// as asked for.
///
/// There are two generations. Once the younger one is full it becomes the older
/// one, and what was the older one is forgotten. So whoever floods it pushes out
/// what nobody asked for in the meantime.
pub(crate) struct Remembered<V> {
    most: usize,
    generations: Mutex<Generations<V>>,
}

struct Generations<V> {
    younger: HashMap<Fingerprint, V>,
    older: HashMap<Fingerprint, V>,
}

impl<V: Clone> Remembered<V> {
    /// Room for at least `most` values.
    pub(crate) fn new(most: usize) -> Self {
        Self {
            most,
            generations: Mutex::new(Generations {
                younger: HashMap::new(),
                older: HashMap::new(),
            }),
        }
    }

    /// What is remembered. It is kept for longer then.
    pub(crate) fn get(&self, fingerprint: &Fingerprint) -> Option<V> {
        let mut generations = self.lock();
        if let Some(value) = generations.younger.get(fingerprint) {
            return Some(value.clone());
        }
        let value = generations.older.remove(fingerprint)?;
        generations.insert(*fingerprint, value.clone(), self.most);
        Some(value)
    }

    /// Remembers a value.
    pub(crate) fn insert(&self, fingerprint: Fingerprint, value: V) {
        self.lock().insert(fingerprint, value, self.most);
    }

    fn lock(&self) -> MutexGuard<'_, Generations<V>> {
        self.generations
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl<V> Generations<V> {
    fn insert(&mut self, fingerprint: Fingerprint, value: V, most: usize) {
        if self.younger.len() >= most {
            self.older = std::mem::take(&mut self.younger);
        }
        self.younger.insert(fingerprint, value);
    }
}

impl<V> fmt::Debug for Remembered<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remembered")
            .field("most", &self.most)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::Remembered;

    fn of(number: u32) -> [u8; 32] {
        let mut fingerprint = [0; 32];
        fingerprint[..4].copy_from_slice(&number.to_be_bytes());
        fingerprint
    }

    #[test]
    fn what_is_asked_for_outlives_a_flood() {
        let remembered = Remembered::new(10);
        remembered.insert(of(0), 0);
        for number in 1..1000 {
            remembered.insert(of(number), number);
            assert_eq!(remembered.get(&of(0)), Some(0), "{number}");
        }
        assert!((991..1000).all(|number| remembered.get(&of(number)).is_some()));
        assert_eq!(remembered.get(&of(900)), None);
        let generations = remembered.lock();
        assert!(generations.younger.len() + generations.older.len() <= 20);
    }
}
