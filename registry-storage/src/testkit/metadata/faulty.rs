//! A store that fails when it is told to.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::SystemTime;

use async_trait::async_trait;
use registry_core::{
    Descriptor, Digest, Error, ErrorKind, Page, Reference, RepositoryEpoch, RepositoryName, Result,
    Tag, UploadId,
};
use tokio::sync::Notify;

use crate::{
    Batch, BlobRecord, CommitError, ManifestRecord, MetadataStore, OutboxEntry, RepositoryRecord,
    TagRecord, UploadRecord,
};

/// A [`MetadataStore`] over another, of which single commits and reads fail:
/// set which with [`fail_commit`](Self::fail_commit),
/// [`lose_answer`](Self::lose_answer) and [`fail_read`](Self::fail_read), and
/// go through all of them to see that a caller stands every one.
#[derive(Debug)]
pub struct FaultyMetadata<S> {
    store: S,
    /// How many commits go well before one isn't made; negative for none.
    commit: AtomicI64,
    /// How many commits go well before one is made and reported as failed.
    answer: AtomicI64,
    /// How many reads go well before one fails.
    read: AtomicI64,
    /// How many reads go well before one waits.
    stall: AtomicI64,
    goes_on: Notify,
    /// How many commits go well before one is refused.
    refusal: AtomicI64,
    /// Whether the store says that it takes nothing, which is so.
    closed: AtomicBool,
}

impl<S> FaultyMetadata<S> {
    /// A store that doesn't fail yet.
    pub fn new(store: S) -> Self {
        Self {
            store,
            commit: AtomicI64::new(-1),
            answer: AtomicI64::new(-1),
            read: AtomicI64::new(-1),
            stall: AtomicI64::new(-1),
            goes_on: Notify::new(),
            refusal: AtomicI64::new(-1),
            closed: AtomicBool::new(false),
        }
    }

    /// Lets `successes` commits pass and the one behind them fail without
    /// effect.
    pub fn fail_commit(&self, successes: u32) {
        self.commit.store(i64::from(successes), Ordering::SeqCst);
    }

    /// Lets `successes` commits pass, and the one behind them take effect but
    /// be reported as failed.
    pub fn lose_answer(&self, successes: u32) {
        self.answer.store(i64::from(successes), Ordering::SeqCst);
    }

    /// Lets `successes` commits pass, and refuses the one behind them, although
    /// nothing was said of that before.
    pub fn refuse_commit(&self, successes: u32) {
        self.refusal.store(i64::from(successes), Ordering::SeqCst);
    }

    /// Refuses all commits until told otherwise, and says so to whoever
    /// [asks](MetadataStore::check).
    pub fn refuse_commits(&self, refuse: bool) {
        self.closed.store(refuse, Ordering::SeqCst);
    }

    /// Lets `successes` reads pass and the one behind them fail.
    pub fn fail_read(&self, successes: u32) {
        self.read.store(i64::from(successes), Ordering::SeqCst);
    }

    /// Lets `successes` reads pass, and the one behind them wait until
    /// [`go_on`](Self::go_on).
    pub fn stall_read(&self, successes: u32) {
        self.stall.store(i64::from(successes), Ordering::SeqCst);
    }

    /// Lets the read go on that waits, or that will.
    pub fn go_on(&self) {
        self.goes_on.notify_one();
    }

    /// Whether all failures that were asked for have happened.
    pub fn has_failed(&self) -> bool {
        [&self.commit, &self.answer, &self.read, &self.refusal]
            .into_iter()
            .all(|countdown| countdown.load(Ordering::SeqCst) < 0)
    }

    fn open(&self) -> Result<()> {
        if self.closed.load(Ordering::SeqCst) {
            return Err(told());
        }
        Ok(())
    }

    async fn reading(&self) -> Result<&S> {
        if self.stall.fetch_sub(1, Ordering::SeqCst) == 0 {
            self.goes_on.notified().await;
        }
        due(&self.read)?;
        Ok(&self.store)
    }
}

fn due(countdown: &AtomicI64) -> Result<()> {
    if countdown.fetch_sub(1, Ordering::SeqCst) == 0 {
        return Err(told());
    }
    Ok(())
}

fn told() -> Error {
    ErrorKind::Unavailable.error("this store was told to fail; try again")
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<S: MetadataStore> MetadataStore for FaultyMetadata<S> {
    async fn check(&self) -> Result<()> {
        self.open()?;
        self.store.check().await
    }

    async fn close(&self) -> Result<()> {
        self.store.close().await
    }

    async fn commit(&self, batch: Batch) -> Result<(), CommitError> {
        self.open().map_err(CommitError::Refused)?;
        due(&self.refusal).map_err(CommitError::Refused)?;
        due(&self.commit)?;
        let result = self.store.commit(batch).await;
        due(&self.answer)?;
        result
    }

    async fn repository(&self, name: &RepositoryName) -> Result<Option<RepositoryRecord>> {
        self.reading().await?.repository(name).await
    }

    async fn epoch(&self, repository: &RepositoryName) -> Result<RepositoryEpoch> {
        self.reading().await?.epoch(repository).await
    }

    async fn repositories(
        &self,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<RepositoryRecord>> {
        self.reading().await?.repositories(after, limit).await
    }

    async fn content(&self, digest: &Digest) -> Result<Option<BlobRecord>> {
        self.reading().await?.content(digest).await
    }

    async fn contents(&self, after: Option<&Digest>, limit: usize) -> Result<Vec<BlobRecord>> {
        self.reading().await?.contents(after, limit).await
    }

    async fn blob(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<Option<BlobRecord>> {
        self.reading().await?.blob(repository, digest).await
    }

    async fn holders(
        &self,
        digest: &Digest,
        after: Option<&RepositoryName>,
        limit: usize,
    ) -> Result<Vec<RepositoryName>> {
        self.reading().await?.holders(digest, after, limit).await
    }

    async fn manifest(
        &self,
        repository: &RepositoryName,
        reference: &Reference,
    ) -> Result<Option<ManifestRecord>> {
        self.reading().await?.manifest(repository, reference).await
    }

    async fn manifests(
        &self,
        repository: &RepositoryName,
        after: Option<&Digest>,
        limit: usize,
    ) -> Result<Vec<ManifestRecord>> {
        self.reading()
            .await?
            .manifests(repository, after, limit)
            .await
    }

    async fn tags(
        &self,
        repository: &RepositoryName,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Option<Vec<(Tag, TagRecord)>>> {
        self.reading().await?.tags(repository, after, limit).await
    }

    async fn tags_of(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        limit: usize,
    ) -> Result<Vec<Tag>> {
        self.reading()
            .await?
            .tags_of(repository, digest, limit)
            .await
    }

    async fn referrers(
        &self,
        repository: &RepositoryName,
        subject: &Digest,
        after: Option<&Digest>,
        limit: usize,
        max_bytes: usize,
    ) -> Result<Page<Descriptor>> {
        let store = self.reading().await?;
        store
            .referrers(repository, subject, after, limit, max_bytes)
            .await
    }

    async fn upload(&self, id: &UploadId) -> Result<Option<UploadRecord>> {
        self.reading().await?.upload(id).await
    }

    async fn uploads(
        &self,
        repository: &RepositoryName,
        after: Option<&UploadId>,
        limit: usize,
    ) -> Result<Vec<UploadRecord>> {
        self.reading()
            .await?
            .uploads(repository, after, limit)
            .await
    }

    async fn idle_uploads(
        &self,
        idle_since: SystemTime,
        limit: usize,
    ) -> Result<Vec<UploadRecord>> {
        self.reading().await?.idle_uploads(idle_since, limit).await
    }

    async fn outbox(&self, limit: usize) -> Result<Vec<OutboxEntry>> {
        self.reading().await?.outbox(limit).await
    }

    async fn clock(&self) -> Result<Option<SystemTime>> {
        self.reading().await?.clock().await
    }
}
