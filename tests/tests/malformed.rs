//! Whatever bytes a client sends, the server answers with a 4xx, or closes the connection, and goes on.
//!
//! Requests are made from a grammar of the protocol whose every part may be wrong, and sent over plain sockets.
//! `REGISTRY_TESTS_REQUESTS` says how many, `REGISTRY_TESTS_SEED` which ones.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a step that fails is the test's result"
)]

use std::fmt::Write as _;
use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::Path;
use std::time::Duration;

use fastrand::Rng;
use registry_tests::harness::Launch;

/// How many requests are sent if nothing else is asked for.
const REQUESTS: u64 = 20_000;

/// How many clients send them.
const CLIENTS: u64 = 8;

#[test]
fn malformed_requests_are_refused_and_leave_nothing_behind() {
    let seed = number("REGISTRY_TESTS_SEED").unwrap_or_else(|| fastrand::u64(..));
    let requests = number("REGISTRY_TESTS_REQUESTS").unwrap_or(REQUESTS);
    let mut server = Launch::new().start();
    let host = server.host().to_owned();
    let share = requests.div_ceil(CLIENTS);
    let results: Vec<_> = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                let (host, seed) = (&host, seed.wrapping_add(client));
                scope.spawn(move || (0..share).map(|number| send(host, seed, number)).collect())
            })
            .collect();
        let ended = clients.into_iter().map(std::thread::ScopedJoinHandle::join);
        ended
            .map(|result: std::thread::Result<Vec<_>>| result.expect("a client"))
            .collect()
    });
    let mut refused = 0_u64;
    let mut wrong = Vec::new();
    for result in results.into_iter().flatten() {
        match result {
            Ok(Some(400..500)) => refused = refused.saturating_add(1),
            Ok(_) => {}
            Err(problem) => wrong.push(problem),
        }
    }
    let shown = format!("REGISTRY_TESTS_SEED={seed}");
    assert!(
        wrong.is_empty(),
        "{shown}: {}\n{}",
        wrong.len(),
        wrong.first().map_or("", String::as_str)
    );
    assert!(
        refused > requests / 2,
        "{shown}: only {refused} of {requests} were refused"
    );

    assert_eq!(server.api().get("/v2/").status(), 200, "{shown}");
    assert_eq!(server.api().get("/readyz").status(), 200, "{shown}");
    let log = server.log();
    assert!(!log.contains("panicked"), "{shown}: {log}");
    let catalog = server.api().get("/v2/_catalog").json();
    let listed = catalog.get("repositories").and_then(|list| list.as_array());
    assert_eq!(listed.map(Vec::len), Some(0), "{shown}: {catalog}");
    assert_eq!(
        files(&server.root().join("blobs")),
        0,
        "{shown}: something was stored"
    );
}

/// RFC 9112, section 7.1: what can be read in one way only is taken, and what can't is the client's mistake, not its
/// network's.
#[test]
fn chunks_are_taken_with_extensions_and_refused_where_they_are_malformed() {
    let server = Launch::new().start();
    let digest = "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
    for (chunks, expected) in [
        ("5\r\nhello\r\n0\r\n\r\n", 201),
        ("5;a=b\r\nhello\r\n0;c\r\n\r\n", 201),
        ("0000000000000005\r\nhello\r\n0\r\n\r\n", 201),
        ("5\r\nhelloX\r\n0\r\n\r\n", 400),
        ("x\r\nhello\r\n0\r\n\r\n", 400),
        ("5;a\nhello\r\n0\r\n\r\n", 400),
    ] {
        let mut stream = TcpStream::connect(server.host()).expect("a connection");
        let limit = Some(Duration::from_secs(20));
        stream.set_read_timeout(limit).expect("a time limit");
        let request = format!(
            "POST /v2/a/blobs/uploads/?digest={digest} HTTP/1.1\r\nHost: {}\r\n\
             Transfer-Encoding: chunked\r\n\r\n{chunks}",
            server.host()
        );
        stream.write_all(request.as_bytes()).expect("a request");
        let answer = answer(&mut stream);
        assert_eq!(status(&answer), Some(expected), "{chunks:?}: {answer}");
    }
}

/// Clients keep their connections: what follows a refused request is answered, or the refusal said that nothing will be.
#[test]
fn a_refused_request_leaves_its_connection_usable_or_says_that_it_closes() {
    let server = Launch::new().start();
    let manifest = "Content-Type: application/vnd.oci.image.manifest.v1+json\r\n";
    let upload = "/v2/a/blobs/uploads/00000000-0000-4000-8000-000000000000";
    let requests = [
        ("PUT /v2/a/manifests/-x", manifest, 400),
        ("PUT /v2/a/manifests/sha256:bad", manifest, 400),
        ("PUT /v2/a/manifests/v1", manifest, 400),
        ("PUT /v2/A/manifests/v1", manifest, 400),
        ("PATCH /v2/a/blobs/uploads/x", "", 404),
        (&format!("PATCH {upload}"), "", 404),
        (&format!("PUT {upload}"), "", 400),
        (&format!("PUT {upload}?digest=bad"), "", 400),
        ("POST /v2/a/blobs/uploads/?digest=bad", "", 400),
        ("POST /v2/a/blobs/uploads/?digest-algorithm=md5", "", 400),
        ("PUT /v2/nothing/here", "", 404),
        ("POST /v1/", "", 404),
        ("POST /v2/a/tags/list", "", 405),
    ];
    for length in [5, 200_000, 20_000_000] {
        for (request, headers, expected) in requests {
            let what = format!("{request}, {length} bytes");
            let mut stream = TcpStream::connect(server.host()).expect("a connection");
            let limit = Some(Duration::from_secs(20));
            stream.set_read_timeout(limit).expect("a time limit");
            stream.set_write_timeout(limit).expect("a time limit");
            let head = format!(
                "{request} HTTP/1.1\r\nHost: {}\r\n{headers}Content-Length: {length}\r\n\r\n",
                server.host()
            );
            stream.write_all(head.as_bytes()).expect("a head to send");
            // Only a server that has said that it closes may read no further.
            let sent = stream.write_all(&vec![b'x'; length]);
            let refusal = answer(&mut stream);
            // Its length alone can be reason enough.
            let is_too_large = length > 4 << 20 && status(&refusal) == Some(413);
            assert!(
                is_too_large || status(&refusal) == Some(expected),
                "{what}: {refusal}"
            );
            if refusal
                .to_ascii_lowercase()
                .contains("\r\nconnection: close\r\n")
            {
                continue;
            }
            sent.unwrap_or_else(|error| panic!("{what}: {error}"));
            let next = format!("GET /v2/ HTTP/1.1\r\nHost: {}\r\n\r\n", server.host());
            stream
                .write_all(next.as_bytes())
                .expect("a request to send");
            let next = answer(&mut stream);
            assert_eq!(status(&next), Some(200), "{what}, then: {next:?}");
        }
    }
}

/// One answer with a `Content-Length`, or as much of it as came.
fn answer(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&answer).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let lengths = head.lines().filter_map(|line| {
                let (name, value) = line.split_once(": ")?;
                let is_length = name.eq_ignore_ascii_case("content-length");
                is_length.then(|| value.parse::<usize>().ok())?
            });
            if body.len() >= lengths.sum() {
                return text;
            }
        }
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => return text,
            Ok(read) => answer.extend_from_slice(buffer.get(..read).unwrap_or_default()),
        }
    }
}

fn status(answer: &str) -> Option<u16> {
    let rest = answer.strip_prefix("HTTP/1.")?;
    rest.get(2..5)?.parse().ok()
}

/// Sends one request; returns the status of the answer, if one came.
fn send(host: &str, seed: u64, number: u64) -> Result<Option<u16>, String> {
    let mut random = Rng::with_seed(seed.wrapping_mul(0x9e37_79b9).wrapping_add(number));
    let request = request(&mut random, host);
    let problem = |what: &str| {
        let request = String::from_utf8_lossy(&request);
        format!("{what} after request {number} of seed {seed}:\n{request:?}")
    };
    let mut stream = TcpStream::connect(host).map_err(|error| problem(&error.to_string()))?;
    let limit = Some(Duration::from_secs(20));
    stream.set_read_timeout(limit).expect("a time limit");
    stream.set_write_timeout(limit).expect("a time limit");
    // It may answer and close before it has read everything.
    let _ = stream.write_all(&request);
    let _ = stream.shutdown(Shutdown::Write);
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => answer.extend_from_slice(buffer.get(..read).unwrap_or_default()),
            // What came before counts.
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => break,
            Err(error) => return Err(problem(&format!("no end of the answer: {error}"))),
        }
    }
    let answer = String::from_utf8_lossy(&answer);
    if answer.is_empty() {
        return Ok(None);
    }
    match status(&answer) {
        Some(500..) => Err(problem(&answer)),
        Some(status) => Ok(Some(status)),
        None => Err(problem(&format!("no status in {answer:?}"))),
    }
}

/// A request of which at least one part is wrong.
fn request(random: &mut Rng, host: &str) -> Vec<u8> {
    let method = pick(
        random,
        &[
            "GET", "HEAD", "PUT", "POST", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "get",
            "G\u{e9}T", "", "PUT PUT",
        ],
    );
    let target = target(random);
    let version = if random.u8(0..20) == 0 {
        pick(
            random,
            &[
                "HTTP/0.9",
                "HTTP/1.2",
                "HTTP/3",
                "http/1.1",
                "",
                "HTTP/1.1 x",
            ],
        )
    } else {
        "HTTP/1.1"
    };
    let mut head = format!("{method} {target} {version}\r\n");
    if random.u8(0..15) != 0 {
        let _ = write!(head, "Host: {host}\r\n");
    }
    for _ in 0..random.u8(0..4) {
        head.push_str(pick(
            random,
            &[
                "Content-Length: -1\r\n",
                "Content-Length: 99999999999999999999999\r\n",
                "Content-Length: 5\r\n",
                "Content-Length: 5\r\nContent-Length: 6\r\n",
                "Transfer-Encoding: chunked\r\n",
                "Transfer-Encoding: gzip, chunked\r\n",
                "Transfer-Encoding: xchunked\r\n",
                "Content-Range: 0-\r\n",
                "Content-Range: 5-2\r\n",
                "Content-Range: bytes 0-1/2\r\n",
                "Content-Range: 18446744073709551615-0\r\n",
                "Range: bytes=-\r\n",
                "Range: bytes=5-1\r\n",
                "Range: bytes=0-18446744073709551616\r\n",
                "Range: bytes=0-0,0-0,0-0,-1,99-\r\n",
                "Content-Type: \r\n",
                "Content-Type: ///\r\n",
                "Content-Type: application/vnd.oci.image.manifest.v1+json\r\n",
                "Authorization: Basic !!!\r\n",
                "Authorization: Basic Og==\r\n",
                "Authorization: Bearer ..\r\n",
                "Accept: \u{1}\r\n",
                "Expect: 200-maybe\r\n",
                "If-None-Match: \"\r\n",
                "If-None-Match: W/\r\n",
                " folded: x\r\n",
                "no colon\r\n",
                ": nameless\r\n",
                "Upgrade: h2c\r\nConnection: upgrade\r\n",
                "Bare: x\n",
                "Nul: \0\r\n",
                "Docker-Content-Digest: sha256:zz\r\n",
            ],
        ));
    }
    head.push_str("Connection: close\r\n\r\n");
    let mut request = head.into_bytes();
    request.extend_from_slice(
        pick(
            random,
            &[
                "",
                "{}",
                "null",
                "[",
                "hello",
                "5\r\nhello\r\n0\r\n\r\n",
                "FFFFFFFFFFFFFFFF\r\n",
                "5\r\nhel",
                "-1\r\n\r\n",
                "{\"schemaVersion\":2,\"schemaVersion\":2}",
                "{\"schemaVersion\":2,\"layers\":[],\"manifests\":[]}",
                "{\"schemaVersion\":1e999}",
                "{\"config\":{\"digest\":\"../../etc/passwd\",\"size\":-1}}",
            ],
        )
        .as_bytes(),
    );
    for _ in 0..random.u8(0..3) {
        let at = random.usize(0..request.len().max(1));
        match (random.u8(0..6), request.get_mut(at)) {
            (0, Some(byte)) => *byte = random.u8(..),
            (1, _) => request.truncate(at),
            (2, Some(_)) => request.insert(at, random.u8(..)),
            _ => {}
        }
    }
    request
}

/// A path of the protocol in which something can't be.
fn target(random: &mut Rng) -> String {
    const DIGEST: &str = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";
    let name = pick(
        random,
        &[
            "a",
            "a/b",
            "A",
            "a//b",
            "../a",
            "%2e%2e/a",
            "a%2Fb",
            "a/",
            "-a",
            "a__b",
            "a___b",
            "\u{e4}",
            "%00",
            "%zz",
            "a%",
            "",
            "blobs/uploads",
            "manifests",
            "a\\b",
        ],
    );
    let name = if random.u8(0..30) == 0 {
        "a".repeat(10_000)
    } else {
        name.to_owned()
    };
    let reference = pick(
        random,
        &[
            DIGEST,
            "latest",
            "sha256:",
            "sha256:44",
            "sha256:../../x",
            "SHA256:44",
            "md5:0123",
            ":",
            "",
            "-",
            ".tag",
            "t a g",
            "%20",
            "\u{1f600}",
            "sha512:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a",
        ],
    );
    let upload = pick(
        random,
        &[
            "00000000-0000-4000-8000-000000000000",
            "../../x",
            "%2e%2e",
            "zz",
            "",
            "1",
            "00000000-0000-4000-8000-00000000000g",
        ],
    );
    let path = match random.u8(0..9) {
        0 => format!("/v2/{name}/manifests/{reference}"),
        1 => format!("/v2/{name}/blobs/{reference}"),
        2 => format!("/v2/{name}/blobs/uploads/{upload}"),
        3 => format!("/v2/{name}/tags/list"),
        4 => format!("/v2/{name}/referrers/{reference}"),
        5 => "/v2/_catalog".to_owned(),
        6 => format!("/v1/{name}"),
        7 => format!("//v2/{name}/blobs/uploads"),
        _ => format!("/v2/{name}/tags/list/{reference}"),
    };
    let query = match random.u8(0..8) {
        0 => format!("?digest={reference}"),
        1 => format!("?mount={reference}&from={name}"),
        2 => format!(
            "?n={}",
            pick(
                random,
                &[
                    "-1",
                    "0",
                    "",
                    "1e9",
                    "+1",
                    "18446744073709551616",
                    "1&n=2",
                    "%31"
                ]
            )
        ),
        3 => format!("?last={name}%00&n=1"),
        4 => format!("?tag={reference}&tag={name}"),
        5 => "?digest-algorithm=md5".to_owned(),
        6 => "?%&=&&artifactType=%ff".to_owned(),
        _ => String::new(),
    };
    path + &query
}

fn pick<'a>(random: &mut Rng, from: &[&'a str]) -> &'a str {
    random.choice(from).copied().unwrap_or_default()
}

fn files(directory: &Path) -> usize {
    let entries = fs::read_dir(directory).expect("a directory");
    entries
        .map(|entry| entry.expect("an entry").path())
        .fold(0, |count, path| {
            count.saturating_add(if path.is_dir() { files(&path) } else { 1 })
        })
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{variable} is no number: {text}")),
    )
}
