//! What is left when the metadata store takes nothing for a while.

#![allow(clippy::panic, clippy::unwrap_used, reason = "these are tests")]

use std::sync::Arc;

use bytes::Bytes;
use registry_core::{
    Access, Algorithm, Chunk, ErrorKind, ManifestRules, MediaType, PutManifest, Reference,
    Registry, UploadOptions,
};
use registry_storage::testkit::metadata::FaultyMetadata;
use registry_storage::{BlobStore, Engine, MemoryBlobs, MemoryMetadata};

type Metadata = Arc<FaultyMetadata<MemoryMetadata>>;

fn registry() -> (Engine, Arc<MemoryBlobs>, Metadata) {
    let blobs = Arc::new(MemoryBlobs::new());
    let metadata = Arc::new(FaultyMetadata::new(MemoryMetadata::default()));
    let engine = Engine::builder(Arc::clone(&blobs), Arc::clone(&metadata)).build();
    (engine, blobs, metadata)
}

fn access() -> Access {
    Access::trusted("team/app".parse().unwrap())
}

/// Waits until nothing is stored: what is superfluous is removed in the background.
async fn until_nothing_is_stored(blobs: &MemoryBlobs) {
    for _ in 0..1_000 {
        if blobs.list(None, 1).await.unwrap().is_empty() {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("something stays");
}

#[tokio::test]
async fn an_upload_that_could_not_be_ended_goes_on_where_it_stood() {
    for last in [None, Some(Bytes::from_static(b" and more"))] {
        let (registry, blobs, metadata) = registry();
        let access = access();
        let upload = registry.begin_upload(&access, UploadOptions::default());
        let upload = upload.await.unwrap();
        let first = Chunk::from_bytes("received");
        registry
            .append_upload(&access, &upload.id, first)
            .await
            .unwrap();
        let content = [b"received", last.as_deref().unwrap_or_default()].concat();
        let digest = Algorithm::Sha256.digest(&content);
        let last = || last.clone().map(Chunk::from_bytes);

        metadata.refuse_commits(true);
        let refused = registry
            .finish_upload(&access, &upload.id, &digest, last())
            .await;
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::Unavailable);
        assert!(blobs.list(None, 1).await.unwrap().is_empty());

        metadata.refuse_commits(false);
        let stands = registry.upload(&access, &upload.id).await.unwrap();
        assert_eq!(stands.offset, 8);
        let finished = registry
            .finish_upload(&access, &upload.id, &digest, last())
            .await;
        assert_eq!(finished.unwrap().size, content.len() as u64);
    }
}

/// Though nobody said so before.
#[tokio::test]
async fn a_blob_whose_record_is_refused_leaves_no_bytes() {
    let (registry, blobs, metadata) = registry();
    let access = access();
    let upload = registry.begin_upload(&access, UploadOptions::default());
    let upload = upload.await.unwrap();
    metadata.refuse_commit(0);
    let digest = Algorithm::Sha256.digest(b"content");
    let refused = registry
        .finish_upload(
            &access,
            &upload.id,
            &digest,
            Some(Chunk::from_bytes("content")),
        )
        .await;
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::Unavailable);
    until_nothing_is_stored(&blobs).await;
}

#[tokio::test]
async fn a_manifest_whose_record_is_refused_leaves_no_bytes() {
    let (registry, blobs, metadata) = registry();
    let json = r#"{"schemaVersion":2,"manifests":[]}"#;
    let push = || {
        let reference = Reference::Tag("v1".parse().unwrap());
        let rules = ManifestRules::default();
        PutManifest::new(reference, Some(MediaType::OCI_INDEX), json.into(), &rules).unwrap()
    };
    metadata.refuse_commit(0);
    let refused = registry.put_manifest(&access(), push()).await;
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::Unavailable);
    until_nothing_is_stored(&blobs).await;

    // What may have been recorded stays.
    metadata.lose_answer(0);
    registry.put_manifest(&access(), push()).await.unwrap_err();
    assert_eq!(blobs.list(None, 2).await.unwrap().len(), 1);
    let tag = Reference::Tag("v1".parse().unwrap());
    let found = registry.get_manifest(&access(), &tag).await.unwrap();
    assert_eq!(found.bytes, json);
}
