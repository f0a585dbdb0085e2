//! What the tests of the listener share: a service that tells what it saw, and
//! a client that sends whatever it likes.
#![allow(dead_code, reason = "each test uses its part")]

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::uri::Scheme;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use registry_http::Limits;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tower_service::Service;

/// The paths that reached the service.
pub(crate) type Seen = Arc<Mutex<Vec<String>>>;

pub(crate) type Http1 = hyper::client::conn::http1::SendRequest<Full<Bytes>>;
pub(crate) type Http2 = hyper::client::conn::http2::SendRequest<Full<Bytes>>;

/// A connection of each version.
pub(crate) async fn http1(address: SocketAddr) -> Http1 {
    let stream = TokioIo::new(TcpStream::connect(address).await.unwrap());
    let (sender, connection) = hyper::client::conn::http1::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    sender
}

pub(crate) async fn http2(address: SocketAddr) -> Http2 {
    let stream = TokioIo::new(TcpStream::connect(address).await.unwrap());
    let (sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), stream)
        .await
        .unwrap();
    tokio::spawn(connection);
    sender
}

pub(crate) fn get(target: &str) -> Request<Full<Bytes>> {
    Request::get(target)
        .header("host", "a")
        .body(Full::default())
        .unwrap()
}

pub(crate) async fn text(response: Response<Incoming>) -> String {
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Answers with the path and the length of the body, once it has all of it, and
/// with the scheme in a header.
pub(crate) fn echo(
    seen: &Seen,
) -> impl Service<Request<Incoming>, Response = Response<Full<Bytes>>, Error = Infallible, Future: Send>
+ Clone
+ Send
+ 'static {
    let seen = Arc::clone(seen);
    tower::service_fn(move |request: Request<Incoming>| {
        let seen = Arc::clone(&seen);
        async move {
            let path = request.uri().path().to_owned();
            seen.lock().unwrap().push(path.clone());
            let scheme = request.extensions().get::<Scheme>().unwrap().to_string();
            let Ok(body) = request.into_body().collect().await else {
                let mut response = Response::new(Full::default());
                *response.status_mut() = StatusCode::BAD_REQUEST;
                return Ok(response);
            };
            let length = body.to_bytes().len();
            let response = Response::builder().header("x-scheme", scheme);
            Ok(response
                .body(Full::from(format!("{path} {length}")))
                .unwrap())
        }
    })
}

/// Limits that a test doesn't have to wait for.
pub(crate) fn impatient() -> Limits {
    Limits::default()
        .header_timeout(Duration::from_millis(300))
        .keep_alive(Duration::from_millis(900))
        .write_idle(Duration::from_millis(500))
        .tls_handshake(Duration::from_millis(300))
        .drain_time(Duration::from_millis(300))
        .drain_timeout(Duration::from_secs(3))
}

/// Sends `bytes` in pieces of `piece` and reads until the server closes. An
/// answer that is lost to a reset is an answer that didn't come.
pub(crate) async fn exchange(address: SocketAddr, bytes: &[u8], piece: usize) -> String {
    let stream = TcpStream::connect(address).await.unwrap();
    exchange_on(stream, bytes, piece).await
}

/// The same on a connection that was used before.
pub(crate) async fn exchange_on(mut stream: TcpStream, bytes: &[u8], piece: usize) -> String {
    stream.set_nodelay(true).unwrap();
    let (mut reader, mut writer) = stream.split();
    let send = async {
        for piece in bytes.chunks(piece) {
            if writer.write_all(piece).await.is_err() {
                break;
            }
        }
        std::future::pending::<()>().await;
    };
    let mut answer = Vec::new();
    let receive = timeout(Duration::from_secs(10), reader.read_to_end(&mut answer));
    tokio::select! {
        () = send => unreachable!(),
        received = receive => {
            drop(received.expect("the server closes the connection"));
        }
    }
    String::from_utf8_lossy(&answer).into_owned()
}

/// The statuses of the answers, in order.
pub(crate) fn statuses(answers: &str) -> Vec<u16> {
    answers
        .split("HTTP/1.1 ")
        .skip(1)
        .filter_map(|answer| answer.get(..3)?.parse().ok())
        .collect()
}
