//! The time by which idleness is measured.
//!
//! A machine's clock may jump by days, and whoever is idle by a clock that
//! jumped ahead isn't. So an engine reads it once, and from then on counts what
//! goes by. The store keeps how far that was, and the next process goes on from
//! there: it believes the machine's clock only as far as it doesn't go back, and
//! not ahead by more than [`BELIEVED`].
//!
//! Whatever the machine's clock does can so make something wait for longer, but
//! not be missed. Time that goes by without a process counts up to `BELIEVED`.

use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use registry_core::Result;
use tokio::time::Instant;

use super::Engine;
use crate::{Batch, Change, CommitError};

/// How much later than when it was last seen it may be when a process starts.
const BELIEVED: Duration = Duration::from_hours(1);

/// Counts from when the engine was built.
#[derive(Debug)]
pub(super) struct SteadyClock {
    built: Instant,
    /// What the machine's clock said then.
    claimed: SystemTime,
    /// How late it was then, as far as it is believed.
    start: OnceLock<SystemTime>,
}

impl SteadyClock {
    pub(super) fn new(claimed: SystemTime) -> Self {
        Self {
            built: Instant::now(),
            claimed,
            start: OnceLock::new(),
        }
    }
}

impl Engine {
    /// The time as far as it is known to have gone by.
    pub(super) async fn steady_now(&self) -> Result<SystemTime> {
        let clock = &self.inner.steady;
        let start = if let Some(start) = clock.start.get() {
            *start
        } else {
            let claimed = clock.claimed;
            let start = match self.metadata().clock().await? {
                Some(seen) => claimed.clamp(seen, seen.checked_add(BELIEVED).unwrap_or(seen)),
                None => claimed,
            };
            *clock.start.get_or_init(|| start)
        };
        Ok(start.checked_add(clock.built.elapsed()).unwrap_or(start))
    }

    /// Lets the next process go on from here.
    pub(super) async fn keep_time(&self) -> Result<SystemTime> {
        let now = self.steady_now().await?;
        let batch = Batch {
            changes: vec![Change::AdvanceClock { to: now }],
            ..Batch::default()
        };
        match self.metadata().commit(batch).await {
            Ok(()) => Ok(now),
            Err(CommitError::Conflict(conflict)) => Err(super::unexpected(&conflict)),
            Err(CommitError::Refused(error) | CommitError::Failed(error)) => Err(error),
        }
    }
}
