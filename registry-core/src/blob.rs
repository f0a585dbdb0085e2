//! Blobs: content that a registry keeps without looking inside.

use std::fmt;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures::stream::BoxStream;

use crate::{Digest, ErrorDetail, ErrorKind, Result};

/// Content on its way, a piece at a time.
///
/// Whoever reads it stops at the first error.
pub type ByteStream = BoxStream<'static, Result<Bytes>>;

/// Part of some content, as a client asks for it before the size is known.
///
/// RFC 9110, section 14.1.2, "Byte ranges".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ByteRange {
    /// From the first position to the last, both counted from zero and both
    /// included; to the end if there is no last.
    From {
        /// The position of the first byte.
        first: u64,
        /// The position of the last byte.
        last: Option<u64>,
    },
    /// This many bytes from the end.
    Last(u64),
}

impl ByteRange {
    /// The half-open range of bytes that this means in content of `size`
    /// bytes.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::RangeInvalid`], with the size, if no byte is in it.
    pub fn resolve(self, size: u64) -> Result<Range<u64>> {
        let range = match self {
            Self::From { first, last } => {
                let end = last.map_or(size, |last| last.saturating_add(1).min(size));
                first..end
            }
            Self::Last(count) => size.saturating_sub(count)..size,
        };
        if range.is_empty() {
            return Err(ErrorKind::RangeInvalid
                .error("the range lies outside the content")
                .with_detail(ErrorDetail::Size(size)));
        }
        Ok(range)
    }
}

/// How a blob is to be opened.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, Default)]
pub struct OpenOptions {
    /// The part wanted; all of it if absent.
    pub range: Option<ByteRange>,
}

impl OpenOptions {
    /// Sets the part wanted.
    pub fn range(mut self, range: Option<ByteRange>) -> Self {
        self.range = range;
        self
    }
}

/// An opened blob.
#[derive(Debug)]
pub struct Blob {
    /// The digest of the whole blob.
    pub digest: Digest,
    /// The size of the whole blob in bytes.
    pub size: u64,
    /// The part that the body holds.
    pub range: Range<u64>,
    /// The bytes of that part.
    pub body: BlobBody,
}

/// The bytes of an opened blob, in the form that costs least to pass on.
#[non_exhaustive]
pub enum BlobBody {
    /// Bytes in memory.
    Bytes(Bytes),
    /// A part of a file, which the reader fetches at its own pace.
    File(FileSlice),
    /// Bytes as they come.
    Stream(ByteStream),
    /// An absolute URL where the client finds the bytes. It grants access to
    /// whoever holds it, so it is never logged.
    Redirect(String),
}

impl fmt::Debug for BlobBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(bytes) => write!(f, "Bytes({})", bytes.len()),
            Self::File(slice) => slice.fmt(f),
            Self::Stream(_) => f.write_str("Stream(..)"),
            Self::Redirect(_) => f.write_str("Redirect(..)"),
        }
    }
}

/// An open file whose content doesn't change.
pub trait FileContent: fmt::Debug + Send + Sync + 'static {
    /// Reads bytes at `offset` if they are in memory, without waiting.
    ///
    /// Returns how many bytes were read, which may be fewer than the buffer
    /// holds.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::WouldBlock`] if the bytes have to come from the disk,
    /// or if the system can't tell.
    fn try_read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Reads bytes at `offset`, waiting for the disk. Never to be called on a
    /// thread that runs asynchronous tasks.
    ///
    /// # Errors
    ///
    /// Whatever the system reports.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// The file itself, if the system can send its bytes to a socket without
    /// their being read first. Its position is nobody's.
    fn file(&self) -> Option<&File> {
        None
    }

    /// Whether sending `range` of the [`file`](Self::file) needs nothing from
    /// the disk, as far as can be told without waiting.
    fn is_cached(&self, range: Range<u64>) -> bool {
        let _ = range;
        false
    }
}

/// A part of a file.
#[derive(Debug, Clone)]
pub struct FileSlice {
    /// The file.
    pub file: Arc<dyn FileContent>,
    /// The bytes wanted, as positions in the file.
    pub range: Range<u64>,
}
