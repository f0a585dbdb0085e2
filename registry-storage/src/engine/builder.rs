//! How an engine is put together.

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock};

use registry_core::{Clock, EventSink, Gate, Randomness, SystemClock, SystemRandomness};
use tokio::sync::Semaphore;

use super::cache::ManifestCache;
use super::content::Damages;
use super::expiry::EndsWithIt;
use super::manifests::LARGE_READS;
use super::open_uploads::OpenUploads;
use super::outbox::Outbox;
use super::session::Sessions;
use super::steady::SteadyClock;
use super::{Engine, EngineOptions, Inner, UploadExpiry, delivery, expiry};
use crate::portion::Portions;
use crate::{BlobStore, MetadataStore};

/// Puts an [`Engine`] together.
#[derive(Debug)]
pub struct EngineBuilder {
    blobs: Arc<dyn BlobStore>,
    metadata: Arc<dyn MetadataStore>,
    clock: Arc<dyn Clock>,
    randomness: Arc<dyn Randomness>,
    options: EngineOptions,
    events: Option<Arc<dyn EventSink>>,
    gate: Option<Arc<dyn Gate>>,
    upload_expiry: Option<UploadExpiry>,
    damages: Damages,
    #[cfg(feature = "redb")]
    root: Option<std::path::PathBuf>,
}

impl EngineBuilder {
    pub(super) fn new(blobs: Arc<dyn BlobStore>, metadata: Arc<dyn MetadataStore>) -> Self {
        Self {
            blobs,
            metadata,
            clock: Arc::new(SystemClock),
            randomness: Arc::new(SystemRandomness),
            options: EngineOptions::default(),
            events: None,
            gate: None,
            upload_expiry: None,
            damages: Damages::default(),
            #[cfg(feature = "redb")]
            root: None,
        }
    }

    /// With these limits.
    #[must_use]
    pub fn options(mut self, options: EngineOptions) -> Self {
        self.options = options;
        self
    }

    /// With this clock instead of the machine's.
    #[must_use]
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// With this source of randomness instead of the system's.
    #[must_use]
    pub fn randomness(mut self, randomness: impl Randomness) -> Self {
        self.randomness = Arc::new(randomness);
        self
    }

    /// With a receiver of events about every change. They are committed with
    /// the change and delivered by a background task, at least once and in
    /// order, also after a restart. At most
    /// [so many](EngineOptions::max_waiting_events) wait for a receiver that
    /// fails.
    #[must_use]
    pub fn events(mut self, sink: impl EventSink) -> Self {
        self.events = Some(Arc::new(sink));
        self
    }

    /// With a gate that is asked about every change, by clients, layers and the
    /// management alike: blobs that are pushed or mounted, manifests, tags that move,
    /// and everything that is deleted, with each tag that goes by that. The commit
    /// goes through only if the tags are where the gate was told they are; else it is
    /// asked again. It isn't asked about pulls: [`Gated`](registry_core::Gated) does
    /// that.
    ///
    /// A deletion that takes more than 10 000 tags with it is refused then.
    #[must_use]
    pub fn gate(mut self, gate: impl Gate) -> Self {
        self.gate = Some(Arc::new(gate));
        self
    }

    /// Forgets uploads that nobody finishes, in a background task that ends
    /// with the engine, or never does. An engine in a directory does as
    /// [`UploadExpiry::default`] says unless told otherwise; others don't.
    #[must_use]
    pub fn upload_expiry(mut self, expiry: impl Into<Option<UploadExpiry>>) -> Self {
        self.upload_expiry = expiry.into();
        self
    }

    /// In this directory, where these are known to be damaged.
    #[cfg(feature = "redb")]
    pub(super) fn in_directory(
        mut self,
        root: &std::path::Path,
        damaged: &[crate::BlobKey],
    ) -> Self {
        self.root = Some(root.to_owned());
        for key in damaged {
            self.damages.remember(key);
        }
        self
    }

    /// The engine. Outside a tokio runtime it forgets no uploads by itself.
    /// With a receiver of events this has to be called within a
    /// tokio runtime, where the delivery runs until the engine is dropped.
    pub fn build(self) -> Engine {
        let inner = Arc::new(Inner {
            delivery: OnceLock::new(),
            upload_expiry: OnceLock::new(),
            sessions: Sessions::default(),
            open_uploads: OpenUploads::default(),
            large_manifests: Semaphore::new(LARGE_READS),
            portions: Portions::default(),
            damages: self.damages,
            #[cfg(feature = "redb")]
            root: self.root,
            manifests: ManifestCache::new(self.options.manifest_cache),
            dropped_events: AtomicU64::new(0),
            outbox: self
                .events
                .as_ref()
                .map(|sink| Arc::new(Outbox::new(sink.name()))),
            gate: self.gate,
            incarnation: OnceLock::new(),
            blobs: self.blobs,
            metadata: self.metadata,
            steady: SteadyClock::new(self.clock.now()),
            clock: self.clock,
            randomness: self.randomness,
            options: self.options,
        });
        if let Some(sink) = self.events {
            let task = tokio::spawn(delivery::run(Arc::downgrade(&inner), sink));
            // Nobody else has set it.
            let _ = inner.delivery.set(EndsWithIt(task.abort_handle()));
        }
        if let Some(upload_expiry) = self.upload_expiry
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            let task = runtime.spawn(expiry::run(Arc::downgrade(&inner), upload_expiry));
            // Nobody else has set it.
            let _ = inner.upload_expiry.set(EndsWithIt(task.abort_handle()));
        }
        Engine { inner }
    }
}
