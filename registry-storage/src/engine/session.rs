//! One writer at a time for each upload.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use registry_core::UploadId;
use tokio::sync::{Notify, watch};

/// The uploads that a request of this process is writing to.
///
/// Between processes the offset in the metadata decides: the second of two
/// writers fails its commit.
#[derive(Debug, Clone, Default)]
pub(super) struct Sessions {
    busy: Arc<Mutex<HashMap<UploadId, Busy>>>,
}

/// What others have of a session.
#[derive(Debug, Clone)]
struct Busy {
    stop: Arc<Notify>,
    /// Closed once the session is over.
    over: watch::Receiver<()>,
}

/// The right to write to an upload, for as long as it is held.
#[derive(Debug)]
pub(super) struct Session {
    id: UploadId,
    sessions: Sessions,
    stop: Arc<Notify>,
    _over: watch::Sender<()>,
}

impl Sessions {
    /// Enters an upload, unless somebody is in it.
    pub(super) fn enter(&self, id: UploadId) -> Option<Session> {
        self.enter_or_find(id).ok()
    }

    /// Enters an upload after whoever is in it, who is asked to stop.
    ///
    /// That takes no longer than to write what came already: nobody who holds a
    /// session waits for a client without listening for this.
    pub(super) async fn take_over(&self, id: UploadId) -> Session {
        loop {
            match self.enter_or_find(id) {
                Ok(session) => return session,
                Err(mut busy) => {
                    busy.stop.notify_one();
                    // Nothing is ever sent: this ends with an error, when it is over.
                    while busy.over.changed().await.is_ok() {}
                }
            }
        }
    }

    fn enter_or_find(&self, id: UploadId) -> Result<Session, Busy> {
        match self.lock().entry(id) {
            Entry::Occupied(entry) => Err(entry.get().clone()),
            Entry::Vacant(entry) => {
                let stop = Arc::new(Notify::new());
                let (sender, over) = watch::channel(());
                entry.insert(Busy {
                    stop: Arc::clone(&stop),
                    over,
                });
                Ok(Session {
                    id,
                    sessions: self.clone(),
                    stop,
                    _over: sender,
                })
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<UploadId, Busy>> {
        self.busy.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Session {
    /// Waits until somebody wants to take the upload over.
    pub(super) async fn stopped(&self) {
        self.stop.notified().await;
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.sessions.lock().remove(&self.id);
    }
}
