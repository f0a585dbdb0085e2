//! Every store of this crate keeps the contract of the port.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "in a test, a panic is the way to fail"
)]

use registry_storage::{
    Durability, FilesystemBlobs, FilesystemOptions, MemoryBlobs, blob_store_suite,
};

async fn filesystem(durability: Durability) -> (FilesystemBlobs, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let options = FilesystemOptions::default().durability(durability);
    let store = FilesystemBlobs::open(directory.path(), options).await;
    (store.unwrap(), directory)
}

blob_store_suite!(memory, MemoryBlobs::new());
blob_store_suite!(durable_files, filesystem(Durability::Full).await);
blob_store_suite!(files, filesystem(Durability::None).await);
