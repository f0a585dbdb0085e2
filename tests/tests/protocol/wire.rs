//! Requests as they go over the wire, and answers as clients parse them.

use std::convert::Infallible;
use std::fmt;
use std::net::SocketAddr;

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::HeaderMap;
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::sync::Mutex;

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// The codes of the specification; no other may be used.
const CODES: [&str; 14] = [
    "BLOB_UNKNOWN",
    "BLOB_UPLOAD_INVALID",
    "BLOB_UPLOAD_UNKNOWN",
    "DIGEST_INVALID",
    "MANIFEST_BLOB_UNKNOWN",
    "MANIFEST_INVALID",
    "MANIFEST_UNKNOWN",
    "NAME_INVALID",
    "NAME_UNKNOWN",
    "SIZE_INVALID",
    "UNAUTHORIZED",
    "DENIED",
    "UNSUPPORTED",
    "TOOMANYREQUESTS",
];

/// One connection to a server, used again as long as it lasts: an answer with bytes that don't belong to it spoils the
/// next one.
#[derive(Debug)]
pub(crate) struct Wire {
    address: SocketAddr,
    idle: Mutex<Option<SendRequest<Body>>>,
}

/// A request.
#[derive(Debug)]
pub(crate) struct Ask {
    method: Method,
    target: String,
    headers: Vec<(&'static str, String)>,
    body: Sent,
}

#[derive(Debug)]
enum Sent {
    /// `Content-Length: 0` where a body could be, as Go sends it.
    Nothing,
    /// With its `Content-Length`.
    Whole(Bytes),
    /// `Transfer-Encoding: chunked`, also if it is empty.
    Chunked(Bytes),
}

impl Ask {
    fn new(method: Method, target: impl Into<String>) -> Self {
        Self {
            method,
            target: target.into(),
            headers: Vec::new(),
            body: Sent::Nothing,
        }
    }

    pub(crate) fn get(target: impl Into<String>) -> Self {
        Self::new(Method::GET, target)
    }

    pub(crate) fn head(target: impl Into<String>) -> Self {
        Self::new(Method::HEAD, target)
    }

    pub(crate) fn post(target: impl Into<String>) -> Self {
        Self::new(Method::POST, target)
    }

    pub(crate) fn patch(target: impl Into<String>) -> Self {
        Self::new(Method::PATCH, target)
    }

    pub(crate) fn put(target: impl Into<String>) -> Self {
        Self::new(Method::PUT, target)
    }

    pub(crate) fn delete(target: impl Into<String>) -> Self {
        Self::new(Method::DELETE, target)
    }

    /// With a header line, beside others of that name.
    pub(crate) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// With a body and its length.
    pub(crate) fn body(mut self, body: impl AsRef<[u8]>) -> Self {
        self.body = Sent::Whole(Bytes::copy_from_slice(body.as_ref()));
        self
    }

    /// With a body whose length the client doesn't say.
    pub(crate) fn chunked(mut self, body: impl AsRef<[u8]>) -> Self {
        self.body = Sent::Chunked(Bytes::copy_from_slice(body.as_ref()));
        self
    }

    /// With a body, and with its length or without.
    pub(crate) fn send(self, known: bool, body: impl AsRef<[u8]>) -> Self {
        if known {
            self.body(body)
        } else {
            self.chunked(body)
        }
    }

    fn into_request(self, host: &str) -> Request<Body> {
        let mut request = Request::builder()
            .method(&self.method)
            .uri(&self.target)
            .header("host", host)
            // What Go's HTTP client sends with every request; nothing may be compressed all the same.
            .header("accept-encoding", "gzip");
        for (name, value) in self.headers {
            request = request.header(name, value);
        }
        let body = match self.body {
            Sent::Nothing => {
                if matches!(self.method, Method::POST | Method::PUT | Method::PATCH) {
                    request = request.header("content-length", 0);
                }
                Full::new(Bytes::new()).boxed_unsync()
            }
            Sent::Whole(body) => {
                request = request.header("content-length", body.len());
                Full::new(body).boxed_unsync()
            }
            Sent::Chunked(body) => {
                request = request.header("transfer-encoding", "chunked");
                let pieces: Vec<_> = body
                    .chunks(30_000)
                    .map(|piece| Ok(Frame::data(body.slice_ref(piece))))
                    .collect();
                StreamBody::new(futures::stream::iter(pieces)).boxed_unsync()
            }
        };
        request.body(body).expect("a valid request")
    }
}

impl Wire {
    pub(crate) fn new(address: SocketAddr) -> Self {
        Self {
            address,
            idle: Mutex::new(None),
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sends a request and reads the whole answer, which has to be one that every client understands.
    pub(crate) async fn ask(&self, ask: Ask) -> Answer {
        let shown = format!("{} {:.300} {:?}", ask.method, ask.target, ask.headers);
        let head = ask.method == Method::HEAD;
        let mut idle = self.idle.lock().await;
        let mut sender = match idle.take() {
            Some(sender) => sender,
            None => self.connect().await,
        };
        if sender.ready().await.is_err() {
            sender = self.connect().await;
        }
        let request = ask.into_request(&self.address.to_string());
        let (answer, body) = sender
            .send_request(request)
            .await
            .unwrap_or_else(|error| panic!("{shown}: {error:?}"))
            .into_parts();
        let body = body
            .collect()
            .await
            .unwrap_or_else(|error| panic!("{shown}: the body breaks off: {error:?}"));
        *idle = Some(sender);
        let answer = Answer {
            shown,
            status: answer.status.as_u16(),
            headers: answer.headers,
            body: body.to_bytes(),
        };
        answer.check_rules(head);
        answer
    }

    async fn connect(&self) -> SendRequest<Body> {
        let stream = TcpStream::connect(self.address).await.expect("a server");
        let (sender, connection) = handshake(TokioIo::new(stream)).await.expect("HTTP/1.1");
        // Its failures reach the request they belong to.
        tokio::spawn(connection);
        sender
    }
}

/// An answer, read to its end.
pub(crate) struct Answer {
    shown: String,
    pub(crate) status: u16,
    headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let start = &self.body[..self.body.len().min(500)];
        writeln!(f, "{}", self.shown)?;
        writeln!(f, "{} {:?}", self.status, self.headers)?;
        write!(f, "{}", String::from_utf8_lossy(start))
    }
}

impl Answer {
    /// What holds of every answer, whatever was asked.
    fn check_rules(&self, head: bool) {
        assert_eq!(
            self.header("docker-distribution-api-version"),
            "registry/2.0"
        );
        for absent in [
            // A compressed answer has another digest and no length.
            "content-encoding",
            "transfer-encoding",
            // It turns on another protocol in skopeo.
            "x-registry-supports-signatures",
        ] {
            assert_eq!(self.find(absent), None, "{self:?}");
        }
        assert!(self.status < 500, "{self:?}");
        if matches!(self.status, 204 | 304) {
            assert_eq!(self.body, "", "{self:?}");
        } else {
            let length: usize = self.header("content-length").parse().unwrap();
            if head {
                assert_eq!(self.body, "", "{self:?}");
            } else {
                assert_eq!(self.body.len(), length, "{self:?}");
            }
        }
        if let Some(location) = self.find("location") {
            // Relative to the root, as proxies may change the host; without escapes, as containerd sends the decoded
            // path back.
            assert!(location.starts_with("/v2/"), "{self:?}");
            assert!(!location.contains('%'), "{self:?}");
        }
        if self.status >= 400 && !head {
            assert_eq!(self.header("content-type"), "application/json", "{self:?}");
            let codes = self.codes();
            assert!(!codes.is_empty(), "{self:?}");
            for code in codes {
                assert!(CODES.contains(&&*code), "{self:?}");
            }
        }
    }

    /// This very status.
    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{self:?}");
        self
    }

    /// This status with an error of this code.
    #[track_caller]
    pub(crate) fn refused(&self, status: u16, code: &str) {
        assert_eq!((self.status, &*self.codes()[0]), (status, code), "{self:?}");
    }

    /// The value of a header that must be there, once.
    #[track_caller]
    pub(crate) fn header(&self, name: &str) -> &str {
        self.find(name)
            .unwrap_or_else(|| panic!("no {name} in {self:?}"))
    }

    /// The value of a header that may be there, once.
    #[track_caller]
    pub(crate) fn find(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.get_all(name).iter();
        let value = values.next()?.to_str().unwrap();
        assert_eq!(values.next(), None, "{name} twice in {self:?}");
        Some(value)
    }

    /// The items of a list that may be spread over header lines.
    pub(crate) fn list(&self, name: &str) -> Vec<&str> {
        let lines = self.headers.get_all(name).iter();
        lines
            .flat_map(|line| line.to_str().unwrap().split(','))
            .map(str::trim)
            .collect()
    }

    /// All headers but those that differ from one answer to the next.
    pub(crate) fn lasting_headers(&self) -> HeaderMap {
        let mut headers = self.headers.clone();
        for name in ["date", "x-request-id"] {
            headers.remove(name);
        }
        headers
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON in {self:?}"))
    }

    /// The codes of the errors in the body.
    #[track_caller]
    pub(crate) fn codes(&self) -> Vec<String> {
        let errors = self.json()["errors"].take();
        let errors = errors
            .as_array()
            .unwrap_or_else(|| panic!("no errors in {self:?}"));
        errors
            .iter()
            .map(|error| error["code"].as_str().expect("a code").to_owned())
            .collect()
    }

    /// Where an upload goes on that has received `received` bytes.
    #[track_caller]
    pub(crate) fn goes_on(&self, received: usize) -> String {
        let end = received.saturating_sub(1);
        assert_eq!(self.header("range"), format!("0-{end}"), "{self:?}");
        self.header("location").to_owned()
    }

    /// The target of the link to the next page, which is another one.
    pub(crate) fn next(&self) -> Option<String> {
        let link = self.find("link")?;
        let target = link
            .strip_prefix('<')
            .and_then(|link| link.strip_suffix(">; rel=\"next\""));
        let target = target.unwrap_or_else(|| panic!("{link}"));
        // ggcr and oras refuse another host.
        assert!(target.starts_with("/v2/"), "{link}");
        assert!(!self.shown.contains(&format!(" {target} ")), "{self:?}");
        Some(target.to_owned())
    }
}
