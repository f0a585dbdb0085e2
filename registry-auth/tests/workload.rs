//! Programs that another system vouches for.
#![cfg(feature = "workload")]
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

use std::time::Duration;

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures::future::join_all;
use http::{Method, StatusCode};
use registry_auth::{
    AccessControl, GuardLimits, Login, Refusal, Rules, Sender, TokenAnswer, TokenRequest,
    TokenServer, Workload,
};
use registry_core::{ErrorKind, Operation, RequestOrigin};
use serde_json::{Value, json};

use crate::issuers::{Signer, Time, Web, forged, key_set};
use crate::sender::{basic, headers};

const ISSUER: &str = "https://ci.example";
const DESCRIPTION: &str = "https://ci.example/.well-known/openid-configuration";
const KEYS: &str = "https://ci.example/keys";
const MAIN: &str = "workload ci repository=org/app ref=refs/heads/main may push, pull org/app";

/// A registry whose workloads run at `ci`.
struct World {
    web: Web,
    time: Time,
    ci: Signer,
    access: AccessControl,
}

impl World {
    fn new() -> Self {
        Self::with(&[MAIN])
    }

    fn with(sentences: &[&str]) -> Self {
        let (web, time, ci) = (Web::default(), Time::default(), Signer::new("a"));
        let description = json!({"issuer": ISSUER, "jwks_uri": KEYS, "claims_supported": ["sub"]});
        web.put(DESCRIPTION, description.to_string());
        web.put(KEYS, key_set(&[&ci]));
        let rules = sentences
            .iter()
            .fold(Rules::new(), |rules, sentence| rules.sentence(sentence));
        let workload = Workload::new("ci", ISSUER, "registry.example")
            .unwrap()
            .discover(web.clone())
            .unwrap()
            .clock(time.clone());
        let access = AccessControl::new(rules.check().unwrap())
            .authenticator(workload)
            .tokens(TokenServer::ephemeral().unwrap())
            .guard(GuardLimits::NONE)
            .clock(time.clone());
        Self {
            web,
            time,
            ci,
            access,
        }
    }

    /// The claims of a job on the main branch.
    fn claims(&self) -> Value {
        let now = self.time.seconds();
        json!({
            "iss": ISSUER, "aud": "registry.example", "sub": "repo:org/app:ref:refs/heads/main",
            "iat": now, "nbf": now, "exp": now + 600, "jti": "1",
            "repository": "org/app", "ref": "refs/heads/main", "run_attempt": 1, "fork": false,
        })
    }

    fn token(&self) -> String {
        self.ci.token(&self.claims())
    }

    /// A token like a good one, but for one claim; without it if that is null.
    fn token_but(&self, claim: &str, value: Value) -> String {
        let mut claims = self.claims();
        let members = claims.as_object_mut().unwrap();
        if value.is_null() {
            members.remove(claim);
        } else {
            members.insert(claim.to_owned(), value);
        }
        self.ci.token(&claims)
    }

    async fn issue(
        &self,
        authorization: Option<String>,
        request: &TokenRequest,
    ) -> Result<TokenAnswer, Refusal> {
        let headers = headers(authorization.as_deref());
        let sender = Sender::new(&headers, RequestOrigin::default());
        self.access.issue(&sender, request).await
    }

    /// What `token` is exchanged for.
    async fn exchange(&self, token: &str, scope: &str) -> Result<TokenAnswer, ErrorKind> {
        let form = form(token, &format!("&scope={scope}"));
        let request = TokenRequest::from_form(form.as_bytes()).unwrap();
        let answer = self.issue(None, &request).await;
        answer.map_err(|refusal| refusal.error.kind())
    }

    async fn ask(
        &self,
        authorization: Option<String>,
        method: Method,
        path: &str,
    ) -> Result<Option<String>, ErrorKind> {
        let headers = headers(authorization.as_deref());
        let operation = Operation::parse(&method, path, None).unwrap();
        let origin = RequestOrigin {
            address: Some([192, 0, 2, 1].into()),
            ..RequestOrigin::default()
        };
        let sender = Sender::new(&headers, origin);
        let grant = self.access.authorize(&sender, &operation).await;
        let grant = grant.map_err(|refusal| refusal.error.kind())?;
        Ok(grant.actor.name.clone())
    }

    async fn push(&self, authorization: String) -> Result<Option<String>, ErrorKind> {
        let path = "/v2/org/app/blobs/uploads/";
        self.ask(Some(authorization), Method::POST, path).await
    }
}

fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

fn form(token: &str, more: &str) -> String {
    format!(
        "grant_type=urn:ietf:params:oauth:grant-type:token-exchange&subject_token={token}\
         &subject_token_type=urn:ietf:params:oauth:token-type:id_token{more}"
    )
}

const BOTH: &str = "repository:org/app:pull,push repository:org/other:pull,push";
const JOB: &str = "ci:repo:org/app:ref:refs/heads/main";

#[tokio::test(start_paused = true)]
async fn a_job_exchanges_its_token_for_one_of_the_registry() {
    let world = World::new();
    let answer = world.exchange(&world.token(), BOTH).await.unwrap();
    assert_eq!(
        answer.scopes.to_string(),
        "repository:org/app:pull,create repository:org/other:"
    );
    let document: Value = serde_json::from_slice(&answer.to_json().unwrap()).unwrap();
    assert_eq!(
        document["issued_token_type"],
        "urn:ietf:params:oauth:token-type:access_token"
    );
    assert_eq!(document["token_type"], "Bearer");
    assert!(answer.refresh_token.is_none());
    let own = bearer(answer.token.expose());
    assert_eq!(world.push(own.clone()).await, Ok(Some(JOB.to_owned())));
    let other = "/v2/org/other/blobs/uploads/";
    let refused = world.ask(Some(own.clone()), Method::POST, other).await;
    assert_eq!(refused, Err(ErrorKind::Denied));
    // What it is good for has nothing to do with the system that runs the job.
    world.web.remove(KEYS);
    world.time.go(Duration::from_mins(4));
    assert_eq!(world.push(own.clone()).await, Ok(Some(JOB.to_owned())));
    world.time.go(Duration::from_mins(2));
    assert_eq!(world.push(own).await, Err(ErrorKind::Unauthorized));
}

#[tokio::test(start_paused = true)]
async fn what_is_given_for_a_jobs_token_ends_with_it() {
    let world = World::new();
    let token = world.token_but("exp", json!(world.time.seconds() + 100));
    let given = world.exchange(&token, BOTH).await.unwrap();
    assert_eq!(given.lifetime, Duration::from_secs(100));
    let query = TokenRequest::from_query("scope=repository:org/app:push").unwrap();
    world.time.go(Duration::from_secs(95));
    for authorization in [basic("oidc", &token), bearer(given.token.expose())] {
        let given = world.issue(Some(authorization), &query).await.unwrap();
        assert_eq!(given.lifetime, Duration::from_secs(5));
    }
    // Not in its last moments either, in which it is taken as clocks may differ.
    world.time.go(Duration::from_secs(5));
    world.push(basic("oidc", &token)).await.unwrap();
    let refused = world.exchange(&token, BOTH).await;
    assert_eq!(refused.unwrap_err(), ErrorKind::Unauthorized);
}

#[tokio::test(start_paused = true)]
async fn its_token_is_a_password_of_any_user_and_no_bearer() {
    let world = World::new();
    let token = world.token();
    let query = TokenRequest::from_query("scope=repository:org/app:pull,push").unwrap();
    for authorization in [basic("oidc", &token), basic("", &token), bearer(&token)] {
        let answer = world.issue(Some(authorization), &query).await.unwrap();
        assert_eq!(answer.scopes.to_string(), "repository:org/app:pull,create");
    }
    let job = Ok(Some(JOB.to_owned()));
    assert_eq!(world.push(basic("oidc", &token)).await, job);
    assert_eq!(
        world.push(bearer(&token)).await,
        Err(ErrorKind::Unauthorized)
    );
    let form =
        format!("grant_type=password&username=oidc&password={token}&scope=registry:catalog:*");
    let request = TokenRequest::from_form(form.as_bytes()).unwrap();
    world.issue(None, &request).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn two_workloads_of_one_issuer_are_told_apart_by_their_audiences() {
    let world = World::new();
    let workload = |name: &str, audience: &str| {
        let workload = Workload::new(name, ISSUER, audience).unwrap();
        let workload = workload.discover(world.web.clone()).unwrap();
        workload.clock(world.time.clone())
    };
    let rules = Rules::new()
        .sentence("workload ci may push org/app")
        .sentence("workload deploy may push org/app");
    let access = AccessControl::new(rules)
        .authenticator(workload("ci", "registry.example").leave_other_audiences())
        .authenticator(workload("deploy", "deploy.example"))
        .tokens(TokenServer::ephemeral().unwrap())
        .clock(world.time.clone());
    let world = World { access, ..world };
    let push = async |audience: Value| {
        let token = world.token_but("aud", audience);
        let known = world.push(basic("x", &token)).await?;
        let own = world.exchange(&token, BOTH).await?;
        assert_eq!(
            world.push(bearer(own.token.expose())).await,
            Ok(known.clone())
        );
        Ok(known.unwrap().split_once(':').unwrap().0.to_owned())
    };
    for (audience, name) in [
        (json!("registry.example"), "ci"),
        (json!("deploy.example"), "deploy"),
        (json!(["a", "deploy.example"]), "deploy"),
        (json!(["deploy.example", "registry.example"]), "ci"),
    ] {
        assert_eq!(push(audience).await, Ok(name.to_owned()));
    }
    for audience in [json!("another"), json!([]), json!(1), Value::Null] {
        assert_eq!(push(audience).await, Err(ErrorKind::Unauthorized));
    }
    // What is said is still checked.
    for audience in ["registry.example", "deploy.example"] {
        let mut claims = world.claims();
        claims["aud"] = json!(audience);
        let forged = Signer::new("a").token(&claims);
        let refused = world.push(basic("x", &forged)).await;
        assert_eq!(refused, Err(ErrorKind::Unauthorized));
    }
}

#[tokio::test(start_paused = true)]
async fn tokens_of_jobs_outlive_a_change_of_the_order_of_issuers() {
    let world = World::new();
    let signing_keys = tempfile::tempdir().unwrap();
    let access = |names: &[&'static str]| {
        let rules = Rules::new().sentence("workload deploy may push org/app");
        let access = AccessControl::new(rules).clock(world.time.clone());
        let access = names.iter().fold(access, |access, name| {
            let audience = format!("{name}.example");
            let workload = Workload::new(name, ISSUER, &audience).unwrap();
            let workload = workload.discover(world.web.clone()).unwrap();
            access.authenticator(workload.clock(world.time.clone()).leave_other_audiences())
        });
        access.tokens(TokenServer::open(signing_keys.path().join("keys")).unwrap())
    };
    let push = async |access: AccessControl, token: &str| {
        let headers = headers(Some(&bearer(token)));
        let path = "/v2/org/app/blobs/uploads/";
        let operation = Operation::parse(&Method::POST, path, None).unwrap();
        let sender = Sender::new(&headers, RequestOrigin::default());
        access.authorize(&sender, &operation).await.is_ok()
    };
    let job = world.token_but("aud", json!("deploy.example"));
    let form = form(&job, &format!("&scope={BOTH}"));
    let request = TokenRequest::from_form(form.as_bytes()).unwrap();
    let no_headers = headers(None);
    let sender = Sender::new(&no_headers, RequestOrigin::default());
    let token = access(&["ci", "deploy"]).issue(&sender, &request).await;
    let token = token.unwrap().token;
    for (names, is_known) in [
        (&["ci", "deploy"] as &[_], true),
        (&["deploy", "ci"], true),
        (&["new", "ci", "deploy"], true),
        (&["deploy"], true),
        (&["ci", "new"], false),
    ] {
        let pushed = push(access(names), token.expose()).await;
        assert_eq!(pushed, is_known, "{names:?}");
    }
}

#[tokio::test]
async fn whoever_guesses_keeps_no_job_out() {
    let mut world = World::new();
    // Guesses are counted where somebody checks passwords.
    let nobody = Login::new(|_, _| async { false });
    world.access = world
        .access
        .clone()
        .authenticator(nobody)
        .guard(GuardLimits::default());
    let token = world.token();
    for _ in 0..5 {
        let known = world.push(basic("oidc", "guess")).await;
        assert_eq!(known, Err(ErrorKind::Unauthorized));
    }
    let known = world.push(basic("oidc", "guess")).await;
    assert_eq!(known, Err(ErrorKind::TooManyRequests));
    let job = Ok(Some(JOB.to_owned()));
    assert_eq!(world.push(basic("oidc", &token)).await, job);
}

#[tokio::test(start_paused = true)]
async fn a_token_never_grants_more_than_user_request_and_parent() {
    let world = World::with(&[MAIN, "workload ci may pull org/other"]);
    let exchange = async |token: &str, scope: &str| {
        let answer = world.exchange(token, scope).await.unwrap();
        (answer.scopes.to_string(), answer.token)
    };
    // Of the workload's own rights what is asked for.
    let (scopes, parent) = exchange(&world.token(), "repository:org/app:pull").await;
    assert_eq!(scopes, "repository:org/app:pull");
    let own = bearer(parent.expose());
    assert_eq!(world.push(own).await, Err(ErrorKind::Unauthorized));
    // Of what the parent covers what is asked for.
    let (scopes, child) = exchange(parent.expose(), BOTH).await;
    assert_eq!(scopes, "repository:org/app:pull repository:org/other:");
    let refused = world.push(bearer(child.expose())).await;
    assert_eq!(refused, Err(ErrorKind::Unauthorized));
    let (scopes, nothing) = exchange(parent.expose(), "").await;
    assert_eq!(scopes, "");
    let (scopes, _) = exchange(nothing.expose(), "repository:org/app:pull").await;
    assert_eq!(scopes, "repository:org/app:");
    // Of a workload without rights nothing.
    let branch = world.token_but("ref", json!("refs/heads/branch"));
    let (scopes, token) = exchange(&branch, BOTH).await;
    assert_eq!(scopes, "repository:org/app: repository:org/other:pull");
    let refused = world.push(bearer(token.expose())).await;
    assert_eq!(refused, Err(ErrorKind::Denied));
}

#[tokio::test(start_paused = true)]
async fn rules_match_claims_that_are_text_truth_or_integers() {
    for (sentence, may) in [
        ("workload ci may push org/app", true),
        ("workload ci sub=repo:org/app:* may push org/app", true),
        ("workload ci run_attempt=1 may push org/app", true),
        ("workload ci fork=false may push org/app", true),
        ("workload ci repository=org/* may push org/app", true),
        ("workload ci repository=org/other may push org/app", false),
        ("workload ci repository=org may push org/app", false),
        ("workload ci environment=prod may push org/app", false),
        ("workload other repository=org/app may push org/app", false),
        // What is nested is nobody's to match.
        ("workload ci groups=a may push org/app", false),
        ("workload ci cluster=* may push org/app", false),
        // Everybody can have a job somewhere.
        ("users may push org/app", false),
        ("robots may push org/app", false),
        (
            "user repo:org/app:ref:refs/heads/main may push org/app",
            false,
        ),
    ] {
        let world = World::with(&[sentence]);
        let mut claims = world.claims();
        claims["groups"] = json!(["a"]);
        claims["cluster"] = json!({"namespace": "a"});
        let token = world.ci.token(&claims);
        let expected = if may {
            Ok(Some(JOB.to_owned()))
        } else {
            Err(ErrorKind::Denied)
        };
        assert_eq!(world.push(basic("x", &token)).await, expected, "{sentence}");
        // The same when the claims come from the registry's own token.
        let own = world.exchange(&token, BOTH).await.unwrap();
        let own = bearer(own.token.expose());
        assert_eq!(world.push(own).await, expected, "{sentence}");
    }
}

#[tokio::test(start_paused = true)]
async fn tokens_are_taken_as_the_usual_issuers_write_them() {
    let world = World::new();
    let github = json!({"typ": "JWT", "alg": "ES256", "x5t": "J2AyjAf9U1c", "kid": "a"});
    let kubernetes = json!({"alg": "ES256", "kid": "a"});
    let mut claims = world.claims();
    claims["aud"] = json!(["registry.example", "another"]);
    claims["kubernetes.io"] = json!({"namespace": "a", "pod": {"name": "b", "uid": "c"}});
    for header in [github, kubernetes] {
        let token = world.ci.token_with(&header, &claims);
        assert!(world.push(basic("x", &token)).await.is_ok(), "{header}");
    }
}

/// Tokens that nobody may be known by, each for one claim.
fn wrong_claims(world: &World) -> Vec<(&'static str, String)> {
    let now = world.time.seconds();
    let mut many = world.claims();
    let mut long = world.claims();
    for number in 0..80 {
        many[format!("claim-{number}")] = json!("x");
        long[format!("claim-{}", number % 9)] = json!("x".repeat(1000));
    }
    let each = [
        ("another issuer", "iss", json!("https://evil.example")),
        ("an alike issuer", "iss", json!("https://ci.example.evil")),
        (
            "an issuer with a slash",
            "iss",
            json!("https://ci.example/"),
        ),
        ("no issuer", "iss", Value::Null),
        ("another audience", "aud", json!("https://github.com/org")),
        ("the beginning of the audience", "aud", json!("registry")),
        (
            "other audiences",
            "aud",
            json!(["registry.example.com", ""]),
        ),
        ("no audience", "aud", Value::Null),
        ("no subject", "sub", Value::Null),
        ("an empty subject", "sub", json!("")),
        ("a subject with a line break", "sub", json!("a\nb")),
        ("a life of more than a day", "exp", json!(now + 86_401)),
        ("no end", "exp", Value::Null),
        ("an end that is text", "exp", json!((now + 600).to_string())),
        ("an end before its beginning", "exp", json!(now - 1)),
        ("a beginning to come", "nbf", json!(now + 61)),
        ("no time of issue", "iat", Value::Null),
        ("a broken time of issue", "iat", json!(1.5)),
        ("more than 16 KiB", "x", json!("x".repeat(16 << 10))),
    ];
    let each = each.map(|(attack, claim, value)| (attack, world.token_but(claim, value)));
    let whole = [
        ("too many claims", world.ci.token(&many)),
        ("too long claims", world.ci.token(&long)),
    ];
    each.into_iter().chain(whole).collect()
}

/// Tokens that nobody may be known by, each for its signature or its header.
fn forgeries(world: &World) -> Vec<(&'static str, String)> {
    let with = |name: &str, value: Value| {
        let mut header = json!({"alg": "ES256", "typ": "JWT", "kid": "a"});
        header[name] = value;
        header
    };
    let by_secret = |secret: &[u8]| {
        let parts = [with("alg", json!("HS256")), world.claims()];
        let signed = parts.map(|part| URL_SAFE_NO_PAD.encode(part.to_string()));
        let signed = signed.join(".");
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
        let tag = hmac::sign(&key, signed.as_bytes());
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(tag.as_ref()))
    };
    let good = world.token();
    let unsigned = good.rsplit_once('.').unwrap().0;
    let keys = key_set(&[&world.ci]);
    let whole = [
        ("another signer", Signer::new("a").token(&world.claims())),
        ("an unknown key", Signer::new("b").token(&world.claims())),
        ("nobody's signature", forged("a", &world.claims())),
        ("no signature", format!("{unsigned}.")),
        ("two parts", unsigned.to_owned()),
        ("the name of the key as a secret", by_secret(b"a")),
        ("the public key as a secret", by_secret(keys.as_bytes())),
    ];
    let headers = [
        ("no algorithm", "alg", json!("none")),
        ("another algorithm", "alg", json!("RS256")),
        ("an address of keys", "jku", json!(KEYS)),
        ("a key of its own", "jwk", json!({"kty": "EC"})),
        ("certificates of its own", "x5c", json!(["MIIB"])),
        ("something critical", "crit", json!(["exp"])),
        ("another kind of token", "typ", json!("logout+jwt")),
    ];
    let headers = headers.map(|(attack, name, value)| {
        let header = with(name, value);
        (attack, world.ci.token_with(&header, &world.claims()))
    });
    whole.into_iter().chain(headers).collect()
}

#[tokio::test(start_paused = true)]
async fn no_attacked_token_makes_anybody_known() {
    let world = World::with(&["workload ci may push, pull **"]);
    assert!(world.push(basic("x", &world.token())).await.is_ok());
    let query = TokenRequest::from_query("scope=repository:org/app:push").unwrap();
    let attacks = [wrong_claims(&world), forgeries(&world)].concat();
    for (attack, token) in attacks {
        let unauthorized = Err(ErrorKind::Unauthorized);
        assert_eq!(
            world.push(basic("x", &token)).await,
            unauthorized,
            "{attack}"
        );
        assert_eq!(world.push(bearer(&token)).await, unauthorized, "{attack}");
        let exchanged = world.exchange(&token, "repository:org/app:push").await;
        assert_eq!(exchanged.unwrap_err(), ErrorKind::Unauthorized, "{attack}");
        for authorization in [basic("x", &token), bearer(&token)] {
            let refusal = world.issue(Some(authorization), &query).await.unwrap_err();
            assert_eq!(refusal.error.kind(), ErrorKind::Unauthorized, "{attack}");
        }
    }
    // One fetch of both documents, and one for the key that nobody has at most.
    assert!(world.web.asked() <= 4, "{}", world.web.asked());
}

#[tokio::test(start_paused = true)]
async fn s_45_forged_jobs_cause_one_fetch_a_minute() {
    let world = World::new();
    assert!(world.push(basic("x", &world.token())).await.is_ok());
    assert_eq!(world.web.asked(), 2);
    world.time.go(Duration::from_mins(1));
    let mut foreign = world.claims();
    foreign["iss"] = json!("https://another.example");
    let tokens: Vec<_> = (0..5000)
        .flat_map(|number| {
            let kid = format!("key-{number}");
            [forged(&kid, &world.claims()), forged(&kid, &foreign)]
        })
        .collect();
    let answers = join_all(tokens.iter().map(|token| world.push(basic("x", token)))).await;
    let unauthorized = |answer: &Result<_, _>| *answer == Err(ErrorKind::Unauthorized);
    assert!(answers.iter().all(unauthorized));
    assert_eq!(world.web.asked(), 4);
}

#[tokio::test(start_paused = true)]
async fn tokens_of_another_issuer_cause_no_fetch() {
    let world = World::new();
    let token = world.token_but("iss", json!("https://another.example"));
    assert_eq!(
        world.push(basic("x", &token)).await,
        Err(ErrorKind::Unauthorized)
    );
    assert_eq!(
        world.push(basic("x", "word")).await,
        Err(ErrorKind::Unauthorized)
    );
    assert_eq!(world.web.asked(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_description_leads_to_no_keys_but_the_issuers() {
    let with = |issuer: &str, keys: &str| json!({"issuer": issuer, "jwks_uri": keys}).to_string();
    let cases = [
        with("https://another.example", KEYS),
        with("https://ci.example/", KEYS),
        with("", KEYS),
        with(ISSUER, "http://ci.example/keys"),
        with(ISSUER, "http://127.0.0.1/keys"),
        with(ISSUER, "http://localhost/keys"),
        with(ISSUER, "http://169.254.169.254/keys"),
        with(ISSUER, "https://user@ci.example/keys"),
        with(ISSUER, "file:///etc/keys"),
        with(ISSUER, "/keys"),
        json!({"jwks_uri": KEYS}).to_string(),
        json!({"issuer": ISSUER}).to_string(),
        json!({"issuer": [ISSUER], "jwks_uri": KEYS}).to_string(),
        format!(r#"{{"issuer":"x","issuer":"{ISSUER}","jwks_uri":"{KEYS}"}}"#),
        format!("{}{}", with(ISSUER, KEYS), " ".repeat(256 << 10)),
        "<html>".to_owned(),
        String::new(),
    ];
    for description in cases {
        let world = World::new();
        // Whatever it names would be there.
        for url in [
            "http://ci.example/keys",
            "http://127.0.0.1/keys",
            "http://localhost/keys",
        ] {
            world.web.put(url, key_set(&[&world.ci]));
        }
        world.web.put(DESCRIPTION, description.as_str());
        let answer = world.push(basic("x", &world.token())).await;
        assert_eq!(answer, Err(ErrorKind::Unavailable), "{description:.200}");
        assert_eq!(world.web.asked(), 1, "{description:.200}");
    }
    let world = World::new();
    world.web.fail(DESCRIPTION, StatusCode::FOUND);
    let answer = world.push(basic("x", &world.token())).await;
    assert_eq!(answer, Err(ErrorKind::Unavailable));
    assert_eq!(world.web.asked(), 1);
}

#[tokio::test(start_paused = true)]
async fn keys_can_come_from_a_file_or_another_address() {
    let world = World::new();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keys.json");
    std::fs::write(&path, key_set(&[&world.ci])).unwrap();
    let web = Web::default();
    web.put("https://keys.example/", key_set(&[&world.ci]));
    // Such an issuer needn't be an address.
    let named = || Workload::new("ci", "cluster", "registry.example").unwrap();
    for workload in [
        named().keys(&path).unwrap(),
        named().keys_url("https://keys.example/", web).unwrap(),
    ] {
        let access = AccessControl::new(Rules::new().sentence("workload ci may push **"))
            .authenticator(workload.clock(world.time.clone()))
            .clock(world.time.clone());
        let token = world.token_but("iss", json!("cluster"));
        let world = World {
            access,
            web: Web::default(),
            time: world.time.clone(),
            ci: Signer::new("unused"),
        };
        assert!(world.push(basic("x", &token)).await.is_ok());
    }
}

#[test]
fn an_issuer_that_cannot_be_asked_safely_is_refused() {
    for (name, issuer, audience) in [
        ("", ISSUER, "a"),
        ("a b", ISSUER, "a"),
        ("a:b", ISSUER, "a"),
        (&*"a".repeat(65), ISSUER, "a"),
        ("ci", "", "a"),
        ("ci", ISSUER, ""),
    ] {
        let error = Workload::new(name, issuer, audience).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::RequestInvalid, "{name}");
    }
    for issuer in [
        "http://ci.example",
        "http://10.0.0.1",
        "ci.example",
        "https://user@ci.example",
        "https://ci.example/?a",
        "https://ci.example/#a",
    ] {
        let workload = Workload::new("ci", issuer, "a").unwrap();
        let error = workload.discover(Web::default()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::RequestInvalid, "{issuer}");
    }
    for issuer in [
        "http://127.0.0.1:1",
        "https://ci.example/path/",
        Workload::GITHUB,
    ] {
        let workload = Workload::new("ci", issuer, "a").unwrap();
        workload.discover(Web::default()).unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_job_is_known_as_what_it_is() {
    let world = World::new();
    let headers = headers(Some(&basic("x", &world.token())));
    let sender = Sender::new(&headers, RequestOrigin::default());
    let job = world.access.identify(&sender).await.unwrap().unwrap();
    assert_eq!((job.to_string().as_str(), job.source()), (JOB, "workload"));
}
