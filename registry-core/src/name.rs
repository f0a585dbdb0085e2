//! The names of repositories, tags and references.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{Digest, Error, ErrorKind, Result};

/// The longest repository name in bytes: what common clients accept.
pub const NAME_MAX: usize = 255;

/// The longest tag in bytes.
pub const TAG_MAX: usize = 128;

/// The name of a repository, such as `library/alpine`.
///
/// Components of lower-case letters and digits, joined by `.`, `_`, `__` or
/// any number of `-`, and separated by `/`. At most [`NAME_MAX`] bytes.
///
/// Distribution specification, "Pulling manifests": the `<name>` grammar.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RepositoryName(Arc<str>);

/// A name that a repository gives to a manifest, such as `latest`.
///
/// A letter, digit or `_`, followed by at most 127 letters, digits, `_`, `.`
/// or `-`.
///
/// Distribution specification, "Pulling manifests": the `<tag>` grammar.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag(Arc<str>);

/// What a manifest is asked for by: a tag or a digest.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reference {
    /// The manifest that a tag points to now.
    Tag(Tag),
    /// The manifest with this digest, for ever.
    Digest(Digest),
}

impl RepositoryName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Tag {
    /// The tag as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn is_alphanumeric(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit()
}

/// Whether `component` is runs of lower-case alphanumerics joined by
/// separators.
fn is_component(component: &str) -> bool {
    let ends_well = |byte: Option<&u8>| byte.is_some_and(|byte| is_alphanumeric(*byte));
    let bytes = component.as_bytes();
    ends_well(bytes.first())
        && ends_well(bytes.last())
        && component
            .split(|char: char| char.is_ascii_lowercase() || char.is_ascii_digit())
            .all(|separator| {
                matches!(separator, "" | "." | "_" | "__")
                    || separator.bytes().all(|byte| byte == b'-')
            })
}

impl FromStr for RepositoryName {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        if name.len() > NAME_MAX {
            return Err(ErrorKind::NameInvalid
                .error("the repository name is too long; use at most 255 characters")
                .about("name", name));
        }
        if !name.split('/').all(is_component) {
            return Err(ErrorKind::NameInvalid
                .error(
                    "the repository name is malformed; use lower-case letters, digits, '.', '_', \
                     '-' and '/' between components",
                )
                .about("name", name));
        }
        Ok(Self(name.into()))
    }
}

impl FromStr for Tag {
    type Err = Error;

    fn from_str(tag: &str) -> Result<Self> {
        let in_set = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
        let starts_well = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
        if tag.len() <= TAG_MAX
            && tag.bytes().all(in_set)
            && tag.as_bytes().first().is_some_and(starts_well)
        {
            Ok(Self(tag.into()))
        } else {
            Err(ErrorKind::TagInvalid
                .error(
                    "the tag is malformed; use up to 128 letters, digits, '_', '.' and '-', not \
                     starting with '.' or '-'",
                )
                .about("tag", tag))
        }
    }
}

impl FromStr for Reference {
    type Err = Error;

    /// A reference with a colon can only be a digest.
    fn from_str(reference: &str) -> Result<Self> {
        if reference.contains(':') {
            reference.parse().map(Self::Digest)
        } else {
            reference.parse().map(Self::Tag)
        }
    }
}

impl From<Tag> for Reference {
    fn from(tag: Tag) -> Self {
        Self::Tag(tag)
    }
}

impl From<Digest> for Reference {
    fn from(digest: Digest) -> Self {
        Self::Digest(digest)
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tag(tag) => tag.fmt(f),
            Self::Digest(digest) => fmt::Display::fmt(digest, f),
        }
    }
}

macro_rules! text {
    ($($name:ident),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    )*};
}

text!(RepositoryName, Tag);
