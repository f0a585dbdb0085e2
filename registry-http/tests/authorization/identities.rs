//! Those whom others vouch for: the holders of client certificates, jobs, and
//! whoever has a token of another issuer.

use std::sync::LazyLock;
use std::time::{SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{Request, Response};
use rcgen::{CertificateParams, DnType, KeyPair, PKCS_ED25519, SigningKey};
use registry_auth::{Fetch, Issuer, Workload};
use registry_core::{Clock, Result, SystemClock};
use serde_json::{Value, json};

/// Who gives out tokens for this registry, besides itself.
const ISSUER: &str = "https://issuer.example";

/// Who vouches for jobs.
const JOBS: &str = "https://jobs.example";

/// What both call this registry.
const AUDIENCE: &str = "registry.example";

/// With what both sign.
static KEY: LazyLock<KeyPair> = LazyLock::new(|| KeyPair::generate_for(&PKCS_ED25519).unwrap());

/// Where their keys are published.
#[derive(Debug)]
struct Published;

#[async_trait]
impl Fetch for Published {
    async fn fetch(&self, _: Request<Vec<u8>>, _: usize) -> Result<Response<Vec<u8>>> {
        let key = URL_SAFE_NO_PAD.encode(KEY.public_key_raw());
        let keys = json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "own", "x": key}]});
        Ok(Response::new(keys.to_string().into_bytes()))
    }
}

/// Takes tokens of the other issuer.
pub(crate) fn issuer() -> Issuer {
    let url = format!("{ISSUER}/keys");
    Issuer::new(ISSUER, AUDIENCE)
        .keys_url(&url, Published)
        .unwrap()
}

/// Takes the tokens of jobs.
pub(crate) fn workload() -> Workload {
    let url = format!("{JOBS}/keys");
    Workload::new("jobs", JOBS, AUDIENCE)
        .unwrap()
        .keys_url(&url, Published)
        .unwrap()
}

fn signed(claims: &Value) -> String {
    let header = json!({"alg": "EdDSA", "typ": "JWT", "kid": "own"});
    let parts = [header, claims.clone()].map(|part| URL_SAFE_NO_PAD.encode(part.to_string()));
    let text = parts.join(".");
    let signature = KEY.sign(text.as_bytes()).unwrap();
    format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature))
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// What a job shows that runs for `repository`.
pub(crate) fn job(repository: &str) -> String {
    let now = seconds(SystemClock.now());
    signed(&json!({
        "iss": JOBS, "aud": AUDIENCE, "sub": format!("repo:{repository}"),
        "iat": now, "nbf": now, "exp": now + 3600, "jti": "some", "repository": repository,
    }))
}

/// A token of the other issuer for `user`, which covers `scopes`, given out at
/// some time for five minutes.
pub(crate) fn foreign(user: &str, scopes: &[String], at: SystemTime) -> String {
    let now = seconds(at);
    let access: Vec<_> = scopes
        .iter()
        .map(|scope| {
            let (kind, rest) = scope.split_once(':').unwrap();
            let (name, actions) = rest.rsplit_once(':').unwrap();
            let actions: Vec<_> = actions.split(',').filter(|word| !word.is_empty()).collect();
            json!({"type": kind, "name": name, "actions": actions})
        })
        .collect();
    signed(&json!({
        "iss": ISSUER, "aud": AUDIENCE, "sub": user, "iat": now, "nbf": now,
        "exp": now + 300, "jti": "some", "access": access,
    }))
}

/// The certificate of whom the listener's authorities call so.
pub(crate) fn certificate(name: &str) -> Vec<u8> {
    static KEY: LazyLock<KeyPair> = LazyLock::new(|| KeyPair::generate().unwrap());
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.self_signed(&*KEY).unwrap().der().to_vec()
}
