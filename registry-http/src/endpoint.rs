//! What a request is for: an operation of the protocol, or what a registry
//! offers beside it.

use http::Method;
use registry_core::{ErrorKind, Operation, RepositoryName, Result};

use crate::management_operation::{MANAGEMENT, ManagementOperation};

/// Where tokens are given out, below the prefix.
const TOKEN: &str = "/v2/token";

/// Where tokens are ended before their time.
const REVOKE: &str = "/v2/token/revoke";

/// Where the public keys are with which tokens can be checked.
const KEY_SET: &str = "/v2/token/jwks.json";

/// The same where programs look for it that know of no registry.
pub(crate) const WELL_KNOWN_KEY_SET: &str = "/.well-known/jwks.json";

/// What there is beside the protocol.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Offers {
    /// Tokens.
    pub(crate) tokens: bool,
    /// The management API.
    pub(crate) management: bool,
}

/// What a request is for. Paths that aren't those of the protocol are none that
/// an [`Operation`] has.
#[derive(Debug)]
pub(crate) enum Endpoint {
    /// An operation of the distribution protocol.
    Registry(Operation),
    /// Give out a token.
    Token,
    /// End a token.
    Revoke,
    /// Show the public keys that check tokens.
    KeySet,
    /// Manage something.
    Management(ManagementOperation),
}

impl Endpoint {
    /// Understands a request to a registry that has `offers` beside the protocol.
    ///
    /// # Errors
    ///
    /// As those of [`Operation::parse`].
    pub(crate) fn parse(
        method: &Method,
        path: &str,
        query: Option<&str>,
        offers: Offers,
    ) -> Result<Self> {
        if let Some(rest) = managed(path, offers) {
            return ManagementOperation::parse(method, rest, query).map(Self::Management);
        }
        let Some(endpoint) = Self::at(path).filter(|_| offers.tokens) else {
            return Operation::parse(method, path, query).map(Self::Registry);
        };
        if endpoint.methods().contains(method) {
            Ok(endpoint)
        } else {
            Err(ErrorKind::Unsupported.error("this path isn't for this method; see Allow"))
        }
    }

    /// The methods that `path` has.
    pub(crate) fn allowed_methods(path: &str, offers: Offers) -> &'static [Method] {
        if let Some(rest) = managed(path, offers) {
            return ManagementOperation::methods(rest);
        }
        match Self::at(path).filter(|_| offers.tokens) {
            Some(endpoint) => endpoint.methods(),
            None => Operation::allowed_methods(path),
        }
    }

    fn at(path: &str) -> Option<Self> {
        match path {
            TOKEN => Some(Self::Token),
            REVOKE => Some(Self::Revoke),
            KEY_SET | WELL_KNOWN_KEY_SET => Some(Self::KeySet),
            _ => None,
        }
    }

    fn methods(&self) -> &'static [Method] {
        match self {
            Self::Registry(_) | Self::Management(_) => &[],
            Self::Token => &[Method::GET, Method::POST],
            Self::Revoke => &[Method::POST],
            Self::KeySet => &[Method::GET, Method::HEAD],
        }
    }

    /// The name for metrics and logs. It never changes.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Registry(operation) => operation.name(),
            Self::Token => "token",
            Self::Revoke => "revoke_token",
            Self::KeySet => "key_set",
            Self::Management(operation) => operation.name(),
        }
    }

    /// The operation of the protocol, if it is one.
    pub(crate) fn operation(&self) -> Option<&Operation> {
        match self {
            Self::Registry(operation) => Some(operation),
            Self::Token | Self::Revoke | Self::KeySet | Self::Management(_) => None,
        }
    }

    /// The repository that it is about, if it is about one.
    pub(crate) fn repository(&self) -> Option<&RepositoryName> {
        match self {
            Self::Registry(operation) => operation.repository(),
            Self::Management(operation) => operation.repository(),
            Self::Token | Self::Revoke | Self::KeySet => None,
        }
    }
}

/// What follows in a path of the management API.
fn managed(path: &str, offers: Offers) -> Option<&str> {
    path.strip_prefix(MANAGEMENT).filter(|_| offers.management)
}

/// Whether `path` is one at which content is deleted, if anything is.
pub(crate) fn deletes_content(path: &str) -> bool {
    match path.strip_prefix(MANAGEMENT) {
        Some(rest) => ManagementOperation::is_content(rest),
        None => !path.contains("/blobs/uploads/"),
    }
}

/// Whether `method` is a part of pushing at `path`.
pub(crate) fn takes_content(path: &str, method: &Method, offers: Offers) -> bool {
    let is_beside = managed(path, offers).is_some() || Endpoint::at(path).is_some();
    let is_upload = path.contains("/blobs/uploads/");
    let writes = [Method::POST, Method::PUT, Method::PATCH].contains(method);
    !is_beside && (is_upload || writes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_beside_the_protocol_is_no_part_of_it() {
        let tokens = Offers {
            tokens: true,
            ..Offers::default()
        };
        let managed = [
            "/api/v1/robots",
            "/api/v1/explain",
            "/api/v1/repositories/a",
        ];
        let others = [TOKEN, REVOKE, KEY_SET, WELL_KNOWN_KEY_SET];
        for path in others.into_iter().chain(managed) {
            for method in [Method::GET, Method::HEAD, Method::POST, Method::DELETE] {
                let error = Operation::parse(&method, path, None).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::NotFound, "{method} {path}");
                let none = Offers::default();
                let error = Endpoint::parse(&method, path, None, none).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::NotFound, "{method} {path}");
            }
        }
        for path in ["/v2/token/", "/v2/Token", "/v2/%74oken", "/v2//token"] {
            assert!(
                Endpoint::parse(&Method::GET, path, None, tokens).is_err(),
                "{path}"
            );
        }
        let named = Endpoint::parse(&Method::GET, "/v2/token/tags/list", None, tokens);
        assert_eq!(named.unwrap().name(), "list_tags");
        for path in managed {
            let parsed = Endpoint::parse(&Method::DELETE, path, None, tokens);
            assert_eq!(parsed.unwrap_err().kind(), ErrorKind::NotFound, "{path}");
        }
    }
}
