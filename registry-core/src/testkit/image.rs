//! Images, artifacts and indexes made up for tests.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::{Value, json};

use crate::testkit::{content, push_blob};
use crate::{
    Access, Algorithm, Descriptor, Manifest, ManifestRules, MediaType, Pushed, PutManifest,
    Reference, Registry, Tag,
};

/// Makes an image or artifact.
#[derive(Debug, Clone)]
pub struct ImageBuilder {
    media_type: MediaType,
    config: (MediaType, Bytes),
    layers: Vec<Bytes>,
    subject: Option<Descriptor>,
    artifact_type: Option<String>,
    annotations: BTreeMap<String, String>,
}

impl ImageBuilder {
    /// An image with a configuration and one layer, which follow from `seed`.
    pub fn new(seed: &str) -> Self {
        let config = json!({
            "architecture": "amd64",
            "os": "linux",
            "rootfs": { "type": "layers", "diff_ids": [] },
            "author": seed,
        });
        Self {
            media_type: MediaType::OCI_MANIFEST,
            config: (MediaType::OCI_CONFIG, config.to_string().into()),
            layers: vec![content(seed, 1000)],
            subject: None,
            artifact_type: None,
            annotations: BTreeMap::new(),
        }
    }

    /// The same as a Docker image.
    #[must_use]
    pub fn docker(mut self) -> Self {
        self.media_type = MediaType::DOCKER_MANIFEST;
        self
    }

    /// The same with one more layer.
    #[must_use]
    pub fn layer(mut self, layer: impl Into<Bytes>) -> Self {
        self.layers.push(layer.into());
        self
    }

    /// The same with this configuration.
    #[must_use]
    pub fn config(mut self, media_type: MediaType, config: impl Into<Bytes>) -> Self {
        self.config = (media_type, config.into());
        self
    }

    /// The same, about the manifest `subject`.
    #[must_use]
    pub fn subject(mut self, subject: Descriptor) -> Self {
        self.subject = Some(subject);
        self
    }

    /// The same with an artifact type.
    #[must_use]
    pub fn artifact_type(mut self, artifact_type: &str) -> Self {
        self.artifact_type = Some(artifact_type.to_owned());
        self
    }

    /// The same with an annotation.
    #[must_use]
    pub fn annotation(mut self, key: &str, value: &str) -> Self {
        self.annotations.insert(key.to_owned(), value.to_owned());
        self
    }

    /// The image.
    pub fn build(self) -> Package {
        let (config_type, config) = &self.config;
        let descriptor = |media_type: &MediaType, content: &Bytes| {
            json!({
                "mediaType": media_type,
                "digest": Algorithm::Sha256.digest(content),
                "size": content.len(),
            })
        };
        let layer_type: MediaType = "application/vnd.oci.image.layer.v1.tar"
            .parse()
            .expect("a media type");
        let layers: Vec<Value> = self
            .layers
            .iter()
            .map(|layer| descriptor(&layer_type, layer))
            .collect();
        let mut document = json!({
            "schemaVersion": 2,
            "mediaType": self.media_type,
            "config": descriptor(config_type, config),
            "layers": layers,
        });
        about(
            &mut document,
            self.subject.as_ref(),
            self.artifact_type.as_deref(),
            &self.annotations,
        );
        let blobs = std::iter::once(config.clone()).chain(self.layers).collect();
        Package::new(&self.media_type, &document, blobs, Vec::new())
    }
}

/// Adds what an image and an index say in the same fields.
fn about(
    document: &mut Value,
    subject: Option<&Descriptor>,
    artifact_type: Option<&str>,
    annotations: &BTreeMap<String, String>,
) {
    if let Some(subject) = subject {
        document["subject"] = json!(subject);
    }
    if let Some(artifact_type) = artifact_type {
        document["artifactType"] = json!(artifact_type);
    }
    if !annotations.is_empty() {
        document["annotations"] = json!(annotations);
    }
}

/// A manifest with all that it refers to.
#[derive(Debug, Clone)]
pub struct Package {
    manifest: Manifest,
    blobs: Vec<Bytes>,
    children: Vec<Package>,
}

impl Package {
    /// A package of a manifest as it is written here, and its blobs.
    pub fn new(
        media_type: &MediaType,
        document: &Value,
        blobs: Vec<Bytes>,
        children: Vec<Self>,
    ) -> Self {
        // Not what a serializer would write: bytes are kept, not meanings.
        let bytes = Bytes::from(format!(" {document:#}\n"));
        Self {
            manifest: Manifest {
                media_type: media_type.clone(),
                digest: Algorithm::Sha256.digest(&bytes),
                bytes,
            },
            blobs,
            children,
        }
    }

    /// An index of `children`, about `subject`.
    pub fn index(children: Vec<Self>, subject: Option<&Descriptor>) -> Self {
        let manifests: Vec<Descriptor> = children.iter().map(Self::descriptor).collect();
        let mut document = json!({
            "schemaVersion": 2,
            "mediaType": MediaType::OCI_INDEX,
            "manifests": manifests,
        });
        about(&mut document, subject, None, &BTreeMap::new());
        Self::new(&MediaType::OCI_INDEX, &document, Vec::new(), children)
    }

    /// The same, named by `algorithm`. What it refers to keeps its names.
    #[must_use]
    pub fn named_by(mut self, algorithm: Algorithm) -> Self {
        self.manifest.digest = algorithm.digest(&self.manifest.bytes);
        self
    }

    /// The manifest.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The descriptor of the manifest.
    pub fn descriptor(&self) -> Descriptor {
        self.manifest.descriptor()
    }

    /// The reference to the manifest by its digest.
    pub fn reference(&self) -> Reference {
        self.manifest.digest.into()
    }

    /// The blobs, the configuration first.
    pub fn blobs(&self) -> &[Bytes] {
        &self.blobs
    }

    /// The push of the manifest under `tags`.
    pub fn put(&self, tags: &[&str]) -> PutManifest {
        let tags = tags.iter().map(|tag| tag.parse::<Tag>().expect("a tag"));
        PutManifest::new(
            self.reference(),
            Some(self.manifest.media_type.clone()),
            self.manifest.bytes.clone(),
            &ManifestRules::default(),
        )
        .expect("a valid manifest")
        .with_tags(tags)
        .expect("a few tags")
    }

    /// Pushes the blobs, and whatever an index refers to, but not the manifest.
    pub async fn push_content(&self, registry: &dyn Registry, access: &Access) {
        for blob in &self.blobs {
            push_blob(registry, access, blob).await;
        }
        for child in &self.children {
            Box::pin(child.push(registry, access, &[])).await;
        }
    }

    /// Pushes all of it.
    pub async fn push(&self, registry: &dyn Registry, access: &Access, tags: &[&str]) -> Pushed {
        self.push_content(registry, access).await;
        registry
            .put_manifest(access, self.put(tags))
            .await
            .expect("the manifest is accepted")
    }
}
