//! Blobs that are large enough to be written past the system's cache, from
//! their 64th MiB on, through the public store: whatever they are interrupted
//! by, every byte is where it belongs.

#![cfg(feature = "filesystem")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "in a test, a panic is the way to fail"
)]

use std::path::Path;

use bytes::Bytes;
use registry_core::{Algorithm, ErrorKind};
use registry_storage::testkit::blob::{collect, read, upload, verified};
use registry_storage::{BlobStore, Durability, FilesystemBlobs, FilesystemOptions, StagedBlob};

const MIB: usize = 1 << 20;

/// Where direct writes begin.
const DIRECT: usize = 64 * MIB;

/// Bytes that don't repeat, and end in the middle of a block.
fn blob() -> Bytes {
    let mut bytes = vec![0; DIRECT + 7 * MIB + 1234];
    fastrand::Rng::with_seed(7).fill(&mut bytes);
    bytes.into()
}

async fn open(directory: &Path) -> FilesystemBlobs {
    // No power fails here.
    let options = FilesystemOptions::default().durability(Durability::None);
    FilesystemBlobs::open(directory, options).await.unwrap()
}

/// Hands over bytes in pieces, none of which is a whole number of blocks.
async fn write(staged: &mut dyn StagedBlob, bytes: &Bytes) {
    let mut start = 0;
    while start < bytes.len() {
        let end = bytes.len().min(start + MIB + 321);
        staged.write(bytes.slice(start..end)).await.unwrap();
        start = end;
    }
}

fn number(bytes: usize) -> u64 {
    bytes as u64
}

/// Where an upload is paused: before, at and behind the first direct byte, on a
/// block and beside it, and once more in the last block.
const PAUSES: [&[usize]; 4] = [
    &[DIRECT - MIB - 77, DIRECT + 2 * MIB + 77],
    &[DIRECT, DIRECT + 3 * MIB],
    &[DIRECT + 1, DIRECT + 4096, DIRECT + MIB + 4095],
    &[DIRECT + 5 * MIB, DIRECT + 7 * MIB + 1000],
];

#[tokio::test]
async fn a_paused_upload_goes_on_in_another_store() {
    let blob = blob();
    for (case, pauses) in (1..).zip(PAUSES) {
        let directory = tempfile::tempdir().unwrap();
        let mut at = 0;
        for pause in pauses {
            let store = open(directory.path()).await;
            let mut staged = store.stage(&upload(case), number(at)).await.unwrap();
            write(&mut *staged, &blob.slice(at..*pause)).await;
            staged.pause().await.unwrap();
            let body = store.open_staged(&upload(case), 0..number(*pause)).await;
            assert!(collect(body.unwrap()).await.unwrap() == blob[..*pause]);
            at = *pause;
        }
        let store = open(directory.path()).await;
        let beyond = store.stage(&upload(case), number(at + 1)).await;
        assert_eq!(beyond.unwrap_err().kind(), ErrorKind::UploadUnknown);
        let mut staged = store.stage(&upload(case), number(at)).await.unwrap();
        write(&mut *staged, &blob.slice(at..)).await;
        let key = staged.publish(verified(Algorithm::Sha256, &blob)).await;
        let key = key.unwrap();

        let store = open(directory.path()).await;
        let end = number(blob.len());
        assert_eq!(store.size(&key).await.unwrap(), end);
        assert!(read(&store, &key, 0..end).await.unwrap() == blob);
    }
}

/// What was written behind the offset that an upload goes on from is dropped,
/// also from the middle of a block, and what comes instead takes its place.
#[tokio::test]
async fn an_upload_goes_on_from_an_offset_before_its_end() {
    let blob = blob();
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    let other = Bytes::from(vec![0xee; 9 * MIB + 99]);
    let mut staged = store.stage(&upload(1), 0).await.unwrap();
    write(&mut *staged, &blob.slice(..DIRECT + MIB)).await;
    staged.pause().await.unwrap();
    for offset in [DIRECT + MIB, DIRECT + 4097, DIRECT + 4096, DIRECT - 5] {
        let store = open(directory.path()).await;
        let mut staged = store.stage(&upload(1), number(offset)).await.unwrap();
        write(&mut *staged, &other).await;
        staged.pause().await.unwrap();
    }
    let store = open(directory.path()).await;
    let at = DIRECT - 5;
    let mut staged = store.stage(&upload(1), number(at)).await.unwrap();
    write(&mut *staged, &blob.slice(at..)).await;
    let key = staged.publish(verified(Algorithm::Sha256, &blob)).await;
    let key = key.unwrap();
    let end = number(blob.len());
    assert_eq!(store.size(&key).await.unwrap(), end);
    assert!(read(&store, &key, 0..end).await.unwrap() == blob);
}

/// A writer that goes away in the middle leaves the bytes before it as they
/// were.
#[tokio::test]
async fn a_broken_off_direct_write_takes_nothing_away() {
    let blob = blob();
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    let at = DIRECT + MIB + 77;
    let mut staged = store.stage(&upload(1), 0).await.unwrap();
    write(&mut *staged, &blob.slice(..at)).await;
    staged.pause().await.unwrap();
    let mut staged = store.stage(&upload(1), number(at)).await.unwrap();
    write(&mut *staged, &Bytes::from(vec![0xee; 4 * MIB])).await;
    drop(staged);

    let mut staged = store.stage(&upload(1), number(at)).await.unwrap();
    write(&mut *staged, &blob.slice(at..)).await;
    let key = staged.publish(verified(Algorithm::Sha256, &blob)).await;
    let read = read(&store, &key.unwrap(), 0..number(blob.len())).await;
    assert!(read.unwrap() == blob);
}
