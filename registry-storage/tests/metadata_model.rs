//! A store and the reference agree on random histories, change by
//! change.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "in a test, a panic is the way to fail"
)]

use std::time::SystemTime;

use proptest::prelude::*;
use registry_core::{Algorithm, MediaType, RepositoryName};
use registry_storage::testkit::metadata::{Scope, follow, history, observe};
use registry_storage::{
    Batch, Change, Durability, ManifestRecord, MemoryMetadata, MetadataStore, RedbMetadata,
    RedbOptions,
};

fn run(test: impl Future<Output = ()>) {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.build().unwrap().block_on(test);
}

fn volatile() -> RedbOptions {
    RedbOptions::default().durability(Durability::None)
}

async fn agree(batches: Vec<Batch>) {
    let directory = tempfile::tempdir().unwrap();
    let mut store = RedbMetadata::open(directory.path(), volatile())
        .await
        .unwrap();
    let model = MemoryMetadata::new();
    for (number, batch) in batches.iter().enumerate() {
        follow(&store, &model, batch).await;
        let expected = observe(&model, Scope::Everything).await;
        observe(&store, Scope::Everything)
            .await
            .assert_is(&expected);
        if number % 16 == 15 {
            drop(store);
            store = RedbMetadata::open(directory.path(), volatile())
                .await
                .unwrap();
            observe(&store, Scope::Everything)
                .await
                .assert_is(&expected);
        }
    }
}

/// Loses the database now and then. What outlives it is compared; what doesn't
/// is forgotten on the other side too.
async fn agree_when_rebuilt(batches: Vec<Batch>, segment_bytes: u64) {
    let options = volatile().segment_bytes(segment_bytes);
    let directory = tempfile::tempdir().unwrap();
    let mut store = RedbMetadata::open(directory.path(), options).await.unwrap();
    let model = MemoryMetadata::new();
    follow(&store, &model, &a_tagged_manifest()).await;
    for (number, batch) in batches.iter().enumerate() {
        let mut batch = batch.clone();
        batch.require.clear();
        follow(&store, &model, &batch).await;
        if number % 8 == 7 {
            store.close().await.unwrap();
            std::fs::remove_file(directory.path().join("metadata.redb")).unwrap();
            let error = RedbMetadata::open(directory.path(), options)
                .await
                .unwrap_err();
            assert!(error.to_string().contains("rebuild"), "{error}");
            RedbMetadata::rebuild(directory.path(), options)
                .await
                .unwrap();
            store = RedbMetadata::open(directory.path(), options).await.unwrap();
        }
        let expected = observe(&model, Scope::Lasting).await;
        observe(&store, Scope::Lasting).await.assert_is(&expected);
    }
}

/// Something that a rebuilt store still has.
fn a_tagged_manifest() -> Batch {
    let repository: RepositoryName = "a".parse().unwrap();
    let digest = Algorithm::Sha256.digest(b"0");
    let put = Change::PutManifest {
        repository: repository.clone(),
        manifest: ManifestRecord {
            digest,
            media_type: MediaType::OCI_MANIFEST,
            size: 1,
            subject: None,
            pushed_at: SystemTime::UNIX_EPOCH,
        },
        references: Vec::new(),
        referrer: None,
    };
    let tag = Change::PutTag {
        repository,
        tag: "latest".parse().unwrap(),
        digest,
        at: SystemTime::UNIX_EPOCH,
    };
    Batch {
        changes: vec![put, tag],
        durable: true,
        ..Batch::default()
    }
}

/// As many histories as `PROPTEST_CASES` says.
fn config() -> ProptestConfig {
    let mut config = ProptestConfig::default();
    if std::env::var_os("PROPTEST_CASES").is_none() {
        config.cases = 12;
    }
    config.failure_persistence = None;
    config
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn the_database_agrees_with_the_reference(batches in history(40)) {
        run(agree(batches));
    }

    #[test]
    fn a_rebuilt_database_equals_the_lost_one(
        batches in history(40),
        segment_bytes in prop_oneof![Just(1), Just(2_000), Just(u64::MAX)],
    ) {
        run(agree_when_rebuilt(batches, segment_bytes));
    }
}
