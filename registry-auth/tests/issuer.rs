//! Tokens that another service gives out.
#![cfg(feature = "issuer")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test fails by panicking"
)]

#[path = "common/sender.rs"]
mod sender;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::Method;
use rcgen::{CertificateParams, PublicKeyData};
use registry_auth::jwt::{Algorithm, KeySet, VerificationKey};
use registry_auth::{
    AccessControl, Challenge, Grant, Issuer, Login, Refusal, Rules, Sender, TokenRequest,
    TokenServer, TrustIssuer,
};
use registry_core::{Action, Clock, ErrorKind, Operation, RequestOrigin, SystemClock};
use serde_json::{Value, json};

use self::sender::{basic, headers};

/// A service that gives out tokens, and its certificate.
struct Service {
    key: rcgen::KeyPair,
    directory: tempfile::TempDir,
}

impl Service {
    fn new() -> Self {
        let service = Self {
            key: rcgen::KeyPair::generate().unwrap(),
            directory: tempfile::tempdir().unwrap(),
        };
        service.certify(-1, 1);
        service
    }

    /// Writes a certificate that is valid between two days from now.
    fn certify(&self, from: i64, to: i64) {
        let mut params = CertificateParams::new(vec!["login.example".to_owned()]).unwrap();
        let day = |days: i64| {
            let seconds = now().cast_signed() + days * 24 * 3600;
            rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(seconds.cast_unsigned())
        };
        params.not_before = day(from);
        params.not_after = day(to);
        let certificate = params.self_signed(&self.key).unwrap();
        std::fs::write(self.certificate(), certificate.pem()).unwrap();
    }

    fn certificate(&self) -> PathBuf {
        self.directory.path().join("bundle.pem")
    }

    fn public(&self) -> VerificationKey {
        VerificationKey::from_spki(&self.key.subject_public_key_info()).unwrap()
    }

    /// A token with these claims, signed by the key called `kid`.
    fn token(&self, kid: &str, claims: &Value) -> String {
        let header = json!({"alg": "ES256", "typ": "JWT", "kid": kid});
        let signed = [header.to_string(), claims.to_string()]
            .map(|part| URL_SAFE_NO_PAD.encode(part))
            .join(".");
        let pair =
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &self.key.serialize_der());
        let signature = pair.unwrap().sign(&SystemRandom::new(), signed.as_bytes());
        let signature = URL_SAFE_NO_PAD.encode(signature.unwrap());
        format!("{signed}.{signature}")
    }
}

fn now() -> u64 {
    let now = SystemClock.now().duration_since(UNIX_EPOCH);
    now.unwrap().as_secs()
}

/// The claims of a token for `user` that lets pull from team/app.
fn claims(user: &str) -> Value {
    json!({
        "iss": "login", "aud": "registry", "sub": user, "jti": "1",
        "iat": now(), "nbf": now(), "exp": now() + 300,
        "access": [{"type": "repository", "name": "team/app", "actions": ["pull"]}],
    })
}

fn access(issuer: Issuer) -> AccessControl {
    let challenge = Challenge::bearer("https://login.example/token", "registry").unwrap();
    AccessControl::new(TrustIssuer)
        .authenticator(issuer)
        .challenge(challenge)
}

async fn ask(
    access: &AccessControl,
    token: Option<&str>,
    method: Method,
    path: &str,
) -> Result<Grant, Refusal> {
    let shown = token.map(|token| format!("Bearer {token}"));
    let headers = headers(shown.as_deref());
    let operation = Operation::parse(&method, path, None).unwrap();
    let sender = Sender::new(&headers, RequestOrigin::default());
    access.authorize(&sender, &operation).await
}

async fn pull(access: &AccessControl, token: &str) -> Result<Grant, ErrorKind> {
    let path = "/v2/team/app/manifests/v1";
    let answer = ask(access, Some(token), Method::GET, path).await;
    answer.map_err(|refusal| refusal.error.kind())
}

#[tokio::test]
async fn a_token_opens_what_it_covers_by_either_name_of_its_key() {
    let service = Service::new();
    let issuer = Issuer::new("login", "registry");
    let access = access(issuer.certificates(service.certificate()).unwrap());
    let key = service.public();
    for kid in [key.thumbprint(), key.libtrust_kid().unwrap()] {
        let token = service.token(&kid, &claims("ann"));
        // The second time from memory.
        for _ in 0..2 {
            let grant = pull(&access, &token).await.unwrap();
            assert_eq!(grant.actor.name.as_deref(), Some("ann"));
        }
        let push = ask(
            &access,
            Some(&token),
            Method::PUT,
            "/v2/team/app/manifests/v1",
        )
        .await;
        let refusal = push.unwrap_err();
        assert_eq!(refusal.error.kind(), ErrorKind::Unauthorized);
        assert_eq!(
            refusal.challenge.unwrap(),
            "Bearer realm=\"https://login.example/token\",service=\"registry\",\
             scope=\"repository:team/app:pull,push\",error=\"insufficient_scope\",\
             error_description=\"the token doesn't cover this; ask for one that does\""
        );
    }
    // Docker's registry knows nobody's tokens, too.
    let token = service.token(&key.thumbprint(), &claims(""));
    assert_eq!(pull(&access, &token).await.unwrap().actor.name, None);

    let refusal = ask(&access, None, Method::GET, "/v2/").await.unwrap_err();
    assert_eq!(
        refusal.challenge.unwrap(),
        "Bearer realm=\"https://login.example/token\",service=\"registry\""
    );
}

#[tokio::test]
async fn a_token_for_somebody_else_or_by_somebody_else_opens_nothing() {
    let (service, stranger) = (Service::new(), Service::new());
    let issuer = Issuer::new("login", "registry");
    let access = access(issuer.certificates(service.certificate()).unwrap());
    let kid = service.public().thumbprint();
    let with = |name: &str, value: Value| {
        let mut claims = claims("ann");
        claims[name] = value;
        service.token(&kid, &claims)
    };
    for token in [
        with("iss", "another".into()),
        with("aud", "another".into()),
        with("exp", (now() - 300).into()),
        with("nbf", (now() + 300).into()),
        with("access", "everything".into()),
        with(
            "access",
            json!([{"type": "repository", "name": "team/app"}]),
        ),
        stranger.token(&kid, &claims("ann")),
        stranger.token(&stranger.public().thumbprint(), &claims("ann")),
        service.token("no-such-key", &claims("ann")),
        "garbage".to_owned(),
    ] {
        assert_eq!(
            pull(&access, &token).await.unwrap_err(),
            ErrorKind::Unauthorized
        );
    }
    // Without a claim of what it covers it covers nothing.
    let token = with("access", json!([]));
    assert_eq!(
        pull(&access, &token).await.unwrap_err(),
        ErrorKind::Unauthorized
    );
    ask(&access, Some(&token), Method::GET, "/v2/")
        .await
        .unwrap();
}

#[tokio::test]
async fn nobody_manages_the_registry_by_the_word_of_another_service() {
    let service = Service::new();
    let issuer = Issuer::new("login", "registry");
    let access = access(issuer.certificates(service.certificate()).unwrap());
    let mut claims = claims("ann");
    claims["access"][0]["actions"] = json!(["*", "pull", "administer", "audit"]);
    let token = service.token(&service.public().thumbprint(), &claims);
    let grant = pull(&access, &token).await.unwrap();
    let actions = grant.target.unwrap().actions();
    for action in [Action::Administer, Action::Audit] {
        assert!(!actions.contains(action.into()), "{actions:?}");
    }
}

#[tokio::test]
async fn a_certificate_counts_as_long_as_it_is_valid() {
    for (from, to) in [(-3, -2), (2, 3)] {
        let service = Service::new();
        service.certify(from, to);
        let issuer = Issuer::new("login", "registry");
        let access = access(issuer.certificates(service.certificate()).unwrap());
        let token = service.token(&service.public().thumbprint(), &claims("ann"));
        assert_eq!(
            pull(&access, &token).await.unwrap_err(),
            ErrorKind::Unauthorized
        );
    }
}

#[tokio::test]
async fn only_the_algorithms_that_were_named_are_taken() {
    let service = Service::new();
    let issuer = Issuer::new("login", "registry").algorithms([Algorithm::EdDsa]);
    let error = issuer.certificates(service.certificate()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::RequestInvalid);
    assert!("HS256".parse::<Algorithm>().is_err());
}

#[tokio::test]
async fn keys_are_followed_when_their_file_changes() {
    let (old, new) = (Service::new(), Service::new());
    let path = old.directory.path().join("keys.json");
    let document = |service: &Service| KeySet::new().with(service.public()).unwrap().to_document();
    std::fs::write(&path, document(&old)).unwrap();
    let access = access(Issuer::new("login", "registry").keys(&path).unwrap());
    let [by_old, by_new] =
        [&old, &new].map(|service| service.token(&service.public().thumbprint(), &claims("ann")));
    pull(&access, &by_old).await.unwrap();
    assert!(pull(&access, &by_new).await.is_err());

    // Written before, and then put there.
    let replace = |content: &[u8]| {
        let other = path.with_extension("new");
        std::fs::write(&other, content).unwrap();
        let written = std::fs::File::options().write(true).open(&other).unwrap();
        written.set_modified(SystemTime::UNIX_EPOCH).unwrap();
        std::fs::rename(other, &path).unwrap();
    };
    replace(b"{}");
    tokio::time::sleep(Duration::from_millis(1200)).await;
    pull(&access, &by_old).await.unwrap();

    replace(&document(&new));
    let patience = tokio::time::Instant::now() + Duration::from_secs(20);
    while pull(&access, &by_new).await.is_err() {
        assert!(
            tokio::time::Instant::now() < patience,
            "the new key isn't taken"
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // What was remembered of the old one is forgotten with it.
    assert_eq!(
        pull(&access, &by_old).await.unwrap_err(),
        ErrorKind::Unauthorized
    );
}

/// Goes on when it is told to.
#[derive(Debug, Clone, Default)]
struct Ahead(Arc<AtomicU64>);

impl Clock for Ahead {
    fn now(&self) -> SystemTime {
        SystemClock.now() + Duration::from_secs(self.0.load(Ordering::Relaxed))
    }
}

#[tokio::test]
async fn a_token_that_is_remembered_ends_with_the_certificate_of_its_key() {
    // Another one in the file goes on.
    let (short, long) = (Service::new(), Service::new());
    short.certify(-1, 1);
    long.certify(-1, 3);
    let [one, other] =
        [&short, &long].map(|service| std::fs::read_to_string(service.certificate()).unwrap());
    std::fs::write(short.certificate(), format!("{one}{other}")).unwrap();
    let clock = Ahead::default();
    let issuer = Issuer::new("login", "registry").clock(clock.clone());
    let access = access(issuer.certificates(short.certificate()).unwrap());
    let end = now() + 24 * 3600;
    let with_end = |service: &Service| {
        let mut claims = claims("ann");
        claims["iat"] = (end - 1800).into();
        claims["nbf"] = (end - 1800).into();
        claims["exp"] = (end + 1800).into();
        service.token(&service.public().thumbprint(), &claims)
    };
    let tokens = [with_end(&short), with_end(&long)];
    for (seconds, good) in [(24 * 3600 - 60, [true, true]), (120, [false, true])] {
        clock.0.fetch_add(seconds, Ordering::Relaxed);
        for (token, is_good) in tokens.iter().zip(good) {
            for _ in 0..2 {
                assert_eq!(pull(&access, token).await.is_ok(), is_good);
            }
        }
    }
}

#[tokio::test]
async fn whoever_holds_a_token_of_another_issuer_is_said_to() {
    let service = Service::new();
    let issuer = Issuer::new("login", "registry");
    let access = access(issuer.certificates(service.certificate()).unwrap());
    let token = service.token(&service.public().thumbprint(), &claims("ann"));
    let headers = headers(Some(&format!("Bearer {token}")));
    let sender = Sender::new(&headers, RequestOrigin::default());
    let ann = access.identify(&sender).await.unwrap().unwrap();
    assert_eq!((ann.name(), ann.source()), ("ann", "issuer"));
}

#[tokio::test]
async fn a_token_of_another_issuer_shows_all_tags_and_no_list_by_itself() {
    let service = Service::new();
    let issuer = Issuer::new("login", "registry");
    let access = access(issuer.certificates(service.certificate()).unwrap());
    let token = service.token(&service.public().thumbprint(), &claims("ann"));
    let tags = ask(&access, Some(&token), Method::GET, "/v2/team/app/tags/list").await;
    assert!(tags.unwrap().target.unwrap().shows_all_tags());

    // What the rules let somebody see is looked for there alone.
    let access = access
        .policy(Rules::new().sentence("users may pull team/**"))
        .authenticator(Login::new(|_, _| async { true }));
    let headers = headers(Some(&basic("ben", "x")));
    let sender = Sender::new(&headers, RequestOrigin::default());
    let operation = Operation::parse(&Method::GET, "/v2/_catalog", None).unwrap();
    let catalog = access
        .authorize(&sender, &operation)
        .await
        .unwrap()
        .catalog
        .unwrap();
    let names = ["team/app", "other/app"].map(|name| name.parse().unwrap());
    assert_eq!(
        names.map(|name| catalog.reach().contains(&name)),
        [true, false]
    );
}

#[tokio::test]
async fn of_several_issuers_each_has_its_own_tokens() {
    let services = [Service::new(), Service::new()];
    let [first, second] = ["login", "other"].map(|name| Issuer::new(name, "registry"));
    let access = access(first.certificates(services[0].certificate()).unwrap())
        .authenticator(second.certificates(services[1].certificate()).unwrap());
    for (service, name) in services.iter().zip(["login", "other"]) {
        let mut claims = claims("ann");
        claims["iss"] = name.into();
        let token = service.token(&service.public().thumbprint(), &claims);
        pull(&access, &token).await.unwrap();
    }
}

#[tokio::test]
async fn keys_of_a_file_are_good_for_the_algorithms_that_were_named() {
    let service = Service::new();
    let path = service.directory.path().join("keys.json");
    let keys = KeySet::new().with(service.public()).unwrap();
    std::fs::write(&path, keys.to_document()).unwrap();
    let token = service.token(&service.public().thumbprint(), &claims("ann"));
    for (algorithm, is_good) in [(Algorithm::Es256, true), (Algorithm::EdDsa, false)] {
        let issuer = Issuer::new("login", "registry").algorithms([algorithm]);
        let access = access(issuer.keys(&path).unwrap());
        assert_eq!(pull(&access, &token).await.is_ok(), is_good);
    }
}

#[tokio::test]
async fn another_service_decides_about_its_own_tokens_only() {
    let access = access(Issuer::new("login", "registry"))
        .authenticator(Login::new(|_, _| async { true }))
        .tokens(TokenServer::ephemeral().unwrap());
    let headers = headers(Some(&basic("ann", "x")));
    let sender = Sender::new(&headers, RequestOrigin::default());
    let request = TokenRequest::from_query("scope=repository:team/app:pull").unwrap();
    let answer = access.issue(&sender, &request).await.unwrap();
    let refused = pull(&access, answer.token.expose()).await;
    assert_eq!(refused.unwrap_err(), ErrorKind::Denied);
}
