//! An engine in a directory: it keeps the contract of `Registry`, and what was
//! acknowledged is there after a restart and after the loss of its database.

#![cfg(feature = "redb")]
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "these are tests"
)]

use std::path::{Path, PathBuf};

use futures::TryStreamExt;
use registry_core::testkit::{ImageBuilder, content, trusted};
use registry_core::{
    Action, Actions, Algorithm, BlobBody, CatalogAccess, Chunk, Deletion, Epochs, ErrorKind,
    Management, MountSource, OpenOptions, PageRequest, Registry, RepositoryEpoch, UploadOptions,
    registry_suite,
};
use registry_storage::testkit::{BlobCall, Fault, FaultyBlobs};
use registry_storage::{
    Durability, Engine, EngineOptions, FilesystemBlobs, FilesystemOptions, Finding, Inspected,
    MemoryBlobs, MemoryMetadata, RedbMetadata, RedbOptions,
};
use tempfile::TempDir;

registry_suite!(directory, {
    let directory = TempDir::new().unwrap();
    // The suite doesn't fail the power, and syncs would take most of its time.
    let engine = Engine::root(directory.path(), Durability::None).await;
    (engine.unwrap().build(), directory)
});

async fn open(root: &Path) -> Engine {
    Engine::open(root).await.unwrap()
}

async fn assert_holds_the_image(engine: &Engine) {
    let access = trusted("team/app");
    let image = ImageBuilder::new("image").build();
    for tag in ["v1", "latest"] {
        let reference = tag.parse().unwrap();
        let manifest = engine.get_manifest(&access, &reference).await.unwrap();
        assert_eq!(manifest.bytes, image.manifest().bytes);
    }
    for blob in image.blobs() {
        let digest = Algorithm::Sha256.digest(blob);
        let stat = engine.stat_blob(&access, &digest).await.unwrap();
        assert_eq!(stat.size, blob.len() as u64);
    }
    let tags = engine.tags(&access, PageRequest::default()).await.unwrap();
    assert_eq!(tags.items.len(), 2);
}

async fn push_the_image(engine: &Engine) {
    let image = ImageBuilder::new("image").build();
    image
        .push(engine, &trusted("team/app"), &["v1", "latest"])
        .await;
}

#[tokio::test]
async fn what_was_pushed_is_there_after_a_restart() {
    let root = TempDir::new().unwrap();
    let engine = open(root.path()).await;
    push_the_image(&engine).await;
    engine.close().await.unwrap();
    assert_holds_the_image(&open(root.path()).await).await;
}

/// Dropping waits for nothing, so opening does, as long as the engine before has
/// something to finish.
#[tokio::test]
async fn an_engine_can_be_dropped_and_its_root_opened_again() {
    let root = TempDir::new().unwrap();
    for _ in 0..20 {
        let engine = open(root.path()).await;
        push_the_image(&engine).await;
        drop(engine);
    }
    assert_holds_the_image(&open(root.path()).await).await;
}

/// The files that a process keeps others away with can be locked at once.
#[tokio::test]
async fn an_engine_that_was_closed_has_let_go_of_its_root() {
    let root = TempDir::new().unwrap();
    let engine = open(root.path()).await;
    push_the_image(&engine).await;
    let other = engine.clone();
    other.close().await.unwrap();
    let locks = ["lock", "metadata.redb"].map(|name| root.path().join(name));
    let is_locked = |path: &PathBuf| {
        let file = std::fs::File::open(path).unwrap();
        file.try_lock().is_err()
    };
    // Whoever has the engine may still be about to write content.
    assert_eq!(locks.each_ref().map(is_locked), [true, false]);
    let error = engine.check().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    engine.close().await.unwrap();
    assert_eq!(locks.each_ref().map(is_locked), [false, false]);
}

#[tokio::test]
async fn a_lost_database_is_rebuilt() {
    let root = TempDir::new().unwrap();
    let engine = open(root.path()).await;
    push_the_image(&engine).await;
    engine
        .delete(&trusted("team/app"), Deletion::tag("v1".parse().unwrap()))
        .await
        .unwrap();
    push_the_image(&engine).await;
    engine.close().await.unwrap();

    std::fs::remove_file(root.path().join("metadata.redb")).unwrap();
    let lost = Engine::open(root.path()).await.unwrap_err();
    assert_eq!(lost.kind(), ErrorKind::Unavailable);
    assert!(lost.to_string().contains("rebuild"), "{lost}");

    Engine::rebuild(root.path(), RedbOptions::default())
        .await
        .unwrap();
    assert_holds_the_image(&open(root.path()).await).await;
}

async fn push_blob(engine: &Engine, repository: &str, blob: &[u8]) {
    let access = trusted(repository);
    let upload = engine.begin_upload(&access, UploadOptions::default());
    let upload = upload.await.unwrap();
    let chunk = Some(Chunk::from_bytes(blob.to_vec()));
    let digest = Algorithm::Sha256.digest(blob);
    let finished = engine.finish_upload(&access, &upload.id, &digest, chunk);
    finished.await.unwrap();
}

/// Changes a byte of every stored file.
fn rot(directory: &Path) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rot(&path);
        } else {
            let mut content = std::fs::read(&path).unwrap();
            content[0] ^= 1;
            std::fs::write(&path, content).unwrap();
        }
    }
}

#[tokio::test]
async fn pushing_an_image_again_mends_blobs_that_nobody_knew_to_be_rotten() {
    let root = TempDir::new().unwrap();
    let engine = open(root.path()).await;
    push_the_image(&engine).await;
    rot(&root.path().join("blobs"));
    push_the_image(&engine).await;
    let page = engine
        .verify(&CatalogAccess::trusted(), PageRequest::default())
        .await
        .unwrap();
    assert_eq!(page.items, []);
}

async fn read(body: BlobBody) -> registry_core::Result<Vec<u8>> {
    match body {
        BlobBody::Bytes(bytes) => Ok(bytes.to_vec()),
        BlobBody::Stream(stream) => {
            stream
                .try_fold(Vec::new(), |mut read, piece| async move {
                    read.extend_from_slice(&piece);
                    Ok(read)
                })
                .await
        }
        other => panic!("{other:?}"),
    }
}

/// What fits into memory is refused at once; of what doesn't, the end is missing.
#[tokio::test]
async fn verified_reads_never_give_wrong_bytes_for_good_ones() {
    for size in [0, 1000, 70_000, 600_000] {
        let root = TempDir::new().unwrap();
        let options = EngineOptions::default().verify_reads(true);
        let engine = Engine::root(root.path(), Durability::None).await.unwrap();
        let engine = engine.options(options).build();
        let access = trusted("team/app");
        let blob = content("blob", size);
        let digest = Algorithm::Sha256.digest(&blob);
        let push = async || {
            let upload = engine
                .begin_upload(&access, UploadOptions::default())
                .await
                .unwrap();
            let chunk = Some(Chunk::from_bytes(blob.clone()));
            engine
                .finish_upload(&access, &upload.id, &digest, chunk)
                .await
                .unwrap();
        };
        let pull = async || {
            let options = OpenOptions::default();
            read(engine.open_blob(&access, &digest, options).await?.body).await
        };
        push().await;
        assert!(pull().await.unwrap() == blob);
        if size == 0 {
            continue;
        }
        rot(&root.path().join("blobs"));
        assert_eq!(pull().await.unwrap_err().kind(), ErrorKind::Corrupt);
        let stat = engine.stat_blob(&access, &digest).await.unwrap_err();
        assert_eq!(stat.kind(), ErrorKind::BlobUnknown);
        push().await;
        assert!(pull().await.unwrap() == blob);
    }
}

/// Whoever is told that a blob is there doesn't push it.
#[tokio::test]
async fn a_damaged_blob_counts_as_absent_once_it_was_found_so() {
    for cut_short in [false, true] {
        let root = TempDir::new().unwrap();
        let engine = open(root.path()).await;
        let access = trusted("team/app");
        push_the_image(&engine).await;
        let image = ImageBuilder::new("image").build();
        let blob = &image.blobs()[0];
        let digest = Algorithm::Sha256.digest(blob);
        let directory = root.path().join("blobs/sha256").join(&digest.hex()[..2]);
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if !path.to_string_lossy().contains(digest.hex().as_str()) {
                continue;
            }
            if cut_short {
                std::fs::write(path, &blob[1..]).unwrap();
            } else {
                std::fs::remove_file(path).unwrap();
            }
        }
        let open_blob = async || {
            engine
                .open_blob(&access, &digest, OpenOptions::default())
                .await
        };
        for _ in 0..2 {
            assert_eq!(open_blob().await.unwrap_err().kind(), ErrorKind::Corrupt);
        }
        let stat = engine.stat_blob(&access, &digest).await.unwrap_err();
        assert_eq!(stat.kind(), ErrorKind::BlobUnknown);
        let other = trusted("team/other");
        let mounted = engine
            .mount_blob(&other, &digest, MountSource::Repository(&access))
            .await;
        assert_eq!(mounted.unwrap(), None);
        let push = image.put(&["v2"]);
        let refused = engine.put_manifest(&access, push).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ManifestBlobUnknown);

        push_the_image(&engine).await;
        engine.stat_blob(&access, &digest).await.unwrap();
        open_blob().await.unwrap();
        assert_holds_the_image(&engine).await;
    }
}

#[tokio::test]
async fn pushing_a_manifest_again_mends_one_that_rotted() {
    let root = TempDir::new().unwrap();
    let engine = open(root.path()).await;
    push_the_image(&engine).await;
    engine.close().await.unwrap();
    rot(&root.path().join("blobs"));

    let engine = open(root.path()).await;
    let access = trusted("team/app");
    let reference = "v1".parse().unwrap();
    let rotten = engine.get_manifest(&access, &reference).await.unwrap_err();
    assert_eq!(rotten.kind(), ErrorKind::Corrupt);
    push_the_image(&engine).await;
    engine.close().await.unwrap();

    // Nobody remembers the manifest that was pushed.
    let engine = open(root.path()).await;
    engine.get_manifest(&access, &reference).await.unwrap();
}

#[tokio::test]
async fn one_process_at_a_time_uses_a_directory() {
    let root = TempDir::new().unwrap();
    let first = Engine::open(root.path()).await.unwrap();
    let error = Engine::open(root.path()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("another process"), "{error}");
    let rebuilt = Engine::rebuild(root.path(), RedbOptions::default()).await;
    let error = rebuilt.map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    first.check().await.unwrap();
}

#[tokio::test]
async fn a_directory_that_cannot_be_made_is_one_clear_error() {
    let root = TempDir::new().unwrap();
    let file = root.path().join("file");
    std::fs::write(&file, "").unwrap();
    let error = Engine::open(file.join("root")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(
        error.to_string().contains("leads through a file"),
        "{error}"
    );
    let error = Engine::open(file).await.unwrap_err();
    let reason = error.to_string();
    assert!(
        reason.ends_with("it is a file; choose a directory"),
        "{reason}"
    );
}

/// Each error of opening says where.
#[tokio::test]
async fn what_can_not_be_opened_is_named() {
    let root = TempDir::new().unwrap();
    let file = root.path().join("file");
    std::fs::write(&file, "").unwrap();
    let path = file.display().to_string();
    let options = FilesystemOptions::default();
    for error in [
        Engine::open(&file).await.unwrap_err(),
        Engine::rebuild(&file, RedbOptions::default())
            .await
            .unwrap_err(),
        FilesystemBlobs::open(&file, options).await.unwrap_err(),
        RedbMetadata::open(&file, RedbOptions::default())
            .await
            .unwrap_err(),
        RedbMetadata::rebuild(&file, RedbOptions::default())
            .await
            .unwrap_err(),
    ] {
        assert!(error.to_string().contains(&path), "{error}");
    }
}

/// The names of everything below a directory.
fn below(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(below(&path));
        }
        found.push(path);
    }
    found.sort();
    found
}

#[tokio::test]
async fn a_docker_registry_is_left_alone() {
    let root = TempDir::new().unwrap();
    let docker = root.path().join("docker/registry/v2/repositories");
    std::fs::create_dir_all(docker).unwrap();
    let before = below(root.path());
    let error = Engine::open(root.path()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    let reason = error.to_string();
    assert!(
        reason.contains("holds the data of a Docker registry"),
        "{reason}"
    );
    assert!(reason.contains("choose another root"), "{reason}");
    assert_eq!(below(root.path()), before);

    // Beside a registry of ours it is nothing but some files.
    let root = TempDir::new().unwrap();
    let engine = open(root.path()).await;
    push_the_image(&engine).await;
    engine.close().await.unwrap();
    std::fs::create_dir_all(root.path().join("docker/registry/v2")).unwrap();
    assert_holds_the_image(&open(root.path()).await).await;
}

#[tokio::test]
async fn a_rebuild_without_a_change_log_makes_nothing() {
    let root = TempDir::new().unwrap();
    let absent = root.path().join("absent");
    let empty = root.path().join("empty");
    let foreign = root.path().join("foreign");
    std::fs::create_dir(&empty).unwrap();
    std::fs::create_dir(&foreign).unwrap();
    std::fs::write(foreign.join("notes"), "mine").unwrap();
    let before = below(root.path());
    for root in [absent, empty, foreign] {
        for error in [
            Engine::rebuild(&root, RedbOptions::default()).await,
            RedbMetadata::rebuild(&root, RedbOptions::default()).await,
        ] {
            assert_eq!(error.unwrap_err().kind(), ErrorKind::Unavailable);
        }
    }
    assert_eq!(below(root.path()), before);
}

/// That of everything below a directory, and of the directory itself.
#[cfg(unix)]
fn modes(root: &Path) -> Vec<(PathBuf, u32)> {
    use std::os::unix::fs::PermissionsExt;
    let mut all = below(root);
    all.push(root.to_owned());
    let mode = |path: PathBuf| {
        let mode = path.symlink_metadata().unwrap().permissions().mode();
        (path, mode & 0o7777)
    };
    all.into_iter().map(mode).collect()
}

#[cfg(unix)]
#[tokio::test]
async fn a_new_root_is_private() {
    let above = TempDir::new().unwrap();
    let root = above.path().join("new");
    let engine = open(&root).await;
    push_the_image(&engine).await;
    let access = trusted("team/app");
    let upload = engine.begin_upload(&access, UploadOptions::default()).await;
    let chunk = Chunk::from_bytes("a part");
    let id = upload.unwrap().id;
    engine.append_upload(&access, &id, chunk).await.unwrap();
    let modes = modes(&root);
    let (directories, files): (Vec<_>, Vec<_>) =
        modes.into_iter().partition(|(path, _)| path.is_dir());
    assert!(files.len() > 5 && directories.len() > 5);
    for (path, mode) in directories {
        assert_eq!(mode, 0o700, "{}", path.display());
    }
    for (path, mode) in files {
        assert_eq!(mode, 0o600, "{}", path.display());
    }
}

#[cfg(unix)]
#[tokio::test]
async fn a_root_that_was_there_keeps_its_modes() {
    use std::os::unix::fs::PermissionsExt;
    let root = TempDir::new().unwrap();
    let engine = open(root.path()).await;
    push_the_image(&engine).await;
    engine.close().await.unwrap();
    for (path, _) in modes(root.path()) {
        let mode = if path.is_dir() { 0o755 } else { 0o640 };
        std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    }
    let before = modes(root.path());
    let engine = open(root.path()).await;
    push_the_image(&engine).await;
    let after = modes(root.path());
    // Content that was pushed again has other files.
    let kept = before.iter().filter(|found| after.contains(found));
    assert!(
        kept.clone()
            .any(|(path, _)| path.ends_with("metadata.redb"))
    );
    assert!(kept.clone().any(|(path, _)| path.ends_with("lock")));
    assert!(kept.clone().any(|(path, _)| path == root.path()));
}

/// A root with an image, and without any file of its metadata.
async fn root_without_metadata() -> TempDir {
    let root = TempDir::new().unwrap();
    let engine = open(root.path()).await;
    push_the_image(&engine).await;
    engine.close().await.unwrap();
    for entry in std::fs::read_dir(root.path()).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if name.starts_with("metadata.") {
            std::fs::remove_file(path).unwrap();
        }
    }
    root
}

async fn assert_asks_for_a_backup(root: &Path) {
    for _ in 0..2 {
        let error = Engine::open(root).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(error.to_string().contains("backup"), "{error}");
    }
}

#[tokio::test]
async fn content_whose_metadata_is_lost_is_not_mistaken_for_nothing() {
    let root = root_without_metadata().await;
    assert_asks_for_a_backup(root.path()).await;
}

#[tokio::test]
async fn what_is_only_named_like_metadata_is_no_metadata() {
    for leftover in [
        "metadata.redb.bak",
        "metadata.redb.replaced",
        "metadata.redb.draft",
        "metadata.redb.damaged",
        "metadata.00000000000000000001.log.old",
        "metadata.1.log",
    ] {
        let root = root_without_metadata().await;
        std::fs::write(root.path().join(leftover), "something").unwrap();
        assert_asks_for_a_backup(root.path()).await;
    }
    let root = root_without_metadata().await;
    std::fs::write(root.path().join("metadata.redb"), "").unwrap();
    assert_asks_for_a_backup(root.path()).await;
}

/// Everything that an inspection finds, in the order of the digests.
async fn inspect(engine: &Engine) -> (Vec<Inspected>, u64) {
    let mut inspection = engine.inspect(4);
    let mut found = Vec::new();
    while let Some(inspected) = inspection.next().await.unwrap() {
        found.push(inspected);
    }
    found.sort_by_key(|inspected| inspected.key);
    (found, inspection.bytes_read())
}

#[tokio::test]
async fn an_inspection_reads_all_that_is_stored() {
    let root = TempDir::new().unwrap();
    let engine = open(root.path()).await;
    push_the_image(&engine).await;
    // More than are read at once.
    for number in 0..300 {
        push_blob(&engine, "team/app", &content(&number.to_string(), 100)).await;
    }
    push_blob(&engine, "team/app", &content("large", 600_000)).await;
    let (found, read) = inspect(&engine).await;
    let image = ImageBuilder::new("image").build();
    assert_eq!(found.len(), 301 + image.blobs().len() + 1);
    let is_whole = |inspected: &Inspected| inspected.finding == Finding::Whole;
    assert!(found.iter().all(is_whole));
    assert_eq!(
        read,
        found.iter().map(|inspected| inspected.size).sum::<u64>()
    );
    assert_eq!(read, engine.stored_bytes().await.unwrap());
}

/// A sector that can't be read any more is one blob's misfortune.
#[tokio::test]
async fn an_inspection_goes_on_behind_what_can_not_be_read() {
    let blobs = FaultyBlobs::new(MemoryBlobs::default());
    let engine = Engine::builder(blobs.clone(), MemoryMetadata::default()).build();
    push_blob(&engine, "a", b"one").await;
    push_blob(&engine, "b", b"two").await;
    blobs.fail(BlobCall::Open, 0, Fault::Before);
    let (found, _) = inspect(&engine).await;
    assert_eq!(found.len(), 2);
    let unreadable = |inspected: &&Inspected| matches!(inspected.finding, Finding::Unreadable(_));
    assert_eq!(found.iter().filter(unreadable).count(), 1);
}

#[tokio::test]
async fn only_a_directory_that_holds_an_engine_is_an_existing_one() {
    let root = TempDir::new().unwrap();
    for path in [root.path().to_owned(), root.path().join("none")] {
        let refused = Engine::existing(path, RedbOptions::default()).await;
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::Unavailable);
    }
    assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 0);
    let engine = open(root.path()).await;
    push_the_image(&engine).await;
    engine.close().await.unwrap();
    let engine = Engine::existing(root.path(), Durability::Full).await;
    assert_holds_the_image(&engine.unwrap().build()).await;
}

/// What was given for the old repository is not for the new one, also after the
/// database was lost. Emptying a repository doesn't make it another.
#[tokio::test]
async fn a_deleted_repository_is_gone_and_its_name_begins_another_epoch() {
    let root = TempDir::new().unwrap();
    let engine = open(root.path()).await;
    let access = trusted("team/app");
    let epoch = async |engine: &Engine| engine.epoch(access.repository()).await.unwrap();
    push_the_image(&engine).await;
    for tag in ["v1", "latest"] {
        let deletion = Deletion::tag(tag.parse().unwrap());
        engine.delete(&access, deletion).await.unwrap();
    }
    assert_eq!(epoch(&engine).await, RepositoryEpoch::default());
    let upload = engine.begin_upload(&access, UploadOptions::default());
    let upload = upload.await.unwrap();

    let before = registry_core::Clock::now(&registry_core::SystemClock);
    engine.delete_repository(&access).await.unwrap();
    let deleted = epoch(&engine).await;
    assert_eq!(deleted.number, 1);
    assert!(deleted.since >= Some(before));
    let image = ImageBuilder::new("image").build();
    for blob in image.blobs() {
        let digest = Algorithm::Sha256.digest(blob);
        let gone = engine.stat_blob(&access, &digest).await.unwrap_err();
        assert_eq!(gone.kind(), ErrorKind::BlobUnknown);
    }
    let page = PageRequest::default();
    let gone = engine.tags(&access, page).await.unwrap_err();
    assert_eq!(gone.kind(), ErrorKind::NameUnknown);
    let gone = engine.upload(&access, &upload.id).await.unwrap_err();
    assert_eq!(gone.kind(), ErrorKind::UploadUnknown);
    let gone = engine.delete_repository(&access).await.unwrap_err();
    assert_eq!(gone.kind(), ErrorKind::NameUnknown);

    push_the_image(&engine).await;
    assert_eq!(epoch(&engine).await, deleted);
    engine.close().await.unwrap();
    std::fs::remove_file(root.path().join("metadata.redb")).unwrap();
    // From the records, then from the checkpoint that replaced them.
    for _ in 0..2 {
        Engine::rebuild(root.path(), RedbOptions::default())
            .await
            .unwrap();
        let engine = open(root.path()).await;
        assert_eq!(epoch(&engine).await, deleted);
        assert_holds_the_image(&engine).await;
        engine.close().await.unwrap();
    }
}

#[tokio::test]
async fn only_who_may_administer_a_repository_deletes_it() {
    let engine = Engine::memory();
    push_the_image(&engine).await;
    let all_else: Actions = Action::ALL
        .into_iter()
        .filter(|action| *action != Action::Administer)
        .collect();
    let access = trusted("team/app").limited(all_else);
    let refused = engine.delete_repository(&access).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Denied);
    assert_holds_the_image(&engine).await;
}
