//! A gate before a registry.

use async_trait::async_trait;

use crate::{
    Access, Action, Admission, Blob, CatalogAccess, Chunk, Deletion, Descriptor, Digest, Epochs,
    ErrorKind, Gate, Layer, Manifest, MountSource, OpenOptions, Page, PageRequest, Pushed,
    PutManifest, Reference, ReferrerFilter, Registry, RepositoryName, Result, Tag, Upload,
    UploadId, UploadOptions,
};

/// Asks a [`Gate`] before a blob or a manifest is stored, before a manifest is
/// served, before a tag moves, and before anything is deleted.
///
/// What is served by tag, by digest, or only described passes the same gate,
/// each time: an answer of yesterday says nothing about today. Pulls of blobs aren't
/// asked about; nobody finds them without a manifest.
///
/// It looks where tags point a moment before it passes a change on, and once more
/// nobody looks: whoever is as fast can change that in between, and to delete a
/// manifest by its digest takes a look at each tag of the repository. What is deleted
/// as a whole by the management of a registry doesn't pass it. The engine of
/// `registry-storage` has neither of these gaps where it is given the gate itself
/// (`EngineBuilder::gate`): about changes; pulls are for this layer.
///
/// ```
/// use registry_core::{Gate, Gated, Registry, RegistryExt};
///
/// fn guarded(registry: impl Registry, gate: impl Gate) -> impl Registry {
///     registry.layer(Gated::by(gate))
/// }
/// ```
#[derive(Debug, Clone)]
pub struct Gated<G> {
    gate: G,
}

/// A registry under [`Gated`].
#[derive(Debug, Clone)]
pub struct GatedRegistry<R, G> {
    inner: R,
    gate: G,
}

impl<G: Gate> Gated<G> {
    /// Asks `gate`.
    pub fn by(gate: G) -> Self {
        Self { gate }
    }
}

impl<R: Registry, G: Gate> Layer<R> for Gated<G> {
    type Registry = GatedRegistry<R, G>;

    fn layer(self, inner: R) -> Self::Registry {
        GatedRegistry {
            inner,
            gate: self.gate,
        }
    }
}

impl<R: Registry, G: Gate> GatedRegistry<R, G> {
    /// Where a tag points, whether or not the caller may know.
    async fn target(&self, access: &Access, tag: &Tag) -> Result<Option<Digest>> {
        let own = Access::trusted(access.repository().clone());
        let reference = Reference::Tag(tag.clone());
        match self.inner.resolve(&own, &reference).await {
            Ok(found) => Ok(Some(found.digest)),
            Err(error) if is_absent(error.kind()) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Asks about each tag that points to a manifest.
    async fn admit_tags_of(&self, access: &Access, digest: &Digest) -> Result<()> {
        let own = Access::trusted(access.repository().clone());
        let mut page = PageRequest::default();
        loop {
            let found = match self.inner.tags(&own, page).await {
                Ok(found) => found,
                Err(error) if is_absent(error.kind()) => return Ok(()),
                Err(error) => return Err(error),
            };
            for tag in &found.items {
                if self.target(access, tag).await? == Some(*digest) {
                    let admission = Admission::RemoveTag { tag, digest };
                    self.gate.admit(access, admission).await?;
                }
            }
            if found.next.is_none() {
                return Ok(());
            }
            page = PageRequest::default().after(found.next);
        }
    }
}

fn is_absent(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::ManifestUnknown | ErrorKind::NameUnknown)
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<R: Registry, G: Gate> Registry for GatedRegistry<R, G> {
    async fn stat_blob(&self, access: &Access, digest: &Digest) -> Result<Descriptor> {
        self.inner.stat_blob(access, digest).await
    }

    async fn open_blob(
        &self,
        access: &Access,
        digest: &Digest,
        options: OpenOptions,
    ) -> Result<Blob> {
        self.inner.open_blob(access, digest, options).await
    }

    async fn mount_blob(
        &self,
        access: &Access,
        digest: &Digest,
        source: MountSource<'_>,
    ) -> Result<Option<Descriptor>> {
        access.require(Action::Push)?;
        let from = match source {
            MountSource::Repository(from) => Some(from.repository()),
            MountSource::Anywhere(_) => None,
        };
        let admission = Admission::MountBlob {
            digest,
            source: from,
        };
        self.gate.admit(access, admission).await?;
        self.inner.mount_blob(access, digest, source).await
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
        access.require(Action::Push)?;
        let admission = Admission::PushBlob { digest, size: None };
        self.gate.admit(access, admission).await?;
        self.inner.finish_upload(access, id, digest, last).await
    }

    async fn cancel_upload(&self, access: &Access, id: &UploadId) -> Result<()> {
        self.inner.cancel_upload(access, id).await
    }

    async fn resolve(&self, access: &Access, reference: &Reference) -> Result<Descriptor> {
        let descriptor = self.inner.resolve(access, reference).await?;
        self.gate
            .admit(
                access,
                Admission::Pull {
                    reference,
                    descriptor: &descriptor,
                },
            )
            .await?;
        Ok(descriptor)
    }

    async fn get_manifest(&self, access: &Access, reference: &Reference) -> Result<Manifest> {
        let manifest = self.inner.get_manifest(access, reference).await?;
        self.gate
            .admit(
                access,
                Admission::Pull {
                    reference,
                    descriptor: &manifest.descriptor(),
                },
            )
            .await?;
        Ok(manifest)
    }

    async fn put_manifest(&self, access: &Access, push: PutManifest) -> Result<Pushed> {
        access.require(Action::Push)?;
        self.gate.admit(access, Admission::Push(&push)).await?;
        let to = push.manifest().digest;
        for tag in push.tags() {
            let from = self.target(access, tag).await?;
            if let Some(from) = from.filter(|from| *from != to) {
                let (from, to) = (&from, &to);
                let admission = Admission::MoveTag { tag, from, to };
                self.gate.admit(access, admission).await?;
            }
        }
        self.inner.put_manifest(access, push).await
    }

    async fn delete(&self, access: &Access, what: Deletion) -> Result<()> {
        access.require(Action::Delete)?;
        self.gate.admit(access, Admission::Delete(&what)).await?;
        match &what {
            Deletion::Blob(_) => {}
            Deletion::Tag { tag, .. } => {
                if let Some(digest) = &self.target(access, tag).await? {
                    let admission = Admission::RemoveTag { tag, digest };
                    self.gate.admit(access, admission).await?;
                }
            }
            Deletion::Manifest(digest) => self.admit_tags_of(access, digest).await?,
        }
        self.inner.delete(access, what).await
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
