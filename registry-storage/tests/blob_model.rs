//! The store of files answers as the one in memory does, operation by
//! operation.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "in a test, a panic is the way to fail"
)]

use bytes::Bytes;
use proptest::prelude::*;
use registry_core::{Algorithm, BlobBody, ErrorKind, Result, UploadId};
use registry_storage::testkit::blob::{collect, content, upload, verified};
use registry_storage::{
    BlobKey, BlobStore, Durability, FilesystemBlobs, FilesystemOptions, MemoryBlobs, StoredBlob,
};

/// What becomes of the bytes that were written.
#[derive(Debug, Clone, Copy)]
enum End {
    Pause,
    Publish(Algorithm),
    /// With a proof about other bytes.
    PublishWrong,
}

#[derive(Debug, Clone)]
enum Step {
    /// Goes on so many bytes before the end of what is staged, or behind it.
    Upload {
        upload: u8,
        back: i64,
        pieces: Vec<usize>,
        end: End,
    },
    Discard(u8),
    OpenStaged(u8, u64, u64),
    /// One of the keys so far.
    Open(usize, u64, u64),
    Delete(usize),
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    let upload = 0_u8..4;
    let piece = prop_oneof![
        Just(0),
        1..100_usize,
        4_000..5_000_usize,
        100_000..600_000_usize
    ];
    let end = prop_oneof![
        Just(End::Pause),
        Just(End::Publish(Algorithm::Sha256)),
        Just(End::Publish(Algorithm::Sha512)),
        Just(End::PublishWrong),
    ];
    let back = prop_oneof![3 => Just(0), 1 => -3..1000_i64, 1 => Just(i64::MAX)];
    let bound = || prop_oneof![Just(0), 0..200_u64, 0..700_000_u64];
    prop_oneof![
        6 => (upload.clone(), back, prop::collection::vec(piece, 0..5), end).prop_map(
            |(upload, back, pieces, end)| Step::Upload { upload, back, pieces, end }
        ),
        1 => upload.clone().prop_map(Step::Discard),
        2 => (upload, bound(), bound()).prop_map(|(upload, a, b)| Step::OpenStaged(upload, a, b)),
        3 => (any::<usize>(), bound(), bound()).prop_map(|(key, a, b)| Step::Open(key, a, b)),
        1 => any::<usize>().prop_map(Step::Delete),
        1 => Just(Step::Reopen),
    ]
}

async fn bytes(opened: Result<BlobBody>) -> Result<Bytes, ErrorKind> {
    match opened {
        Ok(body) => Ok(collect(body).await.unwrap()),
        Err(error) => Err(error.kind()),
    }
}

/// How many bytes are staged.
async fn staged_size(store: &MemoryBlobs, id: &UploadId) -> u64 {
    let (mut low, mut high) = (0, 1 << 40);
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        match store.open_staged(id, 0..middle).await {
            Ok(_) => low = middle,
            Err(_) => high = middle,
        }
    }
    low
}

async fn write(
    store: &dyn BlobStore,
    id: &UploadId,
    before: &Bytes,
    pieces: &[Bytes],
    end: End,
) -> Result<Option<BlobKey>, ErrorKind> {
    let work = async {
        let mut staged = store.stage(id, before.len() as u64).await?;
        for piece in pieces {
            staged.write(piece.clone()).await?;
        }
        let all = [std::slice::from_ref(before), pieces].concat().concat();
        match end {
            End::Pause => staged.pause().await.map(|()| None),
            End::Publish(algorithm) => {
                let key = staged.publish(verified(algorithm, &all)).await?;
                Ok(Some(key))
            }
            End::PublishWrong => {
                let other = [all.as_slice(), b"!"].concat();
                let key = staged.publish(verified(Algorithm::Sha256, &other)).await?;
                Ok(Some(key))
            }
        }
    };
    work.await
        .map_err(|error: registry_core::Error| error.kind())
}

async fn everything(store: &dyn BlobStore) -> (Vec<StoredBlob>, Vec<UploadId>) {
    let stored = store.list(None, usize::MAX).await.unwrap();
    (stored, store.list_staged(None, usize::MAX).await.unwrap())
}

async fn compare(steps: Vec<Step>) {
    let directory = tempfile::tempdir().unwrap();
    let options = FilesystemOptions::default().durability(Durability::None);
    let open = || async {
        FilesystemBlobs::open(directory.path(), options)
            .await
            .unwrap()
    };
    let (model, mut files) = (MemoryBlobs::new(), open().await);
    let mut keys: Vec<BlobKey> = Vec::new();
    for (number, step) in steps.into_iter().enumerate() {
        match step {
            Step::Upload {
                upload: id,
                back,
                pieces,
                end,
            } => {
                let id = upload(id);
                let size = staged_size(&model, &id).await;
                let offset = size.saturating_sub_signed(back);
                let pool = content(u8::try_from(number).unwrap(), 600_000);
                let pieces: Vec<_> = pieces.iter().map(|size| pool.slice(..*size)).collect();
                let before = model.open_staged(&id, 0..offset).await;
                // Where it can't be read, any bytes of that number will do.
                let before = bytes(before)
                    .await
                    .unwrap_or_else(|_| pool.slice(..offset.min(10) as usize));
                let expected = write(&model, &id, &before, &pieces, end).await;
                let result = write(&files, &id, &before, &pieces, end).await;
                assert_eq!(result, expected);
                keys.extend(result.ok().flatten());
                if matches!(end, End::PublishWrong) {
                    // What is left of a failed upload is not promised.
                    model.discard(&id).await.unwrap();
                    files.discard(&id).await.unwrap();
                }
            }
            Step::Discard(id) => {
                model.discard(&upload(id)).await.unwrap();
                files.discard(&upload(id)).await.unwrap();
            }
            Step::OpenStaged(id, start, length) => {
                let range = start..start + length;
                let expected = bytes(model.open_staged(&upload(id), range.clone()).await).await;
                let result = bytes(files.open_staged(&upload(id), range).await).await;
                assert!(result == expected);
            }
            Step::Open(which, start, length) if !keys.is_empty() => {
                let key = keys[which % keys.len()];
                let range = start..start + length;
                let expected = bytes(model.open(&key, range.clone()).await).await;
                assert!(bytes(files.open(&key, range).await).await == expected);
                let expected = model.size(&key).await.map_err(|error| error.kind());
                let size = files.size(&key).await.map_err(|error| error.kind());
                assert_eq!(size, expected);
            }
            Step::Delete(which) if !keys.is_empty() => {
                let key = keys[which % keys.len()];
                model.delete(&key).await.unwrap();
                files.delete(&key).await.unwrap();
            }
            Step::Open(..) | Step::Delete(_) => {}
            Step::Reopen => files = open().await,
        }
        assert_eq!(everything(&files).await, everything(&model).await);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn files_answer_as_memory_does(steps in prop::collection::vec(step(), 1..16)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(compare(steps));
    }
}
