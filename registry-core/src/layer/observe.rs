//! Telling others what was done.

use std::fmt;
use std::ops::Range;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use async_trait::async_trait;
use futures::Stream;
use futures::channel::mpsc;

use crate::{
    Access, Actor, Blob, CatalogAccess, Chunk, Deletion, Descriptor, Digest, Epochs, Layer,
    Manifest, MountSource, OpenOptions, Page, PageRequest, Pushed, PutManifest, Reference,
    ReferrerFilter, Registry, RepositoryName, Result, Tag, Upload, UploadId, UploadOptions,
};

/// Something that a caller did, and that succeeded.
#[non_exhaustive]
#[derive(Debug, Clone)]
pub struct Observation {
    /// Where.
    pub repository: RepositoryName,
    /// Who.
    pub actor: Arc<Actor>,
    /// What.
    pub deed: Deed,
}

/// What was done.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deed {
    /// A blob, or a part of it, was opened. Whether the client read it to its
    /// end isn't known.
    PullBlob {
        /// Which.
        digest: Digest,
        /// The size of the whole blob in bytes.
        size: u64,
        /// The part that was opened.
        range: Range<u64>,
    },
    /// A manifest was served. Asking only what a reference points to is no
    /// pull.
    PullManifest {
        /// What was asked for.
        reference: Reference,
        /// What was found.
        manifest: Descriptor,
    },
    /// A blob was pushed. A client that repeats a push is told of it twice.
    PushBlob(Descriptor),
    /// A manifest was pushed.
    PushManifest(Pushed),
    /// A blob was taken over from another repository.
    MountBlob {
        /// Which.
        blob: Descriptor,
        /// Where from, if the caller named it.
        from: Option<RepositoryName>,
    },
    /// Something was removed.
    Delete(Deletion),
}

/// Is told what was done.
pub trait Observer: fmt::Debug + Send + Sync + 'static {
    /// Takes an observation. The client waits meanwhile, so this returns at
    /// once: it counts, or hands the observation on, and never blocks.
    fn observe(&self, observation: Observation);
}

/// Tells an [`Observer`] of pulls, pushes, mounts and deletions.
///
/// It is for what may be lost, such as counting pulls: what was done just
/// before a crash may go untold. Events that must not be lost are committed by
/// the storage engine together with the change.
///
/// ```
/// use futures::StreamExt;
/// use registry_core::{Deed, Observe, Registry, RegistryExt};
///
/// fn counted(registry: impl Registry) -> impl Registry {
///     let (observe, mut observations) = Observe::queue(1024);
///     let count = async move {
///         while let Some(observation) = observations.next().await {
///             if let Deed::PullManifest { reference, .. } = observation.deed {
///                 println!("{}:{reference} was pulled", observation.repository);
///             }
///         }
///     };
///     # let spawn = |_| ();
///     spawn(count); // on the runtime of your choice
///     registry.layer(observe)
/// }
/// ```
#[derive(Debug, Clone)]
pub struct Observe<O> {
    observer: O,
}

/// A registry under [`Observe`].
#[derive(Debug, Clone)]
pub struct ObservedRegistry<R, O> {
    inner: R,
    observer: O,
}

/// The end of a queue that a registry writes to.
#[derive(Debug, Clone)]
pub struct Queue {
    /// One sender for all: each further one would have room of its own.
    sender: Arc<Mutex<mpsc::Sender<Observation>>>,
    dropped: Arc<AtomicU64>,
}

/// The end of a queue that the embedder reads: a stream of observations. It
/// ends when the registry is gone.
#[derive(Debug)]
pub struct Observations {
    receiver: mpsc::Receiver<Observation>,
    dropped: Arc<AtomicU64>,
}

impl<O: Observer> Observe<O> {
    /// Tells `observer`.
    pub fn with(observer: O) -> Self {
        Self { observer }
    }
}

impl Observe<Queue> {
    /// Tells a queue, which an asynchronous task reads at its own pace.
    ///
    /// The queue holds `capacity` observations and one more. While it is full,
    /// or nobody reads any more, new observations are dropped and counted: no
    /// client waits for a reader.
    pub fn queue(capacity: usize) -> (Self, Observations) {
        let (sender, receiver) = mpsc::channel(capacity);
        let dropped = Arc::<AtomicU64>::default();
        let queue = Queue {
            sender: Arc::new(Mutex::new(sender)),
            dropped: Arc::clone(&dropped),
        };
        (Self::with(queue), Observations { receiver, dropped })
    }
}

impl Observer for Queue {
    fn observe(&self, observation: Observation) {
        let mut sender = self.sender.lock().unwrap_or_else(PoisonError::into_inner);
        if sender.try_send(observation).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Observations {
    /// How many observations were dropped so far.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

impl Stream for Observations {
    type Item = Observation;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Observation>> {
        Pin::new(&mut self.receiver).poll_next(context)
    }
}

impl<R: Registry, O: Observer> Layer<R> for Observe<O> {
    type Registry = ObservedRegistry<R, O>;

    fn layer(self, inner: R) -> Self::Registry {
        ObservedRegistry {
            inner,
            observer: self.observer,
        }
    }
}

impl<R, O: Observer> ObservedRegistry<R, O> {
    fn tell(&self, access: &Access, deed: Deed) {
        self.observer.observe(Observation {
            repository: access.repository().clone(),
            actor: Arc::clone(access.actor()),
            deed,
        });
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<R: Registry, O: Observer> Registry for ObservedRegistry<R, O> {
    async fn stat_blob(&self, access: &Access, digest: &Digest) -> Result<Descriptor> {
        self.inner.stat_blob(access, digest).await
    }

    async fn open_blob(
        &self,
        access: &Access,
        digest: &Digest,
        options: OpenOptions,
    ) -> Result<Blob> {
        let blob = self.inner.open_blob(access, digest, options).await?;
        self.tell(
            access,
            Deed::PullBlob {
                digest: blob.digest,
                size: blob.size,
                range: blob.range.clone(),
            },
        );
        Ok(blob)
    }

    async fn mount_blob(
        &self,
        access: &Access,
        digest: &Digest,
        source: MountSource<'_>,
    ) -> Result<Option<Descriptor>> {
        let mounted = self.inner.mount_blob(access, digest, source).await?;
        if let Some(blob) = &mounted {
            let from = match source {
                MountSource::Repository(from) => Some(from.repository().clone()),
                MountSource::Anywhere(_) => None,
            };
            self.tell(
                access,
                Deed::MountBlob {
                    blob: blob.clone(),
                    from,
                },
            );
        }
        Ok(mounted)
    }

    async fn begin_upload(&self, access: &Access, options: UploadOptions) -> Result<Upload> {
        self.inner.begin_upload(access, options).await
    }

    async fn upload(&self, access: &Access, id: &UploadId) -> Result<Upload> {
        self.inner.upload(access, id).await
    }

    async fn append_upload(&self, access: &Access, id: &UploadId, chunk: Chunk) -> Result<Upload> {
        self.inner.append_upload(access, id, chunk).await
    }

    async fn finish_upload(
        &self,
        access: &Access,
        id: &UploadId,
        digest: &Digest,
        last: Option<Chunk>,
    ) -> Result<Descriptor> {
        let blob = self.inner.finish_upload(access, id, digest, last).await?;
        self.tell(access, Deed::PushBlob(blob.clone()));
        Ok(blob)
    }

    async fn cancel_upload(&self, access: &Access, id: &UploadId) -> Result<()> {
        self.inner.cancel_upload(access, id).await
    }

    async fn resolve(&self, access: &Access, reference: &Reference) -> Result<Descriptor> {
        self.inner.resolve(access, reference).await
    }

    async fn get_manifest(&self, access: &Access, reference: &Reference) -> Result<Manifest> {
        let manifest = self.inner.get_manifest(access, reference).await?;
        self.tell(
            access,
            Deed::PullManifest {
                reference: reference.clone(),
                manifest: manifest.descriptor(),
            },
        );
        Ok(manifest)
    }

    async fn put_manifest(&self, access: &Access, push: PutManifest) -> Result<Pushed> {
        let pushed = self.inner.put_manifest(access, push).await?;
        self.tell(access, Deed::PushManifest(pushed.clone()));
        Ok(pushed)
    }

    async fn delete(&self, access: &Access, what: Deletion) -> Result<()> {
        self.inner.delete(access, what.clone()).await?;
        self.tell(access, Deed::Delete(what));
        Ok(())
    }

    async fn tags(&self, access: &Access, page: PageRequest) -> Result<Page<Tag>> {
        self.inner.tags(access, page).await
    }

    async fn referrers(
        &self,
        access: &Access,
        subject: &Digest,
        filter: ReferrerFilter,
        page: PageRequest,
    ) -> Result<Page<Descriptor>> {
        self.inner.referrers(access, subject, filter, page).await
    }

    async fn repositories(
        &self,
        access: &CatalogAccess,
        page: PageRequest,
    ) -> Result<Page<RepositoryName>> {
        self.inner.repositories(access, page).await
    }

    fn epochs(&self) -> Option<&dyn Epochs> {
        self.inner.epochs()
    }
}
