//! Serving a registry.

use std::io::{self, Write};
use std::path::PathBuf;

use registry_core::{Error, ErrorKind, Result};
use registry_http::{RegistryService, Server};
use registry_storage::{Durability, Engine, EngineOptions};
use tokio::net::TcpListener;

use crate::command_line::Serve;
use crate::shutdown::Signals;

/// Serves until a signal comes.
pub(crate) fn serve(options: &Serve) -> Result<()> {
    tracing_subscriber::fmt()
        .with_writer(io::stderr)
        .with_ansi(false)
        .init();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|source| Error::internal("the runtime could not be started", source))?;
    runtime.block_on(run(options))
}

async fn run(options: &Serve) -> Result<()> {
    let mut signals =
        Signals::catch().map_err(|source| Error::internal("signals can't be caught", source))?;
    let root = match &options.overrides.root {
        Some(root) => root.clone(),
        None => PathBuf::from("registry-data"),
    };
    let address = options.overrides.addr.as_deref();
    let address = address.unwrap_or("127.0.0.1:5000");
    let sparse = std::env::var_os("REGISTRY_VALIDATION_DISABLED").is_some_and(|v| v == "true");
    let engine = Engine::root(&root, Durability::Full)
        .await?
        .options(EngineOptions {
            sparse_manifests: sparse,
            ..EngineOptions::default()
        })
        .build();
    let service = RegistryService::new(engine).catalog(true);
    let listener = TcpListener::bind(address).await.map_err(|source| {
        ErrorKind::Unavailable
            .error(format!("can't listen on {address}: {source}"))
            .with_source(source)
    })?;
    let local = listener.local_addr().map_err(|source| {
        ErrorKind::Unavailable
            .error("the listener has no address")
            .with_source(source)
    })?;
    let _ = writeln!(io::stderr(), "listening on {local}");
    Server::builder()
        .listen(listener, service)
        .shutdown_when(async move { signals.next().await })
        .run()
        .await
}
