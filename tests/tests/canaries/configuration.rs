//! Servers that don't start, and one that is spoken to in the wrong way.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;

use registry_tests::harness::{Launch, program};
use tempfile::TempDir;

use super::guarded::{HASH, heard_whole};
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
        let mut launch = Launch::new()
            .under(heard_whole())
            .env("REGISTRY_LOG_LEVEL", "trace");
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
        .under(heard_whole())
        .env("REGISTRY_LOG_LEVEL", "trace")
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
