//! What holds for every answer of the service, whatever was asked.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::exchange::{
    Answer, begin, call, get, index, post, push_blob, push_index, put, service, sha256,
};
use http::header::{HeaderName, HeaderValue};
use http::{Method, StatusCode};
use registry_auth::{AccessControl, Login, Rules};
use registry_core::{Access, Action, Error, ErrorKind, Manifest, Reference, Registry, Result};
use registry_http::RegistryService;
use registry_storage::Engine;

/// A registry with something of everything, and paths to it.
pub(crate) async fn furnished() -> (RegistryService, Vec<String>) {
    let service = service();
    let blob = push_blob(&service, "team/app", b"hello").await;
    let empty = push_blob(&service, "team/app", b"").await;
    let content = index("a", Some(&sha256("subject")));
    push_index(&service, "team/app", "v1", &content).await;
    let upload = begin(&service, "team/app").await;
    let digest = sha256(&content);
    let paths = vec![
        "/v2/".into(),
        "/v2".into(),
        "/v2/_catalog".into(),
        "/v2/_catalog?n=0".into(),
        blob,
        empty,
        format!("/v2/team/app/blobs/{}", sha256("absent")),
        "/v2/team/app/blobs/sha256:1".into(),
        "/v2/team/app/manifests/v1".into(),
        format!("/v2/team/app/manifests/{digest}"),
        "/v2/team/app/manifests/absent".into(),
        "/v2/nowhere/manifests/v1".into(),
        upload,
        "/v2/team/app/blobs/uploads/00000000-0000-4000-8000-000000000000".into(),
        "/v2/team/app/tags/list".into(),
        "/v2/team/app/tags/list?n=0".into(),
        "/v2/team/app/tags/list?n=x".into(),
        "/v2/nowhere/tags/list".into(),
        format!("/v2/team/app/referrers/{}", sha256("subject")),
        format!("/v2/team/app/referrers/{digest}?artifactType=x/y"),
        "/v2/team/app/nothing".into(),
        "/elsewhere".into(),
        "/v2/Team/app/tags/list".into(),
    ];
    (service, paths)
}

#[tokio::test]
async fn head_has_the_headers_of_get_and_no_body() {
    let (service, paths) = furnished().await;
    for path in paths {
        for condition in ["x-nothing: 1", "if-none-match: *"] {
            let get = call(&service, Method::GET, &path, &[condition]).await;
            let head = call(&service, Method::HEAD, &path, &[condition]).await;
            assert_eq!(head.status, get.status, "{path}");
            assert_eq!(head.headers, get.headers, "{path}");
            assert_eq!(head.body, "", "{path}");
            if let Some(length) = get.headers.get("content-length") {
                assert_eq!(length, &get.body.len().to_string(), "{path}");
            } else {
                assert!(get.body.is_empty(), "{path}");
            }
        }
    }
}

#[tokio::test]
async fn every_answer_names_the_protocol_and_may_not_be_sniffed() {
    let (service, paths) = furnished().await;
    let service = service.header(
        HeaderName::from_static("x-site"),
        HeaderValue::from_static("one"),
    );
    let service = service.unwrap();
    for path in paths {
        let answer = get(&service, &path).await;
        assert_eq!(
            answer.header("docker-distribution-api-version"),
            "registry/2.0"
        );
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
        assert_eq!(answer.header("x-site"), "one");
        if answer.status.is_client_error() {
            assert_eq!(answer.header("content-type"), "application/json", "{path}");
            assert_eq!(answer.header("cache-control"), "no-store", "{path}");
            assert!(
                !answer.json()["errors"][0]["message"]
                    .as_str()
                    .unwrap()
                    .is_empty()
            );
        }
    }
}

/// A cache that several clients share knows nothing of their rights.
#[tokio::test]
async fn h_11_no_shared_cache_may_keep_an_answer() {
    let (service, paths) = furnished().await;
    for path in paths {
        for headers in [
            &[][..],
            &["if-none-match: *"],
            &["range: bytes=1-2"],
            &["range: bytes=1-2,3-4"],
            &["range: bytes=9-"],
        ] {
            let answer = call(&service, Method::GET, &path, headers).await;
            let kept = answer.header("cache-control");
            let private = kept == "no-store" || kept.split(", ").any(|word| word == "private");
            assert!(private, "{path} {headers:?} {kept}");
        }
    }
}

/// Wants everybody to slow down, and doesn't say for how long.
#[derive(Debug)]
struct Busy;

#[async_trait::async_trait]
impl Registry for Busy {
    async fn get_manifest(&self, _: &Access, _: &Reference) -> Result<Manifest> {
        Err(ErrorKind::TooManyRequests.error("slow down"))
    }
}

#[tokio::test]
async fn who_is_to_slow_down_is_told_when_to_come_back() {
    let answer = get(&RegistryService::new(Busy), "/v2/a/manifests/v1").await;
    assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(answer.code(), "TOOMANYREQUESTS");
    assert_eq!(answer.header("retry-after"), "1");
}

#[tokio::test]
async fn a_method_that_a_path_does_not_have_is_told_which_ones_it_has() {
    let service = service();
    for (method, path, allow) in [
        (Method::POST, "/v2/", "GET, HEAD"),
        (Method::PUT, "/v2/a/tags/list", "GET, HEAD"),
        (Method::GET, "/v2/a/blobs/uploads/", "POST"),
        (
            Method::PATCH,
            "/v2/a/manifests/v1",
            "GET, HEAD, PUT, DELETE",
        ),
        (Method::OPTIONS, "/v2/_catalog", "GET, HEAD"),
    ] {
        let answer = call(&service, method, path, &[]).await;
        assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED, "{path}");
        assert_eq!(answer.code(), "UNSUPPORTED", "{path}");
        assert_eq!(answer.header("allow"), allow, "{path}");
    }
}

#[tokio::test]
async fn browsers_are_told_the_same_whatever_there_is() {
    let service = guarded()
        .deletes(false)
        .header(
            HeaderName::from_static("access-control-allow-origin"),
            HeaderValue::from_static("http://ui.example"),
        )
        .unwrap();
    for (path, allow) in [
        ("/v2/team/a/manifests/v1", "GET, HEAD, PUT"),
        ("/v2/nobody/manifests/v1", "GET, HEAD, PUT"),
        ("/v2/_catalog", "GET, HEAD"),
        ("/v2/token", ""),
        ("/", ""),
    ] {
        for headers in [&[][..], &[READER], &["authorization: Basic eDp5"]] {
            let answer = call(&service, Method::OPTIONS, path, headers).await;
            let expected = if allow.is_empty() {
                StatusCode::NOT_FOUND
            } else {
                StatusCode::OK
            };
            assert_eq!(answer.status, expected, "{path} {headers:?}");
            if expected == StatusCode::OK {
                assert_eq!(answer.header("allow"), allow, "{path}");
                assert_eq!(answer.body.len(), 0);
            }
            assert_eq!(
                answer.header("access-control-allow-origin"),
                "http://ui.example"
            );
        }
    }
}

#[tokio::test]
async fn an_answer_that_nobody_may_keep_stays_one() {
    let service = service().header(
        HeaderName::from_static("cache-control"),
        HeaderValue::from_static("private, max-age=60"),
    );
    let service = service.unwrap();
    let answer = get(&service, "/v2/").await;
    assert_eq!(answer.header("cache-control"), "private, max-age=60");
    let answer = get(&service, "/v2/a/manifests/v1").await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
    assert_eq!(answer.header("cache-control"), "no-store");
}

#[tokio::test]
async fn addresses_are_absolute_only_if_the_host_is_known() {
    let service = service().host("https://registry.example").unwrap();
    let answer = post(&service, "/v2/a/blobs/uploads/").await;
    let location = answer.header("location");
    assert!(location.starts_with("https://registry.example/v2/a/blobs/uploads/"));
    assert!(
        RegistryService::new(Engine::memory())
            .host("registry")
            .is_err()
    );
}

pub(crate) fn guarded() -> RegistryService {
    service().access(guards())
}

pub(crate) fn guards() -> AccessControl {
    let rules = Rules::new()
        .user("reader", "team/**", &[Action::Pull])
        .user(
            "writer",
            "team/**",
            &[Action::Pull, Action::Push, Action::Overwrite],
        );
    let login = Login::new(|user, password| async move {
        let known = user == "reader" || user == "writer";
        known & password.matches("secret")
    });
    AccessControl::new(rules).authenticator(login)
}

const READER: &str = "authorization: Basic cmVhZGVyOnNlY3JldA==";
pub(crate) const WRITER: &str = "authorization: Basic d3JpdGVyOnNlY3JldA==";

/// What a client can tell from an answer about a repository, whose name it knew
/// before.
fn seen(answer: &Answer, repository: &str) -> (StatusCode, Vec<(String, String)>, String) {
    let headers = answer.headers.iter();
    let headers = headers.map(|(name, value)| (name.to_string(), format!("{value:?}")));
    let body = String::from_utf8(answer.body.to_vec()).unwrap();
    let body = body.replace(&format!("\"{repository}\""), "it");
    (answer.status, headers.collect(), body)
}

#[tokio::test]
async fn who_may_not_see_a_repository_can_not_tell_whether_it_exists() {
    let service = guarded();
    let uri = "/v2/team/app/manifests/v1";
    let pushed = put(&service, uri, &[WRITER], index("a", None).as_bytes()).await;
    assert_eq!(pushed.status, StatusCode::CREATED);
    let digest = sha256(index("a", None));
    let paths = [
        (Method::GET, "manifests/v1".to_owned()),
        (Method::HEAD, "manifests/v1".into()),
        (Method::GET, format!("manifests/{digest}")),
        (Method::PUT, "manifests/v1".into()),
        (Method::DELETE, "manifests/v1".into()),
        (Method::GET, format!("blobs/{digest}")),
        (Method::HEAD, format!("blobs/{digest}")),
        (Method::DELETE, format!("blobs/{digest}")),
        (Method::POST, "blobs/uploads/".into()),
        (
            Method::POST,
            format!("blobs/uploads/?mount={digest}&from=some/app"),
        ),
        (
            Method::GET,
            "blobs/uploads/00000000-0000-4000-8000-000000000000".into(),
        ),
        (Method::GET, "tags/list".into()),
        (Method::GET, format!("referrers/{digest}")),
    ];
    for (method, path) in paths {
        let ask = async |repository: &str| {
            let uri = format!("/v2/{repository}/{path}");
            let answer = call(&service, method.clone(), &uri, &[]).await;
            seen(&answer, repository)
        };
        // As long as each other, and so are answers that repeat them.
        let existing = ask("team/app").await;
        assert_eq!(existing, ask("team/not").await, "{method} {path}");
        assert_eq!(existing, ask("else/not").await, "{method} {path}");
        assert_eq!(existing.0, StatusCode::UNAUTHORIZED, "{method} {path}");
        let challenges = existing
            .1
            .iter()
            .filter(|(name, _)| name == "www-authenticate");
        assert_eq!(challenges.count(), 1, "{method} {path}");
    }
    let denied = call(&service, Method::PUT, uri, &[READER]).await;
    assert_eq!(
        (denied.status, &*denied.code()),
        (StatusCode::FORBIDDEN, "DENIED")
    );
    let ok = call(&service, Method::GET, uri, &[READER]).await;
    assert_eq!(ok.status, StatusCode::OK);
    let ping = get(&service, "/v2/").await;
    assert_eq!(
        (ping.status, &*ping.code()),
        (StatusCode::UNAUTHORIZED, "UNAUTHORIZED")
    );
}

#[tokio::test]
async fn a_blob_that_the_caller_may_not_pull_is_never_mounted() {
    let engine = Engine::memory();
    push_blob(
        &RegistryService::new(engine.clone()),
        "secret/app",
        b"hello",
    )
    .await;
    let rules = Rules::new().anonymous("team/**", &[Action::Pull, Action::Push]);
    let service = RegistryService::new(engine).access(AccessControl::new(rules));
    let digest = sha256("hello");
    for query in [
        format!("mount={digest}&from=secret/app"),
        format!("mount={digest}&from=secret%2Fapp"),
        format!("mount={digest}&from=secret/app/"),
        format!("mount={digest}&from=team/app&from=secret/app"),
        format!("mount={digest}&from=team/app"),
        format!("mount={digest}"),
    ] {
        let answer = post(&service, &format!("/v2/team/app/blobs/uploads/?{query}")).await;
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{query}");
        let blob = get(&service, &format!("/v2/team/app/blobs/{digest}")).await;
        assert_eq!(blob.status, StatusCode::NOT_FOUND, "{query}");
    }
}

/// Fails in a way of its own.
struct Failing<F>(F);

impl<F> std::fmt::Debug for Failing<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Failing")
    }
}

#[async_trait::async_trait]
impl<F: Fn() -> Error + Send + Sync + 'static> Registry for Failing<F> {
    async fn get_manifest(&self, _: &Access, _: &Reference) -> Result<Manifest> {
        Err((self.0)())
    }
}

#[tokio::test]
async fn the_cause_of_a_failure_stays_inside() {
    for (kind, status, code) in [
        (
            ErrorKind::Internal,
            StatusCode::INTERNAL_SERVER_ERROR,
            "UNKNOWN",
        ),
        (
            ErrorKind::Corrupt,
            StatusCode::INTERNAL_SERVER_ERROR,
            "UNKNOWN",
        ),
        (
            ErrorKind::Unavailable,
            StatusCode::SERVICE_UNAVAILABLE,
            "UNAVAILABLE",
        ),
        (
            ErrorKind::TooManyRequests,
            StatusCode::TOO_MANY_REQUESTS,
            "TOOMANYREQUESTS",
        ),
    ] {
        let service = RegistryService::new(Failing(move || {
            kind.error("try again")
                .with_source("/var/lib/secret is on fire")
                .with_retry_after(std::time::Duration::from_millis(1500))
        }));
        let answer = call(
            &service,
            Method::GET,
            "/v2/a/manifests/v1",
            &["x-request-id: r7"],
        )
        .await;
        assert_eq!(answer.status, status);
        assert_eq!(answer.code(), code);
        assert_eq!(answer.header("retry-after"), "2");
        assert_eq!(answer.header("x-request-id"), "r7");
        assert!(!String::from_utf8_lossy(&answer.body).contains("secret"));
    }
}

#[tokio::test]
async fn a_login_that_another_registry_wants_is_not_the_callers() {
    let service = RegistryService::new(Failing(|| {
        ErrorKind::Unauthorized.error("the other registry asks for other credentials")
    }));
    let answer = get(&service, "/v2/a/manifests/v1").await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
    assert_eq!(answer.code(), "DENIED");
    assert!(!answer.has("www-authenticate"));
    assert!(String::from_utf8_lossy(&answer.body).contains("the other registry"));
}

#[tokio::test]
async fn a_defect_is_an_error_and_not_the_end() {
    let calls = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&calls);
    let service = RegistryService::new(Failing(move || {
        assert!(seen.fetch_add(1, Ordering::Relaxed) > 0, "a defect");
        ErrorKind::ManifestUnknown.error("no such manifest")
    }));
    let answer = get(&service, "/v2/a/manifests/v1").await;
    assert_eq!(answer.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(answer.code(), "UNKNOWN");
    assert!(answer.has("x-request-id"));
    let answer = get(&service, "/v2/a/manifests/v1").await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_header_of_the_operator_keeps_all_its_values() {
    let allowed = HeaderName::from_static("access-control-allow-methods");
    let kept = HeaderName::from_static("x-content-type-options");
    let mut service = service()
        .header(kept, HeaderValue::from_static("nosniff"))
        .unwrap();
    for method in ["HEAD", "GET", "DELETE"] {
        service = service
            .header(allowed.clone(), HeaderValue::from_static(method))
            .unwrap();
    }
    let answer = get(&service, "/v2/").await;
    let values = |name: &str| -> Vec<_> { answer.headers.get_all(name).iter().collect() };
    assert_eq!(values(allowed.as_str()), ["HEAD", "GET", "DELETE"]);
    assert_eq!(values("x-content-type-options"), ["nosniff"]);
}

#[test]
fn a_header_that_frames_answers_or_speaks_the_protocol_is_not_the_operators() {
    for name in [
        "transfer-encoding",
        "content-length",
        "connection",
        "location",
        "docker-content-digest",
        "www-authenticate",
    ] {
        let name = HeaderName::from_static(name);
        let refused = service().header(name, HeaderValue::from_static("7"));
        let error = refused.map(drop).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::RequestInvalid);
        assert!(error.to_string().contains("leave it out"), "{error}");
    }
    for (name, value, advice) in [
        ("cache-control", "public, max-age=60", "add `private`"),
        ("x-content-type-options", "other", "leave it out"),
    ] {
        let name = HeaderName::from_static(name);
        let refused = service().header(name, HeaderValue::from_static(value));
        let error = refused.map(drop).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::RequestInvalid);
        assert!(error.to_string().contains(advice), "{error}");
    }
}
