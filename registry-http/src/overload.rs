//! How much is done at once, and who is turned away beyond that.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use registry_core::{ErrorKind, Operation, Result};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use crate::answer_memory::{self, AnswerMemory};
use crate::aside::Aside;
use crate::manifest_memory::{Hold, ManifestMemory, STEP};
use crate::places::{NoPlace, Place, Places};
use crate::{Limits, Peer};

/// About how much memory a value in a manifest takes, once it is read.
const VALUE: usize = 256;

/// How often it is logged at most that an address was turned away.
const WARN_EVERY: Duration = Duration::from_mins(1);

/// How long an answer waits for others to be taken.
const ANSWER_WAIT: Duration = Duration::from_secs(5);

/// The room for requests in progress, by what they cost.
#[derive(Debug, Clone)]
pub(crate) struct Capacity {
    requests: Places,
    uploads: Places,
    downloads: Places,
    manifest_memory: ManifestMemory,
    /// For what was read of manifests, in units of [`STEP`].
    documents: Arc<Semaphore>,
    document_room: u32,
    manifest_work: Aside,
    answer_memory: AnswerMemory,
    manifest_time: Duration,
    retry_after: Duration,
    /// When it was last logged that an address was turned away.
    warned: Arc<Mutex<Option<Instant>>>,
}

impl Capacity {
    /// The room that `limits` give; manifests have up to `max_manifest` bytes.
    pub(crate) fn new(limits: &Limits, max_manifest: usize) -> Self {
        let places = |count: usize| Places::new(count, limits.address_share);
        let document_room = u32::try_from(limits.manifest_memory.div_ceil(STEP)).unwrap_or(1 << 16);
        let document_room = document_room.clamp(1, 1 << 16);
        Self {
            requests: places(limits.max_requests),
            uploads: places(limits.max_uploads),
            downloads: places(limits.max_downloads),
            manifest_memory: ManifestMemory::new(limits, max_manifest),
            documents: Arc::new(Semaphore::new(usize::try_from(document_room).unwrap_or(1))),
            document_room,
            manifest_work: Aside::new("manifests"),
            answer_memory: AnswerMemory::new(limits.answer_memory, limits.address_share),
            manifest_time: limits.manifest_time,
            retry_after: limits.retry_after,
            warned: Arc::default(),
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
        self.place(places, peer)
    }

    /// A place for a request that isn't an operation of the protocol.
    ///
    /// # Errors
    ///
    /// As [`admit`](Self::admit).
    #[cfg(feature = "token")]
    pub(crate) fn admit_other(&self, peer: Option<Peer>) -> Result<Place> {
        self.place(&self.requests, peer)
    }

    fn place(&self, places: &Places, peer: Option<Peer>) -> Result<Place> {
        let household = peer.map(Peer::household);
        places.take(household).map_err(|none| {
            if none == NoPlace::ForYou {
                self.warn(household);
            }
            self.busy(none)
        })
    }

    /// Memory for the beginning of a large manifest. Waits for others to finish,
    /// but no longer than they may take.
    pub(crate) async fn begin_manifest(&self, peer: Option<Peer>) -> Result<Hold> {
        let hold = self.manifest_memory.begin(peer.map(Peer::household));
        let hold = timeout_at(self.manifest_deadline(), hold).await;
        hold.map_err(|_| self.busy(NoPlace::AtAll))
    }

    /// Memory for more of it, up to `bytes` bytes, until `deadline`.
    pub(crate) async fn grow_manifest(
        &self,
        hold: &mut Hold,
        bytes: usize,
        deadline: Instant,
    ) -> Result<()> {
        let grown = timeout_at(deadline, hold.grow(bytes)).await;
        let grown = grown.unwrap_or(Err(NoPlace::AtAll));
        grown.map_err(|none| self.busy(none))
    }

    /// Memory for what is read of a manifest, if it takes much, until it is
    /// stored. Waits for others as [`begin_manifest`](Self::begin_manifest) does.
    ///
    /// A manifest that takes more than there is has all of it. Nobody who has some
    /// waits for anybody else's: it is asked for once, when all bytes are there.
    pub(crate) async fn document(&self, manifest: &[u8]) -> Result<Option<OwnedSemaphorePermit>> {
        let separates = |byte: &&u8| matches!(byte, b',' | b'{' | b'[');
        let values = manifest.iter().filter(separates).count();
        let units = values.saturating_mul(VALUE).div_euclid(STEP);
        if units == 0 {
            return Ok(None);
        }
        let units =
            u32::try_from(units).map_or(self.document_room, |units| units.min(self.document_room));
        let permit = Arc::clone(&self.documents).acquire_many_owned(units);
        match timeout_at(self.manifest_deadline(), permit).await {
            Ok(Ok(permit)) => Ok(Some(permit)),
            _ => Err(self.busy(NoPlace::AtAll)),
        }
    }

    /// Where large manifests are read, one after the other.
    pub(crate) fn manifest_work(&self) -> &Aside {
        &self.manifest_work
    }

    /// Until when a manifest has to be there whose first byte is awaited now.
    pub(crate) fn manifest_deadline(&self) -> Instant {
        let now = Instant::now();
        now.checked_add(self.manifest_time).unwrap_or(now)
    }

    /// Memory for an answer of `bytes` bytes, if there is some now.
    pub(crate) fn hold_answer(
        &self,
        bytes: usize,
        peer: Option<Peer>,
    ) -> Option<answer_memory::Hold> {
        let household = peer.map(Peer::household);
        self.answer_memory.take(bytes, household).ok()
    }

    /// The same, once there is some. Waits until `deadline` for other answers to be
    /// taken.
    pub(crate) async fn wait_to_answer(
        &self,
        bytes: usize,
        peer: Option<Peer>,
        deadline: Instant,
    ) -> Result<answer_memory::Hold> {
        let household = peer.map(Peer::household);
        let mut none = NoPlace::AtAll;
        let hold = self.answer_memory.wait(bytes, household, &mut none);
        let hold = timeout_at(deadline, hold).await;
        hold.map_err(|_| self.busy(none))
    }

    /// Until when an answer waits for which there is no memory now.
    pub(crate) fn answer_deadline() -> Instant {
        let now = Instant::now();
        now.checked_add(ANSWER_WAIT).unwrap_or(now)
    }

    /// Says once in a while who is turned away: behind an address that isn't known
    /// to be a proxy's there may be everybody.
    fn warn(&self, household: Option<IpAddr>) {
        let now = Instant::now();
        let mut warned = self.warned.lock().unwrap_or_else(PoisonError::into_inner);
        if warned.is_some_and(|last| now.duration_since(last) < WARN_EVERY) {
            return;
        }
        *warned = Some(now);
        drop(warned);
        if let Some(address) = household {
            tracing::warn!(
                %address,
                "requests are refused with 429, since this address holds its share of what is in \
                 progress; if it stands for many clients, trust it as a proxy, or let an address \
                 hold more"
            );
        }
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
