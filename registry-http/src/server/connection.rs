//! One connection, from its first byte to its last.

use std::future::{pending, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::uri::Scheme;
use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulConnection;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::io::poll_read_buf;
use tower_service::Service;

use super::activity::{Activity, Verdict};
use super::client_auth::Vouched;
use super::head::HeadLimits;
use super::request::{BoxError, Requests};
use super::stream::Watched;
use super::strict::Strict;
use super::{Stop, told_to_stop};
use crate::file_queue::FileQueue;
use crate::places::Places;
use crate::{Limits, Peer};

/// What every HTTP/2 connection begins with. RFC 9113, section 3.4.
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// How much of an HTTP/1.1 request body is read at once, and how much of an
/// answer waits to be taken besides the part at hand.
const HTTP1_BUFFER: usize = 64 << 10;

/// How long a client gets to hear that a connection closes for lack of work.
const FAREWELL: Duration = Duration::from_secs(1);

/// How a connection is served; the same for all of a listener.
#[derive(Debug, Clone)]
pub(super) struct Protocol {
    limits: Arc<Limits>,
    pub(super) http2: bool,
    /// Places for HTTP/2 connections with wide windows.
    wide: Places,
}

/// A connection before anything was read of it.
#[derive(Debug)]
pub(super) struct Connection<T> {
    pub(super) io: T,
    pub(super) spoken: Spoken,
    /// Where `io` takes files that it sends by itself, if it can.
    pub(super) files: Option<FileQueue>,
    pub(super) peer: Peer,
    pub(super) scheme: Scheme,
    /// What the client proved to be, if it did.
    pub(super) certificate: Option<Vouched>,
}

/// Which version a connection speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spoken {
    Http1,
    Http2,
    /// Whatever its first bytes say.
    Either,
}

impl Protocol {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            wide: Places::new(limits.http2_wide_connections, limits.address_share),
            limits: Arc::new(limits),
            http2: true,
        }
    }

    pub(super) fn limits(&self) -> &Arc<Limits> {
        &self.limits
    }

    /// The same with other limits.
    pub(super) fn with(&self, limits: Limits) -> Self {
        Self {
            http2: self.http2,
            ..Self::new(limits)
        }
    }

    /// Serves a connection until it ends, or `stop` says so and all its
    /// requests are answered.
    pub(super) async fn serve<T, S, B>(
        self,
        connection: Connection<T>,
        service: S,
        stop: Stop,
    ) -> Result<(), BoxError>
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + 'static,
        S::Future: Send,
        S::Error: Into<BoxError>,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let Connection {
            mut io,
            spoken,
            files,
            peer,
            scheme,
            certificate,
        } = connection;
        let limits = &*self.limits;
        let leave = Leave {
            stop: stop.clone(),
            certificate: certificate.clone(),
            drain: limits.drain_timeout,
        };
        let activity = Activity::new(limits);
        let (is_http2, first) = match spoken {
            Spoken::Http1 => (false, Bytes::new()),
            Spoken::Http2 => (true, Bytes::new()),
            Spoken::Either => {
                let mut stop = stop;
                tokio::select! {
                    first = timeout(limits.header_timeout, first_bytes(&mut io)) => first??,
                    () = told_to_stop(&mut stop) => return Ok(()),
                }
            }
        };
        let requests = Requests {
            service,
            peer,
            scheme,
            certificate,
            activity: Arc::clone(&activity),
            limits: Arc::clone(&self.limits),
            // Over HTTP/2 the parts of a body are wrapped in frames.
            files: files.filter(|_| !is_http2),
        };
        if is_http2 && self.http2 {
            let io = Watched::new(io, first, None, Arc::clone(&activity), limits);
            let wide = self.wide.take(Some(peer.household())).ok();
            let builder = self.http2(wide.is_some());
            let connection = builder.serve_connection(TokioIo::new(io), requests);
            drive(connection, &activity, leave).await
        } else {
            let strict = Strict::new(HeadLimits {
                bytes: limits.max_head,
                headers: limits.max_headers,
                target: limits.max_uri,
            });
            let io = Watched::new(io, first, Some(strict), Arc::clone(&activity), limits);
            let connection = self.http1().serve_connection(TokioIo::new(io), requests);
            drive(connection, &activity, leave).await
        }
    }

    /// Time is kept by [`Activity`], which tells a slow head from a connection
    /// at rest. A client that closes its half of the connection counts as gone: the
    /// two can't be told apart, and whoever leaves shouldn't keep work going.
    fn http1(&self) -> http1::Builder {
        let mut builder = http1::Builder::new();
        builder
            .timer(TokioTimer::new())
            .header_read_timeout(None)
            .max_headers(self.limits.max_headers)
            .max_buf_size(HTTP1_BUFFER.max(self.limits.max_head));
        builder
    }

    fn http2(&self, is_wide: bool) -> http2::Builder<TokioExecutor> {
        let limits = &self.limits;
        let (stream, connection) = if is_wide {
            (limits.http2_wide_window, limits.http2_wide_window)
        } else {
            (limits.http2_stream_window, limits.http2_connection_window)
        };
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .max_concurrent_streams(limits.http2_max_streams)
            .max_pending_accept_reset_streams(limits.http2_max_pending_resets)
            .max_local_error_reset_streams(limits.http2_max_error_resets)
            .initial_stream_window_size(stream)
            .initial_connection_window_size(connection)
            .max_send_buf_size(limits.http2_send_buffer)
            .max_header_list_size(u32::try_from(limits.max_head).unwrap_or(u32::MAX))
            .keep_alive_interval(limits.http2_ping_interval)
            .keep_alive_timeout(limits.http2_ping_timeout);
        builder
    }
}

/// Reads until it is certain whether this is HTTP/2.
async fn first_bytes<T: AsyncRead + Unpin>(io: &mut T) -> io::Result<(bool, Bytes)> {
    let mut first = BytesMut::with_capacity(1 << 10);
    loop {
        let common = first.len().min(PREFACE.len());
        if first.get(..common) != PREFACE.get(..common) {
            return Ok((false, first.freeze()));
        }
        if common == PREFACE.len() {
            return Ok((true, first.freeze()));
        }
        let read = poll_fn(|cx| poll_read_buf(Pin::new(&mut *io), cx, &mut first)).await?;
        if read == 0 {
            return Ok((false, first.freeze()));
        }
    }
}

/// What ends a connection besides its client.
struct Leave {
    stop: Stop,
    certificate: Option<Vouched>,
    /// How long requests in progress get once nobody vouches for the client.
    drain: Duration,
}

/// Drives a connection within its limits of time.
async fn drive<C>(connection: C, activity: &Activity, leave: Leave) -> Result<(), BoxError>
where
    C: GracefulConnection<Error = hyper::Error>,
{
    let Leave {
        mut stop,
        certificate,
        drain,
    } = leave;
    let mut connection = pin!(connection);
    let mut timer = pin!(sleep_until(Instant::now()));
    let mut lapsed = pin!(async {
        match certificate {
            Some(certificate) => certificate.lapsed().await,
            None => pending().await,
        }
    });
    let mut end = None;
    let mut is_leaving = false;
    loop {
        tokio::select! {
            biased;
            ended = connection.as_mut() => return ended.map_err(Into::into),
            () = told_to_stop(&mut stop), if !is_leaving => {
                is_leaving = true;
                connection.as_mut().graceful_shutdown();
            }
            // While it is told so, its requests come from nobody in particular.
            () = lapsed.as_mut(), if end.is_none() => {
                is_leaving = true;
                connection.as_mut().graceful_shutdown();
                let now = Instant::now();
                end = Some(now.checked_add(drain).unwrap_or(now));
                timer.as_mut().reset(now);
            }
            () = timer.as_mut() => match activity.verdict(Instant::now()) {
                _ if end.is_some_and(|end| end <= Instant::now()) => {
                    return Err("nobody vouches for the client any more".into());
                }
                Verdict::Until(deadline) => {
                    let next = end.map_or(deadline, |end| deadline.min(end));
                    timer.as_mut().reset(next);
                }
                Verdict::Idle if !is_leaving => {
                    is_leaving = true;
                    connection.as_mut().graceful_shutdown();
                    let now = Instant::now();
                    timer.as_mut().reset(now.checked_add(FAREWELL).unwrap_or(now));
                }
                Verdict::Idle => return Ok(()),
                Verdict::Stuck => return Err("the client is too slow".into()),
            },
        }
    }
}
