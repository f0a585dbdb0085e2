//! How a client is asked to say who it is.

#[cfg(feature = "token")]
mod bearer;

use http::HeaderValue;
use registry_core::{ErrorKind, Result, Scopes};

#[cfg(feature = "token")]
pub(crate) use self::bearer::Bearer;

/// The value of `WWW-Authenticate` in an answer with status 401.
///
/// There is exactly one scheme: offered two, common clients mix them up.
///
/// RFC 9110, section 11.6.1.
#[derive(Debug, Clone)]
pub struct Challenge(Scheme);

#[derive(Debug, Clone)]
enum Scheme {
    Basic(HeaderValue),
    #[cfg(feature = "token")]
    Bearer(Bearer),
}

impl Challenge {
    /// Asks for a user name and a password. `realm` is what clients show.
    ///
    /// RFC 7617.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::RequestInvalid`] if `realm` holds anything but printable
    /// ASCII characters.
    pub fn basic(realm: &str) -> Result<Self> {
        let quoted = realm.replace('\\', "\\\\").replace('"', "\\\"");
        HeaderValue::from_str(&format!("Basic realm=\"{quoted}\""))
            .ok()
            .filter(|value| value.to_str().is_ok_and(|text| !text.contains('\t')))
            .map(|value| Self(Scheme::Basic(value)))
            .ok_or_else(|| {
                ErrorKind::RequestInvalid
                    .error("the realm must be made of printable ASCII characters")
            })
    }

    /// Sends clients to `realm`, the URL of another service, for a token that is
    /// for `service`. That the tokens are taken is up to an authenticator.
    ///
    /// RFC 6750, and "Token Authentication Specification" of the Docker registry.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::RequestInvalid`] if `realm` isn't an absolute `http` or
    /// `https` URL of visible ASCII characters without a query.
    #[cfg(feature = "token")]
    pub fn bearer(realm: &str, service: &str) -> Result<Self> {
        Bearer::check_realm(realm)?;
        Ok(Self(Scheme::Bearer(Bearer::new(Some(realm), service))))
    }

    /// The same, where the service is at `path` of the host that a client asked.
    #[cfg(feature = "token")]
    pub fn bearer_beside(path: &str, service: &str) -> Self {
        Self(Scheme::Bearer(Bearer::new(None, service).at(path)))
    }

    /// Whether it sends clients to the host that they asked.
    pub(crate) fn is_beside(&self) -> bool {
        match &self.0 {
            Scheme::Basic(_) => false,
            #[cfg(feature = "token")]
            Scheme::Bearer(bearer) => bearer.is_beside(),
        }
    }

    /// The header for somebody who asked at `base`, as far as that is known, and
    /// who lacks a token for `scopes`, if it is tokens that are asked for.
    pub(crate) fn header(
        &self,
        base: Option<&str>,
        scopes: &Scopes,
        error: Option<(TokenError, &str)>,
    ) -> HeaderValue {
        match &self.0 {
            Scheme::Basic(value) => {
                let _ = (base, scopes, error);
                value.clone()
            }
            #[cfg(feature = "token")]
            Scheme::Bearer(bearer) => bearer.header(base, scopes, error),
        }
    }
}

/// What is wrong with a token (RFC 6750, section 3.1).
#[derive(Debug, Clone, Copy)]
pub(crate) enum TokenError {
    /// It is no good; another one may be.
    Invalid,
    /// It doesn't cover what is asked.
    Insufficient,
}

impl Default for Challenge {
    /// Basic, with the realm `registry`.
    fn default() -> Self {
        Self(Scheme::Basic(HeaderValue::from_static(
            "Basic realm=\"registry\"",
        )))
    }
}

#[cfg(test)]
mod tests {
    use registry_core::Scopes;

    use super::Challenge;

    #[test]
    fn the_realm_is_quoted() {
        let header = |realm| {
            Challenge::basic(realm)
                .map(|challenge| challenge.header(None, &Scopes::default(), None))
        };
        assert_eq!(
            header("my registry").unwrap(),
            "Basic realm=\"my registry\""
        );
        assert_eq!(header(r#"a"b\c"#).unwrap(), r#"Basic realm="a\"b\\c""#);
    }

    #[test]
    fn a_realm_cannot_smuggle_anything() {
        for realm in ["a\r\nx: y", "a\0", "ä", "a\tb"] {
            assert!(Challenge::basic(realm).is_err(), "{realm:?}");
        }
    }
}
