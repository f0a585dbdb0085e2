//! Blobs in memory.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::{Bound, Range};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use registry_core::{BlobBody, Error, ErrorKind, Result, UploadId, Verified};

use super::{BlobKey, BlobStore, StagedBlob, StoredBlob};

/// A [`BlobStore`] that forgets everything when it is dropped: for tests, and
/// as the reference that other stores are compared with.
///
/// It takes as much memory as is pushed to it. Clones share their content.
#[derive(Clone, Default)]
pub struct MemoryBlobs(Arc<Mutex<Content>>);

#[derive(Default)]
struct Content {
    staged: BTreeMap<UploadId, Vec<u8>>,
    stored: BTreeMap<BlobKey, Bytes>,
}

impl MemoryBlobs {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    fn content(&self) -> MutexGuard<'_, Content> {
        // Each change is a single step, so a panic elsewhere leaves no half of one.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for MemoryBlobs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let content = self.content();
        f.debug_struct("MemoryBlobs")
            .field("staged", &content.staged.len())
            .field("stored", &content.stored.len())
            .finish()
    }
}

fn not_staged() -> Error {
    ErrorKind::UploadUnknown.error("the upload is not staged that far; start again")
}

fn not_stored() -> Error {
    ErrorKind::BlobUnknown.error("the blob is not stored; push it again")
}

/// The part of `bytes` that lies in `range`, if all of the range does.
fn part(bytes: &[u8], range: &Range<u64>) -> Option<Range<usize>> {
    let range = usize::try_from(range.start).ok()?..usize::try_from(range.end).ok()?;
    bytes.get(range.clone()).map(|_| range)
}

/// Where a listing goes on behind `after`.
fn behind<T>(after: Option<T>) -> (Bound<T>, Bound<T>) {
    (
        after.map_or(Bound::Unbounded, Bound::Excluded),
        Bound::Unbounded,
    )
}

#[async_trait]
impl BlobStore for MemoryBlobs {
    async fn stage(&self, upload: &UploadId, offset: u64) -> Result<Box<dyn StagedBlob>> {
        let mut content = self.content();
        match content.staged.get_mut(upload) {
            Some(bytes) => {
                let kept = part(bytes, &(0..offset)).ok_or_else(not_staged)?;
                bytes.truncate(kept.end);
            }
            None if offset == 0 => {
                content.staged.insert(*upload, Vec::new());
            }
            None => return Err(not_staged()),
        }
        Ok(Box::new(MemoryStaged {
            store: self.clone(),
            upload: *upload,
        }))
    }

    async fn open_staged(&self, upload: &UploadId, range: Range<u64>) -> Result<BlobBody> {
        let content = self.content();
        let bytes = content.staged.get(upload).ok_or_else(not_staged)?;
        let part = part(bytes, &range).and_then(|part| bytes.get(part));
        let part = part.ok_or_else(not_staged)?;
        Ok(BlobBody::Bytes(Bytes::copy_from_slice(part)))
    }

    async fn discard(&self, upload: &UploadId) -> Result<()> {
        self.content().staged.remove(upload);
        Ok(())
    }

    async fn list_staged(&self, after: Option<UploadId>, limit: usize) -> Result<Vec<UploadId>> {
        let content = self.content();
        let behind = content.staged.range(behind(after));
        Ok(behind.take(limit).map(|(upload, _)| *upload).collect())
    }

    async fn open(&self, key: &BlobKey, range: Range<u64>) -> Result<BlobBody> {
        let content = self.content();
        let bytes = content.stored.get(key).ok_or_else(not_stored)?;
        let part = part(bytes, &range).ok_or_else(|| {
            ErrorKind::Corrupt.error("the blob is shorter than recorded; push it again")
        })?;
        Ok(BlobBody::Bytes(bytes.slice(part)))
    }

    async fn size(&self, key: &BlobKey) -> Result<u64> {
        let content = self.content();
        let bytes = content.stored.get(key).ok_or_else(not_stored)?;
        Ok(bytes.len() as u64)
    }

    async fn delete(&self, key: &BlobKey) -> Result<()> {
        self.content().stored.remove(key);
        Ok(())
    }

    async fn list(&self, after: Option<BlobKey>, limit: usize) -> Result<Vec<StoredBlob>> {
        let content = self.content();
        let behind = content.stored.range(behind(after)).take(limit);
        Ok(behind
            .map(|(key, bytes)| StoredBlob {
                key: *key,
                size: bytes.len() as u64,
            })
            .collect())
    }
}

#[derive(Debug)]
struct MemoryStaged {
    store: MemoryBlobs,
    upload: UploadId,
}

#[async_trait]
impl StagedBlob for MemoryStaged {
    async fn write(&mut self, bytes: Bytes) -> Result<()> {
        let mut content = self.store.content();
        let staged = content.staged.get_mut(&self.upload);
        staged.ok_or_else(not_staged)?.extend_from_slice(&bytes);
        Ok(())
    }

    async fn pause(self: Box<Self>) -> Result<()> {
        Ok(())
    }

    async fn publish(self: Box<Self>, verified: Verified) -> Result<BlobKey> {
        let key = BlobKey {
            digest: verified.digest(),
            generation: self.upload,
        };
        let mut content = self.store.content();
        let staged = content.staged.get(&self.upload).ok_or_else(not_staged)?;
        if staged.len() as u64 != verified.size() {
            return Err(ErrorKind::Internal
                .error("the number of staged bytes is not the verified one; start again"));
        }
        if let Some(bytes) = content.staged.remove(&self.upload) {
            content.stored.insert(key, Bytes::from(bytes));
        }
        Ok(key)
    }
}
