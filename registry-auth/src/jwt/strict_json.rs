//! JSON that means the same to every reader.
//!
//! Readers disagree about repeated members: the first one counts, or the last.
//! A token that says two things could mean one to whoever issued it and another
//! here, so it is refused, as is nesting without end.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::LazyLock;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

/// How deep arrays and objects are nested at most. An `access` claim takes four
/// levels, and no token in use more than five.
const DEPTH_MAX: usize = 8;

/// The key under which `serde_json` hands out numbers if some crate of the
/// program has turned its feature `arbitrary_precision` on.
const NUMBER_KEY: &str = "$serde_json::private::Number";

/// Whether it does so in this program. Where it doesn't, an object with that key
/// is no number.
static DISGUISED: LazyLock<bool> = LazyLock::new(|| {
    serde_json::Deserializer::from_str("1")
        .deserialize_any(Probe)
        .unwrap_or(false)
});

/// A JSON value whose objects repeat no key.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Json {
    /// Nothing.
    Null,
    /// Yes or no.
    Bool(bool),
    /// A number that is written as an integer, and fits.
    Integer(i64),
    /// Any other number.
    Number,
    /// Text.
    Text(String),
    /// Values in order.
    List(Vec<Self>),
    /// Values by name.
    Object(BTreeMap<String, Self>),
}

impl Json {
    /// Reads one document, with nothing behind it.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        let mut deserializer = serde_json::Deserializer::from_slice(bytes);
        let seed = Depth {
            levels: DEPTH_MAX,
            disguised: *DISGUISED,
        };
        let value = seed.deserialize(&mut deserializer)?;
        deserializer.end()?;
        Ok(value)
    }

    /// The text, if it is one.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The integer, if it is one.
    pub fn as_integer(&self) -> Option<i64> {
        match self {
            Self::Integer(integer) => Some(*integer),
            _ => None,
        }
    }

    /// The values of a list, if it is one.
    pub fn as_list(&self) -> Option<&[Self]> {
        match self {
            Self::List(values) => Some(values),
            _ => None,
        }
    }

    /// The members of an object, if it is one.
    pub fn as_object(&self) -> Option<&BTreeMap<String, Self>> {
        match self {
            Self::Object(members) => Some(members),
            _ => None,
        }
    }
}

/// Finds out how numbers are shown.
struct Probe;

impl<'de> Visitor<'de> for Probe {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number")
    }

    fn visit_u64<E>(self, _: u64) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_map<A: MapAccess<'de>>(self, _: A) -> Result<bool, A::Error> {
        Ok(true)
    }
}

/// Reads one value, and what it holds, so many levels deep.
struct Depth {
    levels: usize,
    disguised: bool,
}

impl Depth {
    fn inner<E: serde::de::Error>(&self) -> Result<Self, E> {
        let levels = self.levels.checked_sub(1).ok_or_else(too_deep)?;
        Ok(Self { levels, ..*self })
    }

    /// The same again, for the next value.
    fn next(&self) -> Self {
        Self { ..*self }
    }
}

fn too_deep<E: serde::de::Error>() -> E {
    E::custom("it is nested too deeply")
}

impl<'de> DeserializeSeed<'de> for Depth {
    type Value = Json;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Json, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Depth {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
        Ok(Json::Bool(value))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Json, E> {
        Ok(i64::try_from(number).map_or(Json::Number, Json::Integer))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Json, E> {
        Ok(Json::Integer(number))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Json, E> {
        Ok(Json::Number)
    }

    fn visit_str<E>(self, text: &str) -> Result<Json, E> {
        Ok(Json::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<Json, A::Error> {
        let inner = self.inner()?;
        let mut list = Vec::new();
        while let Some(value) = values.next_element_seed(inner.next())? {
            list.push(value);
        }
        Ok(Json::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Json, A::Error> {
        // A number in disguise is no deeper than itself.
        let inner = self.inner::<A::Error>();
        let mut object = BTreeMap::new();
        while let Some(key) = members.next_key::<String>()? {
            let value = match &inner {
                Ok(inner) => members.next_value_seed(inner.next())?,
                // Which has its digits as text.
                Err(_) => Json::Text(members.next_value()?),
            };
            if object.insert(key, value).is_some() {
                return Err(A::Error::custom("a key is repeated"));
            }
        }
        if self.disguised
            && let Some(number) = number(&object)
        {
            return Ok(number);
        }
        inner.map(|_| Json::Object(object))
    }
}

/// The number that `object` stands for under `arbitrary_precision`.
fn number(object: &BTreeMap<String, Json>) -> Option<Json> {
    let (key, Json::Text(digits)) = object.first_key_value()? else {
        return None;
    };
    if object.len() != 1 || key != NUMBER_KEY || digits.parse::<f64>().is_err() {
        return None;
    }
    Some(digits.parse().map_or(Json::Number, Json::Integer))
}

#[cfg(test)]
mod tests {
    use serde::de::value::{Error, MapDeserializer};

    use super::*;

    fn parse(text: &str) -> Option<Json> {
        Json::parse(text.as_bytes()).ok()
    }

    #[test]
    fn repeated_keys_are_refused_at_any_depth() {
        assert!(parse(r#"{"a":1,"b":{"a":2}}"#).is_some());
        for text in [
            r#"{"a":1,"a":1}"#,
            r#"{"a":1,"\u0061":2}"#,
            r#"{"a":1,"b":2,"a":null}"#,
            r#"[{"b":[{"a":1,"a":2}]}]"#,
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn eight_levels_are_read_and_nine_are_not() {
        let nested = |levels| "[".repeat(levels) + &"]".repeat(levels);
        assert!(parse(&nested(DEPTH_MAX)).is_some());
        assert_eq!(parse(&nested(DEPTH_MAX + 1)), None);
        let objects = |levels| "{\"a\":".repeat(levels) + "1" + &"}".repeat(levels);
        assert!(parse(&objects(DEPTH_MAX)).is_some());
        assert_eq!(parse(&objects(DEPTH_MAX + 1)), None);
        let empty = |levels| "[".repeat(levels) + "{}" + &"]".repeat(levels);
        assert!(parse(&empty(DEPTH_MAX - 1)).is_some());
        assert_eq!(parse(&empty(DEPTH_MAX)), None);
        assert_eq!(parse(&"[".repeat(1 << 16)), None);
    }

    #[test]
    fn only_integers_are_integers() {
        assert_eq!(parse("-7"), Some(Json::Integer(-7)));
        assert_eq!(parse("9223372036854775807"), Some(Json::Integer(i64::MAX)));
        for text in ["1.0", "1e3", "9223372036854775808", "1e300", "-0.5"] {
            assert_eq!(parse(text), Some(Json::Number), "{text}");
        }
        for text in ["1e400", "01", "+1", "0x1", "NaN", "Infinity"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn nothing_may_follow_and_text_is_utf_8() {
        for text in ["", "{} x", "{}{}", "\u{feff}{}", "{'a':1}", "{\"a\":1,}"] {
            assert_eq!(parse(text), None, "{text}");
        }
        assert!(Json::parse(b"\"\xff\"").is_err());
    }

    /// What `serde_json` shows a visitor instead of a number if a crate of the
    /// program turns on its feature `arbitrary_precision`.
    fn disguised(depth: usize, key: &'static str, digits: &'static str) -> Result<Json, Error> {
        let seed = Depth {
            levels: depth,
            disguised: true,
        };
        seed.visit_map(MapDeserializer::new([(key, digits)].into_iter()))
    }

    #[test]
    fn numbers_are_numbers_under_arbitrary_precision() {
        for depth in [0, 1] {
            let number = |digits| disguised(depth, NUMBER_KEY, digits).unwrap();
            assert_eq!(number("7"), Json::Integer(7));
            assert_eq!(number("-1"), Json::Integer(-1));
            assert_eq!(number("1.5e3"), Json::Number);
        }
        assert!(matches!(disguised(1, "a", "7"), Ok(Json::Object(_))));
        assert!(matches!(disguised(1, NUMBER_KEY, "x"), Ok(Json::Object(_))));
        // Nothing turns it on here, so an object stays one.
        let spelled = format!(r#"{{"{NUMBER_KEY}":"7"}}"#);
        assert!(matches!(parse(&spelled), Some(Json::Object(_))));
        assert!(disguised(0, "a", "7").is_err());
        assert!(disguised(0, NUMBER_KEY, "x").is_err());
    }
}
