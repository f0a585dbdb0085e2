//! Files by the system calls of Linux.

use std::fs;
use std::io;
use std::io::{IoSlice, IoSliceMut};
use std::num::NonZeroU64;
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use registry_core::FileContent;
use rustix::fs::{
    Advice, AtFlags, CWD, Dir, FileType, Mode as Permissions, OFlags, ResolveFlags, Stat,
};
use rustix::io::{Errno, ReadWriteFlags};

use super::direct::{DirectFile, DirectWrites};
use super::file_system::{File, FileSystem, Mode, Status};

const DIRECTORY: OFlags = OFlags::DIRECTORY
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// Without `NONBLOCK`, opening a pipe that somebody put there would wait for
/// its other end. Regular files don't mind.
const FILE: OFlags = OFlags::NOFOLLOW
    .union(OFlags::NONBLOCK)
    .union(OFlags::CLOEXEC);

/// How far apart bytes are tried to tell whether what is between them is in
/// memory too. The system keeps and drops the pages of a large file in groups,
/// mostly larger ones.
const PROBE_EVERY: usize = 64 << 10;

/// A directory tree below an open directory.
#[derive(Debug)]
pub(crate) struct SystemFiles {
    root: Arc<OwnedFd>,
    direct: Arc<DirectWrites>,
}

impl SystemFiles {
    /// The tree below `directory`, which is made if there is none.
    pub(crate) fn open(directory: &Path) -> io::Result<Self> {
        crate::directory::create(directory)?;
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(directory, flags, Permissions::empty())?;
        Ok(Self {
            root: Arc::new(root),
            direct: Arc::default(),
        })
    }

    fn file(&self, descriptor: OwnedFd, name: Option<&Path>) -> Arc<dyn File> {
        Arc::new(SystemFile {
            descriptor: descriptor.into(),
            root: Arc::clone(&self.root),
            direct: DirectFile::new(&self.direct),
            name: name.map(Path::to_owned),
        })
    }

    fn regular(&self, descriptor: OwnedFd, path: &Path) -> io::Result<Arc<dyn File>> {
        require_regular(&rustix::fs::fstat(&descriptor)?)?;
        Ok(self.file(descriptor, Some(path)))
    }
}

fn require_regular(status: &Stat) -> io::Result<()> {
    if FileType::from_raw_mode(status.st_mode).is_file() {
        Ok(())
    } else {
        Err(not_regular())
    }
}

fn not_regular() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "not a regular file")
}

fn no_unnamed_files() -> io::Error {
    io::ErrorKind::Unsupported.into()
}

/// Nobody but the owner may read what is stored.
fn permissions() -> Permissions {
    Permissions::from_raw_mode(0o600)
}

impl FileSystem for SystemFiles {
    fn create_directory(&self, path: &Path) -> io::Result<()> {
        match rustix::fs::mkdirat(&self.root, path, Permissions::from_raw_mode(0o700)) {
            Ok(()) => Ok(()),
            Err(Errno::EXIST) => {
                let status = rustix::fs::statat(&self.root, path, AtFlags::SYMLINK_NOFOLLOW)?;
                if FileType::from_raw_mode(status.st_mode).is_dir() {
                    Ok(())
                } else {
                    Err(io::ErrorKind::NotADirectory.into())
                }
            }
            Err(error) => Err(error.into()),
        }
    }

    fn create_unnamed(&self, directory: &Path) -> io::Result<Arc<dyn File>> {
        let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
        match rustix::fs::openat(&self.root, directory, flags, permissions()) {
            Ok(descriptor) => Ok(self.file(descriptor, None)),
            // Which of them depends on the file system and the kernel's age.
            Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::NOENT) => Err(no_unnamed_files()),
            Err(error) => Err(error.into()),
        }
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | FILE;
        let descriptor = rustix::fs::openat(&self.root, path, flags, permissions())?;
        Ok(self.file(descriptor, Some(path)))
    }

    fn open(&self, path: &Path, mode: Mode) -> io::Result<Arc<dyn File>> {
        let access = match mode {
            Mode::Read => OFlags::RDONLY,
            Mode::Write => OFlags::WRONLY,
        };
        match rustix::fs::openat(&self.root, path, access | FILE, Permissions::empty()) {
            Ok(descriptor) => self.regular(descriptor, path),
            // A symbolic link; a pipe without a reader, or a socket; a directory.
            Err(Errno::LOOP | Errno::NXIO | Errno::ISDIR) => Err(not_regular()),
            Err(error) => Err(error.into()),
        }
    }

    fn try_open(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        let resolve = ResolveFlags::CACHED | ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        let flags = OFlags::RDONLY | FILE;
        let opened = rustix::fs::openat2(&self.root, path, flags, Permissions::empty(), resolve);
        self.regular(opened?, path)
    }

    fn size(&self, path: &Path) -> io::Result<u64> {
        let status = rustix::fs::statat(&self.root, path, AtFlags::SYMLINK_NOFOLLOW)?;
        require_regular(&status)?;
        Ok(size(&status))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        Ok(rustix::fs::renameat(&self.root, from, &self.root, to)?)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(&self.root, path, AtFlags::empty())?)
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        let opened = rustix::fs::openat(&self.root, path, DIRECTORY, Permissions::empty())?;
        Ok(rustix::fs::fsync(opened)?)
    }

    fn names(&self, directory: &Path, each: &mut dyn FnMut(&str)) -> io::Result<()> {
        let opened = rustix::fs::openat(&self.root, directory, DIRECTORY, Permissions::empty())?;
        for entry in Dir::read_from(opened)? {
            if let Ok(name) = entry?.file_name().to_str() {
                each(name);
            }
        }
        Ok(())
    }
}

fn size(status: &Stat) -> u64 {
    u64::try_from(status.st_size).unwrap_or(0)
}

#[derive(Debug)]
struct SystemFile {
    descriptor: fs::File,
    root: Arc<OwnedFd>,
    direct: DirectFile,
    name: Option<PathBuf>,
}

impl FileContent for SystemFile {
    fn try_read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut buffers = [IoSliceMut::new(buffer)];
        let flags = ReadWriteFlags::NOWAIT;
        match rustix::io::preadv2(&self.descriptor, &mut buffers, offset, flags) {
            Ok(count) => Ok(count),
            // Not in memory; or the file system, or the kernel, can't tell.
            Err(Errno::AGAIN | Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => {
                Err(io::ErrorKind::WouldBlock.into())
            }
            Err(error) => Err(error.into()),
        }
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        Ok(rustix::io::pread(&self.descriptor, buffer, offset)?)
    }

    fn file(&self) -> Option<&fs::File> {
        Some(&self.descriptor)
    }

    fn is_cached(&self, range: Range<u64>) -> bool {
        let Some(last) = range.end.checked_sub(1) else {
            return true;
        };
        let probes = range.step_by(PROBE_EVERY).chain([last]);
        probes
            .map(|offset| self.try_read_at(&mut [0], offset))
            .all(|read| matches!(read, Ok(1)))
    }
}

impl File for SystemFile {
    fn status(&self) -> io::Result<Status> {
        let status = rustix::fs::fstat(&self.descriptor)?;
        Ok(Status {
            size: size(&status),
            #[allow(
                clippy::useless_conversion,
                reason = "its width depends on the architecture"
            )]
            names: u64::from(status.st_nlink),
        })
    }

    fn write_at(&self, pieces: &[IoSlice<'_>], offset: u64) -> io::Result<usize> {
        if let Some(written) = self
            .direct
            .write_at(self.descriptor.as_fd(), pieces, offset)?
        {
            return Ok(written);
        }
        Ok(rustix::io::pwritev(&self.descriptor, pieces, offset)?)
    }

    fn truncate(&self, size: u64) -> io::Result<()> {
        Ok(rustix::fs::ftruncate(&self.descriptor, size)?)
    }

    /// Advising that pages aren't needed writes the dirty ones, without
    /// waiting, and drops only those that were clean already.
    fn start_writeback(&self, range: Range<u64>) -> io::Result<()> {
        let length = NonZeroU64::new(range.end.saturating_sub(range.start));
        let advice = Advice::DontNeed;
        Ok(rustix::fs::fadvise(
            &self.descriptor,
            range.start,
            length,
            advice,
        )?)
    }

    fn sync(&self) -> io::Result<()> {
        Ok(rustix::fs::fsync(&self.descriptor)?)
    }

    fn link(&self, path: &Path) -> io::Result<()> {
        if let Some(name) = &self.name {
            let flags = AtFlags::empty();
            return Ok(rustix::fs::linkat(
                &self.root, name, &self.root, path, flags,
            )?);
        }
        let flags = AtFlags::EMPTY_PATH;
        match rustix::fs::linkat(&self.descriptor, "", &self.root, path, flags) {
            Ok(()) => Ok(()),
            // Older kernels want a privilege for that, and say so in this way.
            Err(Errno::NOENT) => {
                let link = format!("/proc/self/fd/{}", self.descriptor.as_raw_fd());
                let flags = AtFlags::SYMLINK_FOLLOW;
                Ok(rustix::fs::linkat(CWD, link, &self.root, path, flags)?)
            }
            Err(error) => Err(error.into()),
        }
    }
}
