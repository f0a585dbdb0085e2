//! A gate before a registry.

use async_trait::async_trait;

use crate::{
    Access, Action, Admission, Blob, CatalogAccess, Chunk, Deletion, Descriptor, Digest, Gate,
    Layer, Manifest, MountSource, OpenOptions, Page, PageRequest, Pushed, PutManifest, Reference,
    ReferrerFilter, Registry, RepositoryName, Result, Tag, Upload, UploadId, UploadOptions,
};

/// Asks a [`Gate`] before a manifest is stored, before one is served, and
/// before anything is deleted.
///
/// What is served by tag, by digest, or only described passes the same gate,
/// each time: an answer of yesterday says nothing about today. Blobs aren't
/// asked about; nobody finds them without a manifest.
///
/// ```
/// use async_trait::async_trait;
/// use registry_core::{
///     Access, Admission, Deletion, ErrorKind, Gate, Gated, Registry, RegistryExt, Result,
/// };
///
/// /// Releases stay.
/// #[derive(Debug)]
/// struct KeepReleases;
///
/// #[async_trait]
/// impl Gate for KeepReleases {
///     async fn admit(&self, _: &Access, admission: Admission<'_>) -> Result<()> {
///         match admission {
///             Admission::Delete(Deletion::Tag { tag, .. }) if tag.as_str().starts_with('v') => {
///                 Err(ErrorKind::Denied.error("releases are kept; delete another tag"))
///             }
///             _ => Ok(()),
///         }
///     }
/// }
///
/// fn guarded(registry: impl Registry) -> impl Registry {
///     registry.layer(Gated::by(KeepReleases))
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
        self.inner.put_manifest(access, push).await
    }

    async fn delete(&self, access: &Access, what: Deletion) -> Result<()> {
        access.require(Action::Delete)?;
        self.gate.admit(access, Admission::Delete(&what)).await?;
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
}
