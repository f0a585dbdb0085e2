//! What a gate keeps, whichever way it would change.

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
    Access, Admission, Algorithm, Chunk, Deletion, ErrorKind, Gate, Gated, Management,
    ManifestRules, MountSource, PutManifest, Registry, RegistryExt, Result, Tag, UploadOptions,
};
use registry_storage::{BlobStore, Engine, MemoryBlobs, MemoryMetadata};

/// Releases stay, and stay what they are.
#[derive(Debug)]
struct KeepReleases;

#[async_trait]
impl Gate for KeepReleases {
    async fn admit(&self, _: &Access, admission: Admission<'_>) -> Result<()> {
        match admission {
            Admission::MoveTag { tag, .. } | Admission::RemoveTag { tag, .. }
                if tag.as_str().starts_with('v') =>
            {
                Err(ErrorKind::Denied.error("releases are kept; choose another tag"))
            }
            _ => Ok(()),
        }
    }
}

/// Two images, the first of which is v1.
async fn furnish(registry: &dyn Registry) -> (Access, Package, Package) {
    let access = trusted("team/app");
    let [released, other] = ["released", "other"].map(|seed| ImageBuilder::new(seed).build());
    released.push(registry, &access, &["latest", "v1"]).await;
    other.push(registry, &access, &["nightly"]).await;
    (access, released, other)
}

fn tag(name: &str) -> Tag {
    name.parse().unwrap()
}

/// A push of `image` under a tag, as clients do it.
fn under(name: &str, image: &Package) -> PutManifest {
    let manifest = image.manifest();
    let media_type = Some(manifest.media_type.clone());
    let rules = ManifestRules::default();
    PutManifest::new(reference(name), media_type, manifest.bytes.clone(), &rules).unwrap()
}

#[tokio::test]
async fn a_tag_that_a_gate_keeps_stays_whichever_way_it_would_go() {
    let asked_by_engine = || {
        let builder = Engine::builder(MemoryBlobs::new(), MemoryMetadata::default());
        builder.gate(KeepReleases).build()
    };
    let by_a_layer = Engine::memory().layer(Gated::by(KeepReleases));
    let registries: [Box<dyn Registry>; 2] = [Box::new(asked_by_engine()), Box::new(by_a_layer)];
    for registry in registries {
        let registry = &*registry;
        let (access, released, other) = furnish(registry).await;
        for push in [
            under("v1", &other),
            other.put(&["v1"]),
            other.put(&["new", "v1"]),
        ] {
            refused(
                registry.put_manifest(&access, push).await,
                ErrorKind::Denied,
            );
        }
        for deletion in [
            Deletion::tag(tag("v1")),
            Deletion::Tag {
                tag: tag("v1"),
                expected: Some(released.manifest().digest),
            },
            Deletion::Manifest(released.manifest().digest),
        ] {
            refused(registry.delete(&access, deletion).await, ErrorKind::Denied);
        }
        let found = registry.resolve(&access, &reference("v1")).await.unwrap();
        assert_eq!(found.digest, released.manifest().digest);
        let found = registry.resolve(&access, &reference("new")).await;
        refused(found, ErrorKind::ManifestUnknown);

        // Others move and go, and to push the same again moves nothing.
        let again = released.put(&["v1", "nightly"]);
        registry.put_manifest(&access, again).await.unwrap();
        for deletion in [
            Deletion::tag(tag("latest")),
            Deletion::Manifest(other.manifest().digest),
        ] {
            registry.delete(&access, deletion).await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_repository_with_a_tag_that_a_gate_keeps_is_not_deleted_as_a_whole() {
    let builder = Engine::builder(MemoryBlobs::new(), MemoryMetadata::default());
    let registry = builder.gate(KeepReleases).build();
    let (access, released, _) = furnish(&registry).await;
    refused(registry.delete_repository(&access).await, ErrorKind::Denied);
    let found = registry.resolve(&access, &reference("v1")).await.unwrap();
    assert_eq!(found.digest, released.manifest().digest);

    let other = trusted("team/other");
    released.push(&registry, &other, &["latest"]).await;
    registry.delete_repository(&other).await.unwrap();
}

/// Somebody else is faster: while the gate thinks about one tag, another is moved to
/// where the change is.
#[derive(Debug)]
struct Overtaken {
    /// What it thinks about.
    about: &'static str,
    /// The same registry without a gate, and what is pushed there, once.
    overtaking: Mutex<Option<(Engine, PutManifest)>>,
}

#[async_trait]
impl Gate for Overtaken {
    async fn admit(&self, access: &Access, admission: Admission<'_>) -> Result<()> {
        if let Admission::MoveTag { tag, .. } | Admission::RemoveTag { tag, .. } = admission
            && tag.as_str() == self.about
        {
            let overtaking = self.overtaking.lock().unwrap().take();
            if let Some((registry, push)) = overtaking {
                registry.put_manifest(access, push).await.unwrap();
            }
        }
        KeepReleases.admit(access, admission).await
    }
}

#[tokio::test]
async fn a_gate_decides_about_the_tags_that_the_commit_finds() {
    for way in 0..3 {
        let blobs = Arc::new(MemoryBlobs::new());
        let metadata = Arc::new(MemoryMetadata::default());
        let builder = || Engine::builder(Arc::clone(&blobs), Arc::clone(&metadata));
        let open = builder().build();
        let access = trusted("team/app");
        let [first, second] = ["first", "second"].map(|seed| ImageBuilder::new(seed).build());
        first.push(&open, &access, &["nightly"]).await;
        second.push(&open, &access, &[]).await;
        let (about, overtaking) = ("nightly", first.put(&["v1"]));
        let gate = Overtaken {
            about,
            overtaking: Mutex::new(Some((open.clone(), overtaking))),
        };
        let gated = builder().gate(gate).build();
        let outcome = match way {
            0 => {
                let deletion = Deletion::Manifest(first.manifest().digest);
                gated.delete(&access, deletion).await
            }
            // There is no v1 yet when that is looked for.
            1 => {
                let push = second.put(&["v1", "nightly"]);
                gated.put_manifest(&access, push).await.map(drop)
            }
            _ => gated.delete_repository(&access).await,
        };
        refused(outcome, ErrorKind::Denied);
        for kept in ["v1", "nightly"] {
            let found = open.resolve(&access, &reference(kept)).await.unwrap();
            assert_eq!(found.digest, first.manifest().digest, "{way} {kept}");
        }
    }
}

/// Lets no blob in.
#[derive(Debug)]
struct NoBlobs;

#[async_trait]
impl Gate for NoBlobs {
    async fn admit(&self, _: &Access, admission: Admission<'_>) -> Result<()> {
        match admission {
            Admission::PushBlob { .. } | Admission::MountBlob { .. } => {
                Err(ErrorKind::Denied.error("no blobs are taken here; push to another registry"))
            }
            _ => Ok(()),
        }
    }
}

#[tokio::test]
async fn a_gate_stops_blobs_that_are_pushed_or_mounted() {
    let blobs = Arc::new(MemoryBlobs::new());
    let metadata = Arc::new(MemoryMetadata::default());
    let builder = || Engine::builder(Arc::clone(&blobs), Arc::clone(&metadata));
    let open = builder().build();
    let (access, source) = (trusted("team/app"), trusted("team/source"));
    let there = push_blob(&open, &source, &content("there", 10)).await;
    let digest = Algorithm::Sha256.digest(b"new");
    let registries: [Box<dyn Registry>; 2] = [
        Box::new(builder().gate(NoBlobs).build()),
        Box::new(open.clone().layer(Gated::by(NoBlobs))),
    ];
    for registry in registries {
        let upload = registry.begin_upload(&access, UploadOptions::default());
        let upload = upload.await.unwrap();
        let chunk = Some(Chunk::from_bytes("new"));
        let pushed = registry
            .finish_upload(&access, &upload.id, &digest, chunk)
            .await;
        refused(pushed, ErrorKind::Denied);
        let from = MountSource::Repository(&source);
        let mounted = registry.mount_blob(&access, &there, from).await;
        refused(mounted, ErrorKind::Denied);
        for absent in [&digest, &there] {
            let found = registry.stat_blob(&access, absent).await;
            refused(found, ErrorKind::BlobUnknown);
        }
        assert_eq!(blobs.list(None, 9).await.unwrap().len(), 1);
    }
}
