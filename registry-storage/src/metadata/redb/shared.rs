//! The database, as shared by those who read and the thread that writes.

use std::fs::File;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, TryLockError};

use redb::Database;
use registry_core::{Error, ErrorKind, Result};

use super::damage::caught;

/// An open database. Any thread reads it; the one that writes closes it.
///
/// Closing writes to the disk and waits for that, which no asynchronous worker
/// may. So whoever reads borrows the database and never owns it.
#[derive(Debug)]
pub(super) struct SharedDatabase {
    open: RwLock<Option<Open>>,
    /// Whether another one is about to take its place.
    replacing: AtomicBool,
    /// How often what is read from it may have changed.
    changes: AtomicU64,
}

/// Dropped in this order.
#[derive(Debug)]
struct Open {
    database: Arc<Database>,
    /// Keeps other processes away from the directory, as long as it is open.
    #[expect(dead_code, reason = "it is there to be dropped")]
    lock: Option<Arc<File>>,
}

impl SharedDatabase {
    pub(super) fn new(database: Arc<Database>, lock: Option<Arc<File>>) -> Self {
        Self {
            open: RwLock::new(Some(Open { database, lock })),
            replacing: AtomicBool::new(false),
            changes: AtomicU64::new(0),
        }
    }

    /// Says that another read may find something else, before anybody hears of
    /// what was changed.
    pub(super) fn changed(&self) {
        self.changes.fetch_add(1, Ordering::AcqRel);
    }

    /// A number that stays as long as nothing changes. What is found after it was
    /// asked for is what there is, as long as it is the same.
    pub(super) fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    /// What `read` makes of the database.
    pub(super) fn read<X>(&self, read: impl FnOnce(&Database) -> Result<X>) -> Result<X> {
        // Nobody but who closes it keeps readers away, so there is nothing to
        // wait for.
        let open = loop {
            match self.open.try_read() {
                Ok(open) => break open,
                Err(TryLockError::Poisoned(poisoned)) => break poisoned.into_inner(),
                // That takes no longer than the reads in progress.
                Err(TryLockError::WouldBlock) if self.replacing.load(Ordering::Acquire) => {
                    std::thread::yield_now();
                }
                Err(TryLockError::WouldBlock) => return Err(closed()),
            }
        };
        let open = open.as_ref().ok_or_else(closed)?;
        caught(|| read(&open.database))
    }

    /// Puts another database in the place of this one, once the reads in progress
    /// are done. Returns the one before, unless it was closed.
    pub(super) fn replace(&self, database: Arc<Database>) -> Option<Arc<Database>> {
        self.replacing.store(true, Ordering::Release);
        let before = {
            let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
            let open = open.as_mut();
            self.changed();
            open.map(|open| std::mem::replace(&mut open.database, database))
        };
        self.replacing.store(false, Ordering::Release);
        before
    }

    /// Waits for the reads in progress, closes the database, if the writer has
    /// let go of it, and then lets other processes have the directory.
    ///
    /// # Errors
    ///
    /// [`Corrupt`](ErrorKind::Corrupt) if it is too damaged to be closed.
    pub(super) fn close(&self) -> Result<()> {
        let open = {
            let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
            open.take()
        };
        // It takes as long as the disk does, and nobody is kept waiting for it.
        caught(|| {
            drop(open);
            Ok(())
        })
    }
}

pub(super) fn closed() -> Error {
    ErrorKind::Unavailable.error("the metadata was closed; open it again")
}
