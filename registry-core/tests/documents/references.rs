//! What a document refers to.

use super::*;

#[test]
fn are_listed_once_by_digest_and_kind() {
    let mut document = edit(image(), "/layers/1", descriptor(OCI_LAYER, "one"));
    let config = descriptor(OCI_LAYER, "config");
    document["layers"].as_array_mut().unwrap().push(config);
    assert_eq!(
        kinds(&parse(&document).unwrap()),
        [
            (ReferenceKind::Config, digest("config")),
            (ReferenceKind::Layer, digest("one")),
            (ReferenceKind::Layer, digest("config")),
        ]
    );
}

#[test]
fn to_a_layer_that_must_be_present_beat_others() {
    for [first, second] in [[FOREIGN_LAYER, OCI_LAYER], [OCI_LAYER, FOREIGN_LAYER]] {
        let mut document = edit(image(), "/layers/0", descriptor(first, "one"));
        document["layers"][1] = descriptor(second, "one");
        let document = parse(&document).unwrap();
        let layer = &document.references()[1].descriptor;
        assert_eq!(layer.media_type.as_str(), OCI_LAYER);
    }
}

#[test]
fn include_digests_wherever_they_stray() {
    let mut document = image();
    document["custom"] = json!([[{"a": {"digest": digest("deep")}}], "no:digest"]);
    document["byDigest"] = json!({digest("key").to_string(): 1});
    document[digest("top").to_string()] = json!(1);
    document["config"]["custom"] = json!(digest("in descriptor"));
    document["annotations"] = json!({"base": digest("in annotation")});
    document["layers"][0]["annotations"] = json!({"a": digest("in layer's annotation")});
    document["layers"][0]["platform"] = json!({"os": "a", "b": digest("in platform")});
    let strays: Vec<_> = parse(&document)
        .unwrap()
        .references()
        .iter()
        .filter(|reference| reference.kind == ReferenceKind::Unknown)
        .map(|reference| reference.descriptor.digest)
        .collect();
    let mut expected = [
        "deep",
        "key",
        "top",
        "in descriptor",
        "in annotation",
        "in layer's annotation",
        "in platform",
    ]
    .map(digest);
    expected.sort();
    assert_eq!(strays, expected);
}

#[test]
fn that_stray_are_not_repeated_unless_only_the_subject_is_meant() {
    let mut document = image();
    document["subject"] = descriptor(MediaType::OCI_MANIFEST.as_str(), "subject");
    document["custom"] = json!([digest("one"), digest("config"), digest("subject")]);
    let references = kinds(&parse(&document).unwrap());
    assert_eq!(references.len(), 5);
    assert_eq!(references[4], (ReferenceKind::Unknown, digest("subject")));
}

#[test]
fn carry_what_their_descriptor_says() {
    let mut document = index();
    document["manifests"][0]["artifactType"] = json!("application/vnd.example");
    document["manifests"][0]["annotations"] = json!({"a": "b"});
    let document = parse(&document).unwrap();
    let ManifestReference { descriptor, .. } = &document.references()[0];
    assert_eq!(descriptor.media_type, MediaType::OCI_MANIFEST);
    assert_eq!(descriptor.size, 5);
    assert_eq!(
        descriptor.artifact_type.as_deref(),
        Some("application/vnd.example")
    );
    assert_eq!(descriptor.annotations["a"], "b");
}
