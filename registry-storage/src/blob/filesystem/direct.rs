//! Writes that go to the disk without passing through the system's cache.
//!
//! What is written through the cache stays there, and pushes out what others
//! are pulling. For the usual layer that is right: whoever pushed it is likely
//! to have it pulled. A blob of gigabytes would empty the cache for one reader
//! at best, and copying it there costs as much as hashing it. So its bytes
//! behind the first [`FROM`] go to the disk directly.
//!
//! Durability is the same: a sync is needed all the same, and done.

use std::io::{self, IoSlice};
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::OFlags;
use rustix::io::Errno;

use super::file_system::BLOCK;
use crate::recycled::copy;

/// Where in a file direct writes begin.
const FROM: u64 = 64 << 20;

/// The least that is worth a direct write.
const LEAST: usize = 64 << 10;

/// The most that is written at once.
const MOST: usize = 1 << 20;

/// How many direct writes go on at once. Whoever comes then writes through the
/// cache: that needs no memory of the process.
const WRITERS: usize = 4;

/// How many buffers are kept for the next write.
const KEPT: usize = 1;

/// What all files of one directory tree share.
#[derive(Debug, Default)]
pub(super) struct DirectWrites {
    /// Whether the file system refused: then it is not asked again.
    refused: AtomicBool,
    buffers: Mutex<Buffers>,
}

#[derive(Debug, Default)]
struct Buffers {
    lent: usize,
    kept: Vec<AlignedBuffer>,
}

/// How one file is written.
#[derive(Debug)]
pub(super) struct DirectFile {
    shared: Arc<DirectWrites>,
    /// Whether the descriptor is in direct mode. Only one thread writes a file
    /// at a time.
    on: AtomicBool,
}

impl DirectFile {
    pub(super) fn new(shared: &Arc<DirectWrites>) -> Self {
        Self {
            shared: Arc::clone(shared),
            on: AtomicBool::new(false),
        }
    }

    /// Writes the first of the pieces, and returns how many bytes; nothing if
    /// they are to be written in the usual way, for which the file is ready
    /// then.
    pub(super) fn write_at(
        &self,
        descriptor: BorrowedFd<'_>,
        pieces: &[IoSlice<'_>],
        offset: u64,
    ) -> io::Result<Option<usize>> {
        if offset < FROM || !offset.is_multiple_of(BLOCK as u64) {
            self.switch(descriptor, false)?;
            return Ok(None);
        }
        let blocks = blocks(pieces);
        if blocks.len() >= LEAST
            && let Some(written) = self.write(descriptor, blocks, offset)?
        {
            return Ok(Some(written));
        }
        let length = share(pieces.iter().map(|piece| piece.len()).sum());
        let buffer = if length >= LEAST {
            self.shared.borrow()
        } else {
            None
        };
        if let Some(mut buffer) = buffer {
            let written = self.write(descriptor, buffer.fill(pieces, length), offset);
            self.shared.give_back(buffer);
            if let Some(written) = written? {
                return Ok(Some(written));
            }
        }
        self.switch(descriptor, false)?;
        Ok(None)
    }

    /// Writes whole blocks directly.
    fn write(
        &self,
        descriptor: BorrowedFd<'_>,
        blocks: &[u8],
        offset: u64,
    ) -> io::Result<Option<usize>> {
        if !self.switch(descriptor, true)? {
            return Ok(None);
        }
        match rustix::io::pwrite(descriptor, blocks, offset) {
            Ok(written) => Ok(Some(written)),
            // The file system, or the device below it, takes no direct writes
            // of this kind.
            Err(Errno::INVAL | Errno::OPNOTSUPP) => {
                self.shared.refused.store(true, Ordering::Relaxed);
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Returns whether the file is in the wanted mode.
    fn switch(&self, descriptor: BorrowedFd<'_>, on: bool) -> io::Result<bool> {
        if self.on.load(Ordering::Relaxed) == on {
            return Ok(true);
        }
        if on && self.shared.refused.load(Ordering::Relaxed) {
            return Ok(false);
        }
        let mut flags = rustix::fs::fcntl_getfl(descriptor)?;
        flags.set(OFlags::DIRECT, on);
        match rustix::fs::fcntl_setfl(descriptor, flags) {
            Ok(()) => {
                self.on.store(on, Ordering::Relaxed);
                Ok(true)
            }
            Err(Errno::INVAL | Errno::OPNOTSUPP) if on => {
                self.shared.refused.store(true, Ordering::Relaxed);
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }
}

impl DirectWrites {
    /// A buffer, unless too many are lent already.
    fn borrow(&self) -> Option<AlignedBuffer> {
        let mut buffers = self.buffers.lock().unwrap_or_else(PoisonError::into_inner);
        if buffers.lent >= WRITERS {
            return None;
        }
        buffers.lent = buffers.lent.saturating_add(1);
        Some(buffers.kept.pop().unwrap_or_else(AlignedBuffer::new))
    }

    fn give_back(&self, buffer: AlignedBuffer) {
        let mut buffers = self.buffers.lock().unwrap_or_else(PoisonError::into_inner);
        buffers.lent = buffers.lent.saturating_sub(1);
        if buffers.kept.len() < KEPT {
            buffers.kept.push(buffer);
        }
    }
}

/// The whole blocks that the first piece begins with, if it lies as the disk
/// wants it to.
fn blocks<'p>(pieces: &'p [IoSlice<'_>]) -> &'p [u8] {
    let first = pieces.first().map_or(&[][..], |piece| &**piece);
    if first.as_ptr().align_offset(BLOCK) != 0 {
        return &[];
    }
    first.get(..first.len() & !(BLOCK - 1)).unwrap_or_default()
}

/// How much of so many bytes to write next: whole blocks, and parts of about the
/// same size if it takes several.
fn share(available: usize) -> usize {
    let parts = available.div_ceil(MOST).max(1);
    let share = available.checked_div(parts).unwrap_or_default();
    let whole = available & !(BLOCK - 1);
    share
        .checked_next_multiple_of(BLOCK)
        .unwrap_or(whole)
        .min(whole)
}

/// Memory that begins where the disk wants it to.
#[derive(Debug)]
struct AlignedBuffer {
    bytes: Vec<u8>,
    start: usize,
}

impl AlignedBuffer {
    fn new() -> Self {
        let bytes = vec![0; MOST.saturating_add(BLOCK)];
        let start = bytes.as_ptr().align_offset(BLOCK);
        Self { bytes, start }
    }

    /// The first `length` bytes of the pieces.
    fn fill(&mut self, pieces: &[IoSlice<'_>], length: usize) -> &[u8] {
        let room = self.bytes.get_mut(self.start..).unwrap_or_default();
        let room = room.get_mut(..length).unwrap_or_default();
        let mut filled = 0_usize;
        for piece in pieces {
            let rest = room.get_mut(filled..).unwrap_or_default();
            let count = piece.len().min(rest.len());
            if let (Some(to), Some(from)) = (rest.get_mut(..count), piece.get(..count)) {
                copy(from, to);
            }
            filled = filled.saturating_add(count);
        }
        room
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::arithmetic_side_effects, reason = "tests")]
mod tests {
    use std::path::Path;

    use super::super::file_system::{FileSystem, Mode, write_all_at};
    use super::super::linux::SystemFiles;
    use super::*;
    use crate::recycled::Recycled;

    /// Bytes that differ from their neighbours.
    fn bytes(count: usize) -> Vec<u8> {
        let mut random = fastrand::Rng::with_seed(7);
        std::iter::repeat_with(|| random.u8(..))
            .take(count)
            .collect()
    }

    #[test]
    fn what_is_written_directly_and_not_is_one_content() {
        let directory = tempfile::tempdir().unwrap();
        let files = SystemFiles::open(directory.path()).unwrap();
        let file = files.create_unnamed(Path::new(".")).unwrap();
        let content = bytes((5 << 20) + 1234);
        // Below the first direct byte, across it, a whole number of blocks, and
        // an end that is none, in pieces of any size.
        let begin = FROM - (1 << 20);
        let ends = [
            1 << 20,
            (3 << 20) + 8192,
            (4 << 20) + 77,
            (4 << 20) + 100,
            content.len(),
        ];
        let mut start = 0;
        for end in ends {
            let part = &content[start..end];
            let mut pieces: Vec<_> = part.chunks(40_001).map(IoSlice::new).collect();
            write_all_at(&*file, &mut pieces, begin + start as u64).unwrap();
            start = end;
        }
        // Memory that lies as the disk wants it to, whole and not; each time the
        // same bytes.
        let recycled = Arc::new(Recycled::default());
        for sizes in [[1 << 20, 1 << 20], [1 << 20, 77_777], [70_000, 1 << 20]] {
            let mut at = 2 << 20;
            let parts = sizes.map(|size| {
                let mut part = recycled.take(size).unwrap();
                at += part.fill(&content[at..]);
                part
            });
            let mut pieces = parts.each_ref().map(|part| IoSlice::new(part.as_ref()));
            write_all_at(&*file, &mut pieces, begin + (2 << 20)).unwrap();
        }
        file.sync().unwrap();
        file.link(Path::new("written")).unwrap();
        let file = files.open(Path::new("written"), Mode::Read).unwrap();
        assert_eq!(file.status().unwrap().size, begin + content.len() as u64);
        let mut read = vec![0; content.len()];
        let mut done = 0;
        while done < read.len() {
            let count = file
                .read_at(&mut read[done..], begin + done as u64)
                .unwrap();
            assert_ne!(count, 0);
            done += count;
        }
        assert!(read == content);
    }

    #[test]
    fn memory_for_direct_writes_is_bounded() {
        let shared = DirectWrites::default();
        let lent: Vec<_> = std::iter::from_fn(|| shared.borrow()).collect();
        assert_eq!(lent.len(), WRITERS);
        for buffer in lent {
            shared.give_back(buffer);
        }
        assert!(shared.borrow().is_some());
        assert!(shared.buffers.lock().unwrap().kept.len() <= KEPT);
    }

    #[test]
    fn shares_are_whole_blocks_that_add_up() {
        for available in [
            0,
            1,
            BLOCK,
            MOST - 1,
            MOST,
            MOST + 1,
            2 * MOST + 5,
            3 * MOST,
        ] {
            let mut rest = available;
            while share(rest) > 0 {
                assert_eq!(share(rest) % BLOCK, 0);
                assert!(share(rest) <= MOST.min(rest));
                rest -= share(rest);
            }
            assert!(rest < BLOCK, "{available}: {rest}");
        }
    }
}
