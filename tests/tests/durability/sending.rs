//! A disk that fails while content is sent.

use std::fs;
use std::path::{Path, PathBuf};

use registry_tests::harness::Launch;
use registry_tests::load::{Client, Content, Way};

use crate::strace;

const SIZE: u64 = 8 << 20;

/// Only what the disk doesn't give is cut off, in time for the client to notice.
#[test]
fn content_that_cannot_be_sent_breaks_its_answer_off_and_nothing_else() {
    let Some(tool) = strace() else {
        return;
    };
    let directory = tempfile::tempdir().expect("a temporary directory");
    let root = directory.path().join("root");
    let contents = [Content::new(1, SIZE), Content::new(2, SIZE)];
    let server = Launch::new().root(&root).start();
    for content in &contents {
        let pushed = Client::new(server.host()).push_blob("a", content, Way::Whole);
        assert_eq!(pushed.expect("an answer").status, 201);
    }
    assert!(server.terminate().status.success());

    let [failing, other] = &contents;
    let file = file_of(&root, failing);
    let mut strace = tool.command(["-D", "-f", "--seccomp-bpf", "-e", "trace=mmap,sendfile"]);
    // It isn't mapped, so that it is sent as to clients elsewhere.
    strace.args(["-e", "inject=mmap:error=ENODEV"]);
    strace.args(["-e", "inject=sendfile:error=EIO:when=3+", "-o"]);
    strace
        .arg(directory.path().join("trace"))
        .arg("-P")
        .arg(&file);
    let server = Launch::new().root(&root).under(strace).start();
    let client = Client::new(server.host());
    let path = |content: &Content| format!("/v2/a/blobs/{}", content.digest());
    let broken = client.pull(&path(failing), false);
    assert!(broken.is_err(), "{broken:?}");
    let whole = client.pull(&path(other), false).expect("an answer");
    assert_eq!((whole.status, whole.digest.as_str()), (200, other.digest()));
    assert_eq!(server.api().get("/readyz").status(), 200);
    let log = server.terminate().log;
    assert!(log.contains("could not be sent"), "{log}");
    let trace = fs::read_to_string(directory.path().join("trace")).expect("what strace saw");
    assert!(trace.contains("(INJECTED)"), "{trace}");

    let server = Launch::new().root(&root).start();
    let whole = Client::new(server.host()).pull(&path(failing), false);
    assert_eq!(whole.expect("an answer").digest, failing.digest());
}

/// Where the server keeps this content.
fn file_of(root: &Path, content: &Content) -> PathBuf {
    let hex = content.digest().trim_start_matches("sha256:");
    let fan_out = root
        .join("blobs/sha256")
        .join(hex.get(..2).expect("digits"));
    let files = fs::read_dir(fan_out).expect("a directory of content");
    let mut paths = files.map(|file| file.expect("a file").path());
    let is_its = |path: &PathBuf| path.to_string_lossy().contains(hex);
    paths.find(is_its).expect("its file")
}
