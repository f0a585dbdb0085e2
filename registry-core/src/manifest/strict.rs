//! JSON that means the same to every reader.
//!
//! Readers disagree about repeated keys (the last one wins, or the first) and
//! about keys in another case (some take `Layers` for `layers`). A document
//! that uses either could show a client content that the registry never
//! recorded, so both are refused, as is nesting without end.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

use crate::{ErrorKind, Result};

/// The most JSON values in one document. A full manifest of 4096 descriptors
/// needs no more with ten annotations for each; a hostile one takes hundreds of
/// bytes of memory for every value.
const MAX_VALUES: usize = 1 << 16;

/// The key under which `serde_json` hands out numbers if some crate of the
/// program has turned its feature `arbitrary_precision` on.
const NUMBER_KEY: &str = "$serde_json::private::Number";

/// A JSON value whose objects repeat no key. Text without escapes is borrowed
/// from the document.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value<'a> {
    Null,
    Bool,
    /// A whole number from zero up.
    Integer(u64),
    /// Any other number.
    Number,
    String(Cow<'a, str>),
    Array(Vec<Self>),
    Object(Object<'a>),
}

/// The members of a JSON object in the order of the document.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Object<'a>(Vec<(Cow<'a, str>, Value<'a>)>);

impl<'a> Value<'a> {
    /// Reads a document nested at most `max_depth` deep.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::ManifestInvalid`], with the line and column.
    pub(super) fn parse(bytes: &'a [u8], max_depth: usize) -> Result<Self> {
        let mut values = 0;
        let seed = Seed {
            depth: max_depth,
            values: &mut values,
        };
        let mut deserializer = serde_json::Deserializer::from_slice(bytes);
        seed.deserialize(&mut deserializer)
            .and_then(|value| deserializer.end().map(|()| value))
            .map_err(|source| {
                ErrorKind::ManifestInvalid
                    .error(format!("the manifest is not acceptable JSON: {source}"))
            })
    }
}

impl<'a> Object<'a> {
    /// The value of `key`; a `null` counts as absent.
    pub(super) fn get(&self, key: &str) -> Option<&Value<'a>> {
        self.iter()
            .find(|(name, _)| *name == key)
            .map(|(_, value)| value)
            .filter(|value| **value != Value::Null)
    }

    /// Whether `key` is there, even if its value is `null`.
    pub(super) fn contains(&self, key: &str) -> bool {
        self.iter().any(|(name, _)| name == key)
    }

    /// Every key and value.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &Value<'a>)> {
        self.0.iter().map(|(key, value)| (key.as_ref(), value))
    }

    /// The first key that differs from one of `known`, but not for a reader
    /// that ignores case; and that one.
    pub(super) fn lookalike(&self, known: &[&'static str]) -> Option<(&str, &'static str)> {
        self.iter()
            .filter(|(key, _)| !known.contains(key))
            .find_map(|(key, _)| {
                let twin = known.iter().find(|known| folds_to(key, known))?;
                Some((key, *twin))
            })
    }
}

/// Whether `key` is `known` under Unicode's simple case folding, which knows
/// two characters outside ASCII that fold to ASCII letters.
fn folds_to(key: &str, known: &str) -> bool {
    let fold = |char: char| match char {
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        char => char.to_ascii_lowercase(),
    };
    key.chars().map(fold).eq(known.chars().map(fold))
}

/// Text from a document, shortened and made harmless for a sentence.
pub(super) struct Excerpt<'a>(pub(super) &'a str);

impl fmt::Display for Excerpt<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const LONGEST: usize = 40;
        let mut chars = self.0.chars();
        f.write_str("'")?;
        for char in chars.by_ref().take(LONGEST) {
            write!(f, "{}", char.escape_debug())?;
        }
        f.write_str(if chars.next().is_some() { "…'" } else { "'" })
    }
}

/// Reads one value, and its content up to `depth` levels deep.
struct Seed<'c> {
    depth: usize,
    values: &'c mut usize,
}

impl Seed<'_> {
    /// The seed of what an array or object holds.
    fn inner<E: serde::de::Error>(&mut self) -> Result<Seed<'_>, E> {
        let depth = self.depth.checked_sub(1).ok_or_else(|| {
            E::custom("it is nested too deeply; move the content into a blob of its own")
        })?;
        Ok(Seed {
            depth,
            values: self.values,
        })
    }

    /// A seed for the next of several values.
    fn next<E: serde::de::Error>(&mut self) -> Result<Seed<'_>, E> {
        *self.values = self.values.saturating_add(1);
        if *self.values > MAX_VALUES {
            return Err(E::custom(
                "it holds too many values; move the content into a blob of its own",
            ));
        }
        Ok(Seed {
            depth: self.depth,
            values: self.values,
        })
    }
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Value<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value<'de>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Value<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value<'de>, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Value<'de>, E> {
        Ok(Value::Bool)
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value<'de>, E> {
        Ok(Value::Integer(number))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value<'de>, E> {
        Ok(u64::try_from(number).map_or(Value::Number, Value::Integer))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Value<'de>, E> {
        Ok(Value::Number)
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Value<'de>, E> {
        Ok(Value::String(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value<'de>, E> {
        Ok(Value::String(Cow::Owned(text.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut items: A) -> Result<Value<'de>, A::Error> {
        let mut inner = self.inner()?;
        let mut array = Vec::new();
        while let Some(item) = items.next_element_seed(inner.next()?)? {
            array.push(item);
        }
        Ok(Value::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut members: A) -> Result<Value<'de>, A::Error> {
        let mut inner = self.inner()?;
        let mut object = Vec::new();
        let mut keys = HashSet::new();
        while let Some(Key(key)) = members.next_key_seed(Key(Cow::Borrowed("")))? {
            if !keys.insert(key.clone()) {
                return Err(A::Error::custom(format_args!(
                    "the key {} is repeated; keep one",
                    Excerpt(&key)
                )));
            }
            let value = members.next_value_seed(inner.next()?)?;
            object.push((key, value));
        }
        Ok(number(&object).unwrap_or(Value::Object(Object(object))))
    }
}

/// The number that `object` stands for under `arbitrary_precision`.
fn number<'a>(object: &[(Cow<'a, str>, Value<'a>)]) -> Option<Value<'a>> {
    let [(key, Value::String(digits))] = object else {
        return None;
    };
    if key != NUMBER_KEY || digits.parse::<f64>().is_err() {
        return None;
    }
    Some(digits.parse().map_or(Value::Number, Value::Integer))
}

/// A key of an object.
struct Key<'de>(Cow<'de, str>);

impl<'de> DeserializeSeed<'de> for Key<'de> {
    type Value = Self;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Key<'de> {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_borrowed_str<E>(self, key: &'de str) -> Result<Self, E> {
        Ok(Self(Cow::Borrowed(key)))
    }

    fn visit_str<E>(self, key: &str) -> Result<Self, E> {
        Ok(Self(Cow::Owned(key.to_owned())))
    }
}

#[cfg(test)]
mod tests {
    use serde::de::value::{Error, MapDeserializer};

    use super::*;

    /// What `serde_json` shows a visitor instead of a number if a crate of the
    /// program turns on its feature `arbitrary_precision`.
    fn disguised(key: &'static str, digits: &'static str) -> Value<'static> {
        let entries = MapDeserializer::<_, Error>::new([(key, digits)].into_iter());
        let mut values = 0;
        let seed = Seed {
            depth: 1,
            values: &mut values,
        };
        seed.visit_map(entries).unwrap()
    }

    #[test]
    fn numbers_are_numbers_under_arbitrary_precision() {
        assert_eq!(disguised(NUMBER_KEY, "7"), Value::Integer(7));
        assert_eq!(disguised(NUMBER_KEY, "-1"), Value::Number);
        assert_eq!(disguised(NUMBER_KEY, "1.5e3"), Value::Number);
        assert!(matches!(disguised("a", "7"), Value::Object(_)));
        assert!(matches!(
            disguised(NUMBER_KEY, "sha256:0"),
            Value::Object(_)
        ));
    }
}
