//! Parts of files on their way to a socket, without passing through this
//! process.
//!
//! HTTP implementations take bodies as bytes in memory. So a body that goes by
//! this way gives them bytes that stand in for the file's, of the same number,
//! and puts the part of the file in a queue. Whoever writes to the socket
//! recognises the stand-ins by where they are in memory, and lets the system
//! send the part in their place. They are never read.
//!
//! Should an implementation copy the bytes, they would not be recognised any
//! more: the writer then finds parts in the queue and no stand-in, and gives
//! the connection up before a wrong byte is sent.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use registry_core::FileSlice;

/// The largest part that is sent at once: a large page of the system's cache.
pub(crate) const PART: usize = 2 << 20;

/// Occupies no memory, as nobody touches it.
static STAND_IN: [u8; PART] = [0; PART];

/// How many queues have something in them.
static SENDING: AtomicUsize = AtomicUsize::new(0);

/// The parts that one connection is to send, in order.
#[derive(Debug, Clone, Default)]
pub(crate) struct FileQueue(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    parts: Mutex<VecDeque<FileSlice>>,
    is_closed: AtomicBool,
}

impl FileQueue {
    /// Adds a part of at most [`PART`] bytes, and returns what stands in for
    /// it. What is longer is cut off.
    pub(crate) fn push(&self, mut part: FileSlice) -> Bytes {
        let length = part.range.end.saturating_sub(part.range.start);
        let stand_in = usize::try_from(length)
            .ok()
            .and_then(|length| STAND_IN.get(..length))
            .unwrap_or(&STAND_IN);
        part.range.end = part.range.start.saturating_add(stand_in.len() as u64);
        if !stand_in.is_empty() {
            let mut parts = self.lock();
            if parts.is_empty() {
                SENDING.fetch_add(1, Ordering::Relaxed);
            }
            parts.push_back(part);
        }
        Bytes::from_static(stand_in)
    }

    /// The part to be sent next, if there is one.
    pub(crate) fn first(&self) -> Option<FileSlice> {
        self.lock().front().cloned()
    }

    /// `count` bytes of the first part were sent.
    pub(crate) fn sent(&self, count: u64) {
        let mut parts = self.lock();
        if let Some(first) = parts.front_mut() {
            first.range.start = first.range.start.saturating_add(count);
            if first.range.start >= first.range.end {
                parts.pop_front();
                if parts.is_empty() {
                    SENDING.fetch_sub(1, Ordering::Relaxed);
                }
            }
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    /// The connection can't send files after all: it copies what is in the
    /// queue, and nothing more should be.
    pub(crate) fn close(&self) {
        self.0.is_closed.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.0.is_closed.load(Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<FileSlice>> {
        self.0.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let parts = self.parts.get_mut().unwrap_or_else(PoisonError::into_inner);
        if !parts.is_empty() {
            SENDING.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// On how many connections of this process parts of files wait to be sent.
pub(crate) fn sending() -> usize {
    SENDING.load(Ordering::Relaxed)
}

/// Whether `bytes` stand in for a part of a file.
pub(crate) fn stands_in(bytes: &[u8]) -> bool {
    !bytes.is_empty() && STAND_IN.as_ptr_range().contains(&bytes.as_ptr())
}
