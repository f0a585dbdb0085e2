//! How much each of several uploads may hold in memory at a time.
//!
//! Handing bytes to another thread costs the same however many there are, so
//! large pieces are cheaper. What one upload may hold is what many may hold
//! together, shared among those that are there.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What all may hold together, as long as each may hold more than the least.
const ALL: usize = 4 << 20;

/// The least and the most that one may hold.
const ONE: (usize, usize) = (128 << 10, 1 << 20);

/// Shares memory among those that ask for a portion.
#[derive(Debug, Clone, Default)]
pub(crate) struct Portions(Arc<AtomicUsize>);

/// The share of one, for as long as it is held.
#[derive(Debug)]
pub(crate) struct Portion(Portions);

impl Portions {
    /// A share for one more.
    pub(crate) fn enter(&self) -> Portion {
        self.0.fetch_add(1, Ordering::Relaxed);
        Portion(self.clone())
    }
}

impl Portion {
    /// How many bytes that is now.
    pub(crate) fn size(&self) -> usize {
        let holders = self.0.0.load(Ordering::Relaxed).max(1);
        ALL.checked_div(holders).unwrap_or(ALL).clamp(ONE.0, ONE.1)
    }
}

impl Drop for Portion {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
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
}
