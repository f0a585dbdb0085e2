//! The lines that the change log and its checkpoints are made of.
//!
//! A line is the checksum of the rest (CRC-32C, eight hexadecimal digits), a
//! space, one JSON value and a line feed. JSON has no bare line feed, so
//! reading can go on behind a damaged line, and people can read the log with
//! the tools they have.

use std::fmt::Write as _;
use std::io;
use std::sync::Arc;

use registry_core::RepositoryName;
use serde::{Deserialize, Serialize};

use super::disk::DiskFile;
use crate::metadata::Change;

/// How the lines are written today. Whoever meets a later version stops. The
/// second one tells which repositories were deleted; the first is read, too.
pub(super) const VERSION: u32 = 2;

/// How much is read or written at once.
const BUFFER: usize = 256 << 10;

/// The longest line that is written, and read: a longer one counts as damaged.
pub(super) const LONGEST: usize = 64 << 20;

/// What a line has besides its JSON, but the line feed.
const CHECKSUM: usize = 9;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Line {
    /// The first line of a segment.
    Segment {
        version: u32,
        /// The number of its first record.
        first: u64,
    },
    /// What one batch did.
    Record {
        /// Its place in the order of commits.
        number: u64,
        /// The last record that the database was known to hold durably.
        known: u64,
        /// Older logs name them otherwise, and are rebuilt from all the same.
        #[serde(alias = "operations")]
        changes: Vec<Change>,
    },
    /// The first line of a checkpoint.
    Checkpoint {
        version: u32,
        /// The last record that it covers.
        number: u64,
        /// The identity given last.
        identity: u64,
    },
    /// A repository of a checkpoint; what it holds follows as changes.
    Repository { name: RepositoryName, identity: u64 },
    /// A fact of a checkpoint.
    Fact(Box<Change>),
    /// The last line of a checkpoint, which tells that it is whole.
    End {
        /// The number of lines before it.
        lines: u64,
    },
}

/// Appends a line with this JSON.
pub(super) fn write_json(json: &str, lines: &mut String) {
    // Writing to a string doesn't fail.
    let _ = writeln!(lines, "{:08x} {json}", crc32c::crc32c(json.as_bytes()));
}

/// Whether a line of at most `longest` bytes can have this many of JSON.
pub(super) fn fits(json: usize, longest: usize) -> bool {
    json.saturating_add(CHECKSUM) <= longest
}

/// Appends a line of at most `longest` bytes.
///
/// # Errors
///
/// If nobody could read it again.
pub(super) fn write(line: &Line, longest: usize, lines: &mut String) -> io::Result<()> {
    let json = serde_json::to_string(line)?;
    if !fits(json.len(), longest) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "a line of the change log would be too long",
        ));
    }
    write_json(&json, lines);
    Ok(())
}

/// The line in `bytes`, which don't include the line feed, if it is whole.
fn parse(bytes: &[u8]) -> Option<Line> {
    let (head, json) = bytes.split_at_checked(CHECKSUM)?;
    let checksum = std::str::from_utf8(head).ok()?.strip_suffix(' ')?;
    let checksum = u32::from_str_radix(checksum, 16).ok()?;
    if checksum != crc32c::crc32c(json) {
        return None;
    }
    serde_json::from_slice(json).ok()
}

/// What a disk writes as a whole at least, at a multiple of as many bytes.
const SECTOR: u64 = 512;

/// Whether a crash can have left these bytes of a line that starts at `start`:
/// of what wasn't synced, sectors that never reached the disk are full of zeros,
/// which no line has.
fn has_lost_sector(bytes: &[u8], offset: u64, start: u64) -> bool {
    let mut before = None;
    for (position, byte) in (offset..).zip(bytes) {
        let begins = *byte == 0 && before != Some(0);
        if begins && (position == start || position.is_multiple_of(SECTOR)) {
            return true;
        }
        before = Some(*byte);
    }
    false
}

/// A line of a file, as found.
#[derive(Debug)]
pub(super) struct Found {
    /// Where it starts.
    pub(super) start: u64,
    /// How long it is; of a damaged one, maybe less.
    pub(super) length: usize,
    /// What it says, unless it is damaged or cut short.
    pub(super) line: Option<Line>,
    /// Whether it is such as a crash leaves of what wasn't synced: cut short, or
    /// with sectors that were never written. All else was changed afterwards.
    pub(super) torn: bool,
}

/// Reads the lines of a file.
#[derive(Debug)]
pub(super) struct Lines {
    file: Arc<dyn DiskFile>,
    /// The length of the longest line that is read.
    longest: usize,
    len: u64,
    /// Where the bytes of `buffer` lie.
    offset: u64,
    buffer: Vec<u8>,
    /// How much of the buffer is done with.
    consumed: usize,
}

impl Lines {
    pub(super) fn new(file: Arc<dyn DiskFile>, offset: u64, longest: usize) -> io::Result<Self> {
        let len = file.len()?;
        Ok(Self {
            file,
            longest,
            len,
            offset,
            buffer: Vec::new(),
            consumed: 0,
        })
    }

    /// The next line, or none at the end of the file.
    pub(super) fn next(&mut self) -> io::Result<Option<Found>> {
        let mut searched = self.consumed;
        let mut too_long = false;
        let mut torn = false;
        let start = self.offset.saturating_add(self.consumed as u64);
        loop {
            let unseen = self.buffer.get(searched..).unwrap_or_default();
            if let Some(feed) = unseen.iter().position(|byte| *byte == b'\n') {
                let feed = searched.saturating_add(feed);
                let bytes = self.buffer.get(self.consumed..feed).unwrap_or_default();
                let line = if too_long { None } else { parse(bytes) };
                torn |= line.is_none() && self.has_lost_sector(bytes, start);
                let length = bytes.len();
                self.consumed = feed.saturating_add(1);
                return Ok(Some(Found {
                    start,
                    length,
                    line,
                    torn,
                }));
            }
            if self.buffer.len().saturating_sub(self.consumed) > self.longest {
                too_long = true;
                let bytes = self.buffer.get(self.consumed..).unwrap_or_default();
                torn |= self.has_lost_sector(bytes, start);
                self.consumed = self.buffer.len();
            }
            self.buffer.drain(..self.consumed);
            self.offset = self.offset.saturating_add(self.consumed as u64);
            self.consumed = 0;
            searched = self.buffer.len();
            if !self.fill()? {
                // Of a whole line, nothing but the line feed was changed.
                let changed = self.buffer.split_last();
                let torn = !changed.is_some_and(|(_, whole)| !too_long && parse(whole).is_some());
                self.consumed = self.buffer.len();
                let line = None;
                return Ok((start < self.len).then_some(Found {
                    start,
                    length: 0,
                    line,
                    torn,
                }));
            }
        }
    }

    /// Whether a sector is missing from these bytes, the first of the buffer that
    /// aren't done with, of a line that starts at `start`.
    fn has_lost_sector(&self, bytes: &[u8], start: u64) -> bool {
        let offset = self.offset.saturating_add(self.consumed as u64);
        has_lost_sector(bytes, offset, start)
    }

    /// Reads on. Returns whether there was anything left.
    fn fill(&mut self) -> io::Result<bool> {
        let have = self.buffer.len();
        let offset = self.offset.saturating_add(have as u64);
        let left = usize::try_from(self.len.saturating_sub(offset)).unwrap_or(usize::MAX);
        if left == 0 {
            return Ok(false);
        }
        let more = left.min(BUFFER);
        self.buffer.resize(have.saturating_add(more), 0);
        let space = self.buffer.get_mut(have..).unwrap_or_default();
        self.file.read_at(space, offset)?;
        Ok(true)
    }
}

/// Writes lines to a file, from its start.
#[derive(Debug)]
pub(super) struct LineWriter {
    file: Arc<dyn DiskFile>,
    /// The length of the longest line that is written.
    longest: usize,
    offset: u64,
    buffer: String,
    lines: u64,
}

impl LineWriter {
    /// Empties the file first.
    pub(super) fn new(file: Arc<dyn DiskFile>, longest: usize) -> io::Result<Self> {
        file.set_len(0)?;
        Ok(Self {
            file,
            longest,
            offset: 0,
            buffer: String::new(),
            lines: 0,
        })
    }

    pub(super) fn write(&mut self, line: &Line) -> io::Result<()> {
        write(line, self.longest, &mut self.buffer)?;
        self.lines = self.lines.saturating_add(1);
        if self.buffer.len() >= BUFFER {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.write_at(self.buffer.as_bytes(), self.offset)?;
        self.offset = self.offset.saturating_add(self.buffer.len() as u64);
        self.buffer.clear();
        Ok(())
    }

    /// Writes the last line and waits until all survive a power failure.
    pub(super) fn end(mut self) -> io::Result<()> {
        let lines = self.lines;
        self.write(&Line::End { lines })?;
        self.flush()?;
        self.file.sync()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::redb::disk::{Directory, Disk};

    fn lines_of(bytes: &[u8]) -> Vec<Found> {
        let directory = tempfile::tempdir().unwrap();
        let file = Directory::create(directory.path())
            .unwrap()
            .open("lines")
            .unwrap();
        file.write_at(bytes, 0).unwrap();
        let mut lines = Lines::new(file, 0, LONGEST).unwrap();
        std::iter::from_fn(|| lines.next().unwrap()).collect()
    }

    fn line(number: u64) -> Line {
        Line::Segment {
            version: VERSION,
            first: number,
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let mut text = String::new();
        for number in 0..20_000 {
            write(&line(number), LONGEST, &mut text).unwrap();
        }
        assert!(text.len() > BUFFER * 2);
        let found = lines_of(text.as_bytes());
        let read: Vec<_> = found
            .iter()
            .filter_map(|found| found.line.clone())
            .collect();
        assert_eq!(read, (0..20_000).map(line).collect::<Vec<_>>());
    }

    #[test]
    fn any_changed_byte_is_noticed_and_the_next_line_still_read() {
        let mut text = String::new();
        write(&line(1), LONGEST, &mut text).unwrap();
        let length = text.len() - 1;
        write(&line(2), LONGEST, &mut text).unwrap();
        for position in 0..length {
            let mut damaged = text.clone().into_bytes();
            damaged[position] ^= 0x21;
            let found = lines_of(&damaged);
            assert!(found.iter().all(|found| found.line != Some(line(1))));
            assert_eq!(found.last().unwrap().line, Some(line(2)), "at {position}");
        }
    }

    #[test]
    fn a_line_cut_short_is_found_as_damaged() {
        let mut text = String::new();
        write(&line(1), LONGEST, &mut text).unwrap();
        for length in 1..text.len() {
            let found = lines_of(&text.as_bytes()[..length]);
            assert_eq!(found.len(), 1);
            assert!(found[0].line.is_none());
            assert!(found[0].torn);
            assert_eq!(found[0].start, 0);
        }
    }

    #[test]
    fn what_was_never_written_is_told_from_what_was_changed() {
        let mut text = String::new();
        for number in 0..100 {
            write(&line(number), LONGEST, &mut text).unwrap();
        }
        let whole = text.into_bytes();
        let torn = |bytes: &[u8]| {
            let found = lines_of(bytes).into_iter();
            let damaged: Vec<_> = found.filter(|found| found.line.is_none()).collect();
            assert!(!damaged.is_empty());
            damaged.iter().all(|found| found.torn)
        };
        for lost in [512..1024, 512..2048, 1024..whole.len()] {
            let mut bytes = whole.clone();
            bytes[lost].fill(0);
            assert!(torn(&bytes));
        }
        // From the end of a line on.
        let written = whole.iter().rposition(|byte| *byte == b'{').unwrap() - CHECKSUM;
        let mut bytes = whole.clone();
        bytes[whole[..written]
            .iter()
            .rposition(|byte| *byte == b'\n')
            .unwrap()
            + 1..]
            .fill(0);
        assert!(torn(&bytes));
        for position in (0..whole.len()).filter(|position| position % 512 != 0) {
            // One bit of a space makes a zero.
            for byte in [0, whole[position] ^ 1] {
                let mut bytes = whole.clone();
                bytes[position] = byte;
                let starts = position == 0 || whole[position - 1] == b'\n';
                assert_eq!(torn(&bytes), byte == 0 && starts, "at {position}");
            }
        }
    }
}
