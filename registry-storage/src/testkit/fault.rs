//! A blob store that fails on purpose.

use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use registry_core::{BlobBody, Error, ErrorKind, Result, UploadId, Verified};

use crate::{BlobKey, BlobStore, StagedBlob, StoredBlob};

/// A method of [`BlobStore`] or [`StagedBlob`].
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlobCall {
    /// [`BlobStore::check`].
    Check,
    /// [`BlobStore::stage`].
    Stage,
    /// [`StagedBlob::write`].
    Write,
    /// [`StagedBlob::pause`].
    Pause,
    /// [`StagedBlob::publish`].
    Publish,
    /// [`BlobStore::open_staged`].
    OpenStaged,
    /// [`BlobStore::discard`].
    Discard,
    /// [`BlobStore::list_staged`].
    ListStaged,
    /// [`BlobStore::open`].
    Open,
    /// [`BlobStore::size`].
    Size,
    /// [`BlobStore::delete`].
    Delete,
    /// [`BlobStore::list`].
    List,
}

/// How a call fails.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing is done.
    Before,
    /// All is done, but the caller is told of a failure, as when an answer gets
    /// lost.
    After,
}

/// A [`BlobStore`] whose calls fail as planned, with
/// [`ErrorKind::Unavailable`]. Clones share the plan and the store.
#[derive(Debug, Clone)]
pub struct FaultyBlobs<S> {
    store: Arc<S>,
    faults: Faults,
}

#[derive(Debug, Clone, Default)]
struct Faults(Arc<Mutex<Plan>>);

#[derive(Debug, Default)]
struct Plan {
    calls: Vec<BlobCall>,
    faults: Vec<PlannedFault>,
}

#[derive(Debug)]
struct PlannedFault {
    /// Any call if absent.
    call: Option<BlobCall>,
    /// How many such calls work before.
    skip: usize,
    fault: Fault,
}

impl<S: BlobStore> FaultyBlobs<S> {
    /// A store that works until a fault is planned.
    pub fn new(store: S) -> Self {
        Self {
            store: Arc::new(store),
            faults: Faults::default(),
        }
    }

    /// Lets one call fail, after `skip` more of its kind have worked.
    pub fn fail(&self, call: BlobCall, skip: usize, fault: Fault) {
        self.plan(Some(call), skip, fault);
    }

    /// Lets one call fail, whichever it is, after `skip` more have worked.
    /// Counting `skip` up until nothing fails any more puts the fault in each
    /// place there is.
    pub fn fail_any(&self, skip: usize, fault: Fault) {
        self.plan(None, skip, fault);
    }

    fn plan(&self, call: Option<BlobCall>, skip: usize, fault: Fault) {
        let planned = PlannedFault { call, skip, fault };
        self.faults.plan().faults.push(planned);
    }

    /// Forgets the faults that haven't happened, and tells how many those are.
    pub fn recover(&self) -> usize {
        self.faults.plan().faults.drain(..).count()
    }

    /// The calls so far, failed ones included.
    pub fn calls(&self) -> Vec<BlobCall> {
        self.faults.plan().calls.clone()
    }

    /// The store behind the faults.
    pub fn store(&self) -> &S {
        &self.store
    }
}

impl Faults {
    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a call, and tells how it is to fail.
    fn next(&self, call: BlobCall) -> Option<Fault> {
        let mut plan = self.plan();
        plan.calls.push(call);
        let mut due = None;
        plan.faults.retain_mut(|planned| {
            if planned.call.is_some_and(|only| only != call) {
                return true;
            }
            if planned.skip == 0 && due.is_none() {
                due = Some(planned.fault);
                return false;
            }
            planned.skip = planned.skip.saturating_sub(1);
            true
        });
        due
    }

    async fn call<T>(&self, call: BlobCall, work: impl Future<Output = Result<T>>) -> Result<T> {
        match self.next(call) {
            None => work.await,
            Some(Fault::Before) => Err(failure()),
            Some(Fault::After) => work.await.and(Err(failure())),
        }
    }
}

fn failure() -> Error {
    ErrorKind::Unavailable.error("the store fails on purpose; try again")
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<S: BlobStore> BlobStore for FaultyBlobs<S> {
    async fn check(&self) -> Result<()> {
        self.faults.call(BlobCall::Check, self.store.check()).await
    }

    fn staged_is_durable(&self) -> bool {
        self.store.staged_is_durable()
    }

    async fn stage(&self, upload: &UploadId, offset: u64) -> Result<Box<dyn StagedBlob>> {
        let work = self.store.stage(upload, offset);
        let staged = self.faults.call(BlobCall::Stage, work).await?;
        let faults = self.faults.clone();
        Ok(Box::new(FaultyStaged { staged, faults }))
    }

    async fn open_staged(&self, upload: &UploadId, range: Range<u64>) -> Result<BlobBody> {
        let work = self.store.open_staged(upload, range);
        self.faults.call(BlobCall::OpenStaged, work).await
    }

    async fn discard(&self, upload: &UploadId) -> Result<()> {
        let work = self.store.discard(upload);
        self.faults.call(BlobCall::Discard, work).await
    }

    async fn list_staged(&self, after: Option<UploadId>, limit: usize) -> Result<Vec<UploadId>> {
        let work = self.store.list_staged(after, limit);
        self.faults.call(BlobCall::ListStaged, work).await
    }

    async fn open(&self, key: &BlobKey, range: Range<u64>) -> Result<BlobBody> {
        let work = self.store.open(key, range);
        self.faults.call(BlobCall::Open, work).await
    }

    async fn size(&self, key: &BlobKey) -> Result<u64> {
        self.faults.call(BlobCall::Size, self.store.size(key)).await
    }

    async fn delete(&self, key: &BlobKey) -> Result<()> {
        let work = self.store.delete(key);
        self.faults.call(BlobCall::Delete, work).await
    }

    async fn list(&self, after: Option<BlobKey>, limit: usize) -> Result<Vec<StoredBlob>> {
        let work = self.store.list(after, limit);
        self.faults.call(BlobCall::List, work).await
    }
}

#[derive(Debug)]
struct FaultyStaged {
    staged: Box<dyn StagedBlob>,
    faults: Faults,
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl StagedBlob for FaultyStaged {
    async fn write(&mut self, bytes: Bytes) -> Result<()> {
        let work = self.staged.write(bytes);
        self.faults.call(BlobCall::Write, work).await
    }

    async fn pause(self: Box<Self>) -> Result<()> {
        let work = self.staged.pause();
        self.faults.call(BlobCall::Pause, work).await
    }

    async fn publish(self: Box<Self>, verified: Verified) -> Result<BlobKey> {
        let work = self.staged.publish(verified);
        self.faults.call(BlobCall::Publish, work).await
    }
}
