//! Pushing as real clients do it.

use anyhow::{Context, Result, bail, ensure};

use super::{
    client::{Body, Connection},
    content::{Blob, Content, digest_of},
};

/// The media type of everything that is pushed as a manifest.
pub(super) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

const OCTETS: (&str, &str) = ("Content-Type", "application/octet-stream");

/// How the bytes of a blob are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sending {
    /// POST, then everything with one PUT.
    Whole,
    /// POST, a PATCH for each chunk, an empty PUT.
    Chunked { chunk: u64 },
}

/// An image ready to be pushed.
#[derive(Debug)]
pub(super) struct Image {
    blobs: Vec<Blob>,
    pub(super) manifest: Vec<u8>,
    pub(super) digest: String,
    pub(super) tag: String,
}

impl Image {
    /// A config and this many layers, all 4 KiB of random bytes.
    pub(super) fn new(content: &mut Content, layers: u32) -> Self {
        let blobs = content.blobs(layers + 1, 4 << 10);
        let descriptor = |kind: &str, blob: &Blob| serde_json::json!({ "mediaType": kind, "digest": blob.digest, "size": blob.size });
        let (config, layers) = blobs
            .split_first()
            .map_or((None, &[][..]), |(first, rest)| {
                (
                    Some(descriptor(
                        "application/vnd.oci.image.config.v1+json",
                        first,
                    )),
                    rest,
                )
            });
        let manifest = serde_json::json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": config,
            "layers": layers
                .iter()
                .map(|layer| descriptor("application/vnd.oci.image.layer.v1.tar+gzip", layer))
                .collect::<Vec<_>>(),
        })
        .to_string()
        .into_bytes();
        Self {
            digest: digest_of(&manifest),
            manifest,
            blobs,
            tag: format!("t{:016x}", content.unique()),
        }
    }

    pub(super) fn blobs(&self) -> &[Blob] {
        &self.blobs
    }
}

impl Connection {
    /// The size of a blob the server has.
    pub(super) async fn blob_size(
        &mut self,
        repository: &str,
        digest: &str,
    ) -> Result<Option<u64>> {
        let target = format!("/v2/{repository}/blobs/{digest}");
        let answer = self.request("HEAD", &target, &[], Body::None).await?;
        match answer.status {
            200 => Ok(Some(
                answer
                    .announced
                    .context("HEAD of a blob without Content-Length")?,
            )),
            404 => Ok(None),
            status => bail!("HEAD {target}: answered {status}"),
        }
    }

    /// Pushes a blob the server doesn't have.
    pub(super) async fn push_blob(
        &mut self,
        repository: &str,
        blob: &Blob,
        sending: Sending,
    ) -> Result<()> {
        let target = format!("/v2/{repository}/blobs/uploads/");
        let answer = self.request("POST", &target, &[], Body::Bytes(&[])).await?;
        answer.expect(202, &target)?;
        let mut session = session(answer.location)?;
        let mut sent = 0;
        if let Sending::Chunked { chunk } = sending {
            while sent < blob.size {
                let length = chunk.min(blob.size - sent);
                let range = format!("{sent}-{}", sent + length - 1);
                let body = Body::Part {
                    blob,
                    offset: sent,
                    length,
                };
                let headers = [OCTETS, ("Content-Range", range.as_str())];
                let answer = self.request("PATCH", &session, &headers, body).await?;
                answer.expect(202, "PATCH")?;
                session = self::session(answer.location)?;
                sent += length;
            }
        }
        let joint = if session.contains('?') { '&' } else { '?' };
        let target = format!("{session}{joint}digest={}", blob.digest);
        let body = Body::Part {
            blob,
            offset: sent,
            length: blob.size - sent,
        };
        let answer = self.request("PUT", &target, &[OCTETS], body).await?;
        answer.expect(201, "PUT of a blob")
    }

    /// Pushes a manifest under a tag or its digest.
    pub(super) async fn push_manifest(
        &mut self,
        repository: &str,
        reference: &str,
        manifest: &[u8],
    ) -> Result<()> {
        let target = format!("/v2/{repository}/manifests/{reference}");
        let headers = [("Content-Type", MANIFEST)];
        let answer = self
            .request("PUT", &target, &headers, Body::Bytes(manifest))
            .await?;
        answer.expect(201, &target)
    }

    /// Pushes an image: asks for each blob, sends those that are missing, then the manifest with its tag.
    pub(super) async fn push_image(&mut self, repository: &str, image: &Image) -> Result<()> {
        for blob in image.blobs() {
            if self.blob_size(repository, &blob.digest).await?.is_none() {
                self.push_blob(repository, blob, Sending::Whole).await?;
            }
        }
        self.push_manifest(repository, &image.tag, &image.manifest)
            .await
    }

    /// Complains unless the server has the blob, as long as it is.
    pub(super) async fn check_blob(&mut self, repository: &str, blob: &Blob) -> Result<()> {
        let size = self.blob_size(repository, &blob.digest).await?;
        ensure!(
            size == Some(blob.size),
            "{} was pushed with {} bytes, the server has {size:?}",
            blob.digest,
            blob.size
        );
        Ok(())
    }
}

/// The path of an upload, which servers give with or without their own address.
fn session(location: Option<String>) -> Result<String> {
    let location = location.context("an upload without Location")?;
    if location.starts_with('/') {
        return Ok(location);
    }
    location
        .split_once("://")
        .and_then(|(_, rest)| rest.find('/').and_then(|start| rest.get(start..)))
        .map(str::to_owned)
        .with_context(|| format!("cannot follow Location: {location}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uploads_continue_at_the_path_the_server_gave() {
        for (given, path) in [
            ("/v2/a/blobs/uploads/1?x=y", "/v2/a/blobs/uploads/1?x=y"),
            ("http://127.0.0.1:1/v2/a?_state=b", "/v2/a?_state=b"),
        ] {
            assert_eq!(session(Some(given.to_owned())).unwrap(), path);
        }
        for wrong in [None, Some(String::new()), Some("http://host".to_owned())] {
            assert!(session(wrong).is_err());
        }
    }
}
