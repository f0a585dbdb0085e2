//! A cache close to its users, made of two registries and a layer.
//!
//! `cargo run --bin caching_proxy 127.0.0.1:5001 http://127.0.0.1:5000 cache`,
//! then pull from port 5001 what was pushed to port 5000, also after that one
//! has gone. What was pulled stays in the directory `cache`.

use std::error::Error;

use registry_http::{RegistryService, RemoteRegistry};
use registry_storage::{Durability, Engine, EngineOptions, PullThrough};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let listener = registry_examples::listen().await?;
    let upstream = std::env::args()
        .nth(2)
        .unwrap_or_else(|| "https://registry-1.docker.io".to_owned());
    let directory = std::env::args_os()
        .nth(3)
        .unwrap_or_else(|| "registry-cache".into());
    let local = Engine::root(directory, Durability::Full)
        .await?
        // A manifest arrives before what it refers to.
        .options(EngineOptions::default().sparse_manifests(true))
        .build();
    let cache = PullThrough::new(local, RemoteRegistry::new(&upstream)?);
    registry_http::serve(listener, RegistryService::new(cache)).await?;
    Ok(())
}
