//! The management API as its callers see it.

mod astray;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use registry_core::{Clock, Result, SystemClock};
use registry_http::registry_auth::{
    AccessControl, Authenticator, Caller, Credentials, Keys, MemoryRecords, Principal, Rules,
    Standing, TokenServer,
};
use registry_http::{Administration, RegistryService};
use registry_storage::{Engine, MemoryBlobs, MemoryMetadata};
use serde_json::{Value, json};

use crate::exchange::{Answer, INDEX, call, index, nothing, pieces, request, send, whole};

/// Knows everybody whose password is `right`.
#[derive(Debug)]
pub(crate) struct People;

#[async_trait]
impl Authenticator for People {
    async fn authenticate(&self, caller: &Caller<'_>) -> Result<Option<Principal>> {
        let Credentials::Basic { user, password } = caller.credentials else {
            return Ok(None);
        };
        Ok(password.matches("right").then(|| Principal::new(user)))
    }

    fn source(&self) -> &'static str {
        "people"
    }

    async fn standing(&self, principal: &Principal) -> Result<Standing> {
        Ok(Standing::Current(Principal::new(principal.name())))
    }
}

struct Scene {
    service: RegistryService,
    _keys: tempfile::TempDir,
}

fn scene() -> Scene {
    scene_over(Engine::memory())
}

fn scene_over(engine: Engine) -> Scene {
    let rules = [
        "user root is admin of **",
        "user keeper may administer, audit **",
        "user ann is admin of team/**",
        "robot ci is writer of team/**",
        "workload github ref=refs/heads/main may push jobs",
        "group bots are readers of **",
    ];
    let rules = rules
        .iter()
        .fold(Rules::new(), |rules, sentence| rules.sentence(sentence));
    let directory = tempfile::tempdir().unwrap();
    let records = Arc::new(MemoryRecords::new());
    let keys = Keys::new(Arc::clone(&records));
    let access = AccessControl::new(rules.check().unwrap())
        .authenticator(People)
        .keys(keys.clone())
        .tokens(
            TokenServer::open(directory.path().join("keys"))
                .unwrap()
                .records(records),
        );
    let administration = Administration::new().registry(engine.clone()).keys(keys);
    let service = RegistryService::new(engine)
        .access(access)
        .management(administration);
    Scene {
        service,
        _keys: directory,
    }
}

fn basic(user: &str, password: &str) -> String {
    let encoded = STANDARD.encode(format!("{user}:{password}"));
    format!("authorization: Basic {encoded}")
}

const JSON: &str = "content-type: application/json";

impl Scene {
    /// What `who` is answered, with its password.
    async fn ask(&self, who: &str, method: Method, path: &str, document: Value) -> Answer {
        let body = if document.is_null() {
            nothing()
        } else {
            whole(document.to_string())
        };
        let who = basic(who, "right");
        let uri = format!("/api/v1/{path}");
        send(&self.service, request(&method, &uri, &[&who, JSON], body)).await
    }

    /// Makes something, and says what.
    async fn make(&self, who: &str, path: &str, document: Value) -> Value {
        let answer = self.ask(who, Method::POST, path, document).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        answer.json()
    }

    /// Whether somebody gets in who shows this.
    async fn lets_in(&self, header: &str) -> bool {
        let answer = call(&self.service, Method::GET, "/v2/", &[header]).await;
        answer.status == 200
    }

    async fn token(&self, header: &str) -> String {
        let uri = "/v2/token?scope=repository:team/app:pull";
        let answer = call(&self.service, Method::GET, uri, &[header]).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let answer = answer.json();
        format!(
            "authorization: Bearer {}",
            answer["token"].as_str().unwrap()
        )
    }
}

#[tokio::test]
async fn a_robot_is_made_changed_and_deleted() {
    let scene = scene();
    let new = json!({"name": "ci", "description": "builds", "groups": ["bots"]});
    let made = scene.make("root", "robots", new).await;
    assert_eq!(made["name"], "ci");
    assert_eq!(
        (&made["groups"], &made["disabled"]),
        (&json!(["bots"]), &json!(false))
    );
    let created_at = made["created_at"].as_str().unwrap();
    assert!(
        created_at.ends_with('Z') && created_at.len() == 20,
        "{created_at}"
    );
    scene.make("root", "robots", json!({"name": "other"})).await;

    let shown = scene
        .ask("keeper", Method::GET, "robots/ci", Value::Null)
        .await;
    assert_eq!((shown.status.as_u16(), shown.json()), (200, made));
    assert_eq!(shown.header("cache-control"), "no-store");
    let listed = scene
        .ask("root", Method::GET, "robots?n=1", Value::Null)
        .await
        .json();
    assert_eq!(listed["robots"].as_array().unwrap().len(), 1);
    assert_eq!(listed["next"], "ci");
    let rest = scene
        .ask("root", Method::GET, "robots?n=1&last=ci", Value::Null)
        .await;
    assert_eq!(rest.json()["robots"][0]["name"], "other");
    assert_eq!(rest.json()["next"], Value::Null);

    let key = scene
        .make("root", "robots/ci/keys", json!({"label": "builder"}))
        .await;
    assert_eq!(key["user"], "robot$ci");
    let secret = key["secret"].as_str().unwrap();
    let header = basic("robot$ci", secret);
    assert!(scene.lets_in(&header).await);
    // It is shown this once.
    let listed = scene
        .ask("root", Method::GET, "robots/ci/keys", Value::Null)
        .await;
    let listed = String::from_utf8(listed.body.to_vec()).unwrap();
    let hidden = secret.splitn(3, '_').nth(2).unwrap();
    assert!(listed.contains(key["id"].as_str().unwrap()) && !listed.contains(hidden));

    // A member that isn't named stays.
    let change = json!({"disabled": true});
    let changed = scene
        .ask("keeper", Method::PATCH, "robots/ci", change)
        .await;
    assert_eq!(changed.json()["description"], "builds");
    assert!(!scene.lets_in(&header).await);
    let change = json!({"disabled": false});
    let changed = scene.ask("root", Method::PATCH, "robots/ci", change).await;
    assert_eq!(changed.status, 200);
    assert!(scene.lets_in(&header).await);

    let path = format!("robots/ci/keys/{}", key["id"].as_str().unwrap());
    let revoked = scene
        .ask("keeper", Method::DELETE, &path, Value::Null)
        .await;
    assert_eq!(revoked.status, 204);
    assert!(!scene.lets_in(&header).await);
    for status in [204, 404] {
        let deleted = scene
            .ask("keeper", Method::DELETE, "robots/ci", Value::Null)
            .await;
        assert_eq!(deleted.status, status);
    }
    let gone = scene
        .ask("root", Method::GET, "robots/ci/keys", Value::Null)
        .await;
    assert_eq!(gone.status, 404);
}

#[tokio::test]
async fn s_16_unknown_members_are_refused() {
    let scene = scene();
    scene.make("root", "robots", json!({"name": "ci"})).await;
    let documents = [
        (Method::POST, "robots", json!({"name": "new"})),
        (Method::PATCH, "robots/ci", json!({"description": "new"})),
        (Method::POST, "robots/ci/keys", json!({"label": "new"})),
        (Method::POST, "keys", json!({"label": "new"})),
        (Method::POST, "explain", json!({"actions": ["pull"]})),
        (Method::POST, "revocations", json!({"who": "ann"})),
        (Method::POST, "signing-keys", json!({})),
    ];
    for (method, path, document) in documents {
        for member in [
            "admin",
            "has_admin_role",
            "id",
            "owner",
            "hash",
            "source",
            "Name",
            "",
        ] {
            let mut more = document.clone();
            more[member] = json!(true);
            let refused = scene.ask("root", method.clone(), path, more).await;
            assert_eq!(refused.status, 400, "{method} {path} {member}");
        }
        // Nor is one taken twice, nor anything that is no document, or too much.
        let uri = format!("/api/v1/{path}");
        let root = basic("root", "right");
        let text = document.to_string();
        let twice = text.replacen('{', r#"{"name":"a","name":"b","label":"","label":"","#, 1);
        let twice = twice.replace(",}", "}");
        let much = format!("{}{text}", " ".repeat(64 << 10));
        for (body, kind) in [
            (whole(twice), JSON),
            (whole(""), JSON),
            (whole("[]"), JSON),
            (whole(r#"["a", "", [], false]"#), JSON),
            (whole(format!("{text}{text}")), JSON),
            (whole(much.clone()), JSON),
            (pieces(much.as_bytes(), 4096), JSON),
            // Other sites can make browsers send these.
            (whole(text.clone()), "content-type: text/plain"),
            (
                whole(text.clone()),
                "content-type: application/x-www-form-urlencoded",
            ),
            (whole(text.clone()), "x-nothing: at-all"),
        ] {
            let refused = send(&scene.service, request(&method, &uri, &[&root, kind], body)).await;
            assert_eq!(refused.status, 400, "{method} {path}: {refused:?}");
            assert_eq!(refused.header("cache-control"), "no-store");
        }
        let taken = scene.ask("root", method, path, document).await;
        assert!(taken.status.is_success(), "{path}: {taken:?}");
    }
    let listed = scene.ask("root", Method::GET, "robots", Value::Null).await;
    assert_eq!(listed.json()["robots"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn s_17_a_key_of_another_robot_is_absent() {
    let scene = scene();
    for name in ["one", "other"] {
        scene.make("root", "robots", json!({"name": name})).await;
    }
    let key = scene.make("root", "robots/one/keys", json!({})).await;
    let own = scene.make("root", "keys", json!({})).await;
    let anns = scene.make("ann", "keys", json!({})).await;
    let id = |key: &Value| key["id"].as_str().unwrap().to_owned();
    for (who, path) in [
        ("root", format!("robots/other/keys/{}", id(&key))),
        ("root", format!("robots/none/keys/{}", id(&key))),
        ("root", format!("robots/root/keys/{}", id(&own))),
        ("root", format!("robots/one/keys/{}", id(&own))),
        ("root", format!("keys/{}", id(&key))),
        ("root", format!("keys/{}", id(&anns))),
        ("ann", format!("keys/{}", id(&own))),
        ("ann", format!("keys/{}", id(&key))),
        ("root", "robots/one/keys/..".to_owned()),
        ("root", "keys/*".to_owned()),
    ] {
        let refused = scene.ask(who, Method::DELETE, &path, Value::Null).await;
        assert_eq!(refused.status, 404, "{who} {path}");
    }
    for (key, user) in [(&key, "robot$one"), (&own, "root"), (&anns, "ann")] {
        assert!(
            scene
                .lets_in(&basic(user, key["secret"].as_str().unwrap()))
                .await
        );
    }
    let listed = scene.ask("ann", Method::GET, "keys", Value::Null).await;
    let listed = listed.json();
    assert_eq!(listed["keys"].as_array().unwrap().len(), 1);
    assert_eq!(listed["keys"][0]["id"], anns["id"]);
}

#[tokio::test]
async fn a_key_covers_what_was_asked_and_ends_when_it_was_said() {
    let scene = scene();
    let new = json!({
        "label": "laptop",
        "scopes": ["repository:team/app:pull"],
        "expires_at": "2999-01-31T12:00:00Z",
    });
    let key = scene.make("ann", "keys", new).await;
    assert_eq!(key["scopes"], json!(["repository:team/app:pull"]));
    assert_eq!(key["expires_at"], "2999-01-31T12:00:00Z");
    let header = basic("ann", key["secret"].as_str().unwrap());
    let push = "/v2/team/app/blobs/uploads/";
    let refused = call(&scene.service, Method::POST, push, &[&header]).await;
    assert_eq!(refused.status, 401);
    let pulled = call(
        &scene.service,
        Method::GET,
        "/v2/team/app/tags/list",
        &[&header],
    )
    .await;
    assert_eq!(pulled.status, 404);
    // What isn't understood would cover nothing, which shows too late.
    for (member, value) in [
        ("scopes", json!(["repository:team/app"])),
        ("scopes", json!(["repository:Team:pull"])),
        ("scopes", json!(["everything"])),
        ("scopes", json!([""])),
        ("scopes", json!(["repository:a:pull repository:b:pull"])),
        ("scopes", json!("repository:team/app:pull")),
        ("expires_at", json!("2001-01-31T12:00:00Z")),
        ("expires_at", json!("tomorrow")),
        ("expires_at", json!(4_000_000_000_u64)),
        ("label", json!("two\nlines")),
        ("scopes", json!(scopes_of(101))),
    ] {
        let mut new = json!({});
        new[member] = value.clone();
        let refused = scene.ask("ann", Method::POST, "keys", new).await;
        assert_eq!(refused.status, 400, "{value}");
    }
    let most = json!({"scopes": scopes_of(100)});
    scene.make("ann", "keys", most).await;
}

fn scopes_of(count: usize) -> Vec<String> {
    let scope = |number| format!("repository:team/app{number}:pull");
    (0..count).map(scope).collect()
}

/// Two minutes behind.
#[derive(Debug)]
struct Behind;

impl Clock for Behind {
    fn now(&self) -> SystemTime {
        SystemClock.now() - Duration::from_mins(2)
    }
}

/// What is deleted was so before the key was made, as far as the clocks tell.
#[tokio::test]
async fn s_32_a_key_is_for_the_repository_that_was_there_whatever_the_clocks_say() {
    let engine = Engine::builder(MemoryBlobs::new(), MemoryMetadata::new());
    let scene = scene_over(engine.clock(Behind).build());
    let make = async |who: &str, path: &str| {
        let scopes = json!({"scopes": ["repository:team/app:pull"]});
        let key = scene.make(who, path, scopes).await;
        basic("", key["secret"].as_str().unwrap())
    };
    let tags = async |key: &str| {
        let path = "/v2/team/app/tags/list";
        let answer = call(&scene.service, Method::GET, path, &[key]).await;
        answer.status.as_u16()
    };
    scene.make("root", "robots", json!({"name": "ci"})).await;
    fill(&scene).await;
    let keys = [
        make("ann", "keys").await,
        make("root", "robots/ci/keys").await,
    ];
    for key in &keys {
        assert_eq!(tags(key).await, 200);
    }
    let path = "repositories/team/app";
    let deleted = scene.ask("root", Method::DELETE, path, Value::Null).await;
    assert_eq!(deleted.status, 204);
    fill(&scene).await;
    for key in &keys {
        assert_eq!(tags(key).await, 401);
    }
    assert_eq!(tags(&make("ann", "keys").await).await, 200);
}

async fn fill(scene: &Scene) {
    let root = basic("root", "right");
    let kind = format!("content-type: {INDEX}");
    let headers = [&*root, &*kind];
    let uri = "/v2/team/app/manifests/v1";
    let pushed = request(&Method::PUT, uri, &headers, whole(index("app", None)));
    assert_eq!(send(&scene.service, pushed).await.status, 201);
}

#[tokio::test]
async fn nobody_gives_a_robot_more_than_it_has() {
    let scene = scene();
    scene.make("root", "robots", json!({"name": "ci"})).await;
    scene
        .make("root", "robots", json!({"name": "idle", "disabled": true}))
        .await;
    scene
        .make("root", "robots", json!({"name": "bot", "groups": ["bots"]}))
        .await;
    for (method, path, document, status) in [
        (
            Method::POST,
            "robots",
            json!({"name": "mine", "groups": ["bots"]}),
            403,
        ),
        (Method::POST, "robots", json!({"name": "mine"}), 403),
        (Method::POST, "robots/ci/keys", json!({}), 403),
        (
            Method::POST,
            "robots/ci/keys",
            json!({"scopes": ["repository:team/app:pull"]}),
            403,
        ),
        (Method::PATCH, "robots/ci", json!({"groups": ["bots"]}), 403),
        (
            Method::PATCH,
            "robots/idle",
            json!({"disabled": false}),
            403,
        ),
        // Something may be denied to the group.
        (Method::PATCH, "robots/bot", json!({"groups": []}), 403),
        // To take away is another matter.
        (Method::PATCH, "robots/bot", json!({"disabled": true}), 200),
        (
            Method::PATCH,
            "robots/ci",
            json!({"disabled": true, "groups": []}),
            200,
        ),
        (
            Method::PATCH,
            "robots/idle",
            json!({"description": "still"}),
            200,
        ),
    ] {
        let answer = scene
            .ask("keeper", method.clone(), path, document.clone())
            .await;
        assert_eq!(answer.status, status, "{method} {path} {document}");
        let answer = scene.ask("ann", method.clone(), path, document).await;
        assert_eq!(answer.status, 403, "{method} {path}");
    }
}

#[tokio::test]
async fn everybody_hears_about_itself_and_auditors_about_all() {
    let scene = scene();
    scene
        .make("root", "robots", json!({"name": "ci", "groups": ["bots"]}))
        .await;
    let explain = async |who: &str, question: Value| {
        let answer = scene.ask(who, Method::POST, "explain", question).await;
        (answer.status.as_u16(), answer.json())
    };
    let own = json!({"actions": ["pull", "push"], "repository": "team/app"});
    let (_, answer) = explain("ann", own.clone()).await;
    // Which rule it is isn't hers to know.
    assert_eq!(answer, json!({"granted": true}));
    assert_eq!(explain("ben", own).await.1, json!({"granted": false}));

    let about = json!({"who": "robot$ci", "actions": ["pull"], "repository": "elsewhere"});
    assert_eq!(explain("ann", about.clone()).await.0, 403);
    let (_, answer) = explain("keeper", about.clone()).await;
    assert_eq!(answer["granted"], true);
    assert_eq!(answer["decided_by"]["rule"], "group bots are readers of **");
    let change = json!({"disabled": true});
    scene.ask("root", Method::PATCH, "robots/ci", change).await;
    assert_eq!(explain("keeper", about).await.1["granted"], false);
    let about = json!({"who": "robot$cii", "actions": ["pull"], "repository": "elsewhere"});
    let (_, answer) = explain("keeper", about).await;
    assert_eq!(answer["granted"], false);
    assert_eq!(
        answer["sentence"],
        "robot$cii may do nothing: there is no such robot"
    );
    let job = |claims: Value| json!({"who": "github:", "claims": claims, "actions": ["push"], "repository": "jobs"});
    let (_, answer) = explain("keeper", job(json!({"ref": "refs/heads/main"}))).await;
    assert_eq!(
        answer["decided_by"]["rule"],
        "workload github ref=refs/heads/main may push jobs"
    );
    assert_eq!(answer["reviewed"], false);
    let (_, answer) = explain("keeper", job(json!({"ref": "refs/heads/x"}))).await;
    assert_eq!(answer["granted"], false);
    // She looks after these.
    let about = json!({"who": "anonymous", "actions": ["pull"], "repository": "team/app"});
    let (status, answer) = explain("ann", about).await;
    assert_eq!((status, &answer["granted"]), (200, &json!(false)));
    for question in [
        json!({"actions": []}),
        json!({"actions": ["fly"]}),
        json!({"actions": ["pull"], "repository": "A"}),
        json!({"actions": ["pull"], "groups": ["bots"]}),
        json!({"actions": ["pull"], "claims": {"ref": "a"}}),
        json!({"who": "ann", "actions": ["pull"], "claims": {"ref": "a"}}),
        json!({"who": "github:", "actions": ["pull"], "claims": {"ref": true}}),
        json!({"who": "github:", "actions": ["pull"], "claims": ["ref"]}),
        json!({"actions": ["pull"], "at": "2027-01-31T12:00:00Z"}),
        json!({"actions": ["pull"], "from": "10.0.0.1"}),
        json!({"who": "ann", "actions": ["pull"], "at": "noon"}),
        json!({"who": "group web", "actions": ["pull"]}),
    ] {
        assert_eq!(explain("root", question.clone()).await.0, 400, "{question}");
    }
}

#[tokio::test]
async fn who_administers_it_ends_the_tokens_of_everybody() {
    let scene = scene();
    let root = scene.token(&basic("root", "right")).await;
    assert!(scene.lets_in(&root).await);
    let all = json!({"everybody": true});
    let refused = scene
        .ask("ann", Method::POST, "revocations", all.clone())
        .await;
    assert_eq!(refused.status, 403);
    let revoked = scene.ask("keeper", Method::POST, "revocations", all).await;
    assert_eq!(revoked.status, 204);
    assert!(!scene.lets_in(&root).await);
    assert!(scene.lets_in(&basic("root", "right")).await);
}

#[tokio::test]
async fn tokens_of_somebody_end_and_so_do_all_of_them() {
    let scene = scene();
    let header = basic("ann", "right");
    let (ann, root) = (
        scene.token(&header).await,
        scene.token(&basic("root", "right")).await,
    );
    let who = json!({"who": "ann"});
    let revoked = scene
        .ask("ann", Method::POST, "revocations", who.clone())
        .await;
    assert_eq!(revoked.status, 403);
    assert!(scene.lets_in(&ann).await);
    let revoked = scene.ask("keeper", Method::POST, "revocations", who).await;
    assert_eq!(revoked.status, 204);
    assert!(!scene.lets_in(&ann).await && scene.lets_in(&root).await);
    assert!(scene.lets_in(&header).await);
    // Whatever is in the name.
    let builder = scene.token(&basic("//builder", "right")).await;
    assert!(scene.lets_in(&builder).await);
    for (who, ends) in [("//other", false), ("user //builder", true)] {
        let who = json!({"who": who});
        let revoked = scene.ask("keeper", Method::POST, "revocations", who).await;
        assert_eq!(revoked.status, 204);
        assert_eq!(scene.lets_in(&builder).await, !ends);
    }
    for nobody in [
        json!({"who": "anonymous"}),
        json!({"who": "users"}),
        json!({}),
        json!({"everybody": false}),
        json!({"who": "ann", "everybody": true}),
    ] {
        let refused = scene.ask("root", Method::POST, "revocations", nobody).await;
        assert_eq!(refused.status, 400);
    }
    let shown = async || {
        let answer = call(&scene.service, Method::GET, "/v2/token/jwks.json", &[]).await;
        answer.json()["keys"].as_array().unwrap().clone()
    };
    let before = shown().await;
    let rotated = scene
        .ask("keeper", Method::POST, "signing-keys", json!({}))
        .await;
    assert_eq!(rotated.status, 204);
    assert_eq!(shown().await.len(), 2);
    assert!(scene.lets_in(&root).await);
    let replace = json!({"replace": true});
    let replaced = scene
        .ask("keeper", Method::POST, "signing-keys", replace)
        .await;
    assert_eq!(replaced.status, 204);
    let after = shown().await;
    assert!(after.len() == 1 && !before.contains(&after[0]));
    assert!(!scene.lets_in(&root).await);
    let root = scene.token(&basic("root", "right")).await;
    assert!(scene.lets_in(&root).await);
}

#[tokio::test]
async fn a_repository_is_deleted_by_who_administers_it() {
    let scene = scene();
    fill(&scene).await;
    let delete = async |who: &str, path: &str| {
        let path = format!("repositories/{path}");
        scene
            .ask(who, Method::DELETE, &path, Value::Null)
            .await
            .status
    };
    assert_eq!(delete("ben", "team/app").await, 403);
    assert_eq!(delete("ben", "team/none").await, 403);
    assert_eq!(delete("ann", "other").await, 403);
    assert_eq!(delete("ann", "team/none").await, 404);
    let token = scene.token(&basic("ann", "right")).await;
    let tags = async || {
        let answer = call(
            &scene.service,
            Method::GET,
            "/v2/team/app/tags/list",
            &[&token],
        )
        .await;
        answer.status.as_u16()
    };
    assert_eq!(tags().await, 200);
    assert_eq!(delete("ann", "team/%61pp").await, 204);
    // The token was for the one that is gone.
    assert_eq!(tags().await, 401);
    fill(&scene).await;
    assert_eq!(tags().await, 401);

    // Where nothing is deleted, nothing is.
    let service = scene.service.clone().deletes(false);
    let root = basic("root", "right");
    let uri = "/api/v1/repositories/team/app";
    let refused = call(&service, Method::DELETE, uri, &[&root]).await;
    assert_eq!(
        (refused.status.as_u16(), refused.header("allow")),
        (405, "")
    );
    let refused = call(&service, Method::GET, "/api/v1/keys/a", &[&root]).await;
    assert_eq!(
        (refused.status.as_u16(), refused.header("allow")),
        (405, "DELETE")
    );
}

#[tokio::test]
async fn there_is_no_management_unless_it_is_opened() {
    let scene = scene();
    let root = basic("root", "right");
    let closed = RegistryService::new(Engine::memory());
    let without_keys = scene.service.clone().management(Administration::new());
    for path in ["robots", "keys", "repositories/a", "explain", "nothing"] {
        let uri = format!("/api/v1/{path}");
        for method in [Method::GET, Method::POST, Method::DELETE] {
            let answer = call(&closed, method, &uri, &[&root]).await;
            assert_eq!(answer.status, 404, "{uri}");
        }
    }
    for (method, path) in [
        (Method::GET, "robots"),
        (Method::GET, "keys"),
        (Method::DELETE, "repositories/team/app"),
    ] {
        let uri = format!("/api/v1/{path}");
        let answer = call(&without_keys, method, &uri, &[&root]).await;
        assert_eq!(answer.status, 404, "{uri}");
    }
    // It is found where the registry is.
    let below = scene.service.clone().prefix("/registry/");
    let answer = call(&below, Method::GET, "/registry/api/v1/robots", &[&root]).await;
    assert_eq!(answer.status, 200);
    let answer = call(&scene.service, Method::PUT, "/api/v1/robots", &[&root]).await;
    assert_eq!(
        (answer.status.as_u16(), answer.header("allow")),
        (405, "GET, HEAD, POST")
    );
}
