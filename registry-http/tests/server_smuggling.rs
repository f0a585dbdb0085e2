//! H-04: requests that two programs could read in two ways.
#![cfg(feature = "testkit")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod server_support;

use registry_http::TestServer;
use server_support::{Seen, echo, exchange, exchange_on, impatient, statuses};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The request that nobody must take for one.
const HIDDEN: &str = "GET /hidden HTTP/1.1\r\nHost: a\r\n\r\n";

/// Heads that must be refused. Whatever follows is no request.
const HEADS: &[(&str, &str)] = &[
    (
        "both lengths",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    (
        "both lengths, the other way round",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 6\r\n\r\n0\r\n\r\n",
    ),
    (
        "both lengths, in other cases",
        "POST / HTTP/1.1\r\nHost: a\r\ncontent-LENGTH: 6\r\ntransfer-ENCODING: CHUNKED\r\n\r\n0\r\n\r\n",
    ),
    (
        "two lengths",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nContent-Length: 34\r\n\r\n",
    ),
    (
        "the same length twice",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n",
    ),
    (
        "a list of lengths",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0, 0\r\n\r\n",
    ),
    (
        "a length with a sign",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +0\r\n\r\n",
    ),
    (
        "a negative length",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
    ),
    (
        "a hexadecimal length",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x0\r\n\r\n",
    ),
    (
        "a fractional length",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0.0\r\n\r\n",
    ),
    (
        "a length that is too large",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551616\r\n\r\n",
    ),
    (
        "the largest length",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551615\r\n\r\n",
    ),
    (
        "an empty length",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n",
    ),
    (
        "a length with white space in it",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0 0\r\n\r\n",
    ),
    (
        "white space in front of the colon",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length : 0\r\n\r\n",
    ),
    (
        "a tab in front of the colon",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding\t: chunked\r\n\r\n",
    ),
    (
        "a folded header",
        "POST / HTTP/1.1\r\nHost: a\r\nX: y\r\n Content-Length: 0\r\n\r\n",
    ),
    (
        "a folded encoding",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
    ),
    (
        "a header that begins with white space",
        "POST / HTTP/1.1\r\n Host: a\r\nContent-Length: 0\r\n\r\n",
    ),
    (
        "bare line feeds",
        "POST / HTTP/1.1\nHost: a\nContent-Length: 0\n\n",
    ),
    (
        "one bare line feed",
        "POST / HTTP/1.1\r\nHost: a\nContent-Length: 0\r\n\r\n",
    ),
    (
        "a bare line feed at the end",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\n",
    ),
    (
        "a bare carriage return",
        "POST / HTTP/1.1\r\nHost: a\r\nX: a\rContent-Length: 34\r\n\r\n",
    ),
    (
        "a NUL in a value",
        "POST / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n",
    ),
    (
        "a NUL in a name",
        "POST / HTTP/1.1\r\nHost: a\r\nX\0: a\r\n\r\n",
    ),
    (
        "a header without a colon",
        "POST / HTTP/1.1\r\nHost: a\r\nX\r\n\r\n",
    ),
    (
        "a header without a name",
        "POST / HTTP/1.1\r\nHost: a\r\n: x\r\n\r\n",
    ),
    (
        "an encoding nobody knows",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n",
    ),
    (
        "chunked isn't the last encoding",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, identity\r\n\r\n",
    ),
    (
        "several encodings",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    ),
    (
        "the encoding twice",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    (
        "an encoding and then another",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n0\r\n\r\n",
    ),
    (
        "an encoding in quotes",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \"chunked\"\r\n\r\n",
    ),
    (
        "an encoding with a control character",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \x0bchunked\r\n\r\n",
    ),
    (
        "an encoding in HTTP/1.0",
        "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    ("no host", "POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n"),
    ("two hosts", "POST / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"),
    ("no version", "GET /\r\nHost: a\r\n\r\n"),
    ("another version", "GET / HTTP/1.2\r\nHost: a\r\n\r\n"),
    ("HTTP/2 by name only", "GET / HTTP/2.0\r\nHost: a\r\n\r\n"),
    ("two spaces", "GET  / HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("a tab for a space", "GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n"),
    (
        "a space in the target",
        "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n",
    ),
    (
        "a target that isn't ASCII",
        "GET /\u{e4} HTTP/1.1\r\nHost: a\r\n\r\n",
    ),
    ("a tunnel", "CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n"),
    (
        "a method that isn't a token",
        "G(T / HTTP/1.1\r\nHost: a\r\n\r\n",
    ),
];

/// Bodies in chunks that must not be read on.
const CHUNKS: &[(&str, &str)] = &[
    ("a bare line feed in an extension", "0;a\n\r\n"),
    ("white space behind the size", "0 \r\n\r\n"),
    ("white space in front of the size", " 0\r\n\r\n"),
    ("a sign", "+0\r\n\r\n"),
    ("a prefix", "0x0\r\n\r\n"),
    ("a bare line feed behind the size", "0\n\r\n"),
    ("a bare line feed behind the data", "1\r\na\n0\r\n\r\n"),
    ("more data than announced", "1\r\nab\r\n0\r\n\r\n"),
    ("less data than announced", "3\r\na\r\n0\r\n\r\nxx"),
    ("a size that is too large", "10000000000000000\r\n"),
    (
        "a size that overflows to nothing",
        "1000000000000000000\r\n",
    ),
    ("no size", "\r\n\r\n"),
    ("a bare line feed at the end", "0\r\n\n"),
    ("a folded trailer", "0\r\nA: b\r\n c\r\n\r\n"),
    ("a trailer without a colon", "0\r\nA\r\n\r\n"),
];

#[tokio::test]
async fn h_04_a_head_with_two_readings_is_refused() {
    let seen = Seen::default();
    let server = TestServer::with_limits(echo(&seen), impatient()).await;
    for (what, head) in HEADS {
        for piece in [usize::MAX, 11] {
            let bytes = format!("{head}{HIDDEN}");
            let answer = exchange(server.address(), bytes.as_bytes(), piece).await;
            assert_eq!(statuses(&answer), [400], "{what}: {answer}");
            assert!(
                answer.contains("\r\nconnection: close\r\n"),
                "{what}: {answer}"
            );
            assert!(
                answer.contains("\r\ncontent-type: application/json\r\n"),
                "{what}: {answer}"
            );
            assert!(
                answer.contains(r#"{"errors":[{"code":"UNSUPPORTED","message":""#),
                "{what}"
            );
        }
    }
    assert_eq!(*seen.lock().unwrap(), [""; 0]);
}

#[tokio::test]
async fn h_04_a_request_in_front_is_answered_first() {
    let seen = Seen::default();
    let server = TestServer::with_limits(echo(&seen), impatient()).await;
    for (what, head) in HEADS {
        let first = "PUT /first HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc";
        let bytes = format!("{first}{head}{HIDDEN}");
        let answer = exchange(server.address(), bytes.as_bytes(), usize::MAX).await;
        assert_eq!(statuses(&answer), [200, 400], "{what}: {answer}");
    }
    assert_eq!(*seen.lock().unwrap(), vec!["/first"; HEADS.len()]);
}

#[tokio::test]
async fn h_04_a_connection_that_behaved_well_is_watched_no_less() {
    let seen = Seen::default();
    let server = TestServer::with_limits(echo(&seen), impatient()).await;
    for (what, head) in HEADS {
        for piece in [usize::MAX, 11] {
            let mut stream = TcpStream::connect(server.address()).await.unwrap();
            let first = b"GET /first HTTP/1.1\r\nHost: a\r\n\r\n";
            stream.write_all(first).await.unwrap();
            let mut answer = [0; 1024];
            assert!(stream.read(&mut answer).await.unwrap() > 0);
            assert!(answer.starts_with(b"HTTP/1.1 200"));

            let bytes = format!("{head}{HIDDEN}");
            let answer = exchange_on(stream, bytes.as_bytes(), piece).await;
            assert_eq!(statuses(&answer), [400], "{what}: {answer}");
        }
    }
    assert!(seen.lock().unwrap().iter().all(|path| path == "/first"));
}

#[tokio::test]
async fn h_04_a_body_with_two_readings_is_the_last_thing_read() {
    let seen = Seen::default();
    let server = TestServer::with_limits(echo(&seen), impatient()).await;
    for (what, chunks) in CHUNKS {
        for piece in [usize::MAX, 11] {
            let head = "POST /first HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
            let bytes = format!("{head}{chunks}{HIDDEN}");
            let answer = exchange(server.address(), bytes.as_bytes(), piece).await;
            assert_eq!(statuses(&answer), [400], "{what}: {answer}");
        }
    }
    assert!(seen.lock().unwrap().iter().all(|path| path == "/first"));
}

#[tokio::test]
async fn requests_with_one_reading_are_all_served() {
    let seen = Seen::default();
    let server = TestServer::with_limits(echo(&seen), impatient()).await;
    let requests = [
        "GET /1 HTTP/1.1\r\nHost: a\r\n\r\n",
        "PUT /2 HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nGET /",
        "POST /3 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;a=b\r\nabc\r\nA\r\n0123456789\r\n0\r\nX: y\r\n\r\n",
        "\r\nGET /4 HTTP/1.1\r\nHost: a\r\nX-Text: \u{e4}\r\nConnection: close\r\n\r\n",
    ];
    for piece in [usize::MAX, 1] {
        let answer = exchange(server.address(), requests.concat().as_bytes(), piece).await;
        assert_eq!(statuses(&answer), [200; 4], "{answer}");
        for body in ["/1 0", "/2 5", "/3 13", "/4 0"] {
            assert!(answer.contains(body), "{answer}");
        }
    }
}
