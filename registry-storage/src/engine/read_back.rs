//! Reading stored bytes again, to be sure of them.

use bytes::Bytes;
use futures::StreamExt;
use registry_core::{BlobBody, Error, ErrorKind, FileSlice, Hasher, Result};

/// Files are read in pieces of this size.
const PIECE: usize = 256 << 10;

/// Hashes all bytes of a body, off the asynchronous threads.
///
/// # Errors
///
/// [`ErrorKind::Corrupt`] if a file holds fewer bytes than the body promises.
pub(super) async fn hash_body(mut hasher: Hasher, body: BlobBody) -> Result<Hasher> {
    match body {
        BlobBody::Bytes(bytes) => hash_bytes(hasher, bytes).await,
        BlobBody::File(slice) => {
            blocking(move || {
                each_piece(&slice, |piece| hasher.update(piece))?;
                Ok(hasher)
            })
            .await?
        }
        BlobBody::Stream(mut stream) => {
            while let Some(bytes) = stream.next().await {
                hasher = hash_bytes(hasher, bytes?).await?;
            }
            Ok(hasher)
        }
        _ => Err(unreadable()),
    }
}

/// All bytes of a body that is known to be small.
///
/// # Errors
///
/// [`ErrorKind::Corrupt`] if there are fewer or more than `size`.
pub(super) async fn collect(body: BlobBody, size: u64) -> Result<Bytes> {
    let differs = || ErrorKind::Corrupt.error("the stored content does not have its recorded size");
    let size = usize::try_from(size).map_err(|_| differs())?;
    let bytes = match body {
        BlobBody::Bytes(bytes) => bytes,
        BlobBody::File(slice) => {
            let read = move || {
                let mut bytes = Vec::with_capacity(size);
                each_piece(&slice, |piece| bytes.extend_from_slice(piece))?;
                Ok::<_, Error>(Bytes::from(bytes))
            };
            blocking(read).await??
        }
        BlobBody::Stream(mut stream) => {
            let mut bytes = Vec::with_capacity(size);
            while let Some(piece) = stream.next().await {
                bytes.extend_from_slice(&piece?);
                if bytes.len() > size {
                    return Err(differs());
                }
            }
            bytes.into()
        }
        _ => return Err(unreadable()),
    };
    if bytes.len() == size {
        Ok(bytes)
    } else {
        Err(differs())
    }
}

/// Runs `work` where it may wait for the disk or keep a processor busy.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|source| Error::internal("the change was interrupted", source))
}

async fn hash_bytes(mut hasher: Hasher, bytes: Bytes) -> Result<Hasher> {
    blocking(move || {
        hasher.update(&bytes);
        hasher
    })
    .await
}

fn each_piece(slice: &FileSlice, mut take: impl FnMut(&[u8])) -> Result<()> {
    let length = slice.range.end.saturating_sub(slice.range.start);
    let size = usize::try_from(length).map_or(PIECE, |length| length.min(PIECE));
    let mut buffer = vec![0; size];
    let mut offset = slice.range.start;
    while offset < slice.range.end {
        let left = slice.range.end.saturating_sub(offset);
        let want = usize::try_from(left).map_or(size, |left| left.min(size));
        let piece = buffer.get_mut(..want).unwrap_or_default();
        let read = slice
            .file
            .read_at(piece, offset)
            .map_err(|source| Error::internal("stored bytes can't be read", source))?;
        match piece.get(..read) {
            Some(piece) if read > 0 => take(piece),
            _ => {
                return Err(ErrorKind::Corrupt.error("the stored content is shorter than recorded"));
            }
        }
        offset = offset.saturating_add(read as u64);
    }
    Ok(())
}

fn unreadable() -> Error {
    ErrorKind::Internal.error("the blob store can't read its own bytes back")
}
