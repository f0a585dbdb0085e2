//! Requests that change something, and how they end.

use std::time::Duration;

use hyper::header::{ACCEPT, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HOST};
use hyper::http::request::Builder;
use hyper::{Method, Request, Response};

use super::Content;
use super::connections::{Body, Connections, streamed, whole};
use super::content::Summed;

/// The media type of the manifests that are pushed.
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// No answer came: what was asked for may have happened or not.
#[derive(Debug)]
pub struct Broken(pub String);

/// An answer.
#[derive(Debug)]
pub struct Reply {
    /// Its status code.
    pub status: u16,
    /// Its `Location`, if there is one.
    pub location: Option<String>,
    /// Its `Range`, if there is one.
    pub range: Option<String>,
    /// The start of its body, for messages.
    pub body: String,
}

/// An answer that carries content.
#[derive(Debug)]
pub struct Pulled {
    /// Its status code.
    pub status: u16,
    /// The digest that the registry says the content has.
    pub stated: Option<String>,
    /// Where a list goes on, if it does.
    pub next: Option<String>,
    /// The digest of the bytes that came.
    pub digest: String,
    /// How many bytes came.
    pub size: u64,
    /// The first of them, at most 1 MiB.
    pub bytes: Vec<u8>,
}

/// How a blob is pushed.
#[derive(Clone, Copy, Debug)]
pub enum Way {
    /// POST, then PUT with the bytes.
    Whole,
    /// One POST with the bytes.
    Single,
    /// POST, a PATCH for each chunk of this many bytes, then PUT.
    Chunked(u64),
    /// POST, one PATCH of unannounced length, then PUT.
    Streamed,
}

/// How much of an answer's body is kept for messages.
const EXCERPT: usize = 4096;

/// How much of pulled content is kept.
const KEPT: usize = 1 << 20;

/// One client of one registry. It sends each request once, whatever becomes of it.
#[derive(Clone, Debug)]
pub struct Client {
    connections: Connections,
    host: String,
    pace: Option<Duration>,
}

impl Client {
    /// Of the registry at `host`, which is `address:port`.
    pub fn new(host: &str) -> Self {
        Self {
            connections: Connections::new(host),
            host: host.to_owned(),
            pace: None,
        }
    }

    /// Waits this long before each 64 KiB of a blob.
    #[must_use]
    pub fn pace(mut self, pause: Duration) -> Self {
        self.pace = Some(pause);
        self
    }

    /// Pulls what is at a path, or with `head` only asks for it.
    ///
    /// # Errors
    /// When no whole answer comes.
    pub fn pull(&self, path: &str, head: bool) -> Result<Pulled, Broken> {
        let method = if head { Method::HEAD } else { Method::GET };
        let request = self.builder(&method, path).header(ACCEPT, "*/*");
        let (mut sum, mut bytes) = (Summed::new(), Vec::new());
        let request = request.body(whole(b"")).expect("a request");
        let (answer, came_whole) = self.connections.run(request, |piece| {
            sum.add(piece);
            keep(&mut bytes, piece, KEPT);
        })?;
        if !came_whole {
            return Err(Broken(format!(
                "{path} broke off after {} bytes",
                sum.size()
            )));
        }
        let next = header(&answer, "link").and_then(|link| {
            let target = link.strip_prefix('<')?.split_once('>')?.0;
            Some(target.to_owned())
        });
        Ok(Pulled {
            status: answer.status().as_u16(),
            stated: header(&answer, "docker-content-digest"),
            next,
            size: sum.size(),
            digest: sum.digest(),
            bytes,
        })
    }

    /// Pushes a blob.
    ///
    /// # Errors
    /// When the registry goes away in between.
    pub fn push_blob(
        &self,
        repository: &str,
        content: &Content,
        way: Way,
    ) -> Result<Reply, Broken> {
        let uploads = format!("/v2/{repository}/blobs/uploads/");
        let digest = content.digest();
        if let Way::Single = way {
            let path = format!("{uploads}?digest={digest}");
            return self.send(&Method::POST, &path, content, 0..content.size());
        }
        let begun = self.request(&Method::POST, &uploads, &[])?;
        let Some(mut location) = begun.location.clone().filter(|_| begun.status == 202) else {
            return Ok(begun);
        };
        let rest = match way {
            Way::Chunked(length) => {
                for start in steps(content.size(), length) {
                    let end = start.saturating_add(length).min(content.size());
                    let appended = self.append(&location, content, start..end)?;
                    match appended.location.clone().filter(|_| appended.status == 202) {
                        Some(next) => location = next,
                        None => return Ok(appended),
                    }
                }
                content.size()..content.size()
            }
            Way::Streamed => {
                let appended = self.stream(&location, content)?;
                match appended.location.clone().filter(|_| appended.status == 202) {
                    Some(next) => location = next,
                    None => return Ok(appended),
                }
                content.size()..content.size()
            }
            Way::Whole | Way::Single => 0..content.size(),
        };
        self.finish(&location, content, rest)
    }

    /// Opens an upload.
    ///
    /// # Errors
    /// When no answer comes.
    pub fn begin(&self, repository: &str) -> Result<Reply, Broken> {
        let path = format!("/v2/{repository}/blobs/uploads/");
        self.request(&Method::POST, &path, &[])
    }

    /// Appends a part of the content to an upload.
    ///
    /// # Errors
    /// When no answer comes.
    pub fn append(
        &self,
        location: &str,
        content: &Content,
        range: std::ops::Range<u64>,
    ) -> Result<Reply, Broken> {
        self.send(&Method::PATCH, location, content, range)
    }

    /// Asks where an upload stands.
    ///
    /// # Errors
    /// When no answer comes.
    pub fn upload(&self, location: &str) -> Result<Reply, Broken> {
        self.request(&Method::GET, location, &[])
    }

    /// Ends an upload with the last part of the content, which may be empty.
    ///
    /// # Errors
    /// When no answer comes.
    pub fn finish(
        &self,
        location: &str,
        content: &Content,
        range: std::ops::Range<u64>,
    ) -> Result<Reply, Broken> {
        let separator = if location.contains('?') { '&' } else { '?' };
        let path = format!("{location}{separator}digest={}", content.digest());
        self.send(&Method::PUT, &path, content, range)
    }

    /// Mounts a blob of another repository; 202 means that it has to be uploaded.
    ///
    /// # Errors
    /// When no answer comes.
    pub fn mount(&self, repository: &str, digest: &str, from: &str) -> Result<Reply, Broken> {
        let path = format!("/v2/{repository}/blobs/uploads/?mount={digest}&from={from}");
        self.request(&Method::POST, &path, &[])
    }

    /// Pushes a manifest under one tag, or under its digest with any number of tags.
    ///
    /// # Errors
    /// When no answer comes.
    pub fn push_manifest(
        &self,
        repository: &str,
        digest: &str,
        tags: &[String],
        bytes: &[u8],
    ) -> Result<Reply, Broken> {
        let base = format!("/v2/{repository}/manifests");
        let path = match tags {
            [tag] => format!("{base}/{tag}"),
            tags => {
                let tags: Vec<_> = tags.iter().map(|tag| format!("tag={tag}")).collect();
                format!("{base}/{digest}?{}", tags.join("&"))
            }
        };
        self.request(&Method::PUT, &path, bytes)
    }

    /// Deletes a blob, or a manifest or tag.
    ///
    /// # Errors
    /// When no answer comes.
    pub fn delete(&self, repository: &str, kind: &str, name: &str) -> Result<Reply, Broken> {
        let path = format!("/v2/{repository}/{kind}/{name}");
        self.request(&Method::DELETE, &path, &[])
    }

    fn send(
        &self,
        method: &Method,
        path: &str,
        content: &Content,
        range: std::ops::Range<u64>,
    ) -> Result<Reply, Broken> {
        let length = range.end.saturating_sub(range.start);
        let mut request = self.builder(method, path).header(CONTENT_LENGTH, length);
        if *method == Method::PATCH {
            let last = range.end.saturating_sub(1);
            request = request.header(CONTENT_RANGE, format!("{}-{last}", range.start));
        }
        let body = streamed(content.read(range.start, length), self.pace);
        self.run(request, body)
    }

    fn stream(&self, location: &str, content: &Content) -> Result<Reply, Broken> {
        let body = streamed(content.read(0, content.size()), self.pace);
        self.run(self.builder(&Method::PATCH, location), body)
    }

    fn request(&self, method: &Method, path: &str, body: &[u8]) -> Result<Reply, Broken> {
        let mut request = self.builder(method, path);
        if *method == Method::PUT {
            request = request.header(CONTENT_TYPE, MANIFEST);
        }
        self.run(request, whole(body))
    }

    fn builder(&self, method: &Method, path: &str) -> Builder {
        Request::builder()
            .method(method.clone())
            .uri(path)
            .header(HOST, &self.host)
    }

    fn run(&self, request: Builder, body: Body) -> Result<Reply, Broken> {
        let request = request.body(body).expect("a request");
        let mut excerpt = Vec::new();
        // The status is the answer, whether or not the body still arrives.
        let (answer, _) = self
            .connections
            .run(request, |piece| keep(&mut excerpt, piece, EXCERPT))?;
        Ok(Reply {
            status: answer.status().as_u16(),
            location: header(&answer, "location"),
            range: header(&answer, "range"),
            body: String::from_utf8_lossy(&excerpt).into_owned(),
        })
    }
}

fn header(answer: &Response<()>, name: &str) -> Option<String> {
    let value = answer.headers().get(name)?;
    value.to_str().ok().map(str::to_owned)
}

/// Adds as much of `piece` as there is room for.
fn keep(kept: &mut Vec<u8>, piece: &[u8], limit: usize) {
    let room = limit.saturating_sub(kept.len()).min(piece.len());
    kept.extend_from_slice(piece.get(..room).unwrap_or_default());
}

/// The start of each chunk.
fn steps(size: u64, length: u64) -> impl Iterator<Item = u64> {
    (0..size).step_by(usize::try_from(length.max(1)).unwrap_or(usize::MAX))
}
