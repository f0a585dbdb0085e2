//! One request to a service, and its answer.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, Version};
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;
use registry_auth::ClientCertificate;
use registry_http::{Peer, RegistryService};
use tower::ServiceExt;

use crate::identities::certificate;

/// What stands among headers for a certificate that the listener checked, with the
/// name in it.
pub(crate) const CERTIFICATE: &str = "(certificate)";

/// An answer, read to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
    /// Whether the registry looked at what was sent.
    pub(crate) was_read: bool,
}

impl Answer {
    /// The same where it says nothing about the names in `about`.
    pub(crate) fn without(&self, about: &[&str]) -> Self {
        let hide = |text: &str| {
            about
                .iter()
                .fold(text.to_owned(), |text, name| text.replace(name, "…"))
        };
        let mut headers = HeaderMap::new();
        for (name, value) in &self.headers {
            let value = hide(value.to_str().unwrap());
            headers.append(
                name,
                http::HeaderValue::from_bytes(value.as_bytes()).unwrap(),
            );
        }
        Self {
            headers,
            body: hide(&self.body),
            ..self.clone()
        }
    }
}

/// A body that tells whether somebody looked at it.
struct Watched {
    bytes: Option<Bytes>,
    was_read: Arc<AtomicBool>,
}

impl http_body::Body for Watched {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.was_read.store(true, Ordering::SeqCst);
        Poll::Ready(self.bytes.take().map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
    }
}

/// Sends a request with headers written as `name: value`.
pub(crate) async fn send(
    service: &RegistryService,
    method: &str,
    uri: &str,
    headers: &[String],
    body: impl Into<Bytes>,
) -> Answer {
    // Over HTTP/1.1 what is left of a body is read and thrown away, to keep the
    // connection.
    let peer = Peer {
        address: [198, 51, 100, 7].into(),
    };
    let request = Request::builder().version(Version::HTTP_2).extension(peer);
    let mut request = request.method(method).uri(uri);
    for header in headers {
        let (name, value) = header.split_once(':').unwrap();
        if name == CERTIFICATE {
            let der = certificate(value.trim());
            request = request.extension(ClientCertificate::from_der(der));
        } else {
            request = request.header(name.trim(), value.trim());
        }
    }
    let was_read = Arc::new(AtomicBool::new(false));
    let body = body.into();
    let body = Watched {
        bytes: (!body.is_empty()).then_some(body),
        was_read: Arc::clone(&was_read),
    };
    let request = request.body(body).unwrap();
    let (answer, body) = service.clone().oneshot(request).await.unwrap().into_parts();
    let body = body.collect().await.expect("the answer breaks off");
    Answer {
        status: answer.status,
        headers: answer.headers,
        body: String::from_utf8_lossy(&body.to_bytes()).into_owned(),
        was_read: was_read.load(Ordering::SeqCst),
    }
}
