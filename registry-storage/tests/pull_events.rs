//! Events about pulls.

#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::sync::Arc;

use futures::StreamExt;
use registry_core::testkit::{Package, content, pull_blob, push_blob, reference, trusted};
use registry_core::{
    Access, Action, Actions, Actor, EventAction, EventTarget, Need, Observe, Registry, RegistryExt,
};
use registry_storage::testkit::metadata::FaultyMetadata;
use registry_storage::{Engine, MemoryBlobs, MemoryMetadata};

#[tokio::test]
async fn pulls_are_told_as_events_and_write_nothing() {
    let metadata = Arc::new(FaultyMetadata::new(MemoryMetadata::default()));
    let engine = Engine::builder(MemoryBlobs::new(), Arc::clone(&metadata)).build();
    let (observe, pulls) = Observe::pulls(100);
    let registry = engine.layer(observe);
    let actor = Arc::new(Actor {
        name: Some("ci".to_owned()),
        request: None,
    });
    let need = Need {
        repository: "team/app".parse().unwrap(),
        actions: Action::Pull.into(),
        tags: Vec::new(),
    };
    let access = Access::granted(&need, Actions::ALL, actor).unwrap();
    let blob = push_blob(&registry, &access, &content("pulled", 10)).await;
    let index = Package::index(Vec::new(), None);
    index.push(&registry, &access, &["v1"]).await;

    metadata.fail_commit(0);
    registry.stat_blob(&access, &blob).await.unwrap();
    registry.resolve(&access, &reference("v1")).await.unwrap();
    let by_tag = registry.get_manifest(&access, &reference("v1")).await;
    let manifest = by_tag.unwrap().descriptor();
    let by_digest = index.reference();
    registry.get_manifest(&access, &by_digest).await.unwrap();
    pull_blob(&registry, &access, &blob).await;
    assert!(!metadata.has_failed(), "something was written");

    drop(registry);
    let events: Vec<_> = pulls.collect().await;
    let targets: Vec<_> = events.iter().map(|event| event.target.clone()).collect();
    let pulled = |tags: &[&str]| EventTarget::Manifest {
        digest: manifest.digest,
        media_type: manifest.media_type.clone(),
        size: manifest.size,
        tags: tags.iter().map(|tag| tag.parse().unwrap()).collect(),
        more_tags: false,
    };
    let size = 10;
    assert_eq!(
        targets,
        [
            pulled(&["v1"]),
            pulled(&[]),
            EventTarget::Blob { digest: blob, size }
        ]
    );
    for event in &events {
        assert_eq!(event.action, EventAction::Pull);
        assert_eq!(event.repository.as_str(), "team/app");
        assert_eq!(event.actor.as_deref(), Some("ci"));
    }
    assert_ne!(events[0].id, events[1].id);
}

#[tokio::test]
async fn pulls_that_nobody_reads_of_are_counted_and_dropped() {
    let (observe, mut pulls) = Observe::pulls(1);
    let registry = Engine::memory().layer(observe);
    let access = trusted("team/app");
    let blob = push_blob(&registry, &access, &content("pulled", 10)).await;
    for _ in 0..10 {
        pull_blob(&registry, &access, &blob).await;
    }
    // One in the queue, one more, and the rest is lost.
    assert_eq!(pulls.dropped(), 8);
    assert!(pulls.next().await.is_some());
    pull_blob(&registry, &access, &blob).await;
    assert_eq!(pulls.dropped(), 8);
}
