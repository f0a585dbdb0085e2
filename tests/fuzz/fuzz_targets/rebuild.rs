//! A change log from which the database is made again. Each line is a list of
//! changes in JSON, which becomes a record. If the first line is
//! `checkpoint`, the others are those of one, and get their checksums only.

#![no_main]

use std::fs;
use std::path::Path;

use libfuzzer_sys::fuzz_target;
use registry_core::ErrorKind;
use registry_storage::testkit::change_log::seal;
use registry_storage::testkit::metadata::{Observation, Scope, observe};
use registry_storage::{
    Batch, Change, Durability, MemoryMetadata, MetadataStore, RedbMetadata, RedbOptions,
};
use tempfile::TempDir;
use tokio::runtime::Builder;

fn options() -> RedbOptions {
    RedbOptions::default()
        .durability(Durability::None)
        .cache_bytes(1 << 20)
}

/// In memory where there is such a file system, since every rebuild syncs.
fn directory() -> TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() {
        TempDir::new_in(memory).unwrap()
    } else {
        TempDir::new().unwrap()
    }
}

async fn look(root: &Path) -> Observation {
    let store = RedbMetadata::open(root, options()).await.unwrap();
    let found = observe(&store, Scope::Lasting).await;
    store.close().await.unwrap();
    found
}

/// Records are what a store that never failed would have made of them, up to
/// the first that a crash cut off: nothing behind it was acknowledged. Any other
/// damage is reported.
async fn records(root: &Path, text: &str) {
    let reference = MemoryMetadata::new();
    let mut log = seal(r#"{"segment":{"version":1,"first":1}}"#);
    let mut whole = true;
    for (line, number) in text.lines().zip(1..) {
        let record = format!(r#"{{"record":{{"number":{number},"known":0,"changes":{line}}}}}"#);
        log.push_str(&seal(&record));
        let changes: Result<Vec<Change>, _> = serde_json::from_str(line);
        whole &= changes.is_ok();
        if let (true, Ok(changes)) = (whole, changes) {
            let mut batch = Batch::default();
            batch.changes = changes;
            reference.commit(batch).await.unwrap();
        }
    }
    fs::write(root.join(format!("metadata.{:020}.log", 1)), log).unwrap();
    let expected = observe(&reference, Scope::Lasting).await;

    if !whole && let Err(error) = RedbMetadata::rebuild(root, options()).await {
        // A crash can't have left it, so somebody has to decide.
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        let _ = RedbMetadata::rebuild(root, options().skip_damage(true)).await;
        return;
    }
    // The second time, from the checkpoint that the first leaves.
    for _ in 0..2 {
        let found = RedbMetadata::rebuild(root, options()).await.unwrap();
        assert_eq!(found.skipped, 0);
        look(root).await.assert_is(&expected);
    }
}

/// Whatever a checkpoint says, it is refused or understood.
async fn checkpoint(root: &Path, text: &str) {
    let lines: String = text.lines().map(seal).collect();
    fs::write(root.join(format!("metadata.{:020}.checkpoint", 1)), lines).unwrap();
    for skip in [false, true] {
        let options = options().skip_damage(skip);
        let _ = RedbMetadata::rebuild(root, options).await;
    }
}

fuzz_target!(|text: &str| {
    let root = directory();
    let runtime = Builder::new_multi_thread()
        .worker_threads(1)
        .enable_time()
        .build()
        .unwrap();
    runtime.block_on(async {
        match text.strip_prefix("checkpoint\n") {
            Some(lines) => checkpoint(root.path(), lines).await,
            None => records(root.path(), text).await,
        }
    });
});
