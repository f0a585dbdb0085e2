//! How the store works.

use super::line;
use crate::Durability;

/// How a [`RedbMetadata`](super::RedbMetadata) works.
#[non_exhaustive]
#[derive(Debug, Clone, Copy)]
pub struct RedbOptions {
    /// What a durable batch survives. With [`Durability::None`], a power
    /// failure may leave a database that has to be rebuilt.
    pub durability: Durability,
    /// The most memory used for pages of the database, in bytes; 8 MiB unless
    /// set. The system's own cache keeps pages too.
    pub cache_bytes: usize,
    /// How large a segment of the change log grows, in bytes; 64 MiB unless
    /// set. A checkpoint is written, in the background, when the log has grown
    /// by as much.
    pub segment_bytes: u64,
    /// Whether a rebuild goes on behind damage in the change log, and loses
    /// what it held; it stops unless set.
    pub skip_damage: bool,
    /// What a thread does that needs a page which isn't in memory; it waits
    /// unless set.
    pub cold_reads: ColdReads,
    /// The longest line of the change log. Not to be set: where it was larger
    /// once, what is longer counts as damaged.
    pub(super) longest_line: usize,
}

/// What a thread does that needs a page of the database which isn't in memory.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ColdReads {
    /// It waits for the disk, together with the other tasks of its asynchronous
    /// worker, if it is one. Sound wherever it is used.
    #[default]
    Wait,
    /// A worker of a multi-thread tokio runtime hands its other tasks over
    /// ([`block_in_place`](tokio::task::block_in_place)) and waits for the disk.
    ///
    /// For programs that read in no [`LocalSet`](tokio::task::LocalSet) and under
    /// no other runtime's [guard](tokio::runtime::Handle::enter): there, tokio
    /// panics, and can't be asked beforehand.
    HandOver,
}

impl Default for RedbOptions {
    fn default() -> Self {
        Self {
            durability: Durability::default(),
            cache_bytes: 8 << 20,
            segment_bytes: 64 << 20,
            skip_damage: false,
            cold_reads: ColdReads::default(),
            longest_line: line::LONGEST,
        }
    }
}

impl RedbOptions {
    /// Sets what a durable batch survives.
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// Sets the most memory used for pages, in bytes.
    pub fn cache_bytes(mut self, bytes: usize) -> Self {
        self.cache_bytes = bytes;
        self
    }

    /// Sets how large a segment of the change log grows, in bytes.
    pub fn segment_bytes(mut self, bytes: u64) -> Self {
        self.segment_bytes = bytes;
        self
    }

    /// Sets whether a rebuild goes on behind damage.
    pub fn skip_damage(mut self, skip: bool) -> Self {
        self.skip_damage = skip;
        self
    }

    /// Sets what a thread does that needs a page which isn't in memory.
    pub fn cold_reads(mut self, cold_reads: ColdReads) -> Self {
        self.cold_reads = cold_reads;
        self
    }

    pub(super) fn is_volatile(&self) -> bool {
        self.durability == Durability::None
    }
}

impl From<Durability> for RedbOptions {
    fn from(durability: Durability) -> Self {
        Self::default().durability(durability)
    }
}
