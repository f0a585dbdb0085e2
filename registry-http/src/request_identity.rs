//! The identity of a request in logs and events.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use http::HeaderMap;
use registry_auth::holds_secret;
use registry_core::Randomness;

use crate::header::REQUEST_ID;

/// The longest identity taken over from a client.
const LONGEST: usize = 128;

/// An odd number without a pattern: multiples of it are far apart, and don't
/// repeat.
const STEP: u128 = 0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835;

/// Names requests that come without a name, no two of them alike.
///
/// Asking the system for chance takes longer than looking a tag up, so it is
/// asked once, and names go on from there. Nothing depends on their being hard
/// to guess.
#[derive(Debug)]
pub(crate) struct Identities {
    randomness: Arc<dyn Randomness>,
    first: OnceLock<u128>,
    count: AtomicU64,
}

impl Identities {
    pub(crate) fn new(randomness: Arc<dyn Randomness>) -> Self {
        Self {
            randomness,
            first: OnceLock::new(),
            count: AtomicU64::new(0),
        }
    }

    fn next(&self) -> u128 {
        let count = self.count.fetch_add(1, Ordering::Relaxed);
        // A request without a name of its own is still better served than
        // refused.
        let first = self.first().unwrap_or_default();
        first.wrapping_add(u128::from(count).wrapping_mul(STEP))
    }

    fn first(&self) -> Option<u128> {
        if let Some(first) = self.first.get() {
            return Some(*first);
        }
        let drawn = u128::from_be_bytes(self.randomness.bytes().ok()?);
        Some(*self.first.get_or_init(|| drawn))
    }
}

/// What a request is called: what the client or a proxy calls it, if that fits
/// into a log, or the next of [`Identities`].
#[derive(Debug)]
pub(crate) struct RequestIdentity {
    text: String,
    from_client: bool,
}

impl RequestIdentity {
    pub(crate) fn of(headers: &HeaderMap, identities: &Identities) -> Self {
        let is_sane = |id: &str| {
            let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:/+=@".contains(&byte);
            !id.is_empty() && id.len() <= LONGEST && id.bytes().all(allowed) && !holds_secret(id)
        };
        let given = headers.get(&REQUEST_ID).and_then(|id| id.to_str().ok());
        if let Some(id) = given.filter(|id| is_sane(id)) {
            return Self {
                text: id.to_owned(),
                from_client: true,
            };
        }
        let mut text = String::with_capacity(32);
        // Writing into a string doesn't fail.
        let _ = write!(text, "{:032x}", identities.next());
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
    use std::collections::HashSet;

    use http::HeaderValue;
    use registry_core::{ErrorKind, Result, SystemRandomness};

    use super::*;

    fn identities() -> Identities {
        Identities::new(Arc::new(SystemRandomness))
    }

    fn identity(given: &'static str) -> RequestIdentity {
        let mut headers = HeaderMap::new();
        headers.insert(&REQUEST_ID, HeaderValue::from_static(given));
        RequestIdentity::of(&headers, &identities())
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
    }

    #[test]
    fn no_two_requests_are_called_the_same_in_one_process_or_several() {
        let (one, other) = (identities(), identities());
        let names = [&one, &other].map(|identities| {
            let names = (0..1000).map(|_| RequestIdentity::of(&HeaderMap::new(), identities));
            names.map(|identity| identity.text).collect::<Vec<_>>()
        });
        let different: HashSet<_> = names.iter().flatten().collect();
        assert_eq!(different.len(), 2000);
    }

    #[derive(Debug)]
    struct Nothing;

    impl Randomness for Nothing {
        fn bytes(&self) -> Result<[u8; 16]> {
            Err(ErrorKind::Unavailable.error("there is none"))
        }
    }

    #[test]
    fn requests_have_names_even_without_chance() {
        let identities = Identities::new(Arc::new(Nothing));
        let names = [(); 2].map(|()| RequestIdentity::of(&HeaderMap::new(), &identities).text);
        assert_ne!(names[0], names[1]);
        assert_eq!(names[0].len(), 32);
    }
}
