//! A registry with repositories in every state.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use registry_auth::{
    GuardLimits, Keys, MemoryRecords, NewKey, Principal, RobotChange, Secret, TokenServer,
};
use registry_core::testkit::{acting, trusted};
use registry_core::{
    Algorithm, Chunk, Clock, Management, ManifestRules, PageRequest, PutManifest, Records,
    Reference, Registry, Scopes, SystemClock, UploadId, UploadOptions,
};
use registry_http::{Administration, RegistryService};
use registry_storage::{
    Durability, Engine, EngineOptions, MemoryBlobs, MemoryMetadata, PullThrough,
};
use tempfile::TempDir;

use crate::exchange::{Answer, send};
use crate::identities::foreign;
use crate::model;
use crate::principals::{
    EVERYBODY, Given, HOLDERS, Shows, Somebody, Token, WRONG, Way, access_control, user,
};

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

/// Who has an upload in each repository, and is none of those who ask.
const SOMEBODY_ELSE: &str = "somebody else";

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

/// The machine's clock, so many minutes behind.
#[derive(Debug, Clone, Default)]
struct Behind(Arc<AtomicU64>);

impl Clock for Behind {
    fn now(&self) -> SystemTime {
        let minutes = self.0.load(Ordering::SeqCst);
        SystemClock.now() - Duration::from_mins(minutes)
    }
}

/// For storage, in which what happens was two minutes ago: another issuer's clock may be ahead
/// by one.
fn some_time_ago() -> Behind {
    Behind(Arc::new(AtomicU64::new(2)))
}

/// Where a registry is, and how it is seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Memory,
    /// In memory, seen through a cache in front of it.
    BehindACache,
    /// In a directory, with files and the database.
    Directory,
}

/// What is in a registry.
enum Contents {
    Memory(Arc<MemoryMetadata>, MemoryBlobs),
    Directory(TempDir),
}

impl Contents {
    async fn new(place: Place) -> (Engine, Self) {
        if place == Place::Directory {
            let directory = TempDir::new().unwrap();
            // It needn't survive anything.
            let root = Engine::root(directory.path(), Durability::None).await;
            let engine = root.unwrap().clock(some_time_ago()).build();
            return (engine, Self::Directory(directory));
        }
        let metadata = Arc::new(MemoryMetadata::new());
        let blobs = MemoryBlobs::new();
        let engine = Engine::builder(blobs.clone(), Arc::clone(&metadata))
            .clock(some_time_ago())
            .build();
        (engine, Self::Memory(metadata, blobs))
    }

    fn state(&self) -> String {
        match self {
            Self::Memory(metadata, blobs) => format!("{metadata:?} {blobs:?}"),
            Self::Directory(directory) => {
                let mut files = Vec::new();
                list(directory.path(), &mut files);
                files.sort();
                format!("{files:?}")
            }
        }
    }
}

/// The files below a directory, with their sizes: each change of what is known is a line
/// more of the change log, and the database only says the same.
fn list(directory: &Path, files: &mut Vec<(PathBuf, u64)>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        let about = entry.metadata().unwrap();
        if about.is_dir() {
            list(&entry.path(), files);
        } else if entry.file_name() != "metadata.redb" {
            files.push((entry.path(), about.len()));
        }
    }
}

/// A registry, and what is in it.
pub(crate) struct World {
    pub(crate) service: RegistryService,
    /// Another registry, with the same users and names.
    other: RegistryService,
    clock: Behind,
    /// The headers of those who have tokens.
    held: Mutex<BTreeMap<(String, Token), Vec<String>>>,
    records: Arc<MemoryRecords>,
    pub(crate) keys: Keys,
    /// The API keys of those who show one.
    made: BTreeMap<String, Secret>,
    /// The ids of keys, by what paths call them.
    key_ids: BTreeMap<&'static str, String>,
    pub(crate) engine: Engine,
    contents: Contents,
    /// The open uploads of each repository, and who began them.
    uploads: BTreeMap<(&'static str, &'static str), UploadId>,
}

impl World {
    pub(crate) async fn new(logins: Logins) -> Self {
        Self::at(logins, Place::Memory).await
    }

    pub(crate) async fn at(logins: Logins, place: Place) -> Self {
        let (engine, contents) = Contents::new(place).await;
        let clock = Behind::default();
        let records = Arc::new(MemoryRecords::new());
        let keys = Keys::new(Arc::clone(&records));
        let service = || {
            // Somebody guesses passwords all the time here.
            let access = access_control()
                .guard(GuardLimits::NONE)
                .keys(keys.clone())
                .clock(clock.clone());
            let access = match logins {
                Logins::Passwords => access,
                Logins::Tokens => {
                    let tokens = TokenServer::ephemeral().unwrap();
                    access.tokens(tokens.records(Arc::clone(&records)))
                }
            };
            let administration = Administration::new()
                .registry(engine.clone())
                .keys(keys.clone());
            let service = if place == Place::BehindACache {
                let local = Engine::builder(MemoryBlobs::new(), MemoryMetadata::new())
                    .options(EngineOptions::default().sparse_manifests(true))
                    .build();
                RegistryService::new(PullThrough::new(local, engine.clone()))
            } else {
                RegistryService::new(engine.clone())
            };
            service
                .catalog(true)
                .access(access)
                .management(administration)
        };
        let mut world = Self {
            service: service(),
            other: service(),
            clock: clock.clone(),
            held: Mutex::default(),
            records: Arc::clone(&records),
            keys: keys.clone(),
            made: BTreeMap::new(),
            key_ids: BTreeMap::new(),
            engine,
            contents,
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
        world.make_keys(logins).await;
        if logins == Logins::Tokens {
            world.end_tokens().await;
        }
        world
    }

    /// Ends tokens before their time, in each way that there is.
    async fn end_tokens(&self) {
        for who in HOLDERS {
            let given = who.token.map(|token| token.given);
            if given == Some(Given::Returned) {
                let headers = self.headers(who).await;
                let (_, token) = headers[0].split_once(": Bearer ").unwrap();
                let form = ["content-type: application/x-www-form-urlencoded".to_owned()];
                let body = format!("token={token}");
                let answer = send(&self.service, "POST", "/v2/token/revoke", &form, body);
                assert_eq!(answer.await.status, 200);
            }
            if given == Some(Given::Recalled) {
                self.headers(who).await;
                let Shows::Basic(holder) = who.shows else {
                    panic!("{who:?}");
                };
                let mut headers = user("root");
                headers.push("content-type: application/json".to_owned());
                let body = format!(r#"{{"who":"{holder}"}}"#);
                let answer = send(&self.service, "POST", "/api/v1/revocations", &headers, body);
                assert_eq!(answer.await.status, 204);
            }
        }
    }

    /// Robots, and keys for everybody who shows one.
    async fn make_keys(&mut self, logins: Logins) {
        let now = SystemClock.now();
        for robot in ["ci", "other"] {
            let robot = self.keys.create_robot(robot, RobotChange::default(), now);
            robot.await.unwrap();
        }
        let of = [
            ("key", "robot$ci"),
            ("foreign", "robot$other"),
            ("own", "root"),
        ];
        for (called, owner) in of {
            let (id, _) = self.make_key(owner, None).await;
            self.key_ids.insert(called, id);
        }
        let holders = HOLDERS.iter().filter(|_| logins == Logins::Tokens);
        for who in EVERYBODY.iter().chain(holders) {
            let Some(owner) = who.key_owner() else {
                continue;
            };
            let limits = who.token.filter(|token| token.given == Given::Never);
            let scopes = limits.map(|token| Scopes::parse(scopes(token).iter().map(|s| &**s)));
            let (id, secret) = self.make_key(owner, scopes).await;
            self.made.insert(format!("{who:?}"), secret);
            let given = who.token.map(|token| token.given);
            if given == Some(Given::Ended) {
                self.headers(who).await;
            }
            if given == Some(Given::Ended) || matches!(who.shows, Shows::Key(Way::Revoked)) {
                let owner = Principal::called(owner).unwrap();
                self.keys.revoke(&owner, &id).await.unwrap();
            }
        }
    }

    async fn make_key(&self, owner: &str, scopes: Option<Scopes>) -> (String, Secret) {
        let owner = match owner.strip_prefix("robot$") {
            Some(robot) => Principal::robot(robot),
            None => known(owner).await,
        };
        let new = NewKey {
            scopes,
            ..NewKey::default()
        };
        let now = SystemClock.now();
        let (key, secret) = self.keys.create(&owner, new, now).await.unwrap();
        (key.id, secret)
    }

    /// What somebody shows, which is a token if it has one.
    pub(crate) async fn headers(&self, who: &Somebody) -> Vec<String> {
        let key = self.made.get(&format!("{who:?}"));
        let shown = who.shown(key.map(Secret::expose));
        let Some(token) = who.token.filter(|token| token.given != Given::Never) else {
            return shown;
        };
        if let Some(at) = given_elsewhere(token.given) {
            let name = if who.name == WRONG { "root" } else { who.name };
            let held = foreign(name, &scopes(token), at);
            return vec![format!("authorization: Bearer {held}")];
        }
        let key = (format!("{:?} {}", who.shows, who.name), token);
        if let Some(headers) = self.held.lock().unwrap().get(&key) {
            return headers.clone();
        }
        let service = match token.given {
            Given::Elsewhere => &self.other,
            _ => &self.service,
        };
        let minutes = if token.given == Given::LongAgo {
            120
        } else {
            0
        };
        self.clock.0.store(minutes, Ordering::SeqCst);
        let all = scopes(Token {
            words: "*",
            ..token
        });
        let headers = match token.given {
            Given::Narrowed => {
                let wide = bearer(service, &shown, &all).await;
                exchanged(service, &wide, &scopes(token)).await
            }
            Given::Widened => {
                let narrow = bearer(service, &shown, &scopes(token)).await;
                exchanged(service, &narrow, &all).await
            }
            _ => bearer(service, &shown, &scopes(token)).await,
        };
        self.clock.0.store(0, Ordering::SeqCst);
        self.held.lock().unwrap().insert(key, headers.clone());
        headers
    }

    pub(crate) async fn fill(&mut self, name: &'static str) {
        self.put_blob(name, "blob").await;
        let tags = ["v1", "latest", "keep"];
        self.put_manifest(name, content("image"), &tags).await;
        let about = index("referrer", Some("image"));
        self.put_manifest(name, about.into(), &[]).await;
        let everybody = EVERYBODY.iter().map(|somebody| somebody.name);
        let pushing: BTreeSet<_> = everybody
            .filter(|who| model::may(who, "push", name, &[]))
            .chain([SOMEBODY_ELSE])
            .collect();
        for who in pushing {
            let access = acting(name, Some(who), "an earlier request");
            let upload = self.engine.begin_upload(&access, UploadOptions::default());
            let upload = upload.await.unwrap();
            let chunk = Chunk::from_bytes("some");
            let appended = self.engine.append_upload(&access, &upload.id, chunk);
            appended.await.unwrap();
            self.uploads.insert((name, who), upload.id);
        }
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
    pub(crate) async fn state(&self) -> String {
        let records = self.records.list("", PageRequest::default()).await;
        let records = records.unwrap().items.into_iter();
        // That a key was used changes nothing.
        let records: Vec<_> = records
            .map(|record| {
                if record.key.starts_with("key/") {
                    (record.key, Vec::new())
                } else {
                    (record.key, record.value)
                }
            })
            .collect();
        format!("{} {records:?}", self.contents.state())
    }

    /// The upload that somebody has in a repository: who has none knows somebody
    /// else's, and where there is none, one that never was.
    pub(crate) fn upload(&self, name: &str, who: &str) -> UploadId {
        let own = self.uploads.get(&(name, who)).copied();
        own.unwrap_or_else(|| self.foreign_upload(name))
    }

    /// The one that somebody else has there.
    pub(crate) fn foreign_upload(&self, name: &str) -> UploadId {
        let never = UploadId::from_random([7; 16]);
        let theirs = self.uploads.get(&(name, SOMEBODY_ELSE)).copied();
        theirs.unwrap_or(never)
    }

    /// A path with its places filled in for `who`. `name` is where the repository's
    /// name belongs, `spelled` what is to be there.
    pub(crate) fn path(&self, template: &str, who: &str, name: &str, spelled: &str) -> String {
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
        for (called, id) in &self.key_ids {
            path = path.replace(&format!("{{{called}}}"), id);
        }
        path.replace("{upload}", &self.upload(name, who).to_string())
            .replace("{foreign upload}", &self.foreign_upload(name).to_string())
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
            let is_image = matches!(what, "refers" | "plain");
            let media_type = if is_image { IMAGE } else { INDEX };
            headers.push(format!("content-type: {media_type}"));
        }
        send(&self.service, method, path, &headers, content(what)).await
    }
}

/// A user as the access control knows it.
pub(crate) async fn known(user_name: &str) -> Principal {
    let mut headers = http::HeaderMap::new();
    for header in user(user_name) {
        let (_, value) = header.split_once(": ").unwrap();
        headers.insert("authorization", value.parse().unwrap());
    }
    let sender = registry_auth::Sender::new(&headers, registry_core::RequestOrigin::default());
    let known = access_control().identify(&sender).await;
    known.unwrap().unwrap()
}

/// When another issuer gave out a token, if one did.
fn given_elsewhere(given: Given) -> Option<SystemTime> {
    let now = SystemClock.now();
    match given {
        Given::Foreign => Some(now),
        Given::ForeignBefore => Some(now - Duration::from_mins(4)),
        Given::ForeignLongAgo => Some(now - Duration::from_hours(2)),
        _ => None,
    }
}

/// What somebody asks for who wants such a token.
fn scopes(token: Token) -> Vec<String> {
    let names = REPOSITORIES.iter().map(|(name, _)| *name).chain([VAULT]);
    let mut scopes: Vec<_> = names
        .filter(|name| name.starts_with(token.below))
        .map(|name| format!("repository:{name}:{}", token.words))
        .collect();
    if token.registry {
        scopes.push("registry:catalog:*".to_owned());
        scopes.push("registry:mount:pull".to_owned());
    }
    scopes
}

/// What is called so here.
pub(crate) fn content(what: &str) -> Bytes {
    match what {
        "image" | "other" => index(what, None).into(),
        "whole" => "somemore".into(),
        "refers" => refers("hidden").into(),
        "plain" => refers("blob").into(),
        "parent" => parent("image").into(),
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

/// An index that names another one.
fn parent(child: &str) -> String {
    let (digest, size) = (digest(child), content(child).len());
    format!(
        r#"{{"schemaVersion":2,"mediaType":"{INDEX}","manifests":[{{"mediaType":"{INDEX}","digest":"{digest}","size":{size}}}]}}"#
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
    held(&send(service, "GET", &path, headers, "").await)
}

/// The same in exchange for the token in `headers` (RFC 8693).
async fn exchanged(
    service: &RegistryService,
    headers: &[String],
    scopes: &[String],
) -> Vec<String> {
    let (_, token) = headers[0].split_once(": Bearer ").unwrap();
    let form = format!(
        "grant_type=urn:ietf:params:oauth:grant-type:token-exchange\
         &subject_token_type=urn:ietf:params:oauth:token-type:access_token\
         &subject_token={token}&scope={}",
        scopes.join("+")
    );
    let is_form = ["content-type: application/x-www-form-urlencoded".to_owned()];
    held(&send(service, "POST", "/v2/token", &is_form, form).await)
}

fn held(answer: &Answer) -> Vec<String> {
    assert_eq!(answer.status, 200, "{answer:?}");
    let document: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
    let token = document["token"].as_str().unwrap();
    vec![format!("authorization: Bearer {token}")]
}
