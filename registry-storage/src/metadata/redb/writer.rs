//! The one thread that writes.
//!
//! Whatever waits when it looks is committed together: the cost of making a
//! commit durable is then shared by all who wait for it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use redb::{Database, Durability, ReadableDatabase, TableDefinition, WriteTransaction};
use registry_core::{Error, ErrorKind, Result};
use tokio::sync::{mpsc, oneshot};

use super::RedbOptions;
use super::backend::DatabaseFile;
use super::change_log::{ChangeLog, Unprepared};
use super::checkpoint;
use super::disk::Disk;
use super::facts::{Bytes, Facts, failed};
use super::facts_mut::FactsMut;
use super::key::{Key, StoreFact};
use super::receive::receive_many;
use super::room::{LOOK_EVERY, Shortage, is_for_room, no_room};
use super::shared::SharedDatabase;
use crate::metadata::{Batch, CommitError, Requirement};
use crate::scarcity::{is_out_of_descriptors, too_many_files};

pub(super) const FACTS: TableDefinition<'static, Bytes, Bytes> = TableDefinition::new("facts");

/// How many batches are committed together at most.
pub(super) const GROUP_MAX: usize = 256;

/// How many commits in a row may be lost to the end of the process. The database
/// keeps each of them in memory until one is durable.
const UNDURABLE_MAX: u32 = 256;

/// For how long nothing has to come until what may be lost to the end of the
/// process is made durable. Long enough that the requests of one push, which
/// ends with a durable commit anyway, seldom pay for another one.
const UNDURABLE_IDLE: Duration = Duration::from_secs(1);

/// A batch that waits to be committed.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) batch: Batch,
    /// What the change log is to hold of it.
    pub(super) logged: Option<String>,
    pub(super) reply: oneshot::Sender<Result<(), CommitError>>,
}

/// Everything that the writing thread owns.
#[derive(Debug)]
pub(super) struct Writer {
    pub(super) database: Arc<Database>,
    pub(super) file: Arc<DatabaseFile>,
    /// Whether what was there when the store was opened is durable.
    pub(super) settled: bool,
    /// Whether the log lacks records, so that it needs a checkpoint.
    pub(super) incomplete: bool,
    pub(super) disk: Arc<dyn Disk>,
    pub(super) log: ChangeLog,
    pub(super) batches: mpsc::Receiver<Pending>,
    /// Set for good when a commit fails, unless for want of room.
    pub(super) read_only: Arc<AtomicBool>,
    pub(super) shortage: Shortage,
    /// Whether the change log couldn't be synced, after which nobody knows what
    /// is on the disk.
    pub(super) log_unsynced: bool,
    /// The database for those who read.
    pub(super) shared: Arc<SharedDatabase>,
    pub(super) options: RedbOptions,
    pub(super) checkpoint: Option<Checkpointing>,
    /// The last record that the database holds durably.
    pub(super) known: u64,
    /// How many commits have yet to become durable.
    pub(super) undurable: u32,
}

/// A checkpoint that is being written.
#[derive(Debug)]
pub(super) struct Checkpointing {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

/// How a group failed.
enum Failure {
    /// One batch met a record that can't be read; the others can go on.
    Batch(usize, Error),
    /// Nothing was written; later it may work.
    Group(Error),
    /// Nobody knows what is on the disk.
    Store(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Store(error)
    }
}

impl From<Unprepared> for Failure {
    fn from(unprepared: Unprepared) -> Self {
        match unprepared {
            Unprepared::Unopened(source) if is_out_of_descriptors(&source) => {
                Self::Group(too_many_files().with_source(source))
            }
            // Whatever else is wrong with the directory is for somebody to see to.
            Unprepared::Unopened(source) | Unprepared::Unsynced(source) => {
                Self::Store(log_failed(source))
            }
        }
    }
}

impl Writer {
    /// Commits what comes until nobody can send any more.
    pub(super) fn run(mut self) {
        match self.settle() {
            Ok(()) if std::mem::take(&mut self.incomplete) => self.begin_checkpoint(),
            Ok(()) => {}
            Err(error) => self.fail(&error),
        }
        let mut group = Vec::new();
        loop {
            let patience = if self.is_short() {
                Some(LOOK_EVERY)
            } else {
                self.has_undurable().then_some(UNDURABLE_IDLE)
            };
            match receive_many(&mut self.batches, &mut group, GROUP_MAX, patience) {
                Some(0) => break,
                Some(_) => self.commit(std::mem::take(&mut group)),
                None if self.is_short() => self.look_for_room(),
                None => self.catch_up(),
            }
        }
        if self.has_undurable()
            && let Err(Failure::Store(error) | Failure::Group(error) | Failure::Batch(_, error)) =
                self.try_commit(&[], true)
        {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "the last commit failed"
            );
        }
        self.end_checkpoint();
    }

    /// Lets go of the checkpoint that is being written, if any.
    pub(super) fn end_checkpoint(&mut self) {
        if let Some(checkpoint) = self.checkpoint.take() {
            checkpoint.stop.store(true, Ordering::Relaxed);
            // What a thread that panicked had to say was printed already.
            let _ = checkpoint.thread.join();
        }
    }

    /// Waits until what was there when the store was opened is durable: an
    /// earlier process may have ended before it could. The log comes first,
    /// which has to hold all that the database does.
    pub(super) fn settle(&mut self) -> Result<()> {
        if self.settled {
            return Ok(());
        }
        if !self.options.is_volatile() {
            self.sync_log()?;
        }
        self.file.settle().map_err(|source| {
            ErrorKind::Unavailable
                .error("the metadata database can't be synced; see to its disk, then restart")
                .with_source(source)
        })?;
        self.settled = true;
        Ok(())
    }

    fn sync_log(&mut self) -> Result<()> {
        self.log.sync().map_err(|source| {
            self.log_unsynced = true;
            log_failed(source)
        })
    }

    /// Whether a sync failed, which is never tried again.
    pub(super) fn has_failed_sync(&self) -> bool {
        self.log_unsynced || self.file.has_failed_sync()
    }

    /// Writes nothing any more, unless nothing is missing but room.
    fn fail(&mut self, error: &Error) {
        if !is_for_room(error) || self.has_failed_sync() {
            self.fail_for_good(error);
            return;
        }
        self.ran_out_of_room();
        tracing::error!(
            error = error as &dyn std::error::Error,
            "a metadata commit ran out of room"
        );
    }

    pub(super) fn fail_for_good(&self, error: &Error) {
        self.read_only.store(true, Ordering::Release);
        tracing::error!(
            error = error as &dyn std::error::Error,
            "a metadata commit failed; nothing is written any more until a restart"
        );
    }

    fn is_short(&self) -> bool {
        self.shortage.is_there() && !self.is_read_only()
    }

    pub(super) fn is_read_only(&self) -> bool {
        self.read_only.load(Ordering::Acquire)
    }

    /// Whether there are commits that can become durable.
    fn has_undurable(&self) -> bool {
        self.undurable > 0 && !self.is_read_only() && !self.is_short()
    }

    /// Makes durable what isn't yet.
    fn catch_up(&mut self) {
        if let Err(Failure::Store(error) | Failure::Group(error) | Failure::Batch(_, error)) =
            self.try_commit(&[], true)
        {
            self.fail(&error);
        }
    }

    fn commit(&mut self, mut group: Vec<Pending>) {
        self.look_for_room();
        // Whether it was tried and failed, after which nobody knows what was applied.
        let mut is_lost = false;
        let outcome = loop {
            if self.is_read_only() {
                break Err(read_only as fn() -> Error);
            }
            if self.is_short() {
                break Err(no_room);
            }
            let durable = self.options.is_volatile()
                || self.undurable >= UNDURABLE_MAX
                || group.iter().any(|pending| pending.batch.durable);
            match self.try_commit(&group, durable) {
                Ok(conflicts) => break Ok(conflicts),
                Err(Failure::Batch(index, error)) => {
                    let pending = group.remove(index);
                    // Whoever stopped waiting doesn't mind.
                    let _ = pending.reply.send(Err(refusal(error, is_lost)));
                }
                Err(Failure::Group(error)) => {
                    tracing::error!(
                        error = &error as &dyn std::error::Error,
                        "a metadata commit failed; nothing was changed, and the next one may work"
                    );
                    break Err(too_many_files);
                }
                Err(Failure::Store(error)) => {
                    // The next round says how it is now.
                    self.fail(&error);
                    is_lost = true;
                }
            }
        };
        match outcome {
            Ok(conflicts) => {
                for (pending, conflict) in group.into_iter().zip(conflicts) {
                    let result = conflict.map_or(Ok(()), |requirement| {
                        Err(CommitError::Conflict(requirement))
                    });
                    let _ = pending.reply.send(result);
                }
                if self.log.since_checkpoint() >= self.options.segment_bytes {
                    self.begin_checkpoint();
                }
            }
            Err(reason) => {
                for pending in group {
                    let _ = pending.reply.send(Err(refusal(reason(), is_lost)));
                }
            }
        }
    }

    /// Commits a group. Returns for each batch the requirement that doesn't
    /// hold, if any.
    fn try_commit(
        &mut self,
        group: &[Pending],
        durable: bool,
    ) -> Result<Vec<Option<Requirement>>, Failure> {
        let transaction = begin(&self.database, durable)?;
        let mut logged = Vec::new();
        let mut conflicts = Vec::new();
        {
            let mut table = transaction.open_table(FACTS).map_err(failed)?;
            let mut facts = FactsMut(&mut table);
            for (index, pending) in group.iter().enumerate() {
                let conflict = first_conflict(&facts, &pending.batch)
                    .and_then(|conflict| {
                        if conflict.is_none() {
                            apply(&mut facts, &pending.batch)?;
                        }
                        Ok(conflict)
                    })
                    .map_err(|error| match error.kind() {
                        ErrorKind::Unavailable => Failure::Store(error),
                        _ => Failure::Batch(index, error),
                    })?;
                if conflict.is_none() {
                    logged.extend(pending.logged.as_deref());
                }
                conflicts.push(conflict);
            }
            let untouched = conflicts.iter().all(Option::is_some) && !group.is_empty();
            if untouched {
                drop(table);
                transaction.abort().map_err(failed)?;
                return Ok(conflicts);
            }
            if !logged.is_empty() {
                self.log.prepare().inspect_err(|unprepared| {
                    self.log_unsynced |= matches!(unprepared, Unprepared::Unsynced(_));
                })?;
            }
            self.log.append(&logged, self.known).map_err(log_failed)?;
            let key = Key::store(StoreFact::Position);
            facts.put(&key, &self.log.position())?;
        }
        if durable && !self.options.is_volatile() {
            self.sync_log()?;
        }
        let committed = transaction.commit();
        // Also if it failed: nobody knows how far it came.
        self.shared.changed();
        committed.map_err(failed)?;
        self.undurable = if durable {
            0
        } else {
            self.undurable.saturating_add(1)
        };
        if durable && !self.options.is_volatile() {
            self.known = self.log.position().number;
        }
        Ok(conflicts)
    }

    /// Has a checkpoint written from what is durable now, unless one is being
    /// written or the store writes no more.
    pub(super) fn begin_checkpoint(&mut self) {
        if self.is_read_only()
            || self.is_short()
            || self
                .checkpoint
                .as_ref()
                .is_some_and(|c| !c.thread.is_finished())
        {
            return;
        }
        self.checkpoint = match self.spawn_checkpoint() {
            Ok(checkpoint) => Some(checkpoint),
            Err(error) => {
                report_checkpoint(&error);
                None
            }
        };
    }

    fn spawn_checkpoint(&mut self) -> Result<Checkpointing> {
        if self.undurable > 0 {
            match self.try_commit(&[], true) {
                Ok(_) => {}
                Err(Failure::Store(error) | Failure::Group(error) | Failure::Batch(_, error)) => {
                    self.fail(&error);
                    return Err(error);
                }
            }
        }
        if let Err(error) = self.log.checkpoint_begins() {
            self.read_only.store(true, Ordering::Release);
            return Err(log_failed(error));
        }
        let snapshot = self.database.begin_read().map_err(failed)?;
        let table = snapshot.open_table(FACTS).map_err(failed)?;
        let disk = Arc::clone(&self.disk);
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let longest_line = self.options.longest_line;
        let thread = std::thread::Builder::new()
            .name("registry-checkpoint".to_owned())
            .spawn(move || {
                let written = checkpoint::write(&Facts(&table), &disk, longest_line, &stopped);
                let replaced = written.and_then(|whole| {
                    if whole {
                        checkpoint::remove_replaced(&*disk)?;
                    }
                    Ok(())
                });
                if let Err(error) = replaced {
                    report_checkpoint(&error);
                }
            })
            .map_err(|source| Error::internal("a thread can't be started", source))?;
        Ok(Checkpointing { stop, thread })
    }
}

/// Why a batch wasn't committed: refused before anything was done, unless it was
/// tried before and got lost.
fn refusal(error: Error, is_lost: bool) -> CommitError {
    if is_lost {
        CommitError::Failed(error)
    } else {
        CommitError::Refused(error)
    }
}

/// A checkpoint that fails costs nothing but room on the disk, and is tried
/// again when the log has grown.
fn report_checkpoint(error: &Error) {
    tracing::warn!(
        error = error as &dyn std::error::Error,
        "a checkpoint of the metadata's change log failed"
    );
}

/// A transaction that leaves the database whole whatever happens, and needs no
/// repair after a crash.
pub(super) fn begin(database: &Database, durable: bool) -> Result<WriteTransaction> {
    let mut transaction = database.begin_write().map_err(failed)?;
    let durability = if durable {
        Durability::Immediate
    } else {
        Durability::None
    };
    transaction
        .set_durability(durability)
        .map_err(|source| Error::internal("the database refused a durability", source))?;
    transaction.set_two_phase_commit(true);
    transaction.set_quick_repair(true);
    Ok(transaction)
}

fn first_conflict(facts: &FactsMut<'_, '_>, batch: &Batch) -> Result<Option<Requirement>> {
    let facts = facts.view();
    for requirement in &batch.require {
        if !facts.meet(requirement, &batch.changes)? {
            return Ok(Some(requirement.clone()));
        }
    }
    Ok(None)
}

fn apply(facts: &mut FactsMut<'_, '_>, batch: &Batch) -> Result<()> {
    let mut changes = batch.changes.iter().cloned();
    changes.try_for_each(|change| facts.apply(change))
}

/// What everybody is told who wants to write after a commit failed.
pub(super) fn read_only() -> Error {
    ErrorKind::Unavailable
        .error("the metadata is read-only since a commit failed; see to its disk, then restart")
}

fn log_failed(source: io::Error) -> Error {
    ErrorKind::Unavailable
        .error("the change log of the metadata can't be written; see to its disk, then restart")
        .with_source(source)
}
