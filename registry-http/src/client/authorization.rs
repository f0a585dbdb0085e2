//! Logging in at a remote registry.
//!
//! The scheme is learned from the first challenge. Tokens are fetched for what
//! an operation needs, kept until shortly before they expire, and asked for
//! again when the registry refuses one.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::{HeaderMap, HeaderValue, Method, header};
use registry_core::{Error, ErrorKind, Operation, Result};
use reqwest::{Body, Response};
use serde::Deserialize;
use tokio::time::Instant;
use url::Url;

use super::challenge::Challenge;
use super::failure::{Withheld, failure, read_limited};
use super::outbound::Head;
use super::{Credentials, RemoteRegistry};

/// How many tokens are kept.
const TOKENS: u64 = 1000;

/// The largest answer of a token server, in bytes.
const TOKEN_ANSWER: usize = 128 << 10;

/// How long a token lasts if its server doesn't say.
const LIFETIME: Duration = Duration::from_mins(1);

/// What is known about logging in.
pub(super) struct Authorization {
    credentials: Option<Credentials>,
    token_hosts: Vec<String>,
    scheme: Mutex<Option<Challenge>>,
    tokens: moka::sync::Cache<String, Token>,
}

#[derive(Clone)]
struct Token {
    value: HeaderValue,
    until: Instant,
}

impl Authorization {
    pub(super) fn new(credentials: Option<Credentials>, token_hosts: Vec<String>) -> Self {
        Self {
            credentials,
            token_hosts,
            scheme: Mutex::new(None),
            tokens: moka::sync::Cache::new(TOKENS),
        }
    }

    fn scheme(&self) -> Option<Challenge> {
        let scheme = self.scheme.lock().unwrap_or_else(PoisonError::into_inner);
        scheme.clone()
    }

    fn learn(&self, challenge: Challenge) {
        let mut scheme = self.scheme.lock().unwrap_or_else(PoisonError::into_inner);
        *scheme = Some(challenge);
    }

    /// Drops a token that the registry refused for `operation`, whatever its
    /// server said of how long it lasts, unless there is another one already.
    fn forget(
        &self,
        operation: &Operation,
        challenges: &[Option<&Challenge>],
        refused: &HeaderValue,
    ) {
        let named = challenges
            .iter()
            .flatten()
            .filter_map(|challenge| match challenge {
                Challenge::Bearer { scope, .. } => scope.clone(),
                Challenge::Basic => None,
            });
        for key in named.chain([scopes(operation).join(" ")]) {
            let kept = self.tokens.get(&key);
            if kept.is_some_and(|kept| kept.value == *refused) {
                self.tokens.invalidate(&key);
            }
        }
    }

    fn basic(&self) -> Result<Option<HeaderValue>> {
        let Some(credentials) = &self.credentials else {
            return Ok(None);
        };
        let pair = format!("{}:{}", credentials.user, *credentials.password);
        sensitive(&format!("Basic {}", BASE64_STANDARD.encode(pair))).map(Some)
    }
}

impl fmt::Debug for Authorization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authorization")
            .field("credentials", &self.credentials)
            .finish_non_exhaustive()
    }
}

/// A body that can be sent, and perhaps sent again.
pub(super) enum Payload {
    /// Nothing.
    Empty,
    /// Bytes in memory.
    Bytes(bytes::Bytes),
    /// A stream, which is gone once it was sent.
    Stream(Body),
}

impl Payload {
    /// The bytes in memory.
    fn bytes(&self) -> Option<bytes::Bytes> {
        match self {
            Self::Bytes(bytes) => Some(bytes.clone()),
            Self::Empty | Self::Stream(_) => None,
        }
    }

    fn take(&mut self) -> (Option<Body>, bool) {
        match self {
            Self::Empty => (None, true),
            Self::Bytes(bytes) => (Some(bytes.clone().into()), true),
            Self::Stream(_) => match std::mem::replace(self, Self::Empty) {
                Self::Stream(body) => (Some(body), false),
                Self::Empty | Self::Bytes(_) => (None, true),
            },
        }
    }
}

impl RemoteRegistry {
    /// Sends the request that means `operation`.
    pub(super) async fn request(
        &self,
        operation: &Operation,
        headers: HeaderMap,
        payload: Payload,
    ) -> Result<Response> {
        let (method, path) = operation.render();
        let url = self.inner.outbound.url(&path)?;
        self.request_at(operation, method, url, headers, payload)
            .await
    }

    /// Sends a request to an address that the registry named itself, such as
    /// that of an upload.
    pub(super) async fn request_at(
        &self,
        operation: &Operation,
        method: Method,
        url: Url,
        headers: HeaderMap,
        payload: Payload,
    ) -> Result<Response> {
        let mut answer = self
            .exchange(operation, method, url, headers, payload)
            .await?;
        if let Some(Challenge::Bearer { realm, .. }) = self.inner.authorization.scheme() {
            self.note_withheld(&mut answer, &realm);
        }
        Ok(answer)
    }

    async fn exchange(
        &self,
        operation: &Operation,
        method: Method,
        url: Url,
        headers: HeaderMap,
        mut payload: Payload,
    ) -> Result<Response> {
        let own = self.inner.outbound.is_own(&url);
        let mut refused = None;
        for _ in 0..2 {
            let mut headers = headers.clone();
            let authorization = if own {
                self.authorize(operation, refused.as_ref()).await?
            } else {
                None
            };
            if let Some(authorization) = authorization.clone() {
                headers.insert(header::AUTHORIZATION, authorization);
            }
            let head = Head {
                method: method.clone(),
                url: url.clone(),
                headers,
            };
            let again = payload.bytes();
            let (body, repeatable) = payload.take();
            let sent = Head {
                method: head.method.clone(),
                url: head.url.clone(),
                headers: head.headers.clone(),
            };
            let mut answer = self.inner.outbound.send(sent, body).await?;
            // A stream is gone, and can't be sent elsewhere.
            if repeatable {
                answer = self.inner.outbound.follow(&head, again, answer).await?;
            }
            // What a redirect led to has no say in how to log in here.
            let unauthorized = answer.status() == http::StatusCode::UNAUTHORIZED
                && self.inner.outbound.is_own(answer.url());
            if !unauthorized || !own {
                return Ok(answer);
            }
            let values = answer.headers().get_all(header::WWW_AUTHENTICATE);
            let challenge =
                Challenge::strongest(values.iter().filter_map(|value| value.to_str().ok()));
            let known = &self.inner.authorization;
            if let Some(sent) = &authorization {
                known.forget(operation, &[refused.as_ref(), challenge.as_ref()], sent);
            }
            if let Some(challenge) = &challenge {
                known.learn(challenge.clone());
            }
            if refused.is_some() || !repeatable {
                return Ok(answer);
            }
            // Without a challenge, how to log in is as it was.
            let Some(challenge) = challenge.or_else(|| known.scheme()) else {
                return Ok(answer);
            };
            // A password doesn't become right by being sent twice.
            if challenge == Challenge::Basic && authorization == known.basic()? {
                return Ok(answer);
            }
            refused = Some(challenge);
        }
        Err(ErrorKind::Unauthorized.error("the remote registry keeps asking for a login"))
    }

    /// The `Authorization` that an operation needs, as far as is known. After a
    /// refusal, a fresh one.
    async fn authorize(
        &self,
        operation: &Operation,
        refused: Option<&Challenge>,
    ) -> Result<Option<HeaderValue>> {
        let authorization = &self.inner.authorization;
        let challenge = match refused {
            Some(challenge) => challenge.clone(),
            None => match authorization.scheme() {
                Some(scheme) => scheme,
                None => return Ok(None),
            },
        };
        let Challenge::Bearer {
            realm,
            service,
            scope,
        } = challenge
        else {
            return authorization.basic();
        };
        // A challenge tells best what its request needs; others are foreseen.
        let scopes = match refused.and(scope) {
            Some(scope) => vec![scope],
            None => scopes(operation),
        };
        let key = scopes.join(" ");
        if refused.is_none()
            && let Some(token) = authorization.tokens.get(&key)
            && token.until > Instant::now()
        {
            return Ok(Some(token.value));
        }
        let token = self
            .fetch_token(&realm, service.as_deref(), &scopes)
            .await?;
        authorization.tokens.insert(key, token.clone());
        authorization
            .tokens
            .insert(self::scopes(operation).join(" "), token.clone());
        Ok(Some(token.value))
    }

    async fn fetch_token(
        &self,
        realm: &str,
        service: Option<&str>,
        scopes: &[String],
    ) -> Result<Token> {
        let base = self.inner.outbound.url("/v2/")?;
        let mut url = base.join(realm).map_err(|source| {
            ErrorKind::Unavailable
                .error("the remote registry names a token server that can't be understood")
                .with_source(source)
        })?;
        if url.scheme() != "https" && !(url.scheme() == "http" && base.scheme() == "http") {
            return Err(ErrorKind::Unavailable
                .error("the remote registry names a token server that is not safe to use"));
        }
        {
            let mut query = url.query_pairs_mut();
            query.extend_pairs(service.map(|service| ("service", service)));
            query.extend_pairs(scopes.iter().map(|scope| ("scope", scope)));
        }
        let mut headers = HeaderMap::new();
        if self.is_token_host(&url)
            && let Some(basic) = self.inner.authorization.basic()?
        {
            headers.insert(header::AUTHORIZATION, basic);
        }
        let head = Head {
            method: Method::GET,
            url,
            headers,
        };
        let asked = Instant::now();
        // A token server that redirects isn't followed: it was named.
        let outbound = &self.inner.outbound;
        let mut answer = outbound.send(head, None).await?;
        if !answer.status().is_success() {
            self.note_withheld(&mut answer, realm);
            return Err(failure(outbound, answer, &Operation::Ping).await);
        }
        let body = read_limited(outbound.body(answer), TOKEN_ANSWER).await?;
        let answer: TokenAnswer = serde_json::from_slice(&body).map_err(|source| {
            ErrorKind::Unavailable
                .error("the token server of the remote registry answers with something else")
                .with_source(source)
        })?;
        let token = answer
            .token
            .or(answer.access_token)
            .filter(|token| !token.is_empty())
            .ok_or_else(|| {
                ErrorKind::Unavailable.error("the token server of the remote registry gives none")
            })?;
        let lifetime = answer.expires_in.map_or(LIFETIME, Duration::from_secs);
        // A tenth less, so that it doesn't expire on the way.
        let lifetime = lifetime.saturating_sub(lifetime.checked_div(10).unwrap_or_default());
        Ok(Token {
            value: sensitive(&format!("Bearer {token}"))?,
            until: asked.checked_add(lifetime).unwrap_or(asked),
        })
    }

    /// Notes on an answer that may be a refusal which token server didn't get
    /// the credentials, if there is one: nobody would guess.
    fn note_withheld(&self, answer: &mut Response, realm: &str) {
        let base = self.inner.outbound.url("/v2/");
        let Some(url) = base.ok().and_then(|base| base.join(realm).ok()) else {
            return;
        };
        if self.inner.authorization.credentials.is_some() && !self.is_token_host(&url) {
            answer.extensions_mut().insert(Withheld(host_of(&url)));
        }
    }

    /// Whether the credentials may go to the token server at `url`.
    fn is_token_host(&self, url: &Url) -> bool {
        let host = host_of(url);
        self.inner.outbound.is_own(url) || self.inner.authorization.token_hosts.contains(&host)
    }
}

/// The host as [`token_host`](super::RemoteRegistryBuilder::token_host) takes it.
fn host_of(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

#[derive(Deserialize)]
struct TokenAnswer {
    token: Option<String>,
    access_token: Option<String>,
    expires_in: Option<u64>,
}

/// The rights that an operation needs, as token servers write them.
fn scopes(operation: &Operation) -> Vec<String> {
    let Some(repository) = operation.repository() else {
        return match operation {
            Operation::ListRepositories { .. } => vec!["registry:catalog:*".to_owned()],
            _ => Vec::new(),
        };
    };
    let actions = match operation {
        Operation::DeleteBlob { .. } | Operation::DeleteManifest { .. } => "delete",
        Operation::BeginUpload { .. }
        | Operation::PushBlob { .. }
        | Operation::MountBlob { .. }
        | Operation::UploadStatus { .. }
        | Operation::AppendUpload { .. }
        | Operation::FinishUpload { .. }
        | Operation::CancelUpload { .. }
        | Operation::PutManifest { .. } => "pull,push",
        _ => "pull",
    };
    let mut scopes = vec![format!("repository:{repository}:{actions}")];
    if let Operation::MountBlob {
        from: Some(from), ..
    } = operation
    {
        scopes.push(format!("repository:{from}:pull"));
    }
    scopes
}

/// A header that is never shown.
fn sensitive(value: &str) -> Result<HeaderValue> {
    let mut value = HeaderValue::from_str(value).map_err(|source| {
        Error::new(
            ErrorKind::Unauthorized,
            "the credentials for the remote registry can't be sent in a header",
        )
        .with_source(source)
    })?;
    value.set_sensitive(true);
    Ok(value)
}
