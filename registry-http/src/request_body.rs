//! The body of a request on its way in: no faster than the registry takes it,
//! and no slower than the limits allow.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, Bytes};
use futures::{Stream, StreamExt};
use http::HeaderMap;
use http::header::CONTENT_LENGTH;
use http_body::Body as _;
use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;
use registry_core::{ByteStream, Error, ErrorDetail, ErrorKind, Result};
use tokio::time::{Instant, Sleep};

use crate::manifest_memory::{Hold, STEP};
use crate::overload::Capacity;
use crate::patience::Patience;
use crate::{Limits, Peer};

/// Any error, as bodies of other crates have them.
pub(crate) type BoxError = Box<dyn std::error::Error + Send + Sync>;

type AnyBody = UnsyncBoxBody<Bytes, BoxError>;

/// The body of any request, whatever its type was.
pub(crate) struct Incoming {
    body: AnyBody,
    length: Option<u64>,
}

/// Forgets which type of body it is. `None` if there is nothing in it.
pub(crate) fn erase<B>(body: B) -> Option<Incoming>
where
    B: http_body::Body<Data: Buf, Error: Into<BoxError>> + Send + 'static,
{
    if body.is_end_stream() {
        return None;
    }
    let length = body.size_hint().exact();
    let body = body
        .map_frame(|frame| frame.map_data(|mut data| data.copy_to_bytes(data.remaining())))
        .map_err(Into::into)
        .boxed_unsync();
    Some(Incoming { body, length })
}

/// The body of a request, nothing of which is read until somebody asks.
pub(crate) struct RequestBody {
    reader: Option<Reader>,
    length: Option<u64>,
}

/// What is left of a request's body once its handler is done.
#[derive(Clone)]
pub(crate) struct Remains(Arc<Shared>);

struct Shared {
    body: Mutex<Option<AnyBody>>,
    received: AtomicU64,
}

impl RequestBody {
    /// The body and the place where its unread rest turns up.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::RequestInvalid`] if the announced length is no number.
    pub(crate) fn new(
        incoming: Option<Incoming>,
        headers: &HeaderMap,
        limits: &Limits,
    ) -> Result<(Self, Option<Remains>)> {
        let announced = announced_length(headers)?;
        let Some(Incoming { body, length }) = incoming else {
            let length = Some(announced.unwrap_or(0));
            return Ok((
                Self {
                    reader: None,
                    length,
                },
                None,
            ));
        };
        let length = announced.or(length);
        let remains = Remains(Arc::new(Shared {
            body: Mutex::new(None),
            received: AtomicU64::new(0),
        }));
        let reader = Reader {
            body: Some(body),
            peeked: None,
            remains: remains.clone(),
            wait: Wait::new(limits),
            max: None,
        };
        let reader = Some(reader);
        Ok((Self { reader, length }, Some(remains)))
    }

    /// How many bytes there are, if the client said so.
    pub(crate) fn length(&self) -> Option<u64> {
        self.length
    }

    /// Whether there are no bytes. Reads the first of them if that is the only
    /// way to know.
    pub(crate) async fn is_empty(&mut self) -> Result<bool> {
        match (&mut self.reader, self.length) {
            (None, _) => Ok(true),
            (Some(_), Some(length)) => Ok(length == 0),
            (Some(reader), None) => {
                while reader.peeked.as_ref().is_none_or(Bytes::is_empty) {
                    match reader.next().await {
                        Some(bytes) => reader.peeked = Some(bytes?),
                        None => return Ok(true),
                    }
                }
                Ok(false)
            }
        }
    }

    /// The bytes as they come; more than `max` of them are an error.
    pub(crate) fn into_stream(self, max: Option<u64>) -> ByteStream {
        match self.reader {
            Some(mut reader) => {
                reader.max = max;
                Box::pin(reader)
            }
            None => Box::pin(futures::stream::empty()),
        }
    }

    /// All the bytes of a form or document, at most `limit`, if they come before
    /// `deadline`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::RequestInvalid`] if there are more, and
    /// [`ErrorKind::RequestIncomplete`] if they take longer.
    #[cfg(feature = "token")]
    pub(crate) async fn small(self, limit: usize, deadline: Instant) -> Result<Bytes> {
        let mut all = Vec::new();
        if let Some(mut reader) = self.reader {
            let mut arrival = Arrival::new(&mut reader, deadline);
            while let Some(bytes) = arrival.next(None).await? {
                if all.len().saturating_add(bytes.len()) > limit {
                    return Err(ErrorKind::RequestInvalid
                        .error(format!("the body is too large; send at most {limit} bytes")));
                }
                all.extend_from_slice(&bytes);
            }
        }
        if self.length.is_some_and(|length| length != all.len() as u64) {
            return Err(wrong_length());
        }
        Ok(all.into())
    }

    /// All the bytes of a manifest, at most `limit`, with the share of
    /// `capacity` that they occupy if there are many.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::ManifestTooLarge`] if there are more: before a byte is
    /// read if the client announced it. [`ErrorKind::RequestIncomplete`] if
    /// they take longer than a manifest may.
    pub(crate) async fn collect(
        self,
        limit: usize,
        capacity: &Capacity,
        peer: Option<Peer>,
    ) -> Result<(Bytes, Option<Hold>)> {
        let too_large = || {
            let error = ErrorKind::ManifestTooLarge.error(format!(
                "the manifest is too large; this registry accepts {limit} bytes"
            ));
            error.with_detail(ErrorDetail::Limit(limit as u64))
        };
        if self.length.is_some_and(|length| length > limit as u64) {
            return Err(too_large());
        }
        let length = self.length;
        let Some(mut reader) = self.reader else {
            return Ok((Bytes::new(), None));
        };
        let announced = length.map_or(0, |length| usize::try_from(length).unwrap_or(limit));
        let mut hold = None;
        if announced > STEP {
            // Before a byte is read: what waits takes no memory but what the
            // connection has read ahead, over HTTP/2 as much as its window.
            hold = Some(capacity.begin_manifest(peer).await?);
        }
        let mut arrival = Arrival::new(&mut reader, capacity.manifest_deadline());
        let mut all = Vec::new();
        while let Some(bytes) = arrival.next(hold.as_mut()).await? {
            let size = all.len().saturating_add(bytes.len());
            if size > limit {
                return Err(too_large());
            }
            if size > STEP {
                let asked = Instant::now();
                let hold = match &mut hold {
                    Some(hold) => hold,
                    None => hold.insert(capacity.begin_manifest(peer).await?),
                };
                if size > hold.room() {
                    // Not again for each piece, and never twice what came.
                    let more = hold.room().saturating_add(hold.room() / 2);
                    let largest = if announced > 0 { announced } else { limit };
                    let room = more.min(largest).max(size);
                    let deadline = arrival.may_wait_until(capacity.manifest_deadline());
                    capacity.grow_manifest(hold, room, deadline).await?;
                }
                // Waiting for others isn't held against the client.
                arrival.waited(asked.elapsed());
            }
            if all.is_empty() && length == Some(bytes.len() as u64) {
                // Nothing else comes; taking note of the end frees the connection.
                return match arrival.next(hold.as_mut()).await? {
                    None => Ok((bytes, hold)),
                    Some(_) => Err(wrong_length()),
                };
            }
            if size > all.capacity() {
                let room = match (&hold, announced) {
                    (Some(hold), 0) => hold.room(),
                    (Some(hold), announced) => hold.room().min(announced),
                    (None, 0) => all.capacity().saturating_mul(2),
                    (None, announced) => announced,
                };
                all.reserve_exact(room.max(size).saturating_sub(all.len()));
            }
            all.extend_from_slice(&bytes);
        }
        if length.is_some_and(|length| length != all.len() as u64) {
            return Err(wrong_length());
        }
        // What is kept of it takes no more room than it needs.
        all.shrink_to_fit();
        Ok((all.into(), hold))
    }
}

/// The bytes of a manifest or form as they come, in the time that it may take.
struct Arrival<'r> {
    reader: &'r mut Reader,
    deadline: Instant,
    /// How long it waited for memory since it began.
    waited: Duration,
}

impl<'r> Arrival<'r> {
    fn new(reader: &'r mut Reader, deadline: Instant) -> Self {
        Self {
            reader,
            deadline,
            waited: Duration::ZERO,
        }
    }

    /// The next bytes, if they come in time, and fast enough if others wait for
    /// the memory that it holds.
    async fn next(&mut self, hold: Option<&mut Hold>) -> Result<Option<Bytes>> {
        let next = tokio::time::timeout_at(self.deadline, self.reader.next());
        let count = |next: &Result<Option<Result<Bytes>>, _>| match next {
            Ok(Some(Ok(bytes))) => bytes.len() as u64,
            _ => 0,
        };
        let next = match hold {
            Some(hold) => hold.attend(next, count).await,
            None => Some(next.await),
        };
        let reason = match next {
            Some(Ok(next)) => return next.transpose(),
            Some(Err(_)) => "the body took too long to arrive; send it again",
            None => "the body came too slowly while others waited; send it again",
        };
        self.reader.body = None;
        Err(ErrorKind::RequestIncomplete.error(reason))
    }

    /// Until when it may wait for memory that it may wait for until `deadline` in
    /// all.
    fn may_wait_until(&self, deadline: Instant) -> Instant {
        deadline.checked_sub(self.waited).unwrap_or(deadline)
    }

    /// It waited for memory.
    fn waited(&mut self, waited: Duration) {
        self.waited = self.waited.saturating_add(waited);
        self.deadline = self.deadline.checked_add(waited).unwrap_or(self.deadline);
    }
}

fn wrong_length() -> Error {
    ErrorKind::SizeInvalid.error("the body has not the announced length; send it again")
}

fn announced_length(headers: &HeaderMap) -> Result<Option<u64>> {
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    let Some(length) = lengths.next() else {
        return Ok(None);
    };
    let is_only = lengths.next().is_none();
    let digits = length.to_str().ok().filter(|length| {
        let all_digits = length.bytes().all(|byte| byte.is_ascii_digit());
        is_only && all_digits && !length.is_empty()
    });
    match digits.and_then(|digits| digits.parse().ok()) {
        Some(length) => Ok(Some(length)),
        None => Err(ErrorKind::RequestInvalid.error("the Content-Length is not a number of bytes")),
    }
}

impl Remains {
    /// How many bytes were read.
    pub(crate) fn received(&self) -> u64 {
        self.0.received.load(Ordering::Relaxed)
    }

    /// Whether there is something that nobody read.
    pub(crate) fn is_unread(&self) -> bool {
        self.lock().is_some()
    }

    /// Reads and drops what is left, within `limits`. Clients that send the
    /// whole body before they look at the answer see it only then.
    ///
    /// Returns whether nothing is left.
    pub(crate) async fn drain(&self, limits: &Limits) -> bool {
        let Some(mut body) = self.lock().take() else {
            return true;
        };
        let mut left = limits.drain_bytes;
        let read_all = async {
            loop {
                match body.frame().await {
                    None => return true,
                    Some(Err(_)) => return false,
                    Some(Ok(frame)) => {
                        let count = frame.data_ref().map_or(0, Bytes::len);
                        match left.checked_sub(count) {
                            Some(rest) => left = rest,
                            None => return false,
                        }
                    }
                }
            }
        };
        tokio::time::timeout(limits.drain_time, read_all)
            .await
            .unwrap_or(false)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<AnyBody>> {
        self.0.body.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A client that is waited for, or isn't.
struct Wait {
    patience: Patience,
    since: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Wait {
    fn new(limits: &Limits) -> Self {
        Self {
            patience: Patience::new(limits.body_idle, limits.body_grace, limits.body_min_rate),
            since: None,
            timer: None,
        }
    }

    /// The client sent `bytes`.
    fn rewarded(&mut self, bytes: u64) {
        let waited = self.since.take().map(|since| since.elapsed());
        self.patience.settle(waited.unwrap_or_default(), bytes);
    }

    /// The client is waited for. Ready when it was long enough.
    fn poll_exhausted(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.since.is_none() {
            let now = Instant::now();
            self.since = Some(now);
            // Far enough to mean never.
            let deadline = now
                .checked_add(self.patience.left())
                .unwrap_or_else(|| now.checked_add(Duration::from_hours(24)).unwrap_or(now));
            match &mut self.timer {
                Some(timer) => timer.as_mut().reset(deadline),
                None => self.timer = Some(Box::pin(tokio::time::sleep_until(deadline))),
            }
        }
        match &mut self.timer {
            Some(timer) => timer.as_mut().poll(cx),
            None => Poll::Pending,
        }
    }
}

/// The bytes of a body. If it is dropped before their end, the body turns up
/// at its [`Remains`].
struct Reader {
    body: Option<AnyBody>,
    peeked: Option<Bytes>,
    remains: Remains,
    wait: Wait,
    max: Option<u64>,
}

impl Reader {
    /// The bytes received last, unless there are too many with those before.
    fn check(&self, bytes: Bytes) -> Result<Bytes> {
        match self.max {
            Some(max) if self.remains.received() > max => Err(too_large()),
            _ => Ok(bytes),
        }
    }
}

impl Stream for Reader {
    type Item = Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(bytes) = self.peeked.take() {
            return Poll::Ready(Some(self.check(bytes)));
        }
        loop {
            let Some(body) = &mut self.body else {
                return Poll::Ready(None);
            };
            let frame = match Pin::new(body).poll_frame(cx) {
                Poll::Ready(frame) => frame,
                Poll::Pending => {
                    return self.wait.poll_exhausted(cx).map(|()| {
                        self.body = None;
                        Some(Err(ErrorKind::RequestIncomplete
                            .error("the body came too slowly; send the rest later")))
                    });
                }
            };
            let bytes = match &frame {
                Some(Ok(frame)) => frame.data_ref().map_or(0, Bytes::len),
                _ => 0,
            };
            self.wait.rewarded(bytes as u64);
            match frame {
                None => {
                    self.body = None;
                    return Poll::Ready(None);
                }
                Some(Err(source)) => {
                    self.body = None;
                    let error = if is_malformed(&*source) {
                        ErrorKind::RequestInvalid
                            .error("the chunks of the body are malformed; go on from the offset")
                    } else {
                        ErrorKind::RequestIncomplete
                            .error("the body broke off; send the rest later")
                    };
                    return Poll::Ready(Some(Err(error.with_source(source))));
                }
                Some(Ok(frame)) => {
                    let Ok(bytes) = frame.into_data() else {
                        continue;
                    };
                    let count = bytes.len() as u64;
                    self.remains.0.received.fetch_add(count, Ordering::Relaxed);
                    return Poll::Ready(Some(self.check(bytes)));
                }
            }
        }
    }
}

/// Whether a body ended because of what was sent, and not of how.
fn is_malformed(error: &(dyn std::error::Error + 'static)) -> bool {
    std::iter::successors(Some(error), |error| error.source()).any(|error| {
        error
            .downcast_ref::<std::io::Error>()
            .is_some_and(|error| error.kind() == std::io::ErrorKind::InvalidData)
    })
}

/// The error of a blob beyond the limit.
pub(crate) fn too_large() -> Error {
    ErrorKind::BlobTooLarge.error("the blob is larger than this registry accepts")
}

impl Drop for Reader {
    fn drop(&mut self) {
        if let Some(body) = self.body.take().filter(|body| !body.is_end_stream()) {
            *self.remains.lock() = Some(body);
        }
    }
}

impl fmt::Debug for RequestBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestBody")
            .field("length", &self.length)
            .finish_non_exhaustive()
    }
}
