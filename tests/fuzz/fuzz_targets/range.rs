//! The value of a header: `Range` of a blob, then `Content-Range` of a chunk.

#![no_main]

use std::cell::LazyCell;

use bytes::Bytes;
use http::header::{CONTENT_RANGE, CONTENT_TYPE, LOCATION, RANGE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use libfuzzer_sys::fuzz_target;
use registry_core::Algorithm;
use registry_http::RegistryService;
use registry_storage::Engine;
use tokio::runtime::{Builder, Runtime};
use tower_service::Service;

const CONTENT: &[u8] = b"0123456789";

struct World {
    runtime: Runtime,
    service: RegistryService,
}

impl World {
    fn new() -> Self {
        let world = Self {
            runtime: Builder::new_current_thread().enable_time().build().unwrap(),
            service: RegistryService::new(Engine::memory()),
        };
        let target = format!("/v2/a/blobs/uploads/?digest={}", digest());
        assert_eq!(
            world.ask(Method::POST, &target, None, CONTENT).status(),
            StatusCode::CREATED
        );
        world
    }

    /// The answer, its body read to the end.
    fn ask(
        &self,
        method: Method,
        target: &str,
        header: Option<(http::HeaderName, HeaderValue)>,
        body: &'static [u8],
    ) -> Response<Bytes> {
        let mut request = Request::new(Full::new(Bytes::from_static(body)));
        *request.method_mut() = method;
        *request.uri_mut() = target.parse().unwrap();
        request.headers_mut().extend(header);
        let mut service = self.service.clone();
        self.runtime.block_on(async {
            let (parts, body) = service.call(request).await.unwrap().into_parts();
            Response::from_parts(parts, body.collect().await.unwrap().to_bytes())
        })
    }
}

fn digest() -> String {
    Algorithm::Sha256.digest(CONTENT).to_string()
}

thread_local! {
    static WORLD: LazyCell<World> = LazyCell::new(World::new);
}

fuzz_target!(|value: &[u8]| {
    let Ok(value) = HeaderValue::from_bytes(value) else {
        return;
    };
    WORLD.with(|world| {
        get_range(world, value.clone());
        append_chunk(world, value);
    });
});

fn get_range(world: &World, range: HeaderValue) {
    let target = format!("/v2/a/blobs/{}", digest());
    let answer = world.ask(Method::GET, &target, Some((RANGE, range)), b"");
    match (answer.status(), answer.headers().get(CONTENT_RANGE)) {
        (StatusCode::OK, None) => assert_eq!(&answer.body()[..], CONTENT),
        (StatusCode::RANGE_NOT_SATISFIABLE, Some(range)) => assert_eq!(range, "bytes */10"),
        (StatusCode::PARTIAL_CONTENT, Some(range)) => {
            assert_eq!(&answer.body()[..], announced(range.to_str().unwrap()));
        }
        (StatusCode::PARTIAL_CONTENT, None) => several_parts(&answer),
        other => panic!("{other:?}"),
    }
}

/// The bytes that the `Content-Range` of an answer speaks of.
fn announced(range: &str) -> &'static [u8] {
    let (first, last) = range
        .strip_prefix("bytes ")
        .and_then(|range| range.strip_suffix("/10"))
        .and_then(|range| range.split_once('-'))
        .unwrap();
    let [first, last]: [usize; 2] = [first, last].map(|it| it.parse().unwrap());
    &CONTENT[first..=last]
}

/// Several parts, each with a range of its own.
fn several_parts(answer: &Response<Bytes>) {
    let content_type = answer.headers().get(CONTENT_TYPE).unwrap();
    let boundary = content_type
        .to_str()
        .unwrap()
        .strip_prefix("multipart/byteranges; boundary=")
        .unwrap();
    let body = std::str::from_utf8(answer.body()).unwrap();
    let body = body
        .strip_suffix(&format!("\r\n--{boundary}--\r\n"))
        .unwrap();
    let line = format!("\r\n--{boundary}\r\n");
    let mut parts = body.split(&line);
    assert_eq!(parts.next(), Some(""));
    let mut count = 0;
    for part in parts {
        let (head, bytes) = part.split_once("\r\n\r\n").unwrap();
        let range = head
            .lines()
            .find_map(|line| line.strip_prefix("Content-Range: "));
        assert_eq!(bytes.as_bytes(), announced(range.unwrap()));
        count += 1;
    }
    // The others may have been behind the end.
    assert!(count > 0);
}

fn append_chunk(world: &World, range: HeaderValue) {
    let begun = world.ask(Method::POST, "/v2/a/blobs/uploads/", None, b"");
    let upload = begun
        .headers()
        .get(LOCATION)
        .unwrap()
        .to_str()
        .unwrap()
        .to_owned();
    let answer = world.ask(
        Method::PATCH,
        &upload,
        Some((CONTENT_RANGE, range)),
        CONTENT,
    );
    let received = match answer.status() {
        StatusCode::ACCEPTED => "0-9",
        StatusCode::BAD_REQUEST | StatusCode::RANGE_NOT_SATISFIABLE => "0-0",
        other => panic!("{other:?}"),
    };
    let status = world.ask(Method::GET, &upload, None, b"");
    assert_eq!(status.headers().get(RANGE).unwrap(), received);
    let cancelled = world.ask(Method::DELETE, &upload, None, b"");
    assert_eq!(cancelled.status(), StatusCode::NO_CONTENT);
}
