//! Which manifests a registry accepts, and what it reads in them.

#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a step that fails is the test's result"
)]

mod accepted;
mod media_type;
mod references;
mod refused;

use registry_core::{
    Algorithm, Digest, Document, ErrorKind, ManifestReference, ManifestRules, MediaType,
    PutManifest, Reference, ReferenceKind, Tag,
};
use serde_json::{Value, json};

const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const OCI_EMPTY: &str = "application/vnd.oci.empty.v1+json";
const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
const FOREIGN_LAYER: &str = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip";

fn digest(content: &str) -> Digest {
    Algorithm::Sha256.digest(content.as_bytes())
}

fn descriptor(media_type: &str, content: &str) -> Value {
    json!({"mediaType": media_type, "digest": digest(content), "size": content.len()})
}

fn image() -> Value {
    json!({
        "schemaVersion": 2,
        "mediaType": MediaType::OCI_MANIFEST,
        "config": descriptor(OCI_CONFIG, "config"),
        "layers": [descriptor(OCI_LAYER, "one"), descriptor(OCI_LAYER, "two")],
    })
}

fn index() -> Value {
    json!({
        "schemaVersion": 2,
        "mediaType": MediaType::OCI_INDEX,
        "manifests": [descriptor(MediaType::OCI_MANIFEST.as_str(), "child")],
    })
}

/// `document` with the value at `pointer` set, or removed if it is `None`.
fn edit(mut document: Value, pointer: &str, value: impl Into<Option<Value>>) -> Value {
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    let parent = document.pointer_mut(parent).unwrap();
    match value.into() {
        None => {
            parent.as_object_mut().unwrap().remove(key).unwrap();
        }
        Some(value) => match parent {
            Value::Array(items) => items[key.parse::<usize>().unwrap()] = value,
            parent => parent[key] = value,
        },
    }
    document
}

fn parse(document: &Value) -> registry_core::Result<Document> {
    parse_text(&document.to_string(), None)
}

fn parse_text(text: &str, media_type: Option<MediaType>) -> registry_core::Result<Document> {
    Document::parse(text.as_bytes(), media_type, &ManifestRules::default())
}

/// Asserts that the document is refused with exactly this sentence.
#[track_caller]
fn refused(result: registry_core::Result<Document>, sentence: &str) {
    let error = result
        .map(|document| document.media_type().clone())
        .unwrap_err();
    assert_eq!(error.to_string(), sentence);
    assert_eq!(error.kind(), ErrorKind::ManifestInvalid);
}

fn kinds(document: &Document) -> Vec<(ReferenceKind, Digest)> {
    document
        .references()
        .iter()
        .map(|reference| (reference.kind, reference.descriptor.digest))
        .collect()
}

#[test]
fn image_refers_to_config_and_layers() {
    let document = parse(&image()).unwrap();
    assert_eq!(*document.media_type(), MediaType::OCI_MANIFEST);
    assert_eq!(
        kinds(&document),
        [
            (ReferenceKind::Config, digest("config")),
            (ReferenceKind::Layer, digest("one")),
            (ReferenceKind::Layer, digest("two")),
        ]
    );
    assert_eq!(document.image().unwrap().layers().len(), 2);
    assert!(document.index().is_none());
    assert!(document.subject().is_none());
}
