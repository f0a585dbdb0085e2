//! The embedded default: an engine that keeps everything in one directory.

use std::fs::{File, TryLockError};
use std::io;
use std::path::Path;
use std::sync::Arc;

use registry_core::{Error, ErrorKind, Result};

use super::read_back::blocking;
use super::{Engine, EngineBuilder, UploadExpiry, damages_file};
use crate::directory::{patiently, unusable};
use crate::metadata::{require_change_log, require_stored};
use crate::{
    BlobStore, Durability, FilesystemBlobs, FilesystemOptions, Rebuilt, RedbMetadata, RedbOptions,
    VerifiedMetadata,
};

/// The file whose lock says that a process uses the directory.
const LOCK: &str = "lock";

/// Where a Docker registry keeps its data.
const DOCKER: &str = "docker/registry/v2";

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
    /// stored, and waits up to a second for one that is about to let go of the
    /// directory, such as an engine that was just dropped.
    ///
    /// What `options` say about durability holds for content, too; a
    /// [`Durability`] alone will do for them.
    ///
    /// A directory that is made, and everything in it, is private to the user of
    /// the process; one that is there keeps its modes.
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
    /// too; and if the directory holds the data of a Docker registry. [`ErrorKind::Corrupt`] if the database is
    /// damaged, where rebuilding helps too.
    pub async fn root(
        root: impl AsRef<Path>,
        options: impl Into<RedbOptions>,
    ) -> Result<EngineBuilder> {
        let (root, metadata) = (root.as_ref().to_owned(), options.into());
        let opened = Self::root_in(&root, metadata).await;
        opened.map_err(|error| unusable("data", &root, error))
    }

    /// The same in a directory that must hold an engine's data already: it isn't
    /// made, nor is anything in it.
    ///
    /// # Errors
    ///
    /// Those of [`root`](Self::root), and [`ErrorKind::Unavailable`] if nothing
    /// is there.
    pub async fn existing(
        root: impl AsRef<Path>,
        options: impl Into<RedbOptions>,
    ) -> Result<EngineBuilder> {
        let root = root.as_ref().to_owned();
        let look = {
            let root = root.clone();
            move || require_stored(&root)
        };
        let found = blocking(look).await?;
        found.map_err(|error| unusable("data", &root, error))?;
        Self::root(root, options).await
    }

    async fn root_in(root: &Path, metadata: RedbOptions) -> Result<EngineBuilder> {
        let lock = {
            let root = root.to_owned();
            let take = move || refuse_foreign(&root).and_then(|()| lock(&root));
            Arc::new(blocking(take).await??)
        };
        let options = FilesystemOptions::default().durability(metadata.durability);
        let blobs = FilesystemBlobs::open_in(root, options, Some(Arc::clone(&lock))).await?;
        // Content without a database or a change log was not always so: to start
        // anew would make all of it unknown.
        let known = {
            let root = root.to_owned();
            blocking(move || RedbMetadata::is_stored(&root)).await??
        };
        if !known && !blobs.list(None, 1).await?.is_empty() {
            return Err(ErrorKind::Unavailable.error(
                "the directory holds content but no metadata; restore the metadata from a backup",
            ));
        }
        let metadata = RedbMetadata::open_in(root, metadata, Some(lock)).await?;
        let damaged = {
            let root = root.to_owned();
            blocking(move || damages_file::read(&root)).await?
        };
        let engine = Self::builder(blobs, metadata).in_directory(root, &damaged);
        Ok(engine.upload_expiry(UploadExpiry::default()))
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
        let root = root.as_ref();
        let rebuilt = Self::rebuild_in(root, options).await;
        rebuilt.map_err(|error| unusable("data", root, error))
    }

    /// Reads the database of the directory `root` and its change log again,
    /// compares all of them with their checksums, and what the database says with
    /// what the change log amounts to. Neither is changed; while it lasts, it
    /// takes as much room in the directory as the database does. What
    /// records name is read again by an [inspection](Self::inspect), which
    /// believes the database.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unavailable`] if a process uses the directory, if there is
    /// no database, if the files can't be read, or if there is no room to replay
    /// the change log.
    pub async fn verify_metadata(
        root: impl AsRef<Path>,
        options: RedbOptions,
    ) -> Result<VerifiedMetadata> {
        let root = root.as_ref();
        let verified = Self::verify_metadata_in(root, options).await;
        verified.map_err(|error| unusable("data", root, error))
    }

    async fn verify_metadata_in(root: &Path, options: RedbOptions) -> Result<VerifiedMetadata> {
        let _lock = {
            let root = root.to_owned();
            let take = move || require_stored(&root).and_then(|()| lock(&root));
            blocking(take).await??
        };
        RedbMetadata::verify_in(root, options).await
    }

    async fn rebuild_in(root: &Path, options: RedbOptions) -> Result<Rebuilt> {
        let _lock = {
            let root = root.to_owned();
            let take = move || require_change_log(&root).and_then(|()| lock(&root));
            blocking(take).await??
        };
        RedbMetadata::rebuild_in(root, options).await
    }
}

/// Fails if the directory holds what another program keeps there, of which
/// nobody would see anything here.
fn refuse_foreign(root: &Path) -> Result<()> {
    // One that was used all the same stays usable.
    if root.join(DOCKER).is_dir() && !RedbMetadata::is_stored(root)? {
        return Err(ErrorKind::Unavailable.error(format!(
            "it holds the data of a Docker registry ({DOCKER}), which is laid out otherwise; \
             choose another root directory (--root)"
        )));
    }
    Ok(())
}

/// Makes the directory and takes its lock, which lasts until the file is
/// closed.
fn lock(root: &Path) -> Result<File> {
    match std::fs::metadata(root) {
        Ok(found) if !found.is_dir() => {
            return Err(ErrorKind::Unavailable.error("it is a file; choose a directory"));
        }
        _ => crate::directory::create(root).map_err(refused)?,
    }
    let file = crate::directory::private_file()
        .create(true)
        .truncate(false)
        .write(true)
        .open(root.join(LOCK))
        .map_err(refused)?;
    let locked = patiently(|| match file.try_lock() {
        Ok(()) => Ok(Some(())),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(source)) => Err(source),
    });
    match locked {
        Ok(Some(())) => Ok(file),
        Ok(None) => Err(ErrorKind::Unavailable
            .error("another process uses this directory; stop it or choose another directory")),
        Err(source) => Err(refused(source)),
    }
}

fn refused(source: io::Error) -> Error {
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
