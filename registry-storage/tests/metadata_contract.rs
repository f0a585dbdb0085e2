//! Every store of this crate keeps the contract of the port.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "in a test, a panic is the way to fail"
)]

use registry_storage::testkit::metadata::FaultyMetadata;
use registry_storage::{
    Batch, CommitError, Durability, MemoryMetadata, MetadataStore, RedbMetadata, RedbOptions,
    metadata_store_suite,
};

async fn database(durability: Durability) -> (RedbMetadata, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let options = RedbOptions::default().durability(durability);
    let store = RedbMetadata::open(directory.path(), options).await;
    (store.unwrap(), directory)
}

metadata_store_suite!(memory, MemoryMetadata::new());
metadata_store_suite!(durable_database, database(Durability::Full).await);
metadata_store_suite!(
    database_without_durability,
    database(Durability::None).await
);
metadata_store_suite!(without_a_fault, FaultyMetadata::new(MemoryMetadata::new()));

#[tokio::test]
async fn a_store_fails_exactly_when_it_is_told_to() {
    let store = FaultyMetadata::new(MemoryMetadata::new());
    let failed = async || {
        let result = store.commit(Batch::default()).await;
        matches!(result, Err(CommitError::Failed(_)))
    };
    store.fail_commit(1);
    assert!(!failed().await && !store.has_failed());
    assert!(failed().await && store.has_failed());
    store.lose_answer(0);
    assert!(failed().await);
    assert!(!failed().await);
    store.fail_read(1);
    assert!(store.outbox(1).await.is_ok());
    assert!(store.outbox(1).await.is_err());
    assert!(store.outbox(1).await.is_ok());
}
