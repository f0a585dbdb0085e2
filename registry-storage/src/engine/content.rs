//! One copy of each content, although many push it.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use registry_core::{Digest, ErrorKind, Result};

use super::Engine;
use crate::{Batch, BlobKey, BlobRecord, BlobState, Operation, Requirement};

/// How much damaged content is remembered.
const REMEMBERED: usize = 10_000;

/// What is stored of some content.
#[derive(Debug, Clone, Copy)]
pub(super) enum Stored {
    Absent,
    Whole(BlobKey),
    Damaged(BlobKey),
}

/// Content that was found damaged by reading it, until it is pushed again.
#[derive(Debug, Default)]
pub(super) struct Damages(Mutex<BTreeSet<Digest>>);

impl Damages {
    fn known(&self) -> MutexGuard<'_, BTreeSet<Digest>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn remember(&self, digest: Digest) {
        let mut known = self.known();
        if known.len() < REMEMBERED {
            known.insert(digest);
        }
    }
}

impl Engine {
    /// What is stored of some content: whether its bytes are there in full, and
    /// nobody found them damaged. If they aren't, a push mends them.
    pub(super) async fn stored(&self, digest: &Digest, size: u64) -> Result<Stored> {
        let Some(record) = self.metadata().content(digest).await? else {
            return Ok(Stored::Absent);
        };
        if record.state != BlobState::Live {
            return Ok(Stored::Absent);
        }
        if self.inner.damages.known().contains(digest) {
            return Ok(Stored::Damaged(record.key));
        }
        match self.blobs().size(&record.key).await {
            Ok(stored) if stored == size => Ok(Stored::Whole(record.key)),
            Ok(_) => Ok(Stored::Damaged(record.key)),
            Err(error) if error.kind() == ErrorKind::BlobUnknown => Ok(Stored::Damaged(record.key)),
            Err(error) => Err(error),
        }
    }

    /// Takes note that a batch of [`keep_one`] was applied: the content is
    /// whole, and the other copy superfluous.
    pub(super) fn kept(&self, digest: &Digest, loser: Option<BlobKey>) {
        self.inner.damages.known().remove(digest);
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
/// Bytes that are stored already keep their place, so that readers keep theirs
/// and pushes of the same content don't get into each other's way. Storing them
/// again first makes a push of known content cost what any push costs: it tells
/// nobody what other repositories hold.
pub(super) fn keep_one(
    stored: Stored,
    key: BlobKey,
    size: u64,
    now: SystemTime,
) -> (Batch, Option<BlobKey>) {
    let digest = key.digest;
    let record = Operation::PutContent(BlobRecord {
        key,
        size,
        state: BlobState::Live,
        touched_at: now,
    });
    let (require, operation, loser) = match stored {
        Stored::Absent => (Requirement::ContentAbsent { digest }, record, None),
        Stored::Damaged(old) => (Requirement::ContentIs { key: old }, record, Some(old)),
        Stored::Whole(old) => (
            Requirement::ContentIs { key: old },
            Operation::Touch { digest, at: now },
            Some(key),
        ),
    };
    let batch = Batch {
        require: vec![require],
        operations: vec![operation],
        durable: true,
    };
    (batch, loser)
}
