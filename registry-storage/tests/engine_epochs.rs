//! What was granted for one repository changes no other that came to its name since,
//! however little time there was between the decision and the change.

#![allow(
    clippy::unwrap_used,
    reason = "what a test sets up is valid, or the test fails"
)]

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use registry_core::testkit::{
    ImageBuilder, Package, content, push_blob, reference, refused, trusted,
};
use registry_core::{
    Access, Admission, Algorithm, Chunk, Deletion, Digest, Epochs, ErrorKind, Gate, Management,
    MountSource, Prefix, Registry, RegistryExt, Result, Tag, UploadOptions,
};
use registry_storage::{Engine, MemoryBlobs, MemoryMetadata, MetadataStore};
#[cfg(feature = "redb")]
use registry_storage::{RedbMetadata, RedbOptions};

const NAME: &str = "team/app";

/// While it thinks about a change, the repository is deleted, and another one with the
/// same content is created under its name.
#[derive(Debug)]
struct Overtaken {
    /// The same registry without a gate; taken when it has happened.
    overtaking: Mutex<Option<Engine>>,
}

#[async_trait]
impl Gate for Overtaken {
    async fn admit(&self, _: &Access, admission: Admission<'_>) -> Result<()> {
        // When a manifest is pushed, as late as it can be.
        if !matches!(admission, Admission::Push(_)) {
            let overtaking = self.overtaking.lock().unwrap().take();
            if let Some(registry) = overtaking {
                registry.delete_repository(&trusted(NAME)).await.unwrap();
                furnish(&registry).await;
            }
        }
        Ok(())
    }
}

struct Scene {
    /// Without a gate.
    open: Engine,
    gated: Engine,
    images: [Package; 2],
    /// A blob of the repository that no manifest is about.
    blob: Digest,
    /// A blob of another one.
    foreign: Digest,
}

/// Two images, and a blob.
async fn furnish(registry: &Engine) -> ([Package; 2], Digest) {
    let access = trusted(NAME);
    let images = ["first", "second"].map(|seed| ImageBuilder::new(seed).build());
    images[0].push(registry, &access, &["latest"]).await;
    images[1].push(registry, &access, &["other"]).await;
    let blob = push_blob(registry, &access, &content("alone", 10)).await;
    (images, blob)
}

async fn scene(metadata: impl MetadataStore) -> Scene {
    let (blobs, metadata) = (Arc::new(MemoryBlobs::new()), Arc::new(metadata));
    let builder = || Engine::builder(Arc::clone(&blobs), Arc::clone(&metadata));
    let open = builder().build();
    let (images, blob) = furnish(&open).await;
    let source = trusted("team/source");
    let foreign = push_blob(&open, &source, &content("foreign", 10)).await;
    let gate = Overtaken {
        overtaking: Mutex::new(Some(open.clone())),
    };
    Scene {
        gated: builder().gate(gate).build(),
        open,
        images,
        blob,
        foreign,
    }
}

const CHANGES: usize = 6;

impl Scene {
    /// Each change that can overtake itself.
    async fn change(&self, registry: &Engine, number: usize, access: &Access) -> Result<()> {
        let tag: Tag = "latest".parse().unwrap();
        match number {
            // Moves a tag.
            0 => {
                let push = self.images[1].put(&["latest"]);
                registry.put_manifest(access, push).await.map(drop)
            }
            1 => {
                let source = trusted("team/source");
                let from = MountSource::Repository(&source);
                let mounted = registry.mount_blob(access, &self.foreign, from).await;
                mounted.map(|mounted| assert!(mounted.is_some()))
            }
            2 => {
                let deletion = Deletion::Blob(self.blob);
                registry.delete(access, deletion).await
            }
            3 => registry.delete(access, Deletion::tag(tag)).await,
            4 => {
                let deletion = Deletion::Manifest(self.images[0].manifest().digest);
                registry.delete(access, deletion).await
            }
            _ => registry.delete_repository(access).await,
        }
    }

    /// That the other repository is as it was made.
    async fn is_untouched(&self) {
        let access = trusted(NAME);
        assert_eq!(self.epoch().await, 1);
        let found = self.open.resolve(&access, &reference("latest")).await;
        assert_eq!(found.unwrap().digest, self.images[0].manifest().digest);
        self.open.stat_blob(&access, &self.blob).await.unwrap();
        let foreign = self.open.stat_blob(&access, &self.foreign).await;
        refused(foreign, ErrorKind::BlobUnknown);
    }

    async fn epoch(&self) -> u64 {
        let epoch = self.open.epoch(&NAME.parse().unwrap()).await;
        epoch.unwrap().number
    }
}

/// Tries each change over stores that `store` makes.
async fn each_change_is_of_its_repository<M: MetadataStore>(store: impl AsyncFn(usize) -> M) {
    for number in 0..CHANGES {
        let scene = scene(store(number).await).await;
        let access = trusted(NAME).in_epoch(0);
        let outcome = scene.change(&scene.gated, number, &access).await;
        refused(outcome, ErrorKind::NameUnknown);
        scene.is_untouched().await;
        // Nor when it was deleted before that.
        let outcome = scene.change(&scene.open, number, &access).await;
        refused(outcome, ErrorKind::NameUnknown);
        scene.is_untouched().await;
        // What was granted in this one goes on.
        let access = trusted(NAME).in_epoch(1);
        let outcome = scene.change(&scene.gated, number, &access).await;
        outcome.unwrap();
    }
}

#[tokio::test]
async fn a_change_that_a_new_repository_overtakes_fails() {
    each_change_is_of_its_repository(async |_| MemoryMetadata::new()).await;
}

#[cfg(feature = "redb")]
#[tokio::test]
async fn a_change_that_a_new_repository_overtakes_fails_in_the_database() {
    let root = tempfile::tempdir().unwrap();
    each_change_is_of_its_repository(async |number: usize| {
        let directory = root.path().join(number.to_string());
        let opened = RedbMetadata::open(directory, RedbOptions::default()).await;
        opened.unwrap()
    })
    .await;
}

#[tokio::test]
async fn an_access_without_an_epoch_is_to_whatever_has_the_name() {
    for number in 0..CHANGES {
        let scene = scene(MemoryMetadata::new()).await;
        let outcome = scene.change(&scene.gated, number, &trusted(NAME)).await;
        // Whoever deletes means the repository that was there.
        if number == CHANGES - 1 {
            refused(outcome, ErrorKind::NameUnknown);
        } else {
            outcome.unwrap();
        }
    }
}

#[tokio::test]
async fn no_upload_begins_or_ends_for_a_repository_that_is_gone() {
    let scene = scene(MemoryMetadata::new()).await;
    let registry = &scene.open;
    let (before, after) = (trusted(NAME).in_epoch(0), trusted(NAME).in_epoch(1));
    let options = UploadOptions::default;
    registry.begin_upload(&before, options()).await.unwrap();
    registry.delete_repository(&before).await.unwrap();

    let begun = registry.begin_upload(&before, options()).await;
    refused(begun, ErrorKind::NameUnknown);
    let upload = registry.begin_upload(&after, options()).await.unwrap();
    let digest = Algorithm::Sha256.digest(b"new");
    let chunk = || Some(Chunk::from_bytes("new"));
    let ended = registry.finish_upload(&before, &upload.id, &digest, chunk());
    refused(ended.await, ErrorKind::NameUnknown);
    let blob = registry.stat_blob(&after, &digest).await;
    refused(blob, ErrorKind::BlobUnknown);
    let upload = registry.begin_upload(&after, options()).await.unwrap();
    let ended = registry.finish_upload(&after, &upload.id, &digest, chunk());
    ended.await.unwrap();
}

#[tokio::test]
async fn nothing_is_mounted_from_a_repository_that_came_later() {
    let scene = scene(MemoryMetadata::new()).await;
    let registry = &scene.open;
    let source = trusted("team/source");
    registry.delete_repository(&source).await.unwrap();
    push_blob(registry, &source, &content("foreign", 10)).await;

    let mount = async |source: Access| {
        let from = MountSource::Repository(&source);
        let access = trusted(NAME);
        let mounted = registry.mount_blob(&access, &scene.foreign, from);
        mounted.await
    };
    refused(
        mount(source.clone().in_epoch(0)).await,
        ErrorKind::NameUnknown,
    );
    let mounted = mount(source.in_epoch(1)).await.unwrap();
    assert!(mounted.is_some());
}

#[tokio::test]
async fn a_layer_that_renames_repositories_keeps_the_epoch() {
    let scene = scene(MemoryMetadata::new()).await;
    let registry = scene
        .open
        .clone()
        .layer(Prefix::add(&"team".parse().unwrap()));
    let delete = async |number| {
        let deletion = Deletion::Blob(scene.blob);
        let access = trusted("app").in_epoch(number);
        registry.delete(&access, deletion).await
    };
    refused(delete(1).await, ErrorKind::NameUnknown);
    delete(0).await.unwrap();
}
