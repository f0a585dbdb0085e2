//! The embedded default: an engine that keeps everything in one directory.

use std::fs::{File, TryLockError};
use std::io;
use std::path::Path;

use registry_core::{Error, ErrorKind, Result};

use super::read_back::blocking;
use super::{Engine, EngineBuilder, UploadExpiry};
use crate::{
    BlobStore, Durability, FilesystemBlobs, FilesystemOptions, Rebuilt, RedbMetadata, RedbOptions,
};

/// The file whose lock says that a process uses the directory.
const LOCK: &str = "lock";

impl Engine {
    /// The engine in the directory `root`, which is made if there is none. See
    /// [`root`](Self::root) for more choice.
    ///
    /// Within a tokio runtime, as long as the engine is there, a task forgets
    /// uploads that nobody finished for a week; it looks every hour.
    /// [`EngineBuilder::upload_expiry`] changes that.
    ///
    /// # Errors
    ///
    /// Those of [`root`](Self::root).
    pub async fn open(root: impl AsRef<Path>) -> Result<Self> {
        Ok(Self::root(root, Durability::Full).await?.build())
    }

    /// An engine in the directory `root`, to be told more about. One process
    /// at a time may use a directory. Opening costs the same however much is
    /// stored.
    ///
    /// What `options` say about durability holds for content, too; a
    /// [`Durability`] alone will do for them.
    ///
    /// Below `root` are `blobs` and `staging` with the content (see
    /// [`FilesystemBlobs`]) and `metadata.redb` with its change log (see
    /// [`RedbMetadata`]).
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unavailable`] if another process uses the directory, if it
    /// can't be written to, or if its database is lost: then
    /// [`rebuild`](Self::rebuild) it, or restore it if its change log is lost
    /// too. [`ErrorKind::Corrupt`] if the database is
    /// damaged, where rebuilding helps too.
    pub async fn root(
        root: impl AsRef<Path>,
        options: impl Into<RedbOptions>,
    ) -> Result<EngineBuilder> {
        let (root, metadata) = (root.as_ref().to_owned(), options.into());
        let lock = {
            let root = root.clone();
            blocking(move || lock(&root)).await??
        };
        let options = FilesystemOptions::default().durability(metadata.durability);
        let blobs = FilesystemBlobs::open(&root, options).await?;
        // Content without a database or a change log was not always so: to start
        // anew would make all of it unknown.
        let known = RedbMetadata::is_stored(&root).await?;
        if !known && !blobs.list(None, 1).await?.is_empty() {
            return Err(ErrorKind::Unavailable.error(
                "the directory holds content but no metadata; restore the metadata from a backup",
            ));
        }
        let metadata = RedbMetadata::open(&root, metadata).await?;
        Ok(Self::builder(blobs, metadata)
            .upload_expiry(UploadExpiry::default())
            .lock(lock))
    }

    /// Makes the database of the directory `root` again, from the change log
    /// beside it. Open uploads are gone; everything acknowledged is there. An
    /// existing database is kept under another name.
    ///
    /// With [`RedbOptions::skip_damage`] it goes on behind damage in the change
    /// log, and loses what that held.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unavailable`] if a process uses the directory or if there
    /// is no change log; [`ErrorKind::Corrupt`] if the change log is damaged
    /// and damage isn't skipped.
    pub async fn rebuild(root: impl AsRef<Path>, options: RedbOptions) -> Result<Rebuilt> {
        let root = root.as_ref().to_owned();
        let _lock = {
            let root = root.clone();
            blocking(move || lock(&root)).await??
        };
        RedbMetadata::rebuild(&root, options).await
    }
}

/// Makes the directory and takes its lock, which lasts until the file is
/// closed.
fn lock(root: &Path) -> Result<File> {
    match std::fs::metadata(root) {
        Ok(found) if !found.is_dir() => {
            return Err(ErrorKind::Unavailable.error("it is a file; choose a directory"));
        }
        _ => crate::directory::create(root).map_err(unusable)?,
    }
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(root.join(LOCK))
        .map_err(unusable)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(ErrorKind::Unavailable
            .error("another process uses this directory; stop it or choose another directory")),
        Err(TryLockError::Error(source)) => Err(unusable(source)),
    }
}

fn unusable(source: io::Error) -> Error {
    let reason = match source.kind() {
        io::ErrorKind::NotADirectory => "its path leads through a file; choose another directory",
        io::ErrorKind::PermissionDenied => {
            "this user isn't permitted to use the directory; see to its permissions"
        }
        io::ErrorKind::ReadOnlyFilesystem => {
            "its file system is read-only; make it writable or choose another directory"
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "there is no space left for it; free some or choose another directory"
        }
        _ => "the directory can't be read or written; see to its disk",
    };
    ErrorKind::Unavailable.error(reason).with_source(source)
}
