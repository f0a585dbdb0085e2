//! The body of an answer with a list, from a registry that is asked.

#![no_main]

#[path = "../../../registry-http/src/client/list_body.rs"]
mod list_body;

use libfuzzer_sys::fuzz_target;
use list_body::{referrers, repositories, tags};
use registry_core::{Descriptor, Digest, MediaType, RepositoryName, Tag};
use serde_json::Value;

/// What a list holds under `key`, as others read it.
fn items(list: &Value, key: &str) -> Vec<Value> {
    list[key].as_array().cloned().unwrap_or_default()
}

/// Those of `items` that are `valid`, and how many others there are.
fn sort(items: Vec<Value>, valid: impl Fn(&Value) -> bool) -> (Vec<Value>, usize) {
    let (valid, others): (Vec<_>, Vec<_>) = items.into_iter().partition(valid);
    (valid, others.len())
}

fn is_text(value: &Value, valid: impl Fn(&str) -> bool) -> bool {
    value.as_str().is_some_and(valid)
}

fn is_descriptor(item: &Value) -> bool {
    let is_annotations = |value: &Value| {
        let texts = value.as_object();
        texts.is_some_and(|texts| texts.values().all(Value::is_string))
    };
    item.is_object()
        && is_text(&item["mediaType"], |text| text.parse::<MediaType>().is_ok())
        && is_text(&item["digest"], |text| text.parse::<Digest>().is_ok())
        && item["size"].is_u64()
        && (item["artifactType"].is_null() || item["artifactType"].is_string())
        && item.get("annotations").is_none_or(is_annotations)
}

fuzz_target!(|body: &[u8]| {
    // What nobody asks for may be malformed.
    let Ok(list) = serde_json::from_slice(body) else {
        return;
    };
    if let Ok(tags) = tags(body) {
        let is_tag = |item: &Value| is_text(item, |text| text.parse::<Tag>().is_ok());
        let written = tags.items.iter().map(|tag| Value::from(tag.as_str()));
        let expected = sort(items(&list, "tags"), is_tag);
        assert_eq!((written.collect(), tags.odd), expected);
    }
    if let Ok(names) = repositories(body) {
        let is_name = |item: &Value| is_text(item, |text| text.parse::<RepositoryName>().is_ok());
        let written = names.items.iter().map(|name| Value::from(name.as_str()));
        let expected = sort(items(&list, "repositories"), is_name);
        assert_eq!((written.collect(), names.odd), expected);
    }
    if let Ok(descriptors) = referrers(body) {
        let (items, odd) = sort(items(&list, "manifests"), is_descriptor);
        assert_eq!(descriptors.odd, odd);
        assert_eq!(descriptors.items.len(), items.len());
        for (descriptor, item) in descriptors.items.iter().zip(items) {
            assert_eq!(Value::from(descriptor.digest.to_string()), item["digest"]);
            assert_eq!(Value::from(descriptor.size), item["size"]);
            let written = serde_json::to_vec(descriptor).unwrap();
            let again: Descriptor = serde_json::from_slice(&written).unwrap();
            assert_eq!(again, *descriptor);
        }
    }
});
