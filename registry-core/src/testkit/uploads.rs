//! What a registry promises about uploads.

use bytes::Bytes;
use futures::{StreamExt, future, stream};

use crate::testkit::{acting, content, pull_blob, push_blob, refused, trusted};
use crate::{
    Access, Algorithm, Chunk, Digest, ErrorDetail, ErrorKind, Registry, Upload, UploadId,
    UploadOptions,
};

async fn begin(registry: &dyn Registry, access: &Access) -> UploadId {
    let upload = registry
        .begin_upload(access, UploadOptions::default())
        .await
        .expect("an upload begins");
    assert_eq!(upload.offset, 0);
    upload.id
}

/// A chunk that the client believes to start at `start`.
fn chunk(start: usize, bytes: &Bytes) -> Chunk {
    Chunk {
        start: Some(start as u64),
        ..Chunk::from_bytes(bytes.clone())
    }
}

/// A body that breaks off.
fn broken(start: usize, bytes: &Bytes) -> Chunk {
    let error = ErrorKind::RequestIncomplete.error("the client stopped sending; try again");
    let pieces = vec![Ok(bytes.slice(..100)), Ok(bytes.slice(100..)), Err(error)];
    Chunk {
        start: Some(start as u64),
        length: Some(bytes.len() as u64 + 1000),
        body: stream::iter(pieces).boxed(),
    }
}

async fn finish(
    registry: &dyn Registry,
    access: &Access,
    id: &UploadId,
    blob: &Bytes,
    last: Option<Chunk>,
) -> Digest {
    let digest = Algorithm::Sha256.digest(blob);
    registry
        .finish_upload(access, id, &digest, last)
        .await
        .expect("an upload ends");
    assert!(pull_blob(registry, access, &digest).await == *blob);
    digest
}

/// Chunks, one by one, with and without a position, the last one with the end
/// or before it.
pub async fn chunks_make_one_blob(registry: &dyn Registry) {
    let access = trusted("team/app");
    for with_end in [false, true] {
        let blob = content(if with_end { "with" } else { "before" }, 300_000);
        let id = begin(registry, &access).await;
        let first = Chunk::from_bytes(blob.slice(..100_000));
        registry
            .append_upload(&access, &id, first)
            .await
            .expect("a chunk");
        let second = chunk(100_000, &blob.slice(100_000..200_001));
        let upload = registry
            .append_upload(&access, &id, second)
            .await
            .expect("a chunk");
        assert_eq!(
            upload,
            Upload {
                id,
                offset: 200_001
            }
        );
        let mut last = Some(chunk(200_001, &blob.slice(200_001..)));
        if !with_end {
            let last = last.take().expect("a chunk");
            registry
                .append_upload(&access, &id, last)
                .await
                .expect("a chunk");
        }
        finish(registry, &access, &id, &blob, last).await;
    }
}

/// The offset is what has arrived so far.
pub async fn an_upload_tells_where_it_stands(registry: &dyn Registry) {
    let access = trusted("team/app");
    let id = begin(registry, &access).await;
    let mut offset = 0;
    for size in [1, 0, 999] {
        let chunk = Chunk::from_bytes(content("part", size));
        registry
            .append_upload(&access, &id, chunk)
            .await
            .expect("a chunk");
        offset += size as u64;
        let upload = registry.upload(&access, &id).await.expect("the upload");
        assert_eq!(upload, Upload { id, offset });
    }
}

/// A chunk that starts elsewhere is refused, and the upload goes on.
pub async fn a_chunk_out_of_order_changes_nothing(registry: &dyn Registry) {
    let access = trusted("team/app");
    let blob = content("ordered", 3000);
    let digest = Algorithm::Sha256.digest(&blob);
    let id = begin(registry, &access).await;
    for part in [0..1000, 1000..2000, 2000..3000] {
        for wrong in [0, part.start + 1, 2000, 5000] {
            if wrong == part.start {
                continue;
            }
            let early = || chunk(wrong, &blob.slice(2000..));
            let appended = registry.append_upload(&access, &id, early()).await;
            let error = refused(appended, ErrorKind::UploadOutOfOrder);
            let offset = ErrorDetail::Offset(part.start as u64);
            assert_eq!(error.detail(), Some(&offset));
            let finished = registry
                .finish_upload(&access, &id, &digest, Some(early()))
                .await;
            let error = refused(finished, ErrorKind::UploadOutOfOrder);
            assert_eq!(error.detail(), Some(&offset));
            let upload = registry.upload(&access, &id).await.expect("the upload");
            assert_eq!(upload.offset, part.start as u64);
        }
        let next = chunk(part.start, &blob.slice(part));
        registry
            .append_upload(&access, &id, next)
            .await
            .expect("a chunk");
    }
    finish(registry, &access, &id, &blob, None).await;
}

/// After it is given up an upload is unknown.
pub async fn a_cancelled_upload_is_gone(registry: &dyn Registry) {
    let access = trusted("team/app");
    let id = begin(registry, &access).await;
    let part = Chunk::from_bytes(content("part", 100));
    registry
        .append_upload(&access, &id, part)
        .await
        .expect("a chunk");
    registry
        .cancel_upload(&access, &id)
        .await
        .expect("the upload is given up");
    unknown(registry, &access, &id).await;
}

/// Asks all that can be asked about an upload that isn't there.
async fn unknown(registry: &dyn Registry, access: &Access, id: &UploadId) {
    let bytes = content("unknown upload", 10);
    let digest = Algorithm::Sha256.digest(&bytes);
    let part = || Chunk::from_bytes(bytes.clone());
    let kind = ErrorKind::UploadUnknown;
    refused(registry.upload(access, id).await, kind);
    refused(registry.append_upload(access, id, part()).await, kind);
    refused(
        registry
            .finish_upload(access, id, &digest, Some(part()))
            .await,
        kind,
    );
    refused(registry.cancel_upload(access, id).await, kind);
}

/// An upload that nobody began is unknown.
pub async fn an_unknown_upload_is_unknown(registry: &dyn Registry) {
    let access = trusted("team/app");
    begin(registry, &access).await;
    unknown(registry, &access, &UploadId::from_random([7; 16])).await;
}

/// The identity of an upload is worth nothing in another repository.
pub async fn an_upload_belongs_to_its_repository(registry: &dyn Registry) {
    let (owner, other) = (trusted("team/app"), trusted("team/other"));
    let blob = content("owned", 1000);
    let id = begin(registry, &owner).await;
    let first = Chunk::from_bytes(blob.slice(..400));
    registry
        .append_upload(&owner, &id, first)
        .await
        .expect("a chunk");
    begin(registry, &other).await;
    unknown(registry, &other, &id).await;
    let last = chunk(400, &blob.slice(400..));
    finish(registry, &owner, &id, &blob, Some(last)).await;
}

/// The identity of an upload is worth nothing to somebody else, whatever they may
/// do in the repository. Who comes again is the same, by whatever request.
pub async fn an_upload_belongs_to_who_began_it(registry: &dyn Registry) {
    let everybody = [Some("ann"), Some("robot$ann"), Some("nobody"), None];
    for who in everybody {
        let owner = acting("team/app", who, "docker");
        let blob = content(&format!("of {who:?}"), 1000);
        let id = begin(registry, &owner).await;
        let first = Chunk::from_bytes(blob.slice(..400));
        let again = acting("team/app", who, "podman");
        registry
            .append_upload(&again, &id, first)
            .await
            .expect("a chunk");
        for other in everybody.into_iter().filter(|other| *other != who) {
            unknown(registry, &acting("team/app", other, "docker"), &id).await;
            let upload = registry.upload(&again, &id).await.expect("the upload");
            assert_eq!(upload.offset, 400, "{other:?}");
        }
        let last = chunk(400, &blob.slice(400..));
        finish(registry, &owner, &id, &blob, Some(last)).await;
    }
    // It is up to its owner to give it up.
    let (ann, ben) = (Some("ann"), Some("ben"));
    let id = begin(registry, &acting("team/app", ann, "docker")).await;
    unknown(registry, &acting("team/app", ben, "docker"), &id).await;
    registry
        .cancel_upload(&acting("team/app", ann, "podman"), &id)
        .await
        .expect("the upload is given up");
}

/// Bytes that don't match are forgotten.
pub async fn a_wrong_digest_ends_the_upload(registry: &dyn Registry) {
    let access = trusted("team/app");
    let bytes = content("some", 100);
    for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
        let id = begin(registry, &access).await;
        let digest = algorithm.digest(b"others");
        let last = Some(Chunk::from_bytes(bytes.clone()));
        let finished = registry.finish_upload(&access, &id, &digest, last).await;
        refused(finished, ErrorKind::DigestInvalid);
        refused(
            registry.stat_blob(&access, &digest).await,
            ErrorKind::BlobUnknown,
        );
        refused(
            registry.upload(&access, &id).await,
            ErrorKind::UploadUnknown,
        );
    }
    let digest = Algorithm::Sha256.digest(&bytes);
    refused(
        registry.stat_blob(&access, &digest).await,
        ErrorKind::BlobUnknown,
    );
}

/// The end decides which algorithm counts, whatever was announced.
pub async fn an_upload_ends_with_any_algorithm(registry: &dyn Registry) {
    let access = trusted("team/app");
    for announced in [None, Some(Algorithm::Sha256), Some(Algorithm::Sha512)] {
        for used in [Algorithm::Sha256, Algorithm::Sha512] {
            for in_chunks in [false, true] {
                let blob = content(&format!("{announced:?} {used} {in_chunks}"), 1000);
                let digest = used.digest(&blob);
                let options = UploadOptions {
                    algorithm: announced,
                };
                let upload = registry
                    .begin_upload(&access, options)
                    .await
                    .expect("an upload begins");
                let mut last = blob.clone();
                if in_chunks {
                    let first = Chunk::from_bytes(last.split_to(500));
                    registry
                        .append_upload(&access, &upload.id, first)
                        .await
                        .expect("a chunk");
                }
                registry
                    .finish_upload(&access, &upload.id, &digest, Some(Chunk::from_bytes(last)))
                    .await
                    .expect("an upload ends");
                assert!(pull_blob(registry, &access, &digest).await == blob);
            }
        }
    }
}

/// A client that lost the answer asks again.
pub async fn a_repeated_end_succeeds(registry: &dyn Registry) {
    let access = trusted("team/app");
    let blob = content("repeated", 1000);
    let id = begin(registry, &access).await;
    let whole = || Some(Chunk::from_bytes(blob.clone()));
    let digest = finish(registry, &access, &id, &blob, whole()).await;
    for last in [None, whole()] {
        let again = registry
            .finish_upload(&access, &id, &digest, last)
            .await
            .expect("the end is repeated");
        assert_eq!((again.digest, again.size), (digest, 1000));
    }
}

/// What arrived before a body broke off isn't sent again, and the upload goes
/// on from there.
///
/// How much arrives across a network can't be told; a registry that is asked
/// directly should keep all of it.
pub async fn an_upload_goes_on_after_an_interruption(registry: &dyn Registry) {
    let access = trusted("team/app");
    let blob = content("interrupted", 3000);
    let digest = Algorithm::Sha256.digest(&blob);
    let id = begin(registry, &access).await;

    let first = broken(0, &blob.slice(..1000));
    let appended = registry.append_upload(&access, &id, first).await;
    refused(appended, ErrorKind::RequestIncomplete);
    let offset = append_rest(registry, &access, &id, &blob.slice(..2000)).await;
    assert!(offset <= 1000);

    let second = broken(2000, &blob.slice(2000..2500));
    let finished = registry
        .finish_upload(&access, &id, &digest, Some(second))
        .await;
    refused(finished, ErrorKind::RequestIncomplete);
    let offset = append_rest(registry, &access, &id, &blob).await;
    assert!((2000..=2500).contains(&offset));
    finish(registry, &access, &id, &blob, None).await;
}

/// Adds what an upload lacks of `blob`, and returns where it stood. The other
/// side of a network may notice a moment late that a body broke off, and until
/// then turn others away.
async fn append_rest(registry: &dyn Registry, access: &Access, id: &UploadId, blob: &Bytes) -> u64 {
    for _ in 0..1000 {
        let offset = registry
            .upload(access, id)
            .await
            .expect("the upload")
            .offset;
        let start = usize::try_from(offset).expect("an offset within the blob");
        let rest = chunk(start, &blob.slice(start..));
        match registry.append_upload(access, id, rest).await {
            Ok(_) => return offset,
            Err(error) if error.kind() == ErrorKind::UploadOutOfOrder => {}
            Err(error) => panic!("the upload goes on: {error:?}"),
        }
    }
    panic!("the upload stays taken");
}

/// A whole body of another length than announced is as if never sent.
pub async fn a_chunk_of_the_wrong_length_changes_nothing(registry: &dyn Registry) {
    let access = trusted("team/app");
    let blob = content("measured", 2000);
    let digest = Algorithm::Sha256.digest(&blob);
    let id = begin(registry, &access).await;
    registry
        .append_upload(&access, &id, chunk(0, &blob.slice(..1000)))
        .await
        .expect("a chunk");
    for length in [0, 999, 1001, u64::MAX] {
        let lying = || Chunk {
            length: Some(length),
            ..chunk(1000, &blob.slice(1000..))
        };
        let appended = registry.append_upload(&access, &id, lying()).await;
        refused(appended, ErrorKind::SizeInvalid);
        let finished = registry
            .finish_upload(&access, &id, &digest, Some(lying()))
            .await;
        refused(finished, ErrorKind::SizeInvalid);
        let upload = registry.upload(&access, &id).await.expect("the upload");
        assert_eq!(upload.offset, 1000, "{length}");
    }
    let last = chunk(1000, &blob.slice(1000..));
    finish(registry, &access, &id, &blob, Some(last)).await;
}

/// Clients push the layers they share at the same time.
pub async fn many_may_push_the_same_blob_at_once(registry: &dyn Registry) {
    let access = trusted("team/app");
    let blob = content("popular", 100_000);
    let digests = future::join_all((0..8).map(|_| push_blob(registry, &access, &blob))).await;
    for digest in digests {
        assert!(pull_blob(registry, &access, &digest).await == blob);
    }
}
