//! What others than this machine reach, in the open or not.

use registry_tests::harness::silence::PASSWORD;
use reqwest::{Client, StatusCode};
use rustix::process::Signal;
use serde_json::Value;

use crate::program::{Setup, eventually};

#[test]
fn others_than_this_machine_are_not_spoken_to_in_the_open_unless_that_is_asked_for() {
    const LOGINS: &str = "auth: {htpasswd: {realm: r, path: users}}\n";
    let hash = bcrypt::hash(PASSWORD, 4).unwrap();
    for auth in [LOGINS, ""] {
        let open = |more: &str| {
            Setup::serve(&format!(
                "version: 0.1\nstorage: {{filesystem: {{rootdirectory: data}}}}\nhttp:\n  \
                 addr: '0.0.0.0:0'\n{more}{auth}"
            ))
            .file("users", format!("ann:{hash}\n"))
        };
        let no = "  plaintext: false\n";
        for refused in [
            open(""),
            open(no),
            open("  plaintext: true\n").variable("REGISTRY_HTTP_PLAINTEXT", "false"),
            // Without a port, as the Docker registry's own file has it.
            open("").variable("REGISTRY_HTTP_ADDR", ":0"),
            // A proxy on this machine needs nobody else to reach it.
            open("  trustedproxies: [127.0.0.1, '::1']\n"),
        ] {
            let mut program = refused.begin();
            assert_eq!(program.wait().code(), Some(2));
            let told = program.stderr();
            for part in [
                if auth.is_empty() {
                    "images"
                } else {
                    "passwords"
                },
                "http.tls.certificate",
                "http.plaintext: true",
                "REGISTRY_HTTP_PLAINTEXT=true",
                "--plain-http",
            ] {
                assert!(told.contains(part), "{part}: {told}");
            }
            // Only logins come through the proxies alone.
            let by_proxies = told.contains("http.trustedproxies");
            assert_eq!(by_proxies, !auth.is_empty(), "{told}");
            assert!(!program.path("data").try_exists().unwrap());
        }
        for asked in [
            open("  plaintext: true\n"),
            open("").variable("REGISTRY_HTTP_PLAINTEXT", "true"),
            open("").variable("REGISTRY_HTTP_ADDR", "127.0.0.1:0"),
            open("").arguments(&["--plain-http"]),
            open("").arguments(&["--addr", "127.0.0.1:0"]),
        ] {
            asked.start();
        }
        let behind_proxies = open("  trustedproxies: [127.0.0.1, 10.0.0.1]\n");
        if auth.is_empty() {
            let mut program = behind_proxies.begin();
            assert_eq!(program.wait().code(), Some(2));
        } else {
            behind_proxies.start();
        }
    }

    let everybody = || Setup::new().arguments(&["--addr", "0.0.0.0:0"]);
    let mut program = everybody().begin();
    assert_eq!(program.wait().code(), Some(2));
    assert!(
        program.stderr().contains("--plain-http"),
        "{}",
        program.stderr()
    );
    assert!(!program.path("registry-data").try_exists().unwrap());
    everybody().arguments(&["--plain-http"]).start();
}

/// What the Docker registry's image ships with, less what isn't of interest here.
const SHIPPED: &str = "\
version: 0.1
log:
  fields:
    service: registry
storage:
  cache:
    blobdescriptor: inmemory
  filesystem:
    rootdirectory: data
http:
  addr: :5000
  headers:
    X-Content-Type-Options: [nosniff]
health:
  storagedriver:
    enabled: true
    interval: 10s
    threshold: 3
";

#[test]
fn a_configuration_of_the_docker_registry_is_moved_by_one_line() {
    let check = |file: &str| {
        let setup = Setup::new().file("config.yml", file);
        let end = setup.arguments(&["check", "config.yml", "--json"]).run();
        let answer: Value = serde_json::from_str(&end.stdout).unwrap();
        answer["problems"].as_array().unwrap().clone()
    };
    let problems = check(SHIPPED);
    assert_eq!(problems.len(), 1, "{problems:?}");
    let told = problems[0]["message"].as_str().unwrap();
    assert!(told.contains("`http.plaintext: true`"), "{told}");
    assert_eq!(problems[0]["line"], 11, "{problems:?}");
    let moved = SHIPPED.replace("  addr: :5000\n", "  addr: :5000\n  plaintext: true\n");
    assert_eq!(check(&moved), [Value::Null; 0]);
}

#[test]
fn checking_and_serving_refuse_what_would_be_sent_in_the_open() {
    let users = format!("alice:{}\n", bcrypt::hash(PASSWORD, 4).unwrap());
    let storage = "version: 0.1\nstorage: inmemory\n";
    let logins = "auth: {htpasswd: {realm: r, path: users}}\n";
    for (auth, what) in [
        (logins, "passwords would be sent to it unencrypted"),
        ("", "images would be sent to it and from it unencrypted"),
        (
            "auth: none\n",
            "images would be sent to it and from it unencrypted",
        ),
    ] {
        // Where it isn't said, it would be in its section, or else somewhere in the file.
        let line = if auth.is_empty() { 3 } else { 4 };
        for (http, place) in [
            ("http:\n  addr: :0\n", format!("config.yml:{}: ", line + 1)),
            (
                "http:\n  addr: 0.0.0.0:0\n",
                format!("config.yml:{}: ", line + 1),
            ),
            ("http: {addr: '127.0.0.1:0'}\n", String::new()),
            ("http: {addr: 'localhost:0'}\n", String::new()),
            ("http: {addr: ':0', plaintext: true}\n", String::new()),
            ("http: {prefix: /x/}\n", format!("config.yml:{line}: ")),
            ("", "config.yml: ".to_owned()),
        ] {
            let file = format!("{storage}{auth}{http}");
            let setup = || {
                let setup = Setup::new().file("config.yml", &file);
                setup.file("users", &users)
            };
            let end = setup().arguments(&["check", "config.yml"]).run();
            if place.is_empty() {
                assert!(end.stdout.ends_with("nothing is wrong\n"), "{file}{end:?}");
                continue;
            }
            assert_eq!(end.status.code(), Some(2), "{file}{end:?}");
            let sentence = end.stdout.trim_end();
            assert_eq!(sentence.lines().count(), 1, "{file}{end:?}");
            assert!(sentence.starts_with(&place), "{file}{end:?}");
            assert!(sentence.contains(what), "{file}{end:?}");
            if !http.contains("addr") {
                assert!(sentence.contains("others than this machine reach [::]:5000"));
                continue;
            }
            // The same, but for the port that it got.
            let end = setup().arguments(&["serve", "config.yml"]).run();
            assert_eq!(end.status.code(), Some(2), "{file}{end:?}");
            let (start, _) = sentence.split_once(":0, and").unwrap();
            assert!(end.stderr.contains(start), "{file}{end:?}");
        }
    }
}

#[test]
fn checking_says_who_can_not_log_in_beside_the_proxies() {
    let users = format!("alice:{}\n", bcrypt::hash(PASSWORD, 4).unwrap());
    let auth = "auth: {htpasswd: {realm: r, path: users}}\n";
    for (http, auth, remarks) in [
        ("addr: ':0', trustedproxies: 10.0.0.1", auth, true),
        ("addr: '127.0.0.1:0', trustedproxies: 10.0.0.1", auth, false),
        (
            "addr: ':0', trustedproxies: 10.0.0.1, plaintext: true",
            auth,
            false,
        ),
    ] {
        let file = format!("version: 0.1\nstorage: inmemory\n{auth}http: {{{http}}}\n");
        let end = Setup::new()
            .file("config.yml", &file)
            .file("users", &users)
            .arguments(&["check", "config.yml"])
            .run();
        assert!(end.stdout.ends_with("nothing is wrong\n"), "{file}{end:?}");
        let remark = "config.yml:4: logins are taken through these proxies only";
        assert_eq!(end.stdout.contains(remark), remarks, "{file}{end:?}");
    }
}

#[tokio::test]
async fn logins_are_taken_in_the_open_only_where_that_was_asked_for() {
    let hash = bcrypt::hash(PASSWORD, 4).unwrap();
    let https = Some("https");
    for (more, host, scheme, status) in [
        ("", "localhost", None, StatusCode::OK),
        // Some proxy asks, for somebody elsewhere.
        ("", "registry.example", None, StatusCode::FORBIDDEN),
        ("", "registry.example", https, StatusCode::FORBIDDEN),
        ("plaintext: true", "registry.example", None, StatusCode::OK),
        (
            "trustedproxies: [127.0.0.1]",
            "registry.example",
            https,
            StatusCode::OK,
        ),
        (
            "trustedproxies: [127.0.0.1]",
            "registry.example",
            Some("http"),
            StatusCode::FORBIDDEN,
        ),
        (
            "trustedproxies: [127.0.0.1]",
            "registry.example",
            None,
            StatusCode::FORBIDDEN,
        ),
        (
            "trustedproxies: [10.0.0.0/8]",
            "registry.example",
            https,
            StatusCode::FORBIDDEN,
        ),
        (
            "host: http://registry.example",
            "registry.example",
            None,
            StatusCode::OK,
        ),
    ] {
        let program = Setup::serve(&format!(
            "version: 0.1\nstorage: inmemory\nauth: {{htpasswd: {{realm: r, path: users}}}}\n\
             http:\n  addr: 127.0.0.1:0\n  {more}\n"
        ))
        .file("users", format!("ann:{hash}\n"))
        .start();
        let url = format!("http://{}/v2/", program.address);
        let request = Client::new().get(&url).header("host", host);
        let request = match scheme {
            Some(scheme) => request.header("x-forwarded-proto", scheme),
            None => request,
        };
        let request = request.basic_auth("ann", Some(PASSWORD));
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), status, "{more} {host} {scheme:?}");
    }
}

/// Serves with `more` in the configuration, and returns the line about being
/// open to everybody, if there is one.
async fn warning(address: &str, more: &str) -> Option<String> {
    let users = format!("alice:{}\n", bcrypt::hash(PASSWORD, 4).unwrap());
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let program = Setup::serve(&format!(
        "version: 0.1\nstorage: inmemory\nhttp:\n  addr: '{address}'\n{more}"
    ))
    .file("users", users)
    .file("c.pem", made.cert.pem())
    .file("k.pem", made.signing_key.serialize_pem())
    .start();
    // The messages of a start are in order; the first request is told of later.
    let warned = || {
        let said = program.stderr();
        let mut lines = said.lines().filter(|line| line.contains("without a login"));
        let warned = lines.next().map(str::to_owned);
        assert_eq!(lines.next(), None);
        warned
    };
    if more.contains("auth") || address.starts_with("127.") {
        return warned();
    }
    eventually("it warns", async || warned().is_some()).await;
    let warned = warned().unwrap();
    assert!(warned.contains(&program.address), "{warned}");
    Some(warned)
}

#[tokio::test]
async fn it_warns_if_others_reach_it_and_need_no_login() {
    const TLS: &str = "  tls: {certificate: c.pem, key: k.pem}\n";
    const USERS: &str = "auth: {htpasswd: {realm: r, path: users}}\n";
    let plain = warning("0.0.0.0:0", "  plaintext: true\n").await.unwrap();
    for part in [
        "may push and pull without",
        "auth.htpasswd.path",
        "http.tls",
    ] {
        assert!(plain.contains(part), "{plain}");
    }
    // Short sentences, each about one thing.
    let (_, sentences) = plain.split_once("everybody who").unwrap();
    assert_eq!(sentences.split(". ").count(), 4, "{plain}");
    let encrypted = warning("0.0.0.0:0", TLS).await.unwrap();
    assert!(!encrypted.contains("http.tls"), "{encrypted}");
    let users = format!("  plaintext: true\n{USERS}");
    assert_eq!(warning("0.0.0.0:0", &users).await, None);
    assert_eq!(warning("127.0.0.1:0", "").await, None);
}

#[tokio::test]
async fn measurements_that_others_reach_are_warned_of() {
    const WARNING: &str = "set `http.debug.addr` to 127.0.0.1:";
    let start = |address: &str| {
        Setup::new()
            .arguments(&["--addr", "127.0.0.1:0"])
            .variable("REGISTRY_HTTP_DEBUG_ADDR", address)
            .start()
    };
    let reached = start("0.0.0.0:0");
    eventually("it warns", async || reached.stderr().contains(WARNING)).await;
    let own = start("127.0.0.1:0");
    // A message that comes behind where the warning would be.
    own.signal(Signal::TERM);
    eventually("it says more", async || {
        own.stderr().contains("stopping once")
    })
    .await;
    assert!(!own.stderr().contains(WARNING), "{}", own.stderr());
}
