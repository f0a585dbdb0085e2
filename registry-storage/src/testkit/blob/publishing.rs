//! What publishing does.

use bytes::Bytes;
use futures::future::join_all;
use registry_core::{Algorithm, ErrorKind};

use super::{append, content, kind, publish, read, upload, verified};
use crate::{BlobKey, BlobStore};

/// Nothing is there before something was put there.
pub async fn a_fresh_store_is_empty_and_takes_writes(store: &dyn BlobStore) {
    store.check().await.unwrap();
    assert_eq!(store.list(None, 10).await.unwrap(), []);
    assert_eq!(store.list_staged(None, 10).await.unwrap(), []);
}

/// Whatever the size, the pieces and the algorithm, the bytes are the same.
pub async fn published_bytes_come_back(store: &dyn BlobStore) {
    let sizes = [
        0,
        1,
        511,
        4 << 10,
        128 << 10,
        (128 << 10) + 1,
        700_001,
        3 << 20,
    ];
    let pieces = [1 << 20, 300_000, 65_536, 4_095];
    let mut number = 0;
    for size in sizes {
        for (piece, algorithm) in pieces
            .into_iter()
            .zip([Algorithm::Sha256, Algorithm::Sha512].into_iter().cycle())
        {
            number += 1;
            let bytes = content(number, size);
            let mut staged = store.stage(&upload(number), 0).await.unwrap();
            for start in (0..size).step_by(piece) {
                let piece = bytes.slice(start..size.min(start + piece));
                staged.write(piece).await.unwrap();
            }
            let key = staged.publish(verified(algorithm, &bytes)).await.unwrap();
            assert_eq!(key.digest, algorithm.digest(&bytes));
            assert_eq!(key.generation, upload(number));
            assert_eq!(store.size(&key).await.unwrap(), size as u64);
            let back = read(store, &key, 0..size as u64).await.unwrap();
            assert!(back == bytes, "{size} bytes in pieces of {piece}");
        }
    }
}

/// Publishing ends the upload, whether it was ever paused or not.
pub async fn published_bytes_are_no_longer_staged(store: &dyn BlobStore) {
    let bytes = content(1, 300_000);
    publish(store, 1, &bytes).await.unwrap();

    append(store, 2, 0, &bytes).await.unwrap();
    let staged = store.stage(&upload(2), 300_000).await.unwrap();
    staged
        .publish(verified(Algorithm::Sha256, &bytes))
        .await
        .unwrap();

    append(store, 3, 0, &bytes).await.unwrap();
    publish(store, 3, &bytes).await.unwrap();

    assert_eq!(store.list_staged(None, 10).await.unwrap(), []);
    for number in [1, 2, 3] {
        let opened = store.open_staged(&upload(number), 0..1).await;
        assert_eq!(kind(opened), ErrorKind::UploadUnknown);
        let staged = store.stage(&upload(number), 300_000).await;
        assert_eq!(kind(staged), ErrorKind::UploadUnknown);
    }
}

/// Nothing is stored under the digest of other bytes.
pub async fn publishing_another_number_of_bytes_fails(store: &dyn BlobStore) {
    let proof = verified(Algorithm::Sha256, &content(1, 1000));
    for size in [999, 1001] {
        let mut staged = store.stage(&upload(1), 0).await.unwrap();
        staged.write(content(1, size)).await.unwrap();
        assert_eq!(kind(staged.publish(proof).await), ErrorKind::Internal);
    }
    assert_eq!(store.list(None, 10).await.unwrap(), []);
}

/// A caller that didn't hear of its success may publish the same bytes again.
pub async fn publishing_again_replaces_the_same_bytes(store: &dyn BlobStore) {
    for size in [1000, 1_000_000] {
        let bytes = content(1, size);
        let first = publish(store, 1, &bytes).await.unwrap();
        let opened = store.open(&first, 0..size as u64).await.unwrap();
        let second = publish(store, 1, &bytes).await.unwrap();
        assert_eq!(first, second);
        assert!(read(store, &second, 0..size as u64).await.unwrap() == bytes);
        assert!(super::collect(opened).await.unwrap() == bytes);
        assert_eq!(store.list_staged(None, 10).await.unwrap(), []);
        store.delete(&second).await.unwrap();
    }
}

/// The same bytes of two uploads live and die on their own.
pub async fn generations_are_independent(store: &dyn BlobStore) {
    let bytes = content(1, 1000);
    let first = publish(store, 1, &bytes).await.unwrap();
    let second = publish(store, 2, &bytes).await.unwrap();
    assert_eq!(first.digest, second.digest);
    assert_ne!(first, second);

    store.delete(&first).await.unwrap();
    assert_eq!(kind(store.size(&first).await), ErrorKind::BlobUnknown);
    assert!(read(store, &second, 0..1000).await.unwrap() == bytes);
}

/// Uploads at the same time don't mix.
pub async fn uploads_go_on_side_by_side(store: &dyn BlobStore) {
    let one = |number: u8| async move {
        let bytes = content(number, 100_000 * usize::from(number));
        let mut staged = store.stage(&upload(number), 0).await.unwrap();
        for piece in bytes.chunks(50_000) {
            staged.write(Bytes::copy_from_slice(piece)).await.unwrap();
            tokio::task::yield_now().await;
        }
        let key = staged.publish(verified(Algorithm::Sha256, &bytes)).await;
        (key.unwrap(), bytes)
    };
    let published: Vec<(BlobKey, Bytes)> = join_all((1..=12).map(one)).await;
    for (key, bytes) in published {
        assert!(read(store, &key, 0..bytes.len() as u64).await.unwrap() == bytes);
    }
}
