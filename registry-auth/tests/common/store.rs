//! Records that are watched.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use async_trait::async_trait;
use registry_auth::MemoryRecords;
use registry_core::{ErrorKind, Expected, Page, PageRequest, Record, Records, Result};

/// Records in memory that count how often one is asked for, and that can't be
/// changed for as long as there is a reason.
#[derive(Debug, Clone, Default)]
pub(crate) struct Watched {
    records: Arc<MemoryRecords>,
    asked: Arc<AtomicUsize>,
    fault: Arc<Mutex<Option<ErrorKind>>>,
}

impl Watched {
    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }

    pub(crate) fn fail(&self, fault: Option<ErrorKind>) {
        *self.fault.lock().unwrap() = fault;
    }

    fn check(&self) -> Result<()> {
        let fault = *self.fault.lock().unwrap();
        fault.map_or(Ok(()), |kind| Err(kind.error("there is a reason")))
    }
}

#[async_trait]
impl Records for Watched {
    async fn get(&self, key: &str) -> Result<Option<Record>> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        self.records.get(key).await
    }

    async fn put(
        &self,
        key: &str,
        expected: Expected,
        value: Vec<u8>,
        expires_at: Option<SystemTime>,
    ) -> Result<u64> {
        self.check()?;
        self.records.put(key, expected, value, expires_at).await
    }

    async fn remove(&self, key: &str, expected: Expected) -> Result<bool> {
        self.check()?;
        self.records.remove(key, expected).await
    }

    async fn list(&self, prefix: &str, page: PageRequest) -> Result<Page<Record>> {
        self.records.list(prefix, page).await
    }
}
