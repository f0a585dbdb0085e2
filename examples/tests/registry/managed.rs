//! Managed over HTTP, and from the command line beside the running server.

use std::time::Duration;

use registry_tests::harness::silence::PASSWORD;
use reqwest::{Client, Method, StatusCode};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::authorized::{POLICY, setup, token};
use crate::observed::free_address;
use crate::program::{Program, Setup, eventually};

/// What `user` is answered who shows `password`.
async fn manage(
    program: &Program,
    user: &str,
    password: &str,
    method: Method,
    path: &str,
    document: &Value,
) -> (StatusCode, Value) {
    let url = format!("http://{}/api/v1/{path}", program.address);
    let request = Client::new().request(method, url);
    let request = request.basic_auth(user, Some(password));
    let request = request.header("content-type", "application/json");
    let answer = request.body(document.to_string()).send().await.unwrap();
    let status = answer.status();
    let text = answer.text().await.unwrap();
    (status, serde_json::from_str(&text).unwrap_or_default())
}

fn with_root() -> Setup {
    let rules =
        format!("{POLICY}  - user root is admin of **\n  - robot ci is writer of team/**\n");
    setup(&["root", "ann"], "").file("policy.yml", rules)
}

/// The status of a list of tags for somebody who shows this.
async fn tags(
    program: &Program,
    show: impl Fn(reqwest::RequestBuilder) -> reqwest::RequestBuilder,
) -> StatusCode {
    let url = format!("http://{}/v2/people/ann/app/tags/list", program.address);
    show(Client::new().get(url)).send().await.unwrap().status()
}

#[tokio::test]
async fn who_administers_it_manages_robots_and_everybody_their_keys() {
    let program = with_root().start();
    let robot = json!({"name": "ci"});
    let asked = async |user: &str, path: &str, document: &Value| {
        manage(&program, user, PASSWORD, Method::POST, path, document).await
    };
    assert_eq!(
        asked("ann", "robots", &robot).await.0,
        StatusCode::FORBIDDEN
    );
    assert_eq!(asked("root", "robots", &robot).await.0, StatusCode::CREATED);
    let (status, key) = asked("root", "robots/ci/keys", &json!({})).await;
    assert_eq!(status, StatusCode::CREATED);
    let url = format!("http://{}/v2/team/app/blobs/uploads/", program.address);
    let upload = Client::new().post(url);
    let upload = upload.basic_auth("robot$ci", key["secret"].as_str());
    assert_eq!(upload.send().await.unwrap().status(), StatusCode::ACCEPTED);

    let (status, key) = asked("ann", "keys", &json!({"label": "laptop"})).await;
    assert_eq!(status, StatusCode::CREATED);
    let (secret, id) = (key["secret"].as_str().unwrap(), key["id"].as_str().unwrap());
    let by_key = || tags(&program, |request| request.basic_auth("ann", Some(secret)));
    assert_eq!(by_key().await, StatusCode::NOT_FOUND);
    // A key makes no keys.
    let refused = manage(&program, "ann", secret, Method::GET, "keys", &json!({})).await;
    assert_eq!(refused.0, StatusCode::FORBIDDEN);

    // Whoever keeps the server ends it, although the key is a user's.
    let data = program.path("data");
    let data = data.to_str().unwrap();
    let listed = Setup::new()
        .arguments(&["auth", "key", "list", "ann", "--user", "--root", data])
        .run();
    assert!(
        listed.stdout.contains(id) && listed.stdout.contains("laptop"),
        "{listed:?}"
    );
    let revoked = Setup::new()
        .arguments(&["auth", "key", "revoke", "ann", id, "--user", "--root", data])
        .run();
    assert!(revoked.status.success(), "{revoked:?}");
    eventually("the key ends", async || {
        by_key().await == StatusCode::UNAUTHORIZED
    })
    .await;
}

#[tokio::test]
async fn all_tokens_of_everybody_are_ended_from_the_command_line() {
    let program = with_root().start();
    let root = program.path("data");
    let auth = |arguments: &[&str]| {
        let root = ["--root", root.to_str().unwrap()];
        let setup = Setup::new().arguments(&["auth", "token"]);
        setup.arguments(arguments).arguments(&root).run()
    };
    let of_root = token(&program, Some("root"), "repository:people/ann/app:pull").await;
    let login = async || {
        let url = format!("http://{}/v2/token?offline_token=true", program.address);
        let request = Client::new().get(url).basic_auth("ann", Some(PASSWORD));
        let answer = request.send().await.unwrap().text().await.unwrap();
        let answer: Value = serde_json::from_str(&answer).unwrap();
        answer["refresh_token"].as_str().unwrap().to_owned()
    };
    let redeem = async |token: &str| {
        let url = format!("http://{}/v2/token", program.address);
        let form = format!("grant_type=refresh_token&refresh_token={token}");
        let request = Client::new().post(url).body(form);
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        request.send().await.unwrap().status()
    };
    let refresh = login().await;
    assert_eq!(redeem(&refresh).await, StatusCode::OK);
    let end = auth(&["revoke", "--all", "--json"]);
    let done: Value = serde_json::from_str(&end.stdout).unwrap();
    assert_eq!(
        (&done["everybody"], &done["refresh_tokens"]),
        (&true.into(), &1.into())
    );
    eventually("it ends", async || {
        redeem(&refresh).await == StatusCode::UNAUTHORIZED
    })
    .await;
    eventually("bearer tokens, too", async || {
        tags(&program, |request| request.bearer_auth(&of_root)).await == StatusCode::UNAUTHORIZED
    })
    .await;

    // Who is there is said as far as it is known.
    let known = |who: &str| {
        let end = auth(&["revoke", who, "--json"]);
        let done: Value = serde_json::from_str(&end.stdout).unwrap();
        assert_eq!(done["who"], who, "{done}");
        (
            done["kind"].as_str().unwrap().to_owned(),
            done["known"].as_bool(),
        )
    };
    assert_eq!(known("ann"), ("user".to_owned(), None));
    assert_eq!(known("robot$ci"), ("robot".to_owned(), Some(false)));
    assert_eq!(known("github:repo:a/b"), ("workload".to_owned(), None));
    let made = Setup::new()
        .arguments(&[
            "auth",
            "robot",
            "create",
            "ci",
            "--root",
            root.to_str().unwrap(),
        ])
        .run();
    assert!(made.status.success(), "{made:?}");
    assert_eq!(known("robot$ci"), ("robot".to_owned(), Some(true)));
    tokio::time::sleep(Duration::from_secs(2)).await;
    login().await;
    assert_eq!(known("ann"), ("user".to_owned(), Some(true)));
}

#[tokio::test]
async fn tokens_are_ended_from_the_command_line() {
    let program = with_root().start();
    let root = program.path("data");
    let auth = |arguments: &[&str]| {
        let root = ["--root", root.to_str().unwrap()];
        let setup = Setup::new().arguments(&["auth", "token"]);
        setup.arguments(arguments).arguments(&root).run()
    };
    let scope = "repository:people/ann/app:pull";
    let keys = async || {
        let (_, document) = program.get("/v2/token/jwks.json").await;
        let document: Value = serde_json::from_str(&document).unwrap();
        document["keys"].as_array().unwrap().clone()
    };
    let ann = token(&program, Some("ann"), scope).await;
    let root_token = token(&program, Some("root"), scope).await;
    let is = async |token: &str, expected: StatusCode| {
        eventually(expected.as_str(), async || {
            tags(&program, |request| request.bearer_auth(token)).await == expected
        })
        .await;
    };
    is(&ann, StatusCode::NOT_FOUND).await;
    let end = auth(&["revoke", "ann"]);
    assert!(end.status.success(), "{end:?}");
    // Who is in the password file isn't seen there.
    let doubt = "whether there is such a user isn't seen here, but in the password file";
    assert!(
        end.stdout.starts_with("all tokens of ann were ended"),
        "{end:?}"
    );
    assert!(end.stdout.contains(doubt), "{end:?}");
    is(&ann, StatusCode::UNAUTHORIZED).await;
    is(&root_token, StatusCode::NOT_FOUND).await;
    assert_eq!(auth(&["revoke", "anonymous"]).status.code(), Some(2));
    assert_eq!(auth(&["revoke"]).status.code(), Some(2));
    assert_eq!(auth(&["revoke", "ann", "--all"]).status.code(), Some(2));

    let before = keys().await;
    assert_eq!(before.len(), 1);
    let end = auth(&["rotate"]);
    assert!(
        end.status.success() && end.stdout.contains("in ten minutes"),
        "{end:?}"
    );
    eventually("another key is shown", async || keys().await.len() == 2).await;
    is(&root_token, StatusCode::NOT_FOUND).await;
    let end = auth(&["rotate", "--now", "--algorithm", "eddsa", "--json"]);
    assert!(end.status.success(), "{end:?}");
    let done: Value = serde_json::from_str(&end.stdout).unwrap();
    assert_eq!(done["replaced"], true, "{done}");
    is(&root_token, StatusCode::UNAUTHORIZED).await;
    let after = keys().await;
    assert_eq!((after.len(), &after[0]["crv"]), (1, &"Ed25519".into()));
    let root_token = token(&program, Some("root"), scope).await;
    is(&root_token, StatusCode::NOT_FOUND).await;
    // A directory that was mistyped isn't made.
    let end = Setup::new().arguments(&["auth", "token", "rotate"]).run();
    assert_eq!(end.status.code(), Some(2), "{end:?}");
}

#[tokio::test]
async fn a_repository_is_deleted_where_deletes_are_on() {
    let delete = async |program: &Program| {
        let path = "repositories/people/root/app";
        let nothing = Value::Null;
        let answer = manage(program, "root", PASSWORD, Method::DELETE, path, &nothing);
        answer.await.0
    };
    let program = with_root().start();
    assert_eq!(delete(&program).await, StatusCode::METHOD_NOT_ALLOWED);
    let configuration = std::fs::read_to_string(program.path("config.yml")).unwrap();
    let on = configuration.replace("storage: {", "storage: {delete: {enabled: true}, ");
    let program = with_root().file("config.yml", on).start();
    assert_eq!(delete(&program).await, StatusCode::NOT_FOUND);
    let url = format!("http://{}/v2/people/root/app/manifests/v1", program.address);
    let media_type = "application/vnd.oci.image.index.v1+json";
    let push = Client::new().put(url).basic_auth("root", Some(PASSWORD));
    let push = push.header("content-type", media_type).body(format!(
        r#"{{"schemaVersion":2,"mediaType":"{media_type}","manifests":[]}}"#
    ));
    assert_eq!(push.send().await.unwrap().status(), StatusCode::CREATED);
    assert_eq!(delete(&program).await, StatusCode::NO_CONTENT);
}

/// S-15: what there is beside images is for those who are known, too.
#[tokio::test]
async fn s_15_only_health_is_open() {
    let debug = free_address();
    let program = with_root()
        .variable("REGISTRY_HTTP_DEBUG_ADDR", &debug.to_string())
        .variable("REGISTRY_HTTP_DEBUG_PROMETHEUS_ENABLED", "true")
        .start();
    let own = token(&program, Some("ann"), "repository:people/ann/app:pull,push").await;
    let upload = format!(
        "http://{}/v2/people/ann/app/blobs/uploads/",
        program.address
    );
    let upload = Client::new().post(upload).bearer_auth(own);
    assert_eq!(upload.send().await.unwrap().status(), StatusCode::ACCEPTED);
    let open = ["/livez", "/readyz"];
    // Whoever wants to log in asks here first. There is nothing of the registry in it.
    let for_logins = ["/v2/token", "/v2/token/jwks.json", "/.well-known/jwks.json"];
    for path in open.into_iter().chain(for_logins) {
        assert_eq!(program.get(path).await.0, StatusCode::OK, "{path}");
    }
    // Whoever looks whether something is there sees that, and nothing else.
    assert_eq!(program.get("/").await, (StatusCode::OK, String::new()));
    let methods = [
        Method::GET,
        Method::HEAD,
        Method::POST,
        Method::PUT,
        Method::DELETE,
    ];
    let mut found = Vec::new();
    for (path, _) in CLOSED {
        let mut statuses = [0; 5];
        for (status, method) in statuses.iter_mut().zip(&methods) {
            let answer = program.call(method.clone(), path, b"{}").await;
            *status = answer.status().as_u16();
            // Nothing is told of what it is all about.
            let challenged = answer.headers().contains_key("www-authenticate");
            assert_eq!(challenged, *status == 401, "{method} {path}");
            let text = answer.text().await.unwrap();
            let told = text.replace("people/ann/app", "");
            assert!(!told.contains("ann"), "{method} {path}: {text}");
        }
        found.push((*path, statuses));
    }
    assert_eq!(found, CLOSED);

    // Whoever measures sees numbers, and gets no further there.
    let measured = async |path: &str| {
        let answer = reqwest::get(format!("http://{debug}{path}")).await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    for path in ["/metrics", "/debug/health", "/livez", "/readyz"] {
        let (status, text) = measured(path).await;
        assert_eq!(status, 200, "{path}");
        assert!(!text.contains("ann") && !text.contains("people"), "{text}");
    }
    let elsewhere = CLOSED.iter().map(|(path, _)| *path).chain(for_logins);
    for path in elsewhere.filter(|path| !["/metrics", "/debug/health"].contains(path)) {
        assert_eq!(measured(path).await.0, 404, "{path}");
    }
}

/// What a program without credentials is answered to GET, HEAD, POST, PUT and DELETE.
const CLOSED: &[(&str, [u16; 5])] = &[
    ("/v2/", [401, 401, 405, 405, 405]),
    ("/v2", [401, 401, 405, 405, 405]),
    ("/v2/_catalog", [401, 401, 405, 405, 405]),
    ("/v2/people/ann/app/tags/list", [401, 401, 405, 405, 405]),
    ("/v2/people/ann/app/manifests/v1", [401, 401, 405, 401, 401]),
    (
        "/v2/people/ann/app/blobs/uploads/",
        [405, 405, 401, 405, 405],
    ),
    (
        "/v2/people/ann/app/referrers/sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        [401, 401, 405, 405, 405],
    ),
    ("/api/v1/robots", [401, 401, 401, 405, 405]),
    ("/api/v1/robots/ci", [401, 401, 405, 405, 401]),
    ("/api/v1/robots/ci/keys", [401, 401, 401, 405, 405]),
    ("/api/v1/keys", [401, 401, 401, 405, 405]),
    ("/api/v1/explain", [405, 405, 401, 405, 405]),
    ("/api/v1/revocations", [405, 405, 401, 405, 405]),
    ("/api/v1/signing-keys", [405, 405, 401, 405, 405]),
    ("/api/v1/repositories/a", [405, 405, 405, 405, 401]),
    ("/api/v1/", [404, 404, 404, 404, 404]),
    ("/api/v1", [404, 404, 404, 404, 404]),
    ("/api/", [404, 404, 404, 404, 404]),
    ("/api/v2/robots", [404, 404, 404, 404, 404]),
    ("/index.html", [404, 404, 404, 404, 404]),
    ("/metrics", [404, 404, 404, 404, 404]),
    ("/debug/health", [404, 404, 404, 404, 404]),
    ("/debug/vars", [404, 404, 404, 404, 404]),
    ("/debug/pprof/", [404, 404, 404, 404, 404]),
    ("/health", [404, 404, 404, 404, 404]),
    ("/healthz", [404, 404, 404, 404, 404]),
    ("/livez/", [404, 404, 404, 404, 404]),
    ("/ui", [404, 404, 404, 404, 404]),
    ("/ui/", [404, 404, 404, 404, 404]),
    ("/docs", [404, 404, 404, 404, 404]),
    ("/swagger", [404, 404, 404, 404, 404]),
    ("/openapi.json", [404, 404, 404, 404, 404]),
    ("/v2/metrics", [404, 404, 404, 404, 404]),
    ("/v2/debug/health", [404, 404, 404, 404, 404]),
    ("/v1/_ping", [404, 404, 404, 404, 404]),
    ("/favicon.ico", [404, 404, 404, 404, 404]),
    ("/config.yml", [404, 404, 404, 404, 404]),
    ("/data/auth/records.log", [404, 404, 404, 404, 404]),
    ("/../data/auth/records.log", [404, 404, 404, 404, 404]),
    ("/v2/token/", [404, 404, 404, 404, 404]),
    ("/v2/token/revoke", [405, 405, 400, 405, 405]),
    ("//livez", [404, 404, 404, 404, 404]),
    ("/%6Civez", [404, 404, 404, 404, 404]),
];

/// S-32: a token from before a repository was deleted opens nothing under its name, as
/// what is pulled from, pushed to or mounted from, also after a restart.
#[tokio::test]
async fn s_32_an_old_token_opens_no_new_repository_even_after_a_restart() {
    let deleting = |setup: Setup| setup.variable("REGISTRY_STORAGE_DELETE_ENABLED", "true");
    let program = deleting(with_root()).start();
    let (name, other) = ("people/ann/app", "people/ann/other");
    let digest = registry_core::Algorithm::Sha256.digest(b"x");
    let scope = format!("repository:{name}:pull,push repository:{other}:pull,push");
    let old = token(&program, Some("ann"), &scope).await;
    let ask = async |program: &Program, token: &str, method: Method, path: &str| {
        let request = Client::new().request(method, format!("http://{}{path}", program.address));
        let answer = request.bearer_auth(token).body("x").send().await.unwrap();
        let challenge = answer.headers().get("www-authenticate");
        let challenge = challenge.map(|value| value.to_str().unwrap().to_owned());
        (answer.status().as_u16(), challenge.unwrap_or_default())
    };
    let push = format!("/v2/{name}/blobs/uploads/?digest={digest}");
    let pull = format!("/v2/{name}/blobs/{digest}");
    let mount = format!("/v2/{other}/blobs/uploads/?mount={digest}&from={name}");
    assert_eq!(ask(&program, &old, Method::POST, &push).await.0, 201);
    assert_eq!(ask(&program, &old, Method::GET, &pull).await.0, 200);
    let delete = format!("repositories/{name}");
    let deleted = manage(
        &program,
        "root",
        PASSWORD,
        Method::DELETE,
        &delete,
        &json!({}),
    )
    .await;
    assert_eq!(deleted.0, StatusCode::NO_CONTENT);
    let new = token(&program, Some("ann"), &scope).await;
    assert_eq!(ask(&program, &new, Method::POST, &push).await.0, 201);

    let is_dead = async |program: &Program| {
        for (method, path) in [
            (Method::GET, &pull),
            (Method::HEAD, &pull),
            (Method::POST, &push),
            (Method::POST, &mount),
        ] {
            let (status, challenge) = ask(program, &old, method.clone(), path).await;
            assert_eq!(status, 401, "{method} {path}");
            assert!(challenge.contains("invalid_token"), "{challenge}");
            let (status, _) = ask(program, &new, method.clone(), path).await;
            assert!(matches!(status, 200 | 201), "{method} {path}: {status}");
        }
    };
    is_dead(&program).await;
    let program = deleting(Setup::again(program.end(Signal::TERM))).start();
    is_dead(&program).await;
    let program = deleting(Setup::again(program.end(Signal::KILL))).start();
    is_dead(&program).await;
}

/// S-50: the keys that sign tokens are made at each first start, and nobody is in a
/// password file that nobody wrote.
#[tokio::test]
async fn s_50_the_server_starts_with_no_known_secret() {
    let keys = async |program: &Program| {
        let (_, document) = program.get("/v2/token/jwks.json").await;
        let document: Value = serde_json::from_str(&document).unwrap();
        document["keys"][0]["kid"].as_str().unwrap().to_owned()
    };
    let (one, other) = (with_root().start(), with_root().start());
    assert_ne!(keys(&one).await, keys(&other).await);
    for (user, password) in [
        ("admin", "admin"),
        ("root", "root"),
        ("root", ""),
        ("registry", "registry"),
        ("robot$ci", ""),
        ("robot$admin", "admin"),
        ("", "admin"),
    ] {
        let (status, _) = manage(&one, user, password, Method::GET, "robots", &json!({})).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{user}");
    }
    let end = Setup::serve(
        "version: 0.1\nstorage: inmemory\nhttp: {addr: '127.0.0.1:0'}\n\
         auth: {htpasswd: {realm: r, path: users}}\n",
    )
    .run();
    assert_eq!(end.status.code(), Some(2), "{}", end.stderr);
}
