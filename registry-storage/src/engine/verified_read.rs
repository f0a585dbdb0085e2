//! Whole blobs that are hashed while they are read.

use bytes::Bytes;
use futures::{StreamExt, stream};
use registry_core::{BlobBody, ByteStream, Error, ErrorKind, FileSlice, Hasher, Result};

use super::Engine;
use super::blobs::damaged;
use super::read_back::blocking;
use crate::BlobKey;

/// Files are read in pieces of this size.
const PIECE: usize = 256 << 10;

impl Engine {
    /// The body of a whole blob, which ends in an error before its last bytes
    /// if they don't match the digest: nobody takes them for good then. What
    /// lies elsewhere isn't read here, so it isn't hashed.
    pub(super) async fn hashed(&self, key: BlobKey, size: u64, body: BlobBody) -> Result<BlobBody> {
        let source = match body {
            BlobBody::Bytes(bytes) => Source::Bytes(Some(bytes)),
            BlobBody::File(slice) if size > 0 => Source::File(slice),
            BlobBody::File(_) => Source::Bytes(Some(Bytes::new())),
            BlobBody::Stream(stream) => Source::Stream(stream),
            elsewhere => return Ok(elsewhere),
        };
        let in_memory = matches!(source, Source::Bytes(_));
        let mut reading = Reading {
            engine: self.clone(),
            key,
            source,
            left: size,
            hasher: Hasher::new(key.digest.algorithm()),
        };
        if in_memory {
            let bytes = reading.next().await?.unwrap_or_default();
            return Ok(BlobBody::Bytes(bytes));
        }
        let pieces = stream::unfold(Some(reading), |reading| async {
            let mut reading = reading?;
            match reading.next().await {
                Ok(None) => None,
                Ok(Some(piece)) => Some((Ok(piece), Some(reading))),
                Err(error) => Some((Err(error), None)),
            }
        });
        Ok(BlobBody::Stream(pieces.boxed()))
    }
}

struct Reading {
    engine: Engine,
    key: BlobKey,
    source: Source,
    /// How many bytes are still to come.
    left: u64,
    hasher: Hasher,
}

enum Source {
    Bytes(Option<Bytes>),
    File(FileSlice),
    Stream(ByteStream),
}

impl Reading {
    /// The next piece. The last one comes only if all of them match.
    async fn next(&mut self) -> Result<Option<Bytes>> {
        let piece = match &mut self.source {
            Source::Bytes(bytes) => bytes.take(),
            Source::File(slice) if slice.range.is_empty() => None,
            Source::File(slice) => {
                let part = slice.clone();
                let piece = blocking(move || read(&part)).await??;
                slice.range.start = slice.range.start.saturating_add(piece.len() as u64);
                // A file that ends early has no more pieces.
                (!piece.is_empty()).then_some(piece)
            }
            Source::Stream(stream) => stream.next().await.transpose()?,
        };
        let Some(piece) = piece else {
            return if self.left == 0 {
                Ok(None)
            } else {
                Err(self.damaged())
            };
        };
        let Some(left) = self.left.checked_sub(piece.len() as u64) else {
            return Err(self.damaged());
        };
        self.left = left;
        let mut hasher = self.hasher.clone();
        let bytes = piece.clone();
        self.hasher = blocking(move || {
            hasher.update(&bytes);
            hasher
        })
        .await?;
        let digest = &self.key.digest;
        if left == 0 && self.hasher.clone().finish().expect(digest).is_err() {
            return Err(self.damaged());
        }
        Ok(Some(piece))
    }

    fn damaged(&self) -> Error {
        self.engine.inner.damages.remember(&self.key);
        damaged()
    }
}

fn read(slice: &FileSlice) -> Result<Bytes> {
    let length = slice.range.end.saturating_sub(slice.range.start);
    let size = usize::try_from(length).map_or(PIECE, |length| length.min(PIECE));
    let mut piece = vec![0; size];
    let read = slice.file.read_at(&mut piece, slice.range.start);
    let read = read.map_err(|source| {
        ErrorKind::Internal
            .error("stored bytes can't be read")
            .with_source(source)
    })?;
    piece.truncate(read);
    Ok(piece.into())
}
