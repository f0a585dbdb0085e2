//! What somebody sent, as logs show it.

use std::fmt::Write;

use crate::hide_secrets;

/// The longest text that is shown, in characters.
const SHOWN_MAX: usize = 256;

/// A text of a client in one line that isn't too long, without what is written like a
/// key or a token.
pub(crate) fn shown(text: &str) -> String {
    let text = hide_secrets(text);
    let mut shown = String::with_capacity(text.len().min(SHOWN_MAX));
    for (index, char) in text.chars().enumerate() {
        if index == SHOWN_MAX {
            shown.push('…');
            break;
        }
        if char.is_control() {
            // Writing to a string doesn't fail.
            let _ = write!(shown, "{}", char.escape_default());
        } else {
            shown.push(char);
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_somebody_sent_is_one_line_without_secrets() {
        let key = "rgk_0123456789abcdef0123456789abcdef_secret";
        assert_eq!(
            shown(&format!("a\n\u{1b}[31m{key}")),
            "a\\n\\u{1b}[31m[hidden]"
        );
        let long = shown(&"ä".repeat(1000));
        assert_eq!(long.chars().count(), SHOWN_MAX + 1);
    }
}
