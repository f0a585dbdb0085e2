//! The `Range` header: which parts of a blob a client wants.
//!
//! RFC 9110, section 14.2.

use http::header::{IF_RANGE, RANGE};
use http::{HeaderMap, HeaderValue};
use registry_core::ByteRange;

/// What a client asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RangeRequest {
    /// All of it, because there is no range, or none to be understood.
    Whole,
    /// One part.
    Single(ByteRange),
    /// At least two parts, to be answered one by one in this order.
    Several(Vec<ByteRange>),
}

impl RangeRequest {
    /// What `headers` ask of the content tagged `etag`; at most `max` parts.
    pub(crate) fn from_headers(headers: &HeaderMap, etag: &HeaderValue, max: usize) -> Self {
        let mut values = headers.get_all(RANGE).iter();
        let (Some(value), None) = (values.next(), values.next()) else {
            return Self::Whole;
        };
        // A date, a weak tag or another tag: the client's part is of something
        // else, and it wants all of this.
        if headers.get(IF_RANGE).is_some_and(|tag| tag != etag) {
            return Self::Whole;
        }
        value
            .to_str()
            .map_or(Self::Whole, |value| Self::parse(value, max))
    }

    /// Reads the value of the header. What isn't in its grammar, or names more
    /// than `max` parts, is as if it weren't there, with one exception: the
    /// single range `9-0` stays one that nothing satisfies, as other servers
    /// have it.
    pub(crate) fn parse(value: &str, max: usize) -> Self {
        let Some((unit, set)) = value.split_once('=') else {
            return Self::Whole;
        };
        if !unit.trim().eq_ignore_ascii_case("bytes") {
            return Self::Whole;
        }
        let mut ranges = Vec::new();
        let members = set
            .split(',')
            .map(|member| member.trim_matches([' ', '\t']));
        for member in members.filter(|member| !member.is_empty()) {
            match parse_member(member) {
                Some(range) if ranges.len() < max => ranges.push(range),
                _ => return Self::Whole,
            }
        }
        match ranges.as_slice() {
            [] => Self::Whole,
            [range] => Self::Single(*range),
            ranges_ if ranges_.iter().copied().any(is_backwards) => Self::Whole,
            _ => Self::Several(ranges),
        }
    }
}

fn is_backwards(range: ByteRange) -> bool {
    matches!(range, ByteRange::From { first, last: Some(last) } if last < first)
}

fn parse_member(member: &str) -> Option<ByteRange> {
    match member.split_once('-')? {
        ("", count) => parse_position(count).map(ByteRange::Last),
        (first, "") => parse_position(first).map(|first| ByteRange::From { first, last: None }),
        (first, last) => Some(ByteRange::From {
            first: parse_position(first)?,
            last: Some(parse_position(last)?),
        }),
    }
}

/// A number of any length. Those beyond what a blob can have are all the same.
fn parse_position(digits: &str) -> Option<u64> {
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some(digits.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn whole() -> RangeRequest {
        RangeRequest::Whole
    }

    fn from(first: u64, last: Option<u64>) -> ByteRange {
        ByteRange::From { first, last }
    }

    #[test]
    fn one_range_is_read_in_each_of_its_forms() {
        let single = |value| match RangeRequest::parse(value, 8) {
            RangeRequest::Single(range) => range,
            other => panic!("{value}: {other:?}"),
        };
        assert_eq!(single("bytes=0-9"), from(0, Some(9)));
        assert_eq!(single("bytes=500-"), from(500, None));
        assert_eq!(single("bytes=-500"), ByteRange::Last(500));
        assert_eq!(single("Bytes= 1-2 "), from(1, Some(2)));
        assert_eq!(single("bytes=,1-2,"), from(1, Some(2)));
        assert_eq!(single("bytes=500-0"), from(500, Some(0)));
        assert_eq!(
            single("bytes=0-99999999999999999999999"),
            from(0, Some(u64::MAX))
        );
    }

    #[test]
    fn what_is_not_in_the_grammar_is_ignored() {
        for value in [
            "",
            "bytes",
            "bytes=",
            "bytes=,",
            "bytes=-",
            "bytes=a-b",
            "bytes=1",
            "bytes=+1-2",
            "bytes=1-2-3",
            "bytes=--1",
            "items=0-1",
            "bytes=0-1,x",
            "bytes=0-1,9-2",
            "bytes=0x1-2",
            "bytes=1 - 2",
            "bytes 0-1",
        ] {
            assert_eq!(RangeRequest::parse(value, 8), whole(), "{value}");
        }
    }

    #[test]
    fn several_ranges_keep_their_order_up_to_the_limit() {
        assert_eq!(
            RangeRequest::parse("bytes=5-6, 0-1,-2", 3),
            RangeRequest::Several(vec![from(5, Some(6)), from(0, Some(1)), ByteRange::Last(2)])
        );
        assert_eq!(RangeRequest::parse("bytes=5-6, 0-1,-2", 2), whole());
    }

    #[test]
    fn a_condition_on_other_content_voids_the_range() {
        let etag = HeaderValue::from_static("\"sha256:1\"");
        let ask = |condition: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(RANGE, HeaderValue::from_static("bytes=0-1"));
            headers.insert(IF_RANGE, HeaderValue::from_static(condition));
            RangeRequest::from_headers(&headers, &etag, 8)
        };
        assert_eq!(ask("\"sha256:1\""), RangeRequest::Single(from(0, Some(1))));
        assert_eq!(ask("W/\"sha256:1\""), whole());
        assert_eq!(ask("\"sha256:2\""), whole());
        assert_eq!(ask("Wed, 21 Oct 2015 07:28:00 GMT"), whole());
    }

    /// The bytes that one member asks for, told byte by byte from the RFC's
    /// words.
    fn oracle(member: &(Option<u128>, Option<u128>), size: u64) -> Vec<u64> {
        let size = u128::from(size);
        let wanted = |position: u128| match *member {
            (Some(first), Some(last)) => first <= position && position <= last,
            (Some(first), None) => first <= position,
            (None, Some(count)) => size.saturating_sub(count) <= position,
            (None, None) => false,
        };
        (0..size)
            .filter(|position| wanted(*position))
            .map(|position| u64::try_from(position).unwrap())
            .collect()
    }

    fn position() -> impl Strategy<Value = u128> {
        prop_oneof![4 => 0..40_u128, 1 => 0..=u128::from(u64::MAX) * 1000]
    }

    fn member() -> impl Strategy<Value = (Option<u128>, Option<u128>)> {
        prop_oneof![
            (position(), position()).prop_map(|(first, last)| (Some(first), Some(last))),
            position().prop_map(|first| (Some(first), None)),
            position().prop_map(|count| (None, Some(count))),
        ]
    }

    fn text((first, last): &(Option<u128>, Option<u128>)) -> String {
        let text = |number: &Option<u128>| number.map(|n| n.to_string()).unwrap_or_default();
        format!("{}-{}", text(first), text(last))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_000))]

        #[test]
        fn ranges_mean_the_bytes_of_the_oracle(
            members in prop::collection::vec(member(), 1..5),
            size in 0..40_u64,
        ) {
            let value = members.iter().map(text).collect::<Vec<_>>().join(",");
            let ranges = match RangeRequest::parse(&format!("bytes={value}"), 5) {
                RangeRequest::Whole => {
                    let backwards = |member: &(Option<u128>, Option<u128>)| {
                        matches!(*member, (Some(first), Some(last)) if last < first)
                    };
                    prop_assert!(members.len() > 1 && members.iter().any(backwards));
                    return Ok(());
                }
                RangeRequest::Single(range) => vec![range],
                RangeRequest::Several(ranges) => ranges,
            };
            prop_assert_eq!(ranges.len(), members.len());
            for (range, member) in ranges.iter().zip(&members) {
                let bytes = range.resolve(size).map(Iterator::collect).unwrap_or_default();
                let bytes: Vec<u64> = bytes;
                prop_assert_eq!(bytes, oracle(member, size));
            }
        }

        #[test]
        fn no_value_makes_the_parser_fail(value in "\\PC*", unit in "(bytes=)?", max in 0..4_usize) {
            if let RangeRequest::Several(ranges) = RangeRequest::parse(&(unit + &value), max) {
                prop_assert!(ranges.len() <= max);
            }
        }
    }
}
