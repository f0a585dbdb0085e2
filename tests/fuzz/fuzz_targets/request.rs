//! A whole request: the method, a space and the target; then headers, one in
//! each line; then an empty line, and the body.

#![no_main]

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, RANGE};
use http::{HeaderName, HeaderValue, Method, Request, Response, Uri};
use http_body_util::{BodyExt, Full};
use libfuzzer_sys::fuzz_target;
use registry_core::Algorithm;
use registry_http::RegistryService;
use registry_storage::Engine;
use serde_json::{Value, json};
use tokio::runtime::{Builder, Runtime};
use tower_service::Service;

const BLOB: &[u8] = b"0123456789";
const TYPE: &str = "application/vnd.oci.image.manifest.v1+json";

thread_local! {
    static RUNTIME: Runtime = Builder::new_current_thread().enable_time().build().unwrap();
}

fn ask(service: &RegistryService, request: Request<Bytes>) -> Response<Bytes> {
    let mut service = service.clone();
    RUNTIME.with(|runtime| {
        runtime.block_on(async {
            let answer = service.call(request.map(Full::new)).await.unwrap();
            let (parts, body) = answer.into_parts();
            Response::from_parts(parts, body.collect().await.unwrap().to_bytes())
        })
    })
}

/// A registry whose repository `a` holds a blob, and a manifest with the tag
/// `t`.
fn registry() -> RegistryService {
    let service = RegistryService::new(Engine::memory());
    let digest = Algorithm::Sha256.digest(BLOB).to_string();
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": TYPE,
        "config": {"mediaType": "application/x", "digest": digest, "size": BLOB.len()},
        "layers": [],
    });
    for request in [
        Request::post(format!("/v2/a/blobs/uploads/?digest={digest}")).body(BLOB.into()),
        Request::put("/v2/a/manifests/t")
            .header(CONTENT_TYPE, TYPE)
            .body(manifest.to_string().into()),
    ] {
        assert_eq!(ask(&service, request.unwrap()).status(), 201);
    }
    service
}

fn parse(input: &[u8]) -> Option<Request<Bytes>> {
    let empty = input.windows(2).position(|window| window == b"\n\n");
    let (head, body) = match empty {
        Some(place) => (&input[..place], &input[place + 2..]),
        None => (input, &b""[..]),
    };
    let mut lines = head.split(|byte| *byte == b'\n');
    let (method, target) = std::str::from_utf8(lines.next()?).ok()?.split_once(' ')?;
    let mut request = Request::new(Bytes::copy_from_slice(body));
    *request.method_mut() = Method::from_bytes(method.as_bytes()).ok()?;
    *request.uri_mut() = Uri::try_from(target).ok()?;
    for line in lines {
        let colon = line.iter().position(|byte| *byte == b':')?;
        let name = HeaderName::from_bytes(&line[..colon]).ok()?;
        let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii()).ok()?;
        request.headers_mut().append(name, value);
    }
    Some(request)
}

fuzz_target!(|input: &[u8]| {
    let Some(request) = parse(input) else {
        return;
    };
    let service = registry();
    let is_get = request.method() == Method::GET;
    let has_body = request.method() != Method::HEAD;
    let again = request.clone();
    let answer = ask(&service, request);
    let status = answer.status();
    // A client's mistake is never a failure of the server.
    assert!(
        !status.is_server_error() && !status.is_informational(),
        "{answer:?}"
    );

    if let Some(length) = answer.headers().get(CONTENT_LENGTH)
        && has_body
        && status != 304
    {
        assert_eq!(length.to_str().unwrap(), answer.body().len().to_string());
    }
    if status.is_client_error() && has_body && answer.headers().contains_key(CONTENT_TYPE) {
        let document: Value = serde_json::from_slice(answer.body()).unwrap();
        assert!(document["errors"][0]["code"].is_string(), "{document}");
        assert!(document["errors"][0]["message"].is_string(), "{document}");
    }
    if is_get {
        // A range is nothing to HEAD.
        let mut get = again;
        get.headers_mut().remove(RANGE);
        let mut head = get.clone();
        *head.method_mut() = Method::HEAD;
        let (get, head) = (ask(&service, get), ask(&service, head));
        assert_eq!(head.status(), get.status());
        assert_eq!(head.headers(), get.headers());
        assert!(head.body().is_empty());
    }
});
