//! Reading the database and the change log again, with all of their checksums,
//! and comparing what they say.

use std::io;
use std::sync::Arc;

use redb::{Database, ReadableDatabase};
use registry_core::{Error, ErrorKind, Result};

use super::RedbOptions;
use super::change_log::{Files, OUTDATED, checkpoint_name, segment_name};
use super::comparison::{Comparison, WrongFact};
use super::damage::{DAMAGED, caught};
use super::disk::{Disk, DiskFile};
use super::facts::{Facts, failed};
use super::line::{Line, Lines};
use super::open::{DATABASE, create_anew, is_there, missing, open_locked, read_position};
use super::overlay::Overlay;
use super::replay::Replay;
use super::room::is_for_room;
use super::value::Position;
use super::writer::FACTS;
use crate::Durability;

/// How many findings are kept; the others are counted.
const KEPT: usize = 100;

/// How many wrong facts are kept; the others are counted.
const KEPT_FACTS: usize = 10_000;

/// What became of reading the metadata's files again.
#[non_exhaustive]
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VerifiedMetadata {
    /// Whether the database is as it was written.
    pub database_is_whole: bool,
    /// What is the matter, the first hundred findings.
    pub findings: Vec<MetadataFinding>,
    /// How many findings there are besides.
    pub more: u64,
    /// Whether the database is older than its change log, as if restored from a
    /// backup. Such a one isn't opened.
    pub database_is_older: bool,
    /// The facts that the database and its change log don't agree about, and
    /// those that can't be; the first ten thousand. Of a database that isn't
    /// whole none are read.
    pub wrong_facts: Vec<WrongFact>,
    /// How many of them there are besides.
    pub more_wrong_facts: u64,
}

/// What is the matter with a file of the metadata.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetadataFinding {
    /// The file's name.
    pub file: String,
    /// What it is, and what helps.
    pub reason: String,
}

impl VerifiedMetadata {
    fn find(&mut self, file: &str, reason: impl Into<String>) {
        if self.findings.len() < KEPT {
            self.findings.push(MetadataFinding {
                file: file.to_owned(),
                reason: reason.into(),
            });
        } else {
            self.more = self.more.saturating_add(1);
        }
    }

    fn doubt(&mut self, fact: WrongFact) {
        if self.wrong_facts.len() < KEPT_FACTS {
            self.wrong_facts.push(fact);
        } else {
            self.more_wrong_facts = self.more_wrong_facts.saturating_add(1);
        }
    }
}

/// Reads all pages of the database, and all of the change log that it could be
/// rebuilt from, and compares what the two say. Neither is changed, so that
/// whatever is found can be told from what finding it did.
pub(super) fn verify(disk: &Arc<dyn Disk>, options: &RedbOptions) -> Result<VerifiedMetadata> {
    if !is_there(&**disk)? {
        return Err(missing());
    }
    let file = open_locked(&**disk, DATABASE)?;
    let mut verified = VerifiedMetadata::default();
    let mut log = Log {
        disk,
        position: None,
        longest_line: options.longest_line,
    };
    let database = match caught(|| read_database(&file, options)) {
        Ok((database, position)) => {
            verified.database_is_whole = true;
            if log.is_ahead_of(position)? {
                // Then all of it counts.
                verified.database_is_older = true;
                verified.find(DATABASE, OUTDATED);
            } else {
                log.position = Some(position);
            }
            database
        }
        Err(error) if error.kind() == ErrorKind::Corrupt => {
            verified.find(DATABASE, error.to_string());
            log.verify(&mut verified, |_, _| Ok(()))?;
            return Ok(verified);
        }
        Err(error) => return Err(error),
    };
    let replayed = replayed(disk, options).map_err(crowded)?;
    let mut replay = Replay::new(&replayed);
    log.verify(&mut verified, |line, length| {
        replay.take(line, length).map_err(crowded)
    })?;
    replay.flush().map_err(crowded)?;
    let oldest_version = replay.oldest_version();
    match caught(|| compare(&database, &replayed, oldest_version, &mut verified)) {
        Err(error) if error.kind() == ErrorKind::Corrupt => {
            verified.database_is_whole = false;
            verified.find(DATABASE, error.to_string());
        }
        outcome => outcome?,
    }
    Ok(verified)
}

/// A database for what the change log amounts to, in a file that is gone with
/// it.
fn replayed(disk: &Arc<dyn Disk>, options: &RedbOptions) -> Result<Database> {
    let name = format!("{DATABASE}.replayed");
    let options = options.durability(Durability::None);
    let database = create_anew(&**disk, &name, &options)?;
    disk.remove(&name).map_err(unreadable)?;
    Ok(database)
}

/// What somebody is told whose disk is too full to replay the change log.
fn crowded(error: Error) -> Error {
    if is_for_room(&error) {
        ErrorKind::Unavailable
            .error(
                "there is no room to replay the change log; free as much as the database takes, \
                 and verify again",
            )
            .with_source(error)
    } else {
        error
    }
}

fn compare(
    database: &Database,
    replayed: &Database,
    oldest_version: u32,
    verified: &mut VerifiedMetadata,
) -> Result<()> {
    let log_is_whole = verified.findings.is_empty();
    let read = |database: &Database| {
        let snapshot = database.begin_read().map_err(failed)?;
        snapshot.open_table(FACTS).map_err(failed)
    };
    let (database, log) = (read(database)?, read(replayed)?);
    let comparison = Comparison {
        database: Facts(&database),
        log: Facts(&log),
        log_is_whole,
        oldest_version,
    };
    comparison.make(&mut |fact| verified.doubt(fact))
}

/// Compares all pages with their checksums. Returns the database, and where
/// it stands in the change log.
fn read_database(file: &Arc<dyn DiskFile>, options: &RedbOptions) -> Result<(Database, Position)> {
    let mut builder = Database::builder();
    builder.set_cache_size(options.cache_bytes);
    let overlay = Overlay::new(Arc::clone(file)).map_err(unreadable)?;
    let mut database = builder.create_with_backend(overlay).map_err(failed)?;
    let position = read_position(&database)?;
    if database.check_integrity().map_err(failed)? {
        Ok((database, position))
    } else {
        Err(ErrorKind::Corrupt.error(DAMAGED))
    }
}

/// The change log that a database goes with.
struct Log<'a> {
    disk: &'a Arc<dyn Disk>,
    /// Where the database stands in it; what lies behind was never acknowledged.
    /// Unknown if the database can't be read, or is older.
    position: Option<Position>,
    longest_line: usize,
}

/// How far the change log was read.
#[derive(Default)]
struct Last {
    /// The last record.
    record: u64,
    /// Whether damage followed it, which explains what is missing then.
    damage_since: bool,
}

impl Log<'_> {
    /// Whether the log tells that the database once held more than it does.
    fn is_ahead_of(&self, position: Position) -> Result<bool> {
        let files = Files::list(&**self.disk).map_err(unreadable)?;
        let newest = files.checkpoints.last();
        if newest.is_some_and(|number| *number > position.number) {
            return Ok(true);
        }
        let segments = files.segments.iter();
        for first in segments.filter(|first| **first >= position.segment) {
            let mut lines = self.open(&segment_name(*first))?;
            while let Some(found) = lines.next().map_err(unreadable)? {
                match found.line {
                    Some(Line::Record { known, .. }) if known > position.number => {
                        return Ok(true);
                    }
                    _ => {}
                }
            }
        }
        Ok(false)
    }

    /// Reads all of it that isn't replaced. `take` is given each line that
    /// matters, and how long it is.
    fn verify(
        &self,
        verified: &mut VerifiedMetadata,
        mut take: impl FnMut(Line, usize) -> Result<()>,
    ) -> Result<()> {
        let files = Files::list(&**self.disk).map_err(unreadable)?;
        let mut last = Last::default();
        if let Some(newest) = files.checkpoints.last() {
            self.read_checkpoint(&checkpoint_name(*newest), verified, &mut take)?;
            last.record = *newest;
        }
        let replaced: Vec<_> = files.replaced_segments().collect();
        let segments = files.segments.iter();
        let segments: Vec<_> = segments.filter(|first| !replaced.contains(first)).collect();
        let newest = segments.last().copied();
        for first in &segments {
            let is_newest = Some(*first) == newest;
            self.read_segment(**first, is_newest, &mut last, verified, &mut take)?;
        }
        if let Some(position) = self.position
            && last.record < position.number
            && !last.damage_since
        {
            verified.find(
                &segment_name(position.segment),
                missing_records(last.record.saturating_add(1), position.number),
            );
        }
        Ok(())
    }

    fn read_checkpoint(
        &self,
        name: &str,
        verified: &mut VerifiedMetadata,
        take: &mut impl FnMut(Line, usize) -> Result<()>,
    ) -> Result<()> {
        let mut lines = self.open(name)?;
        let mut count: u64 = 0;
        let mut whole = false;
        while let Some(found) = lines.next().map_err(unreadable)? {
            match found.line {
                Some(Line::End { lines }) => whole = lines == count,
                Some(line) => take(line, found.length)?,
                None => verified.find(name, damaged_at(found.start)),
            }
            count = count.saturating_add(1);
        }
        if !whole {
            verified.find(name, format!("it is not whole; {ADVICE}"));
        }
        Ok(())
    }

    fn read_segment(
        &self,
        first: u64,
        is_newest: bool,
        last: &mut Last,
        verified: &mut VerifiedMetadata,
        take: &mut impl FnMut(Line, usize) -> Result<()>,
    ) -> Result<()> {
        let name = segment_name(first);
        let mut lines = self.open(&name)?;
        while let Some(found) = lines.next().map_err(unreadable)? {
            let is_behind = self.position.is_some_and(|position| {
                first > position.segment
                    || first == position.segment && found.start >= position.offset
            });
            if is_behind {
                break;
            }
            match found.line {
                // A checkpoint stands for it.
                Some(Line::Record { number, .. }) if number <= last.record => {
                    last.damage_since = false;
                }
                Some(record @ Line::Record { number, .. }) => {
                    let next = last.record.saturating_add(1);
                    if number > next && !last.damage_since {
                        let before = number.saturating_sub(1);
                        verified.find(&name, missing_records(next, before));
                    }
                    *last = Last {
                        record: number,
                        damage_since: false,
                    };
                    take(record, found.length)?;
                }
                Some(line) => take(line, found.length)?,
                // A crash leaves such at the end, of what was never acknowledged.
                None if self.position.is_none() && is_newest && found.torn => {}
                None => {
                    verified.find(&name, damaged_at(found.start));
                    last.damage_since = true;
                }
            }
        }
        Ok(())
    }

    fn open(&self, name: &str) -> Result<Lines> {
        let file = self.disk.open(name).map_err(unreadable)?;
        Lines::new(file, 0, self.longest_line).map_err(unreadable)
    }
}

/// What helps if the change log is damaged.
const ADVICE: &str =
    "restore it from a backup, or keep a copy of the database until a checkpoint replaces it";

fn damaged_at(position: u64) -> String {
    format!("it is damaged at byte {position}; {ADVICE}")
}

fn missing_records(first: u64, last: u64) -> String {
    format!("the records {first} to {last} are missing; {ADVICE}")
}

fn unreadable(source: io::Error) -> Error {
    ErrorKind::Unavailable
        .error("the metadata's files can't be read; see to their directory")
        .with_source(source)
}
