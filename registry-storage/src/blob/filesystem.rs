//! Blobs as files.

mod batch;
#[cfg(target_os = "linux")]
mod direct;
pub(crate) mod file_system;
mod in_flight;
mod layout;
#[cfg(target_os = "linux")]
mod linux;
mod listing;
#[cfg(any(not(target_os = "linux"), all(test, feature = "testkit")))]
mod portable;
mod staged;
mod store;

use std::fs;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use registry_core::{BlobBody, Error, ErrorKind, FileSlice, Result, UploadId};

use super::{BlobKey, BlobStore, StagedBlob, StoredBlob};
use file_system::{File, FileSystem, Mode};
#[cfg(target_os = "linux")]
use linux::SystemFiles;
#[cfg(not(target_os = "linux"))]
use portable::SystemFiles;
use staged::{FilesystemStaged, absent};
use store::{Store, blocking, failed};

/// Parts up to this size are read when they are opened: one thread's work
/// instead of two.
const READ_AT_ONCE: u64 = 64 << 10;

/// What a stored blob survives.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// A power failure.
    #[default]
    Full,
    /// The end of the process, but no power failure: for tests, and for caches
    /// that are emptied after one.
    None,
}

/// How a [`FilesystemBlobs`] works.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, Default)]
pub struct FilesystemOptions {
    /// What a stored blob survives.
    pub durability: Durability,
}

impl FilesystemOptions {
    /// Sets what a stored blob survives.
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }
}

/// A [`BlobStore`] in a directory.
///
/// A stored blob is one file, `blobs/<algorithm>/<two digits>/<digest>.<upload>`
/// in hexadecimal digits; a paused upload is `staging/<upload>`. Files that the
/// store didn't make are left alone. An open upload holds a few
/// MiB of memory, whatever its size: what waits to be hashed and written and, for
/// large blobs in memory that disks don't take it from, the buffers of direct
/// writes, of which a store has at most four of 1 MiB.
///
/// Clones are the same store. Two stores on one directory don't disturb each
/// other as long as no upload is written through both.
///
/// # Durability
///
/// With [`Durability::Full`], a blob's file is synced before it gets its name,
/// and the directory before [`publish`](StagedBlob::publish) returns. When a
/// sync fails, the store keeps serving but takes nothing more, since the system
/// can no longer be trusted to know what is on the disk: check the disk and
/// start again.
#[derive(Debug, Clone)]
pub struct FilesystemBlobs(Arc<Store>);

impl FilesystemBlobs {
    /// The store in `directory`, which is made if there is none. It takes the
    /// same time however much is stored.
    ///
    /// # Errors
    ///
    /// [`Unavailable`](ErrorKind::Unavailable) if the storage is full or can't
    /// be written to; [`Internal`](ErrorKind::Internal) if the directory, or
    /// one that belongs in it, can't be made.
    pub async fn open(directory: impl AsRef<Path>, options: FilesystemOptions) -> Result<Self> {
        let directory = directory.as_ref();
        let opened = Self::open_in(directory, options, None).await;
        opened.map_err(|error| crate::directory::unusable("blobs", directory, error))
    }

    /// The same, for those who name the directory themselves if it fails. The
    /// lock is held as long as anything may still be written.
    pub(crate) async fn open_in(
        directory: &Path,
        options: FilesystemOptions,
        lock: Option<Arc<fs::File>>,
    ) -> Result<Self> {
        let directory = directory.to_owned();
        blocking(move || {
            let files = SystemFiles::open(&directory)
                .map_err(|source| failed("the directory could not be opened", source))?;
            Self::with_files(Arc::new(files), options, lock)
        })
        .await
    }

    /// The store in a file system.
    pub(crate) fn with_files(
        files: Arc<dyn FileSystem>,
        options: FilesystemOptions,
        lock: Option<Arc<fs::File>>,
    ) -> Result<Self> {
        let store = Store::open(files, options.durability, lock)?;
        Ok(Self(Arc::new(store)))
    }

    /// Whether a sync failed, after which the store takes no more writes.
    pub fn is_read_only(&self) -> bool {
        self.0.is_read_only()
    }
}

/// The part of a file that `range` names. `short` is the error if the file has
/// fewer bytes.
fn part(file: Arc<dyn File>, range: Range<u64>, short: fn() -> Error) -> Result<BlobBody> {
    let status = file.status().map_err(unreadable)?;
    if range.start > range.end || range.end > status.size {
        return Err(short());
    }
    Ok(BlobBody::File(FileSlice { file, range }))
}

/// The bytes of a part, if it is small and `read` gets all of them.
fn at_once(
    body: &BlobBody,
    read: impl Fn(&FileSlice, &mut [u8], u64) -> io::Result<usize>,
) -> io::Result<Option<Bytes>> {
    let BlobBody::File(slice) = body else {
        return Ok(None);
    };
    let length = slice.range.end.saturating_sub(slice.range.start);
    if length > READ_AT_ONCE {
        return Ok(None);
    }
    let mut bytes = vec![0; usize::try_from(length).unwrap_or_default()];
    let mut rest = bytes.as_mut_slice();
    let mut offset = slice.range.start;
    while !rest.is_empty() {
        match read(slice, rest, offset)? {
            0 => return Ok(None),
            count => {
                rest = rest.get_mut(count..).unwrap_or_default();
                offset = offset.saturating_add(count as u64);
            }
        }
    }
    Ok(Some(bytes.into()))
}

fn unreadable(source: io::Error) -> Error {
    failed("the blob could not be read", source)
}

fn too_short() -> Error {
    ErrorKind::Corrupt.error("the blob is shorter than recorded; push it again")
}

fn not_staged() -> Error {
    ErrorKind::UploadUnknown.error("the upload is not staged that far; start again")
}

/// The error of a file that can't be opened as what is stored under a key.
fn not_opened(source: io::Error) -> Error {
    match source.kind() {
        io::ErrorKind::NotFound => {
            ErrorKind::BlobUnknown.error("the blob is not stored; push it again")
        }
        io::ErrorKind::InvalidData => ErrorKind::Corrupt
            .error("something else is in the blob's place; push it again")
            .with_source(source),
        _ => unreadable(source),
    }
}

/// The error of a file that can't be opened as staged bytes.
fn not_resumed(source: io::Error) -> Error {
    match source.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::InvalidData => not_staged().with_source(source),
        _ => failed("the upload could not be opened", source),
    }
}

#[async_trait]
impl BlobStore for FilesystemBlobs {
    async fn check(&self) -> Result<()> {
        self.0.check()
    }

    async fn stage(&self, upload: &UploadId, offset: u64) -> Result<Box<dyn StagedBlob>> {
        self.0.check()?;
        self.0.in_flight.settled(upload).await;
        let (store, upload) = (Arc::clone(&self.0), *upload);
        if offset == 0 {
            return Ok(Box::new(FilesystemStaged::new(store, upload)));
        }
        let file = blocking(move || resume(&store, &upload, offset)).await?;
        let store = Arc::clone(&self.0);
        Ok(Box::new(FilesystemStaged::resume(
            store, upload, file, offset,
        )))
    }

    async fn open_staged(&self, upload: &UploadId, range: Range<u64>) -> Result<BlobBody> {
        self.0.in_flight.settled(upload).await;
        let (store, upload) = (Arc::clone(&self.0), *upload);
        blocking(move || {
            let opened = store.files.open(&layout::staged(&upload), Mode::Read);
            part(opened.map_err(not_resumed)?, range, not_staged)
        })
        .await
    }

    async fn discard(&self, upload: &UploadId) -> Result<()> {
        self.0.check()?;
        self.0.in_flight.settled(upload).await;
        let (store, upload) = (Arc::clone(&self.0), *upload);
        blocking(move || {
            absent(store.files.remove(&layout::staged(&upload)))
                .map_err(|source| failed("the upload could not be discarded", source))
        })
        .await
    }

    async fn list_staged(&self, after: Option<UploadId>, limit: usize) -> Result<Vec<UploadId>> {
        let store = Arc::clone(&self.0);
        blocking(move || listing::staged(&store, after, limit)).await
    }

    async fn open(&self, key: &BlobKey, range: Range<u64>) -> Result<BlobBody> {
        let path = layout::blob(key);
        if let Ok(file) = self.0.files.try_open(&path) {
            let body = part(file, range, too_short)?;
            let read = |slice: &FileSlice, buffer: &mut [u8], offset| {
                slice.file.try_read_at(buffer, offset)
            };
            return match at_once(&body, read) {
                Ok(Some(bytes)) => Ok(BlobBody::Bytes(bytes)),
                // Whatever is wrong shows again when the file is read.
                Ok(None) | Err(_) => Ok(body),
            };
        }
        let store = Arc::clone(&self.0);
        blocking(move || {
            let opened = store.files.open(&path, Mode::Read);
            let body = part(opened.map_err(not_opened)?, range, too_short)?;
            let read =
                |slice: &FileSlice, buffer: &mut [u8], offset| slice.file.read_at(buffer, offset);
            let bytes = at_once(&body, read).map_err(unreadable)?;
            Ok(bytes.map_or(body, BlobBody::Bytes))
        })
        .await
    }

    async fn size(&self, key: &BlobKey) -> Result<u64> {
        let (store, path) = (Arc::clone(&self.0), layout::blob(key));
        blocking(move || store.files.size(&path).map_err(not_opened)).await
    }

    async fn delete(&self, key: &BlobKey) -> Result<()> {
        self.0.check()?;
        let (store, key) = (Arc::clone(&self.0), *key);
        blocking(move || {
            remove(&store, &key).map_err(|source| failed("the blob could not be deleted", source))
        })
        .await
    }

    async fn list(&self, after: Option<BlobKey>, limit: usize) -> Result<Vec<StoredBlob>> {
        let store = Arc::clone(&self.0);
        blocking(move || listing::stored(&store, after, limit)).await
    }
}

/// Removes a blob's file.
fn remove(store: &Store, key: &BlobKey) -> io::Result<()> {
    let path = layout::blob(key);
    let file = store.files.open(&path, Mode::Read);
    if file
        .and_then(|file| file.status())
        .is_ok_and(|status| status.names > 1)
    {
        // A power failure brought the staging name of these bytes back. If it
        // were the only one, somebody could go on with them, and the next power
        // failure bring the blob back, changed.
        absent(store.files.remove(&layout::staged(&key.generation)))?;
    }
    absent(store.files.remove(&path))
}

/// Opens a paused upload to go on at `offset`.
fn resume(store: &Store, upload: &UploadId, offset: u64) -> Result<Arc<dyn File>> {
    let path = layout::staged(upload);
    let file = store.files.open(&path, Mode::Write).map_err(not_resumed)?;
    let status = file.status().map_err(not_resumed)?;
    // With a second name, it was published, and only the removal of this name
    // got lost: the bytes aren't the upload's any more.
    if status.names > 1 {
        absent(store.files.remove(&path)).map_err(not_resumed)?;
        return Err(not_staged());
    }
    if status.size < offset {
        return Err(not_staged());
    }
    if status.size > offset {
        file.truncate(offset).map_err(not_resumed)?;
    }
    Ok(file)
}
