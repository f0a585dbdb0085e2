//! What the engine measures, under the names that dashboards query.

#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use metrics_util::debugging::{DebugValue, DebuggingRecorder, Snapshotter};
use registry_core::testkit::{ImageBuilder, Package, trusted};
use registry_core::{ErrorKind, Event, EventSink, Registry, Result};
use registry_storage::{BlobStore, Engine, MemoryBlobs, MemoryMetadata};

/// What is measured while `future` runs, whenever it asks.
fn measured<F: Future<Output = ()>>(future: impl FnOnce(Measured) -> F) {
    let recorder = DebuggingRecorder::new();
    let measured = Measured {
        snapshotter: recorder.snapshotter(),
        sums: BTreeMap::new(),
    };
    metrics::with_local_recorder(&recorder, || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .unwrap()
            .block_on(future(measured));
    });
}

struct Measured {
    snapshotter: Snapshotter,
    sums: BTreeMap<String, f64>,
}

impl Measured {
    /// The value of a series: of a gauge, what it was set to since the last
    /// time, or 0.
    fn value(&mut self, series: &str) -> Option<f64> {
        // A snapshot takes everything away.
        for (key, _, _, value) in self.snapshotter.snapshot().into_vec() {
            let labels: BTreeMap<_, _> = key
                .key()
                .labels()
                .map(|label| (label.key(), label.value()))
                .collect();
            let labels: Vec<_> = labels
                .iter()
                .map(|(key, value)| format!("{key}={value}"))
                .collect();
            let name = format!("{}{{{}}}", key.key().name(), labels.join(","));
            match value {
                DebugValue::Counter(count) => {
                    *self.sums.entry(name).or_default() += f64::from(u32::try_from(count).unwrap());
                }
                DebugValue::Gauge(value) => {
                    self.sums.insert(name, value.into_inner());
                }
                DebugValue::Histogram(_) => {}
            }
        }
        self.sums.get(series).copied()
    }
}

async fn push(registry: &Engine) -> Package {
    let image = ImageBuilder::new("a").build();
    image.push(registry, &trusted("team/app"), &["v1"]).await;
    image
}

#[test]
fn the_cache_counts_requests_hits_and_what_could_not_be_read() {
    measured(async |mut measured| {
        let access = trusted("team/app");
        let blobs = Arc::new(MemoryBlobs::new());
        let metadata = Arc::new(MemoryMetadata::default());
        let engine = || Engine::builder(Arc::clone(&blobs), Arc::clone(&metadata)).build();
        let pushed = push(&engine()).await.reference();
        let requests = "registry_storage_cache_requests_total{}";
        let hits = "registry_storage_cache_hits_total{}";
        let errors = "registry_storage_cache_errors_total{}";

        let registry = engine();
        for _ in 0..3 {
            registry.get_manifest(&access, &pushed).await.unwrap();
        }
        assert_eq!(measured.value(requests), Some(3.0));
        assert_eq!(measured.value(hits), Some(2.0));
        assert_eq!(measured.value(errors), Some(0.0));

        for stored in blobs.list(None, 100).await.unwrap() {
            blobs.delete(&stored.key).await.unwrap();
        }
        engine().get_manifest(&access, &pushed).await.unwrap_err();
        assert_eq!(measured.value(requests), Some(4.0));
        assert_eq!(measured.value(hits), Some(2.0));
        assert_eq!(measured.value(errors), Some(1.0));
    });
}

/// Is out of order after a number of events.
#[derive(Debug)]
struct Pager {
    room: AtomicU32,
}

#[async_trait]
impl EventSink for Pager {
    fn name(&self) -> &'static str {
        "pager"
    }

    async fn deliver(&self, _: &Event) -> Result<()> {
        let less = |room: u32| room.checked_sub(1);
        match self
            .room
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less)
        {
            Ok(_) => Ok(()),
            Err(_) => Err(ErrorKind::Unavailable.error("not now")),
        }
    }
}

#[test]
fn events_are_counted_by_what_became_of_them_and_how_many_wait() {
    measured(async |mut measured| {
        let pager = Arc::new(Pager {
            room: AtomicU32::new(1),
        });
        let builder = Engine::builder(MemoryBlobs::new(), MemoryMetadata::default());
        let registry = builder.events(Arc::clone(&pager)).build();
        let image = push(&registry).await;
        assert_eq!(image.blobs().len(), 2);

        // It is offered the second one after 0, 100 and 300 ms.
        tokio::time::sleep(Duration::from_millis(400)).await;
        for (series, value) in [
            ("pending_total{endpoint=pager}", 2.0),
            ("events_total{endpoint=pager,type=Events}", 3.0),
            ("events_total{endpoint=pager,type=Successes}", 1.0),
            ("events_total{endpoint=pager,type=Failures}", 3.0),
            ("events_total{endpoint=pager,type=Errors}", 0.0),
            ("status_total{code=OK,endpoint=pager}", 1.0),
            ("status_total{code=UNAVAILABLE,endpoint=pager}", 3.0),
        ] {
            let series = format!("registry_notifications_{series}");
            assert_eq!(measured.value(&series), Some(value), "{series}");
        }

        pager.room.store(u32::MAX, Ordering::Relaxed);
        let successes = "registry_notifications_events_total{endpoint=pager,type=Successes}";
        while measured.value(successes) != Some(3.0) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(
            measured.value("registry_notifications_pending_total{endpoint=pager}"),
            Some(0.0)
        );
    });
}
