//! How much is done at once, and who is turned away beyond that.

use std::sync::Arc;

use registry_core::{ErrorKind, Operation, Result};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::Limits;

/// A manifest up to this size needs no share of the memory for large ones.
const SMALL_MANIFEST: usize = 64 << 10;

/// The room for requests in progress, by what they cost.
#[derive(Debug, Clone)]
pub(crate) struct Capacity {
    requests: Arc<Semaphore>,
    uploads: Arc<Semaphore>,
    downloads: Arc<Semaphore>,
    large_manifests: Arc<Semaphore>,
    limits: Limits,
}

/// A place among the requests in progress.
#[derive(Debug)]
pub(crate) struct Permit(#[allow(dead_code, reason = "held for its drop")] OwnedSemaphorePermit);

impl Capacity {
    /// The room that `limits` give; manifests have up to `max_manifest` bytes.
    pub(crate) fn new(limits: &Limits, max_manifest: usize) -> Self {
        let places = |count: usize| Arc::new(Semaphore::new(count.min(Semaphore::MAX_PERMITS)));
        let large = limits
            .manifest_memory
            .checked_div(max_manifest)
            .unwrap_or(1)
            .max(1);
        Self {
            requests: places(limits.max_requests),
            uploads: places(limits.max_uploads),
            downloads: places(limits.max_downloads),
            large_manifests: places(large),
            limits: limits.clone(),
        }
    }

    /// A place for `operation`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unavailable`] if there is none: a client that comes back
    /// is better off than one that waits in a line without end.
    pub(crate) fn admit(&self, operation: &Operation) -> Result<Permit> {
        let places = match operation {
            Operation::GetBlob { .. } => &self.downloads,
            Operation::PushBlob { .. }
            | Operation::AppendUpload { .. }
            | Operation::FinishUpload { .. } => &self.uploads,
            _ => &self.requests,
        };
        Arc::clone(places)
            .try_acquire_owned()
            .map(Permit)
            .map_err(|_| self.busy())
    }

    /// Memory for a manifest that has reached `size` bytes, if it needs a
    /// share. Waits for others to finish, but not for ever.
    pub(crate) async fn manifest_memory(&self, size: usize) -> Result<Option<Permit>> {
        if size <= SMALL_MANIFEST {
            return Ok(None);
        }
        let place = Arc::clone(&self.large_manifests).acquire_owned();
        match tokio::time::timeout(self.limits.body_grace, place).await {
            Ok(Ok(permit)) => Ok(Some(Permit(permit))),
            Ok(Err(_)) | Err(_) => Err(self.busy()),
        }
    }

    fn busy(&self) -> registry_core::Error {
        ErrorKind::Unavailable
            .error("the registry is busy; try again shortly")
            .with_retry_after(self.limits.retry_after)
    }
}
