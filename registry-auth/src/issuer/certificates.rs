//! Keys that are good for a time, as those in certificates.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use registry_core::{ErrorKind, Result};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use x509_parser::prelude::{ASN1Time, FromDer, X509Certificate};

use crate::jwt::{Algorithm, KeySet, VerificationKey};

/// Keys, and from when to when they are good.
#[derive(Debug)]
pub(super) struct DatedKeys {
    keys: KeySet,
    from: SystemTime,
    to: Option<SystemTime>,
}

impl DatedKeys {
    /// Keys that are good as long as they are known.
    pub(super) fn always(keys: KeySet) -> Self {
        Self {
            keys,
            from: UNIX_EPOCH,
            to: None,
        }
    }

    pub(super) fn keys(&self) -> &KeySet {
        &self.keys
    }

    pub(super) fn are_valid(&self, now: SystemTime) -> bool {
        self.from <= now && self.to.is_none_or(|to| now <= to)
    }

    /// Whether the key called `kid` is among them, and good.
    pub(super) fn holds(&self, kid: &str, now: SystemTime) -> bool {
        self.are_valid(now) && self.keys.iter().any(|key| key.kid() == kid)
    }
}

/// Reads the certificates of a PEM file. Their keys are for those of `algorithms`
/// that fit; others in the file are passed over.
pub(super) fn read(pem: &[u8], algorithms: &[Algorithm]) -> Result<Vec<DatedKeys>> {
    let mut all = Vec::new();
    for (der, number) in CertificateDer::pem_slice_iter(pem).zip(1_usize..) {
        let wrong = |what: &str| {
            ErrorKind::RequestInvalid.error(format!("certificate {number} can't be used: {what}"))
        };
        let der = der.map_err(|source| wrong("it isn't PEM").with_source(source))?;
        let (_, certificate) = X509Certificate::from_der(&der)
            .map_err(|source| wrong("it is malformed").with_source(source))?;
        let keys = keys(certificate.public_key().raw, algorithms)?;
        if !keys.is_empty() {
            let validity = certificate.validity();
            all.push(DatedKeys {
                keys,
                from: time(&validity.not_before),
                to: Some(time(&validity.not_after)),
            });
        }
    }
    if all.is_empty() {
        return Err(ErrorKind::RequestInvalid
            .error("there is no certificate in it with a key that is taken here"));
    }
    Ok(all)
}

/// A key by both its names, for each algorithm that it can do.
fn keys(spki: &[u8], algorithms: &[Algorithm]) -> Result<KeySet> {
    let mut set = KeySet::new();
    let Ok(key) = VerificationKey::from_spki(spki) else {
        return Ok(set);
    };
    for algorithm in algorithms {
        if let Ok(key) = key.clone().with_algorithm(*algorithm) {
            set = set
                .with(key.clone())?
                .with(key.clone().called(&key.libtrust_kid()?)?)?;
        }
    }
    Ok(set)
}

fn time(time: &ASN1Time) -> SystemTime {
    let seconds = u64::try_from(time.timestamp()).unwrap_or_default();
    UNIX_EPOCH
        .checked_add(Duration::from_secs(seconds))
        .unwrap_or(UNIX_EPOCH)
}
