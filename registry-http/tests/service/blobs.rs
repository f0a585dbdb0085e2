//! Pulling blobs through the service.

use std::io;
use std::sync::{Arc, Mutex};

use crate::exchange::{Answer, call, get, nothing, push_blob, request, send, service, sha256};
use bytes::Bytes;
use futures::StreamExt;
use http::{Method, StatusCode};
use http_body_util::BodyExt;
use registry_core::{
    Access, Blob, BlobBody, Descriptor, Digest, ErrorKind, FileContent, FileSlice, OpenOptions,
    Registry, Result,
};
use registry_http::RegistryService;
use tower::ServiceExt;

const CONTENT: &[u8] = b"0123456789";

async fn ranges(range: &str) -> Answer {
    let service = service();
    let uri = push_blob(&service, "team/app", CONTENT).await;
    call(&service, Method::GET, &uri, &[&format!("range: {range}")]).await
}

#[tokio::test]
async fn a_blob_says_what_it_is() {
    let service = service();
    let digest = sha256(CONTENT);
    let uri = push_blob(&service, "team/app", CONTENT).await;
    assert_eq!(uri, format!("/v2/team/app/blobs/{digest}"));
    let answer = get(&service, &uri).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.body, CONTENT);
    for (name, value) in [
        ("docker-content-digest", digest.to_string()),
        ("etag", format!("\"{digest}\"")),
        ("content-length", "10".into()),
        ("content-type", "application/octet-stream".into()),
        ("accept-ranges", "bytes".into()),
        (
            "cache-control",
            "private, max-age=31536000, immutable".into(),
        ),
        ("x-content-type-options", "nosniff".into()),
        (
            "content-security-policy",
            "default-src 'none'; sandbox".into(),
        ),
        ("docker-distribution-api-version", "registry/2.0".into()),
    ] {
        assert_eq!(answer.header(name), value, "{name}");
    }
    assert!(!answer.has("content-encoding"));
}

#[tokio::test]
async fn a_blob_of_another_repository_is_unknown() {
    let service = service();
    let uri = push_blob(&service, "team/app", CONTENT).await;
    let elsewhere = uri.replace("team/app", "team/other");
    let answer = get(&service, &elsewhere).await;
    assert_eq!(
        (answer.status, &*answer.code()),
        (StatusCode::NOT_FOUND, "BLOB_UNKNOWN")
    );
    assert_eq!(answer.header("cache-control"), "no-store");
    let tag = format!("if-none-match: \"{}\"", sha256(CONTENT));
    for method in [Method::GET, Method::HEAD] {
        let answer = call(&service, method, &elsewhere, &[&tag]).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND);
    }
}

#[tokio::test]
async fn one_range_is_one_part() {
    for (range, content_range, part) in [
        ("bytes=0-0", "bytes 0-0/10", "0"),
        ("bytes=2-4", "bytes 2-4/10", "234"),
        ("bytes=7-", "bytes 7-9/10", "789"),
        ("bytes=-3", "bytes 7-9/10", "789"),
        ("bytes=-300", "bytes 0-9/10", "0123456789"),
        ("bytes=8-99999999999999999999999", "bytes 8-9/10", "89"),
    ] {
        let answer = ranges(range).await;
        assert_eq!(answer.status, StatusCode::PARTIAL_CONTENT, "{range}");
        assert_eq!(answer.header("content-range"), content_range, "{range}");
        assert_eq!(answer.header("content-length"), part.len().to_string());
        assert_eq!(answer.body, part, "{range}");
        assert_eq!(answer.header("accept-ranges"), "bytes");
        assert!(answer.has("docker-content-digest"));
    }
}

#[tokio::test]
async fn a_range_outside_the_blob_is_refused_with_its_size() {
    for range in [
        "bytes=10-",
        "bytes=500-0",
        "bytes=-0",
        "bytes=10-11,20-",
        "bytes=5-4",
    ] {
        let answer = ranges(range).await;
        assert_eq!(answer.status, StatusCode::RANGE_NOT_SATISFIABLE, "{range}");
        assert_eq!(answer.header("content-range"), "bytes */10", "{range}");
        assert_eq!(answer.code(), "BLOB_UPLOAD_INVALID", "{range}");
    }
}

#[tokio::test]
async fn what_is_no_range_gets_the_blob() {
    for range in [
        "bytes=",
        "bytes=x-",
        "items=0-1",
        "bytes=0-1,x",
        "bytes=0-1,9-2",
    ] {
        let answer = ranges(range).await;
        assert_eq!(answer.status, StatusCode::OK, "{range}");
        assert_eq!(answer.body, CONTENT, "{range}");
    }
}

/// The content ranges and contents of the parts.
fn parts(answer: &Answer) -> Vec<(String, String)> {
    let boundary = answer
        .header("content-type")
        .strip_prefix("multipart/byteranges; boundary=")
        .unwrap();
    let text = std::str::from_utf8(&answer.body).unwrap();
    let (text, end) = text
        .rsplit_once(&format!("\r\n--{boundary}--\r\n"))
        .unwrap();
    assert_eq!(end, "");
    text.split(&format!("\r\n--{boundary}\r\n"))
        .skip(1)
        .map(|part| {
            let (head, content) = part.split_once("\r\n\r\n").unwrap();
            let range = head
                .lines()
                .find_map(|line| line.strip_prefix("Content-Range: "))
                .unwrap();
            (range.to_owned(), content.to_owned())
        })
        .collect()
}

#[tokio::test]
async fn several_ranges_are_one_part_each_in_order() {
    let answer = ranges("bytes=5-6,0-1,-1,40-50").await;
    assert_eq!(answer.status, StatusCode::PARTIAL_CONTENT);
    assert!(!answer.has("content-range"));
    assert_eq!(
        answer.header("content-length"),
        answer.body.len().to_string()
    );
    let part = |range: &str, content: &str| (range.to_owned(), content.to_owned());
    assert_eq!(
        parts(&answer),
        [
            part("bytes 5-6/10", "56"),
            part("bytes 0-1/10", "01"),
            part("bytes 9-9/10", "9")
        ]
    );
}

#[tokio::test]
async fn overlapping_ranges_never_make_an_answer_larger_than_the_blob() {
    for range in ["bytes=0-,0-", "bytes=0-9,1-1", "bytes=-9,-9,-9"] {
        let answer = ranges(range).await;
        assert_eq!(answer.status, StatusCode::OK, "{range}");
        assert_eq!(answer.body, CONTENT, "{range}");
    }
    let many: Vec<String> = (0..2000).map(|at| format!("{at}-{at}")).collect();
    let answer = ranges(&format!("bytes={}", many.join(","))).await;
    assert_eq!(answer.status, StatusCode::OK);
}

#[tokio::test]
async fn head_ignores_ranges() {
    let service = service();
    let uri = push_blob(&service, "a", CONTENT).await;
    let answer = call(&service, Method::HEAD, &uri, &["range: bytes=2-3"]).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.header("content-length"), "10");
    assert_eq!(answer.body, "");
}

#[tokio::test]
async fn a_range_of_something_else_gets_the_blob() {
    let service = service();
    let uri = push_blob(&service, "a", CONTENT).await;
    let ask = async |condition: String| {
        let headers = ["range: bytes=2-3", &format!("if-range: {condition}")];
        call(&service, Method::GET, &uri, &headers).await.status
    };
    let tag = format!("\"{}\"", sha256(CONTENT));
    assert_eq!(ask(tag.clone()).await, StatusCode::PARTIAL_CONTENT);
    assert_eq!(ask(format!("W/{tag}")).await, StatusCode::OK);
    assert_eq!(ask("\"other\"".into()).await, StatusCode::OK);
    assert_eq!(
        ask("Wed, 21 Oct 2015 07:28:00 GMT".into()).await,
        StatusCode::OK
    );
}

#[tokio::test]
async fn a_blob_without_bytes_is_a_blob() {
    let service = service();
    let uri = push_blob(&service, "a", b"").await;
    for method in [Method::GET, Method::HEAD] {
        let answer = call(&service, method, &uri, &[]).await;
        assert_eq!(answer.status, StatusCode::OK);
        assert_eq!(answer.header("content-length"), "0");
        assert_eq!(answer.body, "");
    }
    for range in ["bytes=0-", "bytes=0-0", "bytes=-1"] {
        let answer = call(&service, Method::GET, &uri, &[&format!("range: {range}")]).await;
        assert_eq!(answer.status, StatusCode::RANGE_NOT_SATISFIABLE, "{range}");
        assert_eq!(answer.header("content-range"), "bytes */0");
    }
}

#[tokio::test]
async fn what_the_client_has_is_not_sent_again() {
    let service = service();
    let uri = push_blob(&service, "a", CONTENT).await;
    let digest = sha256(CONTENT);
    for tag in [format!("\"{digest}\""), digest.to_string(), "*".into()] {
        for method in [Method::GET, Method::HEAD] {
            let answer = call(&service, method, &uri, &[&format!("if-none-match: {tag}")]).await;
            assert_eq!(answer.status, StatusCode::NOT_MODIFIED, "{tag}");
            assert_eq!(answer.header("etag"), format!("\"{digest}\""));
            assert_eq!(answer.body, "");
        }
    }
}

#[tokio::test]
async fn the_host_of_a_mirror_is_named_back_if_it_is_one() {
    let plain = service();
    let mirror = plain
        .clone()
        .mirror_of("docker.io")
        .mirror_of("r.example:5000");
    let uri = push_blob(&plain, "a", CONTENT).await;
    let named = async |service: &RegistryService, query: &str| {
        let answer = get(service, &format!("{uri}?{query}")).await;
        assert_eq!(answer.status, StatusCode::OK, "{query}");
        let name = answer.headers.get("oci-namespace");
        name.map(|name| name.to_str().unwrap().to_owned())
    };
    for query in ["ns=docker.io", "x=%zz&ns=docker%2eio&ns=docker.io"] {
        assert_eq!(named(&mirror, query).await.unwrap(), "docker.io");
    }
    let other = named(&mirror, "ns=r.example%3A5000").await;
    assert_eq!(other.unwrap(), "r.example:5000");
    for query in [
        "",
        "ns=",
        "ns=quay.io",
        "ns=docker.io&ns=r.example:5000",
        "ns=docker.io%0d%0ax",
        "ns=%ff",
    ] {
        assert_eq!(named(&mirror, query).await, None, "{query}");
    }
    // What serves only itself answers all the same, and claims nothing.
    assert_eq!(named(&plain, "ns=docker.io").await, None);
}

#[tokio::test]
async fn a_deleted_blob_is_gone_from_its_repository_alone() {
    let service = service();
    let here = push_blob(&service, "a", CONTENT).await;
    let there = push_blob(&service, "b", CONTENT).await;
    let answer = call(&service, Method::DELETE, &here, &[]).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED);
    assert_eq!(answer.header("content-length"), "0");
    assert_eq!(get(&service, &here).await.status, StatusCode::NOT_FOUND);
    assert_eq!(get(&service, &there).await.status, StatusCode::OK);
    let again = call(&service, Method::DELETE, &here, &[]).await;
    assert_eq!(
        (again.status, &*again.code()),
        (StatusCode::NOT_FOUND, "BLOB_UNKNOWN")
    );
}

/// Has one blob, in the form that a function makes of the part asked for.
struct OneBlob<F>(F);

impl<F> std::fmt::Debug for OneBlob<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("OneBlob")
    }
}

#[async_trait::async_trait]
impl<F> Registry for OneBlob<F>
where
    F: Fn(Bytes) -> BlobBody + Send + Sync + 'static,
{
    async fn stat_blob(&self, _: &Access, digest: &Digest) -> Result<Descriptor> {
        Ok(Descriptor::blob(*digest, CONTENT.len() as u64))
    }

    async fn open_blob(&self, _: &Access, digest: &Digest, options: OpenOptions) -> Result<Blob> {
        let size = CONTENT.len() as u64;
        let range = options
            .range
            .map_or(Ok(0..size), |range| range.resolve(size))?;
        let part = usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap();
        Ok(Blob {
            digest: *digest,
            size,
            range,
            body: (self.0)(Bytes::from_static(&CONTENT[part])),
        })
    }
}

fn uri() -> String {
    format!("/v2/a/blobs/{}", sha256(CONTENT))
}

#[tokio::test]
async fn a_blob_elsewhere_is_pointed_to_and_never_on_head() {
    let service = RegistryService::new(OneBlob(|_| {
        BlobBody::Redirect("https://bucket.example/key?signature=secret".into())
    }));
    for range in ["range: bytes=0-1", "range: bytes=0-1,3-4", "x-nothing: 1"] {
        let answer = call(&service, Method::GET, &uri(), &[range]).await;
        assert_eq!(answer.status, StatusCode::TEMPORARY_REDIRECT);
        assert_eq!(
            answer.header("location"),
            "https://bucket.example/key?signature=secret"
        );
        assert_eq!(answer.header("cache-control"), "no-store");
    }
    let answer = call(&service, Method::HEAD, &uri(), &[]).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.header("content-length"), "10");
    assert!(!answer.has("location"));
}

fn stream(pieces: Vec<Bytes>) -> BlobBody {
    BlobBody::Stream(futures::stream::iter(pieces).map(Ok).boxed())
}

#[tokio::test]
async fn a_stream_is_passed_on_in_whole_and_in_parts() {
    let service = RegistryService::new(OneBlob(|part: Bytes| {
        stream(part.chunks(3).map(Bytes::copy_from_slice).collect())
    }));
    let answer = get(&service, &uri()).await;
    assert_eq!(answer.header("content-length"), "10");
    assert_eq!(answer.body, CONTENT);
    let answer = call(&service, Method::GET, &uri(), &["range: bytes=1-4,6-9"]).await;
    let contents: Vec<_> = parts(&answer).into_iter().map(|(_, part)| part).collect();
    assert_eq!(contents, ["1234", "6789"]);
}

#[tokio::test]
async fn a_stream_is_opened_a_few_times_for_one_request_at_most() {
    let opened = Arc::new(Mutex::new(Vec::new()));
    let record = Arc::clone(&opened);
    let service = RegistryService::new(OneBlob(move |part: Bytes| {
        record.lock().unwrap().push(part.clone());
        stream(vec![part])
    }));
    let ask = async |ranges: &str| {
        let range = format!("range: bytes={ranges}");
        let answer = call(&service, Method::GET, &uri(), &[&range]).await;
        (answer, std::mem::take(&mut *opened.lock().unwrap()))
    };
    // Each part once, and no whole blob to throw away.
    let (answer, opened) = ask("1-2,4-5,7-7,9-").await;
    assert_eq!(answer.status, StatusCode::PARTIAL_CONTENT);
    let contents: Vec<_> = parts(&answer).into_iter().map(|(_, part)| part).collect();
    assert_eq!(contents, ["12", "45", "7", "9"]);
    assert_eq!(opened, ["12", "45", "7", "9"]);

    let (answer, opened) = ask("0-0,2-2,4-4,6-6,8-8").await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.body, CONTENT);
    assert_eq!(opened, [CONTENT]);
}

/// A file of which every byte has to come from the disk.
#[derive(Debug)]
struct ColdFile(Bytes);

impl FileContent for ColdFile {
    fn try_read_at(&self, _: &mut [u8], _: u64) -> io::Result<usize> {
        Err(io::ErrorKind::WouldBlock.into())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let rest = &self.0[usize::try_from(offset).unwrap()..];
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }
}

#[tokio::test]
async fn a_file_is_passed_on_in_whole_and_in_parts() {
    let service = RegistryService::new(OneBlob(|part: Bytes| {
        let file = [b"before", &part[..], b"after"].concat();
        BlobBody::File(FileSlice {
            range: 6..6 + part.len() as u64,
            file: Arc::new(ColdFile(file.into())),
        })
    }));
    let answer = get(&service, &uri()).await;
    assert_eq!(answer.header("content-length"), "10");
    assert_eq!(answer.body, CONTENT);
    let answer = call(&service, Method::GET, &uri(), &["range: bytes=-2"]).await;
    assert_eq!(answer.body, "89");
    let answer = call(&service, Method::GET, &uri(), &["range: bytes=1-4,6-9"]).await;
    let contents: Vec<_> = parts(&answer).into_iter().map(|(_, part)| part).collect();
    assert_eq!(contents, ["1234", "6789"]);
}

#[tokio::test]
async fn a_stream_of_another_length_breaks_the_answer_off() {
    for pieces in [
        vec!["012345678"],
        vec![],
        vec!["0123456789", "a"],
        vec!["0123456789a"],
    ] {
        let pieces: Vec<_> = pieces.into_iter().map(Bytes::from).collect();
        let service = RegistryService::new(OneBlob(move |_| stream(pieces.clone())));
        let request = request(&Method::GET, &uri(), &[], nothing());
        let answer = service.oneshot(request).await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        let error = answer.into_body().collect().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
    }
}

#[tokio::test]
async fn a_program_may_share_a_registry_with_its_service() {
    let registry: Arc<dyn Registry> = Arc::new(registry_storage::Engine::memory());
    let service = RegistryService::new(Arc::clone(&registry));
    push_blob(&service, "a", CONTENT).await;
    let access = Access::trusted("a".parse().unwrap());
    let found = registry.stat_blob(&access, &sha256(CONTENT)).await.unwrap();
    assert_eq!(found.size, 10);
    let answer = send(&service, request(&Method::GET, "/v2/", &[], nothing())).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.body, "{}");
    assert_eq!(answer.header("content-type"), "application/json");
}
