//! Which uploads there may be at once, and when one that was left behind goes.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::unwrap_used,
    reason = "these are tests"
)]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use registry_core::testkit::trusted;
use registry_core::{Access, Chunk, Clock, ErrorKind, Registry, Upload, UploadOptions};
use registry_storage::testkit::{BlobCall, Fault, FaultyBlobs};
use registry_storage::{
    BlobStore, Durability, Engine, EngineOptions, MemoryBlobs, MemoryMetadata, MetadataStore,
    UploadExpiry,
};
use tokio::sync::mpsc;

async fn begin(registry: &Engine, access: &Access) -> Upload {
    registry
        .begin_upload(access, UploadOptions::default())
        .await
        .unwrap()
}

/// A clock that is behind.
#[derive(Debug)]
struct Ago(Duration);

impl Clock for Ago {
    fn now(&self) -> std::time::SystemTime {
        registry_core::SystemClock.now() - self.0
    }
}

/// A clock two hours ahead.
#[derive(Debug)]
struct Ahead;

impl Clock for Ahead {
    fn now(&self) -> std::time::SystemTime {
        registry_core::SystemClock.now() + Duration::from_hours(2)
    }
}

/// A clock that tells what it is told.
#[derive(Debug, Clone)]
struct Told(Arc<Mutex<std::time::SystemTime>>);

impl Told {
    fn new() -> Self {
        Self(Arc::new(Mutex::new(registry_core::SystemClock.now())))
    }

    fn jump_ahead(&self, by: Duration) {
        *self.0.lock().unwrap() += by;
    }

    fn jump_back(&self, by: Duration) {
        *self.0.lock().unwrap() -= by;
    }
}

impl Clock for Told {
    fn now(&self) -> std::time::SystemTime {
        *self.0.lock().unwrap()
    }
}

#[tokio::test]
async fn open_uploads_are_limited_by_repository() {
    let options = EngineOptions::default().max_uploads(2);
    let registry = Engine::builder(MemoryBlobs::new(), MemoryMetadata::default())
        .options(options)
        .build();
    let full = trusted("team/full");
    begin(&registry, &full).await;
    let second = begin(&registry, &full).await;
    let begin_third = || registry.begin_upload(&full, UploadOptions::default());
    let error = begin_third().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooManyRequests);
    assert!(error.retry_after().is_some());

    begin(&registry, &trusted("team/other")).await;
    registry.cancel_upload(&full, &second.id).await.unwrap();
    begin_third().await.unwrap();
}

#[tokio::test]
async fn uploads_left_behind_make_room_for_others() {
    let options = EngineOptions::default().max_uploads(3);
    let (blobs, metadata) = (MemoryBlobs::new(), Arc::new(MemoryMetadata::default()));
    let engine = || Engine::builder(blobs.clone(), Arc::clone(&metadata)).options(options.clone());
    let (registry, later) = (engine().build(), engine().clock(Ahead).build());
    let access = trusted("team/app");
    let started = begin(&registry, &access).await;
    registry
        .append_upload(&access, &started.id, Chunk::from_bytes("abc"))
        .await
        .unwrap();
    let left = [
        begin(&registry, &access).await,
        begin(&registry, &access).await,
    ];

    // The empty ones go first, the longest idle of them before the other.
    let gone = async |upload: &Upload| later.upload(&access, &upload.id).await.is_err();
    begin(&later, &access).await;
    assert!(gone(&left[0]).await && !gone(&left[1]).await && !gone(&started).await);
    begin(&later, &access).await;
    assert!(gone(&left[1]).await && !gone(&started).await);
    begin(&later, &access).await;
    assert!(gone(&started).await);
    assert!(blobs.list_staged(None, 10).await.unwrap().is_empty());
    // Nobody who is at work loses an upload.
    let error = later
        .begin_upload(&access, UploadOptions::default())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooManyRequests);
}

/// The bytes of the other one cost space; whoever begins has nothing to do with
/// them.
#[tokio::test]
async fn an_upload_begins_also_if_the_one_it_replaces_stays() {
    let options = EngineOptions::default().max_uploads(1);
    let blobs = FaultyBlobs::new(MemoryBlobs::new());
    let metadata = Arc::new(MemoryMetadata::default());
    let engine = || Engine::builder(blobs.clone(), Arc::clone(&metadata)).options(options.clone());
    let access = trusted("team/app");
    begin(&engine().build(), &access).await;
    blobs.fail(BlobCall::Discard, 0, Fault::Before);
    begin(&engine().clock(Ahead).build(), &access).await;
    assert_eq!(blobs.recover(), 0);
}

#[tokio::test(start_paused = true)]
async fn uploads_that_hold_nothing_soon_make_room_for_others() {
    let options = EngineOptions::default().max_uploads(3);
    let registry = Engine::builder(MemoryBlobs::new(), MemoryMetadata::default())
        .options(options)
        .build();
    let access = trusted("team/app");
    let gone = async |upload: &Upload| registry.upload(&access, &upload.id).await.is_err();
    let at_work = begin(&registry, &access).await;
    registry
        .append_upload(&access, &at_work.id, Chunk::from_bytes("abc"))
        .await
        .unwrap();
    let first = begin(&registry, &access).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let second = begin(&registry, &access).await;

    // Whoever has just begun is about to send something.
    tokio::time::sleep(Duration::from_secs(5)).await;
    let begin_another = || registry.begin_upload(&access, UploadOptions::default());
    let error = begin_another().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooManyRequests);

    tokio::time::sleep(Duration::from_secs(5)).await;
    registry
        .append_upload(&access, &at_work.id, Chunk::from_bytes("d"))
        .await
        .unwrap();
    begin_another().await.unwrap();
    assert!(gone(&first).await && !gone(&second).await);
    tokio::time::sleep(Duration::from_secs(1)).await;
    begin_another().await.unwrap();
    assert!(gone(&second).await && !gone(&at_work).await);
    // What is new isn't given up.
    begin_another().await.unwrap_err();
}

#[tokio::test(start_paused = true)]
async fn uploads_make_room_the_sooner_the_less_they_hold() {
    let options = EngineOptions::default().max_uploads(4);
    let registry = Engine::builder(MemoryBlobs::new(), MemoryMetadata::default())
        .options(options)
        .build();
    let access = trusted("team/app");
    let gone = async |upload: &Upload| registry.upload(&access, &upload.id).await.is_err();
    let append = async |upload: &Upload, count: usize| {
        let chunk = Chunk::from_bytes(vec![b'x'; count]);
        let appended = registry.append_upload(&access, &upload.id, chunk).await;
        appended.unwrap();
    };
    let begin_another = || registry.begin_upload(&access, UploadOptions::default());
    let paused = begin(&registry, &access).await;
    append(&paused, 10 << 20).await;
    // What takes no more than a moment to send again isn't kept for long,
    // whatever is sent that brings it no further.
    let mut few = Vec::new();
    for count in [2, 1] {
        let upload = begin(&registry, &access).await;
        append(&upload, count).await;
        few.push(upload);
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    tokio::time::sleep(Duration::from_secs(7)).await;
    for upload in &few {
        append(upload, 0).await;
    }
    let (sender, bytes) = mpsc::channel(1);
    let bytes = futures::stream::unfold(bytes, |mut bytes: mpsc::Receiver<_>| async move {
        bytes.recv().await.map(|item| (item, bytes))
    });
    let body = Chunk::new(bytes.boxed());
    let sending = begin(&registry, &access).await;
    let sent = {
        let (registry, access) = (registry.clone(), access.clone());
        tokio::spawn(async move { registry.append_upload(&access, &sending.id, body).await })
    };
    sender.send(Ok(Bytes::from_static(b"x"))).await.unwrap();
    sender.send(Ok(Bytes::from_static(b"x"))).await.unwrap();
    begin_another().await.unwrap_err();

    tokio::time::sleep(Duration::from_secs(4)).await;
    let mut others = Vec::new();
    for upload in &few {
        assert!(!gone(upload).await);
        others.push(begin_another().await.unwrap());
        assert!(gone(upload).await);
    }
    for other in &others {
        append(other, 20 << 20).await;
    }
    // A client that pauses finds what it sent, and nobody takes from who sends.
    tokio::time::sleep(Duration::from_mins(10)).await;
    begin_another().await.unwrap_err();
    tokio::time::sleep(Duration::from_mins(1)).await;
    begin_another().await.unwrap();
    assert!(gone(&paused).await && !gone(&others[0]).await);
    drop(sender);
    assert_eq!(sent.await.unwrap().unwrap().offset, 2);
}

#[tokio::test(start_paused = true)]
async fn an_engine_in_a_directory_forgets_uploads_by_itself() {
    let root = tempfile::TempDir::new().unwrap();
    let open = async || Engine::root(root.path(), Durability::None).await.unwrap();
    let access = trusted("team/app");
    let left = {
        let builder = open().await.upload_expiry(None);
        let builder = builder.clock(Ago(Duration::from_hours(8 * 24)));
        begin(&builder.build(), &access).await
    };
    let a_while = || tokio::time::sleep(Duration::from_hours(2));
    {
        let registry = open().await.upload_expiry(None).build();
        a_while().await;
        registry.upload(&access, &left.id).await.unwrap();
    }
    let runs = || {
        tokio::runtime::Handle::current()
            .metrics()
            .num_alive_tasks()
    };
    let before = runs();
    let registry = open().await.build();
    let recent = begin(&registry, &access).await;
    // The runtime's clock goes ahead while the store's threads are at work.
    let gone = async || registry.upload(&access, &left.id).await.is_err();
    for _ in 0..1000 {
        if gone().await {
            break;
        }
        tokio::time::sleep(Duration::from_mins(1)).await;
        tokio::task::yield_now().await;
    }
    assert!(gone().await);
    registry.upload(&access, &recent.id).await.unwrap();
    drop(registry);
    while runs() > before {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn idle_uploads_expire_with_their_bytes() {
    let blobs = MemoryBlobs::new();
    let metadata = Arc::new(MemoryMetadata::default());
    let registry = Engine::builder(blobs.clone(), Arc::clone(&metadata)).build();
    let access = trusted("team/app");
    let upload = begin(&registry, &access).await;
    tokio::time::advance(Duration::from_mins(50)).await;
    registry
        .append_upload(&access, &upload.id, Chunk::from_bytes("abc"))
        .await
        .unwrap();
    let hour = Duration::from_hours(1);
    tokio::time::advance(Duration::from_mins(50)).await;
    assert_eq!(registry.expire_uploads(hour).await.unwrap(), 0);
    assert_eq!(
        registry.upload(&access, &upload.id).await.unwrap().offset,
        3
    );

    tokio::time::advance(Duration::from_mins(11)).await;
    assert_eq!(registry.expire_uploads(hour).await.unwrap(), 1);
    let gone = registry.upload(&access, &upload.id).await.unwrap_err();
    assert_eq!(gone.kind(), ErrorKind::UploadUnknown);
    assert!(blobs.list_staged(None, 10).await.unwrap().is_empty());
    assert!(metadata.upload(&upload.id).await.unwrap().is_none());
}

/// I12: jumps of the clock only ever delay. It may do so while an engine is at
/// work, or between two.
#[tokio::test(start_paused = true)]
async fn no_upload_expires_because_the_clock_jumped() {
    let (blobs, metadata) = (MemoryBlobs::new(), Arc::new(MemoryMetadata::default()));
    let clock = Told::new();
    let start = || {
        Engine::builder(blobs.clone(), Arc::clone(&metadata))
            .clock(clock.clone())
            .build()
    };
    let (day, week) = (Duration::from_hours(24), Duration::from_hours(7 * 24));
    let access = trusted("team/app");
    let registry = start();
    let upload = begin(&registry, &access).await;
    assert_eq!(registry.expire_uploads(week).await.unwrap(), 0);
    clock.jump_ahead(30 * day);
    assert_eq!(registry.expire_uploads(week).await.unwrap(), 0);

    // One that began while the clock was wrong doesn't suffer when it is set
    // right.
    let registry = start();
    let other = begin(&registry, &access).await;
    assert_eq!(registry.expire_uploads(week).await.unwrap(), 0);
    clock.jump_back(30 * day);
    assert_eq!(registry.expire_uploads(week).await.unwrap(), 0);
    let registry = start();
    let third = begin(&registry, &access).await;
    clock.jump_back(30 * day);
    let registry = start();
    for upload in [&upload, &other, &third] {
        registry.upload(&access, &upload.id).await.unwrap();
    }

    // Time that really goes by counts.
    tokio::time::advance(6 * day).await;
    assert_eq!(registry.expire_uploads(week).await.unwrap(), 0);
    tokio::time::advance(2 * day).await;
    assert_eq!(registry.expire_uploads(week).await.unwrap(), 3);
}

/// An engine that is restarted every day gets to it too, however seldom it looks.
#[tokio::test(start_paused = true)]
async fn the_time_is_kept_between_two_looks() {
    let (blobs, metadata) = (MemoryBlobs::new(), Arc::new(MemoryMetadata::default()));
    let clock = Told::new();
    let start = || {
        let expiry = UploadExpiry::default()
            .idle(Duration::from_hours(48))
            .interval(Duration::from_hours(24));
        Engine::builder(blobs.clone(), Arc::clone(&metadata))
            .clock(clock.clone())
            .upload_expiry(expiry)
            .build()
    };
    let access = trusted("team/app");
    let upload = begin(&start(), &access).await;
    for _ in 0..3 {
        let registry = start();
        registry.upload(&access, &upload.id).await.unwrap();
        tokio::time::sleep(Duration::from_hours(20)).await;
        clock.jump_ahead(Duration::from_hours(20));
    }
    let registry = start();
    tokio::time::sleep(Duration::from_mins(2)).await;
    let gone = registry.upload(&access, &upload.id).await.unwrap_err();
    assert_eq!(gone.kind(), ErrorKind::UploadUnknown);
}
