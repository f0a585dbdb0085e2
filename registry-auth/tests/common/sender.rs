//! What a sender shows.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;

/// Headers with this `Authorization`, or without any.
pub(crate) fn headers(authorization: Option<&str>) -> HeaderMap {
    authorization
        .map(|value| ("authorization".parse().unwrap(), value.parse().unwrap()))
        .into_iter()
        .collect()
}

/// A name and a password as `Authorization`.
pub(crate) fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}
