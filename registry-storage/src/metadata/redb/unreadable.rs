//! What can't be read doesn't keep anything else from being read.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is the way to fail")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use registry_core::{
    Access, Algorithm, Chunk, Event, EventSink, EventTarget, Registry, UploadOptions,
};

use super::key::{Family, Key};
use super::open::DATABASE;
use super::writer::FACTS;
use super::{RedbMetadata, RedbOptions};
use crate::{Engine, MemoryBlobs, MetadataStore};

#[derive(Debug, Clone, Default)]
struct Listener {
    deaf: bool,
    heard: Arc<Mutex<Vec<EventTarget>>>,
}

#[async_trait]
impl EventSink for Listener {
    async fn deliver(&self, event: &Event) -> registry_core::Result<()> {
        if self.deaf {
            return Err(registry_core::ErrorKind::Unavailable.error("not now"));
        }
        self.heard.lock().unwrap().push(event.target.clone());
        Ok(())
    }
}

#[tokio::test]
async fn an_event_that_cannot_be_read_does_not_keep_others_waiting() {
    let directory = tempfile::tempdir().unwrap();
    let open = async || {
        let opened = RedbMetadata::open(directory.path(), RedbOptions::default()).await;
        Arc::new(opened.unwrap())
    };
    let deaf = Listener {
        deaf: true,
        ..Listener::default()
    };
    let metadata = open().await;
    let registry = Engine::builder(MemoryBlobs::new(), Arc::clone(&metadata))
        .events(deaf)
        .build();
    let access = Access::trusted("team/app".parse().unwrap());
    for content in ["1", "2", "3"] {
        let upload = registry.begin_upload(&access, UploadOptions::default());
        let upload = upload.await.unwrap();
        let digest = Algorithm::Sha256.digest(content.as_bytes());
        let chunk = Chunk::from_bytes(content);
        registry
            .finish_upload(&access, &upload.id, &digest, Some(chunk))
            .await
            .unwrap();
    }
    drop(registry);
    while Arc::strong_count(&metadata) > 1 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    metadata.close().await.unwrap();
    {
        let database = redb::Database::open(directory.path().join(DATABASE)).unwrap();
        let transaction = database.begin_write().unwrap();
        {
            let mut table = transaction.open_table(FACTS).unwrap();
            let second = Key::new(Family::Outbox).number(2);
            let replaced = table.insert(second.as_bytes(), b"{ from the future".as_slice());
            assert!(replaced.unwrap().is_some());
        }
        transaction.commit().unwrap();
    }

    let listener = Listener::default();
    let metadata = open().await;
    let registry = Engine::builder(MemoryBlobs::new(), Arc::clone(&metadata))
        .events(listener.clone())
        .build();
    let all = async {
        while !metadata.outbox(1).await.unwrap().is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let delivered = tokio::time::timeout(Duration::from_mins(1), all).await;
    delivered.unwrap();
    let told = ["1", "3"].map(|content| EventTarget::Blob {
        digest: Algorithm::Sha256.digest(content.as_bytes()),
        size: 1,
    });
    assert_eq!(*listener.heard.lock().unwrap(), told);
    assert_eq!(registry.dropped_events(), 1);
}
