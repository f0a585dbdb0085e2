//! Connections over real sockets: versions, limits, and the end.
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
use http::uri::Scheme;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo};
use registry_http::{Limits, Peer, Server, TestServer};
use server_support::{Seen, echo, exchange, impatient, statuses};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout};

type Http1 = hyper::client::conn::http1::SendRequest<Full<Bytes>>;
type Http2 = hyper::client::conn::http2::SendRequest<Full<Bytes>>;

async fn http1(address: std::net::SocketAddr) -> Http1 {
    let stream = TokioIo::new(TcpStream::connect(address).await.unwrap());
    let (sender, connection) = hyper::client::conn::http1::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    sender
}

async fn http2(address: std::net::SocketAddr) -> Http2 {
    let stream = TokioIo::new(TcpStream::connect(address).await.unwrap());
    let (sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), stream)
        .await
        .unwrap();
    tokio::spawn(connection);
    sender
}

fn get(target: &str) -> Request<Full<Bytes>> {
    Request::get(target)
        .header("host", "a")
        .body(Full::default())
        .unwrap()
}

async fn text(response: Response<Incoming>) -> String {
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(bytes.to_vec()).unwrap()
}

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

#[tokio::test]
async fn h_02_heads_that_are_too_large_are_refused_and_never_an_error_of_ours() {
    let seen = Seen::default();
    let server = TestServer::with_limits(echo(&seen), impatient()).await;
    let ask = async |target: &str, headers: &str| {
        let request = format!("GET {target} HTTP/1.1\r\nHost: a\r\n{headers}\r\n");
        let answer = exchange(server.address(), request.as_bytes(), usize::MAX).await;
        statuses(&answer)
    };
    let close = "Connection: close\r\n";
    let many = |count: usize| "X: y\r\n".repeat(count);
    let long = |length: usize| format!("X: {}\r\n", "y".repeat(length));
    let path = |length: usize| format!("/{}", "x".repeat(length - 1));
    assert_eq!(ask("/", &format!("{close}{}", many(62))).await, [200]);
    assert_eq!(ask("/", &format!("{close}{}", many(63))).await, [431]);
    assert_eq!(ask("/", &format!("{close}{}", long(30 << 10))).await, [200]);
    assert_eq!(ask("/", &long(33 << 10)).await, [431]);
    let login = |length: usize| format!("{close}Authorization: {}\r\n", "y".repeat(length));
    assert_eq!(ask("/", &login(16 << 10)).await, [200]);
    assert_eq!(ask("/", &login((16 << 10) + 1)).await, [431]);
    assert_eq!(ask("/", &long(1 << 20)).await, [431]);
    assert_eq!(ask(&path(8 << 10), close).await, [200]);
    assert_eq!(ask(&path((8 << 10) + 1), close).await, [414]);
    assert_eq!(ask(&path(1 << 20), close).await, [414]);
    assert_eq!(seen.lock().unwrap().len(), 4);
}

#[tokio::test]
async fn a_client_that_reads_only_after_it_has_sent_everything_gets_its_answer() {
    let server = TestServer::with_limits(echo(&Seen::default()), impatient()).await;
    let mut stream = TcpStream::connect(server.address()).await.unwrap();
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: a\r\n")
        .await
        .unwrap();
    let header = format!("X: {}\r\n", "y".repeat(10 << 10));
    for _ in 0..20 {
        let sent = stream.write_all(header.as_bytes()).await;
        sent.expect("the server doesn't reset the connection");
        sleep(Duration::from_millis(5)).await;
    }
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert_eq!(statuses(&answer), [431], "{answer}");
}

#[tokio::test]
async fn h_02_http2_has_the_same_limits() {
    let server = TestServer::with_service(echo(&Seen::default())).await;
    let mut client = http2(server.address()).await;
    let mut status = async |request: Request<Full<Bytes>>| {
        client
            .send_request(request)
            .await
            .map(|response| response.status())
    };
    let with_headers = |count: usize| {
        let mut request = get("http://a/");
        for number in 0..count {
            let name = http::HeaderName::from_bytes(format!("x-{number}").as_bytes()).unwrap();
            request.headers_mut().insert(name, "y".parse().unwrap());
        }
        request
    };
    assert_eq!(status(with_headers(60)).await.unwrap(), StatusCode::OK);
    let refused = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
    assert_eq!(status(with_headers(70)).await.unwrap(), refused);
    let long = format!("http://a/{}", "x".repeat(9 << 10));
    assert_eq!(status(get(&long)).await.unwrap(), StatusCode::URI_TOO_LONG);
    let mut huge = get("http://a/");
    huge.headers_mut()
        .insert("x", "y".repeat(40 << 10).parse().unwrap());
    assert_eq!(status(huge).await.unwrap(), refused);
    let mut login = get("http://a/");
    login
        .headers_mut()
        .insert("authorization", "y".repeat(17 << 10).parse().unwrap());
    assert_eq!(status(login).await.unwrap(), refused);
    assert_eq!(status(get("http://a/")).await.unwrap(), StatusCode::OK);
}

/// How long the server keeps a connection on which `bytes` arrive one by one.
async fn patience(server: &TestServer, bytes: &[u8], pause: Duration) -> Duration {
    let mut stream = TcpStream::connect(server.address()).await.unwrap();
    let start = Instant::now();
    let (mut reader, mut writer) = stream.split();
    let dribble = async {
        for byte in bytes {
            if writer.write_all(&[*byte]).await.is_err() {
                break;
            }
            sleep(pause).await;
        }
        std::future::pending::<()>().await;
    };
    let mut answer = Vec::new();
    tokio::select! {
        () = dribble => {}
        received = timeout(Duration::from_secs(5), reader.read_to_end(&mut answer)) => {
            drop(received.expect("the server closes the connection"));
        }
    }
    start.elapsed()
}

#[tokio::test]
async fn h_01_a_client_that_dribbles_its_head_is_left() {
    let server = TestServer::with_limits(echo(&Seen::default()), impatient()).await;
    let pause = Duration::from_millis(50);
    let head = "GET / HTTP/1.1\r\nHost: a\r\nX-Filler: y\r\n\r\n".repeat(3);
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let settings = [&preface[..], &[0; 100]].concat();
    let (nothing, head, preface, settings) = tokio::join!(
        patience(&server, b"", pause),
        patience(&server, head.as_bytes(), pause),
        patience(&server, preface, pause),
        patience(&server, &settings, Duration::from_millis(5)),
    );
    for (what, time) in [("nothing", nothing), ("head", head), ("preface", preface)] {
        assert!(time > Duration::from_millis(250), "{what}: {time:?}");
        assert!(time < Duration::from_millis(800), "{what}: {time:?}");
    }
    assert!(settings < Duration::from_secs(3), "settings: {settings:?}");
}

#[tokio::test]
async fn a_connection_at_rest_is_closed_later_than_one_that_dribbles() {
    let server = TestServer::with_limits(echo(&Seen::default()), impatient()).await;
    let mut stream = TcpStream::connect(server.address()).await.unwrap();
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .unwrap();
    let start = Instant::now();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let time = start.elapsed();
    assert!(answer.starts_with(b"HTTP/1.1 200"));
    assert!(time > Duration::from_millis(800), "{time:?}");
    assert!(time < Duration::from_millis(1800), "{time:?}");

    let two = http2(server.address()).await;
    let mut first = two.clone();
    first.send_request(get("http://a/")).await.unwrap();
    let start = Instant::now();
    while !two.is_closed() {
        assert!(
            start.elapsed() < Duration::from_secs(4),
            "the connection stays open"
        );
        sleep(Duration::from_millis(20)).await;
    }
    assert!(
        start.elapsed() > Duration::from_millis(700),
        "{:?}",
        start.elapsed()
    );
}

/// Sends the same bytes for ever.
fn endless() -> Response<StreamBody<impl futures::Stream<Item = Result<Frame<Bytes>, Infallible>>>>
{
    let part = Bytes::from(vec![0; 64 << 10]);
    Response::new(StreamBody::new(futures::stream::repeat_with(move || {
        Ok(Frame::data(part.clone()))
    })))
}

#[tokio::test]
async fn a_client_that_takes_nothing_of_an_answer_is_left() {
    let (gone, is_gone) = oneshot::channel::<()>();
    let gone = std::sync::Arc::new(std::sync::Mutex::new(Some(gone)));
    let service = tower::service_fn(move |_: Request<Incoming>| {
        let gone = gone.lock().unwrap().take();
        async move {
            let (parts, body) = endless().into_parts();
            // The channel closes when the answer is dropped.
            let body = body.map_frame(move |frame| {
                let _ = &gone;
                frame
            });
            Ok::<_, Infallible>(Response::from_parts(parts, body))
        }
    });
    let server = TestServer::with_limits(service, impatient()).await;
    let mut stream = TcpStream::connect(server.address()).await.unwrap();
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .unwrap();
    let start = Instant::now();
    let dropped = timeout(Duration::from_secs(5), is_gone)
        .await
        .expect("the answer is given up");
    assert!(dropped.is_err());
    assert!(
        start.elapsed() > Duration::from_millis(450),
        "{:?}",
        start.elapsed()
    );
}

#[tokio::test]
async fn no_more_connections_than_allowed_are_served() {
    let limits = Limits {
        max_connections: 2,
        ..impatient()
    };
    let server = TestServer::with_limits(echo(&Seen::default()), limits).await;
    let mut first = http1(server.address()).await;
    first.send_request(get("/")).await.unwrap();
    let mut second = http1(server.address()).await;
    second.send_request(get("/")).await.unwrap();

    // The system accepts a third on the server's behalf, but nobody serves it.
    let mut third = http1(server.address()).await;
    let mut waiting = std::pin::pin!(third.send_request(get("/third")));
    assert!(
        timeout(Duration::from_millis(200), waiting.as_mut())
            .await
            .is_err()
    );
    drop(first);
    let response = timeout(Duration::from_secs(3), waiting)
        .await
        .expect("a place is free")
        .unwrap();
    assert_eq!(response.status(), StatusCode::OK);
}

#[tokio::test]
async fn one_address_gets_only_its_share_of_connections() {
    let limits = Limits {
        max_connections_per_address: 2,
        ..impatient()
    };
    let server = TestServer::with_limits(echo(&Seen::default()), limits).await;
    let mut first = http1(server.address()).await;
    first.send_request(get("/")).await.unwrap();
    let mut second = http1(server.address()).await;
    second.send_request(get("/")).await.unwrap();
    let mut third = TcpStream::connect(server.address()).await.unwrap();
    let mut answer = Vec::new();
    let closed = timeout(Duration::from_secs(2), third.read_to_end(&mut answer)).await;
    drop(closed.expect("the connection is closed"));
    assert!(answer.is_empty());

    drop(first);
    sleep(Duration::from_millis(100)).await;
    let mut fourth = http1(server.address()).await;
    assert_eq!(
        fourth.send_request(get("/")).await.unwrap().status(),
        StatusCode::OK
    );
}

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
    let limits = Limits {
        drain_timeout: Duration::from_millis(300),
        ..impatient()
    };
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
