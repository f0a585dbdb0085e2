//! The `Content-Range` header of an upload: where a chunk belongs.
//!
//! Distribution specification, "Pushing a blob in chunks": `<start>-<end>`,
//! both included, without a unit. The forms of RFC 9110 that some clients send
//! mean the same.

use http::HeaderMap;
use http::header::CONTENT_RANGE;
use registry_core::{ErrorKind, Result};

/// Where a chunk starts, and how long it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ContentRange {
    /// The position of its first byte in the blob.
    pub(crate) start: u64,
    /// The number of its bytes.
    pub(crate) length: u64,
}

impl ContentRange {
    /// What `headers` say of the chunk in the body, if anything.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::UploadInvalid`] if it can't be understood.
    pub(crate) fn from_headers(headers: &HeaderMap) -> Result<Option<Self>> {
        let mut values = headers.get_all(CONTENT_RANGE).iter();
        let Some(value) = values.next() else {
            return Ok(None);
        };
        let range = value.to_str().ok().and_then(Self::parse);
        if range.is_none() || values.next().is_some() {
            return Err(ErrorKind::UploadInvalid.error(
                "the Content-Range is malformed; write the positions of the chunk's first and \
                 last byte as start-end",
            ));
        }
        Ok(range)
    }

    fn parse(value: &str) -> Option<Self> {
        let value = value.trim();
        let positions = match value.strip_prefix("bytes") {
            Some(rest) => rest.strip_prefix(['=', ' '])?.trim_start(),
            None => value,
        };
        // A total size says nothing that the digest doesn't.
        let (positions, total) = match positions.split_once('/') {
            Some((positions, total)) => (positions, Some(total)),
            None => (positions, None),
        };
        if total.is_some_and(|total| total != "*" && parse_position(total).is_none()) {
            return None;
        }
        let (start, end) = positions.split_once('-')?;
        let (start, end) = (parse_position(start)?, parse_position(end)?);
        let length = end.checked_sub(start)?.checked_add(1)?;
        Some(Self { start, length })
    }
}

fn parse_position(digits: &str) -> Option<u64> {
    let all_digits = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    all_digits.then(|| digits.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_forms_in_use_mean_the_same() {
        for value in [
            "10-19",
            " 10-19",
            "bytes 10-19/30",
            "bytes=10-19",
            "bytes 10-19/*",
            "bytes 10-19",
            "10-19/30",
        ] {
            let expected = ContentRange {
                start: 10,
                length: 10,
            };
            assert_eq!(ContentRange::parse(value), Some(expected), "{value}");
        }
    }

    #[test]
    fn other_forms_are_refused() {
        for value in [
            "",
            "-",
            "1",
            "1-",
            "-1",
            "2-1",
            "a-b",
            "+1-2",
            "1-2-3",
            "bytes",
            "bytes1-2",
            "bytes */5",
            "1-2/x",
            "1-2/",
            "0-18446744073709551615",
            "0-18446744073709551616",
            "items 0-1/2",
        ] {
            assert_eq!(ContentRange::parse(value), None, "{value}");
        }
    }

    proptest! {
        #[test]
        fn positions_come_back(start in 0..1_u64 << 63, length in 1..1_u64 << 63) {
            let end = start.saturating_add(length).saturating_sub(1);
            let value = format!("{start}-{end}");
            prop_assert_eq!(ContentRange::parse(&value), Some(ContentRange { start, length }));
        }

        #[test]
        fn no_value_makes_the_parser_fail(value in "\\PC*") {
            let _ = ContentRange::parse(&value);
        }
    }
}
