//! A registry beside the other routes of an axum program.
//!
//! `cargo run --bin axum_app 127.0.0.1:5000`, then ask for `/health`, or push to
//! `127.0.0.1:5000/team/app`.

use std::error::Error;

use axum::Router;
use axum::routing::get;
use registry_http::RegistryService;
use registry_storage::Engine;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let listener = registry_examples::listen().await?;
    let registry = RegistryService::new(Engine::memory());
    let app = Router::new()
        .route("/health", get(|| async { "ok" }))
        .fallback_service(registry);
    axum::serve(listener, app).await?;
    Ok(())
}
