//! A pull-through cache between two servers: what the one behind is asked, and
//! what is served when it is gone.

#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use registry_core::testkit::{ImageBuilder, Package, content, pull_blob, trusted};
use registry_core::{
    Algorithm, Deletion, Digest, Error, ErrorKind, PageRequest, Reference, ReferrerFilter,
    Registry, Result,
};
use registry_http::{Body, RegistryService, RemoteRegistry, TestServer};
use registry_storage::{Engine, EngineOptions, MemoryBlobs, MemoryMetadata, PullThrough};
use tokio::sync::watch;
use tower::ServiceExt;

/// How many clients come at the same time.
const CLIENTS: usize = 20;

/// The requests that reached a server, such as `HEAD /v2/team/app/manifests/v1`.
type Asked = watch::Sender<Vec<String>>;

/// A server that notes its requests, answers with `failing` unless that is 0,
/// and lets those that fetch something wait until it is `open`.
struct Observed {
    server: TestServer,
    client: RemoteRegistry,
    engine: Engine,
    asked: Asked,
    failing: Arc<AtomicU16>,
    open: watch::Sender<bool>,
}

impl Observed {
    async fn start(engine: Engine, registry: impl Registry) -> Self {
        let service = RegistryService::new(registry);
        let asked = Asked::default();
        let failing = Arc::new(AtomicU16::new(0));
        let open = watch::Sender::new(true);
        let shared = (asked.clone(), Arc::clone(&failing), open.clone());
        let observed = tower::service_fn(move |request: Request<Incoming>| {
            let service = service.clone();
            let (asked, failing, open) = shared.clone();
            async move {
                let line = format!("{} {}", request.method(), request.uri().path());
                asked.send_modify(|asked| asked.push(line));
                if request.method() == Method::GET {
                    let _ = open.subscribe().wait_for(|open| *open).await;
                }
                match StatusCode::from_u16(failing.load(Ordering::SeqCst)) {
                    Ok(status) => {
                        // As something in between does, which is no registry.
                        let page = format!("<html><h1>{status}</h1></html>");
                        let mut answer = Response::new(Body::from(Bytes::from(page)));
                        *answer.status_mut() = status;
                        Ok(answer)
                    }
                    Err(_) => service.oneshot(request).await,
                }
            }
        });
        let server = TestServer::with_service(observed).await;
        Self {
            client: RemoteRegistry::new(&server.url()).unwrap(),
            server,
            engine,
            asked,
            failing,
            open,
        }
    }

    fn client(&self) -> RemoteRegistry {
        self.client.clone()
    }

    /// What was asked so far, and isn't counted again.
    fn asked(&self) -> Vec<String> {
        self.asked.send_replace(Vec::new())
    }

    /// Waits until so many requests came.
    async fn is_asked(&self, count: usize) {
        let mut asked = self.asked.subscribe();
        asked.wait_for(|asked| asked.len() >= count).await.unwrap();
    }
}

/// A server with an image, and a cache before it, each reached across the
/// network.
async fn cache() -> (Observed, Observed, Package) {
    let image = ImageBuilder::new("image")
        .layer(content("a layer", 1 << 20))
        .build();
    let engine = Engine::memory();
    image.push(&engine, &trusted("team/app"), &["v1"]).await;
    let upstream = Observed::start(engine.clone(), engine).await;
    let local = Engine::builder(MemoryBlobs::new(), MemoryMetadata::default())
        .options(EngineOptions::default().sparse_manifests(true))
        .build();
    let layer = PullThrough::new(local.clone(), upstream.client());
    let cache = Observed::start(local, layer).await;
    (upstream, cache, image)
}

fn tag() -> Reference {
    "v1".parse().unwrap()
}

fn large_layer(image: &Package) -> Digest {
    Algorithm::Sha256.digest(image.blobs().last().unwrap())
}

async fn head(cache: &Observed) -> Result<Digest> {
    let found = cache.client().resolve(&trusted("team/app"), &tag()).await;
    found.map(|found| found.digest)
}

async fn get(cache: &Observed) -> Result<Digest> {
    let manifest = cache
        .client()
        .get_manifest(&trusted("team/app"), &tag())
        .await;
    manifest.map(|manifest| manifest.digest)
}

/// As Docker pulls: what the tag points to, and that by its digest.
async fn pull_as_docker_does(cache: &Observed, image: &Package) {
    let access = trusted("team/app");
    let digest = head(cache).await.unwrap();
    assert_eq!(digest, image.manifest().digest);
    let client = cache.client();
    let manifest = client.get_manifest(&access, &digest.into()).await.unwrap();
    assert_eq!(manifest.bytes, image.manifest().bytes);
    for content in image.blobs() {
        let digest = Algorithm::Sha256.digest(content);
        assert_eq!(pull_blob(&client, &access, &digest).await, content);
        while cache.engine.stat_blob(&access, &digest).await.is_err() {
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn a_tag_that_was_only_asked_about_is_there_while_the_upstream_is_away() {
    let (upstream, cache, image) = cache().await;
    pull_as_docker_does(&cache, &image).await;
    let digest = image.manifest().digest;
    let expected = [
        "HEAD /v2/team/app/manifests/v1".to_owned(),
        format!("GET /v2/team/app/manifests/{digest}"),
    ];
    let asked = upstream.asked();
    assert_eq!(asked[..2], expected);
    assert_eq!(asked.len(), 2 + image.blobs().len());

    // A tag that stayed where it was costs one question.
    pull_as_docker_does(&cache, &image).await;
    assert_eq!(upstream.asked(), expected[..1]);

    drop(upstream.server);
    pull_as_docker_does(&cache, &image).await;
    assert_eq!(get(&cache).await.unwrap(), digest);
}

#[tokio::test]
async fn a_failing_upstream_is_as_good_as_none() {
    let (upstream, cache, image) = cache().await;
    pull_as_docker_does(&cache, &image).await;
    for status in [404, 429, 500, 502, 503] {
        upstream.failing.store(status, Ordering::SeqCst);
        for _ in 0..2 {
            assert_eq!(head(&cache).await.unwrap(), image.manifest().digest);
            assert_eq!(get(&cache).await.unwrap(), image.manifest().digest);
        }
    }
    // What was never pulled isn't there, which says nothing about upstream.
    let other = "v2".parse().unwrap();
    let asked = cache.client().resolve(&trusted("team/app"), &other).await;
    assert_eq!(asked.unwrap_err().kind(), ErrorKind::Unavailable);
}

/// How the upstream answers while it is away; 200 is a page that says so.
const AWAY: [u16; 6] = [200, 404, 429, 500, 502, 503];

/// What is kept of a list that nobody saw whole isn't that list.
#[tokio::test]
async fn a_list_of_tags_is_all_that_the_upstream_has_or_none() {
    let (upstream, cache, image) = cache().await;
    let access = trusted("team/app");
    image.push(&upstream.engine, &access, &["v2"]).await;
    pull_as_docker_does(&cache, &image).await;
    let tags = || async { cache.client().tags(&access, PageRequest::default()).await };
    let both = ["v1".parse().unwrap(), "v2".parse().unwrap()];
    assert_eq!(tags().await.unwrap().items, both);
    for status in AWAY {
        upstream.failing.store(status, Ordering::SeqCst);
        let kind = tags().await.unwrap_err().kind();
        let expected = match status {
            429 => ErrorKind::TooManyRequests,
            _ => ErrorKind::Unavailable,
        };
        assert_eq!(kind, expected, "{status}");
    }
    drop(upstream.server);
    assert_eq!(tags().await.unwrap_err().kind(), ErrorKind::Unavailable);
}

#[tokio::test]
async fn that_the_upstream_is_away_does_not_mean_that_nothing_is_signed() {
    let (upstream, cache, image) = cache().await;
    let access = trusted("team/app");
    let signature = ImageBuilder::new("signature")
        .subject(image.descriptor())
        .artifact_type("application/x-signature")
        .build();
    signature.push(&upstream.engine, &access, &[]).await;
    let signed = [signature.manifest().digest];
    let referrers = |artifact_type: &str| {
        let filter = ReferrerFilter::default().artifact_types(vec![artifact_type.to_owned()]);
        let (client, subject) = (cache.client(), image.manifest().digest);
        async move {
            let access = trusted("team/app");
            let page = PageRequest::default();
            let listed = client.referrers(&access, &subject, filter, page).await?;
            Ok::<_, Error>(
                listed
                    .items
                    .iter()
                    .map(|item| item.digest)
                    .collect::<Vec<_>>(),
            )
        }
    };
    assert_eq!(referrers("application/x-signature").await.unwrap(), signed);
    assert_eq!(referrers("application/x-sbom").await.unwrap(), []);

    pull_as_docker_does(&cache, &image).await;
    for status in AWAY {
        upstream.failing.store(status, Ordering::SeqCst);
        referrers("application/x-signature").await.unwrap_err();
    }

    // Whoever checked the signature can check it again.
    upstream.failing.store(0, Ordering::SeqCst);
    let kept = cache
        .client()
        .get_manifest(&access, &signature.reference())
        .await;
    assert_eq!(kept.unwrap().bytes, signature.manifest().bytes);
    for status in AWAY {
        upstream.failing.store(status, Ordering::SeqCst);
        assert_eq!(
            referrers("application/x-signature").await.unwrap(),
            signed,
            "{status}"
        );
        referrers("application/x-sbom").await.unwrap_err();
    }
    drop(upstream.server);
    assert_eq!(referrers("application/x-signature").await.unwrap(), signed);
    let error = referrers("application/x-sbom").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
}

#[tokio::test]
async fn a_tag_that_moved_upstream_has_moved_for_whoever_asks() {
    let (upstream, cache, image) = cache().await;
    pull_as_docker_does(&cache, &image).await;
    let newer = ImageBuilder::new("newer").build();
    let access = trusted("team/app");
    newer.push(&upstream.engine, &access, &["v1"]).await;
    let digest = newer.manifest().digest;
    assert_eq!(head(&cache).await.unwrap(), digest);
    upstream.failing.store(503, Ordering::SeqCst);
    assert_eq!(head(&cache).await.unwrap(), digest);
    assert_eq!(get(&cache).await.unwrap(), digest);
}

#[tokio::test]
async fn a_tag_never_leads_to_a_manifest_that_is_not_there() {
    let (upstream, cache, image) = cache().await;
    pull_as_docker_does(&cache, &image).await;
    let newer = ImageBuilder::new("newer").build();
    let access = trusted("team/app");
    newer.push(&upstream.engine, &access, &["v1"]).await;
    // As a registry that counts fetches and not questions.
    upstream.open.send_replace(false);
    let head = tokio::spawn({
        let client = cache.client();
        async move { client.resolve(&trusted("team/app"), &tag()).await }
    });
    let mut asked = upstream.asked.subscribe();
    let fetch = format!("GET /v2/team/app/manifests/{}", newer.manifest().digest);
    asked.wait_for(|all| all.contains(&fetch)).await.unwrap();
    upstream.failing.store(429, Ordering::SeqCst);
    upstream.open.send_replace(true);
    assert_eq!(head.await.unwrap().unwrap().digest, image.manifest().digest);
    upstream.failing.store(0, Ordering::SeqCst);
    assert_eq!(get(&cache).await.unwrap(), newer.manifest().digest);
}

#[tokio::test]
async fn a_tag_that_was_deleted_upstream_is_never_served_again() {
    let (upstream, cache, image) = cache().await;
    pull_as_docker_does(&cache, &image).await;
    let deletion = Deletion::tag("v1".parse().unwrap());
    let access = trusted("team/app");
    upstream.engine.delete(&access, deletion).await.unwrap();
    for outcome in [head(&cache).await, get(&cache).await] {
        assert_eq!(outcome.unwrap_err().kind(), ErrorKind::ManifestUnknown);
    }
    // Nor when nobody is there to say so.
    drop(upstream.server);
    for outcome in [head(&cache).await, get(&cache).await] {
        assert_eq!(outcome.unwrap_err().kind(), ErrorKind::Unavailable);
    }
    // The manifest is what it always was.
    let by_digest = image.manifest().digest.into();
    let manifest = cache.client().get_manifest(&access, &by_digest).await;
    assert_eq!(manifest.unwrap().bytes, image.manifest().bytes);
}

#[tokio::test]
async fn many_who_pull_a_manifest_for_the_first_time_cause_one_fetch() {
    let (upstream, cache, image) = cache().await;
    upstream.open.send_replace(false);
    let digest = image.manifest().digest;
    let pulls: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let client = cache.client();
            tokio::spawn(async move {
                let access = trusted("team/app");
                client.get_manifest(&access, &digest.into()).await
            })
        })
        .collect();
    cache.is_asked(CLIENTS).await;
    upstream.is_asked(1).await;
    upstream.open.send_replace(true);
    for pull in pulls {
        assert_eq!(pull.await.unwrap().unwrap().bytes, image.manifest().bytes);
    }
    assert_eq!(upstream.asked().len(), 1);
}

#[tokio::test]
async fn many_who_pull_a_blob_for_the_first_time_cause_one_fetch() {
    let (upstream, cache, image) = cache().await;
    upstream.open.send_replace(false);
    let digest = large_layer(&image);
    let pulls: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let client = cache.client();
            tokio::spawn(async move { pull_blob(&client, &trusted("team/app"), &digest).await })
        })
        .collect();
    cache.is_asked(CLIENTS).await;
    upstream.is_asked(1).await;
    upstream.open.send_replace(true);
    for pull in pulls {
        assert_eq!(pull.await.unwrap(), image.blobs().last().unwrap());
    }
    assert_eq!(upstream.asked().len(), 1);
}

#[tokio::test]
async fn the_first_of_many_may_leave() {
    let (upstream, cache, image) = cache().await;
    upstream.open.send_replace(false);
    let digest = large_layer(&image);
    let pull = || {
        let client = cache.client();
        tokio::spawn(async move { pull_blob(&client, &trusted("team/app"), &digest).await })
    };
    let first = pull();
    upstream.is_asked(1).await;
    let others = [pull(), pull()];
    cache.is_asked(3).await;
    first.abort();
    assert!(first.await.is_err());
    // One of the others asks in its place.
    upstream.is_asked(2).await;
    upstream.open.send_replace(true);
    for pull in others {
        assert_eq!(pull.await.unwrap(), image.blobs().last().unwrap());
    }
    assert_eq!(upstream.asked().len(), 2);
}
