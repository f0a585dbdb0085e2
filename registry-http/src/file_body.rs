//! Files as bodies: read where the request runs as long as the bytes are in
//! memory, and in the background where they have to come from the disk. Where
//! a connection can send files by itself, what is in memory isn't even read.

use std::fmt;
use std::future::Future;
use std::io;
use std::ops::Range;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures::Stream;
use registry_core::{Error, ErrorKind, FileContent, FileSlice, Result};
use tokio::task::JoinHandle;

use crate::file_queue::{FileQueue, PART};

/// How much is read at once. Smaller pieces cost several times as much a byte;
/// larger ones gain nothing.
const CHUNK: usize = 256 << 10;

/// The least that is sent without being read. Smaller bodies go out together
/// with the head of the answer.
#[cfg(feature = "server")]
const LEAST_SENT: u64 = 128 << 10;

/// How much has to come without waiting for the disk before the system is asked
/// again what it has in memory. Asking makes it read what it hasn't, page by
/// page, which keeps it from reading ahead in large pieces.
const UNASKED: u64 = 8 << 20;

/// Rounds down to where a part begins.
const WHOLE_PARTS: u64 = !(PART as u64 - 1);

/// The buffers kept for further use. A buffer is in use until the connection
/// has sent it, so this is about how many downloads run side by side.
const POOL: usize = 32;

static BUFFERS: Buffers = Buffers(Mutex::new(Vec::new()));

/// Buffers of [`CHUNK`] bytes that nobody uses.
struct Buffers(Mutex<Vec<Box<[u8]>>>);

impl Buffers {
    fn take(&self) -> Box<[u8]> {
        let mut unused = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        unused
            .pop()
            .unwrap_or_else(|| vec![0; CHUNK].into_boxed_slice())
    }

    fn give_back(&self, buffer: Box<[u8]>) {
        let mut unused = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if buffer.len() == CHUNK && unused.len() < POOL {
            unused.push(buffer);
        }
    }
}

/// A buffer with something in it, which goes back to the others when dropped.
struct Buffer {
    memory: Box<[u8]>,
    filled: usize,
}

impl Buffer {
    /// A buffer for `wanted` bytes. Small files don't occupy large buffers.
    fn new(wanted: u64) -> Self {
        let memory = match usize::try_from(wanted) {
            Ok(wanted) if wanted < CHUNK => vec![0; wanted].into_boxed_slice(),
            _ => BUFFERS.take(),
        };
        Self { memory, filled: 0 }
    }

    /// The part for the next `wanted` bytes.
    fn space(&mut self, wanted: u64) -> &mut [u8] {
        let end = usize::try_from(wanted).map_or(self.memory.len(), |n| n.min(self.memory.len()));
        self.memory.get_mut(..end).unwrap_or_default()
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        self.memory.get(..self.filled).unwrap_or_default()
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        BUFFERS.give_back(std::mem::take(&mut self.memory));
    }
}

type ReadResult = (Buffer, io::Result<usize>);

/// The bytes of a part of a file, in order. Needs a Tokio runtime.
pub(crate) struct FileBody {
    file: Arc<dyn FileContent>,
    /// What isn't read yet.
    range: Range<u64>,
    background: Option<JoinHandle<ReadResult>>,
    /// How much is to be read before asking what is in memory.
    unasked: u64,
    /// Where the connection takes parts that it sends by itself.
    queue: Option<FileQueue>,
}

impl FileBody {
    pub(crate) fn new(slice: FileSlice) -> Self {
        Self {
            file: slice.file,
            range: slice.range,
            background: None,
            unasked: 0,
            queue: None,
        }
    }

    /// Lets the connection that `queue` belongs to send by itself what it can.
    #[cfg(feature = "server")]
    pub(crate) fn send_through(&mut self, queue: &FileQueue) {
        if self.left() >= LEAST_SENT && self.file.file().is_some() {
            self.queue = Some(queue.clone());
        }
    }

    /// Where parts may wait to be sent.
    pub(crate) fn queue(&self) -> Option<&FileQueue> {
        self.queue.as_ref()
    }

    fn left(&self) -> u64 {
        self.range.end.saturating_sub(self.range.start)
    }

    /// What stands in for the next part, if the connection can send it.
    fn queue_part(&mut self) -> Option<Bytes> {
        let queue = self.queue.as_ref().filter(|queue| !queue.is_closed())?;
        let start = self.range.start;
        // Parts begin where large pages do.
        let page = start & WHOLE_PARTS;
        let end = self.range.end.min(page.saturating_add(PART as u64));
        if self.unasked > 0 {
            return None;
        }
        if !self.file.is_cached(start..end) {
            self.unasked = UNASKED;
            return None;
        }
        self.range.start = end;
        let file = Arc::clone(&self.file);
        Some(queue.push(FileSlice {
            file,
            range: start..end,
        }))
    }

    fn start_reading(&self, wanted: u64, mut buffer: Buffer) -> JoinHandle<ReadResult> {
        let (file, offset) = (Arc::clone(&self.file), self.range.start);
        tokio::task::spawn_blocking(move || {
            let space = buffer.space(wanted);
            let read = loop {
                match file.read_at(space, offset) {
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    read => break read,
                }
            };
            (buffer, read)
        })
    }

    fn take(&mut self, mut buffer: Buffer, read: io::Result<usize>) -> Result<Bytes> {
        let read = read.map_err(failed)?;
        if read == 0 {
            return Err(ErrorKind::Corrupt.error("the stored content is shorter than it should be"));
        }
        buffer.filled = read.min(buffer.memory.len());
        let filled = buffer.filled as u64;
        self.range.start = self.range.start.saturating_add(filled);
        self.unasked = self.unasked.saturating_sub(filled);
        Ok(Bytes::from_owner(buffer))
    }
}

fn failed(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::internal("the stored content could not be read", source)
}

impl Stream for FileBody {
    type Item = Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let left = self.left();
        if left == 0 {
            return Poll::Ready(None);
        }
        if self.background.is_none()
            && let Some(stand_in) = self.queue_part()
        {
            return Poll::Ready(Some(Ok(stand_in)));
        }
        let wanted = left.min(CHUNK as u64);
        if self.background.is_none() {
            let mut buffer = Buffer::new(wanted);
            match self
                .file
                .try_read_at(buffer.space(wanted), self.range.start)
            {
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
                    ) =>
                {
                    self.unasked = UNASKED;
                    self.background = Some(self.start_reading(wanted, buffer));
                }
                read => return Poll::Ready(Some(self.take(buffer, read))),
            }
        }
        let Some(background) = &mut self.background else {
            return Poll::Ready(None);
        };
        let done = ready!(Pin::new(background).poll(cx));
        self.background = None;
        let chunk = match done {
            Ok((buffer, read)) => self.take(buffer, read),
            Err(source) => Err(failed(source)),
        };
        Poll::Ready(Some(chunk))
    }
}

impl fmt::Debug for FileBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileBody")
            .field("file", &self.file)
            .field("range", &self.range)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures::TryStreamExt;

    use super::*;

    /// A file of which every `cold`th piece has to come from the disk.
    #[derive(Debug)]
    struct Memory {
        content: Vec<u8>,
        cold: usize,
        /// The most bytes given at once.
        piece: usize,
        tried: AtomicUsize,
        waited: AtomicUsize,
    }

    impl FileContent for Memory {
        fn try_read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
            let tried = self.tried.fetch_add(1, Ordering::Relaxed);
            if tried.is_multiple_of(self.cold) {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            Ok(self.copy(buffer, offset))
        }

        fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
            self.waited.fetch_add(1, Ordering::Relaxed);
            Ok(self.copy(buffer, offset))
        }
    }

    impl Memory {
        fn new(size: usize, cold: usize, piece: usize) -> Arc<Self> {
            Arc::new(Self {
                content: (0..=250).cycle().take(size).collect(),
                cold,
                piece,
                tried: AtomicUsize::new(0),
                waited: AtomicUsize::new(0),
            })
        }

        fn copy(&self, buffer: &mut [u8], offset: u64) -> usize {
            let rest = &self.content[usize::try_from(offset).unwrap().min(self.content.len())..];
            let count = rest.len().min(buffer.len()).min(self.piece);
            buffer[..count].copy_from_slice(&rest[..count]);
            count
        }
    }

    async fn read(file: &Arc<Memory>, range: Range<u64>) -> Result<Vec<u8>> {
        let file = Arc::clone(file) as Arc<dyn FileContent>;
        let chunks: Vec<Bytes> = FileBody::new(FileSlice { file, range })
            .try_collect()
            .await?;
        Ok(chunks.concat())
    }

    #[tokio::test]
    async fn a_part_comes_whole_wherever_its_bytes_are() {
        for (cold, piece) in [(1, CHUNK), (2, CHUNK), (usize::MAX, CHUNK), (3, 1000)] {
            let file = Memory::new(CHUNK * 2 + 77, cold, piece);
            for range in [0..CHUNK * 2 + 77, 5..6, CHUNK - 1..CHUNK + 1, 9..9] {
                let bytes = read(&file, range.start as u64..range.end as u64).await;
                assert!(bytes.unwrap() == file.content[range], "{cold} {piece}");
            }
        }
    }

    #[tokio::test]
    async fn only_what_is_on_the_disk_is_read_in_the_background() {
        let file = Memory::new(CHUNK * 4, 4, CHUNK);
        read(&file, 0..CHUNK as u64 * 4).await.unwrap();
        assert_eq!(file.waited.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn a_file_that_lost_its_end_is_an_error() {
        let file = Memory::new(100, 2, CHUNK);
        let error = read(&file, 0..101).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
    }

    #[test]
    fn buffers_are_used_again_and_few_are_kept() {
        let buffers = Buffers(Mutex::new(Vec::new()));
        let taken: Vec<_> = (0..POOL * 2).map(|_| buffers.take()).collect();
        let first = taken[0].as_ptr();
        for buffer in taken {
            buffers.give_back(buffer);
        }
        assert_eq!(buffers.0.lock().unwrap().len(), POOL);
        assert_eq!(buffers.0.lock().unwrap()[0].as_ptr(), first);
        buffers.give_back(vec![0; 10].into_boxed_slice());
        assert_eq!(buffers.0.lock().unwrap().len(), POOL);
    }
}
