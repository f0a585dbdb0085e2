//! Certificates from an ACME server: a real one, pebble, which makes sure of hosts by connecting to them.
//!
//! Where `pebble` is missing, a test says so, and fails under `REGISTRY_TESTS_REQUIRE_TOOLS=1`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a step that fails is the test's result"
)]

mod pebble;

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use registry_core::{Clock, SystemClock};
use registry_http::{Acme, RegistryService, Server, Tls};
use registry_storage::Engine;
use registry_tests::harness::Launch;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::pebble::Pebble;

const HOSTS: [&str; 2] = ["registry.example.com", "mirror.example.com"];

/// A clock that is this far ahead.
#[derive(Debug)]
struct Ahead(Duration);

impl Clock for Ahead {
    fn now(&self) -> SystemTime {
        SystemClock.now() + self.0
    }
}

fn acme(pebble: &Pebble, cache: &Path) -> Acme {
    Acme::new(cache, HOSTS)
        .email("admin@example.com")
        .server(pebble.directory())
        .authority(fs::read(pebble.authority()).unwrap())
}

struct Running(JoinHandle<registry_core::Result<()>>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A registry on `listener`.
fn serve(listener: TcpListener, acme: Acme) -> Running {
    let service = RegistryService::new(Engine::memory());
    let server = Server::builder().listen_tls(listener, &Tls::acme(acme).unwrap(), service);
    Running(tokio::spawn(server.unwrap().run()))
}

async fn connect(
    address: SocketAddr,
    root: &CertificateDer<'static>,
    host: &str,
    protocols: &[&str],
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(root.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols
        .iter()
        .map(|name| name.as_bytes().to_vec())
        .collect();
    let stream = TcpStream::connect(address).await?;
    let host = ServerName::try_from(host.to_owned()).unwrap();
    TlsConnector::from(Arc::new(config))
        .connect(host, stream)
        .await
}

/// The certificate that is shown to whoever asks for `host`, once `accepted` takes it.
async fn certificate(
    address: SocketAddr,
    root: &CertificateDer<'static>,
    host: &str,
    accepted: impl Fn(&CertificateDer<'static>) -> bool,
) -> CertificateDer<'static> {
    for _ in 0..1500 {
        if let Ok(stream) = connect(address, root, host, &[]).await {
            let shown = stream.get_ref().1.peer_certificates().unwrap()[0].clone();
            if accepted(&shown) {
                return shown;
            }
        }
        sleep(Duration::from_millis(40)).await;
    }
    panic!("there is no such certificate");
}

async fn ping(stream: &mut TlsStream<TcpStream>) {
    let request = b"GET /v2/ HTTP/1.1\r\nHost: registry.example.com\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut answer = [0; 4096];
    let read = stream.read(&mut answer).await.unwrap();
    assert!(answer[..read].starts_with(b"HTTP/1.1 200 "));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_obtained_kept_and_renewed_under_way() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let Some(mut pebble) = Pebble::start(address.port()).await else {
        return;
    };
    let root = pebble.root().await;
    let files = TempDir::new().unwrap();
    let cache = files.path().join("cache");
    let running = serve(listener, acme(&pebble, &cache));
    let first = certificate(address, &root, HOSTS[0], |_| true).await;
    pebble.says("Issued certificate");
    // One for all of them.
    assert_eq!(certificate(address, &root, HOSTS[1], |_| true).await, first);
    let mut stream = connect(address, &root, HOSTS[0], &["http/1.1"])
        .await
        .unwrap();
    ping(&mut stream).await;
    // Nobody else gets by what was for that server only.
    assert!(
        connect(address, &root, HOSTS[0], &["acme-tls/1"])
            .await
            .is_err()
    );

    // Keys are nobody else's, and nothing is left behind.
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let directories: Vec<_> = fs::read_dir(&cache).unwrap().collect();
    assert_eq!(directories.len(), 1);
    let directory = directories[0].as_ref().unwrap().path();
    assert_eq!(mode(&directory), 0o700);
    let mut names = Vec::new();
    for file in fs::read_dir(&directory).unwrap() {
        let file = file.unwrap();
        assert_eq!(mode(&file.path()), 0o600);
        names.push(file.file_name());
    }
    names.sort();
    assert_eq!(names, ["account.json", "certificate.pem"]);
    drop((running, stream));

    // The next server has it from its first connection on, and orders none.
    let listener = bind_again(address).await;
    let running = serve(listener, acme(&pebble, &cache));
    let stream = connect(address, &root, HOSTS[0], &[]).await.unwrap();
    assert_eq!(stream.get_ref().1.peer_certificates().unwrap()[0], first);
    assert_eq!(pebble.orders(), 1);
    drop((running, stream));

    // With less than a third of its 90 days left, it serves on and orders another one.
    let listener = bind_again(address).await;
    let ahead = Ahead(Duration::from_hours(24 * 61));
    let running = serve(listener, acme(&pebble, &cache).clock(ahead));
    let mut stream = connect(address, &root, HOSTS[0], &["http/1.1"])
        .await
        .unwrap();
    ping(&mut stream).await;
    let second = certificate(address, &root, HOSTS[0], |shown| *shown != first).await;
    ping(&mut stream).await;
    pebble.says("Issued certificate");
    assert_eq!(pebble.orders(), 2);
    drop((running, stream));

    // By the clock that is right, the new one is kept.
    let listener = bind_again(address).await;
    let _running = serve(listener, acme(&pebble, &cache));
    let stream = connect(address, &root, HOSTS[0], &[]).await.unwrap();
    assert_eq!(stream.get_ref().1.peer_certificates().unwrap()[0], second);
    assert_eq!(pebble.orders(), 2);
}

/// Connections from before may not be gone yet.
async fn bind_again(address: SocketAddr) -> TcpListener {
    for _ in 0..500 {
        if let Ok(listener) = TcpListener::bind(address).await {
            return listener;
        }
        sleep(Duration::from_millis(20)).await;
    }
    panic!("{address} is still taken");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_not_found_at_a_host_gets_no_certificate_for_it() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    // Where the host is, there is somebody else.
    let other = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let Some(mut pebble) = Pebble::start(other.local_addr().unwrap().port()).await else {
        return;
    };
    drop(other);
    let root = pebble.root().await;
    let files = TempDir::new().unwrap();
    let _running = serve(listener, acme(&pebble, files.path()));
    pebble.says("set INVALID by completed challenge");
    assert!(connect(address, &root, HOSTS[0], &[]).await.is_err());
}

/// Passes connections on to the port that is said, once it is.
async fn forward(listener: TcpListener, port: watch::Receiver<u16>) {
    loop {
        let (mut from, _) = listener.accept().await.unwrap();
        let mut port = port.clone();
        tokio::spawn(async move {
            let port = *port.wait_for(|port| *port != 0).await.unwrap();
            let mut to = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
            // Either may hang up.
            let _ = copy_bidirectional(&mut from, &mut to).await;
        });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_obtains_its_certificate() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let Some(pebble) = Pebble::start(address.port()).await else {
        return;
    };
    let (known, port) = watch::channel(0);
    let forwarder = tokio::spawn(forward(listener, port));
    let root = pebble.root().await;
    let files = TempDir::new().unwrap();
    let key = |name: &str| format!("REGISTRY_HTTP_TLS_LETSENCRYPT_{name}");
    let launch = Launch::new()
        .env(key("CACHEFILE"), files.path())
        .env(key("EMAIL"), "admin@example.com")
        .env(key("HOSTS"), "[registry.example.com]")
        .env(key("DIRECTORYURL"), pebble.directory())
        .env("SSL_CERT_FILE", pebble.authority());
    let server = tokio::task::spawn_blocking(|| launch.start())
        .await
        .unwrap();
    let (_, number) = server.host().rsplit_once(':').unwrap();
    known.send_replace(number.parse().unwrap());
    certificate(address, &root, HOSTS[0], |_| true).await;
    let mut stream = connect(address, &root, HOSTS[0], &["http/1.1"])
        .await
        .unwrap();
    ping(&mut stream).await;
    // It is for nothing else.
    assert!(connect(address, &root, HOSTS[1], &[]).await.is_err());
    forwarder.abort();
}
