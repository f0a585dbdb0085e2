//! What staging does.

use std::future::poll_fn;
use std::task::Poll;

use bytes::Bytes;
use registry_core::{Algorithm, ErrorKind};

use super::{append, collect, content, kind, publish, read, upload, verified};
use crate::BlobStore;

/// An upload can pause after any number of bytes, also none.
pub async fn a_paused_upload_goes_on(store: &dyn BlobStore) {
    let bytes = content(1, 1_000_000);
    let mut offset = 0;
    for length in [0, 1, 0, 99_999, 500_000, 399_999, 1] {
        let piece = bytes.slice(offset..offset + length);
        append(store, 1, offset as u64, &piece).await.unwrap();
        offset += length;
    }
    let staged = store.stage(&upload(1), offset as u64).await.unwrap();
    let key = staged
        .publish(verified(Algorithm::Sha256, &bytes))
        .await
        .unwrap();
    assert!(read(store, &key, 0..1_000_000).await.unwrap() == bytes);
}

/// Bytes behind the offset are dropped.
pub async fn an_upload_goes_on_from_an_earlier_offset(store: &dyn BlobStore) {
    let bytes = content(1, 1000);
    append(store, 1, 0, &content(2, 900)).await.unwrap();
    append(store, 1, 0, &bytes.slice(..500)).await.unwrap();
    append(store, 1, 500, &content(3, 500)).await.unwrap();
    append(store, 1, 500, &bytes.slice(500..600)).await.unwrap();
    let staged = store.open_staged(&upload(1), 0..601).await;
    assert_eq!(kind(staged), ErrorKind::UploadUnknown);
    let mut staged = store.stage(&upload(1), 600).await.unwrap();
    staged.write(bytes.slice(600..)).await.unwrap();
    let key = staged
        .publish(verified(Algorithm::Sha256, &bytes))
        .await
        .unwrap();
    assert!(read(store, &key, 0..1000).await.unwrap() == bytes);
}

/// At offset zero, older bytes don't show through shorter ones.
pub async fn an_upload_starts_over(store: &dyn BlobStore) {
    append(store, 1, 0, &content(1, 500_000)).await.unwrap();
    append(store, 1, 0, &content(2, 1000)).await.unwrap();
    let staged = store.open_staged(&upload(1), 0..1000).await.unwrap();
    assert!(collect(staged).await.unwrap() == content(2, 1000));
    let staged = store.open_staged(&upload(1), 0..1001).await;
    assert_eq!(kind(staged), ErrorKind::UploadUnknown);

    let key = publish(store, 1, &content(3, 10)).await.unwrap();
    assert_eq!(store.size(&key).await.unwrap(), 10);
}

/// There are no holes.
pub async fn an_upload_never_goes_on_behind_its_end(store: &dyn BlobStore) {
    assert_eq!(
        kind(store.stage(&upload(1), 1).await),
        ErrorKind::UploadUnknown
    );
    append(store, 1, 0, &content(1, 1000)).await.unwrap();
    assert_eq!(
        kind(store.stage(&upload(1), 1001).await),
        ErrorKind::UploadUnknown
    );
    assert_eq!(
        kind(store.stage(&upload(2), 1000).await),
        ErrorKind::UploadUnknown
    );
    drop(store.stage(&upload(1), 1000).await.unwrap());
}

/// A request that breaks off leaves what was paused.
pub async fn a_dropped_writer_takes_nothing_away(store: &dyn BlobStore) {
    let bytes = content(1, 1000);
    append(store, 1, 0, &bytes).await.unwrap();
    let mut staged = store.stage(&upload(1), 1000).await.unwrap();
    staged.write(content(2, 2_000_000)).await.unwrap();
    drop(staged);
    let staged = store.open_staged(&upload(1), 0..1000).await.unwrap();
    assert!(collect(staged).await.unwrap() == bytes);
    append(store, 1, 1000, &bytes).await.unwrap();
    let staged = store.open_staged(&upload(1), 1000..2000).await.unwrap();
    assert!(collect(staged).await.unwrap() == bytes);
}

/// Whoever goes on where a request broke off is not disturbed by what that
/// request still had on its way.
pub async fn an_abandoned_write_never_lands_on_later_bytes(store: &dyn BlobStore) {
    let first = content(1, 100);
    append(store, 1, 0, &first).await.unwrap();
    for round in 0..20 {
        let mut staged = store.stage(&upload(1), 100).await.unwrap();
        for piece in 0..3 {
            let mut write = staged.write(content(10 + piece, 600_000));
            // Only as far as it gets without waiting.
            poll_fn(|context| {
                let _ = write.as_mut().poll(context);
                Poll::Ready(())
            })
            .await;
        }
        drop(staged);

        let bytes: Bytes = [first.clone(), content(100 + round, 600_000)]
            .concat()
            .into();
        append(store, 1, 100, &bytes.slice(100..)).await.unwrap();
        let staged = store.open_staged(&upload(1), 0..600_100).await.unwrap();
        assert!(collect(staged).await.unwrap() == bytes, "round {round}");
    }
}

/// What is staged can be read again, to hash it another way.
pub async fn staged_bytes_are_read(store: &dyn BlobStore) {
    let opened = store.open_staged(&upload(1), 0..0).await;
    assert_eq!(kind(opened), ErrorKind::UploadUnknown);
    let bytes = content(1, 300_000);
    append(store, 1, 0, &bytes).await.unwrap();
    for range in [0..0, 0..300_000, 299_999..300_000] {
        let part = range.start as u64..range.end as u64;
        let opened = store.open_staged(&upload(1), part).await.unwrap();
        let part = collect(opened).await.unwrap();
        assert!(part == bytes[range.clone()], "{range:?}");
    }
    for range in [0..300_001, 300_001..300_002] {
        let opened = store.open_staged(&upload(1), range).await;
        assert_eq!(kind(opened), ErrorKind::UploadUnknown);
    }
}

/// Discarding is final, may be repeated, and leaves other uploads alone.
pub async fn discarded_bytes_are_gone(store: &dyn BlobStore) {
    store.discard(&upload(1)).await.unwrap();
    append(store, 1, 0, &content(1, 1000)).await.unwrap();
    append(store, 2, 0, &content(2, 1000)).await.unwrap();
    store.discard(&upload(1)).await.unwrap();
    store.discard(&upload(1)).await.unwrap();
    assert_eq!(store.list_staged(None, 10).await.unwrap(), [upload(2)]);
    assert_eq!(
        kind(store.stage(&upload(1), 1000).await),
        ErrorKind::UploadUnknown
    );
    append(store, 2, 1000, &content(3, 10)).await.unwrap();
}
