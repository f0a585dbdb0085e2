//! A server that says all it can say, and what is heard of it.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use registry_tests::harness::{Launch, Server, program};
use serde_json::Value;
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use ureq::http::Request;

use super::secrets::{Secrets, hexadecimal};

pub(crate) const USER: &str = "ann";
pub(crate) const PASSWORD: &str = "canary-right-8Lq3vZ/+w";

/// Of the password.
pub(crate) const HASH: &str = "$2b$04$DCq7YPn5Rq63x1Lad4cll.I7SGTQCxNNO.9IYgMtv2jww3h2MtRdK";

pub(crate) const POLICY: &str = "\
version: 1
rules:
  - anyone is reader of public/**
  - user ann is maintainer of team/**
  - user ann may administer, audit **
  - robot ci is writer of team/**
  - workload ci sub=ann is reader of team/**
";

pub(crate) const FORM: &str = "application/x-www-form-urlencoded";
pub(crate) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// What a server let be heard.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    pub(crate) log: String,
    pub(crate) metrics: String,
    /// Requests, in a word, and what came back.
    pub(crate) answers: Vec<(String, String)>,
}

impl Heard {
    pub(crate) fn assert_silent(&self, secrets: &Secrets) {
        assert!(
            !self.log.contains("messages are missing"),
            "not all of the log was searched"
        );
        assert_eq!(
            secrets.found_in(&self.log),
            [""; 0],
            "the log:\n{}",
            self.log
        );
        assert_eq!(secrets.found_in(&self.metrics), [""; 0], "{}", self.metrics);
        for (request, answer) in &self.answers {
            assert_eq!(secrets.found_in(answer), [""; 0], "{request}:\n{answer}");
        }
    }
}

/// A server with logins that says all it can say, and what is known about it.
pub(crate) struct Guarded {
    server: Server,
    pub(crate) secrets: Secrets,
    heard: Heard,
    agent: ureq::Agent,
    metrics: String,
    pub(crate) files: TempDir,
    /// Vouches for jobs.
    _issuer: Server,
    /// What it says of one.
    pub(crate) job: String,
}

impl Guarded {
    pub(crate) fn start() -> Self {
        let files = TempDir::with_prefix("canaries-").expect("a temporary directory");
        let at = |name: &str| files.path().join(name);
        let mut secrets = Secrets::default();
        secrets.plant_login("the right password", USER, PASSWORD);
        secrets.plant("the hash of the password", HASH);
        fs::create_dir(at("root")).expect("a directory");
        fs::write(at("users"), format!("{USER}:{HASH}\n")).expect("a file");
        fs::write(at("policy.yml"), POLICY).expect("a file");
        let key = make_key(&at("root"));
        secrets.plant_login("the key of a robot", "robot$ci", &key);
        secrets.plant(
            "the secret in the key of a robot",
            key.rsplit_once('_')
                .map(|(key, _)| last(key))
                .expect("a secret"),
        );
        let secret = "canary-of-the-configuration";
        secrets.plant("the secret of the configuration", secret);
        let agent = agent();
        let issuer = Launch::new()
            .env("REGISTRY_AUTH_HTPASSWD_REALM", "jobs")
            .env("REGISTRY_AUTH_HTPASSWD_PATH", at("users"))
            .env("REGISTRY_AUTH_TOKENSERVER_ISSUER", "login")
            .env("REGISTRY_AUTH_TOKENSERVER_SERVICE", "apps")
            .start();
        let job = token_of_job(&agent, &issuer);
        secrets.plant_token("the token of a job", &job);
        let job_keys = format!("http://{}/v2/token/jwks.json", issuer.host());
        let metrics = free_address();
        let server = Launch::new()
            .root(at("root"))
            .env("REGISTRY_HTTP_SECRET", secret)
            .env("REGISTRY_HTTP_DEBUG_ADDR", &metrics)
            .env("REGISTRY_HTTP_DEBUG_PROMETHEUS_ENABLED", "true")
            .env("REGISTRY_STORAGE_DELETE_ENABLED", "true")
            .env("REGISTRY_AUTH_HTPASSWD_REALM", "canaries")
            .env("REGISTRY_AUTH_HTPASSWD_PATH", at("users"))
            .env("REGISTRY_AUTH_POLICY_PATH", at("policy.yml"))
            .env("REGISTRY_AUTH_OIDC_CI_ISSUER", "login")
            .env("REGISTRY_AUTH_OIDC_CI_AUDIENCE", "apps")
            .env("REGISTRY_AUTH_OIDC_CI_JWKS", job_keys)
            .start();
        Self {
            server,
            secrets,
            heard: Heard::default(),
            agent,
            metrics,
            files,
            _issuer: issuer,
            job,
        }
    }

    /// Sends a request; with what is heard of the answer.
    pub(crate) fn send(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Value {
        let url = format!("http://{}{path}", self.server.host());
        let mut request = Request::builder().method(method).uri(&url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = if body.is_empty() && method != "POST" && method != "PUT" {
            self.agent.run(request.body(()).expect("a request"))
        } else {
            self.agent.run(request.body(body).expect("a request"))
        };
        let mut answer = answer.unwrap_or_else(|error| panic!("{method} {path}: {error}"));
        let status = answer.status().as_u16();
        let head = format!("{status} {:?}", answer.headers());
        let body = answer.body_mut().read_to_vec().expect("a whole answer");
        let text = String::from_utf8_lossy(&body).into_owned();
        // Whoever asks for a token gets it.
        let gives_tokens = status == 200 && path.starts_with("/v2/token");
        let gives_keys = status == 201 && path.starts_with("/api/v1/");
        if !gives_tokens && !gives_keys {
            let answer = (format!("{method} {path}"), format!("{head}\n{text}"));
            self.heard.answers.push(answer);
        }
        let location = answer
            .headers()
            .get("location")
            .map(http::HeaderValue::as_bytes);
        let location = location.map(String::from_utf8_lossy);
        serde_json::json!({
            "status": status,
            "location": location,
            "body": serde_json::from_str(&text).unwrap_or(Value::Null),
        })
    }

    pub(crate) fn get(&mut self, path: &str, authorization: &str) -> u64 {
        let headers = [("authorization", authorization), ("accept", MANIFEST)];
        let answer = self.send("GET", path, &headers, b"");
        answer["status"].as_u64().expect("a status")
    }

    /// Asks about something, of which the answer tells whoever asked.
    pub(crate) fn ask_about(&mut self, path: &str, headers: &[(&str, &str)]) {
        let before = self.heard.answers.len();
        self.send("GET", path, headers, b"");
        self.heard.answers.truncate(before);
    }

    pub(crate) fn form(&mut self, path: &str, form: &str) -> Value {
        self.send("POST", path, &[("content-type", FORM)], form.as_bytes())
    }

    /// Pushes a small image to `team/app`.
    pub(crate) fn push(&mut self, authorization: &str) -> String {
        let of = |bytes: &[u8]| format!("sha256:{}", hexadecimal(&Sha256::digest(bytes)));
        let blob = b"{}";
        let begun = self.send(
            "POST",
            "/v2/team/app/blobs/uploads/",
            &[("authorization", authorization)],
            b"",
        );
        assert_eq!(begun["status"], 202, "{begun}");
        let location = begun["location"].as_str().expect("a place to upload to");
        let sign = if location.contains('?') { '&' } else { '?' };
        let target = format!("{location}{sign}digest={}", of(blob));
        let done = self.send("PUT", &target, &[("authorization", authorization)], blob);
        assert_eq!(done["status"], 201, "{done}");
        let config = serde_json::json!({
            "mediaType": "application/vnd.oci.image.config.v1+json", "digest": of(blob), "size": 2,
        });
        let manifest = serde_json::json!({
            "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [],
        });
        let done = self.send(
            "PUT",
            "/v2/team/app/manifests/v1",
            &[("authorization", authorization), ("content-type", MANIFEST)],
            manifest.to_string().as_bytes(),
        );
        assert_eq!(done["status"], 201, "{done}");
        of(blob)
    }

    /// Sends these bytes, which are no request that a client would send.
    pub(crate) fn shout(&mut self, what: &str, bytes: &str) {
        let mut stream = TcpStream::connect(self.server.host()).expect("a connection");
        stream.write_all(bytes.as_bytes()).expect("a request");
        let mut answer = Vec::new();
        // However it ends.
        let _ = stream.read_to_end(&mut answer);
        let answer = String::from_utf8_lossy(&answer).into_owned();
        self.heard.answers.push((what.to_owned(), answer));
    }

    /// Asks for something until the log has a word about it.
    pub(crate) fn until_told(&mut self, word: &str, mut ask: impl FnMut(&mut Self)) {
        for _ in 0..600 {
            ask(self);
            if self.server.log().contains(word) {
                return;
            }
            std::thread::park_timeout(Duration::from_millis(100));
        }
        panic!("the log says nothing of {word:?}:\n{}", self.server.log());
    }

    /// Stops it and gives all that was heard.
    pub(crate) fn end(mut self) -> (Secrets, Heard) {
        let url = format!("http://{}/metrics", self.metrics);
        let mut metrics = self.agent.get(&url).call().expect("the metrics");
        self.heard.metrics = metrics.body_mut().read_to_string().expect("the metrics");
        let keys = self.files.path().join("root/auth/keys");
        for key in fs::read_dir(keys).expect("the keys that sign tokens") {
            let pem = fs::read_to_string(key.expect("a key").path()).expect("a key");
            self.secrets.plant_key("the key that signs tokens", &pem);
        }
        self.heard.log = self.server.terminate().log;
        (self.secrets, self.heard)
    }
}

fn agent() -> ureq::Agent {
    ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(Duration::from_mins(1)))
        .build()
        .into()
}

/// What another system says of a job of its own, here a registry of a user.
fn token_of_job(agent: &ureq::Agent, issuer: &Server) -> String {
    let url = format!("http://{}/v2/token?service=apps", issuer.host());
    let request = agent.get(&url);
    let request = request.header("authorization", basic(USER, PASSWORD));
    let mut answer = request.call().expect("an answer");
    let answer = answer.body_mut().read_to_vec().expect("a whole answer");
    let answer: Value = serde_json::from_slice(&answer).expect("JSON");
    answer["token"].as_str().expect("a token").to_owned()
}

/// Makes a robot and a key for it.
pub(crate) fn make_key(root: &Path) -> String {
    let auth = |arguments: &[&str]| {
        let output = program()
            .arg("auth")
            .args(arguments)
            .arg("--root")
            .arg(root)
            .output()
            .expect("the server's binary");
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{arguments:?}: {told}");
        // It may say that no server uses the data yet.
        assert!(!told.contains("rgk_"), "{arguments:?}: {told}");
        output.stdout
    };
    auth(&["robot", "create", "ci"]);
    let key: Value =
        serde_json::from_slice(&auth(&["key", "create", "ci", "--json"])).expect("JSON");
    key["secret"].as_str().expect("a key").to_owned()
}

/// The secret at the end: 32 bytes in base64 for URLs, in which `_` is a digit.
pub(crate) fn last(text: &str) -> &str {
    &text[text.len().saturating_sub(43)..]
}

/// Nobody listens there now.
pub(crate) fn free_address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address").to_string()
}

pub(crate) fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}
