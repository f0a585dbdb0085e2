//! What several repositories have in common belongs to each of them alone.

use registry_core::Registry;
use registry_http::RegistryService;
use registry_storage::{
    Durability, Engine, EngineOptions, MemoryBlobs, MemoryMetadata, PullThrough,
};
use tempfile::TempDir;

use crate::exchange::send;
use crate::principals::{access_control, user};
use crate::world::{content, digest};

const INDEX: &str = "content-type: application/vnd.oci.image.index.v1+json";

fn service(registry: impl Registry) -> RegistryService {
    RegistryService::new(registry).access(access_control())
}

async fn ask(service: &RegistryService, method: &str, path: &str, who: &str) -> u16 {
    send(service, method, path, &user(who), "")
        .await
        .status
        .as_u16()
}

/// Pushes the same blob and the same manifest, tagged `v1`.
pub(crate) async fn fill(service: &RegistryService, name: &str) {
    let blob = digest("blob");
    let path = format!("/v2/{name}/blobs/uploads/?digest={blob}");
    let answer = send(service, "POST", &path, &user("root"), content("blob")).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    push(service, name, "v1", "image").await;
}

/// Pushes a manifest.
pub(crate) async fn push(service: &RegistryService, name: &str, tag: &str, what: &str) {
    let mut headers = user("root");
    headers.push(INDEX.to_owned());
    let path = format!("/v2/{name}/manifests/{tag}");
    let answer = send(service, "PUT", &path, &headers, content(what)).await;
    assert_eq!(answer.status, 201, "{answer:?}");
}

/// All the ways to ask for what is there.
pub(crate) fn ways(name: &str) -> Vec<(&'static str, String)> {
    let (image, blob) = (digest("image"), digest("blob"));
    let places = [
        "manifests/v1".to_owned(),
        format!("manifests/{image}"),
        format!("blobs/{blob}"),
    ];
    let methods = ["HEAD", "GET"];
    let both = |place: String| methods.map(|method| (method, format!("/v2/{name}/{place}")));
    places.into_iter().flat_map(both).collect()
}

/// Whoever may pull from one repository only, which has the same content as another one,
/// gets it there and never from the other one, whatever was cached for whom.
async fn asked_where_it_may_not(service: &RegistryService, secret: &str) {
    for _ in 0..2 {
        for (method, path) in ways(secret) {
            assert_eq!(ask(service, method, &path, "stranger").await, 403, "{path}");
        }
        for (method, path) in ways("elsewhere/there") {
            assert_eq!(ask(service, method, &path, "stranger").await, 200, "{path}");
            assert_eq!(ask(service, method, &path, "reader").await, 403, "{path}");
        }
        for (method, path) in ways(secret) {
            assert_eq!(ask(service, method, &path, "reader").await, 200, "{path}");
            assert_eq!(ask(service, method, &path, "stranger").await, 403, "{path}");
        }
        // It was never here, however often it is elsewhere.
        for (method, path) in ways("secret/never") {
            assert_eq!(ask(service, method, &path, "reader").await, 404, "{path}");
        }
    }
}

/// What is deleted in one is gone there, while it is in the other one.
async fn deleted_in_one(service: &RegistryService, asked: &RegistryService) {
    let (image, blob) = (digest("image"), digest("blob"));
    for what in [
        "manifests/v1",
        &format!("manifests/{image}"),
        &format!("blobs/{blob}"),
    ] {
        let path = format!("/v2/secret/there/{what}");
        assert_eq!(ask(service, "DELETE", &path, "root").await, 202, "{path}");
    }
    for _ in 0..2 {
        for (method, path) in ways("elsewhere/there") {
            assert_eq!(ask(asked, method, &path, "stranger").await, 200, "{path}");
        }
        for (method, path) in ways("secret/there") {
            for who in ["reader", "root"] {
                assert_eq!(ask(asked, method, &path, who).await, 404, "{path}");
            }
        }
    }
}

/// S-30.
#[tokio::test]
async fn s_30_the_same_content_elsewhere_opens_no_repository() {
    let directory = TempDir::new().unwrap();
    let files = Engine::open(directory.path()).await.unwrap();
    for engine in [Engine::memory(), files] {
        let service = service(engine);
        fill(&service, "secret/there").await;
        fill(&service, "elsewhere/there").await;
        asked_where_it_may_not(&service, "secret/there").await;
        deleted_in_one(&service, &service).await;
    }
}

/// S-30, where a cache is between: what it keeps for one repository is of that one.
#[tokio::test]
async fn s_30_what_is_cached_for_one_repository_opens_no_other() {
    let directory = TempDir::new().unwrap();
    let sparse = EngineOptions::default().sparse_manifests(true);
    let memory = Engine::builder(MemoryBlobs::new(), MemoryMetadata::new());
    let memory = memory.options(sparse.clone());
    let files = Engine::root(directory.path(), Durability::Full).await;
    let files = files.unwrap().options(sparse);
    for local in [memory.build(), files.build()] {
        let engine = Engine::memory();
        let upstream = service(engine.clone());
        fill(&upstream, "secret/there").await;
        fill(&upstream, "elsewhere/there").await;
        let cache = service(PullThrough::new(local, engine));
        asked_where_it_may_not(&cache, "secret/there").await;
    }
}
