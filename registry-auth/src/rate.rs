//! How many requests somebody may send.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use registry_core::{ErrorKind, Result};

use crate::network::household;
use crate::table::Table;

/// So many requests a second, and so many at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// The time between two requests, in microseconds.
    interval: u64,
    burst: u32,
}

impl Rate {
    /// `count` requests a second, and as many at once; at least one.
    pub fn per_second(count: u32) -> Self {
        let count = count.max(1);
        Self {
            interval: 1_000_000_u64.checked_div(count.into()).unwrap_or(1).max(1),
            burst: count,
        }
    }

    /// The same with `count` requests at once, after a pause; at least one.
    pub fn burst(mut self, count: u32) -> Self {
        self.burst = count.max(1);
        self
    }
}

/// How many requests are taken from each address, and from each who is known.
/// None is limited unless it is said.
///
/// An address may be the one of many clients behind it. Of IPv6 it is 64 bits,
/// which is what one household has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RateLimits {
    /// From each address.
    pub per_address: Option<Rate>,
    /// From each user, robot and workload.
    pub per_identity: Option<Rate>,
}

/// Counts requests.
///
/// The generic cell rate algorithm: of each it remembers when the requests so
/// far would have been over if they had come at the allowed rate.
pub(crate) struct Rates {
    limits: RateLimits,
    keys: RandomState,
    table: Mutex<Table<u64>>,
}

impl Rates {
    pub(crate) fn new(limits: RateLimits) -> Self {
        Self {
            limits,
            keys: RandomState::new(),
            table: Mutex::default(),
        }
    }

    /// Counts a request from `address`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::TooManyRequests`] if it is one too many.
    pub(crate) fn of_address(&self, address: Option<IpAddr>, now: SystemTime) -> Result<()> {
        match (self.limits.per_address, address) {
            (Some(rate), Some(address)) => self.count(rate, (0, household(address)), now),
            _ => Ok(()),
        }
    }

    /// Counts a request of whoever is shown as `name`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::TooManyRequests`] if it is one too many.
    pub(crate) fn of_identity(&self, name: &dyn fmt::Display, now: SystemTime) -> Result<()> {
        match self.limits.per_identity {
            Some(rate) => self.count(rate, (1, name.to_string()), now),
            None => Ok(()),
        }
    }

    fn count(&self, rate: Rate, whom: impl std::hash::Hash, now: SystemTime) -> Result<()> {
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let now = u64::try_from(now.as_micros()).unwrap_or(u64::MAX);
        let most = rate.interval.saturating_mul(rate.burst.into());
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let over = table.entry(self.keys.hash_one(whom));
        // After a jump of the clock, it is at most as if all had come just now.
        let begun = (*over).clamp(now, now.saturating_add(most));
        let next = begun.saturating_add(rate.interval);
        let wait = next.saturating_sub(now.saturating_add(most));
        if wait == 0 {
            *over = next;
            return Ok(());
        }
        let wait = Duration::from_micros(wait);
        Err(ErrorKind::TooManyRequests
            .error("these are too many requests at once; send fewer")
            .with_retry_after(Duration::from_secs(wait.as_secs().saturating_add(1))))
    }
}

impl fmt::Debug for Rates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Rates").field(&self.limits).finish()
    }
}
