//! Uploads on their way to the disk.

use std::io;
use std::mem;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use registry_core::{ErrorKind, Result, UploadId, Verified};
use tokio::task::JoinHandle;

use super::batch::Batch;
use super::file_system::{BLOCK, File};
use super::store::{Store, blocking, failed, joined};
use super::{in_flight, layout};
use crate::portion::Portion;
use crate::{BlobKey, StagedBlob};

/// An upload that stays below this many bytes touches the disk only when it
/// ends.
const BUFFERED: usize = 128 << 10;

/// How many bytes the system may keep before it is asked to write them.
const WRITEBACK: u64 = 8 << 20;

/// The bytes of an upload that is being written.
///
/// While one batch is on its way to the disk, the next one gathers. A thread is
/// needed only while there is something to write, so slow clients hold none.
#[derive(Debug)]
pub(super) struct FilesystemStaged {
    store: Arc<Store>,
    upload: UploadId,
    disk: Disk,
    batch: Batch,
    /// The number of bytes that were handed over, whether or not they are
    /// written yet.
    size: u64,
    /// How many bytes are worth a write of their own. While they are being
    /// written, twice as many may gather.
    portion: Portion,
}

#[derive(Debug)]
enum Disk {
    /// Nothing was written yet.
    Untouched,
    Idle(StagingFile),
    Writing(JoinHandle<Result<StagingFile>>),
    /// A write failed, and with it the upload.
    Failed,
}

/// The file behind an upload.
#[derive(Debug)]
struct StagingFile {
    file: Arc<dyn File>,
    /// Whether it has its name in the staging directory.
    named: bool,
    /// The number of bytes written.
    size: u64,
    /// Up to where the system was asked to write them to the disk.
    written_back: u64,
}

impl FilesystemStaged {
    /// An upload without bytes. If there are older ones, they are dropped once
    /// there is something to put in their place.
    pub(super) fn new(store: Arc<Store>, upload: UploadId) -> Self {
        Self {
            portion: store.portions.enter(),
            store,
            upload,
            disk: Disk::Untouched,
            batch: Batch::default(),
            size: 0,
        }
    }

    /// An upload whose first `size` bytes are in `file`, under its staging name.
    pub(super) fn resume(
        store: Arc<Store>,
        upload: UploadId,
        file: Arc<dyn File>,
        size: u64,
    ) -> Self {
        Self {
            portion: store.portions.enter(),
            store,
            upload,
            disk: Disk::Idle(StagingFile {
                file,
                named: true,
                size,
                written_back: size,
            }),
            batch: Batch::default(),
            size,
        }
    }

    /// Waits for the batch on its way, if there is one.
    async fn settle(&mut self) -> Result<()> {
        // The handle stays in place while waiting: whoever calls again after
        // giving up in between must not miss the outcome.
        if let Disk::Writing(write) = &mut self.disk {
            let outcome = write.await;
            self.disk = Disk::Failed;
            self.disk = Disk::Idle(joined(outcome)?);
        }
        Ok(())
    }

    /// What is on the disk, once nothing is on its way there.
    async fn settled(&mut self) -> Result<Option<StagingFile>> {
        self.settle().await?;
        match mem::replace(&mut self.disk, Disk::Failed) {
            Disk::Untouched => Ok(None),
            Disk::Idle(file) => Ok(Some(file)),
            Disk::Writing(_) | Disk::Failed => Err(ErrorKind::Unavailable
                .error("an earlier write of this upload failed; resume or restart it")),
        }
    }

    /// Sends the batch on its way, up to where a block ends: the next one then
    /// begins with a whole block again.
    async fn flush(&mut self) -> Result<()> {
        let file = self.settled().await?;
        let behind = self.size.checked_rem(BLOCK as u64).unwrap_or_default();
        let behind = usize::try_from(behind).unwrap_or_default();
        let rest = self.batch.split_last(behind);
        let batch = mem::replace(&mut self.batch, rest);
        let (store, upload) = (Arc::clone(&self.store), self.upload);
        let work = self.store.in_flight.enter(self.upload);
        self.disk = Disk::Writing(tokio::task::spawn_blocking(move || {
            let _work = work;
            write(&store, &upload, file, batch)
        }));
        Ok(())
    }

    /// Writes what is left and does the last thing, all on one blocking thread.
    async fn end<T: Send + 'static>(
        mut self,
        last: impl FnOnce(&Store, StagingFile) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let file = self.settled().await?;
        let Self {
            store,
            upload,
            batch,
            ..
        } = self;
        let work: in_flight::WorkGuard = store.in_flight.enter(upload);
        blocking(move || {
            let _work = work;
            store.check()?;
            let file = write(&store, &upload, file, batch)?;
            last(&store, file)
        })
        .await
    }
}

#[async_trait]
impl StagedBlob for FilesystemStaged {
    async fn write(&mut self, bytes: Bytes) -> Result<()> {
        self.store.check()?;
        self.size = self.size.saturating_add(bytes.len() as u64);
        self.batch.push(bytes);
        let portion = self.portion.size();
        let ready = match &self.disk {
            Disk::Untouched => self.batch.len() > BUFFERED,
            Disk::Writing(write) if !write.is_finished() => {
                self.batch.len() >= portion.saturating_mul(2)
            }
            Disk::Idle(_) | Disk::Writing(_) => self.batch.len() >= portion,
            Disk::Failed => true,
        };
        if ready { self.flush().await } else { Ok(()) }
    }

    async fn pause(self: Box<Self>) -> Result<()> {
        let upload = self.upload;
        self.end(move |store, file| file.give_staging_name(store, &upload))
            .await
    }

    async fn publish(self: Box<Self>, verified: Verified) -> Result<BlobKey> {
        if self.size != verified.size() {
            return Err(ErrorKind::Internal
                .error("the number of staged bytes is not the verified one; start again"));
        }
        let key = BlobKey {
            digest: verified.digest(),
            generation: self.upload,
        };
        self.end(move |store, file| file.publish(store, &key)).await
    }
}

/// Adds a batch to the file, which is made if there is none.
fn write(
    store: &Store,
    upload: &UploadId,
    file: Option<StagingFile>,
    batch: Batch,
) -> Result<StagingFile> {
    let mut staging = match file {
        Some(staging) => staging,
        None => StagingFile::create(store, upload)?,
    };
    if batch.is_empty() {
        return Ok(staging);
    }
    let end = staging.size.saturating_add(batch.len() as u64);
    batch
        .write_to(&*staging.file, staging.size)
        .map_err(|source| failed("the upload could not be written", source))?;
    staging.size = end;
    if end.saturating_sub(staging.written_back) >= WRITEBACK {
        let range = staging.written_back..end;
        if let Err(error) = staging.file.start_writeback(range) {
            tracing::debug!(%error, "the system takes no advice about writing back");
        }
        staging.written_back = end;
    }
    Ok(staging)
}

impl StagingFile {
    fn create(store: &Store, upload: &UploadId) -> Result<Self> {
        let not_started = |source| failed("the upload could not be started", source);
        let path = layout::staged(upload);
        let unnamed = store.has_unnamed_files().map_err(not_started)?;
        let created = if unnamed {
            store.files.create_unnamed(layout::staging())
        } else {
            // An older file is never emptied in place: a power failure may have
            // left it with the name of a stored blob, too.
            absent(store.files.remove(&path)).and_then(|()| store.files.create(&path))
        };
        Ok(Self {
            file: created.map_err(not_started)?,
            named: !unnamed,
            size: 0,
            written_back: 0,
        })
    }

    /// Makes the file findable under its upload.
    fn give_staging_name(self, store: &Store, upload: &UploadId) -> Result<()> {
        if self.named {
            return Ok(());
        }
        let path = layout::staged(upload);
        absent(store.files.remove(&path))
            .and_then(|()| self.file.link(&path))
            .map_err(|source| failed("the upload could not be kept for later", source))
    }

    /// Makes the bytes durable, then their name.
    fn publish(self, store: &Store, key: &BlobKey) -> Result<BlobKey> {
        store.sync(|| self.file.sync())?;
        store.prepare_directory(key)?;
        self.give_key(store, key)
            .map_err(|source| failed("the blob could not be stored", source))?;
        store.sync(|| store.files.sync_directory(&layout::directory(key)))?;
        Ok(*key)
    }

    fn give_key(self, store: &Store, key: &BlobKey) -> io::Result<()> {
        let (path, staged) = (layout::blob(key), layout::staged(&key.generation));
        if self.named {
            return store.files.rename(&staged, &path);
        }
        match self.file.link(&path) {
            // The same bytes were published before, and nobody heard of it. They
            // may have lost their durability since, so these take their place.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                absent(store.files.remove(&staged))?;
                self.file.link(&staged)?;
                store.files.rename(&staged, &path)
            }
            Err(error) => Err(error),
            Ok(()) => absent(store.files.remove(&staged)),
        }
    }
}

/// Success also if there was nothing to remove.
pub(super) fn absent(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}
