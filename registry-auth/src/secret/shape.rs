//! What the secrets of this registry look like, so that they are noticed where they
//! don't belong.
//!
//! People put a key where its id is asked for, or a name. What they typed is then in
//! a path, in a document, in the name of a user: places that are logged.

use std::borrow::Cow;

/// What keys, and refresh tokens, start with.
const MARKS: [[u8; 4]; 2] = [*b"rgk_", *b"rgr_"];

/// What access tokens start with: it is `{"` in base64.
const TOKEN: [u8; 3] = *b"eyJ";

/// How much has to follow. What is shorter is a name, or holds no secret.
const LEAST: usize = 16;

/// What stands in the place of a secret.
const HIDDEN: &str = "[hidden]";

/// The text without what is written like a key or a token of a registry, also if it
/// is percent-encoded, however often. Whoever logs what a client sent logs this.
///
/// ```
/// use registry_auth::hide_secrets;
///
/// let path = "/api/v1/keys/rgk_0123456789abcdef0123456789abcdef_and-what-is-secret";
/// assert_eq!(hide_secrets(path), "/api/v1/keys/[hidden]");
/// assert_eq!(hide_secrets("/v2/team/app/tags/list"), "/v2/team/app/tags/list");
/// ```
pub fn hide_secrets(text: &str) -> Cow<'_, str> {
    let Some((mut before, mut behind)) = split(text) else {
        return Cow::Borrowed(text);
    };
    let mut shown = String::with_capacity(text.len());
    loop {
        shown.push_str(before);
        shown.push_str(HIDDEN);
        match split(behind) {
            Some(next) => (before, behind) = next,
            None => break,
        }
    }
    shown.push_str(behind);
    Cow::Owned(shown)
}

/// Whether something in the text is written like a key or a token of a registry, as
/// [`hide_secrets`] finds it.
pub fn holds_secret(text: &str) -> bool {
    split(text).is_some()
}

/// What stands before and behind the first secret.
fn split(text: &str) -> Option<(&str, &str)> {
    let mut rest = text.as_bytes();
    let mut is_in_word = false;
    loop {
        if let Some(behind) = behind_secret(rest, is_in_word) {
            // Both ends are beside ASCII.
            let at = |part: &[u8]| text.len().checked_sub(part.len());
            return Some((text.get(..at(rest)?)?, text.get(at(behind)?..)?));
        }
        let (byte, behind) = unit(rest)?;
        is_in_word = byte.is_ascii_alphanumeric();
        rest = behind;
    }
}

/// What follows the secret that the text starts with. Where a word goes on, what only
/// begins like a token is part of it.
fn behind_secret(text: &[u8], is_in_word: bool) -> Option<&[u8]> {
    match text.first()? {
        b'r' | b'R' | b'e' | b'%' => {}
        _ => return None,
    }
    let (a, behind) = unit(text)?;
    let (b, behind) = unit(behind)?;
    let (c, behind) = unit(behind)?;
    if [a, b, c] == TOKEN && !is_in_word {
        return behind_run(behind, |byte| byte == b'.');
    }
    let (d, behind) = unit(behind)?;
    // In other cases it is no key, but what is secret in it can be guessed.
    let start = [a, b, c, d].map(|byte| byte.to_ascii_lowercase());
    if MARKS.contains(&start) {
        return behind_run(behind, |_| false);
    }
    None
}

/// What follows the digits of base64 for URLs, or what else is `good`.
fn behind_run(text: &[u8], good: impl Fn(u8) -> bool) -> Option<&[u8]> {
    let mut length = 0_usize;
    let mut rest = text;
    while let Some((byte, behind)) = unit(rest)
        && (byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-') || good(byte))
    {
        length = length.saturating_add(1);
        rest = behind;
    }
    (length >= LEAST).then_some(rest)
}

/// The first character, percent-decoded, and what follows it.
fn unit(text: &[u8]) -> Option<(u8, &[u8])> {
    let (&first, behind) = text.split_first()?;
    let mut digits = behind;
    while first == b'%'
        && let [high, low, rest @ ..] = digits
    {
        match (*high, *low) {
            // A sign that is itself encoded.
            (b'2', b'5') => digits = rest,
            (high, low) => match (hex(high), hex(low)) {
                (Some(high), Some(low)) => return Some(((high << 4) | low, rest)),
                _ => break,
            },
        }
    }
    Some((first, behind))
}

fn hex(digit: u8) -> Option<u8> {
    let value = char::from(digit).to_digit(16)?;
    u8::try_from(value).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "rgk_0123456789abcdeffedcba9876543210_\
                       Zk3-_aB4567890123456789012345678901234567_89abcdef";
    const REFRESH: &str = "rgr_0123456789abcdeffedcba9876543210_Zk3-_aB45678901234567890";
    const TOKEN: &str = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhbm4ifQ.c2lnbmF0dXJl-_";

    fn encoded(text: &str) -> String {
        text.bytes()
            .fold(String::new(), |text, byte| format!("{text}%{byte:02x}"))
    }

    #[test]
    fn secrets_are_hidden_wherever_they_stand_and_however_they_are_written() {
        for secret in [KEY, REFRESH, TOKEN] {
            let once = encoded(secret);
            let partly = secret.replace('_', "%5F").replace("eyJ", "ey%4a");
            let twice = once.replace('%', "%25");
            let thrice = twice.replace('%', "%25");
            let cut = secret.get(..secret.len() - 9).unwrap().to_owned();
            for written in [secret.to_owned(), once, partly, twice, thrice, cut] {
                for (before, behind) in [
                    ("", ""),
                    ("/api/v1/keys/", ""),
                    ("/v2/a/manifests/", "/x?y=z"),
                    ("robot$", " says"),
                    ("key=", "&key=b"),
                    ("ü", "ü"),
                    ("%", "%"),
                    ("100%25 of ", "%2"),
                ] {
                    let text = format!("{before}{written}{behind}");
                    let expected = format!("{before}[hidden]{behind}");
                    assert_eq!(hide_secrets(&text), expected, "{text}");
                    assert!(holds_secret(&text), "{text}");
                }
            }
        }
        assert_eq!(
            hide_secrets(&format!("a {KEY} b {TOKEN}, {REFRESH}")),
            "a [hidden] b [hidden], [hidden]"
        );
        assert_eq!(hide_secrets(&KEY.to_uppercase()), "[hidden]");
    }

    #[test]
    fn what_is_no_secret_is_left_as_it_is() {
        let digest = format!("sha256:{}", "0e".repeat(32));
        for text in [
            "",
            "%",
            "%2",
            "%25",
            "%%%72",
            "/v2/rgk_tools/app/manifests/v1",
            "rgk_",
            "eyJ",
            "keyJabcdefghijklmnopqrstuvwxyz",
            "%6beyJabcdefghijklmnopqrstuvwxyz",
            "docker/27.3.1 go/go1.22.7 (linux)",
            &digest,
            "ann of \u{fc}bung",
        ] {
            assert_eq!(hide_secrets(text), text);
            assert!(!holds_secret(text), "{text}");
        }
    }
}
