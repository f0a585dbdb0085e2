//! The change log: what happened, beside the database that holds what is.
//!
//! Every batch that changes more than uploads and the outbox is appended, in
//! the order of commits, before the database commits it. So the log always
//! holds all that the database does, and the database can be made again from
//! it. What the log holds beyond the database was never acknowledged, and is
//! cut off when the database is opened.
//!
//! The log is made of segments, whose names tell their first record, and of
//! [checkpoints](super::checkpoint), which stand for all records up to one.

use std::fmt::Write as _;
use std::io;
use std::sync::Arc;

use registry_core::{ErrorKind, Result};

use super::RedbOptions;
use super::disk::{Disk, DiskFile};
use super::line::{self, Line, Lines, VERSION};
use super::value::Position;
use crate::metadata::Change;

/// The changes that the log holds, as JSON, if there are any. They fit into one
/// line, of at most `longest_line` bytes, or nobody could read it again.
///
/// Uploads and events matter only for a short while, and a rebuilt database
/// starts without them.
pub(super) fn logged(changes: &[Change], longest_line: usize) -> Result<Option<String>> {
    let lasting = |change: &&Change| {
        !matches!(
            change,
            Change::PutUpload(_)
                | Change::DeleteUpload { .. }
                | Change::Emit(_)
                | Change::Acknowledge { .. }
                | Change::LimitOutbox { .. }
                | Change::AdvanceClock { .. }
        )
    };
    let changes: Vec<_> = changes.iter().filter(lasting).collect();
    if changes.is_empty() {
        return Ok(None);
    }
    let json = serde_json::to_string(&changes)
        .map_err(|source| registry_core::Error::internal("a change can't be written", source))?;
    let mut longest = String::new();
    record(u64::MAX, u64::MAX, "", &mut longest);
    let length = longest.len().saturating_add(json.len());
    if !line::fits(length, longest_line) {
        return Err(ErrorKind::ManifestTooLarge
            .error("this says more at once than the change log takes; refer to less"));
    }
    Ok(Some(json))
}

/// Writes the JSON of a record with [`logged`] changes.
fn record(number: u64, known: u64, changes: &str, json: &mut String) {
    // Writing to a string doesn't fail.
    let _ = write!(
        json,
        r#"{{"record":{{"number":{number},"known":{known},"changes":{changes}}}}}"#
    );
}

/// The files of a change log, each with the number in its name, in order.
#[derive(Debug, Default)]
pub(super) struct Files {
    pub(super) segments: Vec<u64>,
    pub(super) checkpoints: Vec<u64>,
    /// Checkpoints that were never finished.
    pub(super) drafts: Vec<u64>,
}

impl Files {
    pub(super) fn list(disk: &dyn Disk) -> io::Result<Self> {
        let mut files = Self::default();
        for name in disk.list()? {
            let number = |suffix| {
                let number = name.strip_prefix("metadata.")?.strip_suffix(suffix)?;
                (number.len() == 20).then(|| number.parse::<u64>().ok())?
            };
            files.segments.extend(number(".log"));
            files.checkpoints.extend(number(".checkpoint"));
            files.drafts.extend(number(".checkpoint.draft"));
        }
        files.segments.sort_unstable();
        files.checkpoints.sort_unstable();
        Ok(files)
    }

    /// The segments all of whose records are in the newest checkpoint: those
    /// before one that goes on where the checkpoint ends, or earlier.
    pub(super) fn replaced_segments(&self) -> impl Iterator<Item = u64> {
        let goes_on = self
            .checkpoints
            .last()
            .map(|newest| newest.saturating_add(1));
        let following = self.segments.iter().skip(1);
        let segments = self.segments.iter().zip(following);
        let replaced = segments.filter(move |(_, next)| Some(**next) <= goes_on);
        replaced.map(|(first, _)| *first)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.segments.is_empty() && self.checkpoints.is_empty()
    }
}

pub(super) fn segment_name(first: u64) -> String {
    format!("metadata.{first:020}.log")
}

pub(super) fn checkpoint_name(number: u64) -> String {
    format!("metadata.{number:020}.checkpoint")
}

/// The name of a checkpoint in the making.
pub(super) fn draft_name(number: u64) -> String {
    format!("{}.draft", checkpoint_name(number))
}

/// The open end of the log.
#[derive(Debug)]
pub(super) struct ChangeLog {
    disk: Arc<dyn Disk>,
    /// How large a segment grows before the next one is begun.
    segment_bytes: u64,
    longest_line: usize,
    position: Position,
    /// The segment, once something was appended to it.
    file: Option<Arc<dyn DiskFile>>,
    /// Whether anything was appended since the last sync.
    unsynced: bool,
    /// Whether the segment's own name may still be lost.
    unnamed: bool,
    /// How much was appended since the last checkpoint began.
    since_checkpoint: u64,
}

/// Why no records can be appended.
#[derive(Debug)]
pub(super) enum Unprepared {
    /// What was appended before can't be made durable.
    Unsynced(io::Error),
    /// The next segment can't be opened. All is as it was.
    Unopened(io::Error),
}

/// Whether the log, when opened, still held all that the database does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Completeness {
    Whole,
    /// Records are missing, so that it takes a checkpoint to rebuild from.
    Lost,
}

impl ChangeLog {
    /// Opens the log where the database says it stands, and cuts off what lies
    /// behind, so that it doesn't come back. What an earlier process wrote before
    /// it may not be durable until the next [`sync`](Self::sync).
    pub(super) fn open(
        disk: Arc<dyn Disk>,
        options: &RedbOptions,
        position: Position,
    ) -> Result<(Self, Completeness)> {
        let files = Files::list(&*disk).map_err(unreadable)?;
        let newest = files.checkpoints.last().copied();
        if newest.is_some_and(|number| number > position.number) {
            return Err(outdated());
        }
        let mut log = Self {
            disk,
            segment_bytes: options.segment_bytes,
            longest_line: options.longest_line,
            position,
            file: None,
            unsynced: true,
            unnamed: true,
            since_checkpoint: 0,
        };
        let behind: Vec<_> = files
            .segments
            .iter()
            .copied()
            .filter(|first| *first >= position.segment)
            .map(|first| Ok((first, log.disk.open(&segment_name(first))?)))
            .collect::<io::Result<_>>()
            .map_err(unreadable)?;
        for (first, file) in &behind {
            let offset = if *first == position.segment {
                position.offset
            } else {
                0
            };
            refuse_if_ahead(file, offset, position, options.longest_line)?;
        }
        let mut whole = position.offset == 0;
        let mut continues = true;
        let mut removed = false;
        for (first, file) in behind {
            if first == position.segment && position.offset > 0 {
                let length = file.len().map_err(unreadable)?;
                whole = length >= position.offset;
                if length > position.offset {
                    file.set_len(position.offset).map_err(unreadable)?;
                    file.sync().map_err(unreadable)?;
                }
                if whole {
                    continues = is_current(&file, options.longest_line).map_err(unreadable)?;
                    log.file = Some(file);
                    log.since_checkpoint = position.offset;
                }
            } else {
                let name = segment_name(first);
                log.disk.remove(&name).map_err(unreadable)?;
                removed = true;
            }
        }
        if removed {
            log.disk.sync().map_err(unreadable)?;
        }
        if whole {
            if !continues {
                log.rotate().map_err(unreadable)?;
            }
            return Ok((log, Completeness::Whole));
        }
        tracing::error!(
            record = position.number,
            "records of the change log are missing; a checkpoint of the database replaces them"
        );
        log.begin_segment();
        Ok((log, Completeness::Lost))
    }

    pub(super) fn position(&self) -> Position {
        self.position
    }

    pub(super) fn since_checkpoint(&self) -> u64 {
        self.since_checkpoint
    }

    /// Lets the next record begin a segment, so that a checkpoint that starts
    /// now makes all earlier ones superfluous.
    pub(super) fn checkpoint_begins(&mut self) -> io::Result<()> {
        self.since_checkpoint = 0;
        self.rotate()
    }

    /// Makes ready for records: ends the segment if it is full, and opens the one
    /// they go to, which comes into being if need be. Nothing is written.
    pub(super) fn prepare(&mut self) -> Result<(), Unprepared> {
        if self.position.offset >= self.segment_bytes {
            self.rotate().map_err(Unprepared::Unsynced)?;
        }
        self.open_segment().map_err(Unprepared::Unopened)?;
        Ok(())
    }

    fn open_segment(&mut self) -> io::Result<Arc<dyn DiskFile>> {
        if let Some(file) = &self.file {
            return Ok(Arc::clone(file));
        }
        let file = self.disk.open(&segment_name(self.position.segment))?;
        self.unnamed = true;
        Ok(Arc::clone(self.file.insert(file)))
    }

    /// Appends a record for each list of [`logged`] changes.
    pub(super) fn append(&mut self, batches: &[&str], known: u64) -> io::Result<()> {
        if batches.is_empty() {
            return Ok(());
        }
        let file = self.open_segment()?;
        let mut lines = String::new();
        if self.position.offset == 0 {
            let header = Line::Segment {
                version: VERSION,
                first: self.position.segment,
            };
            line::write(&header, self.longest_line, &mut lines)?;
        }
        let mut json = String::new();
        for changes in batches {
            self.position.number = self.position.number.saturating_add(1);
            let number = self.position.number;
            json.clear();
            record(number, known, changes, &mut json);
            line::write_json(&json, &mut lines);
        }
        self.unsynced = true;
        file.write_at(lines.as_bytes(), self.position.offset)?;
        let written = lines.len() as u64;
        self.position.offset = self.position.offset.saturating_add(written);
        self.since_checkpoint = self.since_checkpoint.saturating_add(written);
        Ok(())
    }

    /// Waits until all that was appended survives a power failure.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        if let Some(file) = self.file.as_ref().filter(|_| self.unsynced) {
            file.sync()?;
        }
        if self.unnamed {
            self.disk.sync()?;
        }
        self.unsynced = false;
        self.unnamed = false;
        Ok(())
    }

    fn rotate(&mut self) -> io::Result<()> {
        self.sync()?;
        if self.position.offset > 0 {
            self.begin_segment();
        }
        Ok(())
    }

    fn begin_segment(&mut self) {
        self.position.segment = self.position.number.saturating_add(1);
        self.position.offset = 0;
        self.file = None;
    }
}

/// Refuses to go on if a record from `offset` on tells that the database once
/// held more than it does.
fn refuse_if_ahead(
    file: &Arc<dyn DiskFile>,
    offset: u64,
    position: Position,
    longest_line: usize,
) -> Result<()> {
    let mut lines = Lines::new(Arc::clone(file), offset, longest_line).map_err(unreadable)?;
    while let Some(found) = lines.next().map_err(unreadable)? {
        match found.line {
            Some(Line::Record { known, .. }) if known > position.number => return Err(outdated()),
            _ => {}
        }
    }
    Ok(())
}

/// Whether the segment says that it is written as segments are today. A program
/// that knows only what it says must not meet anything else in it.
fn is_current(segment: &Arc<dyn DiskFile>, longest_line: usize) -> io::Result<bool> {
    let mut lines = Lines::new(Arc::clone(segment), 0, longest_line)?;
    let header = lines.next()?.and_then(|found| found.line);
    Ok(matches!(header, Some(Line::Segment { version, .. }) if version >= VERSION))
}

/// What is said of a database that is older than its change log.
pub(super) const OUTDATED: &str = "the metadata database is older than its change log, as if restored from a backup; rebuild it \
     from the change log (`registry rebuild DIRECTORY`)";

fn outdated() -> registry_core::Error {
    ErrorKind::Corrupt.error(OUTDATED)
}

fn unreadable(source: io::Error) -> registry_core::Error {
    ErrorKind::Unavailable
        .error("the change log of the metadata can't be opened; see to its directory")
        .with_source(source)
}
