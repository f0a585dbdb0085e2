//! Clients that keep an HTTP/2 connection busy with nothing.
//!
//! Frames are written by hand: no client does such things.
#![cfg(feature = "testkit")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test fails by panicking"
)]

mod server_support;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use registry_http::{Limits, TestServer};
use server_support::{Seen, echo, impatient};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Longer than anything here may take, unless it takes for ever.
const FOR_EVER: Duration = Duration::from_secs(20);

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

// Types of frames, RFC 9113, section 6.
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// `:method: GET`, `:scheme: http`, `:path: /`, `:authority: a`, as HPACK has
/// them.
const GET: &[u8] = &[0x82, 0x86, 0x84, 0x01, 1, b'a'];
/// The same with `:method: POST`.
const POST: &[u8] = &[0x83, 0x86, 0x84, 0x01, 1, b'a'];

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = Vec::with_capacity(9 + payload.len());
    frame.extend_from_slice(&length[1..]);
    frame.extend_from_slice(&[kind, flags]);
    frame.extend_from_slice(&stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// The frames that the server sent: their types, streams and payloads.
fn frames(mut bytes: &[u8]) -> Vec<(u8, u32, Vec<u8>)> {
    let mut frames = Vec::new();
    while bytes.len() >= 9 {
        let length = u32::from_be_bytes([0, bytes[0], bytes[1], bytes[2]]) as usize;
        let stream = u32::from_be_bytes(bytes[5..9].try_into().unwrap());
        let end = (9 + length).min(bytes.len());
        frames.push((bytes[3], stream, bytes[9..end].to_vec()));
        bytes = &bytes[end..];
    }
    frames
}

/// Begins a connection and then sends `flood` until the server ends it, while
/// reading all that it sends. Returns what came of that: what is on its way is
/// lost if the connection is reset.
async fn flood(address: SocketAddr, flood: impl Iterator<Item = Vec<u8>>) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let (mut reader, mut writer) = stream.split();
    let send = async {
        let begin = [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat();
        if writer.write_all(&begin).await.is_err() {
            return;
        }
        for frame in flood {
            if writer.write_all(&frame).await.is_err() {
                return;
            }
        }
        // It is the server that has to end this.
        std::future::pending::<()>().await;
    };
    let mut received = Vec::new();
    let receive = async {
        // A reset is an end too.
        let _ = reader.read_to_end(&mut received).await;
    };
    let both = async {
        tokio::select! {
            () = receive => {}
            () = send => {}
        }
    };
    timeout(FOR_EVER, both).await.expect("the connection ends");
    received
}

/// The identities of streams that a client opens.
fn streams() -> impl Iterator<Item = u32> {
    (1..u32::MAX / 2).step_by(2)
}

/// A server that never answers, and how many requests it got at the same time
/// at most.
async fn never(limits: Limits) -> (TestServer, Arc<AtomicUsize>) {
    struct Running(Arc<AtomicUsize>);

    impl Drop for Running {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Ordering::SeqCst);
        }
    }

    let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let seen = Arc::clone(&most);
    let service = tower::service_fn(move |_: Request<Incoming>| {
        let now = running.fetch_add(1, Ordering::SeqCst) + 1;
        seen.fetch_max(now, Ordering::SeqCst);
        let running = Running(Arc::clone(&running));
        async move {
            let _running = running;
            std::future::pending::<()>().await;
            Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
        }
    });
    (TestServer::with_limits(service, limits).await, most)
}

/// Whether the server still serves.
async fn is_well(server: &TestServer) -> bool {
    let request = b"GET /well HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let answer = server_support::exchange(server.address(), request, usize::MAX).await;
    answer.starts_with("HTTP/1.1 200")
}

#[tokio::test]
async fn h_03_streams_that_are_opened_and_reset_end_the_connection() {
    let (server, most) = never(Limits::default()).await;
    let resets = streams().map(|stream| {
        let open = frame(HEADERS, END_STREAM | END_HEADERS, stream, GET);
        [open, frame(RESET, 0, stream, &8_u32.to_be_bytes())].concat()
    });
    // Many at once, before the server gets to see any.
    let resets: Vec<Vec<u8>> = resets.take(20_000).collect();
    flood(server.address(), resets.chunks(2_000).map(<[_]>::concat)).await;
    assert!(most.load(Ordering::SeqCst) <= 100, "{most:?}");
}

#[tokio::test]
async fn h_03_streams_that_the_server_is_made_to_reset_end_the_connection() {
    let limits = Limits::default()
        .http2_max_error_resets(50)
        // So that it isn't this which counts.
        .http2_max_pending_resets(1 << 20);
    let (server, most) = never(limits).await;
    // A window that gets too large is an error of the stream.
    let too_large = (u32::MAX >> 1).to_be_bytes();
    let errors = streams().map(move |stream| {
        let open = frame(HEADERS, END_HEADERS, stream, POST);
        [open, frame(WINDOW_UPDATE, 0, stream, &too_large)].concat()
    });
    flood(server.address(), errors).await;
    assert!(most.load(Ordering::SeqCst) <= 100, "{most:?}");
}

#[tokio::test]
async fn h_03_no_more_streams_than_allowed_are_served() {
    let limits = Limits::default()
        .http2_max_streams(10)
        .http2_max_error_resets(50);
    let (server, most) = never(limits).await;
    let open = streams().map(|stream| frame(HEADERS, END_STREAM | END_HEADERS, stream, GET));
    flood(server.address(), open).await;
    assert_eq!(most.load(Ordering::SeqCst), 10);
}

#[tokio::test]
async fn h_03_headers_without_end_end_the_connection() {
    let seen = Seen::default();
    let server = TestServer::with_limits(echo(&seen), Limits::default()).await;
    let begin = frame(HEADERS, 0, 1, GET);
    // Literal headers that aren't indexed, each of 1 KiB.
    let header = [&[0x00, 1, b'x', 0x7f, 0x81, 0x07][..], &[b'y'; 1024]].concat();
    let more = std::iter::repeat_with(move || frame(CONTINUATION, 0, 1, &header.repeat(15)));
    flood(server.address(), std::iter::once(begin.clone()).chain(more)).await;
    // Nor if there is nothing in them.
    let nothing = std::iter::repeat_with(|| frame(CONTINUATION, 0, 1, &[]));
    flood(server.address(), std::iter::once(begin).chain(nothing)).await;
    assert!(seen.lock().unwrap().is_empty());
    assert!(is_well(&server).await);
}

#[tokio::test]
async fn h_03_headers_that_unfold_to_more_than_allowed_are_refused() {
    let seen = Seen::default();
    let server = TestServer::with_limits(echo(&seen), impatient()).await;
    // One header of 3 KiB goes into the table, and is then named again and
    // again in one byte.
    let value = [b'y'; 3072];
    let indexed = [&[0x40, 1, b'x', 0x7f, 0x81, 0x17][..], &value].concat();
    let bomb = [GET, &indexed, &vec![0xbe; 10_000]].concat();
    let bomb = frame(HEADERS, END_STREAM | END_HEADERS, 1, &bomb);
    let received = flood(server.address(), std::iter::once(bomb)).await;
    let answers = frames(&received)
        .into_iter()
        .filter(|(kind, stream, _)| *kind == HEADERS && *stream == 1);
    // `:status: 431`, unless the connection ends at once.
    for (_, _, block) in answers {
        assert!(block.windows(3).any(|text| text == b"431"), "{block:x?}");
    }
    assert!(seen.lock().unwrap().is_empty());
    assert!(is_well(&server).await);
}

#[tokio::test]
async fn h_03_a_body_of_nothing_but_frames_ends_the_connection() {
    let seen = Seen::default();
    let server = TestServer::with_limits(echo(&seen), Limits::default()).await;
    for size in [0, 1] {
        let begin = frame(HEADERS, END_HEADERS, 1, POST);
        let part = frame(DATA, 0, 1, &vec![b'x'; size]).repeat(1000);
        let parts = std::iter::repeat_with(move || part.clone());
        flood(server.address(), std::iter::once(begin).chain(parts)).await;
    }
    assert!(is_well(&server).await);
}

/// Asks for something and then sends `frame` again and again without reading
/// anything, until the server ends the connection.
async fn deaf(address: SocketAddr, frame: Vec<u8>) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let settings = self::frame(SETTINGS, 0, 0, &[]);
    let request = self::frame(HEADERS, END_STREAM | END_HEADERS, 1, GET);
    let begin = [PREFACE, &settings, &request].concat();
    stream.write_all(&begin).await.unwrap();
    let frames = frame.repeat(1000);
    let send = async { while stream.write_all(&frames).await.is_ok() {} };
    timeout(FOR_EVER, send).await.expect("the connection ends");
}

#[tokio::test]
async fn h_03_who_asks_for_echoes_and_reads_none_is_left() {
    let (server, _) = never(impatient()).await;
    deaf(server.address(), frame(PING, 0, 0, &[7; 8])).await;
    // Each is to be acknowledged.
    deaf(server.address(), frame(SETTINGS, 0, 0, &[])).await;
}

#[tokio::test]
async fn a_request_written_by_hand_is_answered() {
    let server = TestServer::with_limits(echo(&Seen::default()), impatient()).await;
    let request = frame(HEADERS, END_STREAM | END_HEADERS, 1, GET);
    let received = flood(server.address(), std::iter::once(request)).await;
    let answered = frames(&received)
        .into_iter()
        .any(|(kind, stream, payload)| (kind, stream) == (DATA, 1) && payload == b"/ 0");
    assert!(answered, "{received:x?}");
}

/// A connection, and how much may be sent on a stream of it.
async fn windowed(address: SocketAddr) -> (TcpStream, u32) {
    const INITIAL_WINDOW_SIZE: [u8; 2] = [0, 4];
    let mut stream = TcpStream::connect(address).await.unwrap();
    let begin = [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat();
    stream.write_all(&begin).await.unwrap();
    let mut received = Vec::new();
    let read = async {
        loop {
            stream.read_buf(&mut received).await.unwrap();
            let settings = frames(&received)
                .into_iter()
                .find_map(|(kind, _, payload)| {
                    let setting = payload
                        .chunks(6)
                        .find(|setting| setting[..2] == INITIAL_WINDOW_SIZE)?;
                    (kind == SETTINGS).then(|| u32::from_be_bytes(setting[2..].try_into().unwrap()))
                });
            if let Some(window) = settings {
                return window;
            }
        }
    };
    let window = timeout(FOR_EVER, read).await.expect("settings");
    (stream, window)
}

#[tokio::test]
async fn so_many_connections_have_wide_windows_and_all_others_narrow_ones() {
    let seen = Seen::default();
    let limits = Limits::default()
        .address_share(None)
        .http2_wide_connections(2)
        .http2_wide_window(1 << 20)
        .http2_stream_window(1 << 16);
    let server = TestServer::with_limits(echo(&seen), limits).await;
    let (first, window) = windowed(server.address()).await;
    assert_eq!(window, 1 << 20);
    let (_second, window) = windowed(server.address()).await;
    assert_eq!(window, 1 << 20);
    let (_third, window) = windowed(server.address()).await;
    assert_eq!(window, 1 << 16);
    drop(first);
    let again = async { while windowed(server.address()).await.1 != 1 << 20 {} };
    timeout(FOR_EVER, again)
        .await
        .expect("a place is free again");
}
