//! What must not show, in all the ways in which it may be spelled.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

/// Everything that must not show, as it may be spelled, and what it is.
#[derive(Default)]
pub(crate) struct Secrets(pub(crate) Vec<(String, String)>);

impl Secrets {
    pub(crate) fn plant(&mut self, what: &str, secret: &str) {
        assert!(secret.len() >= 12, "{what} may be anywhere by chance");
        let bytes = secret.as_bytes();
        let numbers = format!("{bytes:?}");
        for (spelling, text) in [
            ("", secret.to_owned()),
            (" in base64", STANDARD.encode(secret)),
            (" in base64 for URLs", URL_SAFE_NO_PAD.encode(secret)),
            (" percent-encoded", encoded(secret)),
            (" in hexadecimal", hexadecimal(bytes)),
            (" as numbers", numbers.trim_matches(['[', ']']).to_owned()),
        ] {
            // What comes behind it changes the last characters.
            let text = text.trim_end_matches('=').to_owned();
            let is_new = self.0.iter().all(|(_, known)| *known != text);
            if is_new {
                self.0.push((format!("{what}{spelling}"), text));
            }
        }
    }

    /// As it stands in a header, too.
    pub(crate) fn plant_login(&mut self, what: &str, user: &str, password: &str) {
        self.plant(what, password);
        self.plant(
            &format!("{what}, with the user"),
            &format!("{user}:{password}"),
        );
    }

    /// What a token says, and its signature. What stands before tells nothing.
    pub(crate) fn plant_token(&mut self, what: &str, token: &str) {
        for (part, name) in token.split('.').skip(1).zip(["claims", "signature"]) {
            self.plant(&format!("{what}: {name}"), part);
        }
    }

    /// Each line of a PEM file between the first and the last.
    pub(crate) fn plant_key(&mut self, what: &str, pem: &str) {
        let lines = pem.lines().filter(|line| !line.starts_with("-----"));
        for line in lines.filter(|line| line.len() >= 12) {
            self.plant(what, line);
        }
    }

    /// What of them shows.
    pub(crate) fn found_in(&self, text: &str) -> Vec<&str> {
        let found = self.0.iter().filter(|(_, secret)| text.contains(secret));
        found.map(|(what, _)| what.as_str()).collect()
    }
}

pub(crate) fn encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |text, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            text + char::from(byte).encode_utf8(&mut [0; 4])
        } else {
            format!("{text}%{byte:02X}")
        }
    })
}

/// Two digits for each byte.
pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}
