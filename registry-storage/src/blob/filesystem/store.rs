//! What the parts of a store of files share.

use std::fs;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use registry_core::{Error, ErrorKind, Result};
use tokio::task::JoinError;

use super::file_system::FileSystem;
use super::in_flight::InFlight;
use super::staged::absent;
use super::{Durability, layout};
use crate::BlobKey;
use crate::portion::Portions;
use crate::scarcity::{full, is_out_of_descriptors, too_many_files};

#[derive(Debug)]
pub(super) struct Store {
    pub(super) files: Arc<dyn FileSystem>,
    durability: Durability,
    /// Whether the system has files without a name that can be given one.
    unnamed: OnceLock<bool>,
    /// Set when a sync failed, never unset: what the system says about later
    /// ones can't be trusted.
    read_only: AtomicBool,
    /// Whether the directories above the fan-out are known to be durable.
    settled: AtomicBool,
    /// For each fan-out directory, whether it is known to be durable.
    prepared: Box<[AtomicBool]>,
    pub(super) in_flight: Arc<InFlight>,
    /// How much each open upload may hold.
    pub(super) portions: Portions,
    /// Keeps other processes away from the directory, as long as it is open.
    #[expect(dead_code, reason = "it is there to be dropped")]
    lock: Option<Arc<fs::File>>,
}

impl Store {
    /// Makes the directories that are missing. Nothing waits for the disk to
    /// sync, nor is anything tried, before there is something to store: a store
    /// that is only read is there at once.
    pub(super) fn open(
        files: Arc<dyn FileSystem>,
        durability: Durability,
        lock: Option<Arc<fs::File>>,
    ) -> Result<Self> {
        let store = Self {
            unnamed: OnceLock::new(),
            files,
            durability,
            read_only: AtomicBool::new(false),
            settled: AtomicBool::new(false),
            prepared: (0..layout::FAN_OUT)
                .map(|_| AtomicBool::new(false))
                .collect(),
            in_flight: Arc::default(),
            portions: Portions::default(),
            lock,
        };
        store
            .create_directories()
            .map_err(|source| failed("the directories of the blobs could not be made", source))?;
        Ok(store)
    }

    fn create_directories(&self) -> io::Result<()> {
        self.files.create_directory(layout::staging())?;
        self.files.create_directory(layout::blobs())?;
        for algorithm in layout::ALGORITHMS {
            self.files.create_directory(&layout::algorithm(algorithm))?;
        }
        Ok(())
    }

    /// Makes sure that the directories above the fan-out are there to stay. They
    /// are synced once per run: the process that made them may have ended before
    /// it could.
    fn settle(&self) -> Result<()> {
        if self.settled.load(Ordering::Acquire) {
            return Ok(());
        }
        for directory in [layout::blobs(), layout::root(), layout::above()] {
            self.sync(|| match self.files.sync_directory(directory) {
                // Not for this process to see to, nor made by it.
                Err(error)
                    if directory == layout::above()
                        && error.kind() == io::ErrorKind::PermissionDenied =>
                {
                    Ok(())
                }
                synced => synced,
            })?;
        }
        self.settled.store(true, Ordering::Release);
        Ok(())
    }

    /// Makes sure that the directory of a key is there to stay, so that syncing
    /// it is all that a new name in it needs. Once per run that takes a sync
    /// more: nobody knows whether an earlier run got that far.
    pub(super) fn prepare_directory(&self, key: &BlobKey) -> Result<()> {
        let prepared = self.prepared.get(layout::position(key));
        if prepared.is_some_and(|prepared| prepared.load(Ordering::Acquire)) {
            return Ok(());
        }
        self.settle()?;
        self.files
            .create_directory(&layout::directory(key))
            .map_err(|source| failed("the blob's directory could not be made", source))?;
        let parent = layout::algorithm(key.digest.algorithm());
        self.sync(|| self.files.sync_directory(&parent))?;
        if let Some(prepared) = prepared {
            prepared.store(true, Ordering::Release);
        }
        Ok(())
    }

    /// Whether the system has files without a name that can be given one.
    ///
    /// # Errors
    ///
    /// If that can't be found out now.
    pub(super) fn has_unnamed_files(&self) -> io::Result<bool> {
        if let Some(unnamed) = self.unnamed.get() {
            return Ok(*unnamed);
        }
        let unnamed = self.try_unnamed_files()?;
        Ok(*self.unnamed.get_or_init(|| unnamed))
    }

    fn try_unnamed_files(&self) -> io::Result<bool> {
        let probe = layout::probe();
        let tried = absent(self.files.remove(&probe))
            .and_then(|()| self.files.create_unnamed(layout::staging()))
            .and_then(|file| file.link(&probe))
            .and_then(|()| self.files.remove(&probe));
        match tried {
            Ok(()) => Ok(true),
            // It says nothing about the system.
            Err(error) if is_out_of_descriptors(&error) => Err(error),
            Err(error) => {
                tracing::debug!(%error, "uploads have a name from their first byte on");
                Ok(false)
            }
        }
    }

    pub(super) fn is_read_only(&self) -> bool {
        self.read_only.load(Ordering::Acquire)
    }

    /// Fails if nothing may be written any more.
    pub(super) fn check(&self) -> Result<()> {
        if self.is_read_only() {
            return Err(read_only());
        }
        Ok(())
    }

    /// Syncs, unless the store was made without durability.
    ///
    /// A failed sync is never tried again: the system may have marked the lost
    /// pages as clean, and would report success.
    pub(super) fn sync(&self, sync: impl FnOnce() -> io::Result<()>) -> Result<()> {
        if self.durability == Durability::None {
            return Ok(());
        }
        sync().map_err(|source| {
            // The directory wasn't even opened, so nothing was lost.
            if is_out_of_descriptors(&source) {
                return failed("the blob could not be synced", source);
            }
            self.read_only.store(true, Ordering::Release);
            tracing::error!(error = %source, "a sync failed; no more blobs are taken");
            read_only().with_source(source)
        })
    }
}

fn read_only() -> Error {
    ErrorKind::Unavailable
        .error("the storage failed and takes no writes until it is checked and restarted")
}

/// The error of a failed call to the file system.
pub(super) fn failed(what: &str, source: io::Error) -> Error {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    let reason = match source.kind() {
        StorageFull | QuotaExceeded => return full().with_source(source),
        FileTooLarge => "the storage takes no files as large as this",
        ReadOnlyFilesystem => "the storage is mounted for reading only",
        _ if is_out_of_descriptors(&source) => return too_many_files().with_source(source),
        _ => return Error::internal(what, source),
    };
    ErrorKind::Unavailable.error(reason).with_source(source)
}

/// Runs work that may wait for the disk.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    joined(tokio::task::spawn_blocking(work).await)
}

/// The outcome of work on another thread.
pub(super) fn joined<T>(outcome: Result<Result<T>, JoinError>) -> Result<T> {
    outcome.unwrap_or_else(|error| {
        Err(if error.is_cancelled() {
            ErrorKind::Unavailable.error("the registry is shutting down; try again later")
        } else {
            Error::internal("the storage failed unexpectedly", error)
        })
    })
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use crate::blob::filesystem::linux::SystemFiles;

    #[test]
    fn a_sync_that_could_not_begin_is_no_failed_sync() {
        let directory = tempfile::tempdir().unwrap();
        let files = SystemFiles::open(directory.path()).unwrap();
        let store = Store::open(Arc::new(files), Durability::Full, None).unwrap();
        let fail = |number| store.sync(|| Err(io::Error::from_raw_os_error(number)));

        let (too_many_files, input_or_output) = (24, 5);
        let error = fail(too_many_files).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        store.check().unwrap();

        let error = fail(input_or_output).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(store.is_read_only());
    }
}
