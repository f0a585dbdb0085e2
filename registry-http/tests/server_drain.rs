//! The end of a server: what was begun is finished, and nothing else is begun.
#![cfg(feature = "testkit")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod server_support;

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use registry_http::{Limits, Server};
use server_support::{Seen, echo, get, http1, http2, impatient};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

struct Draining {
    address: std::net::SocketAddr,
    stop: oneshot::Sender<()>,
    ended: tokio::task::JoinHandle<registry_core::Result<()>>,
}

async fn draining(limits: Limits) -> Draining {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel();
    let server = Server::builder()
        .limits(limits)
        .listen(listener, echo(&Seen::default()))
        .shutdown_when(async { drop(stopped.await) });
    Draining {
        address,
        stop,
        ended: tokio::spawn(server.run()),
    }
}

#[tokio::test]
async fn a_running_upload_ends_before_the_server_does() {
    let server = draining(impatient()).await;
    let mut idle = TcpStream::connect(server.address).await.unwrap();
    idle.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .unwrap();
    let mut upload = TcpStream::connect(server.address).await.unwrap();
    let head = b"PUT /up HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n12345";
    upload.write_all(head).await.unwrap();
    let two = http2(server.address).await;
    two.clone().send_request(get("http://a/")).await.unwrap();
    sleep(Duration::from_millis(50)).await;

    server.stop.send(()).unwrap();
    let mut answer = Vec::new();
    let closed = timeout(Duration::from_millis(500), idle.read_to_end(&mut answer)).await;
    closed
        .expect("a connection at rest is closed at once")
        .unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 200"));
    assert!(
        TcpStream::connect(server.address).await.is_err(),
        "it still accepts connections"
    );
    assert!(!server.ended.is_finished());

    upload.write_all(b"67890").await.unwrap();
    let mut answer = String::new();
    upload.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(
        answer.contains("connection: close") && answer.ends_with("/up 10"),
        "{answer}"
    );
    timeout(Duration::from_secs(1), server.ended)
        .await
        .expect("it ends")
        .unwrap()
        .unwrap();
    assert!(two.is_closed());
}

#[tokio::test]
async fn an_upload_that_never_ends_is_cut_off_at_the_deadline() {
    let limits = impatient().drain_timeout(Duration::from_millis(300));
    let server = draining(limits).await;
    let mut upload = TcpStream::connect(server.address).await.unwrap();
    let head = b"PUT /up HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n12345";
    upload.write_all(head).await.unwrap();
    sleep(Duration::from_millis(50)).await;
    server.stop.send(()).unwrap();
    let ended = timeout(Duration::from_secs(2), server.ended)
        .await
        .expect("it ends");
    let error = ended.unwrap().unwrap_err();
    assert!(error.to_string().starts_with("1 connections"), "{error}");
    let mut answer = Vec::new();
    let cut_off = timeout(Duration::from_secs(2), upload.read_to_end(&mut answer)).await;
    drop(cut_off.expect("nothing of it is left"));
    assert!(answer.is_empty());
}

/// Whatever a connection speaks, what was begun on it is answered whole, and
/// nothing else is begun.
#[tokio::test]
async fn answers_on_their_way_are_sent_whole_before_the_server_ends() {
    const SIZE: usize = 32 << 20;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel();
    let service = tower::service_fn(|_: Request<Incoming>| async {
        Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(vec![7; SIZE]))))
    });
    let server = Server::builder()
        .listen(listener, service)
        .shutdown_when(async { drop(stopped.await) });
    let ended = tokio::spawn(server.run());
    let (mut one, mut two) = (http1(address).await, http2(address).await);
    // More than the system buffers, of which nothing is taken for now.
    let begun = [
        one.send_request(get("/")).await.unwrap(),
        two.send_request(get("http://a/")).await.unwrap(),
    ];
    stop.send(()).unwrap();
    sleep(Duration::from_millis(100)).await;
    assert!(TcpStream::connect(address).await.is_err());
    assert!(two.send_request(get("http://a/")).await.is_err());
    assert!(!ended.is_finished());
    for answer in begun {
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body.len(), SIZE);
    }
    let ended = timeout(Duration::from_secs(10), ended).await;
    ended.expect("it ends").unwrap().unwrap();
}
