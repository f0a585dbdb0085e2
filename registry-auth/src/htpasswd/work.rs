//! The expensive part, within limits.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use registry_core::{Error, ErrorKind, Result};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::task::spawn_blocking;

use super::file::unfinished;
use super::refusal::Work;
use super::threads::Threads;
use crate::Secret;

/// How many checks may wait for their turn.
const QUEUE_MAX: usize = 64;

/// Bounds how many passwords are checked at once and how many wait.
pub(super) struct Workers {
    admitted: Arc<Semaphore>,
    running: Arc<Semaphore>,
    threads: Arc<Threads>,
}

/// The right to check one password.
pub(super) struct Place {
    _admitted: OwnedSemaphorePermit,
    _running: OwnedSemaphorePermit,
    threads: Arc<Threads>,
}

impl Workers {
    pub(super) fn new() -> Self {
        let processors = thread::available_parallelism().map_or(1, usize::from);
        let running = processors.div_ceil(2);
        Self {
            admitted: Arc::new(Semaphore::new(running.saturating_add(QUEUE_MAX))),
            running: Arc::new(Semaphore::new(running)),
            threads: Arc::default(),
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
            threads: Arc::clone(&self.threads),
        })
    }
}

impl Place {
    /// Whether `password` is right.
    pub(super) async fn check(self, work: Work, password: Secret) -> Result<bool> {
        self.run(move || work.finish(&password, |step| step.take(&password)))
            .await
    }

    /// What `work` comes to. The place stays taken until it is done, even if
    /// nobody waits for the answer any more.
    async fn run<T: Send + 'static>(
        self,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (answer, outcome) = oneshot::channel();
        // To start a thread takes longer than a worker should be kept.
        let begun = spawn_blocking(move || {
            self.threads.take()?.run(move |thread| {
                let outcome = work();
                // In this order: whoever gets the place next finds a thread.
                drop(thread);
                drop(self);
                let _ = answer.send(outcome);
            });
            Ok::<_, Error>(())
        });
        begun.await.map_err(unfinished)??;
        outcome.await.map_err(unfinished)?
    }
}
