//! A registry that takes nothing.

use crate::exchange::{INDEX, call, request, send, service, sha256, stalled, whole};
use http::{Method, StatusCode};
use registry_core::{ReadOnly, RegistryExt};
use registry_http::RegistryService;
use registry_storage::Engine;

const UPLOAD: &str = "/v2/a/blobs/uploads/00000000-0000-4000-8000-000000000000";

/// Whether the service was told that it takes nothing, or only its registry
/// knows.
#[tokio::test]
async fn what_a_read_only_registry_refuses_it_does_not_say_it_allows() {
    let layered = || RegistryService::new(Engine::memory().layer(ReadOnly));
    let blob = format!("/v2/a/blobs/uploads/?digest={}", sha256("x"));
    let index = format!("content-type: {INDEX}");
    let content = r#"{"schemaVersion":2,"manifests":[]}"#;
    for (service, is_told) in [(layered(), false), (layered().pushes(false), true)] {
        for (method, path, allow) in [
            (Method::POST, "/v2/a/blobs/uploads/", ""),
            (Method::POST, &blob, ""),
            (Method::PATCH, UPLOAD, ""),
            (Method::GET, UPLOAD, ""),
            (Method::PUT, "/v2/a/manifests/v1", "GET, HEAD, DELETE"),
        ] {
            let answer = send(&service, request(&method, path, &[&index], whole(content))).await;
            assert_eq!(
                answer.status,
                StatusCode::METHOD_NOT_ALLOWED,
                "{method} {path}"
            );
            let allowed: Vec<_> = answer.header("allow").split(", ").collect();
            assert!(!allowed.contains(&method.as_str()), "{path}: {allowed:?}");
            if is_told {
                assert_eq!(answer.header("allow"), allow, "{method} {path}");
            }
        }
        let answer = call(&service, Method::POST, "/v2/", &[]).await;
        assert_eq!(answer.header("allow"), "GET, HEAD");
    }
}

/// Time passes while somebody waits for the bytes, which never come.
#[tokio::test(start_paused = true)]
async fn nothing_of_a_push_is_looked_at_where_nothing_is_taken() {
    let service = service().pushes(false);
    let headers = ["content-type: no type", "expect: 100-continue"];
    let blob = format!("/v2/a/blobs/uploads/?digest={}", sha256("x"));
    for (method, path) in [
        (Method::PUT, "/v2/a/manifests/v1"),
        (Method::POST, &blob),
        (Method::PATCH, UPLOAD),
    ] {
        let answer = send(&service, request(&method, path, &headers, stalled(b"{"))).await;
        assert_eq!(
            answer.status,
            StatusCode::METHOD_NOT_ALLOWED,
            "{method} {path}"
        );
        assert_eq!(answer.code(), "UNSUPPORTED", "{path}");
    }
    let unknown = call(&service, Method::GET, "/v2/a/manifests/v1", &[]).await;
    assert_eq!(unknown.status, StatusCode::NOT_FOUND);
}
