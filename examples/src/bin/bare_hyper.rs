//! A registry on bare hyper, under a prefix of the program's own paths.
//!
//! `cargo run --bin bare_hyper 127.0.0.1:5000`; the API is at `/images/v2/`, and
//! at `/v2/`, too: Docker's clients know of no prefix and always ask there.

use std::error::Error;

use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use registry_http::RegistryService;
use registry_storage::Engine;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let listener = registry_examples::listen().await?;
    let registry = RegistryService::new(Engine::memory()).prefix("/images/");
    loop {
        let (connection, _) = listener.accept().await?;
        let registry = TowerToHyperService::new(registry.clone());
        tokio::spawn(async move {
            let served = auto::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(connection), registry)
                .await;
            if let Err(error) = served {
                tracing::debug!(error, "a connection ended early");
            }
        });
    }
}
