//! What is accepted, and how it reads.

use super::*;

#[test]
fn index_of_manifests_and_nested_indexes() {
    let nested = descriptor(MediaType::OCI_INDEX.as_str(), "nested");
    let mut document = index();
    document["manifests"].as_array_mut().unwrap().push(nested);
    let document = parse(&document).unwrap();
    assert_eq!(
        kinds(&document),
        [
            (ReferenceKind::Manifest, digest("child")),
            (ReferenceKind::Manifest, digest("nested")),
        ]
    );
    assert_eq!(document.index().unwrap().manifests().len(), 2);
    assert!(document.image().is_none());
}

#[test]
fn index_entry_that_is_no_manifest() {
    let cache = descriptor("application/vnd.buildkit.cacheconfig.v0", "cache");
    let document = parse(&edit(index(), "/manifests/0", cache)).unwrap();
    assert_eq!(kinds(&document), [(ReferenceKind::Other, digest("cache"))]);
}

#[test]
fn lists_that_are_empty_null_or_absent() {
    for layers in [Some(json!([])), Some(json!(null)), None] {
        let document = parse(&edit(image(), "/layers", layers)).unwrap();
        assert!(document.image().unwrap().layers().is_empty());
        assert_eq!(kinds(&document).len(), 1);
    }
    for manifests in [Some(json!([])), Some(json!(null)), None] {
        let document = parse(&edit(index(), "/manifests", manifests)).unwrap();
        assert!(document.index().unwrap().manifests().is_empty());
        assert!(document.references().is_empty());
    }
}

#[test]
fn optional_fields_that_are_null() {
    let mut document = image();
    for key in ["annotations", "artifactType", "subject"] {
        document[key] = json!(null);
    }
    for key in ["annotations", "artifactType", "data", "platform", "urls"] {
        document["config"][key] = json!(null);
    }
    let plain = parse(&image()).unwrap();
    let document = parse(&document).unwrap();
    assert_eq!(document.image(), plain.image());
    assert_eq!(document.references(), plain.references());
}

#[test]
fn artifact_without_layers() {
    let mut document = edit(image(), "/layers", json!([]));
    document["config"] = descriptor(OCI_EMPTY, "{}");
    document["artifactType"] = json!("application/vnd.example");
    let document = parse(&document).unwrap();
    assert_eq!(document.artifact_type(), Some("application/vnd.example"));
}

#[test]
fn subject_and_annotations_of_image_and_index() {
    let subject = descriptor(MediaType::OCI_MANIFEST.as_str(), "subject");
    for mut document in [image(), index()] {
        document["subject"] = subject.clone();
        document["annotations"] = json!({"org.example": "yes", "empty": ""});
        let document = parse(&document).unwrap();
        assert_eq!(document.subject().unwrap().digest, digest("subject"));
        assert_eq!(document.annotations().len(), 2);
        assert_eq!(document.annotations()["org.example"], "yes");
        let (typed, annotations) = match (document.image(), document.index()) {
            (Some(image), _) => (image.subject(), image.annotations()),
            (_, index) => (index.unwrap().subject(), index.unwrap().annotations()),
        };
        assert_eq!(typed.as_ref().unwrap().size(), 7);
        assert_eq!(annotations.as_ref().unwrap()["empty"], "");
    }
}

#[test]
fn data_that_is_the_content() {
    let mut document = image();
    document["config"] = descriptor(OCI_EMPTY, "{}");
    document["config"]["data"] = json!("e30=");
    let document = parse(&document).unwrap();
    let config = document.image().unwrap().config();
    assert_eq!(config.data().as_deref(), Some("e30="));
}

#[test]
fn non_distributable_layers_with_urls() {
    let mut layer = descriptor(FOREIGN_LAYER, "one");
    layer["urls"] = json!(["https://example.org/one"]);
    let document = parse(&edit(image(), "/layers/0", layer)).unwrap();
    let layer = &document.references()[1].descriptor;
    assert!(layer.media_type.is_non_distributable());
    let urls = document.image().unwrap().layers()[0].urls();
    assert_eq!(urls.as_ref().unwrap(), &["https://example.org/one"]);
}

#[test]
fn digests_of_sha512_beside_others() {
    let content = Algorithm::Sha512.digest(b"one");
    let document = parse(&edit(image(), "/layers/0/digest", json!(content))).unwrap();
    assert_eq!(document.references()[1].descriptor.digest, content);
    let typed = document.image().unwrap().layers()[0].digest();
    assert_eq!(typed.to_string(), content.to_string());
}

#[test]
fn platforms_of_windows_and_of_attestations() {
    let mut document = index();
    let mut attestation = document["manifests"][0].clone();
    document["manifests"][0]["platform"] = json!({
        "architecture": "amd64", "os": "windows", "os.version": "10.0.1", "os.features": ["win32k"],
    });
    attestation["platform"] = json!({"architecture": "unknown", "os": "unknown"});
    document["manifests"]
        .as_array_mut()
        .unwrap()
        .push(attestation);
    let document = parse(&document).unwrap();
    let platform = document.index().unwrap().manifests()[0].platform().as_ref();
    assert_eq!(platform.unwrap().os_version().as_deref(), Some("10.0.1"));
    assert_eq!(
        platform.unwrap().os_features().as_ref().unwrap(),
        &["win32k"]
    );
}

#[test]
fn platform_without_architecture() {
    let document = edit(index(), "/manifests/0/platform", json!({"os": "linux"}));
    let document = parse(&document).unwrap();
    let platform = document.index().unwrap().manifests()[0].platform().as_ref();
    assert_eq!(platform.unwrap().architecture().to_string(), "");
}

#[test]
fn docker_manifest_and_list_without_their_subject() {
    for (document, media_type) in [
        (image(), MediaType::DOCKER_MANIFEST),
        (index(), MediaType::DOCKER_LIST),
    ] {
        let mut document = edit(document, "/mediaType", json!(media_type));
        document["subject"] = descriptor(MediaType::OCI_MANIFEST.as_str(), "subject");
        let document = parse(&document).unwrap();
        assert_eq!(*document.media_type(), media_type);
        assert!(document.subject().is_none());
        let last = kinds(&document).pop().unwrap();
        assert_eq!(last, (ReferenceKind::Unknown, digest("subject")));
    }
}

#[test]
fn config_without_media_type_as_old_images_have() {
    for stated in [Some(json!("")), None] {
        let document = parse(&edit(image(), "/config/mediaType", stated)).unwrap();
        let config = &document.references()[0].descriptor;
        assert_eq!(config.media_type, MediaType::OCTET_STREAM);
        assert_eq!(document.artifact_type(), None);
    }
}

#[test]
fn helm_chart_without_media_type() {
    let mut document = edit(image(), "/mediaType", None);
    document["config"]["mediaType"] = json!("application/vnd.cncf.helm.config.v1+json");
    let document = parse(&document).unwrap();
    assert_eq!(*document.media_type(), MediaType::OCI_MANIFEST);
    let artifact_type = document.artifact_type();
    assert_eq!(
        artifact_type,
        Some("application/vnd.cncf.helm.config.v1+json")
    );
}

#[test]
fn large_manifest_of_annotations() {
    let value = "x".repeat(10_000);
    let mut document = image();
    for number in 0..390 {
        document["annotations"][format!("org.example.{number}")] = json!(value);
    }
    assert_eq!(parse(&document).unwrap().annotations().len(), 390);
}

#[test]
fn annotations_and_custom_fields_that_look_like_known_ones() {
    let mut document = image();
    document["annotations"] = json!({"Layers": "a", "layers": "b"});
    document["custom"] = json!({"Layers": [], "layers": {"Digest": 1, "size": -1.5e3}});
    document["config"]["org.example"] = json!([true, false, null, 1e300]);
    parse(&document).unwrap();
}

#[test]
fn artifact_type_of_an_image_is_its_own_or_the_type_of_its_config() {
    assert_eq!(parse(&image()).unwrap().artifact_type(), Some(OCI_CONFIG));
    let empty = edit(image(), "/artifactType", json!(""));
    assert_eq!(parse(&empty).unwrap().artifact_type(), Some(OCI_CONFIG));
    let own = edit(image(), "/artifactType", json!("a/b"));
    assert_eq!(parse(&own).unwrap().artifact_type(), Some("a/b"));
}

#[test]
fn artifact_type_of_an_index_is_its_own_or_none() {
    assert_eq!(parse(&index()).unwrap().artifact_type(), None);
    let own = edit(index(), "/artifactType", json!("a/b"));
    assert_eq!(parse(&own).unwrap().artifact_type(), Some("a/b"));
}
