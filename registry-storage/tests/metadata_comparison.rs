//! What the database says is compared with what its change log amounts to.

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

use redb::{Database, TableDefinition};
use registry_core::{Algorithm, Digest, MediaType, RepositoryName, UploadId};
use registry_storage::testkit::change_log;
use registry_storage::{
    Batch, BlobKey, BlobRecord, BlobState, Change, FactFault, FactKind, ManifestRecord,
    MetadataStore, RedbMetadata, RedbOptions, VerifiedMetadata, WrongFact,
};

const FACTS: TableDefinition<'static, &[u8], &[u8]> = TableDefinition::new("facts");

fn name() -> RepositoryName {
    "team/app".parse().unwrap()
}

fn digest(number: u8) -> Digest {
    Algorithm::Sha256.digest(&[number])
}

/// A manifest, and a tag that points to it.
fn push_to(repository: &RepositoryName, number: u8) -> Vec<Change> {
    let digest = digest(number);
    let put = Change::PutManifest {
        repository: repository.clone(),
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
        repository: repository.clone(),
        tag: format!("v{number}").parse().unwrap(),
        digest,
        at: SystemTime::UNIX_EPOCH,
    };
    vec![put, tag]
}

fn push(number: u8) -> Vec<Change> {
    push_to(&name(), number)
}

/// A blob whose bytes are there.
fn push_blob(number: u8) -> Vec<Change> {
    let record = BlobRecord {
        key: BlobKey {
            digest: digest(number),
            generation: UploadId::from_bytes([number; 16]),
        },
        size: 1,
        state: BlobState::Live,
        touched_at: SystemTime::UNIX_EPOCH,
    };
    let link = Change::LinkBlob {
        repository: name(),
        digest: digest(number),
        size: 1,
    };
    vec![Change::PutContent(record), link]
}

fn delete_repository() -> Vec<Change> {
    vec![Change::DeleteRepository {
        repository: name(),
        at: SystemTime::UNIX_EPOCH,
    }]
}

/// Commits one batch for each list of changes.
async fn commit(directory: &Path, options: RedbOptions, batches: Vec<Vec<Change>>) {
    let store = RedbMetadata::open(directory, options).await.unwrap();
    for changes in batches {
        let batch = Batch {
            changes,
            durable: true,
            ..Batch::default()
        };
        store.commit(batch).await.unwrap();
    }
    store.close().await.unwrap();
}

async fn make(directory: &Path, batches: Vec<Vec<Change>>) {
    commit(directory, RedbOptions::default(), batches).await;
}

async fn verify(directory: &Path) -> VerifiedMetadata {
    let verified = RedbMetadata::verify(directory, RedbOptions::default()).await;
    let verified = verified.unwrap();
    assert!(verified.database_is_whole, "{verified:?}");
    verified
}

/// The facts that are wrong, where nothing else is.
async fn wrong_in(directory: &Path) -> Vec<WrongFact> {
    let verified = verify(directory).await;
    assert_eq!(verified.findings, []);
    assert!(!verified.database_is_older);
    verified.wrong_facts
}

fn database(directory: &Path) -> PathBuf {
    directory.join("metadata.redb")
}

fn segment(directory: &Path) -> PathBuf {
    directory.join("metadata.00000000000000000001.log")
}

fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

/// The key of a fact, of which this is the family.
fn key(family: u8, parts: &[&[u8]]) -> Vec<u8> {
    [&[family], parts.concat().as_slice()].concat()
}

/// Takes a fact from the database, as a fault of the database could.
fn forget(directory: &Path, key: &[u8]) {
    let database = Database::open(database(directory)).unwrap();
    let transaction = database.begin_write().unwrap();
    {
        let mut table = transaction.open_table(FACTS).unwrap();
        assert!(table.remove(key).unwrap().is_some());
    }
    transaction.commit().unwrap();
}

/// The kind, the repository, the name and the fault of each.
fn told(facts: &[WrongFact]) -> Vec<(FactKind, Option<&str>, &str, FactFault)> {
    let facts = facts.iter().map(|fact| {
        let repository = fact.repository.as_ref().map(RepositoryName::as_str);
        (fact.kind, repository, fact.name.as_str(), fact.fault)
    });
    facts.collect()
}

/// Two copies of a store went on apart, and one's database came to lie beside
/// the other's log: all checksums are right.
#[tokio::test]
async fn a_database_with_the_change_log_of_another_is_found_with_all_that_differs() {
    let ours = tempfile::tempdir().unwrap();
    let theirs = tempfile::tempdir().unwrap();
    make(ours.path(), vec![push(1)]).await;
    copy(ours.path(), theirs.path());
    make(ours.path(), vec![push(2)]).await;
    make(theirs.path(), vec![push(3)]).await;
    assert_eq!(wrong_in(ours.path()).await, []);
    fs::copy(segment(theirs.path()), segment(ours.path())).unwrap();
    let found = wrong_in(ours.path()).await;
    let (second, third) = (digest(2).to_string(), digest(3).to_string());
    let mut manifests = [
        (second, FactFault::OnlyInDatabase),
        (third, FactFault::OnlyInChangeLog),
    ];
    manifests.sort_by(|one, other| one.0.cmp(&other.0));
    let app = Some("team/app");
    let manifests = manifests.iter().map(|(digest, fault)| {
        let digest = digest.as_str();
        (FactKind::Manifest, app, digest, *fault)
    });
    let mut expected: Vec<_> = manifests.collect();
    expected.push((FactKind::Tag, app, "v2", FactFault::OnlyInDatabase));
    expected.push((FactKind::Tag, app, "v3", FactFault::OnlyInChangeLog));
    assert_eq!(told(&found), expected);
}

#[tokio::test]
async fn a_tag_that_points_elsewhere_in_the_change_log_is_found() {
    let ours = tempfile::tempdir().unwrap();
    let theirs = tempfile::tempdir().unwrap();
    make(ours.path(), vec![push(1), push(2), push(3)]).await;
    copy(ours.path(), theirs.path());
    let moved = |to: u8| Change::PutTag {
        repository: name(),
        tag: "v1".parse().unwrap(),
        digest: digest(to),
        at: SystemTime::UNIX_EPOCH,
    };
    make(ours.path(), vec![vec![moved(2)]]).await;
    make(theirs.path(), vec![vec![moved(3)]]).await;
    fs::copy(database(theirs.path()), database(ours.path())).unwrap();
    let found = wrong_in(ours.path()).await;
    let expected = [(FactKind::Tag, Some("team/app"), "v1", FactFault::Different)];
    assert_eq!(told(&found), expected);
    assert!(found[0].fault.reason().contains("rebuild"));
}

#[tokio::test]
async fn a_database_that_is_behind_is_found_with_all_that_it_lacks() {
    let directory = tempfile::tempdir().unwrap();
    make(directory.path(), vec![push(1)]).await;
    let backup = fs::read(database(directory.path())).unwrap();
    let other = "other".parse().unwrap();
    make(directory.path(), vec![push(2), push_to(&other, 3)]).await;
    fs::write(database(directory.path()), &backup).unwrap();
    let before = fs::read(segment(directory.path())).unwrap();
    let verified = verify(directory.path()).await;
    assert!(verified.database_is_older);
    assert_eq!(verified.findings.len(), 1);
    assert_eq!(verified.findings[0].file, "metadata.redb");
    assert!(verified.findings[0].reason.contains("registry rebuild"));
    let behind = FactFault::OnlyInChangeLog;
    let second = digest(2).to_string();
    let expected = [
        (FactKind::Repository, Some("other"), "", behind),
        (FactKind::Manifest, Some("team/app"), &second, behind),
        (FactKind::Tag, Some("team/app"), "v2", behind),
    ];
    assert_eq!(told(&verified.wrong_facts), expected);
    // What was found is left as it is.
    assert!(fs::read(database(directory.path())).unwrap() == backup);
    assert!(fs::read(segment(directory.path())).unwrap() == before);
    RedbMetadata::rebuild(directory.path(), RedbOptions::default())
        .await
        .unwrap();
    assert_eq!(wrong_in(directory.path()).await, []);
}

/// The last records are gone, as a whole, so that no checksum is wrong.
#[tokio::test]
async fn a_change_log_that_is_behind_is_found_with_all_that_it_lacks() {
    let directory = tempfile::tempdir().unwrap();
    make(directory.path(), vec![push(1), push(2)]).await;
    let log = fs::read(segment(directory.path())).unwrap();
    let lines: Vec<_> = log.split_inclusive(|byte| *byte == b'\n').collect();
    fs::write(segment(directory.path()), lines[..2].concat()).unwrap();
    let verified = verify(directory.path()).await;
    assert!(!verified.database_is_older);
    assert!(verified.findings[0].reason.contains("the records 2 to 2"));
    let lost = FactFault::OnlyInDatabase;
    let second = digest(2).to_string();
    let expected = [
        (FactKind::Manifest, Some("team/app"), second.as_str(), lost),
        (FactKind::Tag, Some("team/app"), "v2", lost),
    ];
    assert_eq!(told(&verified.wrong_facts), expected);
}

#[tokio::test]
async fn a_blob_of_which_nothing_but_its_link_is_left_is_found() {
    let directory = tempfile::tempdir().unwrap();
    make(directory.path(), vec![push_blob(1), push_blob(2)]).await;
    assert_eq!(wrong_in(directory.path()).await, []);
    forget(directory.path(), &key(2, &[&[1], digest(2).hash()]));
    let lost = digest(2).to_string();
    let missing = FactFault::WithoutContent;
    let expected = [
        (FactKind::Content, None, &*lost, FactFault::OnlyInChangeLog),
        (FactKind::Blob, Some("team/app"), &*lost, missing),
    ];
    assert_eq!(told(&wrong_in(directory.path()).await), expected);
    // Also where no log tells that it should be otherwise.
    fs::write(segment(directory.path()), "").unwrap();
    let found = verify(directory.path()).await.wrong_facts;
    let blob = (FactKind::Blob, Some("team/app"), &*lost, missing);
    assert!(told(&found).contains(&blob), "{found:?}");
    // To push it again mends it.
    let mended = tempfile::tempdir().unwrap();
    make(mended.path(), vec![push_blob(1), push_blob(2)]).await;
    forget(mended.path(), &key(2, &[&[1], digest(2).hash()]));
    make(mended.path(), vec![push_blob(2)]).await;
    assert_eq!(wrong_in(mended.path()).await, []);
}

/// What follows from other facts: without it, a blob in use could be cleaned up.
#[tokio::test]
async fn a_lost_entry_of_an_index_is_found() {
    let one = 1_u64.to_be_bytes();
    let (of_blob, of_manifest) = (digest(1), digest(2));
    let keys = [
        (
            key(4, &[&[1], of_blob.hash(), b"team/app"]),
            of_blob.to_string(),
        ),
        (
            key(
                7,
                &[&[1], of_manifest.hash(), &one, &[1], of_manifest.hash()],
            ),
            of_manifest.to_string(),
        ),
        (
            key(10, &[&one, &[1], of_manifest.hash(), b"v2"]),
            "v2".to_owned(),
        ),
    ];
    for (key, name) in keys {
        let directory = tempfile::tempdir().unwrap();
        make(directory.path(), vec![push_blob(1), push(2)]).await;
        forget(directory.path(), &key);
        let found = wrong_in(directory.path()).await;
        let behind = FactFault::OnlyInChangeLog;
        let expected = [(FactKind::Index, Some("team/app"), name.as_str(), behind)];
        assert_eq!(told(&found), expected);
    }
}

#[tokio::test]
async fn what_was_rebuilt_checkpointed_or_deleted_is_not_said_to_differ() {
    let directory = tempfile::tempdir().unwrap();
    let small = RedbOptions::default().segment_bytes(2_000);
    for round in 0..3 {
        let pushes = (0..20).map(|number| [push(number), push_blob(number)].concat());
        let deleted = [delete_repository()].into_iter();
        let again = [push_blob(21), push(22)].into_iter();
        let batches = pushes.chain(deleted).chain(again).collect();
        commit(directory.path(), small, batches).await;
        assert_eq!(wrong_in(directory.path()).await, [], "{round}");
        let rebuilt = RedbMetadata::rebuild(directory.path(), small).await;
        assert_eq!(rebuilt.unwrap().skipped, 0);
        assert_eq!(wrong_in(directory.path()).await, [], "{round}");
    }
}

/// A rebuild that went on behind damage has lost what that held, and says so
/// once: what is left is whole.
#[tokio::test]
async fn what_was_rebuilt_with_damage_skipped_is_not_said_to_differ() {
    let directory = tempfile::tempdir().unwrap();
    make(directory.path(), vec![push(1), push(2), push(3)]).await;
    let mut log = fs::read(segment(directory.path())).unwrap();
    log[200] ^= 1;
    fs::write(segment(directory.path()), log).unwrap();
    assert!(!verify(directory.path()).await.findings.is_empty());
    let options = RedbOptions::default().skip_damage(true);
    RedbMetadata::rebuild(directory.path(), options)
        .await
        .unwrap();
    make(
        directory.path(),
        vec![push(4), push_to(&"b".parse().unwrap(), 5)],
    )
    .await;
    assert_eq!(wrong_in(directory.path()).await, []);
}

/// Databases of the log's first version didn't remember deletions, of which the
/// log tells all the same.
#[tokio::test]
async fn the_epochs_of_a_store_that_was_upgraded_are_not_said_to_differ() {
    let directory = tempfile::tempdir().unwrap();
    make(
        directory.path(),
        vec![push(1), delete_repository(), push(2)],
    )
    .await;
    forget(directory.path(), &key(15, &[b"team/app"]));
    let found = wrong_in(directory.path()).await;
    let expected = [(
        FactKind::Epoch,
        Some("team/app"),
        "",
        FactFault::OnlyInChangeLog,
    )];
    assert_eq!(told(&found), expected);
    let log = fs::read(segment(directory.path())).unwrap();
    let end = log.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    let header = change_log::seal(r#"{"segment":{"version":1,"first":1}}"#);
    assert_eq!(header.len(), end);
    let older = [header.as_bytes(), &log[end..]].concat();
    fs::write(segment(directory.path()), older).unwrap();
    assert_eq!(wrong_in(directory.path()).await, []);
    make(directory.path(), vec![push(3), push_blob(4)]).await;
    assert_eq!(wrong_in(directory.path()).await, []);
}
