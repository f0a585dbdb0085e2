//! A repository with many manifests and tags.

use std::sync::Arc;

use anyhow::{Result, ensure};
use tokio::task::JoinSet;

use super::{
    client::Connection,
    content::{Blob, Content, digest_of},
    push::MANIFEST,
    server::Server,
};

/// How many connections fill a repository.
const FILLERS: usize = 32;

/// Different manifests over one config and one layer, with one tag each.
#[derive(Debug, Default)]
pub(super) struct Filling {
    shared: Vec<Blob>,
    /// Tags and manifests.
    manifests: Arc<Vec<(String, Vec<u8>)>>,
}

impl Filling {
    pub(super) fn new(content: &mut Content, count: u32) -> Self {
        let shared = content.blobs(2, 1 << 10);
        let descriptors: Vec<serde_json::Value> = shared
            .iter()
            .zip([
                "application/vnd.oci.image.config.v1+json",
                "application/vnd.oci.image.layer.v1.tar+gzip",
            ])
            .map(|(blob, kind)| {
                serde_json::json!({ "mediaType": kind, "digest": blob.digest, "size": blob.size })
            })
            .collect();
        let manifest = |number: u32| {
            let text = serde_json::json!({
                "schemaVersion": 2,
                "mediaType": MANIFEST,
                "config": descriptors.first(),
                "layers": descriptors.get(1..),
                "annotations": { "org.opencontainers.image.revision": number.to_string() },
            });
            (format!("v{number:06}"), text.to_string().into_bytes())
        };
        Self {
            manifests: Arc::new((0..count).map(manifest).collect()),
            shared,
        }
    }

    /// Pushes everything, over several connections at once.
    pub(super) async fn give(&self, server: &Server, repository: &'static str) -> Result<()> {
        for blob in &self.shared {
            server.deposit_blob(repository, blob).await?;
        }
        let mut tasks = JoinSet::new();
        for filler in 0..FILLERS {
            let mut connection = Connection::new(&server.host()?);
            let manifests = Arc::clone(&self.manifests);
            tasks.spawn(async move {
                for (tag, manifest) in manifests.iter().skip(filler).step_by(FILLERS) {
                    connection.push_manifest(repository, tag, manifest).await?;
                }
                Ok::<_, anyhow::Error>(())
            });
        }
        while let Some(done) = tasks.join_next().await {
            done??;
        }
        // Answered isn't stored: the last one is read back.
        if let Some((_, manifest)) = self.manifests.last() {
            let target = format!("/v2/{repository}/manifests/{}", digest_of(manifest));
            let (answer, body) = Connection::new(&server.host()?)
                .get(&target, &[("Accept", MANIFEST)])
                .await?;
            answer.expect(200, &target)?;
            ensure!(body == *manifest, "{target} is not what was pushed");
        }
        Ok(())
    }
}
