//! TLS with certificates that change.
#![cfg(feature = "testkit")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod server_support;

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode, Version};
use http_body_util::Full;
use hyper_util::rt::{TokioExecutor, TokioIo};
use registry_http::{Limits, Server, Tls, TlsVersion};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use server_support::{Seen, echo, impatient};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

struct Pair {
    certificate: String,
    key: String,
    der: CertificateDer<'static>,
}

fn pair() -> Pair {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    Pair {
        certificate: made.cert.pem(),
        key: made.signing_key.serialize_pem(),
        der: made.cert.der().clone(),
    }
}

struct Running {
    address: SocketAddr,
    task: JoinHandle<registry_core::Result<()>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn paths(directory: &Path) -> [PathBuf; 2] {
    [directory.join("tls.crt"), directory.join("tls.key")]
}

fn write(directory: &Path, pair: &Pair) {
    let [certificate, key] = paths(directory);
    fs::write(certificate, &pair.certificate).unwrap();
    fs::write(key, &pair.key).unwrap();
}

fn open(directory: &Path) -> registry_core::Result<Tls> {
    let [certificate, key] = paths(directory);
    Tls::open(certificate, key)
}

async fn run(tls: Tls) -> Running {
    run_within(impatient(), tls).await
}

async fn run_within(limits: Limits, tls: Tls) -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = Server::builder()
        .limits(limits)
        .listen_tls(
            listener,
            &tls.reload_interval(Duration::from_millis(50)),
            echo(&Seen::default()),
        )
        .unwrap();
    Running {
        address,
        task: tokio::spawn(server.run()),
    }
}

#[tokio::test]
async fn plain_http_is_told_to_come_over_tls() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), &pair());
    let running = run(open(directory.path()).unwrap()).await;
    for method in ["GET", "OPTIONS", "POST"] {
        let mut stream = TcpStream::connect(running.address).await.unwrap();
        // The rest of it comes later.
        stream.write_all(&method.as_bytes()[..1]).await.unwrap();
        stream.flush().await.unwrap();
        let rest = format!("{} /v2/ HTTP/1.1\r\nHost: a\r\n\r\n", &method[1..]);
        stream.write_all(rest.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
        assert!(answer.contains("this port speaks HTTPS"), "{answer}");
    }
}

#[tokio::test]
async fn a_key_behind_a_passphrase_is_said_to_be_one() {
    let directory = tempfile::tempdir().unwrap();
    let pair = Pair {
        key: "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIGj\n-----END ENCRYPTED PRIVATE KEY-----\n"
            .to_owned(),
        ..pair()
    };
    write(directory.path(), &pair);
    let error = open(directory.path()).unwrap_err().to_string();
    assert!(error.contains("tls.key is encrypted"), "{error}");
}

/// Connects, trusting nothing but `trusted`.
async fn connect(
    address: SocketAddr,
    trusted: &Pair,
    protocols: &[&str],
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.der.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols
        .iter()
        .map(|name| name.as_bytes().to_vec())
        .collect();
    let stream = TcpStream::connect(address).await?;
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await
}

async fn serves(address: SocketAddr, pair: &Pair) -> bool {
    connect(address, pair, &[], rustls::ALL_VERSIONS)
        .await
        .is_ok()
}

/// Waits until the server shows the certificate of `pair`.
async fn comes_to_serve(address: SocketAddr, pair: &Pair) -> bool {
    for _ in 0..60 {
        if serves(address, pair).await {
            return true;
        }
        sleep(Duration::from_millis(50)).await;
    }
    false
}

fn get() -> Request<Full<Bytes>> {
    Request::get("https://localhost/x")
        .header("host", "localhost")
        .body(Full::default())
        .unwrap()
}

#[tokio::test]
async fn the_version_of_http_is_negotiated() {
    let directory = TempDir::new().unwrap();
    let pair = pair();
    write(directory.path(), &pair);
    let server = run(open(directory.path()).unwrap()).await;

    let stream = connect(
        server.address,
        &pair,
        &["h2", "http/1.1"],
        rustls::ALL_VERSIONS,
    )
    .await
    .unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (mut client, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    tokio::spawn(connection);
    let response = client.send_request(get()).await.unwrap();
    assert_eq!(
        (response.status(), response.version()),
        (StatusCode::OK, Version::HTTP_2)
    );

    for protocols in [&["http/1.1"][..], &[]] {
        let stream = connect(server.address, &pair, protocols, rustls::ALL_VERSIONS)
            .await
            .unwrap();
        let (mut client, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .unwrap();
        tokio::spawn(connection);
        let response = client.send_request(get()).await.unwrap();
        assert_eq!(
            (response.status(), response.version()),
            (StatusCode::OK, Version::HTTP_11)
        );
        assert_eq!(response.headers()["x-scheme"], "https");
    }
}

#[tokio::test]
async fn old_versions_of_tls_can_be_refused() {
    let directory = TempDir::new().unwrap();
    let pair = pair();
    write(directory.path(), &pair);
    let old = &[&rustls::version::TLS12];
    let server = run(open(directory.path()).unwrap()).await;
    assert!(connect(server.address, &pair, &[], old).await.is_ok());
    let strict = open(directory.path())
        .unwrap()
        .minimum_version(TlsVersion::V1_3);
    let server = run(strict).await;
    assert!(connect(server.address, &pair, &[], old).await.is_err());
    assert!(
        connect(server.address, &pair, &[], rustls::ALL_VERSIONS)
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn a_renewed_certificate_is_served_without_a_restart() {
    let directory = TempDir::new().unwrap();
    let (first, second) = (pair(), pair());
    write(directory.path(), &first);
    let tls = open(directory.path()).unwrap();
    let server = run_within(Limits::default(), tls).await;
    assert!(serves(server.address, &first).await);
    let long_lived = connect(server.address, &first, &[], rustls::ALL_VERSIONS)
        .await
        .unwrap();

    write(directory.path(), &second);
    assert!(comes_to_serve(server.address, &second).await);
    assert!(!serves(server.address, &first).await);
    // Connections made before go on.
    let (mut client, connection) = hyper::client::conn::http1::handshake(TokioIo::new(long_lived))
        .await
        .unwrap();
    tokio::spawn(connection);
    let response = client.send_request(get()).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
}

#[cfg(unix)]
#[tokio::test]
async fn a_pair_behind_a_swapped_symbolic_link_is_served() {
    use std::os::unix::fs::symlink;

    let root = TempDir::new().unwrap();
    let at = |name: &str| root.path().join(name);
    let (first, second) = (pair(), pair());
    for (version, pair) in [("v1", &first), ("v2", &second)] {
        fs::create_dir(at(version)).unwrap();
        write(&at(version), pair);
    }
    symlink("v1", at("..data")).unwrap();
    for name in ["tls.crt", "tls.key"] {
        symlink(Path::new("..data").join(name), at(name)).unwrap();
    }
    let server = run(open(root.path()).unwrap()).await;
    assert!(serves(server.address, &first).await);
    symlink("v2", at("new")).unwrap();
    fs::rename(at("new"), at("..data")).unwrap();
    assert!(comes_to_serve(server.address, &second).await);
}

#[tokio::test]
async fn a_broken_pair_leaves_the_old_one_in_place() {
    let directory = TempDir::new().unwrap();
    let (first, second) = (pair(), pair());
    write(directory.path(), &first);
    let [certificate, key] = paths(directory.path());
    let server = run(open(directory.path()).unwrap()).await;

    fs::write(&certificate, &second.certificate).unwrap();
    sleep(Duration::from_millis(300)).await;
    assert!(
        serves(server.address, &first).await,
        "a certificate without its key"
    );
    fs::write(&certificate, "").unwrap();
    fs::remove_file(&key).unwrap();
    sleep(Duration::from_millis(300)).await;
    assert!(serves(server.address, &first).await, "nothing at all");
    write(directory.path(), &second);
    assert!(comes_to_serve(server.address, &second).await);
}

#[test]
fn files_that_cannot_be_used_are_named_in_one_sentence() {
    let directory = TempDir::new().unwrap();
    let [certificate, key] = paths(directory.path());
    let (first, second) = (pair(), pair());
    let complaint = || open(directory.path()).unwrap_err().to_string();

    let missing = complaint();
    assert!(missing.contains("tls.crt can't be read"), "{missing}");
    fs::write(&certificate, &first.certificate).unwrap();
    assert!(
        complaint().contains("tls.key can't be read"),
        "{}",
        complaint()
    );
    fs::write(&key, "nothing").unwrap();
    assert!(
        complaint().starts_with("there is no key in PEM form in"),
        "{}",
        complaint()
    );
    fs::write(&key, &second.key).unwrap();
    let mismatch = complaint();
    assert!(mismatch.contains("doesn't belong to the key"), "{mismatch}");
    assert!(!mismatch.contains("PRIVATE"), "{mismatch}");
    fs::write(
        &certificate,
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    )
    .unwrap();
    assert!(complaint().contains("can't be used"), "{}", complaint());
}

#[tokio::test]
async fn h_01_a_handshake_that_takes_too_long_is_left() {
    let directory = TempDir::new().unwrap();
    write(directory.path(), &pair());
    let server = run(open(directory.path()).unwrap()).await;
    let mut silent = TcpStream::connect(server.address).await.unwrap();
    let mut answer = Vec::new();
    let closed = timeout(Duration::from_secs(2), silent.read_to_end(&mut answer)).await;
    drop(closed.expect("the connection is closed"));
    assert!(answer.is_empty());
}
