//! The registry behind the service, and how long it takes for what it is asked.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::task::{Context, Poll, ready};

use async_trait::async_trait;
use bytes::Bytes;
use futures::Stream;
use metrics::Histogram;
use registry_auth::AccessControl;
use registry_core::{
    Access, Blob, ByteStream, CatalogAccess, Chunk, Deletion, Descriptor, Digest, Epochs, Manifest,
    MountSource, OpenOptions, Page, PageRequest, Pushed, PutManifest, Reference, ReferrerFilter,
    Registry, RepositoryEpoch, RepositoryName, Result, Tag, Upload, UploadId, UploadOptions,
};
use tokio::time::Instant;

use crate::metrics::storage_action;

/// A registry, as handlers see it. Its methods are those of [`Registry`].
#[derive(Clone)]
pub(crate) struct Storage {
    registry: Arc<dyn Registry>,
    driver: Arc<str>,
    actions: Arc<RwLock<HashMap<&'static str, Histogram>>>,
}

impl Storage {
    pub(crate) fn new(registry: Arc<dyn Registry>, driver: &str) -> Self {
        Self {
            registry,
            driver: driver.into(),
            actions: Arc::default(),
        }
    }

    /// The same registry, called `driver` where its actions are measured.
    pub(crate) fn named(&self, driver: &str) -> Self {
        Self::new(Arc::clone(&self.registry), driver)
    }

    /// The registry itself.
    pub(crate) fn registry(&self) -> Arc<dyn Registry> {
        Arc::clone(&self.registry)
    }

    /// The same access, to these repositories rather than to names.
    pub(crate) fn told_apart(&self, access: AccessControl) -> AccessControl {
        if access.knows_epochs() {
            access
        } else if self.registry.epochs().is_some() {
            access.epochs(EpochsOf(self.registry()))
        } else {
            if access.gives_tokens() {
                tracing::warn!(
                    "the registry can't tell a repository from one that had its name before: a \
                     token for one that was deleted is good for the next; give the access control \
                     its epochs"
                );
            }
            access
        }
    }

    pub(crate) async fn stat_blob(&self, access: &Access, digest: &Digest) -> Result<Descriptor> {
        let asked = self.registry.stat_blob(access, digest);
        self.timed("stat_blob", asked).await
    }

    pub(crate) async fn open_blob(
        &self,
        access: &Access,
        digest: &Digest,
        options: OpenOptions,
    ) -> Result<Blob> {
        let asked = self.registry.open_blob(access, digest, options);
        self.timed("open_blob", asked).await
    }

    pub(crate) async fn mount_blob(
        &self,
        access: &Access,
        digest: &Digest,
        source: MountSource<'_>,
    ) -> Result<Option<Descriptor>> {
        let asked = self.registry.mount_blob(access, digest, source);
        self.timed("mount_blob", asked).await
    }

    pub(crate) async fn begin_upload(
        &self,
        access: &Access,
        options: UploadOptions,
    ) -> Result<Upload> {
        let asked = self.registry.begin_upload(access, options);
        self.timed("begin_upload", asked).await
    }

    pub(crate) async fn upload(&self, access: &Access, id: &UploadId) -> Result<Upload> {
        let asked = self.registry.upload(access, id);
        self.timed("upload", asked).await
    }

    pub(crate) async fn append_upload(
        &self,
        access: &Access,
        id: &UploadId,
        chunk: Chunk,
    ) -> Result<Upload> {
        let (chunk, received) = Received::of(chunk);
        let appended = self.registry.append_upload(access, id, chunk).await;
        self.record("append_upload", received.when());
        appended
    }

    pub(crate) async fn finish_upload(
        &self,
        access: &Access,
        id: &UploadId,
        digest: &Digest,
        last: Option<Chunk>,
    ) -> Result<Descriptor> {
        let Some(chunk) = last else {
            let asked = self.registry.finish_upload(access, id, digest, None);
            return self.timed("finish_upload", asked).await;
        };
        let (chunk, received) = Received::of(chunk);
        let asked = self
            .registry
            .finish_upload(access, id, digest, Some(chunk))
            .await;
        self.record("finish_upload", received.when());
        asked
    }

    pub(crate) async fn cancel_upload(&self, access: &Access, id: &UploadId) -> Result<()> {
        let asked = self.registry.cancel_upload(access, id);
        self.timed("cancel_upload", asked).await
    }

    pub(crate) async fn resolve(
        &self,
        access: &Access,
        reference: &Reference,
    ) -> Result<Descriptor> {
        let asked = self.registry.resolve(access, reference);
        self.timed("resolve", asked).await
    }

    pub(crate) async fn get_manifest(
        &self,
        access: &Access,
        reference: &Reference,
    ) -> Result<Manifest> {
        let asked = self.registry.get_manifest(access, reference);
        self.timed("get_manifest", asked).await
    }

    pub(crate) async fn put_manifest(&self, access: &Access, push: PutManifest) -> Result<Pushed> {
        let asked = self.registry.put_manifest(access, push);
        self.timed("put_manifest", asked).await
    }

    pub(crate) async fn delete(&self, access: &Access, what: Deletion) -> Result<()> {
        let asked = self.registry.delete(access, what);
        self.timed("delete", asked).await
    }

    pub(crate) async fn tags(&self, access: &Access, page: PageRequest) -> Result<Page<Tag>> {
        let asked = self.registry.tags(access, page);
        self.timed("tags", asked).await
    }

    pub(crate) async fn referrers(
        &self,
        access: &Access,
        subject: &Digest,
        filter: ReferrerFilter,
        page: PageRequest,
    ) -> Result<Page<Descriptor>> {
        let asked = self.registry.referrers(access, subject, filter, page);
        self.timed("referrers", asked).await
    }

    pub(crate) async fn repositories(
        &self,
        access: &CatalogAccess,
        page: PageRequest,
    ) -> Result<Page<RepositoryName>> {
        let asked = self.registry.repositories(access, page);
        self.timed("repositories", asked).await
    }

    async fn timed<T>(&self, action: &'static str, asked: impl Future<Output = T>) -> T {
        let since = Instant::now();
        let done = asked.await;
        self.record(action, Some(since));
        done
    }

    /// Records how long `action` took, if it is known since when.
    fn record(&self, action: &'static str, since: Option<Instant>) {
        let Some(since) = since else {
            return;
        };
        let seconds = since.elapsed();
        let actions = self.actions.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(histogram) = actions.get(action) {
            histogram.record(seconds);
            return;
        }
        drop(actions);
        let histogram = storage_action(&self.driver, action);
        histogram.record(seconds);
        let mut actions = self.actions.write().unwrap_or_else(PoisonError::into_inner);
        actions.insert(action, histogram);
    }
}

impl fmt::Debug for Storage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.registry.fmt(f)
    }
}

/// When a client's bytes were there. What it takes to send them is no time of
/// the registry's.
struct Received(Arc<Mutex<Option<Instant>>>);

impl Received {
    fn of(chunk: Chunk) -> (Chunk, Self) {
        let end = Arc::new(Mutex::new(None));
        let body = Watched {
            body: chunk.body,
            end: Arc::clone(&end),
        };
        let body: ByteStream = Box::pin(body);
        (Chunk { body, ..chunk }, Self(end))
    }

    fn when(&self) -> Option<Instant> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Watched {
    body: ByteStream,
    end: Arc<Mutex<Option<Instant>>>,
}

impl Stream for Watched {
    type Item = Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = ready!(self.body.as_mut().poll_next(cx));
        if next.is_none() {
            *self.end.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        }
        Poll::Ready(next)
    }
}

/// Those of a registry that knows them.
#[derive(Debug)]
struct EpochsOf(Arc<dyn Registry>);

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Epochs for EpochsOf {
    async fn epoch(&self, repository: &RepositoryName) -> Result<RepositoryEpoch> {
        match self.0.epochs() {
            Some(epochs) => epochs.epoch(repository).await,
            None => Ok(RepositoryEpoch::default()),
        }
    }
}
