//! Following an HTTP/1.1 connection from request to request.

use super::head::{self, Framing, HeadLimits, Violation, is_token};

/// The most bytes between the size of a chunk and the end of its line. RFC 9112,
/// section 7.1.1: to be ignored, within reason.
const CHUNK_EXTENSION: usize = 256;

/// Reads along as a client sends, so that nothing gets through whose meaning
/// isn't certain. It keeps no bytes: a head is only ever looked at as a whole.
#[derive(Debug)]
pub(super) struct Strict {
    limits: HeadLimits,
    place: Place,
    /// How much of the head at hand was looked at, and where its current line
    /// began.
    seen: usize,
    line: usize,
}

/// Where in the connection the next byte belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Head,
    Body { left: u64 },
    ChunkSize { size: u64, digits: u8 },
    ChunkExtension { size: u64, left: usize },
    ChunkSizeEnd { size: u64 },
    Chunk { left: u64 },
    ChunkEnd,
    ChunkEndFeed,
    Trailer { part: TrailerPart, left: usize },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TrailerPart {
    Start,
    Name,
    Value,
    Feed,
    LastFeed,
    End,
}

/// How far some bytes can be passed on.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Passed {
    /// As many of them.
    pub(super) bytes: usize,
    /// How many requests begin in them.
    pub(super) heads: u64,
    /// And the others?
    pub(super) rest: Rest,
}

/// What follows the bytes that can be passed on.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Rest {
    /// Nothing.
    Nothing,
    /// A head that isn't complete yet: show it again once there is more of it.
    PartOfHead,
    /// A head that must not be passed on.
    Refused(Violation),
    /// A body that must not be passed on.
    Broken,
}

impl Strict {
    pub(super) fn new(limits: HeadLimits) -> Self {
        Self {
            limits,
            place: Place::Head,
            seen: 0,
            line: 0,
        }
    }

    /// Whether the next byte begins a request.
    pub(super) fn is_between_requests(&self) -> bool {
        self.place == Place::Head && self.seen == 0
    }

    /// Looks at the bytes that follow those passed on before.
    pub(super) fn check(&mut self, bytes: &[u8]) -> Passed {
        let mut passed = Passed {
            bytes: 0,
            heads: 0,
            rest: Rest::Nothing,
        };
        while let Some(rest) = bytes.get(passed.bytes..).filter(|rest| !rest.is_empty()) {
            let step = if self.place == Place::Head {
                match self.head(rest) {
                    Ok(Some(length)) => {
                        passed.heads = passed.heads.saturating_add(1);
                        length
                    }
                    Ok(None) => {
                        passed.rest = Rest::PartOfHead;
                        break;
                    }
                    Err(violation) => {
                        passed.rest = Rest::Refused(violation);
                        break;
                    }
                }
            } else {
                let Some(length) = self.body(rest) else {
                    passed.rest = Rest::Broken;
                    break;
                };
                length
            };
            passed.bytes = passed.bytes.saturating_add(step);
        }
        passed
    }

    /// Looks for the end of the head that `bytes` begin with.
    fn head(&mut self, bytes: &[u8]) -> Result<Option<usize>, Violation> {
        while let Some(found) = bytes
            .get(self.seen..)
            .and_then(|unseen| memchr::memchr(b'\n', unseen))
        {
            let end = self.seen.saturating_add(found);
            let next = end.saturating_add(1);
            let line = bytes.get(self.line..end).unwrap_or_default();
            let Some(content) = line.strip_suffix(b"\r") else {
                return Err(Violation::Malformed(
                    "head",
                    "a line ends without a carriage return",
                ));
            };
            if next > self.limits.bytes {
                return Err(self.too_large(bytes));
            }
            // Empty lines in front of a request are tolerated by old custom.
            let is_last = content.is_empty()
                && bytes
                    .get(..self.line)
                    .is_some_and(|head| !head.iter().all(u8::is_ascii_whitespace));
            self.seen = next;
            self.line = next;
            if is_last {
                let framing = head::parse(bytes.get(..next).unwrap_or_default(), &self.limits)?;
                self.seen = 0;
                self.line = 0;
                self.place = match framing {
                    Framing::Length(0) => Place::Head,
                    Framing::Length(left) => Place::Body { left },
                    Framing::Chunked => Place::ChunkSize { size: 0, digits: 0 },
                };
                return Ok(Some(next));
            }
        }
        self.seen = bytes.len();
        if bytes.len() > self.limits.bytes {
            return Err(self.too_large(bytes));
        }
        Ok(None)
    }

    /// What is too large about a head: its target, or all of it.
    fn too_large(&self, head: &[u8]) -> Violation {
        let target = head
            .trim_ascii_start()
            .split(u8::is_ascii_whitespace)
            .nth(1);
        if target.is_some_and(|target| target.len() > self.limits.target) {
            Violation::TargetTooLong
        } else {
            Violation::HeadTooLong
        }
    }

    /// Follows a body: how many bytes belong to it, at least one, or `None` if
    /// it is broken.
    fn body(&mut self, bytes: &[u8]) -> Option<usize> {
        let byte = *bytes.first()?;
        let (place, step) = match self.place {
            Place::Body { left } => {
                let (step, left) = take(left, bytes);
                let place = if left == 0 {
                    Place::Head
                } else {
                    Place::Body { left }
                };
                (place, step)
            }
            Place::ChunkSize { size, digits } => (chunk_size(size, digits, byte)?, 1),
            Place::ChunkExtension { size, left } => (chunk_extension(size, left, byte)?, 1),
            Place::ChunkSizeEnd { size: 0 } if byte == b'\n' => {
                let part = TrailerPart::Start;
                (
                    Place::Trailer {
                        part,
                        left: self.limits.bytes,
                    },
                    1,
                )
            }
            Place::ChunkSizeEnd { size } if byte == b'\n' => (Place::Chunk { left: size }, 1),
            Place::Chunk { left } => {
                let (step, left) = take(left, bytes);
                let place = if left == 0 {
                    Place::ChunkEnd
                } else {
                    Place::Chunk { left }
                };
                (place, step)
            }
            Place::ChunkEnd if byte == b'\r' => (Place::ChunkEndFeed, 1),
            Place::ChunkEndFeed if byte == b'\n' => (Place::ChunkSize { size: 0, digits: 0 }, 1),
            Place::Trailer { part, left } => {
                let left = left.checked_sub(1)?;
                let place = match trailer(part, byte)? {
                    TrailerPart::End => Place::Head,
                    part => Place::Trailer { part, left },
                };
                (place, 1)
            }
            Place::Head | Place::ChunkSizeEnd { .. } | Place::ChunkEnd | Place::ChunkEndFeed => {
                return None;
            }
        };
        self.place = place;
        Some(step)
    }
}

/// How many of `bytes` belong to the `left` ones, and how many are left then.
fn take(left: u64, bytes: &[u8]) -> (usize, u64) {
    let step = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
    (step, left.saturating_sub(step as u64))
}

/// A size in hexadecimal digits, without a sign or white space.
fn chunk_size(size: u64, digits: u8, byte: u8) -> Option<Place> {
    match byte {
        b'\r' if digits > 0 => return Some(Place::ChunkSizeEnd { size }),
        b';' if digits > 0 => {
            let left = CHUNK_EXTENSION;
            return Some(Place::ChunkExtension { size, left });
        }
        _ => {}
    }
    let digit = char::from(byte).to_digit(16)?;
    let digits = digits.checked_add(1).filter(|digits| *digits <= 16)?;
    let size = size.checked_mul(16)?.checked_add(u64::from(digit))?;
    Some(Place::ChunkSize { size, digits })
}

/// What follows a size and means nothing here, to the end of its line.
fn chunk_extension(size: u64, left: usize, byte: u8) -> Option<Place> {
    if byte == b'\r' {
        return Some(Place::ChunkSizeEnd { size });
    }
    let left = left.checked_sub(1)?;
    let is_text = !byte.is_ascii_control() || byte == b'\t';
    is_text.then_some(Place::ChunkExtension { size, left })
}

/// The next part of a trailer, unless it is broken.
fn trailer(part: TrailerPart, byte: u8) -> Option<TrailerPart> {
    Some(match (part, byte) {
        (TrailerPart::Start, b'\r') => TrailerPart::LastFeed,
        (TrailerPart::Start | TrailerPart::Name, byte) if is_token(byte) => TrailerPart::Name,
        (TrailerPart::Name, b':') => TrailerPart::Value,
        (TrailerPart::Value, b'\r') => TrailerPart::Feed,
        (TrailerPart::Value, byte) if !byte.is_ascii_control() || byte == b'\t' => {
            TrailerPart::Value
        }
        (TrailerPart::Feed, b'\n') => TrailerPart::Start,
        (TrailerPart::LastFeed, b'\n') => TrailerPart::End,
        _ => return None,
    })
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects, reason = "a test fails by panicking")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMITS: HeadLimits = HeadLimits {
        bytes: 256,
        headers: 8,
        target: 64,
    };

    const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

    fn chunked(body: &str) -> String {
        format!("PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{body}")
    }

    fn check(bytes: &str) -> Passed {
        Strict::new(LIMITS).check(bytes.as_bytes())
    }

    #[test]
    fn requests_follow_each_other() {
        let put = "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nGET /";
        let all = [
            GET,
            put,
            &chunked("5\r\nGET /\r\n0a\r\n0123456789\r\n0\r\n\r\n"),
            &chunked("0\r\nX-Check: 1\r\nY: 2\r\n\r\n"),
            "\r\n",
            GET,
        ]
        .concat();
        let passed = check(&all);
        assert_eq!(
            (passed.bytes, passed.heads, passed.rest),
            (all.len(), 5, Rest::Nothing)
        );
    }

    #[test]
    fn chunks_have_one_spelling() {
        for body in [
            ";a\r\n",
            "5;a\n",
            "5;a\0\r\n",
            "5;a\rb\n",
            "5 \r\n",
            " 5\r\n",
            "+5\r\n",
            "0x5\r\n",
            "5\n",
            "\r\n",
            "g\r\n",
            "-1\r\n",
            "5\r\nabcdeX",
            "5\r\nabcde\n",
            "1\r\nab",
            "0\r\n \r\n",
            "0\r\nGET / HTTP/1.1\r\n",
            "0\r\nA: b\n",
            "0\r\n\n",
            "00000000000000005\r\n",
            "10000000000000000\r\n",
            "5\r5",
        ] {
            assert_eq!(check(&chunked(body)).rest, Rest::Broken, "{body:?}");
        }
    }

    #[test]
    fn extensions_of_chunks_mean_nothing_and_have_a_limit() {
        let body = "5;a=b; c=\"d;e\"\r\nGET /\r\n0;\r\n\r\n";
        let passed = check(&[&chunked(body), GET].concat());
        assert_eq!((passed.heads, passed.rest), (2, Rest::Nothing));
        let long = |length| chunked(&format!("5;{}\r\n", "x".repeat(length)));
        assert_eq!(check(&long(CHUNK_EXTENSION)).rest, Rest::Nothing);
        assert_eq!(check(&long(CHUNK_EXTENSION + 1)).rest, Rest::Broken);
    }

    #[test]
    fn trailers_have_a_limit() {
        let trailer = |length: usize| chunked(&format!("0\r\nA:{}\r\n\r\n", "x".repeat(length)));
        assert_eq!(check(&trailer(250)).rest, Rest::Nothing);
        assert_eq!(check(&trailer(251)).rest, Rest::Broken);
    }

    #[test]
    fn a_head_without_end_is_refused_once_it_is_too_large() {
        assert_eq!(check(&"x".repeat(256)).rest, Rest::PartOfHead);
        assert_eq!(
            check(&"x".repeat(257)).rest,
            Rest::Refused(Violation::HeadTooLong)
        );
        let target = format!("GET /{}", "x".repeat(300));
        assert_eq!(check(&target).rest, Rest::Refused(Violation::TargetTooLong));
        let headers = format!("GET / HTTP/1.1\r\nA: {}\r\n", "x".repeat(300));
        assert_eq!(check(&headers).rest, Rest::Refused(Violation::HeadTooLong));
    }

    /// Shows `bytes` in pieces, as a connection does.
    fn in_pieces(bytes: &[u8], pieces: &[usize]) -> (usize, u64, Rest) {
        let mut strict = Strict::new(LIMITS);
        let (mut held, mut total, mut heads) = (Vec::new(), 0, 0);
        let mut left = bytes;
        let mut lengths = pieces.iter().cycle();
        loop {
            let (piece, behind) = left.split_at((*lengths.next().unwrap()).min(left.len()));
            left = behind;
            held.extend_from_slice(piece);
            let passed = strict.check(&held);
            held.drain(..passed.bytes);
            total += passed.bytes;
            heads += passed.heads;
            let over = left.is_empty() || !matches!(passed.rest, Rest::Nothing | Rest::PartOfHead);
            if over {
                return (total, heads, passed.rest);
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        /// However the network cuts it, a connection has one meaning.
        #[test]
        fn pieces_make_no_difference(
            parts in proptest::collection::vec(proptest::sample::select(vec![
                GET, "\r\n", "\n", "PUT / HTTP/1.1\r\nHost: a\r\n", "Content-Length: 3\r\n",
                "Transfer-Encoding: chunked\r\n", "abc", "3\r\n", "0\r\n", " ", "X: y\r\n",
            ]), 1..12),
            pieces in proptest::collection::vec(1_usize..9, 1..5),
        ) {
            let bytes = parts.concat();
            let whole = check(&bytes);
            prop_assert_eq!(
                in_pieces(bytes.as_bytes(), &pieces),
                (whole.bytes, whole.heads, whole.rest)
            );
        }
    }
}
