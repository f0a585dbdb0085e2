//! A cache before another registry: what is guarded elsewhere is guarded here.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use registry_core::Algorithm;
use registry_core::testkit::{ImageBuilder, content, trusted};
use registry_http::RegistryService;
use registry_http::registry_auth::{AccessControl, Login, MemoryRecords, Rules, TokenServer};
use registry_storage::{Engine, EngineOptions, MemoryBlobs, MemoryMetadata, PullThrough};

use crate::exchange::{Answer, call, request, send, whole};

struct Scene {
    service: RegistryService,
    /// The path of a blob.
    blob: String,
}

/// Tags `v1` and `v2` in `team/app`, of which nothing is cached yet.
async fn scene() -> Scene {
    let image = ImageBuilder::new("image")
        .layer(content("a layer", 1000))
        .build();
    let upstream = Engine::memory();
    let other = ImageBuilder::new("other").build();
    image.push(&upstream, &trusted("team/app"), &["v1"]).await;
    other.push(&upstream, &trusted("team/app"), &["v2"]).await;
    let local = Engine::builder(MemoryBlobs::new(), MemoryMetadata::default())
        .options(EngineOptions::default().sparse_manifests(true))
        .build();
    let rules = Rules::new()
        .sentence("user puller is reader of team/**")
        .sentence("user root is admin of **");
    let access = AccessControl::new(rules.check().unwrap())
        .authenticator(Login::new(|_, password| async move {
            password.matches("right")
        }))
        .tokens(
            TokenServer::ephemeral()
                .unwrap()
                .records(MemoryRecords::new()),
        );
    let digest = Algorithm::Sha256.digest(image.blobs().last().unwrap());
    Scene {
        service: RegistryService::new(PullThrough::new(local, upstream))
            .deletes(true)
            .access(access),
        blob: format!("/v2/team/app/blobs/{digest}"),
    }
}

fn basic(user: &str) -> String {
    let encoded = STANDARD.encode(format!("{user}:right"));
    format!("authorization: Basic {encoded}")
}

impl Scene {
    async fn ask(&self, who: &str, method: Method, path: &str) -> u16 {
        let headers: &[&str] = if who.is_empty() { &[] } else { &[who] };
        let answer: Answer = call(&self.service, method, path, headers).await;
        answer.status.as_u16()
    }

    /// The token that `user` gets for `scope`.
    async fn token(&self, user: &str, scope: &str) -> String {
        let uri = format!("/v2/token?{scope}");
        let answer = call(&self.service, Method::GET, &uri, &[&basic(user)]).await;
        answer.json()["token"].as_str().unwrap().to_owned()
    }
}

#[tokio::test]
async fn s_13_a_pull_through_the_cache_gives_nobody_any_right() {
    let scene = scene().await;
    let puller = basic("puller");
    for path in ["/v2/team/app/manifests/v1", &scene.blob] {
        assert_eq!(scene.ask("", Method::GET, path).await, 401);
        assert_eq!(scene.ask(&basic("stranger"), Method::GET, path).await, 403);
        assert_eq!(scene.ask(&puller, Method::GET, path).await, 200, "{path}");
        // Now that it is there, it is so for those who may pull it alone.
        assert_eq!(scene.ask("", Method::GET, path).await, 401);
        assert_eq!(scene.ask(&basic("stranger"), Method::GET, path).await, 403);
    }
    let mount = scene.blob.rsplit('/').next().unwrap();
    let mount = format!("/v2/team/new/blobs/uploads/?mount={mount}&from=team/app");
    for (method, path) in [
        (Method::POST, "/v2/team/app/blobs/uploads/"),
        (Method::POST, &mount),
        (Method::PUT, "/v2/team/app/manifests/v1"),
        (Method::PUT, "/v2/team/app/manifests/mine"),
        (Method::DELETE, "/v2/team/app/manifests/v1"),
        (Method::DELETE, &scene.blob),
    ] {
        assert_eq!(
            scene.ask(&puller, method.clone(), path).await,
            403,
            "{method} {path}"
        );
    }
    assert_eq!(
        scene
            .ask(&puller, Method::GET, "/v2/team/app/manifests/v1")
            .await,
        200
    );
}

#[tokio::test]
async fn s_14_no_ended_and_no_other_token_pulls_through_the_cache() {
    let scene = scene().await;
    let paths = [
        "/v2/team/app/manifests/v1",
        // This one is never cached here.
        "/v2/team/app/manifests/v2",
        &scene.blob,
        "/v2/team/app/tags/list",
    ];
    let token = scene
        .token("puller", "scope=repository:team/app:pull")
        .await;
    let bearer = format!("authorization: Bearer {token}");
    for path in [paths[0], paths[2]] {
        assert_eq!(scene.ask(&bearer, Method::GET, path).await, 200, "{path}");
    }
    let revoke = request(
        &Method::POST,
        "/v2/token/revoke",
        &["content-type: application/x-www-form-urlencoded"],
        whole(format!("token={token}")),
    );
    assert_eq!(send(&scene.service, revoke).await.status, 200);
    let mut refused = vec![bearer];
    for scope in [
        "",
        "scope=repository:team/other:pull",
        "scope=repository:team/app:push",
    ] {
        let token = scene.token("puller", scope).await;
        refused.push(format!("authorization: Bearer {token}"));
    }
    for bearer in refused {
        for path in paths {
            for method in [Method::GET, Method::HEAD] {
                let status = scene.ask(&bearer, method.clone(), path).await;
                assert_eq!(status, 401, "{method} {path}");
            }
        }
    }
}
