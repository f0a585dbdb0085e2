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

use std::path::PathBuf;
use std::time::{Duration, UNIX_EPOCH};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderMap, HeaderValue, Method};
use rcgen::{CertificateParams, PublicKeyData};
use registry_auth::jwt::{Algorithm, KeySet, VerificationKey};
use registry_auth::{AccessControl, Challenge, Grant, Issuer, Refusal, Sender, TrustIssuer};
use registry_core::{Action, Clock, ErrorKind, Operation, RequestOrigin, SystemClock};
use serde_json::{Value, json};

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
    let mut headers = HeaderMap::new();
    if let Some(token) = token {
        let value = HeaderValue::from_str(&format!("Bearer {token}")).unwrap();
        headers.insert("authorization", value);
    }
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

    std::fs::write(&path, "{}").unwrap();
    tokio::time::sleep(Duration::from_millis(1200)).await;
    pull(&access, &by_old).await.unwrap();

    std::fs::write(&path, document(&new)).unwrap();
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
