//! Requests on their way out.

use std::collections::HashSet;
use std::time::Duration;

use bytes::Bytes;
use futures::Stream;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use registry_core::{Error, ErrorKind, Result};
use reqwest::{Body, Response};
use url::Url;

use super::address::AddressPolicy;
use super::patience::{Progress, answer_body};

/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(10);

/// A body in memory is handed over at once; it is given the time that it takes
/// at this many bytes a second at least.
const SLOWEST: u64 = 8 << 10;

/// How many redirects are followed in a row.
const REDIRECTS: usize = 5;

/// The HTTP client of one remote registry.
#[derive(Debug)]
pub(super) struct Outbound {
    client: reqwest::Client,
    policy: AddressPolicy,
    base: Url,
    silence: Duration,
}

/// A request without its body.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
}

impl Outbound {
    pub(super) fn new(
        base: Url,
        token_hosts: &[String],
        private_networks: bool,
        certificates: &[Vec<u8>],
        silence: Duration,
    ) -> Result<Self> {
        let mut named: HashSet<String> = token_hosts
            .iter()
            .map(|host| without_port(host).to_owned())
            .collect();
        named.extend(base.host_str().map(str::to_owned));
        let policy = AddressPolicy::new(named, private_networks);
        let client = client(&policy, certificates)?;
        Ok(Self {
            client,
            policy,
            base,
            silence,
        })
    }

    /// The address of `path_and_query` at the registry.
    pub(super) fn url(&self, path_and_query: &str) -> Result<Url> {
        let path = self.base.path().trim_end_matches('/');
        self.base
            .join(&format!("{path}{path_and_query}"))
            .map_err(unreadable)
    }

    /// The address that an answer to a request for `from` names.
    pub(super) fn resolve(from: &Url, location: &HeaderValue) -> Result<Url> {
        let location = location.to_str().map_err(unreadable)?;
        let url = from.join(location).map_err(unreadable)?;
        match url.scheme() {
            "https" => Ok(url),
            "http" if from.scheme() == "http" => Ok(url),
            _ => Err(ErrorKind::Unavailable
                .error("the remote registry refers to an address that is not safe to follow")),
        }
    }

    /// The body of an answer.
    pub(super) fn body(
        &self,
        answer: Response,
    ) -> impl Stream<Item = Result<Bytes>> + Send + 'static {
        answer_body(answer, self.silence)
    }

    /// Whether requests to `url` go to the registry itself.
    pub(super) fn is_own(&self, url: &Url) -> bool {
        url.origin() == self.base.origin()
    }

    /// Sends one request and waits for the head of the answer.
    pub(super) async fn send(&self, head: Head, body: Option<Body>) -> Result<Response> {
        let host = head.url.host_str().unwrap_or_default();
        if !self.policy.permits_host(host) {
            return Err(ErrorKind::Unavailable
                .error("the remote registry refers to an address that may not be connected to"));
        }
        let mut request = self
            .client
            .request(head.method, head.url)
            .headers(head.headers);
        let progress = Progress::new();
        let mut silence = self.silence;
        if let Some(body) = body {
            request = match body.as_bytes().map(|bytes| bytes.len() as u64) {
                Some(length) => {
                    let seconds = length.checked_div(SLOWEST).unwrap_or_default();
                    silence = silence.saturating_add(Duration::from_secs(seconds));
                    request.body(body)
                }
                None => request.body(progress.watch(body)),
            };
        }
        let answer = progress.wait(silence, request.send()).await?;
        answer.map_err(|source| {
            ErrorKind::Unavailable
                .error("the remote registry does not answer; try again later")
                .with_source(source.without_url())
        })
    }

    /// Follows the redirects of an answer to a request, with its body if it had
    /// one. The authorization doesn't cross to another origin.
    pub(super) async fn follow(
        &self,
        head: &Head,
        body: Option<Bytes>,
        mut answer: Response,
    ) -> Result<Response> {
        let mut headers = head.headers.clone();
        for _ in 0..REDIRECTS {
            let moved = match answer.status() {
                StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT => true,
                // What these mean for a body is anybody's guess.
                StatusCode::MOVED_PERMANENTLY | StatusCode::FOUND | StatusCode::SEE_OTHER => {
                    body.is_none()
                }
                _ => false,
            };
            let Some(location) = answer.headers().get(header::LOCATION).filter(|_| moved) else {
                return Ok(answer);
            };
            let from = answer.url().clone();
            let url = Self::resolve(&from, location)?;
            if url.origin() != from.origin() {
                headers.remove(header::AUTHORIZATION);
            }
            let next = Head {
                method: head.method.clone(),
                url,
                headers: headers.clone(),
            };
            answer = self.send(next, body.clone().map(Body::from)).await?;
        }
        Err(ErrorKind::Unavailable.error("the remote registry redirects without end"))
    }
}

/// A client that connects to where `policy` permits and nowhere else, and
/// trusts these certificates, too.
pub(super) fn client(policy: &AddressPolicy, certificates: &[Vec<u8>]) -> Result<reqwest::Client> {
    let mut client = reqwest::Client::builder()
        .user_agent(concat!("registry-http/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none())
        .dns_resolver(policy.clone())
        // A proxy named by an environment variable would make the
        // connections itself, to whatever address it likes.
        .no_proxy()
        .connect_timeout(CONNECT)
        .tcp_nodelay(true);
    for pem in certificates {
        let unreadable = || {
            ErrorKind::RequestInvalid.error("a certificate to be trusted can't be read; give PEM")
        };
        let read = reqwest::Certificate::from_pem_bundle(pem)
            .map_err(|source| unreadable().with_source(source))?;
        if read.is_empty() {
            return Err(unreadable());
        }
        client = read
            .into_iter()
            .fold(client, reqwest::ClientBuilder::add_root_certificate);
    }
    client
        .build()
        .map_err(|source| Error::internal("the HTTP client can't be set up", source))
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

fn unreadable(source: impl std::error::Error + Send + Sync + 'static) -> Error {
    ErrorKind::Unavailable
        .error("the remote registry refers to an address that can't be read")
        .with_source(source)
}
