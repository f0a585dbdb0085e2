//! A program that reacts to pushes: it would deploy what it prints.
//!
//! `cargo run --bin push_listener 127.0.0.1:5000`, then push an image.

use std::error::Error;

use async_trait::async_trait;
use registry_core::{Event, EventAction, EventSink, EventTarget, Result};
use registry_http::RegistryService;
use registry_storage::{Engine, MemoryBlobs, MemoryMetadata};

/// Deploys every tag that is pushed.
#[derive(Debug)]
struct Deploy;

#[async_trait]
impl EventSink for Deploy {
    async fn deliver(&self, event: &Event) -> Result<()> {
        if let (EventAction::Push, EventTarget::Manifest { digest, tags, .. }) =
            (event.action, &event.target)
        {
            for tag in tags {
                registry_examples::say(&format!("deploy {}:{tag} as {digest}", event.repository));
            }
        }
        Ok(())
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let listener = registry_examples::listen().await?;
    // With `Engine::root(directory, …)` instead, events that wait survive a
    // restart together with what they tell of.
    let engine = Engine::builder(MemoryBlobs::new(), MemoryMetadata::default())
        .events(Deploy)
        .build();
    registry_http::serve(listener, RegistryService::new(engine)).await?;
    Ok(())
}
