//! Places for questions, and how those share them who are asked about.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use registry_core::{Error, ErrorKind, Result};
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::Question;
use crate::network::household;

/// How many may wait for each place.
const LINE: usize = 4;

/// How long a question waits for its turn.
const TURN: Duration = Duration::from_secs(5);

/// A number of places for questions. Clones share them.
///
/// No address and nobody known gets more than a quarter of them, and all those who
/// are nobody known get no more than half: whoever logged in finds room, whoever
/// else asks. An address is counted apart for those who logged in and for others. So
/// are the places in the line.
#[derive(Clone)]
pub(crate) struct Shares(Arc<Shared>);

struct Shared {
    places: usize,
    line: usize,
    keys: RandomState,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    places: Room,
    line: Room,
    waiting: VecDeque<Waiter>,
    next: u64,
}

/// Who has how many of some places.
#[derive(Default)]
struct Room {
    taken: usize,
    /// By those who are nobody known.
    unknown: usize,
    by_key: HashMap<u64, usize>,
}

/// Whose question it is.
#[derive(Debug, Clone, Copy)]
struct Whose {
    is_known: bool,
    address: Option<u64>,
    name: Option<u64>,
}

/// Why there is no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Full {
    /// The share of an address or of somebody is.
    ForYou,
    ForAll,
}

struct Waiter {
    id: u64,
    whose: Whose,
    turn: oneshot::Sender<Turn>,
}

/// A place, free again once dropped.
#[must_use]
pub(crate) struct Turn {
    shares: Shares,
    whose: Whose,
}

/// A place in the line, free again once dropped.
struct Waiting<'a> {
    shares: &'a Shares,
    id: u64,
}

impl Shares {
    pub(crate) fn new(places: usize) -> Self {
        Self(Arc::new(Shared {
            places,
            line: places.saturating_mul(LINE),
            keys: RandomState::new(),
            state: Mutex::default(),
        }))
    }

    /// A place for `question`, once there is one; at most after five seconds.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::TooManyRequests`] if there is none for the address or for who is
    /// known, and [`ErrorKind::Unavailable`] if there is none at all.
    pub(crate) async fn turn(&self, question: &Question<'_>) -> Result<Turn> {
        let whose = self.whose(question);
        let (waiting, turn) = {
            let mut state = self.lock();
            if state.places.refuses(whose, self.0.places).is_none() {
                state.places.enter(whose);
                return Ok(self.place(whose));
            }
            if let Some(full) = state.line.refuses(whose, self.0.line) {
                return Err(full.into());
            }
            state.line.enter(whose);
            let id = state.next;
            state.next = id.wrapping_add(1);
            let (sender, turn) = oneshot::channel();
            state.waiting.push_back(Waiter {
                id,
                whose,
                turn: sender,
            });
            (Waiting { shares: self, id }, turn)
        };
        let turn = timeout(TURN, turn).await;
        drop(waiting);
        if let Ok(Ok(turn)) = turn {
            return Ok(turn);
        }
        let full = self.lock().places.refuses(whose, self.0.places);
        Err(full.unwrap_or(Full::ForAll).into())
    }

    fn whose(&self, question: &Question<'_>) -> Whose {
        let known = question.principal;
        let address = question.origin.address.map(household);
        let keys = &self.0.keys;
        Whose {
            is_known: known.is_some(),
            address: address.map(|address| keys.hash_one((0, known.is_some(), address))),
            name: known.map(|known| keys.hash_one((1, known.to_string()))),
        }
    }

    fn place(&self, whose: Whose) -> Turn {
        Turn {
            shares: self.clone(),
            whose,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Those who wait and for whom there is a place now, which they have then.
    fn call(&mut self, places: usize) -> Vec<Waiter> {
        let mut called = Vec::new();
        let mut index = 0;
        while let Some(waiter) = self.waiting.get(index) {
            let whose = waiter.whose;
            if self.places.refuses(whose, places).is_some() {
                index = index.saturating_add(1);
                continue;
            }
            self.line.leave(whose);
            self.places.enter(whose);
            called.extend(self.waiting.remove(index));
        }
        called
    }
}

impl Room {
    /// Why there is no place for `whose` among `most`.
    fn refuses(&self, whose: Whose, most: usize) -> Option<Full> {
        let share = most.div_euclid(4).max(1);
        let held = |key: u64| self.by_key.get(&key).copied().unwrap_or_default();
        if whose.keys().any(|key| held(key) >= share) {
            return Some(Full::ForYou);
        }
        let is_full = self.taken >= most;
        let half = most.div_euclid(2).max(1);
        (is_full || !whose.is_known && self.unknown >= half).then_some(Full::ForAll)
    }

    fn enter(&mut self, whose: Whose) {
        self.taken = self.taken.saturating_add(1);
        if !whose.is_known {
            self.unknown = self.unknown.saturating_add(1);
        }
        for key in whose.keys() {
            let held = self.by_key.entry(key).or_default();
            *held = held.saturating_add(1);
        }
    }

    fn leave(&mut self, whose: Whose) {
        self.taken = self.taken.saturating_sub(1);
        if !whose.is_known {
            self.unknown = self.unknown.saturating_sub(1);
        }
        for key in whose.keys() {
            if let Some(held) = self.by_key.get_mut(&key) {
                *held = held.saturating_sub(1);
                if *held == 0 {
                    self.by_key.remove(&key);
                }
            }
        }
    }
}

impl Whose {
    fn keys(self) -> impl Iterator<Item = u64> {
        self.address.into_iter().chain(self.name)
    }
}

impl From<Full> for Error {
    fn from(full: Full) -> Self {
        let error = match full {
            Full::ForYou => ErrorKind::TooManyRequests
                .error("too many questions about your requests are open; wait for some to end"),
            Full::ForAll => ErrorKind::Unavailable
                .error("too many questions about requests are open; try again shortly"),
        };
        error.with_retry_after(Duration::from_secs(1))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let called = {
            let mut state = self.shares.lock();
            state.places.leave(self.whose);
            state.call(self.shares.0.places)
        };
        for waiter in called {
            // If nobody waits for it any more, the next one gets it.
            let _ = waiter.turn.send(self.shares.place(waiter.whose));
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut state = self.shares.lock();
        let place = state.waiting.iter().position(|waiter| waiter.id == self.id);
        let waiter = place.and_then(|place| state.waiting.remove(place));
        if let Some(waiter) = waiter {
            state.line.leave(waiter.whose);
        }
    }
}

impl fmt::Debug for Shares {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Shares").field(&self.0.places).finish()
    }
}
