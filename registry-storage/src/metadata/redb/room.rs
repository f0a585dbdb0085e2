//! Writing on after the disk was full.
//!
//! What needs room is refused before the last of it is taken, since a commit
//! that runs out of it half way leaves a database that has to be opened again.
//! Somebody else may be faster, so that is done, too, once there is room: as
//! after the end of the process, all that was made durable is there.

use std::error::Error as _;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use redb::Database;
use registry_core::{Error, ErrorKind, Result};
use tokio::time::Instant;

use super::RedbOptions;
use super::backend::DatabaseFile;
use super::change_log::{ChangeLog, Completeness};
use super::damage::caught;
use super::disk::Disk;
use super::facts::failed;
use super::open::read_position;
use super::value::Position;
use super::writer::Writer;

/// How much is left free; less on small disks.
const RESERVE: u64 = 16 << 20;

/// Of a small disk, one part of so many is left free.
const PARTS: u64 = 16;

/// How often the disk is asked at most, and how long to wait until it is tried
/// again.
pub(super) const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Whether there is room for the metadata.
#[derive(Debug)]
pub(super) struct Shortage {
    /// Told to whoever asks whether commits are taken.
    is_short: Arc<AtomicBool>,
    /// Whether a commit ran out of room, so that the database has to be opened
    /// again.
    has_failed: bool,
    /// When the disk may be asked again.
    next_look: Option<Instant>,
}

impl Shortage {
    pub(super) fn new(is_short: Arc<AtomicBool>) -> Self {
        Self {
            is_short,
            has_failed: false,
            next_look: None,
        }
    }

    pub(super) fn is_there(&self) -> bool {
        self.is_short.load(Ordering::Acquire)
    }

    fn set(&self, is_short: bool) {
        if self.is_short.swap(is_short, Ordering::AcqRel) == is_short {
            return;
        }
        if is_short {
            tracing::error!(
                "there is too little room on the disk of the metadata; nothing is written until \
                 there is more"
            );
        } else {
            tracing::info!("there is room on the disk of the metadata again");
        }
    }

    /// Whether the disk may be asked, which it is then.
    fn look(&mut self) -> bool {
        let now = Instant::now();
        if self.next_look.is_some_and(|next| now < next) {
            return false;
        }
        self.next_look = now.checked_add(LOOK_EVERY);
        true
    }
}

/// Whether there is more than the reserve. A disk that doesn't tell has room
/// until it fails.
pub(super) fn has_room(disk: &dyn Disk) -> bool {
    match disk.room() {
        Ok(Some(room)) => {
            let reserve = RESERVE.min(room.total.checked_div(PARTS).unwrap_or_default());
            room.free >= reserve
        }
        Ok(None) => true,
        Err(error) => {
            tracing::warn!(%error, "the disk of the metadata doesn't tell how much room it has");
            true
        }
    }
}

/// Whether an error is that there is no room.
pub(super) fn is_for_room(error: &Error) -> bool {
    let mut source = error.source();
    while let Some(error) = source {
        let found = match error.downcast_ref::<redb::Error>() {
            Some(redb::Error::Io(error)) => Some(error),
            _ => error.downcast_ref::<io::Error>(),
        };
        if let Some(error) = found {
            return matches!(
                error.kind(),
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
            );
        }
        source = error.source();
    }
    false
}

/// What everybody is told who wants to write meanwhile.
pub(super) fn no_room() -> Error {
    ErrorKind::Unavailable
        .error("there is too little room on the disk of the metadata; make room and try again")
        .with_retry_after(LOOK_EVERY)
}

/// A database that was opened, and what goes with it.
struct Reopened {
    database: Arc<Database>,
    file: Arc<DatabaseFile>,
    log: ChangeLog,
    completeness: Completeness,
    position: Position,
}

impl Writer {
    /// Looks whether there is room, if it is time to, and makes ready to write
    /// if so.
    pub(super) fn look_for_room(&mut self) {
        if self.is_read_only() || !self.shortage.look() {
            return;
        }
        if !has_room(&*self.disk) {
            self.shortage.set(true);
            return;
        }
        if self.shortage.has_failed {
            match self.reopen() {
                Ok(()) => self.shortage.has_failed = false,
                Err(error) if is_for_room(&error) && !self.has_failed_sync() => return,
                Err(error) => {
                    self.fail_for_good(&error);
                    return;
                }
            }
        }
        self.shortage.set(false);
        // Not before: while there is no room, none is begun.
        if std::mem::take(&mut self.incomplete) {
            self.begin_checkpoint();
        }
    }

    /// Takes note that a commit ran out of room.
    pub(super) fn ran_out_of_room(&mut self) {
        self.shortage.has_failed = true;
        self.shortage.set(true);
        self.undurable = 0;
    }

    /// Opens the database again, after a write to it or to its change log failed
    /// and no sync did. What was yet to become durable is gone, as after the end
    /// of the process.
    fn reopen(&mut self) -> Result<()> {
        self.end_checkpoint();
        let reopened = caught(|| {
            let file = self.file.renewed(&self.options);
            open_again(file, &self.disk, &self.options)
        })?;
        let before = self.shared.replace(Arc::clone(&reopened.database));
        let own = std::mem::replace(&mut self.database, reopened.database);
        // It writes nothing: its file was taken from it.
        let closed = caught(|| {
            drop((before, own));
            Ok(())
        });
        if let Err(error) = closed {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(error, "the database that ran out of room can't be closed");
        }
        self.file = reopened.file;
        self.log = reopened.log;
        self.known = if self.options.is_volatile() {
            0
        } else {
            reopened.position.number
        };
        self.undurable = 0;
        self.settled = false;
        self.incomplete |= reopened.completeness == Completeness::Lost;
        self.settle()
    }
}

fn open_again(
    file: Arc<DatabaseFile>,
    disk: &Arc<dyn Disk>,
    options: &RedbOptions,
) -> Result<Reopened> {
    let mut builder = Database::builder();
    builder.set_cache_size(options.cache_bytes);
    let database = builder
        .create_with_backend(file.backend())
        .map_err(failed)?;
    let position = read_position(&database)?;
    let (log, completeness) = ChangeLog::open(Arc::clone(disk), options, position)?;
    Ok(Reopened {
        database: Arc::new(database),
        file,
        log,
        completeness,
        position,
    })
}
