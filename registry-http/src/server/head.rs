//! The strict reading of an HTTP/1.1 request head.
//!
//! Two programs that read the same bytes differently can be played off against
//! each other: what one takes for a body is a request to the other. So a head
//! that allows two readings isn't passed on.
//!
//! RFC 9112, sections 2.2, 3, 5.1 and 6.3.

use http::Uri;
use http::uri::PathAndQuery;

/// Where the body behind a head ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    /// After as many bytes; none for a request without a body.
    Length(u64),
    /// After the last chunk.
    Chunked,
}

/// Why a request isn't read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Violation {
    /// A part of it breaks the grammar, or can be read in two ways: which, and
    /// how.
    Malformed(&'static str, &'static str),
    /// The request target is too long.
    TargetTooLong,
    /// The head as a whole is too long.
    HeadTooLong,
    /// There are too many headers.
    TooManyHeaders,
    /// The `Authorization` header is too long.
    CredentialsTooLong,
}

/// The bounds of a head.
#[derive(Debug, Clone, Copy)]
pub(super) struct HeadLimits {
    pub(super) bytes: usize,
    pub(super) headers: usize,
    pub(super) target: usize,
}

use Violation::Malformed;

/// Reads a complete head, up to and with the empty line.
pub(super) fn parse(head: &[u8], limits: &HeadLimits) -> Result<Framing, Violation> {
    let mut lines = lines(head)
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line))
        .skip_while(|line| line.is_empty())
        .take_while(|line| !line.is_empty());
    let minor = request_line(lines.next().unwrap_or_default(), limits)?;
    let mut fields = Fields::default();
    for (line, number) in lines.zip(1_usize..) {
        if number > limits.headers {
            return Err(Violation::TooManyHeaders);
        }
        fields.read(line)?;
    }
    fields.framing(minor)
}

/// What stands between line feeds.
fn lines(head: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(head);
    std::iter::from_fn(move || {
        let text = rest?;
        let end = memchr::memchr(b'\n', text).unwrap_or(text.len());
        let (line, behind) = text.split_at_checked(end)?;
        rest = behind.strip_prefix(b"\n");
        Some(line)
    })
}

/// Reads `METHOD target HTTP/1.x` and returns the minor version.
fn request_line(line: &[u8], limits: &HeadLimits) -> Result<u8, Violation> {
    let mut parts = line.split(|byte| *byte == b' ');
    let (Some(method), Some(target), Some(version), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(Malformed(
            "request-line",
            "the request line needs a method, a target and a version",
        ));
    };
    if method.is_empty() || !method.iter().copied().all(is_token) {
        return Err(Malformed("method", "the method is malformed"));
    }
    if method == b"CONNECT" {
        return Err(Malformed("method", "this is no proxy"));
    }
    if target.len() > limits.target {
        return Err(Violation::TargetTooLong);
    }
    if target.is_empty() || !target.iter().all(u8::is_ascii_graphic) {
        return Err(Malformed(
            "target",
            "the request target has characters that must be encoded",
        ));
    }
    if !has_form(target, method) {
        return Err(Malformed(
            "target",
            "the request target must be a path, or an http or https URL",
        ));
    }
    match version {
        b"HTTP/1.1" => Ok(1),
        b"HTTP/1.0" => Ok(0),
        _ => Err(Malformed(
            "version",
            "the version must be HTTP/1.1 or HTTP/1.0",
        )),
    }
}

/// Whether a target has one of the forms that this method may have. What isn't
/// understood further down is refused there without a word.
///
/// RFC 9112, section 3.2.
fn has_form(target: &[u8], method: &[u8]) -> bool {
    match target {
        b"*" => method == b"OPTIONS",
        [b'/', ..] => PathAndQuery::try_from(target).is_ok(),
        _ => Uri::try_from(target)
            .is_ok_and(|url| matches!(url.scheme_str(), Some("http" | "https"))),
    }
}

/// Whether a value is a host, with a port or without. It may be empty.
///
/// RFC 9110, section 7.2; RFC 3986, section 3.2.2.
fn is_host(value: &[u8]) -> bool {
    let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=".contains(byte);
    let (is_whole, rest) = if let Some(literal) = value.strip_prefix(b"[") {
        let end = memchr::memchr(b']', literal).unwrap_or(literal.len());
        let (address, rest) = literal.split_at_checked(end).unwrap_or_default();
        let is_address = |byte: &u8| is_name(byte) || *byte == b':';
        let is_whole = !address.is_empty() && address.iter().all(is_address);
        let behind = rest.strip_prefix(b"]");
        (is_whole && behind.is_some(), behind.unwrap_or_default())
    } else {
        let end = memchr::memchr(b':', value).unwrap_or(value.len());
        let (name, rest) = value.split_at_checked(end).unwrap_or_default();
        (name.iter().all(is_name), rest)
    };
    let is_port = |port: &[u8]| port.iter().all(u8::is_ascii_digit);
    is_whole && (rest.is_empty() || rest.strip_prefix(b":").is_some_and(is_port))
}

/// The headers that decide where a request ends and whom it is for.
#[derive(Default)]
struct Fields {
    length: Option<u64>,
    chunked: bool,
    host: bool,
}

impl Fields {
    fn read(&mut self, line: &[u8]) -> Result<(), Violation> {
        let colon =
            memchr::memchr(b':', line).ok_or(Malformed("header", "a header has no colon"))?;
        let (name, value) = line.split_at_checked(colon).unwrap_or_default();
        let value = value.strip_prefix(b":").unwrap_or_default().trim_ascii();
        // This also refuses a line that continues the one before.
        if name.is_empty() || !name.iter().copied().all(is_token) {
            return Err(Malformed("header", "a header's name is malformed"));
        }
        // All of it, however it begins: that is many bytes at once. Tokens are long.
        let has_controls = value.iter().fold(false, |found, byte| {
            found | (byte.is_ascii_control() && *byte != b'\t')
        });
        if has_controls {
            return Err(Malformed(
                "header",
                "a header's value has control characters",
            ));
        }
        if name.eq_ignore_ascii_case(b"content-length") {
            let length = decimal(value).ok_or(Malformed(
                "content-length",
                "Content-Length must be one number",
            ))?;
            if self.length.replace(length).is_some() {
                return Err(Malformed(
                    "content-length",
                    "there are several Content-Length headers",
                ));
            }
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            if !value.eq_ignore_ascii_case(b"chunked") {
                return Err(Malformed(
                    "transfer-encoding",
                    "the only transfer encoding understood is chunked",
                ));
            }
            if std::mem::replace(&mut self.chunked, true) {
                return Err(Malformed(
                    "transfer-encoding",
                    "there are several Transfer-Encoding headers",
                ));
            }
        } else if name.eq_ignore_ascii_case(b"host") {
            if std::mem::replace(&mut self.host, true) {
                return Err(Malformed("host", "there are several Host headers"));
            }
            if !is_host(value) {
                return Err(Malformed(
                    "host",
                    "the Host header must be a host, with a port or without",
                ));
            }
        }
        Ok(())
    }

    fn framing(&self, minor: u8) -> Result<Framing, Violation> {
        if minor > 0 && !self.host {
            return Err(Malformed("host", "the Host header is missing"));
        }
        match (self.chunked, self.length) {
            (true, Some(_)) => Err(Malformed(
                "transfer-encoding",
                "there are both Content-Length and Transfer-Encoding",
            )),
            (true, None) if minor == 0 => Err(Malformed(
                "transfer-encoding",
                "HTTP/1.0 has no Transfer-Encoding",
            )),
            (true, None) => Ok(Framing::Chunked),
            (false, length) => Ok(Framing::Length(length.unwrap_or(0))),
        }
    }
}

fn decimal(digits: &[u8]) -> Option<u64> {
    let all_digits = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    let text = std::str::from_utf8(digits).ok().filter(|_| all_digits)?;
    // The largest numbers have special meanings further down.
    text.parse().ok().filter(|length| *length < u64::MAX - 2)
}

/// RFC 9110, section 5.6.2.
pub(super) fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    const LIMITS: HeadLimits = HeadLimits {
        bytes: 1024,
        headers: 4,
        target: 20,
    };

    #[test]
    fn ordinary_heads_are_read() {
        for (head, framing) in [
            ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", Framing::Length(0)),
            ("\r\nGET / HTTP/1.0\r\n\r\n", Framing::Length(0)),
            (
                "PUT /a HTTP/1.1\r\nhost:a\r\ncontent-length:\t7 \r\n\r\n",
                Framing::Length(7),
            ),
            (
                "PATCH /a HTTP/1.1\r\nHOST: a\r\nTransfer-encoding: Chunked\r\n\r\n",
                Framing::Chunked,
            ),
            (
                "GET / HTTP/1.1\r\nHost:\r\nX-Empty:\r\nX: \u{e4}\r\n\r\n",
                Framing::Length(0),
            ),
        ] {
            assert_eq!(parse(head.as_bytes(), &LIMITS), Ok(framing), "{head}");
        }
    }

    #[test]
    fn a_value_has_no_control_characters_but_tabs() {
        for byte in 0..=u8::MAX {
            let (before, behind) = (b"GET / HTTP/1.1\r\nHost: a\r\nX: a", b"b\r\n\r\n");
            let head = [before, &[byte][..], behind].concat();
            let expected = matches!(byte, b'\t' | b' '..=b'~' | 0x80..);
            assert_eq!(parse(&head, &LIMITS).is_ok(), expected, "{byte}");
        }
    }

    #[test]
    fn limits_hold_to_the_last_unit() {
        let target = |length: usize| {
            format!(
                "GET /{} HTTP/1.1\r\nHost: a\r\n\r\n",
                "x".repeat(length - 1)
            )
        };
        assert!(parse(target(20).as_bytes(), &LIMITS).is_ok());
        assert_eq!(
            parse(target(21).as_bytes(), &LIMITS),
            Err(Violation::TargetTooLong)
        );
        let headers = |count: usize| format!("GET / HTTP/1.0\r\n{}\r\n", "X: y\r\n".repeat(count));
        assert!(parse(headers(4).as_bytes(), &LIMITS).is_ok());
        assert_eq!(
            parse(headers(5).as_bytes(), &LIMITS),
            Err(Violation::TooManyHeaders)
        );
    }
}
