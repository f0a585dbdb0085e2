//! Pushing blobs through the service.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::exchange::{
    Answer, Sent, begin, broken, call, get, nothing, pieces, post, push_blob, put, request, send,
    service, sha256, slow, stalled, whole,
};
use bytes::Bytes;
use http::{Method, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use registry_auth::{AccessControl, Rules};
use registry_core::{Action, Algorithm};
use registry_http::{Limits, RegistryService};
use registry_storage::{Engine, EngineOptions, MemoryBlobs, MemoryMetadata};
use tokio::sync::mpsc;

async fn patch(service: &RegistryService, uri: &str, headers: &[&str], body: Sent) -> Answer {
    send(service, request(&Method::PATCH, uri, headers, body)).await
}

async fn finish(service: &RegistryService, upload: &str, content: &[u8]) -> Answer {
    put(
        service,
        &format!("{upload}?digest={}", sha256(content)),
        &[],
        b"",
    )
    .await
}

fn error(answer: &Answer) -> (StatusCode, String) {
    (answer.status, answer.code())
}

fn out_of_order() -> (StatusCode, String) {
    (
        StatusCode::RANGE_NOT_SATISFIABLE,
        "BLOB_UPLOAD_INVALID".into(),
    )
}

#[tokio::test]
async fn an_upload_says_where_it_is_and_how_far() {
    let service = service();
    for uri in ["/v2/team/app/blobs/uploads/", "/v2/team/app/blobs/uploads"] {
        let answer = post(&service, uri).await;
        assert_eq!(answer.status, StatusCode::ACCEPTED);
        let id = answer.header("docker-upload-uuid");
        let location = format!("/v2/team/app/blobs/uploads/{id}");
        assert_eq!(answer.header("location"), location);
        assert_eq!(answer.header("range"), "0-0");
        assert_eq!(answer.header("content-length"), "0");
        for method in [Method::GET, Method::HEAD] {
            let status = call(&service, method, &location, &[]).await;
            assert_eq!(status.status, StatusCode::NO_CONTENT);
            assert_eq!(status.header("location"), location);
            assert_eq!(status.header("range"), "0-0");
        }
    }
}

#[tokio::test]
async fn bytes_come_in_one_piece_or_in_many() {
    let service = service();
    let upload = begin(&service, "a").await;
    let answer = patch(&service, &upload, &[], pieces(b"hello ", 2)).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED);
    assert_eq!(answer.header("range"), "0-5");
    let answer = patch(&service, &upload, &["content-range: 6-8"], whole("wor")).await;
    assert_eq!(answer.header("range"), "0-8");
    assert_eq!(answer.header("location"), upload);
    let uri = format!("{upload}?digest={}", sha256("hello world"));
    let answer = put(&service, &uri, &["content-range: bytes 9-10/11"], b"ld").await;
    assert_eq!(answer.status, StatusCode::CREATED);
    let digest = sha256("hello world").to_string();
    assert_eq!(answer.header("docker-content-digest"), digest);
    let blob = get(&service, answer.header("location")).await;
    assert_eq!(blob.body, "hello world");
}

#[tokio::test]
async fn digests_may_be_encoded_and_of_any_algorithm() {
    let service = service();
    let digest = Algorithm::Sha512.digest(b"hello");
    let upload = begin(&service, "a").await;
    let uri = format!("{upload}?digest={}", digest.to_string().replace(':', "%3a"));
    let answer = put(&service, &uri, &[], b"hello").await;
    assert_eq!(answer.status, StatusCode::CREATED);
    assert_eq!(answer.header("docker-content-digest"), digest.to_string());
    let upload = post(&service, "/v2/a/blobs/uploads/?digest-algorithm=sha512").await;
    assert_eq!(upload.status, StatusCode::ACCEPTED);
    let upload = post(&service, "/v2/a/blobs/uploads/?digest-algorithm=md5").await;
    assert_eq!(
        error(&upload),
        (StatusCode::BAD_REQUEST, "DIGEST_INVALID".into())
    );
}

#[tokio::test]
async fn a_chunk_in_the_wrong_place_is_refused_and_the_upload_goes_on() {
    let service = service();
    let upload = begin(&service, "a").await;
    patch(&service, &upload, &[], whole("hello ")).await;
    for range in ["content-range: 0-4", "content-range: 7-11"] {
        let finish = format!("{upload}?digest={}", sha256("hello world"));
        for (method, uri) in [(Method::PATCH, &upload), (Method::PUT, &finish)] {
            let request = request(&method, uri, &[range], whole("world"));
            let answer = send(&service, request).await;
            assert_eq!(error(&answer), out_of_order(), "{method} {range}");
            assert_eq!(answer.header("location"), upload);
            assert_eq!(answer.header("range"), "0-5");
        }
    }
    patch(&service, &upload, &["content-range: 6-10"], whole("world")).await;
    let answer = finish(&service, &upload, b"hello world").await;
    assert_eq!(answer.status, StatusCode::CREATED);
}

#[tokio::test]
async fn a_chunk_of_another_length_leaves_the_upload_where_it_was() {
    let service = service();
    let upload = begin(&service, "a").await;
    patch(&service, &upload, &[], whole("hello ")).await;
    for (headers, body) in [
        (&["content-range: 6-9"][..], whole("world")),
        (&["content-range: 6-11"][..], whole("world")),
        (&["content-range: 6-11"][..], pieces(b"world", 2)),
        (&["content-range: 6-8"][..], pieces(b"world", 2)),
        (&["content-length: 9"][..], pieces(b"world", 2)),
        (&["content-length: 2"][..], pieces(b"world", 2)),
        (&["content-range: 6-10"][..], nothing()),
    ] {
        let answer = patch(&service, &upload, headers, body).await;
        let expected = (StatusCode::BAD_REQUEST, "SIZE_INVALID".into());
        assert_eq!(error(&answer), expected, "{headers:?}");
        let status = get(&service, &upload).await;
        assert_eq!(status.header("range"), "0-5", "{headers:?}");
    }
    for range in ["x", "5", "6-", "6-5", "6-99999999999999999999"] {
        let header = format!("content-range: {range}");
        let answer = patch(&service, &upload, &[&header], whole("world")).await;
        let expected = (StatusCode::BAD_REQUEST, "BLOB_UPLOAD_INVALID".into());
        assert_eq!(error(&answer), expected, "{range}");
    }
    patch(&service, &upload, &[], whole("world")).await;
    let answer = finish(&service, &upload, b"hello world").await;
    assert_eq!(answer.status, StatusCode::CREATED);
}

#[tokio::test]
async fn a_body_that_breaks_off_can_be_continued() {
    let service = service();
    let upload = begin(&service, "a").await;
    let answer = patch(&service, &upload, &[], broken(b"hello ")).await;
    assert_eq!(answer.status, StatusCode::REQUEST_TIMEOUT);
    assert_eq!(get(&service, &upload).await.header("range"), "0-5");
    patch(&service, &upload, &["content-range: 6-10"], whole("world")).await;
    let answer = finish(&service, &upload, b"hello world").await;
    assert_eq!(answer.status, StatusCode::CREATED);
}

#[tokio::test]
async fn content_with_another_digest_is_not_stored() {
    let service = service();
    let digest = sha256("hello");
    let upload = begin(&service, "a").await;
    let answer = put(
        &service,
        &format!("{upload}?digest={digest}"),
        &[],
        b"other",
    )
    .await;
    assert_eq!(
        error(&answer),
        (StatusCode::BAD_REQUEST, "DIGEST_INVALID".into())
    );
    let uri = format!("/v2/a/blobs/uploads/?digest={digest}");
    let answer = send(&service, request(&Method::POST, &uri, &[], whole("other"))).await;
    assert_eq!(
        error(&answer),
        (StatusCode::BAD_REQUEST, "DIGEST_INVALID".into())
    );
    for content in ["hello", "other"] {
        let blob = get(&service, &format!("/v2/a/blobs/{}", sha256(content))).await;
        assert_eq!(blob.status, StatusCode::NOT_FOUND);
    }
}

#[tokio::test]
async fn a_digest_that_is_missing_leaves_the_upload_open() {
    let service = service();
    let upload = begin(&service, "a").await;
    patch(&service, &upload, &[], whole("hello")).await;
    for query in ["", "?digest=", "?digest=sha256:1", "?digest=md5:1"] {
        let answer = put(&service, &format!("{upload}{query}"), &[], b"").await;
        let expected = (StatusCode::BAD_REQUEST, "DIGEST_INVALID".into());
        assert_eq!(error(&answer), expected, "{query}");
    }
    let answer = finish(&service, &upload, b"hello").await;
    assert_eq!(answer.status, StatusCode::CREATED);
}

#[tokio::test]
async fn an_upload_given_up_is_forgotten() {
    let service = service().deletes(false);
    let upload = begin(&service, "a").await;
    let answer = call(&service, Method::DELETE, &upload, &[]).await;
    assert_eq!(answer.status, StatusCode::NO_CONTENT);
    let unknown = (StatusCode::NOT_FOUND, "BLOB_UPLOAD_UNKNOWN".to_owned());
    for method in [Method::GET, Method::PATCH, Method::DELETE] {
        let answer = call(&service, method, &upload, &[]).await;
        assert_eq!(error(&answer), unknown);
    }
    assert_eq!(error(&finish(&service, &upload, b"").await), unknown);
}

#[tokio::test]
async fn an_upload_belongs_to_its_repository() {
    let service = service();
    let upload = begin(&service, "a").await;
    let elsewhere = upload.replace("/v2/a/", "/v2/b/");
    for method in [Method::GET, Method::PATCH, Method::DELETE] {
        let answer = call(&service, method, &elsewhere, &[]).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND);
    }
    assert_eq!(get(&service, &upload).await.status, StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn a_post_with_the_blob_is_all_it_takes() {
    let service = service();
    for (body, length) in [(whole("hello"), true), (pieces(b"hello", 2), false)] {
        let uri = format!("/v2/a/blobs/uploads/?digest={}", sha256("hello"));
        let answer = send(&service, request(&Method::POST, &uri, &[], body)).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{length}");
        assert_eq!(get(&service, answer.header("location")).await.body, "hello");
    }
    let uri = format!("/v2/a/blobs/uploads/?digest={}", sha256(""));
    for body in [nothing(), pieces(b"", 1)] {
        let answer = send(&service, request(&Method::POST, &uri, &[], body)).await;
        assert_eq!(answer.status, StatusCode::CREATED);
        assert_eq!(get(&service, answer.header("location")).await.body, "");
    }
}

#[tokio::test]
async fn a_post_with_the_blob_whose_client_goes_away_leaves_no_upload() {
    let options = EngineOptions::default().max_uploads(1);
    let engine = Engine::builder(MemoryBlobs::new(), MemoryMetadata::default());
    let service = RegistryService::new(engine.options(options).build());
    let (client, bytes) = mpsc::channel(1);
    let frames = futures::stream::unfold(bytes, |mut bytes| async move {
        let next: std::io::Result<&[u8]> = bytes.recv().await?;
        Some((
            next.map(|next| Frame::data(Bytes::copy_from_slice(next))),
            bytes,
        ))
    });
    let body = BodyExt::boxed(StreamBody::new(frames));
    let uri = format!("/v2/a/blobs/uploads/?digest={}", sha256("hello"));
    let request = request(&Method::POST, &uri, &["content-length: 5"], body);
    let sent = tokio::spawn({
        let service = service.clone();
        async move { send(&service, request).await }
    });
    // When the second part is taken from here, the first is inside.
    client.send(Ok(b"he")).await.unwrap();
    client.send(Ok(b"l")).await.unwrap();
    client.send(Ok(b"l")).await.unwrap();
    let full = post(&service, "/v2/a/blobs/uploads/").await;
    assert_eq!(full.status, StatusCode::TOO_MANY_REQUESTS);
    sent.abort();
    sent.await.unwrap_err();
    let _ = client
        .send(Err(std::io::Error::other("the connection is gone")))
        .await;
    drop(client);
    // The upload ends when the bytes that came are dealt with.
    let mut next = post(&service, "/v2/a/blobs/uploads/").await;
    for _ in 0..1000 {
        if next.status == StatusCode::ACCEPTED {
            break;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
        next = post(&service, "/v2/a/blobs/uploads/").await;
    }
    assert_eq!(next.status, StatusCode::ACCEPTED);
}

#[tokio::test]
async fn a_post_with_a_digest_and_no_blob_starts_an_upload() {
    let service = service();
    let uri = format!("/v2/a/blobs/uploads/?digest={}", sha256("hello"));
    for body in [nothing(), whole(""), pieces(b"", 1)] {
        let answer = send(&service, request(&Method::POST, &uri, &[], body)).await;
        assert_eq!(answer.status, StatusCode::ACCEPTED);
        let upload = answer.header("location").to_owned();
        patch(&service, &upload, &[], whole("hello")).await;
        let answer = finish(&service, &upload, b"hello").await;
        assert_eq!(answer.status, StatusCode::CREATED);
    }
}

#[tokio::test]
async fn a_mount_takes_over_or_starts_an_upload_but_never_fails() {
    let service = service();
    push_blob(&service, "source", b"hello").await;
    let digest = sha256("hello");
    let mount = async |target: &str, query: String| {
        post(
            &service,
            &format!("/v2/{target}/blobs/uploads/?mount={query}"),
        )
        .await
    };
    let answer = mount("a", format!("{digest}&from=source&origin=x")).await;
    assert_eq!(answer.status, StatusCode::CREATED);
    assert_eq!(answer.header("location"), format!("/v2/a/blobs/{digest}"));
    assert_eq!(answer.header("docker-content-digest"), digest.to_string());
    assert_eq!(get(&service, answer.header("location")).await.body, "hello");
    assert_eq!(
        mount("b", digest.to_string()).await.status,
        StatusCode::CREATED
    );
    for query in [
        format!("{digest}&from=nowhere"),
        format!("{digest}&from=NO%20NAME"),
        format!("{}&from=source", sha256("other")),
        sha256("other").to_string(),
    ] {
        let answer = mount("c", query.clone()).await;
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{query}");
        let upload = answer.header("location").to_owned();
        assert_eq!(get(&service, &upload).await.status, StatusCode::NO_CONTENT);
    }
    let blob = get(&service, &format!("/v2/c/blobs/{digest}")).await;
    assert_eq!(blob.status, StatusCode::NOT_FOUND);
    let answer = mount("c", "sha256:1".into()).await;
    assert_eq!(
        error(&answer),
        (StatusCode::BAD_REQUEST, "DIGEST_INVALID".into())
    );
}

#[tokio::test]
async fn a_mount_from_anywhere_can_be_switched_off() {
    let service = service().anonymous_mount(false);
    push_blob(&service, "source", b"hello").await;
    let uri = format!("/v2/a/blobs/uploads/?mount={}", sha256("hello"));
    assert_eq!(post(&service, &uri).await.status, StatusCode::ACCEPTED);
    let uri = format!("{uri}&from=source");
    assert_eq!(post(&service, &uri).await.status, StatusCode::CREATED);
}

/// A body that tells whether somebody asked for its bytes.
fn watched(size: usize) -> (Sent, Arc<AtomicBool>) {
    let asked = Arc::new(AtomicBool::new(false));
    let note = Arc::clone(&asked);
    let pieces = std::iter::repeat_n((), size / 1000).map(move |()| {
        note.store(true, Ordering::Relaxed);
        Ok(Frame::data(Bytes::from_static(&[7; 1000])))
    });
    let body = StreamBody::new(futures::stream::iter(pieces));
    (BodyExt::boxed(body), asked)
}

#[tokio::test]
async fn nothing_is_read_before_the_decision() {
    let rules = Rules::new().anonymous("**", &[Action::Pull]);
    let service = service().access(AccessControl::new(rules));
    let uri = format!("/v2/a/blobs/uploads/?digest={}", sha256(""));
    for (method, uri) in [
        (Method::POST, uri.as_str()),
        (Method::PUT, "/v2/a/manifests/latest"),
        (
            Method::PATCH,
            "/v2/a/blobs/uploads/00000000-0000-4000-8000-000000000000",
        ),
    ] {
        let (body, asked) = watched(100_000);
        let headers = ["expect: 100-continue", "content-length: 100000"];
        let answer = send(&service, request(&method, uri, &headers, body)).await;
        assert_eq!(error(&answer), (StatusCode::FORBIDDEN, "DENIED".into()));
        assert_eq!(answer.header("connection"), "close");
        assert!(!asked.load(Ordering::Relaxed), "{method} {uri}");
    }
}

/// Whoever asks before sending is told in time.
#[tokio::test]
async fn nothing_is_read_of_a_body_that_can_not_be_accepted() {
    let limits = Limits::default().max_blob(Some(1 << 20));
    let service = RegistryService::new(Engine::memory()).limits(limits);
    let upload = begin(&service, "a").await;
    patch(&service, &upload, &[], whole("hello")).await;
    let unknown = "/v2/a/blobs/uploads/00000000-0000-4000-8000-000000000000";
    let digest = sha256("");
    for (status, method, uri, header) in [
        (404, Method::PATCH, unknown, ""),
        (404, Method::PUT, &*format!("{unknown}?digest={digest}"), ""),
        (400, Method::PUT, &*upload, ""),
        (400, Method::PUT, &*format!("{upload}?digest=sha256:1"), ""),
        (416, Method::PATCH, &*upload, "content-range: 0-99999"),
        (
            416,
            Method::PUT,
            &*format!("{upload}?digest={digest}"),
            "content-range: 6-100005",
        ),
        (400, Method::PATCH, &*upload, "content-range: 5-9"),
        (400, Method::PATCH, &*upload, "content-range: x"),
        (413, Method::PATCH, &*upload, "content-length: 2000000"),
        (
            413,
            Method::POST,
            &*format!("/v2/a/blobs/uploads/?digest={digest}"),
            "content-length: 2000000",
        ),
        (
            413,
            Method::PUT,
            "/v2/a/manifests/v1",
            "content-length: 4194305",
        ),
        (400, Method::PUT, "/v2/a/manifests/-", ""),
        (400, Method::PUT, "/v2/a/manifests/v1", "content-type: x"),
        (405, Method::PUT, "/v2/a/tags/list", ""),
        (404, Method::PUT, "/v2/a/nothing", ""),
    ] {
        let (body, asked) = watched(100_000);
        let mut headers = vec!["expect: 100-continue"];
        headers.extend(Some(header).filter(|header| !header.is_empty()));
        if !header.starts_with("content-length") {
            headers.push("content-length: 100000");
        }
        let answer = send(&service, request(&method, uri, &headers, body)).await;
        assert_eq!(answer.status.as_u16(), status, "{method} {uri} {header}");
        assert_eq!(answer.header("connection"), "close");
        assert!(!asked.load(Ordering::Relaxed), "{method} {uri} {header}");
    }
    assert_eq!(get(&service, &upload).await.header("range"), "0-4");
}

#[tokio::test]
async fn after_an_error_a_body_is_read_up_to_a_bound() {
    let limits = Limits::default().drain_bytes(10_000);
    let service = service().limits(limits);
    let unknown = "/v2/a/blobs/uploads/00000000-0000-4000-8000-000000000000";
    let (body, asked) = watched(10_000);
    let answer = patch(&service, unknown, &[], body).await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
    assert!(asked.load(Ordering::Relaxed));
    assert!(!answer.has("connection"));
    let (body, _) = watched(11_000);
    let answer = patch(&service, unknown, &[], body).await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
    assert_eq!(answer.header("connection"), "close");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_stops_sending_is_not_waited_for() {
    let service = service();
    let started = tokio::time::Instant::now();
    let upload = begin(&service, "a").await;
    let answer = patch(&service, &upload, &[], stalled(b"hello ")).await;
    assert_eq!(answer.status, StatusCode::REQUEST_TIMEOUT);
    assert_eq!(started.elapsed().as_secs(), 30);
    assert_eq!(get(&service, &upload).await.header("range"), "0-5");

    let unknown = "/v2/a/blobs/uploads/00000000-0000-4000-8000-000000000000";
    let started = tokio::time::Instant::now();
    let answer = patch(&service, unknown, &[], stalled(b"hello ")).await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
    assert_eq!(started.elapsed().as_secs(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_client_may_be_slow_but_not_slower_than_the_limit() {
    let service = service();
    let send = async |size, pause| {
        let upload = begin(&service, "a").await;
        let body = slow(size, Duration::from_secs(pause), 100);
        patch(&service, &upload, &[], body).await.status
    };
    assert_eq!(send(2 << 10, 1).await, StatusCode::ACCEPTED);
    assert_eq!(send(100 << 10, 50).await, StatusCode::ACCEPTED);
    assert_eq!(send(500, 1).await, StatusCode::REQUEST_TIMEOUT);
    assert_eq!(send(1 << 20, 61).await, StatusCode::REQUEST_TIMEOUT);
}

#[tokio::test]
async fn a_blob_beyond_the_limit_is_refused_in_every_way() {
    let limits = Limits::default().max_blob(Some(10));
    let service = RegistryService::new(Engine::memory()).limits(limits);
    push_blob(&service, "a", b"0123456789").await;
    let too_large = (StatusCode::PAYLOAD_TOO_LARGE, "SIZE_INVALID".to_owned());
    let content = b"0123456789a";
    for body in [whole(&content[..]), pieces(content, 2)] {
        let uri = format!("/v2/a/blobs/uploads/?digest={}", sha256(content));
        let answer = send(&service, request(&Method::POST, &uri, &[], body)).await;
        assert_eq!(error(&answer), too_large);
    }
    for body in [whole("6789a"), pieces(b"6789a", 2)] {
        let upload = begin(&service, "a").await;
        patch(&service, &upload, &[], whole("012345")).await;
        let uri = format!("{upload}?digest={}", sha256(content));
        let answer = send(&service, request(&Method::PUT, &uri, &[], body)).await;
        assert_eq!(error(&answer), too_large);
    }
    let blob = get(&service, &format!("/v2/a/blobs/{}", sha256(content))).await;
    assert_eq!(blob.status, StatusCode::NOT_FOUND);
}
