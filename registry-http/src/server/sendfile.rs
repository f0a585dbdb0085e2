//! Writing to a socket, where files go from the system's cache to the network
//! without being copied here.

use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::LazyLock;
use std::task::{Context, Poll, ready};
use std::thread::available_parallelism;
use std::time::Duration;

use bytes::{Buf, Bytes};
use registry_core::FileSlice;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::mapped;
use crate::file_queue::{FileQueue, sending, stands_in};

/// The most that is sent by one call. The receiver then copies what is still
/// in the processor's caches.
const AT_ONCE: u64 = 256 << 10;

/// How long what was seen in memory is taken to stay there.
const RECENTLY: Duration = Duration::from_millis(100);

/// The most that is copied by one call where sending doesn't work.
const COPIED: usize = 64 << 10;

/// Up to how many downloads at once there is a processor for each, besides its
/// receiver's. Each counts a large page as this process's memory.
static FEW: LazyLock<usize> =
    LazyLock::new(|| available_parallelism().map_or(1, |cores| (cores.get() / 2).clamp(1, 4)));

/// A connection that sends the parts of a [`FileQueue`] where it is given what
/// stands in for them.
#[derive(Debug)]
pub(super) struct SendFile {
    stream: TcpStream,
    queue: FileQueue,
    /// Whether the receiver is on this machine.
    is_local: bool,
    /// What was read of the first part, to be sent in place of its beginning.
    read: Bytes,
    /// Reads such, in the background.
    reading: Option<JoinHandle<io::Result<Bytes>>>,
}

impl SendFile {
    pub(super) fn new(stream: TcpStream, queue: FileQueue) -> Self {
        let is_local = stream
            .peer_addr()
            .is_ok_and(|peer| peer.ip().to_canonical().is_loopback());
        Self {
            stream,
            queue,
            is_local,
            read: Bytes::new(),
            reading: None,
        }
    }

    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let (part, seen) = self.queue.first().ok_or_else(out_of_step)?;
        if self.queue.is_closed() || !self.read.is_empty() || self.reading.is_some() {
            return self.poll_copy(cx, &part);
        }
        // A client that is slow may take a part long after it was seen in memory.
        if seen.elapsed() > RECENTLY {
            if !part.file.is_cached(part.range.clone()) {
                self.reading = Some(start_reading(&part));
                return self.poll_copy(cx, &part);
            }
            self.queue.seen();
        }
        let file = part.file.file().ok_or_else(out_of_step)?;
        let length = part.range.end.saturating_sub(part.range.start);
        let length = usize::try_from(length.min(AT_ONCE)).unwrap_or(usize::MAX);
        let send = || {
            if self.is_local
                && sending() <= *FEW
                && let Some(count) = mapped::send(&self.stream, file, &part.range)?
            {
                return Ok(count);
            }
            let mut offset = part.range.start;
            let count = rustix::fs::sendfile(&self.stream, file, Some(&mut offset), length)?;
            Ok(count)
        };
        loop {
            ready!(self.stream.poll_write_ready(cx))?;
            match self.stream.try_io(Interest::WRITABLE, send) {
                Ok(0) => return Poll::Ready(Err(unreadable(io::ErrorKind::UnexpectedEof.into()))),
                Ok(count) => {
                    self.queue.sent(count as u64);
                    return Poll::Ready(Ok(count));
                }
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
                    ) => {}
                Err(error) if is_refusal(&error) => {
                    self.queue.close();
                    return self.poll_copy(cx, &part);
                }
                Err(error) if is_of_the_socket(&error) => return Poll::Ready(Err(error)),
                Err(error) => return Poll::Ready(Err(unreadable(error))),
            }
        }
    }

    /// Sends the beginning of a part in the usual way: read here if it is in
    /// memory, and in the background if it has to come from the disk.
    fn poll_copy(&mut self, cx: &mut Context<'_>, part: &FileSlice) -> Poll<io::Result<usize>> {
        if self.read.is_empty() && self.reading.is_none() {
            let length = part.range.end.saturating_sub(part.range.start);
            let length = usize::try_from(length).map_or(COPIED, |length| length.min(COPIED));
            let mut buffer = vec![0; length];
            match part.file.try_read_at(&mut buffer, part.range.start) {
                Ok(count) => {
                    buffer.truncate(count);
                    self.read = buffer.into();
                }
                // In the background it waits, or fails again.
                Err(_) => self.reading = Some(start_reading(part)),
            }
        }
        if let Some(reading) = &mut self.reading {
            let read = ready!(Pin::new(reading).poll(cx));
            self.reading = None;
            let read = read.map_err(io::Error::other).and_then(|read| read);
            self.read = read.map_err(unreadable)?;
        }
        if self.read.is_empty() {
            return Poll::Ready(Err(unreadable(io::ErrorKind::UnexpectedEof.into())));
        }
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, &self.read))?;
        self.read.advance(written.min(self.read.len()));
        self.queue.sent(written as u64);
        Poll::Ready(Ok(written))
    }
}

/// Reads the beginning of a part where waiting for the disk holds up nobody.
fn start_reading(part: &FileSlice) -> JoinHandle<io::Result<Bytes>> {
    let part = part.clone();
    tokio::task::spawn_blocking(move || {
        let length = part.range.end.saturating_sub(part.range.start);
        let length = length.min(AT_ONCE);
        let mut buffer = vec![0; usize::try_from(length).unwrap_or_default()];
        loop {
            match part.file.read_at(&mut buffer, part.range.start) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
                Ok(count) => {
                    buffer.truncate(count);
                    return Ok(buffer.into());
                }
            }
        }
    })
}

/// Whether the system, or this file's file system, doesn't do it at all.
fn is_refusal(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::Unsupported
            | io::ErrorKind::InvalidInput
            | io::ErrorKind::NotSeekable
            | io::ErrorKind::PermissionDenied
    )
}

fn is_of_the_socket(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::BrokenPipe
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::NotConnected
            | io::ErrorKind::TimedOut
    )
}

/// The operator hears of it; the client sees an answer that breaks off.
fn unreadable(error: io::Error) -> io::Error {
    tracing::error!(%error, "stored content could not be sent; see to its disk");
    error
}

/// Sending on would send other bytes than those of the answer.
fn out_of_step() -> io::Error {
    io::Error::other("what stands in for a file was copied, or lost")
}

impl AsyncWrite for SendFile {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        match slices.iter().position(|slice| stands_in(slice)) {
            Some(0) => this.poll_send(cx),
            Some(at) => {
                let before = slices.get(..at).unwrap_or_default();
                if before.iter().all(|slice| slice.is_empty()) {
                    return this.poll_send(cx);
                }
                Pin::new(&mut this.stream).poll_write_vectored(cx, before)
            }
            // A part is queued just before what stands in for it is handed on.
            None if !this.queue.is_empty() => Poll::Ready(Err(out_of_step())),
            None => Pin::new(&mut this.stream).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl AsyncRead for SendFile {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Write;
    use std::sync::Arc;

    use registry_core::{FileContent, FileSlice};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    const DIGITS: &[u8] = b"0123456789";

    #[derive(Debug)]
    struct Content(File);

    impl FileContent for Content {
        fn try_read_at(&self, _: &mut [u8], _: u64) -> io::Result<usize> {
            Err(io::ErrorKind::WouldBlock.into())
        }

        fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
            let rest = &DIGITS[usize::try_from(offset).unwrap()..];
            // Less than is wanted, as it may happen.
            let count = rest.len().min(buffer.len()).min(4);
            buffer[..count].copy_from_slice(&rest[..count]);
            Ok(count)
        }

        fn file(&self) -> Option<&File> {
            Some(&self.0)
        }
    }

    async fn connected() -> (SendFile, FileQueue, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await;
        let (server, _) = listener.accept().await.unwrap();
        let queue = FileQueue::default();
        let sending = SendFile::new(server, queue.clone());
        (sending, queue, client.unwrap())
    }

    fn push(queue: &FileQueue) -> Bytes {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(DIGITS).unwrap();
        let file = Arc::new(Content(file));
        queue.push(FileSlice { file, range: 2..8 })
    }

    #[tokio::test]
    async fn a_part_goes_where_its_stand_in_is() {
        let (mut sending, queue, mut client) = connected().await;
        let (first, second) = (push(&queue), push(&queue));
        let slices = [&b"head "[..], &first, &second, b" tail"].map(IoSlice::new);
        for (from, count) in [(0, 5), (1, 6), (2, 6), (3, 5)] {
            let written = sending.write_vectored(&slices[from..]).await.unwrap();
            assert_eq!(written, count);
        }
        drop(sending);
        let mut received = String::new();
        client.read_to_string(&mut received).await.unwrap();
        assert_eq!(received, "head 234567234567 tail");
    }

    #[tokio::test]
    async fn what_the_system_does_not_send_is_copied() {
        let (mut sending, queue, mut client) = connected().await;
        // Nothing that can be sent.
        let file = Arc::new(Content(File::open("/").unwrap()));
        let mut stand_in = queue.push(FileSlice { file, range: 2..8 });
        assert!(!queue.is_closed());
        while !stand_in.is_empty() {
            let written = sending.write(&stand_in).await.unwrap();
            drop(stand_in.split_to(written));
        }
        assert!(queue.is_closed() && queue.is_empty());
        drop(sending);
        let mut received = String::new();
        client.read_to_string(&mut received).await.unwrap();
        assert_eq!(received, "234567");
    }

    #[tokio::test]
    async fn a_stand_in_that_was_copied_is_never_sent() {
        let (mut sending, queue, mut client) = connected().await;
        let copy = push(&queue).to_vec();
        let error = sending.write(&copy).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::Other);

        let stand_in = push(&FileQueue::default());
        let (mut sending_nothing, _, _client) = connected().await;
        let error = sending_nothing.write(&stand_in).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::Other);

        drop(sending);
        let mut received = Vec::new();
        client.read_to_end(&mut received).await.unwrap();
        assert!(received.is_empty());
    }
}
