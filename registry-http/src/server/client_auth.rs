//! Clients that prove who they are when they connect.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use registry_auth::ClientCertificate;
use registry_core::{ErrorKind, Result};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, RootCertStore, SignatureScheme};
use tokio::sync::watch;

use super::refused_clients::RefusedClients;
use super::tls::certificates;

/// Whether a client has to show a certificate.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientAuth {
    /// It may.
    Optional,
    /// It has to.
    Required,
}

/// Who vouches for clients: the authorities in some files, as they are now.
pub(super) struct Clients {
    files: Vec<PathBuf>,
    needed: ClientAuth,
    provider: Arc<CryptoProvider>,
    current: RwLock<Arc<dyn ClientCertVerifier>>,
    /// How often they were read.
    reads: watch::Sender<u64>,
    refused: RefusedClients,
}

impl Clients {
    pub(super) fn open(
        files: Vec<PathBuf>,
        needed: ClientAuth,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Self> {
        let current = read(&files, needed, provider)?;
        Ok(Self {
            files,
            needed,
            provider: Arc::clone(provider),
            current: RwLock::new(current),
            reads: watch::Sender::new(0),
            refused: RefusedClients::default(),
        })
    }

    /// What was told of clients that get no connection.
    pub(super) fn refused(&self) -> &RefusedClients {
        &self.refused
    }

    pub(super) fn files(&self) -> &[PathBuf] {
        &self.files
    }

    pub(super) fn reload(&self) -> Result<()> {
        let fresh = read(&self.files, self.needed, &self.provider)?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = fresh;
        self.reads
            .send_modify(|reads| *reads = reads.wrapping_add(1));
        Ok(())
    }

    fn current(&self) -> Arc<dyn ClientCertVerifier> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&current)
    }
}

/// What a client proved to be when it connected, as long as the authorities of the
/// moment vouch for it.
#[derive(Debug, Clone)]
pub(super) struct Vouched {
    clients: Arc<Clients>,
    /// The client's own first.
    chain: Arc<[CertificateDer<'static>]>,
    certificate: ClientCertificate,
    /// What they said, and how often they had been read then.
    said: Arc<Mutex<Option<(u64, bool)>>>,
}

impl Vouched {
    /// The client that showed this chain, if it showed any.
    pub(super) fn new(clients: &Arc<Clients>, chain: &[CertificateDer<'_>]) -> Option<Self> {
        let own = chain.first()?;
        Some(Self {
            clients: Arc::clone(clients),
            chain: chain.iter().map(|one| one.clone().into_owned()).collect(),
            certificate: ClientCertificate::from_der(own.as_ref()),
            said: Arc::default(),
        })
    }

    /// The client's own certificate, if it is still vouched for. That is found out
    /// again whenever the authorities were read.
    pub(super) fn certificate(&self) -> Option<&ClientCertificate> {
        let reads = *self.clients.reads.borrow();
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let is_good = match *said {
            Some((then, is_good)) if then == reads => is_good,
            _ => self.is_good(),
        };
        *said = Some((reads, is_good));
        is_good.then_some(&self.certificate)
    }

    /// Waits until nobody vouches for it any more.
    pub(super) async fn lapsed(&self) {
        let mut reads = self.clients.reads.subscribe();
        while self.certificate().is_some() && reads.changed().await.is_ok() {}
    }

    fn is_good(&self) -> bool {
        let Some((own, others)) = self.chain.split_first() else {
            return false;
        };
        let verified = self
            .clients
            .verify_client_cert(own, others, UnixTime::now());
        if let Err(error) = &verified {
            tracing::debug!(%error, "nobody vouches any more for the client of an open connection");
        }
        verified.is_ok()
    }
}

fn read(
    files: &[PathBuf],
    needed: ClientAuth,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>> {
    let mut roots = RootCertStore::empty();
    for file in files {
        for certificate in certificates(file)? {
            roots.add(certificate).map_err(|source| {
                ErrorKind::RequestInvalid
                    .error(format!(
                        "a certificate in {} can't vouch for others: {source}",
                        file.display()
                    ))
                    .with_source(source)
            })?;
        }
    }
    let builder =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
    let builder = match needed {
        ClientAuth::Optional => builder.allow_unauthenticated(),
        ClientAuth::Required => builder,
    };
    builder.build().map_err(|source| {
        ErrorKind::RequestInvalid
            .error(format!("nobody can vouch for clients: {source}"))
            .with_source(source)
    })
}

/// What the verifier of the moment says.
impl ClientCertVerifier for Clients {
    fn client_auth_mandatory(&self) -> bool {
        self.needed == ClientAuth::Required
    }

    /// None: they may change while a client chooses, and who has several
    /// certificates is better off choosing itself.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.current()
            .verify_client_cert(end_entity, intermediates, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.current().verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.current().verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.current().supported_verify_schemes()
    }
}

impl fmt::Debug for Clients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Clients")
            .field("files", &self.files)
            .field("needed", &self.needed)
            .finish_non_exhaustive()
    }
}
