//! The database's file.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redb::StorageBackend;

use super::disk::DiskFile;

/// Reads and writes the database's file without keeping an asynchronous
/// worker waiting for the disk.
///
/// Nearly every page that a read needs is in memory, and then reading it costs
/// less than handing the read to another thread. The rest is found out by
/// asking the system for bytes only if it has them. When it doesn't, tokio is
/// told that this worker is about to block, and lets another one go on with its
/// tasks.
#[derive(Debug)]
pub(super) struct Backend(Arc<DatabaseFile>);

/// The database's file, shared by the database and whoever settles it.
///
/// A database that is opened marks its file as in use, and waits until the mark
/// is durable. That wait is put off until [`settle`](Self::settle): a sync takes
/// as long as the disk has other things to write, and reads needn't mind.
/// Nothing is written before the sync is made up for, so the disk sees writes
/// and syncs in the order in which the database made them.
#[derive(Debug)]
pub(super) struct DatabaseFile {
    file: Arc<dyn DiskFile>,
    /// Whether syncing is skipped.
    volatile: bool,
    syncs: Mutex<Syncs>,
}

/// How syncs are done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Syncs {
    /// Before the next write, if one is due then.
    Later { due: bool },
    /// At once.
    Now,
    /// Never again: one failed, and nobody knows what is on the disk.
    Failed,
}

impl DatabaseFile {
    pub(super) fn new(file: Arc<dyn DiskFile>, volatile: bool) -> Arc<Self> {
        Arc::new(Self {
            file,
            volatile,
            syncs: Mutex::new(Syncs::Later { due: false }),
        })
    }

    pub(super) fn backend(self: &Arc<Self>) -> Backend {
        Backend(Arc::clone(self))
    }

    /// Makes up for a sync that was put off, and puts off no more.
    pub(super) fn settle(&self) -> io::Result<()> {
        let mut syncs = self.make_up()?;
        *syncs = Syncs::Now;
        Ok(())
    }

    /// Does the sync that was put off, if any.
    fn make_up(&self) -> io::Result<MutexGuard<'_, Syncs>> {
        let mut syncs = self.syncs();
        match *syncs {
            Syncs::Later { due: true } => {
                self.sync(&mut syncs)?;
                *syncs = Syncs::Later { due: false };
            }
            Syncs::Later { due: false } | Syncs::Now => {}
            Syncs::Failed => return Err(failed_before()),
        }
        Ok(syncs)
    }

    fn sync(&self, syncs: &mut Syncs) -> io::Result<()> {
        self.file.sync().inspect_err(|_| *syncs = Syncs::Failed)
    }

    fn syncs(&self) -> MutexGuard<'_, Syncs> {
        self.syncs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn failed_before() -> io::Error {
    io::Error::other("a sync of this file failed before")
}

impl StorageBackend for Backend {
    fn len(&self) -> io::Result<u64> {
        self.0.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let file = &self.0.file;
        if file.try_read_at(out, offset)? {
            return Ok(());
        }
        if is_worker() {
            tokio::task::block_in_place(|| file.read_at(out, offset))
        } else {
            file.read_at(out, offset)
        }
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let _syncs = self.0.make_up()?;
        self.0.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        if self.0.volatile {
            return Ok(());
        }
        let mut syncs = self.0.syncs();
        match *syncs {
            Syncs::Later { .. } => {
                *syncs = Syncs::Later { due: true };
                Ok(())
            }
            Syncs::Now => self.0.sync(&mut syncs),
            Syncs::Failed => Err(failed_before()),
        }
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let _syncs = self.0.make_up()?;
        self.0.file.write_at(data, offset)
    }
}

/// Whether this is a worker of a multi-thread runtime.
///
/// `block_in_place` panics where a runtime has no other worker: in a
/// current-thread runtime, and in a `LocalSet` that a multi-thread one runs by
/// `block_on`. The latter can't be asked for, but doesn't happen on threads
/// that tokio started and named. A worker with a name of the program's own
/// waits for the disk, which is slow at worst.
fn is_worker() -> bool {
    use tokio::runtime::{Handle, RuntimeFlavor};
    Handle::try_current()
        .is_ok_and(|runtime| runtime.runtime_flavor() == RuntimeFlavor::MultiThread)
        && std::thread::current()
            .name()
            .is_some_and(|name| name.starts_with("tokio-r"))
}

#[cfg(all(test, feature = "testkit"))]
mod tests {
    use super::super::disk::Disk;
    use super::super::simulated_disk::SimulatedDisk;
    use super::*;

    fn file() -> io::Result<(SimulatedDisk, Arc<DatabaseFile>)> {
        let disk = SimulatedDisk::new(1, false);
        let file = DatabaseFile::new(disk.open("database")?, false);
        Ok((disk, file))
    }

    #[test]
    fn a_sync_that_was_put_off_is_made_up_for_before_the_next_write() {
        type Write = fn(&Backend) -> io::Result<()>;
        let writes: [Write; 2] = [
            |backend| backend.write(4, b"more"),
            |backend| backend.set_len(2),
        ];
        for write in writes {
            let (disk, file) = file().unwrap();
            let backend = file.backend();
            backend.write(0, b"mark").unwrap();
            disk.fail_syncs(true);
            backend.sync_data().unwrap();
            write(&backend).unwrap_err();
            assert_eq!(backend.len().unwrap(), 4);
        }
    }

    #[test]
    fn once_settled_nothing_is_put_off_any_more() {
        let (disk, file) = file().unwrap();
        let backend = file.backend();
        backend.write(0, b"mark").unwrap();
        backend.sync_data().unwrap();
        file.settle().unwrap();
        disk.fail_syncs(true);
        backend.sync_data().unwrap_err();
    }

    #[test]
    fn after_a_failed_sync_nothing_is_synced_or_written() {
        let (disk, file) = file().unwrap();
        let backend = file.backend();
        backend.write(0, b"mark").unwrap();
        backend.sync_data().unwrap();
        disk.fail_syncs(true);
        file.settle().unwrap_err();
        disk.fail_syncs(false);
        file.settle().unwrap_err();
        backend.sync_data().unwrap_err();
        backend.write(4, b"more").unwrap_err();
        backend.set_len(2).unwrap_err();
    }
}
