//! Text that must not be shown.

mod shape;

use std::fmt;

use zeroize::Zeroizing;

pub use self::shape::{hide_secrets, holds_secret};

/// A password or a token. It is neither printed nor logged, and its memory is
/// overwritten when it is no longer needed.
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Keeps `text` secret from here on.
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// The text, for whoever has to check it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether it is `expected`, in a time that depends on their lengths only.
    pub fn matches(&self, expected: &str) -> bool {
        let difference = self
            .0
            .bytes()
            .zip(expected.bytes())
            .fold(0, |difference, (ours, theirs)| difference | (ours ^ theirs));
        self.0.len() == expected.len() && std::hint::black_box(difference) == 0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::Secret;

    #[test]
    fn debug_output_hides_the_text() {
        assert_eq!(format!("{:?}", Secret::new("canary")), "Secret(..)");
    }

    #[test]
    fn only_the_whole_text_matches() {
        let secret = Secret::new("abc");
        assert!(secret.matches("abc"));
        for other in ["", "ab", "abd", "abcd", "xbc", "bac"] {
            assert!(!secret.matches(other), "{other}");
        }
    }
}
