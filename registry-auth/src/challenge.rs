//! How a client is asked to say who it is.

#[cfg(feature = "token")]
mod bearer;

use http::HeaderValue;
use registry_core::{ErrorKind, Result};

#[cfg(feature = "token")]
pub(crate) use self::bearer::Bearer;

/// The value of `WWW-Authenticate` in an answer with status 401.
///
/// There is exactly one scheme: offered two, common clients mix them up.
///
/// RFC 9110, section 11.6.1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenge(HeaderValue);

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
            .map(Self)
            .ok_or_else(|| {
                ErrorKind::RequestInvalid
                    .error("the realm must be made of printable ASCII characters")
            })
    }

    pub(crate) fn header(&self) -> HeaderValue {
        self.0.clone()
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
        Self(HeaderValue::from_static("Basic realm=\"registry\""))
    }
}

#[cfg(test)]
mod tests {
    use super::Challenge;

    #[test]
    fn the_realm_is_quoted() {
        let header = |realm| Challenge::basic(realm).map(|challenge| challenge.header());
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
