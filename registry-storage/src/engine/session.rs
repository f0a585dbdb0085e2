//! One writer at a time for each upload.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use registry_core::UploadId;

/// The uploads that a request of this process is writing to.
///
/// Between processes the offset in the metadata decides: the second of two
/// writers fails its commit.
#[derive(Debug, Clone, Default)]
pub(super) struct Sessions {
    busy: Arc<Mutex<HashSet<UploadId>>>,
}

/// The right to write to an upload, for as long as it is held.
#[derive(Debug)]
pub(super) struct Session {
    id: UploadId,
    sessions: Sessions,
}

impl Sessions {
    /// Enters an upload, unless somebody is in it.
    pub(super) fn enter(&self, id: UploadId) -> Option<Session> {
        self.lock().insert(id).then(|| Session {
            id,
            sessions: self.clone(),
        })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashSet<UploadId>> {
        self.busy.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.sessions.lock().remove(&self.id);
    }
}
