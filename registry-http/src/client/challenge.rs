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
    /// The strongest challenge in the values of `WWW-Authenticate`, each of
    /// which may hold several.
    pub(super) fn strongest<'a>(values: impl Iterator<Item = &'a str>) -> Option<Self> {
        let mut basic = None;
        for (scheme, parameters) in values.flat_map(|value| Reader(value).challenges()) {
            if scheme.eq_ignore_ascii_case("basic") {
                basic = Some(Self::Basic);
            }
            if scheme.eq_ignore_ascii_case("bearer") {
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

/// Names and values such as `a="b", c=d`.
type Parameters<'a> = Vec<(&'a str, String)>;

/// What is left to read of a value.
struct Reader<'a>(&'a str);

impl<'a> Reader<'a> {
    /// Schemes with their parameters. What can't be read ends the list.
    fn challenges(mut self) -> Vec<(&'a str, Parameters<'a>)> {
        let mut challenges: Vec<(&str, Parameters<'_>)> = Vec::new();
        loop {
            self.skip(&[' ', '\t', ',']);
            let word = self.word();
            if word.is_empty() {
                return challenges;
            }
            let before = self.0;
            self.skip(&[' ', '\t']);
            match (self.0.strip_prefix('='), challenges.last_mut()) {
                (Some(rest), Some((_, parameters))) => {
                    self.0 = rest;
                    self.skip(&[' ', '\t']);
                    parameters.push((word, self.value()));
                }
                (Some(_), None) => return challenges,
                (None, _) => {
                    self.0 = before;
                    challenges.push((word, Vec::new()));
                }
            }
        }
    }

    fn skip(&mut self, separators: &[char]) {
        self.0 = self.0.trim_start_matches(separators);
    }

    /// The text up to one of `ends`.
    fn until(&mut self, ends: &[char]) -> &'a str {
        let end = self.0.find(ends).unwrap_or(self.0.len());
        let (text, rest) = self.0.split_at(end);
        self.0 = rest;
        text
    }

    /// A scheme, or the name of a parameter.
    fn word(&mut self) -> &'a str {
        self.until(&[' ', '\t', ',', '=', '"'])
    }

    /// Values without quotation marks may hold more than the standard allows,
    /// such as a URL.
    fn value(&mut self) -> String {
        let Some(quoted) = self.0.strip_prefix('"') else {
            return self.until(&[' ', '\t', ',']).to_owned();
        };
        let mut value = String::new();
        let mut chars = quoted.chars();
        while let Some(char) = chars.next() {
            match char {
                '"' => break,
                '\\' => value.extend(chars.next()),
                _ => value.push(char),
            }
        }
        self.0 = chars.as_str();
        value
    }
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
            (
                &[
                    r#"Negotiate, Digest a="Bearer realm=z", Bearer realm="y",scope="s" , Basic realm="x""#,
                ],
                Some(bearer("y", None, Some("s"))),
            ),
            (
                &[r#"Negotiate YWJj==, Basic realm="x""#],
                Some(Challenge::Basic),
            ),
            (
                &[
                    r#"Negotiate, Digest a="Bearer realm=z", Bearer realm="y",scope="s" , Basic realm="x""#,
                ],
                Some(bearer("y", None, Some("s"))),
            ),
            (
                &[r#"Negotiate YWJj==, Basic realm="x""#],
                Some(Challenge::Basic),
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
