//! Credentials: what a request says about its sender.

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use http::HeaderMap;
use http::header::AUTHORIZATION;
use registry_core::{Error, ErrorKind, Result};

use crate::Secret;

/// The longest `Authorization` value in bytes that is looked at.
pub const AUTHORIZATION_MAX: usize = 16 << 10;

/// Base64 as clients write it: with or without the padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What a request's `Authorization` header says. Clients that were told no name
/// and no password send both empty: that is nothing, too.
#[non_exhaustive]
#[derive(Debug, Clone)]
pub enum Credentials {
    /// Nothing.
    None,
    /// A user name and a password (RFC 7617).
    Basic {
        /// The user name; it may be empty.
        user: String,
        /// The password.
        password: Secret,
    },
    /// A token (RFC 6750).
    Bearer(Secret),
}

impl Credentials {
    /// Reads the `Authorization` header.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unauthorized`] if there are several, if it is longer than
    /// [`AUTHORIZATION_MAX`], or if it isn't well-formed Basic or Bearer.
    pub fn from_headers(headers: &HeaderMap) -> Result<Self> {
        let mut values = headers.get_all(AUTHORIZATION).iter();
        let Some(value) = values.next() else {
            return Ok(Self::None);
        };
        if values.next().is_some() {
            return Err(malformed(
                "there are several Authorization headers; send one",
            ));
        }
        if value.len() > AUTHORIZATION_MAX {
            return Err(malformed(
                "the Authorization header is too long; send at most 16 KiB",
            ));
        }
        let text = value.to_str().map_err(|_| unreadable())?;
        let (scheme, rest) = text.split_once(' ').ok_or_else(unreadable)?;
        let rest = rest.trim_matches(' ');
        if scheme.eq_ignore_ascii_case("basic") {
            basic(rest)
        } else if scheme.eq_ignore_ascii_case("bearer") {
            bearer(rest)
        } else {
            Err(malformed(
                "the Authorization scheme is not known here; use Basic or Bearer",
            ))
        }
    }

    /// Whether those of a request are a token, or a key that is sent like one.
    pub(crate) fn are_token(headers: &HeaderMap) -> bool {
        let value = headers.get(AUTHORIZATION);
        let scheme = value.and_then(|value| value.as_bytes().split(|byte| *byte == b' ').next());
        scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"bearer"))
    }

    /// Whether there are none.
    pub fn is_none(&self) -> bool {
        matches!(self, Self::None)
    }
}

fn basic(encoded: &str) -> Result<Credentials> {
    let decoded = BASE64.decode(encoded).map_err(|_| unreadable())?;
    let pair = Secret::new(String::from_utf8(decoded).map_err(|_| unreadable())?);
    let (user, password) = pair.expose().split_once(':').ok_or_else(unreadable)?;
    // Names end up in logs and events.
    if pair.expose().chars().any(char::is_control) {
        return Err(unreadable());
    }
    if user.is_empty() && password.is_empty() {
        return Ok(Credentials::None);
    }
    Ok(Credentials::Basic {
        user: user.to_owned(),
        password: Secret::new(password),
    })
}

fn bearer(token: &str) -> Result<Credentials> {
    // Without a branch, so that many bytes are looked at at once: every request
    // with a token has hundreds.
    let in_set = |byte: u8| {
        let is_letter = (byte | 0x20).wrapping_sub(b'a') < 26;
        let is_digit = byte.wrapping_sub(b'0') < 10;
        let others = b"-._~+/".map(|other| byte == other);
        is_letter | is_digit | others.iter().fold(false, |any, is| any | is)
    };
    let core = token.trim_end_matches('=');
    let all = core.bytes().fold(true, |all, byte| all & in_set(byte));
    if core.is_empty() || !all {
        return Err(unreadable());
    }
    Ok(Credentials::Bearer(Secret::new(token)))
}

fn malformed(reason: &str) -> Error {
    ErrorKind::Unauthorized.error(reason)
}

fn unreadable() -> Error {
    malformed("the Authorization header can't be read; log in again")
}

/// The error for credentials that are wrong, whatever is wrong with them: the
/// same for a user who isn't known and for a password that doesn't fit.
pub fn wrong_credentials() -> Error {
    ErrorKind::Unauthorized.error("the user name, password or token is wrong; log in again")
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue};
    use proptest::prelude::*;

    use super::*;

    fn parse(value: impl AsRef<[u8]>) -> Result<Credentials> {
        let mut headers = HeaderMap::new();
        headers.insert(
            AUTHORIZATION,
            HeaderValue::from_bytes(value.as_ref()).unwrap(),
        );
        Credentials::from_headers(&headers)
    }

    fn pair(credentials: Credentials) -> (String, String) {
        match credentials {
            Credentials::Basic { user, password } => (user, password.expose().to_owned()),
            other => panic!("not Basic: {other:?}"),
        }
    }

    #[test]
    fn the_scheme_is_read_in_any_case() {
        for scheme in ["Basic", "basic", "BASIC", "bAsIc"] {
            let credentials = parse(format!("{scheme} Y2k6czpl")).unwrap();
            assert_eq!(pair(credentials), ("ci".into(), "s:e".into()));
        }
        assert!(matches!(
            parse("bEARER a.b-c_~+/==").unwrap(),
            Credentials::Bearer(_)
        ));
    }

    #[test]
    fn padding_may_be_missing() {
        assert_eq!(
            pair(parse("Basic Y2k6cw==").unwrap()),
            ("ci".into(), "s".into())
        );
        assert_eq!(
            pair(parse("Basic Y2k6cw").unwrap()),
            ("ci".into(), "s".into())
        );
    }

    #[test]
    fn an_empty_name_with_an_empty_password_is_nothing() {
        assert!(parse("Basic Og==").unwrap().is_none());
        assert_eq!(
            pair(parse("Basic OnM=").unwrap()),
            (String::new(), "s".into())
        );
        assert_eq!(
            pair(parse("Basic dTo=").unwrap()),
            ("u".into(), String::new())
        );
    }

    #[test]
    fn names_and_passwords_are_utf_8() {
        let encoded = BASE64.encode("ünsal:pässword");
        assert_eq!(
            pair(parse(format!("Basic {encoded}")).unwrap()),
            ("ünsal".into(), "pässword".into())
        );
        let latin1 = BASE64.encode(b"\xfcnsal:secret");
        assert!(parse(format!("Basic {latin1}")).is_err());
    }

    #[test]
    fn what_cannot_be_read_is_unauthorized() {
        let control = format!("Basic {}", BASE64.encode("a\nb:c"));
        let nul = format!("Basic {}", BASE64.encode("a:b\0c"));
        let no_colon = format!("Basic {}", BASE64.encode("ab"));
        for value in [
            "",
            "Basic",
            "Basic ",
            "Basic !!!",
            "Bearer",
            "Bearer ",
            "Bearer a b",
            "Bearer a\"b",
            "Bearer =",
            "Digest x",
            "Negotiate abc",
            "Basic\tYTpi",
            &control,
            &nul,
            &no_colon,
        ] {
            let error = parse(value).expect_err(value);
            assert_eq!(error.kind(), ErrorKind::Unauthorized, "{value}");
        }
    }

    #[test]
    fn a_token_has_no_other_characters_than_tokens_have() {
        // RFC 6750, section 2.1.
        let others = "-._~+/";
        for character in (0x21..0x7f_u8).map(char::from) {
            let token = parse(format!("Bearer a{character}b"));
            let expected = character.is_ascii_alphanumeric() || others.contains(character);
            assert_eq!(token.is_ok(), expected, "{character}");
        }
    }

    #[test]
    fn two_headers_are_refused() {
        let mut headers = HeaderMap::new();
        headers.append(AUTHORIZATION, HeaderValue::from_static("Basic Y2k6cw=="));
        headers.append(AUTHORIZATION, HeaderValue::from_static("Basic Y2k6cw=="));
        assert!(Credentials::from_headers(&headers).is_err());
    }

    #[test]
    fn a_long_header_is_refused_unread() {
        assert!(parse(format!("Bearer {}", ".".repeat(AUTHORIZATION_MAX - 7))).is_ok());
        assert!(parse(format!("Bearer {}", ".".repeat(AUTHORIZATION_MAX - 6))).is_err());
    }

    #[test]
    fn secrets_are_not_in_debug_output() {
        let encoded = BASE64.encode("ci:canary");
        let shown = format!(
            "{:?} {:?}",
            parse(format!("Basic {encoded}")),
            parse("Bearer canary")
        );
        assert!(
            !shown.contains("canary") && !shown.contains(&encoded),
            "{shown}"
        );
    }

    proptest! {
        #[test]
        fn every_pair_without_control_characters_survives(user in "[^:\\p{Cc}]{1,20}", password in "\\P{Cc}{0,40}") {
            let encoded = BASE64.encode(format!("{user}:{password}"));
            prop_assert_eq!(pair(parse(format!("Basic {encoded}")).unwrap()), (user, password));
        }

        #[test]
        fn no_value_panics(value in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(value) = HeaderValue::from_bytes(&value) {
                let mut headers = HeaderMap::new();
                headers.insert(AUTHORIZATION, value);
                let _ = Credentials::from_headers(&headers);
            }
        }
    }
}
