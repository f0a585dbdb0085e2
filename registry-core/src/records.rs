//! Small durable facts besides content: accounts, keys, revocations.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;

use crate::{Page, PageRequest, Result};

/// The longest key in bytes.
pub const RECORD_KEY_MAX: usize = 512;

/// The longest value in bytes.
pub const RECORD_VALUE_MAX: usize = 64 << 10;

/// A fact under its name.
#[derive(Clone, PartialEq, Eq)]
pub struct Record {
    /// Its name, such as `robot/ci`: a kind, a slash and a name of that kind.
    pub key: String,
    /// Grows whenever the record is written; another record never has the same,
    /// not even one under the same key.
    pub version: u64,
    /// What it says.
    pub value: Vec<u8>,
    /// When it is no more; never if absent.
    pub expires_at: Option<SystemTime>,
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The value may be a secret.
        f.debug_struct("Record")
            .field("key", &self.key)
            .field("version", &self.version)
            .field("expires_at", &self.expires_at)
            .finish_non_exhaustive()
    }
}

/// What has to be there before a record is written or removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// Whatever it is.
    Any,
    /// Nothing.
    Absent,
    /// The record with this version.
    Version(u64),
}

/// Keeps facts that are small and few, and that must not be lost.
///
/// Keys have up to [`RECORD_KEY_MAX`] bytes without control characters, values up
/// to [`RECORD_VALUE_MAX`]. Others than the caller may write to the same records
/// at the same time; what they write is seen within about a second. A record
/// that has expired isn't there.
#[async_trait]
pub trait Records: fmt::Debug + Send + Sync + 'static {
    /// The record under `key`. It may be asked for every request, so it costs no
    /// more than a look into memory.
    ///
    /// # Errors
    ///
    /// [`Unavailable`](crate::ErrorKind::Unavailable) and others of the storage.
    async fn get(&self, key: &str) -> Result<Option<Record>>;

    /// Writes a record if what is there is as `expected`, and gives its version.
    /// It is durable once this returns.
    ///
    /// # Errors
    ///
    /// * [`PreconditionFailed`](crate::ErrorKind::PreconditionFailed) if
    ///   something else is there. Of many who expect the same, one succeeds.
    /// * [`RequestInvalid`](crate::ErrorKind::RequestInvalid) if the key or the
    ///   value can't be one.
    async fn put(
        &self,
        key: &str,
        expected: Expected,
        value: Vec<u8>,
        expires_at: Option<SystemTime>,
    ) -> Result<u64>;

    /// Removes a record if it is as `expected`, and tells whether there was one.
    ///
    /// # Errors
    ///
    /// [`PreconditionFailed`](crate::ErrorKind::PreconditionFailed) if something
    /// else is there.
    async fn remove(&self, key: &str, expected: Expected) -> Result<bool>;

    /// The records whose keys start with `prefix`, in the order of keys.
    /// Positions are keys.
    ///
    /// # Errors
    ///
    /// As those of [`get`](Self::get).
    async fn list(&self, prefix: &str, page: PageRequest) -> Result<Page<Record>>;
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<R: Records + ?Sized> Records for Arc<R> {
    async fn get(&self, key: &str) -> Result<Option<Record>> {
        (**self).get(key).await
    }

    async fn put(
        &self,
        key: &str,
        expected: Expected,
        value: Vec<u8>,
        expires_at: Option<SystemTime>,
    ) -> Result<u64> {
        (**self).put(key, expected, value, expires_at).await
    }

    async fn remove(&self, key: &str, expected: Expected) -> Result<bool> {
        (**self).remove(key, expected).await
    }

    async fn list(&self, prefix: &str, page: PageRequest) -> Result<Page<Record>> {
        (**self).list(prefix, page).await
    }
}
