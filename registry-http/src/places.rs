//! Places for what is in progress, and how they are shared.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use crate::patience::Patience;

/// A number of places, or of units of memory. Clones share them.
#[derive(Debug, Clone)]
pub(crate) struct Places(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    max: usize,
    share: Option<u32>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    taken: usize,
    by_household: HashMap<IpAddr, usize>,
    /// The places of answers on their way, which are lost if nobody takes
    /// them.
    answers: HashMap<u64, (Option<IpAddr>, Arc<Mutex<Progress>>)>,
    next_answer: u64,
}

/// Why there is no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoPlace {
    /// All are taken.
    AtAll,
    /// What is left is for others.
    ForYou,
}

/// A place, or several; free again once dropped.
#[derive(Debug)]
pub(crate) struct Place {
    places: Places,
    household: Option<IpAddr>,
    count: usize,
    answer: Option<u64>,
}

/// What an answer waits for.
#[derive(Debug)]
enum Progress {
    /// The registry.
    Registry,
    /// The client, which is overdue from then on.
    Client(Instant),
    /// Nothing: its place was given to somebody else.
    Lost,
}

impl Places {
    /// `max` places, of which a household gets no more than `share` times as
    /// many as are free.
    pub(crate) fn new(max: usize, share: Option<u32>) -> Self {
        Self(Arc::new(Shared {
            max,
            share,
            state: Mutex::default(),
        }))
    }

    /// A place for a request from `household`. If there is none, answers that
    /// their clients take too slowly lose theirs.
    pub(crate) fn take(&self, household: Option<IpAddr>) -> Result<Place, NoPlace> {
        self.take_several(1, household)
    }

    /// As many as `count` places at once.
    pub(crate) fn take_several(
        &self,
        count: usize,
        household: Option<IpAddr>,
    ) -> Result<Place, NoPlace> {
        let mut state = self.lock();
        if self.0.refuses(&state, count, household).is_some() {
            state.drop_overdue();
        }
        if let Some(none) = self.0.refuses(&state, count, household) {
            return Err(none);
        }
        state.enter(count, household);
        Ok(Place {
            places: self.clone(),
            household,
            count,
            answer: None,
        })
    }

    /// How many `household` has.
    pub(crate) fn held_by(&self, household: Option<IpAddr>) -> usize {
        let held = |household| self.lock().by_household.get(&household).copied();
        household.and_then(held).unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    fn refuses(&self, state: &State, count: usize, household: Option<IpAddr>) -> Option<NoPlace> {
        let free = self.max.saturating_sub(state.taken);
        if free < count || free == 0 {
            return Some(NoPlace::AtAll);
        }
        let (share, household) = (self.share?, household?);
        let held = state.by_household.get(&household).copied()?;
        let share = free.saturating_mul(usize::try_from(share).unwrap_or(usize::MAX));
        // Who has nothing yet gets something.
        (held.saturating_add(count) > share).then_some(NoPlace::ForYou)
    }
}

impl State {
    fn enter(&mut self, count: usize, household: Option<IpAddr>) {
        self.taken = self.taken.saturating_add(count);
        if let Some(household) = household {
            let held = self.by_household.entry(household).or_default();
            *held = held.saturating_add(count);
        }
    }

    fn leave(&mut self, count: usize, household: Option<IpAddr>) {
        self.taken = self.taken.saturating_sub(count);
        if let Some(household) = household
            && let Some(held) = self.by_household.get_mut(&household)
        {
            *held = held.saturating_sub(count);
            if *held == 0 {
                self.by_household.remove(&household);
            }
        }
    }

    fn drop_overdue(&mut self) {
        let now = Instant::now();
        let lost: Vec<_> = self
            .answers
            .extract_if(|_, (_, progress)| {
                let mut progress = lock(progress);
                let overdue = matches!(*progress, Progress::Client(until) if until <= now);
                if overdue {
                    *progress = Progress::Lost;
                }
                overdue
            })
            .collect();
        for (_, (household, _)) in lost {
            // An answer has one place.
            self.leave(1, household);
        }
    }
}

impl Place {
    /// From now on the place is that of an answer on its way, which loses it
    /// if `patience` ends and somebody else needs it.
    pub(crate) fn watch(&mut self, patience: Patience) -> Delivery {
        let progress = Arc::new(Mutex::new(Progress::Registry));
        let mut state = self.places.lock();
        let id = state.next_answer;
        state.next_answer = id.wrapping_add(1);
        let answer = (self.household, Arc::clone(&progress));
        state.answers.insert(id, answer);
        drop(state);
        self.answer = Some(id);
        let mut delivery = Delivery {
            progress,
            patience,
            handed: None,
        };
        // Until somebody asks for the first part, nobody takes any.
        delivery.handed(0);
        delivery
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.places.lock();
        let is_lost = self
            .answer
            .is_some_and(|answer| state.answers.remove(&answer).is_none());
        if !is_lost {
            state.leave(self.count, self.household);
        }
    }
}

/// An answer on its way to its client.
#[derive(Debug)]
pub(crate) struct Delivery {
    progress: Arc<Mutex<Progress>>,
    patience: Patience,
    /// How much was handed over last, and when.
    handed: Option<(Instant, u64)>,
}

impl Delivery {
    /// The client has taken what was handed over and wants more. Returns
    /// whether the answer still has its place.
    pub(crate) fn taken(&mut self) -> bool {
        if let Some((since, bytes)) = self.handed.take() {
            self.patience.settle(since.elapsed(), bytes);
        }
        let mut progress = lock(&self.progress);
        if matches!(*progress, Progress::Lost) {
            return false;
        }
        *progress = Progress::Registry;
        true
    }

    /// The client is to take `bytes` more.
    pub(crate) fn handed(&mut self, bytes: u64) {
        let now = Instant::now();
        self.handed = Some((now, bytes));
        let mut progress = lock(&self.progress);
        if matches!(*progress, Progress::Registry)
            && let Some(until) = now.checked_add(self.patience.left_for(bytes))
        {
            *progress = Progress::Client(until);
        }
    }
}

fn lock(progress: &Mutex<Progress>) -> MutexGuard<'_, Progress> {
    progress.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> IpAddr {
        [192, 0, 2, last].into()
    }

    /// As many places as `household` gets.
    fn all(places: &Places, household: Option<IpAddr>) -> Vec<Place> {
        std::iter::from_fn(|| places.take(household).ok()).collect()
    }

    #[test]
    fn each_address_leaves_something_for_the_next() {
        let places = Places::new(64, Some(1));
        let held: Vec<_> = (0..7)
            .map(|last| all(&places, Some(address(last))))
            .collect();
        let counts: Vec<_> = held.iter().map(Vec::len).collect();
        assert_eq!(counts, [32, 16, 8, 4, 2, 1, 1]);
        assert!(matches!(places.take(Some(address(7))), Err(NoPlace::AtAll)));
        drop(held);
        assert_eq!(places.lock().taken, 0);
        assert!(places.lock().by_household.is_empty());
    }

    #[test]
    fn who_has_no_address_or_no_share_competes_for_everything() {
        let places = Places::new(8, Some(1));
        assert_eq!(all(&places, None).len(), 8);
        assert_eq!(all(&places, Some(address(1))).len(), 4);
        assert!(places.take(None).is_ok());
        let places = Places::new(8, None);
        assert_eq!(all(&places, Some(address(1))).len(), 8);
    }

    #[test]
    fn the_only_place_is_for_anybody() {
        let places = Places::new(1, Some(0));
        assert_eq!(all(&places, Some(address(1))).len(), 1);
    }
}
