//! A file system that loses power.

mod disk;

use std::io;
use std::io::IoSlice;
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use registry_core::{FileContent, Result};

use crate::blob::filesystem::file_system::{File, FileSystem, Mode, Status};
use crate::{FilesystemBlobs, FilesystemOptions};
use disk::{Disk, NodeId};

/// A file system in memory that knows which bytes and names are durable, and
/// forgets others when the power fails.
///
/// It assumes the worst: each sector of each write, and each change to each
/// directory, survives or not on its own unless it was synced. Clones are the
/// same file system.
#[derive(Debug, Clone, Default)]
pub struct SimulatedFileSystem {
    disk: Arc<Mutex<Disk>>,
    /// Whether writes have to wait.
    held: Arc<(Mutex<bool>, Condvar)>,
}

impl SimulatedFileSystem {
    /// An empty file system.
    pub fn new() -> Self {
        Self::default()
    }

    /// The store in it, as a process that just started opens it.
    ///
    /// # Errors
    ///
    /// Those of [`FilesystemBlobs::open`].
    pub fn blobs(&self, options: FilesystemOptions) -> Result<FilesystemBlobs> {
        FilesystemBlobs::with_files(Arc::new(self.clone()), options, None)
    }

    /// Cuts the power, if it is still on, and brings it back: of what wasn't
    /// synced, chance decides what is still there. All open files are lost.
    pub fn crash(&self, seed: u64) {
        self.disk().crash(seed);
    }

    /// Cuts the power after this many more calls: they and all later ones fail
    /// until [`crash`](Self::crash).
    pub fn cut_power_after(&self, calls: u64) {
        self.disk().cut_power_after(calls);
    }

    /// Whether the power is on.
    pub fn has_power(&self) -> bool {
        self.disk().has_power()
    }

    /// Reports success for each sync without doing it. With this, a test that
    /// looks for losses has to find some.
    pub fn ignore_syncs(&self) {
        self.disk().ignore_syncs();
    }

    /// Fails one sync, after this many more have worked. As on Linux, the bytes
    /// count as clean afterwards: another sync succeeds and saves nothing.
    pub fn fail_sync_after(&self, syncs: u64) {
        self.disk().fail_sync_after(syncs);
    }

    /// Fails each call that opens a file or directory, after this many more have
    /// worked: too many are open then. None to let all work again.
    pub fn limit_opens(&self, opens: Option<u64>) {
        self.disk().limit_opens(opens);
    }

    /// Lets files have at most this many bytes in all.
    pub fn limit(&self, bytes: u64) {
        self.disk().limit(bytes);
    }

    /// Lets each write wait, as on a slow disk, until they are held no longer.
    pub fn hold_writes(&self, on: bool) {
        let (held, changed) = &*self.held;
        *held.lock().unwrap_or_else(PoisonError::into_inner) = on;
        changed.notify_all();
    }

    fn wait_while_held(&self) {
        let (held, changed) = &*self.held;
        let held = held.lock().unwrap_or_else(PoisonError::into_inner);
        drop(changed.wait_while(held, |held| *held));
    }

    /// Gives every file a name from the start, as on systems that can't do
    /// otherwise.
    pub fn without_unnamed_files(self) -> Self {
        self.disk().without_unnamed_files();
        self
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn file(&self, node: NodeId) -> Arc<dyn File> {
        Arc::new(SimulatedFile {
            system: self.clone(),
            node,
        })
    }
}

impl FileSystem for SimulatedFileSystem {
    fn create_directory(&self, path: &Path) -> io::Result<()> {
        self.disk().running()?.create_directory(path)
    }

    fn create_unnamed(&self, directory: &Path) -> io::Result<Arc<dyn File>> {
        let node = self.disk().opening()?.create_unnamed(directory)?;
        Ok(self.file(node))
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        let node = self.disk().opening()?.create(path)?;
        Ok(self.file(node))
    }

    fn open(&self, path: &Path, _mode: Mode) -> io::Result<Arc<dyn File>> {
        let node = self.disk().opening()?.find(path)?;
        Ok(self.file(node))
    }

    fn size(&self, path: &Path) -> io::Result<u64> {
        let mut disk = self.disk();
        let disk = disk.running()?;
        let node = disk.find(path)?;
        Ok(disk.bytes(node)?.len() as u64)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut disk = self.disk();
        let disk = disk.running()?;
        let node = disk.find(from)?;
        disk.enter(to, node)?;
        disk.remove(from)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.disk().running()?.remove(path)
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        self.disk().opening()?.sync_directory(path)
    }

    fn names(&self, directory: &Path, each: &mut dyn FnMut(&str)) -> io::Result<()> {
        for name in self.disk().opening()?.names(directory)? {
            each(&name);
        }
        Ok(())
    }
}

#[derive(Debug)]
struct SimulatedFile {
    system: SimulatedFileSystem,
    node: NodeId,
}

impl FileContent for SimulatedFile {
    fn try_read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.read_at(buffer, offset)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut disk = self.system.disk();
        let bytes = disk.running()?.bytes(self.node)?;
        let rest = &bytes[bytes.len().min(usize::try_from(offset).unwrap())..];
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }
}

impl File for SimulatedFile {
    fn status(&self) -> io::Result<Status> {
        let mut disk = self.system.disk();
        let disk = disk.running()?;
        Ok(Status {
            size: disk.bytes(self.node)?.len() as u64,
            names: disk.count_names(self.node),
        })
    }

    fn write_at(&self, pieces: &[IoSlice<'_>], offset: u64) -> io::Result<usize> {
        let bytes = pieces.first().map_or(&[][..], |piece| piece);
        self.system.wait_while_held();
        let mut disk = self.system.disk();
        disk.running()?.write(self.node, offset, bytes)
    }

    fn truncate(&self, size: u64) -> io::Result<()> {
        self.system.disk().running()?.truncate(self.node, size)
    }

    fn start_writeback(&self, _range: Range<u64>) -> io::Result<()> {
        self.system.disk().running().map(|_| ())
    }

    fn sync(&self) -> io::Result<()> {
        self.system.disk().running()?.sync(self.node)
    }

    fn link(&self, path: &Path) -> io::Result<()> {
        let mut disk = self.system.disk();
        let disk = disk.running()?;
        match disk.find(path) {
            Ok(_) => Err(io::ErrorKind::AlreadyExists.into()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => disk.enter(path, self.node),
            Err(error) => Err(error),
        }
    }
}
