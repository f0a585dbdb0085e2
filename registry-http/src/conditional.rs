//! Conditional requests: `If-Match` and `If-None-Match`.
//!
//! RFC 9110, section 13. The tag of content is its digest in quotes.

use http::header::{IF_MATCH, IF_NONE_MATCH};
use http::{HeaderMap, HeaderName};
use registry_core::{Digest, Error, ErrorKind, Precondition, Result};

/// What a condition compares with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tags<'a> {
    /// Anything that exists.
    Any,
    /// The digests listed. Quotes around them may be missing, as some clients
    /// leave them out, and they may be marked as weak, since what has the same
    /// digest is the same.
    Listed(&'a HeaderMap, &'static HeaderName),
}

impl<'a> Tags<'a> {
    fn from_headers(headers: &'a HeaderMap, name: &'static HeaderName) -> Option<Self> {
        let first = headers.get(name)?;
        if first.as_bytes().trim_ascii() == b"*" {
            return Some(Self::Any);
        }
        Some(Self::Listed(headers, name))
    }

    fn iter(&self) -> impl Iterator<Item = &'a str> {
        let listed = match *self {
            Self::Any => None,
            Self::Listed(headers, name) => Some(headers.get_all(name).iter()),
        };
        listed
            .into_iter()
            .flatten()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .map(|tag| {
                let tag = tag.trim();
                let tag = tag.strip_prefix("W/").unwrap_or(tag);
                tag.strip_prefix('"')
                    .and_then(|tag| tag.strip_suffix('"'))
                    .unwrap_or(tag)
            })
    }

    fn matches(&self, current: Option<&Digest>) -> bool {
        let Some(current) = current else {
            return false;
        };
        match self {
            Self::Any => true,
            Self::Listed(..) => self
                .iter()
                .any(|tag| tag.parse::<Digest>().is_ok_and(|digest| digest == *current)),
        }
    }
}

/// Whether the client already has the content with this digest.
pub(crate) fn is_not_modified(headers: &HeaderMap, digest: &Digest) -> bool {
    Tags::from_headers(headers, &IF_NONE_MATCH).is_some_and(|tags| tags.matches(Some(digest)))
}

/// Whether content with this digest may be sent, or removed, as far as the
/// client's `If-Match` goes.
///
/// # Errors
///
/// [`ErrorKind::PreconditionFailed`] if the client wants other content.
pub(crate) fn require_match(headers: &HeaderMap, digest: &Digest) -> Result<()> {
    match Tags::from_headers(headers, &IF_MATCH) {
        Some(tags) if !tags.matches(Some(digest)) => Err(unexpected()),
        _ => Ok(()),
    }
}

/// What must be true for a push, or a deletion, to go on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PushCondition<'a> {
    if_match: Option<Tags<'a>>,
    if_none_match: Option<Tags<'a>>,
}

impl<'a> PushCondition<'a> {
    /// The condition set by `headers`, if there is one.
    pub(crate) fn from_headers(headers: &'a HeaderMap) -> Option<Self> {
        let if_match = Tags::from_headers(headers, &IF_MATCH);
        let if_none_match = Tags::from_headers(headers, &IF_NONE_MATCH);
        (if_match.is_some() || if_none_match.is_some()).then_some(Self {
            if_match,
            if_none_match,
        })
    }

    /// The same as a precondition, if it can be said without knowing what the
    /// tag points to now.
    pub(crate) fn precondition(&self) -> Option<Precondition> {
        match (self.if_match, self.if_none_match) {
            (None, Some(Tags::Any)) => Some(Precondition::Absent),
            (Some(tags @ Tags::Listed(..)), None) => {
                let mut listed = tags.iter();
                match (listed.next(), listed.next()) {
                    (Some(tag), None) => tag.parse().ok().map(Precondition::Is),
                    _ => None,
                }
            }
            _ => None,
        }
    }

    /// Compares with what is there now. The precondition makes sure that it
    /// stays so until the push is done.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::PreconditionFailed`] if the condition doesn't hold.
    pub(crate) fn check(&self, current: Option<Digest>) -> Result<Precondition> {
        let holds = self
            .if_match
            .is_none_or(|tags| tags.matches(current.as_ref()))
            && !self
                .if_none_match
                .is_some_and(|tags| tags.matches(current.as_ref()));
        if !holds {
            return Err(unexpected());
        }
        Ok(current.map_or(Precondition::Absent, Precondition::Is))
    }
}

fn unexpected() -> Error {
    ErrorKind::PreconditionFailed.error("the content is not in the expected state; read it again")
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use registry_core::Algorithm;

    use super::*;

    fn digest(content: &str) -> Digest {
        Algorithm::Sha256.digest(content.as_bytes())
    }

    fn headers(values: &[(HeaderName, String)]) -> HeaderMap {
        values
            .iter()
            .map(|(name, value)| (name.clone(), HeaderValue::from_str(value).unwrap()))
            .collect()
    }

    #[test]
    fn a_client_has_what_it_lists_in_any_form() {
        let (mine, other) = (digest("a"), digest("b"));
        for value in [
            format!("\"{mine}\""),
            format!("{mine}"),
            format!("W/\"{mine}\""),
            format!("\"{other}\", \"{mine}\""),
            "*".to_owned(),
        ] {
            let headers = headers(&[(IF_NONE_MATCH, value.clone())]);
            assert!(is_not_modified(&headers, &mine), "{value}");
        }
        for value in [format!("\"{other}\""), String::new(), "\"".to_owned()] {
            let headers = headers(&[(IF_NONE_MATCH, value.clone())]);
            assert!(!is_not_modified(&headers, &mine), "{value}");
        }
        assert!(!is_not_modified(&HeaderMap::new(), &mine));
    }

    #[test]
    fn a_push_condition_is_a_precondition_where_it_can_be() {
        let mine = digest("a");
        let ask = |name: HeaderName, value: &str| {
            let headers = headers(&[(name, value.to_owned())]);
            PushCondition::from_headers(&headers)
                .unwrap()
                .precondition()
        };
        assert_eq!(ask(IF_NONE_MATCH, "*"), Some(Precondition::Absent));
        assert_eq!(
            ask(IF_MATCH, &format!("\"{mine}\"")),
            Some(Precondition::Is(mine))
        );
        assert_eq!(ask(IF_MATCH, "*"), None);
        assert_eq!(ask(IF_MATCH, "\"something\""), None);
        assert_eq!(ask(IF_MATCH, &format!("{mine}, {}", digest("b"))), None);
        assert!(PushCondition::from_headers(&HeaderMap::new()).is_none());
    }

    #[test]
    fn a_push_condition_compares_with_what_is_there() {
        let (mine, other) = (digest("a"), digest("b"));
        let check = |name: HeaderName, value: String, current: Option<Digest>| {
            let headers = headers(&[(name, value)]);
            PushCondition::from_headers(&headers)
                .unwrap()
                .check(current)
                .ok()
        };
        let is = |digest| Some(Precondition::Is(digest));
        assert_eq!(check(IF_MATCH, "*".into(), Some(mine)), is(mine));
        assert_eq!(check(IF_MATCH, "*".into(), None), None);
        assert_eq!(check(IF_MATCH, format!("\"{other}\""), Some(mine)), None);
        let either = format!("\"{other}\", \"{mine}\"");
        assert_eq!(check(IF_MATCH, either.clone(), Some(mine)), is(mine));
        assert_eq!(check(IF_NONE_MATCH, either, Some(mine)), None);
        assert_eq!(check(IF_NONE_MATCH, "*".into(), Some(mine)), None);
        assert_eq!(
            check(IF_NONE_MATCH, format!("{other}"), Some(mine)),
            is(mine)
        );
        assert_eq!(
            check(IF_NONE_MATCH, format!("{other}"), None),
            Some(Precondition::Absent)
        );
    }
}
