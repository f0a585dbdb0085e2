//! Making the database again from the change log.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use redb::ReadableDatabase;
use registry_core::{Error, ErrorKind, Result};

use super::change_log::{Files, checkpoint_name, segment_name};
use super::disk::Disk;
use super::facts::{Facts, failed};
use super::key::{Key, StoreFact};
use super::line::{Line, Lines};
use super::open::{DATABASE, create_anew, draft, open_locked};
use super::replay::Replay;
use super::value::Position;
use super::writer::FACTS;
use super::{RedbOptions, checkpoint};

/// What a rebuild found.
#[non_exhaustive]
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rebuilt {
    /// The number of records read behind the checkpoint.
    pub records: u64,
    /// The number of places where damage was skipped. Each is logged.
    pub skipped: u64,
    /// What the database before, if there was one, is called now. It is kept in
    /// its directory until somebody removes it.
    pub replaced: Option<String>,
    /// What the files of the change log are called now, if one of them wasn't as it
    /// was written, if only at its end, where a crash leaves what nobody was told of.
    /// They are kept until somebody removes them.
    pub kept: Vec<String>,
}

/// Rebuilds the database from the change log on `disk`.
pub(super) fn rebuild(disk: &Arc<dyn Disk>, options: &RedbOptions) -> Result<Rebuilt> {
    let names = disk.list().map_err(unusable)?;
    let replaced = names.iter().any(|name| name == DATABASE);
    let lock = if replaced {
        Some(open_locked(&**disk, DATABASE)?)
    } else {
        None
    };
    // Until now, another store may have been writing them.
    let files = Files::list(&**disk).map_err(unusable)?;
    if files.is_empty() {
        return Err(without_change_log());
    }
    let draft = draft();
    let database = create_anew(&**disk, &draft, options)?;
    let mut rebuild = Rebuild {
        disk,
        replay: Replay::new(&database),
        skip: options.skip_damage,
        longest_line: options.longest_line,
        number: 0,
        damaged: false,
        rebuilt: Rebuilt::default(),
    };
    if let Some(newest) = files.checkpoints.last() {
        rebuild.read_checkpoint(*newest)?;
    }
    rebuild.read_segments(&files)?;
    let damaged = rebuild.damaged || rebuild.rebuilt.skipped > 0;
    let mut found = rebuild.finish()?;
    let snapshot = database.begin_read().map_err(failed)?;
    let table = snapshot.open_table(FACTS).map_err(failed)?;
    let facts = Facts(&table);
    checkpoint::write(&facts, disk, options.longest_line, &AtomicBool::new(false))?;
    drop((table, snapshot, database));

    if replaced {
        let kept = kept_name(&names);
        disk.rename(DATABASE, &kept).map_err(unusable)?;
        found.replaced = Some(kept);
    }
    disk.rename(&draft, DATABASE).map_err(unusable)?;
    disk.sync().map_err(unusable)?;
    drop(lock);
    // The new checkpoint stands for all of these. What was damaged, if only by a
    // crash as it seems, is kept for whoever wants to look into it.
    for first in &files.segments {
        let name = segment_name(*first);
        if damaged {
            let kept = format!("{name}.damaged");
            disk.rename(&name, &kept).map_err(unusable)?;
            found.kept.push(kept);
        } else {
            disk.remove(&name).map_err(unusable)?;
        }
    }
    disk.sync().map_err(unusable)?;
    checkpoint::remove_replaced(&**disk)?;
    Ok(found)
}

/// A name for the database that is replaced. One that an earlier rebuild
/// replaced may be the only good copy, so it stays.
fn kept_name(names: &[String]) -> String {
    let mut kept = format!("{DATABASE}.replaced");
    let mut number: u64 = 1;
    while names.contains(&kept) {
        number = number.saturating_add(1);
        kept = format!("{DATABASE}.replaced.{number}");
    }
    kept
}

pub(super) fn without_change_log() -> Error {
    ErrorKind::Unavailable
        .error("there is no change log to rebuild the metadata from; restore a backup")
}

struct Rebuild<'a> {
    disk: &'a Arc<dyn Disk>,
    replay: Replay<'a>,
    skip: bool,
    longest_line: usize,
    /// The last record done.
    number: u64,
    /// Whether a segment isn't as it was written.
    damaged: bool,
    rebuilt: Rebuilt,
}

/// Where a segment can't be read.
#[derive(Debug)]
struct Damage {
    file: String,
    position: u64,
    /// Whether a crash leaves such of records that were never acknowledged.
    torn: bool,
}

impl Damage {
    fn at(file: String, position: u64) -> Self {
        Self {
            file,
            position,
            torn: false,
        }
    }
}

impl Rebuild<'_> {
    fn read_checkpoint(&mut self, number: u64) -> Result<()> {
        let name = checkpoint_name(number);
        let mut lines = self.open(&name)?;
        let mut count: u64 = 0;
        let mut whole = false;
        while let Some(found) = lines.next().map_err(unusable)? {
            match found.line {
                Some(Line::End { lines }) => whole = lines == count,
                Some(line) => self.replay.take(line, found.length)?,
                None => self.skip(&name, found.start)?,
            }
            count = count.saturating_add(1);
        }
        if !whole {
            self.skip(&name, 0)?;
        }
        self.number = number;
        Ok(())
    }

    fn read_segments(&mut self, files: &Files) -> Result<()> {
        let replaced: Vec<_> = files.replaced_segments().collect();
        let segments = files.segments.iter();
        let segments: Vec<_> = segments.filter(|first| !replaced.contains(first)).collect();
        let known = self.known(&segments)?;
        let mut damage = None;
        for first in &segments {
            // Before this one was begun, all earlier ones were synced.
            if let Some(Damage { torn, .. }) = &mut damage {
                *torn = false;
            }
            if self.read_segment(&segment_name(**first), known, &mut damage)? {
                return Ok(());
            }
        }
        if known > self.number || damage.as_ref().is_some_and(|damage| !damage.torn) {
            let last = segments.last().map_or(0, |first| **first);
            let damage = damage.unwrap_or_else(|| Damage::at(segment_name(last), 0));
            self.skip(&damage.file, damage.position)?;
            self.replay.leave_out_identities()?;
        }
        Ok(())
    }

    /// Reads the records of a segment. Returns whether it came to where the power
    /// failed. `damage` is what was met since the last record.
    fn read_segment(
        &mut self,
        name: &str,
        known: u64,
        damage: &mut Option<Damage>,
    ) -> Result<bool> {
        let mut lines = self.open(name)?;
        let mut begun = false;
        while let Some(found) = lines.next().map_err(unusable)? {
            let next = self.number.saturating_add(1);
            match found.line {
                Some(Line::Record { number, .. }) if number < next => begun = true,
                Some(record @ Line::Record { number, .. }) => {
                    let met = damage.take();
                    let missing = number > next;
                    // A segment that an open database cut short may be followed
                    // by one that it had yet to remove.
                    let crash = met.as_ref().map_or(!begun, |damage| damage.torn);
                    if missing && crash && known < next {
                        // What is missing was never acknowledged.
                        self.damaged = true;
                        return Ok(true);
                    }
                    if missing || !crash && met.is_some() {
                        let at = met.unwrap_or_else(|| Damage::at(name.to_owned(), found.start));
                        self.skip(&at.file, at.position)?;
                    }
                    if missing {
                        self.replay.leave_out_identities()?;
                    }
                    begun = true;
                    self.rebuilt.records = self.rebuilt.records.saturating_add(1);
                    self.number = number;
                    self.replay.take(record, found.length)?;
                }
                Some(line) => self.replay.take(line, found.length)?,
                None => {
                    self.damaged = true;
                    let first = damage.get_or_insert_with(|| Damage {
                        torn: true,
                        ..Damage::at(name.to_owned(), found.start)
                    });
                    first.torn &= found.torn;
                }
            }
        }
        Ok(false)
    }

    /// The last record that any other says the database held durably.
    fn known(&self, segments: &[&u64]) -> Result<u64> {
        let mut newest = 0;
        for first in segments {
            let mut lines = self.open(&segment_name(**first))?;
            while let Some(found) = lines.next().map_err(unusable)? {
                if let Some(Line::Record { known, .. }) = found.line {
                    newest = newest.max(known);
                }
            }
        }
        Ok(newest)
    }

    fn open(&self, name: &str) -> Result<Lines> {
        let file = self.disk.open(name).map_err(unusable)?;
        Lines::new(file, 0, self.longest_line).map_err(unusable)
    }

    /// Goes on behind damage, if that was asked for.
    fn skip(&mut self, file: &str, position: u64) -> Result<()> {
        if !self.skip {
            return Err(ErrorKind::Corrupt.error(format!(
                "the change log is damaged: {file} at byte {position}; restore the file, or \
                 rebuild with damage skipped and lose what it held"
            )));
        }
        tracing::error!(file, position, "damage in the change log was skipped");
        self.rebuilt.skipped = self.rebuilt.skipped.saturating_add(1);
        Ok(())
    }

    /// Lets the database go on behind the last record, in a new segment.
    fn finish(mut self) -> Result<Rebuilt> {
        self.replay.flush()?;
        let position = Position {
            number: self.number,
            segment: self.number.saturating_add(1),
            offset: 0,
        };
        self.replay
            .change(|facts| facts.put(&Key::store(StoreFact::Position), &position))?;
        Ok(self.rebuilt)
    }
}

fn unusable(source: std::io::Error) -> Error {
    ErrorKind::Unavailable
        .error("the metadata's files can't be read or written; see to their directory")
        .with_source(source)
}
