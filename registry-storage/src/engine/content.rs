//! One copy of each content, although many push it.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use registry_core::{Digest, Result, UploadId};

use super::Engine;
use crate::{Batch, BlobKey, BlobRecord, BlobState, Change, Requirement};

/// How much damaged content is remembered.
const REMEMBERED: usize = 10_000;

/// Longer than clocks are apart.
const A_CENTURY: Duration = Duration::from_hours(876_000);

/// What is stored of some content.
#[derive(Debug, Clone, Copy)]
pub(super) enum Stored {
    Absent,
    /// The bytes are there, and were compared with what is pushed.
    Whole(BlobKey),
    /// Bytes are there that nobody looked at lately, or that are damaged.
    Doubtful(BlobKey),
    /// Somebody else's push of the same bytes ended during this one, so they
    /// are as good, wherever they are by now.
    Renewed,
}

/// Content that was found damaged by reading it, until it is pushed again.
///
/// It is the bytes under one key that are damaged: what is pushed meanwhile has
/// another.
#[derive(Debug, Default)]
pub(super) struct Damages(Mutex<BTreeMap<Digest, UploadId>>);

impl Damages {
    fn known(&self) -> MutexGuard<'_, BTreeMap<Digest, UploadId>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note of damage, so that the content counts as absent until it is
    /// pushed again: a client that is told that it is there won't do that.
    pub(super) fn remember(&self, key: &BlobKey) {
        let mut known = self.known();
        if known.len() < REMEMBERED || known.contains_key(&key.digest) {
            let before = known.insert(key.digest, key.generation);
            if before != Some(key.generation) {
                tracing::error!(digest = %key.digest, "stored content is damaged until it is pushed again");
            }
        }
    }

    pub(super) fn forget(&self, key: &BlobKey) {
        let mut known = self.known();
        if known.get(&key.digest) == Some(&key.generation) {
            known.remove(&key.digest);
        }
    }

    pub(super) fn contains(&self, key: &BlobKey) -> bool {
        self.known().get(&key.digest) == Some(&key.generation)
    }

    /// The bytes that are remembered.
    #[cfg(feature = "redb")]
    pub(super) fn keys(&self) -> Vec<BlobKey> {
        let known = self.known();
        let keys = known.iter().map(|(digest, generation)| BlobKey {
            digest: *digest,
            generation: *generation,
        });
        keys.collect()
    }

    fn may_contain(&self, digest: &Digest) -> bool {
        self.known().contains_key(digest)
    }
}

impl Engine {
    /// The live bytes of a digest.
    pub(super) async fn live_content(&self, digest: &Digest) -> Result<Option<BlobRecord>> {
        let record = self.metadata().content(digest).await?;
        Ok(record.filter(|record| record.state == BlobState::Live))
    }

    /// Whether the bytes of a digest were found damaged.
    pub(super) async fn is_damaged(&self, digest: &Digest) -> Result<bool> {
        if !self.inner.damages.may_contain(digest) {
            return Ok(false);
        }
        let record = self.live_content(digest).await?;
        Ok(record.is_some_and(|record| self.inner.damages.contains(&record.key)))
    }

    /// Whether there are no bytes of a digest, or damaged ones.
    pub(super) async fn lacks(&self, digest: &Digest) -> Result<bool> {
        let record = self.live_content(digest).await?;
        Ok(record.is_none_or(|record| self.inner.damages.contains(&record.key)))
    }

    /// Takes note that a batch of [`keep_one`] was applied: the other copy is
    /// superfluous.
    pub(super) fn kept(&self, loser: Option<BlobKey>) {
        if let Some(key) = &loser {
            self.inner.damages.forget(key);
        }
        self.drop_copy(loser);
    }

    /// Removes bytes that no record names, behind the caller's back: how long
    /// it takes must not tell whether there was another copy. If it fails they
    /// are debris, which costs space and nothing else.
    pub(super) fn drop_copy(&self, key: Option<BlobKey>) {
        let Some(key) = key else {
            return;
        };
        let engine = self.clone();
        tokio::spawn(async move {
            let dropped = match engine.metadata().content(&key.digest).await {
                // A batch whose outcome was unknown did apply.
                Ok(Some(record)) if record.key == key => Ok(()),
                Ok(_) => engine.blobs().delete(&key).await,
                Err(error) => Err(error),
            };
            if let Err(error) = dropped {
                tracing::warn!(digest = %key.digest, %error, "a superfluous copy of a blob stays");
            }
        });
    }
}

/// The part of a batch that records newly stored bytes, and the copy that is
/// superfluous once the batch is applied.
///
/// Stored bytes that nobody looked at give way to the new ones, which were
/// hashed just now: a push mends what rotted, without reading it. Whoever reads
/// the old ones goes on doing so. Storing the bytes first makes a push of known
/// content cost what any push costs: it tells nobody what other repositories
/// hold.
pub(super) fn keep_one(
    stored: Stored,
    key: BlobKey,
    size: u64,
    now: SystemTime,
) -> (Batch, Option<BlobKey>) {
    let digest = key.digest;
    let record = Change::PutContent(BlobRecord {
        key,
        size,
        state: BlobState::Live,
        touched_at: now,
    });
    let touch = Change::Touch { digest, at: now };
    let (require, change, loser) = match stored {
        Stored::Absent => (Requirement::ContentAbsent { digest }, record, None),
        Stored::Doubtful(old) => (Requirement::ContentIs { key: old }, record, Some(old)),
        Stored::Whole(old) => (Requirement::ContentIs { key: old }, touch, Some(key)),
        // That there are any: pushes of the same bytes must not get into each
        // other's way for long.
        Stored::Renewed => {
            let at = now.checked_add(A_CENTURY).unwrap_or(now);
            let live = Requirement::NotTouchedSince { digest, at };
            (live, touch, Some(key))
        }
    };
    let batch = Batch {
        require: vec![require],
        changes: vec![change],
        durable: true,
    };
    (batch, loser)
}
