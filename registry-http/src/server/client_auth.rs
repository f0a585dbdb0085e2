//! Clients that prove who they are when they connect.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use registry_core::{ErrorKind, Result};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, RootCertStore, SignatureScheme};

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
        })
    }

    pub(super) fn files(&self) -> &[PathBuf] {
        &self.files
    }

    pub(super) fn reload(&self) -> Result<()> {
        let fresh = read(&self.files, self.needed, &self.provider)?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = fresh;
        Ok(())
    }

    fn current(&self) -> Arc<dyn ClientCertVerifier> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&current)
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
            .inspect_err(|error| {
                // The client is only told that it failed. Anybody can have this said, so it
                // isn't for those who don't look for it.
                tracing::debug!(
                    %error,
                    "a client's certificate was refused: it has to be of version 3, for clients, \
                     valid now, and signed by one of the authorities"
                );
            })
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
