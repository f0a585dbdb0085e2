//! Reading facts, in a snapshot or in the middle of a change.

use std::io;
use std::ops::Bound;

use redb::ReadableTable;
use registry_core::{
    Digest, Error, ErrorKind, RepositoryEpoch, RepositoryName, Result, Tag, UploadId,
};
use serde::de::DeserializeOwned;

use super::damage::DAMAGED;
use super::key::{self, Family, Key, StoreFact};
use super::replay::IDENTITIES_LEFT_OUT;
use super::value::{
    Blob, Content, Counters, Departed, Manifest, Repository, TagTarget, Upload, decode,
};
use crate::metadata::timestamp::from_nanoseconds;

pub(super) type Bytes = &'static [u8];

/// The facts in a table.
#[derive(Debug)]
pub(super) struct Facts<'t, T>(pub(super) &'t T);

impl<T: ReadableTable<Bytes, Bytes>> Facts<'_, T> {
    pub(super) fn get<V: DeserializeOwned>(&self, key: &Key) -> Result<Option<V>> {
        self.get_as(key, decode)
    }

    /// What `read` makes of the value of a key.
    fn get_as<V>(&self, key: &Key, read: impl FnOnce(&[u8]) -> Result<V>) -> Result<Option<V>> {
        let value = self.0.get(key.as_bytes()).map_err(failed)?;
        value.map(|value| read(value.value())).transpose()
    }

    /// Whether any key starts with `prefix`.
    pub(super) fn holds_any(&self, prefix: &Key) -> Result<bool> {
        Ok(!self.list(prefix, None, 1, |_, _| Ok(()))?.is_empty())
    }

    /// The tags that point to a manifest, in order, at most `limit`.
    pub(super) fn tags_of(
        &self,
        repository: u64,
        digest: &Digest,
        limit: usize,
    ) -> Result<Vec<Tag>> {
        let prefix = Key::within(Family::TaggedBy, repository).digest(digest);
        self.list(&prefix, None, limit, |tag, _| key::read_text(tag))
    }

    /// What `read` makes of the facts whose keys start with `prefix` and lie
    /// behind `after` there, in order, at most `limit`. It is given the rest of
    /// the key and the value.
    pub(super) fn list<X>(
        &self,
        prefix: &Key,
        after: Option<&[u8]>,
        limit: usize,
        mut read: impl FnMut(&[u8], &[u8]) -> Result<X>,
    ) -> Result<Vec<X>> {
        let mut items = Vec::new();
        self.each(prefix, after, |rest, value| {
            if items.len() < limit {
                items.push(read(rest, value)?);
            }
            Ok(items.len() < limit)
        })?;
        Ok(items)
    }

    /// Visits the facts whose keys start with `prefix` and lie behind `after`
    /// there, in order, as long as `visit` returns true. Returns whether it did
    /// to the end.
    pub(super) fn each(
        &self,
        prefix: &Key,
        after: Option<&[u8]>,
        mut visit: impl FnMut(&[u8], &[u8]) -> Result<bool>,
    ) -> Result<bool> {
        let start = after.map(|after| prefix.clone().bytes(after));
        let start = match &start {
            None => Bound::Included(prefix.as_bytes()),
            Some(start) => Bound::Excluded(start.as_bytes()),
        };
        let end = prefix.end();
        let range = (start, Bound::Excluded(end.as_slice()));
        for fact in self.0.range::<&[u8]>(range).map_err(failed)? {
            let (key, value) = fact.map_err(failed)?;
            let rest = key.value().strip_prefix(prefix.as_bytes());
            if !visit(rest.unwrap_or_default(), value.value())? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    pub(super) fn store<V: DeserializeOwned + Default>(&self, fact: StoreFact) -> Result<V> {
        Ok(self.get(&Key::store(fact))?.unwrap_or_default())
    }

    pub(super) fn repository(&self, name: &RepositoryName) -> Result<Option<Repository>> {
        self.get(&Key::repository(name))
    }

    /// Which of the repositories of this name there is, or will be.
    pub(super) fn epoch(&self, name: &RepositoryName) -> Result<RepositoryEpoch> {
        let departed: Option<Departed> = self.get(&Key::departed(name))?;
        let counters: Counters = self.store(StoreFact::Counters)?;
        // What a rebuild skipped may have been a deletion, so that no repository
        // is known to be the one it was.
        let skips = counters.identity.div_euclid(IDENTITIES_LEFT_OUT);
        let skipped = skips.saturating_mul(IDENTITIES_LEFT_OUT);
        Ok(RepositoryEpoch {
            number: departed.unwrap_or_default().number.saturating_add(skipped),
            since: departed.map(|departed| from_nanoseconds(departed.at)),
        })
    }

    pub(super) fn content(&self, digest: &Digest) -> Result<Option<Content>> {
        self.get(&Key::new(Family::Content).digest(digest))
    }

    pub(super) fn live(&self, digest: &Digest) -> Result<Option<Content>> {
        Ok(self.content(digest)?.filter(Content::is_live))
    }

    pub(super) fn blob(&self, identity: u64, digest: &Digest) -> Result<Option<Blob>> {
        self.get(&Key::within(Family::Blob, identity).digest(digest))
    }

    pub(super) fn manifest(&self, identity: u64, digest: &Digest) -> Result<Option<Manifest>> {
        self.get(&Key::within(Family::Manifest, identity).digest(digest))
    }

    pub(super) fn upload(&self, id: &UploadId) -> Result<Option<Upload>> {
        self.get_as(&Key::upload(id), Upload::decode)
    }

    pub(super) fn tag(&self, identity: u64, tag: &Tag) -> Result<Option<TagTarget>> {
        self.get(&Key::within(Family::Tag, identity).tag(tag))
    }
}

/// What a failure of the database means to a caller.
pub(super) fn failed(error: impl Into<redb::Error>) -> Error {
    let error = error.into();
    let (kind, reason) = match &error {
        redb::Error::Corrupted(_) => (ErrorKind::Corrupt, DAMAGED),
        // So the database calls a file that doesn't begin as one of its own.
        redb::Error::Io(source) if source.kind() == io::ErrorKind::InvalidData => {
            (ErrorKind::Corrupt, DAMAGED)
        }
        redb::Error::Io(_) | redb::Error::PreviousIo => (
            ErrorKind::Unavailable,
            "the metadata database can't be read or written; see to its disk, then restart",
        ),
        redb::Error::DatabaseAlreadyOpen => (
            ErrorKind::Unavailable,
            "another process has the metadata database open; stop it first",
        ),
        _ => (ErrorKind::Internal, "the metadata database failed"),
    };
    kind.error(reason).with_source(error)
}
