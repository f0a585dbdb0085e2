//! With a service that has a say in each decision.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use aws_lc_rs::hmac;
use axum::routing::{MethodRouter, post};
use http::HeaderMap;
use reqwest::StatusCode;
use tokio::sync::{Semaphore, mpsc};

use crate::program::Setup;

/// What the service says of whatever it lets go on.
const ALLOWED: &str = r#"{"result": {"allow": true}}"#;

/// A request that finds nothing once the service allows it.
const TAGS: &str = "/v2/app/tags/list";

/// The address of a service that answers like this.
async fn serve(service: MethodRouter) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = axum::Router::new().route("/", service);
    tokio::spawn(async { axum::serve(listener, router).await });
    address.to_string()
}

/// A server where the service at `address` alone decides.
fn setup(address: &str, more: &str) -> Setup {
    Setup::serve(&format!(
        "version: 0.1\nstorage: inmemory\nhttp: {{addr: '127.0.0.1:0'}}\n\
         auth:\n  webhook: {{url: 'http://{address}/'{more}}}\n"
    ))
}

/// Whether `body` was signed with `secret`.
fn is_signed(headers: &HeaderMap, body: &str, secret: &str) -> bool {
    let signature = headers.get("x-hub-signature-256");
    let signature = signature.and_then(|value| value.to_str().ok());
    let Some(digits) = signature.and_then(|value| value.strip_prefix("sha256=")) else {
        return false;
    };
    let byte = |at: usize| u8::from_str_radix(digits.get(at..)?.get(..2)?, 16).ok();
    let bytes: Option<Vec<u8>> = (0..digits.len()).step_by(2).map(byte).collect();
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    bytes.is_some_and(|bytes| hmac::verify(&key, body.as_bytes(), &bytes).is_ok())
}

#[tokio::test]
async fn questions_are_signed_with_the_secret_of_the_configuration() {
    let address = serve(post(async |headers: HeaderMap, body: String| {
        if is_signed(&headers, &body, "known to both") {
            Ok(ALLOWED)
        } else {
            Err(StatusCode::UNAUTHORIZED)
        }
    }))
    .await;
    for (more, secret, expected) in [
        (", secretfile: secret", "known to both\n", 404),
        (", secretfile: secret", "known to one\n", 503),
        ("", "known to both\n", 503),
    ] {
        let program = setup(&address, more).file("secret", secret).start();
        let (status, said) = program.get(TAGS).await;
        assert_eq!(status, expected, "{more} {secret} {said}");
    }
}

#[tokio::test]
async fn a_service_is_waited_for_as_long_as_the_configuration_says() {
    let (asked, mut questions) = mpsc::unbounded_channel();
    let silence = Arc::new(Semaphore::new(0));
    let held = Arc::clone(&silence);
    let address = serve(post(async move || {
        let _ = asked.send(());
        // It fails once the silence is over.
        let _ = held.acquire().await;
        ALLOWED
    }))
    .await;
    let patient = setup(&address, "").start();
    let hasty = setup(&address, ", timeout: 1s").start();
    let giving_up = async {
        // The other one waits already, so it would give up first if both did so alike.
        questions.recv().await.unwrap();
        let (status, _) = hasty.get(TAGS).await;
        silence.close();
        status
    };
    let ((waited, said), gave_up) = tokio::join!(patient.get(TAGS), giving_up);
    assert_eq!(gave_up, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(waited, StatusCode::NOT_FOUND, "{said}");
}

#[tokio::test]
async fn answers_are_remembered_as_the_configuration_says() {
    for (more, expected) in [(", remember: 1m", 1), (", remember: 0s", 2), ("", 2)] {
        let count = Arc::new(AtomicUsize::new(0));
        let asked = Arc::clone(&count);
        let address = serve(post(async move || {
            asked.fetch_add(1, Ordering::SeqCst);
            ALLOWED
        }))
        .await;
        let program = setup(&address, more).start();
        for _ in 0..2 {
            let (status, said) = program.get(TAGS).await;
            assert_eq!(status, StatusCode::NOT_FOUND, "{said}");
        }
        assert_eq!(count.load(Ordering::SeqCst), expected, "{more}");
    }
}
