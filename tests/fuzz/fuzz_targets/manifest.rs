//! The first byte chooses the media type that the rest is sent with.

#![no_main]

use std::collections::HashSet;

use libfuzzer_sys::fuzz_target;
use registry_core::{Digest, Document, ManifestRules, MediaType};
use serde_json::Value;

const KNOWN: [&str; 8] = [
    "schemaVersion",
    "mediaType",
    "artifactType",
    "config",
    "layers",
    "manifests",
    "subject",
    "annotations",
];

fn digests(value: &Value, found: &mut Vec<Digest>) {
    match value {
        Value::String(text) => found.extend(text.parse::<Digest>()),
        Value::Array(items) => items.iter().for_each(|item| digests(item, found)),
        Value::Object(members) => members.values().for_each(|member| digests(member, found)),
        _ => {}
    }
}

fuzz_target!(|input: &[u8]| {
    let [choice, bytes @ ..] = input else {
        return;
    };
    let media_type = match choice {
        b'i' => Some(MediaType::OCI_MANIFEST),
        b'x' => Some(MediaType::OCI_INDEX),
        b'I' => Some(MediaType::DOCKER_MANIFEST),
        b'X' => Some(MediaType::DOCKER_LIST),
        _ => None,
    };
    let Ok(document) = Document::parse(bytes, media_type, &ManifestRules::default()) else {
        return;
    };
    assert!(document.image().is_some() != document.index().is_some());

    let value: Value = serde_json::from_slice(bytes).unwrap();
    let known: HashSet<_> = document
        .references()
        .iter()
        .map(|reference| reference.descriptor.digest)
        .collect();
    let mut found = Vec::new();
    digests(&value, &mut found);
    for digest in found {
        assert!(known.contains(&digest), "{digest} is no reference");
    }
    for key in value.as_object().unwrap().keys() {
        let known = KNOWN.iter().find(|known| known.eq_ignore_ascii_case(key));
        assert!(known.is_none_or(|known| known == key), "{key} looks known");
    }
});
