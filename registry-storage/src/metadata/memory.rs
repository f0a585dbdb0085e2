//! Metadata in memory.

mod state;

use std::sync::{PoisonError, RwLock, RwLockReadGuard};
use std::time::SystemTime;

use async_trait::async_trait;
use registry_core::{
    Descriptor, Digest, Page, Reference, RepositoryEpoch, RepositoryName, Result, Tag, UploadId,
};

use super::{
    Batch, BlobRecord, CommitError, ManifestRecord, MetadataStore, OutboxEntry, ReferrerPage,
    RepositoryRecord, TagRecord, UploadRecord,
};
use state::State;

/// Metadata in memory, gone with the process.
///
/// It is the executable reference of the contract: maps under one lock, written
/// to be obviously right, which every other store is compared with. Point
/// changes cost in proportion to the logarithm of what is stored; a few rare
/// ones (condemning, deleting a manifest, requiring a limit on usage) cost more.
#[derive(Debug, Default)]
pub struct MemoryMetadata {
    state: RwLock<State>,
}

impl MemoryMetadata {
    /// A store that holds nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Another store that holds the same and goes its own way.
    #[cfg(test)]
    pub(super) fn fork(&self) -> Self {
        let state = self.read().clone();
        Self {
            state: RwLock::new(state),
        }
    }

    /// The identity and the place in the outbox that were given last.
    #[cfg(test)]
    pub(super) fn counters(&self) -> (u64, u64) {
        let state = self.read();
        (state.identity, state.sequence)
    }

    /// The state is whole even if a thread ended while it held the lock: a
    /// batch works on it only after all that can fail.
    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl MetadataStore for MemoryMetadata {
    async fn check(&self) -> Result<()> {
        Ok(())
    }

    async fn close(&self) -> Result<()> {
        Ok(())
    }

    async fn commit(&self, batch: Batch) -> Result<(), CommitError> {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        for requirement in batch.require {
            if !state.meets(&requirement, &batch.changes) {
                return Err(CommitError::Conflict(requirement));
            }
        }
        for change in batch.changes {
            state.apply(change);
        }
        Ok(())
    }

    async fn repository(&self, name: &RepositoryName) -> Result<Option<RepositoryRecord>> {
        Ok(self.read().repository(name))
    }

    async fn epoch(&self, repository: &RepositoryName) -> Result<RepositoryEpoch> {
        Ok(self.read().epoch(repository))
    }

    async fn repositories(
        &self,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<RepositoryRecord>> {
        let state = self.read();
        let names = state.repositories.keys();
        Ok(names
            .filter(|name| after.is_none_or(|after| name.as_str() > after))
            .filter_map(|name| state.repository(name))
            .take(limit)
            .collect())
    }

    async fn content(&self, digest: &Digest) -> Result<Option<BlobRecord>> {
        Ok(self.read().content.get(digest).cloned())
    }

    async fn contents(&self, after: Option<&Digest>, limit: usize) -> Result<Vec<BlobRecord>> {
        let state = self.read();
        let records = state.content.range(behind(after)).take(limit);
        Ok(records.map(|(_, record)| record.clone()).collect())
    }

    async fn blob(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<Option<BlobRecord>> {
        Ok(self.read().blob(repository, digest).cloned())
    }

    async fn holders(
        &self,
        digest: &Digest,
        after: Option<&RepositoryName>,
        limit: usize,
    ) -> Result<Vec<RepositoryName>> {
        let state = self.read();
        let repositories = state.repositories.range(behind(after));
        Ok(repositories
            .filter(|(_, repository)| repository.blobs.contains_key(digest))
            .map(|(name, _)| name.clone())
            .take(limit)
            .collect())
    }

    async fn manifest(
        &self,
        repository: &RepositoryName,
        reference: &Reference,
    ) -> Result<Option<ManifestRecord>> {
        let state = self.read();
        let Some(repository) = state.repositories.get(repository) else {
            return Ok(None);
        };
        let digest = match reference {
            Reference::Digest(digest) => Some(digest),
            Reference::Tag(tag) => repository.tags.get(tag).map(|tag| &tag.digest),
        };
        let manifest = digest.and_then(|digest| repository.manifests.get(digest));
        Ok(manifest.map(|manifest| manifest.record.clone()))
    }

    async fn manifests(
        &self,
        repository: &RepositoryName,
        after: Option<&Digest>,
        limit: usize,
    ) -> Result<Vec<ManifestRecord>> {
        let state = self.read();
        let manifests = state.repositories.get(repository);
        Ok(manifests
            .into_iter()
            .flat_map(|repository| repository.manifests.range(behind(after)))
            .map(|(_, manifest)| manifest.record.clone())
            .take(limit)
            .collect())
    }

    async fn tags(
        &self,
        repository: &RepositoryName,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Option<Vec<(Tag, TagRecord)>>> {
        let state = self.read();
        Ok(state.repositories.get(repository).map(|repository| {
            let tags = repository.tags.iter();
            tags.filter(|(tag, _)| after.is_none_or(|after| tag.as_str() > after))
                .map(|(tag, record)| (tag.clone(), record.clone()))
                .take(limit)
                .collect()
        }))
    }

    async fn tags_of(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        limit: usize,
    ) -> Result<Vec<Tag>> {
        let mut tags = self.read().tags_of(repository, digest);
        tags.truncate(limit);
        Ok(tags)
    }

    async fn referrers(
        &self,
        repository: &RepositoryName,
        subject: &Digest,
        after: Option<&Digest>,
        limit: usize,
        max_bytes: usize,
    ) -> Result<Page<Descriptor>> {
        let state = self.read();
        let mut page = ReferrerPage::new(limit, max_bytes);
        let repository = state.repositories.get(repository);
        let referrers = repository
            .into_iter()
            .flat_map(|repository| repository.manifests.range(behind(after)))
            .filter(|(_, manifest)| manifest.record.subject.as_ref() == Some(subject))
            .filter_map(|(_, manifest)| manifest.referrer.as_ref());
        for referrer in referrers {
            if !page.push(referrer.clone()) {
                break;
            }
        }
        Ok(page.finish())
    }

    async fn upload(&self, id: &UploadId) -> Result<Option<UploadRecord>> {
        Ok(self.read().uploads.get(id).cloned())
    }

    async fn uploads(
        &self,
        repository: &RepositoryName,
        after: Option<&UploadId>,
        limit: usize,
    ) -> Result<Vec<UploadRecord>> {
        let state = self.read();
        let uploads = state.uploads.range(behind(after));
        Ok(uploads
            .map(|(_, upload)| upload)
            .filter(|upload| upload.repository == *repository)
            .take(limit)
            .cloned()
            .collect())
    }

    async fn idle_uploads(
        &self,
        idle_since: SystemTime,
        limit: usize,
    ) -> Result<Vec<UploadRecord>> {
        let state = self.read();
        let uploads = state.uploads.values();
        let mut idle: Vec<_> = uploads
            .filter(|upload| upload.active_at < idle_since)
            .collect();
        idle.sort_by_key(|upload| (upload.active_at, upload.id));
        Ok(idle.into_iter().take(limit).cloned().collect())
    }

    async fn outbox(&self, limit: usize) -> Result<Vec<OutboxEntry>> {
        let state = self.read();
        let entries = state.outbox.iter().take(limit);
        Ok(entries
            .map(|(sequence, event)| OutboxEntry {
                sequence: *sequence,
                event: Some(event.clone()),
            })
            .collect())
    }

    async fn clock(&self) -> Result<Option<SystemTime>> {
        Ok(self.read().clock)
    }
}

/// The keys behind `after`.
fn behind<K: Ord>(after: Option<&K>) -> (std::ops::Bound<&K>, std::ops::Bound<&K>) {
    use std::ops::Bound;
    (
        after.map_or(Bound::Unbounded, Bound::Excluded),
        Bound::Unbounded,
    )
}
