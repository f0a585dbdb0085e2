//! Those who have a say beside the policies, in the program or elsewhere.
#![cfg(feature = "webhook")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test fails by panicking"
)]

mod issuers;
#[path = "common/sender.rs"]
mod sender;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use aws_lc_rs::hmac;
use futures::future::join_all;
use http::{Method, Request, Response, StatusCode};
use registry_auth::{
    AccessControl, Decision, Fetch, Grant, Login, ManagementNeed, Principal, Question, Refusal,
    Review, Rules, Secret, Sender, TokenRequest, TokenServer, Webhook,
};
use registry_core::{Action, Actions, ErrorKind, Operation, RequestOrigin, Result};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::issuers::Time;
use crate::sender::headers;

const URL: &str = "https://policy.example/v1/data/registry";
const PULL: &str = "/v2/team/app/manifests/v1";

fn rules() -> Rules {
    Rules::new()
        .sentence("user ann may pull, push team/*")
        .sentence("nobody may pull secret")
        .check()
        .unwrap()
}

/// A registry whose users have their names as passwords.
fn registry(review: impl Review) -> AccessControl {
    AccessControl::new(rules())
        .authenticator(Login::new(|user, password| async move {
            let known = password.matches(&user);
            known.then(|| Principal::new(user).member_of("web"))
        }))
        .review(review)
}

async fn ask(
    access: &AccessControl,
    authorization: Option<String>,
    method: Method,
    target: &str,
) -> Result<Grant, Refusal> {
    ask_from("192.0.2.1", access, authorization, method, target).await
}

async fn ask_from(
    address: &str,
    access: &AccessControl,
    authorization: Option<String>,
    method: Method,
    target: &str,
) -> Result<Grant, Refusal> {
    let headers = headers(authorization.as_deref());
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let operation = Operation::parse(&method, path, Some(query).filter(|query| !query.is_empty()));
    let origin = RequestOrigin {
        address: Some(address.parse().unwrap()),
        ..RequestOrigin::default()
    };
    let sender = Sender::new(&headers, origin);
    access.authorize(&sender, &operation.unwrap()).await
}

fn basic(user: &str) -> String {
    sender::basic(user, user)
}

/// What is answered to somebody who wants to do something.
async fn outcome(
    access: &AccessControl,
    user: &str,
    method: Method,
    target: &str,
) -> Result<(), (ErrorKind, String)> {
    let answer = ask(access, Some(basic(user)), method, target).await;
    answer
        .map(drop)
        .map_err(|refusal| (refusal.error.kind(), refusal.error.to_string()))
}

/// Says what it was told to say, and counts how often it was asked.
#[derive(Debug, Clone)]
struct Told {
    says: Option<Decision>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Told {
    fn new(says: impl Into<Option<Decision>>) -> Self {
        Self {
            says: says.into(),
            asked: Arc::default(),
        }
    }

    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut *self.asked.lock().unwrap())
    }
}

#[async_trait]
impl Review for Told {
    async fn review(&self, question: &Question<'_>, actions: Actions) -> Result<Decision> {
        let actions: Vec<_> = actions.iter().map(Action::as_str).collect();
        let asked = format!("{} {}", question.repository.unwrap(), actions.join(","));
        self.asked.lock().unwrap().push(asked);
        // Whatever kind of error it is.
        self.says
            .clone()
            .ok_or_else(|| ErrorKind::Denied.error("it is broken"))
    }
}

#[tokio::test]
async fn a_review_adds_to_what_the_policies_allow_or_denies_it() {
    let nobody = Told::new(Decision::ABSTAIN);
    let access = registry(nobody);
    outcome(&access, "ann", Method::GET, PULL).await.unwrap();
    let refused = outcome(&access, "ben", Method::GET, PULL).await;
    assert_eq!(refused.unwrap_err().0, ErrorKind::Denied);

    let adds = registry(Told::new(Decision::allow(Action::Pull)));
    outcome(&adds, "ben", Method::GET, PULL).await.unwrap();
    let refused = outcome(&adds, "ben", Method::DELETE, PULL).await;
    assert_eq!(refused.unwrap_err().0, ErrorKind::Denied);

    let denies = registry(Told::new(Decision::deny(Action::Push, "wait until Monday")));
    outcome(&denies, "ann", Method::GET, PULL).await.unwrap();
    let refused = outcome(&denies, "ann", Method::PUT, PULL).await;
    let (kind, reason) = refused.unwrap_err();
    assert_eq!((kind, &*reason), (ErrorKind::Denied, "wait until Monday"));
    // Who may not know of the repository reads no reason.
    let refused = outcome(&denies, "ben", Method::PUT, PULL).await;
    assert!(!refused.unwrap_err().1.contains("Monday"));

    // Of two, the denial wins.
    for (one, other) in [(&adds, "denies"), (&denies, "adds")] {
        let more = match other {
            "adds" => Told::new(Decision::allow(Action::Push)),
            _ => Told::new(Decision::deny_silently(Actions::ALL)),
        };
        let both = one.clone().review(more);
        let refused = outcome(&both, "ann", Method::PUT, PULL).await;
        assert_eq!(refused.unwrap_err().0, ErrorKind::Denied, "{other}");
    }
}

#[tokio::test]
async fn what_the_policies_deny_no_review_sees_or_allows() {
    let told = Told::new(Decision::allow(Actions::ALL));
    let access = registry(told.clone());
    for user in ["ann", "ben"] {
        let refused = outcome(&access, user, Method::GET, "/v2/secret/manifests/v1").await;
        assert_eq!(refused.unwrap_err().0, ErrorKind::Denied);
    }
    assert_eq!(told.asked(), Vec::<String>::new());
}

#[tokio::test]
async fn a_review_is_asked_once_for_each_repository_of_an_operation() {
    let told = Told::new(Decision::allow(Actions::ALL));
    let access = registry(told.clone()).tokens(TokenServer::ephemeral().unwrap());
    let digest = format!("sha256:{}", "0".repeat(64));
    let mount = format!("/v2/team/app/blobs/uploads/?mount={digest}&from=team/base");
    let anywhere = format!("/v2/team/app/blobs/uploads/?mount={digest}");
    for (method, target, asked) in [
        (Method::GET, PULL, &["team/app pull"][..]),
        (Method::HEAD, PULL, &["team/app pull"]),
        (Method::PUT, PULL, &["team/app push"]),
        (Method::POST, &mount, &["team/app push", "team/base pull"]),
        (Method::POST, &anywhere, &["team/app push"]),
        (Method::GET, "/v2/", &[]),
        (Method::GET, "/v2/_catalog", &[]),
    ] {
        ask(&access, Some(basic("ann")), method, target)
            .await
            .unwrap();
        assert_eq!(told.asked(), asked, "{target}");
    }
    // A mount takes nothing from where the review denies it.
    let denies = Told::new(Decision::deny_silently(Action::Pull));
    let access = registry(denies.clone());
    let grant = ask(&access, Some(basic("ann")), Method::POST, &mount).await;
    assert!(grant.unwrap().source.is_none());
}

#[tokio::test]
async fn a_mount_from_anywhere_takes_nothing_that_a_review_would_deny() {
    let target = format!(
        "/v2/team/app/blobs/uploads/?mount=sha256:{}",
        "0".repeat(64)
    );
    let denies = Told::new(Decision::deny_silently(Action::Pull));
    let grant = ask(&registry(denies), Some(basic("ann")), Method::POST, &target).await;
    let grant = grant.unwrap();
    assert!(grant.target.is_some());
    assert!(grant.catalog.is_none() && grant.source.is_none());
    // Without a review, it takes it from wherever the policies let it.
    let access = AccessControl::new(rules()).authenticator(Login::new(|user, _| async move {
        Some(Principal::new(user))
    }));
    let grant = ask(&access, Some(basic("ann")), Method::POST, &target).await;
    assert!(grant.unwrap().catalog.is_some());
}

#[tokio::test]
async fn a_review_that_fails_lets_nothing_go_on() {
    let access = registry(Told::new(None));
    for user in ["ann", "ben"] {
        let (kind, said) = outcome(&access, user, Method::GET, PULL).await.unwrap_err();
        assert_eq!(kind, ErrorKind::Unavailable);
        assert!(!said.contains("broken"), "{said}");
    }
    let answer = ask(&access, None, Method::GET, PULL).await;
    assert_eq!(answer.unwrap_err().error.kind(), ErrorKind::Unavailable);
    // It has no say in this.
    ask(&access, Some(basic("ann")), Method::GET, "/v2/")
        .await
        .unwrap();
}

#[tokio::test]
async fn a_review_makes_nobody_a_manager_and_no_token_cover_more() {
    let told = Told::new(Decision::allow(Actions::ALL));
    let access = registry(told.clone()).tokens(TokenServer::ephemeral().unwrap());
    let grant = ask(&access, Some(basic("ann")), Method::GET, PULL)
        .await
        .unwrap();
    let actions = grant.target.unwrap().actions();
    for action in [Action::Administer, Action::Audit] {
        assert!(!actions.contains(action.into()), "{actions:?}");
    }
    told.asked();
    let headers = headers(Some(&basic("ann")));
    let sender = Sender::new(&headers, RequestOrigin::default());
    let need = ManagementNeed::Registry(Action::Administer);
    access
        .authorize_management(&sender, &need)
        .await
        .unwrap_err();

    let request = TokenRequest::from_query("scope=repository:team/app:pull").unwrap();
    let token = access.issue(&sender, &request).await.unwrap().token;
    assert_eq!(told.asked(), Vec::<String>::new());
    let bearer = || Some(format!("Bearer {}", token.expose()));
    ask(&access, bearer(), Method::GET, PULL).await.unwrap();
    let refusal = ask(&access, bearer(), Method::DELETE, PULL)
        .await
        .unwrap_err();
    assert_eq!(refusal.error.kind(), ErrorKind::Unauthorized);
    // Whoever needs another token is told so, also for what only the review adds.
    let challenge = refusal.challenge.unwrap();
    let challenge = challenge.to_str().unwrap();
    assert!(challenge.contains("insufficient_scope"), "{challenge}");
}

/// A service that answers as it was told.
#[derive(Debug, Clone)]
struct Service(Arc<Inside>);

#[derive(Debug)]
struct Inside {
    answer: Mutex<(StatusCode, String)>,
    asked: Mutex<Vec<Request<Vec<u8>>>>,
    at_once: AtomicUsize,
    open: Semaphore,
}

impl Service {
    fn new(answer: &impl ToString) -> Self {
        Self(Arc::new(Inside {
            answer: Mutex::new((StatusCode::OK, answer.to_string())),
            asked: Mutex::default(),
            at_once: AtomicUsize::default(),
            open: Semaphore::new(Semaphore::MAX_PERMITS),
        }))
    }

    fn answer(&self, status: StatusCode, answer: &impl ToString) {
        *self.0.answer.lock().unwrap() = (status, answer.to_string());
    }

    fn asked(&self) -> Vec<Request<Vec<u8>>> {
        std::mem::take(&mut *self.0.asked.lock().unwrap())
    }

    fn hook(&self) -> Webhook {
        Webhook::new(URL, self.clone()).unwrap()
    }
}

#[async_trait]
impl Fetch for Service {
    async fn fetch(&self, request: Request<Vec<u8>>, most: usize) -> Result<Response<Vec<u8>>> {
        self.0.at_once.fetch_add(1, Ordering::SeqCst);
        self.0.asked.lock().unwrap().push(request);
        let _open = self.0.open.acquire().await.unwrap();
        let (status, answer) = self.0.answer.lock().unwrap().clone();
        if answer.len() > most {
            return Err(ErrorKind::Unavailable.error("that is too much"));
        }
        let answer = Response::builder().status(status).body(answer.into_bytes());
        Ok(answer.unwrap())
    }
}

#[tokio::test]
async fn a_question_says_who_wants_to_do_what_where_and_when() {
    let service = Service::new(&json!({"result": {"allow": true}}));
    let secret = "the secret of both";
    let hook = service.hook().secret(Secret::new(secret)).unwrap();
    let access = registry(hook).clock(Time::default());
    outcome(&access, "ben", Method::PUT, PULL).await.unwrap();
    let [request] = service.asked().try_into().unwrap();
    assert_eq!(
        (request.method(), &*request.uri().to_string()),
        (&Method::POST, URL)
    );
    assert_eq!(request.headers()["content-type"], "application/json");
    let question: Value = serde_json::from_slice(request.body()).unwrap();
    assert_eq!(
        question,
        json!({"input": {
            "user": "ben", "kind": "user", "groups": ["web"], "claims": {},
            "actions": ["push"], "repository": "team/app", "tags": ["v1"],
            "address": "192.0.2.1", "time": issuers::NOW,
        }})
    );
    let signature = request.headers()["x-hub-signature-256"].to_str().unwrap();
    let signature = signature.strip_prefix("sha256=").unwrap();
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let digit = |at: usize| u8::from_str_radix(&signature[at..at + 2], 16).unwrap();
    let signed: Vec<u8> = (0..64).step_by(2).map(digit).collect();
    hmac::verify(&key, request.body(), &signed).unwrap();
    assert!(request.headers().get("authorization").is_none());

    // Of somebody unknown nothing is said, and without a secret nothing is signed.
    let access = registry(service.hook()).clock(Time::default());
    ask(&access, None, Method::GET, PULL).await.unwrap();
    let [request] = service.asked().try_into().unwrap();
    let question: Value = serde_json::from_slice(request.body()).unwrap();
    assert_eq!(question["input"]["user"], Value::Null);
    assert_eq!(question["input"]["kind"], "anonymous");
    assert!(request.headers().get("x-hub-signature-256").is_none());
}

#[tokio::test]
async fn the_answer_decides_if_the_policies_leave_it_to_the_service() {
    let cases = [
        (json!({"allow": true}), true, true),
        (json!({"allow": false}), false, false),
        (
            json!({"allow": false, "actions": ["overwrite"]}),
            true,
            false,
        ),
        (json!({}), true, false),
        (json!({"deny": true}), false, false),
        (json!({"deny": true, "allow": true}), false, false),
        (json!({"allow": true, "actions": ["pull"]}), true, false),
        (
            json!({"allow": true, "actions": ["push", "overwrite"]}),
            true,
            true,
        ),
        (json!({"allow": true, "actions": []}), true, false),
        (json!({"deny": true, "actions": ["overwrite"]}), true, false),
        // A denial is about something.
        (json!({"deny": true, "actions": []}), false, false),
        (json!({"allow": false, "actions": []}), false, false),
        (
            json!({"deny": true, "allow": true, "actions": []}),
            false,
            false,
        ),
        (json!({"deny": false, "actions": []}), true, false),
        (
            json!({"allow": true, "more": {"a": [1]}, "reason": null}),
            true,
            true,
        ),
    ];
    for (result, ann, ben) in cases {
        let access = registry(Service::new(&json!({"result": result, "id": 1})).hook());
        for (user, may) in [("ann", ann), ("ben", ben)] {
            let answer = outcome(&access, user, Method::PUT, PULL).await;
            let answer = answer.map_err(|(kind, _)| kind);
            let expected = if may { Ok(()) } else { Err(ErrorKind::Denied) };
            assert_eq!(answer, expected, "{user} {result}");
        }
    }
    // What is allowed beside what was asked for counts, too.
    let more = json!({"result": {"allow": true, "actions": ["push", "overwrite", "administer"]}});
    let access = registry(Service::new(&more).hook());
    let grant = ask(&access, Some(basic("ben")), Method::PUT, PULL)
        .await
        .unwrap();
    let expected: Actions = [Action::Push, Action::Overwrite].into();
    assert_eq!(grant.target.unwrap().actions(), expected);

    let long = format!("wait\u{1b}[31m\n{}", "!".repeat(1000));
    let reason = json!({"result": {"deny": true, "reason": long}});
    let access = registry(Service::new(&reason).hook());
    let (_, said) = outcome(&access, "ann", Method::PUT, PULL)
        .await
        .unwrap_err();
    assert!(said.starts_with("wait[31m!!"), "{said}");
    assert!(said.len() <= 256, "{said}");
}

#[tokio::test]
async fn an_answer_that_decides_nothing_is_an_error() {
    let good = json!({"result": {"allow": true}}).to_string();
    let cases = [
        (StatusCode::NO_CONTENT, good.clone()),
        (StatusCode::FOUND, good.clone()),
        (StatusCode::UNAUTHORIZED, good.clone()),
        (StatusCode::INTERNAL_SERVER_ERROR, good.clone()),
        (StatusCode::OK, String::new()),
        (StatusCode::OK, "<html>".into()),
        (StatusCode::OK, "{}".into()),
        (StatusCode::OK, json!({"result": null}).to_string()),
        (StatusCode::OK, json!({"result": true}).to_string()),
        (
            StatusCode::OK,
            json!({"result": {"allow": "yes"}}).to_string(),
        ),
        (
            StatusCode::OK,
            json!({"result": {"allow": null}}).to_string(),
        ),
        (
            StatusCode::OK,
            json!({"result": {"allow": true, "actions": ["fly"]}}).to_string(),
        ),
        (
            StatusCode::OK,
            r#"{"result":{"allow":true,"allow":true}}"#.into(),
        ),
        (StatusCode::OK, format!("{good}{good}")),
        (StatusCode::OK, format!("{good}{}", " ".repeat(64 << 10))),
    ];
    for (status, answer) in cases {
        let service = Service::new(&"");
        service.answer(status, &answer);
        let hook = service.hook().remember(Duration::from_mins(1)).unwrap();
        let access = registry(hook);
        for user in ["ann", "ben"] {
            let refused = outcome(&access, user, Method::GET, PULL).await;
            let kind = refused.unwrap_err().0;
            assert_eq!(kind, ErrorKind::Unavailable, "{status} {answer:.100}");
        }
        // It isn't remembered.
        service.answer(StatusCode::OK, &good);
        outcome(&access, "ben", Method::GET, PULL).await.unwrap();
    }
}

#[tokio::test]
async fn the_same_is_asked_again_when_the_answer_is_too_old() {
    let service = Service::new(&json!({"result": {"allow": true}}));
    let time = Time::default();
    let hook = service.hook().remember(Duration::from_secs(10)).unwrap();
    let access = registry(hook).clock(time.clone());
    let pull = async |user: &str, target: &str| {
        outcome(&access, user, Method::GET, target).await.unwrap();
        service.asked().len()
    };
    assert_eq!(pull("ben", PULL).await, 1);
    time.go(Duration::from_secs(9));
    assert_eq!(pull("ben", PULL).await, 0);
    assert_eq!(pull("bob", PULL).await, 1);
    assert_eq!(pull("ben", "/v2/team/app/manifests/v2").await, 1);
    assert_eq!(pull("ben", "/v2/team/other/manifests/v1").await, 1);
    outcome(&access, "ben", Method::PUT, PULL).await.unwrap();
    assert_eq!(service.asked().len(), 1);
    service.answer(StatusCode::OK, &json!({"result": {"deny": true}}));
    time.go(Duration::from_secs(1));
    let refused = outcome(&access, "ben", Method::GET, PULL).await;
    assert_eq!(refused.unwrap_err().0, ErrorKind::Denied);
    assert_eq!(service.asked().len(), 1);

    // Unless it is told to, it remembers nothing.
    let service = Service::new(&json!({"result": {"allow": true}}));
    let access = registry(service.hook());
    for _ in 0..3 {
        outcome(&access, "ben", Method::GET, PULL).await.unwrap();
    }
    assert_eq!(service.asked().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn no_more_than_64_questions_are_open_at_once_nor_16_of_one_address() {
    // Who asks, from where, how many are asked about, and what the others are told.
    for (is_known, is_same, open, told) in [
        (true, false, 64, ErrorKind::Unavailable),
        (false, false, 32, ErrorKind::Unavailable),
        (true, true, 16, ErrorKind::TooManyRequests),
        (false, true, 16, ErrorKind::TooManyRequests),
    ] {
        let service = Service::new(&json!({"result": {"allow": true}}));
        service.0.open.forget_permits(Semaphore::MAX_PERMITS);
        let access = registry(service.hook());
        let asking = async {
            let asks = (0..100).map(async |number| {
                let address = format!("192.0.2.{}", if is_same { 1 } else { number });
                let user = is_known.then(|| basic(&format!("user{number}")));
                ask_from(&address, &access, user, Method::GET, PULL).await
            });
            join_all(asks).await
        };
        let answering = async {
            // Longer than somebody waits until others are answered.
            tokio::time::sleep(Duration::from_secs(9)).await;
            assert_eq!(service.0.at_once.load(Ordering::SeqCst), open);
            service.0.open.add_permits(100);
        };
        let (answers, ()) = tokio::join!(asking, answering);
        let refused: Vec<_> = answers
            .iter()
            .filter_map(|answer| answer.as_ref().err())
            .map(|refusal| (refusal.error.kind(), refusal.error.retry_after()))
            .collect();
        assert_eq!(refused.len(), 100 - open);
        let wait = Some(Duration::from_secs(1));
        assert!(
            refused.iter().all(|refused| *refused == (told, wait)),
            "{refused:?}"
        );
        outcome(&access, "ben", Method::GET, PULL).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_remembered_takes_no_place() {
    let service = Service::new(&json!({"result": {"allow": true}}));
    let hook = service.hook().remember(Duration::from_mins(1)).unwrap();
    let access = registry(hook).clock(Time::default());
    ask(&access, None, Method::GET, PULL).await.unwrap();
    service.0.open.forget_permits(Semaphore::MAX_PERMITS);
    let others: Vec<_> = (0..100)
        .map(|number| {
            let access = access.clone();
            let target = format!("/v2/team/app/manifests/v{number}");
            tokio::spawn(async move { ask(&access, None, Method::GET, &target).await.is_ok() })
        })
        .collect();
    tokio::task::yield_now().await;
    ask(&access, None, Method::GET, PULL).await.unwrap();
    others.iter().for_each(tokio::task::JoinHandle::abort);
}

#[test]
fn a_webhook_that_cannot_be_trusted_is_refused() {
    let service = Service::new(&"");
    for url in ["http://policy.example/", "http://10.0.0.1/", "policy", ""] {
        let error = Webhook::new(url, service.clone()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::RequestInvalid, "{url}");
    }
    Webhook::new("http://127.0.0.1:8181/v1/data", service.clone()).unwrap();
    let error = service.hook().secret(Secret::new("")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::RequestInvalid);
    let error = service
        .hook()
        .remember(Duration::from_secs(61))
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::RequestInvalid);
    let hook = service.hook().secret(Secret::new("canary")).unwrap();
    assert!(!format!("{hook:?}").contains("canary"));
}
