//! What each layer of registry-core changes, over the engine.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "what a test sets up is valid, or the test fails"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use futures::StreamExt;
use registry_core::testkit::{
    ImageBuilder, Package, all_pages, content, pull_blob, push_blob, reference, refused, trusted,
};
use registry_core::{
    Access, Action, Actor, Admission, Algorithm, CatalogAccess, Chunk, Deed, Deletion, ErrorKind,
    Gate, Gated, MountSource, Need, Observe, OpenOptions, PageRequest, Prefix, ReadOnly,
    ReferrerFilter, Registry, RegistryExt, RepositoryName, Result, Route, UploadOptions,
    Visibility,
};
use registry_storage::{Engine, EngineOptions, MemoryBlobs, MemoryMetadata};

fn name(text: &str) -> RepositoryName {
    text.parse().unwrap()
}

fn image() -> Package {
    ImageBuilder::new("image").build()
}

async fn repositories(registry: &dyn Registry) -> Vec<String> {
    let page = registry
        .repositories(&CatalogAccess::trusted(), PageRequest::default())
        .await
        .expect("a page");
    page.items.iter().map(ToString::to_string).collect()
}

#[tokio::test]
async fn a_read_only_registry_serves_and_changes_nothing() {
    let engine = Engine::memory();
    let (access, image) = (trusted("team/app"), image());
    image.push(&engine, &access, &["latest"]).await;
    let blob = push_blob(&engine, &trusted("team/other"), &content("more", 10)).await;
    let upload = engine
        .begin_upload(&access, UploadOptions::default())
        .await
        .unwrap();
    let registry = engine.clone().layer(ReadOnly);

    let found = registry
        .get_manifest(&access, &reference("latest"))
        .await
        .unwrap();
    assert_eq!(found, *image.manifest());
    let layer = Algorithm::Sha256.digest(&image.blobs()[1]);
    assert_eq!(
        pull_blob(&registry, &access, &layer).await,
        image.blobs()[1]
    );

    let part = || Chunk::from_bytes("part");
    // Who may not push is told so, here as anywhere.
    let reader = access.limited(Action::Pull);
    for (access, kind) in [
        (&access, ErrorKind::Unsupported),
        (&reader, ErrorKind::Denied),
    ] {
        let options = UploadOptions::default();
        refused(registry.begin_upload(access, options).await, kind);
        refused(registry.upload(access, &upload.id).await, kind);
        refused(
            registry.append_upload(access, &upload.id, part()).await,
            kind,
        );
        refused(
            registry
                .finish_upload(access, &upload.id, &layer, Some(part()))
                .await,
            kind,
        );
        refused(registry.cancel_upload(access, &upload.id).await, kind);
        let other = trusted("team/other");
        let source = MountSource::Repository(&other);
        refused(registry.mount_blob(access, &blob, source).await, kind);
        refused(
            registry.put_manifest(access, image.put(&["new"])).await,
            kind,
        );
        for deletion in [
            Deletion::tag("latest".parse().unwrap()),
            Deletion::Manifest(image.manifest().digest),
            Deletion::Blob(layer),
        ] {
            refused(registry.delete(access, deletion).await, kind);
        }
    }
    assert_eq!(engine.upload(&access, &upload.id).await.unwrap(), upload);
    let tags = engine.tags(&access, PageRequest::default()).await.unwrap();
    assert_eq!(tags.items, ["latest".parse().unwrap()]);
    refused(
        engine.stat_blob(&access, &blob).await,
        ErrorKind::BlobUnknown,
    );
}

#[tokio::test]
async fn an_added_prefix_shows_only_what_is_below_it() {
    let engine = Engine::memory();
    for other in ["acme", "acme-b/app", "acme/app", "acme/z", "app"] {
        image()
            .push(
                &engine,
                &trusted(other),
                &[other.rsplit('/').next().unwrap()],
            )
            .await;
    }
    let registry = engine.layer(Prefix::add(&name("acme")));
    assert_eq!(repositories(&registry).await, ["app", "z"]);
    let tags = registry
        .tags(&trusted("app"), PageRequest::default())
        .await
        .unwrap();
    assert_eq!(tags.items, ["app".parse().unwrap()]);
    refused(
        registry
            .tags(&trusted("acme"), PageRequest::default())
            .await,
        ErrorKind::NameUnknown,
    );
}

#[tokio::test]
async fn an_added_prefix_translates_what_may_be_seen() {
    let engine = Engine::memory();
    let blob = content("tenant", 1000);
    let digest = push_blob(&engine, &trusted("acme/app"), &blob).await;
    push_blob(&engine, &trusted("app"), &blob).await;
    let registry = engine.clone().layer(Prefix::add(&name("acme")));
    let sees = |visible: &'static str| {
        let only = Visibility::Only(Arc::new(move |name| name.as_str() == visible));
        CatalogAccess::granted(only, Arc::default())
    };
    // Below, `acme/app` is asked about as `app`, and `app` not at all.
    for (visible, found) in [("acme/app", false), ("other", false), ("app", true)] {
        let target = trusted("target");
        let mounted = registry
            .mount_blob(&target, &digest, MountSource::Anywhere(&sees(visible)))
            .await
            .unwrap();
        assert_eq!(mounted.is_some(), found, "{visible}");
        let page = registry
            .repositories(&sees(visible), PageRequest::default())
            .await
            .unwrap();
        assert_eq!(!page.items.is_empty(), found, "{visible}");
    }
}

#[tokio::test]
async fn a_name_that_grows_too_long_is_refused() {
    let registry = Engine::memory().layer(Prefix::add(&name("acme")));
    let long = "a".repeat(255);
    let begun = registry
        .begin_upload(&trusted(&long), UploadOptions::default())
        .await;
    refused(begun, ErrorKind::NameInvalid);
}

#[tokio::test]
async fn a_stripped_prefix_is_the_only_way_in() {
    let engine = Engine::memory();
    image().push(&engine, &trusted("app"), &["latest"]).await;
    let blob = Algorithm::Sha256.digest(&image().blobs()[1]);
    let registry = engine.layer(Prefix::strip(&name("docker.io")));
    assert_eq!(repositories(&registry).await, ["docker.io/app"]);
    let found = registry
        .resolve(&trusted("docker.io/app"), &reference("latest"))
        .await
        .unwrap();
    assert_eq!(found, image().descriptor());

    for outside in ["app", "docker.io", "docker.iox/app"] {
        let outside = trusted(outside);
        let found = registry.resolve(&outside, &reference("latest")).await;
        refused(found, ErrorKind::NameUnknown);
        // Neither a mount nor a question about referrers may fail.
        let target = trusted("docker.io/other");
        let mounted = registry
            .mount_blob(&target, &blob, MountSource::Repository(&outside))
            .await
            .unwrap();
        assert_eq!(mounted, None);
        let page = registry
            .referrers(
                &outside,
                &blob,
                ReferrerFilter::default(),
                PageRequest::default(),
            )
            .await
            .unwrap();
        assert!(page.items.is_empty());
    }
    for (after, count) in [("a", 1), ("docker.io", 1), ("docker.io/app", 0), ("e", 0)] {
        let page = PageRequest::default()
            .limit(None)
            .after(Some(after.to_owned()));
        let found = registry
            .repositories(&CatalogAccess::trusted(), page)
            .await
            .unwrap();
        assert_eq!(found.items.len(), count, "{after}");
    }
}

#[tokio::test]
async fn the_longest_start_of_a_name_decides() {
    let (short, long, rest) = (Engine::memory(), Engine::memory(), Engine::memory());
    let registry = Route::new()
        .to(name("team"), short.clone())
        .to(name("team/special"), long.clone())
        .otherwise(rest.clone());
    for (repository, engine) in [
        ("team", &short),
        ("team/app", &short),
        ("team/specialist", &short),
        ("team/special", &long),
        ("team/special/app", &long),
        ("teamwork", &rest),
        ("special", &rest),
    ] {
        image().push(&registry, &trusted(repository), &[]).await;
        let found = engine
            .resolve(&trusted(repository), &image().reference())
            .await;
        assert!(found.is_ok(), "{repository}");
    }
}

/// A registry that does nothing, and lists nothing.
#[derive(Debug)]
struct Unlisted;

impl Registry for Unlisted {}

#[tokio::test]
async fn a_route_lists_a_repository_only_from_where_it_leads() {
    let (own, other) = (Engine::memory(), Engine::memory());
    for repository in ["a", "b/x", "c"] {
        image().push(&own, &trusted(repository), &[]).await;
        image().push(&other, &trusted(repository), &[]).await;
    }
    image().push(&own, &trusted("b/hidden"), &[]).await;
    image().push(&other, &trusted("hidden"), &[]).await;
    let registry = Route::new().to(name("b"), other).otherwise(own);
    assert_eq!(repositories(&registry).await, ["a", "b/x", "c"]);
    // Without a way for the rest there is no rest.
    let registry = Route::new().to(name("x"), Unlisted).to(name("y"), registry);
    assert!(repositories(&registry).await.is_empty());
    let found = registry.resolve(&trusted("z"), &reference("latest")).await;
    refused(found, ErrorKind::NameUnknown);
}

#[tokio::test]
async fn nothing_is_mounted_across_two_registries() {
    let (own, rest) = (Engine::memory(), Engine::memory());
    let digest = push_blob(&own, &trusted("a/app"), &content("far", 10)).await;
    // Once the name led here; what is left of that is out of reach.
    push_blob(&rest, &trusted("a/app"), &content("far", 10)).await;
    let registry = Route::new().to(name("a"), own).otherwise(rest);
    let everywhere = CatalogAccess::trusted();
    for (to, from, mounted) in [("b/new", "a/app", false), ("a/new", "a/app", true)] {
        let (to, from) = (trusted(to), trusted(from));
        for source in [
            MountSource::Repository(&from),
            MountSource::Anywhere(&everywhere),
        ] {
            let found = registry.mount_blob(&to, &digest, source).await.unwrap();
            assert_eq!(found.is_some(), mounted, "{}", to.repository());
        }
        // That it leads nowhere doesn't make it public.
        let denied = from.limited([Action::Push]);
        let source = MountSource::Repository(&denied);
        let found = registry.mount_blob(&to, &digest, source).await;
        refused(found, ErrorKind::Denied);
    }
}

#[tokio::test]
async fn a_route_lists_all_although_a_registry_gives_less_at_once() {
    let short = Engine::builder(MemoryBlobs::default(), MemoryMetadata::default())
        .options(EngineOptions::default().max_page(1))
        .build();
    let registry = Route::new()
        .to(name("m"), short)
        .otherwise(Engine::memory());
    let names = ["a", "m", "m/a", "m/b", "m0", "z"];
    for repository in names {
        image().push(&registry, &trusted(repository), &[]).await;
    }
    let all = CatalogAccess::trusted();
    for limit in [None, Some(1), Some(2), Some(3), Some(10)] {
        let found = all_pages(limit, |page| registry.repositories(&all, page)).await;
        let found: Vec<_> = found.iter().map(RepositoryName::as_str).collect();
        assert_eq!(found, names, "{limit:?}");
    }
}

/// Lets nothing of one kind pass, and counts what it was asked.
#[derive(Debug, Default)]
struct Closed {
    push: bool,
    pull: bool,
    delete: bool,
    asked: AtomicUsize,
}

#[async_trait]
impl Gate for Closed {
    async fn admit(&self, _: &Access, admission: Admission<'_>) -> Result<()> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let closed = match admission {
            Admission::Push(_) => self.push,
            Admission::Pull { .. } => self.pull,
            Admission::Delete(_) => self.delete,
            _ => false,
        };
        if closed {
            return Err(ErrorKind::Denied.error("the gate is closed; come back later"));
        }
        Ok(())
    }
}

#[tokio::test]
async fn a_gate_stops_pulls_by_every_name() {
    let engine = Engine::memory();
    let (access, image) = (trusted("team/app"), image());
    image.push(&engine, &access, &["latest"]).await;
    let gate = Arc::new(Closed {
        pull: true,
        ..Closed::default()
    });
    let registry = engine.layer(Gated::by(Arc::clone(&gate)));
    for wanted in [reference("latest"), image.reference()] {
        refused(registry.resolve(&access, &wanted).await, ErrorKind::Denied);
        refused(
            registry.get_manifest(&access, &wanted).await,
            ErrorKind::Denied,
        );
    }
    assert_eq!(gate.asked.load(Ordering::Relaxed), 4);
    // What isn't there is no secret of the gate.
    let found = registry.resolve(&access, &reference("unknown")).await;
    refused(found, ErrorKind::ManifestUnknown);
    image.push(&registry, &access, &["new"]).await;
}

#[tokio::test]
async fn a_gate_stops_pushes_and_deletions_before_anything_happens() {
    let engine = Engine::memory();
    let (access, image) = (trusted("team/app"), image());
    image.push(&engine, &access, &["latest"]).await;
    let gate = Arc::new(Closed {
        push: true,
        delete: true,
        ..Closed::default()
    });
    let registry = engine.clone().layer(Gated::by(Arc::clone(&gate)));
    let put = registry.put_manifest(&access, image.put(&["new"])).await;
    refused(put, ErrorKind::Denied);
    let layer = Algorithm::Sha256.digest(&image.blobs()[1]);
    for deletion in [
        Deletion::tag("latest".parse().unwrap()),
        Deletion::Manifest(image.manifest().digest),
        Deletion::Blob(layer),
    ] {
        refused(registry.delete(&access, deletion).await, ErrorKind::Denied);
    }
    let tags = engine.tags(&access, PageRequest::default()).await.unwrap();
    assert_eq!(tags.items, ["latest".parse().unwrap()]);
    assert_eq!(engine.stat_blob(&access, &layer).await.unwrap().size, 1000);

    // The gate isn't bothered by who may not do it anyway.
    let asked = gate.asked.load(Ordering::Relaxed);
    let reader = access.limited(Action::Pull);
    let put = registry.put_manifest(&reader, image.put(&[])).await;
    refused(put, ErrorKind::Denied);
    let deleted = registry.delete(&reader, Deletion::Blob(layer)).await;
    refused(deleted, ErrorKind::Denied);
    assert_eq!(gate.asked.load(Ordering::Relaxed), asked);
}

#[tokio::test]
async fn an_observer_hears_of_what_succeeded_and_by_whom() {
    let engine = Engine::memory();
    let (observe, observations) = Observe::queue(100);
    let registry = engine.layer(observe);
    let actor = Arc::new(Actor {
        name: Some("ci".to_owned()),
        request: None,
    });
    let need = Need {
        repository: name("team/app"),
        actions: Action::Pull.into(),
        tags: Vec::new(),
    };
    let access = Access::granted(&need, registry_core::Actions::ALL, actor).unwrap();
    let other = trusted("team/other");

    let blob = push_blob(&registry, &access, &content("observed", 10)).await;
    registry
        .mount_blob(&other, &blob, MountSource::Repository(&access))
        .await
        .unwrap();
    let empty = Package::index(Vec::new(), None);
    empty.push(&registry, &access, &["latest"]).await;
    registry
        .get_manifest(&access, &reference("latest"))
        .await
        .unwrap();
    pull_blob(&registry, &access, &blob).await;
    let tag = Deletion::tag("latest".parse().unwrap());
    registry.delete(&access, tag.clone()).await.unwrap();

    // Nothing to tell: it failed, or was only asked about.
    registry.stat_blob(&access, &blob).await.unwrap();
    registry.resolve(&access, &empty.reference()).await.unwrap();
    let unknown = Algorithm::Sha256.digest(b"unknown");
    let options = OpenOptions::default();
    assert!(
        registry
            .open_blob(&access, &unknown, options)
            .await
            .is_err()
    );
    assert!(registry.delete(&access, tag.clone()).await.is_err());
    let mounted = registry
        .mount_blob(&other, &unknown, MountSource::Repository(&access))
        .await
        .unwrap();
    assert!(mounted.is_none());

    drop(registry);
    let observed: Vec<_> = observations.collect().await;
    let heard: Vec<_> = observed
        .iter()
        .map(|observation| {
            let by = observation.actor.name.as_deref().unwrap_or("nobody");
            let what = match &observation.deed {
                Deed::PushBlob(pushed) => format!("pushed {}", pushed.digest == blob),
                Deed::MountBlob { from, .. } => format!("mounted from {}", from.clone().unwrap()),
                Deed::PushManifest(pushed) => format!("pushed {:?}", pushed.tags),
                Deed::PullManifest { reference, .. } => format!("pulled {reference}"),
                Deed::PullBlob { size, range, .. } => format!("pulled {range:?} of {size}"),
                Deed::Delete(what) => format!("deleted {}", *what == tag),
                other => format!("{other:?}"),
            };
            format!("{} {by} {what}", observation.repository)
        })
        .collect();
    assert_eq!(
        heard,
        [
            "team/app ci pushed true",
            "team/other nobody mounted from team/app",
            "team/app ci pushed [\"latest\"]",
            "team/app ci pulled latest",
            "team/app ci pulled 0..10 of 10",
            "team/app ci deleted true",
        ]
    );
}

#[tokio::test]
async fn nobody_waits_for_a_slow_observer() {
    let (observe, mut observations) = Observe::queue(1);
    let registry = Engine::memory().layer(observe);
    let access = trusted("team/app");
    for number in 0..10 {
        push_blob(&registry, &access, &content(&number.to_string(), 10)).await;
    }
    // One in the queue, one more, and the rest is lost.
    assert_eq!(observations.dropped(), 8);
    assert!(observations.next().await.is_some());
    push_blob(&registry, &access, &content("heard", 10)).await;
    assert_eq!(observations.dropped(), 8);
    drop(observations);
    push_blob(&registry, &access, &content("unheard", 10)).await;
}
