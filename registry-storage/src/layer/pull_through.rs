//! A registry that fetches what it doesn't have from another one.

mod downloads;
mod passing;
mod tags;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use futures::StreamExt;
use registry_core::{
    Access, Action, Blob, BlobBody, CatalogAccess, Chunk, Deletion, Descriptor, Digest, Epochs,
    Error, ErrorKind, Manifest, ManifestRules, MountSource, OpenOptions, Page, PageRequest, Pushed,
    PutManifest, Reference, ReferrerFilter, Registry, RepositoryName, Result, Tag, Upload,
    UploadId, UploadOptions,
};
use tokio::time::Instant;
use tracing::Instrument;

use self::downloads::{Download, Downloads, Turn};
use self::passing::Passing;
use self::tags::Asked;

/// Pulls come from a local registry if it has the content, and otherwise from
/// an upstream one, whose answer is kept on its way through. Pushes are refused.
///
/// The upstream is asked where each tag points to, and the kept copy is served
/// only if the upstream can't answer: if it isn't reached, fails, or wants to
/// be asked later. A tag that it says is gone is forgotten here, too; a
/// [`Registry`] that can't tell whether it is must say that it is unavailable.
///
/// Whoever only asks where a tag points to, as clients do before they pull by
/// the digest they learn, makes the manifest be fetched and kept under the tag
/// if that is news. Otherwise the cache would have all of an image but its
/// name. It costs one fetch for each change of a tag, which the client is about
/// to ask for anyway; remembering the answer until then would lose it in a
/// restart. A tag that moved upstream to a manifest that can't be fetched stays
/// where it is here, if it was kept, so that it always leads to a manifest.
///
/// What is named by a digest is fetched once. Who asks while somebody else
/// fetches it waits a few seconds for it to come to the local registry, and then
/// gets it from the upstream on its own, whether the upstream is slow or the
/// client that fetches it. If it could not be kept, those who wait fetch it one
/// after the other. Nothing is kept that doesn't match its digest.
///
/// Lists are the upstream's. While it can't answer, the referrers that are kept
/// are listed if there are some, so that an image whose signature was checked
/// before still runs; without any, and for tags, its error is passed on.
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
///     .options(EngineOptions::default().sparse_manifests(true))
///     .build();
/// let cache = PullThrough::new(local, upstream);
/// # let _ = cache;
/// # Ok(())
/// # }
/// ```
pub struct PullThrough<L, U>(Arc<Inner<L, U>>);

struct Inner<L, U> {
    local: L,
    upstream: U,
    rules: ManifestRules,
    manifests: Downloads,
    blobs: Downloads,
}

impl<L: Registry + Clone, U: Registry> PullThrough<L, U> {
    /// Keeps in `local` what is pulled from `upstream`.
    pub fn new(local: L, upstream: U) -> Self {
        Self(Arc::new(Inner {
            local,
            upstream,
            rules: ManifestRules::default(),
            manifests: Downloads::default(),
            blobs: Downloads::default(),
        }))
    }

    fn local(&self) -> &L {
        &self.0.local
    }

    fn upstream(&self) -> &U {
        &self.0.upstream
    }

    /// What is kept is kept for the repository, not for the caller, whose
    /// rights decide only what is asked for.
    fn keeper(access: &Access) -> Access {
        Access::trusted(access.repository().clone())
    }

    /// Keeps a manifest, and the tag it was asked for by unless that has moved
    /// since. If it fails, the pull goes on all the same. Returns whether the
    /// tag has moved.
    async fn keep_manifest(
        &self,
        access: &Access,
        manifest: &Manifest,
        asked: Option<&Asked>,
    ) -> bool {
        let mut kept = self.put(access, manifest, asked).await;
        let has_moved = kept
            .as_ref()
            .is_err_and(|error| error.kind() == ErrorKind::PreconditionFailed);
        if has_moved {
            kept = self.put(access, manifest, None).await;
        }
        if let Err(error) = kept {
            tracing::warn!(repository = %access.repository(), digest = %manifest.digest, %error,
                "a pulled manifest was not kept");
        }
        has_moved
    }

    async fn put(
        &self,
        access: &Access,
        manifest: &Manifest,
        asked: Option<&Asked>,
    ) -> Result<Pushed> {
        let mut push = PutManifest::new(
            manifest.digest.into(),
            Some(manifest.media_type.clone()),
            manifest.bytes.clone(),
            &self.0.rules,
        )?;
        if let Some(asked) = asked {
            push = push
                .with_tags([asked.tag.clone()])?
                .with_precondition(asked.seen);
        }
        self.local().put_manifest(&Self::keeper(access), push).await
    }

    /// A manifest by its digest, from here or from the upstream. What is
    /// fetched is kept, also under the tag it was asked for by.
    async fn manifest(
        &self,
        access: &Access,
        digest: Digest,
        asked: Option<&Asked>,
    ) -> Result<Manifest> {
        let missing = match self.local().get_manifest(access, &digest.into()).await {
            Err(error) if is_missing(&error) => error,
            held => return held,
        };
        let begun = Instant::now();
        let download = loop {
            let downloads = &self.0.manifests;
            let turn = downloads.turn(access.repository(), &digest, begun).await;
            // What somebody else fetched was kept before the turn was ours.
            match self.local().get_manifest(access, &digest.into()).await {
                Err(error) if is_missing(&error) => {}
                held => return held,
            }
            match turn {
                Turn::Ours(download) => break Some(download),
                Turn::Done => {}
                Turn::Late => break None,
            }
        };
        let fetched = self.fetch(access, digest, asked, download).await;
        fetched.map_err(|error| or_damage(missing, error))
    }

    /// Fetches a manifest for all who wait for it, even if the caller leaves.
    async fn fetch(
        &self,
        access: &Access,
        digest: Digest,
        asked: Option<&Asked>,
        download: Option<Download>,
    ) -> Result<Manifest> {
        let (layer, access, asked) = (self.clone(), access.clone(), asked.cloned());
        let fetch = async move {
            let fetched = layer.upstream().get_manifest(&access, &digest.into()).await;
            if let Ok(manifest) = &fetched {
                layer.keep_manifest(&access, manifest, asked.as_ref()).await;
            }
            done(download);
            fetched
        };
        tokio::spawn(fetch.in_current_span())
            .await
            .map_err(|source| Error::internal("the pull was interrupted", source))?
    }

    /// Fetches a whole blob. It reaches the client and, on its way, the local
    /// registry. If either fails, or the client leaves and nobody waits for it,
    /// nothing is kept.
    async fn fetch_blob(
        &self,
        access: &Access,
        digest: &Digest,
        download: Option<Download>,
    ) -> Result<Blob> {
        let options = OpenOptions::default();
        let blob = match self.upstream().open_blob(access, digest, options).await {
            Ok(blob) => blob,
            Err(error) => {
                done(download);
                return Err(error);
            }
        };
        let stream = match blob.body {
            BlobBody::Stream(stream) => stream,
            BlobBody::Bytes(bytes) => futures::stream::once(async { Ok(bytes) }).boxed(),
            // What is a file already is as near as it can be.
            _ => {
                done(download);
                return Ok(blob);
            }
        };
        let passing = Passing {
            local: self.local().clone(),
            access: Self::keeper(access),
            digest: blob.digest,
            size: blob.size,
        };
        Ok(Blob {
            body: BlobBody::Stream(passing.start(stream, download)),
            ..blob
        })
    }
}

/// Lets go those who wait.
fn done(download: Option<Download>) {
    if let Some(download) = download {
        download.done();
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
        match self.local().stat_blob(access, digest).await {
            Err(error) if error.kind() == ErrorKind::BlobUnknown => {
                self.upstream().stat_blob(access, digest).await
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
        access.require(Action::Pull)?;
        let missing = match self.local().open_blob(access, digest, options).await {
            Err(error) if is_missing(&error) => error,
            opened => return opened,
        };
        if options.range.is_some() {
            // A part can't be checked, so it isn't kept, nor waited for.
            let opened = self.upstream().open_blob(access, digest, options).await;
            return opened.map_err(|error| or_damage(missing, error));
        }
        let begun = Instant::now();
        let download = loop {
            let downloads = &self.0.blobs;
            let turn = downloads.turn(access.repository(), digest, begun).await;
            // What somebody else fetched was kept before the turn was ours.
            match self.local().open_blob(access, digest, options).await {
                Err(error) if is_missing(&error) => {}
                opened => return opened,
            }
            match turn {
                Turn::Ours(download) => break Some(download),
                Turn::Done => {}
                Turn::Late => break None,
            }
        };
        let fetched = self.fetch_blob(access, digest, download).await;
        fetched.map_err(|error| or_damage(missing, error))
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
        access.require(Action::Pull)?;
        if let Reference::Tag(tag) = reference {
            return Ok(self.follow(access, tag).await?.0);
        }
        match self.local().resolve(access, reference).await {
            Err(error) if error.kind() == ErrorKind::ManifestUnknown => {
                self.upstream().resolve(access, reference).await
            }
            resolved => resolved,
        }
    }

    async fn get_manifest(&self, access: &Access, reference: &Reference) -> Result<Manifest> {
        access.require(Action::Pull)?;
        match reference {
            Reference::Digest(digest) => self.manifest(access, *digest, None).await,
            Reference::Tag(tag) => match self.follow(access, tag).await? {
                (_, Some(manifest)) => Ok(manifest),
                (found, None) => self.manifest(access, found.digest, None).await,
            },
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

    /// Lists what the upstream has, or nothing: who takes the few tags that are
    /// kept for all of them goes back to an older version.
    async fn tags(&self, access: &Access, page: PageRequest) -> Result<Page<Tag>> {
        self.upstream().tags(access, page).await
    }

    async fn referrers(
        &self,
        access: &Access,
        subject: &Digest,
        filter: ReferrerFilter,
        page: PageRequest,
    ) -> Result<Page<Descriptor>> {
        let upstream = self
            .upstream()
            .referrers(access, subject, filter.clone(), page.clone())
            .await;
        let error = match upstream {
            Err(error) if is_outage(&error) => error,
            listed => return listed,
        };
        match self.local().referrers(access, subject, filter, page).await {
            // That nothing is kept doesn't mean that there is nothing.
            Ok(kept) if !kept.items.is_empty() => {
                tracing::warn!(repository = %access.repository(), %subject, %error,
                    "the upstream doesn't answer; the kept referrers are listed");
                Ok(kept)
            }
            _ => Err(error),
        }
    }

    /// Lists what is kept: an upstream may have millions.
    async fn repositories(
        &self,
        access: &CatalogAccess,
        page: PageRequest,
    ) -> Result<Page<RepositoryName>> {
        self.local().repositories(access, page).await
    }

    fn epochs(&self) -> Option<&dyn Epochs> {
        // It is the upstream's repositories that are served, if it tells of any.
        let upstream = self.upstream().epochs();
        upstream.or_else(|| self.local().epochs())
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

/// Why there is nothing: what was here and is damaged isn't unknown because the
/// upstream has it no more.
fn or_damage(local: Error, upstream: Error) -> Error {
    let is_unknown = matches!(
        upstream.kind(),
        ErrorKind::BlobUnknown | ErrorKind::ManifestUnknown | ErrorKind::NameUnknown
    );
    if is_unknown && local.kind() == ErrorKind::Corrupt {
        local
    } else {
        upstream
    }
}

impl<L, U> Clone for PullThrough<L, U> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<L: fmt::Debug, U: fmt::Debug> fmt::Debug for PullThrough<L, U> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PullThrough")
            .field("local", &self.0.local)
            .field("upstream", &self.0.upstream)
            .finish_non_exhaustive()
    }
}
