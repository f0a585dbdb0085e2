//! Uploads that nobody finishes.

use std::time::{Duration, SystemTime};

use registry_core::{ErrorKind, Result};

use super::Engine;

/// How many uploads are looked at in one step.
const STEP: usize = 256;

impl Engine {
    /// Forgets uploads that received nothing for `idle`, and staged bytes that
    /// belong to no upload. Returns how many uploads were forgotten.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unavailable`] if a store can't work now; what was forgotten
    /// until then stays forgotten.
    pub async fn expire_uploads(&self, idle: Duration) -> Result<u64> {
        let mut expired = 0_u64;
        let idle_since = self
            .now()
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
