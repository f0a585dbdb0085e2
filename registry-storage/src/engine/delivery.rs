//! Events on their way from the outbox to whoever listens.

use std::sync::{Arc, Weak};
use std::time::Duration;

use registry_core::{ErrorKind, EventSink, Result};

use super::{Engine, Inner};
use crate::{Batch, Change, CommitError};

/// How many events are read from the outbox at once.
const STEP: usize = 64;

/// How long a listener may take over one event before it is offered again.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long a failed delivery waits at first, and at most.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_mins(1));

/// Delivers events until the engine is gone.
pub(super) async fn run(engine: Weak<Inner>, sink: Arc<dyn EventSink>) {
    let mut wait = BACKOFF.0;
    loop {
        let Some(inner) = engine.upgrade() else {
            return;
        };
        let engine = Engine { inner };
        match engine.deliver(&*sink).await {
            Ok(STEP) => wait = BACKOFF.0,
            Ok(_) => {
                wait = BACKOFF.0;
                let inner = Arc::downgrade(&engine.inner);
                drop(engine);
                idle(&inner).await;
            }
            Err(error) => {
                tracing::warn!(%error, ?wait, "an event wasn't delivered and waits");
                drop(engine);
                tokio::time::sleep(wait).await;
                wait = wait.saturating_mul(2).min(BACKOFF.1);
            }
        }
    }
}

/// Waits for the next commit, and looks now and then whether the engine is
/// still there.
async fn idle(engine: &Weak<Inner>) {
    if let Some(inner) = engine.upgrade()
        && let Some(outbox) = &inner.outbox
    {
        let patience = Duration::from_secs(1);
        // That it took too long is no failure: then there is nothing to do.
        let _ = tokio::time::timeout(patience, outbox.notified()).await;
    }
}

impl Engine {
    /// Delivers what waits, and returns how many events that were.
    async fn deliver(&self, sink: &dyn EventSink) -> Result<usize> {
        let entries = self.metadata().outbox(STEP).await?;
        let mut delivered = 0_usize;
        let mut outcome = Ok(());
        let mut last = None;
        for entry in entries {
            outcome = tokio::time::timeout(PATIENCE, sink.deliver(&entry.event))
                .await
                .unwrap_or_else(
                    |_| Err(ErrorKind::Unavailable.error("the listener took too long")),
                );
            if outcome.is_err() {
                break;
            }
            delivered = delivered.saturating_add(1);
            last = Some(entry.sequence);
        }
        if let Some(sequence) = last {
            let batch = Batch {
                require: Vec::new(),
                changes: vec![Change::Acknowledge { sequence }],
                durable: false,
            };
            match self.metadata().commit(batch).await {
                Ok(()) => {}
                Err(CommitError::Conflict(conflict)) => return Err(super::unexpected(&conflict)),
                Err(CommitError::Failed(error)) => return Err(error),
            }
        }
        outcome.map(|()| delivered)
    }
}
