//! A token dies with its repository, also where that is deleted after the last decision
//! and before the change.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::Method;
use registry_auth::{AccessControl, Rules, TokenServer};
use registry_core::testkit::{ImageBuilder, Package, push_blob, trusted};
use registry_core::{
    Access, CatalogAccess, Chunk, Damage, Deletion, Descriptor, Digest, Management, MountSource,
    Page, PageRequest, Pushed, PutManifest, Reference, Registry, RepositoryName, Result, Upload,
    UploadId, UploadOptions, Usage,
};
use registry_http::{Administration, RegistryService};
use registry_storage::Engine;

use crate::exchange::{Answer, call, request, send, sha256, whole};
use crate::management::People;

const NAME: &str = "team/app";

/// An engine, to which somebody else comes first: before a change reaches it, the
/// repository is deleted, and another one with the same content is created.
#[derive(Debug, Clone)]
struct Overtaken {
    engine: Engine,
    overtake: Arc<AtomicBool>,
}

impl Overtaken {
    async fn engine(&self) -> &Engine {
        if self.overtake.swap(false, Ordering::SeqCst) {
            let access = trusted(NAME);
            self.engine.delete_repository(&access).await.unwrap();
            furnish(&self.engine).await;
        }
        &self.engine
    }
}

#[async_trait]
impl Registry for Overtaken {
    async fn mount_blob(
        &self,
        access: &Access,
        digest: &Digest,
        source: MountSource<'_>,
    ) -> Result<Option<Descriptor>> {
        let engine: &dyn Registry = self.engine().await;
        engine.mount_blob(access, digest, source).await
    }

    async fn begin_upload(&self, access: &Access, options: UploadOptions) -> Result<Upload> {
        let engine: &dyn Registry = self.engine().await;
        engine.begin_upload(access, options).await
    }

    async fn finish_upload(
        &self,
        access: &Access,
        id: &UploadId,
        digest: &Digest,
        last: Option<Chunk>,
    ) -> Result<Descriptor> {
        let engine: &dyn Registry = self.engine().await;
        engine.finish_upload(access, id, digest, last).await
    }

    async fn cancel_upload(&self, access: &Access, id: &UploadId) -> Result<()> {
        let engine: &dyn Registry = self.engine().await;
        engine.cancel_upload(access, id).await
    }

    async fn resolve(&self, access: &Access, reference: &Reference) -> Result<Descriptor> {
        let engine: &dyn Registry = self.engine().await;
        engine.resolve(access, reference).await
    }

    async fn put_manifest(&self, access: &Access, push: PutManifest) -> Result<Pushed> {
        let engine: &dyn Registry = self.engine().await;
        engine.put_manifest(access, push).await
    }

    async fn delete(&self, access: &Access, what: Deletion) -> Result<()> {
        let engine: &dyn Registry = self.engine().await;
        engine.delete(access, what).await
    }
}

#[async_trait]
impl Management for Overtaken {
    async fn usage(&self, access: &CatalogAccess, of: Option<&RepositoryName>) -> Result<Usage> {
        self.engine.usage(access, of).await
    }

    async fn delete_repository(&self, access: &Access) -> Result<()> {
        self.engine().await.delete_repository(access).await
    }

    async fn verify(&self, access: &CatalogAccess, page: PageRequest) -> Result<Page<Damage>> {
        self.engine.verify(access, page).await
    }
}

/// An image, and a blob.
async fn furnish(engine: &Engine) -> Package {
    let access = trusted(NAME);
    let image = ImageBuilder::new("image").build();
    image.push(engine, &access, &["latest"]).await;
    push_blob(engine, &access, &Bytes::from_static(b"alone")).await;
    image
}

struct Scene {
    service: RegistryService,
    engine: Engine,
    overtake: Arc<AtomicBool>,
    image: Package,
}

impl Scene {
    async fn new() -> Self {
        let engine = Engine::memory();
        let image = furnish(&engine).await;
        push_blob(
            &engine,
            &trusted("team/source"),
            &Bytes::from_static(b"foreign"),
        )
        .await;
        let registry = Overtaken {
            engine: engine.clone(),
            overtake: Arc::default(),
        };
        let rules = Rules::new().sentence("user root is admin of **");
        let access = AccessControl::new(rules.check().unwrap())
            .authenticator(People)
            .tokens(TokenServer::ephemeral().unwrap())
            .epochs(engine.clone());
        let overtake = Arc::clone(&registry.overtake);
        let administration = Administration::new().registry(registry.clone());
        Self {
            service: RegistryService::new(registry)
                .access(access)
                .management(administration),
            engine,
            overtake,
            image,
        }
    }

    fn basic() -> String {
        format!("authorization: Basic {}", STANDARD.encode("root:right"))
    }

    async fn token(&self) -> String {
        let scope = format!("scope=repository:{NAME}:*&scope=repository:team/source:pull");
        let uri = format!("/v2/token?service=registry&{scope}");
        let answer = call(&self.service, Method::GET, &uri, &[&Self::basic()]).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        format!(
            "authorization: Bearer {}",
            answer.json()["token"].as_str().unwrap()
        )
    }

    async fn ask(&self, (method, path, body): &Change, who: &str) -> Answer {
        let kind = format!("content-type: {}", self.image.manifest().media_type);
        let body = whole(body.clone());
        send(&self.service, request(method, path, &[who, &kind], body)).await
    }

    /// Everything that changes a repository at once.
    fn changes(&self) -> Vec<(Change, u16)> {
        let (manifest, none) = (self.image.manifest(), Vec::new);
        let (new, foreign) = (sha256("new"), sha256("foreign"));
        let change = |method, path: String, body| (method, format!("/v2/{NAME}/{path}"), body);
        let bytes = manifest.bytes.to_vec();
        vec![
            (
                change(Method::PUT, "manifests/new".into(), bytes.clone()),
                201,
            ),
            (
                change(Method::PUT, format!("manifests/{}", manifest.digest), bytes),
                201,
            ),
            (
                change(
                    Method::POST,
                    format!("blobs/uploads/?digest={new}"),
                    b"new".to_vec(),
                ),
                201,
            ),
            (change(Method::POST, "blobs/uploads/".into(), none()), 202),
            (
                change(
                    Method::POST,
                    format!("blobs/uploads/?mount={foreign}&from=team/source"),
                    none(),
                ),
                201,
            ),
            (
                change(Method::DELETE, format!("blobs/{}", sha256("alone")), none()),
                202,
            ),
            (
                change(Method::DELETE, "manifests/latest".into(), none()),
                202,
            ),
            (
                change(
                    Method::DELETE,
                    format!("manifests/{}", manifest.digest),
                    none(),
                ),
                202,
            ),
            (
                (
                    Method::DELETE,
                    format!("/api/v1/repositories/{NAME}"),
                    none(),
                ),
                204,
            ),
        ]
    }

    /// That the repository is as it was made.
    async fn is_untouched(&self) -> bool {
        let access = trusted(NAME);
        let registry: &dyn Registry = &self.engine;
        let tags = registry.tags(&access, PageRequest::default()).await;
        let tags = tags.unwrap().items;
        let has = async |content: &str| {
            let found = registry.stat_blob(&access, &sha256(content)).await;
            found.is_ok()
        };
        tags.len() == 1 && has("alone").await && !has("new").await && !has("foreign").await
    }
}

type Change = (Method, String, Vec<u8>);

#[tokio::test]
async fn a_token_changes_no_repository_that_overtook_its_request() {
    for number in 0.. {
        let scene = Scene::new().await;
        let Some((change, done)) = scene.changes().into_iter().nth(number) else {
            break;
        };
        let token = scene.token().await;
        scene.overtake.store(true, Ordering::SeqCst);
        let overtaken = scene.ask(&change, &token).await;
        assert!(!scene.overtake.load(Ordering::SeqCst), "{change:?}");
        // What it is told is what is told to a token that died before it asked.
        let late = scene.ask(&change, &token).await;
        for answer in [&overtaken, &late] {
            assert_eq!(answer.status, 401, "{change:?}: {answer:?}");
        }
        assert_eq!(overtaken.body, late.body, "{change:?}");
        let challenge = |answer: &Answer| answer.headers.get("www-authenticate").cloned();
        assert!(challenge(&overtaken).is_some(), "{change:?}");
        assert_eq!(challenge(&overtaken), challenge(&late), "{change:?}");
        assert!(scene.is_untouched().await, "{change:?}");

        // Another token is for the new one.
        let token = scene.token().await;
        let answer = scene.ask(&change, &token).await;
        assert_eq!(answer.status, done, "{change:?}: {answer:?}");
    }
}

#[tokio::test]
async fn who_logs_in_by_a_password_is_decided_by_the_name() {
    let scene = Scene::new().await;
    let changes = scene.changes();
    let (change, done) = &changes[0];
    scene.overtake.store(true, Ordering::SeqCst);
    let answer = scene.ask(change, &Scene::basic()).await;
    assert_eq!(answer.status, *done, "{answer:?}");
}

#[tokio::test]
async fn what_a_mount_comes_from_is_of_its_time_too() {
    let scene = Scene::new().await;
    let changes = scene.changes();
    let (mount, _) = &changes[4];
    let token = scene.token().await;
    let source = trusted("team/source");
    scene.engine.delete_repository(&source).await.unwrap();
    push_blob(&scene.engine, &source, &Bytes::from_static(b"foreign")).await;
    let answer = scene.ask(mount, &token).await;
    assert_eq!(answer.status, 401, "{answer:?}");
}
