//! Records by their keys, in memory.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::time::SystemTime;

use registry_core::{
    ErrorKind, Expected, Page, PageRequest, RECORD_KEY_MAX, RECORD_VALUE_MAX, Record, Result,
};

/// The most records of a page.
const PAGE_MAX: usize = 1000;

/// All records, and the version of the one that was written last.
#[derive(Debug, Default)]
pub(super) struct Table {
    records: BTreeMap<String, Record>,
    last: u64,
}

impl Table {
    /// The record under `key`, unless it has expired.
    pub(super) fn get(&self, key: &str, now: SystemTime) -> Option<&Record> {
        self.records.get(key).filter(|record| is_alive(record, now))
    }

    /// What is written under `key`, if what is there is as `expected`. It is in
    /// the table once it was [applied](Self::apply).
    pub(super) fn written(
        &self,
        key: &str,
        expected: Expected,
        value: Vec<u8>,
        expires_at: Option<SystemTime>,
        now: SystemTime,
    ) -> Result<Record> {
        let is_key = (1..=RECORD_KEY_MAX).contains(&key.len()) && !key.contains(char::is_control);
        if !is_key || value.len() > RECORD_VALUE_MAX {
            return Err(ErrorKind::RequestInvalid
                .error("a record needs a key of 1 to 512 bytes, and a value of 64 KiB at most"));
        }
        self.require(key, expected, now)?;
        Ok(Record {
            key: key.to_owned(),
            version: self.next_version(),
            value,
            expires_at,
        })
    }

    /// Checks that what is under `key` is as `expected`.
    pub(super) fn require(&self, key: &str, expected: Expected, now: SystemTime) -> Result<()> {
        let found = self.get(key, now).map(|record| record.version);
        let fits = match expected {
            Expected::Any => true,
            Expected::Absent => found.is_none(),
            Expected::Version(version) => found == Some(version),
        };
        if fits {
            Ok(())
        } else {
            Err(ErrorKind::PreconditionFailed
                .error("somebody else changed this in the meantime; look at it again"))
        }
    }

    /// The version that the next change makes.
    pub(super) fn next_version(&self) -> u64 {
        self.last.saturating_add(1)
    }

    /// Takes note that there were changes up to this version.
    #[cfg(feature = "records")]
    pub(super) fn begin(&mut self, version: u64) {
        self.last = self.last.max(version);
    }

    /// Takes a record that was written.
    pub(super) fn apply(&mut self, record: Record) {
        self.last = self.last.max(record.version);
        self.records.insert(record.key.clone(), record);
    }

    /// Takes note that the record under `key` was removed by the change of this
    /// version.
    pub(super) fn remove(&mut self, key: &str, version: u64) {
        self.last = self.last.max(version);
        self.records.remove(key);
    }

    /// Drops what has expired.
    pub(super) fn expire(&mut self, now: SystemTime) {
        self.records.retain(|_, record| is_alive(record, now));
    }

    /// All records, also those that have expired.
    #[cfg(feature = "records")]
    pub(super) fn all(&self) -> impl ExactSizeIterator<Item = &Record> {
        self.records.values()
    }

    /// The part of a list.
    pub(super) fn list(&self, prefix: &str, page: &PageRequest, now: SystemTime) -> Page<Record> {
        let limit = page.limit.unwrap_or(PAGE_MAX).min(PAGE_MAX);
        let start = match page.after.as_deref() {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        let mut found = self
            .records
            .range::<str, _>((start, Bound::Unbounded))
            .map(|(_, record)| record)
            .take_while(|record| record.key.starts_with(prefix))
            .filter(|record| is_alive(record, now));
        let items: Vec<Record> = found.by_ref().take(limit).cloned().collect();
        let next = items
            .last()
            .filter(|_| found.next().is_some())
            .map(|last| last.key.clone());
        Page { items, next }
    }
}

fn is_alive(record: &Record, now: SystemTime) -> bool {
    record.expires_at.is_none_or(|end| end > now)
}
