//! Opening the database and the change log beside it.

use std::fs::File;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use redb::{Database, ReadableDatabase};
use registry_core::{Error, ErrorKind, Result};
use tokio::sync::{mpsc, watch};

use super::backend::DatabaseFile;
use super::change_log::{ChangeLog, Completeness, Files};
use super::damage::caught;
use super::disk::{Disk, DiskFile};
use super::facts::{Facts, failed};
use super::facts_mut::FactsMut;
use super::key::{Key, StoreFact};
use super::known_epochs::KnownEpochs;
use super::room::Shortage;
use super::shared::SharedDatabase;
use super::value::Position;
use super::writer::{FACTS, GROUP_MAX, Writer, begin};
use super::{End, RedbMetadata, RedbOptions, checkpoint};
use crate::directory::patiently;

/// The name of the database's file.
pub(super) const DATABASE: &str = "metadata.redb";

/// How the facts are laid out today.
const FORMAT: u32 = 1;

/// Opens the store on `disk`, or makes a new one if there is none.
///
/// What an earlier process wrote may not have reached the disk yet. Nothing
/// waits for that here: the writer does, before it writes. `lock` is held until
/// the database is closed.
pub(super) fn open(
    disk: Arc<dyn Disk>,
    options: &RedbOptions,
    lock: Option<Arc<File>>,
) -> Result<RedbMetadata> {
    caught(|| open_whole(disk, options, lock))
}

/// The same, of a database that isn't damaged.
fn open_whole(
    disk: Arc<dyn Disk>,
    options: &RedbOptions,
    lock: Option<Arc<File>>,
) -> Result<RedbMetadata> {
    if !is_there(&*disk)? {
        if has_change_log(&*disk)? {
            return Err(missing());
        }
        make(&*disk, options)?;
    }
    let (database, file) = create(&*disk, DATABASE, options)?;
    // Until now, another store may have been writing them.
    let files = Files::list(&*disk).map_err(unusable)?;
    checkpoint::remove_drafts(&files, &*disk);
    let position = read_position(&database)?;
    let (log, completeness) = ChangeLog::open(Arc::clone(&disk), options, position)?;
    let (sender, batches) = mpsc::channel(GROUP_MAX);
    let database = Arc::new(database);
    let read_only = Arc::new(AtomicBool::new(false));
    let is_short = Arc::new(AtomicBool::new(false));
    let asked = Arc::clone(&disk);
    let shared = Arc::new(SharedDatabase::new(Arc::clone(&database), lock));
    let writer = Writer {
        database,
        file,
        settled: false,
        incomplete: completeness == Completeness::Lost,
        disk,
        log,
        batches,
        read_only: Arc::clone(&read_only),
        shortage: Shortage::new(Arc::clone(&is_short)),
        log_unsynced: false,
        shared: Arc::clone(&shared),
        options: *options,
        checkpoint: None,
        known: if options.is_volatile() {
            0
        } else {
            position.number
        },
        undurable: 0,
    };
    let database = Arc::clone(&shared);
    let (ends, ended) = watch::channel(End::Whole);
    let failed = Arc::clone(&read_only);
    std::thread::Builder::new()
        .name("registry-metadata".to_owned())
        .spawn(move || {
            let ran = caught(|| {
                writer.run();
                Ok(())
            });
            if ran.is_err() {
                failed.store(true, Ordering::Release);
            }
            // Should the writer have panicked, reads go on until nobody reads.
            let closed = ran.and_then(|()| shared.close());
            if let Err(error) = closed {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "the metadata can't be closed"
                );
                ends.send_replace(End::Damaged);
            }
        })
        .map_err(unusable)?;
    Ok(RedbMetadata {
        database,
        epochs: KnownEpochs::default(),
        read_only,
        is_short,
        disk: asked,
        longest_line: options.longest_line,
        batches: Mutex::new(Some(sender)),
        ended,
    })
}

/// Whether there is anything to open or to rebuild from. What else bears the
/// database's name, a copy that was moved away or a draft, is neither.
pub(super) fn is_stored(disk: &dyn Disk) -> Result<bool> {
    let files = Files::list(disk).map_err(unusable)?;
    Ok(!files.is_empty() || is_there(disk)?)
}

/// Whether there is a change log to rebuild from.
pub(super) fn has_change_log(disk: &dyn Disk) -> Result<bool> {
    Ok(!Files::list(disk).map_err(unusable)?.is_empty())
}

/// Opens a database file, or makes a new one, and keeps others out. The file is
/// yet to be settled, and its name to be made durable.
fn create(
    disk: &dyn Disk,
    name: &str,
    options: &RedbOptions,
) -> Result<(Database, Arc<DatabaseFile>)> {
    let file = DatabaseFile::new(open_locked(disk, name)?, options);
    let mut builder = Database::builder();
    builder.set_cache_size(options.cache_bytes);
    let database = builder.create_with_backend(file.backend());
    Ok((database.map_err(failed)?, file))
}

/// Opens a file that nobody else has locked, or comes to have locked soon.
pub(super) fn open_locked(disk: &dyn Disk, name: &str) -> Result<Arc<dyn DiskFile>> {
    let locked = patiently(|| {
        let file = disk.open(name)?;
        Ok(file.try_lock()?.then_some(file))
    });
    locked.map_err(unusable)?.ok_or_else(taken)
}

/// Whether there is a database, which may be damaged but isn't empty.
pub(super) fn is_there(disk: &dyn Disk) -> Result<bool> {
    let names = disk.list().map_err(unusable)?;
    if !names.iter().any(|name| name == DATABASE) {
        return Ok(false);
    }
    let file = disk.open(DATABASE).map_err(unusable)?;
    Ok(file.len().map_err(unusable)? > 0)
}

/// Makes a database that holds nothing. It gets its name when it is whole: a
/// power failure meanwhile would leave a file that can't be opened.
fn make(disk: &dyn Disk, options: &RedbOptions) -> Result<()> {
    let draft = draft();
    let database = create_anew(disk, &draft, options)?;
    drop(database);
    disk.rename(&draft, DATABASE).map_err(unusable)?;
    disk.sync().map_err(unusable)
}

/// Makes a database under another name, whatever is there.
pub(super) fn create_anew(disk: &dyn Disk, name: &str, options: &RedbOptions) -> Result<Database> {
    let names = disk.list().map_err(unusable)?;
    if names.iter().any(|existing| existing == name) {
        disk.remove(name).map_err(unusable)?;
    }
    let (database, file) = create(disk, name, options)?;
    file.settle().map_err(unusable)?;
    initialize(&database)?;
    Ok(database)
}

/// The name of a database in the making.
pub(super) fn draft() -> String {
    format!("{DATABASE}.draft")
}

/// Where the database stands in the change log.
pub(super) fn read_position(database: &Database) -> Result<Position> {
    let snapshot = database.begin_read().map_err(failed)?;
    let table = match snapshot.open_table(FACTS) {
        Ok(table) => table,
        Err(redb::TableError::TableDoesNotExist(_)) => return Err(missing()),
        Err(error) => return Err(failed(error)),
    };
    let facts = Facts(&table);
    match facts.store(StoreFact::Format)? {
        0 => Err(missing()),
        FORMAT => facts.store(StoreFact::Position),
        _ => Err(ErrorKind::Unavailable.error(
            "the metadata database was written by a later version of this program; use that one",
        )),
    }
}

/// Makes a new database one that holds nothing.
fn initialize(database: &Database) -> Result<()> {
    let position = Position {
        number: 0,
        segment: 1,
        offset: 0,
    };
    let transaction = begin(database, true)?;
    {
        let mut table = transaction.open_table(FACTS).map_err(failed)?;
        let mut facts = FactsMut(&mut table);
        facts.put(&Key::store(StoreFact::Format), &FORMAT)?;
        facts.put(&Key::store(StoreFact::Position), &position)?;
    }
    transaction.commit().map_err(failed)
}

fn taken() -> Error {
    ErrorKind::Unavailable.error("another process has the metadata database open; stop it first")
}

pub(super) fn missing() -> Error {
    ErrorKind::Unavailable.error(
        "the metadata database is missing or empty; rebuild it from the change log \
             (`registry rebuild DIRECTORY`)",
    )
}

fn unusable(source: std::io::Error) -> Error {
    ErrorKind::Unavailable
        .error("the metadata database can't be opened; see to its directory")
        .with_source(source)
}
