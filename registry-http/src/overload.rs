//! How much is done at once, and who is turned away beyond that.

use std::sync::Arc;
use std::time::Duration;

use registry_core::{ErrorKind, Operation, Result};
use tokio::time::{Instant, timeout_at};

use tokio::sync::{Semaphore, SemaphorePermit};

use crate::places::{NoPlace, Place, Places};
use crate::{Limits, Peer};

/// A manifest up to this size needs no share of the memory for large ones.
const SMALL_MANIFEST: usize = 64 << 10;

/// How many large manifests are read and stored at once. Each takes several
/// times its size meanwhile, but not for long.
const MANIFESTS_AT_WORK: usize = 1;

/// The room for requests in progress, by what they cost.
#[derive(Debug, Clone)]
pub(crate) struct Capacity {
    requests: Places,
    uploads: Places,
    downloads: Places,
    large_manifests: Places,
    manifests_at_work: Arc<Semaphore>,
    manifest_time: Duration,
    retry_after: Duration,
}

impl Capacity {
    /// The room that `limits` give; manifests have up to `max_manifest` bytes.
    pub(crate) fn new(limits: &Limits, max_manifest: usize) -> Self {
        let places = |count: usize| Places::new(count, limits.address_share);
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
            manifests_at_work: Arc::new(Semaphore::new(MANIFESTS_AT_WORK)),
            manifest_time: limits.manifest_time,
            retry_after: limits.retry_after,
        }
    }

    /// A place for `operation`, asked for by `peer`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unavailable`] if there is none, and
    /// [`ErrorKind::TooManyRequests`] if the others are for others: a client
    /// that comes back is better off than one that waits in a line without
    /// end.
    pub(crate) fn admit(&self, operation: &Operation, peer: Option<Peer>) -> Result<Place> {
        let places = match operation {
            Operation::GetBlob { .. } => &self.downloads,
            Operation::PushBlob { .. }
            | Operation::AppendUpload { .. }
            | Operation::FinishUpload { .. } => &self.uploads,
            _ => &self.requests,
        };
        let household = peer.map(Peer::household);
        places.take(household).map_err(|none| self.busy(none))
    }

    /// Memory for a manifest that has reached `size` bytes, if it needs a
    /// share. Waits for others to finish, but no longer than they may take.
    pub(crate) async fn manifest_memory(
        &self,
        size: usize,
        peer: Option<Peer>,
    ) -> Result<Option<Place>> {
        if size <= SMALL_MANIFEST {
            return Ok(None);
        }
        let place = self.large_manifests.wait(peer.map(Peer::household));
        match timeout_at(self.manifest_deadline(), place).await {
            Ok(place) => Ok(Some(place)),
            Err(_) => Err(self.busy(NoPlace::AtAll)),
        }
    }

    /// Waits until a manifest of `size` bytes, which is there whole, may be read
    /// and stored.
    pub(crate) async fn manifest_work(&self, size: usize) -> Option<SemaphorePermit<'_>> {
        if size <= SMALL_MANIFEST {
            return None;
        }
        // It is never closed.
        self.manifests_at_work.acquire().await.ok()
    }

    /// Until when a manifest has to be there whose first byte is awaited now.
    pub(crate) fn manifest_deadline(&self) -> Instant {
        let now = Instant::now();
        now.checked_add(self.manifest_time).unwrap_or(now)
    }

    fn busy(&self, none: NoPlace) -> registry_core::Error {
        let error = match none {
            NoPlace::AtAll => {
                ErrorKind::Unavailable.error("the registry is busy; try again shortly")
            }
            NoPlace::ForYou => ErrorKind::TooManyRequests
                .error("there are too many requests from your address; wait for some to end"),
        };
        error.with_retry_after(self.retry_after)
    }
}
