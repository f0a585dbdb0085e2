//! Keys that an issuer publishes at an address.
#![cfg(feature = "issuer")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test fails by panicking"
)]

mod issuers;

use std::time::Duration;

use futures::future::join_all;
use http::{HeaderMap, Method, StatusCode};
use registry_auth::{AccessControl, Issuer, Sender, TrustIssuer};
use registry_core::{ErrorKind, Operation, RequestOrigin};
use serde_json::{Value, json};

use crate::issuers::{Signer, Time, Web, forged, key_set};

const KEYS: &str = "https://login.example/keys";
const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);

/// A registry that takes tokens of `login`, whose keys are at [`KEYS`].
struct World {
    web: Web,
    time: Time,
    access: AccessControl,
}

impl World {
    fn new() -> Self {
        Self::called("registry", Web::default())
    }

    fn called(service: &str, web: Web) -> Self {
        let time = Time::default();
        let issuer = Issuer::new("login", service)
            .keys_url(KEYS, web.clone())
            .unwrap()
            .clock(time.clone());
        let access = AccessControl::new(TrustIssuer)
            .authenticator(issuer)
            .clock(time.clone());
        Self { web, time, access }
    }

    /// The claims of a good token.
    fn claims(&self) -> Value {
        let now = self.time.seconds();
        json!({
            "iss": "login", "aud": "registry", "sub": "ann", "iat": now, "exp": now + 300,
            "access": [{"type": "repository", "name": "team/app", "actions": ["pull"]}],
        })
    }

    fn token(&self, signer: &Signer) -> String {
        signer.token(&self.claims())
    }

    async fn pull(&self, token: &str) -> Result<(), ErrorKind> {
        let mut headers = HeaderMap::new();
        headers.insert("authorization", format!("Bearer {token}").parse().unwrap());
        let operation = Operation::parse(&Method::GET, "/v2/team/app/tags/list", None).unwrap();
        let sender = Sender::new(&headers, RequestOrigin::default());
        let answer = self.access.authorize(&sender, &operation).await;
        answer.map(drop).map_err(|refusal| refusal.error.kind())
    }

    /// Tokens that name keys which nobody has.
    async fn flood(&self, times: usize, from: usize) {
        let tokens = (from..from + times).map(|n| forged(&format!("key-{n}"), &self.claims()));
        let tokens: Vec<_> = tokens.collect();
        let answers = join_all(tokens.iter().map(|token| self.pull(token))).await;
        assert!(answers.iter().all(|answer| *answer == UNAUTHORIZED));
    }
}

const UNAUTHORIZED: Result<(), ErrorKind> = Err(ErrorKind::Unauthorized);
const UNAVAILABLE: Result<(), ErrorKind> = Err(ErrorKind::Unavailable);

#[tokio::test(start_paused = true)]
async fn s_43_two_registries_of_one_issuer_do_not_take_each_others_tokens() {
    let web = Web::default();
    let login = Signer::new("a");
    web.put(KEYS, key_set(&[&login]));
    let services = ["registry", "registry.example.com"];
    let worlds = services.map(|service| World::called(service, web.clone()));
    let with = |audience: Value| {
        let mut claims = worlds[0].claims();
        claims["aud"] = audience;
        login.token(&claims)
    };
    for (world, service) in worlds.iter().zip(services) {
        for audience in services {
            let expected = if service == audience {
                Ok(())
            } else {
                UNAUTHORIZED
            };
            for token in [with(json!(audience)), with(json!(["x", audience]))] {
                assert_eq!(world.pull(&token).await, expected, "{service} {audience}");
            }
        }
    }
    let both = with(json!(services));
    for world in &worlds {
        assert_eq!(world.pull(&both).await, Ok(()));
    }
    for audience in [
        json!("Registry"),
        json!("registry "),
        json!("registry/"),
        json!("registr"),
        json!("registry.example"),
        json!(""),
        json!("*"),
        json!([]),
        json!(["registry.example.com", 1]),
        json!([["registry"]]),
        json!({"registry": true}),
        json!(null),
        json!(true),
    ] {
        let token = with(audience.clone());
        assert_eq!(worlds[0].pull(&token).await, UNAUTHORIZED, "{audience}");
    }
    let mut claims = worlds[0].claims();
    claims.as_object_mut().unwrap().remove("aud");
    assert_eq!(worlds[0].pull(&login.token(&claims)).await, UNAUTHORIZED);
}

#[tokio::test(start_paused = true)]
async fn s_45_ten_thousand_unknown_keys_cause_one_fetch_a_minute() {
    let world = World::new();
    let login = Signer::new("a");
    world.web.put(KEYS, key_set(&[&login]));
    let good = world.token(&login);
    assert_eq!(world.pull(&good).await, Ok(()));
    assert_eq!(world.web.asked(), 1);
    for round in 0..5 {
        world.time.go(Duration::from_secs(59));
        world.flood(1000, round * 2000).await;
        assert_eq!(world.web.asked(), round + 1);
        world.time.go(Duration::from_secs(1));
        world.flood(1000, round * 2000 + 1000).await;
        assert_eq!(world.web.asked(), round + 2);
        assert_eq!(world.pull(&good).await, Ok(()));
    }
    assert_eq!(world.web.asked(), 6);
}

#[tokio::test(start_paused = true)]
async fn s_45_nobody_else_waits_while_unknown_keys_are_looked_for() {
    let world = World::new();
    let login = Signer::new("a");
    world.web.put(KEYS, key_set(&[&login]));
    let good = world.token(&login);
    assert_eq!(world.pull(&good).await, Ok(()));
    world.time.go(MINUTE);
    world.web.hang();
    let start = tokio::time::Instant::now();
    let flood = world.flood(100, 0);
    let others = async {
        for _ in 0..100 {
            assert_eq!(world.pull(&good).await, Ok(()));
            // Another token with the same key.
            assert_eq!(world.pull(&world.token(&login)).await, Ok(()));
        }
        // Of the tests' own clock, which goes only while all wait.
        assert_eq!(start.elapsed(), Duration::ZERO);
    };
    // Whoever sent them gets an answer, although nobody answers us.
    tokio::join!(flood, others);
    assert_eq!(world.web.asked(), 2);
}

#[tokio::test(start_paused = true)]
async fn those_who_come_at_once_wait_for_one_fetch() {
    let world = World::new();
    let login = Signer::new("a");
    world.web.put(KEYS, key_set(&[&login]));
    let tokens: Vec<_> = (0..64).map(|_| world.token(&login)).collect();
    let answers = join_all(tokens.iter().map(|token| world.pull(token))).await;
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    assert_eq!(world.web.asked(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_new_key_is_fetched_when_a_token_names_it() {
    let world = World::new();
    let (old, new) = (Signer::new("a"), Signer::new("b"));
    world.web.put(KEYS, key_set(&[&old]));
    assert_eq!(world.pull(&world.token(&old)).await, Ok(()));
    world.web.put(KEYS, key_set(&[&old, &new]));
    assert_eq!(world.pull(&world.token(&new)).await, UNAUTHORIZED);
    world.time.go(MINUTE);
    for signer in [&new, &old] {
        assert_eq!(world.pull(&world.token(signer)).await, Ok(()));
    }
    assert_eq!(world.web.asked(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_withdrawn_key_is_good_as_long_as_the_issuer_said() {
    for (max_age, good) in [
        (Some(0), 300),
        (None, 300),
        (Some(600), 600),
        (Some(86_400), 3600),
        (Some(u64::MAX), 3600),
    ] {
        let world = World::new();
        let (old, new) = (Signer::new("a"), Signer::new("b"));
        world.web.put_for(KEYS, key_set(&[&old]), max_age);
        assert_eq!(world.pull(&world.token(&old)).await, Ok(()));
        world.web.put(KEYS, key_set(&[&new]));
        world.time.go(Duration::from_secs(good - 1));
        let token = world.token(&old);
        assert_eq!(world.pull(&token).await, Ok(()), "{max_age:?}");
        assert_eq!(world.web.asked(), 1);
        world.time.go(Duration::from_secs(1));
        // Also the token that was verified before.
        assert_eq!(world.pull(&token).await, UNAUTHORIZED, "{max_age:?}");
        assert_eq!(world.pull(&world.token(&new)).await, Ok(()));
        assert_eq!(world.web.asked(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn keys_of_an_issuer_that_is_away_are_good_for_a_day() {
    let world = World::new();
    let login = Signer::new("a");
    world.web.put(KEYS, key_set(&[&login]));
    assert_eq!(world.pull(&world.token(&login)).await, Ok(()));
    world.web.remove(KEYS);
    for _ in 0..23 {
        world.time.go(HOUR);
        assert_eq!(world.pull(&world.token(&login)).await, Ok(()));
        // Whoever looks in the background finds out that nobody answers.
        tokio::task::yield_now().await;
    }
    world.time.go(HOUR);
    let token = world.token(&login);
    assert_eq!(world.pull(&token).await, UNAVAILABLE);
    // What isn't a token at all is no question of keys.
    assert_eq!(world.pull("junk").await, UNAUTHORIZED);
    world.web.put(KEYS, key_set(&[&login]));
    assert_eq!(world.pull(&token).await, UNAVAILABLE);
    world.time.go(MINUTE);
    assert_eq!(world.pull(&token).await, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn an_issuer_that_hangs_is_waited_for_once() {
    let world = World::new();
    let login = Signer::new("a");
    world.web.put(KEYS, key_set(&[&login]));
    world.web.hang();
    let token = world.token(&login);
    assert_eq!(world.pull(&token).await, UNAVAILABLE);
    assert_eq!(world.pull(&token).await, UNAVAILABLE);
    assert_eq!(world.web.asked(), 1);
    world.web.go_on();
    assert_eq!(world.pull(&token).await, Ok(()));
    assert_eq!(world.web.asked(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_document_that_cannot_be_used_leaves_the_keys_as_they_were() {
    let login = Signer::new("a");
    let good = key_set(&[&login]);
    let large = format!("{good}{}", " ".repeat(256 << 10));
    let symmetric = r#"{"keys":[{"kty":"oct","kid":"a","alg":"HS256","k":"c2VjcmV0"}]}"#;
    let twice = good.replacen("\"kid\"", "\"kid\":\"b\",\"kid\"", 1);
    let cases = [
        (StatusCode::OK, large.as_str()),
        (StatusCode::OK, ""),
        (StatusCode::OK, "<html>"),
        (StatusCode::OK, "{}"),
        (StatusCode::OK, r#"{"keys":[]}"#),
        (StatusCode::OK, symmetric),
        (StatusCode::OK, &twice),
        (StatusCode::FOUND, &good),
        (StatusCode::NO_CONTENT, &good),
        (StatusCode::NOT_FOUND, &good),
        (StatusCode::INTERNAL_SERVER_ERROR, &good),
    ];
    for (status, document) in cases {
        let world = World::new();
        world.web.put(KEYS, document);
        world.web.fail(KEYS, status);
        let token = world.token(&login);
        assert_eq!(world.pull(&token).await, UNAVAILABLE, "{status} {document}");

        world.web.put(KEYS, good.as_str());
        world.time.go(MINUTE);
        assert_eq!(world.pull(&token).await, Ok(()));
        world.web.put(KEYS, document);
        world.web.fail(KEYS, status);
        world.time.go(2 * HOUR);
        assert_eq!(world.pull(&world.token(&login)).await, Ok(()));
        assert_eq!(world.web.asked(), 3);
    }
}

#[test]
fn keys_are_not_fetched_from_where_others_could_write_them() {
    for url in [
        "http://login.example/keys",
        "http://169.254.169.254/keys",
        "https://user@login.example/keys",
        "/keys",
        "",
    ] {
        let error = Issuer::new("login", "registry").keys_url(url, Web::default());
        assert_eq!(error.unwrap_err().kind(), ErrorKind::RequestInvalid);
    }
}

#[tokio::test(start_paused = true)]
async fn a_document_has_256_kib_at_most() {
    for (length, answer) in [(256 << 10, Ok(())), ((256 << 10) + 1, UNAVAILABLE)] {
        let (world, login) = (World::new(), Signer::new("a"));
        let document = key_set(&[&login]);
        let padding = " ".repeat(length - document.len());
        world.web.put(KEYS, format!("{document}{padding}"));
        assert_eq!(world.pull(&world.token(&login)).await, answer);
    }
}
