//! The engine as a registry: every method by its name.

use async_trait::async_trait;
use registry_core::{
    Access, Blob, CatalogAccess, Chunk, Deletion, Descriptor, Digest, Epochs, Manifest,
    MountSource, OpenOptions, Page, PageRequest, Pushed, PutManifest, Reference, ReferrerFilter,
    Registry, RepositoryName, Result, Tag, Upload, UploadId, UploadOptions,
};

use super::Engine;

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Registry for Engine {
    async fn stat_blob(&self, access: &Access, digest: &Digest) -> Result<Descriptor> {
        Self::stat_blob(self, access, digest).await
    }

    async fn open_blob(
        &self,
        access: &Access,
        digest: &Digest,
        options: OpenOptions,
    ) -> Result<Blob> {
        Self::open_blob(self, access, digest, options).await
    }

    async fn mount_blob(
        &self,
        access: &Access,
        digest: &Digest,
        source: MountSource<'_>,
    ) -> Result<Option<Descriptor>> {
        Self::mount_blob(self, access, digest, source).await
    }

    async fn begin_upload(&self, access: &Access, options: UploadOptions) -> Result<Upload> {
        Self::begin_upload(self, access, options).await
    }

    async fn upload(&self, access: &Access, id: &UploadId) -> Result<Upload> {
        Self::upload(self, access, id).await
    }

    async fn append_upload(&self, access: &Access, id: &UploadId, chunk: Chunk) -> Result<Upload> {
        Self::append_upload(self, access, id, chunk).await
    }

    async fn finish_upload(
        &self,
        access: &Access,
        id: &UploadId,
        digest: &Digest,
        last: Option<Chunk>,
    ) -> Result<Descriptor> {
        Self::finish_upload(self, access, id, digest, last).await
    }

    async fn cancel_upload(&self, access: &Access, id: &UploadId) -> Result<()> {
        Self::cancel_upload(self, access, id).await
    }

    async fn resolve(&self, access: &Access, reference: &Reference) -> Result<Descriptor> {
        Self::resolve(self, access, reference).await
    }

    async fn get_manifest(&self, access: &Access, reference: &Reference) -> Result<Manifest> {
        Self::get_manifest(self, access, reference).await
    }

    async fn put_manifest(&self, access: &Access, push: PutManifest) -> Result<Pushed> {
        Self::put_manifest(self, access, push).await
    }

    async fn delete(&self, access: &Access, what: Deletion) -> Result<()> {
        Self::delete(self, access, what).await
    }

    async fn tags(&self, access: &Access, page: PageRequest) -> Result<Page<Tag>> {
        Self::tags(self, access, page).await
    }

    async fn referrers(
        &self,
        access: &Access,
        subject: &Digest,
        filter: ReferrerFilter,
        page: PageRequest,
    ) -> Result<Page<Descriptor>> {
        Self::referrers(self, access, subject, filter, page).await
    }

    async fn repositories(
        &self,
        access: &CatalogAccess,
        page: PageRequest,
    ) -> Result<Page<RepositoryName>> {
        Self::repositories(self, access, page).await
    }

    fn epochs(&self) -> Option<&dyn Epochs> {
        Some(self)
    }
}
