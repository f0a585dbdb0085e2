//! Uploads: blobs on their way in.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::{Actor, Algorithm, ByteStream, Error, ErrorKind, Result};

/// The identity of an upload session: 128 random bits, written as a UUID.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UploadId(uuid::Uuid);

impl UploadId {
    /// The identity made of these bytes, which should be random.
    pub fn from_random(bytes: [u8; 16]) -> Self {
        Self(uuid::Builder::from_random_bytes(bytes).into_uuid())
    }

    /// The identity whose [bytes](Self::as_bytes) these are.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(uuid::Uuid::from_bytes(bytes))
    }

    /// The sixteen bytes.
    pub fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }
}

impl fmt::Display for UploadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_hyphenated().fmt(f)
    }
}

impl fmt::Debug for UploadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for UploadId {
    type Err = Error;

    /// Only the form that [`Display`](fmt::Display) writes is accepted, so
    /// that a session has one spelling.
    fn from_str(text: &str) -> Result<Self> {
        uuid::Uuid::try_parse(text)
            .map(Self)
            .ok()
            .filter(|id| id.to_string() == text)
            .ok_or_else(|| {
                ErrorKind::UploadUnknown
                    .error("there is no such upload; start again")
                    .about("upload", text)
            })
    }
}

impl Serialize for UploadId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for UploadId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Whose an upload is: only whoever began it goes on with it.
///
/// Two actors are the same owner if they have the same [name](Actor::name), or
/// both have none, however and from where they come: with another token, after
/// the password changed, or from another machine. It is a hash, so it is short
/// however long the name is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UploadOwner([u8; 32]);

impl UploadOwner {
    /// The owner of what `actor` begins.
    pub fn of(actor: &Actor) -> Self {
        let hasher = match &actor.name {
            Some(name) => Sha256::new_with_prefix("name ").chain_update(name),
            None => Sha256::new_with_prefix("nobody"),
        };
        Self(hasher.finalize().into())
    }

    /// The owner whose [bytes](Self::as_bytes) these are.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes, which stay the same from one version to the next.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// How an upload is to be started.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, Default)]
pub struct UploadOptions {
    /// The algorithm of the digest that will end it, if the client said so.
    /// With the right hint nothing is read twice.
    pub algorithm: Option<Algorithm>,
}

impl UploadOptions {
    /// Sets the algorithm of the digest that will end it.
    pub fn algorithm(mut self, algorithm: Option<Algorithm>) -> Self {
        self.algorithm = algorithm;
        self
    }
}

/// Where an upload stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upload {
    /// Its identity.
    pub id: UploadId,
    /// The number of bytes received so far.
    pub offset: u64,
}

/// The next bytes of an upload.
pub struct Chunk {
    /// Where the client believes them to start; the upload must stand there.
    pub start: Option<u64>,
    /// How many there are, if the client said so; the body must have as many.
    pub length: Option<u64>,
    /// The bytes.
    pub body: ByteStream,
}

impl Chunk {
    /// All the bytes of `body`, wherever the upload stands.
    pub fn new(body: ByteStream) -> Self {
        Self {
            start: None,
            length: None,
            body,
        }
    }

    /// Bytes in memory.
    pub fn from_bytes(bytes: impl Into<bytes::Bytes>) -> Self {
        let bytes = bytes.into();
        Self {
            start: None,
            length: Some(bytes.len() as u64),
            body: Box::pin(futures::stream::once(async { Ok(bytes) })),
        }
    }
}

impl fmt::Debug for Chunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chunk")
            .field("start", &self.start)
            .field("length", &self.length)
            .finish_non_exhaustive()
    }
}
