//! Who gets in, seen from outside: headers and an operation go in, a grant or
//! a refusal comes out.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test fails by panicking"
)]

use base64::Engine;
use http::{HeaderMap, HeaderValue, Method};
use registry_auth::{
    AccessControl, Authenticator, Caller, Challenge, Credentials, Decision, Grant, Login, Policy,
    Principal, Question, Refusal, Rules, wrong_credentials,
};
use registry_core::{Action, Actions, ErrorKind, Operation, RequestOrigin, Result};

const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

fn headers(authorization: Option<&str>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    if let Some(value) = authorization {
        headers.insert("authorization", HeaderValue::from_str(value).unwrap());
    }
    headers
}

fn basic(user: &str, password: &str) -> String {
    let pair = format!("{user}:{password}");
    format!(
        "Basic {}",
        base64::engine::general_purpose::STANDARD.encode(pair)
    )
}

async fn ask(
    access: &AccessControl,
    authorization: Option<&str>,
    method: Method,
    target: &str,
) -> Result<Grant, Refusal> {
    let (path, query) = target
        .split_once('?')
        .map_or((target, None), |(p, q)| (p, Some(q)));
    let operation = Operation::parse(&method, path, query).unwrap();
    access
        .authorize(
            &headers(authorization),
            &operation,
            RequestOrigin::default(),
        )
        .await
}

/// Everybody may pull from library, those who are known may push there, and
/// the team keeps to itself.
fn private_registry() -> AccessControl {
    let rules = Rules::new()
        .anonymous("library/**", &[Action::Pull])
        .signed_in("library/**", &[Action::Pull, Action::Push])
        .user("ci", "team/**", &[Action::Pull, Action::Push]);
    AccessControl::new(rules).authenticator(Login::new(|user, password| async move {
        (user == "ci" || user == "guest") & password.matches("secret")
    }))
}

fn refused(answer: Result<Grant, Refusal>, kind: ErrorKind) -> Option<HeaderValue> {
    let refusal = answer.expect_err("refused");
    assert_eq!(refusal.error.kind(), kind, "{}", refusal.error);
    refusal.challenge
}

#[tokio::test]
async fn an_open_registry_lets_everybody_do_everything_and_ignores_credentials() {
    let access = AccessControl::open();
    for authorization in [None, Some("Basic Zm9vOmJhcg=="), Some("garbage")] {
        ask(&access, authorization, Method::GET, "/v2/")
            .await
            .unwrap();
        let grant = ask(&access, authorization, Method::PUT, "/v2/a/manifests/v1")
            .await
            .unwrap();
        assert_eq!(grant.target.unwrap().actions(), Actions::ALL);
        assert_eq!(grant.actor.name, None);
        let grant = ask(&access, authorization, Method::GET, "/v2/_catalog")
            .await
            .unwrap();
        assert!(grant.catalog.unwrap().is_unlimited());
    }
}

#[tokio::test]
async fn whoever_is_unknown_is_asked_to_log_in_where_it_helps() {
    let access = private_registry();
    ask(
        &access,
        None,
        Method::GET,
        "/v2/library/alpine/manifests/latest",
    )
    .await
    .unwrap();
    for (method, target) in [
        (Method::GET, "/v2/"),
        (Method::GET, "/v2/_catalog"),
        (Method::GET, "/v2/team/app/manifests/latest"),
        (Method::POST, "/v2/library/alpine/blobs/uploads/"),
        (Method::DELETE, "/v2/library/alpine/manifests/latest"),
    ] {
        let challenge = refused(
            ask(&access, None, method, target).await,
            ErrorKind::Unauthorized,
        );
        assert_eq!(challenge.unwrap(), "Basic realm=\"registry\"", "{target}");
    }
}

#[tokio::test]
async fn the_challenge_can_name_another_realm() {
    let access = private_registry().challenge(Challenge::basic("our images").unwrap());
    let challenge = refused(
        ask(&access, None, Method::GET, "/v2/").await,
        ErrorKind::Unauthorized,
    );
    assert_eq!(challenge.unwrap(), "Basic realm=\"our images\"");
}

#[tokio::test]
async fn without_logins_nobody_is_asked_to_log_in() {
    let access = AccessControl::new(Rules::new().anonymous("**", &[Action::Pull]));
    ask(&access, None, Method::GET, "/v2/").await.unwrap();
    ask(&access, None, Method::GET, "/v2/a/tags/list")
        .await
        .unwrap();
    let answer = ask(&access, None, Method::POST, "/v2/a/blobs/uploads/").await;
    assert_eq!(refused(answer, ErrorKind::Denied), None);
}

#[tokio::test]
async fn wrong_credentials_are_refused_even_where_none_are_needed() {
    let access = private_registry();
    for authorization in [
        basic("ci", "wrong").as_str(),
        &basic("nobody", "secret"),
        "Bearer abc",
        "Negotiate abc",
        "Basic !",
    ] {
        for target in ["/v2/", "/v2/library/alpine/manifests/latest"] {
            let answer = ask(&access, Some(authorization), Method::GET, target).await;
            assert!(
                refused(answer, ErrorKind::Unauthorized).is_some(),
                "{authorization}"
            );
        }
    }
}

#[tokio::test]
async fn s_46_a_wrong_password_and_an_unknown_name_get_the_same_answer() {
    let access = private_registry();
    let answer = async |user| {
        let authorization = basic(user, "wrong");
        let refusal = ask(&access, Some(&authorization), Method::GET, "/v2/")
            .await
            .unwrap_err();
        (format!("{:#?}", refusal.error), refusal.challenge)
    };
    assert_eq!(answer("ci").await, answer("nobody").await);
}

#[tokio::test]
async fn whoever_is_known_gets_what_the_rules_allow() {
    let access = private_registry();
    let ci = basic("ci", "secret");
    let guest = basic("guest", "secret");

    let grant = ask(&access, Some(&ci), Method::GET, "/v2/").await.unwrap();
    assert_eq!(grant.actor.name.as_deref(), Some("ci"));

    let target = "/v2/team/app/blobs/uploads/";
    let grant = ask(&access, Some(&ci), Method::POST, target).await.unwrap();
    let access_right = grant.target.unwrap();
    assert_eq!(access_right.repository().as_str(), "team/app");
    assert_eq!(access_right.actions(), [Action::Pull, Action::Push].into());
    assert_eq!(access_right.actor().name.as_deref(), Some("ci"));

    // Whoever is known and may not is told so: another login wouldn't help.
    let answer = ask(&access, Some(&guest), Method::POST, target).await;
    assert_eq!(refused(answer, ErrorKind::Denied), None);
}

#[tokio::test]
async fn s_02_a_mount_needs_the_right_to_pull_from_its_source() {
    let access = private_registry();
    let guest = basic("guest", "secret");
    let mount = async |from: &str| {
        let target = format!("/v2/library/new/blobs/uploads/?mount={DIGEST}{from}");
        ask(&access, Some(&guest), Method::POST, &target)
            .await
            .unwrap()
    };

    let allowed = mount("&from=library/alpine").await;
    assert_eq!(
        allowed.source.unwrap().repository().as_str(),
        "library/alpine"
    );
    assert!(allowed.target.is_some());

    let forbidden = mount("&from=team/app").await;
    assert!(forbidden.source.is_none() && forbidden.catalog.is_none());
    assert!(forbidden.target.is_some());

    let catalog = mount("").await.catalog.unwrap();
    assert!(catalog.permits(&"library/alpine".parse().unwrap()));
    assert!(!catalog.permits(&"team/app".parse().unwrap()));
}

#[tokio::test]
async fn s_15_listings_show_what_the_caller_may_pull() {
    let access = private_registry();
    let visible = async |user| {
        let authorization = basic(user, "secret");
        let grant = ask(&access, Some(&authorization), Method::GET, "/v2/_catalog")
            .await
            .unwrap();
        let catalog = grant.catalog.unwrap();
        ["library/alpine", "team/app", "other"]
            .into_iter()
            .filter(|name| catalog.permits(&name.parse().unwrap()))
            .collect::<Vec<_>>()
    };
    assert_eq!(visible("guest").await, ["library/alpine"]);
    assert_eq!(visible("ci").await, ["library/alpine", "team/app"]);
}

#[derive(Debug)]
struct NoDeletes;

impl Policy for NoDeletes {
    fn decide(&self, _: &Question<'_>) -> Decision {
        Decision::deny(Action::Delete, "deleting is off until the audit ends")
    }
}

#[tokio::test]
async fn a_denial_wins_and_its_reason_is_for_those_who_may_pull() {
    let rules = Rules::new().user("ci", "team/**", &Action::ALL).user(
        "cleaner",
        "team/**",
        &[Action::Delete],
    );
    let access = AccessControl::new(rules)
        .policy(NoDeletes)
        .authenticator(Login::new(|_, password| async move {
            password.matches("secret")
        }));
    let reason = async |user| {
        let authorization = basic(user, "secret");
        let target = "/v2/team/app/manifests/v1";
        let refusal = ask(&access, Some(&authorization), Method::DELETE, target)
            .await
            .unwrap_err();
        assert_eq!(refusal.error.kind(), ErrorKind::Denied);
        refusal.error.to_string()
    };
    assert_eq!(reason("ci").await, "deleting is off until the audit ends");
    assert!(!reason("cleaner").await.contains("audit"));
    assert_eq!(reason("cleaner").await, reason("nobody-special").await);
}

/// Knows sessions by a header, as a program behind its own front end would.
#[derive(Debug)]
struct Session;

#[async_trait::async_trait]
impl Authenticator for Session {
    async fn authenticate(&self, caller: &Caller<'_>) -> Result<Option<Principal>> {
        match caller.headers.get("x-session").map(HeaderValue::as_bytes) {
            Some(b"7") => Ok(Some(Principal::new("seven").member_of("odd"))),
            Some(_) => Err(wrong_credentials()),
            None => Ok(None),
        }
    }
}

/// Fails whenever there are credentials.
#[derive(Debug)]
struct Broken;

#[async_trait::async_trait]
impl Authenticator for Broken {
    async fn authenticate(&self, caller: &Caller<'_>) -> Result<Option<Principal>> {
        match caller.credentials {
            Credentials::None => Ok(None),
            _ => Err(ErrorKind::Unavailable.error("the directory is down")),
        }
    }
}

#[tokio::test]
async fn authenticators_are_asked_in_turn() {
    let rules = Rules::new().group("odd", "a", &[Action::Pull]);
    let access = AccessControl::new(rules)
        .authenticator(Session)
        .authenticator(Login::new(|user, _| async move {
            (user == "eight").then(|| Principal::new("eight").member_of("odd"))
        }))
        .authenticator(Broken);
    let operation = Operation::parse(&Method::GET, "/v2/a/tags/list", None).unwrap();
    let ask = async |headers: HeaderMap| {
        access
            .authorize(&headers, &operation, RequestOrigin::default())
            .await
            .map(|grant| grant.actor.name.clone().unwrap())
            .map_err(|refusal| refusal.error.kind())
    };
    let session = |value| {
        HeaderMap::from_iter([(
            http::HeaderName::from_static("x-session"),
            HeaderValue::from_static(value),
        )])
    };
    assert_eq!(ask(session("7")).await, Ok("seven".to_owned()));
    assert_eq!(ask(session("8")).await, Err(ErrorKind::Unauthorized));
    assert_eq!(
        ask(headers(Some(&basic("eight", "")))).await,
        Ok("eight".to_owned())
    );
    assert_eq!(
        ask(headers(Some(&basic("nine", "")))).await,
        Err(ErrorKind::Unavailable)
    );
    assert_eq!(ask(headers(None)).await, Err(ErrorKind::Unauthorized));
}

#[tokio::test]
async fn s_44_a_header_full_of_dots_is_refused_at_once() {
    let dots = format!("Bearer {}", ".".repeat(64 << 10));
    let access = private_registry();
    let answer = ask(&access, Some(&dots), Method::GET, "/v2/").await;
    assert!(refused(answer, ErrorKind::Unauthorized).is_some());
}
