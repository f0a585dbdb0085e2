//! Whole sets of content, as the conformance suite pushes, lists, pulls and deletes them.

use serde_json::json;

use crate::content::{
    CONFIG, DOCKER_IMAGE, DOCKER_LIST, Document, EMPTY, IMAGE, LAYER, bytes, descriptor, sha256,
    sha512,
};
use crate::data_set::DataSet;
use crate::served::Served;

promises!(
    image,
    uncompressed_image,
    large_manifest,
    index,
    nested_index,
    empty_index,
    artifact,
    artifact_index,
    artifact_without_layers,
    artifacts_with_subject,
    index_with_subject,
    missing_subject,
    data_field,
    non_distributable_layers,
    custom_fields,
    no_layers,
    sha512_throughout,
    tags_of_a_sha512_manifest,
    docker_image,
    cache_of_buildkit,
);

async fn image(served: &Served) {
    let mut set = DataSet::new(sha256);
    let image = set.image("amd64");
    set.tagged(image, &["latest", "v1"])
        .round_trip(served)
        .await;
}

async fn uncompressed_image(served: &Served) {
    let mut set = DataSet::new(sha256);
    let layer = set.blob("application/vnd.oci.image.layer.v1.tar", bytes("tar", 1024));
    let image = set.image("amd64").and(json!({"layers": [layer]}));
    set.tagged(image, &["tar"]).round_trip(served).await;
}

async fn large_manifest(served: &Served) {
    let mut set = DataSet::new(sha256);
    let annotations: serde_json::Map<_, _> = (0..390)
        .map(|number| (format!("org.example.{number}"), "x".repeat(10_000).into()))
        .collect();
    let image = set.image("amd64").and(json!({"annotations": annotations}));
    set.tagged(image, &["large"]).round_trip(served).await;
}

fn indexed(set: &mut DataSet) -> Document {
    let children = ["amd64", "arm64"].map(|platform| {
        let image = set.image(platform);
        let mut child = set.manifest(image);
        child["platform"] = json!({"architecture": platform, "os": "linux"});
        child
    });
    Document::index(children.to_vec())
}

async fn index(served: &Served) {
    let mut set = DataSet::new(sha256);
    let index = indexed(&mut set);
    set.tagged(index, &["index", "a", "b", "c"])
        .round_trip(served)
        .await;
}

async fn nested_index(served: &Served) {
    let mut set = DataSet::new(sha256);
    let inner = indexed(&mut set);
    let inner = set.manifest(inner);
    let outer = Document::index(vec![inner]);
    set.tagged(outer, &["nested"]).round_trip(served).await;
}

async fn empty_index(served: &Served) {
    let set = DataSet::new(sha256);
    let index = Document::index(Vec::new());
    set.tagged(index, &["empty"]).round_trip(served).await;
}

async fn artifact(served: &Served) {
    let mut set = DataSet::new(sha256);
    let artifact = set.artifact("chart");
    set.tagged(artifact, &["artifact"]).round_trip(served).await;
}

async fn artifact_index(served: &Served) {
    let mut set = DataSet::new(sha256);
    let children = ["one", "two"].map(|name| {
        let artifact = set.artifact(name);
        set.manifest(artifact)
    });
    let index = Document::index(children.to_vec())
        .and(json!({"artifactType": "application/vnd.example.collection"}));
    set.tagged(index, &["artifacts"]).round_trip(served).await;
}

async fn artifact_without_layers(served: &Served) {
    let mut set = DataSet::new(sha256);
    let empty = set.blob(EMPTY, "{}");
    let artifact = Document::image(empty.clone(), vec![empty])
        .and(json!({"artifactType": "application/vnd.example.note"}));
    set.tagged(artifact, &["note"]).round_trip(served).await;
}

async fn artifacts_with_subject(served: &Served) {
    let mut set = DataSet::new(sha256);
    let image = set.image("amd64");
    let subject = json!({"subject": image.descriptor(sha256)});
    let mut set = set.tagged(image, &["subject"]);
    for name in ["signature", "sbom"] {
        let artifact = set.artifact(name).and(subject.clone());
        set.manifest(artifact);
    }
    let other = set.image("arm64").and(subject);
    set.manifest(other);
    set.round_trip(served).await;
}

async fn index_with_subject(served: &Served) {
    let mut set = DataSet::new(sha256);
    let image = set.image("amd64");
    let subject = json!({"subject": set.manifest(image)});
    let children = ["signature", "sbom"].map(|name| {
        let child = set.artifact(name).and(subject.clone());
        set.manifest(child)
    });
    let index = Document::index(children.to_vec())
        .and(subject)
        .and(json!({"artifactType": "application/vnd.example.collection"}));
    set.tagged(index, &["about"]).round_trip(served).await;
}

async fn missing_subject(served: &Served) {
    let mut set = DataSet::new(sha256);
    let missing = descriptor(IMAGE, b"never pushed", sha256);
    let artifact = set.artifact("orphan").and(json!({"subject": missing}));
    set.tagged(artifact, &["orphan"]).round_trip(served).await;
}

async fn data_field(served: &Served) {
    let mut set = DataSet::new(sha256);
    let mut empty = set.blob(EMPTY, "{}");
    empty["data"] = json!("e30=");
    let artifact = set.artifact("inline").and(json!({"config": empty}));
    set.tagged(artifact, &["inline"]).round_trip(served).await;
}

async fn non_distributable_layers(served: &Served) {
    let mut set = DataSet::new(sha256);
    let layers = ["", "+gzip"].map(|suffix| {
        let media_type = format!("application/vnd.oci.image.layer.nondistributable.v1.tar{suffix}");
        let mut layer = descriptor(&media_type, suffix.as_bytes(), sha256);
        layer["urls"] = json!(["https://layers.example/layer"]);
        layer
    });
    let image = set.image("amd64").and(json!({"layers": layers}));
    set.tagged(image, &["foreign"]).round_trip(served).await;
}

async fn custom_fields(served: &Served) {
    let mut set = DataSet::new(sha256);
    let custom = json!({"org.example.custom": {"a": [1, null, {"b": "c"}]}, "x": 1.5});
    let image = set.image("amd64").and(custom.clone());
    let mut child = set.manifest(image);
    child["org.example.custom"] = json!("in a descriptor");
    let index = Document::index(vec![child]).and(custom);
    set.tagged(index, &["custom"]).round_trip(served).await;
}

async fn no_layers(served: &Served) {
    let mut set = DataSet::new(sha256);
    let config = set.blob(CONFIG, "{}");
    let image = Document::image(config, Vec::new());
    set.tagged(image, &["bare"]).round_trip(served).await;
}

async fn sha512_throughout(served: &Served) {
    let mut set = DataSet::new(sha512);
    let index = indexed(&mut set);
    let subject = json!({"subject": set.manifest(index)});
    let about = set.artifact("signature").and(subject);
    set.manifest(about);
    set.round_trip(served).await;
}

async fn tags_of_a_sha512_manifest(served: &Served) {
    let mut set = DataSet::new(sha512);
    let image = set.image("amd64");
    set.tagged(image, &["a", "b"]).round_trip(served).await;
}

async fn docker_image(served: &Served) {
    let mut set = DataSet::new(sha256);
    let layer = "application/vnd.docker.image.rootfs.diff.tar.gzip";
    let layer = set.blob(layer, bytes("docker", 900));
    let foreign = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";
    let mut foreign = descriptor(foreign, b"windows", sha256);
    foreign["urls"] = json!(["https://layers.example/windows"]);
    let config = set.blob("application/vnd.docker.container.image.v1+json", "{}");
    let media_type = DOCKER_IMAGE;
    let image = Document::new(
        media_type,
        &json!({"schemaVersion": 2, "mediaType": media_type, "config": config, "layers": [layer, foreign]}),
    );
    let mut child = set.manifest(image);
    child["platform"] = json!({"architecture": "amd64", "os": "windows"});
    let media_type = DOCKER_LIST;
    let list = Document::new(
        media_type,
        &json!({"schemaVersion": 2, "mediaType": media_type, "manifests": [child]}),
    );
    set.tagged(list, &["docker"]).round_trip(served).await;
}

/// Its index names blobs instead of manifests.
async fn cache_of_buildkit(served: &Served) {
    let mut set = DataSet::new(sha256);
    let layer = set.blob(LAYER, bytes("cached", 700));
    let config = set.blob("application/vnd.buildkit.cacheconfig.v0", "{\"layers\":[]}");
    let index = Document::index(vec![layer, config]);
    set.tagged(index, &["cache"]).round_trip(served).await;
}

/// Manifests whose content isn't there: only for registries that are told to accept them.
async fn sparse(served: &Served) {
    let mut set = DataSet::new(sha256);
    let mut index = indexed(&mut set).json()["manifests"].take();
    let present = set.artifact("present");
    index.as_array_mut().unwrap().push(set.manifest(present));
    // The first image misses a layer, the second is missing itself.
    set.blobs.remove(0);
    set.manifests.remove(1);
    let index = Document::index(index.as_array().unwrap().clone());
    set.tagged(index, &["sparse"]).round_trip(served).await;
}

#[tokio::test]
async fn sparse_in_memory() {
    sparse(&Served::sparse_in_memory().await).await;
}

#[tokio::test]
async fn sparse_in_a_directory() {
    sparse(&Served::sparse_in_a_directory().await).await;
}

#[tokio::test]
async fn sparse_by_the_program() {
    sparse(&Served::sparse_by_the_program()).await;
}
