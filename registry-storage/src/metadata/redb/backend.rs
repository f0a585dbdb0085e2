//! The database's file.

use std::io;
use std::sync::Arc;

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
pub(super) struct Backend {
    pub(super) file: Arc<dyn DiskFile>,
    /// Whether syncing is skipped.
    pub(super) volatile: bool,
}

impl StorageBackend for Backend {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        if self.file.try_read_at(out, offset)? {
            return Ok(());
        }
        if is_worker() {
            tokio::task::block_in_place(|| self.file.read_at(out, offset))
        } else {
            self.file.read_at(out, offset)
        }
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        if self.volatile {
            return Ok(());
        }
        self.file.sync()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.file.write_at(data, offset)
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
