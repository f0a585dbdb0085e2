//! Proxies named in the environment get nothing.

#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::convert::Infallible;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use registry_core::testkit::trusted;
use registry_core::{ErrorKind, Reference, Registry};
use registry_http::{RemoteRegistry, TestServer};

/// Names the registry that a copy of this program asks.
const REGISTRY: &str = "REMOTE_PROXY_TEST_REGISTRY";

/// A server that counts requests and has nothing.
async fn empty() -> (TestServer, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    let service = tower::service_fn(move |_: Request<Incoming>| {
        counted.fetch_add(1, Ordering::SeqCst);
        let mut response = Response::new(Full::<Bytes>::from(
            r#"{"errors":[{"code":"NAME_UNKNOWN"}]}"#,
        ));
        *response.status_mut() = StatusCode::NOT_FOUND;
        async move { Ok::<_, Infallible>(response) }
    });
    (TestServer::with_service(service).await, count)
}

/// The environment belongs to a whole process, so the asking is done by a copy
/// of this program.
#[tokio::test]
async fn s_82_a_proxy_in_the_environment_does_not_choose_addresses() {
    if let Ok(url) = std::env::var(REGISTRY) {
        let remote = RemoteRegistry::new(&url).unwrap();
        let tag = Reference::Tag("v1".parse().unwrap());
        let pulled = remote.get_manifest(&trusted("a"), &tag).await;
        assert_eq!(pulled.unwrap_err().kind(), ErrorKind::ManifestUnknown);
        return;
    }
    let ((registry, asked), (proxy, relayed)) = (empty().await, empty().await);
    let mut copy = Command::new(std::env::current_exe().unwrap());
    copy.args(["--exact", "--test-threads=1"])
        .arg("s_82_a_proxy_in_the_environment_does_not_choose_addresses")
        .env(REGISTRY, registry.url())
        .env_remove("NO_PROXY")
        .env_remove("no_proxy")
        .env_remove("REQUEST_METHOD");
    for name in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"] {
        copy.env(name, proxy.url());
        copy.env(name.to_ascii_lowercase(), proxy.url());
    }
    let ended = tokio::task::spawn_blocking(move || copy.output().unwrap());
    let output = ended.await.unwrap();
    assert!(output.status.success(), "{output:?}");
    let counts = [&asked, &relayed].map(|count| count.load(Ordering::SeqCst));
    assert_eq!(counts, [1, 0]);
}
