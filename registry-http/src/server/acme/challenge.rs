//! Answers to a server that makes sure whose host this is (RFC 8737).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rcgen::{CertificateParams, CustomExtension, KeyPair};
use registry_core::{Error, Result};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

/// The certificates to be shown, by host. There are as many as orders ask for at
/// the time.
#[derive(Debug, Default)]
pub(in crate::server) struct Challenges(Mutex<HashMap<String, Arc<CertifiedKey>>>);

/// Shows a certificate until it is dropped.
#[derive(Debug)]
pub(super) struct Shown {
    challenges: Arc<Challenges>,
    host: String,
}

impl Challenges {
    /// Shows that whoever answers for `host` knows `digest`.
    pub(super) fn show(
        self: &Arc<Self>,
        host: &str,
        digest: &[u8],
        provider: &CryptoProvider,
    ) -> Result<Shown> {
        let failed = |source: rcgen::Error| {
            Error::internal("the certificate of a challenge could not be made", source)
        };
        let mut params = CertificateParams::new(vec![host.to_owned()]).map_err(failed)?;
        params.custom_extensions = vec![CustomExtension::new_acme_identifier(digest)];
        let key = KeyPair::generate().map_err(failed)?;
        let certificate = params.self_signed(&key).map_err(failed)?;
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        // To look whether they fit each other would be to read the certificate, of
        // which most don't know the extension that it is about.
        let key = provider.key_provider.load_private_key(key);
        let key =
            key.map_err(|source| Error::internal("the key of a challenge can't be used", source))?;
        let pair = CertifiedKey::new(vec![certificate.der().clone()], key);
        self.lock().insert(host.to_owned(), Arc::new(pair));
        Ok(Shown {
            challenges: Arc::clone(self),
            host: host.to_owned(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Arc<CertifiedKey>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        self.challenges.lock().remove(&self.host);
    }
}

impl ResolvesServerCert for Challenges {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let host = hello.server_name()?.to_lowercase();
        self.lock().get(&host).cloned()
    }
}
