//! Logins by client certificate.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use async_trait::async_trait;
use registry_core::{Clock, Error, ErrorKind, Result, SystemClock};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::principal::is_plain;
use crate::{Authenticator, Caller, Principal};

/// What in a certificate is its holder's name.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CertificateName {
    /// The common name of its subject.
    #[default]
    CommonName,
    /// The address of electronic mail among its alternative names.
    Email,
    /// The name of a host among its alternative names.
    Dns,
    /// The `spiffe:` URI among its alternative names.
    Spiffe,
}

impl FromStr for CertificateName {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        match name {
            "cn" => Ok(Self::CommonName),
            "email" => Ok(Self::Email),
            "dns" => Ok(Self::Dns),
            "spiffe" => Ok(Self::Spiffe),
            _ => Err(ErrorKind::RequestInvalid
                .error("a certificate has no such name; use cn, email, dns or spiffe")),
        }
    }
}

/// Knows clients by the certificates with which they made their connections.
///
/// A listener has to have checked them: whoever its authorities vouch for gets
/// in, under the name that they wrote into the certificate. It has to be there,
/// once; of two nobody knows which one is meant.
///
/// Whoever shows something in an `Authorization` header is asked about that, not
/// about its certificate. A token that was given for a certificate is good without
/// it, and ends with it.
pub struct Certificates {
    name: CertificateName,
    clock: Arc<dyn Clock>,
}

impl Certificates {
    /// Calls clients as `name` says.
    pub fn new(name: CertificateName) -> Self {
        Self {
            name,
            clock: Arc::new(SystemClock),
        }
    }

    /// Takes the time from `clock`. A connection may outlast its certificate.
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    fn holder(&self, der: &[u8]) -> Result<Principal, &'static str> {
        let Ok((&[], certificate)) = X509Certificate::from_der(der) else {
            return Err("it is malformed");
        };
        let now = self.clock.now().duration_since(UNIX_EPOCH);
        let now = now.unwrap_or_default().as_secs().cast_signed();
        let validity = certificate.validity();
        if validity.not_after.timestamp() < now {
            return Err("it has expired");
        }
        if validity.not_before.timestamp() > now {
            return Err("it isn't valid yet");
        }
        let mut names = self.names(&certificate)?.into_iter();
        match (names.next(), names.next()) {
            (Some(name), None) if is_plain(&name) => {
                let end = u64::try_from(validity.not_after.timestamp()).unwrap_or_default();
                let end = UNIX_EPOCH.checked_add(Duration::from_secs(end));
                let holder = Principal::new(name);
                // One that the clock can't tell never comes.
                Ok(end.into_iter().fold(holder, Principal::until))
            }
            (Some(_), None) => Err("its holder has no plain name"),
            (None, _) => Err("it doesn't have the name that is asked for"),
            (Some(_), Some(_)) => Err("it has several names of the kind that is asked for"),
        }
    }

    fn names(&self, certificate: &X509Certificate<'_>) -> Result<Vec<String>, &'static str> {
        if self.name == CertificateName::CommonName {
            let names = certificate.subject().iter_common_name();
            return names
                .map(|name| name.as_str().map(str::to_owned))
                .collect::<Result<_, _>>()
                .map_err(|_| "its common name can't be read");
        }
        let extension = certificate
            .subject_alternative_name()
            .map_err(|_| "its alternative names can't be read")?;
        let names = extension.map(|extension| extension.value.general_names.as_slice());
        let wanted = |name: &GeneralName<'_>| match (self.name, name) {
            (CertificateName::Email, GeneralName::RFC822Name(name))
            | (CertificateName::Dns, GeneralName::DNSName(name)) => Some((*name).to_owned()),
            (CertificateName::Spiffe, GeneralName::URI(name)) => {
                name.starts_with("spiffe://").then(|| (*name).to_owned())
            }
            _ => None,
        };
        Ok(names
            .unwrap_or_default()
            .iter()
            .filter_map(wanted)
            .collect())
    }
}

#[async_trait]
impl Authenticator for Certificates {
    async fn authenticate(&self, caller: &Caller<'_>) -> Result<Option<Principal>> {
        let Some(certificate) = caller.certificate.filter(|_| caller.credentials.is_none()) else {
            return Ok(None);
        };
        match self.holder(certificate.der()) {
            Ok(holder) => Ok(Some(holder)),
            Err(reason) => {
                tracing::info!(reason, "nobody is known by a client's certificate");
                Ok(None)
            }
        }
    }

    fn source(&self) -> &'static str {
        "certificate"
    }
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificates")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
