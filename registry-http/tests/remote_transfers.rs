//! Remote registries that send and take content in ways that few do.

#![allow(
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    reason = "these are tests"
)]

use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures::{FutureExt, StreamExt};
use http::header::{CONTENT_LENGTH, CONTENT_RANGE, LOCATION};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use registry_core::testkit::{ImageBuilder, content, pull_blob, trusted};
use registry_core::{
    Access, Algorithm, Blob, BlobBody, ByteRange, Chunk, Digest, ErrorKind, MountSource,
    OpenOptions, Registry, Result, UploadId, UploadOptions,
};
use registry_http::{Body, RegistryService, RemoteRegistry, TestServer};
use registry_storage::Engine;
use tower::ServiceExt;

/// The registry in `engine`, but for requests of which `answer` says otherwise.
async fn odd(
    engine: &Engine,
    answer: impl Fn(&Request<Incoming>) -> Option<Response<Body>> + Clone + Send + Sync + 'static,
) -> TestServer {
    let service = RegistryService::new(engine.clone());
    TestServer::with_service(tower::service_fn(
        move |request: Request<Incoming>| match answer(&request) {
            Some(answer) => std::future::ready(Ok::<_, Infallible>(answer)).boxed(),
            None => service.clone().oneshot(request).boxed(),
        },
    ))
    .await
}

fn status(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

fn redirect(status_code: StatusCode, server: &str, request: &Request<Incoming>) -> Response<Body> {
    let mut response = status(status_code);
    let to = format!("{server}{}", request.uri());
    response.headers_mut().insert(LOCATION, to.parse().unwrap());
    response
}

async fn begin(registry: &RemoteRegistry, access: &Access) -> UploadId {
    let begun = registry
        .begin_upload(access, UploadOptions::default())
        .await;
    begun.unwrap().id
}

/// A chunk in pieces of so many bytes.
fn pieces(bytes: &Bytes, size: usize, length: Option<u64>) -> Chunk {
    let pieces: Vec<_> = bytes
        .chunks(size)
        .map(Bytes::copy_from_slice)
        .map(Ok)
        .collect();
    let mut chunk = Chunk::new(futures::stream::iter(pieces).boxed());
    chunk.length = length;
    chunk
}

async fn read(blob: Blob) -> Result<Bytes> {
    let BlobBody::Stream(mut stream) = blob.body else {
        return Err(ErrorKind::Internal.error("a remote blob is a stream"));
    };
    let mut all = Vec::new();
    while let Some(part) = stream.next().await {
        all.extend_from_slice(&part?);
    }
    Ok(all.into())
}

/// As behind a proxy that changes bodies, or may.
#[tokio::test]
async fn a_blob_may_come_without_its_length() {
    let engine = Engine::memory();
    let image = ImageBuilder::new("image")
        .layer(content("large", 100_000))
        .build();
    image.push(&engine, &trusted("team/app"), &["v1"]).await;
    let service = RegistryService::new(engine);
    let server = TestServer::with_service(tower::service_fn(move |request: Request<Incoming>| {
        let (service, is_get) = (service.clone(), request.method() == Method::GET);
        async move {
            let (mut parts, body) = service.oneshot(request).await?.into_parts();
            if is_get {
                parts.headers.remove(CONTENT_LENGTH);
            }
            if let Some(range) = parts.headers.get_mut(CONTENT_RANGE) {
                let (range_only, _) = range.to_str().unwrap().split_once('/').unwrap();
                *range = HeaderValue::from_str(&format!("{range_only}/*")).unwrap();
            }
            let bytes = body.collect().await.unwrap().to_bytes();
            let frames = futures::stream::iter([Ok::<_, Infallible>(Frame::data(bytes))]);
            Ok::<_, Infallible>(Response::from_parts(parts, StreamBody::new(frames)))
        }
    }))
    .await;
    let registry = RemoteRegistry::new(&server.url()).unwrap();
    let access = trusted("team/app");
    let layer = image.blobs().last().unwrap();
    let digest = Algorithm::Sha256.digest(layer);
    assert_eq!(pull_blob(&registry, &access, &digest).await, layer);
    let range = ByteRange::From {
        first: 10,
        last: Some(19),
    };
    for (range, expected) in [(range, 10..20), (ByteRange::Last(7), 99_993..100_000)] {
        let options = OpenOptions::default().range(Some(range));
        let blob = registry.open_blob(&access, &digest, options).await.unwrap();
        assert_eq!((blob.size, blob.range.clone()), (100_000, expected.clone()));
        let expected =
            usize::try_from(expected.start).unwrap()..usize::try_from(expected.end).unwrap();
        assert_eq!(read(blob).await.unwrap(), layer.slice(expected));
    }
}

/// Distribution specification, "Pushing a blob in chunks".
#[tokio::test]
async fn what_has_a_length_is_sent_with_it() {
    let engine = Engine::memory();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let record = Arc::clone(&seen);
    // As many do.
    let server = odd(&engine, move |request| {
        if !matches!(*request.method(), Method::PATCH | Method::PUT) {
            return None;
        }
        let header = |name| Some(request.headers().get(name)?.to_str().unwrap().to_owned());
        let Some(length) = header(CONTENT_LENGTH) else {
            return Some(status(StatusCode::LENGTH_REQUIRED));
        };
        record.lock().unwrap().push((length, header(CONTENT_RANGE)));
        None
    })
    .await;
    let registry = RemoteRegistry::new(&server.url()).unwrap();
    let access = trusted("team/app");
    let blob = content("blob", 5000);
    let digest = Algorithm::Sha256.digest(&blob);
    let id = begin(&registry, &access).await;
    let chunk = pieces(&blob.slice(..2500), 1000, Some(2500));
    let upload = registry.append_upload(&access, &id, chunk).await.unwrap();
    assert_eq!(upload.offset, 2500);
    let last = pieces(&blob.slice(2500..), 1000, Some(2500));
    let pushed = registry
        .finish_upload(&access, &id, &digest, Some(last))
        .await;
    assert_eq!(pushed.unwrap().size, 5000);
    let id = begin(&registry, &access).await;
    let whole = pieces(&blob, 5000, Some(5000));
    registry
        .finish_upload(&access, &id, &digest, Some(whole))
        .await
        .unwrap();
    let expected = [
        ("2500", "0-2499"),
        ("2500", "2500-4999"),
        ("5000", "0-4999"),
    ];
    let expected = expected.map(|(length, range)| (length.to_owned(), Some(range.to_owned())));
    assert_eq!(*seen.lock().unwrap(), expected);
    assert_eq!(pull_blob(&registry, &access, &digest).await, blob);
}

#[tokio::test]
async fn a_body_in_pieces_of_another_length_than_announced_is_never_taken_for_whole() {
    let engine = Engine::memory();
    let server = odd(&engine, |_| None).await;
    let registry = RemoteRegistry::new(&server.url()).unwrap();
    let access = trusted("team/app");
    let blob = content("blob", 3000);
    for announced in [2000, 2500, 3001, 4000] {
        let id = begin(&registry, &access).await;
        let chunk = pieces(&blob, 1000, Some(announced));
        // What would be right if as much were taken as was announced.
        let wanted = usize::try_from(announced).unwrap().min(3000);
        let digest = Algorithm::Sha256.digest(&blob.slice(..wanted));
        let pushed = registry
            .finish_upload(&access, &id, &digest, Some(chunk))
            .await;
        assert_eq!(
            pushed.unwrap_err().kind(),
            ErrorKind::SizeInvalid,
            "{announced}"
        );
        let found = engine.stat_blob(&access, &digest).await;
        assert_eq!(
            found.unwrap_err().kind(),
            ErrorKind::BlobUnknown,
            "{announced}"
        );
    }
}

#[tokio::test]
async fn the_redirect_of_a_manifest_is_followed_and_no_fault_of_who_pushes() {
    let engine = Engine::memory();
    let behind = TestServer::start(engine.clone()).await;
    for (code, is_followed) in [
        (307, true),
        (308, true),
        (301, false),
        (302, false),
        (303, false),
    ] {
        let (code, url) = (StatusCode::from_u16(code).unwrap(), behind.url());
        let front = odd(&engine, move |request| {
            matches!(*request.method(), Method::PUT | Method::PATCH)
                .then(|| redirect(code, &url, request))
        })
        .await;
        let registry = RemoteRegistry::new(&front.url()).unwrap();
        let access = trusted("team/app");
        let image = ImageBuilder::new(code.as_str()).build();
        for blob in image.blobs() {
            let digest = Algorithm::Sha256.digest(blob);
            let id = engine
                .begin_upload(&access, UploadOptions::default())
                .await
                .unwrap()
                .id;
            let chunk = Some(Chunk::from_bytes(blob.clone()));
            engine
                .finish_upload(&access, &id, &digest, chunk)
                .await
                .unwrap();
        }
        let pushed = registry.put_manifest(&access, image.put(&["v1"])).await;
        let found = engine.get_manifest(&access, &image.reference()).await;
        if is_followed {
            assert_eq!(pushed.unwrap().descriptor, image.descriptor(), "{code}");
            assert_eq!(found.unwrap().bytes, image.manifest().bytes, "{code}");
        } else {
            assert_eq!(pushed.unwrap_err().kind(), ErrorKind::Unavailable, "{code}");
            assert_eq!(
                found.unwrap_err().kind(),
                ErrorKind::ManifestUnknown,
                "{code}"
            );
        }
        // A stream can't be sent again.
        let id = begin(&registry, &access).await;
        let chunk = pieces(&content("blob", 100), 100, None);
        let appended = registry.append_upload(&access, &id, chunk).await;
        assert_eq!(
            appended.unwrap_err().kind(),
            ErrorKind::Unavailable,
            "{code}"
        );
    }
}

#[tokio::test]
async fn an_upload_is_not_forgotten_while_it_is_sent() {
    let server = TestServer::start(Engine::memory()).await;
    let registry = RemoteRegistry::builder(&server.url())
        .upload_idle(Duration::from_secs(1))
        .build()
        .unwrap();
    let access = trusted("team/app");
    let id = begin(&registry, &access).await;
    let slow = futures::stream::iter(0..8).then(|_| async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        Ok(Bytes::from_static(b"piece"))
    });
    let appended = registry
        .append_upload(&access, &id, Chunk::new(slow.boxed()))
        .await;
    assert_eq!(appended.unwrap().offset, 40);
    let digest = Algorithm::Sha256.digest("piece".repeat(8).as_bytes());
    let pushed = registry.finish_upload(&access, &id, &digest, None).await;
    assert_eq!(pushed.unwrap().size, 40);
}

#[tokio::test]
async fn what_can_not_be_cleaned_up_after_a_mount_is_no_failure() {
    // Where nobody listens, where nobody may go, and nowhere at all.
    let (nobody, odd_scheme) = ("http://127.0.0.1:1/upload", "ftp://example.com/upload");
    for location in [Some(nobody), Some(odd_scheme), None] {
        let server = odd(&Engine::memory(), move |_| {
            let mut begun = status(StatusCode::ACCEPTED);
            if let Some(location) = location {
                let location = HeaderValue::from_static(location);
                begun.headers_mut().insert(LOCATION, location);
            }
            Some(begun)
        })
        .await;
        let registry = RemoteRegistry::new(&server.url()).unwrap();
        let (access, source) = (trusted("team/app"), trusted("team/base"));
        let digest = Algorithm::Sha256.digest(b"unknown");
        let source = MountSource::Repository(&source);
        let mounted = registry.mount_blob(&access, &digest, source).await;
        assert_eq!(mounted.unwrap(), None, "{location:?}");
    }
}

#[tokio::test]
async fn a_push_that_was_acknowledged_has_succeeded() {
    let engine = Engine::memory();
    let server = odd(&engine, |request| {
        (request.method() == Method::HEAD).then(|| status(StatusCode::SERVICE_UNAVAILABLE))
    })
    .await;
    let registry = RemoteRegistry::new(&server.url()).unwrap();
    let access = trusted("team/app");
    let blob = content("blob", 3000);
    let digest: Digest = Algorithm::Sha256.digest(&blob);
    let push = |parts: usize, length: Option<u64>| {
        let (registry, access, blob) = (registry.clone(), access.clone(), blob.clone());
        async move {
            let id = begin(&registry, &access).await;
            let size = blob.len() / (parts + 1);
            for part in 0..parts {
                let chunk = pieces(&blob.slice(part * size..(part + 1) * size), 100, length);
                registry.append_upload(&access, &id, chunk).await?;
            }
            let last = pieces(&blob.slice(parts * size..), 100, length);
            registry
                .finish_upload(&access, &id, &digest, Some(last))
                .await
        }
    };
    for (parts, length) in [(0, None), (0, Some(3000)), (1, Some(1500)), (2, None)] {
        let pushed = push(parts, length).await;
        assert_eq!(pushed.unwrap().size, 3000, "{parts}");
    }
}
