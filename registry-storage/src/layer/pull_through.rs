//! A registry that fetches what it doesn't have from another one.

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use registry_core::{
    Access, Action, Blob, BlobBody, ByteStream, CatalogAccess, Chunk, Deletion, Descriptor, Digest,
    Error, ErrorKind, Manifest, ManifestRules, MountSource, OpenOptions, Page, PageRequest, Pushed,
    PutManifest, Reference, ReferrerFilter, Registry, RepositoryName, Result, Tag, Upload,
    UploadId, UploadOptions,
};
use tokio::sync::mpsc;

/// How many pieces of a blob may wait for the local registry while the client
/// already has them.
const WAITING: usize = 4;

/// Pulls come from a local registry if it has the content, and otherwise from
/// an upstream one, whose answer is kept on its way through. Pushes are refused.
///
/// The upstream is asked where each tag points to, and the local copy is served
/// only if the upstream can't answer. What is named by a digest is fetched
/// once. Nothing is kept that doesn't match its digest.
///
/// Images arrive manifest first, so the local registry has to accept
/// [sparse manifests](crate::EngineOptions::sparse_manifests). Who may pull is
/// decided before this layer: what is cached for one caller is there for all
/// who may pull from the repository.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> registry_core::Result<()> {
/// use registry_storage::{Engine, EngineOptions, MemoryBlobs, MemoryMetadata, PullThrough};
///
/// let upstream = Engine::memory();
/// let local = Engine::builder(MemoryBlobs::new(), MemoryMetadata::default())
///     .options(EngineOptions { sparse_manifests: true, ..EngineOptions::default() })
///     .build();
/// let cache = PullThrough::new(local, upstream);
/// # let _ = cache;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct PullThrough<L, U> {
    local: L,
    upstream: U,
    rules: ManifestRules,
}

impl<L: Registry + Clone, U: Registry> PullThrough<L, U> {
    /// Keeps in `local` what is pulled from `upstream`.
    pub fn new(local: L, upstream: U) -> Self {
        Self {
            local,
            upstream,
            rules: ManifestRules::default(),
        }
    }

    /// What is kept is kept for the repository, not for the caller, whose
    /// rights decide only what is asked for.
    fn keeper(access: &Access) -> Access {
        Access::trusted(access.repository().clone())
    }

    /// Keeps a manifest, and the tag it was asked for by. If that fails, the
    /// pull goes on all the same.
    async fn keep_manifest(&self, access: &Access, manifest: &Manifest, asked: &Reference) {
        let push = PutManifest::new(
            manifest.digest.into(),
            Some(manifest.media_type.clone()),
            manifest.bytes.clone(),
            &self.rules,
        );
        let kept = match push {
            Ok(push) => {
                let tags = match asked {
                    Reference::Tag(tag) => Some(tag.clone()),
                    Reference::Digest(_) => None,
                };
                match push.with_tags(tags) {
                    Ok(push) => self.local.put_manifest(&Self::keeper(access), push).await,
                    Err(error) => Err(error),
                }
            }
            Err(error) => Err(error),
        };
        if let Err(error) = kept {
            tracing::warn!(repository = %access.repository(), reference = %asked, %error,
                "a pulled manifest was not kept");
        }
    }

    /// Moves the kept tag after the upstream's, for the time when the upstream
    /// can't be asked.
    async fn keep_tag(&self, access: &Access, manifest: &Manifest, tag: &Reference) {
        let kept = self.local.resolve(access, tag).await;
        if !kept.is_ok_and(|kept| kept.digest == manifest.digest) {
            self.keep_manifest(access, manifest, tag).await;
        }
    }

    /// Where a reference points to upstream, and here if the upstream can't be
    /// asked.
    async fn resolve_upstream(&self, access: &Access, reference: &Reference) -> Result<Descriptor> {
        match self.upstream.resolve(access, reference).await {
            Err(error) if is_outage(&error) => {
                tracing::warn!(%error, "the upstream doesn't answer; the kept copy is served");
                self.local
                    .resolve(access, reference)
                    .await
                    .map_err(|_| error)
            }
            resolved => resolved,
        }
    }

    /// A body that reaches the client and, on its way, the local registry. If
    /// either fails, or the client leaves, nothing is kept.
    fn keep(&self, access: &Access, blob: Blob) -> Blob {
        let stream = match blob.body {
            BlobBody::Stream(stream) => stream,
            BlobBody::Bytes(bytes) => futures::stream::once(async { Ok(bytes) }).boxed(),
            // What is a file already is as near as it can be.
            _ => return blob,
        };
        let (sender, receiver) = mpsc::channel(WAITING);
        let (local, access) = (self.local.clone(), Self::keeper(access));
        let (digest, size) = (blob.digest, blob.size);
        tokio::spawn(async move {
            let filled = fill(&local, &access, &digest, size, receiver).await;
            if let Err(error) = filled {
                tracing::debug!(repository = %access.repository(), %digest, %error,
                    "a pulled blob was not kept");
            }
        });
        Blob {
            body: BlobBody::Stream(tee(stream, sender)),
            ..blob
        }
    }
}

/// The same stream, whose items `copy` gets first.
fn tee(stream: ByteStream, copy: mpsc::Sender<Bytes>) -> ByteStream {
    let next = |(mut stream, copy): (ByteStream, mpsc::Sender<Bytes>)| async move {
        let bytes = match stream.next().await {
            Some(Ok(bytes)) => bytes,
            Some(Err(error)) => return Err(error),
            None => return Ok(None),
        };
        // A local registry that gave up is no reason to fail the pull.
        let _ = copy.send(bytes.clone()).await;
        Ok(Some((bytes, (stream, copy))))
    };
    futures::stream::try_unfold((stream, copy), next).boxed()
}

/// Pushes what comes through `receiver` to the local registry. A stream that
/// broke off is shorter than announced, and refused.
async fn fill(
    local: &impl Registry,
    access: &Access,
    digest: &Digest,
    size: u64,
    receiver: mpsc::Receiver<Bytes>,
) -> Result<()> {
    let options = UploadOptions {
        algorithm: Some(digest.algorithm()),
    };
    let upload = local.begin_upload(access, options).await?;
    let next = |mut receiver: mpsc::Receiver<Bytes>| async move {
        let bytes = receiver.recv().await?;
        Some((Ok(bytes), receiver))
    };
    let chunk = Chunk {
        start: None,
        length: Some(size),
        body: futures::stream::unfold(receiver, next).boxed(),
    };
    let finished = local
        .finish_upload(access, &upload.id, digest, Some(chunk))
        .await;
    match finished {
        Ok(_) => Ok(()),
        Err(error) => {
            // A wrong digest has ended the upload already.
            let _ = local.cancel_upload(access, &upload.id).await;
            Err(error)
        }
    }
}

/// Whether a registry can't answer, as opposed to answering that there is
/// nothing.
fn is_outage(error: &Error) -> bool {
    error.kind().is_server_fault() || error.kind() == ErrorKind::TooManyRequests
}

fn refuse<T>(access: &Access, action: Action) -> Result<T> {
    access.require(action)?;
    Err(ErrorKind::Unsupported.error("this registry is a cache; push to the registry behind it"))
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<L: Registry + Clone, U: Registry> Registry for PullThrough<L, U> {
    async fn stat_blob(&self, access: &Access, digest: &Digest) -> Result<Descriptor> {
        match self.local.stat_blob(access, digest).await {
            Err(error) if error.kind() == ErrorKind::BlobUnknown => {
                self.upstream.stat_blob(access, digest).await
            }
            known => known,
        }
    }

    async fn open_blob(
        &self,
        access: &Access,
        digest: &Digest,
        options: OpenOptions,
    ) -> Result<Blob> {
        match self.local.open_blob(access, digest, options).await {
            Err(error) if is_missing(&error) => {}
            opened => return opened,
        }
        let blob = self.upstream.open_blob(access, digest, options).await?;
        if options.range.is_some() {
            // A part can't be checked, so it isn't kept.
            return Ok(blob);
        }
        Ok(self.keep(access, blob))
    }

    async fn mount_blob(
        &self,
        access: &Access,
        digest: &Digest,
        source: MountSource<'_>,
    ) -> Result<Option<Descriptor>> {
        let _ = (digest, source);
        refuse(access, Action::Push)
    }

    async fn begin_upload(&self, access: &Access, options: UploadOptions) -> Result<Upload> {
        let _ = options;
        refuse(access, Action::Push)
    }

    async fn upload(&self, access: &Access, id: &UploadId) -> Result<Upload> {
        let _ = id;
        refuse(access, Action::Push)
    }

    async fn append_upload(&self, access: &Access, id: &UploadId, chunk: Chunk) -> Result<Upload> {
        let _ = (id, chunk);
        refuse(access, Action::Push)
    }

    async fn finish_upload(
        &self,
        access: &Access,
        id: &UploadId,
        digest: &Digest,
        last: Option<Chunk>,
    ) -> Result<Descriptor> {
        let _ = (id, digest, last);
        refuse(access, Action::Push)
    }

    async fn cancel_upload(&self, access: &Access, id: &UploadId) -> Result<()> {
        let _ = id;
        refuse(access, Action::Push)
    }

    async fn resolve(&self, access: &Access, reference: &Reference) -> Result<Descriptor> {
        if matches!(reference, Reference::Digest(_)) {
            match self.local.resolve(access, reference).await {
                Err(error) if error.kind() == ErrorKind::ManifestUnknown => {}
                resolved => return resolved,
            }
        }
        self.resolve_upstream(access, reference).await
    }

    async fn get_manifest(&self, access: &Access, reference: &Reference) -> Result<Manifest> {
        let digest = match reference {
            Reference::Digest(digest) => *digest,
            Reference::Tag(_) => self.resolve_upstream(access, reference).await?.digest,
        };
        match self.local.get_manifest(access, &digest.into()).await {
            Err(error) if is_missing(&error) => {
                let manifest = self.upstream.get_manifest(access, reference).await?;
                self.keep_manifest(access, &manifest, reference).await;
                Ok(manifest)
            }
            Ok(manifest) => {
                if matches!(reference, Reference::Tag(_)) {
                    self.keep_tag(access, &manifest, reference).await;
                }
                Ok(manifest)
            }
            failed => failed,
        }
    }

    async fn put_manifest(&self, access: &Access, push: PutManifest) -> Result<Pushed> {
        let _ = push;
        refuse(access, Action::Push)
    }

    async fn delete(&self, access: &Access, what: Deletion) -> Result<()> {
        let _ = what;
        refuse(access, Action::Delete)
    }

    async fn tags(&self, access: &Access, page: PageRequest) -> Result<Page<Tag>> {
        match self.upstream.tags(access, page.clone()).await {
            Err(error) if is_outage(&error) => {
                self.local.tags(access, page).await.map_err(|_| error)
            }
            listed => listed,
        }
    }

    async fn referrers(
        &self,
        access: &Access,
        subject: &Digest,
        filter: ReferrerFilter,
        page: PageRequest,
    ) -> Result<Page<Descriptor>> {
        let upstream = self
            .upstream
            .referrers(access, subject, filter.clone(), page.clone())
            .await;
        match upstream {
            Err(error) if is_outage(&error) => self
                .local
                .referrers(access, subject, filter, page)
                .await
                .map_err(|_| error),
            listed => listed,
        }
    }

    /// Lists what is kept: an upstream may have millions.
    async fn repositories(
        &self,
        access: &CatalogAccess,
        page: PageRequest,
    ) -> Result<Page<RepositoryName>> {
        self.local.repositories(access, page).await
    }
}

/// Whether the local registry has to be filled. Damaged content is fetched
/// again, which mends it.
fn is_missing(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::BlobUnknown | ErrorKind::ManifestUnknown | ErrorKind::Corrupt
    )
}
