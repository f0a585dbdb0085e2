//! How much each of several uploads may hold in memory at a time.
//!
//! Handing bytes to another thread costs the same however many there are, so
//! large pieces are cheaper. What one upload may hold is what many may hold
//! together, shared among those that are there.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::recycled::{BLOCK, PART, Part, Recycled};

/// What all may hold together, as long as each may hold more than the least.
const ALL: usize = 4 << 20;

/// The least and the most that one may hold.
const ONE: (usize, usize) = (128 << 10, 1 << 20);

/// How large a portion must be for memory to be recycled. With less, most of a
/// part would be empty.
const WORTH_A_PART: usize = 512 << 10;

/// How many parts are kept while nobody is there: some clients send a large blob
/// in many requests.
const KEPT_AT_REST: usize = 2;

/// Shares memory among those that ask for a portion.
#[derive(Debug, Clone, Default)]
pub(crate) struct Portions(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    holders: AtomicUsize,
    recycled: Arc<Recycled>,
}

/// The share of one, for as long as it is held.
#[derive(Debug)]
pub(crate) struct Portion(Portions);

impl Portions {
    /// A share for one more.
    pub(crate) fn enter(&self) -> Portion {
        let before = self.0.holders.fetch_add(1, Ordering::Relaxed);
        self.0.keep(before.saturating_add(1));
        Portion(self.clone())
    }
}

impl Shared {
    /// Keeps as much memory as so many holders use again.
    fn keep(&self, holders: usize) {
        self.recycled.keep(match holders {
            0 => KEPT_AT_REST,
            _ if share(holders) >= WORTH_A_PART => usize::MAX,
            _ => 0,
        });
    }
}

/// How many bytes each of so many may hold.
fn share(holders: usize) -> usize {
    ALL.checked_div(holders).unwrap_or(ALL).clamp(ONE.0, ONE.1)
}

impl Portion {
    /// How many bytes that is now.
    pub(crate) fn size(&self) -> usize {
        share(self.0.0.holders.load(Ordering::Relaxed).max(1))
    }

    /// Memory for about as many bytes, which are to come at `offset` and end with
    /// a block. None if it isn't worth it now, or if there is no more.
    pub(crate) fn part(&self, offset: u64) -> Option<Part> {
        let size = self.size().min(PART);
        if size < WORTH_A_PART {
            return None;
        }
        let block = BLOCK as u64;
        let end = offset.saturating_add(size as u64);
        let end = end.saturating_sub(end.checked_rem(block).unwrap_or_default());
        let size = usize::try_from(end.saturating_sub(offset)).unwrap_or(size);
        self.0.0.recycled.take(size)
    }
}

impl Drop for Portion {
    fn drop(&mut self) {
        let before = self.0.0.holders.fetch_sub(1, Ordering::Relaxed);
        self.0.0.keep(before.saturating_sub(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_more_there_are_the_less_each_may_hold() {
        let portions = Portions::default();
        let one = portions.enter();
        assert_eq!(one.size(), ONE.1);
        let many: Vec<Portion> = (1..32).map(|_| portions.enter()).collect();
        assert_eq!(one.size(), ALL / 32);
        let more: Vec<Portion> = (0..1000).map(|_| portions.enter()).collect();
        assert_eq!(one.size(), ONE.0);
        drop((many, more));
        assert_eq!(one.size(), ONE.1);
    }

    #[test]
    fn a_part_ends_with_a_block_wherever_it_begins() {
        let portion = Portions::default().enter();
        for offset in [0, 1, 4095, 4096, 130_000] {
            let mut part = portion.part(offset).unwrap();
            let taken = part.fill(&vec![7; PART + 1]) as u64;
            assert!(part.is_full());
            assert_eq!((offset + taken) % BLOCK as u64, 0);
            assert!(taken > (PART - BLOCK) as u64);
        }
    }

    #[test]
    fn many_do_without_recycled_memory() {
        let portions = Portions::default();
        let few: Vec<Portion> = (0..8).map(|_| portions.enter()).collect();
        let part = few[0].part(0);
        assert!(part.is_some());
        let one_too_many = portions.enter();
        assert!(one_too_many.part(0).is_none());
    }
}
