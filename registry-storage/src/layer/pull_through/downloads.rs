//! Downloads that several callers need at once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use registry_core::{Digest, RepositoryName};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

/// The most downloads that others can wait for. Beyond that, each caller
/// fetches what it needs itself.
const MAX: usize = 1024;

/// For how long in all a caller waits for others. Then it fetches what it needs
/// itself: an upstream that is slow for one may take minutes for a blob, of
/// which the others would get no byte until then. It is longer than a slow
/// client may hold up others, so that they are handed on before.
const PATIENCE: Duration = Duration::from_secs(8);

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

/// What came of waiting.
#[derive(Debug)]
pub(super) enum Turn {
    /// It is for the caller to fetch it, for all who need it.
    Ours(Download),
    /// Somebody else was done with it. If it isn't there now, it could not be
    /// kept, and one of those who waited has to try in turn.
    Done,
    /// There was no end to it in time: the caller fetches it for itself.
    Late,
}

impl Downloads {
    /// The right to fetch what `digest` names in `repository` for all who need
    /// it; waits while somebody else has it. The caller is patient for so long
    /// since `begun`.
    pub(super) async fn turn(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        begun: Instant,
    ) -> Turn {
        let key = (repository.clone(), *digest);
        loop {
            let mut others = match self.join(&key) {
                Ok(download) => return Turn::Ours(download),
                Err(others) => others,
            };
            let left = PATIENCE.saturating_sub(begun.elapsed());
            match timeout(left, others.wait_for(|done| *done)).await {
                Ok(Ok(_)) => return Turn::Done,
                Ok(Err(_)) => {}
                Err(_) => return Turn::Late,
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
    pub(super) fn done(mut self) {
        // Those who wake up find no download that is over.
        self.leave();
        self.done.send_replace(true);
    }

    fn leave(&mut self) {
        if let Some(key) = self.key.take() {
            self.downloads.lock().remove(&key);
        }
    }
}

impl Drop for Download {
    fn drop(&mut self) {
        self.leave();
    }
}
