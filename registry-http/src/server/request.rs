//! From a connection's requests to the service.

use std::any::Any;
use std::error::Error as StdError;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::uri::Scheme;
use http::{HeaderValue, Request, Response, StatusCode, Version};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use pin_project_lite::pin_project;
use tower_service::Service;

use super::activity::{Activity, Ticket};
use super::client_auth::Vouched;
use super::head::Violation;
use crate::error_detail::Parts;
use crate::error_response::refuse_unread;
use crate::file_queue::FileQueue;
use crate::{Limits, Peer};

pub(super) type BoxError = Box<dyn StdError + Send + Sync>;

/// How large a part of an answer over HTTP/2 may be to be handed over at once,
/// and how much of a larger one is kept back. The protocol's implementation
/// takes a part as a whole once the client wants a byte of it. If it was the
/// last one, the answer seems to be over then; with something kept back, it
/// goes on until the client has taken, or wants, all but that.
const LARGE: usize = 16 << 10;
const TAIL: usize = 1 << 10;

/// The service as one connection sees it.
#[derive(Debug)]
pub(super) struct Requests<S> {
    pub(super) service: S,
    pub(super) peer: Peer,
    pub(super) scheme: Scheme,
    pub(super) certificate: Option<Vouched>,
    pub(super) activity: Arc<Activity>,
    pub(super) limits: Arc<Limits>,
    /// Where the connection takes files that it sends by itself.
    pub(super) files: Option<FileQueue>,
}

impl<S, B> hyper::service::Service<Request<Incoming>> for Requests<S>
where
    S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Into<BoxError>,
    B: Body<Data = Bytes> + 'static,
{
    type Response = Response<Answer<B>>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        let ticket = self.activity.begin();
        if let Some(violation) = ticket.refused().or_else(|| self.violation(&request)) {
            let refused = refusal(violation, &self.limits);
            return Box::pin(async move {
                Ok(refused.map(|body| Answer {
                    body: Content::Refusal { body },
                    ticket,
                    is_http2: false,
                    tail: Bytes::new(),
                }))
            });
        }
        request.extensions_mut().insert(self.peer);
        request.extensions_mut().insert(self.scheme.clone());
        if let Some(certificate) = self.certificate.as_ref().and_then(Vouched::certificate) {
            request.extensions_mut().insert(certificate.clone());
        }
        let is_http2 = request.version() == Version::HTTP_2;
        let mut service = self.service.clone();
        let files = self.files.clone();
        Box::pin(async move {
            poll_fn(|cx| service.poll_ready(cx))
                .await
                .map_err(Into::into)?;
            let mut response = service.call(request).await.map_err(Into::into)?;
            // Only what goes from the service to the connection as it is: a
            // body that somebody changes on the way has to be read.
            let body: &mut dyn Any = response.body_mut();
            if let (Some(files), Some(body)) = (&files, body.downcast_mut::<crate::Body>()) {
                body.send_files_through(files);
            }
            Ok(response.map(|body| Answer {
                body: Content::Service { body },
                ticket,
                is_http2,
                tail: Bytes::new(),
            }))
        })
    }
}

impl<S> Requests<S> {
    /// Lengths and numbers of HTTP/1.1 were checked on the way in; here they
    /// can only be those of HTTP/2.
    fn violation(&self, request: &Request<Incoming>) -> Option<Violation> {
        let target = request.uri();
        let length = target
            .path_and_query()
            .map_or(0, |target| target.as_str().len());
        let credentials = request.headers().get_all(AUTHORIZATION);
        let longest = credentials.iter().map(HeaderValue::len).max();
        if length > self.limits.max_uri {
            Some(Violation::TargetTooLong)
        } else if request.headers().len() > self.limits.max_headers {
            Some(Violation::TooManyHeaders)
        } else if longest.is_some_and(|longest| longest > self.limits.max_authorization) {
            Some(Violation::CredentialsTooLong)
        } else {
            None
        }
    }
}

/// What is answered in place of the service.
fn refusal(violation: Violation, limits: &Limits) -> Response<crate::Body> {
    const TOO_LARGE: StatusCode = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
    let (status, reason, part, limit) = match violation {
        Violation::Malformed(part, reason) => (StatusCode::BAD_REQUEST, reason, part, None),
        Violation::TargetTooLong => (
            StatusCode::URI_TOO_LONG,
            "the request target is too long; shorten it",
            "target",
            Some(limits.max_uri),
        ),
        Violation::HeadTooLong => (
            TOO_LARGE,
            "the headers are too long; send less in them",
            "head",
            Some(limits.max_head),
        ),
        Violation::TooManyHeaders => (
            TOO_LARGE,
            "there are too many headers; send fewer",
            "headers",
            Some(limits.max_headers),
        ),
        Violation::CredentialsTooLong => (
            TOO_LARGE,
            "the Authorization header is too long; shorten it",
            "authorization",
            Some(limits.max_authorization),
        ),
    };
    let mut detail = Parts::default().with("part", part);
    if let Some(limit) = limit {
        detail = detail.with("max", limit);
    }
    refuse_unread(status, reason, detail)
}

pin_project! {
    /// The body of an answer. The request is over once it is dropped.
    pub(super) struct Answer<B> {
        #[pin]
        body: Content<B>,
        ticket: Ticket,
        is_http2: bool,
        // The end of what the body gave.
        tail: Bytes,
    }
}

pin_project! {
    #[project = ContentProjection]
    enum Content<B> {
        Service { #[pin] body: B },
        Refusal { #[pin] body: crate::Body },
    }
}

impl<B> Body for Answer<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let mut this = self.project();
        // Over HTTP/1.1 the connection itself shows whether a client takes
        // what it asked for.
        if !*this.is_http2 {
            return this.body.poll_content(cx);
        }
        this.ticket.taken();
        let mut frame = if this.tail.is_empty() {
            ready!(this.body.as_mut().poll_content(cx))
        } else {
            Some(Ok(Frame::data(std::mem::take(this.tail))))
        };
        if let Some(Ok(part)) = &mut frame
            && let Some(data) = part.data_mut()
        {
            if data.len() > LARGE {
                // Not a slice, which would keep all of the memory.
                let tail = data.split_off(data.len().saturating_sub(TAIL));
                *this.tail = Bytes::copy_from_slice(&tail);
            }
            this.ticket.handed(data.len());
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.tail.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let mut hint = match &self.body {
            Content::Service { body } => body.size_hint(),
            Content::Refusal { body } => body.size_hint(),
        };
        let tail = self.tail.len() as u64;
        if let Some(upper) = hint.upper() {
            hint.set_upper(upper.saturating_add(tail));
        }
        hint.set_lower(hint.lower().saturating_add(tail));
        hint
    }
}

impl<B> Content<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    fn poll_content(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self.project() {
            ContentProjection::Service { body } => body.poll_frame(cx).map_err(Into::into),
            ContentProjection::Refusal { body } => body.poll_frame(cx).map_err(Into::into),
        }
    }
}

impl<B: Body> Content<B> {
    fn is_end_stream(&self) -> bool {
        match self {
            Self::Service { body } => body.is_end_stream(),
            Self::Refusal { body } => body.is_end_stream(),
        }
    }
}
