//! The bytes of a connection, watched on their way.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_util::io::poll_read_buf;

use super::activity::Activity;
use super::strict::{Rest, Strict};
use crate::Limits;

/// A request that says nothing: it stands in for one that was refused, so that
/// the refusal is answered in its turn and the connection closes behind it.
const STAND_IN: Bytes =
    Bytes::from_static(b"GET / HTTP/1.1\r\nhost: -\r\nconnection: close\r\n\r\n");

/// A connection whose progress is noted and, for HTTP/1.1, whose requests are
/// checked.
pub(super) struct Watched<T> {
    io: T,
    activity: Arc<Activity>,
    /// Bytes that come first.
    ready: Bytes,
    /// Absent for HTTP/2.
    requests: Option<Requests>,
    end: End,
    linger: Linger,
}

struct Requests {
    strict: Strict,
    /// How many heads were passed on.
    heads: u64,
    /// A head of which more is to come.
    part: BytesMut,
}

/// What follows the bytes that are ready.
enum End {
    /// More from the client.
    Open,
    /// Nothing, though the client may still send something.
    Ignored,
    /// Nothing: the client is done.
    Closed,
    /// An error: the body is broken.
    Broken,
}

/// Reading what a client still sends after the last answer, so that the system
/// doesn't reset the connection before the client has read it.
struct Linger {
    bytes: usize,
    time: std::time::Duration,
    until: Option<Pin<Box<Sleep>>>,
    is_shut: bool,
}

impl<T> Watched<T> {
    /// A connection of which `first` was read already. With `strict`, it is
    /// HTTP/1.1.
    pub(super) fn new(
        io: T,
        first: Bytes,
        strict: Option<Strict>,
        activity: Arc<Activity>,
        limits: &Limits,
    ) -> Self {
        let mut watched = Self {
            io,
            activity,
            ready: Bytes::new(),
            requests: None,
            end: End::Open,
            linger: Linger {
                bytes: limits.drain_bytes,
                time: limits.drain_time,
                until: None,
                is_shut: false,
            },
        };
        match strict {
            Some(strict) => {
                let mut requests = Requests {
                    strict,
                    heads: 0,
                    part: first.into(),
                };
                watched.end = requests.release(&mut watched.ready, &watched.activity);
                watched.requests = Some(requests);
            }
            None => watched.ready = first,
        }
        watched
    }

    /// Whether the client is done too, as far as can be told.
    fn is_clean(&self) -> bool {
        self.ready.is_empty()
            && matches!(self.end, End::Open)
            && self
                .requests
                .as_ref()
                .is_none_or(|requests| requests.strict.is_between_requests())
    }
}

impl Requests {
    /// Checks the part at hand and moves what can be passed on to `ready`.
    fn release(&mut self, ready: &mut Bytes, activity: &Activity) -> End {
        let passed = self.strict.check(&self.part);
        self.heads = self.heads.saturating_add(passed.heads);
        *ready = self.part.split_to(passed.bytes).freeze();
        self.after(&passed.rest, ready, activity)
    }

    fn after(&mut self, rest: &Rest, ready: &mut Bytes, activity: &Activity) -> End {
        activity.set_in_head(*rest == Rest::PartOfHead);
        match rest {
            Rest::Nothing | Rest::PartOfHead => End::Open,
            Rest::Broken => End::Broken,
            Rest::Refused(violation) => {
                self.part.clear();
                activity.refuse(self.heads.saturating_add(1), *violation);
                let mut both = BytesMut::from(std::mem::take(ready));
                both.extend_from_slice(&STAND_IN);
                *ready = both.freeze();
                End::Ignored
            }
        }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Watched<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if !this.ready.is_empty() {
                let length = this.ready.len().min(buf.remaining());
                buf.put_slice(&this.ready.split_to(length));
                return Poll::Ready(Ok(()));
            }
            match this.end {
                End::Open => {}
                // Nothing wakes whoever waits, and nobody does: the stand-in
                // has no body, and nothing is read behind it.
                End::Ignored => return Poll::Pending,
                End::Closed => return Poll::Ready(Ok(())),
                End::Broken => {
                    this.end = End::Closed;
                    let broken = io::Error::new(io::ErrorKind::InvalidData, "malformed chunk");
                    return Poll::Ready(Err(broken));
                }
            }
            let Some(requests) = &mut this.requests else {
                return Pin::new(&mut this.io).poll_read(cx, buf);
            };
            if requests.part.is_empty() {
                let before = buf.filled().len();
                ready!(Pin::new(&mut this.io).poll_read(cx, buf))?;
                let new = buf.filled().get(before..).unwrap_or_default();
                if new.is_empty() {
                    return Poll::Ready(Ok(()));
                }
                let passed = requests.strict.check(new);
                requests.heads = requests.heads.saturating_add(passed.heads);
                if passed.rest == Rest::Nothing {
                    return Poll::Ready(Ok(()));
                }
                let rest = new.get(passed.bytes..).unwrap_or_default();
                requests.part.extend_from_slice(rest);
                buf.set_filled(before.saturating_add(passed.bytes));
                this.end = requests.after(&passed.rest, &mut this.ready, &this.activity);
                if passed.bytes > 0 {
                    return Poll::Ready(Ok(()));
                }
            } else {
                let length = ready!(poll_read_buf(
                    Pin::new(&mut this.io),
                    cx,
                    &mut requests.part
                ))?;
                if length == 0 {
                    this.end = End::Closed;
                } else {
                    this.end = requests.release(&mut this.ready, &this.activity);
                }
            }
        }
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> Watched<T> {
    fn note(&self, result: &Poll<io::Result<usize>>) {
        match result {
            Poll::Ready(written) => self.activity.wrote(*written.as_ref().unwrap_or(&0)),
            Poll::Pending => self.activity.blocked(),
        }
    }

    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let time = self.linger.time;
        let until = self.linger.until.get_or_insert_with(|| {
            let now = Instant::now();
            Box::pin(sleep_until(now.checked_add(time).unwrap_or(now)))
        });
        if until.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        let mut scratch = [0; 8 << 10];
        while self.linger.bytes > 0 {
            let mut buf = ReadBuf::new(&mut scratch);
            let read = ready!(Pin::new(&mut self.io).poll_read(cx, &mut buf));
            if read.is_err() || buf.filled().is_empty() {
                break;
            }
            self.linger.bytes = self.linger.bytes.saturating_sub(buf.filled().len());
        }
        Poll::Ready(())
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Watched<T> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let result = Pin::new(&mut this.io).poll_write(cx, bytes);
        this.note(&result);
        result
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let result = Pin::new(&mut this.io).poll_write_vectored(cx, slices);
        this.note(&result);
        result
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let result = Pin::new(&mut this.io).poll_flush(cx);
        // It is flushed only once everything was written, which a layer such as
        // TLS may have kept.
        match &result {
            Poll::Ready(_) => this.activity.wrote(0),
            Poll::Pending => this.activity.blocked(),
        }
        result
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.linger.is_shut {
            ready!(Pin::new(&mut this.io).poll_shutdown(cx))?;
            this.linger.is_shut = true;
        }
        if !this.is_clean() {
            ready!(this.poll_linger(cx));
        }
        Poll::Ready(Ok(()))
    }
}

impl<T> std::fmt::Debug for Watched<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watched")
            .field("ready", &self.ready.remaining())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::time::advance;

    use super::*;
    use crate::server::activity::Verdict;

    /// Takes everything at once, but flushes only at the second attempt.
    struct Reluctant {
        flushed: bool,
    }

    impl AsyncRead for Reluctant {
        fn poll_read(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            _: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            Poll::Pending
        }
    }

    impl AsyncWrite for Reluctant {
        fn poll_write(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            Poll::Ready(Ok(bytes.len()))
        }

        fn poll_flush(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            if std::mem::replace(&mut self.flushed, true) {
                Poll::Ready(Ok(()))
            } else {
                Poll::Pending
            }
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_took_everything_is_not_blocked() {
        let limits = Limits::default();
        let activity = Activity::new(&limits);
        let io = Reluctant { flushed: false };
        let mut watched = Watched::new(io, Bytes::new(), None, Arc::clone(&activity), &limits);
        let _ticket = activity.begin();
        let flush =
            |watched: &mut Watched<_>, cx: &mut Context<'_>| Pin::new(watched).poll_flush(cx);
        poll_fn(|cx| Pin::new(&mut watched).poll_write(cx, b"answer"))
            .await
            .unwrap();
        poll_fn(|cx| Poll::Ready(flush(&mut watched, cx).is_pending())).await;
        advance(limits.write_grace / 2).await;
        assert!(matches!(
            activity.verdict(Instant::now()),
            Verdict::Until(_)
        ));
        poll_fn(|cx| flush(&mut watched, cx)).await.unwrap();
        advance(limits.write_idle * 10).await;
        assert!(matches!(
            activity.verdict(Instant::now()),
            Verdict::Until(_)
        ));
    }
}
