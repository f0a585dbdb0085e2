//! Requests that change something, and how they end.

use std::io::{self, Read};
use std::time::Duration;

use ureq::http::{Method, Request};
use ureq::{Agent, SendBody};

use super::Content;
use super::content::digest_and_size;

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

/// One client of one registry.
#[derive(Clone, Debug)]
pub struct Client {
    agent: Agent,
    base: String,
    pace: Option<Duration>,
}

impl Client {
    /// Of the registry at `host`, which is `address:port`.
    pub fn new(host: &str) -> Self {
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_mins(2)))
            .build()
            .into();
        Self {
            agent,
            base: format!("http://{host}"),
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
        let request = self.builder(&method, path).header("Accept", "*/*");
        let response = self
            .agent
            .run(request.body(SendBody::none()).expect("a request"))
            .map_err(|error| Broken(error.to_string()))?;
        let header = |name| {
            let value = response.headers().get(name)?;
            value.to_str().ok().map(str::to_owned)
        };
        let next = header("link").and_then(|link| {
            let target = link.strip_prefix('<')?.split_once('>')?.0;
            Some(target.to_owned())
        });
        let stated = header("docker-content-digest");
        let status = response.status().as_u16();
        let mut kept = Keeping {
            inner: response.into_body().into_reader(),
            bytes: Vec::new(),
        };
        let (digest, size) =
            digest_and_size(&mut kept).map_err(|error| Broken(error.to_string()))?;
        Ok(Pulled {
            status,
            stated,
            next,
            digest,
            size,
            bytes: kept.bytes,
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
        let mut request = self.builder(method, path).header("Content-Length", length);
        if *method == Method::PATCH {
            let last = range.end.saturating_sub(1);
            request = request.header("Content-Range", format!("{}-{last}", range.start));
        }
        if length == 0 {
            return self.run(request.body(SendBody::none()).expect("a request"));
        }
        let mut body = self.paced(content.read(range.start, length));
        let request = request.body(SendBody::from_reader(&mut body));
        self.run(request.expect("a request"))
    }

    fn stream(&self, location: &str, content: &Content) -> Result<Reply, Broken> {
        let mut body = self.paced(content.read(0, content.size()));
        let request = self
            .builder(&Method::PATCH, location)
            .header("Transfer-Encoding", "chunked")
            .body(SendBody::from_reader(&mut body));
        self.run(request.expect("a request"))
    }

    fn request(&self, method: &Method, path: &str, body: &[u8]) -> Result<Reply, Broken> {
        let mut body = body;
        let mut request = self.builder(method, path);
        if *method == Method::PUT {
            request = request.header("Content-Type", MANIFEST);
        }
        if *method == Method::PUT || *method == Method::POST {
            request = request.header("Content-Length", body.len());
        }
        if body.is_empty() {
            return self.run(request.body(SendBody::none()).expect("a request"));
        }
        let mut body = Patient {
            inner: &mut body,
            ends: 0,
        };
        let body = SendBody::from_reader(&mut body);
        self.run(request.body(body).expect("a request"))
    }

    fn builder(&self, method: &Method, path: &str) -> ureq::http::request::Builder {
        Request::builder()
            .method(method.clone())
            .uri(format!("{}{path}", self.base))
    }

    fn run(&self, request: Request<SendBody<'_>>) -> Result<Reply, Broken> {
        let response = self
            .agent
            .run(request)
            .map_err(|error| Broken(error.to_string()))?;
        let header = |name| {
            let value = response.headers().get(name)?;
            value.to_str().ok().map(str::to_owned)
        };
        let (location, range) = (header("location"), header("range"));
        let status = response.status().as_u16();
        // The status is the answer, whether or not the body still arrives.
        let mut body = Vec::new();
        let _ = response
            .into_body()
            .into_reader()
            .take(4096)
            .read_to_end(&mut body);
        Ok(Reply {
            status,
            location,
            range,
            body: String::from_utf8_lossy(&body).into_owned(),
        })
    }

    fn paced<R: Read>(&self, inner: R) -> Paced<R> {
        Paced {
            inner,
            pause: self.pace,
            until_pause: 0,
        }
    }
}

/// The start of each chunk.
fn steps(size: u64, length: u64) -> impl Iterator<Item = u64> {
    (0..size).step_by(usize::try_from(length.max(1)).unwrap_or(usize::MAX))
}

/// Keeps the first bytes that pass.
struct Keeping<R> {
    inner: R,
    bytes: Vec<u8>,
}

impl<R: Read> Read for Keeping<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        let room = (1_usize << 20).saturating_sub(self.bytes.len());
        let kept = buffer.get(..read.min(room)).unwrap_or_default();
        self.bytes.extend_from_slice(kept);
        Ok(read)
    }
}

/// Fails whoever reads on behind the end again and again: the HTTP client does, for ever, when it sends a request a second
/// time whose body it has read already.
struct Patient<R> {
    inner: R,
    ends: u32,
}

impl<R: Read> Read for Patient<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        if read == 0 {
            self.ends = self.ends.saturating_add(1);
            if self.ends > 1000 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(read)
    }
}

struct Paced<R> {
    inner: R,
    pause: Option<Duration>,
    until_pause: usize,
}

impl<R: Read> Read for Paced<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(pause) = self.pause else {
            return self.inner.read(buffer);
        };
        if self.until_pause == 0 {
            std::thread::park_timeout(pause);
            self.until_pause = 64 << 10;
        }
        let count = buffer.len().min(self.until_pause);
        let read = self
            .inner
            .read(buffer.get_mut(..count).unwrap_or_default())?;
        self.until_pause = self.until_pause.saturating_sub(read);
        Ok(read)
    }
}
