//! The memory for manifests on their way in, taken as their bytes come.
//!
//! A manifest first gets a [`Hold`] with room for [`STEP`] bytes, then more by
//! and by. Whoever finds no room waits in a line, first in first out, but those
//! whose address began fewer come first, and nobody waits for one whose address
//! has had its share.
//!
//! Manifests that are half read and wait for each other's memory can't wait for
//! ever, since there are three parts of it:
//!
//! - Room to *begin*, for so many manifests. One that began waits for no such
//!   room again, so whoever waits to begin waits for nobody who waits in turn
//!   to begin.
//! - Room to *grow*, for all that began.
//! - Room for *one* to become as large as any. Where somebody waits to grow,
//!   somebody has it: it is given to the first in the line as soon as it is
//!   free. Who has it never waits for memory again, so it ends within the time
//!   that a manifest may take, whatever the others do. Then the next has it.
//!
//! Who waits to grow holds room to begin meanwhile. If all of that is held, and
//! somebody waits for it whose address began fewer, one of the address that
//! began most has to leave.
//!
//! Memory goes to those who need it now. As long as somebody waits for memory
//! that all others have taken, a manifest has to come faster than usual, or it
//! is given up.

use std::future::Future;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::{Either, select};
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, sleep_until};

use crate::Limits;
use crate::patience::Patience;
use crate::places::{NoPlace, Place, Places};

/// The unit of memory. A manifest up to this size needs no share of it.
pub(crate) const STEP: usize = 64 << 10;

/// The memory of one service. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct ManifestMemory(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// Room to begin, each for [`STEP`] bytes.
    beginnings: Places,
    /// Room to grow, in units of [`STEP`].
    growth: Places,
    /// Whether somebody has the room for one.
    one_is_taken: AtomicBool,
    /// Whether somebody was told to leave and is about to.
    one_is_leaving: AtomicBool,
    /// Those who wait, in the order in which they came.
    line: Mutex<Vec<Waiter>>,
    /// Whether somebody waits for what all others have taken.
    is_short: watch::Sender<bool>,
    min_rate: u64,
    grace: Duration,
}

#[derive(Debug)]
struct Waiter {
    wants: Wants,
    household: Option<IpAddr>,
    /// Taken when it is given something.
    granted: Option<oneshot::Sender<Granted>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wants {
    ToBegin,
    /// So many units more.
    ToGrow(usize),
}

#[derive(Debug)]
enum Granted {
    Place(Place),
    One(One),
    /// Nothing, and it has to give up what it has.
    Leave(Leave),
}

/// The memory of one manifest; free again once dropped.
#[derive(Debug)]
pub(crate) struct Hold {
    memory: ManifestMemory,
    household: Option<IpAddr>,
    places: Vec<Place>,
    one: Option<One>,
    leave: Option<Leave>,
    /// How many bytes there is room for.
    room: usize,
    /// How long the client may be waited for when memory is short.
    patience: Patience,
    is_short: watch::Receiver<bool>,
}

impl ManifestMemory {
    /// What `limits` give; manifests have up to `max_manifest` bytes, and one of
    /// them always has room.
    pub(crate) fn new(limits: &Limits, max_manifest: usize) -> Self {
        let largest = max_manifest.div_ceil(STEP);
        let all = limits.manifest_memory.div_ceil(STEP).max(largest);
        // One that began has a unit already.
        let shared = all.saturating_sub(largest.saturating_sub(1));
        // Many may begin, but what they all grow into is more.
        let beginnings = shared.div_ceil(3).max(1);
        let growth = shared.saturating_sub(beginnings);
        Self(Arc::new(Shared {
            beginnings: Places::new(beginnings, limits.address_share),
            growth: Places::new(growth, limits.address_share),
            one_is_taken: AtomicBool::new(false),
            one_is_leaving: AtomicBool::new(false),
            line: Mutex::default(),
            is_short: watch::Sender::new(false),
            min_rate: limits.manifest_min_rate,
            grace: limits.manifest_grace,
        }))
    }

    /// Room for [`STEP`] bytes of a manifest from `household`, once there is
    /// some.
    pub(crate) async fn begin(&self, household: Option<IpAddr>) -> Hold {
        let granted = self.wait(Wants::ToBegin, household).await;
        let shared = &self.0;
        let mut hold = Hold {
            memory: self.clone(),
            household,
            places: Vec::new(),
            one: None,
            leave: None,
            room: STEP,
            patience: Patience::new(shared.grace, shared.grace, shared.min_rate),
            is_short: shared.is_short.subscribe(),
        };
        hold.take(granted);
        hold
    }

    async fn wait(&self, wants: Wants, household: Option<IpAddr>) -> Option<Granted> {
        // Dropped behind `grant`: whoever gives up has left the line by then.
        let mut left = Serving(Some(self));
        let (granted, grant) = oneshot::channel();
        self.lock().push(Waiter {
            wants,
            household,
            granted: Some(granted),
        });
        self.serve();
        let granted = grant.await;
        left.0 = None;
        granted.ok()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Waiter>> {
        self.0.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives those in the line what there is for them. To be called whenever
    /// something became free, or somebody came or left.
    fn serve(&self) {
        let mut line = self.lock();
        let is_short = loop {
            line.retain(Waiter::is_there);
            match self.walk(&mut line) {
                Walk::OneIsGiven => {}
                Walk::Done { is_short } => break is_short,
            }
        };
        line.retain(Waiter::is_there);
        let is_short_now = |was: &mut bool| std::mem::replace(was, is_short) != is_short;
        self.0.is_short.send_if_modified(is_short_now);
    }

    /// Walks along the line and gives whoever can have some of what is shared
    /// their part of it, then one of the others the room for one.
    fn walk(&self, line: &mut [Waiter]) -> Walk {
        let shared = &self.0;
        // Whoever has much, or waits many times over, isn't ahead for it.
        let begun = |household| shared.beginnings.held_by(household);
        let mut order: Vec<_> = line.iter_mut().collect();
        order.sort_by_cached_key(|waiter| {
            let grown = shared.growth.held_by(waiter.household);
            (begun(waiter.household), grown)
        });
        let (mut none_to_begin, mut none_to_grow) = (false, false);
        let (mut first, mut first_beyond_share) = (None, None);
        let (mut first_to_begin, mut last) = (None, None);
        for waiter in order {
            let (places, count, none) = match waiter.wants {
                Wants::ToBegin => (&shared.beginnings, 1, &mut none_to_begin),
                Wants::ToGrow(count) => (&shared.growth, count, &mut none_to_grow),
            };
            // Who needs less than others who came before may pass: the first of
            // those is to have the room for one.
            let found = match places.take_several(count, waiter.household) {
                Ok(place) => {
                    waiter.give(Granted::Place(place));
                    continue;
                }
                Err(NoPlace::AtAll) => {
                    *none = true;
                    &mut first
                }
                Err(NoPlace::ForYou) => &mut first_beyond_share,
            };
            match waiter.wants {
                Wants::ToBegin => {
                    first_to_begin = first_to_begin.or(Some(begun(waiter.household)));
                }
                Wants::ToGrow(_) if found.is_none() => *found = Some(waiter),
                Wants::ToGrow(_) => last = Some(waiter),
            }
        }
        // Rather somebody for whom there is nothing than somebody who has much.
        if let Some(waiter) = first.or(first_beyond_share)
            && !shared.one_is_taken.swap(true, Ordering::AcqRel)
        {
            waiter.give(Granted::One(One(self.clone())));
            return Walk::OneIsGiven;
        }
        // More than one apart, or they would take turns.
        if let (true, Some(least), Some(waiter)) = (none_to_begin, first_to_begin, last)
            && begun(waiter.household) > least.saturating_add(1)
            && !shared.one_is_leaving.swap(true, Ordering::AcqRel)
        {
            waiter.give(Granted::Leave(Leave(self.clone())));
        }
        Walk::Done {
            is_short: none_to_begin || none_to_grow,
        }
    }
}

/// What a walk along the line came to.
enum Walk {
    /// Somebody has the room for one now, and others may be first.
    OneIsGiven,
    /// Nobody can be given anything.
    Done {
        /// Whether somebody waits for what all others have.
        is_short: bool,
    },
}

impl Waiter {
    /// Whether it still waits.
    fn is_there(&self) -> bool {
        let granted = self.granted.as_ref();
        granted.is_some_and(|granted| !granted.is_closed())
    }

    fn give(&mut self, what: Granted) {
        if let Some(granted) = self.granted.take() {
            // If it has left meanwhile, it is about to serve the line.
            let _ = granted.send(what);
        }
    }
}

/// Serves the line when it is dropped, unless there is nothing to serve.
struct Serving<'m>(Option<&'m ManifestMemory>);

impl Drop for Serving<'_> {
    fn drop(&mut self) {
        if let Some(memory) = self.0 {
            memory.serve();
        }
    }
}

/// The room for one; free again once dropped. The line is to be served then.
#[derive(Debug)]
struct One(ManifestMemory);

impl Drop for One {
    fn drop(&mut self) {
        self.0.0.one_is_taken.store(false, Ordering::Release);
    }
}

/// That somebody has to leave; dropped when it has.
#[derive(Debug)]
struct Leave(ManifestMemory);

impl Drop for Leave {
    fn drop(&mut self) {
        self.0.0.one_is_leaving.store(false, Ordering::Release);
    }
}

impl Hold {
    /// How many bytes there is room for.
    pub(crate) fn room(&self) -> usize {
        self.room
    }

    /// Room for `bytes` bytes, once there is some. An error if it has to make room
    /// for others instead, which it does when it is dropped.
    pub(crate) async fn grow(&mut self, bytes: usize) -> Result<(), NoPlace> {
        let more = bytes.saturating_sub(self.room).div_ceil(STEP);
        if more > 0 && self.one.is_none() {
            let granted = self.memory.wait(Wants::ToGrow(more), self.household).await;
            self.take(granted);
            if self.leave.is_some() {
                return Err(NoPlace::ForYou);
            }
        }
        self.room = self.room.saturating_add(more.saturating_mul(STEP));
        Ok(())
    }

    fn take(&mut self, granted: Option<Granted>) {
        match granted {
            Some(Granted::Place(place)) => self.places.push(place),
            Some(Granted::One(one)) => self.one = Some(one),
            Some(Granted::Leave(leave)) => self.leave = Some(leave),
            // The line never drops whoever waits in it.
            None => {}
        }
    }

    /// What `coming` brings, of which `count` tells how many bytes those are;
    /// nothing if the client lets others wait for its memory too long.
    pub(crate) async fn attend<T>(
        &mut self,
        coming: impl Future<Output = T>,
        count: impl FnOnce(&T) -> u64,
    ) -> Option<T> {
        let since = Instant::now();
        let until = since.checked_add(self.patience.left());
        let is_short = &mut self.is_short;
        let overdue = async {
            loop {
                match until {
                    Some(until) if is_short.wait_for(|short| *short).await.is_ok() => {
                        sleep_until(until).await;
                    }
                    // It can't be: the memory is there as long as its holds.
                    _ => std::future::pending().await,
                }
                if *is_short.borrow() {
                    return;
                }
            }
        };
        match select(pin!(coming), pin!(overdue)).await {
            Either::Left((come, _)) => {
                self.patience.settle(since.elapsed(), count(&come));
                Some(come)
            }
            Either::Right(_) => None,
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.places.clear();
        self.one = None;
        self.leave = None;
        self.memory.serve();
    }
}
