//! A large blob on a disk that fails: what is behind its first 64 MiB is written past the system's cache.

use std::fs::File;
use std::io::Read;
use std::ops::Range;
use std::path::Path;

use registry_tests::harness::{Launch, Server, Tool};
use registry_tests::load::{Client, Content, Reply};

use crate::strace;

/// Where direct writes begin.
const DIRECT: u64 = 64 << 20;

/// Where the upload stands when the disk begins to fail: in the middle of a block.
const PAUSE: u64 = DIRECT + (2 << 20) + 77;

/// Neither the pause nor the end is where a block ends.
const SIZE: u64 = DIRECT + (40 << 20) + 1234;

/// How often an upload is taken up again at most: each thread of the server meets the fault once.
const TRIES: usize = 40;

#[test]
fn a_direct_write_that_fails_is_told_and_the_upload_goes_on() {
    let Some(strace) = strace() else {
        return;
    };
    // By the request that fails first: one that appends, or the one that ends the upload.
    for (error, status, ends) in [("EIO", 500, false), ("ENOSPC", 503, true)] {
        for number in [1, 3] {
            let fault = format!("inject=pwrite64:error={error}:when={number}");
            fails(&strace, &fault, status, ends);
        }
    }
}

fn fails(strace: &Tool, fault: &str, expected: u16, ends: bool) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (root, trace) = (
        directory.path().join("root"),
        directory.path().join("trace"),
    );
    let content = Content::new(11, SIZE);

    // The first part comes to a healthy server.
    let server = Launch::new().root(&root).start();
    let client = Client::new(server.host());
    let begun = client.begin("a").expect("an answer");
    let location = begun.location.expect("an upload");
    let appended = client.append(&location, &content, 0..PAUSE);
    let appended = appended.expect("an answer");
    assert_eq!(appended.status, 202, "{fault}: {}", appended.body);
    let location = appended.location.expect("an upload");
    assert!(server.terminate().status.success());
    let mut staged = std::fs::read_dir(root.join("staging")).expect("a directory");
    let staged = staged
        .next()
        .expect("a staged file")
        .expect("its name")
        .path();

    // Only the writes of this file fail, not those of the database.
    let mut command = strace.command(["-D", "-f", "-yy", "--seccomp-bpf", "-s", "0"]);
    command.args(["-e", "trace=pwrite64", "-e", fault, "-o"]);
    command.arg(&trace).arg("-P").arg(&staged);
    let server = Launch::new().root(&root).under(command).start();
    let client = Client::new(server.host());
    assert_eq!(offset(&client, &location), PAUSE, "{fault}");
    let first = if ends {
        client.finish(&location, &content, PAUSE..SIZE)
    } else {
        client.append(&location, &content, PAUSE..SIZE)
    };
    let first = first.expect("an answer");
    assert_eq!(first.status, expected, "{fault}: {}", first.body);
    assert!(first.body.contains("\"errors\""), "{fault}: {}", first.body);
    let sent = std::fs::read_to_string(&trace).expect("what strace saw");
    let injected = sent.lines().find(|line| line.contains("(INJECTED)"));
    let injected = injected.unwrap_or_else(|| panic!("{fault}: {sent}"));
    assert!(is_direct(injected), "{fault}: {injected}");

    // Nothing that counts is missing, and the rest can come.
    let mut ended = None;
    for _ in 0..TRIES {
        let at = offset(&client, &location);
        assert_eq!(at, PAUSE, "{fault}: what failed counts");
        assert_same(&staged, &content, 0..at, fault);
        let head = client.pull(&blob_path(&content), true);
        assert_eq!(head.expect("an answer").status, 404, "{fault}");
        let reply = client.finish(&location, &content, at..SIZE);
        let reply = reply.expect("an answer");
        if reply.status == 201 {
            ended = Some(reply);
            break;
        }
        assert_eq!(reply.status, expected, "{fault}: {}", reply.body);
    }
    let ended: Reply = ended.unwrap_or_else(|| panic!("{fault}: it never ended"));
    assert!(ended.location.is_some(), "{fault}");
    assert_eq!(server.api().get("/readyz").status(), 200, "{fault}");
    assert_whole(&server, &content, fault);
    assert!(server.terminate().status.success());

    let server = Launch::new().root(&root).start();
    assert_whole(&server, &content, fault);
    let hex = content.digest().trim_start_matches("sha256:").to_owned();
    let fan_out = root.join("blobs/sha256").join(hex.split_at(2).0);
    let mut stored = std::fs::read_dir(fan_out).expect("a directory");
    let stored = stored.next().expect("a blob").expect("its name").path();
    assert_same(&stored, &content, 0..SIZE, fault);
    let size = stored.metadata().expect("its size").len();
    assert_eq!(size, SIZE, "{fault}");
}

fn blob_path(content: &Content) -> String {
    format!("/v2/a/blobs/{}", content.digest())
}

/// Whether a call of `pwrite64` wrote whole blocks behind the first direct byte.
fn is_direct(line: &str) -> bool {
    let arguments = line.split_once(") = ").map(|(arguments, _)| arguments);
    let mut numbers = arguments.into_iter().flat_map(|text| text.rsplit(", "));
    let mut next = || numbers.next()?.trim().parse::<u64>().ok();
    let (offset, length) = (next(), next());
    offset.is_some_and(|offset| offset >= DIRECT && offset.is_multiple_of(4096))
        && length.is_some_and(|length| length.is_multiple_of(4096))
}

/// How many bytes the server says that it has of an upload.
fn offset(client: &Client, location: &str) -> u64 {
    let status = client.upload(location).expect("an answer");
    assert_eq!(status.status, 204, "{}", status.body);
    let range = status.range.expect("a range");
    let last = range
        .strip_prefix("0-")
        .and_then(|last| last.parse::<u64>().ok());
    last.expect("the last byte").saturating_add(1)
}

/// The server has the blob, with all of its bytes.
fn assert_whole(server: &Server, content: &Content, fault: &str) {
    let pulled = Client::new(server.host()).pull(&blob_path(content), false);
    let pulled = pulled.expect("an answer");
    assert_eq!(pulled.status, 200, "{fault}");
    assert_eq!(pulled.size, content.size(), "{fault}");
    assert_eq!(pulled.digest, content.digest(), "{fault}");
}

/// Compares a part of a file with the content, byte for byte.
fn assert_same(path: &Path, content: &Content, range: Range<u64>, fault: &str) {
    let length = range.end.saturating_sub(range.start);
    let mut expected = Vec::new();
    let read = content.read(range.start, length).read_to_end(&mut expected);
    read.expect("reading from memory");
    let mut found = Vec::new();
    let file = File::open(path).expect("a file");
    file.take(range.end)
        .read_to_end(&mut found)
        .expect("its bytes");
    let start = usize::try_from(range.start).expect("a small number");
    let same = found.get(start..) == Some(expected.as_slice());
    assert!(same, "{fault}: {} differs", path.display());
}
