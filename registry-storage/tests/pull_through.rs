//! What a pull-through cache keeps, and when it asks.

#![allow(clippy::panic, clippy::unwrap_used, reason = "these are tests")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use registry_core::testkit::{ImageBuilder, Package, content, trusted};
use registry_core::{
    Access, Algorithm, Blob, BlobBody, ByteRange, Deletion, Descriptor, Digest, ErrorKind,
    Manifest, OpenOptions, ReadOnly, Reference, Registry, RegistryExt, Result, UploadOptions,
};
use registry_storage::{
    BlobStore, Engine, EngineOptions, MemoryBlobs, MemoryMetadata, PullThrough,
};

/// A registry that counts what it is asked for, and can be out of order.
#[derive(Debug)]
struct Upstream {
    engine: Engine,
    asked: AtomicU64,
    down: AtomicBool,
    lying: AtomicBool,
    stuck: AtomicBool,
    late: AtomicBool,
    answer: tokio::sync::Notify,
}

impl Upstream {
    fn ask(&self) -> Result<()> {
        if self.down.load(Ordering::Relaxed) {
            return Err(ErrorKind::Unavailable.error("out of order"));
        }
        self.asked.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn asked(&self) -> u64 {
        self.asked.swap(0, Ordering::Relaxed)
    }
}

#[async_trait]
impl Registry for Upstream {
    async fn stat_blob(&self, access: &Access, digest: &Digest) -> Result<Descriptor> {
        self.ask()?;
        self.engine.stat_blob(access, digest).await
    }

    async fn open_blob(
        &self,
        access: &Access,
        digest: &Digest,
        options: OpenOptions,
    ) -> Result<Blob> {
        self.ask()?;
        let mut blob = self.engine.open_blob(access, digest, options).await?;
        if self.lying.load(Ordering::Relaxed) {
            let wrong = vec![0; usize::try_from(blob.size).unwrap()];
            blob.body = BlobBody::Bytes(wrong.into());
        }
        if let BlobBody::Bytes(bytes) = blob.body {
            blob.body = in_pieces(bytes);
        }
        if self.stuck.load(Ordering::Relaxed) {
            blob.body = BlobBody::Stream(futures::stream::pending().boxed());
        }
        Ok(blob)
    }

    async fn resolve(&self, access: &Access, reference: &Reference) -> Result<Descriptor> {
        self.ask()?;
        let found = self.engine.resolve(access, reference).await;
        if self.late.swap(false, Ordering::Relaxed) {
            self.answer.notified().await;
        }
        found
    }

    async fn get_manifest(&self, access: &Access, reference: &Reference) -> Result<Manifest> {
        self.ask()?;
        self.engine.get_manifest(access, reference).await
    }
}

/// As it comes across a network.
fn in_pieces(mut bytes: Bytes) -> BlobBody {
    let pieces = std::iter::from_fn(move || {
        let piece = bytes.split_to(bytes.len().min(1000));
        (!piece.is_empty()).then_some(Ok(piece))
    });
    BlobBody::Stream(futures::stream::iter(pieces).boxed())
}

async fn cache() -> (
    Arc<Upstream>,
    Engine,
    PullThrough<Engine, Arc<Upstream>>,
    Package,
) {
    let image = ImageBuilder::new("image")
        .layer(content("large", 100_000))
        .build();
    let engine = Engine::memory();
    image.push(&engine, &trusted("team/app"), &["v1"]).await;
    let upstream = Arc::new(Upstream {
        engine,
        asked: AtomicU64::new(0),
        down: AtomicBool::new(false),
        lying: AtomicBool::new(false),
        stuck: AtomicBool::new(false),
        late: AtomicBool::new(false),
        answer: tokio::sync::Notify::new(),
    });
    let local = Engine::builder(MemoryBlobs::new(), MemoryMetadata::default())
        .options(EngineOptions::default().sparse_manifests(true))
        .build();
    let cache = PullThrough::new(local.clone(), Arc::clone(&upstream));
    (upstream, local, cache, image)
}

async fn read(blob: Blob) -> Result<Bytes> {
    match blob.body {
        BlobBody::Bytes(bytes) => Ok(bytes),
        BlobBody::Stream(mut stream) => {
            let mut all = Vec::new();
            while let Some(part) = stream.next().await {
                all.extend_from_slice(&part?);
            }
            Ok(all.into())
        }
        body => panic!("{body:?}"),
    }
}

async fn pull(registry: &impl Registry, image: &Package) -> Result<()> {
    let access = trusted("team/app");
    let manifest = registry.get_manifest(&access, &"v1".parse()?).await?;
    assert_eq!(manifest.bytes, image.manifest().bytes);
    for content in image.blobs() {
        let digest = Algorithm::Sha256.digest(content);
        let blob = registry
            .open_blob(&access, &digest, OpenOptions::default())
            .await?;
        assert_eq!(read(blob).await?, content);
    }
    Ok(())
}

/// Waits until the local registry holds the whole image.
async fn filled(local: &Engine, image: &Package) {
    for content in image.blobs() {
        let digest = Algorithm::Sha256.digest(content);
        while local
            .stat_blob(&trusted("team/app"), &digest)
            .await
            .is_err()
        {
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn what_was_pulled_once_is_not_fetched_again() {
    let (upstream, local, cache, image) = cache().await;
    pull(&cache, &image).await.unwrap();
    filled(&local, &image).await;
    upstream.asked();

    pull(&cache, &image).await.unwrap();
    // Where the tag points to now is all that has to be asked.
    assert_eq!(upstream.asked(), 1);
}

#[tokio::test]
async fn what_was_pulled_is_served_while_the_upstream_is_down() {
    let (upstream, local, cache, image) = cache().await;
    pull(&cache, &image).await.unwrap();
    filled(&local, &image).await;
    upstream.down.store(true, Ordering::Relaxed);
    pull(&cache, &image).await.unwrap();

    let unseen = trusted("team/unseen");
    let error = cache
        .get_manifest(&unseen, &"v1".parse().unwrap())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
}

#[tokio::test]
async fn a_tag_that_moved_upstream_moves_here() {
    let (upstream, _, cache, image) = cache().await;
    pull(&cache, &image).await.unwrap();
    let newer = ImageBuilder::new("newer").build();
    newer
        .push(&upstream.engine, &trusted("team/app"), &["v1"])
        .await;
    pull(&cache, &newer).await.unwrap();
    upstream.down.store(true, Ordering::Relaxed);
    let tag = "v1".parse().unwrap();
    let manifest = cache.get_manifest(&trusted("team/app"), &tag).await;
    assert_eq!(manifest.unwrap().digest, newer.manifest().digest);
}

#[tokio::test]
async fn an_answer_that_comes_late_does_not_move_a_tag_back() {
    let (upstream, local, cache, _) = cache().await;
    let access = trusted("team/app");
    let tag: Reference = "v1".parse().unwrap();
    upstream.late.store(true, Ordering::Relaxed);
    let late = tokio::spawn({
        let (cache, access, tag) = (cache.clone(), access.clone(), tag.clone());
        async move { cache.resolve(&access, &tag).await }
    });
    while upstream.late.load(Ordering::Relaxed) {
        tokio::task::yield_now().await;
    }
    let newer = ImageBuilder::new("newer").build();
    newer.push(&upstream.engine, &access, &["v1"]).await;
    cache.resolve(&access, &tag).await.unwrap();
    upstream.answer.notify_one();
    late.await.unwrap().unwrap();
    let kept = local.resolve(&access, &tag).await.unwrap();
    assert_eq!(kept.digest, newer.manifest().digest);
}

#[tokio::test]
async fn an_answer_that_comes_late_does_not_take_a_new_tag_away() {
    let (upstream, local, cache, image) = cache().await;
    pull(&cache, &image).await.unwrap();
    let access = trusted("team/app");
    let tag: Reference = "v1".parse().unwrap();
    let deletion = Deletion::tag("v1".parse().unwrap());
    upstream.engine.delete(&access, deletion).await.unwrap();
    upstream.late.store(true, Ordering::Relaxed);
    let late = tokio::spawn({
        let (cache, access, tag) = (cache.clone(), access.clone(), tag.clone());
        async move { cache.resolve(&access, &tag).await }
    });
    while upstream.late.load(Ordering::Relaxed) {
        tokio::task::yield_now().await;
    }
    let newer = ImageBuilder::new("newer").build();
    newer.push(&upstream.engine, &access, &["v1"]).await;
    cache.resolve(&access, &tag).await.unwrap();
    upstream.answer.notify_one();
    late.await.unwrap().unwrap_err();
    let kept = local.resolve(&access, &tag).await.unwrap();
    assert_eq!(kept.digest, newer.manifest().digest);
}

#[tokio::test]
async fn an_answer_that_came_early_does_not_keep_a_tag_from_moving_on() {
    let (upstream, local, cache, image) = cache().await;
    let access = trusted("team/app");
    let tag: Reference = "v1".parse().unwrap();
    let newer = ImageBuilder::new("newer").build();
    newer.push(&upstream.engine, &access, &["v1"]).await;
    upstream.late.store(true, Ordering::Relaxed);
    let late = tokio::spawn({
        let (cache, access, tag) = (cache.clone(), access.clone(), tag.clone());
        async move { cache.resolve(&access, &tag).await }
    });
    while upstream.late.load(Ordering::Relaxed) {
        tokio::task::yield_now().await;
    }
    // Somebody else keeps the older answer first.
    image.push(&local, &access, &["v1"]).await;
    upstream.answer.notify_one();
    late.await.unwrap().unwrap();
    let kept = local.resolve(&access, &tag).await.unwrap();
    assert_eq!(kept.digest, newer.manifest().digest);
}

#[tokio::test]
async fn a_tag_that_went_away_upstream_is_gone_here() {
    let (upstream, _, cache, image) = cache().await;
    pull(&cache, &image).await.unwrap();
    let tag = Deletion::tag("v1".parse().unwrap());
    let access = trusted("team/app");
    upstream.engine.delete(&access, tag).await.unwrap();
    let error = pull(&cache, &image).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ManifestUnknown);
}

#[tokio::test]
async fn content_that_is_not_what_its_digest_says_is_not_kept() {
    let (upstream, local, cache, image) = cache().await;
    upstream.lying.store(true, Ordering::Relaxed);
    let access = trusted("team/app");
    let digest = Algorithm::Sha256.digest(&image.blobs()[0]);
    let blob = cache
        .open_blob(&access, &digest, OpenOptions::default())
        .await
        .unwrap();
    read(blob).await.unwrap();
    upstream.lying.store(false, Ordering::Relaxed);
    assert!(local.stat_blob(&access, &digest).await.is_err());
    // The next fetch is a good one, and kept.
    pull(&cache, &image).await.unwrap();
    filled(&local, &image).await;
}

#[tokio::test]
async fn a_client_that_leaves_in_the_middle_leaves_nothing_behind() {
    let (_, local, cache, image) = cache().await;
    let access = trusted("team/app");
    let digest = Algorithm::Sha256.digest(&image.blobs()[0]);
    let blob = cache
        .open_blob(&access, &digest, OpenOptions::default())
        .await
        .unwrap();
    drop(blob);
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert!(local.stat_blob(&access, &digest).await.is_err());
    assert_eq!(
        local
            .expire_uploads(std::time::Duration::ZERO)
            .await
            .unwrap(),
        0
    );
}

/// Begins to pull the largest blob.
async fn open<L: Registry + Clone>(cache: &PullThrough<L, Arc<Upstream>>, image: &Package) -> Blob {
    let digest = Algorithm::Sha256.digest(image.blobs().last().unwrap());
    let options = OpenOptions::default();
    let access = trusted("team/app");
    cache.open_blob(&access, &digest, options).await.unwrap()
}

/// Pulls it on a task of its own, which has begun.
async fn pull_beside<L: Registry + Clone>(
    cache: &PullThrough<L, Arc<Upstream>>,
    image: &Package,
) -> tokio::task::JoinHandle<Bytes> {
    let (cache, image) = (cache.clone(), image.clone());
    let pull = tokio::spawn(async move { read(open(&cache, &image).await).await.unwrap() });
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    pull
}

#[tokio::test]
async fn a_client_that_leaves_in_the_middle_takes_nothing_from_those_who_wait() {
    let (upstream, local, cache, image) = cache().await;
    let first = open(&cache, &image).await;
    let other = pull_beside(&cache, &image).await;
    assert!(!other.is_finished());
    drop(first);
    assert_eq!(other.await.unwrap(), image.blobs().last().unwrap());
    assert_eq!(upstream.asked(), 1);
    read(open(&cache, &image).await).await.unwrap();
    assert_eq!(upstream.asked(), 0);
    drop(local);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_takes_nothing_does_not_hold_up_those_who_wait() {
    let (upstream, _, cache, image) = cache().await;
    let first = open(&cache, &image).await;
    let others = [
        pull_beside(&cache, &image).await,
        pull_beside(&cache, &image).await,
    ];
    for other in others {
        assert_eq!(other.await.unwrap(), image.blobs().last().unwrap());
    }
    // One of them fetched it for both.
    assert_eq!(upstream.asked(), 2);
    assert_eq!(read(first).await.unwrap(), image.blobs().last().unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_client_that_is_slow_holds_up_those_who_wait_for_a_moment_only() {
    let (upstream, _, cache, image) = cache().await;
    let first = open(&cache, &image).await;
    let BlobBody::Stream(mut pieces) = first.body else {
        panic!("{first:?}");
    };
    let slow = tokio::spawn(async move {
        let mut count = 0;
        while let Some(piece) = pieces.next().await {
            count += piece.unwrap().len();
            tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        }
        count
    });
    let start = tokio::time::Instant::now();
    let other = pull_beside(&cache, &image).await;
    assert_eq!(other.await.unwrap(), image.blobs().last().unwrap());
    let waited = start.elapsed().as_secs();
    assert!((4..20).contains(&waited), "{waited}");
    assert_eq!(upstream.asked(), 2);
    assert_eq!(slow.await.unwrap(), 100_000);
}

#[tokio::test]
async fn what_can_not_be_kept_is_passed_on_to_all_who_wait() {
    let (upstream, local, _, image) = cache().await;
    let cache = PullThrough::new(Arc::new(local.layer(ReadOnly)), Arc::clone(&upstream));
    let pulls = (0..10).map(|_| async {
        pull(&cache, &image).await.unwrap();
    });
    futures::future::join_all(pulls).await;
}

#[tokio::test(start_paused = true)]
async fn a_download_from_an_upstream_that_is_stuck_is_not_waited_for() {
    let (upstream, _, cache, image) = cache().await;
    upstream.stuck.store(true, Ordering::Relaxed);
    let first = open(&cache, &image).await;
    upstream.stuck.store(false, Ordering::Relaxed);
    let other = pull_beside(&cache, &image).await;
    assert_eq!(upstream.asked(), 1);
    let hour = std::time::Duration::from_hours(1);
    let pulled = tokio::time::timeout(hour, other).await.unwrap().unwrap();
    assert_eq!(pulled, image.blobs().last().unwrap());
    assert_eq!(upstream.asked(), 1);
    drop(first);
}

#[tokio::test(start_paused = true)]
async fn what_could_not_be_kept_is_fetched_by_one_of_those_who_wait() {
    let (upstream, local, _, image) = cache().await;
    let cache = PullThrough::new(Arc::new(local.layer(ReadOnly)), Arc::clone(&upstream));
    let first = open(&cache, &image).await;
    let others = [
        pull_beside(&cache, &image).await,
        pull_beside(&cache, &image).await,
        pull_beside(&cache, &image).await,
    ];
    upstream.stuck.store(true, Ordering::Relaxed);
    read(first).await.unwrap();
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
    assert_eq!(upstream.asked(), 2);
    for other in others {
        other.abort();
    }
}

#[tokio::test]
async fn what_is_damaged_here_and_unknown_upstream_is_not_unknown() {
    let blobs = MemoryBlobs::new();
    let options = EngineOptions::default()
        .sparse_manifests(true)
        .manifest_cache(0);
    let local = Engine::builder(blobs.clone(), MemoryMetadata::default())
        .options(options)
        .build();
    let image = ImageBuilder::new("image")
        .layer(content("large", 100_000))
        .build();
    let access = trusted("team/app");
    image.push(&local, &access, &["v1"]).await;
    for stored in blobs.list(None, 100).await.unwrap() {
        blobs.delete(&stored.key).await.unwrap();
    }
    let cache = PullThrough::new(local, Engine::memory());
    let digest = Algorithm::Sha256.digest(&image.blobs()[0]);
    for range in [None, Some(ByteRange::Last(3))] {
        let options = OpenOptions::default().range(range);
        let error = cache
            .open_blob(&access, &digest, options)
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
    }
    let manifest = Reference::Digest(image.manifest().digest);
    let error = cache.get_manifest(&access, &manifest).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
}

#[tokio::test]
async fn a_cache_takes_no_pushes() {
    let (_, _, cache, _) = cache().await;
    let access = trusted("team/app");
    let error = cache
        .begin_upload(&access, UploadOptions::default())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
}
