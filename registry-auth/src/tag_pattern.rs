//! Patterns of tags.

use std::fmt;
use std::str::FromStr;

use registry_core::{Error, ErrorKind, Result, Tag};

use crate::Glob;
use crate::glob::GLOB_MAX;

/// Which tags a rule is about.
///
/// A tag in which `*` stands for any number of characters, also none, and `?`
/// for exactly one: `v*` is `v1.2` and `v`, but not `dev1`. It is of the whole
/// tag, letters differ by case as they do in tags, and it takes time in
/// proportion to the length of the tag. At most 128 bytes.
///
/// ```
/// use registry_auth::TagPattern;
///
/// let releases: TagPattern = "v?.*".parse()?;
/// assert!(releases.matches(&"v1.2".parse()?));
/// assert!(!releases.matches(&"v10.2".parse()?));
/// # Ok::<(), registry_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagPattern(Glob);

impl TagPattern {
    /// Whether it is about `tag`.
    pub fn matches(&self, tag: &Tag) -> bool {
        self.0.matches(tag.as_str())
    }
}

impl FromStr for TagPattern {
    type Err = Error;

    /// A pattern that no tag can be like is an error: in a denial, it would
    /// leave open what it seems to close.
    fn from_str(text: &str) -> Result<Self> {
        if text.len() > GLOB_MAX {
            return Err(ErrorKind::TagInvalid
                .error("the pattern is longer than any tag; write at most 128 characters"));
        }
        // With the wildcards filled in, it must be a tag that can exist. They
        // can be anything a tag may start with.
        let example = text.replace(['*', '?'], "x");
        let _: Tag = example.parse().map_err(|_| {
            ErrorKind::TagInvalid.error(format!(
                "the pattern {text:?} matches no tag; write a tag in which * may stand for any \
                 characters and ? for one"
            ))
        })?;
        text.parse().map(Self)
    }
}

impl fmt::Display for TagPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use registry_core::{TAG_MAX, Tag};

    use super::TagPattern;

    #[test]
    fn tags_are_matched_as_a_whole() {
        for (pattern, yes, no) in [
            ("latest", &["latest"][..], &["Latest", "latest-1"][..]),
            ("v*", &["v", "v1", "v1.2"], &["dev1", "V1"]),
            ("*-rc?", &["1-rc1", "x-rc_"], &["1-rc", "1-rc10"]),
            ("*", &["a", "1.0"], &[]),
            ("*.*", &["1.0", "a.", "1.0.0"], &["a"]),
        ] {
            let parsed: TagPattern = pattern.parse().unwrap();
            for tag in yes {
                assert!(parsed.matches(&tag.parse().unwrap()), "{pattern} is {tag}");
            }
            for tag in no {
                assert!(
                    !parsed.matches(&tag.parse().unwrap()),
                    "{pattern} isn't {tag}"
                );
            }
        }
    }

    #[test]
    fn a_pattern_that_can_match_no_tag_is_an_error_that_says_what_to_write() {
        for pattern in [
            "", "-v*", ".v", "v/1", "v[0-9]", "{user}", "a b", " v", "v\n", "ü*", "!v", "v,w",
            "sha256:*",
        ] {
            let error = pattern.parse::<TagPattern>().expect_err(pattern);
            let shown = error.to_string();
            assert!(
                shown.contains(&format!("{pattern:?}")) && shown.contains("write a tag"),
                "{shown}"
            );
        }
        let long = "v".repeat(TAG_MAX + 1);
        let shown = long.parse::<TagPattern>().unwrap_err().to_string();
        assert!(
            shown.contains("at most 128") && shown.len() < 100,
            "{shown}"
        );
        assert!(long[1..].parse::<TagPattern>().is_ok());
    }

    /// By another way than the one in use: a tag is like a pattern if taking
    /// one character after the other away from both ends with nothing.
    fn oracle(pattern: &str, tag: &str) -> bool {
        match pattern.chars().next() {
            None => tag.is_empty(),
            Some('*') => {
                oracle(&pattern[1..], tag) || !tag.is_empty() && oracle(pattern, &tag[1..])
            }
            Some('?') => !tag.is_empty() && oracle(&pattern[1..], &tag[1..]),
            Some(char) => tag.starts_with(char) && oracle(&pattern[1..], &tag[1..]),
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]

        #[test]
        fn s_06_tag_patterns_follow_the_definition(
            pattern in "[av1*?][v1.*?-]{0,7}",
            tag in "[av1][v1.-]{0,8}",
        ) {
            let parsed: TagPattern = pattern.parse().unwrap();
            let name: Tag = tag.parse().unwrap();
            prop_assert_eq!(parsed.matches(&name), oracle(&pattern, &tag));
            let again: TagPattern = parsed.to_string().parse().unwrap();
            prop_assert_eq!(again.matches(&name), oracle(&pattern, &tag));
            prop_assert_eq!(again, parsed);
        }

        #[test]
        fn what_is_accepted_can_match(pattern in "[a*?.-]{1,6}") {
            let accepted = pattern.parse::<TagPattern>();
            let example: Result<Tag, _> = pattern.replace(['*', '?'], "x").parse();
            prop_assert_eq!(accepted.is_ok(), example.is_ok());
            if let (Ok(pattern), Ok(tag)) = (accepted, example) {
                prop_assert!(pattern.matches(&tag));
            }
        }
    }
}
