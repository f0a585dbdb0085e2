//! Opening the database and the change log beside it.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use redb::{Database, ReadableDatabase};
use registry_core::{Error, ErrorKind, Result};
use tokio::sync::mpsc;

use super::backend::Backend;
use super::change::Change;
use super::change_log::{ChangeLog, Completeness, Files};
use super::disk::Disk;
use super::facts::{Facts, failed};
use super::key::{Key, StoreFact};
use super::value::Position;
use super::writer::{FACTS, GROUP_MAX, Writer, begin};
use super::{RedbMetadata, RedbOptions};

/// The name of the database's file.
pub(super) const DATABASE: &str = "metadata.redb";

/// How the facts are laid out today.
const FORMAT: u32 = 1;

/// Opens the store on `disk`, or makes a new one if there is none.
pub(super) fn open(disk: Arc<dyn Disk>, options: &RedbOptions) -> Result<RedbMetadata> {
    let names = disk.list().map_err(unusable)?;
    let files = Files::list(&*disk).map_err(unusable)?;
    let exists = names.iter().any(|name| name == DATABASE);
    if !exists && !files.is_empty() {
        return Err(missing());
    }
    let database = create(&*disk, DATABASE, options)?;
    let (format, position) = read_head(&database)?;
    match format {
        0 if !files.is_empty() => return Err(missing()),
        0 | FORMAT => {}
        _ => {
            return Err(ErrorKind::Unavailable.error(
                "the metadata database was written by a later version of this program; use that \
                 one",
            ));
        }
    }
    let position = match position {
        Some(position) => position,
        None => initialize(&database)?,
    };
    let (log, completeness) = ChangeLog::open(Arc::clone(&disk), options.segment_bytes, position)?;
    let (sender, batches) = mpsc::channel(GROUP_MAX);
    let database = Arc::new(database);
    let read_only = Arc::new(AtomicBool::new(false));
    let mut writer = Writer {
        database: Arc::clone(&database),
        disk,
        log,
        batches,
        read_only: Arc::clone(&read_only),
        volatile: options.is_volatile(),
        checkpoint_bytes: options.segment_bytes,
        checkpoint: None,
        known: if options.is_volatile() {
            0
        } else {
            position.number
        },
        undurable: false,
    };
    if completeness == Completeness::Lost {
        writer.begin_checkpoint();
    }
    let thread = std::thread::Builder::new()
        .name("registry-metadata".to_owned())
        .spawn(move || writer.run())
        .map_err(unusable)?;
    Ok(RedbMetadata {
        database,
        read_only,
        batches: Some(sender),
        writer: Some(thread),
    })
}

/// Opens a database file, or makes a new one, and keeps others out.
pub(super) fn create(disk: &dyn Disk, name: &str, options: &RedbOptions) -> Result<Database> {
    let file = disk.open(name).map_err(unusable)?;
    if !file.try_lock().map_err(unusable)? {
        return Err(taken());
    }
    disk.sync().map_err(unusable)?;
    let backend = Backend {
        file,
        volatile: options.is_volatile(),
    };
    let mut builder = Database::builder();
    builder.set_cache_size(options.cache_bytes);
    builder.create_with_backend(backend).map_err(failed)
}

/// The format, zero if the database is new, and the place in the change log.
fn read_head(database: &Database) -> Result<(u32, Option<Position>)> {
    let snapshot = database.begin_read().map_err(failed)?;
    let table = match snapshot.open_table(FACTS) {
        Ok(table) => table,
        Err(redb::TableError::TableDoesNotExist(_)) => return Ok((0, None)),
        Err(error) => return Err(failed(error)),
    };
    let facts = Facts(&table);
    let position = facts.get(&Key::store(StoreFact::Position))?;
    Ok((facts.store(StoreFact::Format)?, position))
}

/// Makes a new database one that holds nothing.
pub(super) fn initialize(database: &Database) -> Result<Position> {
    let position = Position {
        number: 0,
        segment: 1,
        offset: 0,
    };
    let transaction = begin(database, true)?;
    {
        let mut table = transaction.open_table(FACTS).map_err(failed)?;
        let mut change = Change(&mut table);
        change.put(&Key::store(StoreFact::Format), &FORMAT)?;
        change.put(&Key::store(StoreFact::Position), &position)?;
    }
    transaction.commit().map_err(failed)?;
    Ok(position)
}

pub(super) fn taken() -> Error {
    ErrorKind::Unavailable.error("another process has the metadata database open; stop it first")
}

fn missing() -> Error {
    ErrorKind::Unavailable.error(
        "the metadata database is missing or empty although its change log is there; rebuild it \
         from the change log",
    )
}

fn unusable(source: std::io::Error) -> Error {
    ErrorKind::Unavailable
        .error("the metadata database can't be opened; see to its directory")
        .with_source(source)
}
