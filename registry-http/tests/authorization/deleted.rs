//! What becomes of rights in a repository that was deleted behind what they are shown to.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use registry_auth::{AccessControl, TokenServer};
use registry_core::testkit::trusted;
use registry_core::{Management, Registry};
use registry_http::RegistryService;
use registry_storage::{Engine, EngineOptions, MemoryBlobs, MemoryMetadata, PullThrough};

use crate::exchange::send;
use crate::principals::{access_control, user};
use crate::shared::{fill, push, ways};
use crate::world::{bearer, digest};

fn guard() -> AccessControl {
    access_control().tokens(TokenServer::ephemeral().unwrap())
}

async fn ask(service: &RegistryService, method: &str, path: &str, headers: &[String]) -> u16 {
    let answer = send(service, method, path, headers, "").await;
    answer.status.as_u16()
}

/// S-30, where what a cache keeps is deleted in the registry behind it: no token from before
/// opens anything that is kept, and no tag leads there, also when there is another repository
/// of the name.
#[tokio::test]
async fn s_30_what_was_deleted_upstream_is_not_back_through_the_cache() {
    let engine = Engine::memory();
    let upstream = RegistryService::new(engine.clone()).access(guard());
    fill(&upstream, "secret/there").await;
    fill(&upstream, "elsewhere/there").await;
    let local = Engine::builder(MemoryBlobs::new(), MemoryMetadata::new())
        .options(EngineOptions::default().sparse_manifests(true))
        .build();
    let cache = RegistryService::new(PullThrough::new(local, engine.clone())).access(guard());
    let token = async |who: &str, name: &str| {
        bearer(&cache, &user(who), &[format!("repository:{name}:pull")]).await
    };
    let tag = async |tag: &str, headers: &[String]| {
        let path = format!("/v2/secret/there/manifests/{tag}");
        let head = ask(&cache, "HEAD", &path, headers).await;
        assert_eq!(ask(&cache, "GET", &path, headers).await, head, "{path}");
        head
    };
    let before = token("reader", "secret/there").await;
    let elsewhere = token("stranger", "elsewhere/there").await;
    for (method, path) in ways("secret/there") {
        assert_eq!(ask(&cache, method, &path, &before).await, 200, "{path}");
    }

    let deleted = engine.delete_repository(&trusted("secret/there")).await;
    deleted.unwrap();
    // What others pull meanwhile has the same digests.
    let others = async || {
        for (method, path) in ways("elsewhere/there") {
            assert_eq!(ask(&cache, method, &path, &elsewhere).await, 200, "{path}");
        }
    };
    let nobody_comes_in = async || {
        for (method, path) in ways("secret/there") {
            assert_eq!(ask(&cache, method, &path, &before).await, 401, "{path}");
            assert_eq!(ask(&cache, method, &path, &elsewhere).await, 403, "{path}");
            let stranger = user("stranger");
            assert_eq!(ask(&cache, method, &path, &stranger).await, 403, "{path}");
        }
    };
    let after = token("reader", "secret/there").await;
    for _ in 0..2 {
        nobody_comes_in().await;
        for who in [&after, &user("reader"), &user("root")] {
            assert_eq!(tag("v1", who).await, 404);
            let tags = "/v2/secret/there/tags/list";
            assert_eq!(ask(&cache, "GET", tags, who).await, 404);
        }
        assert_eq!(tag("v1", &before).await, 401);
        others().await;
    }

    push(&upstream, "secret/there", "v2", "other").await;
    let new = digest("other");
    for _ in 0..2 {
        nobody_comes_in().await;
        for who in [
            &after,
            &user("reader"),
            &token("reader", "secret/there").await,
        ] {
            assert_eq!(tag("v1", who).await, 404);
            assert_eq!(tag("v2", who).await, 200);
            assert_eq!(tag(&new, who).await, 200);
        }
        for kept in ["v2", &new] {
            assert_eq!(tag(kept, &before).await, 401);
            assert_eq!(tag(kept, &elsewhere).await, 403);
        }
        others().await;
    }
}

/// A registry that tells nothing of its repositories.
#[derive(Debug)]
struct Silent;

impl Registry for Silent {}

/// What is logged by this thread.
#[derive(Debug, Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(text)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Whoever serves a registry for which tokens are for names is told so at the start.
#[test]
fn that_tokens_are_for_names_alone_is_warned_of() {
    let told = |service: &dyn Fn() -> RegistryService| {
        let log = Log::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::WARN)
            .with_writer(move || writer.clone());
        tracing::subscriber::with_default(subscriber.finish(), service);
        let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
        text.matches("give the access control its epochs").count()
    };
    let over = |access: AccessControl| RegistryService::new(Silent).access(access);
    assert_eq!(told(&|| over(guard())), 1);
    // Without tokens there are none that could outlive anything.
    assert_eq!(told(&|| over(access_control())), 0);
    let beside = Engine::memory();
    let epochs = || Arc::new(beside.clone());
    assert_eq!(told(&|| over(guard().epochs(epochs()))), 0);
    assert_eq!(
        told(&|| RegistryService::new(Engine::memory()).access(guard())),
        0
    );
    let cached = || PullThrough::new(Engine::memory(), Silent);
    assert_eq!(told(&|| RegistryService::new(cached()).access(guard())), 0);
    let cached = || PullThrough::new(Arc::new(Silent), Silent);
    assert_eq!(told(&|| RegistryService::new(cached()).access(guard())), 1);
}
