//! Text with wildcards.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use registry_core::{Error, ErrorKind, Result};

/// The longest pattern of a text in bytes. So that every place in one has a
/// bit of its own in a [`u128`].
pub(crate) const GLOB_MAX: usize = 128;

/// A text in which `*` stands for any number of characters, also none, and `?`
/// for exactly one.
///
/// It is of the whole text, and letters differ by case. It takes time in
/// proportion to the length of the text, whatever the pattern. At most 128
/// bytes; how it is written out is the same for all spellings that mean the
/// same (`v**` is `v*`).
///
/// ```
/// use registry_auth::Glob;
///
/// let branch: Glob = "refs/heads/release-*".parse()?;
/// assert!(branch.matches("refs/heads/release-1.2"));
/// assert!(!branch.matches("refs/heads/main"));
/// # Ok::<(), registry_core::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Glob {
    text: Box<str>,
    /// Whether it starts with `*`.
    open_at_start: bool,
    /// What is no `*` is a place, from the lowest bit up. These are followed by
    /// one.
    open: u128,
    /// The places of `?`.
    any: u128,
    /// The places of each character, in the order of characters.
    exactly: Box<[(char, u128)]>,
    /// The last place; 0 if there is none.
    last: u128,
}

impl Glob {
    /// Whether `text` as a whole is like it.
    pub fn matches(&self, text: &str) -> bool {
        // All places that what was read so far may end at, at once: none is
        // tried again.
        let mut reached = 0_u128;
        let mut at_start = true;
        for char in text.chars() {
            let mut next = reached << 1;
            if at_start {
                next |= 1;
            }
            reached = (next & self.fits(char)) | (reached & self.open);
            at_start &= self.open_at_start;
            if reached == 0 && !at_start {
                return false;
            }
        }
        self.last == 0 || reached & self.last != 0
    }

    /// The places that `char` may stand at.
    fn fits(&self, char: char) -> u128 {
        let exactly = self
            .exactly
            .binary_search_by_key(&char, |(char, _)| *char)
            .ok()
            .and_then(|index| self.exactly.get(index));
        let mut fits = self.any;
        if let Some((_, places)) = exactly {
            fits |= places;
        }
        fits
    }
}

/// The same pattern with as few wildcards as will do, `?` before `*`.
fn canonical(text: &str) -> String {
    let mut written = String::with_capacity(text.len());
    let mut star = false;
    for char in text.chars() {
        match char {
            '*' => star = true,
            '?' => written.push('?'),
            char => {
                if star {
                    written.push('*');
                    star = false;
                }
                written.push(char);
            }
        }
    }
    if star {
        written.push('*');
    }
    written
}

impl FromStr for Glob {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if text.is_empty() || text.len() > GLOB_MAX || text.chars().any(char::is_control) {
            return Err(ErrorKind::RequestInvalid.error(
                "the pattern is empty, longer than 128 bytes or has control characters; write a \
                 text in which * may stand for any characters and ? for one",
            ));
        }
        let text = canonical(text);
        let mut glob = Self {
            text: text.as_str().into(),
            open_at_start: false,
            open: 0,
            any: 0,
            exactly: Box::default(),
            last: 0,
        };
        let mut exactly = BTreeMap::<char, u128>::new();
        let mut place = 1_u128;
        for char in text.chars() {
            match char {
                '*' if glob.last == 0 => glob.open_at_start = true,
                '*' => glob.open |= glob.last,
                char => {
                    if char == '?' {
                        glob.any |= place;
                    } else {
                        *exactly.entry(char).or_default() |= place;
                    }
                    glob.last = place;
                    place <<= 1;
                }
            }
        }
        glob.exactly = exactly.into_iter().collect();
        Ok(glob)
    }
}

impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Glob").field(&self.text).finish()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{GLOB_MAX, Glob};

    fn matches(pattern: &str, text: &str) -> bool {
        pattern.parse::<Glob>().unwrap().matches(text)
    }

    #[test]
    fn wildcards_stand_for_characters_of_the_whole_text() {
        for (pattern, yes, no) in [
            ("main", &["main"][..], &["Main", "main2", "mai", ""][..]),
            ("*", &["", "a", "a/b"], &[]),
            ("?", &["a", "ü", "日"], &["", "ab"]),
            ("v*", &["v", "v1", "v1*"], &["", "1v", "V1"]),
            ("*-rc", &["-rc", "1-rc", "-rc-rc"], &["1-rc2", "rc"]),
            ("a*b*c", &["abc", "axbxc", "abbcc", "abcbc"], &["acb", "ab"]),
            ("v?.?", &["v1.2", "v..."], &["v1.", "v12.3"]),
            ("*?", &["a", "ab"], &[""]),
            ("?*?", &["ab", "abc"], &["", "a"]),
            ("*ab*", &["ab", "aab", "abab", "xabx"], &["a", "ba"]),
            ("repo:org/*", &["repo:org/app:ref"], &["repo:org2/app"]),
        ] {
            for text in yes {
                assert!(matches(pattern, text), "{pattern} is {text}");
            }
            for text in no {
                assert!(!matches(pattern, text), "{pattern} isn't {text}");
            }
        }
    }

    #[test]
    fn the_longest_pattern_is_compared_to_its_last_character() {
        let longest = "a".repeat(GLOB_MAX);
        assert!(matches(&longest, &longest));
        assert!(!matches(&longest, &longest[1..]));
        assert!(!matches(&longest, &format!("{longest}a")));
        assert!(!matches(&longest, &format!("{}b", &longest[1..])));
        assert!(matches(&"?".repeat(GLOB_MAX), &longest));
        let open = format!("{}*", &longest[1..]);
        assert!(matches(&open, &longest[1..]) && matches(&open, &longest.repeat(9)));
        assert!(!matches(&open, &longest[2..]));
        for wrong in [format!("{longest}a"), String::new(), "a\nb".to_owned()] {
            let error = wrong.parse::<Glob>().unwrap_err().to_string();
            assert!(error.contains("write a text"), "{error}");
        }
    }

    /// It would never end if places were tried again.
    #[test]
    fn many_wildcards_in_a_long_text_cost_little() {
        let pattern = "*a".repeat(GLOB_MAX / 2);
        let text = "a".repeat(1 << 16);
        assert!(matches(&pattern, &text));
        assert!(!matches(&pattern, &format!("{text}b")));
    }

    #[test]
    fn what_means_the_same_is_written_the_same() {
        for (written, canonical) in [
            ("v**", "v*"),
            ("*?*a", "?*a"),
            ("***", "*"),
            ("*?*?", "??*"),
            ("a?b*", "a?b*"),
        ] {
            let glob: Glob = written.parse().unwrap();
            assert_eq!(glob.to_string(), canonical);
            assert_eq!(glob, canonical.parse().unwrap());
        }
    }

    /// The definition, spelt out.
    fn oracle(pattern: &[char], text: &[char]) -> bool {
        match (pattern, text) {
            ([], []) => true,
            (['*', rest @ ..], text) => (0..=text.len()).any(|taken| oracle(rest, &text[taken..])),
            (['?', rest @ ..], [_, others @ ..]) => oracle(rest, others),
            ([char, rest @ ..], [first, others @ ..]) => char == first && oracle(rest, others),
            _ => false,
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]

        #[test]
        fn matching_follows_the_definition(pattern in "[abü*?]{1,9}", text in "[abü]{0,10}") {
            let chars: Vec<_> = pattern.chars().collect();
            let characters: Vec<_> = text.chars().collect();
            let glob: Glob = pattern.parse().unwrap();
            prop_assert_eq!(glob.matches(&text), oracle(&chars, &characters));
            let again: Glob = glob.to_string().parse().unwrap();
            prop_assert_eq!(&again, &glob);
            let canonical: Vec<_> = again.text.chars().collect();
            prop_assert_eq!(oracle(&canonical, &characters), oracle(&chars, &characters));
        }

        #[test]
        fn no_text_panics(pattern in "\\PC{0,140}", text in "\\PC{0,60}") {
            if let Ok(glob) = pattern.parse::<Glob>() {
                let _ = glob.matches(&text);
            }
        }
    }
}
