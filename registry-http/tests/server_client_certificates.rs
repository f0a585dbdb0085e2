//! Clients that prove who they are when they connect.
#![cfg(all(feature = "testkit", feature = "certificate"))]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test fails by panicking"
)]

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
};
use registry_auth::{AccessControl, CertificateName, Certificates, Login, Principal, Rules};
use registry_http::{ClientAuth, RegistryService, Server, Tls};
use registry_storage::Engine;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, RootCertStore};
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;

/// Somebody who signs certificates.
struct Authority {
    certificate: rcgen::Certificate,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let issuer = Issuer::new(params, key);
        Self {
            certificate,
            issuer,
        }
    }

    fn sign(&self, name: &str, usage: ExtendedKeyUsagePurpose) -> Shown {
        self.issue(name, vec![usage])
    }

    fn issue(&self, name: &str, usages: Vec<ExtendedKeyUsagePurpose>) -> Shown {
        self.vouch(name, usages, IsCa::NoCa)
    }

    fn vouch(&self, name: &str, usages: Vec<ExtendedKeyUsagePurpose>, is_ca: IsCa) -> Shown {
        let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = usages;
        params.is_ca = is_ca;
        let key = KeyPair::generate().unwrap();
        let made = params.signed_by(&key, &self.issuer).unwrap();
        Shown {
            pem: made.pem(),
            certificate: made.der().clone(),
            key,
        }
    }

    fn client(&self, name: &str) -> Shown {
        self.sign(name, ExtendedKeyUsagePurpose::ClientAuth)
    }
}

/// A certificate and its key.
struct Shown {
    certificate: CertificateDer<'static>,
    pem: String,
    key: KeyPair,
}

impl Shown {
    /// The same in version 1, which has neither a number nor extensions. The signature
    /// doesn't fit any more, but the version is looked at first.
    fn of_version_1(mut self) -> Self {
        let whole = elements(&self.certificate);
        let signed = elements(whole[0]);
        let signed = sequence(&signed[1..7]);
        self.certificate = sequence(&[&signed, whole[1], whole[2]]).into();
        self
    }
}

/// The values in a DER sequence.
fn elements(mut der: &[u8]) -> Vec<&[u8]> {
    let split = |der: &[u8]| match der[1] {
        0x82 => (4, usize::from(der[2]) << 8 | usize::from(der[3])),
        0x81 => (3, usize::from(der[2])),
        short => (2, usize::from(short)),
    };
    der = &der[split(der).0..];
    let mut elements = Vec::new();
    while !der.is_empty() {
        let (head, length) = split(der);
        let (element, rest) = der.split_at(head + length);
        elements.push(element);
        der = rest;
    }
    elements
}

/// The DER sequence of some values.
fn sequence(elements: &[&[u8]]) -> Vec<u8> {
    let content = elements.concat();
    let length = u16::try_from(content.len()).unwrap().to_be_bytes();
    let head = match content.len() {
        0..128 => vec![0x30, length[1]],
        128..256 => vec![0x30, 0x81, length[1]],
        _ => vec![0x30, 0x82, length[0], length[1]],
    };
    [head, content].concat()
}

/// What is logged by this thread.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// What there is, once that are so many lines.
    async fn lines(&self, count: usize) -> Vec<String> {
        let mut lines = Vec::new();
        for _ in 0..100 {
            let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
            lines = text.lines().map(str::to_owned).collect();
            if lines.len() >= count {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        lines
    }
}

impl Write for Log {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(text)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A server, whose own certificate an authority of its own signed.
struct Running {
    address: SocketAddr,
    task: JoinHandle<registry_core::Result<()>>,
    authority: Authority,
    directory: TempDir,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Running {
    /// Asks clients for certificates that `clients` signed.
    async fn start(clients: &Authority, needed: ClientAuth, trusted: &[&str]) -> Self {
        let directory = TempDir::new().unwrap();
        let path = |name: &str| directory.path().join(name);
        let authority = Authority::new("the server's");
        let own = authority.sign("server", ExtendedKeyUsagePurpose::ServerAuth);
        std::fs::write(path("own.crt"), &own.pem).unwrap();
        std::fs::write(path("own.key"), own.key.serialize_pem()).unwrap();
        std::fs::write(path("clients.crt"), clients.certificate.pem()).unwrap();
        let tls = Tls::open(path("own.crt"), path("own.key"))
            .unwrap()
            .reload_interval(Duration::from_millis(50))
            .client_authorities([path("clients.crt")], needed)
            .unwrap();
        let rules = Rules::new()
            .sentence("user ann is writer of ann/**")
            .sentence("anyone is reader of open/**");
        let passwords = Login::new(|user, password| async move {
            password.matches("right").then(|| Principal::new(user))
        });
        let access = AccessControl::new(rules)
            .authenticator(Certificates::new(CertificateName::CommonName))
            .authenticator(passwords);
        let service = RegistryService::new(Engine::memory())
            .access(access)
            .trusted_proxies(trusted.iter().map(|network| network.parse().unwrap()));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = Server::builder().listen_tls(listener, &tls, service);
        let task = tokio::spawn(server.unwrap().run());
        Self {
            address,
            task,
            authority,
            directory,
        }
    }

    fn clients(&self) -> PathBuf {
        self.directory.path().join("clients.crt")
    }

    /// What a client that shows this is answered at `/v2/ann/app/tags/list`; nothing
    /// if it gets no answer.
    async fn ask(&self, shown: Option<&Shown>, headers: &[(&str, &str)]) -> Option<StatusCode> {
        ask(&mut self.connect(shown).await?, headers).await
    }

    /// A connection of a client that shows this, if it gets one.
    async fn connect(&self, shown: Option<&Shown>) -> Option<SendRequest<Empty<Bytes>>> {
        let mut roots = RootCertStore::empty();
        roots.add(self.authority.certificate.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(rustls::ALL_VERSIONS)
            .unwrap()
            .with_root_certificates(roots);
        let config = match shown {
            None => config.with_no_client_auth(),
            Some(shown) => {
                let key = PrivateKeyDer::try_from(shown.key.serialize_der()).unwrap();
                let key = provider.key_provider.load_private_key(key).unwrap();
                // Whatever it is, and whether or not the client itself would take it.
                let pair = CertifiedKey::new(vec![shown.certificate.clone()], key);
                config.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(pair)))
            }
        };
        let stream = TcpStream::connect(self.address).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let connector = TlsConnector::from(Arc::new(config));
        let stream = connector.connect(name, stream).await.ok()?;
        let (requests, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .ok()?;
        tokio::spawn(connection);
        Some(requests)
    }
}

/// What is answered over a connection.
async fn ask(
    requests: &mut SendRequest<Empty<Bytes>>,
    headers: &[(&str, &str)],
) -> Option<StatusCode> {
    let mut request = Request::get("/v2/ann/app/tags/list").header("host", "localhost");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Empty::<Bytes>::new()).unwrap();
    let answer = requests.send_request(request).await.ok()?;
    let (answer, body) = answer.into_parts();
    body.collect().await.ok()?;
    Some(answer.status)
}

/// `ann` may see that there is nothing; others may not even that.
const KNOWN: Option<StatusCode> = Some(StatusCode::NOT_FOUND);
const ANOTHER: Option<StatusCode> = Some(StatusCode::FORBIDDEN);
const UNKNOWN: Option<StatusCode> = Some(StatusCode::UNAUTHORIZED);

#[tokio::test]
async fn a_certificate_is_a_login_if_an_authority_vouches_for_it() {
    let clients = Authority::new("the clients'");
    let running = Running::start(&clients, ClientAuth::Optional, &[]).await;
    assert_eq!(running.ask(Some(&clients.client("ann")), &[]).await, KNOWN);
    assert_eq!(
        running.ask(Some(&clients.client("ben")), &[]).await,
        ANOTHER
    );
    assert_eq!(running.ask(None, &[]).await, UNKNOWN);
    // Of somebody else, who calls itself the same.
    let others = Authority::new("the clients'");
    assert_eq!(running.ask(Some(&others.client("ann")), &[]).await, None);
    // For servers only.
    let server = clients.sign("ann", ExtendedKeyUsagePurpose::ServerAuth);
    assert_eq!(running.ask(Some(&server), &[]).await, None);
}

#[tokio::test]
async fn without_a_certificate_there_is_no_connection_where_one_is_required() {
    let clients = Authority::new("the clients'");
    let running = Running::start(&clients, ClientAuth::Required, &[]).await;
    assert_eq!(running.ask(None, &[]).await, None);
    assert_eq!(running.ask(Some(&clients.client("ann")), &[]).await, KNOWN);
}

/// The client learns no more than that it failed.
#[tokio::test]
async fn why_a_certificate_is_refused_is_told_to_the_operator_once_in_a_while() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::WARN)
        .with_ansi(false)
        .with_writer(move || writer.clone());
    let _listening = tracing::subscriber::set_default(subscriber.finish());
    let clients = Authority::new("the clients'");
    let running = Running::start(&clients, ClientAuth::Required, &[]).await;
    let others = Authority::new("the others'");
    for _ in 0..3 {
        let of_others = others.client("a-canary");
        assert_eq!(running.ask(Some(&of_others), &[]).await, None);
    }
    let for_servers = clients.sign("a-canary", ExtendedKeyUsagePurpose::ServerAuth);
    assert_eq!(running.ask(Some(&for_servers), &[]).await, None);
    let old = clients.client("a-canary").of_version_1();
    assert_eq!(running.ask(Some(&old), &[]).await, None);
    let is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = clients.vouch("a-canary", Vec::new(), is_ca);
    assert_eq!(running.ask(Some(&authority), &[]).await, None);
    assert_eq!(running.ask(None, &[]).await, None);
    let lines = log.lines(5).await;
    assert_eq!(lines.len(), 5, "{lines:#?}");
    for (line, [said, reason]) in lines.iter().zip([
        ["a client's certificate was refused", "UnknownIssuer"],
        [
            "a client's certificate was refused",
            "client authentication",
        ],
        [
            "a client's certificate was refused",
            "UnsupportedCertVersion",
        ],
        ["a client's certificate was refused", "CaUsedAsEndEntity"],
        ["shows no certificate", "peer sent no certificates"],
    ]) {
        let is_told = line.contains("WARN") && line.contains("address=127.0.0.1");
        assert!(
            is_told && line.contains(said) && line.contains(reason),
            "{line}"
        );
        assert!(!line.contains("a-canary"), "{line}");
    }
}

/// One that doesn't say what it is for is for everything.
#[tokio::test]
async fn a_certificate_without_usages_is_one_for_clients() {
    let clients = Authority::new("the clients'");
    let running = Running::start(&clients, ClientAuth::Required, &[]).await;
    let shown = clients.issue("ann", Vec::new());
    assert_eq!(running.ask(Some(&shown), &[]).await, KNOWN);
}

/// Base64 of `ben:right` and `ben:wrong`.
#[tokio::test]
async fn credentials_of_a_request_go_before_the_certificate_of_its_connection() {
    let clients = Authority::new("the clients'");
    let running = Running::start(&clients, ClientAuth::Optional, &[]).await;
    let ann = clients.client("ann");
    let as_ben = [("authorization", "Basic YmVuOnJpZ2h0")];
    assert_eq!(running.ask(Some(&ann), &as_ben).await, ANOTHER);
    let wrong = [("authorization", "Basic YmVuOndyb25n")];
    assert_eq!(running.ask(Some(&ann), &wrong).await, UNKNOWN);
}

/// A proxy proves who it is, and nothing about its clients.
#[tokio::test]
async fn the_certificate_of_a_trusted_proxy_is_nobodys_login() {
    let clients = Authority::new("the clients'");
    let proxies = &["127.0.0.0/8"];
    let running = Running::start(&clients, ClientAuth::Optional, proxies).await;
    let ann = clients.client("ann");
    for headers in [&[][..], &[("x-forwarded-for", "192.0.2.1")]] {
        assert_eq!(running.ask(Some(&ann), headers).await, UNKNOWN);
    }
}

#[tokio::test]
async fn authorities_are_replaced_without_a_restart() {
    let clients = Authority::new("the clients'");
    let running = Running::start(&clients, ClientAuth::Optional, &[]).await;
    let later = Authority::new("the later ones");
    let (old, new) = (clients.client("ann"), later.client("ann"));
    assert_eq!(running.ask(Some(&old), &[]).await, KNOWN);
    assert_eq!(running.ask(Some(&new), &[]).await, None);
    // What can't be used changes nothing.
    std::fs::write(running.clients(), "nothing").unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(running.ask(Some(&old), &[]).await, KNOWN);
    std::fs::write(running.clients(), later.certificate.pem()).unwrap();
    for _ in 0..100 {
        if running.ask(Some(&new), &[]).await == KNOWN {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(running.ask(Some(&new), &[]).await, KNOWN);
    assert_eq!(running.ask(Some(&old), &[]).await, None);
}

/// Whoever keeps a connection isn't known for longer than others.
#[tokio::test]
async fn open_connections_end_with_the_authority_of_their_client() {
    let removed = Authority::new("the clients'");
    let kept = Authority::new("the later ones");
    let running = Running::start(&removed, ClientAuth::Optional, &[]).await;
    let both = removed.certificate.pem() + &kept.certificate.pem();
    std::fs::write(running.clients(), both).unwrap();
    let (old, new) = (removed.client("ann"), kept.client("ann"));
    while running.ask(Some(&new), &[]).await != KNOWN {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let mut connections = Vec::new();
    for shown in [Some(&old), Some(&new), None] {
        connections.push(running.connect(shown).await.unwrap());
    }
    // They were read again, and these still vouch for both.
    std::fs::write(running.clients(), both_again(&removed, &kept)).unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    for (connection, expected) in connections.iter_mut().zip([KNOWN, KNOWN, UNKNOWN]) {
        assert_eq!(ask(connection, &[]).await, expected);
    }
    std::fs::write(running.clients(), kept.certificate.pem()).unwrap();
    while running.ask(Some(&old), &[]).await.is_some() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    for (connection, expected) in connections.iter_mut().zip([None, KNOWN, UNKNOWN]) {
        assert_eq!(ask(connection, &[]).await, expected);
    }
}

fn both_again(one: &Authority, other: &Authority) -> String {
    other.certificate.pem() + &one.certificate.pem()
}

#[test]
fn authorities_that_can_not_be_used_are_named() {
    let directory = TempDir::new().unwrap();
    let path = |name: &str| directory.path().join(name);
    let authority = Authority::new("the server's");
    let own = authority.sign("server", ExtendedKeyUsagePurpose::ServerAuth);
    std::fs::write(path("own.crt"), &own.pem).unwrap();
    std::fs::write(path("own.key"), own.key.serialize_pem()).unwrap();
    std::fs::write(path("empty.crt"), "").unwrap();
    let open = || Tls::open(path("own.crt"), path("own.key")).unwrap();
    for (file, reason) in [
        ("none.crt", "can't be read"),
        ("empty.crt", "there is no certificate"),
        ("own.key", "there is no certificate"),
    ] {
        let refused = open().client_authorities([path(file)], ClientAuth::Required);
        let refused = refused.unwrap_err().to_string();
        assert!(
            refused.contains(file) && refused.contains(reason),
            "{refused}"
        );
    }
    let none: [PathBuf; 0] = [];
    assert!(
        open()
            .client_authorities(none, ClientAuth::Required)
            .is_err()
    );
}
