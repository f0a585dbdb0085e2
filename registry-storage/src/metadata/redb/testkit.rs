//! The lines of the change log and its checkpoints, for those who damage them
//! (feature `testkit`).

use std::io;
use std::sync::Arc;

use super::disk::DiskFile;
use super::line::{self, Lines};

/// A line of a change log or checkpoint, as found.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundLine {
    /// Where it starts.
    pub start: u64,
    /// What it says, as it would be written today; absent if it is damaged.
    pub json: Option<String>,
}

/// The line that says `json`: with its checksum and line feed.
pub fn seal(json: &str) -> String {
    let mut lines = String::new();
    line::write_json(json, &mut lines);
    lines
}

/// The lines of a file that holds `bytes`.
///
/// # Errors
///
/// If what was read can't be written again.
pub fn read(bytes: &[u8]) -> io::Result<Vec<FoundLine>> {
    let mut lines = Lines::new(Arc::new(Memory(bytes.into())), 0, line::LONGEST)?;
    let mut all = Vec::new();
    while let Some(found) = lines.next()? {
        let json = found.line.as_ref().map(serde_json::to_string).transpose()?;
        let start = found.start;
        all.push(FoundLine { start, json });
    }
    Ok(all)
}

/// A file that is only read.
#[derive(Debug)]
struct Memory(Box<[u8]>);

impl DiskFile for Memory {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.len() as u64)
    }

    fn try_read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<bool> {
        self.read_at(buffer, offset).map(|()| true)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let bytes = usize::try_from(offset)
            .ok()
            .and_then(|offset| self.0.get(offset..)?.get(..buffer.len()));
        buffer.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write_at(&self, _: &[u8], _: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn set_len(&self, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn try_lock(&self) -> io::Result<bool> {
        Ok(true)
    }
}
