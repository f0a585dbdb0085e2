//! Each small program does what its first lines say.

#![allow(clippy::panic, clippy::unwrap_used, reason = "these are tests")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, ChildStdout, Command, Stdio};

use registry_core::testkit::{ImageBuilder, Package, trusted};
use registry_core::{Algorithm, ErrorKind, OpenOptions, Registry};
use registry_http::RemoteRegistry;

/// A program at work, which ends with the test.
struct Program {
    child: Child,
    output: BufReader<ChildStdout>,
    address: String,
}

impl Program {
    fn start(path: &str, arguments: &[&str]) -> Self {
        let mut child = Command::new(path)
            .arg("127.0.0.1:0")
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let mut program = Self {
            child,
            output,
            address: String::new(),
        };
        let line = program.line();
        line.strip_prefix("listening on ")
            .unwrap()
            .clone_into(&mut program.address);
        program
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    fn registry(&self) -> RemoteRegistry {
        RemoteRegistry::new(&self.url()).unwrap()
    }

    fn get(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let request = format!("GET {path} HTTP/1.0\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

fn image() -> Package {
    ImageBuilder::new("story").layer("a layer").build()
}

async fn push(registry: &RemoteRegistry, repository: &str) {
    image().push(registry, &trusted(repository), &["v1"]).await;
}

async fn pull(registry: &RemoteRegistry, repository: &str) -> registry_core::Result<()> {
    let access = trusted(repository);
    let manifest = registry.get_manifest(&access, &"v1".parse()?).await?;
    assert_eq!(manifest.bytes, image().manifest().bytes);
    for content in image().blobs() {
        let digest = Algorithm::Sha256.digest(content);
        let options = OpenOptions::default();
        let blob = registry.open_blob(&access, &digest, options).await?;
        let registry_core::BlobBody::Stream(stream) = blob.body else {
            panic!("{blob:?}");
        };
        let parts: Vec<_> = futures::TryStreamExt::try_collect(stream).await?;
        let whole: Vec<u8> = parts.concat();
        assert_eq!(whole, *content);
    }
    Ok(())
}

#[tokio::test]
async fn axum_app_serves_images_beside_its_own_routes() {
    let program = Program::start(env!("CARGO_BIN_EXE_axum_app"), &[]);
    assert!(program.get("/health").ends_with("ok"));
    push(&program.registry(), "team/app").await;
    pull(&program.registry(), "team/app").await.unwrap();
}

#[tokio::test]
async fn bare_hyper_serves_images_below_its_prefix() {
    let program = Program::start(env!("CARGO_BIN_EXE_bare_hyper"), &[]);
    let registry = RemoteRegistry::new(&format!("{}/images", program.url())).unwrap();
    push(&registry, "team/app").await;
    pull(&registry, "team/app").await.unwrap();
}

/// The registry refuses the pages of others on this machine only to whom it knows to be
/// here, so it was told.
#[tokio::test]
async fn programs_with_a_listener_of_their_own_tell_where_requests_come_from() {
    for path in [
        env!("CARGO_BIN_EXE_axum_app"),
        env!("CARGO_BIN_EXE_axum_sessions"),
        env!("CARGO_BIN_EXE_bare_hyper"),
    ] {
        let program = Program::start(path, &[]);
        let asked = async |host: &str| {
            let request = reqwest::Client::new().get(format!("{}/v2/", program.url()));
            let request = request.header("host", host);
            let request = request.header("origin", format!("http://{host}"));
            request.send().await.unwrap().status()
        };
        assert_ne!(asked("localhost").await, 403, "{path}");
        assert_eq!(asked("pages.example").await, 403, "{path}");
    }
}

#[tokio::test]
async fn custom_login_asks_the_programs_own_users() {
    let mut program = Program::start(env!("CARGO_BIN_EXE_custom_login"), &[]);
    let secret = program.line();
    let secret = secret
        .strip_prefix("the password of ann and of guest is ")
        .unwrap();
    let login_as = |user, password| {
        RemoteRegistry::builder(&program.url())
            .credentials(user, password)
            .build()
            .unwrap()
    };
    let login = |password| login_as("ann", password);
    push(&login(secret), "team/app").await;
    pull(&login(secret), "team/app").await.unwrap();
    for registry in [login("wrong"), program.registry()] {
        let error = pull(&registry, "team/app").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unauthorized);
    }
    let error = pull(&login(secret), "other/app").await;
    assert_eq!(error.unwrap_err().kind(), ErrorKind::Denied);

    let guest = login_as("guest", secret);
    let error = pull(&guest, "team/app").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied);
    push(&login(secret), "library/app").await;
    pull(&guest, "library/app").await.unwrap();
    let push = image().put(&["v1"]);
    let error = guest.put_manifest(&trusted("library/app"), push).await;
    assert_eq!(error.unwrap_err().kind(), ErrorKind::Denied);
}

/// The programs here, each with its path.
const PROGRAMS: &[(&str, &str)] = &[
    ("axum_app", env!("CARGO_BIN_EXE_axum_app")),
    ("axum_sessions", env!("CARGO_BIN_EXE_axum_sessions")),
    ("bare_hyper", env!("CARGO_BIN_EXE_bare_hyper")),
    ("caching_proxy", env!("CARGO_BIN_EXE_caching_proxy")),
    ("custom_blob_store", env!("CARGO_BIN_EXE_custom_blob_store")),
    ("custom_login", env!("CARGO_BIN_EXE_custom_login")),
    ("keyless_ci", env!("CARGO_BIN_EXE_keyless_ci")),
    ("push_listener", env!("CARGO_BIN_EXE_push_listener")),
];

/// S-50: no program has a login that is known to whoever reads it.
#[tokio::test]
async fn nothing_starts_with_a_known_secret() {
    let sources = concat!(env!("CARGO_MANIFEST_DIR"), "/src/bin");
    let mut texts = Vec::new();
    for entry in std::fs::read_dir(sources).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        if path.is_dir() {
            // The server is asked in tests of its own.
            assert_eq!(name, "registry");
            continue;
        }
        assert!(PROGRAMS.iter().any(|(known, _)| *known == name), "{name}");
        texts.push(std::fs::read_to_string(path).unwrap());
    }
    // So many that nobody is taken for guessing, who would be refused whatever it is.
    let users = [
        "admin", "root", "registry", "user", "test", "ci", "ann", "guest", "docker",
    ];
    for (name, path) in PROGRAMS {
        let directory = tempfile::tempdir().unwrap();
        let directory = directory.path().to_str().unwrap();
        let arguments = match *name {
            "caching_proxy" => vec!["http://127.0.0.1:1", directory],
            _ => Vec::new(),
        };
        let program = Program::start(path, &arguments);
        let url = format!("{}/v2/library/app/blobs/uploads/", program.url());
        let upload = async |login: Option<(&str, &str)>| {
            let request = reqwest::Client::new().post(&url);
            let request = match login {
                Some((user, password)) => request.basic_auth(user, Some(password)),
                None => request,
            };
            request.send().await.unwrap().status().as_u16()
        };
        // Who lets everybody in has no secret.
        if matches!(*name, "axum_sessions" | "custom_login" | "keyless_ci") {
            for user in users {
                for password in [user, "password", "secret", "changeme", "correct horse"] {
                    let status = upload(Some((user, password))).await;
                    assert_eq!(status, 401, "{name}: {user} {password}");
                    // Its own way in.
                    if *name == "axum_sessions" {
                        let sign_in = format!("{}/sign-in", program.url());
                        let body = format!("{user}:{password}");
                        let sent = reqwest::Client::new().post(sign_in).body(body).send();
                        assert_eq!(sent.await.unwrap().status(), 401, "{user} {password}");
                    }
                }
            }
        } else {
            assert_ne!(upload(None).await, 401, "{name}");
        }
    }
    let secrets = texts
        .iter()
        .flat_map(|text| text.split("matches(\"").skip(1));
    let secrets: Vec<_> = secrets.filter_map(|text| text.split('"').next()).collect();
    assert!(secrets.is_empty(), "{secrets:?}");
}

#[tokio::test]
async fn keyless_ci_lets_the_job_push_that_the_rules_mean() {
    let mut program = Program::start(env!("CARGO_BIN_EXE_keyless_ci"), &[]);
    assert_eq!(program.line(), "the job of main pushed org/app:main");
    assert_eq!(
        program.line(),
        "the job of feature may not push: 403 Forbidden"
    );
    let (registry, access) = (program.registry(), trusted("org/app"));
    let resolve = async |tag: &str| registry.resolve(&access, &tag.parse().unwrap()).await;
    resolve("main").await.unwrap();
    let error = resolve("feature").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ManifestUnknown);
    let push = image().put(&["v1"]);
    let error = registry.put_manifest(&access, push).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthorized);
}

#[tokio::test]
async fn axum_sessions_lets_in_who_is_signed_in_to_the_program() {
    let mut program = Program::start(env!("CARGO_BIN_EXE_axum_sessions"), &[]);
    let password = program.line();
    let password = password
        .strip_prefix("the password of ann and ben is ")
        .unwrap();
    let client = reqwest::Client::new();
    let sign_in = |who: &str, password: &str| {
        let url = format!("{}/sign-in", program.url());
        client.post(url).body(format!("{who}:{password}")).send()
    };
    assert_eq!(sign_in("ann", "wrong").await.unwrap().status(), 401);
    let id = sign_in("ann", password)
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    let docker = RemoteRegistry::builder(&program.url()).credentials("ann", id.as_str());
    let docker = docker.build().unwrap();
    for _ in 0..60 {
        let guess = client.get(format!("{}/v2/", program.url()));
        let refused = guess.basic_auth("ann", Some("wrong")).send().await.unwrap();
        assert_eq!(refused.status(), 401);
    }
    push(&docker, "people/ann/app").await;
    // In the open, where others may read it, no login is taken, however good it is.
    let elsewhere = client.get(format!("{}/v2/", program.url()));
    let elsewhere = elsewhere.header("host", "registry.example");
    let refused = elsewhere.basic_auth("ann", Some(&id)).send().await.unwrap();
    assert_eq!(refused.status(), 403);

    let page = |cookie: String| {
        let url = format!("{}/v2/people/ann/app/tags/list", program.url());
        client.get(url).header("cookie", cookie).send()
    };
    let cookie = format!("other=1; session={id}");
    let listed = page(cookie.clone()).await.unwrap().text().await.unwrap();
    assert_eq!(listed, r#"{"name":"people/ann/app","tags":["v1"]}"#);
    assert_eq!(page("session=x".into()).await.unwrap().status(), 401);
    let other = sign_in("ben", password)
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    let other = page(format!("session={other}")).await.unwrap();
    assert_eq!(other.status(), 403);

    let sign_out = client.post(format!("{}/sign-out", program.url()));
    sign_out.header("cookie", &cookie).send().await.unwrap();
    assert_eq!(page(cookie).await.unwrap().status(), 401);
    let error = pull(&docker, "people/ann/app").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthorized);
}

#[test]
fn the_documents_show_what_axum_sessions_does() {
    let lines = |text: &str| text.lines().map(str::trim).collect::<Vec<_>>().join("\n");
    let program = lines(include_str!("../src/bin/axum_sessions.rs"));
    let page = include_str!("../../docs/access-control.md");
    let heading = "\n## Sessions of a program of your own\n";
    let (_, section) = page.split_once(heading).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let shown = section.split("```rust\n").skip(1);
    let shown: Vec<_> = shown.filter_map(|text| text.split("```").next()).collect();
    assert_eq!(shown.len(), 3);
    for excerpt in shown {
        assert!(program.contains(&lines(excerpt)), "{excerpt}");
    }
}

#[test]
fn a_program_names_the_address_that_it_can_not_have() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let end = Command::new(env!("CARGO_BIN_EXE_axum_app"))
        .arg(&address)
        .output()
        .unwrap();
    assert!(!end.status.success());
    let said = String::from_utf8(end.stderr).unwrap();
    let sentence = format!("{address} can't be listened on");
    assert!(said.contains(&sentence), "{said}");
}

#[tokio::test]
async fn custom_blob_store_sees_what_is_opened() {
    let mut program = Program::start(env!("CARGO_BIN_EXE_custom_blob_store"), &[]);
    push(&program.registry(), "team/app").await;
    pull(&program.registry(), "team/app").await.unwrap();
    assert!(program.line().starts_with("opened "));
}

#[tokio::test]
async fn push_listener_hears_of_pushes() {
    let mut program = Program::start(env!("CARGO_BIN_EXE_push_listener"), &[]);
    push(&program.registry(), "team/app").await;
    let digest = image().manifest().digest;
    assert_eq!(program.line(), format!("deploy team/app:v1 as {digest}"));
}

#[tokio::test]
async fn caching_proxy_serves_what_it_has_seen() {
    let upstream = Program::start(env!("CARGO_BIN_EXE_axum_app"), &[]);
    push(&upstream.registry(), "team/app").await;
    let cache = tempfile::tempdir().unwrap();
    let arguments = [&*upstream.url(), cache.path().to_str().unwrap()];
    let proxy = Program::start(env!("CARGO_BIN_EXE_caching_proxy"), &arguments);
    pull(&proxy.registry(), "team/app").await.unwrap();
    drop(upstream);

    // What was pulled is kept a moment after its last byte was served.
    let deadline = tokio::time::Duration::from_secs(10);
    let kept = async {
        while pull(&proxy.registry(), "team/app").await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(deadline, kept).await.unwrap();
}

/// Docker asks where a tag points to, and pulls that by its digest.
#[tokio::test]
async fn caching_proxy_knows_a_tag_that_was_only_asked_about() {
    let upstream = Program::start(env!("CARGO_BIN_EXE_axum_app"), &[]);
    push(&upstream.registry(), "team/app").await;
    let cache = tempfile::tempdir().unwrap();
    let arguments = [&*upstream.url(), cache.path().to_str().unwrap()];
    let proxy = Program::start(env!("CARGO_BIN_EXE_caching_proxy"), &arguments);
    let (cache, access) = (proxy.registry(), trusted("team/app"));
    let tag = "v1".parse().unwrap();
    let found = cache.resolve(&access, &tag).await.unwrap();
    let pulled = cache.get_manifest(&access, &found.digest.into()).await;
    assert_eq!(pulled.unwrap().bytes, image().manifest().bytes);
    drop(upstream);
    assert_eq!(cache.resolve(&access, &tag).await.unwrap(), found);
    let pulled = cache.get_manifest(&access, &tag).await.unwrap();
    assert_eq!(pulled.bytes, image().manifest().bytes);
}
