//! By flags, variables and a file.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use reqwest::{Method, StatusCode};
use rustix::process::Signal;

use crate::program::{PATIENCE, Program, Setup, eventually, is_there};

/// What the test suites of `BuildKit` and Moby write.
const FILE: &str = "\
version: 0.1
loglevel: debug
storage:
  filesystem:
    rootdirectory: of-file
http:
  addr: 127.0.0.1:0
";

#[tokio::test]
async fn a_flag_goes_before_a_variable_and_that_before_the_file() {
    let root = "REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY";
    for (setup, expected) in [
        (Setup::serve(FILE), "of-file"),
        (
            Setup::serve(FILE).variable(root, "of-variable"),
            "of-variable",
        ),
        (
            Setup::serve(FILE)
                .variable(root, "of-variable")
                .arguments(&["--root", "of-flag"]),
            "of-flag",
        ),
    ] {
        let program = setup.start();
        assert_eq!(program.get("/v2/").await.0, StatusCode::OK);
        for name in ["of-file", "of-variable", "of-flag"] {
            assert_eq!(is_there(&program.path(name)), name == expected, "{name}");
        }
    }
}

#[tokio::test]
async fn with_a_file_deletes_have_to_be_allowed() {
    let program = Setup::serve(FILE).start();
    assert_eq!(program.push_blob("a", b"x").await, StatusCode::CREATED);
    assert_eq!(
        program.push_manifest("a", "t", b"x").await,
        StatusCode::CREATED
    );
    let answer = program.call(Method::DELETE, "/v2/a/manifests/t", b"").await;
    assert_eq!(answer.status(), StatusCode::METHOD_NOT_ALLOWED);

    let program = Setup::serve(FILE)
        .variable("REGISTRY_STORAGE_DELETE_ENABLED", "true")
        .start();
    assert_eq!(program.push_blob("a", b"x").await, StatusCode::CREATED);
    assert_eq!(
        program.push_manifest("a", "t", b"x").await,
        StatusCode::CREATED
    );
    let answer = program.call(Method::DELETE, "/v2/a/manifests/t", b"").await;
    assert_eq!(answer.status(), StatusCode::ACCEPTED);
}

#[tokio::test]
async fn variables_do_without_a_file() {
    let program = Setup::new()
        .variable("REGISTRY_HTTP_ADDR", "127.0.0.1:0")
        .variable("REGISTRY_STORAGE", "inmemory")
        .variable("REGISTRY_VALIDATION_MANIFESTS_SPARSE", "true")
        .variable("REGISTRY_HTTP_HEADERS_X-FRAME-OPTIONS", "[DENY]")
        .variable("REGISTRY_HTTP_PREFIX", "/images/")
        // What a platform adds when a service is called `registry`.
        .variable("REGISTRY_PORT", "tcp://10.0.0.1:5000")
        .variable("REGISTRY_SERVICE_HOST", "10.0.0.1")
        .start();
    let answer = program.call(Method::GET, "/images/v2/", b"").await;
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(answer.headers()["x-frame-options"], "DENY");
    assert!(!is_there(&program.path("registry-data")));
    let stderr = program.stderr();
    assert!(stderr.contains("REGISTRY_SERVICE_HOST"), "{stderr}");
}

#[tokio::test]
async fn a_manifest_of_missing_content_is_taken_only_if_told_so() {
    for (validation, expected) in [
        ("", StatusCode::BAD_REQUEST),
        // In the Docker registry it is about other checks.
        ("validation: {disabled: true}\n", StatusCode::BAD_REQUEST),
        (
            "validation: {manifests: {sparse: true}}\n",
            StatusCode::CREATED,
        ),
    ] {
        let program = Setup::serve(&format!("{FILE}{validation}")).start();
        let status = program.push_manifest("a", "t", b"x").await;
        assert_eq!(status, expected, "{validation}");
    }
}

#[tokio::test]
async fn a_catalog_of_no_entries_means_the_usual_number() {
    let program = Setup::serve(&format!("{FILE}catalog: {{maxentries: 0}}\n")).start();
    assert_eq!(program.push_blob("a", b"x").await, StatusCode::CREATED);
    let status = program.push_manifest("a", "t", b"x").await;
    assert_eq!(status, StatusCode::CREATED);
    let (_, list) = program.get("/v2/_catalog").await;
    assert_eq!(list, r#"{"repositories":["a"]}"#);
}

#[test]
fn levels_are_the_same_in_capitals() {
    for (file, variable) in [
        ("log: {level: Error}\n", None),
        ("loglevel: ERROR\n", None),
        ("", Some("ERROR")),
    ] {
        let file = format!("{}{file}", FILE.replace("loglevel: debug\n", ""));
        let setup = Setup::serve(&file).variable("REGISTRY_HTTP_SECRET", "x");
        let program = match variable {
            Some(level) => setup.variable("REGISTRY_LOG_LEVEL", level),
            None => setup.level_of_its_file(),
        };
        let mut program = program.start();
        program.signal(Signal::TERM);
        program.wait();
        // Not that a key changes nothing.
        let expected = format!("listening on {}\n", program.address);
        assert_eq!(program.stderr(), expected);
    }
}

#[tokio::test]
async fn the_variable_of_other_programs_is_left_to_them() {
    let program = Setup::new()
        .arguments(&["--addr", "127.0.0.1:0"])
        .variable("REGISTRY_AUTH_FILE", "/run/containers/0/auth.json")
        .start();
    assert_eq!(program.get("/v2/").await.0, StatusCode::OK);
    eventually("it says so", async || {
        program.stderr().contains("REGISTRY_AUTH_FILE: ignored")
    })
    .await;
}

#[tokio::test]
async fn a_variable_can_name_the_file() {
    let program = Setup::new()
        .file("c.yml", FILE)
        .variable("REGISTRY_CONFIGURATION_PATH", "c.yml")
        .start();
    assert!(is_there(&program.path("of-file")));
}

#[tokio::test]
async fn a_read_only_registry_takes_nothing() {
    let readonly = "REGISTRY_STORAGE_MAINTENANCE_READONLY_ENABLED";
    let program = Setup::serve(FILE).variable(readonly, "true").start();
    assert_eq!(
        program.push_blob("a", b"x").await,
        StatusCode::METHOD_NOT_ALLOWED
    );
    assert_eq!(program.get("/v2/_catalog").await.0, StatusCode::OK);
}

/// A push that has begun, and stays so for as long as its connection is open.
fn half_pushed(program: &Program) -> TcpStream {
    let mut stream = program.connect();
    let digest = registry_core::Algorithm::Sha256.digest(b"abc");
    let head = format!(
        "POST /v2/a/blobs/uploads/?digest={digest} HTTP/1.1\r\nHost: a\r\n\
         Expect: 100-continue\r\nContent-Length: 3\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    // It has its place once it is told to go on.
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 100");
    stream
}

#[tokio::test]
async fn an_address_holds_as_much_as_the_configuration_says() {
    let limited = |limits: &str| Setup::serve(&format!("{FILE}  limits: {{{limits}}}\n")).start();
    let program = limited("uploads: 2");
    let held = half_pushed(&program);
    let refused = program.push_blob("a", b"x").await;
    assert_eq!(refused, StatusCode::TOO_MANY_REQUESTS);
    eventually("it says so", async || {
        program.stderr().contains("this address holds its share")
    })
    .await;
    drop(held);

    let program = limited("uploads: 2, addressshare: 0");
    let _held = half_pushed(&program);
    assert_eq!(program.push_blob("a", b"x").await, StatusCode::CREATED);
    let _held = half_pushed(&program);
    let refused = program.push_blob("a", b"x").await;
    assert_eq!(refused, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(program.get("/v2/").await.0, StatusCode::OK);
}

#[tokio::test]
async fn nothing_is_larger_than_the_configuration_says() {
    let limits =
        "  limits: {blobbytes: 10, manifestbytes: 1024}\nvalidation: {manifests: {sparse: true}}\n";
    let program = Setup::serve(&format!("{FILE}{limits}")).start();
    assert_eq!(program.push_blob("a", &[0; 10]).await, StatusCode::CREATED);
    let refused = program.push_blob("a", &[0; 11]).await;
    assert_eq!(refused, StatusCode::PAYLOAD_TOO_LARGE);
    let pushed = program.push_manifest("a", "t", b"x").await;
    assert_eq!(pushed, StatusCode::CREATED);
    let large = [b"{".as_slice(), &[b' '; 1024]].concat();
    let answer = program.call(Method::PUT, "/v2/a/manifests/t", &large).await;
    assert_eq!(answer.status(), StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn there_are_as_many_connections_as_the_configuration_says() {
    for (limits, is_closed) in [("addressconnections: 1", true), ("connections: 1", false)] {
        let program = Setup::serve(&format!("{FILE}  limits: {{{limits}}}\n")).start();
        let mut first = program.connect();
        let request = b"GET /v2/ HTTP/1.1\r\nHost: a\r\n\r\n";
        let answered = |stream: &mut TcpStream| {
            let mut answer = [0; 12];
            let sent = stream.write_all(request);
            let read = sent.and_then(|()| stream.read_exact(&mut answer));
            read.is_ok_and(|()| &answer == b"HTTP/1.1 200")
        };
        assert!(answered(&mut first));
        let mut second = program.connect();
        if is_closed {
            assert!(!answered(&mut second), "{limits}");
        } else {
            // It waits for the first to end.
            let moment = Some(Duration::from_millis(500));
            second.set_read_timeout(moment).unwrap();
            assert!(!answered(&mut second), "{limits}");
            drop(first);
            second.set_read_timeout(Some(PATIENCE)).unwrap();
            let mut answer = [0; 12];
            second.read_exact(&mut answer).unwrap();
            assert_eq!(&answer, b"HTTP/1.1 200");
        }
    }
}
