//! Slows down whoever guesses passwords.

use std::borrow::Cow;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use registry_core::{Clock, Error, ErrorKind, Result};

use crate::network::household;
use crate::principal::folded;
use crate::shown::shown;
use crate::table::Table;

/// How long wrong passwords of a name from an address count, in seconds.
const FORGOTTEN: u64 = 15 * 60;

/// In how many seconds the wrong passwords from an address are counted.
const ADDRESS_WINDOW: u64 = 5 * 60;

/// In how many seconds the wrong passwords for a name are counted.
const NAME_WINDOW: u64 = 15 * 60;

/// How long an address that a name logged in from is one of its own, in seconds.
const TRUSTED: u64 = 24 * 3600;

/// How many passwords are checked at once for a name, or from an address, where
/// it isn't one of the name's own.
const PARALLEL: u32 = 64;

/// How many refused attempts it takes until not even an address of its own is
/// good for a password that was found right before. Without an end to it, whoever
/// shares the address tries as many as can be refused, since the right one is let in.
const REFUSED_MAX: u32 = 10_000;

/// How many wrong passwords are taken.
///
/// A name has to wait after a few wrong passwords from one address: a second,
/// then twice as long each time, up to a longest wait. An address and a name as
/// a whole have to wait for the rest of a while. A name goes on at addresses
/// where it logged in within the last day, whatever happens elsewhere, so that
/// nobody is locked out by others. Of IPv6, an address is 64 bits, which is what
/// one household has.
///
/// Where a request doesn't say [where it comes from](registry_core::RequestOrigin::address),
/// nobody can be told from those who guess, so nothing is counted, and nobody waits:
/// otherwise anybody could keep everybody else out. Only the work of a check slows
/// guessing down then, and the log says so once.
///
/// Names that nobody has count alike. Keys, and tokens of jobs, are taken whatever
/// is guessed for the name that they are shown with; false ones are no guesses, and
/// don't count, unless somebody [checks](crate::Caller::admit) them as passwords.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GuardLimits {
    /// For a name from an address, before it has to wait: 5.
    pub free: u32,
    /// From an address within five minutes: 50.
    pub per_address: u32,
    /// For a name within fifteen minutes: 100.
    pub per_name: u32,
    /// How long a name has to wait at an address at most: five minutes. It is never
    /// less than a second nor more than fifteen minutes.
    pub longest: Duration,
}

impl GuardLimits {
    /// As many as anybody likes, where something else slows them down.
    pub const NONE: Self = Self {
        free: u32::MAX,
        per_address: u32::MAX,
        per_name: u32::MAX,
        longest: Duration::ZERO,
    };

    /// The longest wait, in seconds.
    fn longest(&self) -> u64 {
        self.longest.as_secs().clamp(1, NAME_WINDOW)
    }
}

impl Default for GuardLimits {
    fn default() -> Self {
        Self {
            free: 5,
            per_address: 50,
            per_name: 100,
            longest: Duration::from_mins(5),
        }
    }
}

/// Counts wrong passwords. It keeps no names, and stays small whoever fills it.
pub(crate) struct Guard {
    limits: GuardLimits,
    keys: RandomState,
    tables: Mutex<Tables>,
    /// Whether the log says already that requests have no address.
    told: AtomicBool,
}

#[derive(Default)]
struct Tables {
    counts: Table<Count>,
    /// By name and address. Only right passwords fill it, so that no guesses push
    /// anybody out.
    homes: Table<Home>,
}

/// An address that is one of a name's own. Times are seconds since 1970.
#[derive(Debug, Clone, Copy, Default)]
struct Home {
    /// Until when.
    until: u64,
    /// Attempts that had to wait there.
    refused: u32,
    /// When counting these began.
    since: u64,
}

impl Home {
    fn is_valid(&self, now: u64) -> bool {
        now < self.until
    }

    /// Whether it has to be noted again before a day is over.
    fn is_old(&self, now: u64) -> bool {
        self.until <= now.saturating_add(TRUSTED / 2)
    }

    fn refuse(&mut self, now: u64) {
        if now < self.since || now.saturating_sub(self.since) >= FORGOTTEN {
            (self.refused, self.since) = (0, now);
        }
        self.refused = self.refused.saturating_add(1);
    }
}

/// What is counted of a name at an address, an address or a name. Times are
/// seconds since 1970.
#[derive(Debug, Clone, Copy, Default)]
struct Count {
    wrong: u32,
    /// Passwords that are being checked.
    pending: u32,
    /// When counting began; at an address, when the last wrong one came.
    since: u64,
    /// When there may be another attempt.
    until: u64,
}

impl Count {
    fn is_locked(&self, now: u64) -> bool {
        // One that was set before the clock was set back is void.
        now < self.until && self.until.saturating_sub(now) <= NAME_WINDOW
    }

    /// Forgets what is older than `window`.
    fn forget(&mut self, now: u64, window: u64) {
        if now < self.since || now.saturating_sub(self.since) >= window {
            (self.wrong, self.since) = (0, now);
        }
    }

    /// One more within `window`. How long others have to wait if it is the one that
    /// has them do so.
    fn add(&mut self, now: u64, window: u64, most: u32) -> Option<u64> {
        self.forget(now, window);
        self.wrong = self.wrong.saturating_add(1);
        if self.wrong >= most {
            self.until = self.since.saturating_add(window);
        }
        (self.wrong == most.max(1)).then(|| self.until.saturating_sub(now))
    }
}

/// Who has to wait from now on, and didn't before: how long, in seconds.
#[derive(Debug, Default)]
struct Locked {
    pair: Option<u64>,
    address: Option<u64>,
    name: Option<u64>,
}

impl Guard {
    pub(crate) fn new(limits: GuardLimits) -> Self {
        Self {
            limits,
            keys: RandomState::new(),
            tables: Mutex::default(),
            told: AtomicBool::new(false),
        }
    }

    /// An attempt to log in as `name`.
    pub(crate) fn attempt<'a>(
        &'a self,
        name: &'a str,
        address: Option<IpAddr>,
        clock: &'a dyn Clock,
    ) -> Attempt<'a> {
        let household = address.map(household);
        let typed = name;
        // Some of those who check passwords take many spellings of a name.
        let name = folded(name);
        Attempt {
            guard: self,
            clock,
            pair: self.keys.hash_one((0, household, &name)),
            household,
            typed,
            name,
            known: AtomicBool::new(false),
            asked: AtomicBool::new(false),
            admitted: AtomicBool::new(false),
            arrived: AtomicBool::new(false),
            doubted: AtomicBool::new(false),
            refused: AtomicBool::new(false),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One attempt to log in, from which it has to be told what came of it.
pub(crate) struct Attempt<'a> {
    guard: &'a Guard,
    clock: &'a dyn Clock,
    pair: u64,
    household: Option<IpAddr>,
    typed: &'a str,
    name: Cow<'a, str>,
    /// Whether somebody knows the name.
    known: AtomicBool,
    /// Whether somebody checks the password.
    asked: AtomicBool,
    /// Whether a password is being checked, and counted as such.
    admitted: AtomicBool,
    /// Whether the name is to be at home here if the password is right.
    arrived: AtomicBool,
    /// Whether somebody who checked it didn't find it right, and nobody knows yet
    /// what came of it.
    doubted: AtomicBool,
    /// Whether it is wrong, whatever others say.
    refused: AtomicBool,
}

impl Attempt<'_> {
    /// Whether it may go on, as far as that takes no work. Whoever has to wait
    /// doesn't learn by chance that a password which others used before is right,
    /// except at an address where it was.
    pub(crate) fn begin(&self) -> Result<()> {
        if !self.is_counted() {
            return Ok(());
        }
        let now = self.now();
        let mut tables = self.guard.lock();
        let home = tables.homes.get(self.pair);
        self.arrived.store(home.is_old(now), Ordering::Relaxed);
        if home.is_valid(now) && home.refused < REFUSED_MAX {
            return Ok(());
        }
        match self.longest(&tables.counts, now) {
            Some(until) => Err(self.refuse(&mut tables, until, now)),
            None => Ok(()),
        }
    }

    /// Whether a password may be checked now.
    pub(crate) fn admit(&self) -> Result<()> {
        let limits = self.guard.limits;
        self.asked.store(true, Ordering::Relaxed);
        if self.admitted.load(Ordering::Relaxed) || !self.is_counted() {
            return Ok(());
        }
        let now = self.now();
        let mut tables = self.guard.lock();
        let pair = tables.counts.get(self.pair);
        let trusted = tables.homes.get(self.pair).is_valid(now);
        let until = if trusted {
            Some(pair.until).filter(|_| pair.is_locked(now))
        } else {
            self.longest(&tables.counts, now)
        };
        if let Some(until) = until {
            return Err(self.refuse(&mut tables, until, now));
        }
        // Whoever has guessed before guesses one at a time.
        let has_guessed = pair.wrong >= limits.free;
        let many = |key| tables.counts.get(key).pending >= PARALLEL;
        if has_guessed && pair.pending > 0 || !trusted && self.all().any(many) {
            return Err(self.refuse(&mut tables, now.saturating_add(1), now));
        }
        for key in self.all() {
            let count = tables.counts.entry(key);
            count.pending = count.pending.saturating_add(1);
        }
        self.admitted.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Somebody knows the name, so that it is one: others are no business of the log,
    /// as people type their passwords there.
    #[cfg(any(feature = "htpasswd", feature = "ldap"))]
    pub(crate) fn know(&self) {
        self.known.store(true, Ordering::Relaxed);
    }

    /// Whether it can be told from those of others, and somebody wants to know.
    fn is_counted(&self) -> bool {
        self.household.is_some() && self.guard.limits != GuardLimits::NONE
    }

    /// Whether somebody checks the password.
    pub(crate) fn is_asked(&self) -> bool {
        self.asked.load(Ordering::Relaxed)
    }

    /// Whoever checked the password didn't find it right. Unless another one does,
    /// it counts as wrong, also if nobody waits for the answer or somebody else can't
    /// tell: to hang up before a refusal that takes its time isn't to guess for free.
    pub(crate) fn doubt(&self) {
        if self.is_asked() {
            self.doubted.store(true, Ordering::Relaxed);
        }
    }

    /// The password is wrong, whatever others say.
    pub(crate) fn refuse_it(&self) {
        self.refused.store(true, Ordering::Relaxed);
    }

    /// Whether the password is wrong, whatever others say.
    pub(crate) fn is_refused(&self) -> bool {
        self.refused.load(Ordering::Relaxed)
    }

    /// The password was right.
    pub(crate) fn right(self) {
        self.doubted.store(false, Ordering::Relaxed);
        if !self.is_counted() {
            return;
        }
        let checked = self.admitted.load(Ordering::Relaxed);
        // Also by one that was found right before, at another address maybe.
        if !checked && !self.arrived.load(Ordering::Relaxed) {
            return;
        }
        let until = self.now().saturating_add(TRUSTED);
        let mut tables = self.guard.lock();
        let home = tables.homes.entry(self.pair);
        home.until = until;
        if checked {
            home.refused = 0;
            let count = tables.counts.entry(self.pair);
            (count.wrong, count.until) = (0, 0);
        }
    }

    /// The password was wrong.
    pub(crate) fn wrong(self) {
        self.doubted.store(false, Ordering::Relaxed);
        self.count();
    }

    fn count(&self) {
        if !self.is_counted() {
            self.tell_of_strangers();
            return;
        }
        let now = self.now();
        let limits = self.guard.limits;
        let (address, name) = (self.address(), self.name());
        let mut locked = Locked::default();
        let mut tables = self.guard.lock();
        let is_home = tables.homes.get(self.pair).is_valid(now);
        let table = &mut tables.counts;
        let pair = table.entry(self.pair);
        pair.forget(now, FORGOTTEN);
        pair.wrong = pair.wrong.saturating_add(1);
        pair.since = now;
        if let Some(more) = pair.wrong.checked_sub(limits.free) {
            let longest = limits.longest();
            let delay = 1_u64.checked_shl(more).unwrap_or(longest).clamp(1, longest);
            pair.until = now.saturating_add(delay);
            locked.pair = (pair.wrong == limits.free.max(1)).then_some(delay);
        }
        if let Some(address) = address {
            let most = limits.per_address;
            locked.address = table.entry(address).add(now, ADDRESS_WINDOW, most);
        }
        locked.name = table.entry(name).add(now, NAME_WINDOW, limits.per_name);
        drop(tables);
        self.tell(&locked, is_home);
    }

    /// Tells once that whoever embeds the registry doesn't say where requests come
    /// from.
    fn tell_of_strangers(&self) {
        let limits = self.guard.limits;
        if limits != GuardLimits::NONE && !self.guard.told.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                "a password was wrong, and the request has no address: nobody who guesses has to \
                 wait; say where requests come from (`Peer` in registry-http)"
            );
        }
    }

    /// Tells the operator once, not with each further attempt.
    fn tell(&self, locked: &Locked, is_home: bool) {
        let name = (is_home || self.known.load(Ordering::Relaxed)).then(|| shown(self.typed));
        let name = name.as_deref();
        let address = self.household.map(tracing::field::display);
        if let Some(seconds) = locked.pair {
            tracing::warn!(
                cause = "name at an address",
                name,
                address,
                seconds,
                longest = self.guard.limits.longest(),
                "too many wrong passwords for a name from an address; it has to wait there before \
                 each further attempt, twice as long each time"
            );
        }
        if let Some(seconds) = locked.address {
            tracing::warn!(
                cause = "address",
                address,
                seconds,
                "too many wrong passwords from an address; it has to wait before the next attempt"
            );
        }
        if let Some(seconds) = locked.name {
            tracing::warn!(
                cause = "name",
                name,
                seconds,
                "too many wrong passwords for a name; it has to wait wherever it didn't log in \
                 within the last day"
            );
        }
    }

    /// When the last of what it has to wait for is over.
    fn longest(&self, table: &Table<Count>, now: u64) -> Option<u64> {
        self.all()
            .map(|key| table.get(key))
            .filter(|count| count.is_locked(now))
            .map(|count| count.until)
            .max()
    }

    fn all(&self) -> impl Iterator<Item = u64> {
        let others = self.address().into_iter().chain([self.name()]);
        others.chain([self.pair])
    }

    /// What the address is counted by. Whoever is trusted doesn't come to that.
    fn address(&self) -> Option<u64> {
        let keys = &self.guard.keys;
        self.household.map(|address| keys.hash_one((1, address)))
    }

    /// What the name is counted by.
    fn name(&self) -> u64 {
        self.guard.keys.hash_one((2, &self.name))
    }

    /// Has it wait. That is noted only where the name is at home: whoever has to
    /// wait fills no table.
    fn refuse(&self, tables: &mut Tables, until: u64, now: u64) -> Error {
        if tables.homes.get(self.pair).is_valid(now) {
            tables.homes.entry(self.pair).refuse(now);
        }
        ErrorKind::TooManyRequests
            .error("there were too many wrong passwords; wait before the next attempt")
            .with_retry_after(Duration::from_secs(until.saturating_sub(now).max(1)))
    }

    fn now(&self) -> u64 {
        let now = self.clock.now().duration_since(UNIX_EPOCH);
        now.unwrap_or_default().as_secs()
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        if self.doubted.load(Ordering::Relaxed) {
            self.count();
        }
        if self.admitted.load(Ordering::Relaxed) {
            let mut tables = self.guard.lock();
            for key in self.all() {
                let count = tables.counts.entry(key);
                count.pending = count.pending.saturating_sub(1);
            }
        }
    }
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Guard").field(&self.limits).finish()
    }
}
