//! What a registry promises about blobs.

use bytes::Bytes;

use crate::testkit::{content, pull_blob, push_blob, read, refused, trusted};
use crate::{
    Algorithm, ByteRange, Chunk, Descriptor, ErrorDetail, ErrorKind, OpenOptions, Registry,
    UploadOptions,
};

/// A blob has the bytes, the size and the type it was pushed with.
pub async fn a_pushed_blob_comes_back_as_it_was(registry: &dyn Registry) {
    let access = trusted("team/app");
    for size in [1, 1000, 3 << 20] {
        let blob = content("blob", size);
        let digest = push_blob(registry, &access, &blob).await;
        let found = registry
            .stat_blob(&access, &digest)
            .await
            .expect("the blob");
        assert_eq!(found, Descriptor::blob(digest, size as u64));
        assert!(
            pull_blob(registry, &access, &digest).await == blob,
            "{size}"
        );
    }
}

/// No byte is content as well.
pub async fn an_empty_blob_is_a_blob(registry: &dyn Registry) {
    let access = trusted("team/app");
    let digest = push_blob(registry, &access, &Bytes::new()).await;
    let found = registry
        .stat_blob(&access, &digest)
        .await
        .expect("the blob");
    assert_eq!(found.size, 0);
    assert!(pull_blob(registry, &access, &digest).await.is_empty());
}

/// Ranges in all their forms.
pub async fn a_range_is_the_part_asked_for(registry: &dyn Registry) {
    let access = trusted("team/app");
    let blob = content("range", 200_000);
    let digest = push_blob(registry, &access, &blob).await;
    let from = |first, last| ByteRange::From { first, last };
    for (range, expected) in [
        (from(0, Some(0)), 0..1),
        (from(1000, Some(150_000)), 1000..150_001),
        (from(199_999, None), 199_999..200_000),
        (from(5, None), 5..200_000),
        (from(7, Some(u64::MAX)), 7..200_000),
        (ByteRange::Last(3), 199_997..200_000),
        (ByteRange::Last(500_000), 0..200_000),
    ] {
        let options = OpenOptions { range: Some(range) };
        let opened = registry
            .open_blob(&access, &digest, options)
            .await
            .expect("a range");
        assert_eq!(opened.size, 200_000);
        assert_eq!(opened.range, expected, "{range:?}");
        let (start, end) = (opened.range.start, opened.range.end);
        let part = usize::try_from(start).expect("small")..usize::try_from(end).expect("small");
        assert!(read(opened).await == blob.slice(part), "{range:?}");
    }
}

/// A range without a byte is refused, and the client told the size.
pub async fn a_range_outside_the_content_is_refused(registry: &dyn Registry) {
    let access = trusted("team/app");
    let blob = push_blob(registry, &access, &content("range", 100)).await;
    let empty = push_blob(registry, &access, &Bytes::new()).await;
    let from = |first, last| ByteRange::From { first, last };
    for (digest, size, range) in [
        (blob, 100, from(100, None)),
        (blob, 100, from(u64::MAX, Some(u64::MAX))),
        (blob, 100, from(50, Some(0))),
        (blob, 100, ByteRange::Last(0)),
        (empty, 0, from(0, None)),
        (empty, 0, ByteRange::Last(1)),
    ] {
        let options = OpenOptions { range: Some(range) };
        let opened = registry.open_blob(&access, &digest, options).await;
        let error = refused(opened, ErrorKind::RangeInvalid);
        assert_eq!(error.detail(), Some(&ErrorDetail::Size(size)), "{range:?}");
    }
}

/// What nobody pushed isn't there, in a known or unknown repository.
pub async fn an_unknown_blob_is_unknown(registry: &dyn Registry) {
    let access = trusted("team/app");
    push_blob(registry, &access, &content("known", 10)).await;
    let digest = Algorithm::Sha256.digest(b"unknown");
    for access in [access, trusted("team/nowhere")] {
        let options = OpenOptions::default();
        refused(
            registry.stat_blob(&access, &digest).await,
            ErrorKind::BlobUnknown,
        );
        refused(
            registry.open_blob(&access, &digest, options).await,
            ErrorKind::BlobUnknown,
        );
    }
}

/// Knowing a digest opens nothing.
pub async fn a_blob_of_one_repository_is_invisible_in_another(registry: &dyn Registry) {
    let (owner, other) = (trusted("team/app"), trusted("team/other"));
    let digest = push_blob(registry, &owner, &content("secret", 1000)).await;
    push_blob(registry, &other, &content("public", 1000)).await;
    let options = OpenOptions::default();
    refused(
        registry.stat_blob(&other, &digest).await,
        ErrorKind::BlobUnknown,
    );
    refused(
        registry.open_blob(&other, &digest, options).await,
        ErrorKind::BlobUnknown,
    );
}

/// Only who sends the bytes gets a blob that another repository holds.
pub async fn known_content_still_has_to_be_sent(registry: &dyn Registry) {
    let (owner, other) = (trusted("team/app"), trusted("team/other"));
    let blob = content("secret", 1000);
    let digest = push_blob(registry, &owner, &blob).await;

    for chunk in [
        None,
        Some(Chunk::from_bytes("")),
        Some(Chunk::from_bytes("guess")),
    ] {
        let upload = registry
            .begin_upload(&other, UploadOptions::default())
            .await
            .expect("an upload begins");
        let finished = registry
            .finish_upload(&other, &upload.id, &digest, chunk)
            .await;
        refused(finished, ErrorKind::DigestInvalid);
        refused(
            registry.stat_blob(&other, &digest).await,
            ErrorKind::BlobUnknown,
        );
    }

    push_blob(registry, &other, &blob).await;
    assert!(pull_blob(registry, &other, &digest).await == blob);
    assert!(pull_blob(registry, &owner, &digest).await == blob);
}

/// The same bytes under another algorithm are another blob.
pub async fn each_algorithm_names_a_blob_of_its_own(registry: &dyn Registry) {
    let access = trusted("team/app");
    let blob = content("twice", 1000);
    push_blob(registry, &access, &blob).await;
    let digest = Algorithm::Sha512.digest(&blob);
    refused(
        registry.stat_blob(&access, &digest).await,
        ErrorKind::BlobUnknown,
    );
    let upload = registry
        .begin_upload(&access, UploadOptions::default())
        .await
        .expect("an upload begins");
    let chunk = Chunk::from_bytes(blob.clone());
    registry
        .finish_upload(&access, &upload.id, &digest, Some(chunk))
        .await
        .expect("an upload ends");
    assert!(pull_blob(registry, &access, &digest).await == blob);
}
