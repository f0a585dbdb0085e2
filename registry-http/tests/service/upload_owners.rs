//! Uploads are of whoever began them, however that is shown.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use registry_auth::{
    AccessControl, Keys, MemoryRecords, NewKey, Principal, RobotChange, Rules, Sender, TokenServer,
};
use registry_core::{Clock, RequestOrigin, SystemClock};
use registry_http::{Peer, RegistryService};
use registry_storage::Engine;

use crate::exchange::{Answer, call, request, send, sha256, whole};
use crate::management::People;

struct Scene {
    service: RegistryService,
    access: AccessControl,
    engine: Engine,
    keys: Keys,
}

/// A server over what is in `directory`.
async fn started(directory: &Path) -> Scene {
    let rules = [
        "user ann is writer of team/**",
        "user ben is writer of team/**",
        "user root is admin of **",
        "robot ann is writer of team/**",
        "anyone may list, pull, push open/**",
    ];
    let rules = rules
        .iter()
        .fold(Rules::new(), |rules, sentence| rules.sentence(sentence));
    let records = Arc::new(MemoryRecords::new());
    let keys = Keys::new(Arc::clone(&records));
    let engine = Engine::open(directory).await.unwrap();
    let access = AccessControl::new(rules.check().unwrap())
        .authenticator(People)
        .keys(keys.clone())
        .tokens(TokenServer::ephemeral().unwrap().records(records));
    Scene {
        service: RegistryService::new(engine.clone()).access(access.clone()),
        access,
        engine,
        keys,
    }
}

fn basic(user: &str, password: &str) -> String {
    let encoded = STANDARD.encode(format!("{user}:{password}"));
    format!("authorization: Basic {encoded}")
}

impl Scene {
    async fn stopped(self) {
        drop((self.service, self.access));
        self.engine.close().await.unwrap();
    }

    async fn ask(&self, method: &Method, uri: &str, headers: &[&str], body: &str) -> Answer {
        let request = request(method, uri, headers, whole(body.to_owned()));
        send(&self.service, request).await
    }

    /// Begins an upload with `first`, and returns its address.
    async fn begun(&self, who: &str, repository: &str, first: &str) -> String {
        let uri = format!("/v2/{repository}/blobs/uploads/");
        let answer = self.ask(&Method::POST, &uri, &headers(who), "").await;
        assert_eq!(answer.status, 202, "{answer:?}");
        let upload = answer.header("location").to_owned();
        self.goes_on(who, &upload, first).await;
        upload
    }

    async fn goes_on(&self, who: &str, upload: &str, part: &str) {
        let answer = self.ask(&Method::PATCH, upload, &headers(who), part).await;
        assert_eq!(answer.status, 202, "{answer:?}");
    }

    async fn ends(&self, who: &str, upload: &str, whole: &str) {
        let uri = format!("{upload}?digest={}", sha256(whole));
        let answer = self.ask(&Method::PUT, &uri, &headers(who), "").await;
        assert_eq!(answer.status, 201, "{answer:?}");
    }

    /// What is asked of `upload` is answered as what is asked of one that never was.
    async fn is_unknown(&self, who: &str, upload: &str) {
        let (path, id) = upload.rsplit_once('/').unwrap();
        let never = "01234567-89ab-4def-8123-456789abcdef";
        let ends = format!("?digest={}", sha256("part"));
        for (method, query) in [
            (Method::GET, ""),
            (Method::PATCH, ""),
            (Method::PUT, &ends),
            (Method::DELETE, ""),
        ] {
            let ask = async |id: &str| {
                let uri = format!("{path}/{id}{query}");
                let mut answer = self.ask(&method, &uri, &headers(who), "part").await;
                for name in ["date", "x-request-id"] {
                    answer.headers.remove(name);
                }
                let body = String::from_utf8(answer.body.to_vec()).unwrap();
                (answer.status, answer.headers, body.replace(id, "ID"))
            };
            let (status, headers, body) = ask(id).await;
            assert_eq!(status, 404, "{who} {method}: {body}");
            assert!(
                body.contains("BLOB_UPLOAD_UNKNOWN"),
                "{who} {method}: {body}"
            );
            assert_eq!((status, headers, body), ask(never).await, "{who} {method}");
        }
    }

    /// The token that somebody gets for its password.
    async fn token(&self, who: &str) -> String {
        let uri = "/v2/token?scope=repository:team/app:pull,push";
        let answer = call(&self.service, Method::GET, uri, &headers(who)).await;
        let token = answer.json()["token"].as_str().unwrap().to_owned();
        format!("authorization: Bearer {token}")
    }

    /// Who is known by what it shows.
    async fn known(&self, who: &str) -> Principal {
        let mut headers = http::HeaderMap::new();
        let (_, value) = who.split_once(": ").unwrap();
        headers.insert("authorization", value.parse().unwrap());
        let sender = Sender::new(&headers, RequestOrigin::default());
        self.access.identify(&sender).await.unwrap().unwrap()
    }

    async fn key(&self, owner: &Principal) -> String {
        let new = NewKey::default();
        let made = self.keys.create(owner, new, SystemClock.now()).await;
        made.unwrap().1.expose().to_owned()
    }
}

/// What somebody shows, who may show nothing.
fn headers(who: &str) -> Vec<&str> {
    (!who.is_empty()).then_some(who).into_iter().collect()
}

#[tokio::test]
async fn somebody_elses_upload_is_answered_as_none() {
    let directory = tempfile::tempdir().unwrap();
    let scene = started(directory.path()).await;
    let (ann, ben, root) = (
        basic("ann", "right"),
        basic("ben", "right"),
        basic("root", "right"),
    );
    let upload = scene.begun(&ann, "team/app", "first ").await;
    // Who may everything may not do this.
    for other in [&ben, &root, &scene.token(&ben).await] {
        scene.is_unknown(other, &upload).await;
    }
    let answer = scene.ask(&Method::GET, &upload, &[&ann], "").await;
    assert_eq!(
        (answer.status.as_u16(), answer.header("range")),
        (204, "0-5")
    );
    scene.goes_on(&ann, &upload, "second").await;
    scene.ends(&ann, &upload, "first second").await;
}

/// Clients ask for tokens in the middle of a push, and get another one each time.
#[tokio::test]
async fn whoever_it_is_stays_so_however_it_is_shown() {
    let directory = tempfile::tempdir().unwrap();
    let scene = started(directory.path()).await;
    let password = basic("ann", "right");
    let known = scene.known(&password).await;
    let key = basic("ann", &scene.key(&known).await);
    let robot = {
        let change = RobotChange::default();
        let now = SystemClock.now();
        scene.keys.create_robot("ann", change, now).await.unwrap();
        basic("robot$ann", &scene.key(&Principal::robot("ann")).await)
    };
    let mut ways = vec![password.clone(), key.clone()];
    for shown in [&password, &password, &key] {
        ways.push(scene.token(shown).await);
    }
    for first in &ways {
        let upload = scene.begun(first, "team/app", "x").await;
        for way in &ways {
            scene.goes_on(way, &upload, "x").await;
        }
        // Somebody else is called so, too.
        scene.is_unknown(&robot, &upload).await;
        scene.is_unknown(&scene.token(&robot).await, &upload).await;
        let last = ways.last().unwrap();
        scene.ends(last, &upload, &"x".repeat(ways.len() + 1)).await;
    }
    let upload = scene.begun(&robot, "team/app", "y").await;
    for way in &ways {
        scene.is_unknown(way, &upload).await;
    }
    scene.ends(&scene.token(&robot).await, &upload, "y").await;
}

#[tokio::test]
async fn an_upload_stays_whose_it_was_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let (ann, ben) = (basic("ann", "right"), basic("ben", "right"));
    let before = started(directory.path()).await;
    let hers = before.begun(&ann, "team/app", "first ").await;
    let token = before.token(&ann).await;
    let another = before.begun(&token, "team/app", "another ").await;
    let anybodys = before.begun("", "open/app", "third ").await;
    before.stopped().await;

    let after = started(directory.path()).await;
    for upload in [&hers, &another] {
        after.is_unknown(&ben, upload).await;
        after.is_unknown(&after.token(&ben).await, upload).await;
    }
    after.is_unknown(&ann, &anybodys).await;
    let token = after.token(&ann).await;
    for (who, upload, start) in [
        (&token, &hers, "first "),
        (&ann, &another, "another "),
        (&String::new(), &anybodys, "third "),
    ] {
        after.goes_on(who, upload, "end").await;
        after.ends(who, upload, &format!("{start}end")).await;
    }
}

/// Where nobody logs in nothing changes: they can't be told apart.
#[tokio::test]
async fn those_who_are_not_known_share_theirs() {
    let directory = tempfile::tempdir().unwrap();
    let scene = started(directory.path()).await;
    let ann = basic("ann", "right");
    let upload = scene.begun("", "open/app", "first ").await;
    scene.is_unknown(&ann, &upload).await;
    let mut elsewhere = request(&Method::PATCH, &upload, &[], whole("second"));
    let address: IpAddr = "192.0.2.7".parse().unwrap();
    elsewhere.extensions_mut().insert(Peer { address });
    let answer = send(&scene.service, elsewhere).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    scene.ends("", &upload, "first second").await;
    let hers = scene.begun(&ann, "open/app", "first ").await;
    scene.is_unknown("", &hers).await;
    scene.ends(&ann, &hers, "first ").await;
}
