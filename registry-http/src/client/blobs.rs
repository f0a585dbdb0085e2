//! Blobs of a remote registry.

use std::ops::Range;

use bytes::Bytes;
use futures::{Stream, StreamExt};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use registry_core::{
    Access, Action, Blob, BlobBody, ByteRange, ByteStream, Descriptor, Digest, Error, ErrorKind,
    Hasher, MountSource, OpenOptions, Operation, RepositoryName, Result,
};
use reqwest::Response;

use super::RemoteRegistry;
use super::authorization::Payload;
use super::failure::failure;

impl RemoteRegistry {
    pub(super) async fn stat_blob(&self, access: &Access, digest: &Digest) -> Result<Descriptor> {
        access.require(Action::Pull)?;
        let size = self.blob_size(access.repository(), digest).await?;
        Ok(Descriptor::blob(*digest, size))
    }

    pub(super) async fn blob_size(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<u64> {
        let operation = Operation::StatBlob {
            repository: repository.clone(),
            digest: *digest,
        };
        length(&self.ask(&operation, HeaderMap::new()).await?).ok_or_else(nonsense)
    }

    pub(super) async fn open_blob(
        &self,
        access: &Access,
        digest: &Digest,
        options: OpenOptions,
    ) -> Result<Blob> {
        access.require(Action::Pull)?;
        let operation = Operation::GetBlob {
            repository: access.repository().clone(),
            digest: *digest,
        };
        let mut headers = HeaderMap::new();
        if let Some(range) = options.range {
            headers.insert(header::RANGE, render(range)?);
        }
        let answer = self.ask(&operation, headers).await?;
        let Some(wanted) = options.range else {
            let size = self.size_of(&answer, access, digest).await?;
            return Ok(Blob {
                digest: *digest,
                size,
                range: 0..size,
                body: BlobBody::Stream(verified(self.body(answer), *digest)),
            });
        };
        if answer.status() == StatusCode::PARTIAL_CONTENT {
            let (range, size) = content_range(&answer)?;
            let size = match size {
                Some(size) => size,
                None => self.blob_size(access.repository(), digest).await?,
            };
            if wanted.resolve(size)? != range {
                return Err(nonsense());
            }
            let length = range.end.saturating_sub(range.start);
            return Ok(Blob {
                digest: *digest,
                size,
                range,
                body: BlobBody::Stream(part(self.body(answer), 0..length)),
            });
        }
        // The whole blob came, as is a registry's right.
        let size = self.size_of(&answer, access, digest).await?;
        let range = wanted.resolve(size)?;
        Ok(Blob {
            digest: *digest,
            size,
            range: range.clone(),
            body: BlobBody::Stream(part(self.body(answer), range)),
        })
    }

    pub(super) async fn mount_blob(
        &self,
        access: &Access,
        digest: &Digest,
        source: MountSource<'_>,
    ) -> Result<Option<Descriptor>> {
        access.require(Action::Push)?;
        let from = match source {
            MountSource::Repository(source) => {
                source.require(Action::Pull)?;
                Some(source.repository().clone())
            }
            // The other side knows nothing of what the caller may see here.
            MountSource::Anywhere(visible) if !visible.is_unlimited() => return Ok(None),
            MountSource::Anywhere(_) => None,
        };
        let repository = access.repository().clone();
        let operation = Operation::MountBlob {
            repository: repository.clone(),
            digest: *digest,
            from,
        };
        let answer = self.ask(&operation, HeaderMap::new()).await?;
        if answer.status() == StatusCode::CREATED {
            let size = self.blob_size(&repository, digest).await?;
            return Ok(Some(Descriptor::blob(*digest, size)));
        }
        // An upload was begun instead, which nobody asked for. If it can't be
        // cancelled, it expires: there is no more to it.
        if let Err(error) = self.abandon(&operation, &answer).await {
            tracing::warn!(%repository, %error,
                "an upload that the remote registry began in place of a mount was not cancelled");
        }
        Ok(None)
    }

    /// The size of the blob that `answer` holds. One that comes in chunks, as
    /// through many a proxy, doesn't tell; then it is asked for.
    async fn size_of(&self, answer: &Response, access: &Access, digest: &Digest) -> Result<u64> {
        match length(answer) {
            Some(size) => Ok(size),
            None => self.blob_size(access.repository(), digest).await,
        }
    }

    fn body(&self, answer: Response) -> ByteStream {
        self.inner.outbound.body(answer).boxed()
    }

    /// Sends a request without a body, and takes anything but success for an
    /// error.
    pub(super) async fn ask(&self, operation: &Operation, headers: HeaderMap) -> Result<Response> {
        let answer = self.request(operation, headers, Payload::Empty).await?;
        if answer.status().is_success() {
            Ok(answer)
        } else {
            Err(failure(&self.inner.outbound, answer, operation).await)
        }
    }
}

fn render(range: ByteRange) -> Result<HeaderValue> {
    let range = match range {
        ByteRange::From {
            first,
            last: Some(last),
        } => format!("bytes={first}-{last}"),
        ByteRange::From { first, last: None } => format!("bytes={first}-"),
        ByteRange::Last(count) => format!("bytes=-{count}"),
    };
    HeaderValue::from_str(&range)
        .map_err(|source| Error::internal("a range can't be written as a header", source))
}

fn length(answer: &Response) -> Option<u64> {
    let length = answer.headers().get(header::CONTENT_LENGTH)?;
    length.to_str().ok()?.parse().ok()
}

/// The range and size in `Content-Range: bytes <first>-<last>/<size>`. There is
/// `*` in place of a size that isn't known.
fn content_range(answer: &Response) -> Result<(Range<u64>, Option<u64>)> {
    let parse = || -> Option<(Range<u64>, Option<u64>)> {
        let range = answer.headers().get(header::CONTENT_RANGE)?.to_str().ok()?;
        let (range, size) = range.strip_prefix("bytes ")?.split_once('/')?;
        let (first, last) = range.split_once('-')?;
        let last: u64 = last.parse().ok()?;
        let size = match size {
            "*" => None,
            size => Some(size.parse().ok()?),
        };
        Some((first.parse().ok()?..last.checked_add(1)?, size))
    };
    parse().ok_or_else(nonsense)
}

fn nonsense() -> Error {
    ErrorKind::Unavailable.error("the remote registry answers something that was not asked for")
}

/// The stream, which fails at its end if its bytes have another digest. The
/// last bytes are held back until then, so that nobody mistakes it for whole.
fn verified(stream: ByteStream, digest: Digest) -> ByteStream {
    struct State {
        stream: ByteStream,
        hasher: Hasher,
        held: Option<Bytes>,
        digest: Digest,
    }
    let state = State {
        stream,
        hasher: Hasher::new(digest.algorithm()),
        held: None,
        digest,
    };
    futures::stream::try_unfold(Some(state), |state| async move {
        let Some(mut state) = state else {
            return Ok(None);
        };
        loop {
            if let Some(part) = state.stream.next().await {
                let part = part?;
                state.hasher.update(&part);
                if let Some(ready) = state.held.replace(part) {
                    return Ok(Some((ready, Some(state))));
                }
            } else {
                state.hasher.finish().expect(&state.digest).map_err(|_| {
                    ErrorKind::Unavailable
                        .error("the remote registry sends content that isn't what was asked for")
                })?;
                return Ok(state.held.map(|last| (last, None)));
            }
        }
    })
    .boxed()
}

/// The bytes of `range`, and an error if the stream ends before.
fn part(
    stream: impl Stream<Item = Result<Bytes>> + Send + 'static,
    range: Range<u64>,
) -> ByteStream {
    let state = (stream.boxed(), 0_u64, range);
    futures::stream::try_unfold(state, |(mut stream, mut position, range)| async move {
        while position < range.end {
            let Some(mut bytes) = stream.next().await.transpose()? else {
                return Err(ErrorKind::Unavailable
                    .error("the answer of the remote registry is too short; try again"));
            };
            let begin = position;
            position = position.saturating_add(bytes.len() as u64);
            let limit = |at: u64| usize::try_from(at).unwrap_or(usize::MAX);
            bytes.truncate(limit(range.end.saturating_sub(begin)));
            let skip = limit(range.start.saturating_sub(begin)).min(bytes.len());
            let bytes = bytes.split_off(skip);
            if !bytes.is_empty() {
                return Ok(Some((bytes, (stream, position, range))));
            }
        }
        Ok(None)
    })
    .boxed()
}
