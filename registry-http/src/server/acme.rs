//! Certificates from an ACME server, such as Let's Encrypt (RFC 8555).

mod challenge;
mod held;
mod order;
mod store;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use registry_core::{Clock, ErrorKind, Result, SystemClock};
use rustls::crypto::CryptoProvider;
use tokio::sync::Mutex;
use tokio::time::sleep;
use url::Url;

use self::challenge::Challenges;
use self::held::Held;
use self::store::Store;
use super::tls::Current;
use crate::HttpFetch;

/// The server of Let's Encrypt.
const LETS_ENCRYPT: &str = "https://acme-v02.api.letsencrypt.org/directory";

/// The most hosts in one certificate of Let's Encrypt.
const HOSTS_MAX: usize = 100;

/// How long to wait after an order that failed, at first; then twice as long each
/// time. Let's Encrypt takes five failures an hour.
const FIRST_DELAY: Duration = Duration::from_mins(5);

/// How long to wait at most.
const LONGEST_DELAY: Duration = Duration::from_hours(12);

/// How often the clock is looked at, which may be set; and how soon one
/// certificate follows another at the earliest.
const LOOK: Duration = Duration::from_hours(1);

/// Where the certificate is kept, below the directory of its server.
const CERTIFICATE: &str = "certificate.pem";

/// What a certificate is obtained for, and from whom: an ACME server, which makes
/// sure that it is for the hosts that it names by connecting to them
/// (`tls-alpn-01`). It connects to port 443, from anywhere in the world.
///
/// With [`Tls::acme`](super::Tls::acme) the terms of that server are agreed to.
///
/// The account and the certificate are kept in a directory, in files that only
/// their owner may read: a new server begins with them, so that none is ordered
/// again. When a third of its time is left, the certificate is renewed, and new
/// connections get the new one. If that fails, the old one stays, the log says
/// why, and it is tried again after a while.
///
/// ```no_run
/// use registry_http::{Acme, Tls};
///
/// let tls = Tls::acme(Acme::new("/var/lib/registry/acme", ["registry.example.com"]))?;
/// # let _ = tls;
/// # Ok::<(), registry_http::registry_core::Error>(())
/// ```
#[must_use]
#[derive(Debug)]
pub struct Acme {
    cache: PathBuf,
    hosts: Vec<String>,
    email: Option<String>,
    server: String,
    authorities: Vec<Vec<u8>>,
    clock: Arc<dyn Clock>,
}

impl Acme {
    /// A certificate of Let's Encrypt for `hosts`, kept in the directory `cache`.
    pub fn new(
        cache: impl Into<PathBuf>,
        hosts: impl IntoIterator<Item = impl Into<String>>,
    ) -> Self {
        Self {
            cache: cache.into(),
            hosts: hosts.into_iter().map(Into::into).collect(),
            email: None,
            server: LETS_ENCRYPT.to_owned(),
            authorities: Vec::new(),
            clock: Arc::new(SystemClock),
        }
    }

    /// Tells the server where to write to about its certificates.
    pub fn email(mut self, address: impl Into<String>) -> Self {
        self.email = Some(address.into());
        self
    }

    /// Asks the server with this directory, in place of Let's Encrypt's.
    pub fn server(mut self, directory: impl Into<String>) -> Self {
        self.server = directory.into();
        self
    }

    /// Trusts this certificate, in PEM, to vouch for the server.
    pub fn authority(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.authorities.push(pem.into());
        self
    }

    /// Takes the time from `clock`.
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }
}

/// Obtains certificates.
pub(super) struct Obtainer {
    hosts: Vec<String>,
    email: Option<String>,
    server: String,
    fetch: HttpFetch,
    store: Arc<Store>,
    challenges: Arc<Challenges>,
    provider: Arc<CryptoProvider>,
    clock: Arc<dyn Clock>,
    /// When the certificate is to be renewed, if there is one. Only one at a time
    /// sees to that, however many listeners there are.
    due: Mutex<Option<SystemTime>>,
}

impl Obtainer {
    /// With the certificate that was obtained before, if there is one.
    pub(super) fn open(
        acme: Acme,
        provider: Arc<CryptoProvider>,
        current: &Current,
    ) -> Result<Self> {
        let wrong = |reason: String| ErrorKind::RequestInvalid.error(reason);
        let mut hosts: Vec<_> = acme.hosts.iter().map(|host| host.to_lowercase()).collect();
        hosts.sort();
        hosts.dedup();
        if let Some(host) = hosts.iter().find(|host| !is_host(host)) {
            return Err(wrong(format!(
                "`{host}` is no host that a certificate can be obtained for; write a name such as \
                 registry.example.com"
            )));
        }
        if hosts.is_empty() || hosts.len() > HOSTS_MAX {
            return Err(wrong(
                "say for which hosts there is to be a certificate: at least one, and at most 100"
                    .to_owned(),
            ));
        }
        let server = Url::parse(&acme.server).ok();
        let server = server.filter(|url| url.scheme() == "https");
        let Some((server, host)) = server.as_ref().and_then(|url| Some((url, url.host_str()?)))
        else {
            return Err(wrong(format!(
                "`{}` is no ACME server; write the address of its directory, such as {LETS_ENCRYPT}",
                acme.server
            )));
        };
        let mut fetch = HttpFetch::builder().host(&match server.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        });
        for pem in acme.authorities {
            fetch = fetch.certificate(pem);
        }
        let store = Store::new(&acme.cache, server);
        let kept = kept(&store, &hosts, &provider);
        let due = kept.map(|held| begin(held, current, &*acme.clock));
        Ok(Self {
            hosts,
            email: acme.email,
            fetch: fetch.build()?,
            store: Arc::new(store),
            server: acme.server,
            challenges: Arc::default(),
            provider,
            clock: acme.clock,
            due: Mutex::new(due),
        })
    }

    /// Shown to a server that makes sure whose host this is.
    pub(super) fn challenges(&self) -> Arc<Challenges> {
        Arc::clone(&self.challenges)
    }

    /// Keeps `current` up to date, for ever.
    pub(super) async fn keep(self: Arc<Self>, current: Arc<Current>) {
        let mut due = self.due.lock().await;
        let mut delay = FIRST_DELAY;
        loop {
            match *due {
                Some(due) => self.wait_until(due).await,
                None => {
                    tracing::info!(hosts = ?self.hosts, "there is no certificate yet; one is ordered");
                }
            }
            match self.obtain().await {
                Ok(held) => {
                    tracing::info!(hosts = ?self.hosts, "a new certificate was obtained");
                    *due = Some(begin(held, &current, &*self.clock));
                    delay = FIRST_DELAY;
                    sleep(LOOK).await;
                }
                Err(error) => {
                    let error = causes(&error);
                    tracing::error!(
                        error,
                        ?delay,
                        "no certificate was obtained; it is tried again after a while"
                    );
                    sleep(delay).await;
                    delay = delay.saturating_mul(2).min(LONGEST_DELAY);
                }
            }
        }
    }

    async fn wait_until(&self, due: SystemTime) {
        while let Ok(left) = due.duration_since(self.clock.now())
            && !left.is_zero()
        {
            sleep(left.min(LOOK)).await;
        }
    }
}

/// The certificate that was obtained before, if it is of use.
fn kept(store: &Store, hosts: &[String], provider: &CryptoProvider) -> Option<Held> {
    let read = store.read(CERTIFICATE).and_then(|pem| {
        let held = pem.map(|pem| Held::read(&pem, provider));
        held.transpose()
    });
    match read {
        Ok(held) => held.filter(|held| held.is_for(hosts)),
        Err(error) => {
            let error = causes(&error);
            tracing::warn!(
                error,
                "the certificate from before can't be used; another one is ordered"
            );
            None
        }
    }
}

/// Serves a certificate from here on. Returns when it is to be renewed.
fn begin(held: Held, current: &Current, clock: &dyn Clock) -> SystemTime {
    let due = held.due();
    if held.ends() <= clock.now() {
        // Nobody takes it for one that is good.
        tracing::warn!("the certificate has expired");
    }
    current.set(held.into_pair());
    due
}

/// An error with its causes.
fn causes(error: &registry_core::Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

/// Whether it is the name of a host, in lower case, which a server can find.
fn is_host(name: &str) -> bool {
    let is_label = |label: &str| {
        let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        (1..=63).contains(&label.len())
            && label.bytes().all(inner)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let is_number = |label: &str| label.bytes().all(|byte| byte.is_ascii_digit());
    name.len() <= 253
        && name.split('.').all(is_label)
        // It would be an address.
        && !name.rsplit('.').next().is_none_or(is_number)
}

impl fmt::Debug for Obtainer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Obtainer")
            .field("hosts", &self.hosts)
            .field("server", &self.server)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::is_host;

    #[test]
    fn certificates_are_for_names_of_hosts() {
        for host in [
            "registry.example.com",
            "localhost",
            "xn--bcher-kva.example",
            "a1.b-2.c",
        ] {
            assert!(is_host(host), "{host}");
        }
        for host in [
            "",
            ".",
            "a.",
            ".a",
            "*.example.com",
            "10.0.0.1",
            "::1",
            "a_b.c",
            "a..b",
            "-a.b",
            "a-.b",
            "bücher.example",
            "a:443",
            "A.b",
        ] {
            assert!(!is_host(host), "{host}");
        }
        assert!(!is_host(&"a.".repeat(127).trim_end_matches('.').repeat(2)));
    }
}
