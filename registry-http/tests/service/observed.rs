//! What the service measures and logs.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use crate::exchange::{
    begin, call, get, index, nothing, push_blob, push_index, request, send, service, sha256, slow,
};
use http::{Method, StatusCode};
use metrics_util::debugging::{DebugValue, DebuggingRecorder};
use registry_http::{Peer, RegistryService};
use serde_json::Value;
use tower::ServiceExt;

fn run<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(future)
}

/// The measured values, by name and labels.
fn measure<F: Future>(future: F) -> BTreeMap<String, f64> {
    measured(|| run(future))
}

/// The same, with time that passes only when everybody waits for it.
fn measure_paused<F: Future>(future: F) -> BTreeMap<String, f64> {
    measured(|| {
        run(async {
            tokio::time::pause();
            future.await
        })
    })
}

fn measured<T>(action: impl FnOnce() -> T) -> BTreeMap<String, f64> {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    metrics::with_local_recorder(&recorder, action);
    let values = snapshotter.snapshot().into_vec().into_iter();
    values
        .map(|(key, _, _, value)| {
            let labels: BTreeMap<_, _> = key
                .key()
                .labels()
                .map(|label| (label.key(), label.value()))
                .collect();
            let labels: Vec<_> = labels
                .iter()
                .map(|(key, value)| format!("{key}={value}"))
                .collect();
            let name = format!("{}{{{}}}", key.key().name(), labels.join(","));
            let value = match value {
                DebugValue::Counter(count) => f64::from(u32::try_from(count).unwrap()),
                DebugValue::Gauge(value) => value.into_inner(),
                DebugValue::Histogram(values) => {
                    values.iter().map(|value| value.into_inner()).sum()
                }
            };
            (name, value)
        })
        .collect()
}

#[test]
fn requests_are_counted_by_status_handler_and_method() {
    let values = measure(async {
        let service = service();
        let blob = push_blob(&service, "a", b"0123456789").await;
        get(&service, &blob).await;
        get(&service, &blob).await;
        call(&service, Method::GET, &blob, &["range: bytes=0-3"]).await;
        get(&service, &format!("/v2/a/blobs/{}", sha256("x"))).await;
        get(&service, "/v2/Nothing").await;
        call(&service, Method::from_bytes(b"BREW").unwrap(), "/", &[]).await;
    });
    for (name, value) in [
        (
            "registry_http_requests_total{code=200,handler=blob,method=get}",
            2.0,
        ),
        (
            "registry_http_requests_total{code=206,handler=blob,method=get}",
            1.0,
        ),
        (
            "registry_http_requests_total{code=404,handler=blob,method=get}",
            1.0,
        ),
        (
            "registry_http_requests_total{code=201,handler=blob_upload_chunk,method=put}",
            1.0,
        ),
        (
            "registry_http_requests_total{code=404,handler=unknown,method=get}",
            1.0,
        ),
        (
            "registry_http_requests_total{code=404,handler=unknown,method=other}",
            1.0,
        ),
        ("registry_http_in_flight_requests{handler=blob}", 0.0),
        (
            "registry_http_request_size_bytes{handler=blob_upload_chunk}",
            10.0,
        ),
        ("registry_storage_blob_upload_bytes{}", 10.0),
        ("registry_storage_blob_download_bytes{}", 24.0),
    ] {
        assert_eq!(values.get(name), Some(&value), "{name} in {values:#?}");
    }
    assert!(values.contains_key("registry_http_request_duration_seconds{handler=blob,method=get}"));
}

#[test]
fn clients_can_not_make_series() {
    let count = |rounds: u32| {
        let values = measure(async move {
            let service = service();
            for round in 0..rounds {
                let method = Method::from_bytes(format!("M{round}").as_bytes()).unwrap();
                call(&service, method, &format!("/v2/a{round}/tags/list"), &[]).await;
                get(
                    &service,
                    &format!("/v2/a{round}/manifests/b{round}?x={round}"),
                )
                .await;
                get(&service, &format!("/c{round}")).await;
            }
        });
        values.len()
    };
    assert_eq!(count(1), count(100));
}

#[test]
fn a_download_is_in_flight_until_its_last_byte() {
    let values = measure(async {
        let service = service();
        let blob = push_blob(&service, "a", b"0123456789").await;
        let answer = service
            .oneshot(request(&Method::GET, &blob, &[], nothing()))
            .await
            .unwrap();
        std::mem::forget(answer);
    });
    // A blob in memory is out of the service's hands at once.
    assert!(values["registry_http_in_flight_requests{handler=blob}"].abs() < 0.5);
    let values = measure(async {
        let service = RegistryService::new(Slow);
        let uri = format!("/v2/a/blobs/{}", sha256(""));
        let answer = service
            .oneshot(request(&Method::GET, &uri, &[], nothing()))
            .await
            .unwrap();
        std::mem::forget(answer);
    });
    assert!(values["registry_http_in_flight_requests{handler=blob}"] > 0.5);
}

/// Has a blob that never comes.
#[derive(Debug)]
struct Slow;

#[async_trait::async_trait]
impl registry_core::Registry for Slow {
    async fn open_blob(
        &self,
        _: &registry_core::Access,
        digest: &registry_core::Digest,
        _: registry_core::OpenOptions,
    ) -> registry_core::Result<registry_core::Blob> {
        Ok(registry_core::Blob {
            digest: *digest,
            size: 10,
            range: 0..10,
            body: registry_core::BlobBody::Stream(Box::pin(futures::stream::pending())),
        })
    }
}

#[test]
fn what_the_registry_takes_is_measured_without_what_the_client_takes() {
    let values = measure_paused(async {
        let service = service().storage_driver("memory");
        let pause = Duration::from_secs(10);
        let upload = begin(&service, "a").await;
        for _ in 0..2 {
            let body = slow(10, pause, 3);
            send(&service, request(&Method::PATCH, &upload, &[], body)).await;
        }
        let content = " ".repeat(90);
        let uri = format!("{upload}?digest={}", sha256(&content));
        let body = slow(10, pause, 3);
        send(&service, request(&Method::PUT, &uri, &[], body)).await;
        let blob = format!("/v2/a/blobs/{}", sha256(&content));
        let answer = get(&service, &blob).await;
        assert_eq!(answer.status, StatusCode::OK);
        push_index(&service, "a", "v1", &index("a", None)).await;
        get(&service, "/v2/a/tags/list").await;

        let service = RegistryService::new(Late);
        get(&service, "/v2/a/tags/list").await;
    });
    let series = |driver, action| {
        let name = format!("registry_storage_action_seconds{{action={action},driver={driver}}}");
        *values
            .get(&name)
            .unwrap_or_else(|| panic!("no {name} in {values:#?}"))
    };
    for action in [
        "begin_upload",
        "append_upload",
        "finish_upload",
        "open_blob",
        "put_manifest",
        "tags",
    ] {
        let seconds = series("memory", action);
        assert!(seconds < 1.0, "{action} {seconds}");
    }
    assert!((series("registry", "tags") - 7.0).abs() < 0.1);
}

/// Needs seven seconds to find out that it has no tags.
#[derive(Debug)]
struct Late;

#[async_trait::async_trait]
impl registry_core::Registry for Late {
    async fn tags(
        &self,
        _: &registry_core::Access,
        _: registry_core::PageRequest,
    ) -> registry_core::Result<registry_core::Page<registry_core::Tag>> {
        tokio::time::sleep(Duration::from_secs(7)).await;
        Ok(registry_core::Page::whole(Vec::new()))
    }
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Everything that all tests of this program log. A log for each test would
/// depend on which thread reaches a line of the service first.
fn log() -> &'static Log {
    static LOG: OnceLock<Log> = OnceLock::new();
    LOG.get_or_init(|| {
        let log = Log::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .json()
            .with_max_level(tracing::Level::DEBUG)
            .with_writer(move || writer.clone())
            .finish();
        tracing::subscriber::set_global_default(subscriber).unwrap();
        log
    })
}

impl Log {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }

    /// The events about the request with this identity.
    fn about(&self, id: &str) -> Vec<Value> {
        self.text()
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap())
            .filter(|event| event["fields"]["id"] == id)
            .collect()
    }
}

#[tokio::test]
async fn each_request_is_one_line_of_the_access_log() {
    let log = log();
    let service = service();
    push_index(&service, "team/app", "v1", &index("a", None)).await;
    let headers = [
        "x-request-id: found",
        "authorization: Basic aHVzaC03MzMx",
        "user-agent: docker/29",
    ];
    let uri = "/v2/team/app/manifests/v1?signature=hush-7331";
    let mut request = request(&Method::GET, uri, &headers, nothing());
    request.extensions_mut().insert(Peer {
        // As a listener for IPv4 and IPv6 writes 192.0.2.7.
        address: Ipv4Addr::new(192, 0, 2, 7).to_ipv6_mapped().into(),
    });
    let answer = service.clone().oneshot(request).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    let headers = ["x-request-id: missed"];
    let uri = "/v2/team/app/manifests/v2";
    call(&service, Method::GET, uri, &headers).await;

    let found = log.about("found");
    assert_eq!(found.len(), 1);
    assert_eq!(found[0]["target"], "registry::access");
    let fields = &found[0]["fields"];
    for (name, value) in [
        ("method", "GET"),
        ("path", "/v2/team/app/manifests/v1"),
        ("operation", "get_manifest"),
        ("repository", "team/app"),
        ("reference", "v1"),
        ("client", "192.0.2.7"),
        ("version", "HTTP/1.1"),
        ("user_agent", "docker/29"),
    ] {
        assert_eq!(fields[name], value, "{name} in {fields}");
    }
    assert_eq!(fields["status"], 200);
    assert_eq!(fields["sent"], index("a", None).len());
    assert_eq!(log.about("missed")[0]["fields"]["status"], 404);
    let all = log.text();
    assert!(!all.contains("hush-7331") && !all.contains("aHVzaC03MzMx"));
}

#[tokio::test]
async fn what_is_written_like_a_key_or_token_is_in_no_log() {
    let log = log();
    let service = service();
    let mark = "0123456789abcdeffedcba9876543210";
    for (number, secret) in [
        format!("rgk_{mark}_hush-8442-{mark}-0_89abcdef"),
        format!("rgr_{mark}_hush-8442-{mark}-0"),
        format!("eyJhbGciOiJFUzI1NiJ9.hush-8442-{mark}.hush-8442-{mark}"),
    ]
    .into_iter()
    .enumerate()
    {
        let digit = |text: String, byte| format!("{text}%{byte:02X}");
        let encoded = secret.bytes().fold(String::new(), digit);
        for (kind, secret) in [("plain", &secret), ("encoded", &encoded)] {
            let id = format!("astray-{number}-{kind}");
            let identity = format!("x-request-id: {id}");
            let agent = format!("user-agent: with {secret}");
            for uri in [
                format!("/v2/team/app/manifests/{secret}"),
                format!("/v2/team/app/blobs/{secret}"),
                format!("/v2/{secret}/tags/list?last={secret}"),
                format!("/api/v1/keys/{secret}"),
                format!("/elsewhere/{secret}"),
            ] {
                call(&service, Method::GET, &uri, &[&identity, &agent]).await;
                let named = format!("x-request-id: {secret}");
                call(&service, Method::GET, &uri, &[&named]).await;
            }
            let lines = log.about(&id);
            assert_eq!(lines.len(), 5);
            for line in lines {
                let fields = &line["fields"];
                assert_eq!(fields["user_agent"], "with [hidden]");
                let path = fields["path"].as_str().unwrap();
                assert!(path.contains("/[hidden]"), "{path}");
            }
        }
    }
    let all = log.text();
    assert!(!all.contains("hush-8442") && !all.contains("%68%75%73%68%2D%38"));
}

#[tokio::test]
async fn the_cause_of_a_failure_is_logged() {
    #[derive(Debug)]
    struct Broken;

    #[async_trait::async_trait]
    impl registry_core::Registry for Broken {
        async fn tags(
            &self,
            _: &registry_core::Access,
            _: registry_core::PageRequest,
        ) -> registry_core::Result<registry_core::Page<registry_core::Tag>> {
            Err(registry_core::Error::internal(
                "no tags now",
                "the disk is on fire",
            ))
        }
    }

    let log = log();
    let service = RegistryService::new(Broken);
    let headers = ["x-request-id: failed"];
    let answer = call(&service, Method::GET, "/v2/a/tags/list", &headers).await;
    assert_eq!(answer.status, StatusCode::INTERNAL_SERVER_ERROR);
    let events = log.about("failed");
    let failure = events
        .iter()
        .find(|event| event["level"] == "ERROR")
        .unwrap();
    assert_eq!(
        failure["fields"]["error"],
        "no tags now: the disk is on fire"
    );
}

/// Says something while it works.
#[derive(Debug)]
struct Talkative;

#[async_trait::async_trait]
impl registry_core::Registry for Talkative {
    async fn tags(
        &self,
        access: &registry_core::Access,
        _: registry_core::PageRequest,
    ) -> registry_core::Result<registry_core::Page<registry_core::Tag>> {
        tracing::info!(heard = access.repository().as_str(), "looking for tags");
        Ok(registry_core::Page::whole(Vec::new()))
    }
}

#[tokio::test]
async fn what_happens_during_a_request_is_in_its_span() {
    let log = log();
    let service = RegistryService::new(Talkative);
    let headers = ["x-request-id: spanned"];
    let uri = "/v2/span/test/tags/list?token=hush-7331";
    call(&service, Method::GET, uri, &headers).await;
    let text = log.text();
    let heard = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .find(|event| event["fields"]["heard"] == "span/test")
        .unwrap();
    for (name, value) in [
        ("name", "request"),
        ("id", "spanned"),
        ("operation", "list_tags"),
        ("method", "GET"),
        ("path", "/v2/span/test/tags/list"),
    ] {
        assert_eq!(heard["span"][name], value, "{heard}");
    }
    assert!(!text.contains("hush-7331"));
}
