//! Clients at a proxy where TLS ends: nginx, as `docs/access-control.md` has it.

use std::fmt::Write;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use registry_tests::harness::{Launch, Process, Tool, is_root, tool};

use super::encrypted::{certify, crane_goes, skopeo_goes};
use super::{Guarded, PASSWORD, Places, USER, fails, said};
use crate::{content, skopeo};

const PAGE: &str = include_str!("../../../../docs/access-control.md");

/// What is said where a login came in the open.
const IN_THE_OPEN: &str = "logins are taken over TLS only";

/// What the page has in the first block of this language.
fn block(language: &str) -> &'static str {
    let (_, rest) = PAGE.split_once(&format!("```{language}\n")).expect("it");
    rest.split_once("```").expect("its end").0
}

/// The value of the page's line about trusted proxies.
fn trusted_proxies() -> &'static str {
    let mut lines = PAGE.lines().map(str::trim);
    let value = lines.find_map(|line| line.strip_prefix("trustedproxies: "));
    value.expect("trusted proxies")
}

fn replaced(text: &str, shown: &str, here: &str) -> String {
    assert!(text.contains(shown), "{shown} isn't in:\n{text}");
    text.replace(shown, here)
}

/// A server, and nginx before it.
struct Proxied {
    _nginx: Process,
    /// Clients ask nginx, over TLS.
    guarded: Guarded,
    /// Where nginx speaks plain HTTP.
    plain: String,
    trusted: PathBuf,
}

fn start(nginx: &Tool) -> Proxied {
    let files = content::scratch();
    let directory = files.path().to_owned();
    let trusted = certify(&files);
    let launch = Launch::new().env("REGISTRY_HTTP_TRUSTEDPROXIES", trusted_proxies());
    let mut guarded = Guarded::launch(files, launch);
    let listeners = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").expect("a listener"));
    let [front, plain] = listeners.map(|listener| {
        let address = listener.local_addr().expect("a free address");
        address.to_string()
    });
    let configuration = configuration(&directory, &guarded, &front, &plain);
    fs::write(directory.join("nginx.conf"), configuration).expect("a file");
    let place = |name: &str| directory.join(name).display().to_string();
    let mut nginx = Process::spawn(&mut nginx.command([
        "-e",
        "stderr",
        "-p",
        &place(""),
        "-c",
        &place("nginx.conf"),
    ]))
    .grace(Duration::from_secs(10));
    nginx.wait_for("`start worker process`", Duration::from_mins(1), |line| {
        line.contains("start worker process ").then_some(())
    });
    guarded.front = Some(front);
    Proxied {
        _nginx: nginx,
        guarded,
        plain,
        trusted,
    }
}

/// The page's, but for addresses and files, and the same once more without TLS.
fn configuration(directory: &Path, guarded: &Guarded, front: &str, plain: &str) -> String {
    let place = |name: &str| directory.join(name).display().to_string();
    let shown = block("nginx");
    let server = replaced(
        shown,
        "http://127.0.0.1:5000",
        &format!("http://{}", guarded.server.host()),
    );
    let certificate = "    ssl_certificate registry.crt;\n    ssl_certificate_key registry.key;\n";
    let open = replaced(&server, certificate, "");
    let open = replaced(&open, "listen 443 ssl;", &format!("listen {plain};"));
    let server = replaced(&server, "registry.crt", &place("own.crt"));
    let server = replaced(&server, "registry.key", &place("own.key"));
    let server = replaced(&server, "listen 443 ssl;", &format!("listen {front} ssl;"));
    let mut text = format!(
        "daemon off;\npid '{}';\nerror_log stderr notice;\n",
        place("nginx.pid")
    );
    if is_root() {
        // The files belong to whoever runs the test.
        text.push_str("user root;\n");
    }
    text.push_str("events {}\nhttp {\naccess_log off;\n");
    for kind in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"] {
        writeln!(text, "{kind}_temp_path '{}';", place(kind)).expect("text");
    }
    text + &server + &open + "}\n"
}

#[test]
fn clients_log_in_push_and_pull_through_nginx() {
    let Some(nginx) = tool("nginx") else { return };
    let Some(skopeo) = skopeo::skopeo() else {
        return;
    };
    let Some(crane) = tool("crane") else { return };
    let proxied = start(&nginx);
    skopeo_goes(skopeo, &proxied.guarded, &proxied.trusted);
    crane_goes(crane, &proxied.guarded, &proxied.trusted);
}

#[test]
fn no_login_is_taken_beside_nginx_or_where_it_speaks_plain_http() {
    let Some(nginx) = tool("nginx") else { return };
    let Some(curl) = tool("curl") else { return };
    let Some(crane) = tool("crane") else { return };
    let proxied = start(&nginx);
    let server = proxied.guarded.server.host();
    let (_, port) = server.rsplit_once(':').expect("a port");
    let beside = format!("registry.example.com:{port}");
    let resolved = format!("{beside}:127.0.0.1");
    let login = format!("{USER}:{PASSWORD}");
    for (host, login) in [
        (beside.as_str(), Some(&login)),
        (&proxied.plain, Some(&login)),
        (&beside, None),
        (&proxied.plain, None),
    ] {
        let user = login.map(|login| ["--user", login]);
        let answer = curl.run(
            ["--silent", "--include", "--resolve", &resolved]
                .into_iter()
                .chain(user.into_iter().flatten())
                .chain([format!("http://{host}/v2/").as_str()]),
        );
        let told = said(&answer);
        assert!(told.starts_with("HTTP/1.1 403 "), "{host}: {told}");
        assert!(told.contains(IN_THE_OPEN), "{host}: {told}");
        // Nobody is asked for a password.
        assert!(!told.to_lowercase().contains("www-authenticate"), "{told}");
    }

    let places = Places::new();
    let layout = content::small(&places.at("pushed"));
    let crane = crane.env("DOCKER_CONFIG", places.at("docker"));
    crane.run(["auth", "login", "-u", USER, "-p", PASSWORD, &proxied.plain]);
    let reference = format!("{}/team/app:v1", proxied.plain);
    let push = crane.attempt(["push", "--insecure", &layout.path(), &reference]);
    fails("a push in the open", &push, &[IN_THE_OPEN]);
}
