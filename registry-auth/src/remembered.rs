//! What was found out at some cost, for as long as there is room.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

/// What stands for credentials: a hash that nobody can find another input for.
pub(crate) type Fingerprint = [u8; 32];

/// What an entry takes besides its value, in bytes: its fingerprint, and its place in
/// the table.
const ENTRY: usize = 256;

/// How many times an entry fits into a generation at least. What is larger is found
/// out again each time: a few of them would push out all others.
const FITS: usize = 64;

/// Values by the fingerprint of what they were found for, at most twice as many
/// as asked for, and no more than twice the bytes.
///
/// There are two generations. Once the younger one is full, what has ended is
/// dropped from it. If that is not the half of it, it becomes the older one, and what
/// was the older one is forgotten. So whoever floods it pushes out what nobody asked
/// for in the meantime.
pub(crate) struct Remembered<V> {
    most: Size,
    generations: Mutex<Generations<V>>,
}

/// What is remembered.
#[derive(Clone)]
pub(crate) struct Memory<V> {
    pub(crate) value: V,
    /// What it takes, in bytes, as far as can be told.
    pub(crate) bytes: usize,
    /// When it is of no use any more.
    pub(crate) until: SystemTime,
}

/// How much a generation holds.
#[derive(Debug, Clone, Copy, Default)]
struct Size {
    entries: usize,
    bytes: usize,
}

struct Generations<V> {
    younger: HashMap<Fingerprint, Memory<V>>,
    /// What the younger one takes.
    bytes: usize,
    older: HashMap<Fingerprint, Memory<V>>,
}

impl<V: Clone> Remembered<V> {
    /// Room for at least `entries` values that take no more than `bytes`.
    pub(crate) fn new(entries: usize, bytes: usize) -> Self {
        Self {
            most: Size { entries, bytes },
            generations: Mutex::new(Generations {
                younger: HashMap::new(),
                bytes: 0,
                older: HashMap::new(),
            }),
        }
    }

    /// What is remembered. It is kept for longer then.
    pub(crate) fn get(&self, fingerprint: &Fingerprint, now: SystemTime) -> Option<V> {
        let mut generations = self.lock();
        if let Some(known) = generations.younger.get(fingerprint) {
            return Some(known.value.clone());
        }
        let known = generations.older.remove(fingerprint)?;
        let value = known.value.clone();
        generations.insert(*fingerprint, known, self.most, now);
        Some(value)
    }

    /// Remembers a value, unless it is too large.
    pub(crate) fn insert(&self, fingerprint: Fingerprint, memory: Memory<V>, now: SystemTime) {
        if weight(&memory).saturating_mul(FITS) <= self.most.bytes {
            self.lock().insert(fingerprint, memory, self.most, now);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Generations<V>> {
        self.generations
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl<V> Generations<V> {
    fn insert(&mut self, fingerprint: Fingerprint, memory: Memory<V>, most: Size, now: SystemTime) {
        let weight = weight(&memory);
        if self.younger.len() >= most.entries || self.bytes.saturating_add(weight) > most.bytes {
            self.make_room(most, now);
        }
        self.bytes = self.bytes.saturating_add(weight);
        if let Some(before) = self.younger.insert(fingerprint, memory) {
            self.bytes = self.bytes.saturating_sub(self::weight(&before));
        }
    }

    /// Looks at all that there is no more often than half of it is new.
    fn make_room(&mut self, most: Size, now: SystemTime) {
        self.younger.retain(|_, memory| now < memory.until);
        self.bytes = self.younger.values().map(weight).sum();
        if self.younger.len() > most.entries / 2 || self.bytes > most.bytes / 2 {
            self.older = std::mem::take(&mut self.younger);
            self.bytes = 0;
        }
    }
}

fn weight<V>(memory: &Memory<V>) -> usize {
    memory.bytes.saturating_add(ENTRY)
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
    use std::time::{Duration, SystemTime};

    use super::{ENTRY, Memory, Remembered};

    const MANY: usize = 1 << 30;

    fn of(number: u32) -> [u8; 32] {
        let mut fingerprint = [0; 32];
        fingerprint[..4].copy_from_slice(&number.to_be_bytes());
        fingerprint
    }

    fn taking(bytes: usize, value: u32) -> Memory<u32> {
        Memory {
            value,
            bytes,
            until: NOW.checked_add(Duration::from_mins(1)).unwrap_or(NOW),
        }
    }

    const NOW: SystemTime = SystemTime::UNIX_EPOCH;

    #[test]
    fn what_is_asked_for_outlives_a_flood() {
        let remembered = Remembered::new(10, MANY);
        remembered.insert(of(0), taking(0, 0), NOW);
        for number in 1..1000 {
            remembered.insert(of(number), taking(0, number), NOW);
            assert_eq!(remembered.get(&of(0), NOW), Some(0), "{number}");
        }
        assert!((991..1000).all(|number| remembered.get(&of(number), NOW).is_some()));
        assert_eq!(remembered.get(&of(900), NOW), None);
        let generations = remembered.lock();
        assert!(generations.younger.len() + generations.older.len() <= 20);
    }

    #[test]
    fn a_flood_of_what_is_large_takes_no_more_than_twice_the_bytes() {
        let most = 100 * (ENTRY + 1000);
        let remembered = Remembered::new(4096, most);
        remembered.insert(of(0), taking(0, 0), NOW);
        for number in 1..1000 {
            remembered.insert(of(number), taking(1000, number), NOW);
            assert_eq!(remembered.get(&of(0), NOW), Some(0), "{number}");
        }
        // The same once more takes no more room.
        for _ in 0..1000 {
            remembered.insert(of(999), taking(1000, 999), NOW);
        }
        assert_eq!(remembered.get(&of(990), NOW), Some(990));
        let taken = |remembered: &Remembered<u32>| -> usize {
            let generations = remembered.lock();
            let all = generations
                .younger
                .values()
                .chain(generations.older.values());
            all.map(|memory| memory.bytes + ENTRY).sum()
        };
        let before = taken(&remembered);
        assert!(before > most / 2 && before <= 2 * most, "{before}");
        // What would push out all others isn't kept at all.
        remembered.insert(of(1000), taking(most / 32, 1000), NOW);
        assert_eq!(remembered.get(&of(1000), NOW), None);
        assert_eq!(taken(&remembered), before);
    }

    #[test]
    fn what_has_ended_pushes_nothing_out() {
        let remembered = Remembered::new(10, MANY);
        let later = NOW + Duration::from_secs(61);
        remembered.insert(
            of(0),
            Memory {
                until: later + Duration::from_mins(1),
                ..taking(0, 0)
            },
            NOW,
        );
        for number in 1..10 {
            remembered.insert(of(number), taking(0, number), NOW);
        }
        for number in 10..19 {
            remembered.insert(of(number), taking(0, number), later);
        }
        let generations = remembered.lock();
        assert!(generations.younger.contains_key(&of(0)));
        assert_eq!(
            (generations.younger.len(), generations.older.len()),
            (10, 0)
        );
    }
}
