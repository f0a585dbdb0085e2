//! What is known of the outbox without reading it.

use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use metrics::{Counter, Gauge};
use registry_core::Error;
use tokio::sync::Notify;

use crate::{Batch, Change};

const EVENTS: &str = "registry_notifications_events_total";
const PENDING: &str = "registry_notifications_pending_total";
const STATUS: &str = "registry_notifications_status_total";

/// Wakes the delivery of events, and measures it under the names that
/// dashboards of registries query.
pub(super) struct Outbox {
    endpoint: String,
    committed: Notify,
    waiting: AtomicU64,
    meter: OnceLock<Meter>,
}

struct Meter {
    events: Counter,
    successes: Counter,
    failures: Counter,
    errors: Counter,
    delivered: Counter,
    pending: Gauge,
}

impl Outbox {
    /// An outbox whose events go to what is called `endpoint`.
    pub(super) fn new(endpoint: &str) -> Self {
        Self {
            endpoint: endpoint.to_owned(),
            committed: Notify::new(),
            waiting: AtomicU64::new(0),
            meter: OnceLock::new(),
        }
    }

    /// Waits for the next commit.
    pub(super) async fn changed(&self) {
        self.committed.notified().await;
    }

    /// Notes that a batch was committed.
    pub(super) fn committed(&self, events: u64) {
        self.meter().events.increment(events);
        self.set_waiting(|waiting| waiting.saturating_add(events));
        self.committed.notify_one();
    }

    /// Notes how many events were found waiting; `all` if those are all.
    pub(super) fn found(&self, events: usize, all: bool) {
        let events = events as u64;
        self.set_waiting(|waiting| if all { events } else { waiting.max(events) });
    }

    /// Notes that the listener took an event over.
    pub(super) fn delivered(&self) {
        let meter = self.meter();
        meter.successes.increment(1);
        meter.delivered.increment(1);
        self.gone(1);
    }

    /// Notes that the listener refused an event, or took too long.
    pub(super) fn refused(&self, error: &Error) {
        self.meter().failures.increment(1);
        let code = error.kind().code();
        metrics::counter!(STATUS, "code" => code, "endpoint" => self.endpoint.clone()).increment(1);
    }

    /// Notes that nobody will be told of `events`.
    pub(super) fn dropped(&self, events: u64) {
        self.meter().errors.increment(events);
        self.gone(events);
    }

    fn gone(&self, events: u64) {
        self.set_waiting(|waiting| waiting.saturating_sub(events));
    }

    /// The number is that of this process: what an earlier one left counts once
    /// it was read. What was counted wrong in between is mended then, too.
    #[allow(clippy::cast_precision_loss, reason = "they are limited to far fewer")]
    fn set_waiting(&self, change: impl Fn(u64) -> u64) {
        let before = self
            .waiting
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |waiting| {
                Some(change(waiting))
            });
        let waiting = change(before.unwrap_or_default());
        self.meter().pending.set(waiting as f64);
    }

    /// Looked up once: the recorder that is there at the first event counts.
    fn meter(&self) -> &Meter {
        self.meter.get_or_init(|| Meter::new(&self.endpoint))
    }
}

/// How many events a batch tells of.
pub(super) fn events(batch: &Batch) -> u64 {
    let emitted = |change: &&Change| matches!(change, Change::Emit(_));
    batch.changes.iter().filter(emitted).count() as u64
}

impl Meter {
    fn new(endpoint: &str) -> Self {
        metrics::describe_counter!(EVENTS, "Events: all, and what became of them.");
        metrics::describe_gauge!(PENDING, "Events that wait for their listener.");
        metrics::describe_counter!(STATUS, "What listeners answered.");
        let endpoint = || endpoint.to_owned();
        let events = |kind: &'static str| metrics::counter!(EVENTS, "type" => kind, "endpoint" => endpoint());
        Self {
            events: events("Events"),
            successes: events("Successes"),
            failures: events("Failures"),
            errors: events("Errors"),
            delivered: metrics::counter!(STATUS, "code" => "OK", "endpoint" => endpoint()),
            pending: metrics::gauge!(PENDING, "endpoint" => endpoint()),
        }
    }
}

impl fmt::Debug for Outbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outbox")
            .field("endpoint", &self.endpoint)
            .field("waiting", &self.waiting)
            .finish_non_exhaustive()
    }
}
