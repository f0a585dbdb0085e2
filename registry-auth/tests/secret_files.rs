//! Secrets and certificates in files that change while they are used.
#![cfg(all(feature = "ldap", feature = "webhook"))]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test fails by panicking"
)]

#[path = "common/directory.rs"]
mod directory;
#[path = "common/sender.rs"]
mod sender;

use std::fmt::Write;
use std::fs;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use aws_lc_rs::hmac;
use http::{Method, Request, Response};
use registry_auth::{
    AccessControl, Authenticator, Fetch, GuardLimits, Ldap, Principal, Rules, Sender, Standing,
    Webhook,
};
use registry_core::{ErrorKind, Operation, RequestOrigin, Result};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::{advance, sleep};
use tokio_rustls::TlsAcceptor;

use self::directory::{BOUND, DONE, Tap, entry, find};
use self::sender::headers;

/// What becomes of a file, and what counts then.
const CHANGES: [(Option<&str>, &str); 6] = [
    (Some("one"), "one"),
    (Some("two\r\n"), "two"),
    (Some(""), "two"),
    (Some("\n"), "two"),
    (None, "two"),
    (Some("three\n"), "three"),
];

fn change(path: &std::path::Path, content: Option<&str>) {
    match content {
        // Written before, and then put there.
        Some(content) => {
            let new = path.with_extension("new");
            fs::write(&new, content).unwrap();
            let written = fs::File::options().write(true).open(&new).unwrap();
            written
                .set_modified(std::time::SystemTime::UNIX_EPOCH)
                .unwrap();
            fs::rename(new, path).unwrap();
        }
        None => fs::remove_file(path).unwrap(),
    }
}

/// Keeps what it is asked.
#[derive(Debug, Clone, Default)]
struct Asked(Arc<Mutex<Vec<Request<Vec<u8>>>>>);

#[async_trait]
impl Fetch for Asked {
    async fn fetch(&self, request: Request<Vec<u8>>, _: usize) -> Result<Response<Vec<u8>>> {
        self.0.lock().unwrap().push(request);
        Ok(Response::new(br#"{"result": {"allow": true}}"#.to_vec()))
    }
}

#[tokio::test(start_paused = true)]
async fn questions_are_signed_with_what_the_file_of_the_secret_says() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("secret");
    fs::write(&path, "one").unwrap();
    let asked = Asked::default();
    let hook = Webhook::new("https://policy.example/", asked.clone()).unwrap();
    let hook = hook.secret_file(&path).unwrap();
    let access = AccessControl::new(Rules::new()).review(hook);
    for (content, secret) in CHANGES {
        change(&path, content);
        advance(Duration::from_millis(1100)).await;
        let headers = headers(None);
        let sender = Sender::new(&headers, RequestOrigin::default());
        let operation = Operation::parse(&Method::GET, "/v2/a/manifests/b", None).unwrap();
        access.authorize(&sender, &operation).await.unwrap();
        let request = asked.0.lock().unwrap().pop().unwrap();
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
        let mut signature = "sha256=".to_owned();
        for byte in hmac::sign(&key, request.body()).as_ref() {
            write!(signature, "{byte:02x}").unwrap();
        }
        assert_eq!(
            request.headers()["x-hub-signature-256"],
            signature,
            "{content:?}"
        );
    }
}

#[test]
fn a_file_that_holds_no_secret_is_refused_at_once() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("secret");
    let hook = || Webhook::new("https://policy.example/", Asked::default()).unwrap();
    let ldap = || Ldap::builder("ldaps://directory.example");
    for (content, reason) in [
        (None, "can't be read"),
        (Some(&b""[..]), "is empty"),
        (Some(b"\r\n"), "is empty"),
        (Some(b"\xff"), "isn't text"),
    ] {
        if let Some(content) = content {
            fs::write(&path, content).unwrap();
        }
        let error = hook().secret_file(&path).unwrap_err().to_string();
        assert!(error.contains("the secret of the webhook"), "{error}");
        assert!(error.contains(reason), "{error}");
        let error = ldap()
            .bind_password_file("cn=a", &path)
            .unwrap_err()
            .to_string();
        assert!(error.contains("the password of who searches"), "{error}");
        assert!(error.contains(reason), "{error}");
        assert!(ldap().certificates_file(&path).is_err(), "{content:?}");
    }
    fs::write(&path, "canary").unwrap();
    let shown = format!(
        "{:?} {:?}",
        hook().secret_file(&path).unwrap(),
        ldap().bind_password_file("cn=a", &path).unwrap()
    );
    assert!(!shown.contains("canary"), "{shown}");
}

/// Long enough for a file to be looked at again.
async fn later() {
    sleep(Duration::from_millis(1200)).await;
}

#[tokio::test]
async fn who_searches_logs_in_with_what_the_file_of_the_password_says() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("password");
    fs::write(&path, "one").unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ldap://{}", listener.local_addr().unwrap());
    let ldap = Ldap::builder(url)
        .base("dc=example")
        .remember(Duration::ZERO)
        .bind_password_file("cn=searcher", &path)
        .unwrap()
        .build()
        .unwrap();
    let shown = Arc::new(Mutex::new(Vec::new()));
    let logins = Arc::clone(&shown);
    let served = tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 4096];
            while let Ok(read @ 1..) = stream.read(&mut request).await {
                let long = request[1] & 0x80 != 0;
                let start = if long {
                    2 + usize::from(request[1] & 0x7f)
                } else {
                    2
                };
                let (id, operation) = (request[start + 2], request[start + 3]);
                let answer = if operation == 0x60 {
                    logins.lock().unwrap().push(request[..read].to_vec());
                    BOUND.to_vec().tap(4, id)
                } else {
                    [entry("ann", &[]).tap(4, id), DONE.to_vec().tap(4, id)].concat()
                };
                stream.write_all(&answer).await.unwrap();
                // Whoever searches logs in once for each connection.
                if operation != 0x60 {
                    break;
                }
            }
        }
    });
    for (content, password) in CHANGES {
        change(&path, content);
        later().await;
        let standing = ldap.standing(&Principal::new("ann")).await.unwrap();
        assert!(matches!(standing, Standing::Current(_)));
        let login = shown.lock().unwrap().pop().unwrap();
        assert!(
            login.ends_with(password.as_bytes()),
            "{content:?}: {login:?}"
        );
    }
    served.abort();
}

#[tokio::test]
async fn a_directory_is_trusted_as_the_file_of_certificates_says() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("authorities.pem");
    let own = || rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let (ours, other) = (own(), own());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ldaps://{}", listener.local_addr().unwrap());
    let key = PrivateKeyDer::try_from(ours.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![ours.cert.der().clone()], key)
        .unwrap();
    let served = tokio::spawn(async move {
        let acceptor = TlsAcceptor::from(Arc::new(tls));
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                if let Ok(stream) = acceptor.accept(stream).await {
                    find(stream, Some(entry("ann", &[]))).await;
                }
            });
        }
    });
    let (ours, other) = (ours.cert.pem(), other.cert.pem());
    fs::write(&path, &other).unwrap();
    let ldap = Ldap::builder(url)
        .base("dc=example")
        .remember(Duration::ZERO)
        .certificates_file(&path)
        .unwrap()
        .build()
        .unwrap();
    let access = AccessControl::new(Rules::new())
        .authenticator(ldap)
        .guard(GuardLimits::NONE);
    for (content, is_trusted) in [
        (Some(&*other), false),
        (Some(&*ours), true),
        (Some(""), true),
        (Some("-----BEGIN CERTIFICATE-----\n"), true),
        (None, true),
        // Though there is a connection that was trusted.
        (Some(&*other), false),
    ] {
        change(&path, content);
        later().await;
        let headers = headers(Some(&sender::basic("ann", "secret")));
        let sender = Sender::new(&headers, RequestOrigin::default());
        let known = access.identify(&sender).await;
        match known {
            Ok(_) => assert!(is_trusted, "{content:?}"),
            Err(refusal) => {
                assert_eq!(refusal.error.kind(), ErrorKind::Unavailable);
                assert!(!is_trusted, "{content:?}: {refusal:?}");
            }
        }
    }
    served.abort();
}
