//! Metadata in an embedded database.

mod backend;
mod change_log;
mod checkpoint;
mod comparison;
mod damage;
mod disk;
#[cfg(test)]
mod earlier_versions;
mod facts;
mod facts_mut;
mod key;
mod known_epochs;
mod line;
mod open;
mod options;
mod overlay;
#[cfg(all(test, feature = "testkit"))]
mod power_loss;
mod rebuild;
mod receive;
mod replay;
mod requirement;
mod room;
mod shared;
#[cfg(all(test, feature = "testkit"))]
mod simulated_disk;
#[cfg(feature = "testkit")]
pub mod testkit;
#[cfg(test)]
mod unreadable;
mod value;
mod verify;
mod writer;

use std::fmt;
use std::fs::File;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use async_trait::async_trait;
use redb::{Database, ReadOnlyTable, ReadableDatabase};
use registry_core::{
    Descriptor, Digest, Error, ErrorKind, Page, Reference, RepositoryEpoch, RepositoryName, Result,
    Tag, UploadId,
};
use tokio::sync::{mpsc, oneshot, watch};

use self::disk::{Directory, Disk};
use self::facts::{Bytes, Facts, failed};
use self::key::{Family, Key, StoreFact, digest_bytes};
use self::known_epochs::KnownEpochs;
use self::shared::{SharedDatabase, closed};
use self::value::{Emitted, Referrer, Repository, TagTarget, decode};
use self::writer::{FACTS, Pending};
use super::timestamp::{from_nanoseconds, to_nanoseconds};
use super::{
    Batch, BlobRecord, CommitError, ManifestRecord, MetadataStore, OutboxEntry, ReferrerPage,
    RepositoryRecord, TagRecord, UploadRecord,
};
use crate::directory::unusable;

pub use comparison::{FactFault, FactKind, WrongFact};
pub use options::{ColdReads, RedbOptions};
pub use rebuild::Rebuilt;
pub use verify::{MetadataFinding, VerifiedMetadata};

/// What errors call all of this.
const WHAT: &str = "metadata";

/// Metadata in an embedded database: `metadata.redb` in a directory, and beside
/// it a change log from which the database can be [rebuilt](Self::rebuild).
///
/// One thread writes, and commits together whatever waits; readers never wait
/// for it, nor for each other. All listings are range scans, and opening costs
/// the same whatever is stored.
///
/// # Durability
///
/// A durable batch is in the change log and in the database, both synced, when
/// it is acknowledged. If that fails, nothing is retried: the store
/// [is read-only](Self::is_read_only) from then on, since nobody can tell what
/// reached the disk. Opening it again finds out: each batch is there as a
/// whole or not at all. If the change log can't be gone on with because too
/// many files are open, nothing was written: the batch fails, and later ones may
/// succeed.
///
/// While 16 MiB of the disk are free or less (a sixteenth of a small one), all
/// batches fail, and nothing is written. If a write runs out of room all the
/// same, the store opens its database again by itself once there is more than
/// that: what was acknowledged as durable is there, and the rest as after the
/// end of the process.
///
/// # The end
///
/// Dropping the store waits for nothing: its thread finishes what it was given,
/// closes the database, and lets other processes have the directory.
/// [`close`](MetadataStore::close) waits for that.
pub struct RedbMetadata {
    database: Arc<SharedDatabase>,
    epochs: KnownEpochs,
    read_only: Arc<AtomicBool>,
    /// Whether there is too little room on the disk.
    is_short: Arc<AtomicBool>,
    disk: Arc<dyn Disk>,
    longest_line: usize,
    /// Taken to end the writer.
    batches: Mutex<Option<mpsc::Sender<Pending>>>,
    /// Its sender is gone once the writer has let go of everything.
    ended: watch::Receiver<End>,
}

/// How the writer left the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Whole,
    /// It met what it couldn't read.
    Damaged,
}

impl RedbMetadata {
    /// Opens the store in `directory`, or makes a new one. It takes the same
    /// time however much is stored, and up to a second more if one that has it
    /// open is about to let go of it, such as one that was just dropped.
    ///
    /// # Errors
    ///
    /// [`Unavailable`](ErrorKind::Unavailable) if another process has it open,
    /// if the database is missing while the change log is there, or if the
    /// directory can't be used; [`Corrupt`](ErrorKind::Corrupt) if the database
    /// is damaged or older than the change log. [Rebuilding](Self::rebuild)
    /// helps with the missing, the damaged and the old.
    pub async fn open(directory: impl AsRef<Path>, options: RedbOptions) -> Result<Self> {
        let directory = directory.as_ref();
        let opened = Self::open_in(directory, options, None).await;
        opened.map_err(|error| unusable(WHAT, directory, error))
    }

    /// The same, for those who name the directory themselves if it fails. The
    /// lock is held until the database is closed.
    pub(crate) async fn open_in(
        directory: &Path,
        options: RedbOptions,
        lock: Option<Arc<File>>,
    ) -> Result<Self> {
        let directory = directory.to_owned();
        blocking(move || open::open(directory_at(&directory)?, &options, lock)).await
    }

    /// Makes the database in `directory` again from the change log. All is as
    /// it was but uploads and the outbox, which are gone. An existing database
    /// is kept as `metadata.redb.replaced`, or `metadata.redb.replaced.2` and so on
    /// if there is one already.
    ///
    /// # Errors
    ///
    /// [`Unavailable`](ErrorKind::Unavailable) if another process has the
    /// database open or if there is no change log;
    /// [`Corrupt`](ErrorKind::Corrupt), with the file and the position, if the
    /// change log is damaged in other than its last, unacknowledged records.
    pub async fn rebuild(directory: impl AsRef<Path>, options: RedbOptions) -> Result<Rebuilt> {
        let directory = directory.as_ref();
        let rebuilt = Self::rebuild_in(directory, options).await;
        rebuilt.map_err(|error| unusable(WHAT, directory, error))
    }

    /// The same, for those who name the directory themselves if it fails.
    pub(crate) async fn rebuild_in(directory: &Path, options: RedbOptions) -> Result<Rebuilt> {
        let directory = directory.to_owned();
        blocking(move || {
            require_change_log(&directory)?;
            rebuild::rebuild(&directory_at(&directory)?, &options)
        })
        .await
    }

    /// Reads the database and the change log in `directory` again, compares all
    /// of them with their checksums, and what the database says with what the
    /// change log amounts to. Neither is changed, and it takes a bounded amount of
    /// memory; and, while it lasts, as much room in the directory as the database
    /// does.
    ///
    /// # Errors
    ///
    /// [`Unavailable`](ErrorKind::Unavailable) if another process has the
    /// database open, if it is missing, if the files can't be read, or if there is
    /// no room to replay the change log. Damage is no error, but what was asked
    /// for.
    pub async fn verify(
        directory: impl AsRef<Path>,
        options: RedbOptions,
    ) -> Result<VerifiedMetadata> {
        let directory = directory.as_ref();
        let verified = Self::verify_in(directory, options).await;
        verified.map_err(|error| unusable(WHAT, directory, error))
    }

    /// The same, for those who name the directory themselves if it fails.
    pub(crate) async fn verify_in(
        directory: &Path,
        options: RedbOptions,
    ) -> Result<VerifiedMetadata> {
        let directory = directory.to_owned();
        blocking(move || {
            require_stored(&directory)?;
            verify::verify(&directory_at(&directory)?, &options)
        })
        .await
    }

    /// Whether `directory`, which is there, holds a database, or a change log to
    /// rebuild it from.
    pub(crate) fn is_stored(directory: &Path) -> Result<bool> {
        open::is_stored(&*directory_at(directory)?)
    }

    /// Whether a commit failed, or the store was closed, after which nothing is
    /// written any more.
    pub fn is_read_only(&self) -> bool {
        self.read_only.load(Ordering::Acquire)
            || self.batches().as_ref().is_none_or(mpsc::Sender::is_closed)
    }

    fn batches(&self) -> MutexGuard<'_, Option<mpsc::Sender<Pending>>> {
        self.batches.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What `read` finds in the facts as they are now.
    fn read<X>(
        &self,
        read: impl FnOnce(&Facts<'_, ReadOnlyTable<Bytes, Bytes>>) -> Result<X>,
    ) -> Result<X> {
        self.database.read(|database| look_up(database, read))
    }

    /// What `read` finds in a repository; nothing if there is no such one.
    fn read_in<X: Default>(
        &self,
        name: &RepositoryName,
        read: impl FnOnce(&Facts<'_, ReadOnlyTable<Bytes, Bytes>>, u64) -> Result<X>,
    ) -> Result<X> {
        self.read(|facts| match facts.repository(name)? {
            Some(repository) => read(facts, repository.identity),
            None => Ok(X::default()),
        })
    }
}

/// What `read` finds in the facts of `database`.
fn look_up<X>(
    database: &Database,
    read: impl FnOnce(&Facts<'_, ReadOnlyTable<Bytes, Bytes>>) -> Result<X>,
) -> Result<X> {
    let snapshot = database.begin_read().map_err(failed)?;
    let table = snapshot.open_table(FACTS).map_err(failed)?;
    read(&Facts(&table))
}

/// Fails unless a directory is there that has a change log. Nothing is made in
/// one that has none: to rebuild what isn't there would leave traces of it.
pub(crate) fn require_change_log(directory: &Path) -> Result<()> {
    require_directory(directory)?;
    if open::has_change_log(&*directory_at(directory)?)? {
        Ok(())
    } else {
        Err(rebuild::without_change_log())
    }
}

/// Fails unless a directory is there that holds a database, or a change log to
/// rebuild it from. Nothing is made in one that doesn't.
pub(crate) fn require_stored(directory: &Path) -> Result<()> {
    require_directory(directory)?;
    if open::is_stored(&*directory_at(directory)?)? {
        Ok(())
    } else {
        Err(ErrorKind::Unavailable
            .error("it holds no metadata of a registry; name the root directory of one"))
    }
}

fn require_directory(directory: &Path) -> Result<()> {
    let found = std::fs::metadata(directory).map_err(|source| {
        let reason = match source.kind() {
            std::io::ErrorKind::NotFound => "there is no such directory",
            _ => "the directory can't be read; see to its permissions",
        };
        ErrorKind::Unavailable.error(reason).with_source(source)
    })?;
    if found.is_dir() {
        Ok(())
    } else {
        Err(ErrorKind::Unavailable.error("it is a file; choose a directory"))
    }
}

fn directory_at(path: &Path) -> Result<Arc<dyn Disk>> {
    let directory = Directory::create(path).map_err(|source| {
        ErrorKind::Unavailable
            .error("the metadata's directory can't be made; see to its permissions")
            .with_source(source)
    })?;
    Ok(Arc::new(directory))
}

/// Does work that waits for the disk, away from the asynchronous workers.
async fn blocking<X: Send + 'static>(
    work: impl FnOnce() -> Result<X> + Send + 'static,
) -> Result<X> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|source| Error::internal("the metadata can't be opened", source))?
}

impl fmt::Debug for RedbMetadata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedbMetadata")
            .field("read_only", &self.is_read_only())
            .finish_non_exhaustive()
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl MetadataStore for RedbMetadata {
    async fn check(&self) -> Result<()> {
        if self.batches().is_none() {
            return Err(closed());
        }
        if self.is_read_only() {
            return Err(writer::read_only());
        }
        // The writer looks once a second, and only when there is something to write.
        if self.is_short.load(Ordering::Acquire) || !room::has_room(&*self.disk) {
            return Err(room::no_room());
        }
        Ok(())
    }

    async fn close(&self) -> Result<()> {
        drop(self.batches().take());
        let mut ended = self.ended.clone();
        // It fails when the writer has ended.
        while ended.changed().await.is_ok() {}
        let end = *ended.borrow();
        match end {
            End::Whole => Ok(()),
            End::Damaged => Err(ErrorKind::Corrupt.error(damage::DAMAGED)),
        }
    }

    async fn commit(&self, batch: Batch) -> Result<(), CommitError> {
        let logged = change_log::logged(&batch.changes, self.longest_line);
        let logged = logged.map_err(CommitError::Refused)?;
        let (reply, replied) = oneshot::channel();
        let pending = Pending {
            batch,
            logged,
            reply,
        };
        let batches = self.batches().clone();
        let batches = batches.ok_or_else(|| CommitError::Refused(closed()))?;
        let sent = batches.send(pending).await;
        sent.map_err(|_| CommitError::Refused(writer::read_only()))?;
        replied.await.map_err(|_| writer::read_only())?
    }

    async fn repository(&self, name: &RepositoryName) -> Result<Option<RepositoryRecord>> {
        self.read(|facts| {
            let repository = facts.repository(name)?;
            Ok(repository.map(|repository| repository.record(name.clone())))
        })
    }

    async fn epoch(&self, repository: &RepositoryName) -> Result<RepositoryEpoch> {
        self.database.read(|database| {
            // Before it is looked up: what changes meanwhile makes it void.
            let changes = self.database.changes();
            if let Some(epoch) = self.epochs.get(repository, changes) {
                return Ok(epoch);
            }
            let epoch = look_up(database, |facts| facts.epoch(repository))?;
            self.epochs.insert(repository, epoch, changes);
            Ok(epoch)
        })
    }

    async fn repositories(
        &self,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<RepositoryRecord>> {
        let prefix = Key::new(Family::Repository);
        let after = after.map(str::as_bytes);
        self.read(|facts| {
            facts.list(&prefix, after, limit, |name, value| {
                let repository: Repository = decode(value)?;
                Ok(repository.record(key::read_text(name)?))
            })
        })
    }

    async fn content(&self, digest: &Digest) -> Result<Option<BlobRecord>> {
        self.read(|facts| {
            let content = facts.content(digest)?;
            Ok(content.map(|content| content.record(*digest)))
        })
    }

    async fn contents(&self, after: Option<&Digest>, limit: usize) -> Result<Vec<BlobRecord>> {
        let prefix = Key::new(Family::Content);
        let after = after.map(digest_bytes);
        self.read(|facts| {
            facts.list(&prefix, after.as_deref(), limit, |digest, value| {
                let content: value::Content = decode(value)?;
                Ok(content.record(key::read_digest(digest)?))
            })
        })
    }

    async fn blob(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<Option<BlobRecord>> {
        self.read_in(repository, |facts, identity| {
            if facts.blob(identity, digest)?.is_none() {
                return Ok(None);
            }
            let content = facts.live(digest)?;
            Ok(content.map(|content| content.record(*digest)))
        })
    }

    async fn holders(
        &self,
        digest: &Digest,
        after: Option<&RepositoryName>,
        limit: usize,
    ) -> Result<Vec<RepositoryName>> {
        let prefix = Key::new(Family::Holder).digest(digest);
        let after = after.map(|after| after.as_str().as_bytes());
        self.read(|facts| facts.list(&prefix, after, limit, |name, _| key::read_text(name)))
    }

    async fn manifest(
        &self,
        repository: &RepositoryName,
        reference: &Reference,
    ) -> Result<Option<ManifestRecord>> {
        self.read_in(repository, |facts, identity| {
            let digest = match reference {
                Reference::Digest(digest) => *digest,
                Reference::Tag(tag) => match facts.tag(identity, tag)? {
                    Some(target) => target.digest()?,
                    None => return Ok(None),
                },
            };
            let manifest = facts.manifest(identity, &digest)?;
            manifest.map(|manifest| manifest.record(digest)).transpose()
        })
    }

    async fn manifests(
        &self,
        repository: &RepositoryName,
        after: Option<&Digest>,
        limit: usize,
    ) -> Result<Vec<ManifestRecord>> {
        let after = after.map(digest_bytes);
        self.read_in(repository, |facts, identity| {
            let prefix = Key::within(Family::Manifest, identity);
            facts.list(&prefix, after.as_deref(), limit, |digest, value| {
                let manifest: value::Manifest = decode(value)?;
                manifest.record(key::read_digest(digest)?)
            })
        })
    }

    async fn tags(
        &self,
        repository: &RepositoryName,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Option<Vec<(Tag, TagRecord)>>> {
        let after = after.map(str::as_bytes);
        self.read_in(repository, |facts, identity| {
            let prefix = Key::within(Family::Tag, identity);
            let tags = facts.list(&prefix, after, limit, |tag, value| {
                let target: TagTarget = decode(value)?;
                Ok((key::read_text(tag)?, target.record()?))
            })?;
            Ok(Some(tags))
        })
    }

    async fn tags_of(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        limit: usize,
    ) -> Result<Vec<Tag>> {
        let tags = self.read_in(repository, |facts, identity| {
            facts.tags_of(identity, digest, limit).map(Some)
        })?;
        Ok(tags.unwrap_or_default())
    }

    async fn referrers(
        &self,
        repository: &RepositoryName,
        subject: &Digest,
        after: Option<&Digest>,
        limit: usize,
        max_bytes: usize,
    ) -> Result<Page<Descriptor>> {
        let after = after.map(digest_bytes);
        let mut page = ReferrerPage::new(limit, max_bytes);
        self.read_in(repository, |facts, identity| {
            let prefix = Key::within(Family::Referrer, identity).digest(subject);
            facts.each(&prefix, after.as_deref(), |_, value| {
                Ok(page.push(decode::<Referrer>(value)?.descriptor()?))
            })
        })?;
        Ok(page.finish())
    }

    async fn upload(&self, id: &UploadId) -> Result<Option<UploadRecord>> {
        self.read(|facts| {
            let upload = facts.upload(id)?;
            Ok(upload.map(|upload| upload.record(*id)))
        })
    }

    async fn uploads(
        &self,
        repository: &RepositoryName,
        after: Option<&UploadId>,
        limit: usize,
    ) -> Result<Vec<UploadRecord>> {
        let prefix = Key::uploads_in(repository);
        let after = after.map(|after| after.as_bytes().as_slice());
        self.read(|facts| {
            facts.list(&prefix, after, limit, |id, _| {
                let id = key::read_upload(id)?;
                let upload = facts.upload(&id)?;
                Ok(upload.ok_or_else(key::unreadable)?.record(id))
            })
        })
    }

    async fn idle_uploads(
        &self,
        idle_since: SystemTime,
        limit: usize,
    ) -> Result<Vec<UploadRecord>> {
        let idle_since = to_nanoseconds(idle_since);
        self.read(|facts| {
            let mut idle = Vec::new();
            facts.each(&Key::new(Family::UploadIdle), None, |rest, _| {
                let (active_at, id) = key::split_number(rest)?;
                if active_at >= idle_since || idle.len() >= limit {
                    return Ok(false);
                }
                let id = key::read_upload(id)?;
                let upload = facts.upload(&id)?;
                idle.push(upload.ok_or_else(key::unreadable)?.record(id));
                Ok(true)
            })?;
            Ok(idle)
        })
    }

    async fn outbox(&self, limit: usize) -> Result<Vec<OutboxEntry>> {
        let prefix = Key::new(Family::Outbox);
        self.read(|facts| {
            facts.list(&prefix, None, limit, |sequence, value| {
                let (sequence, _) = key::split_number(sequence)?;
                let event = decode::<Emitted>(value).and_then(|emitted| emitted.event());
                let event = event.inspect_err(|error| {
                    tracing::error!(
                        error = error as &dyn std::error::Error,
                        sequence,
                        "an event can't be read"
                    );
                });
                let event = event.ok();
                Ok(OutboxEntry { sequence, event })
            })
        })
    }

    async fn clock(&self) -> Result<Option<SystemTime>> {
        self.read(|facts| {
            let clock: Option<u64> = facts.get(&Key::store(StoreFact::Clock))?;
            Ok(clock.map(from_nanoseconds))
        })
    }
}
