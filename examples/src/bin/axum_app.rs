//! A registry beside the other routes of an axum program.
//!
//! `cargo run --bin axum_app 127.0.0.1:5000`, then ask for `/health`, or push to
//! `127.0.0.1:5000/team/app`.

use std::error::Error;
use std::net::SocketAddr;

use axum::Router;
use axum::extract::{ConnectInfo, Request};
use axum::middleware::map_request;
use axum::routing::get;
use registry_http::{Peer, RegistryService};
use registry_storage::Engine;

/// Tells the registry where a request comes from: it keeps addresses to their share.
async fn with_peer(ConnectInfo(from): ConnectInfo<SocketAddr>, mut request: Request) -> Request {
    let address = from.ip();
    request.extensions_mut().insert(Peer { address });
    request
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let listener = registry_examples::listen().await?;
    let registry = RegistryService::new(Engine::memory());
    let app = Router::new()
        .route("/health", get(|| async { "ok" }))
        .fallback_service(registry)
        .layer(map_request(with_peer));
    let app = app.into_make_service_with_connect_info::<SocketAddr>();
    axum::serve(listener, app).await?;
    Ok(())
}
