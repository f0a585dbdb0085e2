//! Which uploads have work going on that nobody may be waiting for any more.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use registry_core::UploadId;
use tokio::sync::Notify;

/// The uploads whose staged bytes a blocking thread is working on.
///
/// When a request is cancelled, the thread that writes its bytes runs on.
/// Whoever opens the upload next has to wait for it, or old bytes could land
/// on new ones.
#[derive(Debug, Default)]
pub(super) struct InFlight(Mutex<HashMap<UploadId, Work>>);

#[derive(Debug)]
struct Work {
    /// How many threads.
    count: usize,
    done: Arc<Notify>,
}

impl InFlight {
    /// Announces work on an upload, which lasts until the result is dropped.
    pub(super) fn enter(self: &Arc<Self>, upload: UploadId) -> WorkGuard {
        let mut uploads = self.uploads();
        let work = uploads.entry(upload).or_insert_with(|| Work {
            count: 0,
            done: Arc::default(),
        });
        work.count = work.count.saturating_add(1);
        WorkGuard {
            all: Arc::clone(self),
            upload,
        }
    }

    /// Waits until nothing is going on.
    pub(super) async fn settled(&self, upload: &UploadId) {
        loop {
            let Some(done) = self
                .uploads()
                .get(upload)
                .map(|work| Arc::clone(&work.done))
            else {
                return;
            };
            let notified = done.notified();
            // It may have ended before the notification could reach us.
            if !self.uploads().contains_key(upload) {
                return;
            }
            notified.await;
        }
    }

    fn uploads(&self) -> MutexGuard<'_, HashMap<UploadId, Work>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Work on an upload that is going on.
#[derive(Debug)]
pub(super) struct WorkGuard {
    all: Arc<InFlight>,
    upload: UploadId,
}

impl Drop for WorkGuard {
    fn drop(&mut self) {
        if let Entry::Occupied(mut entry) = self.all.uploads().entry(self.upload) {
            let work = entry.get_mut();
            work.count = work.count.saturating_sub(1);
            if work.count == 0 {
                entry.remove().done.notify_waiters();
            }
        }
    }
}
