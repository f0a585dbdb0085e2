//! Whether requirements hold.

use std::collections::BTreeMap;

use redb::ReadableTable;
use registry_core::{Digest, RepositoryName, Result};

use super::facts::{Bytes, Facts};
use super::key::{Family, Key};
use super::value::Content;
use crate::metadata::timestamp::to_nanoseconds;
use crate::metadata::{BlobState, Change, Requirement};

impl<T: ReadableTable<Bytes, Bytes>> Facts<'_, T> {
    /// Whether `requirement` holds now, or, if it is about the state behind
    /// `changes`, whether it will.
    pub(super) fn meet(&self, requirement: &Requirement, changes: &[Change]) -> Result<bool> {
        Ok(match requirement {
            Requirement::RepositoryIs {
                repository,
                identity,
            } => self
                .repository(repository)?
                .is_some_and(|repository| repository.identity == identity.0),
            Requirement::EpochIs { repository, number } => {
                self.epoch(repository)?.number == *number
            }
            Requirement::UsageAtMost { repository, bytes } => {
                Projection::new(self, repository)?.usage_behind(changes)? <= *bytes
            }
            Requirement::TagAbsent { repository, tag } => match self.repository(repository)? {
                Some(repository) => self.tag(repository.identity, tag)?.is_none(),
                None => true,
            },
            Requirement::TagIs {
                repository,
                tag,
                digest,
            } => {
                let target = match self.repository(repository)? {
                    Some(repository) => self.tag(repository.identity, tag)?,
                    None => None,
                };
                match target {
                    Some(target) => target.digest()? == *digest,
                    None => false,
                }
            }
            Requirement::TaggedWith {
                repository,
                digest,
                tags,
                more,
            } => {
                // One more than expected tells whether there are others.
                let enough = tags.len().saturating_add(1);
                let found = match self.repository(repository)? {
                    Some(repository) => self.tags_of(repository.identity, digest, enough)?,
                    None => Vec::new(),
                };
                found.starts_with(tags) && (found.len() == enough) == *more
            }
            Requirement::TagsAtMost { repository, tags } => self
                .repository(repository)?
                .is_none_or(|repository| repository.tags <= *tags),
            Requirement::ContentAbsent { digest } => self.live(digest)?.is_none(),
            Requirement::ContentIs { key } => self
                .live(&key.digest)?
                .is_some_and(|content| content.is_under(key)),
            Requirement::ContentCondemned { key } => self
                .content(&key.digest)?
                .is_some_and(|content| content.is_under(key) && !content.is_live()),
            Requirement::BlobLinked { repository, digest } => match self.repository(repository)? {
                Some(repository) => {
                    self.blob(repository.identity, digest)?.is_some()
                        && self.live(digest)?.is_some()
                }
                None => false,
            },
            Requirement::ManifestPresent { repository, digest } => {
                match self.repository(repository)? {
                    Some(repository) => self.manifest(repository.identity, digest)?.is_some(),
                    None => false,
                }
            }
            Requirement::ManifestOnlyAs {
                repository,
                digest,
                media_type,
            } => match self.repository(repository)? {
                Some(repository) => self
                    .manifest(repository.identity, digest)?
                    .is_none_or(|manifest| manifest.media_type == *media_type),
                None => true,
            },
            Requirement::Unreferenced { digest } => {
                !self.holds_any(&Key::new(Family::ReferredBy).digest(digest))?
            }
            Requirement::NotTouchedSince { digest, at } => self
                .live(digest)?
                .is_some_and(|content| content.touched_at < to_nanoseconds(*at)),
            Requirement::UploadAt {
                repository,
                id,
                offset,
            } => self
                .upload(id)?
                .is_some_and(|upload| upload.repository == *repository && upload.offset == *offset),
            Requirement::UploadsBelow { repository, count } => {
                let limit = usize::try_from(*count).unwrap_or(usize::MAX);
                let prefix = Key::uploads_in(repository);
                self.list(&prefix, None, limit, |_, _| Ok(()))?.len() < limit
            }
        })
    }
}

/// How many bytes a repository will hold, reckoned without changing anything:
/// that way a batch which goes beyond a limit leaves nothing to undo.
struct Projection<'a, 't, T> {
    facts: &'a Facts<'t, T>,
    repository: &'a RepositoryName,
    /// The repository as it is, until it is deleted.
    identity: Option<u64>,
    bytes: u64,
    content: BTreeMap<Digest, Option<Content>>,
    blobs: BTreeMap<Digest, Option<u64>>,
    manifests: BTreeMap<Digest, Option<u64>>,
}

impl<'a, 't, T: ReadableTable<Bytes, Bytes>> Projection<'a, 't, T> {
    fn new(facts: &'a Facts<'t, T>, repository: &'a RepositoryName) -> Result<Self> {
        let found = facts.repository(repository)?;
        Ok(Self {
            facts,
            repository,
            identity: found.map(|repository| repository.identity),
            bytes: found.map_or(0, |repository| repository.bytes),
            content: BTreeMap::new(),
            blobs: BTreeMap::new(),
            manifests: BTreeMap::new(),
        })
    }

    fn usage_behind(mut self, changes: &[Change]) -> Result<u64> {
        for change in changes {
            self.pass(change)?;
        }
        Ok(self.bytes)
    }

    fn pass(&mut self, change: &Change) -> Result<()> {
        match change {
            Change::PutContent(record) => {
                let digest = record.key.digest;
                if record.state != BlobState::Live {
                    self.set_blob(&digest, None)?;
                }
                self.content.insert(digest, Some(Content::new(record)));
            }
            Change::Condemn { digest, at } => {
                if let Some(mut content) = self.content(digest)?.filter(Content::is_live) {
                    content.condemn(*at);
                    self.content.insert(*digest, Some(content));
                    self.set_blob(digest, None)?;
                }
            }
            Change::ForgetContent { key } => {
                let content = self.content(&key.digest)?;
                if content.is_some_and(|content| content.is_under(key)) {
                    self.content.insert(key.digest, None);
                    self.set_blob(&key.digest, None)?;
                }
            }
            Change::LinkBlob {
                repository,
                digest,
                size,
            } if repository == self.repository => {
                let content = self.content(digest)?.filter(Content::is_live);
                if content.is_some() {
                    self.set_blob(digest, Some(*size))?;
                }
            }
            Change::UnlinkBlob { repository, digest } if repository == self.repository => {
                self.set_blob(digest, None)?;
            }
            Change::PutManifest {
                repository,
                manifest,
                ..
            } if repository == self.repository => {
                self.set_manifest(&manifest.digest, Some(manifest.size))?;
            }
            Change::DeleteManifest { repository, digest } if repository == self.repository => {
                self.set_manifest(digest, None)?;
            }
            Change::DeleteRepository { repository, .. } if repository == self.repository => {
                self.identity = None;
                self.bytes = 0;
                self.blobs.clear();
                self.manifests.clear();
            }
            _ => {}
        }
        Ok(())
    }

    fn content(&self, digest: &Digest) -> Result<Option<Content>> {
        match self.content.get(digest) {
            Some(content) => Ok(*content),
            None => self.facts.content(digest),
        }
    }

    fn set_blob(&mut self, digest: &Digest, size: Option<u64>) -> Result<()> {
        let before = match (self.blobs.insert(*digest, size), self.identity) {
            (Some(size), _) => size,
            (None, Some(identity)) => self.facts.blob(identity, digest)?.map(|blob| blob.size),
            (None, None) => None,
        };
        self.replace(before, size);
        Ok(())
    }

    fn set_manifest(&mut self, digest: &Digest, size: Option<u64>) -> Result<()> {
        let before = match (self.manifests.insert(*digest, size), self.identity) {
            (Some(size), _) => size,
            (None, Some(identity)) => {
                let manifest = self.facts.manifest(identity, digest)?;
                manifest.map(|manifest| manifest.size)
            }
            (None, None) => None,
        };
        self.replace(before, size);
        Ok(())
    }

    fn replace(&mut self, before: Option<u64>, after: Option<u64>) {
        let rest = self.bytes.saturating_sub(before.unwrap_or(0));
        self.bytes = rest.saturating_add(after.unwrap_or(0));
    }
}
