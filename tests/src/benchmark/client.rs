//! A small HTTP/1.1 client over one connection.
//!
//! The client shares the cores with the server it measures, so it does as little as possible: one buffer for each
//! connection, bodies are counted and thrown away, a request is one write.

use anyhow::{Context, Result, bail, ensure};
use bytes::{Buf, BytesMut};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::content::Blob;

/// What one read may take: as much as fits into a core's own cache beside the kernel's copy.
const BUFFER: usize = 256 << 10;

/// The largest body that is sent in the same write as its request.
const SMALL: usize = 64 << 10;

/// The largest body that is kept rather than counted.
const TEXT: usize = 8 << 20;

/// A connection to one server, opened when needed and again when the server closed it.
#[derive(Debug)]
pub(super) struct Connection {
    host: String,
    /// Sent with every request.
    authorization: Option<String>,
    stream: Option<TcpStream>,
    received: BytesMut,
    outgoing: Vec<u8>,
}

/// What follows the request's head.
#[derive(Debug, Clone, Copy)]
pub(super) enum Body<'a> {
    /// Nothing, not even a length.
    None,
    /// These bytes.
    Bytes(&'a [u8]),
    /// `length` bytes of a blob from `offset` on.
    Part {
        blob: &'a Blob,
        offset: u64,
        length: u64,
    },
}

impl Body<'_> {
    fn length(&self) -> Option<u64> {
        match self {
            Self::None => None,
            Self::Bytes(bytes) => Some(bytes.len() as u64),
            Self::Part { length, .. } => Some(*length),
        }
    }
}

/// The head of an answer, and how much body came with it.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) location: Option<String>,
    /// `Content-Length` as sent, also in answer to HEAD.
    pub(super) announced: Option<u64>,
    /// Bytes of body that arrived.
    pub(super) length: u64,
    /// The body of an error, to be shown.
    pub(super) text: String,
}

impl Answer {
    /// Complains unless the status is the expected one.
    pub(super) fn expect(&self, status: u16, what: &str) -> Result<()> {
        ensure!(
            self.status == status,
            "{what}: answered {} instead of {status} {}",
            self.status,
            self.text
        );
        Ok(())
    }
}

#[derive(Debug, Clone, Copy)]
enum Framing {
    Length(u64),
    Chunked,
    UntilClose,
}

struct Head {
    answer: Answer,
    framing: Framing,
    close: bool,
}

impl Connection {
    /// For `host:port`; connects with the first request.
    pub(super) fn new(host: &str) -> Self {
        Self {
            host: host.to_owned(),
            authorization: None,
            stream: None,
            received: BytesMut::new(),
            outgoing: Vec::with_capacity(1 << 10),
        }
    }

    /// The same with this header in every request.
    pub(super) fn authorized(mut self, authorization: impl Into<Option<String>>) -> Self {
        self.authorization = authorization.into();
        self
    }

    pub(super) async fn connect(&mut self) -> Result<()> {
        if self.stream.is_none() {
            let stream = TcpStream::connect(&self.host)
                .await
                .with_context(|| format!("cannot connect to {}", self.host))?;
            stream.set_nodelay(true)?;
            self.received.clear();
            self.stream = Some(stream);
        }
        Ok(())
    }

    /// Sends a request and throws the answer's body away once it has arrived whole.
    pub(super) async fn request(
        &mut self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: Body<'_>,
    ) -> Result<Answer> {
        self.exchange(method, target, headers, body, None)
            .await
            .with_context(|| format!("{method} {target}"))
    }

    /// Sends a GET and keeps the body.
    pub(super) async fn get(
        &mut self,
        target: &str,
        headers: &[(&str, &str)],
    ) -> Result<(Answer, Vec<u8>)> {
        let mut kept = Vec::new();
        let answer = self
            .exchange("GET", target, headers, Body::None, Some(&mut kept))
            .await
            .with_context(|| format!("GET {target}"))?;
        Ok((answer, kept))
    }

    async fn exchange(
        &mut self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: Body<'_>,
        kept: Option<&mut Vec<u8>>,
    ) -> Result<Answer> {
        let mut reused = self.stream.is_some();
        loop {
            self.connect().await?;
            let sent = self.send(method, target, headers, body).await;
            match self.read_head(method == "HEAD").await {
                Ok(head) => return self.finish(head, kept).await,
                // A server may close an idle connection at any time; what has no body can be said again.
                Err(_) if reused && matches!(body, Body::None) => {
                    self.stream = None;
                    reused = false;
                }
                Err(error) => {
                    self.stream = None;
                    sent?;
                    return Err(error);
                }
            }
        }
    }

    async fn send(
        &mut self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: Body<'_>,
    ) -> Result<()> {
        let out = &mut self.outgoing;
        out.clear();
        for piece in [
            method,
            " ",
            target,
            " HTTP/1.1\r\nHost: ",
            &self.host,
            "\r\n",
        ] {
            out.extend_from_slice(piece.as_bytes());
        }
        let authorization = self.authorization.as_deref();
        let authorization = authorization.map(|value| ("Authorization", value));
        for (name, value) in headers.iter().copied().chain(authorization) {
            for piece in [name, ": ", value, "\r\n"] {
                out.extend_from_slice(piece.as_bytes());
            }
        }
        if let Some(length) = body.length() {
            out.extend_from_slice(format!("Content-Length: {length}\r\n").as_bytes());
        }
        out.extend_from_slice(b"\r\n");
        let stream = self.stream.as_mut().context("not connected")?;
        match body {
            Body::Bytes(bytes) if bytes.len() > SMALL => {
                stream.write_all(out).await?;
                stream.write_all(bytes).await?;
            }
            Body::None | Body::Bytes(_) => {
                if let Body::Bytes(bytes) = body {
                    out.extend_from_slice(bytes);
                }
                stream.write_all(out).await?;
            }
            Body::Part {
                blob,
                offset,
                length,
            } => {
                stream.write_all(out).await?;
                for slice in blob.slices(offset, length) {
                    stream.write_all(slice).await?;
                }
            }
        }
        Ok(())
    }

    async fn fill(&mut self) -> Result<usize> {
        // Reading always continues in the same memory: an empty buffer is taken back to its beginning.
        if self.received.capacity() - self.received.len() < BUFFER / 2 {
            self.received.reserve(BUFFER);
        }
        let stream = self.stream.as_mut().context("not connected")?;
        Ok(stream.read_buf(&mut self.received).await?)
    }

    async fn read_head(&mut self, to_head: bool) -> Result<Head> {
        loop {
            if let Some((head, size)) = parse_head(&self.received, to_head)? {
                self.received.advance(size);
                if head.answer.status >= 200 {
                    return Ok(head);
                }
            } else {
                ensure!(self.fill().await? > 0, "the server closed the connection");
            }
        }
    }

    async fn finish(&mut self, head: Head, kept: Option<&mut Vec<u8>>) -> Result<Answer> {
        let mut answer = head.answer;
        let mut text = Vec::new();
        let mut kept = if answer.status >= 400 {
            Some(&mut text)
        } else {
            kept
        };
        match head.framing {
            Framing::Length(length) => {
                self.take(length, &mut kept).await?;
                answer.length = length;
            }
            Framing::Chunked => loop {
                let size = self.read_line().await?;
                let digits = size.split(';').next().unwrap_or_default().trim();
                let size = u64::from_str_radix(digits, 16).context("a chunk without a size")?;
                self.take(size, &mut kept).await?;
                answer.length += size;
                // The line end after the chunk; after the last one, trailers up to an empty line.
                while !self.read_line().await?.is_empty() {}
                if size == 0 {
                    break;
                }
            },
            Framing::UntilClose => loop {
                let length = self.received.len() as u64;
                self.take(length, &mut kept).await?;
                answer.length += length;
                if self.fill().await? == 0 {
                    break;
                }
            },
        }
        if head.close {
            self.stream = None;
        }
        answer.text = String::from_utf8_lossy(&text).into_owned();
        Ok(answer)
    }

    /// Takes `length` bytes of body, waiting for them.
    async fn take(&mut self, length: u64, kept: &mut Option<&mut Vec<u8>>) -> Result<()> {
        let mut missing = length;
        while missing > 0 {
            if self.received.is_empty() {
                ensure!(
                    self.fill().await? > 0,
                    "the body ended {missing} bytes too early"
                );
            }
            let now = usize::try_from(missing)
                .unwrap_or(usize::MAX)
                .min(self.received.len());
            if let (Some(kept), Some(bytes)) = (kept.as_deref_mut(), self.received.get(..now)) {
                ensure!(kept.len() + now <= TEXT, "the body is too long to be kept");
                kept.extend_from_slice(bytes);
            }
            if now == self.received.len() {
                self.received.clear();
            } else {
                self.received.advance(now);
            }
            missing -= now as u64;
        }
        Ok(())
    }

    async fn read_line(&mut self) -> Result<String> {
        loop {
            if let Some(end) = self.received.iter().position(|&byte| byte == b'\n') {
                let line = self.received.split_to(end + 1);
                return Ok(String::from_utf8_lossy(&line).trim_end().to_owned());
            }
            ensure!(self.fill().await? > 0, "the body ended within a chunk");
        }
    }
}

fn parse_head(received: &[u8], to_head: bool) -> Result<Option<(Head, usize)>> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut parsed = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(size) = parsed.parse(received)? else {
        return Ok(None);
    };
    let status = parsed.code.context("an answer without a status")?;
    let mut announced = None;
    let mut location = None;
    let mut chunked = false;
    let mut close = parsed.version == Some(0);
    for header in parsed.headers.iter() {
        let value = || std::str::from_utf8(header.value).unwrap_or_default();
        if header.name.eq_ignore_ascii_case("content-length") {
            announced = Some(value().parse().context("a wrong Content-Length")?);
        } else if header.name.eq_ignore_ascii_case("location") {
            location = Some(value().to_owned());
        } else if header.name.eq_ignore_ascii_case("transfer-encoding") {
            chunked = value().eq_ignore_ascii_case("chunked");
        } else if header.name.eq_ignore_ascii_case("connection") {
            close |= value().eq_ignore_ascii_case("close");
        }
    }
    let framing = if to_head || status < 200 || status == 204 || status == 304 {
        Framing::Length(0)
    } else if chunked {
        Framing::Chunked
    } else if let Some(length) = announced {
        Framing::Length(length)
    } else {
        close = true;
        Framing::UntilClose
    };
    let answer = Answer {
        status,
        location,
        announced,
        length: 0,
        text: String::new(),
    };
    Ok(Some((
        Head {
            answer,
            framing,
            close,
        },
        size,
    )))
}

/// The `host:port` of a URL such as `http://127.0.0.1:5000`.
///
/// # Errors
///
/// Anything else than plain HTTP to a host without a path: encryption would be measured rather than the registry.
pub(super) fn host_of(url: &str) -> Result<String> {
    let Some(rest) = url.strip_prefix("http://") else {
        bail!("{url} must begin with http://");
    };
    let host = rest.trim_end_matches('/');
    ensure!(
        !host.is_empty() && !host.contains(['/', '@', '?']),
        "{url} must be http://HOST:PORT without a path"
    );
    Ok(if host.contains(':') {
        host.to_owned()
    } else {
        format!("{host}:80")
    })
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    /// Gives the scripted answers, one for each request; an empty one closes the connection instead.
    async fn scripted(answers: &'static [&'static str]) -> Connection {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            for answer in answers {
                if answer.is_empty() {
                    drop(stream);
                    stream = listener.accept().await.unwrap().0;
                    continue;
                }
                let mut request = [0; 4096];
                assert!(stream.read(&mut request).await.unwrap() > 0);
                for piece in answer.as_bytes().chunks(7) {
                    stream.write_all(piece).await.unwrap();
                    stream.flush().await.unwrap();
                }
            }
        });
        Connection::new(&host)
    }

    #[tokio::test]
    async fn bodies_end_where_they_say() {
        let mut connection = scripted(&[
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n1;x\r\n!\r\n0\r\n\r\n",
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 202 Accepted\r\nLocation: /next\r\nContent-Length: 0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n",
            "HTTP/1.0 404 Not Found\r\n\r\nno such thing",
        ])
        .await;
        let (answer, body) = connection.get("/", &[]).await.unwrap();
        assert_eq!((answer.length, body.as_slice()), (5, b"hello".as_slice()));
        let (answer, body) = connection.get("/", &[]).await.unwrap();
        assert_eq!((answer.length, body.as_slice()), (6, b"hello!".as_slice()));
        let answer = connection
            .request("POST", "/", &[], Body::Bytes(b"x"))
            .await
            .unwrap();
        assert_eq!(answer.location.as_deref(), Some("/next"));
        let answer = connection
            .request("HEAD", "/", &[], Body::None)
            .await
            .unwrap();
        assert_eq!((answer.announced, answer.length), (Some(99), 0));
        let answer = connection
            .request("GET", "/", &[], Body::None)
            .await
            .unwrap();
        assert_eq!(answer.text, "no such thing");
        assert!(answer.expect(200, "reading").is_err());
    }

    #[tokio::test]
    async fn a_body_that_breaks_off_is_an_error() {
        let mut connection =
            scripted(&["HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello"]).await;
        let error = connection.get("/", &[]).await.unwrap_err();
        assert!(
            format!("{error:#}").contains("45 bytes too early"),
            "{error:#}"
        );
    }

    #[tokio::test]
    async fn an_idle_connection_that_was_closed_is_opened_again() {
        let mut connection = scripted(&[
            "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
            "",
            "HTTP/1.1 204 No Content\r\n\r\n",
        ])
        .await;
        for expected in [200, 204] {
            let answer = connection
                .request("GET", "/", &[], Body::None)
                .await
                .unwrap();
            assert_eq!(answer.status, expected);
            tokio::task::yield_now().await;
        }
    }

    #[test]
    fn only_plain_addresses_are_taken() {
        assert_eq!(host_of("http://localhost").unwrap(), "localhost:80");
        assert_eq!(host_of("http://127.0.0.1:5000/").unwrap(), "127.0.0.1:5000");
        for wrong in ["https://a", "http://", "http://a/b", "http://u:p@a"] {
            assert!(host_of(wrong).is_err(), "{wrong}");
        }
    }
}
