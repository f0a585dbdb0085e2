//! Every store of this crate keeps the contract of the port.

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
