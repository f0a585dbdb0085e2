//! A registry with a blob store of its own: here one that counts what it
//! serves, around the one in memory.
//!
//! `cargo run --bin custom_blob_store 127.0.0.1:5000`. Every blob that is opened
//! is printed. A store written from scratch can be checked against its contract
//! with `registry_storage::blob_store_suite!`.

use std::error::Error;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use registry_core::{BlobBody, Result, UploadId};
use registry_http::RegistryService;
use registry_storage::{
    BlobKey, BlobStore, Engine, MemoryBlobs, MemoryMetadata, StagedBlob, StoredBlob,
};

/// A blob store that tells how many bytes were asked of it.
#[derive(Debug, Default)]
struct CountingBlobs {
    inner: MemoryBlobs,
    bytes: AtomicU64,
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl BlobStore for CountingBlobs {
    async fn check(&self) -> Result<()> {
        self.inner.check().await
    }

    fn staged_is_durable(&self) -> bool {
        self.inner.staged_is_durable()
    }

    async fn stage(&self, upload: &UploadId, offset: u64) -> Result<Box<dyn StagedBlob>> {
        self.inner.stage(upload, offset).await
    }

    async fn open_staged(&self, upload: &UploadId, range: Range<u64>) -> Result<BlobBody> {
        self.inner.open_staged(upload, range).await
    }

    async fn discard(&self, upload: &UploadId) -> Result<()> {
        self.inner.discard(upload).await
    }

    async fn list_staged(&self, after: Option<UploadId>, limit: usize) -> Result<Vec<UploadId>> {
        self.inner.list_staged(after, limit).await
    }

    async fn open(&self, key: &BlobKey, range: Range<u64>) -> Result<BlobBody> {
        let size = range.end.saturating_sub(range.start);
        let total = self.bytes.fetch_add(size, Ordering::Relaxed);
        registry_examples::say(&format!(
            "opened {} bytes of {}, {} so far",
            size,
            key.digest,
            total.saturating_add(size)
        ));
        self.inner.open(key, range).await
    }

    async fn size(&self, key: &BlobKey) -> Result<u64> {
        self.inner.size(key).await
    }

    async fn delete(&self, key: &BlobKey) -> Result<()> {
        self.inner.delete(key).await
    }

    async fn list(&self, after: Option<BlobKey>, limit: usize) -> Result<Vec<StoredBlob>> {
        self.inner.list(after, limit).await
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let listener = registry_examples::listen().await?;
    let engine = Engine::builder(CountingBlobs::default(), MemoryMetadata::default()).build();
    registry_http::serve(listener, RegistryService::new(engine)).await?;
    Ok(())
}
