//! What reading and deleting do.

use registry_core::ErrorKind;

use super::{collect, content, kind, publish, read, upload};
use crate::{BlobKey, BlobStore};

/// Any part can be read, also an empty one.
pub async fn a_range_is_read(store: &dyn BlobStore) {
    let bytes = content(1, 300_000);
    let key = publish(store, 1, &bytes).await.unwrap();
    for range in [
        0..1,
        0..300_000,
        1..300_000,
        65_535..200_000,
        299_999..300_000,
        7..7,
    ] {
        let part = read(store, &key, range.start as u64..range.end as u64).await;
        assert!(part.unwrap() == bytes[range.clone()], "{range:?}");
    }
}

/// Bytes that should be there and aren't are damage, not absence.
pub async fn a_range_beyond_the_end_is_corrupt(store: &dyn BlobStore) {
    let key = publish(store, 1, &content(1, 1000)).await.unwrap();
    for range in [0..1001, 1000..1001, 2000..3000, 0..u64::MAX] {
        assert_eq!(kind(store.open(&key, range).await), ErrorKind::Corrupt);
    }
}

/// Neither another digest nor another generation is an answer.
pub async fn an_unknown_key_is_not_read(store: &dyn BlobStore) {
    let key = publish(store, 1, &content(1, 1000)).await.unwrap();
    let others = [
        BlobKey {
            generation: upload(2),
            ..key
        },
        BlobKey {
            digest: registry_core::Algorithm::Sha256.digest(b"other"),
            ..key
        },
        BlobKey {
            digest: registry_core::Algorithm::Sha512.digest(b"other"),
            ..key
        },
    ];
    for other in others {
        assert_eq!(
            kind(store.open(&other, 0..1000).await),
            ErrorKind::BlobUnknown
        );
        assert_eq!(kind(store.size(&other).await), ErrorKind::BlobUnknown);
        store.delete(&other).await.unwrap();
    }
    store.size(&key).await.unwrap();
}

/// Deleting is final, and may be repeated.
pub async fn a_deleted_blob_is_gone(store: &dyn BlobStore) {
    let key = publish(store, 1, &content(1, 1000)).await.unwrap();
    store.delete(&key).await.unwrap();
    assert_eq!(
        kind(store.open(&key, 0..1000).await),
        ErrorKind::BlobUnknown
    );
    assert_eq!(kind(store.size(&key).await), ErrorKind::BlobUnknown);
    assert_eq!(store.list(None, 10).await.unwrap(), []);
    store.delete(&key).await.unwrap();
}

/// Who is reading reads to the end.
pub async fn an_open_blob_outlives_its_deletion(store: &dyn BlobStore) {
    for size in [1000, 1_000_000] {
        let bytes = content(1, size);
        let key = publish(store, 1, &bytes).await.unwrap();
        let opened = store.open(&key, 0..size as u64).await.unwrap();
        store.delete(&key).await.unwrap();
        assert!(collect(opened).await.unwrap() == bytes);
    }
}
