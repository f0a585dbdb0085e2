//! A service that decides, too, and those who keep it busy.

use std::convert::Infallible;
use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use registry_auth::{AccessControl, Login, Principal, Rules, Webhook};
use registry_http::{HttpFetch, Limits, RegistryService, TestServer};
use registry_storage::Engine;
use tokio::time::sleep;

use crate::crowded::from;
use crate::exchange::{nothing, request, send};

/// `ann:secret`.
const ANN: &str = "authorization: Basic YW5uOnNlY3JldA==";

const URI: &str = "/v2/a/manifests/b";

/// Allows everything to those who logged in, and never answers about others. Counts
/// the questions about those.
struct Decisions {
    server: TestServer,
    unanswered: Arc<AtomicUsize>,
}

impl Decisions {
    async fn start() -> Self {
        let unanswered = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&unanswered);
        let service = tower::service_fn(move |question: Request<Incoming>| {
            let counter = Arc::clone(&counter);
            async move {
                let question = question.into_body().collect().await.unwrap().to_bytes();
                let question: serde_json::Value = serde_json::from_slice(&question).unwrap();
                if question["input"]["user"].is_null() {
                    counter.fetch_add(1, Ordering::SeqCst);
                    pending::<()>().await;
                }
                let answer = Bytes::from_static(br#"{"result":{"allow":true}}"#);
                Ok::<_, Infallible>(Response::new(Full::new(answer)))
            }
        });
        Self {
            server: TestServer::with_service(service).await,
            unanswered,
        }
    }

    /// A registry that asks it about everything.
    fn registry(&self, limits: Limits) -> RegistryService {
        let url = self.server.url();
        let host = url.strip_prefix("http://").unwrap();
        let fetch = HttpFetch::builder().host(host).build().unwrap();
        let users = Login::new(|user, _| async move { Some(Principal::new(user)) });
        let access = AccessControl::new(Rules::new())
            .authenticator(users)
            .review(Webhook::new(&format!("{url}/"), fetch).unwrap());
        RegistryService::new(Engine::memory())
            .limits(limits)
            .access(access)
    }

    fn unanswered(&self) -> usize {
        self.unanswered.load(Ordering::SeqCst)
    }

    /// Waits until it was asked that much about those who didn't log in.
    async fn is_asked(&self, times: usize) {
        for _ in 0..1000 {
            if self.unanswered() >= times {
                return;
            }
            sleep(Duration::from_millis(10)).await;
        }
        panic!("it was asked {} times, not {times}", self.unanswered());
    }
}

/// Somebody there asks, who isn't answered yet.
fn ask(service: &RegistryService, address: &str) {
    let (service, request) = (service.clone(), request(&Method::GET, URI, &[], nothing()));
    let request = from(Some(address), request);
    tokio::spawn(async move { send(&service, request).await });
}

#[tokio::test]
async fn no_flood_of_anonymous_requests_keeps_decisions_from_who_logged_in() {
    let decisions = Decisions::start().await;
    let registry = decisions.registry(Limits::default());
    for number in 0..250 {
        ask(&registry, &format!("192.0.2.{number}"));
    }
    decisions.is_asked(32).await;
    let request = request(&Method::GET, URI, &[ANN], nothing());
    // From one of them, even.
    let answer = send(&registry, from(Some("192.0.2.1"), request)).await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND, "{answer:?}");
    assert_eq!(decisions.unanswered(), 32);
}

#[tokio::test]
async fn no_address_keeps_decisions_from_others() {
    let decisions = Decisions::start().await;
    let registry = decisions.registry(Limits::default());
    for number in 0..200 {
        ask(&registry, &format!("2001:db8::{number:x}"));
    }
    decisions.is_asked(16).await;
    let request = request(&Method::GET, URI, &[], nothing());
    let refused = send(&registry, from(Some("2001:db8::1"), request)).await;
    assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS, "{refused:?}");
    assert_eq!(refused.headers["retry-after"], "1");
    ask(&registry, "192.0.2.1");
    decisions.is_asked(17).await;
    assert_eq!(decisions.unanswered(), 17);
}

#[tokio::test]
async fn what_there_is_no_place_for_is_not_asked_about() {
    let decisions = Decisions::start().await;
    let registry = decisions.registry(Limits::default().max_requests(1));
    ask(&registry, "192.0.2.1");
    decisions.is_asked(1).await;
    let request = request(&Method::GET, URI, &[], nothing());
    let answer = send(&registry, from(Some("192.0.2.2"), request)).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{answer:?}");
    assert!(answer.headers.contains_key("retry-after"));
    assert_eq!(decisions.unanswered(), 1);
}
