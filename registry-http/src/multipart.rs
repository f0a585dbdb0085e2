//! Several parts of a blob in one body.
//!
//! RFC 9110, section 14.6: `multipart/byteranges`. Parts are never joined:
//! clients that ask for several chunks count them.

use std::fmt::Write as _;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures::{Stream, StreamExt, TryStreamExt, stream};
use http::HeaderValue;
use registry_core::{
    Access, Blob, BlobBody, ByteRange, ByteStream, Digest, ErrorKind, FileSlice, OpenOptions,
    Registry, Result,
};

use crate::Body;
use crate::file_body::FileBody;
use crate::header;

/// Parts of a blob, each with a head that says which.
#[derive(Debug)]
pub(crate) struct Multipart {
    parts: Vec<Range<u64>>,
    size: u64,
    boundary: String,
}

impl Multipart {
    /// The `parts` of a blob of `size` bytes, separated by a line that nobody
    /// who wrote the blob could know.
    pub(crate) fn new(parts: Vec<Range<u64>>, size: u64, random: [u8; 16]) -> Self {
        let boundary = random.iter().fold(String::new(), |mut text, byte| {
            // Writing into a string doesn't fail.
            let _ = write!(text, "{byte:02x}");
            text
        });
        Self {
            parts,
            size,
            boundary,
        }
    }

    pub(crate) fn content_type(&self) -> HeaderValue {
        header::value(format!("multipart/byteranges; boundary={}", self.boundary))
    }

    /// What stands in front of a part. It is written when its turn comes, so
    /// that a thousand parts take no more memory than one.
    fn head(&self, part: &Range<u64>) -> String {
        let Self { boundary, size, .. } = self;
        let last = part.end.saturating_sub(1);
        format!(
            "\r\n--{boundary}\r\nContent-Type: application/octet-stream\r\n\
             Content-Range: bytes {}-{last}/{size}\r\n\r\n",
            part.start
        )
    }

    fn tail(&self) -> String {
        format!("\r\n--{}--\r\n", self.boundary)
    }

    fn length(&self) -> u64 {
        let parts = self.parts.iter().map(|part| {
            let length = part.end.saturating_sub(part.start);
            length.saturating_add(self.head(part).len() as u64)
        });
        parts
            .fold(0, u64::saturating_add)
            .saturating_add(self.tail().len() as u64)
    }

    /// The parts, taken from `blob` if it is whole and can be read in any
    /// order. If it is the first part, the others are opened one after the
    /// other in `registry`.
    pub(crate) fn into_body(self, blob: Blob, registry: Arc<dyn Registry>, access: Access) -> Body {
        let length = self.length();
        let whole = blob.range == (0..blob.size);
        let source = match blob.body {
            BlobBody::Bytes(bytes) if whole => Source::Bytes(bytes),
            BlobBody::File(slice) if whole => Source::File(slice),
            first => Source::Registry {
                registry,
                access,
                digest: blob.digest,
                first: Mutex::new(Some(first)),
            },
        };
        Body::from_stream(Box::pin(self.stream(source)), length)
    }

    fn stream(mut self, source: Source) -> impl Stream<Item = Result<Bytes>> + Send + 'static {
        let parts = std::mem::take(&mut self.parts);
        let tail = self.tail();
        let writer = Arc::new((self, source));
        stream::iter(parts)
            .then(move |part| {
                let writer = Arc::clone(&writer);
                async move {
                    let (multipart, source) = &*writer;
                    let head = Bytes::from(multipart.head(&part));
                    let content = source.open(part).await?;
                    Ok::<_, registry_core::Error>(once(head).chain(content))
                }
            })
            .try_flatten()
            .chain(once(Bytes::from(tail)))
    }
}

fn once(bytes: Bytes) -> impl Stream<Item = Result<Bytes>> + Send + 'static {
    stream::once(async { Ok(bytes) })
}

/// Where the bytes of the parts are.
enum Source {
    Bytes(Bytes),
    File(FileSlice),
    Registry {
        registry: Arc<dyn Registry>,
        access: Access,
        digest: Digest,
        /// The first part, until it is taken.
        first: Mutex<Option<BlobBody>>,
    },
}

impl Source {
    async fn open(&self, part: Range<u64>) -> Result<ByteStream> {
        let moved =
            || ErrorKind::Unavailable.error("the content can't be read in parts now; try again");
        match self {
            Self::Bytes(bytes) => {
                let index = |at: u64| usize::try_from(at).ok();
                let range = index(part.start).zip(index(part.end));
                let part = range
                    .filter(|(_, end)| *end <= bytes.len())
                    .map(|(start, end)| bytes.slice(start..end));
                let part = part.ok_or_else(|| {
                    ErrorKind::Corrupt.error("the stored content has not the size on record")
                })?;
                Ok(Box::pin(once(part)))
            }
            Self::File(slice) => {
                let at = |position: u64| slice.range.start.saturating_add(position);
                Ok(Box::pin(FileBody::new(FileSlice {
                    file: Arc::clone(&slice.file),
                    range: at(part.start)..at(part.end).min(slice.range.end),
                })))
            }
            Self::Registry {
                registry,
                access,
                digest,
                first,
            } => {
                let first = first.lock().unwrap_or_else(PoisonError::into_inner).take();
                let range = Some(ByteRange::From {
                    first: part.start,
                    last: Some(part.end.saturating_sub(1)),
                });
                let options = OpenOptions::default().range(range);
                let body = match first {
                    Some(first) => first,
                    None => registry.open_blob(access, digest, options).await?.body,
                };
                match body {
                    BlobBody::Bytes(bytes) => Ok(Box::pin(once(bytes))),
                    BlobBody::File(slice) => Ok(Box::pin(FileBody::new(slice))),
                    BlobBody::Stream(stream) => Ok(stream),
                    _ => Err(moved()),
                }
            }
        }
    }
}
