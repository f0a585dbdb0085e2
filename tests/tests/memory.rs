//! However much is pushed or pulled, the server's memory stays small.
//!
//! Measured as the kernel does: the most that was resident since the mark was reset, compared with an idle server.

#![cfg(target_os = "linux")]
#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a step that fails is the test's result"
)]

use std::fmt::Write as _;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::{Barrier, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use registry_tests::harness::{Launch, Server};
use registry_tests::load::{Client, Content, Way};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

/// What anything may cost above an idle server.
const ROOM: u64 = 32 * MIB;

/// How many clients send a manifest that is too large, at the same time. Kept whole, they would take 800 MiB.
const CLIENTS: usize = 200;

/// What they may cost if they say how much they send, and so are refused at once: what their connections had read.
const ANNOUNCED: u64 = 48 * MIB;

/// What they may cost if they don't: also the first 64 KiB of each, and the memory set aside for larger manifests.
const UNANNOUNCED: u64 = 128 * MIB;

/// What as many valid ones may cost. Half of it is what 200 connections take; the rest are the bodies for which there is
/// memory (half of what is shared, from one address, and one that has room of its own), and one being read.
const STORED: u64 = 72 * MIB;

/// How many clients ask for a manifest of 4 MiB, and don't read it.
const READERS: usize = 300;

/// What they may cost: the memory for answers, of which they get half, the connections, and manifests that are read before
/// there turns out to be no memory for them.
const UNREAD: u64 = 128 * MIB;

#[test]
fn a_large_blob_is_pushed_asked_for_pulled_and_mounted_in_little_memory() {
    let _alone = alone();
    let size = 1024 * MIB;
    let content = Content::new(1, size);
    let server = Launch::new().start();
    let client = Client::new(server.host());
    let meter = Meter::of(&server);
    let path = format!("/v2/a/blobs/{}", content.digest());

    meter.within("push", ROOM, || {
        let pushed = client
            .push_blob("a", &content, Way::Whole)
            .expect("an answer");
        assert_eq!(pushed.status, 201, "{}", pushed.body);
    });
    meter.within("HEAD", ROOM, || {
        let asked = client.pull(&path, true).expect("an answer");
        assert_eq!(asked.status, 200);
    });
    meter.within("mount", ROOM, || {
        let mounted = client.mount("b", content.digest(), "a").expect("an answer");
        assert_eq!(mounted.status, 201, "{}", mounted.body);
    });
    meter.within("pull", ROOM, || {
        let pulled = client.pull(&path, false).expect("an answer");
        assert_eq!((pulled.status, pulled.size), (200, size));
        assert_eq!(pulled.digest, content.digest());
    });
}

#[test]
fn a_large_blob_is_pushed_in_chunks_in_little_memory() {
    let _alone = alone();
    let content = Content::new(2, 256 * MIB);
    let server = Launch::new().start();
    let client = Client::new(server.host());
    let meter = Meter::of(&server);
    for way in [Way::Chunked(64 * MIB), Way::Streamed, Way::Single] {
        meter.within(&format!("{way:?}"), ROOM, || {
            let pushed = client.push_blob("a", &content, way).expect("an answer");
            assert_eq!(pushed.status, 201, "{}", pushed.body);
        });
    }
}

#[test]
fn many_oversized_manifests_at_once_are_refused_in_little_memory() {
    let _alone = alone();
    let server = Launch::new().start();
    let meter = Meter::of(&server);
    let cases = [
        ("announced", true, ANNOUNCED),
        ("of any length", false, UNANNOUNCED),
    ];
    for (what, announced, room) in cases {
        let statuses = meter.within(what, room, || oversized_manifests(&server, announced));
        // Nobody who says how much comes is to wait for memory; of the others, those for which there is none are told
        // to come again. They come from one address, which gets half of it.
        let refused = statuses.iter().filter(|status| **status == 413).count();
        assert!(refused >= CLIENTS / 8, "{what}: {statuses:?}");
        for status in statuses {
            assert!(
                status == 413 || (!announced && [429, 503].contains(&status)),
                "an oversized manifest {what}: {status}"
            );
        }
    }
    let tags = server.api().get("/v2/a/tags/list").status();
    assert_eq!(tags, 404, "something was stored");
}

/// Sends manifests of more than 4 MiB at the same time; returns the status of each answer.
fn oversized_manifests(server: &Server, announced: bool) -> Vec<u16> {
    const LENGTH: u64 = 4 * MIB + 1;
    let barrier = Barrier::new(CLIENTS);
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|number| {
                let (barrier, host) = (&barrier, server.host());
                scope.spawn(move || {
                    let mut stream = connect(host);
                    let length = if announced {
                        format!("Content-Length: {LENGTH}")
                    } else {
                        "Transfer-Encoding: chunked".to_owned()
                    };
                    let head = format!(
                        "PUT /v2/a/manifests/t{number} HTTP/1.1\r\nHost: {host}\r\n{length}\r\n\
                         Content-Type: application/vnd.oci.image.manifest.v1+json\r\n\r\n"
                    );
                    barrier.wait();
                    stream.write_all(head.as_bytes()).expect("a request");
                    send_until_refused(&mut stream, announced, LENGTH);
                    status_of(&mut stream)
                })
            })
            .collect();
        let answers = clients.into_iter();
        answers
            .map(|client| client.join().expect("a client"))
            .collect()
    })
}

/// Sends a body. A server that has answered need not read the rest of it.
fn send_until_refused(stream: &mut TcpStream, announced: bool, length: u64) {
    let piece = vec![b' '; 64 << 10];
    let mut left = length;
    while left > 0 {
        let count = left.min(piece.len() as u64);
        let bytes = piece
            .get(..usize::try_from(count).unwrap_or_default())
            .unwrap_or_default();
        let sent = if announced {
            stream.write_all(bytes)
        } else {
            write!(stream, "{count:x}\r\n")
                .and_then(|()| stream.write_all(bytes))
                .and_then(|()| stream.write_all(b"\r\n"))
        };
        if sent.is_err() {
            return;
        }
        left = left.saturating_sub(count);
    }
    if !announced {
        // The same: it may have had enough.
        let _ = stream.write_all(b"0\r\n\r\n");
    }
}

/// S-60. What waits for memory isn't read, and what is read is read on one thread.
#[test]
fn many_large_manifests_at_once_are_stored_in_little_memory() {
    let _alone = alone();
    // As many descriptors as may be, each with annotations, take less than as many annotations.
    for (what, manifest) in [
        ("one long text", one_long_text as fn(usize) -> String),
        ("annotations", many_annotations),
    ] {
        let server = Launch::new().start();
        let meter = Meter::of(&server);
        let statuses = meter.within(what, STORED, || large_manifests(&server, manifest));
        // All of them, where the machine has nothing else to do. They come from one address, which gets half of the
        // memory.
        let stored = statuses.iter().filter(|status| **status == Some(201));
        assert!(stored.count() >= CLIENTS / 2, "{what}: {statuses:?}");
        for status in statuses.into_iter().flatten() {
            // On a slow machine some wait for too long, and are told to come again.
            assert!([201, 429, 503].contains(&status), "{what}: {status}");
        }
    }
}

/// A valid manifest of 4 MiB that is almost all one text.
fn one_long_text(number: usize) -> String {
    let begin = format!(
        r#"{{"schemaVersion":2,"manifests":[],"annotations":{{"number":"{number}","note":""#
    );
    let end = r#""}}"#;
    let length = (4_usize << 20).saturating_sub(begin.len().saturating_add(end.len()));
    format!("{begin}{}{end}", "x".repeat(length))
}

/// One of as many annotations as may be read.
fn many_annotations(number: usize) -> String {
    let mut manifest =
        format!(r#"{{"schemaVersion":2,"manifests":[],"annotations":{{"number":"{number}""#);
    for annotation in 0..65_000 {
        let _ = write!(manifest, r#","{annotation}":"""#);
    }
    manifest.push_str("}}");
    manifest
}

/// Pushes valid manifests at the same time; returns the status of each answer. There is none where the server had enough
/// of a client that still sent what nobody waited for.
fn large_manifests(server: &Server, manifest: fn(usize) -> String) -> Vec<Option<u16>> {
    let barrier = Barrier::new(CLIENTS);
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|number| {
                let (barrier, host) = (&barrier, server.host());
                scope.spawn(move || {
                    let manifest = manifest(number);
                    let mut stream = connect(host);
                    let limit = Some(Duration::from_mins(3));
                    stream.set_read_timeout(limit).expect("a time limit");
                    stream.set_write_timeout(limit).expect("a time limit");
                    let head = format!(
                        "PUT /v2/a/manifests/t{number} HTTP/1.1\r\nHost: {host}\r\n\
                         Content-Length: {}\r\n\
                         Content-Type: application/vnd.oci.image.index.v1+json\r\n\r\n",
                        manifest.len()
                    );
                    barrier.wait();
                    stream.write_all(head.as_bytes()).expect("a request");
                    stream.write_all(manifest.as_bytes()).ok()?;
                    let mut answer = [0; 12];
                    stream.read_exact(&mut answer).ok()?;
                    let text = String::from_utf8_lossy(&answer);
                    text.split(' ').nth(1)?.parse().ok()
                })
            })
            .collect();
        let answers = clients.into_iter();
        answers
            .map(|client| client.join().expect("a client"))
            .collect()
    })
}

/// Kept whole, the answers would take 1200 MiB.
#[test]
fn large_manifests_that_nobody_reads_are_answered_in_little_memory() {
    let _alone = alone();
    let server = Launch::new().start();
    let manifest = one_long_text(0);
    let host = server.host();
    let mut stream = connect(host);
    let head = format!(
        "PUT /v2/a/manifests/v1 HTTP/1.1\r\nHost: {host}\r\nContent-Length: {}\r\n\
         Content-Type: application/vnd.oci.image.index.v1+json\r\n\r\n",
        manifest.len()
    );
    stream.write_all(head.as_bytes()).expect("a request");
    stream.write_all(manifest.as_bytes()).expect("a manifest");
    assert_eq!(status_of(&mut stream), 201);
    let meter = Meter::of(&server);
    let (statuses, streams) = meter.within("unread", UNREAD, || {
        let get = format!("GET /v2/a/manifests/v1 HTTP/1.1\r\nHost: {host}\r\n\r\n");
        let mut streams: Vec<_> = (0..READERS)
            .map(|_| {
                let mut stream = connect_narrowly(host);
                stream.write_all(get.as_bytes()).expect("a request");
                stream
            })
            .collect();
        // No more of an answer than what begins it.
        let statuses: Vec<_> = streams.iter_mut().map(status_of).collect();
        (statuses, streams)
    });
    let answered = statuses.iter().filter(|status| **status == 200).count();
    assert!((1..READERS / 2).contains(&answered), "{statuses:?}");
    assert!(
        statuses
            .iter()
            .all(|status| [200, 429, 503].contains(status)),
        "{statuses:?}"
    );
    drop(streams);
    let again = server.api().get("/v2/a/manifests/v1").status();
    assert_eq!(again, 200, "when the others have left");
}

#[test]
fn nonsense_in_a_request_costs_no_memory() {
    let _alone = alone();
    let server = Launch::new().start();
    let meter = Meter::of(&server);
    let host = server.host();
    let dots = ".".repeat(64 << 10);
    let most = u128::from(u64::MAX).saturating_add(1);
    let requests = [
        (
            "a list of 2^64 tags",
            format!("GET /v2/a/tags/list?n={most}"),
        ),
        (
            "2^63 tags",
            format!("GET /v2/a/tags/list?n={}", 1_u64 << 63),
        ),
        (
            "2^31 repositories",
            format!("GET /v2/_catalog?n={}", 1_u64 << 31),
        ),
        ("2^64 repositories", format!("GET /v2/_catalog?n={most}")),
    ];
    for (what, line) in requests {
        let status = meter.within(what, 8 * MIB, || {
            let request = format!("{line} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
            exchange(host, &request)
        });
        assert!(status < 500, "{what}: {status}");
    }
    for scheme in ["Bearer ", "Basic ", ""] {
        let status = meter.within("64 KiB of dots", 8 * MIB, || {
            let request = format!(
                "GET /v2/ HTTP/1.1\r\nHost: {host}\r\nAuthorization: {scheme}{dots}\r\n\r\n"
            );
            exchange(host, &request)
        });
        assert!((400..500).contains(&status), "64 KiB of dots: {status}");
    }
}

/// The measure would show a server that keeps what it is sent.
#[test]
fn the_measure_shows_what_is_kept() {
    let _alone = alone();
    let before = Meter(std::process::id());
    before.reset();
    let idle = before.most();
    let kept = vec![1_u8; 64 << 20];
    assert!(kept.iter().step_by(4096).all(|byte| *byte == 1));
    let most = before.most();
    assert!(most >= idle.saturating_add(48 * MIB), "{idle} then {most}");
}

fn exchange(host: &str, request: &str) -> u16 {
    let mut stream = connect(host);
    // It may answer before it has read everything.
    let _ = stream.write_all(request.as_bytes());
    status_of(&mut stream)
}

fn connect(host: &str) -> TcpStream {
    let stream = TcpStream::connect(host).expect("a connection");
    let limit = Some(Duration::from_secs(30));
    stream.set_read_timeout(limit).expect("a time limit");
    stream.set_write_timeout(limit).expect("a time limit");
    stream
}

/// A connection for which the kernel keeps little that wasn't read.
fn connect_narrowly(host: &str) -> TcpStream {
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.enable_io().build().expect("a runtime");
    let stream = runtime.block_on(async {
        let socket = tokio::net::TcpSocket::new_v4()?;
        socket.set_recv_buffer_size(16 << 10)?;
        let address = host.parse().expect("an address");
        socket.connect(address).await?.into_std()
    });
    let stream = stream.expect("a connection");
    stream.set_nonblocking(false).expect("a blocking stream");
    let limit = Some(Duration::from_secs(30));
    stream.set_read_timeout(limit).expect("a time limit");
    stream
}

/// The status of the answer that comes; the body is left.
fn status_of(stream: &mut TcpStream) -> u16 {
    let mut answer = Vec::new();
    let mut buffer = [0; 1024];
    while answer.len() < 12 {
        match stream.read(&mut buffer).expect("an answer") {
            0 => break,
            read => answer.extend_from_slice(buffer.get(..read).unwrap_or_default()),
        }
    }
    let text = String::from_utf8_lossy(&answer);
    let status = text
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    status.unwrap_or_else(|| panic!("no status in {text:?}"))
}

/// One after the other: what is resident also depends on how the machine is used.
fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The resident memory of a process.
struct Meter(u32);

impl Meter {
    /// Once the server has answered a request, and so is warm.
    fn of(server: &Server) -> Self {
        assert_eq!(server.api().get("/v2/").status(), 200);
        Self(server.id())
    }

    /// Runs `action`, during which the server may use so much more than before.
    fn within<T>(&self, what: &str, room: u64, action: impl FnOnce() -> T) -> T {
        self.reset();
        let idle = self.most();
        let result = action();
        let most = self.most();
        let used = most.saturating_sub(idle);
        assert!(
            used <= room,
            "{what}: {} KiB above {} KiB, more than {} KiB",
            used / KIB,
            idle / KIB,
            room / KIB
        );
        // Shown with `--nocapture`.
        let _ = writeln!(
            std::io::stdout(),
            "{what}: {} KiB above {} KiB",
            used / KIB,
            idle / KIB
        );
        result
    }

    /// Forgets what the most was so far.
    fn reset(&self) {
        fs::write(format!("/proc/{}/clear_refs", self.0), "5").expect("the mark to reset");
    }

    /// The most that was resident since then, in bytes.
    fn most(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.0)).expect("its status");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|line| line.split_whitespace().next());
        let kib: u64 = kib.and_then(|kib| kib.parse().ok()).expect("a size");
        kib.saturating_mul(KIB)
    }
}
