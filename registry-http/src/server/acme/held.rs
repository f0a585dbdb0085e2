//! A certificate with its key, in one file.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use registry_core::{Error, ErrorKind, Result};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

/// A certificate that can be served.
#[derive(Debug)]
pub(super) struct Held {
    pair: CertifiedKey,
    hosts: Vec<String>,
    begins: SystemTime,
    ends: SystemTime,
}

impl Held {
    /// Reads a private key and the chain of its certificate, in PEM.
    pub(super) fn read(pem: &[u8], provider: &CryptoProvider) -> Result<Self> {
        let key = PrivateKeyDer::from_pem_slice(pem).map_err(unusable)?;
        let chain: Vec<_> = CertificateDer::pem_slice_iter(pem)
            .collect::<std::result::Result<_, _>>()
            .map_err(unusable)?;
        let own = chain.first().ok_or_else(|| {
            ErrorKind::RequestInvalid.error("there is no certificate beside its key")
        })?;
        let (_, parsed) = X509Certificate::from_der(own).map_err(unusable)?;
        let names = parsed.subject_alternative_name().map_err(unusable)?;
        let names = names.map(|names| names.value.general_names.as_slice());
        let host = |name: &GeneralName<'_>| match name {
            GeneralName::DNSName(name) => Some(name.to_lowercase()),
            _ => None,
        };
        let hosts = names.unwrap_or_default().iter().filter_map(host).collect();
        let validity = parsed.validity();
        let (begins, ends) = (
            validity.not_before.timestamp(),
            validity.not_after.timestamp(),
        );
        Ok(Self {
            pair: CertifiedKey::from_der(chain, key, provider).map_err(unusable)?,
            hosts,
            begins: since_1970(begins),
            ends: since_1970(ends),
        })
    }

    /// Whether it is for all of these hosts.
    pub(super) fn is_for(&self, hosts: &[String]) -> bool {
        hosts.iter().all(|host| self.hosts.contains(host))
    }

    /// When it expires.
    pub(super) fn ends(&self) -> SystemTime {
        self.ends
    }

    /// When it is to be renewed: when a third of its time is left.
    pub(super) fn due(&self) -> SystemTime {
        let time = self.ends.duration_since(self.begins).unwrap_or_default();
        let third = time.checked_div(3).unwrap_or_default();
        self.ends.checked_sub(third).unwrap_or(UNIX_EPOCH)
    }

    pub(super) fn into_pair(self) -> CertifiedKey {
        self.pair
    }
}

fn since_1970(seconds: i64) -> SystemTime {
    let seconds = Duration::from_secs(u64::try_from(seconds).unwrap_or_default());
    UNIX_EPOCH.checked_add(seconds).unwrap_or(UNIX_EPOCH)
}

fn unusable(source: impl std::error::Error + Send + Sync + 'static) -> Error {
    ErrorKind::RequestInvalid
        .error("the certificate or its key is malformed")
        .with_source(source)
}

#[cfg(test)]
mod tests {
    use rustls::crypto::aws_lc_rs;

    use super::*;

    #[test]
    fn a_certificate_is_renewed_when_a_third_of_its_time_is_left() {
        let made =
            rcgen::generate_simple_self_signed(["A.example".to_owned(), "b.example".to_owned()])
                .unwrap();
        let pem = format!("{}{}", made.signing_key.serialize_pem(), made.cert.pem());
        let provider = aws_lc_rs::default_provider();
        let mut held = Held::read(pem.as_bytes(), &provider).unwrap();
        let hosts = |names: &[&str]| {
            names
                .iter()
                .map(|name| (*name).to_owned())
                .collect::<Vec<_>>()
        };
        assert!(held.is_for(&hosts(&["a.example"])));
        assert!(!held.is_for(&hosts(&["a.example", "c.example"])));
        (held.begins, held.ends) = (since_1970(1000), since_1970(1090));
        assert_eq!(held.due(), since_1970(1060));

        let other = rcgen::generate_simple_self_signed(["a".to_owned()]).unwrap();
        for wrong in [
            String::new(),
            made.cert.pem(),
            made.signing_key.serialize_pem(),
            format!("{}{}", other.signing_key.serialize_pem(), made.cert.pem()),
        ] {
            assert!(Held::read(wrong.as_bytes(), &provider).is_err());
        }
    }
}
