//! One request to a service, and its answer.

use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use http::header::{HeaderMap, LOCATION};
use http::{Method, Request, StatusCode};
use http_body::Frame;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use registry_core::{Algorithm, Digest};
use registry_http::RegistryService;
use registry_storage::Engine;
use tower::ServiceExt;

pub(crate) type Sent = BoxBody<Bytes, std::io::Error>;

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

pub(crate) fn service() -> RegistryService {
    RegistryService::new(Engine::memory()).catalog(true)
}

pub(crate) fn sha256(content: impl AsRef<[u8]>) -> Digest {
    Algorithm::Sha256.digest(content.as_ref())
}

/// A body whose length is known.
pub(crate) fn whole(content: impl Into<Bytes>) -> Sent {
    Full::new(content.into())
        .map_err(|never| match never {})
        .boxed()
}

pub(crate) fn nothing() -> Sent {
    Empty::new().map_err(|never| match never {}).boxed()
}

/// A body whose length isn't known, in pieces.
pub(crate) fn pieces(content: &[u8], size: usize) -> Sent {
    let frames: Vec<_> = content
        .chunks(size)
        .map(|piece| Ok(Frame::data(Bytes::copy_from_slice(piece))))
        .collect();
    BodyExt::boxed(StreamBody::new(futures::stream::iter(frames)))
}

/// A body that breaks off behind `content`.
pub(crate) fn broken(content: &'static [u8]) -> Sent {
    let frames = [
        Ok(Frame::data(Bytes::from_static(content))),
        Err(std::io::Error::other("the connection is gone")),
    ];
    BodyExt::boxed(StreamBody::new(futures::stream::iter(frames)))
}

/// A body that sends `content` and then nothing more, without an end.
pub(crate) fn stalled(content: &'static [u8]) -> Sent {
    let first = futures::stream::iter([Ok(Frame::data(Bytes::from_static(content)))]);
    let frames = first.chain(futures::stream::pending());
    BodyExt::boxed(StreamBody::new(SyncStream(std::sync::Mutex::new(
        Box::pin(frames),
    ))))
}

/// A body of pieces of `size` bytes with a `pause` behind each.
pub(crate) fn slow(size: usize, pause: Duration, count: usize) -> Sent {
    let piece = move |number| {
        let before = if number > 0 { pause } else { Duration::ZERO };
        (before, Bytes::from(vec![b' '; size]))
    };
    paced((0..count).map(piece))
}

/// A body of pieces, each behind a pause.
pub(crate) fn paced(pieces: impl Iterator<Item = (Duration, Bytes)> + Send + 'static) -> Sent {
    let frames = futures::stream::iter(pieces).then(|(pause, piece)| async move {
        tokio::time::sleep(pause).await;
        Ok(Frame::data(piece))
    });
    BodyExt::boxed(StreamBody::new(SyncStream(std::sync::Mutex::new(
        Box::pin(frames),
    ))))
}

type Frames = futures::stream::BoxStream<'static, Result<Frame<Bytes>, std::io::Error>>;

/// Boxed bodies have to be `Sync`, which streams needn't be.
struct SyncStream(std::sync::Mutex<Frames>);

impl futures::Stream for SyncStream {
    type Item = Result<Frame<Bytes>, std::io::Error>;

    fn poll_next(
        self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        self.0.lock().unwrap().poll_next_unpin(cx)
    }
}

/// A request with headers written as `name: value`.
pub(crate) fn request(method: &Method, uri: &str, headers: &[&str], body: Sent) -> Request<Sent> {
    let mut request = Request::builder().method(method).uri(uri);
    for header in headers {
        let (name, value) = header.split_once(':').unwrap();
        request = request.header(name.trim(), value.trim());
    }
    request.body(body).unwrap()
}

pub(crate) async fn send(service: &RegistryService, request: Request<Sent>) -> Answer {
    let (answer, body) = service.clone().oneshot(request).await.unwrap().into_parts();
    let body = body.collect().await.expect("the answer breaks off");
    Answer {
        status: answer.status,
        headers: answer.headers,
        body: body.to_bytes(),
    }
}

pub(crate) async fn call(
    service: &RegistryService,
    method: Method,
    uri: &str,
    headers: &[&str],
) -> Answer {
    send(service, request(&method, uri, headers, nothing())).await
}

pub(crate) async fn get(service: &RegistryService, uri: &str) -> Answer {
    call(service, Method::GET, uri, &[]).await
}

pub(crate) async fn put(
    service: &RegistryService,
    uri: &str,
    headers: &[&str],
    body: &[u8],
) -> Answer {
    let body = whole(Bytes::copy_from_slice(body));
    send(service, request(&Method::PUT, uri, headers, body)).await
}

pub(crate) async fn post(service: &RegistryService, uri: &str) -> Answer {
    call(service, Method::POST, uri, &[]).await
}

/// Starts an upload and returns its address.
pub(crate) async fn begin(service: &RegistryService, repository: &str) -> String {
    let answer = post(service, &format!("/v2/{repository}/blobs/uploads/")).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{answer:?}");
    answer.header("location").to_owned()
}

/// Stores a blob and returns its address.
pub(crate) async fn push_blob(
    service: &RegistryService,
    repository: &str,
    content: &[u8],
) -> String {
    let digest = sha256(content);
    let uri = format!("{}?digest={digest}", begin(service, repository).await);
    let answer = put(service, &uri, &[], content).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
    answer.header(LOCATION.as_str()).to_owned()
}

pub(crate) const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// An index without entries that differs from others in `note`, about
/// `subject`.
pub(crate) fn index(note: &str, subject: Option<&Digest>) -> String {
    let subject = subject.map_or(String::new(), |digest| {
        format!(r#""subject":{{"mediaType":"{INDEX}","digest":"{digest}","size":9}},"#)
    });
    format!(
        r#"{{"schemaVersion":2,"mediaType":"{INDEX}","manifests":[],{subject}"artifactType":"application/vnd.example.{note}+json","annotations":{{"note":"{note}"}}}}"#
    )
}

/// Stores an index under `reference`.
pub(crate) async fn push_index(
    service: &RegistryService,
    repository: &str,
    reference: &str,
    content: &str,
) -> Answer {
    let uri = format!("/v2/{repository}/manifests/{reference}");
    let answer = put(
        service,
        &uri,
        &[&format!("content-type: {INDEX}")],
        content.as_bytes(),
    )
    .await;
    assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
    answer
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .unwrap_or_else(|| panic!("no {name} in {self:?}"))
            .to_str()
            .unwrap()
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.headers.contains_key(name)
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON in {self:?}"))
    }

    /// The code of the first error.
    pub(crate) fn code(&self) -> String {
        let json = self.json();
        json["errors"][0]["code"].as_str().unwrap().to_owned()
    }
}
