//! The bodies of uploads on their way out.

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::StreamExt;
use http_body::{Frame, SizeHint};
use registry_core::{ByteStream, Chunk, Error, ErrorKind, Result};
use reqwest::Body;

/// What is known of a body that was sent.
#[derive(Debug, Clone, Default)]
pub(super) struct Watched(Arc<WatchedState>);

#[derive(Debug, Default)]
struct WatchedState {
    sent: AtomicU64,
    failure: Mutex<Option<Error>>,
}

impl Watched {
    /// The body of `chunk`, with its length if that is known. `moved` is called
    /// for each part of it.
    pub(super) fn watch(self, chunk: Chunk, moved: impl Fn() + Send + 'static) -> Body {
        let stream = chunk.body.map(move |part| match part {
            Ok(bytes) => {
                moved();
                self.0.sent.fetch_add(bytes.len() as u64, Ordering::Relaxed);
                Ok(bytes)
            }
            Err(error) => {
                let kind = error.kind();
                *self
                    .0
                    .failure
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner) = Some(error);
                Err(Error::from(kind))
            }
        });
        let body = Body::wrap_stream(stream);
        match chunk.length {
            Some(left) => Body::wrap(Measured { body, left }),
            None => body,
        }
    }

    pub(super) fn sent(&self) -> u64 {
        self.0.sent.load(Ordering::Relaxed)
    }

    pub(super) fn failure(&self) -> Option<Error> {
        let mut failure = self
            .0
            .failure
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        failure.take()
    }
}

/// A body that says how long it is, so that it is sent with `Content-Length`.
struct Measured {
    body: Body,
    left: u64,
}

impl http_body::Body for Measured {
    type Data = Bytes;
    type Error = reqwest::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, reqwest::Error>>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.body).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &polled {
            let length = frame.data_ref().map_or(0, |data| data.len() as u64);
            this.left = this.left.saturating_sub(length);
        }
        polled
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

/// The chunk, unless its length is wrong as far as can be told before anything
/// is sent: what comes in one piece is as if never sent then.
///
/// Of a body in several pieces the last one waits until it is clear that no
/// other follows, so that one of another length breaks off before it is whole,
/// as if its sender had gone away in the middle.
pub(super) async fn plausible(start: u64, chunk: Chunk) -> Result<Chunk> {
    let Some(length) = chunk.length else {
        return Ok(chunk);
    };
    if start.checked_add(length).is_none() {
        return Err(wrong_length());
    }
    let mut body = measured(chunk.body, length);
    let first = body.next().await.transpose()?;
    let first = futures::stream::iter(first.map(Ok));
    Ok(Chunk {
        body: first.chain(body).boxed(),
        ..chunk
    })
}

/// The same bytes, and an error in place of the last ones if there are more or
/// fewer than `length`.
fn measured(body: ByteStream, length: u64) -> ByteStream {
    let state = (body, None::<Bytes>, length);
    futures::stream::try_unfold(state, |(mut body, mut held, mut left)| async move {
        while let Some(piece) = body.next().await.transpose()? {
            if piece.is_empty() {
                continue;
            }
            left = left
                .checked_sub(piece.len() as u64)
                .ok_or_else(wrong_length)?;
            if let Some(ready) = held.replace(piece) {
                return Ok(Some((ready, (body, held, left))));
            }
        }
        if left > 0 {
            return Err(wrong_length());
        }
        // A stream that has ended isn't asked again.
        let ended = futures::stream::empty().boxed();
        Ok(held.map(|last| (last, (ended, None, 0))))
    })
    .boxed()
}

fn wrong_length() -> Error {
    ErrorKind::SizeInvalid.error("the body does not have the announced length")
}
