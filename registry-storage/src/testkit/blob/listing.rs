//! What listings tell.

use registry_core::Algorithm;

use super::{append, content, publish, upload, verified};
use crate::{BlobStore, StoredBlob};

/// Publishes forty blobs, some of them the same bytes, and returns what a
/// listing has to tell.
async fn fill(store: &dyn BlobStore) -> Vec<StoredBlob> {
    let mut expected = Vec::new();
    for number in 1..=40 {
        let bytes = content(number % 30, usize::from(number % 30) * 10);
        let algorithm = if number % 4 == 0 {
            Algorithm::Sha512
        } else {
            Algorithm::Sha256
        };
        let mut staged = store.stage(&upload(number), 0).await.unwrap();
        staged.write(bytes.clone()).await.unwrap();
        let key = staged.publish(verified(algorithm, &bytes)).await.unwrap();
        expected.push(StoredBlob {
            key,
            size: bytes.len() as u64,
        });
    }
    expected.sort_by_key(|blob| blob.key);
    expected
}

/// All that was published and not deleted, with its size, in the order of the
/// keys.
pub async fn stored_blobs_are_listed_in_order(store: &dyn BlobStore) {
    append(store, 200, 0, &content(1, 10)).await.unwrap();
    let mut expected = fill(store).await;
    assert_eq!(store.list(None, 1000).await.unwrap(), expected);

    let deleted = expected.remove(7);
    store.delete(&deleted.key).await.unwrap();
    assert_eq!(store.list(None, 1000).await.unwrap(), expected);
    let behind = store.list(Some(deleted.key), 1000).await.unwrap();
    assert_eq!(behind, expected[7..]);
}

/// Pages put together are the whole, whatever their size.
pub async fn stored_blobs_are_listed_in_pages(store: &dyn BlobStore) {
    let expected = fill(store).await;
    assert_eq!(store.list(None, 0).await.unwrap(), []);
    for limit in [1, 2, 7, 39, 40, 41] {
        let mut all = Vec::new();
        loop {
            let after = all.last().map(|blob: &StoredBlob| blob.key);
            let page = store.list(after, limit).await.unwrap();
            assert!(page.len() <= limit);
            if page.is_empty() {
                break;
            }
            all.extend(page);
            assert!(all.len() <= expected.len(), "a page tells something again");
        }
        assert_eq!(all, expected, "pages of {limit}");
    }
    let last = expected.last().unwrap().key;
    assert_eq!(store.list(Some(last), 10).await.unwrap(), []);
}

/// All paused uploads, in the order of their identities.
pub async fn staged_uploads_are_listed_in_order_and_pages(store: &dyn BlobStore) {
    for number in [9, 3, 250, 1, 77] {
        append(store, number, 0, &content(number, 10))
            .await
            .unwrap();
    }
    publish(store, 5, &content(5, 10)).await.unwrap();
    let mut expected = [9, 3, 250, 1, 77].map(upload);
    expected.sort();
    assert_eq!(store.list_staged(None, 10).await.unwrap(), expected);
    assert_eq!(store.list_staged(None, 2).await.unwrap(), expected[..2]);
    assert_eq!(store.list_staged(None, 0).await.unwrap(), []);
    let behind = store.list_staged(Some(expected[1]), 2).await.unwrap();
    assert_eq!(behind, expected[2..4]);
    assert_eq!(store.list_staged(Some(expected[4]), 2).await.unwrap(), []);
}
