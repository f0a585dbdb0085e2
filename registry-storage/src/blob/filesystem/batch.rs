//! Bytes collected for one large write.

use std::io;
use std::io::IoSlice;

use bytes::{Bytes, BytesMut};

use super::file_system::{File, write_all_at};

/// Pieces below this size are copied together: on their own they could keep
/// much larger network buffers from being reused.
const SMALL: usize = 4 << 10;

/// How much is reserved for small pieces at a time.
const RUN: usize = 64 << 10;

/// Consecutive bytes, in pieces.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pieces: Vec<Bytes>,
    /// Small pieces that follow the others, as one.
    run: BytesMut,
    length: usize,
}

impl Batch {
    pub(super) fn push(&mut self, bytes: Bytes) {
        self.length = self.length.saturating_add(bytes.len());
        if bytes.len() < SMALL {
            if self.run.is_empty() {
                self.run.reserve(RUN);
            } else if self.run.capacity().saturating_sub(self.run.len()) < bytes.len() {
                self.end_run();
                self.run.reserve(RUN);
            }
            self.run.extend_from_slice(&bytes);
        } else {
            self.end_run();
            self.pieces.push(bytes);
        }
    }

    fn end_run(&mut self) {
        if !self.run.is_empty() {
            self.pieces.push(self.run.split().freeze());
        }
    }

    /// The number of bytes.
    pub(super) fn len(&self) -> usize {
        self.length
    }

    pub(super) fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Takes the last `count` bytes away, into a batch of their own.
    pub(super) fn split_last(&mut self, count: usize) -> Self {
        self.end_run();
        let mut rest = count.min(self.length);
        let mut last = Vec::new();
        while rest > 0
            && let Some(mut piece) = self.pieces.pop()
        {
            if let Some(keep) = piece.len().checked_sub(rest).filter(|keep| *keep > 0) {
                last.push(piece.split_off(keep));
                self.pieces.push(piece);
                break;
            }
            rest = rest.saturating_sub(piece.len());
            last.push(piece);
        }
        let mut split = Self::default();
        for piece in last.into_iter().rev() {
            split.push(piece);
        }
        self.length = self.length.saturating_sub(split.length);
        split
    }

    /// Writes the bytes from `offset` on.
    pub(super) fn write_to(mut self, file: &dyn File, offset: u64) -> io::Result<()> {
        self.end_run();
        let mut slices: Vec<IoSlice<'_>> = self
            .pieces
            .iter()
            .map(|piece| IoSlice::new(piece))
            .collect();
        write_all_at(file, &mut slices, offset)
    }
}
