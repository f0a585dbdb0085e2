//! The port behind which the facts live.

mod batch;
mod memory;
mod record;
#[cfg(feature = "redb")]
mod redb;
mod referrer_page;
mod timestamp;

pub use batch::{Batch, Change, CommitError, Requirement};
pub use memory::MemoryMetadata;
pub use record::{
    BlobRecord, BlobState, ManifestRecord, OutboxEntry, RepositoryIdentity, RepositoryRecord,
    TagRecord, UploadRecord,
};
#[cfg(all(feature = "redb", feature = "testkit"))]
pub use redb::testkit as change_log;
#[cfg(feature = "redb")]
pub use redb::{
    ColdReads, FactFault, FactKind, MetadataFinding, Rebuilt, RedbMetadata, RedbOptions,
    VerifiedMetadata, WrongFact,
};
#[cfg(feature = "redb")]
pub(crate) use redb::{require_change_log, require_stored};

pub(crate) use referrer_page::{ReferrerPage, listed_size};

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use registry_core::{
    Descriptor, Digest, Page, Reference, RepositoryEpoch, RepositoryName, Result, Tag, UploadId,
};

/// Keeps the facts about repositories: which content they hold, which manifests
/// and tags, what refers to what, which uploads are open, which events wait.
///
/// Reads see every commit that was acknowledged before they started, and none
/// in part. Writes go through [`commit`](Self::commit) alone.
/// `registry_storage::testkit` (feature `testkit`) has the contract as tests;
/// [`MemoryMetadata`](crate::MemoryMetadata) is its executable reference.
///
/// # Errors
///
/// [`Unavailable`](registry_core::ErrorKind::Unavailable) if the store can't
/// work now; [`Corrupt`](registry_core::ErrorKind::Corrupt) if a record can't be
/// read; [`Internal`](registry_core::ErrorKind::Internal) for what isn't
/// foreseen. A failed read is never reported as absence.
#[async_trait]
pub trait MetadataStore: fmt::Debug + Send + Sync + 'static {
    /// Whether the store can take commits now. Cheap enough to ask before each
    /// blob that is stored, so that none is stored in vain.
    ///
    /// # Errors
    ///
    /// [`Unavailable`](registry_core::ErrorKind::Unavailable) if it can't, and
    /// why.
    async fn check(&self) -> Result<()> {
        Ok(())
    }

    /// Finishes what was begun, and returns once the store has let go of all
    /// that it holds, so that another can have it. Reads and commits may fail
    /// from then on. It may be called again.
    ///
    /// Durable batches don't need it; others survive if it returns. A store that
    /// is dropped instead does the same, but nobody knows when it is done. Does
    /// nothing unless a store says otherwise.
    ///
    /// # Errors
    ///
    /// [`Corrupt`](registry_core::ErrorKind::Corrupt) if it met damage on the
    /// way. It has let go of everything all the same.
    async fn close(&self) -> Result<()> {
        Ok(())
    }

    /// Applies all changes of a batch, or none.
    ///
    /// The requirements are checked against the state that the changes are then
    /// made to, with nothing in between.
    ///
    /// # Durability
    ///
    /// A [durable](Batch::durable) batch survives a power failure once this
    /// returns. Others survive together with the next durable one.
    ///
    /// # Errors
    ///
    /// [`CommitError::Conflict`] with the first requirement that doesn't hold;
    /// [`CommitError::Refused`] if the store knows that it did nothing;
    /// [`CommitError::Failed`] if the outcome can't be told: the batch may or
    /// may not have been applied.
    async fn commit(&self, batch: Batch) -> Result<(), CommitError>;

    /// A repository.
    async fn repository(&self, name: &RepositoryName) -> Result<Option<RepositoryRecord>>;

    /// How many repositories of this name were deleted, and when the last of
    /// them was, whether or not there is one now. A point lookup. Never counts
    /// back, and a rebuilt store has at least the same number.
    async fn epoch(&self, repository: &RepositoryName) -> Result<RepositoryEpoch>;

    /// Repositories in the order of their names' bytes, behind `after`, at most
    /// `limit`. `after` needn't be a valid name.
    async fn repositories(
        &self,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<RepositoryRecord>>;

    /// The stored bytes behind a digest, wherever they are linked.
    async fn content(&self, digest: &Digest) -> Result<Option<BlobRecord>>;

    /// Stored bytes in the order of their digests, behind `after`, at most
    /// `limit`.
    async fn contents(&self, after: Option<&Digest>, limit: usize) -> Result<Vec<BlobRecord>>;

    /// The bytes of a blob that is linked to a repository and live.
    async fn blob(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<Option<BlobRecord>>;

    /// The repositories that a blob is linked to, in the order of their names'
    /// bytes, behind `after`, at most `limit`.
    async fn holders(
        &self,
        digest: &Digest,
        after: Option<&RepositoryName>,
        limit: usize,
    ) -> Result<Vec<RepositoryName>>;

    /// The manifest that a reference points to now.
    async fn manifest(
        &self,
        repository: &RepositoryName,
        reference: &Reference,
    ) -> Result<Option<ManifestRecord>>;

    /// The manifests of a repository in the order of their digests, behind
    /// `after`, at most `limit`.
    async fn manifests(
        &self,
        repository: &RepositoryName,
        after: Option<&Digest>,
        limit: usize,
    ) -> Result<Vec<ManifestRecord>>;

    /// The tags of a repository in the order of their bytes, behind `after`, at
    /// most `limit`; nothing if there is no such repository. `after` needn't be
    /// a valid tag.
    async fn tags(
        &self,
        repository: &RepositoryName,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Option<Vec<(Tag, TagRecord)>>>;

    /// The tags of a repository that point to a manifest, in the order of their
    /// bytes, at most `limit`. Costs in proportion to the answer, not to the
    /// tags of the repository.
    async fn tags_of(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        limit: usize,
    ) -> Result<Vec<Tag>>;

    /// The manifests that are about `subject`, in the order of their digests,
    /// behind `after`, at most `limit`, and no more than about `max_bytes` of
    /// what is written of them in a list; one is never too many. Descriptors
    /// are as large as the annotations that clients push, so a store must not
    /// read more of them than that. The page's `next` is the last of its
    /// digests if there are more.
    async fn referrers(
        &self,
        repository: &RepositoryName,
        subject: &Digest,
        after: Option<&Digest>,
        limit: usize,
        max_bytes: usize,
    ) -> Result<Page<Descriptor>>;

    /// An open upload.
    async fn upload(&self, id: &UploadId) -> Result<Option<UploadRecord>>;

    /// The uploads that are open in a repository, in the order of their
    /// identities, behind `after`, at most `limit`.
    async fn uploads(
        &self,
        repository: &RepositoryName,
        after: Option<&UploadId>,
        limit: usize,
    ) -> Result<Vec<UploadRecord>>;

    /// Uploads that last received something before `idle_since`, the longest
    /// idle first, at most `limit`.
    async fn idle_uploads(&self, idle_since: SystemTime, limit: usize)
    -> Result<Vec<UploadRecord>>;

    /// The oldest events that wait for delivery, at most `limit`.
    async fn outbox(&self, limit: usize) -> Result<Vec<OutboxEntry>>;

    /// The latest moment that was [recorded](Change::AdvanceClock), if any was.
    async fn clock(&self) -> Result<Option<SystemTime>>;
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<S: MetadataStore + ?Sized> MetadataStore for Arc<S> {
    async fn check(&self) -> Result<()> {
        (**self).check().await
    }

    async fn close(&self) -> Result<()> {
        (**self).close().await
    }

    async fn commit(&self, batch: Batch) -> Result<(), CommitError> {
        (**self).commit(batch).await
    }

    async fn repository(&self, name: &RepositoryName) -> Result<Option<RepositoryRecord>> {
        (**self).repository(name).await
    }

    async fn epoch(&self, repository: &RepositoryName) -> Result<RepositoryEpoch> {
        (**self).epoch(repository).await
    }

    async fn repositories(
        &self,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<RepositoryRecord>> {
        (**self).repositories(after, limit).await
    }

    async fn content(&self, digest: &Digest) -> Result<Option<BlobRecord>> {
        (**self).content(digest).await
    }

    async fn contents(&self, after: Option<&Digest>, limit: usize) -> Result<Vec<BlobRecord>> {
        (**self).contents(after, limit).await
    }

    async fn blob(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<Option<BlobRecord>> {
        (**self).blob(repository, digest).await
    }

    async fn holders(
        &self,
        digest: &Digest,
        after: Option<&RepositoryName>,
        limit: usize,
    ) -> Result<Vec<RepositoryName>> {
        (**self).holders(digest, after, limit).await
    }

    async fn manifest(
        &self,
        repository: &RepositoryName,
        reference: &Reference,
    ) -> Result<Option<ManifestRecord>> {
        (**self).manifest(repository, reference).await
    }

    async fn manifests(
        &self,
        repository: &RepositoryName,
        after: Option<&Digest>,
        limit: usize,
    ) -> Result<Vec<ManifestRecord>> {
        (**self).manifests(repository, after, limit).await
    }

    async fn tags(
        &self,
        repository: &RepositoryName,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Option<Vec<(Tag, TagRecord)>>> {
        (**self).tags(repository, after, limit).await
    }

    async fn tags_of(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        limit: usize,
    ) -> Result<Vec<Tag>> {
        (**self).tags_of(repository, digest, limit).await
    }

    async fn referrers(
        &self,
        repository: &RepositoryName,
        subject: &Digest,
        after: Option<&Digest>,
        limit: usize,
        max_bytes: usize,
    ) -> Result<Page<Descriptor>> {
        (**self)
            .referrers(repository, subject, after, limit, max_bytes)
            .await
    }

    async fn upload(&self, id: &UploadId) -> Result<Option<UploadRecord>> {
        (**self).upload(id).await
    }

    async fn uploads(
        &self,
        repository: &RepositoryName,
        after: Option<&UploadId>,
        limit: usize,
    ) -> Result<Vec<UploadRecord>> {
        (**self).uploads(repository, after, limit).await
    }

    async fn idle_uploads(
        &self,
        idle_since: SystemTime,
        limit: usize,
    ) -> Result<Vec<UploadRecord>> {
        (**self).idle_uploads(idle_since, limit).await
    }

    async fn outbox(&self, limit: usize) -> Result<Vec<OutboxEntry>> {
        (**self).outbox(limit).await
    }

    async fn clock(&self) -> Result<Option<SystemTime>> {
        (**self).clock().await
    }
}
