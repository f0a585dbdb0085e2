//! The engine, bare and under each layer of registry-core, keeps the contract
//! of `Registry`.

#![allow(clippy::unwrap_used, reason = "names written here are valid")]

use async_trait::async_trait;
use registry_core::testkit::{ImageBuilder, trusted};
use registry_core::{
    Access, Admission, Gate, Gated, Observe, Prefix, Registry, RegistryExt, RepositoryName, Result,
    Route, registry_suite,
};
use registry_storage::Engine;

registry_suite!(memory_engine, Engine::memory());
registry_suite!(prefix_added, below("tenants/acme").await);
registry_suite!(
    prefix_stripped,
    Engine::memory()
        .layer(Prefix::strip(&name("mirror")))
        .layer(Prefix::add(&name("mirror")))
);
registry_suite!(routed, routed());
registry_suite!(gated, Engine::memory().layer(Gated::by(Open)));
registry_suite!(observed, {
    let (observe, observations) = Observe::queue(1);
    (Engine::memory().layer(observe), observations)
});

fn name(text: &str) -> RepositoryName {
    text.parse().unwrap()
}

/// A part of an engine that others use as well.
async fn below(prefix: &str) -> impl Registry {
    let engine = Engine::memory();
    for other in [
        "tenants",
        "tenants/acm/a",
        "tenants/acme",
        "tenants/acme-b/a",
        "z",
    ] {
        let image = ImageBuilder::new("other").build();
        image.push(&engine, &trusted(other), &["latest"]).await;
    }
    engine.layer(Prefix::add(&name(prefix)))
}

/// Three engines that share the names which the suite lists.
fn routed() -> Route {
    Route::new()
        .to(name("a"), Engine::memory())
        .to(name("a/b"), Engine::memory())
        .otherwise(Engine::memory())
}

/// Lets everything pass.
#[derive(Debug)]
struct Open;

#[async_trait]
impl Gate for Open {
    async fn admit(&self, _: &Access, _: Admission<'_>) -> Result<()> {
        Ok(())
    }
}
