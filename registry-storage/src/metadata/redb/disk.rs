//! The directory that everything lies in.
//!
//! The database and the change log do all their input and output through
//! [`Disk`], so that tests can put a disk under them that loses power.

use std::fmt;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A directory.
pub(super) trait Disk: fmt::Debug + Send + Sync + 'static {
    /// Opens a file, which comes into being if need be.
    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;

    /// The names of the files.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Renames a file, in place of an existing one.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    fn remove(&self, name: &str) -> io::Result<()>;

    /// Waits until the names survive a power failure.
    fn sync(&self) -> io::Result<()>;

    /// How much room there is, if the system tells.
    fn room(&self) -> io::Result<Option<Room>>;
}

/// How much room a disk has for this process, in bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Room {
    pub(super) free: u64,
    pub(super) total: u64,
}

/// An open file.
pub(super) trait DiskFile: fmt::Debug + Send + Sync + 'static {
    fn len(&self) -> io::Result<u64>;

    /// Fills the buffer from `offset` on if the bytes are in memory. Returns
    /// whether they were.
    fn try_read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<bool>;

    /// Fills the buffer from `offset` on.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Waits until the content survives a power failure.
    fn sync(&self) -> io::Result<()>;

    /// Locks the file as long as it is open. Returns false if another process,
    /// or another opening of the file, has it locked.
    fn try_lock(&self) -> io::Result<bool>;
}

/// A directory of the operating system.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    /// Open to be synced, which must not fail because too many files are: names
    /// that aren't durable yet may be all that leads to what is. Elsewhere a
    /// directory can't be opened as a file, and names are durable with the file.
    #[cfg(unix)]
    open: File,
}

impl Directory {
    /// The directory at `path`, which comes into being if need be.
    pub(super) fn create(path: &Path) -> io::Result<Self> {
        crate::directory::create(path)?;
        Ok(Self {
            path: path.to_owned(),
            #[cfg(unix)]
            open: File::open(path)?,
        })
    }
}

impl Disk for Directory {
    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let mut options = crate::directory::private_file();
        options.read(true).write(true).create(true).truncate(false);
        Ok(Arc::new(SystemFile(options.open(self.path.join(name))?)))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let entries = std::fs::read_dir(&self.path)?;
        let names = entries.map(|entry| Ok(entry?.file_name().into_string().ok()));
        names.filter_map(Result::transpose).collect()
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        std::fs::rename(self.path.join(from), self.path.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        std::fs::remove_file(self.path.join(name))
    }

    fn sync(&self) -> io::Result<()> {
        #[cfg(unix)]
        self.open.sync_all()?;
        Ok(())
    }

    #[cfg(target_os = "linux")]
    fn room(&self) -> io::Result<Option<Room>> {
        let found = rustix::fs::fstatvfs(&self.open)?;
        Ok(Some(Room {
            free: found.f_bavail.saturating_mul(found.f_frsize),
            total: found.f_blocks.saturating_mul(found.f_frsize),
        }))
    }

    #[cfg(not(target_os = "linux"))]
    fn room(&self) -> io::Result<Option<Room>> {
        Ok(None)
    }
}

#[derive(Debug)]
struct SystemFile(File);

impl DiskFile for SystemFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    #[cfg(target_os = "linux")]
    fn try_read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<bool> {
        use rustix::io::{Errno, ReadWriteFlags, preadv2};
        let wanted = buffer.len();
        let mut buffers = [io::IoSliceMut::new(buffer)];
        match preadv2(&self.0, &mut buffers, offset, ReadWriteFlags::NOWAIT) {
            Ok(read) => Ok(read == wanted),
            // A file system that can't tell is read the usual way.
            Err(Errno::AGAIN | Errno::OPNOTSUPP | Errno::INTR | Errno::NOSYS) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    #[cfg(not(target_os = "linux"))]
    fn try_read_at(&self, _: &mut [u8], _: u64) -> io::Result<bool> {
        Ok(false)
    }

    #[cfg(unix)]
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        std::os::unix::fs::FileExt::read_exact_at(&self.0, buffer, offset)
    }

    #[cfg(windows)]
    fn read_at(&self, mut buffer: &mut [u8], mut offset: u64) -> io::Result<()> {
        use std::os::windows::fs::FileExt;
        while !buffer.is_empty() {
            let read = self.0.seek_read(buffer, offset)?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            buffer = buffer.split_at_mut(read).1;
            offset = offset.saturating_add(read as u64);
        }
        Ok(())
    }

    #[cfg(unix)]
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        std::os::unix::fs::FileExt::write_all_at(&self.0, bytes, offset)
    }

    #[cfg(windows)]
    fn write_at(&self, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
        use std::os::windows::fs::FileExt;
        while !bytes.is_empty() {
            let written = self.0.seek_write(bytes, offset)?;
            bytes = bytes.split_at(written).1;
            offset = offset.saturating_add(written as u64);
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn try_lock(&self) -> io::Result<bool> {
        match self.0.try_lock() {
            Ok(()) => Ok(true),
            Err(std::fs::TryLockError::WouldBlock) => Ok(false),
            Err(std::fs::TryLockError::Error(error)) => Err(error),
        }
    }
}
