//! Credentials for a remote registry go nowhere else.

#![allow(
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    reason = "these are tests"
)]

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::header::{AUTHORIZATION, LOCATION, WWW_AUTHENTICATE};
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use registry_core::testkit::trusted;
use registry_core::{Algorithm, Chunk, ErrorKind, OpenOptions, Registry, UploadOptions};
use registry_http::{RemoteRegistry, TestServer};

const SECRET: &str = "hush-7331";

/// A server that answers as it is told and remembers paths with the
/// `Authorization` that came along.
struct Server {
    listener: TestServer,
    seen: Seen,
    answer: Arc<Mutex<Answer>>,
}

type Seen = Arc<Mutex<Vec<(String, Option<String>)>>>;
type Answer = Box<dyn Fn(&str, Option<&str>) -> Response<Full<Bytes>> + Send>;

impl Server {
    async fn start() -> Self {
        let seen = Seen::default();
        let missing: Answer = Box::new(|_, _| status(StatusCode::NOT_FOUND));
        let answer = Arc::new(Mutex::new(missing));
        let (record, tell) = (Arc::clone(&seen), Arc::clone(&answer));
        let listener =
            TestServer::with_service(tower::service_fn(move |request: Request<Incoming>| {
                let path = request.uri().path().to_owned();
                let login = request.headers().get(AUTHORIZATION);
                let login = login.map(|login| login.to_str().unwrap().to_owned());
                let answer = tell.lock().unwrap()(&path, login.as_deref());
                record.lock().unwrap().push((path, login));
                async move { Ok::<_, Infallible>(answer) }
            }))
            .await;
        Self {
            listener,
            seen,
            answer,
        }
    }

    fn answers(
        &self,
        answer: impl Fn(&str, Option<&str>) -> Response<Full<Bytes>> + Send + 'static,
    ) {
        *self.answer.lock().unwrap() = Box::new(answer);
    }

    fn logins(&self) -> Vec<Option<String>> {
        let seen = self.seen.lock().unwrap();
        seen.iter().map(|(_, login)| login.clone()).collect()
    }

    fn remote(&self, token_host: Option<&str>) -> RemoteRegistry {
        let mut builder = RemoteRegistry::builder(&self.listener.url()).credentials("ci", SECRET);
        if let Some(host) = token_host {
            builder = builder.token_host(host);
        }
        builder.build().unwrap()
    }
}

fn status(status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    response
}

fn challenge(challenge: &str) -> Response<Full<Bytes>> {
    let mut response = status(StatusCode::UNAUTHORIZED);
    let headers = response.headers_mut();
    headers.insert(WWW_AUTHENTICATE, challenge.parse().unwrap());
    response
}

fn redirect(to: &str) -> Response<Full<Bytes>> {
    let mut response = status(StatusCode::TEMPORARY_REDIRECT);
    response.headers_mut().insert(LOCATION, to.parse().unwrap());
    response
}

async fn pull(registry: &RemoteRegistry) -> ErrorKind {
    let digest = Algorithm::Sha256.digest(b"a");
    let opened = registry
        .open_blob(&trusted("team/app"), &digest, OpenOptions::default())
        .await;
    opened.unwrap_err().kind()
}

fn is_basic(login: &str) -> bool {
    login.starts_with("Basic ")
}

#[tokio::test]
async fn s_80_a_token_server_gets_the_password_only_if_it_was_named() {
    let (registry, tokens) = (Server::start().await, Server::start().await);
    let realm = format!(
        "Bearer realm=\"{}/token\",service=\"s\"",
        tokens.listener.url()
    );
    registry.answers(move |_, login| match login {
        Some("Bearer t") => status(StatusCode::NOT_FOUND),
        _ => challenge(&realm),
    });
    tokens.answers(|_, _| Response::new(Full::from(r#"{"token":"t"}"#)));

    assert_eq!(pull(&registry.remote(None)).await, ErrorKind::BlobUnknown);
    assert_eq!(tokens.logins(), [None]);
    let named = registry.remote(Some(&tokens.listener.host()));
    assert_eq!(pull(&named).await, ErrorKind::BlobUnknown);
    assert!(matches!(tokens.logins().as_slice(), [None, Some(login)] if is_basic(login)));
    // The registry itself asked for a token and never saw the password.
    assert!(
        !registry
            .logins()
            .iter()
            .flatten()
            .any(|login| is_basic(login))
    );
}

#[tokio::test]
async fn a_refusal_names_the_token_server_that_did_not_get_the_password() {
    let (registry, tokens) = (Server::start().await, Server::start().await);
    let realm = format!("Bearer realm=\"{}/token\"", tokens.listener.url());
    registry.answers(move |_, _| challenge(&realm));
    for granted in [true, false] {
        tokens.answers(move |_, _| {
            if granted {
                Response::new(Full::from(r#"{"token":"anonymous"}"#))
            } else {
                status(StatusCode::UNAUTHORIZED)
            }
        });
        let refusal = async |remote: RemoteRegistry| {
            let digest = Algorithm::Sha256.digest(b"a");
            let access = trusted("team/app");
            let options = OpenOptions::default();
            let error = remote
                .open_blob(&access, &digest, options)
                .await
                .unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unauthorized);
            error.to_string()
        };
        let host = tokens.listener.host();
        let withheld = refusal(registry.remote(None)).await;
        assert!(withheld.contains(&host), "{withheld}");
        let sent = refusal(registry.remote(Some(&host))).await;
        assert!(!sent.contains(&host), "{sent}");
    }
}

#[tokio::test]
async fn s_81_a_redirect_to_another_origin_loses_the_login() {
    let (registry, other) = (Server::start().await, Server::start().await);
    let to = format!("{}/blob", other.listener.url());
    registry.answers(move |_, login| match login {
        Some(_) => redirect(&to),
        None => challenge("Basic realm=\"r\""),
    });
    let remote = registry.remote(None);
    assert_eq!(pull(&remote).await, ErrorKind::BlobUnknown);
    assert!(
        registry
            .logins()
            .iter()
            .flatten()
            .any(|login| is_basic(login))
    );
    assert_eq!(other.logins(), [None]);
}

#[tokio::test]
async fn s_81_what_a_redirect_leads_to_does_not_say_how_to_log_in() {
    let (registry, other) = (Server::start().await, Server::start().await);
    let to = format!("{}/blob", other.listener.url());
    registry.answers(move |_, _| redirect(&to));
    let realm = format!("Bearer realm=\"{}/token\"", other.listener.url());
    other.answers(move |path, _| match path {
        "/token" => Response::new(Full::from(r#"{"token":"theirs"}"#)),
        _ => challenge(&realm),
    });
    let remote = registry.remote(None);
    for _ in 0..2 {
        assert_eq!(pull(&remote).await, ErrorKind::Unauthorized);
    }
    assert_eq!(registry.logins(), [None, None]);
    assert_eq!(other.logins(), [None, None]);

    other.answers(|_, _| challenge("Basic realm=\"r\""));
    for _ in 0..2 {
        assert_eq!(pull(&remote).await, ErrorKind::Unauthorized);
    }
    assert!(
        !registry
            .logins()
            .iter()
            .flatten()
            .any(|login| is_basic(login))
    );
}

/// A registry that accepts the token issued last, as long as it isn't revoked,
/// and tells how to get one only to those who have none.
struct Issuing {
    server: Server,
    issued: Arc<Mutex<usize>>,
}

impl Issuing {
    async fn start() -> Self {
        let server = Server::start().await;
        let issued = Arc::new(Mutex::new(0));
        let counter = Arc::clone(&issued);
        let realm = format!("Bearer realm=\"{}/token\"", server.listener.url());
        server.answers(move |path, login| {
            let mut issued = counter.lock().unwrap();
            if path == "/token" {
                *issued += 1;
                let token = format!(r#"{{"token":"t{issued}","expires_in":3600}}"#);
                return Response::new(Full::from(token));
            }
            match login {
                None => challenge(&realm),
                Some(login) if login == format!("Bearer t{issued}") => uploading(path),
                Some(_) => status(StatusCode::UNAUTHORIZED),
            }
        });
        Self { server, issued }
    }

    /// As if somebody else had got a token: the one before is worth nothing.
    fn revoke(&self) {
        *self.issued.lock().unwrap() += 1;
    }
}

/// What a registry says to any part of an upload, having no content.
fn uploading(path: &str) -> Response<Full<Bytes>> {
    let id = "00000000-0000-4000-8000-000000000000";
    if !path.contains("uploads") {
        return status(StatusCode::NOT_FOUND);
    }
    let mut response = status(StatusCode::ACCEPTED);
    let headers = response.headers_mut();
    let location = format!("/v2/team/app/blobs/uploads/{id}");
    headers.insert(LOCATION, location.parse().unwrap());
    headers.insert("range", "0-0".parse().unwrap());
    response
}

#[tokio::test]
async fn a_token_that_was_refused_is_not_sent_again() {
    let registry = Issuing::start().await;
    let remote = registry.server.remote(None);
    let access = trusted("team/app");
    let upload = remote
        .begin_upload(&access, UploadOptions::default())
        .await
        .unwrap();
    registry.revoke();
    // Its bytes can't be sent twice, so it fails. The next one need not.
    let append = || remote.append_upload(&access, &upload.id, Chunk::from_bytes("a"));
    let refused = append().await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unauthorized);
    append().await.unwrap();
}

#[tokio::test]
async fn a_request_that_can_be_sent_again_gets_by_with_a_fresh_token() {
    let registry = Issuing::start().await;
    let remote = registry.server.remote(None);
    assert_eq!(pull(&remote).await, ErrorKind::BlobUnknown);
    registry.revoke();
    assert_eq!(pull(&remote).await, ErrorKind::BlobUnknown);
    assert_eq!(*registry.issued.lock().unwrap(), 3);
    // The fresh one is kept.
    assert_eq!(pull(&remote).await, ErrorKind::BlobUnknown);
    assert_eq!(*registry.issued.lock().unwrap(), 3);
}

#[tokio::test]
async fn a_wrong_password_is_sent_once() {
    let registry = Server::start().await;
    registry.answers(|_, _| challenge("Basic realm=\"r\""));
    let remote = registry.remote(None);
    for logins in 1..3 {
        assert_eq!(pull(&remote).await, ErrorKind::Unauthorized);
        let seen = registry.logins();
        assert_eq!(seen.iter().flatten().count(), logins);
    }
}
