//! By signals.

use std::io::{Read, Write};

use reqwest::StatusCode;
use rustix::process::Signal;

use crate::program::{Setup, eventually};

const LENGTH: usize = 1 << 20;

/// An upload of which half was sent, and the rest of it.
fn half(program: &crate::program::Program) -> (std::net::TcpStream, Vec<u8>) {
    let content = vec![7; LENGTH];
    let digest = registry_core::Algorithm::Sha256.digest(&content);
    let mut stream = program.connect();
    let head = format!(
        "POST /v2/a/blobs/uploads/?digest={digest} HTTP/1.1\r\nHost: registry\r\n\
         Content-Type: application/octet-stream\r\nContent-Length: {LENGTH}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(&content[..LENGTH / 2]).unwrap();
    (stream, content[LENGTH / 2..].to_vec())
}

#[tokio::test]
async fn an_upload_in_progress_is_answered_before_it_stops() {
    let mut program = Setup::new().arguments(&["--addr", "127.0.0.1:0"]).start();
    let (mut stream, rest) = half(&program);
    // The request is known to be in progress once the registry works on another.
    program.get("/v2/").await;
    program.signal(Signal::TERM);
    eventually("it stops listening", async || {
        std::net::TcpStream::connect(&program.address).is_err()
    })
    .await;
    stream.write_all(&rest).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 201 "), "{answer}");
    assert_eq!(program.wait().code(), Some(0), "{}", program.stderr());
}

#[tokio::test]
async fn a_second_signal_stops_it_at_once() {
    let mut program = Setup::new().arguments(&["--addr", "127.0.0.1:0"]).start();
    let (_stream, _) = half(&program);
    program.get("/v2/").await;
    program.signal(Signal::TERM);
    eventually("it stops listening", async || {
        std::net::TcpStream::connect(&program.address).is_err()
    })
    .await;
    program.signal(Signal::INT);
    assert_eq!(program.wait().code(), Some(1));
}

#[test]
fn signals_in_quick_succession_stop_a_server_without_requests_as_one_does() {
    for _ in 0..8 {
        let mut program = Setup::new().arguments(&["--addr", "127.0.0.1:0"]).start();
        let _at_rest = program.connect();
        program.signal(Signal::TERM);
        program.signal(Signal::INT);
        assert_eq!(program.wait().code(), Some(0), "{}", program.stderr());
    }
}

#[tokio::test]
async fn requests_that_take_too_long_are_cut_off() {
    let mut program = Setup::new()
        .arguments(&["--addr", "127.0.0.1:0"])
        .variable("REGISTRY_HTTP_DRAINTIMEOUT", "100ms")
        .start();
    let (_stream, _) = half(&program);
    program.get("/v2/").await;
    program.signal(Signal::TERM);
    assert_eq!(program.wait().code(), Some(1));
    let stderr = program.stderr();
    assert!(stderr.contains("1 connections were cut off"), "{stderr}");
}

#[tokio::test]
async fn it_stops_also_if_nobody_reads_its_messages() {
    // One message is more than fits into a pipe.
    let fields = format!("log: {{fields: {{x: {}}}}}\n", "x".repeat(200_000));
    let file = "version: 0.1\nstorage: inmemory\nhttp: {addr: '127.0.0.1:0'}\n";
    let mut program = Setup::serve(&format!("{file}{fields}")).unheard().start();
    assert_eq!(program.get("/v2/").await.0, StatusCode::OK);
    program.signal(Signal::TERM);
    assert!(program.wait().success());
}
