//! A registry with repositories in every state.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use registry_auth::{GuardLimits, TokenServer};
use registry_core::testkit::trusted;
use registry_core::{
    Algorithm, Chunk, Clock, Management, ManifestRules, PutManifest, Reference, Registry,
    SystemClock, UploadId, UploadOptions,
};
use registry_http::RegistryService;
use registry_storage::{Engine, MemoryBlobs, MemoryMetadata};

use crate::exchange::{Answer, send};
use crate::principals::{Given, HOLDERS, Somebody, Token, access_control};

/// The repositories that somebody may ask about, and whether they are there.
/// Names of one kind are of one length, which shows in the length of answers.
pub(crate) const REPOSITORIES: &[(&str, bool)] = &[
    ("open/there", true),
    ("open/absent", false),
    ("secret/there", true),
    // It never was.
    ("secret/never", false),
    // It was.
    ("secret/ended", false),
    // It was, and another one is.
    ("secret/again", true),
    ("kept/there", true),
];

/// What only those see who see everything.
pub(crate) const VAULT: &str = "vault/there";

const IMAGE: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// What clients are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Logins {
    Passwords,
    /// Tokens, which are given out for passwords.
    Tokens,
}

/// The machine's clock, so many hours behind.
#[derive(Debug, Clone, Default)]
struct Behind(Arc<AtomicU64>);

impl Clock for Behind {
    fn now(&self) -> SystemTime {
        let hours = self.0.load(Ordering::SeqCst);
        SystemClock.now() - Duration::from_hours(hours)
    }
}

/// A registry, and what is in it.
pub(crate) struct World {
    pub(crate) service: RegistryService,
    /// Another registry, with the same users and names.
    other: RegistryService,
    clock: Behind,
    /// The headers of those who have tokens.
    held: Mutex<BTreeMap<(&'static str, Token), Vec<String>>>,
    pub(crate) engine: Engine,
    metadata: Arc<MemoryMetadata>,
    blobs: MemoryBlobs,
    /// The open upload of each repository.
    uploads: BTreeMap<&'static str, UploadId>,
}

impl World {
    pub(crate) async fn new(logins: Logins) -> Self {
        let metadata = Arc::new(MemoryMetadata::new());
        let blobs = MemoryBlobs::new();
        let engine = Engine::builder(blobs.clone(), Arc::clone(&metadata)).build();
        let clock = Behind::default();
        let service = || {
            // Somebody guesses passwords all the time here.
            let access = access_control()
                .guard(GuardLimits::NONE)
                .epochs(engine.clone())
                .clock(clock.clone());
            let access = match logins {
                Logins::Passwords => access,
                Logins::Tokens => access.tokens(TokenServer::ephemeral().unwrap()),
            };
            RegistryService::new(engine.clone())
                .catalog(true)
                .access(access)
        };
        let mut world = Self {
            service: service(),
            other: service(),
            clock: clock.clone(),
            held: Mutex::default(),
            engine,
            metadata,
            blobs,
            uploads: BTreeMap::new(),
        };
        world.put_blob(VAULT, "hidden").await;
        if logins == Logins::Tokens {
            for holder in HOLDERS {
                if holder
                    .token
                    .is_some_and(|token| token.given == Given::Before)
                {
                    world.headers(holder).await;
                }
            }
        }
        for name in ["secret/ended", "secret/again"] {
            world.fill(name).await;
            let access = trusted(name);
            world.engine.delete_repository(&access).await.unwrap();
        }
        for (name, is_there) in REPOSITORIES {
            if *is_there {
                world.fill(name).await;
            }
        }
        world
    }

    /// What somebody shows, which is a token if it has one.
    pub(crate) async fn headers(&self, who: &Somebody) -> Vec<String> {
        let Some(token) = who.token else {
            return who.shown();
        };
        let shown = who.shown();
        let key = (shown.first().map_or("", |_| who.name), token);
        if let Some(headers) = self.held.lock().unwrap().get(&key) {
            return headers.clone();
        }
        let names = REPOSITORIES.iter().map(|(name, _)| *name).chain([VAULT]);
        let mut scopes: Vec<_> = names
            .filter(|name| name.starts_with(token.below))
            .map(|name| format!("repository:{name}:{}", token.words))
            .collect();
        if token.registry {
            scopes.push("registry:catalog:*".to_owned());
            scopes.push("registry:mount:pull".to_owned());
        }
        let service = match token.given {
            Given::Elsewhere => &self.other,
            _ => &self.service,
        };
        let hours = if token.given == Given::LongAgo { 2 } else { 0 };
        self.clock.0.store(hours, Ordering::SeqCst);
        let headers = bearer(service, &shown, &scopes).await;
        self.clock.0.store(0, Ordering::SeqCst);
        self.held.lock().unwrap().insert(key, headers.clone());
        headers
    }

    async fn fill(&mut self, name: &'static str) {
        self.put_blob(name, "blob").await;
        let tags = ["v1", "latest", "keep"];
        self.put_manifest(name, content("image"), &tags).await;
        let about = index("referrer", Some("image"));
        self.put_manifest(name, about.into(), &[]).await;
        let access = trusted(name);
        let upload = self.engine.begin_upload(&access, UploadOptions::default());
        let upload = upload.await.unwrap();
        let appended = self
            .engine
            .append_upload(&access, &upload.id, Chunk::from_bytes("some"));
        appended.await.unwrap();
        self.uploads.insert(name, upload.id);
    }

    pub(crate) async fn put_blob(&self, name: &str, what: &str) {
        let access = trusted(name);
        let upload = self.engine.begin_upload(&access, UploadOptions::default());
        let upload = upload.await.unwrap();
        let digest = Algorithm::Sha256.digest(&content(what));
        let chunk = Some(Chunk::from_bytes(content(what)));
        let finished = self
            .engine
            .finish_upload(&access, &upload.id, &digest, chunk);
        finished.await.unwrap();
    }

    async fn put_manifest(&self, name: &str, bytes: Bytes, tags: &[&str]) {
        let reference = Reference::Digest(Algorithm::Sha256.digest(&bytes));
        let rules = ManifestRules::default();
        let media_type = Some(INDEX.parse().unwrap());
        let push = PutManifest::new(reference, media_type, bytes, &rules).unwrap();
        let tags = tags.iter().map(|tag| tag.parse().unwrap());
        let push = push.with_tags(tags).unwrap();
        let access = trusted(name);
        self.engine.put_manifest(&access, push).await.unwrap();
    }

    /// Everything that there is.
    pub(crate) fn state(&self) -> String {
        format!("{:?} {:?}", self.metadata, self.blobs)
    }

    /// The upload that is open in a repository, or one that never was.
    pub(crate) fn upload(&self, name: &str) -> UploadId {
        let never = UploadId::from_random([7; 16]);
        self.uploads.get(name).copied().unwrap_or(never)
    }

    /// A path with its places filled in. `name` is where the repository's name
    /// belongs, `spelled` what is to be there.
    pub(crate) fn path(&self, template: &str, name: &str, spelled: &str) -> String {
        let (path, query) = template.split_once('?').unwrap_or((template, ""));
        let mark = if query.is_empty() { "" } else { "?" };
        let query = query.replace("{name}", name);
        let mut path = format!("{}{mark}{query}", path.replace("{name}", spelled));
        for what in ["blob", "hidden", "image", "other", "new", "whole"] {
            let place = format!("{{{what}}}");
            if path.contains(&place) {
                path = path.replace(&place, &digest(what));
            }
        }
        path.replace("{upload}", &self.upload(name).to_string())
    }

    pub(crate) async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[String],
        what: &str,
    ) -> Answer {
        let mut headers = headers.to_vec();
        if path.contains("/manifests/") && method == "PUT" {
            let media_type = if what == "refers" { IMAGE } else { INDEX };
            headers.push(format!("content-type: {media_type}"));
        }
        send(&self.service, method, path, &headers, content(what)).await
    }
}

/// What is called so here.
pub(crate) fn content(what: &str) -> Bytes {
    match what {
        "image" | "other" => index(what, None).into(),
        "whole" => "somemore".into(),
        "refers" => refers("hidden").into(),
        _ => what.to_owned().into(),
    }
}

pub(crate) fn digest(what: &str) -> String {
    Algorithm::Sha256.digest(&content(what)).to_string()
}

/// An index without entries, about `subject`.
fn index(note: &str, subject: Option<&str>) -> String {
    let subject = subject.map_or(String::new(), |subject| {
        let digest = digest(subject);
        format!(r#""subject":{{"mediaType":"{INDEX}","digest":"{digest}","size":9}},"#)
    });
    format!(
        r#"{{"schemaVersion":2,"mediaType":"{INDEX}","manifests":[],{subject}"annotations":{{"note":"{note}"}}}}"#
    )
}

/// A manifest that names content as its layer.
fn refers(layer: &str) -> String {
    let digest = digest(layer);
    let size = content(layer).len();
    let descriptor =
        format!(r#"{{"mediaType":"application/octet-stream","digest":"{digest}","size":{size}}}"#);
    format!(
        r#"{{"schemaVersion":2,"mediaType":"{IMAGE}","config":{descriptor},"layers":[{descriptor}]}}"#
    )
}

/// The headers of whoever shows a token for `scopes`, for which it showed
/// `headers`.
pub(crate) async fn bearer(
    service: &RegistryService,
    headers: &[String],
    scopes: &[String],
) -> Vec<String> {
    let scopes: Vec<_> = scopes
        .iter()
        .map(|scope| format!("scope={scope}"))
        .collect();
    let path = format!("/v2/token?{}", scopes.join("&"));
    let answer = send(service, "GET", &path, headers, "").await;
    assert_eq!(answer.status, 200, "{headers:?}: {answer:?}");
    let document: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
    let token = document["token"].as_str().unwrap();
    vec![format!("authorization: Bearer {token}")]
}
