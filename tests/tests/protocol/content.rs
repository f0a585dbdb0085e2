//! Content to push, and its digests, computed here rather than by the code under test.

use bytes::Bytes;
use serde_json::{Value, json};
use sha2::{Digest, Sha256, Sha512};

pub(crate) const INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(crate) const IMAGE: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub(crate) const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
pub(crate) const EMPTY: &str = "application/vnd.oci.empty.v1+json";
pub(crate) const DOCKER_IMAGE: &str = "application/vnd.docker.distribution.manifest.v2+json";
pub(crate) const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";

/// How a digest is made.
pub(crate) type Algorithm = fn(&[u8]) -> String;

/// What a registry must know.
pub(crate) const ALGORITHMS: [Algorithm; 2] = [sha256, sha512];

pub(crate) fn sha256(content: &[u8]) -> String {
    format!("sha256:{}", hex(&Sha256::digest(content)))
}

pub(crate) fn sha512(content: &[u8]) -> String {
    format!("sha512:{}", hex(&Sha512::digest(content)))
}

fn hex(bytes: &[u8]) -> String {
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits
        .map(|digit| char::from_digit(digit.into(), 16).unwrap())
        .collect()
}

/// Bytes without a pattern, the same for the same label.
pub(crate) fn bytes(label: &str, size: usize) -> Vec<u8> {
    let mut content = Vec::with_capacity(size + 32);
    let mut block = Sha256::digest(label.as_bytes());
    while content.len() < size {
        content.extend_from_slice(&block);
        block = Sha256::digest(block);
    }
    content.truncate(size);
    content
}

pub(crate) fn descriptor(media_type: &str, content: &[u8], algorithm: Algorithm) -> Value {
    json!({"mediaType": media_type, "digest": algorithm(content), "size": content.len()})
}

/// A manifest as it is pushed.
#[derive(Clone, Debug)]
pub(crate) struct Document {
    pub(crate) media_type: &'static str,
    pub(crate) bytes: Bytes,
}

impl Document {
    pub(crate) fn new(media_type: &'static str, document: &Value) -> Self {
        Self {
            media_type,
            bytes: document.to_string().into(),
        }
    }

    /// An image of the specification's, with its media type in it.
    pub(crate) fn image(config: Value, layers: Vec<Value>) -> Self {
        let fields = [("config", config), ("layers", layers.into())];
        Self::typed(IMAGE, Value::from_iter(fields))
    }

    /// An index of these manifests.
    pub(crate) fn index(manifests: Vec<Value>) -> Self {
        Self::typed(INDEX, Value::from_iter([("manifests", manifests)]))
    }

    /// An index of nothing, which needs nothing else, and differs from others.
    pub(crate) fn note(note: &str) -> Self {
        Self::index(Vec::new()).and(json!({"annotations": {"note": note}}))
    }

    fn typed(media_type: &'static str, fields: Value) -> Self {
        let start = json!({"schemaVersion": 2, "mediaType": media_type});
        Self::new(media_type, &start).and(fields)
    }

    /// The same with these fields added or replaced.
    pub(crate) fn and(&self, fields: Value) -> Self {
        let mut document = self.json();
        if let Value::Object(fields) = fields {
            document.as_object_mut().unwrap().extend(fields);
        }
        Self::new(self.media_type, &document)
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes).unwrap()
    }

    pub(crate) fn digest(&self) -> String {
        sha256(&self.bytes)
    }

    pub(crate) fn descriptor(&self, algorithm: Algorithm) -> Value {
        descriptor(self.media_type, &self.bytes, algorithm)
    }
}
