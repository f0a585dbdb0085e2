//! The contract of [`BlobStore`], a clause at a time.

mod listing;
mod publishing;
mod reading;
mod staging;

pub use listing::*;
pub use publishing::*;
pub use reading::*;
pub use staging::*;

use std::ops::Range;

use bytes::Bytes;
use futures::TryStreamExt;
use registry_core::{Algorithm, BlobBody, ErrorKind, Hasher, Result, UploadId, Verified};

use crate::{BlobKey, BlobStore};

/// A fresh store for one test, with what it needs to live.
pub trait BlobFixture {
    /// The store.
    fn store(&self) -> &dyn BlobStore;
}

impl<S: BlobStore> BlobFixture for S {
    fn store(&self) -> &dyn BlobStore {
        self
    }
}

/// A store and what has to outlive it, such as a temporary directory.
impl<S: BlobStore, K> BlobFixture for (S, K) {
    fn store(&self) -> &dyn BlobStore {
        &self.0
    }
}

/// Runs the contract of [`BlobStore`](crate::BlobStore) on a store: a module
/// with one test for each clause.
///
/// The second argument is evaluated in each test and may wait; it gives a fresh
/// store, or a pair of a store and something that has to outlive it.
///
/// ```
/// use registry_storage::{FilesystemBlobs, FilesystemOptions};
///
/// registry_storage::blob_store_suite!(filesystem, {
///     let directory = tempfile::tempdir().unwrap();
///     let options = FilesystemOptions::default();
///     (FilesystemBlobs::open(directory.path(), options).await.unwrap(), directory)
/// });
/// ```
#[macro_export]
macro_rules! blob_store_suite {
    ($name:ident, $store:expr) => {
        mod $name {
            #[allow(unused_imports, reason = "what the store's expression needs")]
            use super::*;

            $crate::blob_store_suite!(@clauses $store;
                a_fresh_store_is_empty_and_takes_writes
                published_bytes_come_back
                published_bytes_are_no_longer_staged
                publishing_another_number_of_bytes_fails
                publishing_again_replaces_the_same_bytes
                generations_are_independent
                uploads_go_on_side_by_side
                a_range_is_read
                a_range_beyond_the_end_is_corrupt
                an_unknown_key_is_not_read
                a_deleted_blob_is_gone
                an_open_blob_outlives_its_deletion
                a_paused_upload_goes_on
                an_upload_goes_on_from_an_earlier_offset
                an_upload_starts_over
                an_upload_never_goes_on_behind_its_end
                a_dropped_writer_takes_nothing_away
                an_abandoned_write_never_lands_on_later_bytes
                staged_bytes_are_read
                discarded_bytes_are_gone
                stored_blobs_are_listed_in_order
                stored_blobs_are_listed_in_pages
                staged_uploads_are_listed_in_order_and_pages
            );
        }
    };
    (@clauses $store:expr; $($clause:ident)*) => {
        $(
            #[tokio::test]
            async fn $clause() {
                let fixture = $store;
                $crate::testkit::blob::$clause($crate::testkit::blob::BlobFixture::store(&fixture))
                    .await;
            }
        )*
    };
}

/// The upload with this number.
pub fn upload(number: u8) -> UploadId {
    UploadId::from_random([number; 16])
}

/// This many bytes, which differ with the seed and repeat late.
pub fn content(seed: u8, length: usize) -> Bytes {
    let mut state = u32::from(seed).wrapping_mul(0x9e37_79b9) | 1;
    let next = || {
        // Marsaglia's xorshift: any sequence without short repetitions will do.
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()[0]
    };
    std::iter::repeat_with(next).take(length).collect()
}

/// The proof that `content` was hashed.
pub fn verified(algorithm: Algorithm, content: &[u8]) -> Verified {
    let mut hasher = Hasher::new(algorithm);
    hasher.update(content);
    hasher.finish()
}

/// Publishes `content` as the upload with this number.
///
/// # Errors
///
/// Those of the store.
pub async fn publish(store: &dyn BlobStore, number: u8, content: &Bytes) -> Result<BlobKey> {
    let mut staged = store.stage(&upload(number), 0).await?;
    staged.write(content.clone()).await?;
    staged.publish(verified(Algorithm::Sha256, content)).await
}

/// Adds `content` to the upload with this number at `offset`, and pauses it.
///
/// # Errors
///
/// Those of the store.
pub async fn append(store: &dyn BlobStore, number: u8, offset: u64, content: &Bytes) -> Result<()> {
    let mut staged = store.stage(&upload(number), offset).await?;
    staged.write(content.clone()).await?;
    staged.pause().await
}

/// All the bytes of a body.
///
/// # Errors
///
/// Those of reading, as [`ErrorKind::Internal`].
pub async fn collect(body: BlobBody) -> Result<Bytes> {
    match body {
        BlobBody::Bytes(bytes) => Ok(bytes),
        BlobBody::File(slice) => {
            let mut bytes = vec![0; usize::try_from(slice.range.end - slice.range.start).unwrap()];
            let mut done = 0;
            while done < bytes.len() {
                let offset = slice.range.start + done as u64;
                let rest = &mut bytes[done..];
                let count = match slice.file.try_read_at(rest, offset) {
                    Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                        slice.file.read_at(rest, offset)
                    }
                    result => result,
                };
                match count {
                    Ok(0) => return Err(ErrorKind::Internal.error("the file ended too early")),
                    Ok(count) => done += count,
                    Err(error) => {
                        let reason = "the file could not be read";
                        return Err(ErrorKind::Internal.error(reason).with_source(error));
                    }
                }
            }
            Ok(bytes.into())
        }
        BlobBody::Stream(stream) => {
            let pieces: Vec<Bytes> = stream.try_collect().await?;
            Ok(pieces.concat().into())
        }
        body => panic!("a store has no {body:?}"),
    }
}

/// The bytes stored under a key.
///
/// # Errors
///
/// Those of the store, and of reading.
pub async fn read(store: &dyn BlobStore, key: &BlobKey, range: Range<u64>) -> Result<Bytes> {
    collect(store.open(key, range).await?).await
}

/// The kind of the error, which there must be.
#[track_caller]
fn kind<T>(result: Result<T>) -> ErrorKind {
    match result {
        Ok(_) => panic!("it should have failed"),
        Err(error) => error.kind(),
    }
}
