//! What the store asks of a file system, so that a simulated one can lose power.

use std::fmt;
use std::io;
use std::io::IoSlice;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use registry_core::FileContent;

/// A directory tree. Paths are relative to its root and made of names that the
/// store chose. Symbolic links are never followed. All calls may wait for the
/// disk.
pub(crate) trait FileSystem: fmt::Debug + Send + Sync + 'static {
    /// Makes a directory unless there is one.
    fn create_directory(&self, path: &Path) -> io::Result<()>;

    /// Makes an empty file without a name in a directory's file system, which
    /// vanishes with its last handle unless it is linked.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::Unsupported`] if the system has no such files.
    fn create_unnamed(&self, directory: &Path) -> io::Result<Arc<dyn File>>;

    /// Makes an empty file, which must not exist.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>>;

    /// Opens a regular file.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::InvalidData`] if it is anything else.
    fn open(&self, path: &Path, mode: Mode) -> io::Result<Arc<dyn File>>;

    /// Opens a regular file for reading if that takes no waiting.
    ///
    /// # Errors
    ///
    /// Any, if the caller should [`open`](Self::open) it on a thread that may
    /// wait.
    fn try_open(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        let _ = path;
        Err(io::ErrorKind::WouldBlock.into())
    }

    /// The size of a regular file.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::InvalidData`] if it is anything else.
    fn size(&self, path: &Path) -> io::Result<u64>;

    /// Gives a file another name, in place of whatever file has it.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes the name of a file.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes the names in a directory durable: one of the tree, or the one that
    /// its root is in, which is `..`.
    fn sync_directory(&self, path: &Path) -> io::Result<()>;

    /// Tells each name in a directory, in no order. Names that aren't text are
    /// left out.
    fn names(&self, directory: &Path, each: &mut dyn FnMut(&str)) -> io::Result<()>;
}

pub(crate) use crate::recycled::BLOCK;

/// What a file is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Read,
    Write,
}

/// What is known of an open file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Status {
    /// The number of bytes.
    pub(crate) size: u64,
    /// How many names it has.
    pub(crate) names: u64,
}

/// An open file.
pub(crate) trait File: FileContent {
    fn status(&self) -> io::Result<Status>;

    /// Writes some of the pieces, one after the other, from `offset` on, and
    /// returns how many bytes.
    fn write_at(&self, pieces: &[IoSlice<'_>], offset: u64) -> io::Result<usize>;

    /// Drops the bytes behind `size`.
    fn truncate(&self, size: u64) -> io::Result<()>;

    /// Asks the system to start writing a range to the disk, so that a later
    /// sync has less to do. It makes nothing durable.
    fn start_writeback(&self, range: Range<u64>) -> io::Result<()>;

    /// Makes the bytes durable.
    fn sync(&self) -> io::Result<()>;

    /// Gives the file a name, or one more.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::AlreadyExists`] if the name is taken.
    fn link(&self, path: &Path) -> io::Result<()>;
}

/// Writes all the pieces from `offset` on.
pub(crate) fn write_all_at(
    file: &dyn File,
    mut pieces: &mut [IoSlice<'_>],
    mut offset: u64,
) -> io::Result<()> {
    /// How many pieces Linux and the BSDs take at once.
    const PIECES: usize = 1024;
    IoSlice::advance_slices(&mut pieces, 0);
    while !pieces.is_empty() {
        let written = match file.write_at(pieces.get(..PIECES).unwrap_or(pieces), offset) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => written,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        IoSlice::advance_slices(&mut pieces, written);
        offset = offset.saturating_add(written as u64);
    }
    Ok(())
}
