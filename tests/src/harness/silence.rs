//! S-91 in every test: whatever a server prints, there is no secret in it.
//!
//! Tests of logins use [`PASSWORD`] and [`WRONG`], which exist nowhere else; keys, tokens, hashes and private keys are
//! known by their shape. Servers of tests log at trace, and what they logged is searched when they end.

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;

/// The password of everybody who has one.
pub const PASSWORD: &str = "canary-correct-Jx7wQ2m";

/// Its hash, as password files have it.
pub const HASH: &str = "$2b$04$DCq7YPn5Rq63x1Lad4cll.ozx3uP8JXGf74jEjROTuYt1RPoBRGpu";

/// Nobody's password.
pub const WRONG: &str = "canary-wrong-Rk4tZ9v";

/// The variable that says how much a server logs, and the value that makes it log everything.
pub const TALKATIVE: (&str, &str) = ("REGISTRY_LOG_LEVEL", "trace");

/// Sees to it that no secret is in what a server said.
///
/// # Panics
/// When one is; the message holds what it said. While a test panics already, nothing is looked at.
pub fn assert_silent(said: &str) {
    if !std::thread::panicking() {
        let found = secrets_in(said);
        assert!(found.is_empty(), "it tells {found:?}:\n{said}");
    }
}

/// What a kind of secret is called, what it begins with, and whether what comes behind that makes it one.
type Shape = (&'static str, &'static [&'static str], fn(&str) -> bool);

/// The kinds of secrets that a text holds.
fn secrets_in(text: &str) -> Vec<&'static str> {
    let mut found = Vec::new();
    for (what, password) in [("a password", PASSWORD), ("a wrong password", WRONG)] {
        if spellings(password)
            .iter()
            .any(|spelled| text.contains(spelled))
        {
            found.push(what);
        }
    }
    let shapes: [Shape; 5] = [
        ("a key", &["rgk_", "rgr_"], is_key),
        ("a token", &["eyJ"], is_token),
        ("a login", &["Basic ", "basic "], is_login),
        ("a hash", &["$2a$", "$2b$", "$2y$", "$argon2"], is_hash),
        ("a private key", &["PRIVATE KEY-----"], |_| true),
    ];
    for (what, marks, is_one) in shapes {
        let places = marks.iter().flat_map(|mark| text.match_indices(mark));
        let mut behind = places.filter_map(|(at, mark)| text.get(at..)?.strip_prefix(mark));
        if behind.any(is_one) {
            found.push(what);
        }
    }
    found
}

/// A password in the ways in which it may be written: as it is, in base64 behind anything, in hexadecimal, as numbers.
fn spellings(password: &str) -> Vec<String> {
    let hexadecimal = password.bytes().map(|byte| format!("{byte:02x}"));
    let numbers = format!("{:?}", password.as_bytes());
    let mut spellings = vec![
        password.to_owned(),
        hexadecimal.collect(),
        numbers.trim_matches(['[', ']']).to_owned(),
    ];
    for before in ["", "x", "xx"] {
        // The characters at either end depend on what stands there.
        let text = STANDARD_NO_PAD.encode(format!("{before}{password}"));
        let end = text.len().saturating_sub(4);
        let whole = text.get(4..end).expect("a long password");
        spellings.push(whole.to_owned());
    }
    spellings
}

fn is_of_base64(char: char) -> bool {
    char.is_ascii_alphanumeric() || "-_+/".contains(char)
}

/// How many characters of base64 a text begins with.
fn run(text: &str) -> usize {
    text.find(|char| !is_of_base64(char)).unwrap_or(text.len())
}

/// Two names of 16 digits, and a secret.
fn is_key(behind: &str) -> bool {
    let names = behind.find(|char: char| !char.is_ascii_hexdigit());
    names == Some(32) && behind.get(33..).is_some_and(|secret| run(secret) >= 8)
}

/// Three parts, of which the last one is what must not be known.
fn is_token(behind: &str) -> bool {
    let parts: Vec<&str> = behind.splitn(3, '.').collect();
    matches!(parts[..], [header, claims, signature]
        if run(header) == header.len() && run(claims) == claims.len() && run(signature) >= 16)
}

fn is_login(behind: &str) -> bool {
    run(behind) >= 8
}

/// What it costs, and the hash itself.
fn is_hash(behind: &str) -> bool {
    let whole = behind.find([' ', '"', '\n']).unwrap_or(behind.len());
    whole >= 20 && behind.get(..whole).is_some_and(|hash| hash.contains('$'))
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

    use super::*;

    #[test]
    fn secrets_are_found_however_they_are_written() {
        for user in ["", "a", "ann", "robot$ci"] {
            let login = format!("{user}:{PASSWORD}");
            let login = [STANDARD.encode(&login), URL_SAFE_NO_PAD.encode(&login)];
            for login in login {
                assert_eq!(secrets_in(&format!("x {login} y")), ["a password"]);
                assert!(secrets_in(&format!("Basic {login}")).contains(&"a login"));
            }
        }
        assert_eq!(
            secrets_in(&format!("{:?}", WRONG.as_bytes())),
            ["a wrong password"]
        );
        let digits = "0123456789abcdef".repeat(2);
        for (text, what) in [
            (format!("a rgk_{digits}_AbCdEfGh-_"), "a key"),
            (format!("\"rgr_{digits}_AbCdEfGhIj\""), "a key"),
            (
                "eyJhbGciOiJ.eyJpc3MiOi.c2lnbmF0dXJlIG9mIGl0".to_owned(),
                "a token",
            ),
            (
                "ann:$2y$04$DCq7YPn5Rq63x1Lad4cll.C.70faoj9iw4r".to_owned(),
                "a hash",
            ),
            (
                "$argon2id$v=19$m=65536,t=3,p=4$c2FsdHNhbHQ$aGFzaA".to_owned(),
                "a hash",
            ),
            ("-----BEGIN EC PRIVATE KEY-----".to_owned(), "a private key"),
        ] {
            assert_eq!(secrets_in(&text), [what], "{text}");
        }
    }

    #[test]
    fn what_is_no_secret_is_none() {
        for text in [
            "GET /v2/rgk_tools/app/manifests/v1 Basic realm=\"r\"",
            "a key of 16 digits, rgk_0123456789abcdef, and a token eyJ.x.y",
            "write it as $2y$ or $argon2id$ says",
        ] {
            assert_eq!(secrets_in(text), [""; 0], "{text}");
        }
    }
}
