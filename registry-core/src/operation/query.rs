//! The query: parameters in the encoding of forms.

use std::fmt::Write as _;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// Everything that a value can't contain as it is.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// The text that `encoded` stands for; `None` if an escape is incomplete or
/// the text isn't UTF-8.
pub(super) fn decode(encoded: &str) -> Option<String> {
    let complete = encoded.split('%').skip(1).all(|escape| {
        let mut digits = escape.bytes().take(2);
        let mut digit = || digits.next().is_some_and(|byte| byte.is_ascii_hexdigit());
        digit() && digit()
    });
    let text = percent_decode_str(encoded).decode_utf8().ok()?;
    complete.then(|| text.into_owned())
}

/// The values of the parameter `name`, in order. One that can't be decoded is
/// an error, with the text as it was given.
pub(super) fn values<'q>(
    query: Option<&'q str>,
    name: &'q str,
) -> impl Iterator<Item = Result<String, &'q str>> {
    given(query, name).map(|value| decode_form(value).ok_or(value))
}

/// The values of the parameter `name` as they were given.
fn given<'q>(query: Option<&'q str>, name: &'q str) -> impl Iterator<Item = &'q str> {
    query
        .unwrap_or_default()
        .split('&')
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .filter(move |(key, _)| decode_form(key).as_deref() == Some(name))
        .map(|(_, value)| value)
}

fn decode_form(text: &str) -> Option<String> {
    decode(&text.replace('+', " "))
}

/// The value of a parameter that may be given once.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Single {
    /// It isn't there.
    Absent,
    /// It has this value. The same value twice is one value.
    Value(String),
    /// It has several values, or one that can't be decoded: what was given,
    /// separated by commas.
    Ambiguous(String),
}

/// The value of the parameter `name`.
pub(super) fn single(query: Option<&str>, name: &str) -> Single {
    let mut values = values(query, name);
    match values.next() {
        None => Single::Absent,
        Some(Ok(value)) if values.all(|other| other.as_ref() == Ok(&value)) => Single::Value(value),
        Some(_) => Single::Ambiguous(given(query, name).collect::<Vec<_>>().join(",")),
    }
}

/// A path with a query in the making.
#[derive(Debug)]
pub(super) struct Target {
    text: String,
    separator: char,
}

impl Target {
    /// A path without a query.
    pub(super) fn new(path: String) -> Self {
        Self {
            text: path,
            separator: '?',
        }
    }

    /// Adds a parameter.
    pub(super) fn parameter(mut self, name: &str, value: &str) -> Self {
        let value = utf8_percent_encode(value, ESCAPED);
        // Writing to a string doesn't fail.
        let _ = write!(self.text, "{}{name}={value}", self.separator);
        self.separator = '&';
        self
    }

    /// Adds a parameter if it has a value.
    pub(super) fn optional(self, name: &str, value: Option<&str>) -> Self {
        match value {
            Some(value) => self.parameter(name, value),
            None => self,
        }
    }

    /// The path and the query.
    pub(super) fn into_text(self) -> String {
        self.text
    }
}
