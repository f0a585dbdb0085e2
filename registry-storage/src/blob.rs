//! The port behind which the bytes live.

#[cfg(feature = "filesystem")]
pub(crate) mod filesystem;
mod memory;

#[cfg(feature = "filesystem")]
pub use filesystem::{Durability, FilesystemBlobs, FilesystemOptions};
pub use memory::MemoryBlobs;

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use registry_core::{BlobBody, Digest, Result, UploadId, Verified};
use serde::{Deserialize, Serialize};

/// The physical name of stored bytes: what they are, and which of the times
/// they were stored.
///
/// Every upload has a fresh identity, so no key is ever used twice: a delete
/// that comes late, or twice, can't hit bytes that were pushed again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct BlobKey {
    /// The digest of the bytes.
    pub digest: Digest,
    /// The upload that brought them.
    pub generation: UploadId,
}

/// What a store holds under a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredBlob {
    /// The key.
    pub key: BlobKey,
    /// The number of bytes.
    pub size: u64,
}

/// Keeps bytes under physical keys, and the bytes of uploads until they have
/// one.
///
/// A store knows nothing of repositories, and never decides what may be
/// deleted. `registry_storage::testkit` (feature `testkit`) has the contract as
/// tests.
///
/// # Durability
///
/// When [`StagedBlob::publish`] returns, the bytes and their name survive a
/// power failure, unless the store was made without durability. Staged bytes
/// survive the end of the process once [`StagedBlob::pause`] returns, not
/// necessarily a power failure.
///
/// # Errors
///
/// [`Unavailable`](registry_core::ErrorKind::Unavailable) if the store can't
/// work now (full, read-only after a failed sync, out of reach);
/// [`Internal`](registry_core::ErrorKind::Internal) for what isn't foreseen.
#[async_trait]
pub trait BlobStore: fmt::Debug + Send + Sync + 'static {
    /// Whether the store can take writes now. Cheap enough to ask every second.
    ///
    /// # Errors
    ///
    /// [`Unavailable`](registry_core::ErrorKind::Unavailable) if it can't, and
    /// why.
    async fn check(&self) -> Result<()> {
        Ok(())
    }

    /// Whether staged bytes survive a power failure once
    /// [`StagedBlob::pause`] returns. If not, an upload that another run of the
    /// engine began is read again before it goes on.
    fn staged_is_durable(&self) -> bool {
        false
    }

    /// Opens the staged bytes of `upload` to add to them at `offset`. Nothing
    /// is staged before the first call. Bytes that were staged behind `offset`
    /// are dropped. One writer at a time: the caller sees to it.
    ///
    /// # Errors
    ///
    /// [`UploadUnknown`](registry_core::ErrorKind::UploadUnknown) if fewer than
    /// `offset` bytes are staged.
    async fn stage(&self, upload: &UploadId, offset: u64) -> Result<Box<dyn StagedBlob>>;

    /// Opens a part of the staged bytes of `upload`. They must not be written
    /// to meanwhile.
    ///
    /// # Errors
    ///
    /// [`UploadUnknown`](registry_core::ErrorKind::UploadUnknown) if fewer bytes
    /// are staged than the range needs.
    async fn open_staged(&self, upload: &UploadId, range: Range<u64>) -> Result<BlobBody>;

    /// Forgets the staged bytes of `upload`. Doing it again does nothing.
    async fn discard(&self, upload: &UploadId) -> Result<()>;

    /// The uploads with staged bytes, in the order of their identities, behind
    /// `after`, at most `limit`.
    async fn list_staged(&self, after: Option<UploadId>, limit: usize) -> Result<Vec<UploadId>>;

    /// Opens a part of the bytes under `key`. What is opened stays readable
    /// even if the key is deleted meanwhile.
    ///
    /// # Errors
    ///
    /// [`BlobUnknown`](registry_core::ErrorKind::BlobUnknown) if there are no
    /// such bytes, [`Corrupt`](registry_core::ErrorKind::Corrupt) if there are
    /// fewer than the range needs.
    async fn open(&self, key: &BlobKey, range: Range<u64>) -> Result<BlobBody>;

    /// How many bytes are stored under `key`.
    ///
    /// # Errors
    ///
    /// [`BlobUnknown`](registry_core::ErrorKind::BlobUnknown) if there are none.
    async fn size(&self, key: &BlobKey) -> Result<u64>;

    /// Removes the bytes under `key`. Doing it again does nothing.
    async fn delete(&self, key: &BlobKey) -> Result<()>;

    /// What is stored, in the order of the keys, behind `after`, at most
    /// `limit`. Costs in proportion to the page, not to the store.
    async fn list(&self, after: Option<BlobKey>, limit: usize) -> Result<Vec<StoredBlob>>;
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<S: BlobStore + ?Sized> BlobStore for Arc<S> {
    async fn check(&self) -> Result<()> {
        (**self).check().await
    }

    fn staged_is_durable(&self) -> bool {
        (**self).staged_is_durable()
    }

    async fn stage(&self, upload: &UploadId, offset: u64) -> Result<Box<dyn StagedBlob>> {
        (**self).stage(upload, offset).await
    }

    async fn open_staged(&self, upload: &UploadId, range: Range<u64>) -> Result<BlobBody> {
        (**self).open_staged(upload, range).await
    }

    async fn discard(&self, upload: &UploadId) -> Result<()> {
        (**self).discard(upload).await
    }

    async fn list_staged(&self, after: Option<UploadId>, limit: usize) -> Result<Vec<UploadId>> {
        (**self).list_staged(after, limit).await
    }

    async fn open(&self, key: &BlobKey, range: Range<u64>) -> Result<BlobBody> {
        (**self).open(key, range).await
    }

    async fn size(&self, key: &BlobKey) -> Result<u64> {
        (**self).size(key).await
    }

    async fn delete(&self, key: &BlobKey) -> Result<()> {
        (**self).delete(key).await
    }

    async fn list(&self, after: Option<BlobKey>, limit: usize) -> Result<Vec<StoredBlob>> {
        (**self).list(after, limit).await
    }
}

/// The open end of an upload's staged bytes.
///
/// Dropping it without [`pause`](Self::pause) or [`publish`](Self::publish)
/// leaves the upload with the bytes it had when it was opened, or more.
#[async_trait]
pub trait StagedBlob: fmt::Debug + Send + 'static {
    /// Adds bytes. It returns as soon as the store can take more, and tells of
    /// a failed write at the latest when pausing or publishing. Hold them no
    /// longer than needed: their memory is used again for what comes later.
    async fn write(&mut self, bytes: Bytes) -> Result<()>;

    /// Waits until all bytes are written, so that the upload can go on later,
    /// also after the process ended.
    async fn pause(self: Box<Self>) -> Result<()>;

    /// Turns the staged bytes into stored ones: first the bytes become durable,
    /// then their name. They are then no longer staged.
    ///
    /// # Errors
    ///
    /// [`Internal`](registry_core::ErrorKind::Internal) if the number of staged
    /// bytes isn't the verified one.
    async fn publish(self: Box<Self>, verified: Verified) -> Result<BlobKey>;
}
