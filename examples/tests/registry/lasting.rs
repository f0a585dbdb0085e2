//! What is there after a restart.

use std::path::Path;

use reqwest::{Method, StatusCode};
use rustix::process::Signal;

use crate::program::{Program, Setup, eventually, is_there, manifest};

async fn push(program: &Program) {
    assert_eq!(program.push_blob("a/b", b"x").await, StatusCode::CREATED);
    assert_eq!(
        program.push_manifest("a/b", "t", b"x").await,
        StatusCode::CREATED
    );
}

async fn assert_there(program: &Program) {
    let (status, found) = program.get("/v2/a/b/manifests/t").await;
    assert_eq!((status, found), (StatusCode::OK, manifest(b"x")));
    let digest = registry_core::Algorithm::Sha256.digest(b"x");
    let (status, found) = program.get(&format!("/v2/a/b/blobs/{digest}")).await;
    assert_eq!((status, found.as_str()), (StatusCode::OK, "x"));
}

fn on(root: &str) -> Setup {
    Setup::new().arguments(&["--addr", "127.0.0.1:0", "--root", root])
}

#[tokio::test]
async fn what_was_acknowledged_outlives_the_process_however_it_ends() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("data");
    let root = root.to_str().unwrap();
    let program = on(root).start();
    push(&program).await;
    program.end(Signal::KILL);
    let program = on(root).start();
    assert_there(&program).await;
    program.end(Signal::TERM);
    assert_there(&on(root).start()).await;
}

/// That an upload was begun is not written at once. A process that is told to
/// stop writes it before it ends.
#[tokio::test]
async fn an_upload_that_was_begun_outlives_an_orderly_end() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("data");
    let root = root.to_str().unwrap();
    let program = on(root).start();
    let begun = program.call(Method::POST, "/v2/a/b/blobs/uploads/", b"");
    let begun = begun.await;
    assert_eq!(begun.status(), StatusCode::ACCEPTED);
    let location = begun.headers()[reqwest::header::LOCATION].to_str();
    let location = location.unwrap().to_owned();
    program.end(Signal::TERM);
    let program = on(root).start();
    let (status, _) = program.get(&location).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
}

/// Whatever the mask of the process would permit.
#[tokio::test]
async fn nobody_else_can_look_into_a_new_root() {
    use std::os::unix::fs::PermissionsExt;
    let program = Setup::unmasked()
        .arguments(&["--addr", "127.0.0.1:0"])
        .start();
    push(&program).await;
    let mut open = vec![program.path("registry-data")];
    let mut seen = 0;
    while let Some(path) = open.pop() {
        seen += 1;
        let mode = path.metadata().unwrap().permissions().mode() & 0o777;
        let private = if path.is_dir() { 0o700 } else { 0o600 };
        assert_eq!(mode, private, "{}", path.display());
        if path.is_dir() {
            let entries = std::fs::read_dir(&path).unwrap();
            open.extend(entries.map(|entry| entry.unwrap().path()));
        }
    }
    assert!(seen > 10, "{seen}");
}

#[tokio::test]
async fn a_lost_database_is_made_again() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("data");
    let database = root.join("metadata.redb");
    let root = root.to_str().unwrap();
    let program = on(root).start();
    push(&program).await;
    program.end(Signal::TERM);
    std::fs::remove_file(database).unwrap();
    let end = on(root).run();
    assert_eq!(end.status.code(), Some(1));
    assert!(end.stderr.contains("rebuild"), "{}", end.stderr);
    let end = Setup::new().arguments(&["rebuild", root]).run();
    assert!(end.status.success(), "{end:?}");
    assert!(!end.stdout.contains("replaced"), "{}", end.stdout);
    assert_there(&on(root).start()).await;

    // One that is there is kept, and told by its name.
    let end = Setup::new().arguments(&["rebuild", root]).run();
    let kept = format!("{root}/metadata.redb.replaced");
    assert!(end.stdout.contains(&kept), "{}", end.stdout);
    assert!(is_there(Path::new(&kept)));
    // Nothing is said of changes where there were none.
    let end = Setup::new().arguments(&["rebuild", root]).run();
    let sentence = "is there again, as it was last written down; nothing had changed since\n";
    assert!(end.stdout.contains(sentence), "{}", end.stdout);
}

#[tokio::test]
async fn a_damaged_change_log_is_skipped_only_when_asked() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("data");
    let program = on(root.to_str().unwrap()).start();
    push(&program).await;
    for content in [b"y", b"z"] {
        assert_eq!(program.push_blob("a/b", content).await, StatusCode::CREATED);
    }
    program.end(Signal::TERM);
    let log = std::fs::read_dir(&root).unwrap();
    let mut log = log.map(|entry| entry.unwrap().path());
    let log = log.find(|path| path.extension().is_some_and(|end| end == "log"));
    let log = log.unwrap();
    let mut bytes = std::fs::read(&log).unwrap();
    // In the last line but one.
    let lines: Vec<_> = bytes.split_inclusive(|byte| *byte == b'\n').collect();
    let behind: usize = lines.iter().rev().take(2).map(|line| line.len()).sum();
    let at = bytes.len() - behind + 100;
    bytes[at] ^= 1;
    std::fs::write(&log, bytes).unwrap();
    std::fs::remove_file(root.join("metadata.redb")).unwrap();

    let root = root.to_str().unwrap();
    let end = Setup::new().arguments(&["rebuild", root]).run();
    assert_eq!(end.status.code(), Some(1), "{end:?}");
    assert!(end.stderr.contains("--skip-damage"), "{}", end.stderr);
    let skip = ["rebuild", "--skip-damage", root];
    let end = Setup::new().arguments(&skip).run();
    assert!(end.status.success(), "{end:?}");
    assert!(
        end.stdout.contains("one damaged place was left out"),
        "{}",
        end.stdout
    );
    assert_there(&on(root).start()).await;
}

#[tokio::test]
async fn a_torn_end_of_the_change_log_is_told_and_kept() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("data");
    let program = on(root.to_str().unwrap()).start();
    push(&program).await;
    assert_eq!(program.push_blob("a/b", b"z").await, StatusCode::CREATED);
    program.end(Signal::TERM);
    let log = std::fs::read_dir(&root).unwrap();
    let mut log = log.map(|entry| entry.unwrap().path());
    let log = log.find(|path| path.extension().is_some_and(|end| end == "log"));
    let log = log.unwrap();
    let bytes = std::fs::read(&log).unwrap();
    std::fs::write(&log, &bytes[..bytes.len() - 40]).unwrap();
    std::fs::remove_file(root.join("metadata.redb")).unwrap();

    let end = Setup::new()
        .arguments(&["rebuild", root.to_str().unwrap()])
        .run();
    assert!(end.status.success(), "{end:?}");
    let kept = format!("{}.damaged", log.display());
    assert!(end.stdout.contains("is torn"), "{}", end.stdout);
    assert!(end.stdout.contains(&kept), "{}", end.stdout);
    assert!(is_there(Path::new(&kept)));
    assert_there(&on(root.to_str().unwrap()).start()).await;
}

#[tokio::test]
async fn an_upload_that_nobody_finishes_is_forgotten() {
    let program = Setup::new()
        .arguments(&["--addr", "127.0.0.1:0"])
        .variable("REGISTRY_STORAGE_MAINTENANCE_UPLOADPURGING_AGE", "100ms")
        .variable("REGISTRY_STORAGE_MAINTENANCE_UPLOADPURGING_INTERVAL", "1s")
        .start();
    let begun = program
        .call(Method::POST, "/v2/a/blobs/uploads/", b"")
        .await;
    assert_eq!(begun.status(), StatusCode::ACCEPTED);
    let location = begun.headers()["location"].to_str().unwrap().to_owned();
    assert_eq!(program.get(&location).await.0, StatusCode::NO_CONTENT);
    eventually("it is forgotten", async || {
        program.get(&location).await.0 == StatusCode::NOT_FOUND
    })
    .await;
}

#[tokio::test]
async fn connections_leave_files_for_what_they_ask_for() {
    let program = Setup::after("ulimit -n 256")
        .arguments(&["--addr", "127.0.0.1:0"])
        .start();
    let client = reqwest::Client::new();
    let push = async |content: &'static [u8]| {
        let digest = registry_core::Algorithm::Sha256.digest(content);
        let address = &program.address;
        let url = format!("http://{address}/v2/a/blobs/uploads/?digest={digest}");
        let request = client.post(url).body(content);
        request.send().await.unwrap().status()
    };
    assert_eq!(push(b"x").await, StatusCode::CREATED);
    let mut idle = Vec::new();
    for source in ["127.0.0.2:0", "127.0.0.3:0", "127.0.0.4:0"] {
        for _ in 0..100 {
            let socket = tokio::net::TcpSocket::new_v4().unwrap();
            socket.bind(source.parse().unwrap()).unwrap();
            idle.push(socket.connect(program.address.parse().unwrap()).await);
        }
    }
    // On the connection that it had before.
    for content in [b"y", b"z"] {
        assert_eq!(push(content).await, StatusCode::CREATED);
    }
}
