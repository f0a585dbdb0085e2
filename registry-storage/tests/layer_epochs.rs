//! Through every layer, a repository is told from those that had its name before.

#![allow(
    clippy::unwrap_used,
    reason = "what a test sets up is valid, or the test fails"
)]

use std::sync::Arc;

use async_trait::async_trait;
use registry_core::testkit::{content, push_blob, trusted};
use registry_core::{
    Access, Admission, Gate, Gated, Management, Observation, Observe, Observer, Prefix, ReadOnly,
    Registry, RegistryExt, Result, Route,
};
use registry_storage::{Engine, PullThrough};

#[derive(Debug)]
struct Idle;

#[async_trait]
impl Gate for Idle {
    async fn admit(&self, _: &Access, _: Admission<'_>) -> Result<()> {
        Ok(())
    }
}

impl Observer for Idle {
    fn observe(&self, _: Observation) {}
}

/// A registry that does nothing, and tells nothing apart.
#[derive(Debug)]
struct Nothing;

impl Registry for Nothing {}

/// To registries that tell nothing.
fn routes() -> Route {
    Route::new()
        .to("hub".parse().unwrap(), Nothing)
        .to("other".parse().unwrap(), Nothing)
}

/// How often a repository of that name was deleted; `None` where nobody knows.
async fn deleted(registry: &dyn Registry, repository: &str) -> Option<u64> {
    let epoch = registry.epochs()?.epoch(&repository.parse().unwrap()).await;
    Some(epoch.unwrap().number)
}

/// In which `team/app` was deleted once.
async fn engine() -> Engine {
    let engine = Engine::memory();
    push_blob(&engine, &trusted("team/app"), &content("old", 10)).await;
    engine
        .delete_repository(&trusted("team/app"))
        .await
        .unwrap();
    engine
}

#[tokio::test]
async fn under_its_own_name() {
    let engine = engine().await;
    let layers: Vec<(&str, Arc<dyn Registry>)> = vec![
        ("nothing", Arc::new(engine.clone())),
        ("read-only", Arc::new(engine.clone().layer(ReadOnly))),
        ("gated", Arc::new(engine.clone().layer(Gated::by(Idle)))),
        (
            "observed",
            Arc::new(engine.clone().layer(Observe::with(Idle))),
        ),
        ("cache", Arc::new(PullThrough::new(engine.clone(), Nothing))),
        (
            "cached",
            Arc::new(PullThrough::new(Engine::memory(), engine)),
        ),
    ];
    for (layer, registry) in layers {
        assert_eq!(deleted(&registry, "team/app").await, Some(1), "{layer}");
        assert_eq!(deleted(&registry, "team/other").await, Some(0), "{layer}");
    }
}

#[tokio::test]
async fn under_another_name() {
    let engine = engine().await;
    let team = "team".parse().unwrap();
    let below = engine.clone().layer(Prefix::add(&team));
    assert_eq!(deleted(&below, "app").await, Some(1));
    assert_eq!(deleted(&below, "team/app").await, Some(0));
    let above = engine.layer(Prefix::strip(&"hub".parse().unwrap()));
    assert_eq!(deleted(&above, "hub/team/app").await, Some(1));
    // No name of this registry.
    assert_eq!(deleted(&above, "team/app").await, Some(0));
}

#[tokio::test]
async fn where_its_name_leads() {
    let registry = Route::new()
        .to("other".parse().unwrap(), Engine::memory())
        .to("nothing".parse().unwrap(), Nothing)
        .otherwise(engine().await.layer(Prefix::add(&"team".parse().unwrap())));
    assert_eq!(deleted(&registry, "app").await, Some(1));
    for elsewhere in ["other/app", "nothing/app", "team/app"] {
        assert_eq!(deleted(&registry, elsewhere).await, Some(0), "{elsewhere}");
    }
}

#[tokio::test]
async fn nobody_pretends_to_know() {
    let prefix = Prefix::add(&"team".parse().unwrap());
    for registry in [
        Arc::new(Nothing) as Arc<dyn Registry>,
        Arc::new(Nothing.layer(ReadOnly)),
        Arc::new(Nothing.layer(prefix)),
        Arc::new(PullThrough::new(Arc::new(Nothing), Nothing)),
        Arc::new(Route::new()),
        Arc::new(routes()),
        Arc::new(Route::new().otherwise(Nothing)),
    ] {
        assert_eq!(deleted(&registry, "app").await, None, "{registry:?}");
    }
}

#[tokio::test]
async fn a_cache_of_routes_that_tell_nothing_tells_what_it_keeps() {
    let cache = PullThrough::new(engine().await, routes().otherwise(Nothing));
    assert_eq!(deleted(&cache, "team/app").await, Some(1));
    let told = routes().otherwise(engine().await);
    let cache = PullThrough::new(Engine::memory(), told);
    assert_eq!(deleted(&cache, "team/app").await, Some(1));
    assert_eq!(deleted(&cache, "hub/app").await, Some(0));
}
