//! What was published is there after any power failure, byte for byte.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "in a test, a panic is the way to fail"
)]

use std::collections::BTreeMap;

use bytes::Bytes;
use registry_core::{Algorithm, ErrorKind, Result, UploadId};
use registry_storage::testkit::blob::{collect, content, verified};
use registry_storage::testkit::{SimulatedFileSystem, blob};
use registry_storage::{
    BlobKey, BlobStore, Durability, FilesystemBlobs, FilesystemOptions, blob_store_suite,
};

fn open(system: &SimulatedFileSystem) -> Result<FilesystemBlobs> {
    system.blobs(FilesystemOptions::default())
}

blob_store_suite!(unnamed_files, open(&SimulatedFileSystem::new()).unwrap());
blob_store_suite!(
    named_files,
    open(&SimulatedFileSystem::new().without_unnamed_files()).unwrap()
);

/// A store that is used, loses power and is used again, and what its user
/// may rely on.
struct History {
    system: SimulatedFileSystem,
    random: fastrand::Rng,
    /// Where all content comes from.
    pool: Bytes,
    uploads: u64,
    /// What was published and not deleted.
    published: BTreeMap<BlobKey, Bytes>,
    /// What was paused, as far as the user knows.
    paused: Vec<(UploadId, Bytes)>,
    /// How many published blobs were missing or differed.
    lost: usize,
}

impl History {
    fn new(seed: u64, system: SimulatedFileSystem) -> Self {
        Self {
            system,
            random: fastrand::Rng::with_seed(seed),
            pool: content(1, 400_000),
            uploads: 0,
            published: BTreeMap::new(),
            paused: Vec::new(),
            lost: 0,
        }
    }

    fn content(&mut self) -> Bytes {
        let size = [0, 1, 700, 5_000, 140_000, 300_000][self.random.usize(..6)];
        let start = self.random.usize(..self.pool.len() - size);
        self.pool.slice(start..start + size)
    }

    async fn run(mut self) -> usize {
        for _ in 0..4 {
            if self.random.bool() {
                self.system.cut_power_after(self.random.u64(..60));
            }
            if let Ok(store) = open(&self.system) {
                for _ in 0..8 {
                    if let Err(error) = self.step(&store).await {
                        let cut = !self.system.has_power();
                        assert!(cut, "it fails although the power is on: {error:?}");
                        break;
                    }
                }
            }
            self.system.crash(self.random.u64(..));
            let store = open(&self.system).unwrap();
            self.check(&store).await;
            self.read_back(&store).await;
        }
        self.lost
    }

    async fn step(&mut self, store: &FilesystemBlobs) -> Result<()> {
        match self.random.u8(..10) {
            0 if !self.published.is_empty() => {
                let which = self.random.usize(..self.published.len());
                let key = *self.published.keys().nth(which).unwrap();
                // Once it is asked for, it may or may not happen.
                self.published.remove(&key);
                store.delete(&key).await
            }
            1..=3 if !self.paused.is_empty() => {
                let which = self.random.usize(..self.paused.len());
                let (upload, bytes) = self.paused.swap_remove(which);
                self.write(store, upload, bytes).await
            }
            _ => {
                self.uploads += 1;
                let mut identity = [0; 16];
                identity[..8].copy_from_slice(&self.uploads.to_be_bytes());
                let upload = UploadId::from_random(identity);
                self.write(store, upload, Bytes::new()).await
            }
        }
    }

    /// Goes on with an upload, then pauses or publishes it.
    async fn write(&mut self, store: &dyn BlobStore, id: UploadId, before: Bytes) -> Result<()> {
        let added = self.content();
        let bytes: Bytes = [before.clone(), added.clone()].concat().into();
        // Whatever comes of it, the upload is there to be tried again.
        self.paused.push((id, before.clone()));
        let mut staged = match store.stage(&id, before.len() as u64).await {
            Err(error) if error.kind() == ErrorKind::UploadUnknown => {
                self.paused.pop();
                return Ok(());
            }
            staged => staged?,
        };
        let middle = self.random.usize(..=added.len());
        staged.write(added.slice(..middle)).await?;
        staged.write(added.slice(middle..)).await?;
        if self.random.bool() {
            staged.pause().await?;
            self.paused.pop();
            self.paused.push((id, bytes));
        } else {
            let key = staged.publish(verified(Algorithm::Sha256, &bytes)).await?;
            self.published.insert(key, bytes);
            // The removal of the staged bytes may get lost, and somebody may
            // come across them: the published ones must not suffer.
        }
        Ok(())
    }

    /// Staged bytes may be other ones after a power failure: the user goes on
    /// only where they aren't.
    async fn read_back(&mut self, store: &FilesystemBlobs) {
        for (upload, bytes) in std::mem::take(&mut self.paused) {
            let staged = store.open_staged(&upload, 0..bytes.len() as u64).await;
            let same = match staged {
                Ok(body) => collect(body).await.unwrap() == bytes,
                Err(_) => false,
            };
            if same {
                self.paused.push((upload, bytes));
            }
        }
    }

    async fn check(&mut self, store: &FilesystemBlobs) {
        for (key, bytes) in &self.published {
            let size = bytes.len() as u64;
            let back = match store.open(key, 0..size).await {
                Ok(body) => collect(body).await.ok(),
                Err(_) => None,
            };
            let listed = store.size(key).await.is_ok_and(|listed| listed == size);
            if back.as_ref() != Some(bytes) || !listed {
                self.lost += 1;
            }
        }
        // What nobody was told of is as good as what was acknowledged: a name
        // is there only if its bytes are.
        for found in store.list(None, usize::MAX).await.unwrap() {
            let back = blob::read(store, &found.key, 0..found.size).await.unwrap();
            if Algorithm::Sha256.digest(&back) != found.key.digest {
                self.lost += 1;
            }
        }
    }
}

#[tokio::test]
async fn published_blobs_survive_any_power_failure() {
    for seed in 0..100 {
        let lost = History::new(seed, SimulatedFileSystem::new()).run().await;
        assert_eq!(lost, 0, "history {seed}");
        let system = SimulatedFileSystem::new().without_unnamed_files();
        let lost = History::new(seed, system).run().await;
        assert_eq!(lost, 0, "history {seed} without unnamed files");
    }
}

/// The histories do find losses where there are any.
#[tokio::test]
async fn a_disk_that_ignores_syncs_loses_blobs() {
    let mut losing = 0;
    for seed in 0..30 {
        let system = SimulatedFileSystem::new();
        system.ignore_syncs();
        losing += usize::from(History::new(seed, system).run().await > 0);
    }
    assert!(losing > 15, "{losing} of 30 histories lost something");
}

/// Nor would a store without durability pass.
#[tokio::test]
async fn without_durability_blobs_get_lost() {
    let mut lost = false;
    for seed in 0..20 {
        let system = SimulatedFileSystem::new();
        let options = FilesystemOptions::default().durability(Durability::None);
        let store = system.blobs(options).unwrap();
        let key = blob::publish(&store, 1, &content(1, 5000)).await.unwrap();
        system.crash(seed);
        let store = open(&system).unwrap();
        lost |= blob::read(&store, &key, 0..5000).await.ok() != Some(content(1, 5000));
    }
    assert!(lost);
}
