//! Files that a connection sends by itself.
#![cfg(all(feature = "testkit", target_os = "linux"))]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test fails by panicking"
)]

use std::fs::File;
use std::io::{self, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::ThreadId;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use registry_core::{
    Access, Blob, BlobBody, Descriptor, Digest, ErrorKind, FileContent, FileSlice, OpenOptions,
    Registry, Result,
};
use registry_http::{Body, RegistryService, TestServer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tower::ServiceExt;

const PART: u64 = 2 << 20;
const SIZE: usize = 13 * (1 << 20) + 12_345;

/// A registry of one blob, which is a file, of which some parts are in memory.
#[derive(Debug, Clone)]
struct OneFile(Arc<Content>);

#[derive(Debug)]
struct Content {
    file: File,
    bytes: Bytes,
    cached: fn(u64) -> bool,
    reads: AtomicUsize,
    /// Where the test runs, which must never wait for the disk.
    worker: ThreadId,
}

impl OneFile {
    fn new(cached: fn(u64) -> bool) -> Self {
        let mut file = tempfile::tempfile().unwrap();
        let bytes: Bytes = (0..=250).cycle().take(SIZE).collect();
        file.write_all(&bytes).unwrap();
        Self(Arc::new(Content {
            file,
            bytes,
            cached,
            reads: AtomicUsize::new(0),
            worker: std::thread::current().id(),
        }))
    }

    fn digest(&self) -> Digest {
        registry_core::Algorithm::Sha256.digest(&self.0.bytes)
    }

    fn path(&self) -> String {
        format!("/v2/a/blobs/{}", self.digest())
    }

    fn reads(&self) -> usize {
        self.0.reads.load(Ordering::Relaxed)
    }
}

impl FileContent for Content {
    fn try_read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        if (self.cached)(offset) {
            self.reads.fetch_add(1, Ordering::Relaxed);
            return self.file.read_at(buffer, offset);
        }
        Err(io::ErrorKind::WouldBlock.into())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        assert!(std::thread::current().id() != self.worker);
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.file.read_at(buffer, offset)
    }

    fn file(&self) -> Option<&File> {
        Some(&self.file)
    }

    fn is_cached(&self, range: Range<u64>) -> bool {
        (self.cached)(range.start)
    }
}

#[async_trait]
impl Registry for OneFile {
    async fn open_blob(&self, _: &Access, digest: &Digest, options: OpenOptions) -> Result<Blob> {
        if *digest != self.digest() {
            return Err(ErrorKind::BlobUnknown.error("there is no such blob"));
        }
        let size = self.0.bytes.len() as u64;
        let range = match options.range {
            Some(range) => range.resolve(size)?,
            None => 0..size,
        };
        Ok(Blob {
            digest: *digest,
            size,
            range: range.clone(),
            body: BlobBody::File(FileSlice {
                file: Arc::clone(&self.0) as Arc<dyn FileContent>,
                range,
            }),
        })
    }

    async fn stat_blob(&self, _: &Access, digest: &Digest) -> Result<Descriptor> {
        let media_type = "application/octet-stream".parse().unwrap();
        Ok(Descriptor::new(media_type, *digest, SIZE as u64))
    }
}

/// Sends requests one after the other without waiting, and reads the bodies of
/// their answers; `None` for one that broke off.
async fn pipeline(server: &TestServer, requests: &[String]) -> Vec<Option<Vec<u8>>> {
    let mut stream = TcpStream::connect(server.address()).await.unwrap();
    stream
        .write_all(requests.concat().as_bytes())
        .await
        .unwrap();
    let mut answers = Vec::new();
    for _ in requests {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
        let length = head.split("content-length: ").nth(1).unwrap();
        let length = length.split("\r\n").next().unwrap().parse().unwrap();
        let mut body = vec![0; length];
        let whole = stream.read_exact(&mut body).await.is_ok();
        answers.push(whole.then_some(body));
    }
    answers
}

fn get(path: &str, headers: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: a\r\n{headers}\r\n")
}

#[tokio::test]
async fn what_is_in_memory_is_sent_without_being_read() {
    let registry = OneFile::new(|_| true);
    let server = TestServer::start(registry.clone()).await;
    let answers = pipeline(
        &server,
        &[
            get(&registry.path(), ""),
            get("/v2/", ""),
            get(&registry.path(), "Range: bytes=1000000-3000000\r\n"),
            get(&registry.path(), ""),
        ],
    )
    .await;
    let bytes = &registry.0.bytes;
    let expected = [&bytes[..], b"{}", &bytes[1_000_000..=3_000_000], bytes];
    for (answer, expected) in answers.iter().zip(expected) {
        assert!(answer.as_deref() == Some(expected));
    }
    assert_eq!(registry.reads(), 0);
}

#[tokio::test]
async fn parts_that_have_to_be_read_and_parts_that_have_not_come_in_order() {
    for cached in [
        (|start| start >= PART) as fn(u64) -> bool,
        |start| (start / PART).is_multiple_of(2),
        |start| start < PART,
        |_| false,
    ] {
        let registry = OneFile::new(cached);
        let server = TestServer::start(registry.clone()).await;
        let request = get(&registry.path(), "");
        for answer in pipeline(&server, &[request.clone(), request]).await {
            assert!(answer.unwrap() == registry.0.bytes);
        }
        assert!(registry.reads() > 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_at_once_get_the_bytes_each() {
    let registry = OneFile::new(|_| true);
    let server = TestServer::start(registry.clone()).await;
    let requests = [get(&registry.path(), "")];
    let clients = (0..8).map(|_| pipeline(&server, &requests));
    for answers in futures::future::join_all(clients).await {
        assert!(answers[0].as_deref() == Some(&registry.0.bytes[..]));
    }
    assert_eq!(registry.reads(), 0);
}

#[tokio::test]
async fn a_small_part_is_read() {
    let registry = OneFile::new(|_| true);
    let server = TestServer::start(registry.clone()).await;
    let request = get(&registry.path(), "Range: bytes=10-20\r\n");
    let answers = pipeline(&server, &[request]).await;
    assert_eq!(answers[0].as_deref(), Some(&registry.0.bytes[10..=20]));
    assert_eq!(registry.reads(), 1);
}

#[tokio::test]
async fn several_parts_and_http2_get_the_bytes_too() {
    let registry = OneFile::new(|_| true);
    let server = TestServer::start(registry.clone()).await;
    let ranges = "Range: bytes=0-999999,2000000-2999999\r\n";
    let answers = pipeline(&server, &[get(&registry.path(), ranges)]).await;
    let answer = answers[0].as_deref().unwrap();
    let holds = |part: &[u8]| answer.windows(part.len()).any(|window| window == part);
    assert!(holds(&registry.0.bytes[..1_000_000]));
    assert!(holds(&registry.0.bytes[2_000_000..3_000_000]));

    let stream = TcpStream::connect(server.address()).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
        .handshake::<_, Full<Bytes>>(TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    let request = Request::get(format!("{}{}", server.url(), registry.path()));
    let answer = sender.send_request(request.body(Full::default()).unwrap());
    let body = answer.await.unwrap().into_body().collect().await.unwrap();
    assert!(body.to_bytes() == registry.0.bytes);
}

#[tokio::test]
async fn whoever_stands_between_sees_the_bytes() {
    let registry = OneFile::new(|_| true);
    let service = RegistryService::new(registry.clone());
    let inverted = tower::service_fn(move |request: Request<Incoming>| {
        let service = service.clone();
        async move {
            let answer: Response<Body> = service.oneshot(request).await?;
            Ok::<_, std::convert::Infallible>(answer.map(|body| {
                body.map_frame(|frame| {
                    frame.map_data(|data| data.iter().map(|byte| !byte).collect::<Bytes>())
                })
            }))
        }
    });
    let server = TestServer::with_service(inverted).await;
    let answers = pipeline(&server, &[get(&registry.path(), "")]).await;
    let expected: Vec<_> = registry.0.bytes.iter().map(|byte| !byte).collect();
    assert!(answers[0].as_deref() == Some(&expected[..]));
}

#[tokio::test]
async fn a_file_that_lost_its_end_breaks_the_answer_off() {
    let registry = OneFile::new(|_| true);
    registry.0.file.set_len(2 * PART + 5).unwrap();
    let server = TestServer::start(registry.clone()).await;
    let answers = pipeline(&server, &[get(&registry.path(), "")]).await;
    assert_eq!(answers[0], None);
}

#[tokio::test]
async fn a_client_that_leaves_takes_nothing_from_the_next() {
    let registry = OneFile::new(|_| true);
    let server = TestServer::start(registry.clone()).await;
    for _ in 0..20 {
        let mut stream = TcpStream::connect(server.address()).await.unwrap();
        let request = get(&registry.path(), "");
        stream.write_all(request.as_bytes()).await.unwrap();
        stream.read_exact(&mut [0; 1000]).await.unwrap();
    }
    let answers = pipeline(&server, &[get(&registry.path(), "")]).await;
    assert!(answers[0].as_deref() == Some(&registry.0.bytes[..]));
}

/// A client that takes nothing for a while, and in the meantime the system needs
/// the memory for something else.
#[tokio::test]
async fn what_is_not_in_memory_any_more_is_read_in_the_background() {
    static DROPPED: AtomicBool = AtomicBool::new(false);
    let registry = OneFile::new(|_| !DROPPED.load(Ordering::Relaxed));
    let server = TestServer::start(registry.clone()).await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(16 << 10).unwrap();
    let mut stream = socket.connect(server.address()).await.unwrap();
    let request = get(&registry.path(), "Connection: close\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    stream.read_exact(&mut [0; 1]).await.unwrap();
    DROPPED.store(true, Ordering::Relaxed);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(registry.reads(), 0);
    // The part that was seen in memory, and is not all sent, ends within this.
    let mut taken = vec![0; usize::try_from(PART).unwrap()];
    stream.read_exact(&mut taken).await.unwrap();
    let patience = tokio::time::timeout(Duration::from_secs(20), async {
        while registry.reads() < 2 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    patience.await.expect("nothing is read in the background");
    stream.read_to_end(&mut taken).await.unwrap();
    assert!(taken.ends_with(&registry.0.bytes));
}

/// What the program logs, as lines of JSON.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Log {
    /// The line of the access log about the request of this identity.
    async fn about(&self, id: &str) -> serde_json::Value {
        loop {
            let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
            let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
            let mut lines = lines.filter(|line: &serde_json::Value| {
                line["target"] == "registry::access" && line["fields"]["id"] == id
            });
            if let Some(line) = lines.next() {
                return line["fields"].clone();
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

#[tokio::test]
async fn only_what_was_sent_is_logged_as_sent() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().json();
    let subscriber = subscriber.with_writer(move || writer.clone()).finish();
    tracing::subscriber::set_global_default(subscriber).unwrap();

    let registry = OneFile::new(|_| true);
    let server = TestServer::start(registry.clone()).await;
    let size = SIZE as u64;
    let request = |id: &str| get(&registry.path(), &format!("X-Request-Id: {id}\r\n"));
    assert!(pipeline(&server, &[request("whole")]).await[0].is_some());
    let line = log.about("whole").await;
    assert_eq!(
        (&line["sent"], &line["complete"]),
        (&size.into(), &true.into())
    );

    // The very last part can't be sent.
    let last = size % PART;
    registry.0.file.set_len(size - last).unwrap();
    assert!(pipeline(&server, &[request("broken")]).await[0].is_none());
    let line = log.about("broken").await;
    let sent = &(size - last).into();
    assert_eq!((&line["sent"], &line["complete"]), (sent, &false.into()));
}
