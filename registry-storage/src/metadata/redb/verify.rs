//! Reading the database and the change log again, with all of their checksums.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redb::{Database, StorageBackend};
use registry_core::{Error, ErrorKind, Result};

use super::RedbOptions;
use super::change_log::{Files, checkpoint_name, segment_name};
use super::damage::{DAMAGED, caught};
use super::disk::{Disk, DiskFile};
use super::facts::failed;
use super::line::{Line, Lines};
use super::open::{DATABASE, is_there, missing, open_locked, read_position};
use super::value::Position;

/// How many findings are kept; the others are counted.
const KEPT: usize = 100;

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
}

/// Reads all pages of the database, and all of the change log that it could be
/// rebuilt from. Neither is changed, so that whatever is found can be told from
/// what finding it did.
pub(super) fn verify(disk: &Arc<dyn Disk>, options: &RedbOptions) -> Result<VerifiedMetadata> {
    if !is_there(&**disk)? {
        return Err(missing());
    }
    let file = open_locked(&**disk, DATABASE)?;
    let mut verified = VerifiedMetadata::default();
    let position = match caught(|| read_database(&file, options)) {
        Ok(position) => {
            verified.database_is_whole = true;
            Some(position)
        }
        Err(error) if error.kind() == ErrorKind::Corrupt => {
            verified.find(DATABASE, error.to_string());
            None
        }
        Err(error) => return Err(error),
    };
    let log = Log {
        disk,
        position,
        longest_line: options.longest_line,
    };
    log.verify(&mut verified)?;
    Ok(verified)
}

/// Compares all pages with their checksums. Returns where the database stands in
/// the change log.
fn read_database(file: &Arc<dyn DiskFile>, options: &RedbOptions) -> Result<Position> {
    let mut builder = Database::builder();
    builder.set_cache_size(options.cache_bytes);
    let overlay = Overlay::new(Arc::clone(file)).map_err(unreadable)?;
    let mut database = builder.create_with_backend(overlay).map_err(failed)?;
    let position = read_position(&database)?;
    if database.check_integrity().map_err(failed)? {
        Ok(position)
    } else {
        Err(ErrorKind::Corrupt.error(DAMAGED))
    }
}

/// The change log that a database goes with.
struct Log<'a> {
    disk: &'a Arc<dyn Disk>,
    /// Where the database stands in it; what lies behind was never acknowledged.
    /// Unknown if the database can't be read.
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
    fn verify(&self, verified: &mut VerifiedMetadata) -> Result<()> {
        let files = Files::list(&**self.disk).map_err(unreadable)?;
        let mut last = Last::default();
        if let Some(newest) = files.checkpoints.last() {
            self.read_checkpoint(&checkpoint_name(*newest), verified)?;
            last.record = *newest;
        }
        let replaced: Vec<_> = files.replaced_segments().collect();
        let segments = files.segments.iter();
        let segments: Vec<_> = segments.filter(|first| !replaced.contains(first)).collect();
        let newest = segments.last().copied();
        for first in &segments {
            let is_newest = Some(*first) == newest;
            self.read_segment(**first, is_newest, &mut last, verified)?;
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

    fn read_checkpoint(&self, name: &str, verified: &mut VerifiedMetadata) -> Result<()> {
        let mut lines = self.open(name)?;
        let mut count: u64 = 0;
        let mut whole = false;
        while let Some(found) = lines.next().map_err(unreadable)? {
            match found.line {
                Some(Line::End { lines }) => whole = lines == count,
                Some(_) => {}
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
                Some(Line::Record { number, .. }) => {
                    let next = last.record.saturating_add(1);
                    if number > next && !last.damage_since {
                        let before = number.saturating_sub(1);
                        verified.find(&name, missing_records(next, before));
                    }
                    *last = Last {
                        record: number.max(last.record),
                        damage_since: false,
                    };
                }
                Some(_) => {}
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

/// How many bytes belong together.
const PIECE: usize = 4096;

/// The most pieces that may be changed.
const MOST_PIECES: usize = (64 << 20) / PIECE;

/// A file that stays as it is: what is written to it is kept in memory. To open
/// a database writes to it, and so does looking for damage.
#[derive(Debug)]
struct Overlay {
    file: Arc<dyn DiskFile>,
    changed: Mutex<Changed>,
}

#[derive(Debug)]
struct Changed {
    len: u64,
    /// How much of the file's own still shows.
    shown: u64,
    pieces: BTreeMap<u64, Vec<u8>>,
}

impl Overlay {
    fn new(file: Arc<dyn DiskFile>) -> io::Result<Self> {
        let len = file.len()?;
        let changed = Changed {
            len,
            shown: len,
            pieces: BTreeMap::new(),
        };
        Ok(Self {
            file,
            changed: Mutex::new(changed),
        })
    }

    fn changed(&self) -> MutexGuard<'_, Changed> {
        self.changed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The piece with this number as the file has it.
    fn original(&self, number: u64, shown: u64) -> io::Result<Vec<u8>> {
        let mut piece = vec![0; PIECE];
        let start = number.saturating_mul(PIECE as u64);
        let there = shown.saturating_sub(start).min(PIECE as u64);
        let there = usize::try_from(there).unwrap_or(PIECE);
        if let Some(there) = piece.get_mut(..there).filter(|there| !there.is_empty()) {
            self.file.read_at(there, start)?;
        }
        Ok(piece)
    }
}

/// The parts of pieces that `length` bytes from `offset` on lie in: the number
/// of the piece, where the part starts in it, and how long it is.
fn parts(offset: u64, length: usize) -> impl Iterator<Item = (u64, usize, usize)> {
    let end = offset.saturating_add(length as u64);
    let mut position = offset;
    std::iter::from_fn(move || {
        if position >= end {
            return None;
        }
        let number = position.div_euclid(PIECE as u64);
        let start = usize::try_from(position.rem_euclid(PIECE as u64)).unwrap_or_default();
        let left = usize::try_from(end.saturating_sub(position)).unwrap_or(usize::MAX);
        let length = left.min(PIECE.saturating_sub(start));
        position = position.saturating_add(length as u64);
        Some((number, start, length))
    })
}

impl StorageBackend for Overlay {
    fn len(&self) -> io::Result<u64> {
        Ok(self.changed().len)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let changed = self.changed();
        let end = offset.saturating_add(out.len() as u64);
        if end > changed.len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let is_original = changed
            .pieces
            .range(offset.div_euclid(PIECE as u64)..=end.div_euclid(PIECE as u64))
            .next()
            .is_none();
        if is_original && end <= changed.shown {
            return self.file.read_at(out, offset);
        }
        let mut out = out;
        for (number, start, length) in parts(offset, out.len()) {
            let original;
            let piece = if let Some(piece) = changed.pieces.get(&number) {
                piece
            } else {
                original = self.original(number, changed.shown)?;
                &original
            };
            let part = piece.get(start..).and_then(|rest| rest.get(..length));
            let (to, rest) = out.split_at_mut(length);
            to.copy_from_slice(part.ok_or(io::ErrorKind::UnexpectedEof)?);
            out = rest;
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut changed = self.changed();
        if len < changed.len {
            let keep = len.div_ceil(PIECE as u64);
            let _ = changed.pieces.split_off(&keep);
            let last = len.div_euclid(PIECE as u64);
            let inside = usize::try_from(len.rem_euclid(PIECE as u64)).unwrap_or_default();
            if let Some(rest) = changed
                .pieces
                .get_mut(&last)
                .and_then(|piece| piece.get_mut(inside..))
            {
                rest.fill(0);
            }
            changed.shown = changed.shown.min(len);
        }
        changed.len = len;
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut changed = self.changed();
        let mut data = data;
        for (number, start, length) in parts(offset, data.len()) {
            if !changed.pieces.contains_key(&number) {
                if changed.pieces.len() >= MOST_PIECES {
                    return Err(io::ErrorKind::OutOfMemory.into());
                }
                let original = self.original(number, changed.shown)?;
                changed.pieces.insert(number, original);
            }
            let (from, rest) = data.split_at(length);
            let piece = changed.pieces.get_mut(&number);
            let part = piece
                .and_then(|piece| piece.get_mut(start..))
                .and_then(|rest| rest.get_mut(..length));
            part.ok_or(io::ErrorKind::UnexpectedEof)?
                .copy_from_slice(from);
            data = rest;
        }
        Ok(())
    }
}
