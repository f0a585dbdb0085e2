//! Patterns of repository names.

use std::fmt;
use std::str::FromStr;

use registry_core::{Error, ErrorKind, RepositoryName, Result};

/// Which repositories a rule is about.
///
/// A name, in which `*` stands for exactly one component and `**` for any
/// number of them: `team/*` is `team/app` but not `team/app/web`, `**/web` is
/// every name that ends in `web`. At the end, `**` stands for at least one:
/// `team/**` is everything inside `team` but not `team` itself. Matching is
/// always of the whole name and takes time in proportion to its length.
///
/// ```
/// use registry_auth::Pattern;
///
/// let pattern: Pattern = "team/**".parse()?;
/// assert!(pattern.matches(&"team/app/web".parse()?));
/// assert!(!pattern.matches(&"teams/app".parse()?));
/// # Ok::<(), registry_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    text: Box<str>,
    parts: Box<[Part]>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Exactly(Box<str>),
    One,
    Any,
}

impl Pattern {
    /// Whether it is about `name`.
    pub fn matches(&self, name: &RepositoryName) -> bool {
        let mut names = name.as_str().split('/');
        let mut parts = self.parts.as_ref();
        // Where to go on when the parts behind the last `**` don't fit: it
        // takes one component more. Earlier ones never need to be tried again.
        let mut retry = None;
        loop {
            match parts.split_first() {
                Some((Part::Any, rest)) => {
                    retry = Some((names.clone(), rest));
                    parts = rest;
                    continue;
                }
                Some((part, rest)) => {
                    if let Some(component) = names.next()
                        && part.fits(component)
                    {
                        parts = rest;
                        continue;
                    }
                }
                None if names.clone().next().is_none() => return true,
                None => {}
            }
            let Some((mut behind, rest)) = retry.take() else {
                return false;
            };
            if behind.next().is_none() {
                return false;
            }
            names = behind.clone();
            parts = rest;
            retry = Some((behind, rest));
        }
    }
}

impl Part {
    fn fits(&self, component: &str) -> bool {
        match self {
            Self::Exactly(text) => **text == *component,
            Self::One | Self::Any => true,
        }
    }
}

impl FromStr for Pattern {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let malformed = || {
            ErrorKind::NameInvalid.error(format!(
                "the pattern {text:?} matches no repository; write a repository name in which \
                 whole components may be * or **"
            ))
        };
        // A name with the wildcards filled in must be one that can exist.
        let example: Vec<_> = text
            .split('/')
            .map(|part| {
                if matches!(part, "*" | "**") {
                    "x"
                } else {
                    part
                }
            })
            .collect();
        let _: RepositoryName = example.join("/").parse().map_err(|_| malformed())?;
        let mut parts: Vec<_> = text
            .split('/')
            .map(|part| match part {
                "*" => Part::One,
                "**" => Part::Any,
                name => Part::Exactly(name.into()),
            })
            .collect();
        if parts.last() == Some(&Part::Any) {
            parts.push(Part::One);
        }
        Ok(Self {
            text: text.into(),
            parts: parts.into(),
        })
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use registry_core::RepositoryName;

    use super::Pattern;

    fn matches(pattern: &str, name: &str) -> bool {
        let pattern: Pattern = pattern.parse().unwrap();
        pattern.matches(&name.parse().unwrap())
    }

    #[test]
    fn wildcards_stand_for_whole_components() {
        for (pattern, yes, no) in [
            ("a", &["a"][..], &["b", "a/b", "aa"][..]),
            ("*", &["a", "b"], &["a/b"]),
            ("a/*", &["a/b"], &["a", "a/b/c", "b/a"]),
            ("a/**", &["a/b", "a/b/c/d"], &["a", "ab/c", "b/a"]),
            ("**", &["a", "a/b", "a/b/c"], &[]),
            ("**/a", &["a", "b/a", "b/c/a"], &["a/b", "ba"]),
            (
                "a/**/b",
                &["a/b", "a/c/b", "a/b/b", "a/c/d/b"],
                &["a", "b", "a/b/c"],
            ),
            ("a/*/b", &["a/c/b"], &["a/b", "a/c/d/b"]),
            (
                "**/a/**/b",
                &["a/b", "c/a/b", "a/a/c/b", "a/b/b"],
                &["b/a", "a/c"],
            ),
            ("*/**", &["a/b", "a/b/c"], &["a"]),
            ("**/*", &["a", "a/b"], &[]),
        ] {
            for name in yes {
                assert!(matches(pattern, name), "{pattern} is {name}");
            }
            for name in no {
                assert!(!matches(pattern, name), "{pattern} isn't {name}");
            }
        }
    }

    #[test]
    fn a_pattern_that_can_match_nothing_is_an_error() {
        for pattern in [
            "", "/", "a/", "/a", "a//b", "team-*", "a**", "***", "A/*", "a/../b", "[ab]",
        ] {
            assert!(pattern.parse::<Pattern>().is_err(), "{pattern}");
        }
    }

    #[test]
    fn many_wildcards_cost_little() {
        let pattern = ["**/a"; 40].join("/");
        let name = ["a"; 120].join("/");
        assert!(matches(&pattern, &name));
        assert!(!matches(&format!("{pattern}/b"), &name));
    }

    /// The definition, spelt out.
    fn oracle(pattern: &[&str], name: &[&str]) -> bool {
        match (pattern, name) {
            ([], []) => true,
            (["**"], name) => !name.is_empty(),
            (["**", rest @ ..], name) => (0..=name.len()).any(|taken| oracle(rest, &name[taken..])),
            (["*", rest @ ..], [_, names @ ..]) => oracle(rest, names),
            ([part, rest @ ..], [first, names @ ..]) => part == first && oracle(rest, names),
            _ => false,
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]

        #[test]
        fn matching_follows_the_definition(
            pattern in proptest::collection::vec(proptest::sample::select(vec!["a", "b", "*", "**"]), 1..6),
            name in proptest::collection::vec(proptest::sample::select(vec!["a", "b"]), 1..8),
        ) {
            let parsed: Pattern = pattern.join("/").parse().unwrap();
            let repository: RepositoryName = name.join("/").parse().unwrap();
            prop_assert_eq!(parsed.matches(&repository), oracle(&pattern, &name));
        }
    }
}
