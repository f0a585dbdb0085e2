//! Memory for the parts of large uploads, which is used again and again.
//!
//! What comes from a network comes in pieces of any size, each in memory of its
//! own. Fresh memory costs a fault for every page of it: for a large upload
//! about as much as copying the bytes does. So they are copied, while they are
//! still in the processor's cache, to memory that was used before, and the
//! network's is free for what comes next. It begins and ends where disks want
//! it to, so that nobody has to copy again.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

/// What writes are best made of: disks, and the system's cache, work in blocks
/// of this many bytes.
pub(crate) const BLOCK: usize = 4 << 10;

/// How much one part holds.
pub(crate) const PART: usize = 1 << 20;

/// How many parts there are at most. Whoever wants another does without.
const LENT: usize = 12;

/// Copies as many bytes, a few at a time.
///
/// For many, C libraries use an instruction that takes ten times as long on some
/// processors (Zen 3 and 4) if they are to lie up to 15 bytes behind where they
/// lie now, counted within a page. That is up to chance, and then stays so for
/// the whole of an upload.
pub(crate) fn copy(from: &[u8], to: &mut [u8]) {
    const FEW: usize = 2 << 10;
    for (from, to) in from.chunks(FEW).zip(to.chunks_mut(FEW)) {
        if let Some(to) = to.get_mut(..from.len()) {
            to.copy_from_slice(from);
        }
    }
}

/// A bounded number of parts.
#[derive(Debug, Default)]
pub(crate) struct Recycled(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    lent: usize,
    unused: Vec<Aligned>,
    /// How many that nobody uses are kept.
    keep: usize,
}

impl Recycled {
    /// A part for up to `size` bytes, unless too many are lent already.
    pub(crate) fn take(self: &Arc<Self>, size: usize) -> Option<Part> {
        let mut state = self.lock();
        if state.lent >= LENT {
            return None;
        }
        state.lent = state.lent.saturating_add(1);
        let unused = state.unused.pop();
        drop(state);
        Some(Part {
            memory: unused.unwrap_or_else(Aligned::new),
            filled: 0,
            size: size.min(PART),
            home: Arc::clone(self),
        })
    }

    /// From now on keeps no more than `count` that nobody uses.
    pub(crate) fn keep(&self, count: usize) {
        let mut state = self.lock();
        state.keep = count.min(LENT);
        let keep = state.keep;
        let superfluous = state.unused.len().saturating_sub(keep);
        let freed: Vec<_> = state.unused.drain(..superfluous).collect();
        drop(state);
        drop(freed);
    }

    fn give_back(&self, memory: Aligned) {
        let mut state = self.lock();
        state.lent = state.lent.saturating_sub(1);
        if state.unused.len() < state.keep {
            state.unused.push(memory);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Memory that begins where a block does.
struct Aligned {
    bytes: Vec<u8>,
    start: usize,
}

impl Aligned {
    fn new() -> Self {
        let bytes = vec![0; PART.saturating_add(BLOCK)];
        let start = bytes.as_ptr().align_offset(BLOCK);
        Self { bytes, start }
    }

    fn nothing() -> Self {
        Self {
            bytes: Vec::new(),
            start: 0,
        }
    }
}

impl fmt::Debug for Aligned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Aligned").finish_non_exhaustive()
    }
}

/// Memory that is being filled. It is recycled once nobody holds the bytes any
/// more.
#[derive(Debug)]
pub(crate) struct Part {
    memory: Aligned,
    filled: usize,
    size: usize,
    home: Arc<Recycled>,
}

impl Part {
    /// Takes as many of `bytes` as there is room for, and returns how many.
    pub(crate) fn fill(&mut self, bytes: &[u8]) -> usize {
        let room = self.size.saturating_sub(self.filled);
        let from = self.memory.start.saturating_add(self.filled);
        let count = bytes.len().min(room);
        let to = self.memory.bytes.get_mut(from..).unwrap_or_default();
        if let (Some(to), Some(bytes)) = (to.get_mut(..count), bytes.get(..count)) {
            copy(bytes, to);
            self.filled = self.filled.saturating_add(count);
            return count;
        }
        0
    }

    pub(crate) fn is_full(&self) -> bool {
        self.filled >= self.size
    }

    /// The bytes in it.
    pub(crate) fn freeze(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for Part {
    fn as_ref(&self) -> &[u8] {
        let end = self.memory.start.saturating_add(self.filled);
        let bytes = self.memory.bytes.get(self.memory.start..end);
        bytes.unwrap_or_default()
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        let memory = std::mem::replace(&mut self.memory, Aligned::nothing());
        self.home.give_back(memory);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(recycled: &Arc<Recycled>) -> Vec<Part> {
        std::iter::from_fn(|| recycled.take(PART)).collect()
    }

    #[test]
    fn memory_is_bounded_and_only_as_much_is_kept_as_was_said() {
        let recycled = Arc::new(Recycled::default());
        recycled.keep(3);
        let lent = parts(&recycled);
        assert_eq!(lent.len(), LENT);
        drop(lent);
        assert_eq!(recycled.lock().unused.len(), 3);
        assert_eq!(parts(&recycled).len(), LENT);
        recycled.keep(1);
        assert_eq!(recycled.lock().unused.len(), 1);
    }

    #[test]
    fn a_part_begins_at_a_block_and_holds_what_was_put_in_last() {
        let recycled = Arc::new(Recycled::default());
        recycled.keep(1);
        for text in [&b"some bytes"[..], b"others"] {
            let mut part = recycled.take(8).unwrap();
            let taken = part.fill(text);
            assert_eq!(taken, text.len().min(8));
            assert_eq!(part.is_full(), taken == 8);
            let bytes = part.freeze();
            assert_eq!(bytes, text[..taken]);
            assert_eq!(bytes.as_ptr().align_offset(BLOCK), 0);
        }
    }

    #[test]
    fn memory_comes_back_when_the_last_of_its_bytes_is_gone() {
        let recycled = Arc::new(Recycled::default());
        recycled.keep(1);
        let mut part = recycled.take(PART).unwrap();
        part.fill(b"some bytes");
        let bytes = part.freeze();
        let last = bytes.slice(5..);
        drop(bytes);
        assert_eq!(recycled.lock().unused.len(), 0);
        assert_eq!(last, b"bytes"[..]);
        drop(last);
        assert_eq!(recycled.lock().unused.len(), 1);
    }
}
