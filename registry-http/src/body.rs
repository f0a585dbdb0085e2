//! The body of an answer.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures::{Stream, StreamExt};
use http_body::{Frame, SizeHint};
use registry_core::{BlobBody, ByteStream, Error, ErrorKind};

use crate::access_log::Exchange;
use crate::answer_memory::{Hold, STEP};
use crate::file_body::FileBody;
use crate::file_queue::AwaitsSending;
#[cfg(feature = "server")]
use crate::file_queue::FileQueue;
use crate::patience::Patience;
use crate::places::{Delivery, Place};

/// How much of what is in memory is handed over at once. With more, a body
/// would seem to be over long before a slow client has taken it.
const PIECE: usize = STEP;

/// The body of an answer of [`RegistryService`](crate::RegistryService).
///
/// Its size is known, and it never ends early without an error.
pub struct Body {
    content: Content,
    /// The memory that the content occupies, if it is much.
    memory: Option<Box<Hold>>,
    /// What lasts until the body was sent or given up.
    attendant: Option<Box<Attendant>>,
}

enum Content {
    Empty,
    Bytes(Bytes),
    File(FileBody, u64),
    Stream(ByteStream, u64),
}

struct Attendant {
    exchange: Exchange,
    delivery: Option<Delivery>,
    _place: Option<Place>,
    sent: u64,
    complete: bool,
}

impl Body {
    /// No bytes.
    pub fn empty() -> Self {
        Content::Empty.into()
    }

    /// The bytes of a blob, of which there must be `length`.
    pub(crate) fn from_blob(body: BlobBody, length: u64) -> Option<Self> {
        match body {
            BlobBody::Bytes(bytes) if bytes.len() as u64 == length => Some(bytes.into()),
            BlobBody::Bytes(bytes) => Some(Self::from_stream(
                Box::pin(futures::stream::once(async { Ok(bytes) })),
                length,
            )),
            BlobBody::File(slice) => Some(Content::File(FileBody::new(slice), length).into()),
            BlobBody::Stream(stream) => Some(Self::from_stream(stream, length)),
            _ => None,
        }
    }

    /// The bytes of `stream`, of which there must be `length`.
    pub(crate) fn from_stream(stream: ByteStream, length: u64) -> Self {
        Content::Stream(stream, length).into()
    }

    /// How many bytes are to come.
    pub(crate) fn len(&self) -> u64 {
        match &self.content {
            Content::Empty => 0,
            Content::Bytes(bytes) => bytes.len() as u64,
            Content::File(_, left) | Content::Stream(_, left) => *left,
        }
    }

    /// Whether the body is over once it is handed over: whoever sends it takes
    /// it at once, and it occupies little until the client has it.
    pub(crate) fn is_at_hand(&self) -> bool {
        match &self.content {
            Content::Empty => true,
            Content::Bytes(bytes) => bytes.len() <= PIECE,
            Content::File(..) | Content::Stream(..) => false,
        }
    }

    /// How many bytes of memory it occupies, if that is much.
    pub(crate) fn occupies(&self) -> Option<usize> {
        match &self.content {
            Content::Bytes(bytes) => Some(bytes.len()).filter(|size| *size > PIECE),
            _ => None,
        }
    }

    /// Keeps the memory that it occupies until it was sent or given up.
    pub(crate) fn hold(&mut self, memory: Hold) {
        self.memory = Some(Box::new(memory));
    }

    /// The same body, which reports to `exchange` and holds `place` until it
    /// was sent or given up, or the client has worn out `patience` and others
    /// need the place.
    pub(crate) fn attended(
        mut self,
        exchange: Exchange,
        mut place: Option<Place>,
        patience: Patience,
    ) -> Self {
        self.attendant = Some(Box::new(Attendant {
            exchange,
            delivery: place.as_mut().map(|place| place.watch(patience)),
            _place: place,
            sent: 0,
            complete: false,
        }));
        self
    }

    /// Lets the connection that `queue` belongs to send files by itself.
    #[cfg(feature = "server")]
    pub(crate) fn send_files_through(&mut self, queue: &FileQueue) {
        if let Content::File(file, _) = &mut self.content {
            file.send_through(queue);
        }
    }

    /// All is handed over, but what the connection is to send by itself may still
    /// fail.
    fn end_when_sent(&mut self) {
        if let Content::File(file, _) = &self.content
            && let Some(queue) = file.queue()
            && let Some(attendant) = self.attendant.take()
        {
            self.attendant = queue.keep(attendant);
        }
    }

    fn poll_content(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Error>>> {
        let (next, left) = match &mut self.content {
            Content::Empty => return Poll::Ready(None),
            Content::Bytes(bytes) => {
                let mut piece = bytes.split_to(bytes.len().min(PIECE));
                if self.memory.is_some() {
                    // A slice would keep all of the memory for as long as the
                    // connection has it.
                    piece = Bytes::copy_from_slice(&piece);
                }
                if bytes.is_empty() {
                    self.content = Content::Empty;
                    self.memory = None;
                }
                let some = Some(piece).filter(|piece| !piece.is_empty());
                return Poll::Ready(some.map(Ok));
            }
            Content::File(file, left) => (ready!(Pin::new(file).poll_next(cx)), left),
            Content::Stream(stream, left) => (ready!(stream.poll_next_unpin(cx)), left),
        };
        // A length was announced. Whoever keeps to less or more of it makes the
        // client believe something wrong, so the connection has to break.
        let wrong_length =
            || ErrorKind::Corrupt.error("the stored content has not the size on record");
        let next = match next {
            Some(Ok(bytes)) => match left.checked_sub(bytes.len() as u64) {
                Some(rest) => {
                    *left = rest;
                    Some(Ok(bytes))
                }
                None => Some(Err(wrong_length())),
            },
            None if *left > 0 => Some(Err(wrong_length())),
            other => other,
        };
        if !matches!(next, Some(Ok(_))) {
            self.content = Content::Empty;
        }
        Poll::Ready(next)
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let attendant = self.attendant.as_mut();
        let delivery = attendant.and_then(|attendant| attendant.delivery.as_mut());
        let has_place = delivery.is_none_or(Delivery::taken);
        let next = if has_place || self.is_end_stream() {
            ready!(self.poll_content(cx))
        } else {
            self.content = Content::Empty;
            self.memory = None;
            Some(Err(ErrorKind::RequestIncomplete.error(
                "the answer was taken too slowly; ask for the rest later",
            )))
        };
        let at_end = self.is_end_stream();
        if let Some(attendant) = &mut self.attendant {
            match &next {
                Some(Ok(bytes)) => {
                    let count = bytes.len() as u64;
                    attendant.sent = attendant.sent.saturating_add(count);
                    attendant.complete = at_end;
                    if let Some(delivery) = &mut attendant.delivery {
                        delivery.handed(count);
                    }
                }
                Some(Err(error)) => attendant.exchange.body_failed(error),
                None => attendant.complete = true,
            }
        }
        if at_end {
            self.end_when_sent();
        }
        Poll::Ready(next.map(|next| next.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            Content::Empty => true,
            Content::Bytes(bytes) => bytes.is_empty(),
            Content::File(_, left) | Content::Stream(_, left) => *left == 0,
        }
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.len())
    }
}

impl AwaitsSending for Attendant {
    fn unsent(&mut self, bytes: u64) {
        self.sent = self.sent.saturating_sub(bytes);
        self.complete = false;
    }
}

impl Drop for Attendant {
    fn drop(&mut self) {
        self.exchange.finish(self.sent, self.complete);
    }
}

impl From<Content> for Body {
    fn from(content: Content) -> Self {
        Self {
            content,
            memory: None,
            attendant: None,
        }
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        Content::Bytes(bytes).into()
    }
}

impl Default for Body {
    fn default() -> Self {
        Self::empty()
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Body({} bytes)", self.len())
    }
}
