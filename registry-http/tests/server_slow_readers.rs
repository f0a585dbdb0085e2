//! Clients that ask for much and take little of it.
#![cfg(feature = "testkit")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod server_support;

use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use registry_http::{Limits, TestServer};
use server_support::impatient;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

/// Longer than anything here may take, unless it takes for ever.
const FOR_EVER: Duration = Duration::from_secs(20);

/// A rate that no client here comes near to.
const UNREACHABLE: u64 = 1 << 50;

/// A server whose one answer consists of `parts`, and what ends when the
/// answer does.
async fn serve(
    limits: Limits,
    parts: impl Iterator<Item = Bytes> + Clone + Send + Sync + 'static,
) -> (TestServer, oneshot::Receiver<()>) {
    let (gone, is_gone) = oneshot::channel::<()>();
    let gone = Arc::new(Mutex::new(Some(gone)));
    let service = tower::service_fn(move |_: Request<Incoming>| {
        let gone = gone.lock().unwrap().take();
        let parts = parts
            .clone()
            .map(|part| Ok::<_, Infallible>(Frame::data(part)));
        let body = StreamBody::new(futures::stream::iter(parts)).map_frame(move |frame| {
            let _ = &gone;
            frame
        });
        async move { Ok::<_, Infallible>(Response::new(body)) }
    });
    (TestServer::with_limits(service, limits).await, is_gone)
}

fn endless() -> impl Iterator<Item = Bytes> + Clone + Send + Sync {
    std::iter::repeat(Bytes::from(vec![0; 64 << 10]))
}

/// Takes a little whenever the connection was blocked for a moment, and tells
/// whether that comes to an end.
async fn sips(limits: Limits) -> bool {
    let (server, mut is_gone) = serve(limits, endless()).await;
    let mut stream = TcpStream::connect(server.address()).await.unwrap();
    let get = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    stream.write_all(get).await.unwrap();
    let mut sip = vec![0; 4 << 20];
    for _ in 0..30 {
        tokio::select! {
            gone = &mut is_gone => {
                assert!(gone.is_err());
                return true;
            }
            () = sleep(Duration::from_millis(50)) => {}
        }
        if stream.read_exact(&mut sip).await.is_err() {
            return true;
        }
    }
    false
}

#[tokio::test]
async fn h_01_a_client_that_takes_an_answer_too_slowly_is_left() {
    let patient = impatient()
        .write_idle(FOR_EVER)
        .write_grace(Duration::from_millis(200));
    let strict = patient.clone().write_min_rate(UNREACHABLE);
    assert!(sips(strict).await);
    assert!(!sips(patient).await);
}

/// Asks over HTTP/2 for an answer of `size` bytes, of which it takes a few,
/// while it shows all the time that it is there. Tells whether the server puts
/// an end to that.
async fn http2_is_left(limits: Limits, size: usize) -> bool {
    let whole = std::iter::once(Bytes::from(vec![0; size]));
    let (server, mut is_gone) = serve(limits, whole).await;
    let stream = TcpStream::connect(server.address()).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .initial_stream_window_size(1000)
        .keep_alive_interval(Duration::from_millis(50))
        .handshake::<_, Full<Bytes>>(TokioIo::new(stream))
        .await
        .unwrap();
    let connection = tokio::spawn(connection);
    let request = Request::get("http://a/").body(Full::default()).unwrap();
    let answer = sender.send_request(request).await.unwrap();
    let ended = timeout(Duration::from_secs(4), connection).await;
    let is_left = ended.is_ok();
    if is_left {
        // Whatever held memory on behalf of the client is gone as well.
        let gone = timeout(FOR_EVER, &mut is_gone).await;
        assert!(gone.expect("the answer is given up").is_err());
    }
    drop((sender, answer));
    is_left
}

#[tokio::test]
async fn h_03_an_http2_client_that_opens_no_window_is_left() {
    let limits = impatient()
        .write_idle(Duration::from_millis(100))
        .write_min_rate(UNREACHABLE)
        .keep_alive(FOR_EVER);
    // Large answers come in many parts, others in one.
    assert!(http2_is_left(limits.clone(), 8 << 20).await);
    assert!(http2_is_left(limits.clone(), 100_000).await);
    let patient = limits.write_idle(FOR_EVER).write_grace(FOR_EVER);
    assert!(!http2_is_left(patient, 100_000).await);
}

#[tokio::test]
async fn an_http2_connection_without_requests_ends_although_its_client_is_there() {
    let limits = impatient().keep_alive(Duration::from_millis(500));
    assert!(http2_is_left(limits, 10).await);
}

#[tokio::test]
async fn an_answer_over_http2_comes_whole() {
    let part = |size: usize| Bytes::from((0..=250).cycle().take(size).collect::<Vec<u8>>());
    for sizes in [
        vec![0],
        vec![1],
        vec![16 << 10],
        vec![(16 << 10) + 1],
        vec![100_000, 70_000],
    ] {
        let parts: Vec<_> = sizes.iter().map(|size| part(*size)).collect();
        let (server, _) = serve(Limits::default(), parts.clone().into_iter()).await;
        let stream = TokioIo::new(TcpStream::connect(server.address()).await.unwrap());
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), stream)
                .await
                .unwrap();
        tokio::spawn(connection);
        let request = Request::get("http://a/").body(Full::<Bytes>::default());
        let answer = sender.send_request(request.unwrap()).await.unwrap();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        assert!(body == parts.concat(), "{sizes:?}");
    }
}
