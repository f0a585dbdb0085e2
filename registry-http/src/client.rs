//! Another registry, across the network.
//!
//! This is the only place of the workspace that makes outbound requests, so
//! the rules for them hold everywhere: credentials go to the registry and its
//! named token server only, redirects are followed by hand and lose them, and
//! addresses that the operator didn't name must be public ones.

mod address;
mod authorization;
mod blobs;
mod challenge;
mod failure;
mod fetch;
mod link;
mod list_body;
mod listing;
mod manifests;
mod outbound;
mod patience;
mod registry;
mod uploads;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use registry_core::{ErrorKind, ManifestRules, Result};
use url::Url;

use self::authorization::Authorization;
pub use self::fetch::{HttpFetch, HttpFetchBuilder};
use self::outbound::Outbound;
use self::uploads::{RemoteUpload, UploadKey};

/// How many uploads one [`RemoteRegistry`] remembers, and for how long while
/// nothing is sent.
const UPLOADS: u64 = 10_000;
const UPLOAD_IDLE: Duration = Duration::from_hours(1);
const UPLOAD_IDLE_MAX: Duration = Duration::from_hours(365 * 24);

/// How long a registry may keep silent.
const SILENCE: Duration = Duration::from_mins(1);

/// A registry that speaks the distribution protocol, as a
/// [`Registry`](registry_core::Registry). Cloning it is cheap.
///
/// Content is streamed. A blob that is read as a whole, and every manifest, is
/// checked against its digest: a registry that sends something else causes an
/// error, not a wrong image.
///
/// Uploads are remembered in memory: those begun by another process can't be
/// gone on with, nor those to which nothing was sent for an hour.
///
/// Connections are made directly: the variables that name a proxy
/// (`HTTPS_PROXY` and the like) are not read, since a proxy decides itself
/// which addresses it connects to.
///
/// ```
/// use registry_http::RemoteRegistry;
///
/// let hub = RemoteRegistry::new("https://registry-1.docker.io")?;
/// let own = RemoteRegistry::builder("https://registry.example.com")
///     .credentials("ci", "a secret")
///     .token_host("login.example.com")
///     .build()?;
/// # Ok::<(), registry_core::Error>(())
/// ```
#[derive(Clone)]
pub struct RemoteRegistry {
    inner: Arc<Inner>,
}

struct Inner {
    outbound: Outbound,
    authorization: Authorization,
    uploads: moka::sync::Cache<UploadKey, Arc<RemoteUpload>>,
    rules: ManifestRules,
}

impl RemoteRegistry {
    /// The registry at `url`, such as `https://registry-1.docker.io`, asked
    /// anonymously.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::RequestInvalid`] if the URL isn't one of a registry.
    pub fn new(url: &str) -> Result<Self> {
        Self::builder(url).build()
    }

    /// The registry at `url`, to be told more about.
    pub fn builder(url: &str) -> RemoteRegistryBuilder {
        RemoteRegistryBuilder {
            url: url.to_owned(),
            credentials: None,
            token_hosts: Vec::new(),
            private_networks: false,
            certificates: Vec::new(),
            silence: SILENCE,
            upload_idle: UPLOAD_IDLE,
            rules: ManifestRules::default(),
        }
    }
}

impl fmt::Debug for RemoteRegistry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteRegistry")
            .field("outbound", &self.inner.outbound)
            .finish_non_exhaustive()
    }
}

/// What there is to know about a remote registry.
#[derive(Debug)]
pub struct RemoteRegistryBuilder {
    url: String,
    credentials: Option<Credentials>,
    token_hosts: Vec<String>,
    private_networks: bool,
    certificates: Vec<Vec<u8>>,
    silence: Duration,
    upload_idle: Duration,
    rules: ManifestRules,
}

/// A user and a password, which is never shown.
#[derive(Clone)]
pub(crate) struct Credentials {
    pub(crate) user: String,
    pub(crate) password: zeroize::Zeroizing<String>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

impl RemoteRegistryBuilder {
    /// Asks as this user. The password goes to the registry itself, and to
    /// token servers on its host or named by [`token_host`](Self::token_host).
    #[must_use]
    pub fn credentials(mut self, user: &str, password: &str) -> Self {
        self.credentials = Some(Credentials {
            user: user.to_owned(),
            password: password.to_owned().into(),
        });
        self
    }

    /// Lets the credentials go to a token server on this host too, such as
    /// `auth.docker.io`; with a port if it isn't the usual one.
    #[must_use]
    pub fn token_host(mut self, host: &str) -> Self {
        self.token_hosts.push(host.to_ascii_lowercase());
        self
    }

    /// Lets redirects and token servers lead to private and local addresses.
    /// The registry itself, and the named token servers, always may be there.
    #[must_use]
    pub fn allow_private_networks(mut self) -> Self {
        self.private_networks = true;
        self
    }

    /// Trusts servers with this certificate, or one that it signed, in PEM.
    #[must_use]
    pub fn certificate(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.certificates.push(pem.into());
        self
    }

    /// Gives a request up if nothing goes on for so long: no part of its body
    /// is taken, or of the answer sent. A minute unless set. What goes on may
    /// take as long as it takes.
    #[must_use]
    pub fn silence(mut self, longest: Duration) -> Self {
        self.silence = longest;
        self
    }

    /// Forgets an upload to which nothing is sent for so long. An hour unless
    /// set. One that is being sent may take as long as it takes.
    ///
    /// The longest that can be set is a year.
    #[must_use]
    pub fn upload_idle(mut self, longest: Duration) -> Self {
        self.upload_idle = longest.min(UPLOAD_IDLE_MAX);
        self
    }

    /// Accepts manifests by these rules.
    #[must_use]
    pub fn manifest_rules(mut self, rules: ManifestRules) -> Self {
        self.rules = rules;
        self
    }

    /// The registry. Nothing is sent yet.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::RequestInvalid`] if the URL isn't `http` or `https` with a
    /// host, or holds a user, a query or a fragment; or if a certificate can't
    /// be read.
    pub fn build(self) -> Result<RemoteRegistry> {
        let url = Url::parse(&self.url).map_err(|source| {
            ErrorKind::RequestInvalid
                .error("the address of the registry is not a URL")
                .with_source(source)
        })?;
        let plain = matches!(url.scheme(), "http" | "https")
            && url.has_host()
            && url.username().is_empty()
            && url.password().is_none()
            && url.query().is_none()
            && url.fragment().is_none();
        if !plain {
            return Err(ErrorKind::RequestInvalid.error(
                "the address of the registry must be http or https with a host and no user, query \
                 or fragment",
            ));
        }
        let outbound = Outbound::new(
            url,
            &self.token_hosts,
            self.private_networks,
            &self.certificates,
            self.silence,
        )?;
        Ok(RemoteRegistry {
            inner: Arc::new(Inner {
                outbound,
                authorization: Authorization::new(self.credentials, self.token_hosts),
                uploads: moka::sync::Cache::builder()
                    .max_capacity(UPLOADS)
                    .time_to_idle(self.upload_idle)
                    .build(),
                rules: self.rules,
            }),
        })
    }
}
