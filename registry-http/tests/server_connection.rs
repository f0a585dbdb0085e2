//! Connections over real sockets: what is spoken on them, and what is served.
#![cfg(feature = "testkit")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod server_support;

use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use http::uri::Scheme;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use registry_core::{Access, Algorithm, Blob, BlobBody, Digest, OpenOptions, Registry, Result};
use registry_http::{Limits, Peer, RegistryService, Server, TestServer};
use server_support::{Seen, echo, exchange, get, http1, http2, statuses, text};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;

#[tokio::test]
async fn both_versions_are_spoken_on_one_port() {
    let seen = Seen::default();
    let server = TestServer::with_service(echo(&seen)).await;
    let mut one = http1(server.address()).await;
    let response = one.send_request(get("/one")).await.unwrap();
    assert_eq!(text(response).await, "/one 0");

    let two = http2(server.address()).await;
    let answers = (0..20).map(|_| {
        let mut two = two.clone();
        async move { text(two.send_request(get("http://a/two")).await.unwrap()).await }
    });
    for answer in futures::future::join_all(answers).await {
        assert_eq!(answer, "/two 0");
    }
}

#[tokio::test]
async fn http2_can_be_switched_off() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = Server::builder()
        .http2(false)
        .listen(listener, echo(&Seen::default()));
    let _running = tokio::spawn(server.run());
    let answer = exchange(address, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", usize::MAX).await;
    assert_eq!(statuses(&answer), [400], "{answer}");
}

#[tokio::test]
async fn the_service_learns_where_a_request_comes_from() {
    let service = tower::service_fn(|request: Request<Incoming>| async move {
        let peer = request.extensions().get::<Peer>().unwrap();
        let scheme = request.extensions().get::<Scheme>().unwrap();
        let text = format!("{} {scheme}", peer.address);
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::from(text)))
    });
    let server = TestServer::with_service(service).await;
    let response = http1(server.address())
        .await
        .send_request(get("/"))
        .await
        .unwrap();
    assert_eq!(text(response).await, "127.0.0.1 http");
}

#[tokio::test]
async fn a_length_set_by_hand_stays() {
    let service = tower::service_fn(|request: Request<Incoming>| async move {
        let length = if request.uri().path() == "/empty" {
            "0"
        } else {
            "12345"
        };
        let response = Response::builder().header("content-length", length);
        Ok::<_, Infallible>(
            response
                .body(http_body_util::Empty::<Bytes>::new())
                .unwrap(),
        )
    });
    let server = TestServer::with_service(service).await;
    let length = |response: &Response<Incoming>| response.headers()["content-length"].clone();
    let head = || {
        Request::head("http://a/blob")
            .header("host", "a")
            .body(Full::default())
            .unwrap()
    };

    let mut one = http1(server.address()).await;
    assert_eq!(length(&one.send_request(head()).await.unwrap()), "12345");
    assert_eq!(length(&one.send_request(get("/empty")).await.unwrap()), "0");
    let mut two = http2(server.address()).await;
    assert_eq!(length(&two.send_request(head()).await.unwrap()), "12345");
    assert_eq!(
        length(&two.send_request(get("http://a/empty")).await.unwrap()),
        "0"
    );
}

/// RFC 9112, sections 3.2 and 3.2.3.
#[tokio::test]
async fn a_request_to_no_target_or_host_is_refused_in_words() {
    let server = TestServer::start(registry_storage::Engine::memory()).await;
    let told = async |target: &str, host: &str| {
        let request = format!("GET {target} HTTP/1.1\r\nHost:{host}\r\nConnection: close\r\n\r\n");
        let answer = exchange(server.address(), request.as_bytes(), usize::MAX).await;
        let body = answer.split_once("\r\n\r\n").unwrap().1.to_owned();
        (statuses(&answer), body)
    };
    for target in [
        "v2/",
        "http://",
        "?",
        "x:y:z",
        "a",
        "a:1",
        "*",
        "ftp://a/v2/",
        "/\"<>",
    ] {
        let (statuses, body) = told(target, "a").await;
        assert_eq!(statuses, [400], "{target}");
        assert!(
            body.contains("errors") && body.contains("target"),
            "{target}: {body}"
        );
    }
    for host in [
        "a b", "a/b", "a@b", "a:b", "a:1:2", "[::1", "::1", "[]", "a, b", "<a>", "\u{e4}",
    ] {
        let (statuses, body) = told("/v2/", host).await;
        assert_eq!(statuses, [400], "{host}");
        assert!(
            body.contains("errors") && body.contains("Host"),
            "{host}: {body}"
        );
    }
    for (target, host) in [
        ("/v2/", "a"),
        ("http://a/v2/", "a"),
        ("HTTPS://a:1/v2/", " a:1 "),
        ("/v2/", ""),
        ("/v2/", "a:"),
        ("/v2/", "[::1]:5000"),
        ("/v2/", "127.0.0.1:5000"),
        ("/v2/", "my_registry.example."),
        ("/v2/?a={b}", "xn--a"),
    ] {
        let (statuses, body) = told(target, host).await;
        assert_eq!(statuses, [200], "{target} {host}: {body}");
    }
}

/// Meets a defect in the middle of the first blob that it is asked for.
#[derive(Debug, Default)]
struct BreaksOff(AtomicUsize);

#[async_trait]
impl Registry for BreaksOff {
    async fn open_blob(&self, _: &Access, digest: &Digest, _: OpenOptions) -> Result<Blob> {
        let number = self.0.fetch_add(1, Ordering::SeqCst);
        let parts = futures::stream::iter(0..2).map(move |part| {
            assert!(number > 0 || part == 0, "a defect");
            Ok(Bytes::from_static(b"part"))
        });
        Ok(Blob {
            digest: *digest,
            size: 8,
            range: 0..8,
            body: BlobBody::Stream(parts.boxed()),
        })
    }
}

/// What else goes over the connection does so still.
#[tokio::test]
async fn s_65_a_defect_in_the_middle_of_an_answer_ends_that_answer_only() {
    let limits = Limits::default().max_downloads(1);
    let service = RegistryService::new(BreaksOff::default()).limits(limits);
    let server = TestServer::with_service(service).await;
    let mut client = http2(server.address()).await;
    let path = format!("http://a/v2/a/blobs/{}", Algorithm::Sha256.digest(b"x"));
    let broken = client.send_request(get(&path)).await.unwrap();
    assert_eq!(broken.status(), StatusCode::OK);
    broken.into_body().collect().await.unwrap_err();
    let whole = client.send_request(get(&path)).await.unwrap();
    assert_eq!(text(whole).await, "partpart");
}

#[tokio::test]
async fn several_listeners_serve_different_things() {
    let (main, debug) = (Seen::default(), Seen::default());
    let listen = async || TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (one, two) = (listen().await, listen().await);
    let addresses = [one.local_addr().unwrap(), two.local_addr().unwrap()];
    let server = Server::builder()
        .listen(one, echo(&main))
        .listen(two, echo(&debug));
    let running = tokio::spawn(server.run());
    for (address, target) in addresses.into_iter().zip(["/main", "/debug"]) {
        http1(address)
            .await
            .send_request(get(target))
            .await
            .unwrap();
    }
    assert_eq!(*main.lock().unwrap(), ["/main"]);
    assert_eq!(*debug.lock().unwrap(), ["/debug"]);

    running.abort();
    drop(running.await);
    for address in addresses {
        assert!(TcpStream::connect(address).await.is_err());
    }
}

#[tokio::test]
async fn a_test_server_stops_when_it_is_dropped() {
    let server = TestServer::with_service(echo(&Seen::default())).await;
    let address = server.address();
    assert_eq!(server.url(), format!("http://{}", server.host()));
    let mut client = http1(address).await;
    client.send_request(get("/")).await.unwrap();
    drop(server);
    sleep(Duration::from_millis(50)).await;
    assert!(TcpStream::connect(address).await.is_err());
    assert!(client.send_request(get("/")).await.is_err());
}

#[tokio::test]
async fn a_test_server_serves_a_registry() {
    let server = TestServer::start(registry_storage::Engine::memory()).await;
    let mut client = http1(server.address()).await;
    let request = Request::builder()
        .method(Method::GET)
        .uri("/v2/")
        .header("host", server.host());
    let response = client
        .send_request(request.body(Full::default()).unwrap())
        .await
        .unwrap();
    assert_eq!(response.status(), StatusCode::OK);
}
