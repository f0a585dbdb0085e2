//! The identity of a request in logs and events.

use std::fmt::Write as _;

use http::HeaderMap;
use registry_core::Randomness;

use crate::header::REQUEST_ID;

/// The longest identity taken over from a client.
const LONGEST: usize = 128;

/// What a request is called: what the client or a proxy calls it, if that fits
/// into a log, or something random.
#[derive(Debug)]
pub(crate) struct RequestIdentity {
    text: String,
    from_client: bool,
}

impl RequestIdentity {
    pub(crate) fn of(headers: &HeaderMap, randomness: &dyn Randomness) -> Self {
        let is_sane = |id: &str| {
            let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:/+=@".contains(&byte);
            !id.is_empty() && id.len() <= LONGEST && id.bytes().all(allowed)
        };
        let given = headers.get(&REQUEST_ID).and_then(|id| id.to_str().ok());
        if let Some(id) = given.filter(|id| is_sane(id)) {
            return Self {
                text: id.to_owned(),
                from_client: true,
            };
        }
        // A request without a name is still better served than refused.
        let random = randomness.bytes().unwrap_or_default();
        let mut text = String::with_capacity(32);
        // Writing into a string doesn't fail.
        let _ = write!(text, "{:032x}", u128::from_be_bytes(random));
        Self {
            text,
            from_client: false,
        }
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    pub(crate) fn is_from_client(&self) -> bool {
        self.from_client
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use registry_core::SystemRandomness;

    use super::*;

    fn identity(given: &'static str) -> RequestIdentity {
        let mut headers = HeaderMap::new();
        headers.insert(&REQUEST_ID, HeaderValue::from_static(given));
        RequestIdentity::of(&headers, &SystemRandomness)
    }

    #[test]
    fn a_sane_identity_is_taken_over() {
        assert_eq!(identity("trace-1/2:3").as_str(), "trace-1/2:3");
        assert!(identity("trace-1").is_from_client());
    }

    #[test]
    fn any_other_is_replaced() {
        for given in ["", "a b", "a\tb", "a\"b", "{}", &"x".repeat(129).leak()[..]] {
            let identity = identity(given);
            assert_eq!(identity.as_str().len(), 32, "{given}");
            assert!(!identity.is_from_client());
        }
        assert_ne!(identity("").as_str(), identity("").as_str());
    }
}
