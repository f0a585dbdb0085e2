//! How a program that talks to a registry tests itself: with one of its own, in
//! memory, on a port that nobody else has.

#![allow(clippy::unwrap_used, reason = "these are tests")]

use registry_core::{Access, Algorithm, Chunk, Registry, UploadOptions};
use registry_http::{RemoteRegistry, TestServer};
use registry_storage::Engine;

/// What the program does: it pushes a file and tells its digest.
async fn publish(registry: &str, content: &'static [u8]) -> registry_core::Result<String> {
    let registry = RemoteRegistry::new(registry)?;
    let access = Access::trusted("files/report".parse()?);
    let digest = Algorithm::Sha256.digest(content);
    let upload = registry
        .begin_upload(&access, UploadOptions::default())
        .await?;
    registry
        .finish_upload(
            &access,
            &upload.id,
            &digest,
            Some(Chunk::from_bytes(content)),
        )
        .await?;
    Ok(digest.to_string())
}

#[tokio::test]
async fn a_published_file_is_in_the_registry() {
    let engine = Engine::memory();
    let server = TestServer::start(engine.clone()).await;

    let digest = publish(&server.url(), b"a report").await.unwrap();

    // The engine behind the server can be asked directly.
    let access = Access::trusted("files/report".parse().unwrap());
    let blob = engine.stat_blob(&access, &digest.parse().unwrap()).await;
    assert_eq!(blob.unwrap().size, 8);
}
