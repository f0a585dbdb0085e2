//! What a registry asks for before it answers.
//!
//! RFC 9110, section 11.6.1, and the token protocol of the Docker registry.

/// How to authenticate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Challenge {
    /// With user and password in every request.
    Basic,
    /// With a token from elsewhere.
    Bearer {
        /// Where tokens are issued.
        realm: String,
        /// What they are for.
        service: Option<String>,
        /// The rights that the request needed.
        scope: Option<String>,
    },
}

impl Challenge {
    /// The strongest challenge in the values of `WWW-Authenticate`.
    pub(super) fn strongest<'a>(values: impl Iterator<Item = &'a str>) -> Option<Self> {
        let mut basic = None;
        for value in values {
            let (scheme, parameters) = value
                .trim()
                .split_once(char::is_whitespace)
                .unwrap_or((value.trim(), ""));
            if scheme.eq_ignore_ascii_case("basic") {
                basic = Some(Self::Basic);
            }
            if scheme.eq_ignore_ascii_case("bearer") {
                let parameters = parse_parameters(parameters);
                let find = |wanted: &str| {
                    parameters
                        .iter()
                        .find(|(name, _)| name.eq_ignore_ascii_case(wanted))
                        .map(|(_, value)| value.clone())
                };
                if let Some(realm) = find("realm") {
                    return Some(Self::Bearer {
                        realm,
                        service: find("service"),
                        scope: find("scope"),
                    });
                }
            }
        }
        basic
    }
}

/// Parameters such as `a="b", c=d`. What can't be read ends the list.
fn parse_parameters(mut rest: &str) -> Vec<(String, String)> {
    let mut parameters = Vec::new();
    while let Some((name, after)) = rest.split_once('=') {
        let name = name.trim_matches([' ', '\t', ',']).to_owned();
        let after = after.trim_start();
        let mut value = String::new();
        let mut end = after.len();
        if let Some(quoted) = after.strip_prefix('"') {
            let mut escaped = false;
            for (position, char) in quoted.char_indices() {
                match char {
                    _ if escaped => {
                        value.push(char);
                        escaped = false;
                    }
                    '\\' => escaped = true,
                    '"' => {
                        // One for each quotation mark.
                        end = position.saturating_add(2);
                        break;
                    }
                    _ => value.push(char),
                }
            }
        } else {
            end = after.find([',', ' ', '\t']).unwrap_or(after.len());
            value.push_str(after.get(..end).unwrap_or_default());
        }
        parameters.push((name, value));
        rest = after.get(end..).unwrap_or_default();
    }
    parameters
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bearer(realm: &str, service: Option<&str>, scope: Option<&str>) -> Challenge {
        Challenge::Bearer {
            realm: realm.to_owned(),
            service: service.map(str::to_owned),
            scope: scope.map(str::to_owned),
        }
    }

    #[test]
    fn challenges_are_understood_in_all_their_spellings() {
        for (values, expected) in [
            (
                &[r#"Bearer realm="https://a/t",service="s",scope="repository:a:pull,push""#][..],
                Some(bearer(
                    "https://a/t",
                    Some("s"),
                    Some("repository:a:pull,push"),
                )),
            ),
            (
                &[r#"bearer  realm=https://a/t , service = "a \"b\"""#],
                Some(bearer("https://a/t", Some(r#"a "b""#), None)),
            ),
            (&[r#"Basic realm="x""#], Some(Challenge::Basic)),
            (
                &[r#"Basic realm="x""#, r#"Bearer realm="y""#],
                Some(bearer("y", None, None)),
            ),
            (&["Bearer"], None),
            (&[r#"Digest realm="x""#], None),
            (&[""], None),
        ] {
            assert_eq!(Challenge::strongest(values.iter().copied()), expected);
        }
    }

    #[test]
    fn nothing_makes_it_panic() {
        for text in [
            "Bearer =",
            "Bearer a=\"",
            "Bearer a=\"\\",
            "Bearer a=b=c",
            "Bearer é=\"é\"é",
        ] {
            Challenge::strongest([text].into_iter());
        }
    }
}
