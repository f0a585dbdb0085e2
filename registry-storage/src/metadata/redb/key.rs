//! Where each fact lies in the one table.
//!
//! A key is a family, one byte, followed by what identifies the fact. What
//! belongs to a repository is found by its identity, eight big-endian bytes, so
//! that no fact of a deleted repository can pass for one of its successor.
//! Names and tags come last, since they vary in length; the length of a digest
//! follows from its first byte. So byte order within a family is the order in
//! which the port lists.

use registry_core::{Algorithm, Digest, ErrorKind, RepositoryName, Result, Tag, UploadId};

/// The families. Their numbers are part of the format on disk.
#[derive(Debug, Clone, Copy)]
#[repr(u8)]
pub(super) enum Family {
    /// Facts about the store itself.
    Store = 0,
    /// name → [`Repository`](super::value::Repository).
    Repository = 1,
    /// digest → [`Content`](super::value::Content).
    Content = 2,
    /// identity, digest → [`Blob`](super::value::Blob).
    Blob = 3,
    /// digest, name → nothing: the blob is linked there.
    Holder = 4,
    /// identity, digest → [`Manifest`](super::value::Manifest).
    Manifest = 5,
    /// identity, digest → [`References`](super::value::References).
    References = 6,
    /// digest, identity, manifest's digest → nothing: it refers to the digest.
    ReferredBy = 7,
    /// identity, subject, digest → [`Referrer`](super::value::Referrer).
    Referrer = 8,
    /// identity, tag → [`TagTarget`](super::value::TagTarget).
    Tag = 9,
    /// identity, digest, tag → nothing: the tag points there.
    TaggedBy = 10,
    /// upload → [`Upload`](super::value::Upload).
    Upload = 11,
    /// name, zero, upload → nothing: it is open there.
    UploadIn = 12,
    /// time of the last activity, upload → nothing.
    UploadIdle = 13,
    /// place → [`Emitted`](super::value::Emitted).
    Outbox = 14,
    /// name → [`Departed`](super::value::Departed).
    Departed = 15,
}

/// What is kept about the store itself.
#[derive(Debug, Clone, Copy)]
#[repr(u8)]
pub(super) enum StoreFact {
    /// [`Counters`](super::value::Counters).
    Counters = 0,
    /// [`Position`](super::value::Position) in the change log.
    Position = 1,
    /// How the facts are laid out: a `u32`.
    Format = 2,
    /// How late it is at least: nanoseconds since 1970 as a `u64`.
    Clock = 3,
}

/// A key, or the start of the keys of a range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Key(Vec<u8>);

impl Key {
    pub(super) fn new(family: Family) -> Self {
        let mut key = Vec::with_capacity(96);
        key.push(family as u8);
        Self(key)
    }

    /// The family's facts of one repository.
    pub(super) fn within(family: Family, identity: u64) -> Self {
        Self::new(family).number(identity)
    }

    pub(super) fn store(fact: StoreFact) -> Self {
        let mut key = Self::new(Family::Store);
        key.0.push(fact as u8);
        key
    }

    pub(super) fn repository(name: &RepositoryName) -> Self {
        Self::new(Family::Repository).text(name.as_str())
    }

    /// The repositories that had this name.
    pub(super) fn departed(name: &RepositoryName) -> Self {
        Self::new(Family::Departed).text(name.as_str())
    }

    pub(super) fn upload(id: &UploadId) -> Self {
        Self::new(Family::Upload).bytes(id.as_bytes())
    }

    /// All uploads open in a repository. No name holds a zero byte, so none is
    /// taken for the start of another.
    pub(super) fn uploads_in(name: &RepositoryName) -> Self {
        Self::new(Family::UploadIn).text(name.as_str()).bytes(&[0])
    }

    pub(super) fn number(self, number: u64) -> Self {
        self.bytes(&number.to_be_bytes())
    }

    pub(super) fn digest(mut self, digest: &Digest) -> Self {
        self.0.push(algorithm_byte(digest.algorithm()));
        self.bytes(digest.hash())
    }

    pub(super) fn tag(self, tag: &Tag) -> Self {
        self.text(tag.as_str())
    }

    pub(super) fn text(self, text: &str) -> Self {
        self.bytes(text.as_bytes())
    }

    pub(super) fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The first key behind all that start with this one.
    pub(super) fn end(&self) -> Vec<u8> {
        let mut end = self.0.clone();
        while let Some(last) = end.pop() {
            if let Some(next) = last.checked_add(1) {
                end.push(next);
                break;
            }
        }
        end
    }
}

const fn algorithm_byte(algorithm: Algorithm) -> u8 {
    match algorithm {
        Algorithm::Sha256 => 1,
        Algorithm::Sha512 => 2,
    }
}

/// A digest as values hold it: as keys do.
pub(super) fn digest_bytes(digest: &Digest) -> Vec<u8> {
    let mut bytes = vec![algorithm_byte(digest.algorithm())];
    bytes.extend_from_slice(digest.hash());
    bytes
}

/// The digest that `bytes` are, and nothing else.
pub(super) fn read_digest(bytes: &[u8]) -> Result<Digest> {
    match split_digest(bytes)? {
        (digest, []) => Ok(digest),
        _ => Err(unreadable()),
    }
}

/// The digest that `bytes` start with, and the rest.
pub(super) fn split_digest(bytes: &[u8]) -> Result<(Digest, &[u8])> {
    let (algorithm, rest) = match bytes.split_first() {
        Some((1, rest)) => (Algorithm::Sha256, rest),
        Some((2, rest)) => (Algorithm::Sha512, rest),
        _ => return Err(unreadable()),
    };
    let (hash, rest) = rest
        .split_at_checked(algorithm.size())
        .ok_or_else(unreadable)?;
    Ok((Digest::from_hash(algorithm, hash)?, rest))
}

/// The eight bytes that `bytes` start with as a number, and the rest.
pub(super) fn split_number(bytes: &[u8]) -> Result<(u64, &[u8])> {
    let (number, rest) = bytes.split_first_chunk().ok_or_else(unreadable)?;
    Ok((u64::from_be_bytes(*number), rest))
}

/// The name or tag that `bytes` are.
pub(super) fn read_text<T: std::str::FromStr>(bytes: &[u8]) -> Result<T> {
    let text = std::str::from_utf8(bytes).map_err(|_| unreadable())?;
    text.parse().map_err(|_| unreadable())
}

/// The upload whose sixteen bytes `bytes` are.
pub(super) fn read_upload(bytes: &[u8]) -> Result<UploadId> {
    let bytes: [u8; 16] = bytes.try_into().map_err(|_| unreadable())?;
    Ok(UploadId::from_bytes(bytes))
}

pub(super) fn unreadable() -> registry_core::Error {
    ErrorKind::Corrupt.error("a metadata record can't be read; verify the database, then rebuild")
}
