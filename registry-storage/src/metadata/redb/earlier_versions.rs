//! What earlier versions of the program wrote is read.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is the way to fail")]

use std::sync::Arc;
use std::time::SystemTime;

use registry_core::testkit::acting;
use registry_core::{Algorithm, Chunk, ErrorKind, Hasher, Registry, UploadOptions};

use super::key::Key;
use super::open::DATABASE;
use super::writer::FACTS;
use super::{RedbMetadata, RedbOptions};
use crate::{Engine, MemoryBlobs, MetadataStore};

/// They didn't write down who began it.
#[tokio::test]
async fn an_upload_that_says_no_owner_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let open = async || {
        let opened = RedbMetadata::open(directory.path(), RedbOptions::default()).await;
        Arc::new(opened.unwrap())
    };
    let (ann, ben) = (
        acting("team/app", Some("ann"), "docker"),
        acting("team/app", Some("ben"), "docker"),
    );
    let metadata = open().await;
    let registry = Engine::builder(MemoryBlobs::new(), Arc::clone(&metadata)).build();
    let begun = registry.begin_upload(&ann, UploadOptions::default()).await;
    let id = begun.unwrap().id;
    let error = registry.upload(&ben, &id).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UploadUnknown);
    let record = metadata.upload(&id).await.unwrap().unwrap();
    registry.close().await.unwrap();

    let active_at = record.active_at.duration_since(SystemTime::UNIX_EPOCH);
    let hasher = Hasher::new(Algorithm::Sha256).state();
    let active_at = u64::try_from(active_at.unwrap().as_nanos()).unwrap();
    let incarnation = record.incarnation.as_bytes();
    let fact = ("team/app", 0_u64, hasher, active_at, incarnation);
    let fact = postcard::to_extend(&fact, vec![1]).unwrap();
    {
        let database = redb::Database::open(directory.path().join(DATABASE)).unwrap();
        let transaction = database.begin_write().unwrap();
        {
            let mut table = transaction.open_table(FACTS).unwrap();
            let replaced = table.insert(Key::upload(&id).as_bytes(), fact.as_slice());
            assert!(replaced.unwrap().is_some());
        }
        transaction.commit().unwrap();
    }

    let metadata = open().await;
    let mut unowned = record;
    unowned.owner = None;
    let read = metadata.upload(&id).await.unwrap();
    assert_eq!(read.as_ref(), Some(&unowned));
    let listed = metadata.uploads(&unowned.repository, None, 10).await;
    assert_eq!(listed.unwrap(), [unowned]);
    let registry = Engine::builder(MemoryBlobs::new(), metadata).build();
    let first = Chunk::from_bytes("first ");
    registry.append_upload(&ben, &id, first).await.unwrap();
    let digest = Algorithm::Sha256.digest(b"first second");
    let last = Some(Chunk::from_bytes("second"));
    let pushed = registry.finish_upload(&ann, &id, &digest, last).await;
    assert_eq!(pushed.unwrap().size, 12);
}
