//! What a store of files does when the disk fails, fills up, or holds things
//! that somebody else put there.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "in a test, a panic is the way to fail"
)]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use registry_core::ErrorKind;
use registry_storage::testkit::blob::{append, content, publish, read, upload};
use registry_storage::testkit::{BlobCall, Fault, FaultyBlobs, SimulatedFileSystem};
use registry_storage::{
    BlobKey, BlobStore, FilesystemBlobs, FilesystemOptions, MemoryBlobs, blob_store_suite,
};

fn simulated(system: &SimulatedFileSystem) -> FilesystemBlobs {
    system.blobs(FilesystemOptions::default()).unwrap()
}

async fn real(directory: &Path) -> FilesystemBlobs {
    let options = FilesystemOptions::default();
    FilesystemBlobs::open(directory, options).await.unwrap()
}

fn path(directory: &Path, key: &BlobKey) -> PathBuf {
    let hex = key.digest.hex();
    let name = format!("{hex}.{}", key.generation);
    directory.join("blobs/sha256").join(&hex[..2]).join(name)
}

/// The syncs of a first publish, one after the other: the bytes, the three
/// directories above all blobs, the one above the blob's, the blob's.
#[tokio::test]
async fn after_a_failed_sync_nothing_is_taken_and_all_is_served() {
    for size in [10, 1_000_000] {
        for syncs in 0..6 {
            let system = SimulatedFileSystem::new();
            let store = simulated(&system);
            let kept = publish(&store, 1, &content(1, 1000)).await.unwrap();
            append(&store, 2, 0, &content(2, 10)).await.unwrap();
            // Opened again, nothing is known to be durable.
            let store = simulated(&system);
            let mut open = store.stage(&upload(3), 0).await.unwrap();

            system.fail_sync_after(syncs);
            let failed = publish(&store, 4, &content(4, size)).await.unwrap_err();
            assert_eq!(failed.kind(), ErrorKind::Unavailable);

            assert!(store.is_read_only());
            let refused = [
                store.check().await,
                store.stage(&upload(5), 0).await.map(drop),
                store.stage(&upload(2), 10).await.map(drop),
                open.write(content(3, 10)).await,
                open.pause().await,
                store.discard(&upload(2)).await,
                store.delete(&kept).await,
            ];
            for refused in refused {
                assert_eq!(refused.unwrap_err().kind(), ErrorKind::Unavailable);
            }
            let back = read(&store, &kept, 0..1000).await.unwrap();
            assert!(back == content(1, 1000));
            assert_eq!(store.list_staged(None, 10).await.unwrap(), [upload(2)]);
        }
    }
}

/// A sync takes as long as the disk has other things to write, so opening does
/// none, whatever is stored.
#[tokio::test]
async fn opening_waits_for_no_sync_and_storing_does() {
    let system = SimulatedFileSystem::new();
    let kept = publish(&simulated(&system), 1, &content(1, 1000)).await;
    let kept = kept.unwrap();
    for syncs in 0..6 {
        let store = simulated(&system);
        system.fail_sync_after(0);
        drop(simulated(&system));
        assert!(read(&store, &kept, 0..1000).await.unwrap() == content(1, 1000));

        system.fail_sync_after(syncs);
        publish(&store, 2, &content(2, 10)).await.unwrap_err();
        assert!(store.is_read_only(), "only {syncs} syncs");
    }
}

#[tokio::test]
async fn a_full_disk_fails_one_upload_only() {
    let system = SimulatedFileSystem::new();
    let store = simulated(&system);
    system.limit(400_000);
    let small = publish(&store, 1, &content(1, 1000)).await.unwrap();
    let failed = publish(&store, 2, &content(2, 600_000)).await.unwrap_err();
    assert_eq!(failed.kind(), ErrorKind::Unavailable);
    assert!(failed.to_string().contains("full"), "{failed}");
    assert!(failed.retry_after().is_some(), "{failed:?}");
    assert_eq!(store.list_staged(None, 10).await.unwrap(), []);

    store.check().await.unwrap();
    assert!(read(&store, &small, 0..1000).await.unwrap() == content(1, 1000));
    system.limit(u64::MAX);
    publish(&store, 2, &content(2, 600_000)).await.unwrap();
}

/// Whichever opening of a file or directory fails because too many are open.
#[tokio::test]
async fn too_many_open_files_fail_one_request_only() {
    for unnamed in [true, false] {
        let mut failed = 0;
        for opens in 0.. {
            let system = SimulatedFileSystem::new();
            let system = if unnamed {
                system
            } else {
                system.without_unnamed_files()
            };
            let kept = publish(&simulated(&system), 1, &content(1, 1000)).await;
            append(&simulated(&system), 2, 0, &content(2, 300_000))
                .await
                .unwrap();
            let (kept, bytes) = (kept.unwrap(), content(3, 300_000));
            // Opened again, nothing is known of the disk.
            let store = simulated(&system);

            system.limit_opens(Some(opens));
            let published = publish(&store, 3, &bytes).await;
            let all_worked = published.is_ok();
            let mut refused = Vec::from_iter(published.err());
            if !all_worked {
                refused.extend(read(&store, &kept, 0..1000).await.err());
                refused.extend(store.stage(&upload(2), 300_000).await.err());
                refused.extend(store.list(None, 10).await.err());
                assert_eq!(refused.len(), 4);
            }
            for error in refused {
                assert_eq!(error.kind(), ErrorKind::Unavailable);
                assert!(error.to_string().contains("too many files"), "{error}");
                assert!(error.retry_after().is_some());
            }
            system.limit_opens(None);

            assert!(!store.is_read_only());
            store.check().await.unwrap();
            assert!(read(&store, &kept, 0..1000).await.unwrap() == content(1, 1000));
            append(&store, 2, 300_000, &content(4, 10)).await.unwrap();
            let again = publish(&store, 5, &bytes).await.unwrap();
            system.crash(opens);
            let store = simulated(&system);
            assert!(read(&store, &again, 0..300_000).await.unwrap() == bytes);
            if all_worked {
                break;
            }
            failed += 1;
        }
        assert!(failed >= 6, "{failed}");
    }
}

/// That files have names is found out once, and not while none can be opened.
#[tokio::test]
async fn too_many_open_files_are_not_mistaken_for_a_lack_of_unnamed_ones() {
    let system = SimulatedFileSystem::new();
    let store = simulated(&system);
    system.limit_opens(Some(0));
    publish(&store, 1, &content(1, 300_000)).await.unwrap_err();
    system.limit_opens(None);
    let mut staged = store.stage(&upload(2), 0).await.unwrap();
    for piece in 0..4 {
        staged.write(content(piece, 1_200_000)).await.unwrap();
    }
    assert_eq!(store.list_staged(None, 10).await.unwrap(), []);
}

/// A failed write is told before the upload ends, and stays a failure.
#[tokio::test]
async fn an_upload_with_a_failed_write_never_succeeds() {
    let system = SimulatedFileSystem::new();
    let store = simulated(&system);
    system.limit(100_000);
    let mut staged = store.stage(&upload(1), 0).await.unwrap();
    let mut failed = false;
    for piece in 0..4 {
        failed |= staged.write(content(piece, 1_200_000)).await.is_err();
    }
    assert!(failed);
    system.limit(u64::MAX);
    let ended = staged.pause().await.unwrap_err();
    assert_eq!(ended.kind(), ErrorKind::Unavailable);
}

/// A request broke off while the disk was still writing its bytes: whoever goes
/// on has to wait, or old bytes would land on new ones.
#[tokio::test]
async fn an_upload_waits_for_what_a_broken_off_request_still_writes() {
    let system = SimulatedFileSystem::new();
    let store = simulated(&system);
    append(&store, 1, 0, &content(1, 100)).await.unwrap();
    for end in ["stage", "open_staged", "discard"] {
        let mut staged = store.stage(&upload(1), 100).await.unwrap();
        system.hold_writes(true);
        staged.write(content(2, 1_200_000)).await.unwrap();
        drop(staged);

        let id = upload(1);
        let next = async {
            match end {
                "stage" => store.stage(&id, 100).await.map(drop),
                "open_staged" => store.open_staged(&id, 0..100).await.map(drop),
                _ => store.discard(&id).await,
            }
        };
        let mut next = std::pin::pin!(next);
        let early = tokio::time::timeout(Duration::from_millis(200), &mut next).await;
        // Before anything may fail: a held write would keep the test from ending.
        system.hold_writes(false);
        assert!(early.is_err(), "{end} did not wait");
        next.await.unwrap();
    }
    assert_eq!(store.list_staged(None, 10).await.unwrap(), []);
}

#[tokio::test]
async fn what_somebody_else_put_there_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let store = real(directory.path()).await;
    let key = publish(&store, 1, &content(1, 1000)).await.unwrap();
    let blobs = path(directory.path(), &key);
    let blobs = blobs.parent().unwrap();
    let foreign = [
        blobs.join("notes.txt"),
        directory.path().join("blobs/sha256/zz"),
        directory.path().join("staging/notes.txt"),
        directory.path().join("notes.txt"),
    ];
    for path in &foreign {
        fs::write(path, "mine").unwrap();
    }
    fs::create_dir(blobs.join("lost+found")).unwrap();

    let store = real(directory.path()).await;
    let listed = store.list(None, 10).await.unwrap();
    assert_eq!(
        listed.iter().map(|blob| blob.key).collect::<Vec<_>>(),
        [key]
    );
    assert_eq!(store.list_staged(None, 10).await.unwrap(), []);
    for path in &foreign {
        assert_eq!(fs::read_to_string(path).unwrap(), "mine");
    }
}

#[tokio::test]
async fn links_pipes_and_directories_are_not_followed() {
    let directory = tempfile::tempdir().unwrap();
    let outside = tempfile::tempdir().unwrap();
    let secret = outside.path().join("secret");
    fs::write(&secret, vec![7; 2000]).unwrap();
    let store = real(directory.path()).await;
    let key = publish(&store, 1, &content(1, 1000)).await.unwrap();
    let path = path(directory.path(), &key);
    let staged = directory.path().join("staging").join(upload(9).to_string());

    let plant: [&dyn Fn(&Path); 3] = [
        &|path| symlink(&secret, path).unwrap(),
        &|path| fs::create_dir(path).unwrap(),
        &|path| {
            let made = std::process::Command::new("mkfifo").arg(path).status();
            assert!(made.unwrap().success());
        },
    ];
    for plant in plant {
        fs::remove_file(&path)
            .or_else(|_| fs::remove_dir(&path))
            .unwrap();
        plant(&path);
        let opened = store.open(&key, 0..1000).await.unwrap_err();
        assert_eq!(opened.kind(), ErrorKind::Corrupt);
        assert_eq!(
            store.size(&key).await.unwrap_err().kind(),
            ErrorKind::Corrupt
        );
        assert_eq!(store.list(None, 10).await.unwrap(), []);

        plant(&staged);
        let resumed = store.stage(&upload(9), 10).await.unwrap_err();
        assert_eq!(resumed.kind(), ErrorKind::UploadUnknown);
        fs::remove_file(&staged)
            .or_else(|_| fs::remove_dir(&staged))
            .unwrap();
    }
    // Uploads replace a link, and don't write through it.
    symlink(&secret, &staged).unwrap();
    append(&store, 9, 0, &content(9, 300_000)).await.unwrap();
    assert!(fs::read(&secret).unwrap() == vec![7; 2000]);
}

#[tokio::test]
async fn a_directory_in_the_way_of_the_store_is_refused() {
    let outside = tempfile::tempdir().unwrap();
    for name in ["blobs", "staging"] {
        let directory = tempfile::tempdir().unwrap();
        symlink(outside.path(), directory.path().join(name)).unwrap();
        let options = FilesystemOptions::default();
        let opened = FilesystemBlobs::open(directory.path(), options).await;
        assert_eq!(opened.unwrap_err().kind(), ErrorKind::Internal);
    }
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn a_truncated_blob_is_corrupt() {
    let directory = tempfile::tempdir().unwrap();
    let store = real(directory.path()).await;
    let key = publish(&store, 1, &content(1, 1000)).await.unwrap();
    let file = fs::File::options()
        .write(true)
        .open(path(directory.path(), &key));
    file.unwrap().set_len(999).unwrap();
    let opened = store.open(&key, 0..1000).await.unwrap_err();
    assert_eq!(opened.kind(), ErrorKind::Corrupt);
}

/// A store that is opened again has what it had.
#[tokio::test]
async fn blobs_and_paused_uploads_outlive_the_store() {
    let directory = tempfile::tempdir().unwrap();
    let store = real(directory.path()).await;
    let key = publish(&store, 1, &content(1, 1000)).await.unwrap();
    append(&store, 2, 0, &content(2, 1000)).await.unwrap();
    drop(store);
    let store = real(directory.path()).await;
    assert!(read(&store, &key, 0..1000).await.unwrap() == content(1, 1000));
    append(&store, 2, 1000, &content(3, 10)).await.unwrap();
}

/// A power failure may bring the staging name of published bytes back. Once they
/// are deleted, somebody who goes on with that upload would change what another
/// power failure may bring back under the blob's name.
#[tokio::test]
async fn nobody_goes_on_with_the_bytes_of_a_deleted_blob() {
    let directory = tempfile::tempdir().unwrap();
    let store = real(directory.path()).await;
    let key = publish(&store, 1, &content(1, 1000)).await.unwrap();
    let staged = directory.path().join("staging").join(upload(1).to_string());
    fs::hard_link(path(directory.path(), &key), &staged).unwrap();
    store.delete(&key).await.unwrap();
    let resumed = store.stage(&upload(1), 1000).await.unwrap_err();
    assert_eq!(resumed.kind(), ErrorKind::UploadUnknown);
    assert_eq!(store.list_staged(None, 10).await.unwrap(), []);
}

blob_store_suite!(faulty_without_faults, FaultyBlobs::new(MemoryBlobs::new()));

#[tokio::test]
async fn planned_faults_happen_once_and_where_they_should() {
    let store = FaultyBlobs::new(MemoryBlobs::new());
    store.fail(BlobCall::Publish, 1, Fault::Before);
    publish(&store, 1, &content(1, 10)).await.unwrap();
    let failed = publish(&store, 2, &content(2, 10)).await.unwrap_err();
    assert_eq!(failed.kind(), ErrorKind::Unavailable);
    assert_eq!(store.store().list(None, 10).await.unwrap().len(), 1);

    store.fail(BlobCall::Publish, 0, Fault::After);
    publish(&store, 3, &content(3, 10)).await.unwrap_err();
    assert_eq!(store.store().list(None, 10).await.unwrap().len(), 2);
    publish(&store, 4, &content(4, 10)).await.unwrap();

    for (skip, call) in [BlobCall::Stage, BlobCall::Write, BlobCall::Publish]
        .iter()
        .enumerate()
    {
        store.fail_any(skip, Fault::Before);
        publish(&store, 5, &content(5, 10)).await.unwrap_err();
        assert_eq!(store.calls().last(), Some(call));
    }
    store.fail_any(3, Fault::Before);
    publish(&store, 5, &content(5, 10)).await.unwrap();
    assert_eq!(store.recover(), 1);
}
