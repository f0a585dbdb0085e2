//! The registry over a blob store and a metadata store.

mod blobs;
mod builder;
mod cache;
mod content;
#[cfg(feature = "redb")]
mod damages_file;
mod delivery;
mod expiry;
mod gate;
mod ingest;
mod inspection;
mod listing;
mod management;
mod manifests;
mod open_uploads;
mod outbox;
mod read_back;
mod registry;
#[cfg(feature = "redb")]
mod root;
mod session;
mod steady;
mod uploads;
mod verified_read;

pub use builder::EngineBuilder;
pub use expiry::UploadExpiry;
pub use inspection::{Finding, Inspected, Inspection};

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use registry_core::{
    Access, Clock, Event, EventAction, EventTarget, Gate, Randomness, RepositoryName, Result,
    UploadId,
};
use tokio::sync::Semaphore;

use self::cache::ManifestCache;
use self::content::Damages;
use self::open_uploads::{Ended, OpenUploads};
use self::outbox::Outbox;
use self::session::Sessions;
use self::steady::SteadyClock;
use crate::portion::Portions;
use crate::{
    BlobStore, Change, CommitError, MemoryBlobs, MemoryMetadata, MetadataStore, Requirement,
};

/// How often a batch is tried anew when others change what it relies on.
///
/// Each conflict means that somebody else's batch went through, so this many in
/// a row is a storm, and the client is asked to come back.
const COMMIT_TRIES: usize = 16;

/// What an engine accepts and how far it goes.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineOptions {
    /// Whether a manifest may refer to content that its repository doesn't
    /// hold. No, unless changed.
    pub sparse_manifests: bool,
    /// Whether a manifest is refused that says of content that it has another size
    /// than it has. No, unless changed: it is only logged then. Content that isn't
    /// there has no size, nor is a subject looked for.
    pub exact_sizes: bool,
    /// The largest blob in bytes; no limit unless changed.
    pub max_blob_size: Option<u64>,
    /// The most open uploads in one repository. 1000 unless changed. When there
    /// are as many, one that received nothing for long makes room for the next:
    /// for 10 seconds and as long as it takes to send what it holds again at
    /// 16 KiB a second, or for an hour. Who is sending keeps theirs.
    pub max_uploads: u64,
    /// How many of the open uploads of a repository one caller may have: so many
    /// times as many as could still be begun. 1 unless changed: the first caller
    /// who wants all gets half of them, the next one half of the rest, and so on.
    /// Who has none gets one, if there is room. With `None`, one caller may have
    /// all.
    ///
    /// A caller is the name of whoever logged in, and the address of whoever
    /// didn't; for IPv6 its network of 64 bits. The program's own calls, which
    /// come from neither, are not kept to a share. Beyond it, an upload of the
    /// caller's own that received nothing for as long as above makes room. If
    /// there is none, the next fails with
    /// [`TooManyRequests`](registry_core::ErrorKind::TooManyRequests), and with
    /// the time until the first of them would, if nobody went on with it. Uploads
    /// that an earlier process began are nobody's.
    pub upload_share: Option<u32>,
    /// The most items in a page of tags, repositories or referrers. 10 000
    /// unless changed.
    pub max_page: usize,
    /// The most events that wait for a listener that can't be told. When there
    /// are more, the oldest are dropped: no push waits for a listener.
    /// 100 000 unless changed.
    pub max_waiting_events: u64,
    /// How many bytes of manifests are kept in memory. 16 MiB unless changed.
    pub manifest_cache: u64,
    /// Whether a blob that is read as a whole is hashed on its way. Where its
    /// bytes rotted, they then end in an error before the last ones, and count
    /// as absent to pushes until they are pushed again. Parts of a blob aren't
    /// checked, nor what a store lets clients fetch elsewhere.
    ///
    /// No, unless changed: hashing takes several times as much of the processor
    /// as sending does. Clients check digests themselves, and
    /// [`verify`](registry_core::Management::verify) and
    /// [`inspect`](Engine::inspect) look for rot at a time of the owner's choice.
    pub verify_reads: bool,
}

impl EngineOptions {
    /// Sets whether a manifest may refer to content that its repository doesn't
    /// hold.
    pub fn sparse_manifests(mut self, sparse_manifests: bool) -> Self {
        self.sparse_manifests = sparse_manifests;
        self
    }

    /// Sets whether a manifest is refused that says of content that it has another
    /// size than it has.
    pub fn exact_sizes(mut self, exact_sizes: bool) -> Self {
        self.exact_sizes = exact_sizes;
        self
    }

    /// Sets the largest blob in bytes.
    pub fn max_blob_size(mut self, max_blob_size: Option<u64>) -> Self {
        self.max_blob_size = max_blob_size;
        self
    }

    /// Sets the most open uploads in one repository.
    pub fn max_uploads(mut self, max_uploads: u64) -> Self {
        self.max_uploads = max_uploads;
        self
    }

    /// Sets how many of the open uploads of a repository one caller may have.
    pub fn upload_share(mut self, upload_share: Option<u32>) -> Self {
        self.upload_share = upload_share;
        self
    }

    /// Sets the most items in a page.
    pub fn max_page(mut self, max_page: usize) -> Self {
        self.max_page = max_page;
        self
    }

    /// Sets the most events that wait for a listener.
    pub fn max_waiting_events(mut self, max_waiting_events: u64) -> Self {
        self.max_waiting_events = max_waiting_events;
        self
    }

    /// Sets how many bytes of manifests are kept in memory.
    pub fn manifest_cache(mut self, manifest_cache: u64) -> Self {
        self.manifest_cache = manifest_cache;
        self
    }

    /// Sets whether a blob that is read as a whole is hashed on its way.
    pub fn verify_reads(mut self, verify_reads: bool) -> Self {
        self.verify_reads = verify_reads;
        self
    }
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self {
            sparse_manifests: false,
            exact_sizes: false,
            max_blob_size: None,
            max_uploads: 1000,
            upload_share: Some(1),
            max_page: 10_000,
            max_waiting_events: 100_000,
            manifest_cache: 16 << 20,
            verify_reads: false,
        }
    }
}

/// A registry that keeps bytes in a [`BlobStore`] and facts in a
/// [`MetadataStore`]. Cloning it is cheap.
///
/// # Durability
///
/// A push is acknowledged when its bytes, then their name, then the facts about
/// it are durable, in this order: what was acknowledged survives the end of the
/// process and of the power, as far as the stores promise it.
///
/// A request that is given up half-way leaves the registry as it was before, or
/// as it would be after; what an interrupted upload received stays.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> registry_core::Result<()> {
/// use registry_core::{Access, Algorithm, Chunk, Registry, UploadOptions};
/// use registry_storage::Engine;
///
/// let registry = Engine::memory();
/// let access = Access::trusted("team/app".parse()?);
///
/// let upload = registry.begin_upload(&access, UploadOptions::default()).await?;
/// let digest = Algorithm::Sha256.digest(b"hello");
/// let chunk = Chunk::from_bytes("hello");
/// registry.finish_upload(&access, &upload.id, &digest, Some(chunk)).await?;
///
/// assert_eq!(registry.stat_blob(&access, &digest).await?.size, 5);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

struct Inner {
    blobs: Arc<dyn BlobStore>,
    metadata: Arc<dyn MetadataStore>,
    clock: Arc<dyn Clock>,
    steady: SteadyClock,
    randomness: Arc<dyn Randomness>,
    options: EngineOptions,
    /// Tells uploads that this process wrote to from those it inherited.
    incarnation: OnceLock<UploadId>,
    sessions: Sessions,
    open_uploads: OpenUploads,
    portions: Portions,
    damages: Damages,
    /// The directory that everything lies in, if there is one.
    #[cfg(feature = "redb")]
    root: Option<std::path::PathBuf>,
    manifests: ManifestCache,
    /// Who may read a large manifest: whoever asked for it may have no room for it
    /// once it is there.
    large_manifests: Semaphore,
    /// Has a say in each change, if there is one.
    gate: Option<Arc<dyn Gate>>,
    /// Wakes the delivery of events; absent if nobody listens.
    outbox: Option<Arc<Outbox>>,
    /// How many events were dropped, as far as the delivery noticed.
    dropped_events: AtomicU64,
    /// Delivers events, if somebody listens.
    delivery: OnceLock<expiry::EndsWithIt>,
    /// Forgets uploads that nobody finishes, if it was asked to.
    upload_expiry: OnceLock<expiry::EndsWithIt>,
}

impl Engine {
    /// An engine that forgets everything when it is dropped. For tests.
    pub fn memory() -> Self {
        Self::builder(MemoryBlobs::default(), MemoryMetadata::default()).build()
    }

    /// An engine over these stores.
    pub fn builder(blobs: impl BlobStore, metadata: impl MetadataStore) -> EngineBuilder {
        EngineBuilder::new(Arc::new(blobs), Arc::new(metadata))
    }

    /// Whether pushes are accepted now.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unavailable`](registry_core::ErrorKind::Unavailable) with
    /// the reason, for example that a write to the disk failed.
    pub async fn check(&self) -> Result<()> {
        self.blobs().check().await?;
        self.metadata().check().await
    }

    /// Ends what runs in the background, and waits until the
    /// [metadata store](MetadataStore::close) has let go of what it holds.
    /// Requests fail from then on, also those of other clones: stop serving
    /// first. The root directory is free once they are gone too.
    ///
    /// Pushes that were acknowledged don't need it. An engine that is dropped does
    /// the same on a thread of its own, but a program that ends meanwhile may
    /// lose what needn't survive a crash, such as an upload that was just begun.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Corrupt`](registry_core::ErrorKind::Corrupt) if the metadata
    /// is damaged, and what to do about it.
    pub async fn close(self) -> Result<()> {
        for task in [&self.inner.delivery, &self.inner.upload_expiry] {
            if let Some(task) = task.get() {
                task.end();
            }
        }
        self.metadata().close().await
    }

    fn blobs(&self) -> &dyn BlobStore {
        &*self.inner.blobs
    }

    fn metadata(&self) -> &dyn MetadataStore {
        &*self.inner.metadata
    }

    fn options(&self) -> &EngineOptions {
        &self.inner.options
    }

    fn now(&self) -> SystemTime {
        self.inner.clock.now()
    }

    fn new_id(&self) -> Result<UploadId> {
        Ok(UploadId::from_random(self.inner.randomness.bytes()?))
    }

    fn incarnation(&self) -> Result<UploadId> {
        if let Some(incarnation) = self.inner.incarnation.get() {
            return Ok(*incarnation);
        }
        let fresh = self.new_id()?;
        Ok(*self.inner.incarnation.get_or_init(|| fresh))
    }

    /// How many events nobody was told of since the engine was built, because
    /// [too many](EngineOptions::max_waiting_events) waited or because they
    /// couldn't be read. Each time is logged as an error.
    pub fn dropped_events(&self) -> u64 {
        self.inner.dropped_events.load(Ordering::Relaxed)
    }

    /// The changes that tell listeners what a batch does; none if nobody
    /// listens.
    fn tell(
        &self,
        access: &Access,
        action: EventAction,
        target: EventTarget,
        from: Option<RepositoryName>,
    ) -> Result<Vec<Change>> {
        if self.inner.outbox.is_none() {
            return Ok(Vec::new());
        }
        let emit = Change::Emit(Event {
            id: self.new_id()?.to_string(),
            at: self.now(),
            action,
            repository: access.repository().clone(),
            target,
            from,
            actor: access.actor().name.clone(),
        });
        let events = self.options().max_waiting_events;
        Ok(vec![emit, Change::LimitOutbox { events }])
    }

    /// Commits what `prepare` makes of what is there, and again if that changed
    /// in between.
    async fn commit_prepared<F>(&self, prepare: impl Fn() -> F) -> Result<()>
    where
        F: Future<Output = Result<crate::Batch>>,
    {
        for _ in 0..COMMIT_TRIES {
            match self.commit(prepare().await?).await {
                Ok(()) => return Ok(()),
                Err(CommitError::Conflict(Requirement::EpochIs { .. })) => return Err(gone()),
                Err(CommitError::Conflict(_)) => {}
                Err(CommitError::Refused(error) | CommitError::Failed(error)) => return Err(error),
            }
        }
        Err(contended())
    }

    async fn commit(&self, batch: crate::Batch) -> Result<(), CommitError> {
        let events = outbox::events(&batch);
        let ended = Ended::by(&batch);
        self.metadata().commit(batch).await?;
        self.inner.open_uploads.end(ended);
        if let Some(outbox) = &self.inner.outbox {
            outbox.committed(events);
        }
        Ok(())
    }
}

/// The error of a batch that lost every race.
fn contended() -> registry_core::Error {
    registry_core::ErrorKind::Unavailable
        .error("too many others change the same content; try again")
        .with_retry_after(Duration::from_secs(1))
}

/// That the repository is still the one that `access` is for, if it says so: another
/// may have been created under its name since that was decided.
fn same_repository(access: &Access) -> Option<Requirement> {
    access.epoch().map(|number| Requirement::EpochIs {
        repository: access.repository().clone(),
        number,
    })
}

/// The error of an access to a repository that was deleted since.
fn gone() -> registry_core::Error {
    registry_core::ErrorKind::NameUnknown
        .error("the repository was deleted meanwhile; what is under its name now is another one")
}

/// The error of a conflict that the caller has ruled out.
fn unexpected(conflict: &Requirement) -> registry_core::Error {
    registry_core::ErrorKind::Internal.error(format!("an unforeseen conflict: {conflict:?}"))
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine")
            .field("blobs", &self.inner.blobs)
            .field("metadata", &self.inner.metadata)
            .field("options", &self.inner.options)
            .finish_non_exhaustive()
    }
}
