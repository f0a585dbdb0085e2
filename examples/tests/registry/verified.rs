//! Finding content that rotted: `registry verify`, and reads that are hashed.

use std::path::{Path, PathBuf};

use registry_core::Algorithm;
use reqwest::{Method, StatusCode};
use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::program::{End, Setup, is_there, manifest};

/// Longer than what is read in one piece.
const SIZE: usize = 300_000;

fn large() -> Vec<u8> {
    vec![b'x'; SIZE]
}

fn serve(root: &Path) -> Setup {
    let root = root.to_str().unwrap();
    Setup::new().arguments(&["--addr", "127.0.0.1:0", "--root", root])
}

fn verify(root: &Path, more: &[&str]) -> End {
    let root = root.to_str().unwrap();
    let setup = Setup::new().arguments(&["verify", root]);
    setup.arguments(more).run()
}

/// What `--json` answers, and whether the program succeeded.
fn verify_json(root: &Path) -> (Value, bool) {
    let end = verify(root, &["--json"]);
    let answer = serde_json::from_str(&end.stdout);
    let answer = answer.unwrap_or_else(|error| panic!("{error}: {end:?}"));
    (answer, end.status.success())
}

/// Two blobs of which one is in two repositories, and a manifest.
async fn filled() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("data");
    let program = serve(&root).start();
    for (repository, content) in [
        ("a/b", large()),
        ("a/c", large()),
        ("a/b", b"small".to_vec()),
    ] {
        let pushed = program.push_blob(repository, &content).await;
        assert_eq!(pushed, StatusCode::CREATED);
    }
    let pushed = program.push_manifest("a/b", "t", b"small").await;
    assert_eq!(pushed, StatusCode::CREATED);
    program.end(Signal::TERM);
    (directory, root)
}

/// The file with some content. Of copies that a push put in another's place,
/// the only one.
fn file_of(root: &Path, content: &[u8]) -> PathBuf {
    let digest = Algorithm::Sha256.digest(content);
    let hex = digest.hex();
    let directory = root.join("blobs/sha256").join(&hex[..2]);
    let files = std::fs::read_dir(directory).unwrap();
    let files = files.map(|entry| entry.unwrap().path());
    let is_of_it = |path: &PathBuf| {
        path.file_name()
            .unwrap()
            .to_str()
            .unwrap()
            .starts_with(&hex)
    };
    let found: Vec<_> = files.filter(is_of_it).collect();
    assert_eq!(found.len(), 1, "{found:?}");
    found[0].clone()
}

fn flip_last_byte(path: &Path) {
    let mut bytes = std::fs::read(path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(path, bytes).unwrap();
}

#[tokio::test]
async fn whole_content_is_said_to_be_whole() {
    let (_directory, root) = filled().await;
    let end = verify(&root, &[]);
    assert!(end.status.success(), "{end:?}");
    assert!(
        end.stdout.starts_with("all 3 blobs and manifests ("),
        "{}",
        end.stdout
    );
    // A bar is for those who watch.
    assert_eq!(end.stderr, "");
    let (answer, succeeded) = verify_json(&root);
    assert!(succeeded);
    assert_eq!(answer["problems"], serde_json::json!([]));
    assert_eq!(answer["summary"]["valid"], true);
    let size = SIZE + "small".len() + manifest(b"small").len();
    assert_eq!(answer["summary"]["bytes"], size);
}

#[tokio::test]
async fn a_changed_byte_is_found_with_the_repositories_it_harms() {
    let (_directory, root) = filled().await;
    let content = large();
    flip_last_byte(&file_of(&root, &content));
    let digest = Algorithm::Sha256.digest(&content).to_string();
    let end = verify(&root, &[]);
    assert_eq!(end.status.code(), Some(1), "{end:?}");
    let line = format!("damaged      {digest} (292.9 KiB) in a/b, a/c: ");
    assert!(end.stdout.starts_with(&line), "{}", end.stdout);
    assert!(
        end.stdout.contains("1 of 3 blobs and manifests"),
        "{}",
        end.stdout
    );
    let (answer, succeeded) = verify_json(&root);
    assert!(!succeeded);
    let problem = &answer["problems"][0];
    assert_eq!(problem["state"], "damaged");
    assert_eq!(problem["digest"], digest);
    assert_eq!(problem["repositories"], serde_json::json!(["a/b", "a/c"]));
    assert_eq!(answer["summary"]["damaged"], 1);
}

/// A page of the database that was lost makes the database panic.
#[tokio::test]
async fn a_damaged_database_is_told_with_what_to_do() {
    const PAGE: usize = 4096;
    let (_directory, root) = filled().await;
    let database = root.join("metadata.redb");
    let whole = std::fs::read(&database).unwrap();
    let mut found = 0;
    for page in (0..whole.len()).step_by(PAGE) {
        let mut damaged = whole.clone();
        damaged[page..page + PAGE].fill(0);
        if damaged == whole {
            continue;
        }
        std::fs::write(&database, &damaged).unwrap();
        let mut end = verify(&root, &[]);
        if !end.status.success() && found == 0 {
            std::fs::write(&database, &damaged).unwrap();
            end = serve(&root).run();
        }
        assert!(!end.stderr.contains("panicked"), "{end:?}");
        if !end.status.success() {
            assert_eq!(end.status.code(), Some(1), "{end:?}");
            let told = format!("{}{}", end.stdout, end.stderr);
            assert!(told.contains("registry rebuild"), "{end:?}");
            found += 1;
        }
    }
    assert!(found > 2, "{found}");
}

/// One bit of a tag's name makes it another one, and one of the change log is
/// noticed only by whoever needs that.
#[tokio::test]
async fn a_changed_bit_of_the_metadata_is_found() {
    let (_directory, root) = filled().await;
    let database = root.join("metadata.redb");
    let whole = std::fs::read(&database).unwrap();
    let mut damaged = whole.clone();
    for at in 0..whole.len() - 3 {
        // The repository's name, wherever it is.
        if whole[at..].starts_with(b"a/b") {
            damaged[at] ^= 2;
        }
    }
    assert!(damaged != whole);
    std::fs::write(&database, &damaged).unwrap();
    let (answer, succeeded) = verify_json(&root);
    assert!(!succeeded);
    assert_eq!(answer["summary"]["valid"], false);
    assert_eq!(answer["problems"][0]["file"], "metadata.redb");
    let end = verify(&root, &[]);
    assert_eq!(end.status.code(), Some(1), "{end:?}");
    assert!(
        end.stdout.starts_with("damaged      metadata.redb: "),
        "{end:?}"
    );
    assert!(std::fs::read(&database).unwrap() == damaged);

    std::fs::write(&database, &whole).unwrap();
    let log = root.join("metadata.00000000000000000001.log");
    let mut bytes = std::fs::read(&log).unwrap();
    bytes[200] ^= 1;
    std::fs::write(&log, bytes).unwrap();
    let (answer, succeeded) = verify_json(&root);
    assert!(!succeeded);
    assert_eq!(
        answer["problems"][0]["file"],
        "metadata.00000000000000000001.log"
    );
    // The content was read all the same.
    assert_eq!(answer["summary"]["contents"], 3);
    assert_eq!(answer["summary"]["metadata"], 1);
}

/// Clients ask whether something is there before they push it.
#[tokio::test]
async fn what_was_found_damaged_is_pushed_again_by_those_who_ask_first() {
    let (_directory, root) = filled().await;
    let (content, document) = (large(), manifest(b"small"));
    for damaged in [content.as_slice(), document.as_bytes()] {
        flip_last_byte(&file_of(&root, damaged));
    }
    let (answer, _) = verify_json(&root);
    assert_eq!(answer["summary"]["damaged"], 2);
    let program = serve(&root).start();
    let digest = Algorithm::Sha256.digest(&content);
    let blobs = ["a/b", "a/c"].map(|name| format!("/v2/{name}/blobs/{digest}"));
    let digest = Algorithm::Sha256.digest(document.as_bytes());
    let manifests = ["t", &digest.to_string()].map(|name| format!("/v2/a/b/manifests/{name}"));
    let all: Vec<_> = blobs.iter().chain(&manifests).collect();
    for path in &all {
        let head = program.call(Method::HEAD, path, b"").await.status();
        assert_eq!(head, StatusCode::NOT_FOUND, "{path}");
        assert_eq!(program.call(Method::GET, path, b"").await.status(), 500);
    }
    assert_eq!(program.push_blob("a/b", &content).await, 201);
    assert_eq!(program.push_manifest("a/b", "t", b"small").await, 201);
    for path in &all {
        for method in [Method::HEAD, Method::GET] {
            assert_eq!(program.call(method, path, b"").await.status(), 200);
        }
    }
    program.end(Signal::TERM);
    let (_, is_whole) = verify_json(&root);
    assert!(is_whole);
    assert_eq!(std::fs::read(root.join("damaged")).unwrap(), b"");
}

#[tokio::test]
async fn files_that_are_cut_short_or_missing_are_found() {
    let (_directory, root) = filled().await;
    let mut options = std::fs::File::options();
    let cut = options.write(true).open(file_of(&root, &large()));
    cut.unwrap().set_len(SIZE as u64 - 1).unwrap();
    let manifest = manifest(b"small");
    std::fs::remove_file(file_of(&root, manifest.as_bytes())).unwrap();
    let (answer, succeeded) = verify_json(&root);
    assert!(!succeeded);
    let problems = answer["problems"].as_array().unwrap();
    let state_of = |content: &[u8]| {
        let digest = Algorithm::Sha256.digest(content).to_string();
        let mut problems = problems.iter();
        let problem = problems.find(|problem| problem["digest"] == digest);
        let problem = problem.unwrap();
        let state = problem["state"].as_str().unwrap().to_owned();
        (state, problem["repositories"][0].clone())
    };
    assert_eq!(problems.len(), 2);
    let damaged = ("damaged".to_owned(), Value::from("a/b"));
    assert_eq!(state_of(&large()), damaged);
    let missing = ("missing".to_owned(), Value::from("a/b"));
    assert_eq!(state_of(manifest.as_bytes()), missing);
}

#[tokio::test]
async fn what_is_unreferenced_is_told_and_is_no_failure() {
    let (_directory, root) = filled().await;
    let of_a_crash = file_of(&root, b"small");
    let name = of_a_crash.file_name().unwrap().to_str().unwrap();
    let (hex, _) = name.split_once('.').unwrap();
    let other = format!("{hex}.00000000-0000-4000-8000-000000000000");
    std::fs::copy(&of_a_crash, of_a_crash.with_file_name(other)).unwrap();
    let (answer, succeeded) = verify_json(&root);
    assert!(succeeded);
    assert_eq!(answer["problems"][0]["state"], "unreferenced");
    assert_eq!(answer["summary"]["unreferenced"], 1);
    assert_eq!(answer["summary"]["unreferencedBytes"], 5);
}

#[tokio::test]
async fn a_directory_in_use_or_of_something_else_is_not_verified() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("data");
    let end = verify(&root, &[]);
    assert_eq!(end.status.code(), Some(2), "{end:?}");
    assert!(end.stderr.contains("no such directory"), "{}", end.stderr);
    assert!(!is_there(&root));
    let end = verify(directory.path(), &[]);
    assert_eq!(end.status.code(), Some(2), "{end:?}");
    assert!(end.stderr.contains("no metadata"), "{}", end.stderr);
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    let _program = serve(&root).start();
    let end = verify(&root, &[]);
    assert_eq!(end.status.code(), Some(1), "{end:?}");
    assert!(end.stderr.contains("another process"), "{}", end.stderr);
}

/// The client sees that the answer breaks off; without the key it would have to
/// compare digests itself.
#[tokio::test]
async fn with_the_key_no_damaged_blob_is_served_as_good() {
    let (_directory, root) = filled().await;
    let content = large();
    flip_last_byte(&file_of(&root, &content));
    let digest = Algorithm::Sha256.digest(&content);
    let pull = async |setup: Setup| {
        let program = setup.start();
        let url = format!("http://{}/v2/a/b/blobs/{digest}", program.address);
        reqwest::get(url).await.unwrap().bytes().await
    };
    assert_eq!(pull(serve(&root)).await.unwrap().len(), SIZE);
    let verified = serve(&root).variable("REGISTRY_STORAGE_VERIFYREADS", "true");
    assert!(pull(verified).await.is_err());
    let file = "storage: {filesystem: {rootdirectory: ROOT}, verifyreads: true}\n\
                http: {addr: 127.0.0.1:0}\nversion: 0.1\n";
    let file = file.replace("ROOT", root.to_str().unwrap());
    assert!(pull(Setup::serve(&file)).await.is_err());
}

/// A copy of a root's metadata.
fn keep_metadata(root: &Path, name: &str) -> PathBuf {
    let kept = root.with_file_name(name);
    std::fs::create_dir(&kept).unwrap();
    for entry in std::fs::read_dir(root).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name();
        if name.to_str().unwrap().starts_with("metadata.") {
            std::fs::copy(entry.path(), kept.join(name)).unwrap();
        }
    }
    kept
}

/// Tags what is in `a/b`.
async fn tag(root: &Path, tag: &str) {
    let program = serve(root).start();
    let pushed = program.push_manifest("a/b", tag, b"small").await;
    assert_eq!(pushed, StatusCode::CREATED);
    program.end(Signal::TERM);
}

/// The problems with facts, as kind, repository, name and fault.
fn wrong_facts(answer: &Value) -> Vec<[&str; 4]> {
    let problems = answer["problems"].as_array().unwrap();
    let facts = problems
        .iter()
        .filter(|problem| problem.get("kind").is_some());
    facts
        .map(|fact| {
            ["kind", "repository", "name", "fault"].map(|key| fact[key].as_str().unwrap_or(""))
        })
        .collect()
}

const LOG: &str = "metadata.00000000000000000001.log";

/// Two files that were restored from different copies: every checksum is right.
#[tokio::test]
async fn a_database_beside_the_change_log_of_another_copy_is_told_fact_by_fact() {
    let (_directory, root) = filled().await;
    let kept = keep_metadata(&root, "kept");
    tag(&root, "one").await;
    let other = std::fs::read(root.join(LOG)).unwrap();
    for entry in std::fs::read_dir(&kept).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), root.join(entry.file_name())).unwrap();
    }
    tag(&root, "two").await;
    std::fs::write(root.join(LOG), other).unwrap();
    let (answer, succeeded) = verify_json(&root);
    assert!(!succeeded);
    let expected = [
        ["tag", "a/b", "one", "onlyInChangeLog"],
        ["tag", "a/b", "two", "onlyInDatabase"],
    ];
    let found = wrong_facts(&answer);
    for fact in expected {
        assert!(found.contains(&fact), "{answer}");
    }
    assert_eq!(answer["summary"]["facts"], found.len());
    assert_eq!(answer["summary"]["valid"], false);
    // The content was read all the same.
    assert_eq!(answer["summary"]["contents"], 3);
    let end = verify(&root, &[]);
    assert_eq!(end.status.code(), Some(1), "{end:?}");
    let line = "damaged      tag two in a/b: the database has it and its change log doesn't";
    assert!(end.stdout.contains(line), "{}", end.stdout);
}

#[tokio::test]
async fn a_database_restored_from_a_backup_is_told_with_what_it_lacks() {
    let (_directory, root) = filled().await;
    let kept = keep_metadata(&root, "kept");
    // What was committed last could also be what a crash left.
    tag(&root, "later").await;
    tag(&root, "last").await;
    let database = "metadata.redb";
    std::fs::copy(kept.join(database), root.join(database)).unwrap();
    let (answer, succeeded) = verify_json(&root);
    assert!(!succeeded);
    assert_eq!(answer["problems"][0]["file"], database);
    let later = ["tag", "a/b", "later", "onlyInChangeLog"];
    assert!(wrong_facts(&answer).contains(&later), "{answer}");
    let end = verify(&root, &[]);
    assert_eq!(end.status.code(), Some(1), "{end:?}");
    assert!(end.stdout.contains("older than its change log"), "{end:?}");
    assert!(end.stdout.contains("registry rebuild"), "{end:?}");
    assert!(end.stdout.contains("the content was not read"), "{end:?}");
    let arguments = ["rebuild", root.to_str().unwrap()];
    assert!(Setup::new().arguments(&arguments).run().status.success());
    assert!(verify(&root, &[]).status.success());
}

/// Also of pushes that nobody was told of, and of what they had begun.
#[tokio::test]
async fn nothing_is_found_after_the_server_was_killed() {
    let (_directory, root) = filled().await;
    for round in 0..4 {
        let program = serve(&root).start();
        let pushes = (0..8).map(|number| {
            let (program, content) = (&program, format!("{round} {number}"));
            async move {
                let content = content.as_bytes();
                for _ in 0..round {
                    let _ = program.push_blob("a/d", content).await;
                    let tag = format!("v{round}.{number}");
                    let _ = program.push_manifest("a/d", &tag, content).await;
                }
                let begun = "/v2/a/b/blobs/uploads/";
                let begun = program.call(Method::POST, begun, b"").await;
                assert_eq!(begun.status(), StatusCode::ACCEPTED);
            }
        });
        futures::future::join_all(pushes).await;
        program.end(Signal::KILL);
        let (answer, succeeded) = verify_json(&root);
        assert!(succeeded, "{answer}");
        assert_eq!(answer["summary"]["facts"], 0);
    }
}
