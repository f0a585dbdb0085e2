//! The seam: what a registry does, in the words of the specification.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

use crate::{
    Access, Blob, CatalogAccess, Chunk, Deletion, Descriptor, Digest, Epochs, Error, Manifest,
    MountSource, OpenOptions, Page, PageRequest, Pushed, PutManifest, Reference, ReferrerFilter,
    RepositoryName, Result, Tag, Upload, UploadId, UploadOptions,
};

/// Anything that behaves as a registry: the engine over its stores, another
/// registry across the network, or a layer over one of them.
///
/// The repository an operation works in is the one its [`Access`] names, and
/// content of one repository is invisible in another. Each method first checks
/// that the access permits it.
///
/// Every method answers [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported)
/// unless implemented, so a registry that only serves a few of them is small,
/// and a new method breaks nobody. A layer has to implement them all; deny
/// `clippy::missing_trait_methods` on its `impl` to be told.
///
/// # Errors
///
/// Besides the errors named at each method, all of them may answer
/// [`Denied`](crate::ErrorKind::Denied) if the access doesn't permit the
/// operation, [`Unavailable`](crate::ErrorKind::Unavailable) if trying later
/// may help, and [`Internal`](crate::ErrorKind::Internal).
#[async_trait]
pub trait Registry: fmt::Debug + Send + Sync + 'static {
    /// What is known of a blob without opening it.
    ///
    /// # Errors
    ///
    /// [`BlobUnknown`](crate::ErrorKind::BlobUnknown) if this repository
    /// doesn't hold it, wherever else it is.
    async fn stat_blob(&self, access: &Access, digest: &Digest) -> Result<Descriptor> {
        let _ = (access, digest);
        Err(Error::unsupported("blobs"))
    }

    /// Opens a blob, or a part of it.
    ///
    /// # Errors
    ///
    /// [`BlobUnknown`](crate::ErrorKind::BlobUnknown), and
    /// [`RangeInvalid`](crate::ErrorKind::RangeInvalid) if no byte is in the
    /// range.
    async fn open_blob(
        &self,
        access: &Access,
        digest: &Digest,
        options: OpenOptions,
    ) -> Result<Blob> {
        let _ = (access, digest, options);
        Err(Error::unsupported("pulling blobs"))
    }

    /// Makes a blob of another repository part of this one, without moving
    /// bytes. `None` if the blob isn't there or the registry doesn't mount: the
    /// client then uploads it.
    ///
    /// # Errors
    ///
    /// Only those of every method.
    async fn mount_blob(
        &self,
        access: &Access,
        digest: &Digest,
        source: MountSource<'_>,
    ) -> Result<Option<Descriptor>> {
        let _ = (access, digest, source);
        Ok(None)
    }

    /// Starts an upload. It is of its repository and of whoever begins it
    /// ([`UploadOwner`](crate::UploadOwner)): for everybody else, whatever they may
    /// do there, it is unknown, and nothing that they ask of it changes it or how
    /// it goes on.
    ///
    /// # Errors
    ///
    /// [`TooManyRequests`](crate::ErrorKind::TooManyRequests) if too many
    /// uploads are open in this repository.
    async fn begin_upload(&self, access: &Access, options: UploadOptions) -> Result<Upload> {
        let _ = (access, options);
        Err(Error::unsupported("pushing blobs"))
    }

    /// Where an upload stands.
    ///
    /// # Errors
    ///
    /// [`UploadUnknown`](crate::ErrorKind::UploadUnknown) if the caller has no such
    /// upload in this repository.
    async fn upload(&self, access: &Access, id: &UploadId) -> Result<Upload> {
        let _ = (access, id);
        Err(Error::unsupported("pushing blobs"))
    }

    /// Adds bytes to an upload. If the body breaks off, the bytes received so
    /// far are kept and the upload can go on from there.
    ///
    /// # Errors
    ///
    /// [`UploadUnknown`](crate::ErrorKind::UploadUnknown);
    /// [`UploadOutOfOrder`](crate::ErrorKind::UploadOutOfOrder), before a byte
    /// of the body is read and with the offset as detail, if the chunk starts
    /// elsewhere or another request is writing;
    /// [`SizeInvalid`](crate::ErrorKind::SizeInvalid) if the body hasn't the
    /// announced length, which leaves the upload where it was.
    async fn append_upload(&self, access: &Access, id: &UploadId, chunk: Chunk) -> Result<Upload> {
        let _ = (access, id, chunk);
        Err(Error::unsupported("pushing blobs"))
    }

    /// Ends an upload: its bytes, with those of the last chunk, become the
    /// blob named `digest`. Once this returns, the blob is durable.
    ///
    /// Repeating it after it succeeded succeeds again.
    ///
    /// # Errors
    ///
    /// Those of [`append_upload`](Self::append_upload), and
    /// [`DigestInvalid`](crate::ErrorKind::DigestInvalid) if the content has
    /// another digest, which ends the upload.
    async fn finish_upload(
        &self,
        access: &Access,
        id: &UploadId,
        digest: &Digest,
        last: Option<Chunk>,
    ) -> Result<Descriptor> {
        let _ = (access, id, digest, last);
        Err(Error::unsupported("pushing blobs"))
    }

    /// Gives an upload up and forgets its bytes.
    ///
    /// # Errors
    ///
    /// [`UploadUnknown`](crate::ErrorKind::UploadUnknown).
    async fn cancel_upload(&self, access: &Access, id: &UploadId) -> Result<()> {
        let _ = (access, id);
        Err(Error::unsupported("pushing blobs"))
    }

    /// What a reference points to now.
    ///
    /// # Errors
    ///
    /// [`ManifestUnknown`](crate::ErrorKind::ManifestUnknown).
    async fn resolve(&self, access: &Access, reference: &Reference) -> Result<Descriptor> {
        let _ = (access, reference);
        Err(Error::unsupported("manifests"))
    }

    /// The manifest that a reference points to now, in the bytes pushed.
    ///
    /// # Errors
    ///
    /// [`ManifestUnknown`](crate::ErrorKind::ManifestUnknown).
    async fn get_manifest(&self, access: &Access, reference: &Reference) -> Result<Manifest> {
        let _ = (access, reference);
        Err(Error::unsupported("pulling manifests"))
    }

    /// Stores a manifest and points tags to it: all of it or nothing. Once this
    /// returns, manifest and tags are durable.
    ///
    /// An existing tag moves only if the access permits
    /// [`Overwrite`](crate::Action::Overwrite).
    ///
    /// # Errors
    ///
    /// [`ManifestBlobUnknown`](crate::ErrorKind::ManifestBlobUnknown), with the
    /// digests as detail, if it refers to content that this repository doesn't
    /// hold; [`PreconditionFailed`](crate::ErrorKind::PreconditionFailed) if a
    /// tag isn't where the push expects it.
    async fn put_manifest(&self, access: &Access, push: PutManifest) -> Result<Pushed> {
        let _ = (access, push);
        Err(Error::unsupported("pushing manifests"))
    }

    /// Removes a tag, a manifest with all tags that point to it, or a blob, from
    /// this repository. Other repositories keep theirs.
    ///
    /// # Errors
    ///
    /// [`BlobUnknown`](crate::ErrorKind::BlobUnknown) or
    /// [`ManifestUnknown`](crate::ErrorKind::ManifestUnknown) if it isn't
    /// there.
    async fn delete(&self, access: &Access, what: Deletion) -> Result<()> {
        let _ = (access, what);
        Err(Error::unsupported("deleting"))
    }

    /// The tags of the repository that the access
    /// [shows](crate::Access::shows), in the order of their bytes.
    ///
    /// # Errors
    ///
    /// [`NameUnknown`](crate::ErrorKind::NameUnknown) if there is no such
    /// repository.
    async fn tags(&self, access: &Access, page: PageRequest) -> Result<Page<Tag>> {
        let _ = (access, page);
        Err(Error::unsupported("listing tags"))
    }

    /// The manifests whose subject is `subject`, in the order of their digests.
    /// Neither the subject nor the repository has to exist.
    ///
    /// # Errors
    ///
    /// Only those of every method.
    async fn referrers(
        &self,
        access: &Access,
        subject: &Digest,
        filter: ReferrerFilter,
        page: PageRequest,
    ) -> Result<Page<Descriptor>> {
        let _ = (access, subject, filter, page);
        Err(Error::unsupported("listing referrers"))
    }

    /// The repositories that the caller may see, in the order of their bytes.
    ///
    /// # Errors
    ///
    /// Only those of every method.
    async fn repositories(
        &self,
        access: &CatalogAccess,
        page: PageRequest,
    ) -> Result<Page<RepositoryName>> {
        let _ = (access, page);
        Err(Error::unsupported("listing repositories"))
    }

    /// Tells repositories from those that had their names before, by the names
    /// that they have here; `None` if this registry can't. Then what a token or
    /// a key covers in a repository is covered in the next of its name, too.
    fn epochs(&self) -> Option<&dyn Epochs> {
        None
    }
}

/// A registry behind a shared pointer is a registry.
#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<R: Registry + ?Sized> Registry for Arc<R> {
    async fn stat_blob(&self, access: &Access, digest: &Digest) -> Result<Descriptor> {
        (**self).stat_blob(access, digest).await
    }

    async fn open_blob(
        &self,
        access: &Access,
        digest: &Digest,
        options: OpenOptions,
    ) -> Result<Blob> {
        (**self).open_blob(access, digest, options).await
    }

    async fn mount_blob(
        &self,
        access: &Access,
        digest: &Digest,
        source: MountSource<'_>,
    ) -> Result<Option<Descriptor>> {
        (**self).mount_blob(access, digest, source).await
    }

    async fn begin_upload(&self, access: &Access, options: UploadOptions) -> Result<Upload> {
        (**self).begin_upload(access, options).await
    }

    async fn upload(&self, access: &Access, id: &UploadId) -> Result<Upload> {
        (**self).upload(access, id).await
    }

    async fn append_upload(&self, access: &Access, id: &UploadId, chunk: Chunk) -> Result<Upload> {
        (**self).append_upload(access, id, chunk).await
    }

    async fn finish_upload(
        &self,
        access: &Access,
        id: &UploadId,
        digest: &Digest,
        last: Option<Chunk>,
    ) -> Result<Descriptor> {
        (**self).finish_upload(access, id, digest, last).await
    }

    async fn cancel_upload(&self, access: &Access, id: &UploadId) -> Result<()> {
        (**self).cancel_upload(access, id).await
    }

    async fn resolve(&self, access: &Access, reference: &Reference) -> Result<Descriptor> {
        (**self).resolve(access, reference).await
    }

    async fn get_manifest(&self, access: &Access, reference: &Reference) -> Result<Manifest> {
        (**self).get_manifest(access, reference).await
    }

    async fn put_manifest(&self, access: &Access, push: PutManifest) -> Result<Pushed> {
        (**self).put_manifest(access, push).await
    }

    async fn delete(&self, access: &Access, what: Deletion) -> Result<()> {
        (**self).delete(access, what).await
    }

    async fn tags(&self, access: &Access, page: PageRequest) -> Result<Page<Tag>> {
        (**self).tags(access, page).await
    }

    async fn referrers(
        &self,
        access: &Access,
        subject: &Digest,
        filter: ReferrerFilter,
        page: PageRequest,
    ) -> Result<Page<Descriptor>> {
        (**self).referrers(access, subject, filter, page).await
    }

    async fn repositories(
        &self,
        access: &CatalogAccess,
        page: PageRequest,
    ) -> Result<Page<RepositoryName>> {
        (**self).repositories(access, page).await
    }

    fn epochs(&self) -> Option<&dyn Epochs> {
        (**self).epochs()
    }
}
