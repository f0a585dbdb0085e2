//! What an upload survives.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::similar_names,
    clippy::unwrap_used,
    reason = "these are tests"
)]

use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use registry_core::{
    Access, Algorithm, ByteStream, CatalogAccess, Chunk, Digest, Error, ErrorDetail, ErrorKind,
    Management, OpenOptions, PageRequest, Registry, Result, Upload, UploadOptions,
};
use registry_storage::testkit::{BlobCall, Fault, FaultyBlobs};
use registry_storage::{
    BlobKey, BlobStore, Engine, EngineOptions, FilesystemBlobs, FilesystemOptions, MemoryBlobs,
    MemoryMetadata,
};
use tokio::sync::mpsc;

fn access(repository: &str) -> Access {
    Access::trusted(repository.parse().unwrap())
}

fn sha256(content: &[u8]) -> Digest {
    Algorithm::Sha256.digest(content)
}

async fn begin(registry: &Engine, access: &Access) -> Upload {
    registry
        .begin_upload(access, UploadOptions::default())
        .await
        .unwrap()
}

/// A body that the test feeds.
fn body() -> (mpsc::Sender<Result<Bytes>>, ByteStream) {
    let (sender, receiver) = mpsc::channel(1);
    let next = |mut receiver: mpsc::Receiver<Result<Bytes>>| async move {
        receiver.recv().await.map(|item| (item, receiver))
    };
    (sender, futures::stream::unfold(receiver, next).boxed())
}

async fn stored(blobs: &impl BlobStore) -> Vec<BlobKey> {
    let stored = blobs.list(None, 100).await.unwrap();
    stored.into_iter().map(|blob| blob.key).collect()
}

#[tokio::test]
async fn a_finish_whose_answer_was_lost_succeeds_again() {
    let registry = Engine::memory();
    let access = access("team/app");
    let upload = begin(&registry, &access).await;
    let digest = sha256(b"content");
    for _ in 0..2 {
        let chunk = Some(Chunk::from_bytes("content"));
        let blob = registry
            .finish_upload(&access, &upload.id, &digest, chunk)
            .await
            .unwrap();
        assert_eq!((blob.digest, blob.size), (digest, 7));
    }
    let other = sha256(b"other");
    let error = registry
        .finish_upload(&access, &upload.id, &other, None)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UploadUnknown);
}

#[tokio::test]
async fn a_client_that_goes_away_leaves_what_it_sent() {
    let registry = Engine::memory();
    let access = access("team/app");
    let upload = begin(&registry, &access).await;

    let (sender, body) = body();
    let append = {
        let (registry, access) = (registry.clone(), access.clone());
        tokio::spawn(async move {
            registry
                .append_upload(&access, &upload.id, Chunk::new(body))
                .await
        })
    };
    // Once the second part is taken from here, the first is inside.
    sender.send(Ok(Bytes::from_static(b"fir"))).await.unwrap();
    sender.send(Ok(Bytes::from_static(b"st "))).await.unwrap();
    // The connection ends: the request is dropped, and the body breaks off.
    append.abort();
    append.await.unwrap_err();
    let broken = ErrorKind::RequestIncomplete.error("the connection was reset");
    sender.send(Err(broken)).await.unwrap();

    let offset = loop {
        let upload = registry.upload(&access, &upload.id).await.unwrap();
        if upload.offset > 0 {
            break upload.offset;
        }
        tokio::task::yield_now().await;
    };
    assert_eq!(offset, 6);
    let last = Chunk {
        start: Some(6),
        ..Chunk::from_bytes("second")
    };
    // The aborted request may hold the session for a moment more.
    let digest = sha256(b"first second");
    registry
        .finish_upload(&access, &upload.id, &digest, Some(last))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_second_writer_is_turned_away_with_the_offset() {
    let registry = Engine::memory();
    let access = access("team/app");
    let upload = begin(&registry, &access).await;
    registry
        .append_upload(&access, &upload.id, Chunk::from_bytes("abc"))
        .await
        .unwrap();

    let (sender, body) = body();
    let first = {
        let (registry, access) = (registry.clone(), access.clone());
        tokio::spawn(async move {
            registry
                .append_upload(&access, &upload.id, Chunk::new(body))
                .await
        })
    };
    // Once a byte is taken, the first writer is inside.
    sender.send(Ok(Bytes::from_static(b"d"))).await.unwrap();
    sender.send(Ok(Bytes::from_static(b"e"))).await.unwrap();
    let error = registry
        .append_upload(&access, &upload.id, Chunk::from_bytes("x"))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UploadOutOfOrder);
    assert_eq!(error.detail(), Some(&ErrorDetail::Offset(3)));

    drop(sender);
    assert_eq!(first.await.unwrap().unwrap().offset, 5);
}

#[tokio::test]
async fn an_upload_is_cancelled_although_somebody_writes_to_it() {
    let blobs = MemoryBlobs::new();
    let registry = Engine::builder(blobs.clone(), MemoryMetadata::default()).build();
    let (access, elsewhere) = (access("team/app"), access("team/other"));
    for ends in [false, true] {
        let upload = begin(&registry, &access).await;
        let (sender, body) = body();
        let writer = {
            let (registry, access) = (registry.clone(), access.clone());
            let chunk = Chunk::new(body);
            let digest = sha256(b"de");
            tokio::spawn(async move {
                if ends {
                    let last = Some(chunk);
                    let blob = registry.finish_upload(&access, &upload.id, &digest, last);
                    blob.await.map(drop)
                } else {
                    let upload = registry.append_upload(&access, &upload.id, chunk);
                    upload.await.map(drop)
                }
            })
        };
        // Once the first byte is taken, the writer is inside.
        sender.send(Ok(Bytes::from_static(b"d"))).await.unwrap();
        sender.send(Ok(Bytes::from_static(b"e"))).await.unwrap();
        let error = registry.cancel_upload(&elsewhere, &upload.id).await;
        assert_eq!(error.unwrap_err().kind(), ErrorKind::UploadUnknown);
        assert!(!writer.is_finished(), "another repository stopped it");

        registry.cancel_upload(&access, &upload.id).await.unwrap();
        let error = writer.await.unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::UploadUnknown);
        let error = registry.upload(&access, &upload.id).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::UploadUnknown);
        let staged = blobs.stage(&upload.id, 1).await;
        assert!(staged.is_err(), "bytes were left");
    }
    assert_eq!(stored(&blobs).await, []);
}

#[tokio::test]
async fn an_upload_goes_on_in_another_process() {
    let blobs = MemoryBlobs::new();
    let metadata = Arc::new(MemoryMetadata::default());
    let access = access("team/app");
    let before = Engine::builder(blobs.clone(), Arc::clone(&metadata)).build();
    let upload = begin(&before, &access).await;
    before
        .append_upload(&access, &upload.id, Chunk::from_bytes("first "))
        .await
        .unwrap();

    let after = Engine::builder(blobs, metadata).build();
    let digest = sha256(b"first second");
    let chunk = Some(Chunk::from_bytes("second"));
    after
        .finish_upload(&access, &upload.id, &digest, chunk)
        .await
        .unwrap();
}

/// A power failure may keep the record of an upload and lose its bytes.
#[tokio::test]
async fn staged_bytes_that_changed_meanwhile_are_not_acknowledged() {
    let blobs = MemoryBlobs::new();
    let metadata = Arc::new(MemoryMetadata::default());
    let access = access("team/app");
    let before = Engine::builder(blobs.clone(), Arc::clone(&metadata)).build();
    let upload = begin(&before, &access).await;
    before
        .append_upload(&access, &upload.id, Chunk::from_bytes("first "))
        .await
        .unwrap();
    let mut staged = blobs.stage(&upload.id, 0).await.unwrap();
    staged
        .write(Bytes::from_static(b"\0\0\0\0\0\0"))
        .await
        .unwrap();
    staged.pause().await.unwrap();

    let after = Engine::builder(blobs.clone(), metadata).build();
    let digest = sha256(b"first second");
    let chunk = Some(Chunk::from_bytes("second"));
    let error = after
        .finish_upload(&access, &upload.id, &digest, chunk)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UploadUnknown);
    assert!(stored(&blobs).await.is_empty());
}

/// It is not the client's bytes that are at fault, so they stay.
#[tokio::test]
async fn an_upload_outlives_a_store_that_cannot_be_read_for_a_while() {
    let blobs = FaultyBlobs::new(MemoryBlobs::new());
    let metadata = Arc::new(MemoryMetadata::default());
    let access = access("team/app");
    let before = Engine::builder(blobs.clone(), Arc::clone(&metadata)).build();
    let upload = begin(&before, &access).await;
    before
        .append_upload(&access, &upload.id, Chunk::from_bytes("first "))
        .await
        .unwrap();

    let after = Engine::builder(blobs.clone(), metadata).build();
    let finish = async || {
        let digest = sha256(b"first second");
        let chunk = Some(Chunk::from_bytes("second"));
        after
            .finish_upload(&access, &upload.id, &digest, chunk)
            .await
    };
    blobs.fail(BlobCall::OpenStaged, 0, Fault::Before);
    let error = finish().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert_eq!(after.upload(&access, &upload.id).await.unwrap().offset, 6);
    finish().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn parallel_pushes_of_one_blob_keep_one_copy() {
    let blobs = MemoryBlobs::new();
    let registry = Engine::builder(blobs.clone(), MemoryMetadata::default()).build();
    let content = Bytes::from(vec![7; 300_000]);
    let digest = sha256(&content);
    // The second time all of it is there already.
    for _ in 0..2 {
        let pushes = (0..32).map(|number| {
            let (registry, content) = (registry.clone(), content.clone());
            tokio::spawn(async move {
                let access = access(&format!("team/app{}", number % 4));
                let upload = begin(&registry, &access).await;
                registry
                    .finish_upload(
                        &access,
                        &upload.id,
                        &digest,
                        Some(Chunk::from_bytes(content)),
                    )
                    .await
            })
        });
        for push in pushes.collect::<Vec<_>>() {
            push.await.unwrap().unwrap();
        }
        // The copies that lost go a moment later.
        while stored(&blobs).await.len() > 1 {
            tokio::task::yield_now().await;
        }
    }
    for number in 0..4 {
        let access = access(&format!("team/app{number}"));
        assert_eq!(
            registry.stat_blob(&access, &digest).await.unwrap().size,
            300_000
        );
    }
}

#[tokio::test]
async fn pushing_a_blob_again_mends_it() {
    let blobs = MemoryBlobs::new();
    let registry = Engine::builder(blobs.clone(), MemoryMetadata::default()).build();
    let access = access("team/app");
    let digest = sha256(b"content");
    let push = async || -> Result<()> {
        let upload = begin(&registry, &access).await;
        let chunk = Some(Chunk::from_bytes("content"));
        registry
            .finish_upload(&access, &upload.id, &digest, chunk)
            .await
            .map(drop)
    };
    push().await.unwrap();
    let lost = stored(&blobs).await.remove(0);
    blobs.delete(&lost).await.unwrap();
    let open = async || {
        registry
            .open_blob(&access, &digest, OpenOptions::default())
            .await
    };
    assert_eq!(open().await.unwrap_err().kind(), ErrorKind::Corrupt);

    push().await.unwrap();
    open().await.unwrap();
    assert_ne!(stored(&blobs).await, [lost]);
}

/// A blob that rotted without changing its size is found by reading it.
#[tokio::test]
async fn pushing_a_blob_that_was_found_rotten_mends_it() {
    let root = tempfile::TempDir::new().unwrap();
    let registry = Engine::open(root.path()).await.unwrap();
    let access = access("team/app");
    let content = Bytes::from(vec![7; 100_000]);
    let digest = sha256(&content);
    let push = async || {
        let upload = begin(&registry, &access).await;
        let chunk = Some(Chunk::from_bytes(content.clone()));
        registry
            .finish_upload(&access, &upload.id, &digest, chunk)
            .await
            .unwrap();
    };
    push().await;
    let directory = root.path().join("blobs/sha256").join(&digest.hex()[..2]);
    let file = std::fs::read_dir(directory)
        .unwrap()
        .next()
        .unwrap()
        .unwrap();
    std::fs::write(file.path(), vec![8; 100_000]).unwrap();
    let verify = async || {
        let page = registry
            .verify(&CatalogAccess::trusted(), PageRequest::default())
            .await;
        page.unwrap().items.len()
    };
    assert_eq!(verify().await, 1);
    push().await;
    assert_eq!(verify().await, 0);
}

#[tokio::test]
async fn too_large_a_blob_is_refused_and_the_upload_stays() {
    let options = EngineOptions::default().max_blob_size(Some(4));
    let registry = Engine::builder(MemoryBlobs::new(), MemoryMetadata::default())
        .options(options)
        .build();
    let access = access("team/app");
    let upload = begin(&registry, &access).await;
    let announced = Chunk::from_bytes("12345");
    let unannounced = Chunk::new(Chunk::from_bytes("12345").body);
    for chunk in [announced, unannounced] {
        let error = registry
            .append_upload(&access, &upload.id, chunk)
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BlobTooLarge);
    }
    let digest = sha256(b"1234");
    registry
        .finish_upload(
            &access,
            &upload.id,
            &digest,
            Some(Chunk::from_bytes("1234")),
        )
        .await
        .unwrap();
}

#[tokio::test]
async fn a_broken_body_tells_its_own_error() {
    let registry = Engine::memory();
    let access = access("team/app");
    let upload = begin(&registry, &access).await;
    let broken: Error = ErrorKind::RequestIncomplete.error("too slow");
    let body = futures::stream::iter([Ok(Bytes::from_static(b"abc")), Err(broken)]).boxed();
    let error = registry
        .append_upload(&access, &upload.id, Chunk::new(body))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::RequestIncomplete);
    assert_eq!(
        registry.upload(&access, &upload.id).await.unwrap().offset,
        3
    );
}

/// Large uploads pass through recycled memory; what is in it when a request ends
/// or breaks off, and what comes in odd sizes, is stored as it was sent.
#[tokio::test]
async fn a_large_upload_is_stored_as_it_was_sent_however_it_was_cut() {
    let directory = tempfile::tempdir().unwrap();
    let store = FilesystemBlobs::open(directory.path(), FilesystemOptions::default());
    let (files, memory) = (store.await.unwrap(), MemoryBlobs::default());
    let mut random = fastrand::Rng::with_seed(11);
    let content: Vec<u8> = std::iter::repeat_with(|| random.u8(..))
        .take((7 << 20) + 4321)
        .collect();
    let digest = sha256(&content);
    for registry in [
        Engine::builder(files, MemoryMetadata::default()).build(),
        Engine::builder(memory, MemoryMetadata::default()).build(),
    ] {
        let access = access("team/app");
        let upload = begin(&registry, &access).await;
        let mut offset = 0;
        // Each request sends up to there in such pieces; the second breaks off.
        let cuts = [(900_001, 65_536), (3_000_000, 70_001), (4_500_000, 4_097)];
        for (number, (end, piece)) in cuts.into_iter().enumerate() {
            let pieces = content[offset..end].chunks(piece);
            let mut pieces: Vec<_> = pieces.map(|b| Ok(Bytes::copy_from_slice(b))).collect();
            if number == 1 {
                pieces.push(Err(ErrorKind::RequestIncomplete.error("reset")));
            }
            let chunk = Chunk::new(futures::stream::iter(pieces).boxed());
            let appended = registry.append_upload(&access, &upload.id, chunk).await;
            assert_eq!(appended.is_err(), number == 1);
            let now = registry.upload(&access, &upload.id).await.unwrap();
            assert_eq!(now.offset, end as u64);
            offset = end;
        }
        let last = Chunk::from_bytes(content[offset..].to_vec());
        let blob = registry
            .finish_upload(&access, &upload.id, &digest, Some(last))
            .await
            .unwrap();
        assert_eq!(blob.size, content.len() as u64);
        // The digest was that of what was sent; this is what was stored.
        let everything = CatalogAccess::trusted();
        let damages = registry.verify(&everything, PageRequest::default());
        assert_eq!(damages.await.unwrap().items, []);
    }
}
