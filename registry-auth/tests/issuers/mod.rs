//! Issuers of tokens, the web that they publish their keys in, and a clock.
#![allow(dead_code, reason = "each test uses a part of it")]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{Request, Response, StatusCode};
use registry_auth::Fetch;
use registry_auth::jwt::{KeySet, VerificationKey};
use registry_core::{Clock, ErrorKind, Result};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

/// When the tests take place.
pub(crate) const NOW: u64 = 1_790_000_000;

/// A clock that goes when it is told to.
#[derive(Debug, Clone, Default)]
pub(crate) struct Time(Arc<AtomicU64>);

impl Time {
    pub(crate) fn go(&self, time: Duration) {
        self.0.fetch_add(time.as_secs(), Ordering::SeqCst);
    }

    /// In seconds since 1970.
    pub(crate) fn seconds(&self) -> u64 {
        NOW + self.0.load(Ordering::SeqCst)
    }
}

impl Clock for Time {
    fn now(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(self.seconds())
    }
}

/// Somebody who signs tokens.
pub(crate) struct Signer {
    kid: String,
    key: EcdsaKeyPair,
}

impl Signer {
    pub(crate) fn new(kid: &str) -> Self {
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let kid = kid.to_owned();
        Self { kid, key }
    }

    pub(crate) fn public(&self) -> VerificationKey {
        let der = self.key.public_key().as_der().unwrap();
        let key = VerificationKey::from_spki(der.as_ref()).unwrap();
        key.called(&self.kid).unwrap()
    }

    /// A token with these claims.
    pub(crate) fn token(&self, claims: &Value) -> String {
        let header = json!({"alg": "ES256", "typ": "JWT", "kid": self.kid});
        self.token_with(&header, claims)
    }

    pub(crate) fn token_with(&self, header: &Value, claims: &Value) -> String {
        let signed = [header.to_string(), claims.to_string()]
            .map(|part| URL_SAFE_NO_PAD.encode(part))
            .join(".");
        let signature = self.key.sign(&SystemRandom::new(), signed.as_bytes());
        let signature = URL_SAFE_NO_PAD.encode(signature.unwrap());
        format!("{signed}.{signature}")
    }
}

/// A token that names this key, signed by nobody.
pub(crate) fn forged(kid: &str, claims: &Value) -> String {
    let header = json!({"alg": "ES256", "typ": "JWT", "kid": kid});
    let parts = [header.to_string(), claims.to_string()].map(|part| URL_SAFE_NO_PAD.encode(part));
    format!("{}.{}", parts.join("."), URL_SAFE_NO_PAD.encode([1; 64]))
}

/// The key set of these signers.
pub(crate) fn key_set(signers: &[&Signer]) -> String {
    let keys = signers.iter().fold(KeySet::new(), |keys, signer| {
        keys.with(signer.public()).unwrap()
    });
    String::from_utf8(keys.to_document()).unwrap()
}

/// What is published, by its address. It counts what it is asked.
#[derive(Debug, Clone, Default)]
pub(crate) struct Web(Arc<Pages>);

#[derive(Debug)]
struct Pages {
    by_url: Mutex<BTreeMap<String, Page>>,
    asked: AtomicUsize,
    open: Semaphore,
}

#[derive(Debug, Clone)]
struct Page {
    status: StatusCode,
    max_age: Option<u64>,
    body: String,
}

impl Default for Pages {
    fn default() -> Self {
        Self {
            by_url: Mutex::default(),
            asked: AtomicUsize::default(),
            open: Semaphore::new(Semaphore::MAX_PERMITS),
        }
    }
}

impl Web {
    pub(crate) fn put(&self, url: &str, body: impl Into<String>) {
        self.put_for(url, body, None);
    }

    /// Publishes what may be kept for `max_age` seconds.
    pub(crate) fn put_for(&self, url: &str, body: impl Into<String>, max_age: Option<u64>) {
        let page = Page {
            status: StatusCode::OK,
            max_age,
            body: body.into(),
        };
        self.0.by_url.lock().unwrap().insert(url.to_owned(), page);
    }

    /// Answers with another status from now on.
    pub(crate) fn fail(&self, url: &str, status: StatusCode) {
        self.0.by_url.lock().unwrap().get_mut(url).unwrap().status = status;
    }

    /// Nobody answers any more.
    pub(crate) fn remove(&self, url: &str) {
        self.0.by_url.lock().unwrap().remove(url);
    }

    pub(crate) fn asked(&self) -> usize {
        self.0.asked.load(Ordering::SeqCst)
    }

    /// Leaves whoever asks without an answer.
    pub(crate) fn hang(&self) {
        self.0.open.forget_permits(Semaphore::MAX_PERMITS);
    }

    pub(crate) fn go_on(&self) {
        self.0.open.add_permits(Semaphore::MAX_PERMITS);
    }
}

#[async_trait]
impl Fetch for Web {
    async fn fetch(&self, request: Request<Vec<u8>>, _: usize) -> Result<Response<Vec<u8>>> {
        self.0.asked.fetch_add(1, Ordering::SeqCst);
        let page = {
            let pages = self.0.by_url.lock().unwrap();
            pages.get(&request.uri().to_string()).cloned()
        };
        let _open = self.0.open.acquire().await.unwrap();
        let page = page.ok_or_else(|| ErrorKind::Unavailable.error("nobody answers"))?;
        let mut answer = Response::builder().status(page.status);
        if let Some(seconds) = page.max_age {
            answer = answer.header("cache-control", format!("public, max-age={seconds}"));
        }
        Ok(answer.body(page.body.into_bytes()).unwrap())
    }
}
