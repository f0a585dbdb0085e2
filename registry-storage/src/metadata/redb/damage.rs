//! Damage that the database panics at.

use std::panic::{AssertUnwindSafe, catch_unwind};

use registry_core::{ErrorKind, Result};

/// What is said of a database that can't be read as one.
pub(super) const DAMAGED: &str = "the metadata database is damaged; rebuild it from the change log (`registry rebuild DIRECTORY`)";

/// What `work` gets from the database, or the error of a damaged one if it
/// panics: it does so at pages that hold what it never writes, which it checks
/// no checksums of when it reads them.
pub(super) fn caught<X>(work: impl FnOnce() -> Result<X>) -> Result<X> {
    // What it leaves half done is the database's own, which panics again, and
    // nothing that a commit acknowledged.
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let message = if let Some(message) = panic.downcast_ref::<&str>() {
            (*message).to_owned()
        } else if let Some(message) = panic.downcast_ref::<String>() {
            message.clone()
        } else {
            "nothing".to_owned()
        };
        Err(ErrorKind::Corrupt
            .error(DAMAGED)
            .with_source(Panic(message)))
    })
}

/// What the database had to say.
#[derive(Debug)]
struct Panic(String);

impl std::fmt::Display for Panic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the database says: {}", self.0)
    }
}

impl std::error::Error for Panic {}
