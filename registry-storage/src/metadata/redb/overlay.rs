//! A file that is opened as a database, and stays as it is.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redb::StorageBackend;

use super::disk::DiskFile;

/// How many bytes belong together.
const PIECE: usize = 4096;

/// The most pieces that may be changed.
const MOST_PIECES: usize = (64 << 20) / PIECE;

/// A file that stays as it is: what is written to it is kept in memory. To open
/// a database writes to it, and so does looking for damage.
#[derive(Debug)]
pub(super) struct Overlay {
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
    pub(super) fn new(file: Arc<dyn DiskFile>) -> io::Result<Self> {
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
