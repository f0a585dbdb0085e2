//! The program with users, rules, robots and repositories.

use registry_tests::harness::silence::PASSWORD;
use std::collections::BTreeMap;
use std::fmt::Write as _;

use registry_core::{Algorithm, UploadId};
use serde_json::Value;

use crate::matrix::connection::{Answer, Connection};
use crate::matrix::principals::{Somebody, basic};
use crate::observed::free_address;
use crate::program::{Program, Setup};

/// The repositories that somebody may ask about, and whether they are there.
pub(crate) const REPOSITORIES: &[(&str, bool)] = &[
    ("open/there", true),
    ("secret/there", true),
    ("secret/never", false),
];

/// What only those see who see everything.
pub(crate) const VAULT: &str = "vault/there";

/// What is in all content, and in no answer to somebody who is refused.
pub(crate) const CANARY: &str = "canary";

const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// What it means is written a second time in the [model](crate::matrix::model). `keeper`
/// is none of those who ask.
const POLICY: &str = "\
version: 1
rules:
  - anyone is reader of open/**
  - user reader is reader of secret/**
  - robot bot is reader of secret/**
  - user creator may list, pull, push secret/**
  - user writer is writer of secret/**
  - user cleaner may list, pull, delete secret/**
  - user stranger is writer of elsewhere/**
  - user auditor is auditor of **
  - user root is admin of **
  - user keeper is admin of **
";

const USERS: &[&str] = &[
    "reader", "creator", "writer", "cleaner", "stranger", "auditor", "root", "keeper",
];

/// Passwords are wrong again and again, and nobody is to wait for that.
const CONFIGURATION: &str = "\
version: 0.1
log: {accesslog: {disabled: true}}
storage: {inmemory: {}, delete: {enabled: true}}
auth:
  htpasswd: {realm: r, path: users}
  policy: {path: policy.yml}
  tokenserver: {keys: signing}
  limits: {wrongpasswords: 1000000, wrongperaddress: 1000000, wrongpername: 1000000}
";

/// The program, and what is in it.
pub(crate) struct World {
    pub(crate) program: Program,
    /// Where the pages for watchers are.
    pub(crate) side: String,
    pub(crate) keeper: Connection,
    /// The ids of keys, by what paths call them.
    keys: BTreeMap<&'static str, String>,
    /// The uploads that the keeper has, by their repositories.
    uploads: BTreeMap<&'static str, String>,
}

impl World {
    pub(crate) fn start() -> Self {
        let side = free_address().to_string();
        let http = format!(
            "http:\n  addr: 127.0.0.1:0\n  debug: {{addr: '{side}', prometheus: {{enabled: true}}}}\n"
        );
        let hash = bcrypt::hash(PASSWORD, 4).unwrap();
        let users: Vec<_> = USERS.iter().map(|user| format!("{user}:{hash}")).collect();
        let program = Setup::serve(&format!("{CONFIGURATION}{http}"))
            .file("users", users.join("\n"))
            .file("policy.yml", POLICY)
            .start();
        let mut world = Self {
            keeper: Connection::to(&program.address),
            program,
            side,
            keys: BTreeMap::new(),
            uploads: BTreeMap::new(),
        };
        world.push_blob(VAULT, "hidden");
        for (name, is_there) in REPOSITORIES {
            if *is_there {
                world.restore(name);
                let upload = world.begin_upload(name, &[basic("keeper", PASSWORD)]);
                world.uploads.insert(*name, upload);
            }
        }
        for robot in ["bot", "other"] {
            let document = format!(r#"{{"name":"{robot}"}}"#);
            world.manage("POST", "robots", &document, 201);
        }
        let (foreign, _) = world.make_key("robots/other/keys");
        world.keys.insert("foreign", foreign);
        world.restore_management();
        world
    }

    /// What the keeper is answered.
    fn keep(&mut self, method: &str, path: &str, what: &str) -> Answer {
        let headers = [basic("keeper", PASSWORD), format!("content-type: {INDEX}")];
        self.keeper.ask(method, path, &headers, &content(what))
    }

    /// Manages something as the keeper, or asks for keys of root's own.
    pub(crate) fn manage(&mut self, method: &str, path: &str, body: &str, status: u16) -> Value {
        let who = if path.starts_with("keys") {
            "root"
        } else {
            "keeper"
        };
        let headers = [
            basic(who, PASSWORD),
            "content-type: application/json".to_owned(),
        ];
        let path = format!("/api/v1/{path}");
        let answer = self.keeper.ask(method, &path, &headers, body);
        assert_eq!(answer.status, status, "{method} {path}: {answer:?}");
        serde_json::from_str(&answer.body).unwrap_or_default()
    }

    /// Makes a key, and returns its id and itself.
    pub(crate) fn make_key(&mut self, at: &str) -> (String, String) {
        let key = self.manage("POST", at, "{}", 201);
        let text = |member: &str| key[member].as_str().unwrap().to_owned();
        (text("id"), text("secret"))
    }

    fn push_blob(&mut self, name: &str, what: &str) {
        let path = format!("/v2/{name}/blobs/uploads/?digest={}", digest(what));
        assert_eq!(self.keep("POST", &path, what).status, 201);
    }

    /// Makes a repository what it was, whatever somebody who might has done to it.
    pub(crate) fn restore(&mut self, name: &str) {
        for tag in ["v8", "v9", "new", &digest("other")] {
            self.keep("DELETE", &format!("/v2/{name}/manifests/{tag}"), "");
        }
        for what in ["new", "hidden", "whole"] {
            self.keep("DELETE", &format!("/v2/{name}/blobs/{}", digest(what)), "");
        }
        self.push_blob(name, "blob");
        for tag in ["latest", "v1", "keep"] {
            let path = format!("/v2/{name}/manifests/{tag}");
            assert_eq!(self.keep("PUT", &path, "image").status, 201);
        }
    }

    /// Makes robots and keys what they were.
    pub(crate) fn restore_management(&mut self) {
        for robot in ["new", "ci"] {
            let path = format!("/api/v1/robots/{robot}");
            let headers = [basic("keeper", PASSWORD)];
            self.keeper.ask("DELETE", &path, &headers, "");
        }
        self.manage("POST", "robots", r#"{"name":"ci"}"#, 201);
        let (key, _) = self.make_key("robots/ci/keys");
        self.keys.insert("key", key);
        if let Some(own) = self.keys.get("own").cloned() {
            let headers = [basic("root", PASSWORD)];
            let path = format!("/api/v1/keys/{own}");
            self.keeper.ask("DELETE", &path, &headers, "");
        }
        let (own, _) = self.make_key("keys");
        self.keys.insert("own", own);
    }

    /// All that anybody could have changed who mustn't.
    pub(crate) fn state(&mut self) -> String {
        let mut state = String::new();
        let names = REPOSITORIES.iter().map(|(name, _)| *name).chain([VAULT]);
        for name in names {
            let tags = self.keep("GET", &format!("/v2/{name}/tags/list"), "").body;
            writeln!(state, "{tags}").unwrap();
            for tag in ["latest", "v1", "keep"] {
                let answer = self.keep("HEAD", &format!("/v2/{name}/manifests/{tag}"), "");
                let digest = answer.header("docker-content-digest");
                writeln!(state, "{name} {tag}: {digest:?}").unwrap();
            }
            for what in ["blob", "hidden", "new", "whole"] {
                let path = format!("/v2/{name}/blobs/{}", digest(what));
                let status = self.keep("HEAD", &path, "").status;
                writeln!(state, "{name} {what}: {status}").unwrap();
            }
            if let Some(upload) = self.uploads.get(name) {
                let path = format!("/v2/{name}/blobs/uploads/{upload}");
                let answer = self.keep("GET", &path, "");
                let range = answer.header("range");
                writeln!(state, "{name} {}: {range:?}", answer.status).unwrap();
            }
        }
        let robots = self.manage("GET", "robots", "", 200);
        for robot in robots["robots"].as_array().unwrap() {
            let (name, disabled) = (&robot["name"], &robot["disabled"]);
            writeln!(state, "{name} {disabled} {}", robot["groups"]).unwrap();
        }
        for (called, at) in [
            ("key", "robots/ci/keys"),
            ("foreign", "robots/other/keys"),
            ("own", "keys"),
        ] {
            let keys = self.manage("GET", at, "", 200).to_string();
            let is_there = keys.contains(&self.keys[called]);
            writeln!(state, "{called}: {is_there}").unwrap();
        }
        state
    }

    /// Begins an upload with some bytes in it.
    pub(crate) fn begin_upload(&mut self, name: &str, headers: &[String]) -> String {
        let path = format!("/v2/{name}/blobs/uploads/");
        let begun = self.keeper.ask("POST", &path, headers, "");
        assert_eq!(begun.status, 202, "{begun:?}");
        let place = begun.header("location").unwrap().to_owned();
        let appended = self.keeper.ask("PATCH", &place, headers, "some");
        assert_eq!(appended.status, 202, "{appended:?}");
        let last = place.rsplit('/').next().unwrap();
        last.split('?').next().unwrap().to_owned()
    }

    /// A path with its places filled in for `who`. `name` is the repository, `spelled` what
    /// is to be written for its name, and `pushes` whether `who` may have uploads there.
    pub(crate) fn path(
        &mut self,
        template: &str,
        who: &Somebody,
        (name, spelled): (&str, &str),
        pushes: bool,
    ) -> String {
        let (path, query) = template.split_once('?').unwrap_or((template, ""));
        let mark = if query.is_empty() { "" } else { "?" };
        let query = query.replace("{name}", name);
        let mut path = format!("{}{mark}{query}", path.replace("{name}", spelled));
        for what in ["blob", "hidden", "image", "other", "new", "whole"] {
            path = path.replace(&format!("{{{what}}}"), &digest(what));
        }
        for (called, id) in &self.keys {
            path = path.replace(&format!("{{{called}}}"), id);
        }
        let never = UploadId::from_random([7; 16]).to_string();
        let foreign = self.uploads.get(name).unwrap_or(&never).clone();
        path = path.replace("{foreign upload}", &foreign);
        if path.contains("{upload}") {
            let own = if pushes && self.uploads.contains_key(name) {
                self.begin_upload(name, &who.headers)
            } else {
                foreign
            };
            path = path.replace("{upload}", &own);
        }
        path
    }
}

/// What is called so here.
pub(crate) fn content(what: &str) -> String {
    match what {
        "image" | "other" => format!(
            r#"{{"schemaVersion":2,"mediaType":"{INDEX}","manifests":[],"annotations":{{"{CANARY}":"{what}"}}}}"#
        ),
        "whole" => "somemore".to_owned(),
        "blob" | "hidden" | "new" => format!("{CANARY} {what}"),
        _ => what.to_owned(),
    }
}

pub(crate) fn digest(what: &str) -> String {
    let content = content(what);
    Algorithm::Sha256.digest(content.as_bytes()).to_string()
}
