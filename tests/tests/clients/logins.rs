//! Logins: whoever may push logs in and pushes, elsewhere it is told that it may not, and everybody else pulls from the
//! public repositories of the same server without a login.
//!
//! Every client does the same, each in its own way: see [`goes_in_and_out`]. What it keeps about logins is kept in a
//! directory that goes with the test.

mod copiers;
mod encrypted;
mod mounts;
mod proxied;
mod stores;

use std::cell::Cell;
use std::fs;
use std::path::PathBuf;

use registry_tests::harness::silence::{HASH, PASSWORD, WRONG};
use registry_tests::harness::{Launch, Output, Server};
use tempfile::TempDir;

use super::content::{self, path};

const USER: &str = "ann";

/// Somebody else, with the same password, who writes where nobody else may look.
const OTHER: &str = "ben";

const POLICY: &str = "\
version: 1
rules:
  - anyone is reader of public/**
  - user ann is writer of public/**
  - user ann is writer of team/**
  - user ben is writer of other/**
  - rule: nobody may push, overwrite public/frozen/**
    reason: this is frozen until the release
";

/// What somebody known is told about a repository that is none of its business, and somebody unknown about all others.
const REFUSED: &str = "you may not do this";
const FROZEN: &str = "this is frozen until the release";

/// A server with logins, which gives out tokens.
struct Guarded {
    server: Server,
    /// What clients ask in its place, if not itself.
    front: Option<String>,
    _files: TempDir,
}

impl Guarded {
    fn start() -> Self {
        Self::launch(content::scratch(), Launch::new())
    }

    /// With its own files among others.
    fn launch(files: TempDir, launch: Launch) -> Self {
        let file = |name: &str, text: &str| {
            let path = files.path().join(name);
            fs::write(&path, text).expect("a file");
            path
        };
        let server = launch
            .env("REGISTRY_AUTH_HTPASSWD_REALM", "clients")
            .env(
                "REGISTRY_AUTH_HTPASSWD_PATH",
                file("users", &format!("{USER}:{HASH}\n{OTHER}:{HASH}\n")),
            )
            .env("REGISTRY_AUTH_POLICY_PATH", file("policy.yml", POLICY))
            .start();
        Self {
            server,
            front: None,
            _files: files,
        }
    }

    /// Whom clients ask.
    fn host(&self) -> &str {
        self.front.as_deref().unwrap_or(self.server.host())
    }

    fn named(&self, repository: &str) -> String {
        format!("{}/{repository}", self.host())
    }
}

/// A client, with what it keeps about logins.
trait Client {
    /// Logs in as [`USER`]; without an outcome where a password is only kept, and noticed to be wrong when it is used.
    fn login(&mut self, host: &str, password: &str) -> Option<Output>;

    /// Forgets the login.
    fn logout(&mut self, host: &str);

    /// Pushes something small to a repository.
    fn push(&self, repository: &str) -> Output;

    /// Pulls what was pushed there, all of it over the network.
    fn pull(&self, repository: &str) -> Output;

    /// What it tags what it pushes with.
    fn tag(&self) -> &'static str {
        "v1"
    }

    /// Whether it shows what the server says, and not only how it says it in a number.
    fn shows_reasons(&self) -> bool {
        true
    }

    /// Whether it asks by HEAD before it pushes: the answer has no words to show.
    fn asks_first(&self) -> bool {
        false
    }
}

/// Everything that the client printed.
fn said(output: &Output) -> String {
    format!("{}\n{}", output.text(), output.stderr)
}

fn works(what: &str, output: &Output) {
    assert!(output.status.success(), "{what}: {}", said(output));
}

/// It fails, and says one of these.
fn fails(what: &str, output: &Output, any: &[&str]) {
    let said = said(output);
    assert!(
        output.status.code().is_some_and(|code| code != 0),
        "{what} should fail: {said}"
    );
    let plain = said.to_lowercase();
    assert!(
        any.iter().any(|part| plain.contains(&part.to_lowercase())),
        "{what} says none of {any:?}: {said}"
    );
}

/// How clients say that there is no login, or a wrong one.
const UNKNOWN: [&str; 6] = [
    "401",
    "unauthorized",
    "authentication required",
    "authorization failed",
    "invalid username/password",
    "log in to do this",
];

fn goes_in_and_out(client: &mut impl Client, guarded: &Guarded) {
    let host = guarded.host();
    let [own, public, foreign, frozen, new] = [
        "team/app",
        "public/app",
        "other/app",
        "public/frozen/app",
        "public/new/app",
    ]
    .map(|repository| guarded.named(repository));

    fails("a push without a login", &client.push(&own), &UNKNOWN);
    if let Some(login) = client.login(host, WRONG) {
        fails("a login with a wrong password", &login, &UNKNOWN);
    } else {
        let push = client.push(&own);
        fails("a push with a wrong password", &push, &UNKNOWN);
    }

    if let Some(login) = client.login(host, PASSWORD) {
        works("a login", &login);
    }
    works("a push", &client.push(&own));
    works("a push to a public repository", &client.push(&public));
    works("a pull", &client.pull(&own));
    let refused: &[&str] = if client.asks_first() {
        &["403 Forbidden", "403: Forbidden", "403 (Forbidden)"]
    } else {
        &[REFUSED]
    };
    fails("a push among others", &client.push(&foreign), refused);
    let denied = ["denied", "403"];
    fails("a pull from others", &client.pull(&foreign), &denied);
    // What keeps somebody who may pull from pushing is said.
    let push = client.push(&frozen);
    let reason = if client.shows_reasons() {
        FROZEN
    } else {
        "403 Forbidden"
    };
    fails("a push to what is frozen", &push, &[reason]);

    client.logout(host);
    works("a pull without a login", &client.pull(&public));
    fails("a pull without a login", &client.pull(&own), &UNKNOWN);
    fails("a push without a login", &client.push(&new), &UNKNOWN);

    let api = guarded.server.api();
    assert!(api.has_manifest("public/app", client.tag()));
    for (empty, status) in [
        ("team/app", 401),
        ("other/app", 401),
        ("public/frozen/app", 404),
        ("public/new/app", 404),
    ] {
        let answer = api.get(&format!("/v2/{empty}/manifests/{}", client.tag()));
        assert_eq!(answer.status(), status, "{empty}");
    }
}

/// Directories for what is pulled, each used once.
struct Places {
    scratch: TempDir,
    used: Cell<u32>,
}

impl Places {
    fn new() -> Self {
        Self {
            scratch: content::scratch(),
            used: Cell::new(0),
        }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    /// Where logins are kept by those who want the file to be there.
    fn logins(&self) -> PathBuf {
        let file = self.at("auth.json");
        fs::write(&file, "{}").expect("a file");
        file
    }

    fn next(&self) -> String {
        let number = self.used.get().wrapping_add(1);
        self.used.set(number);
        path(&self.at(&format!("pulled-{number}"))).to_owned()
    }
}
