//! The expensive part, within limits.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use registry_core::{ErrorKind, Result};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::spawn_blocking;

use super::file::{Cost, Hash, unfinished};
use crate::Secret;

/// How many checks may wait for their turn.
const QUEUE_MAX: usize = 64;

/// Bounds how many passwords are checked at once and how many wait.
pub(super) struct Workers {
    admitted: Arc<Semaphore>,
    running: Arc<Semaphore>,
}

/// The right to check one password.
pub(super) struct Place {
    _admitted: OwnedSemaphorePermit,
    _running: OwnedSemaphorePermit,
}

impl Workers {
    pub(super) fn new() -> Self {
        let processors = thread::available_parallelism().map_or(1, usize::from);
        let running = processors.div_ceil(2);
        Self {
            admitted: Arc::new(Semaphore::new(running.saturating_add(QUEUE_MAX))),
            running: Arc::new(Semaphore::new(running)),
        }
    }

    /// Waits for a place.
    pub(super) async fn place(&self) -> Result<Place> {
        let admitted = Arc::clone(&self.admitted)
            .try_acquire_owned()
            .map_err(|_| {
                ErrorKind::TooManyRequests
                    .error("too many passwords are being checked; try again in a second")
                    .with_retry_after(Duration::from_secs(1))
            })?;
        let running = Arc::clone(&self.running)
            .acquire_owned()
            .await
            .map_err(unfinished)?;
        Ok(Place {
            _admitted: admitted,
            _running: running,
        })
    }

    /// Does the work of checking a password against a hash of `cost`, for a
    /// user who doesn't exist.
    pub(super) async fn pretend(&self, cost: Cost, password: Secret) -> Result<()> {
        let place = self.place().await?;
        spawn_blocking(move || {
            let _place = place;
            cost.spend(&password)
        })
        .await
        .map_err(unfinished)?
    }
}

impl Place {
    /// Whether `password` fits `hash`. The place stays taken until the work is
    /// done, even if nobody waits for the answer any more.
    pub(super) async fn verify(self, hash: Hash, password: Secret) -> Result<bool> {
        spawn_blocking(move || {
            let _place = self;
            hash.verify(&password)
        })
        .await
        .map_err(unfinished)?
    }
}
