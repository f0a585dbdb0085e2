//! Records that end with the process.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use async_trait::async_trait;
use registry_core::{Clock, Expected, Page, PageRequest, Record, Records, Result, SystemClock};

use super::table::Table;

/// How many changes are made before what has expired is dropped.
const SWEEP: u64 = 256;

/// Records in memory, for tests and for registries in memory.
#[derive(Debug)]
pub struct MemoryRecords {
    table: Mutex<Table>,
    clock: Arc<dyn Clock>,
}

impl MemoryRecords {
    /// No record yet.
    pub fn new() -> Self {
        Self {
            table: Mutex::default(),
            clock: Arc::new(SystemClock),
        }
    }

    /// Takes the time from `clock`.
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for MemoryRecords {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl Records for MemoryRecords {
    async fn get(&self, key: &str) -> Result<Option<Record>> {
        Ok(self.lock().get(key, self.clock.now()).cloned())
    }

    async fn put(
        &self,
        key: &str,
        expected: Expected,
        value: Vec<u8>,
        expires_at: Option<SystemTime>,
    ) -> Result<u64> {
        let now = self.clock.now();
        let mut table = self.lock();
        let record = table.written(key, expected, value, expires_at, now)?;
        let version = record.version;
        table.apply(record);
        if version.is_multiple_of(SWEEP) {
            table.expire(now);
        }
        Ok(version)
    }

    async fn remove(&self, key: &str, expected: Expected) -> Result<bool> {
        let now = self.clock.now();
        let mut table = self.lock();
        table.require(key, expected, now)?;
        let existed = table.get(key, now).is_some();
        let version = table.next_version();
        table.remove(key, version);
        Ok(existed)
    }

    async fn list(&self, prefix: &str, page: PageRequest) -> Result<Page<Record>> {
        Ok(self.lock().list(prefix, &page, self.clock.now()))
    }
}
