//! TLS from PEM files that may be renewed at any time.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

#[cfg(feature = "acme")]
use super::acme::{Acme, Obtainer};
use super::client_auth::{ClientAuth, Clients};
use registry_core::{Error, ErrorKind, Result};
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use rustls::{
    ConfigBuilder, InconsistentKeys, ServerConfig, SupportedProtocolVersion, WantsVerifier,
};
use tokio::task::spawn_blocking;
use tokio::time::sleep;

/// How long changed files have to stay the same before they are read: somebody
/// may be writing them.
const SETTLED: Duration = Duration::from_millis(50);

/// What a server that makes sure whose host this is wants to speak, and nobody
/// else (RFC 8737).
pub(super) const CHALLENGE: &[u8] = b"acme-tls/1";

/// A certificate and its key, from two PEM files or an ACME server, and who vouches for clients, if
/// they are asked for certificates.
///
/// The files are looked at every few seconds. Once they change and fit each
/// other, new connections get the new certificate; until then, the old one
/// stays, and the log says why. Files may be replaced, written in place, or
/// swapped behind a symbolic link.
///
/// Clones share the certificate.
#[derive(Clone)]
pub struct Tls {
    source: Source,
    provider: Arc<CryptoProvider>,
    current: Arc<Current>,
    clients: Option<Arc<Clients>>,
    minimum: TlsVersion,
    interval: Duration,
}

/// Where the certificate comes from.
#[derive(Debug, Clone)]
enum Source {
    Files(Arc<Files>),
    #[cfg(feature = "acme")]
    Acme(Arc<Obtainer>),
}

/// A version of TLS.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum TlsVersion {
    /// TLS 1.2.
    #[default]
    V1_2,
    /// TLS 1.3.
    V1_3,
}

#[derive(Debug)]
struct Files {
    certificate: PathBuf,
    key: PathBuf,
}

/// The certificate in use, if there is one.
#[derive(Debug, Default)]
pub(super) struct Current(RwLock<Option<Arc<CertifiedKey>>>);

/// What changes when one of the files does, wherever symbolic links lead.
type Stamp = Vec<Option<(u64, Option<SystemTime>, [i64; 4])>>;

impl Tls {
    /// Reads a chain of certificates, the server's own first, and its private
    /// key.
    ///
    /// It blocks while it reads.
    ///
    /// # Errors
    ///
    /// If a file can't be read, holds no certificate or key, or the two don't
    /// belong together.
    pub fn open(certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Result<Self> {
        let files = Files {
            certificate: certificate.into(),
            key: key.into(),
        };
        let provider = Arc::new(aws_lc_rs::default_provider());
        let current = Current::default();
        current.set(files.read(&provider)?);
        Ok(Self::new(Source::Files(Arc::new(files)), provider, current))
    }

    /// Obtains the certificate from an ACME server, such as Let's Encrypt. As long
    /// as there is none, nobody gets a connection but that server.
    ///
    /// It blocks while it reads what was obtained before.
    ///
    /// # Errors
    ///
    /// If a host or the server can't be what they are said to be.
    #[cfg(feature = "acme")]
    pub fn acme(acme: Acme) -> Result<Self> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let current = Current::default();
        let obtainer = Obtainer::open(acme, Arc::clone(&provider), &current)?;
        Ok(Self::new(
            Source::Acme(Arc::new(obtainer)),
            provider,
            current,
        ))
    }

    fn new(source: Source, provider: Arc<CryptoProvider>, current: Current) -> Self {
        Self {
            source,
            provider,
            current: Arc::new(current),
            clients: None,
            minimum: TlsVersion::default(),
            interval: Duration::from_secs(5),
        }
    }

    /// Asks clients for certificates, which one of the authorities in these PEM
    /// files must have signed. Who shows one of anybody else's gets no
    /// connection. The service finds it among the extensions of each request, as
    /// a [`ClientCertificate`](registry_auth::ClientCertificate).
    ///
    /// These files are looked at, too. Once they change, the certificates of open
    /// connections count only if the new authorities vouch for them; otherwise the
    /// connection is closed after the requests in progress, or after
    /// [`drain_timeout`](crate::Limits::drain_timeout). None is resumed without
    /// looking at its certificate anew.
    ///
    /// It blocks while it reads.
    ///
    /// # Errors
    ///
    /// If a file can't be read or holds no certificate that can vouch for others.
    pub fn client_authorities(
        mut self,
        files: impl IntoIterator<Item = impl Into<PathBuf>>,
        needed: ClientAuth,
    ) -> Result<Self> {
        let files = files.into_iter().map(Into::into).collect();
        let clients = Clients::open(files, needed, &self.provider)?;
        self.clients = Some(Arc::new(clients));
        Ok(self)
    }

    /// Refuses clients that only speak an older version than `version`, in
    /// place of TLS 1.2.
    pub fn minimum_version(mut self, version: TlsVersion) -> Self {
        self.minimum = version;
        self
    }

    /// Looks at the files every `interval`, in place of every five seconds.
    pub fn reload_interval(mut self, interval: Duration) -> Self {
        self.interval = interval;
        self
    }

    /// Who vouches for clients, if they are asked for certificates.
    pub(super) fn clients(&self) -> Option<Arc<Clients>> {
        self.clients.clone()
    }

    pub(super) fn config(&self, http2: bool) -> Result<Arc<ServerConfig>> {
        let resolver: Arc<dyn ResolvesServerCert> = Arc::<Current>::clone(&self.current);
        let builder = self.builder()?;
        let mut config = match &self.clients {
            None => builder.with_no_client_auth().with_cert_resolver(resolver),
            Some(clients) => {
                let verifier: Arc<dyn ClientCertVerifier> = Arc::<Clients>::clone(clients);
                let mut config = builder
                    .with_client_cert_verifier(verifier)
                    .with_cert_resolver(resolver);
                // Who was vouched for may no longer be.
                config.session_storage = Arc::new(NoServerSessionStorage {});
                config.send_tls13_tickets = 0;
                config
            }
        };
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        if http2 {
            config.alpn_protocols.insert(0, b"h2".to_vec());
        }
        Ok(Arc::new(config))
    }

    fn builder(&self) -> Result<ConfigBuilder<ServerConfig, WantsVerifier>> {
        ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(self.minimum.and_later())
            .map_err(|source| Error::internal("TLS could not be set up", source))
    }

    /// What is spoken with those who make sure whose hosts these are, if there are
    /// any: whoever else may be there needs no certificate for that.
    #[cfg_attr(
        not(feature = "acme"),
        allow(clippy::unnecessary_wraps, reason = "there are none")
    )]
    pub(super) fn challenges(&self) -> Result<Option<Arc<ServerConfig>>> {
        match &self.source {
            Source::Files(_) => Ok(None),
            #[cfg(feature = "acme")]
            Source::Acme(obtainer) => {
                let mut config = self
                    .builder()?
                    .with_no_client_auth()
                    .with_cert_resolver(obtainer.challenges());
                config.alpn_protocols = vec![CHALLENGE.to_vec()];
                Ok(Some(Arc::new(config)))
            }
        }
    }

    /// Keeps the certificate up to date, for ever.
    pub(super) async fn keep_fresh(self) {
        match &self.source {
            Source::Files(_) => self.watch_files().await,
            #[cfg(feature = "acme")]
            Source::Acme(obtainer) => {
                let renewed = Arc::clone(obtainer).keep(Arc::clone(&self.current));
                tokio::join!(renewed, self.watch_files());
            }
        }
    }

    async fn watch_files(&self) {
        // What the files looked like when they were read isn't known any more:
        // they are read once more, which changes nothing if they didn't.
        let mut seen = None;
        loop {
            let stamp = self.settled().await;
            if stamp != seen {
                self.reload().await;
                seen = stamp;
            }
            sleep(self.interval).await;
        }
    }

    async fn reload(&self) {
        if let Some(clients) = self.clients.clone() {
            match spawn_blocking(move || clients.reload()).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    tracing::error!(%error, "the new authorities of clients can't be used; the old ones stay");
                }
                Err(error) => tracing::error!(%error, "the authorities could not be read again"),
            }
        }
        let files = match &self.source {
            Source::Files(files) => Arc::clone(files),
            #[cfg(feature = "acme")]
            Source::Acme(_) => return,
        };
        let certificate = files.certificate.clone();
        let provider = Arc::clone(&self.provider);
        match spawn_blocking(move || files.read(&provider)).await {
            Ok(Ok(pair)) => {
                if self.current.set(pair) {
                    tracing::info!(certificate = %certificate.display(), "serving a new certificate");
                }
            }
            Ok(Err(error)) => {
                tracing::error!(%error, "the new certificate can't be used; the old one stays");
            }
            Err(error) => tracing::error!(%error, "the certificate could not be read again"),
        }
    }

    /// What the files look like once nobody writes to them.
    async fn settled(&self) -> Option<Stamp> {
        let mut last = self.stamp().await;
        loop {
            sleep(SETTLED.min(self.interval)).await;
            let now = self.stamp().await;
            if now == last {
                return now;
            }
            last = now;
        }
    }

    async fn stamp(&self) -> Option<Stamp> {
        let source = self.source.clone();
        let clients = self.clients.clone();
        spawn_blocking(move || {
            let authorities = clients.iter().flat_map(|clients| clients.files());
            let own = match &source {
                Source::Files(files) => vec![&files.certificate, &files.key],
                #[cfg(feature = "acme")]
                Source::Acme(_) => Vec::new(),
            };
            let own = own.into_iter();
            own.chain(authorities).map(|file| stamp(file)).collect()
        })
        .await
        .ok()
    }
}

/// The certificates in a file, of which there is at least one.
pub(super) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let certificates = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, pem::Error>>)
        .map_err(|source| unreadable("certificate", path, source))?;
    if certificates.is_empty() {
        return Err(unreadable("certificate", path, pem::Error::NoItemsFound));
    }
    Ok(certificates)
}

impl Files {
    fn read(&self, provider: &CryptoProvider) -> Result<CertifiedKey> {
        let certificates = certificates(&self.certificate)?;
        let key = PrivateKeyDer::from_pem_file(&self.key)
            .map_err(|source| unusable_key(&self.key, source))?;
        let pair = CertifiedKey::from_der(certificates, key, provider);
        pair.map_err(|source| match source {
            rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
                ErrorKind::RequestInvalid.error(format!(
                    "the certificate {} doesn't belong to the key {}; use two that were made \
                     for each other",
                    self.certificate.display(),
                    self.key.display(),
                ))
            }
            source => ErrorKind::RequestInvalid
                .error(format!(
                    "the certificate {} with the key {} can't be used: {source}",
                    self.certificate.display(),
                    self.key.display(),
                ))
                .with_source(source),
        })
    }
}

/// Says so if the key is encrypted: there is nobody to ask for its passphrase.
fn unusable_key(path: &Path, source: pem::Error) -> Error {
    // As PKCS #8 and RFC 1421 mark it.
    let marks = ["-----BEGIN ENCRYPTED ", "Proc-Type: 4,ENCRYPTED"];
    let is_encrypted = !matches!(source, pem::Error::Io(_))
        && fs::read_to_string(path).is_ok_and(|text| marks.iter().any(|mark| text.contains(mark)));
    if !is_encrypted {
        return unreadable("key", path, source);
    }
    ErrorKind::RequestInvalid.error(format!(
        "the key {} is encrypted, and there is nobody to ask for its passphrase; store it \
         unencrypted, as `openssl pkey` writes it",
        path.display()
    ))
}

fn unreadable(what: &str, path: &Path, source: pem::Error) -> Error {
    let path = path.display();
    let reason = match &source {
        pem::Error::Io(error) => format!("the {what} {path} can't be read: {error}"),
        pem::Error::NoItemsFound => format!("there is no {what} in PEM form in {path}"),
        other => format!("the {what} {path} is malformed: {other}"),
    };
    let error = ErrorKind::RequestInvalid.error(reason);
    match source {
        // What wraps it says the same in other words.
        pem::Error::Io(source) => error.with_source(source),
        // It would add nothing.
        pem::Error::NoItemsFound => error,
        source => error.with_source(source),
    }
}

fn stamp(path: &Path) -> Option<(u64, Option<SystemTime>, [i64; 4])> {
    let metadata: io::Result<fs::Metadata> = fs::metadata(path);
    let metadata = metadata.ok()?;
    #[cfg(unix)]
    let identity = {
        use std::os::unix::fs::MetadataExt;
        [
            metadata.dev().cast_signed(),
            metadata.ino().cast_signed(),
            metadata.ctime(),
            metadata.ctime_nsec(),
        ]
    };
    #[cfg(not(unix))]
    let identity = [0; 4];
    Some((metadata.len(), metadata.modified().ok(), identity))
}

static ALL: &[&SupportedProtocolVersion] = &[&TLS13, &TLS12];
static NEWEST: &[&SupportedProtocolVersion] = &[&TLS13];

impl TlsVersion {
    fn and_later(self) -> &'static [&'static SupportedProtocolVersion] {
        match self {
            Self::V1_2 => ALL,
            Self::V1_3 => NEWEST,
        }
    }
}

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let current = self.0.read().unwrap_or_else(PoisonError::into_inner);
        current.clone()
    }
}

impl Current {
    /// Uses another certificate for new connections. Returns whether it differs.
    pub(super) fn set(&self, pair: CertifiedKey) -> bool {
        let mut current = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let differs = current.as_ref().is_some_and(|old| old.cert != pair.cert);
        *current = Some(Arc::new(pair));
        differs
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("source", &self.source)
            .field("minimum", &self.minimum)
            .field("clients", &self.clients)
            .finish_non_exhaustive()
    }
}
