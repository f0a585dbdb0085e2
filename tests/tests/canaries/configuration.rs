//! Servers that don't start, and one that is spoken to in the wrong way.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use registry_tests::harness::{Launch, program};
use tempfile::TempDir;

use super::guarded::{HASH, PASSWORD, USER, basic, free_address};
use super::secrets::Secrets;

const SECRET: &str = "canary-of-the-configuration-Kw8";

/// Files with secrets.
struct Files {
    directory: TempDir,
    secrets: Secrets,
}

impl Files {
    fn new() -> Self {
        let directory = TempDir::with_prefix("canaries-").expect("a temporary directory");
        let mut secrets = Secrets::default();
        secrets.plant("a secret of the configuration", SECRET);
        secrets.plant("a hash", HASH);
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]);
        let made = made.expect("a certificate");
        let key = made.signing_key.serialize_pem();
        secrets.plant_key("the key of the certificate", &key);
        let files = Self { directory, secrets };
        files.write("cert.pem", &made.cert.pem());
        files.write("key.pem", &key);
        files.write("cut.pem", &key[..key.len() / 2]);
        files.write("good", &format!("{USER}:{HASH}\n"));
        files.write("users", &format!("ann:{HASH}\nben:{SECRET}\n"));
        files.write("keys.json", &format!("{{\"keys\": [{{\"d\": \"{SECRET}\""));
        files
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.at(name), text).expect("a file");
    }

    fn at(&self, name: &str) -> String {
        let path = self.directory.path().join(name);
        path.to_str().expect("a path of text").to_owned()
    }

    fn assert_silent(&self, said: &str) {
        assert_eq!(self.secrets.found_in(said), [""; 0], "{said}");
    }
}

#[test]
fn s_91_a_server_says_what_keeps_it_from_starting_without_its_secrets() {
    let files = Files::new();
    let secret = || SECRET.to_owned();
    let variables: [&[(&str, String)]; 8] = [
        &[("STORAGE_S3_SECRETKEY", secret())],
        &[("PROXY_PASSWORD", secret())],
        &[("REDIS_PASSWORD", secret())],
        &[("NOTIFICATIONS_ENDPOINTS", format!("[{{headers: [{SECRET}"))],
        &[("AUTH_SILLY_REALM", secret())],
        &[
            ("AUTH_HTPASSWD_REALM", "r".to_owned()),
            ("AUTH_HTPASSWD_PATH", files.at("users")),
        ],
        &[
            ("HTTP_TLS_CERTIFICATE", files.at("cert.pem")),
            ("HTTP_TLS_KEY", files.at("cut.pem")),
        ],
        &[
            (
                "AUTH_TOKEN_REALM",
                "https://auth.example.com/token".to_owned(),
            ),
            ("AUTH_TOKEN_SERVICE", "registry".to_owned()),
            ("AUTH_TOKEN_ISSUER", "issuer".to_owned()),
            ("AUTH_TOKEN_JWKS", files.at("keys.json")),
        ],
    ];
    for variables in variables {
        let mut launch = Launch::new().env("REGISTRY_LOG_LEVEL", "trace");
        for (name, value) in variables {
            launch = launch.env(format!("REGISTRY_{name}"), value);
        }
        let Err(stopped) = launch.try_start() else {
            panic!("it starts with {:?}", variables.first());
        };
        files.assert_silent(&stopped.log);
        assert!(!stopped.log.trim().is_empty(), "{:?}", variables.first());
    }
}

#[test]
fn s_91_what_is_wrong_with_a_configuration_is_said_without_its_secrets() {
    let files = Files::new();
    for (name, content) in [
        ("cut.yml", format!("proxy: {{password: '{SECRET}\n")),
        (
            "unknown.yml",
            format!("storage: inmemory\nsecret: {SECRET}\n"),
        ),
        ("list.yml", format!("storage:\n  - {SECRET}\n")),
    ] {
        files.write(name, &format!("version: 0.1\n{content}"));
        let check = program().arg("check").arg(files.at(name)).output();
        let output = check.expect("the server's program");
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        assert!(!output.status.success(), "{said}");
        files.assert_silent(&said);
    }
}

#[test]
fn s_91_a_server_with_a_certificate_says_nothing_of_its_key() {
    let files = Files::new();
    let server = Launch::new()
        .env("REGISTRY_HTTP_TLS_CERTIFICATE", files.at("cert.pem"))
        .env("REGISTRY_HTTP_TLS_KEY", files.at("key.pem"))
        .start();
    let mut stream = TcpStream::connect(server.host()).expect("a connection");
    // It isn't spoken to as it should be.
    let request = format!("GET / HTTP/1.1\r\nAuthorization: {SECRET}\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("a request");
    let mut answer = Vec::new();
    // However it ends.
    let _ = stream.read_to_end(&mut answer);
    files.assert_silent(&String::from_utf8_lossy(&answer));
    files.assert_silent(&server.terminate().log);
}

#[test]
fn s_91_a_server_that_asks_a_webhook_says_nothing_of_its_secret() {
    let files = Files::new();
    files.write("secret", &format!("{SECRET}\n"));
    let nobody = free_address();
    let server = Launch::new()
        .env("REGISTRY_AUTH_WEBHOOK_URL", format!("http://{nobody}/"))
        .env("REGISTRY_AUTH_WEBHOOK_SECRETFILE", files.at("secret"))
        .env("REGISTRY_AUTH_HTPASSWD_REALM", "r")
        .env("REGISTRY_AUTH_HTPASSWD_PATH", files.at("good"))
        .start();
    let authorization = basic(USER, PASSWORD);
    let request = format!(
        "GET /v2/a/tags/list HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
         Authorization: {authorization}\r\n\r\n"
    );
    let mut stream = TcpStream::connect(server.host()).expect("a connection");
    stream.write_all(request.as_bytes()).expect("a request");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("an answer");
    files.assert_silent(&String::from_utf8_lossy(&answer));
    let log = server.terminate().log;
    assert!(log.contains("couldn't be reviewed"), "{log}");
    files.assert_silent(&log);
}

#[test]
fn s_91_a_server_that_obtains_its_certificate_says_nothing_of_its_account() {
    let mut files = Files::new();
    let key = rcgen::KeyPair::generate().expect("a key").serialize_der();
    let key = URL_SAFE_NO_PAD.encode(key);
    files.secrets.plant("the key of the account", &key);
    let nobody = free_address();
    let place = format!("acme/{}-directory", nobody.replace(':', "-"));
    fs::create_dir_all(files.at(&place)).expect("a directory");
    let directory = format!("https://{nobody}/directory");
    let account = serde_json::json!({
        "id": format!("https://{nobody}/account/1"), "key_pkcs8": key, "directory": directory,
    });
    let damaged = serde_json::json!({
        "id": account["id"], "key_pkcs8": account["key_pkcs8"], "directory": {"x": SECRET},
    });
    for (account, word) in [
        (account.to_string(), "obtained"),
        (damaged.to_string(), "can't be read"),
        (format!("\"{SECRET}\""), "can't be read"),
        (format!("[\"{key}\", \"{SECRET}\""), "can't be read"),
    ] {
        files.write(&format!("{place}/account.json"), &account);
        let mut server = Launch::new()
            .env("REGISTRY_HTTP_TLS_LETSENCRYPT_CACHEFILE", files.at("acme"))
            .env(
                "REGISTRY_HTTP_TLS_LETSENCRYPT_HOSTS",
                "[registry.example.com]",
            )
            .env("REGISTRY_HTTP_TLS_LETSENCRYPT_DIRECTORYURL", &directory)
            .start();
        for _ in 0..600 {
            if server.log().contains("level=error") {
                break;
            }
            std::thread::park_timeout(Duration::from_millis(100));
        }
        let said = server.terminate().log;
        assert!(said.contains(word), "{said}");
        files.assert_silent(&said);
    }
}
