//! What a lost, damaged, old or locked database leads to.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "in a test, a panic is the way to fail"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use registry_core::{
    Algorithm, Error, ErrorKind, MediaType, Reference, RepositoryEpoch, RepositoryName,
};
use registry_storage::testkit::change_log;
use registry_storage::{
    Batch, Change, ManifestRecord, MetadataStore, Rebuilt, RedbMetadata, RedbOptions,
    VerifiedMetadata,
};

fn name() -> RepositoryName {
    "team/app".parse().unwrap()
}

/// One push: a manifest and a tag that points to it.
fn push(number: u64) -> Batch {
    let digest = Algorithm::Sha256.digest(&number.to_le_bytes());
    let put = Change::PutManifest {
        repository: name(),
        manifest: ManifestRecord {
            digest,
            media_type: MediaType::OCI_MANIFEST,
            size: 1,
            subject: None,
            pushed_at: SystemTime::UNIX_EPOCH,
        },
        references: Vec::new(),
        referrer: None,
    };
    let tag = Change::PutTag {
        repository: name(),
        tag: format!("v{number}").parse().unwrap(),
        digest,
        at: SystemTime::UNIX_EPOCH,
    };
    Batch {
        changes: vec![put, tag],
        durable: true,
        ..Batch::default()
    }
}

async fn open(directory: &Path) -> RedbMetadata {
    RedbMetadata::open(directory, RedbOptions::default())
        .await
        .unwrap()
}

async fn push_all(directory: &Path, numbers: std::ops::Range<u64>) {
    let store = open(directory).await;
    for number in numbers {
        store.commit(push(number)).await.unwrap();
    }
    store.close().await.unwrap();
}

/// The pushes that are there.
async fn pushed(store: &RedbMetadata) -> Vec<u64> {
    let mut found = Vec::new();
    for number in 0..20 {
        let tag = Reference::Tag(format!("v{number}").parse().unwrap());
        if store.manifest(&name(), &tag).await.unwrap().is_some() {
            found.push(number);
        }
    }
    found
}

/// The pushes that are there, for nobody but whoever looks.
async fn pushed_in(directory: &Path) -> Vec<u64> {
    let store = open(directory).await;
    let found = pushed(&store).await;
    store.close().await.unwrap();
    found
}

/// The one segment of the change log.
fn segment(directory: &Path) -> PathBuf {
    let entries = fs::read_dir(directory).unwrap();
    let mut paths = entries.map(|entry| entry.unwrap().path());
    let log = paths.find(|path| path.extension().is_some_and(|kind| kind == "log"));
    log.unwrap()
}

fn database(directory: &Path) -> PathBuf {
    directory.join("metadata.redb")
}

async fn rebuild(directory: &Path) -> Result<Rebuilt, Error> {
    RedbMetadata::rebuild(directory, RedbOptions::default()).await
}

#[tokio::test]
async fn a_second_process_is_told_that_the_database_is_open() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    for error in [
        RedbMetadata::open(directory.path(), RedbOptions::default())
            .await
            .unwrap_err(),
        {
            store.commit(push(1)).await.unwrap();
            rebuild(directory.path()).await.unwrap_err()
        },
    ] {
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(error.to_string().contains("another process"), "{error}");
    }
    drop(store);
    // It waits until the writer is done.
    open(directory.path()).await;
}

fn says_what_to_do(error: &Error) {
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    assert!(error.to_string().contains("registry rebuild"), "{error}");
}

/// The database panics at such pages. Whoever opens it is told what to do.
#[tokio::test]
async fn a_page_that_was_lost_is_an_error_that_says_what_to_do() {
    const PAGE: usize = 4096;
    let directory = tempfile::tempdir().unwrap();
    push_all(directory.path(), 0..20).await;
    let whole = fs::read(database(directory.path())).unwrap();
    let mut noticed = 0;
    for page in (0..whole.len()).step_by(PAGE) {
        let mut damaged = whole.clone();
        damaged[page..page + PAGE].fill(0);
        fs::write(database(directory.path()), damaged).unwrap();
        let opened = RedbMetadata::open(directory.path(), RedbOptions::default()).await;
        let closed = match opened {
            Ok(store) => store.close().await,
            Err(error) => Err(error),
        };
        if let Err(error) = closed {
            says_what_to_do(&error);
            noticed += 1;
        }
    }
    assert!(noticed > 5, "{noticed}");

    rebuild(directory.path()).await.unwrap();
    let all: Vec<_> = (0..20).collect();
    assert_eq!(pushed_in(directory.path()).await, all);
}

#[tokio::test]
async fn pages_that_are_lost_while_it_is_open_are_such_an_error_too() {
    let directory = tempfile::tempdir().unwrap();
    push_all(directory.path(), 0..20).await;
    let options = RedbOptions::default().cache_bytes(0);
    let store = RedbMetadata::open(directory.path(), options).await.unwrap();
    let length = fs::metadata(database(directory.path())).unwrap().len();
    let file = fs::OpenOptions::new()
        .write(true)
        .open(database(directory.path()))
        .unwrap();
    // The header and what follows it stay.
    file.set_len(8192).unwrap();
    file.set_len(length).unwrap();
    let tag = Reference::Tag("v1".parse().unwrap());
    says_what_to_do(&store.manifest(&name(), &tag).await.unwrap_err());
    store.commit(push(21)).await.unwrap_err();
    says_what_to_do(&store.manifest(&name(), &tag).await.unwrap_err());
    says_what_to_do(&store.close().await.unwrap_err());
    // It let go of the directory.
    drop(store);
    rebuild(directory.path()).await.unwrap();
    let all: Vec<_> = (0..20).collect();
    assert_eq!(pushed_in(directory.path()).await, all);
}

async fn verify(directory: &Path) -> VerifiedMetadata {
    RedbMetadata::verify(directory, RedbOptions::default())
        .await
        .unwrap()
}

/// The files in which something was found.
fn found_in(verified: &VerifiedMetadata) -> Vec<&str> {
    let findings = verified.findings.iter();
    findings.map(|finding| finding.file.as_str()).collect()
}

/// Everything in a directory, byte for byte.
fn files(directory: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let entries = fs::read_dir(directory).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = paths
        .map(|path| (path.clone(), fs::read(path).unwrap()))
        .collect();
    files.sort();
    files
}

#[tokio::test]
async fn what_is_whole_is_verified_as_that_and_stays_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    push_all(directory.path(), 0..20).await;
    let before = files(directory.path());
    let verified = verify(directory.path()).await;
    assert!(verified.database_is_whole, "{verified:?}");
    assert_eq!(found_in(&verified), [""; 0]);
    assert_eq!(verified.wrong_facts, []);
    assert!(files(directory.path()) == before);
    rebuild(directory.path()).await.unwrap();
    push_all(directory.path(), 20..30).await;
    let verified = verify(directory.path()).await;
    assert!(verified.database_is_whole, "{verified:?}");
    assert_eq!(found_in(&verified), [""; 0]);
    assert_eq!(verified.wrong_facts, []);
}

/// A process that was killed leaves an open database, and may leave records that
/// it never acknowledged.
#[tokio::test]
async fn what_a_crash_leaves_is_verified_as_whole() {
    let directory = tempfile::tempdir().unwrap();
    let copy = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    for number in 0..10 {
        store.commit(push(number)).await.unwrap();
    }
    for (path, bytes) in files(directory.path()) {
        fs::write(copy.path().join(path.file_name().unwrap()), bytes).unwrap();
    }
    let mut log = fs::read(segment(copy.path())).unwrap();
    log.extend_from_slice(b"0123abcd {\"half");
    fs::write(segment(copy.path()), log).unwrap();
    let verified = verify(copy.path()).await;
    assert!(verified.database_is_whole, "{verified:?}");
    assert_eq!(found_in(&verified), [""; 0]);
    assert_eq!(verified.wrong_facts, []);
    assert_eq!(pushed_in(copy.path()).await, (0..10).collect::<Vec<_>>());
}

/// One bit of a tag's name makes it another tag, which nothing else notices.
#[tokio::test]
async fn one_changed_bit_of_the_database_is_found() {
    let directory = tempfile::tempdir().unwrap();
    push_all(directory.path(), 0..20).await;
    let whole = fs::read(database(directory.path())).unwrap();
    let name = b"v13";
    let mut found = 0;
    for at in (0..whole.len() - name.len()).filter(|at| whole[*at..].starts_with(name)) {
        let mut damaged = whole.clone();
        damaged[at] ^= 1;
        fs::write(database(directory.path()), &damaged).unwrap();
        let verified = verify(directory.path()).await;
        assert!(fs::read(database(directory.path())).unwrap() == damaged);
        if !verified.database_is_whole {
            assert_eq!(found_in(&verified), ["metadata.redb"]);
            let reason = &verified.findings[0].reason;
            assert!(reason.contains("registry rebuild"), "{reason}");
            found += 1;
        }
    }
    // Older pages hold it, too, and matter to nobody.
    assert!(found >= 2, "{found}");
}

#[tokio::test]
async fn any_changed_byte_of_the_change_log_is_found() {
    let directory = tempfile::tempdir().unwrap();
    push_all(directory.path(), 0..4).await;
    let segment = segment(directory.path());
    let name = segment.file_name().unwrap().to_str().unwrap();
    let whole = fs::read(&segment).unwrap();
    for at in (0..whole.len()).step_by(7) {
        let mut damaged = whole.clone();
        damaged[at] ^= 1;
        fs::write(&segment, damaged).unwrap();
        let verified = verify(directory.path()).await;
        assert!(verified.database_is_whole, "{verified:?}");
        assert!(found_in(&verified).contains(&name), "at {at}");
    }
    fs::write(&segment, &whole[..whole.len() / 2]).unwrap();
    assert!(found_in(&verify(directory.path()).await).contains(&name));
    fs::remove_file(&segment).unwrap();
    assert_eq!(found_in(&verify(directory.path()).await), [name]);
    // A checkpoint takes the place of records that are missing.
    fs::write(&segment, &whole).unwrap();
    rebuild(directory.path()).await.unwrap();
    let entries = fs::read_dir(directory.path()).unwrap();
    let mut paths = entries.map(|entry| entry.unwrap().path());
    let checkpoint = paths.find(|path| path.extension().is_some_and(|kind| kind == "checkpoint"));
    let checkpoint = checkpoint.unwrap();
    let mut damaged = fs::read(&checkpoint).unwrap();
    damaged[100] ^= 1;
    fs::write(&checkpoint, damaged).unwrap();
    let name = checkpoint.file_name().unwrap().to_str().unwrap();
    assert_eq!(found_in(&verify(directory.path()).await), [name]);
}

/// A process that ends while it writes a checkpoint leaves a draft of it.
#[tokio::test]
async fn unfinished_checkpoints_are_removed() {
    let directory = tempfile::tempdir().unwrap();
    push_all(directory.path(), 0..3).await;
    let draft = |number: u64| {
        let name = format!("metadata.{number:020}.checkpoint.draft");
        directory.path().join(name)
    };
    let there = |path: &Path| path.try_exists().unwrap();
    let other = directory.path().join("metadata.1.checkpoint.draft");
    fs::write(draft(1), "half of a").unwrap();
    fs::write(draft(3), "").unwrap();
    fs::write(&other, "not ours").unwrap();
    let store = open(directory.path()).await;
    assert!(!there(&draft(1)) && !there(&draft(3)));
    assert!(there(&other));
    assert_eq!(pushed(&store).await, [0, 1, 2]);
}

#[tokio::test]
async fn a_lost_database_is_rebuilt_only_when_asked() {
    let directory = tempfile::tempdir().unwrap();
    push_all(directory.path(), 0..5).await;
    for lost in ["removed", "emptied"] {
        match lost {
            "removed" => fs::remove_file(database(directory.path())).unwrap(),
            _ => drop(fs::File::create(database(directory.path())).unwrap()),
        }
        let error = RedbMetadata::open(directory.path(), RedbOptions::default()).await;
        let error = error.unwrap_err();
        assert!(error.to_string().contains("rebuild"), "{error}");
        rebuild(directory.path()).await.unwrap();
        let store = open(directory.path()).await;
        assert_eq!(pushed(&store).await, [0, 1, 2, 3, 4]);
        assert_eq!(
            store.repository(&name()).await.unwrap().unwrap().identity.0,
            1
        );
        store.close().await.unwrap();
    }
    // What comes after a rebuild is rebuilt too.
    push_all(directory.path(), 5..7).await;
    fs::remove_file(database(directory.path())).unwrap();
    let rebuilt = rebuild(directory.path()).await.unwrap();
    assert_eq!((rebuilt.records, rebuilt.skipped), (2, 0));
    let store = open(directory.path()).await;
    assert_eq!(pushed(&store).await, [0, 1, 2, 3, 4, 5, 6]);
}

#[tokio::test]
async fn a_database_older_than_its_change_log_is_not_opened() {
    let directory = tempfile::tempdir().unwrap();
    push_all(directory.path(), 0..3).await;
    let backup = directory.path().join("backup");
    fs::copy(database(directory.path()), &backup).unwrap();
    push_all(directory.path(), 3..6).await;
    fs::copy(&backup, database(directory.path())).unwrap();

    let error = RedbMetadata::open(directory.path(), RedbOptions::default()).await;
    let error = error.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.to_string().contains("older"), "{error}");
    rebuild(directory.path()).await.unwrap();
    let store = open(directory.path()).await;
    assert_eq!(pushed(&store).await, [0, 1, 2, 3, 4, 5]);
}

#[tokio::test]
async fn a_database_overwritten_with_other_bytes_is_damaged() {
    let directory = tempfile::tempdir().unwrap();
    push_all(directory.path(), 0..3).await;
    let whole = fs::read(database(directory.path())).unwrap();
    let mut without_magic = whole.clone();
    without_magic[..9].fill(0);
    let other = b"something else, which is longer than any magic".to_vec();
    for bytes in [without_magic, other, vec![0; whole.len()]] {
        fs::write(database(directory.path()), bytes).unwrap();
        let error = RedbMetadata::open(directory.path(), RedbOptions::default()).await;
        let error = error.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
        assert!(error.to_string().contains("registry rebuild"), "{error}");
        rebuild(directory.path()).await.unwrap();
        assert_eq!(pushed_in(directory.path()).await, [0, 1, 2]);
    }
}

#[tokio::test]
async fn a_second_rebuild_keeps_what_the_first_one_replaced() {
    let directory = tempfile::tempdir().unwrap();
    push_all(directory.path(), 0..3).await;
    let mut replaced = Vec::new();
    for kept in ["replaced", "replaced.2", "replaced.3"] {
        let before = fs::read(database(directory.path())).unwrap();
        rebuild(directory.path()).await.unwrap();
        replaced.push((format!("metadata.redb.{kept}"), before));
        for (name, before) in &replaced {
            let now = fs::read(directory.path().join(name)).unwrap();
            assert!(now == *before, "{name} after {kept}");
        }
        assert_eq!(pushed_in(directory.path()).await, [0, 1, 2]);
    }
}

#[tokio::test]
async fn a_torn_last_record_is_cut_off() {
    let directory = tempfile::tempdir().unwrap();
    push_all(directory.path(), 0..3).await;
    let log = segment(directory.path());
    let whole = fs::read(&log).unwrap();
    let last = whole[..whole.len() - 1]
        .iter()
        .rposition(|byte| *byte == b'\n');
    let torn = last.unwrap() + 40;

    // With the database: its records are whole, and what is behind them goes.
    fs::write(&log, [&whole[..], &whole[..torn][..70]].concat()).unwrap();
    assert_eq!(pushed_in(directory.path()).await, [0, 1, 2]);
    assert_eq!(fs::read(&log).unwrap(), whole);

    // Without: nothing says that the last record was ever acknowledged.
    fs::write(&log, &whole[..torn]).unwrap();
    fs::remove_file(database(directory.path())).unwrap();
    let rebuilt = rebuild(directory.path()).await.unwrap();
    assert_eq!(rebuilt.records, 2);
    assert_eq!(pushed_in(directory.path()).await, [0, 1]);
}

/// A crash leaves part of a line, or sectors full of zeros. A line that was
/// changed otherwise, also the last, was whole and may have been acknowledged.
#[tokio::test]
async fn a_changed_last_record_is_damage_and_a_lost_one_is_not() {
    for (change, lost) in [
        ("bit", false),
        ("feed", false),
        ("zero", false),
        ("all", true),
    ] {
        let directory = tempfile::tempdir().unwrap();
        push_all(directory.path(), 0..3).await;
        let log = segment(directory.path());
        let mut bytes = fs::read(&log).unwrap();
        let end = bytes.len();
        let last = bytes[..end - 1].iter().rposition(|byte| *byte == b'\n');
        let last = last.unwrap() + 1;
        match change {
            "bit" => bytes[last + 100] ^= 1,
            "feed" => bytes[end - 1] ^= 1,
            "zero" if (last + 100) % 512 == 0 => bytes[last + 101] = 0,
            "zero" => bytes[last + 100] = 0,
            _ => bytes[last..].fill(0),
        }
        fs::write(&log, &bytes).unwrap();
        fs::remove_file(database(directory.path())).unwrap();

        if !lost {
            let error = rebuild(directory.path()).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt);
            let place = format!("at byte {last}");
            assert!(error.to_string().contains(&place), "{error}");
            assert_eq!(fs::read(&log).unwrap(), bytes);
        }
        let options = RedbOptions::default().skip_damage(!lost);
        let rebuilt = RedbMetadata::rebuild(directory.path(), options).await;
        let rebuilt = rebuilt.unwrap();
        let skipped = u64::from(!lost);
        assert_eq!((rebuilt.records, rebuilt.skipped), (2, skipped), "{change}");
        let kept = log.with_extension("log.damaged");
        assert_eq!(fs::read(kept).unwrap(), bytes);
        assert_eq!(pushed_in(directory.path()).await, [0, 1]);
    }
}

#[tokio::test]
async fn damage_in_the_change_log_is_named_and_skipped_only_when_asked() {
    let directory = tempfile::tempdir().unwrap();
    push_all(directory.path(), 0..5).await;
    let log = segment(directory.path());
    let mut bytes = fs::read(&log).unwrap();
    let lines: Vec<_> = bytes.split_inclusive(|byte| *byte == b'\n').collect();
    // The first line tells the version; behind it is one for each push.
    let position: usize = lines[..3].iter().map(|line| line.len()).sum();
    bytes[position + 100] ^= 1;
    fs::write(&log, bytes).unwrap();
    fs::remove_file(database(directory.path())).unwrap();

    let error = rebuild(directory.path()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    let file = log.file_name().unwrap().to_str().unwrap();
    let place = format!("{file} at byte {position}");
    assert!(error.to_string().contains(&place), "{error}");

    let options = RedbOptions::default().skip_damage(true);
    let rebuilt = RedbMetadata::rebuild(directory.path(), options).await;
    assert_eq!(rebuilt.unwrap().skipped, 1);
    assert!(log.with_extension("log.damaged").try_exists().unwrap());
    assert_eq!(pushed_in(directory.path()).await, [0, 1, 3, 4]);
}

#[tokio::test]
async fn a_lost_change_log_is_replaced_by_a_checkpoint() {
    let directory = tempfile::tempdir().unwrap();
    push_all(directory.path(), 0..3).await;
    fs::remove_file(segment(directory.path())).unwrap();
    // The checkpoint is written in the background.
    let store = open(directory.path()).await;
    let checkpoint = directory
        .path()
        .join("metadata.00000000000000000003.checkpoint");
    while !checkpoint.try_exists().unwrap() {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    store.commit(push(3)).await.unwrap();
    store.close().await.unwrap();
    fs::remove_file(database(directory.path())).unwrap();
    rebuild(directory.path()).await.unwrap();
    assert_eq!(pushed_in(directory.path()).await, [0, 1, 2, 3]);
}

#[tokio::test]
async fn checkpoints_bound_the_change_log() {
    let directory = tempfile::tempdir().unwrap();
    let options = RedbOptions::default().segment_bytes(10_000);
    let store = RedbMetadata::open(directory.path(), options).await.unwrap();
    for _ in 0..40 {
        for number in 0..20 {
            store.commit(push(number)).await.unwrap();
        }
    }
    store.close().await.unwrap();
    let entries = fs::read_dir(directory.path()).unwrap();
    let files = entries.map(|entry| entry.unwrap());
    let log: u64 = files
        .filter(|file| file.file_name() != "metadata.redb")
        .map(|file| file.metadata().unwrap().len())
        .sum();
    // All 800 pushes would be 400 kB.
    assert!(log < 100_000, "{log}");
    fs::remove_file(database(directory.path())).unwrap();
    rebuild(directory.path()).await.unwrap();
    assert_eq!(pushed_in(directory.path()).await.len(), 20);
}

#[tokio::test]
async fn batches_that_are_not_durable_become_so_after_a_while() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    for number in 0..300 {
        let batch = Batch {
            durable: false,
            ..push(number)
        };
        store.commit(batch).await.unwrap();
    }
    // What is there if the process is killed now.
    let left = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(directory.path()).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), left.path().join(entry.file_name())).unwrap();
    }
    let numbers: Vec<u64> = (0..20).collect();
    assert_eq!(pushed_in(left.path()).await, numbers);
}

fn delete_repository() -> Batch {
    Batch {
        changes: vec![Change::DeleteRepository {
            repository: name(),
            at: SystemTime::UNIX_EPOCH,
        }],
        durable: true,
        ..Batch::default()
    }
}

/// The deletion of any repository may have been in it.
#[tokio::test]
async fn a_rebuild_that_skipped_damage_ends_every_epoch() {
    let directory = tempfile::tempdir().unwrap();
    push_all(directory.path(), 0..1).await;
    let store = open(directory.path()).await;
    store.commit(delete_repository()).await.unwrap();
    let other: RepositoryName = "other".parse().unwrap();
    let mut before = Vec::new();
    for name in [&name(), &other] {
        before.push(store.epoch(name).await.unwrap().number);
    }
    assert_eq!(before, [1, 0]);
    store.close().await.unwrap();
    push_all(directory.path(), 0..3).await;
    let log = segment(directory.path());
    let mut bytes = fs::read(&log).unwrap();
    let lines: Vec<_> = bytes.split_inclusive(|byte| *byte == b'\n').collect();
    // That of the deletion.
    let position: usize = lines[..2].iter().map(|line| line.len()).sum();
    bytes[position + 100] ^= 1;
    fs::write(&log, bytes).unwrap();
    fs::remove_file(database(directory.path())).unwrap();
    for _ in 0..2 {
        let options = RedbOptions::default().skip_damage(true);
        RedbMetadata::rebuild(directory.path(), options)
            .await
            .unwrap();
        let store = open(directory.path()).await;
        for (name, before) in [&name(), &other].into_iter().zip(&before) {
            assert!(store.epoch(name).await.unwrap().number > *before);
        }
        store.close().await.unwrap();
    }
}

async fn rebuild_from(lines: &[&str]) -> Result<RedbMetadata, Error> {
    let directory = tempfile::tempdir().unwrap();
    let log = lines.iter().map(|line| change_log::seal(line));
    let name = "metadata.00000000000000000001.log";
    fs::write(directory.path().join(name), log.collect::<String>()).unwrap();
    rebuild(directory.path()).await?;
    Ok(open(directory.path()).await)
}

#[tokio::test]
async fn a_change_log_of_the_first_version_is_read() {
    let digest = Algorithm::Sha256.digest(b"x");
    let put = format!(
        r#"{{"put_manifest":{{"repository":"team/app","manifest":{{"digest":"{digest}","media_type":"a/b","size":1,"subject":null,"pushed_at":0}},"references":[],"referrer":null}}}}"#
    );
    let pushed = format!(r#"{{"record":{{"number":1,"known":0,"changes":[{put}]}}}}"#);
    let deleted = r#"{"record":{"number":2,"known":0,"changes":[{"delete_repository":{"repository":"team/app"}}]}}"#;
    let store = rebuild_from(&[r#"{"segment":{"version":1,"first":1}}"#, &pushed, deleted]).await;
    let store = store.unwrap();
    assert_eq!(store.repository(&name()).await.unwrap(), None);
    let epoch = store.epoch(&name()).await.unwrap();
    let expected = RepositoryEpoch {
        number: 1,
        since: Some(SystemTime::UNIX_EPOCH),
    };
    assert_eq!(epoch, expected);
}

/// A program that knows the first version only must not take for damage what it
/// doesn't know.
#[tokio::test]
async fn a_segment_of_an_older_version_is_not_gone_on_with() {
    let directory = tempfile::tempdir().unwrap();
    push_all(directory.path(), 0..1).await;
    let log = segment(directory.path());
    let bytes = fs::read(&log).unwrap();
    let end = bytes.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    let header = change_log::seal(r#"{"segment":{"version":1,"first":1}}"#);
    assert_eq!(header.len(), end);
    let older = [header.as_bytes(), &bytes[end..]].concat();
    fs::write(&log, &older).unwrap();
    push_all(directory.path(), 1..2).await;
    push_all(directory.path(), 2..3).await;
    assert_eq!(fs::read(&log).unwrap(), older);
    let next = log.with_file_name("metadata.00000000000000000002.log");
    let next = fs::read_to_string(next).unwrap();
    assert!(next.contains(r#"{"segment":{"version":2,"first":2}}"#));
    assert_eq!(next.lines().count(), 3);
    fs::remove_file(database(directory.path())).unwrap();
    rebuild(directory.path()).await.unwrap();
    assert_eq!(pushed_in(directory.path()).await, [0, 1, 2]);
}

/// What it says is unknown, and isn't taken for damage.
#[tokio::test]
async fn a_change_log_of_a_later_version_is_left_alone() {
    let later = r#"{"segment":{"version":3,"first":1}}"#;
    let unknown = r#"{"record":{"number":1,"known":0,"changes":["something_new"]}}"#;
    let next = r#"{"record":{"number":2,"known":1,"changes":[]}}"#;
    let error = rebuild_from(&[later, unknown, next]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("later version"), "{error}");
}
