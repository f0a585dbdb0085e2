//! A remote registry keeps the contract of `Registry`: the engine behind HTTP,
//! asked across the network.

#![allow(clippy::unwrap_used, reason = "these are tests")]

use registry_core::testkit::{ImageBuilder, trusted};
use registry_core::{Algorithm, ErrorKind, Precondition, Registry, registry_suite};
use registry_http::{RegistryService, RemoteRegistry, TestServer};
use registry_storage::Engine;

// A remote registry can't be told what the caller may see, so it doesn't look
// for blobs to mount from anywhere on behalf of somebody who sees a part.
registry_suite!(
    remote,
    {
        let service = RegistryService::new(Engine::memory()).catalog(true);
        let server = TestServer::with_service(service).await;
        (RemoteRegistry::new(&server.url()).unwrap(), server)
    },
    [
        blobs, catalog, deletions, denials, manifests, mounts, referrers, tags, uploads
    ]
);

#[tokio::test]
async fn a_server_that_is_gone_is_an_outage_and_not_absence() {
    let server = TestServer::start(Engine::memory()).await;
    let registry = RemoteRegistry::new(&server.url()).unwrap();
    drop(server);
    let latest = "latest".parse().unwrap();
    let error = registry
        .get_manifest(&trusted("team/app"), &latest)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
}

#[test]
fn addresses_that_are_none_of_a_registry_are_refused() {
    for address in [
        "",
        "registry.example",
        "ftp://registry.example",
        "https://user:secret@registry.example",
        "https://registry.example/?a=b",
        "https://registry.example/#a",
    ] {
        let error = RemoteRegistry::new(address).map(drop).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::RequestInvalid, "{address}");
    }
}

#[tokio::test]
async fn a_registry_may_be_behind_a_path() {
    let service = RegistryService::new(Engine::memory()).prefix("/images/");
    let server = TestServer::with_service(service).await;
    let address = format!("{}/images/", server.url());
    let registry = RemoteRegistry::new(&address).unwrap();
    let image = ImageBuilder::new("image").build();
    let access = trusted("team/app");
    image.push(&registry, &access, &["v1"]).await;
    let manifest = registry.get_manifest(&access, &"v1".parse().unwrap()).await;
    assert_eq!(manifest.unwrap().bytes, image.manifest().bytes);
}

#[tokio::test]
async fn a_condition_holds_for_a_tag_whatever_the_algorithm() {
    let server = TestServer::start(Engine::memory()).await;
    let registry = RemoteRegistry::new(&server.url()).unwrap();
    let access = trusted("team/app");
    let old = ImageBuilder::new("old").build();
    old.push(&registry, &access, &["v1"]).await;
    let new = ImageBuilder::new("new").build().named_by(Algorithm::Sha512);
    new.push(&registry, &access, &[]).await;

    let push = |condition| {
        let push = new.put(&["v1"]).with_precondition(condition);
        registry.put_manifest(&access, push)
    };
    let error = push(Precondition::Absent).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PreconditionFailed);
    let tag = "v1".parse().unwrap();
    let kept = registry.resolve(&access, &tag).await.unwrap();
    assert_eq!(kept.digest, old.manifest().digest);
    let expected = Precondition::Is(old.manifest().digest);
    push(expected).await.unwrap();
    let moved = registry.resolve(&access, &tag).await.unwrap();
    assert_eq!(moved.digest, new.manifest().digest);
}
