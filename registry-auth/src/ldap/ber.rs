//! The part of BER that LDAP is written in (RFC 4511, section 5.1): tags of one
//! byte and definite lengths.

/// A truth value.
pub(super) const BOOLEAN: u8 = 0x01;
/// A whole number.
pub(super) const INTEGER: u8 = 0x02;
/// Bytes.
pub(super) const OCTETS: u8 = 0x04;
/// One of several meanings.
pub(super) const ENUMERATED: u8 = 0x0a;
/// Elements in an order.
pub(super) const SEQUENCE: u8 = 0x30;
/// Elements without one.
pub(super) const SET: u8 = 0x31;

/// The most bytes of a length that are understood.
const LENGTH_BYTES: u8 = 4;

/// It isn't BER, or not what was expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed;

/// Appends an element.
pub(super) fn put(out: &mut Vec<u8>, tag: u8, content: &[u8]) {
    out.push(tag);
    let length = content.len();
    match u8::try_from(length) {
        Ok(short) if short < 0x80 => out.push(short),
        _ => {
            let bytes = length.to_be_bytes();
            let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
            let significant = bytes.get(zeros..).unwrap_or_default();
            let count = u8::try_from(significant.len()).unwrap_or(u8::MAX);
            out.push(0x80 | count);
            out.extend_from_slice(significant);
        }
    }
    out.extend_from_slice(content);
}

/// Appends a whole number that isn't negative.
pub(super) fn put_number(out: &mut Vec<u8>, tag: u8, number: u32) {
    let bytes = number.to_be_bytes();
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    let mut content = vec![];
    let significant = bytes.get(zeros..).unwrap_or_default();
    // The first bit says that a number is negative.
    if significant.first().is_none_or(|first| *first >= 0x80) {
        content.push(0);
    }
    content.extend_from_slice(significant);
    put(out, tag, &content);
}

/// How many bytes of length follow the first one, which is `first`; or the
/// length itself.
pub(super) enum Length {
    Is(usize),
    InNext(usize),
}

/// What the first byte of a length says.
pub(super) fn length(first: u8) -> Result<Length, Malformed> {
    match first {
        0..0x80 => Ok(Length::Is(first.into())),
        // Without a length, it would end who knows where.
        0x80 => Err(Malformed),
        _ => {
            let count = first & 0x7f;
            if count > LENGTH_BYTES {
                return Err(Malformed);
            }
            Ok(Length::InNext(count.into()))
        }
    }
}

/// A length in as many bytes as were announced.
pub(super) fn long_length(bytes: &[u8]) -> Result<usize, Malformed> {
    usize::try_from(big_endian(bytes)).map_err(|_| Malformed)
}

/// The number in these bytes, of which there are at most eight.
fn big_endian(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0, |number, byte| (number << 8) | u64::from(*byte))
}

/// Takes elements from the front.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(super) fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(Malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, Malformed> {
        self.take(1)?.first().copied().ok_or(Malformed)
    }

    /// The next element: its tag and its content.
    pub(super) fn element(&mut self) -> Result<(u8, &'a [u8]), Malformed> {
        let tag = self.byte()?;
        let length = match length(self.byte()?)? {
            Length::Is(length) => length,
            Length::InNext(count) => long_length(self.take(count)?)?,
        };
        Ok((tag, self.take(length)?))
    }

    /// The content of the next element, which has this tag.
    pub(super) fn expect(&mut self, tag: u8) -> Result<&'a [u8], Malformed> {
        let (found, content) = self.element()?;
        if found == tag {
            Ok(content)
        } else {
            Err(Malformed)
        }
    }

    /// The elements in the next element, which has this tag.
    pub(super) fn within(&mut self, tag: u8) -> Result<Self, Malformed> {
        self.expect(tag).map(Self)
    }

    /// The next element, which is a whole number that isn't negative.
    pub(super) fn number(&mut self, tag: u8) -> Result<u32, Malformed> {
        let content = self.expect(tag)?;
        let first = content.first().ok_or(Malformed)?;
        if *first >= 0x80 || content.len() > 5 {
            return Err(Malformed);
        }
        u32::try_from(big_endian(content)).map_err(|_| Malformed)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_are_written_as_the_standard_says() {
        for (number, expected) in [
            (0, [2, 1, 0].as_slice()),
            (127, &[2, 1, 127]),
            (128, &[2, 2, 0, 128]),
            (256, &[2, 2, 1, 0]),
            (u32::MAX, &[2, 5, 0, 255, 255, 255, 255]),
        ] {
            let mut out = Vec::new();
            put_number(&mut out, INTEGER, number);
            assert_eq!(out, expected);
            assert_eq!(Reader::new(&out).number(INTEGER), Ok(number));
        }
    }

    #[test]
    fn lengths_are_written_as_the_standard_says() {
        for (length, expected) in [
            (0, [4, 0].as_slice()),
            (127, &[4, 127]),
            (128, &[4, 0x81, 128]),
            (255, &[4, 0x81, 255]),
            (256, &[4, 0x82, 1, 0]),
            (65_536, &[4, 0x83, 1, 0, 0]),
        ] {
            let mut out = Vec::new();
            put(&mut out, OCTETS, &vec![7; length]);
            assert_eq!(out[..expected.len()], *expected, "{length}");
            assert_eq!(out.len(), expected.len() + length);
        }
        // As others write them, who fill in more bytes than it takes.
        let mut reader = Reader::new(&[4, 0x84, 0, 0, 0, 2, 8, 9]);
        assert_eq!(reader.element(), Ok((4, [8, 9].as_slice())));
    }

    #[test]
    fn lengths_that_lie_are_refused() {
        for bytes in [
            [].as_slice(),
            &[4],
            &[4, 2, 0],
            &[4, 0x80, 0, 0],
            &[4, 0x81],
            &[4, 0x84, 255, 255, 255, 255, 0],
            &[4, 0x85, 0, 0, 0, 0, 0],
            &[4, 0xff, 1],
        ] {
            assert_eq!(Reader::new(bytes).element(), Err(Malformed), "{bytes:?}");
        }
    }

    #[test]
    fn numbers_that_are_none_are_refused() {
        for content in [
            [].as_slice(),
            &[0x80],
            &[0, 1, 1, 1, 1, 1],
            &[1, 0, 0, 0, 0],
        ] {
            let mut out = Vec::new();
            put(&mut out, INTEGER, content);
            assert_eq!(Reader::new(&out).number(INTEGER), Err(Malformed));
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(tag in any::<u8>(), content in proptest::collection::vec(any::<u8>(), 0..70_000)) {
            let mut out = Vec::new();
            put(&mut out, tag, &content);
            let mut reader = Reader::new(&out);
            prop_assert_eq!(reader.element(), Ok((tag, content.as_slice())));
            prop_assert!(reader.is_empty());
        }
    }
}
