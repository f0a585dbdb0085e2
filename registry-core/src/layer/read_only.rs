//! A registry that can't be changed.

use async_trait::async_trait;

use crate::{
    Access, Action, Blob, CatalogAccess, Chunk, Deletion, Descriptor, Digest, Epochs, ErrorKind,
    Layer, Manifest, MountSource, OpenOptions, Page, PageRequest, Pushed, PutManifest, Reference,
    ReferrerFilter, Registry, RepositoryName, Result, Tag, Upload, UploadId, UploadOptions,
};

/// Lets nothing be pushed, mounted or deleted.
///
/// ```
/// use registry_core::{ReadOnly, Registry, RegistryExt};
///
/// fn mirror(registry: impl Registry) -> impl Registry {
///     registry.layer(ReadOnly)
/// }
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct ReadOnly;

/// A registry under [`ReadOnly`].
#[derive(Debug, Clone)]
pub struct ReadOnlyRegistry<R> {
    inner: R,
}

impl<R: Registry> Layer<R> for ReadOnly {
    type Registry = ReadOnlyRegistry<R>;

    fn layer(self, inner: R) -> Self::Registry {
        ReadOnlyRegistry { inner }
    }
}

/// Who may not change anything anyway is told so first.
fn refuse<T>(access: &Access, action: Action) -> Result<T> {
    access.require(action)?;
    Err(ErrorKind::Unsupported.error("this registry is read-only; push to another one"))
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<R: Registry> Registry for ReadOnlyRegistry<R> {
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
        self.inner.resolve(access, reference).await
    }

    async fn get_manifest(&self, access: &Access, reference: &Reference) -> Result<Manifest> {
        self.inner.get_manifest(access, reference).await
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
