//! Downloads that several callers need at once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use registry_core::{Digest, RepositoryName};
use tokio::sync::watch;

/// The most downloads that others can wait for. Beyond that, each caller
/// fetches what it needs itself.
const MAX: usize = 1024;

type Key = (RepositoryName, Digest);

/// What is being fetched, each by one caller. Clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct Downloads(Arc<Mutex<HashMap<Key, watch::Sender<bool>>>>);

/// The right to fetch something while others wait for it. They wake up when it
/// is dropped, whatever happened.
#[derive(Debug)]
pub(super) struct Download {
    downloads: Downloads,
    /// None if nobody can find it.
    key: Option<Key>,
    done: watch::Sender<bool>,
}

impl Downloads {
    /// The right to fetch what `digest` names in `repository` for all who need
    /// it; waits while somebody else has it. `None` once somebody was done with
    /// it in the meantime: if it isn't there now, it could not be kept, and
    /// waiting for others would help no more.
    pub(super) async fn turn(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Option<Download> {
        let key = (repository.clone(), *digest);
        loop {
            let mut others = match self.join(&key) {
                Ok(download) => return Some(download),
                Err(others) => others,
            };
            if others.wait_for(|done| *done).await.is_ok() {
                return None;
            }
        }
    }

    /// The right to fetch something, or somebody else's download of it.
    fn join(&self, key: &Key) -> Result<Download, watch::Receiver<bool>> {
        let mut under_way = self.lock();
        if let Some(done) = under_way.get(key) {
            return Err(done.subscribe());
        }
        let done = watch::Sender::new(false);
        let is_found = under_way.len() < MAX;
        if is_found {
            under_way.insert(key.clone(), done.clone());
        }
        Ok(Download {
            downloads: self.clone(),
            key: is_found.then(|| key.clone()),
            done,
        })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, watch::Sender<bool>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Download {
    /// Whether somebody waits for it.
    pub(super) fn is_awaited(&self) -> bool {
        self.done.receiver_count() > 0
    }

    /// There is nothing more to wait for, whether it succeeded or not. If it is
    /// dropped instead, those who wait try again, one of them in its place.
    pub(super) fn done(self) {
        self.done.send_replace(true);
    }
}

impl Drop for Download {
    fn drop(&mut self) {
        if let Some(key) = self.key.take() {
            self.downloads.lock().remove(&key);
        }
    }
}
