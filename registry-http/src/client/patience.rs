//! How long the other side may keep silent.
//!
//! A time limit on a whole request would end every long push. So what counts
//! is the time since something last went on: since the request began, since its
//! body last moved, since the answer last did.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, StreamExt};
use http_body::{Frame, SizeHint};
use registry_core::{Error, ErrorKind, Result};
use reqwest::{Body, Response};
use tokio::time::{Instant, timeout, timeout_at};

use super::failure::broken;

/// When something last went on with a request.
#[derive(Debug, Clone)]
pub(super) struct Progress(Arc<Mutex<Instant>>);

impl Progress {
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new(Instant::now())))
    }

    /// The body, noting whenever a part of it is taken.
    pub(super) fn watch(&self, body: Body) -> Body {
        Body::wrap(Moving {
            body,
            progress: self.clone(),
        })
    }

    fn touch(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    fn last(&self) -> Instant {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What `work` comes to, unless nothing goes on for `silence`.
    pub(super) async fn wait<T>(
        &self,
        silence: Duration,
        work: impl Future<Output = T>,
    ) -> Result<T> {
        let mut work = pin!(work);
        loop {
            let last = self.last();
            let Some(end) = last.checked_add(silence) else {
                return Ok(work.await);
            };
            match timeout_at(end, &mut work).await {
                Ok(done) => return Ok(done),
                Err(_) if self.last() > last => {}
                Err(_) => return Err(silent()),
            }
        }
    }
}

struct Moving {
    body: Body,
    progress: Progress,
}

impl http_body::Body for Moving {
    type Data = Bytes;
    type Error = reqwest::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, reqwest::Error>>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.body).poll_frame(context);
        if polled.is_ready() {
            this.progress.touch();
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The body of an answer, each part of which comes within `silence`.
pub(super) fn answer_body(
    answer: Response,
    silence: Duration,
) -> impl Stream<Item = Result<Bytes>> + Send + 'static {
    let parts = answer.bytes_stream().boxed();
    futures::stream::try_unfold(parts, move |mut parts| async move {
        match timeout(silence, parts.next()).await {
            Ok(Some(part)) => Ok(Some((part.map_err(broken)?, parts))),
            Ok(None) => Ok(None),
            Err(_) => Err(silent()),
        }
    })
}

fn silent() -> Error {
    ErrorKind::Unavailable.error("the remote registry says nothing for too long; try again later")
}
