//! Which type a document has.

use super::*;

#[test]
fn is_the_one_sent_then_the_one_stated_then_the_shape() {
    let untyped = edit(image(), "/mediaType", None).to_string();
    let sent = parse_text(&untyped, Some(MediaType::DOCKER_MANIFEST)).unwrap();
    assert_eq!(*sent.media_type(), MediaType::DOCKER_MANIFEST);
    let stated = edit(image(), "/mediaType", json!(MediaType::DOCKER_MANIFEST));
    let stated = parse(&stated).unwrap();
    assert_eq!(*stated.media_type(), MediaType::DOCKER_MANIFEST);
    let shape = parse_text(&untyped, None).unwrap();
    assert_eq!(*shape.media_type(), MediaType::OCI_MANIFEST);
    let empty = edit(index(), "/mediaType", json!(""));
    assert_eq!(*parse(&empty).unwrap().media_type(), MediaType::OCI_INDEX);
}

#[test]
fn sent_and_stated_must_agree() {
    refused(
        parse_text(&image().to_string(), Some(MediaType::DOCKER_MANIFEST)),
        "the manifest was sent as application/vnd.docker.distribution.manifest.v2+json but its \
         mediaType is application/vnd.oci.image.manifest.v1+json; make them equal",
    );
}

#[test]
fn and_shape_must_agree() {
    let untyped = |document| edit(document, "/mediaType", None).to_string();
    refused(
        parse_text(&untyped(image()), Some(MediaType::OCI_INDEX)),
        "the manifest is of type application/vnd.oci.image.index.v1+json, which has no \
         'config' and no 'layers'",
    );
    refused(
        parse_text(&untyped(index()), Some(MediaType::OCI_MANIFEST)),
        "the manifest is of type application/vnd.oci.image.manifest.v1+json, which has no \
         'manifests'",
    );
}

#[test]
fn must_be_told_if_the_shape_does_not() {
    refused(
        parse(&json!({"schemaVersion": 2})),
        "the manifest does not tell its type; send it as Content-Type",
    );
}

#[test]
fn others_are_refused_with_the_list_of_accepted_ones() {
    let artifact = "application/vnd.oci.artifact.manifest.v1+json";
    refused(
        parse_text("{}", Some(artifact.parse().unwrap())),
        "manifests of type application/vnd.oci.artifact.manifest.v1+json are not supported; \
         accepted are application/vnd.oci.image.manifest.v1+json, \
         application/vnd.oci.image.index.v1+json, \
         application/vnd.docker.distribution.manifest.v2+json and \
         application/vnd.docker.distribution.manifest.list.v2+json",
    );
}

#[test]
fn of_schema_1_is_refused() {
    let sentence = "manifests of schema 1 are not supported; push with a current client";
    for text in [
        json!({"schemaVersion": 1, "fsLayers": []}),
        json!({"schemaVersion": 1, "mediaType": MediaType::OCI_MANIFEST, "config": {}}),
        json!({"schemaVersion": 2, "config": {}, "fsLayers": null}),
        json!({"mediaType": "application/vnd.docker.distribution.manifest.v1+prettyjws"}),
        json!({"mediaType": "application/vnd.docker.distribution.manifest.v1+json"}),
    ] {
        refused(parse(&text), sentence);
    }
}
