//! An upload is of whoever began it.

#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use registry_core::testkit::{acting, refused};
use registry_core::{
    Access, Algorithm, ByteStream, Chunk, Error, ErrorKind, Registry, Result, Upload, UploadOptions,
};
use registry_storage::testkit::metadata::FaultyMetadata;
use registry_storage::{
    Batch, Change, Engine, MemoryBlobs, MemoryMetadata, MetadataStore, UploadRecord,
};
use tokio::sync::mpsc;

/// Somebody who may do everything there.
fn known(name: &str) -> Access {
    acting("team/app", Some(name), "docker")
}

fn nobody() -> Access {
    acting("team/app", None, "docker")
}

async fn begin(engine: &Engine, access: &Access) -> Upload {
    let begun = engine.begin_upload(access, UploadOptions::default()).await;
    begun.unwrap()
}

/// What comes of all that can be asked of an upload.
async fn asked(engine: &Engine, access: &Access, upload: &Upload) -> [Result<(), Error>; 4] {
    let part = || Chunk::from_bytes("intruder");
    let digest = Algorithm::Sha256.digest(b"intruder");
    let id = &upload.id;
    [
        engine.upload(access, id).await.map(drop),
        engine.append_upload(access, id, part()).await.map(drop),
        engine
            .finish_upload(access, id, &digest, Some(part()))
            .await
            .map(drop),
        engine.cancel_upload(access, id).await,
    ]
}

async fn is_unknown(engine: &Engine, access: &Access, upload: &Upload) {
    for answer in asked(engine, access, upload).await {
        refused(answer, ErrorKind::UploadUnknown);
    }
}

async fn finishes(engine: &Engine, access: &Access, upload: &Upload, last: &str, whole: &str) {
    let digest = Algorithm::Sha256.digest(whole.as_bytes());
    let last = Some(Chunk::from_bytes(last.to_owned()));
    let finished = engine
        .finish_upload(access, &upload.id, &digest, last)
        .await;
    assert_eq!(finished.unwrap().digest, digest);
}

/// A body that the test feeds.
fn body() -> (mpsc::Sender<Result<Bytes>>, ByteStream) {
    let (sender, receiver) = mpsc::channel(1);
    let next = |mut receiver: mpsc::Receiver<Result<Bytes>>| async move {
        receiver.recv().await.map(|item| (item, receiver))
    };
    (sender, futures::stream::unfold(receiver, next).boxed())
}

/// Neither when it was last active, nor anything else of it.
#[tokio::test]
async fn what_others_ask_leaves_no_trace() {
    let metadata = Arc::new(MemoryMetadata::default());
    let engine = Engine::builder(MemoryBlobs::new(), Arc::clone(&metadata)).build();
    let (ann, ben) = (known("ann"), known("ben"));
    let upload = begin(&engine, &ann).await;
    let first = Chunk::from_bytes("first ");
    engine.append_upload(&ann, &upload.id, first).await.unwrap();
    let before = format!("{metadata:?}");
    is_unknown(&engine, &ben, &upload).await;
    is_unknown(&engine, &nobody(), &upload).await;
    assert_eq!(format!("{metadata:?}"), before);
    finishes(&engine, &ann, &upload, "second", "first second").await;
}

/// Others don't learn that somebody writes to it, nor stop them.
#[tokio::test]
async fn while_its_owner_writes_it_is_unknown_all_the_same() {
    let engine = Engine::memory();
    let (ann, ben) = (known("ann"), known("ben"));
    let upload = begin(&engine, &ann).await;
    let (sender, body) = body();
    let writer = {
        let (engine, ann, id) = (engine.clone(), ann.clone(), upload.id);
        tokio::spawn(async move { engine.append_upload(&ann, &id, Chunk::new(body)).await })
    };
    // Once the first part is taken, the writer is inside.
    sender.send(Ok(Bytes::from_static(b"fir"))).await.unwrap();
    sender.send(Ok(Bytes::from_static(b"st "))).await.unwrap();
    is_unknown(&engine, &ben, &upload).await;
    assert!(!writer.is_finished(), "somebody else stopped it");
    drop(sender);
    assert_eq!(writer.await.unwrap().unwrap().offset, 6);
    finishes(&engine, &ann, &upload, "second", "first second").await;
}

/// A store may take a while to tell whose it is.
#[tokio::test]
async fn others_keep_nobody_out_while_they_are_looked_up() {
    let metadata = Arc::new(FaultyMetadata::new(MemoryMetadata::default()));
    let engine = Engine::builder(MemoryBlobs::new(), Arc::clone(&metadata)).build();
    let (ann, ben) = (known("ann"), known("ben"));
    let upload = begin(&engine, &ann).await;
    metadata.stall_read(0);
    let part = Chunk::from_bytes("intruder");
    let mut intruder = Box::pin(engine.append_upload(&ben, &upload.id, part));
    assert!(futures::poll!(intruder.as_mut()).is_pending());
    let first = Chunk::from_bytes("first ");
    engine.append_upload(&ann, &upload.id, first).await.unwrap();
    metadata.go_on();
    refused(intruder.await, ErrorKind::UploadUnknown);
    finishes(&engine, &ann, &upload, "second", "first second").await;
}

#[tokio::test]
async fn an_upload_stays_whose_it_was_in_another_process() {
    let directory = tempfile::tempdir().unwrap();
    let before = Engine::open(directory.path()).await.unwrap();
    let (ann, ben) = (known("ann"), known("ben"));
    let (hers, anybodys) = (begin(&before, &ann).await, begin(&before, &nobody()).await);
    for (access, upload) in [(&ann, &hers), (&nobody(), &anybodys)] {
        let first = Chunk::from_bytes("first ");
        let appended = before.append_upload(access, &upload.id, first).await;
        appended.unwrap();
    }
    before.close().await.unwrap();

    let after = Engine::open(directory.path()).await.unwrap();
    for other in [&ben, &nobody()] {
        is_unknown(&after, other, &hers).await;
    }
    is_unknown(&after, &ann, &anybodys).await;
    finishes(&after, &ann, &hers, "second", "first second").await;
    finishes(&after, &nobody(), &anybodys, "third", "first third").await;
}

/// As an earlier version of the program left them.
#[tokio::test]
async fn an_upload_without_an_owner_is_anybodys() {
    let metadata = Arc::new(MemoryMetadata::default());
    let engine = Engine::builder(MemoryBlobs::new(), Arc::clone(&metadata)).build();
    let upload = begin(&engine, &known("ann")).await;
    let record = metadata.upload(&upload.id).await.unwrap().unwrap();
    let unowned = UploadRecord {
        owner: None,
        ..record
    };
    let batch = Batch {
        require: Vec::new(),
        changes: vec![Change::PutUpload(unowned)],
        durable: false,
    };
    metadata.commit(batch).await.unwrap();
    let first = Chunk::from_bytes("first ");
    let ben = known("ben");
    let appended = engine.append_upload(&ben, &upload.id, first).await;
    assert_eq!(appended.unwrap().offset, 6);
    engine.upload(&nobody(), &upload.id).await.unwrap();
    finishes(&engine, &known("ann"), &upload, "second", "first second").await;
    // In its repository, as before.
    let upload = begin(&engine, &known("ann")).await;
    let elsewhere = acting("team/other", Some("ann"), "docker");
    is_unknown(&engine, &elsewhere, &upload).await;
}
