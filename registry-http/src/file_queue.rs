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
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use registry_core::FileSlice;
use tokio::time::Instant;

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
    parts: Mutex<VecDeque<Part>>,
    is_closed: AtomicBool,
}

/// A part of a file that waits to be sent.
struct Part {
    slice: FileSlice,
    /// When it was last known to be in memory.
    seen: Instant,
    /// Who is to know when it was sent.
    awaited_by: Option<Box<dyn AwaitsSending>>,
}

/// What lasts until a body was sent. Dropped when it was, or when it can't be any
/// more.
pub(crate) trait AwaitsSending: Send {
    /// The last `bytes` bytes of the body were not sent, and won't be.
    fn unsent(&mut self, bytes: u64);
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
            parts.push_back(Part {
                slice: part,
                seen: Instant::now(),
                awaited_by: None,
            });
        }
        Bytes::from_static(stand_in)
    }

    /// The part to be sent next, if there is one, and when it was last known to
    /// be in memory.
    pub(crate) fn first(&self) -> Option<(FileSlice, Instant)> {
        let parts = self.lock();
        let first = parts.front()?;
        Some((first.slice.clone(), first.seen))
    }

    /// The first part is in memory now.
    pub(crate) fn seen(&self) {
        if let Some(first) = self.lock().front_mut() {
            first.seen = Instant::now();
        }
    }

    /// `count` bytes of the first part were sent.
    pub(crate) fn sent(&self, count: u64) {
        let mut parts = self.lock();
        let Some(first) = parts.front_mut() else {
            return;
        };
        let range = &mut first.slice.range;
        range.start = range.start.saturating_add(count);
        if range.start < range.end {
            return;
        }
        let done = parts.pop_front();
        if parts.is_empty() {
            SENDING.fetch_sub(1, Ordering::Relaxed);
        }
        drop(parts);
        // Whoever awaited it may have something to do.
        drop(done);
    }

    /// Keeps `body`, whose last part was queued last, until that was sent; gives it
    /// back if there is nothing to wait for.
    pub(crate) fn keep<A: AwaitsSending + 'static>(&self, body: Box<A>) -> Option<Box<A>> {
        match self.lock().back_mut() {
            Some(last) => {
                last.awaited_by = Some(body);
                None
            }
            None => Some(body),
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

    fn lock(&self) -> MutexGuard<'_, VecDeque<Part>> {
        self.0.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let parts = self.parts.get_mut().unwrap_or_else(PoisonError::into_inner);
        if !parts.is_empty() {
            SENDING.fetch_sub(1, Ordering::Relaxed);
        }
        let mut unsent = 0_u64;
        for part in parts.drain(..) {
            let range = part.slice.range;
            unsent = unsent.saturating_add(range.end.saturating_sub(range.start));
            if let Some(mut body) = part.awaited_by {
                body.unsent(std::mem::take(&mut unsent));
            }
        }
    }
}

impl fmt::Debug for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.slice.fmt(f)
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
