//! Events on their way from the outbox to whoever listens.

use std::sync::atomic::Ordering;
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
    let mut next = None;
    loop {
        let Some(inner) = engine.upgrade() else {
            return;
        };
        let engine = Engine { inner };
        match engine.deliver(&*sink, &mut next).await {
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
/// still there, which isn't kept meanwhile.
async fn idle(engine: &Weak<Inner>) {
    let outbox = engine.upgrade().and_then(|inner| inner.outbox.clone());
    if let Some(outbox) = outbox {
        let patience = Duration::from_secs(1);
        // That it took too long is no failure: then there is nothing to do.
        let _ = tokio::time::timeout(patience, outbox.changed()).await;
    }
}

impl Engine {
    /// Delivers what waits, and returns how many events that were. The one that
    /// is to come `next` is known after the first time.
    async fn deliver(&self, sink: &dyn EventSink, next: &mut Option<u64>) -> Result<usize> {
        let entries = self.metadata().outbox(STEP).await?;
        let outbox = self.inner.outbox.as_ref();
        if let Some(outbox) = outbox {
            outbox.found(entries.len(), entries.len() < STEP);
        }
        if let Some(first) = entries.first() {
            let before = next.replace(first.sequence).unwrap_or(first.sequence);
            let events = first.sequence.saturating_sub(before);
            if events > 0 {
                tracing::error!(events, "too many events waited; the oldest were dropped");
                self.count_dropped(events);
            }
        }
        let mut delivered = 0_usize;
        let mut outcome = Ok(());
        let mut last = None;
        for entry in entries {
            if let Some(event) = &entry.event {
                outcome = tokio::time::timeout(PATIENCE, sink.deliver(event))
                    .await
                    .unwrap_or_else(|_| {
                        Err(ErrorKind::Unavailable.error("the listener took too long"))
                    });
                if let Err(error) = &outcome {
                    if let Some(outbox) = outbox {
                        outbox.refused(error);
                    }
                    break;
                }
                if let Some(outbox) = outbox {
                    outbox.delivered();
                }
            } else {
                let sequence = entry.sequence;
                tracing::error!(sequence, "an event that can't be read was dropped");
                self.count_dropped(1);
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
                Err(CommitError::Refused(error) | CommitError::Failed(error)) => return Err(error),
            }
            *next = Some(sequence.saturating_add(1));
        }
        outcome.map(|()| delivered)
    }

    fn count_dropped(&self, events: u64) {
        self.inner
            .dropped_events
            .fetch_add(events, Ordering::Relaxed);
        if let Some(outbox) = &self.inner.outbox {
            outbox.dropped(events);
        }
    }
}
