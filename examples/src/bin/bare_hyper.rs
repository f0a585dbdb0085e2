//! A registry on bare hyper, under a prefix of the program's own paths.
//!
//! `cargo run --bin bare_hyper 127.0.0.1:5000`; the API is at `/images/v2/`, and
//! at `/v2/`, too: Docker's clients know of no prefix and always ask there.

use std::error::Error;

use http::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use registry_http::{Peer, RegistryService};
use registry_storage::Engine;
use tower_service::Service;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let listener = registry_examples::listen().await?;
    let registry = RegistryService::new(Engine::memory()).prefix("/images/");
    loop {
        let (connection, from) = listener.accept().await?;
        let registry = registry.clone();
        // It keeps addresses to their share.
        let peer = Peer { address: from.ip() };
        let registry = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(peer);
            registry.clone().call(request)
        });
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
