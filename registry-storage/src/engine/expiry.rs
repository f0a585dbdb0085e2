//! Uploads that nobody finishes.

use std::sync::Weak;
use std::time::{Duration, SystemTime};

use registry_core::{ErrorKind, Result};

use super::{Engine, Inner};

/// How many uploads are looked at in one step.
const STEP: usize = 256;

/// How soon after the start to look for the first time at the latest, so that
/// a program that is often restarted gets to it too.
const FIRST: Duration = Duration::from_mins(1);

/// How often the time is kept at least.
const TICK: Duration = Duration::from_hours(1);

/// When an engine forgets uploads that nobody finishes.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UploadExpiry {
    /// How long an upload may receive nothing. A week unless changed.
    pub idle: Duration,
    /// How often to look. Every hour unless changed.
    pub interval: Duration,
}

impl UploadExpiry {
    /// Sets how long an upload may receive nothing.
    pub fn idle(mut self, idle: Duration) -> Self {
        self.idle = idle;
        self
    }

    /// Sets how often to look.
    pub fn interval(mut self, interval: Duration) -> Self {
        self.interval = interval;
        self
    }
}

impl Default for UploadExpiry {
    fn default() -> Self {
        Self {
            idle: Duration::from_hours(7 * 24),
            interval: Duration::from_hours(1),
        }
    }
}

/// Forgets uploads again and again, until the engine is gone.
pub(super) async fn run(engine: Weak<Inner>, expiry: UploadExpiry) {
    // Looking all the time would be all that is done.
    let interval = expiry.interval.max(Duration::from_millis(1));
    let mut left = interval.min(FIRST);
    loop {
        let step = left.min(TICK);
        tokio::time::sleep(step).await;
        left = left.saturating_sub(step);
        let Some(inner) = engine.upgrade() else {
            return;
        };
        let engine = Engine { inner };
        if !left.is_zero() {
            if let Err(error) = engine.keep_time().await {
                tracing::warn!(%error, "the time can't be kept now");
            }
            continue;
        }
        left = interval;
        match engine.expire_uploads(expiry.idle).await {
            Ok(0) => {}
            Ok(uploads) => tracing::info!(uploads, "unfinished uploads were forgotten"),
            Err(error) => tracing::warn!(%error, "unfinished uploads can't be forgotten now"),
        }
    }
}

/// A task that ends with whoever holds this.
#[derive(Debug)]
pub(super) struct EndsWithIt(pub(super) tokio::task::AbortHandle);

impl EndsWithIt {
    pub(super) fn end(&self) {
        self.0.abort();
    }
}

impl Drop for EndsWithIt {
    fn drop(&mut self) {
        self.end();
    }
}

impl Engine {
    /// Forgets uploads that received nothing for `idle`, and staged bytes that
    /// belong to no upload. Returns how many uploads were forgotten.
    ///
    /// A clock that jumps ahead doesn't make an upload idle: what counts is the
    /// time during which a process had an engine that did this now and then, and
    /// up to an hour between two processes. A clock that is behind makes
    /// everything wait.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unavailable`] if a store can't work now; what was forgotten
    /// until then stays forgotten.
    pub async fn expire_uploads(&self, idle: Duration) -> Result<u64> {
        let mut expired = 0_u64;
        let idle_since = self
            .keep_time()
            .await?
            .checked_sub(idle)
            .unwrap_or(SystemTime::UNIX_EPOCH);
        loop {
            let uploads = self.metadata().idle_uploads(idle_since, STEP).await?;
            let mut forgotten = 0_u64;
            for upload in &uploads {
                // Whoever writes to it right now keeps it.
                let Some(_session) = self.inner.sessions.enter(upload.id) else {
                    continue;
                };
                // It may have gone on since it was listed.
                let now = self.metadata().upload(&upload.id).await?;
                if now.is_none_or(|now| now.active_at > idle_since) {
                    continue;
                }
                match self.forget_upload(upload).await {
                    Ok(()) => forgotten = forgotten.saturating_add(1),
                    Err(error) if error.kind() == ErrorKind::UploadUnknown => {}
                    Err(error) => return Err(error),
                }
            }
            expired = expired.saturating_add(forgotten);
            if uploads.len() < STEP || forgotten == 0 {
                break;
            }
        }
        self.discard_orphans().await?;
        Ok(expired)
    }

    async fn discard_orphans(&self) -> Result<()> {
        let mut after = None;
        loop {
            let staged = self.blobs().list_staged(after, STEP).await?;
            for id in &staged {
                let Some(_session) = self.inner.sessions.enter(*id) else {
                    continue;
                };
                if self.metadata().upload(id).await?.is_none() {
                    self.blobs().discard(id).await?;
                }
            }
            after = staged.last().copied();
            if staged.len() < STEP {
                return Ok(());
            }
        }
    }
}
