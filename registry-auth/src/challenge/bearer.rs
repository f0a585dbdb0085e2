//! How a client is asked for a token.

use http::{HeaderValue, Uri};
use registry_core::{ErrorKind, Result, Scopes};

use super::TokenError;

/// Where tokens are to be had, below the address of a registry.
const TOKEN_PATH: &str = "/v2/token";

/// Asks for a token.
///
/// RFC 6750 and Docker registry v2 authentication.
#[derive(Debug, Clone)]
pub(crate) struct Bearer {
    realm: Option<String>,
    /// Where tokens are to be had below the address that was asked, without a
    /// realm.
    path: String,
    service: String,
}

impl Bearer {
    /// Sends clients to `realm`, or else to the registry that they asked, for
    /// tokens that are for `service`.
    pub(crate) fn new(realm: Option<&str>, service: &str) -> Self {
        Self {
            realm: realm.map(str::to_owned),
            path: TOKEN_PATH.to_owned(),
            service: service.to_owned(),
        }
    }

    /// Tokens are to be had at `path`, without a realm.
    pub(super) fn at(mut self, path: &str) -> Self {
        self.path = format!("/{}", path.trim_start_matches('/'));
        self
    }

    /// Whether tokens are to be had at the host that was asked.
    pub(super) fn is_beside(&self) -> bool {
        self.realm.is_none()
    }

    /// Refuses what clients can't ask. They add a query of their own.
    pub(crate) fn check_realm(url: &str) -> Result<()> {
        let fits = url.parse::<Uri>().is_ok_and(|uri| {
            let scheme = uri.scheme_str();
            matches!(scheme, Some("http" | "https")) && uri.authority().is_some()
        });
        if fits && url.bytes().all(|byte| byte.is_ascii_graphic()) && !url.contains('?') {
            Ok(())
        } else {
            Err(ErrorKind::RequestInvalid
                .error("the realm must be an http or https URL without a query"))
        }
    }

    /// The header for somebody who asked at `base`, as far as that is known, and
    /// whose token should cover `scopes`.
    pub(crate) fn header(
        &self,
        base: Option<&str>,
        scopes: &Scopes,
        error: Option<(TokenError, &str)>,
    ) -> HeaderValue {
        let realm = match &self.realm {
            Some(realm) => realm.clone(),
            None => format!("{}{}", base.unwrap_or_default(), self.path),
        };
        let mut value = format!(
            "Bearer realm={},service={}",
            quoted(&realm),
            quoted(&self.service)
        );
        let mut add = |name: &str, text: &str| {
            value.push(',');
            value.push_str(name);
            value.push('=');
            value.push_str(&quoted(text));
        };
        if !scopes.is_empty() {
            add("scope", &scopes.to_string());
        }
        if let Some((error, description)) = error {
            add(
                "error",
                match error {
                    TokenError::Invalid => "invalid_token",
                    TokenError::Insufficient => "insufficient_scope",
                },
            );
            add("error_description", description);
        }
        HeaderValue::from_str(&value).unwrap_or(HeaderValue::from_static("Bearer"))
    }
}

/// A text in quotes. What can't be written in a header is left out.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars() {
        if matches!(character, '"' | '\\') {
            quoted.push('\\');
        }
        if matches!(character, ' '..='~') {
            quoted.push(character);
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use registry_core::Scopes;

    use super::super::TokenError;
    use super::Bearer;

    #[test]
    fn a_token_is_asked_for_by_one_scheme_with_quoted_values() {
        let bearer = Bearer::new(None, r#"a"b"#);
        let scopes = Scopes::parse(["repository:a:pull,push"]);
        assert_eq!(
            bearer.header(Some("https://r.example/x"), &scopes, None),
            r#"Bearer realm="https://r.example/x/v2/token",service="a\"b",scope="repository:a:pull,push""#
        );
        let bearer = Bearer::new(Some("https://login.example/t"), "r");
        let error = Some((TokenError::Insufficient, "get another\r\n"));
        assert_eq!(
            bearer.header(Some("http://ignored"), &Scopes::default(), error),
            "Bearer realm=\"https://login.example/t\",service=\"r\",\
             error=\"insufficient_scope\",error_description=\"get another\""
        );
    }

    #[test]
    fn a_realm_is_a_url_to_which_a_query_can_be_added() {
        assert!(Bearer::check_realm("https://r.example/token").is_ok());
        for realm in [
            "",
            "/token",
            "r.example",
            "ftp://r.example/",
            "https://r.example/?a=b",
            "https://r.example/ä",
        ] {
            assert!(Bearer::check_realm(realm).is_err(), "{realm}");
        }
    }
}
