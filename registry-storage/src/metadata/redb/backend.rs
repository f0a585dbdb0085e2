//! The database's file.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redb::StorageBackend;

use super::disk::DiskFile;
use super::{ColdReads, RedbOptions};

/// Reads and writes the database's file.
///
/// Nearly every page that a read needs is in memory, and then reading it on an
/// asynchronous worker costs less than handing the read to another thread. The
/// rest is found out by asking the system for bytes only if it has them; see
/// [`ColdReads`] for what happens when it doesn't.
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
    cold_reads: ColdReads,
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
    pub(super) fn new(file: Arc<dyn DiskFile>, options: &RedbOptions) -> Arc<Self> {
        Arc::new(Self {
            file,
            volatile: options.is_volatile(),
            cold_reads: options.cold_reads,
            syncs: Mutex::new(Syncs::Later { due: false }),
        })
    }

    pub(super) fn backend(self: &Arc<Self>) -> Backend {
        Backend(Arc::clone(self))
    }

    /// The file for a database that is opened in place of the one that has it,
    /// which can't write to it any more.
    pub(super) fn renewed(&self, options: &RedbOptions) -> Arc<Self> {
        *self.syncs() = Syncs::Failed;
        Self::new(Arc::clone(&self.file), options)
    }

    /// Whether a sync failed.
    pub(super) fn has_failed_sync(&self) -> bool {
        *self.syncs() == Syncs::Failed
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
        match self.0.cold_reads {
            ColdReads::HandOver if is_in_multi_thread_runtime() => {
                tokio::task::block_in_place(|| file.read_at(out, offset))
            }
            ColdReads::HandOver | ColdReads::Wait => file.read_at(out, offset),
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

/// Whether a multi-thread runtime is there to hand tasks over to.
fn is_in_multi_thread_runtime() -> bool {
    use tokio::runtime::{Handle, RuntimeFlavor};
    Handle::try_current()
        .is_ok_and(|runtime| runtime.runtime_flavor() == RuntimeFlavor::MultiThread)
}

#[cfg(all(test, feature = "testkit"))]
mod tests {
    use std::sync::mpsc;

    use super::super::disk::Disk as _;
    use super::super::simulated_disk::SimulatedDisk;
    use super::*;

    fn file() -> io::Result<(SimulatedDisk, Arc<DatabaseFile>)> {
        let disk = SimulatedDisk::new(1, false);
        let file = DatabaseFile::new(disk.open("database")?, &RedbOptions::default());
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

    /// A file that nothing is in memory of, and whose pages come when they are
    /// sent.
    #[derive(Debug)]
    struct Cold(Mutex<mpsc::Receiver<()>>);

    impl DiskFile for Cold {
        fn len(&self) -> io::Result<u64> {
            Ok(1)
        }

        fn try_read_at(&self, _: &mut [u8], _: u64) -> io::Result<bool> {
            Ok(false)
        }

        fn read_at(&self, buffer: &mut [u8], _: u64) -> io::Result<()> {
            let pages = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            buffer.fill(7);
            let patience = std::time::Duration::from_mins(1);
            pages.recv_timeout(patience).map_err(io::Error::other)
        }

        fn write_at(&self, _: &[u8], _: u64) -> io::Result<()> {
            Ok(())
        }

        fn set_len(&self, _: u64) -> io::Result<()> {
            Ok(())
        }

        fn sync(&self) -> io::Result<()> {
            Ok(())
        }

        fn try_lock(&self) -> io::Result<bool> {
            Ok(true)
        }
    }

    /// The only worker of a runtime needs a page that comes when another task of
    /// that runtime has run.
    #[test]
    fn tasks_that_are_handed_over_go_on_during_a_cold_read() {
        let (send, pages) = mpsc::channel();
        let options = RedbOptions::default().cold_reads(ColdReads::HandOver);
        let file = DatabaseFile::new(Arc::new(Cold(Mutex::new(pages))), &options);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .build()
            .unwrap();
        let backend = file.backend();
        let read = runtime.spawn(async move {
            tokio::spawn(async move { send.send(()) });
            let mut byte = [0];
            backend.read(0, &mut byte).map(|()| byte)
        });
        let byte = runtime.block_on(read).unwrap();
        assert_eq!(byte.unwrap(), [7]);
    }
}
