//! Who vouches for a directory.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use registry_core::{Error, ErrorKind, Result};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::BuilderVerifierExt;

use crate::watched_file::WatchedFile;

/// The longest file that is read, in bytes.
const FILE_MAX: u64 = 1 << 20;

/// The certificates that vouch for a directory.
pub(super) enum Authorities {
    /// Those that the system trusts.
    System,
    /// Those in a PEM text.
    Given(Vec<u8>),
    /// Those in a file, which may change.
    File(Box<WatchedFile<ClientConfig>>),
}

impl Authorities {
    /// Those in the PEM file at `path`. It blocks while it reads.
    ///
    /// # Errors
    ///
    /// If it can't be read, or has no certificate.
    pub(super) fn file(path: PathBuf) -> Result<Self> {
        let what = "file of certificates that vouch for the directory";
        let file = WatchedFile::open(what, path, |pem| config(Some(pem)), FILE_MAX)?;
        Ok(Self::File(Box::new(file)))
    }
}

impl fmt::Debug for Authorities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::System => f.write_str("System"),
            Self::Given(_) => f.write_str("Given(..)"),
            Self::File(file) => f.debug_tuple("File").field(file).finish(),
        }
    }
}

/// How the certificate of a directory is checked.
pub(super) enum Trust {
    Fixed(Arc<ClientConfig>),
    File(Box<WatchedFile<ClientConfig>>),
}

impl Trust {
    /// By what `authorities` say.
    ///
    /// # Errors
    ///
    /// If none can be used.
    pub(super) fn new(authorities: Authorities) -> Result<Self> {
        let fixed = |pem: Option<&[u8]>| Ok(Self::Fixed(Arc::new(config(pem)?)));
        match authorities {
            Authorities::System => fixed(None),
            Authorities::Given(pem) => fixed(Some(&pem)),
            Authorities::File(file) => Ok(Self::File(file)),
        }
    }

    /// How it is checked now.
    pub(super) async fn current(&self) -> Arc<ClientConfig> {
        match self {
            Self::Fixed(config) => Arc::clone(config),
            Self::File(file) => file.current().await,
        }
    }
}

/// Checks certificates by those in a PEM text, or by those that the system trusts.
fn config(authorities: Option<&[u8]>) -> Result<ClientConfig> {
    let failed = |source: rustls::Error| Error::internal("TLS could not be set up", source);
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(failed)?;
    let builder = match authorities {
        None => builder.with_platform_verifier().map_err(failed)?,
        Some(pem) => {
            let mut roots = RootCertStore::empty();
            for certificate in CertificateDer::pem_slice_iter(pem) {
                let added = certificate.ok().map(|certificate| roots.add(certificate));
                if !matches!(added, Some(Ok(()))) {
                    return Err(ErrorKind::RequestInvalid
                        .error("a certificate that is to vouch for the directory is malformed"));
                }
            }
            if roots.is_empty() {
                return Err(ErrorKind::RequestInvalid
                    .error("there is no certificate in PEM form that vouches for the directory"));
            }
            builder.with_root_certificates(roots)
        }
    };
    Ok(builder.with_no_client_auth())
}
