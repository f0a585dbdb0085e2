//! What listeners are told, and when.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::panic,
    clippy::unwrap_used,
    reason = "these are tests"
)]

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use registry_core::{
    Access, Algorithm, Chunk, Deletion, Digest, ErrorKind, Event, EventAction, EventSink,
    EventTarget, ManifestRules, MediaType, PutManifest, Reference, Registry, Result, Tag,
    UploadOptions,
};
use registry_storage::{
    Durability, Engine, EngineOptions, MemoryBlobs, MemoryMetadata, MetadataStore,
};

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

/// Remembers events, and refuses the first offers.
#[derive(Debug, Clone, Default)]
struct Listener {
    refusals: Arc<Mutex<u32>>,
    heard: Arc<Mutex<Vec<Event>>>,
}

#[async_trait]
impl EventSink for Listener {
    async fn deliver(&self, event: &Event) -> Result<()> {
        let mut refusals = self.refusals.lock().unwrap();
        if *refusals > 0 {
            *refusals -= 1;
            return Err(ErrorKind::Unavailable.error("not now"));
        }
        self.heard.lock().unwrap().push(event.clone());
        Ok(())
    }
}

impl Listener {
    async fn wait_for(&self, count: usize) -> Vec<Event> {
        loop {
            let heard = self.heard.lock().unwrap().clone();
            if heard.len() >= count {
                return heard;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn events_arrive_in_order_although_the_listener_fails_at_first() {
    let listener = Listener {
        refusals: Arc::new(Mutex::new(5)),
        ..Listener::default()
    };
    let metadata = Arc::new(MemoryMetadata::default());
    let registry = Engine::builder(MemoryBlobs::new(), Arc::clone(&metadata))
        .events(listener.clone())
        .build();
    let blob = push_blob(&registry, b"blob").await;
    let pushed = registry
        .put_manifest(&access(), push(tag("v1"), index("a")))
        .await
        .unwrap();
    registry
        .delete(&access(), Deletion::tag(tag("v1")))
        .await
        .unwrap();

    let heard = listener.wait_for(3).await;
    let digest = pushed.descriptor.digest;
    let expected = [
        (
            EventAction::Push,
            EventTarget::Blob {
                digest: blob,
                size: 4,
            },
        ),
        (
            EventAction::Push,
            EventTarget::Manifest {
                digest,
                media_type: MediaType::OCI_INDEX,
                size: pushed.descriptor.size,
                tags: vec![tag("v1")],
                more_tags: false,
            },
        ),
        (
            EventAction::Delete,
            EventTarget::Tag {
                tag: tag("v1"),
                digest,
            },
        ),
    ];
    let heard: Vec<_> = heard
        .into_iter()
        .map(|event| (event.action, event.target))
        .collect();
    assert_eq!(heard, expected);
    while !metadata.outbox(1).await.unwrap().is_empty() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Whoever mirrors the tags would keep those that nobody mentions.
#[tokio::test(start_paused = true)]
async fn the_event_about_a_deleted_manifest_names_the_tags_that_went_with_it() {
    let listener = Listener::default();
    let registry = Engine::builder(MemoryBlobs::new(), MemoryMetadata::default())
        .events(listener.clone())
        .build();
    for (name, note) in [("v1", "a"), ("v2", "b"), ("latest", "a"), ("v3", "a")] {
        let pushed = push(tag(name), index(note));
        registry.put_manifest(&access(), pushed).await.unwrap();
    }
    let moved = push(tag("v3"), index("b"));
    registry.put_manifest(&access(), moved).await.unwrap();
    for number in 0..150 {
        let pushed = push(tag(&format!("n{number:03}")), index("many"));
        registry.put_manifest(&access(), pushed).await.unwrap();
    }
    for number in 0..100 {
        let pushed = push(tag(&format!("h{number:03}")), index("a hundred"));
        registry.put_manifest(&access(), pushed).await.unwrap();
    }
    for note in ["a", "many", "a hundred"] {
        let digest = Algorithm::Sha256.digest(&index(note));
        let deletion = Deletion::Manifest(digest);
        registry.delete(&access(), deletion).await.unwrap();
    }

    let heard = listener.wait_for(258).await;
    let gone: Vec<_> = heard
        .into_iter()
        .filter(|event| event.action == EventAction::Delete)
        .map(|event| match event.target {
            EventTarget::Manifest {
                tags, more_tags, ..
            } => (tags, more_tags),
            other => panic!("nobody did {other:?}"),
        })
        .collect();
    assert_eq!(gone[0], (vec![tag("latest"), tag("v1")], false));
    // An event has its bounds, and says if it reached them.
    let (tags, more_tags) = &gone[1];
    assert_eq!((tags.len(), &tags[99]), (100, &tag("n099")));
    assert!(more_tags);
    assert_eq!((gone[2].0.len(), gone[2].1), (100, false));
}

/// Also of tags that are pushed in the same instant.
#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_that_follows_the_events_has_the_tags_of_the_registry() {
    let root = tempfile::TempDir::new().unwrap();
    let listener = Listener::default();
    let registry = Engine::root(root.path(), Durability::None).await.unwrap();
    let registry = registry.events(listener.clone()).build();
    let digest = Algorithm::Sha256.digest(&index("a"));
    let pushes = (0..8).map(|pusher| {
        let registry = registry.clone();
        tokio::spawn(async move {
            for number in 0..40 {
                let pushed = push(tag(&format!("t{pusher}-{}", number % 10)), index("a"));
                registry.put_manifest(&access(), pushed).await.unwrap();
            }
        })
    });
    let pushes: Vec<_> = pushes.collect();
    let delete = async || {
        match registry.delete(&access(), Deletion::Manifest(digest)).await {
            Ok(()) => true,
            // Not pushed again yet, or pushed again and again meanwhile.
            Err(error) => {
                let kind = error.kind();
                assert!(
                    matches!(kind, ErrorKind::ManifestUnknown | ErrorKind::Unavailable),
                    "{error}"
                );
                false
            }
        }
    };
    let mut deleted = 0;
    while pushes.iter().any(|push| !push.is_finished()) {
        deleted += usize::from(delete().await);
    }
    for push in pushes {
        push.await.unwrap();
    }
    deleted += usize::from(delete().await);
    let mut mirror = BTreeSet::new();
    for event in listener.wait_for(320 + deleted).await {
        let EventTarget::Manifest {
            tags, more_tags, ..
        } = event.target
        else {
            panic!("nobody did {:?}", event.target);
        };
        assert!(!more_tags);
        if event.action == EventAction::Push {
            mirror.extend(tags);
        } else {
            assert_eq!(mirror, tags.into_iter().collect());
            mirror.clear();
        }
    }
    assert!(mirror.is_empty());
}

/// A listener that is down for good must not fill the disk, nor keep a push
/// waiting.
#[tokio::test(start_paused = true)]
async fn a_listener_that_fails_misses_the_oldest_events() {
    let listener = Listener {
        refusals: Arc::new(Mutex::new(u32::MAX)),
        ..Listener::default()
    };
    let metadata = Arc::new(MemoryMetadata::default());
    let registry = Engine::builder(MemoryBlobs::new(), Arc::clone(&metadata))
        .events(listener.clone())
        .options(EngineOptions::default().max_waiting_events(3))
        .build();
    push_blob(&registry, b"first").await;
    while *listener.refusals.lock().unwrap() == u32::MAX {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let mut pushed = Vec::new();
    for content in b"0123456789".chunks(1) {
        pushed.push(push_blob(&registry, content).await);
        assert!(metadata.outbox(9).await.unwrap().len() <= 3);
    }

    *listener.refusals.lock().unwrap() = 0;
    let heard = listener.wait_for(3).await;
    let heard = heard.into_iter().map(|event| match event.target {
        EventTarget::Blob { digest, .. } => digest,
        other => panic!("nobody did {other:?}"),
    });
    assert_eq!(heard.collect::<Vec<_>>(), pushed[7..]);
    assert_eq!(registry.dropped_events(), 8);
}

#[tokio::test(start_paused = true)]
async fn events_that_wait_are_delivered_after_a_restart() {
    let metadata = Arc::new(MemoryMetadata::default());
    let deaf = Listener {
        refusals: Arc::new(Mutex::new(u32::MAX)),
        ..Listener::default()
    };
    let before = Engine::builder(MemoryBlobs::new(), Arc::clone(&metadata))
        .events(deaf)
        .build();
    push_blob(&before, b"blob").await;
    drop(before);

    let listener = Listener::default();
    let _after = Engine::builder(MemoryBlobs::new(), metadata)
        .events(listener.clone())
        .build();
    assert_eq!(listener.wait_for(1).await[0].action, EventAction::Push);
}
