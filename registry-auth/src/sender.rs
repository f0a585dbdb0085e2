//! Senders: what a request brings along before anybody is known.

use std::fmt;
use std::sync::Arc;

use http::HeaderMap;
use registry_core::RequestOrigin;

/// What tells who sent a request.
#[derive(Clone)]
pub struct Sender<'a> {
    headers: &'a HeaderMap,
    origin: RequestOrigin,
    certificate: Option<&'a ClientCertificate>,
    base: Option<&'a str>,
}

impl<'a> Sender<'a> {
    /// Whoever sent `headers` from `origin`.
    pub fn new(headers: &'a HeaderMap, origin: RequestOrigin) -> Self {
        Self {
            headers,
            origin,
            certificate: None,
            base: None,
        }
    }

    /// Where it believes the registry to be, such as `https://registry.example`:
    /// what the paths of end-points are added to.
    pub fn base(mut self, base: Option<&'a str>) -> Self {
        self.base = base;
        self
    }

    /// With the certificate that the connection was made with, if it was.
    pub fn certificate(mut self, certificate: Option<&'a ClientCertificate>) -> Self {
        self.certificate = certificate;
        self
    }

    pub(crate) fn headers(&self) -> &'a HeaderMap {
        self.headers
    }

    pub(crate) fn origin(&self) -> &RequestOrigin {
        &self.origin
    }

    pub(crate) fn registry_base(&self) -> Option<&'a str> {
        self.base
    }

    pub(crate) fn client_certificate(&self) -> Option<&'a ClientCertificate> {
        self.certificate
    }
}

impl fmt::Debug for Sender<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Headers hold cookies and tokens.
        f.debug_struct("Sender")
            .field("origin", &self.origin)
            .field("certificate", &self.certificate)
            .finish_non_exhaustive()
    }
}

/// The certificate of a client, after the listener checked that the client has
/// its key and that an authority it trusts signed it.
#[derive(Clone, PartialEq, Eq)]
pub struct ClientCertificate(Arc<[u8]>);

impl ClientCertificate {
    /// The certificate with these bytes, which were checked before.
    pub fn from_der(der: impl Into<Arc<[u8]>>) -> Self {
        Self(der.into())
    }

    /// Its bytes.
    pub fn der(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for ClientCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ClientCertificate")
            .field(&self.0.len())
            .finish()
    }
}
