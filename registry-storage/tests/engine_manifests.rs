//! What a manifest push guarantees, beyond what every registry does.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::similar_names,
    clippy::unwrap_used,
    reason = "these are tests"
)]

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use registry_core::{
    Access, Action, Algorithm, BlobBody, CatalogAccess, Chunk, Deletion, Digest, ErrorKind,
    Management, ManifestRules, MediaType, PageRequest, PutManifest, Reference, ReferrerFilter,
    Registry, Result, Tag, UploadId, UploadOptions,
};
use registry_storage::testkit::metadata::FaultyMetadata;
use registry_storage::{
    Batch, BlobKey, BlobStore, Change, Engine, EngineOptions, Finding, ManifestRecord, MemoryBlobs,
    MemoryMetadata, MetadataStore, StagedBlob, StoredBlob,
};
use tokio::sync::Notify;

fn access() -> Access {
    Access::trusted("team/app".parse().unwrap())
}

fn tag(tag: &str) -> Tag {
    tag.parse().unwrap()
}

/// An index of nothing, told from others by its annotation.
fn index(note: &str) -> Bytes {
    let json = format!(r#"{{"schemaVersion":2,"manifests":[],"annotations":{{"note":"{note}"}}}}"#);
    json.into()
}

/// An index of nothing.
const INDEX: &[u8] = br#"{"schemaVersion":2,"manifests":[]}"#;

fn push(reference: impl Into<Reference>, bytes: Bytes) -> PutManifest {
    let media_type = Some(MediaType::OCI_INDEX);
    PutManifest::new(
        reference.into(),
        media_type,
        bytes,
        &ManifestRules::default(),
    )
    .unwrap()
}

async fn push_blob(registry: &Engine, content: &'static [u8]) -> Digest {
    let upload = registry
        .begin_upload(&access(), UploadOptions::default())
        .await
        .unwrap();
    let digest = Algorithm::Sha256.digest(content);
    registry
        .finish_upload(
            &access(),
            &upload.id,
            &digest,
            Some(Chunk::from_bytes(content)),
        )
        .await
        .unwrap();
    digest
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_who_may_not_overwrite_one_gets_the_tag() {
    let registry = Engine::memory();
    let creator = access().limited([Action::Pull, Action::Push]);
    let pushes = (0..32).map(|number| {
        let (registry, creator) = (registry.clone(), creator.clone());
        tokio::spawn(async move {
            let push = push(tag("v1"), index(&number.to_string()));
            registry.put_manifest(&creator, push).await
        })
    });
    let mut won = Vec::new();
    for push in pushes.collect::<Vec<_>>() {
        match push.await.unwrap() {
            Ok(pushed) => won.push(pushed.descriptor.digest),
            Err(error) => assert_eq!(error.kind(), ErrorKind::Denied),
        }
    }
    let now = registry
        .resolve(&access(), &tag("v1").into())
        .await
        .unwrap();
    assert_eq!(won, [now.digest]);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_who_push_a_manifest_as_two_types_one_type_stays() {
    let registry = Engine::memory();
    for number in 0..50 {
        let bytes = index(&number.to_string());
        let digest = Algorithm::Sha256.digest(&bytes);
        let types = [MediaType::OCI_INDEX, MediaType::DOCKER_LIST];
        let pushes = types.iter().cycle().take(16).map(|media_type| {
            let (registry, bytes) = (registry.clone(), bytes.clone());
            let push = PutManifest::new(
                digest.into(),
                Some(media_type.clone()),
                bytes,
                &ManifestRules::default(),
            );
            let push = push.unwrap();
            tokio::spawn(async move { registry.put_manifest(&access(), push).await })
        });
        let mut accepted = Vec::new();
        for push in pushes.collect::<Vec<_>>() {
            match push.await.unwrap() {
                Ok(pushed) => accepted.push(pushed.descriptor.media_type),
                Err(error) => assert_eq!(error.kind(), ErrorKind::ManifestInvalid),
            }
        }
        let now = registry.resolve(&access(), &digest.into()).await.unwrap();
        assert_eq!(accepted, vec![now.media_type.clone(); 8]);

        // Deleted, it may come back as the other one.
        let other = types.iter().find(|other| **other != now.media_type);
        registry
            .delete(&access(), Deletion::Manifest(digest))
            .await
            .unwrap();
        let rules = ManifestRules::default();
        let push = PutManifest::new(digest.into(), other.cloned(), bytes, &rules).unwrap();
        registry.put_manifest(&access(), push).await.unwrap();
    }
}

#[tokio::test]
async fn several_tags_move_together_or_not_at_all() {
    let registry = Engine::memory();
    registry
        .put_manifest(&access(), push(tag("taken"), index("old")))
        .await
        .unwrap();
    let creator = access().limited([Action::Pull, Action::Push]);
    let manifest = index("new");
    let digest = Algorithm::Sha256.digest(&manifest);
    let tags = [tag("free"), tag("taken")];
    let error = registry
        .put_manifest(&creator, push(digest, manifest).with_tags(tags).unwrap())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied);
    let free = registry.resolve(&access(), &tag("free").into()).await;
    assert_eq!(free.unwrap_err().kind(), ErrorKind::ManifestUnknown);
}

#[tokio::test]
async fn a_damaged_manifest_is_an_error_of_the_registry_and_a_push_mends_it() {
    let blobs = MemoryBlobs::new();
    let metadata = Arc::new(MemoryMetadata::default());
    let first = Engine::builder(blobs.clone(), Arc::clone(&metadata)).build();
    first
        .put_manifest(&access(), push(tag("v1"), index("a")))
        .await
        .unwrap();
    let stored = blobs.list(None, 10).await.unwrap();
    blobs.delete(&stored[0].key).await.unwrap();

    // Another process, whose memory is empty.
    let registry = Engine::builder(blobs, metadata).build();
    let get = async || registry.get_manifest(&access(), &tag("v1").into()).await;
    let head = async || registry.resolve(&access(), &tag("v1").into()).await;
    assert_eq!(get().await.unwrap_err().kind(), ErrorKind::Corrupt);
    // Whoever asks first would not push it.
    let absent = head().await.unwrap_err();
    assert_eq!(absent.kind(), ErrorKind::ManifestUnknown);
    let damage = registry
        .verify(&CatalogAccess::trusted(), PageRequest::default())
        .await
        .unwrap();
    assert_eq!(damage.items.len(), 1);

    registry
        .put_manifest(&access(), push(tag("v1"), index("a")))
        .await
        .unwrap();
    assert_eq!(get().await.unwrap().bytes, index("a"));
    head().await.unwrap();
}

/// What an inspection says is wrong.
async fn inspect(registry: &Engine) -> Vec<(Digest, Finding, Vec<String>)> {
    let mut inspection = registry.inspect(1);
    let mut found = Vec::new();
    while let Some(inspected) = inspection.next().await.unwrap() {
        let names = inspected.repositories.iter().map(ToString::to_string);
        if inspected.finding != Finding::Whole {
            found.push((inspected.key.digest, inspected.finding, names.collect()));
        }
    }
    found
}

/// The same bytes can be a blob here and a manifest there.
#[tokio::test]
async fn an_inspection_names_who_holds_content_in_whichever_way() {
    let blobs = MemoryBlobs::new();
    let registry = Engine::builder(blobs.clone(), MemoryMetadata::default()).build();
    let digest = push_blob(&registry, INDEX).await;
    for name in ["a", "z"] {
        let access = Access::trusted(name.parse().unwrap());
        let manifest = push(tag("v1"), Bytes::from_static(INDEX));
        registry.put_manifest(&access, manifest).await.unwrap();
    }
    for stored in blobs.list(None, 10).await.unwrap() {
        blobs.delete(&stored.key).await.unwrap();
    }
    let names = ["a", "team/app", "z"].map(str::to_owned).to_vec();
    let expected = [(digest, Finding::Missing, names)];
    assert_eq!(inspect(&registry).await, expected);
}

/// A rebuild that skipped damage may have lost where the bytes are.
#[tokio::test]
async fn a_manifest_without_a_record_of_its_bytes_is_missing_until_it_is_pushed() {
    let blobs = MemoryBlobs::new();
    let before = Engine::builder(blobs.clone(), MemoryMetadata::default()).build();
    let whole = push(tag("v1"), index("a"));
    before.put_manifest(&access(), whole.clone()).await.unwrap();
    let metadata = Arc::new(MemoryMetadata::default());
    let manifest = ManifestRecord {
        digest: whole.manifest().digest,
        media_type: MediaType::OCI_INDEX,
        size: whole.manifest().bytes.len() as u64,
        subject: None,
        pushed_at: std::time::SystemTime::UNIX_EPOCH,
    };
    for name in ["a", "team/app"] {
        let put = Change::PutManifest {
            repository: name.parse().unwrap(),
            manifest: manifest.clone(),
            references: Vec::new(),
            referrer: None,
        };
        let batch = Batch {
            changes: vec![put],
            ..Batch::default()
        };
        metadata.commit(batch).await.unwrap();
    }
    let registry = Engine::builder(blobs, metadata).build();
    let names = ["a", "team/app"].map(str::to_owned).to_vec();
    let expected = [(manifest.digest, Finding::Missing, names)];
    assert_eq!(inspect(&registry).await, expected);
    let reference = Reference::Digest(manifest.digest);
    let absent = registry.resolve(&access(), &reference).await.unwrap_err();
    assert_eq!(absent.kind(), ErrorKind::ManifestUnknown);
    registry.put_manifest(&access(), whole).await.unwrap();
    registry.resolve(&access(), &reference).await.unwrap();
    let left = inspect(&registry).await;
    // Nobody misses the copy that was there before.
    assert!(
        matches!(&left[..], [(_, Finding::Unreferenced, _)]),
        "{left:?}"
    );
}

/// Memory in which staging waits until the test lets it go on.
#[derive(Debug, Clone, Default)]
struct Waiting {
    blobs: MemoryBlobs,
    staged: Arc<Notify>,
    go_on: Arc<Notify>,
}

#[async_trait]
impl BlobStore for Waiting {
    async fn stage(&self, upload: &UploadId, offset: u64) -> Result<Box<dyn StagedBlob>> {
        let staged = self.blobs.stage(upload, offset).await;
        self.staged.notify_one();
        self.go_on.notified().await;
        staged
    }

    async fn open_staged(&self, upload: &UploadId, range: Range<u64>) -> Result<BlobBody> {
        self.blobs.open_staged(upload, range).await
    }

    async fn discard(&self, upload: &UploadId) -> Result<()> {
        self.blobs.discard(upload).await
    }

    async fn list_staged(&self, after: Option<UploadId>, limit: usize) -> Result<Vec<UploadId>> {
        self.blobs.list_staged(after, limit).await
    }

    async fn open(&self, key: &BlobKey, range: Range<u64>) -> Result<BlobBody> {
        self.blobs.open(key, range).await
    }

    async fn size(&self, key: &BlobKey) -> Result<u64> {
        self.blobs.size(key).await
    }

    async fn delete(&self, key: &BlobKey) -> Result<()> {
        self.blobs.delete(key).await
    }

    async fn list(&self, after: Option<BlobKey>, limit: usize) -> Result<Vec<StoredBlob>> {
        self.blobs.list(after, limit).await
    }
}

#[tokio::test]
async fn a_push_that_loses_the_tag_leaves_no_bytes() {
    let blobs = Waiting::default();
    let registry = Engine::builder(blobs.clone(), MemoryMetadata::default()).build();
    let creator = access().limited([Action::Pull, Action::Push]);
    let mut pushes = Vec::new();
    for note in ["first", "second"] {
        let (registry, creator) = (registry.clone(), creator.clone());
        pushes.push(tokio::spawn(async move {
            registry
                .put_manifest(&creator, push(tag("v1"), index(note)))
                .await
        }));
        blobs.staged.notified().await;
    }
    let mut pushes = pushes.into_iter();
    blobs.go_on.notify_one();
    pushes.next().unwrap().await.unwrap().unwrap();
    blobs.go_on.notify_one();
    let lost = pushes.next().unwrap().await.unwrap().unwrap_err();
    assert_eq!(lost.kind(), ErrorKind::Denied);
    // They go a moment later.
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    let stored = blobs.list(None, 10).await.unwrap();
    assert_eq!(stored.len(), 1, "{stored:?}");
}

#[tokio::test]
async fn the_expiry_of_uploads_leaves_a_manifest_alone_that_is_being_pushed() {
    let blobs = Waiting::default();
    let registry = Engine::builder(blobs.clone(), MemoryMetadata::default()).build();
    let pushing = registry.clone();
    let pushed = tokio::spawn(async move {
        pushing
            .put_manifest(&access(), push(tag("v1"), index("a")))
            .await
    });
    blobs.staged.notified().await;
    registry.expire_uploads(Duration::ZERO).await.unwrap();
    assert_eq!(blobs.list_staged(None, 10).await.unwrap().len(), 1);
    blobs.go_on.notify_one();
    pushed.await.unwrap().unwrap();
}

#[tokio::test]
async fn usage_counts_what_a_repository_holds() {
    let registry = Engine::memory();
    push_blob(&registry, b"12345").await;
    let manifest = index("a");
    registry
        .put_manifest(&access(), push(tag("v1"), manifest.clone()))
        .await
        .unwrap();
    let usage = registry
        .usage(&CatalogAccess::trusted(), Some(access().repository()))
        .await
        .unwrap();
    assert_eq!((usage.blobs, usage.manifests, usage.tags), (1, 1, 1));
    assert_eq!(usage.bytes, 5 + manifest.len() as u64);
}

#[tokio::test]
async fn a_size_that_is_wrong_is_refused_where_sizes_are_to_be_exact() {
    for is_exact in [false, true] {
        let options = EngineOptions::default().exact_sizes(is_exact);
        let builder = Engine::builder(MemoryBlobs::new(), MemoryMetadata::default());
        let registry = builder.options(options).build();
        let blob = push_blob(&registry, b"layer").await;
        let child = push(tag("child"), index("child"));
        let (child_digest, child_size) = (child.manifest().digest, index("child").len());
        registry.put_manifest(&access(), child).await.unwrap();
        for (blob_size, named, is_right) in [
            (5, child_size, true),
            (6, child_size, false),
            (5, child_size + 1, false),
        ] {
            let image = format!(
                r#"{{"schemaVersion":2,"config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{blob}","size":{blob_size}}},"layers":[]}}"#
            );
            let image = PutManifest::new(
                Reference::Tag(tag("image")),
                Some(MediaType::OCI_MANIFEST),
                image.into(),
                &ManifestRules::default(),
            );
            let parent = format!(
                r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"{}","digest":"{child_digest}","size":{named}}}]}}"#,
                MediaType::OCI_INDEX
            );
            let pushes = [image.unwrap(), push(tag("parent"), parent.into())];
            let mut refused = 0;
            for push in pushes {
                if let Err(error) = registry.put_manifest(&access(), push).await {
                    assert_eq!(error.kind(), ErrorKind::ManifestInvalid);
                    refused += 1;
                }
            }
            assert_eq!(
                refused,
                usize::from(is_exact && !is_right),
                "{blob_size} {named}"
            );
        }
    }
}

/// Whoever followed all the ways down would be busy for ever.
#[tokio::test]
async fn s_62_indexes_that_share_children_cost_what_they_name() {
    let metadata = Arc::new(FaultyMetadata::new(MemoryMetadata::default()));
    let registry = Engine::builder(MemoryBlobs::new(), Arc::clone(&metadata)).build();
    let mut below: Vec<Bytes> = vec![index("left"), index("right")];
    for level in 0..30 {
        let children: Vec<_> = below
            .iter()
            .map(|child| {
                let media_type = MediaType::OCI_INDEX;
                let digest = Algorithm::Sha256.digest(child);
                let size = child.len();
                format!(r#"{{"mediaType":"{media_type}","digest":"{digest}","size":{size}}}"#)
            })
            .collect();
        for pushed in &below {
            // Many more reads than two children need.
            metadata.fail_read(50);
            let pushed = push(tag("top"), pushed.clone());
            registry.put_manifest(&access(), pushed).await.unwrap();
        }
        let children = children.join(",");
        let parent = |side: &str| {
            let json = format!(
                r#"{{"schemaVersion":2,"manifests":[{children}],"annotations":{{"note":"{level}{side}"}}}}"#
            );
            Bytes::from(json)
        };
        below = vec![parent("left"), parent("right")];
    }
    metadata.fail_read(50);
    let top = Reference::Tag(tag("top"));
    let found = registry.get_manifest(&access(), &top).await.unwrap();
    let deletion = Deletion::Manifest(found.digest);
    registry.delete(&access(), deletion).await.unwrap();
}

/// However large the annotations of others, one page costs a bounded amount of
/// reading, and following the links finds what is wanted all the same.
#[tokio::test]
async fn a_page_of_wanted_referrers_looks_at_a_bounded_amount_of_others() {
    const LARGE: usize = 1_000_000;
    let registry = Engine::memory();
    let subject = Algorithm::Sha256.digest(b"subject");
    let about = |number: usize, artifact_type: &str, size: usize| -> Bytes {
        let note = format!("{number}{}", "x".repeat(size));
        let media_type = MediaType::OCI_INDEX;
        let json = format!(
            r#"{{"schemaVersion":2,"manifests":[],"artifactType":"{artifact_type}","annotations":{{"note":"{note}"}},"subject":{{"mediaType":"{media_type}","digest":"{subject}","size":7}}}}"#
        );
        json.into()
    };
    let mut wanted = Vec::new();
    for number in 0..50 {
        let other = about(number, "x/other", LARGE);
        let digest = Algorithm::Sha256.digest(&other);
        registry
            .put_manifest(&access(), push(digest, other))
            .await
            .unwrap();
        if number.is_multiple_of(25) {
            let small = about(number, "x/wanted", 0);
            let digest = Algorithm::Sha256.digest(&small);
            registry
                .put_manifest(&access(), push(digest, small))
                .await
                .unwrap();
            wanted.push(digest);
        }
    }
    wanted.sort_unstable();
    let filter = ReferrerFilter::default().artifact_types(vec!["x/wanted".to_owned()]);
    let mut page = PageRequest::default();
    let (mut pages, mut found) = (0, Vec::new());
    loop {
        let listed = registry
            .referrers(&access(), &subject, filter.clone(), page.clone())
            .await
            .unwrap();
        pages += 1;
        found.extend(listed.items.iter().map(|referrer| referrer.digest));
        page.after = listed.next;
        if page.after.is_none() {
            break;
        }
    }
    assert_eq!(found, wanted);
    assert!((3..=4).contains(&pages), "{pages}");
}
