//! What a connection may ask for, how long it may take, and how many there are.
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
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use registry_http::{Limits, TestServer};
use server_support::{Seen, echo, exchange, get, http1, http2, impatient, statuses, text};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout};

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

/// As every other answer does.
#[tokio::test]
async fn refusals_of_the_listener_say_what_they_are_about_and_what_speaks_here() {
    let server = TestServer::with_limits(echo(&Seen::default()), impatient()).await;
    let ask = |line: &str, headers: &str| format!("{line} HTTP/1.1\r\n{headers}\r\n");
    let host = "Host: a\r\n";
    let (path, long) = ("x".repeat(8 << 10), "y".repeat(33 << 10));
    for (request, status, detail) in [
        (
            ask(&format!("GET /{path}"), host),
            414,
            "part=target max=8192",
        ),
        (
            ask("GET /", &format!("{host}X: {long}\r\n")),
            431,
            "part=head max=32768",
        ),
        (
            ask("GET /", &format!("{host}{}", "X: y\r\n".repeat(64))),
            431,
            "part=headers max=64",
        ),
        (
            ask(
                "GET /",
                &format!("{host}Authorization: {}\r\n", &long[..20 << 10]),
            ),
            431,
            "part=authorization max=16384",
        ),
        (ask("GET", host), 400, "part=request-line"),
        (ask("G@T /", host), 400, "part=method"),
        (ask("GET /\u{e9}", host), 400, "part=target"),
        (ask("GET /", ""), 400, "part=host"),
        (ask("GET /", &format!("{host}X\r\n")), 400, "part=header"),
        (
            ask("GET /", &format!("{host}Content-Length: x\r\n")),
            400,
            "part=content-length",
        ),
        (
            ask("GET /", &format!("{host}Transfer-Encoding: gzip\r\n")),
            400,
            "part=transfer-encoding",
        ),
        ("GET /\n".to_owned(), 400, "part=head"),
    ] {
        let answer = exchange(server.address(), request.as_bytes(), usize::MAX).await;
        assert_eq!(statuses(&answer), [status], "{answer}");
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        for header in [
            "docker-distribution-api-version: registry/2.0",
            "content-type: application/json",
            "x-content-type-options: nosniff",
            "cache-control: no-store",
        ] {
            assert!(head.contains(header), "{header}: {head}");
        }
        let body: serde_json::Value = serde_json::from_str(body).unwrap();
        let error = &body["errors"][0];
        assert_eq!(error["code"], "UNSUPPORTED", "{detail}");
        assert_eq!(error["detail"], detail);
        assert!(!error["message"].as_str().unwrap().is_empty());
    }
}

#[tokio::test]
async fn h_02_http2_says_what_is_too_large() {
    let server = TestServer::with_service(echo(&Seen::default())).await;
    let mut client = http2(server.address()).await;
    let mut long = get(&format!("http://a/{}", "x".repeat(9 << 10)));
    let mut login = get("http://a/");
    login
        .headers_mut()
        .insert("authorization", "y".repeat(17 << 10).parse().unwrap());
    long.headers_mut().remove("host");
    for (request, detail) in [
        (long, "part=target max=8192"),
        (login, "part=authorization max=16384"),
    ] {
        let answer = client.send_request(request).await.unwrap();
        assert_eq!(
            answer.headers()["docker-distribution-api-version"],
            "registry/2.0"
        );
        let body: serde_json::Value = serde_json::from_str(&text(answer).await).unwrap();
        assert_eq!(body["errors"][0]["detail"], detail);
    }
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

#[tokio::test]
async fn what_nobody_reads_yet_is_sent_ahead_by_no_more_than_a_window() {
    let service = tower::service_fn(|request: Request<Incoming>| async move {
        let _unread = request;
        std::future::pending::<Result<Response<Full<Bytes>>, Infallible>>().await
    });
    let limits = Limits::default().http2_wide_connections(0);
    let server = TestServer::with_limits(service, limits).await;
    let stream = TcpStream::connect(server.address()).await.unwrap();
    let (client, connection) = hyper::client::conn::http2::handshake(
        hyper_util::rt::TokioExecutor::new(),
        hyper_util::rt::TokioIo::new(stream),
    )
    .await
    .unwrap();
    tokio::spawn(connection);
    let sent = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    for _ in 0..8 {
        let (mut client, sent) = (client.clone(), std::sync::Arc::clone(&sent));
        let parts = std::iter::repeat_with(move || {
            sent.fetch_add(1 << 10, std::sync::atomic::Ordering::Relaxed);
            Ok::<_, Infallible>(Frame::data(Bytes::from_static(&[0; 1 << 10])))
        });
        let body = StreamBody::new(futures::stream::iter(parts.take(4 << 10)));
        let request = Request::put("http://a/").body(body).unwrap();
        tokio::spawn(async move { client.send_request(request).await });
    }
    let sent = || sent.load(std::sync::atomic::Ordering::Relaxed);
    let mut before = usize::MAX;
    while sent() == 0 || sent() != before {
        before = sent();
        sleep(Duration::from_millis(200)).await;
    }
    // And what the client has at hand.
    assert!((200 << 10..400 << 10).contains(&sent()), "{}", sent());
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
    let limits = impatient().max_connections(2);
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
    let limits = impatient().max_connections_per_address(2);
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
