//! The body of an answer with a list, from a registry that is asked.

#![no_main]

#[path = "../../../registry-http/src/client/list_body.rs"]
mod list_body;

use libfuzzer_sys::fuzz_target;
use list_body::{referrers, repositories, tags};
use registry_core::Descriptor;
use serde_json::Value;

/// What a list holds under `key`, as others read it.
fn items(list: &Value, key: &str) -> Vec<Value> {
    list[key].as_array().cloned().unwrap_or_default()
}

fuzz_target!(|body: &[u8]| {
    // What nobody asks for may be malformed.
    let Ok(list) = serde_json::from_slice(body) else {
        return;
    };
    if let Ok(tags) = tags(body) {
        let written: Vec<_> = tags.iter().map(|tag| Value::from(tag.as_str())).collect();
        assert_eq!(written, items(&list, "tags"));
    }
    if let Ok(names) = repositories(body) {
        let written: Vec<_> = names
            .iter()
            .map(|name| Value::from(name.as_str()))
            .collect();
        assert_eq!(written, items(&list, "repositories"));
    }
    if let Ok(descriptors) = referrers(body) {
        let items = items(&list, "manifests");
        assert_eq!(descriptors.len(), items.len());
        for (descriptor, item) in descriptors.iter().zip(items) {
            assert_eq!(Value::from(descriptor.digest.to_string()), item["digest"]);
            assert_eq!(Value::from(descriptor.size), item["size"]);
            let written = serde_json::to_vec(descriptor).unwrap();
            let again: Descriptor = serde_json::from_slice(&written).unwrap();
            assert_eq!(again, *descriptor);
        }
    }
});
