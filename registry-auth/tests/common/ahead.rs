//! A clock that is set ahead.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use registry_core::{Clock, SystemClock};

/// The machine's clock, so many seconds ahead.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ahead(Arc<AtomicU64>);

impl Ahead {
    pub(crate) fn go(&self, time: Duration) {
        self.0.fetch_add(time.as_secs(), Ordering::Relaxed);
    }

    /// By how much it is ahead.
    pub(crate) fn by(&self) -> Duration {
        Duration::from_secs(self.0.load(Ordering::Relaxed))
    }
}

impl Clock for Ahead {
    fn now(&self) -> SystemTime {
        SystemClock.now() + self.by()
    }
}
