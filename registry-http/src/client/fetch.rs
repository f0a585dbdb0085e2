//! Asking those whom the operator named.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use http::{Request, Response};
use registry_auth::Fetch;
use registry_core::{Error, ErrorKind, Result};
use tokio::time::timeout;
use url::Url;

use super::address::AddressPolicy;
use super::outbound;

/// How long an answer may take, with all of its body.
const PATIENCE: Duration = Duration::from_secs(10);

/// Fetches what `registry_auth` needs of others, such as the keys of an issuer,
/// from hosts that the operator named and from no others. Cloning it is cheap.
///
/// Addresses that others write, into a document or a redirect, lead nowhere else:
/// redirects aren't followed. A host that was named may be anywhere, also in a
/// private network. Connections are made directly, without a proxy, and an answer
/// that takes longer than 10 seconds or is larger than was asked for is none.
///
/// ```
/// use registry_http::HttpFetch;
///
/// let fetch = HttpFetch::builder().host("login.example.com").build()?;
/// # Ok::<(), registry_http::registry_core::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct HttpFetch {
    client: reqwest::Client,
    policy: AddressPolicy,
    hosts: Arc<[Host]>,
    patience: Duration,
}

/// A host, and its port if it isn't the usual one.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Host {
    name: String,
    port: Option<u16>,
}

impl Host {
    /// Where `url` leads.
    fn of(url: &Url) -> Option<Self> {
        Some(Self {
            name: url.host_str()?.to_owned(),
            port: url.port(),
        })
    }

    fn read(text: &str) -> Option<Self> {
        let is_plain = |byte: u8| byte.is_ascii_graphic() && !b"/?#@\\".contains(&byte);
        if !text.bytes().all(is_plain) {
            return None;
        }
        Self::of(&Url::parse(&format!("https://{text}/")).ok()?)
    }
}

impl HttpFetch {
    /// One that is to be told where it may go.
    pub fn builder() -> HttpFetchBuilder {
        HttpFetchBuilder {
            hosts: Vec::new(),
            certificates: Vec::new(),
            patience: PATIENCE,
        }
    }

    async fn ask(&self, request: Request<Vec<u8>>, most: usize) -> Result<Response<Vec<u8>>> {
        let request = reqwest::Request::try_from(request)
            .map_err(|source| unfit("it has no address").with_source(source.without_url()))?;
        let url = request.url();
        let host = Host::of(url)
            .filter(|_| matches!(url.scheme(), "http" | "https"))
            .ok_or_else(|| unfit("its address is none of http or https"))?;
        if !self.hosts.contains(&host) || !self.policy.permits_host(&host.name) {
            return Err(unfit(&format!(
                "nobody named the host {}; name it if it is to be asked",
                host.name
            )));
        }
        let silent = |source: reqwest::Error| {
            ErrorKind::Unavailable
                .error(format!("{} doesn't answer; try again later", host.name))
                .with_source(source.without_url())
        };
        let large = || {
            ErrorKind::Unavailable.error(format!(
                "{} answers more than the {most} bytes that are read",
                host.name
            ))
        };
        let mut answer = self.client.execute(request).await.map_err(silent)?;
        let mut response = Response::new(Vec::new());
        *response.status_mut() = answer.status();
        *response.headers_mut() = answer.headers().clone();
        let body = response.body_mut();
        while let Some(part) = answer.chunk().await.map_err(silent)? {
            if part.len() > most.saturating_sub(body.len()) {
                return Err(large());
            }
            body.extend_from_slice(&part);
        }
        Ok(response)
    }
}

#[async_trait]
impl Fetch for HttpFetch {
    async fn fetch(&self, request: Request<Vec<u8>>, most: usize) -> Result<Response<Vec<u8>>> {
        let patience = self.patience;
        timeout(patience, self.ask(request, most))
            .await
            .map_err(|source| {
                ErrorKind::Unavailable
                    .error("there is no whole answer for too long; try again later")
                    .with_source(source)
            })?
    }
}

fn unfit(reason: &str) -> Error {
    ErrorKind::Unavailable.error(format!("a request was not sent: {reason}"))
}

/// What there is to know before anything is fetched.
#[derive(Debug)]
pub struct HttpFetchBuilder {
    hosts: Vec<String>,
    certificates: Vec<Vec<u8>>,
    patience: Duration,
}

impl HttpFetchBuilder {
    /// Lets requests go to this host, such as `login.example.com`; with a port if
    /// it isn't the usual one.
    #[must_use]
    pub fn host(mut self, host: &str) -> Self {
        self.hosts.push(host.to_owned());
        self
    }

    /// Trusts servers with this certificate, or one that it signed, in PEM.
    #[must_use]
    pub fn certificate(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.certificates.push(pem.into());
        self
    }

    /// Gives up after so long, in place of 10 seconds, which is the longest.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::RequestInvalid`] if it is longer, or no time at all.
    pub fn patience(mut self, longest: Duration) -> Result<Self> {
        if longest > PATIENCE || longest.is_zero() {
            return Err(ErrorKind::RequestInvalid
                .error("an answer can be waited for up to 10 seconds, and for some time"));
        }
        self.patience = longest;
        Ok(self)
    }

    /// What fetches. Nothing is sent yet.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::RequestInvalid`] if a host isn't a name or an address, with
    /// or without a port, or if a certificate can't be read.
    pub fn build(self) -> Result<HttpFetch> {
        let hosts = self.hosts.iter().map(|text| {
            Host::read(text).ok_or_else(|| {
                ErrorKind::RequestInvalid.error(format!(
                    "`{text}` is no host; write one such as example.com"
                ))
            })
        });
        let hosts = hosts.collect::<Result<Vec<_>>>()?;
        let named: HashSet<_> = hosts.iter().map(|host| host.name.clone()).collect();
        let policy = AddressPolicy::new(named, false);
        Ok(HttpFetch {
            client: outbound::client(&policy, &self.certificates)?,
            policy,
            hosts: hosts.into(),
            patience: self.patience,
        })
    }
}
