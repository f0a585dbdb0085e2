//! What keys of `auth` do that no other test needs. `src/configuration/keys.rs` has the
//! list of which test shows what of each.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rcgen::{CertificateParams, KeyPair};
use registry_auth::FileRecords;
use registry_core::{PageRequest, Records};
use registry_tests::harness::silence::{PASSWORD, WRONG};
use reqwest::{Client, Method, StatusCode};
use serde_json::Value;

use crate::authorized::{POLICY, setup, token};
use crate::program::{Program, Setup, eventually, is_there, manifest};

#[tokio::test]
async fn tokens_are_as_the_configuration_says() {
    let more = "  tokenserver:\n    realm: https://login.example/v2/token\n    service: apps\n    \
                issuer: login\n    lifetime: 90s\n    refreshlifetime: 2h\n    keys: signing\n    algorithm: eddsa\n";
    let program = setup(&["ann"], more).start();
    assert_eq!(
        program.challenge("/v2/").await,
        r#"Bearer realm="https://login.example/v2/token",service="apps""#
    );
    let ask = async |service: &str| {
        let url = format!("http://{}/v2/token?service={service}", program.address);
        let request = Client::new().get(url).basic_auth("ann", Some(PASSWORD));
        let answer = request.send().await.unwrap();
        let status = answer.status();
        let text = answer.text().await.unwrap();
        (status, serde_json::from_str::<Value>(&text).unwrap())
    };
    assert_eq!(ask("registry").await.0, StatusCode::BAD_REQUEST);
    let (status, answer) = ask("apps").await;
    assert_eq!(
        (status, &answer["expires_in"]),
        (StatusCode::OK, &90.into())
    );
    let parts: Vec<Value> = answer["token"]
        .as_str()
        .unwrap()
        .split('.')
        .take(2)
        .map(|part| serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap())
        .collect();
    assert_eq!(parts[0]["alg"], "EdDSA");
    assert_eq!(
        (&parts[1]["iss"], &parts[1]["aud"]),
        (&"login".into(), &"apps".into())
    );
    assert_eq!(
        std::fs::read_dir(program.path("signing")).unwrap().count(),
        1
    );
    assert!(!is_there(&program.path("data/auth/keys")));

    // A login lasts for two hours, however it is used.
    let (status, answer) = ask("apps&offline_token=true").await;
    assert_eq!(status, StatusCode::OK);
    assert!(answer["refresh_token"].is_string(), "{answer}");
    let records = FileRecords::open(program.path("data/auth")).unwrap();
    let kept = records.list("refresh/", PageRequest::default());
    let end = kept.await.unwrap().items[0].expires_at.unwrap();
    let longest = SystemTime::now() + Duration::from_hours(2);
    assert!(end <= longest && end > longest - Duration::from_hours(1));
}

#[tokio::test]
async fn keys_are_no_good_where_they_are_off() {
    let rules = format!("{POLICY}  - robots are readers of **\n");
    for (more, status) in [
        ("", StatusCode::NOT_FOUND),
        ("  keys: {enabled: false}\n", StatusCode::UNAUTHORIZED),
    ] {
        let program = setup(&["ann"], more).file("policy.yml", &rules).start();
        let root = program.path("data");
        let auth = |arguments: &[&str]| {
            let root = ["--root", root.to_str().unwrap()];
            let setup = Setup::new().arguments(&["auth"]).arguments(arguments);
            setup.arguments(&root).run()
        };
        assert!(auth(&["robot", "create", "ci"]).status.success());
        let made = auth(&["key", "create", "ci", "--json"]);
        let key: Value = serde_json::from_str(&made.stdout).unwrap();
        let url = format!("http://{}/v2/team/app/tags/list", program.address);
        eventually(more, async || {
            let request = Client::new().get(&url);
            let request = request.basic_auth("robot$ci", key["secret"].as_str());
            request.send().await.unwrap().status() == status
        })
        .await;
    }
}

#[tokio::test]
async fn whoever_is_known_is_counted_apart_from_its_address() {
    let program = setup(&["ann", "ben"], "  limits: {peridentity: 3}\n").start();
    let url = format!("http://{}/v2/public/app/tags/list", program.address);
    let ask = async |user: Option<&str>| {
        let request = Client::new().get(&url);
        let request = match user {
            Some(user) => request.basic_auth(user, Some(PASSWORD)),
            None => request,
        };
        request.send().await.unwrap().status()
    };
    let mut refused = false;
    for _ in 0..50 {
        refused |= ask(Some("ann")).await == StatusCode::TOO_MANY_REQUESTS;
    }
    assert!(refused);
    assert_eq!(ask(Some("ben")).await, StatusCode::NOT_FOUND);
    for _ in 0..50 {
        assert_eq!(ask(None).await, StatusCode::NOT_FOUND);
    }
}

/// How often somebody is refused before there is a limit, who is another one each time
/// or always the same.
async fn refusals(limits: &str, is_another: bool) -> u32 {
    let program = setup(&["ann"], &format!("  limits: {{{limits}}}\n")).start();
    let url = format!("http://{}/v2/people/ann/app/tags/list", program.address);
    for count in 0..200 {
        let user = if is_another {
            format!("user{count}")
        } else {
            "ann".to_owned()
        };
        let request = Client::new().get(&url).basic_auth(user, Some(WRONG));
        match request.send().await.unwrap().status() {
            StatusCode::UNAUTHORIZED => {}
            StatusCode::TOO_MANY_REQUESTS => return count,
            other => panic!("{limits}: {other}"),
        }
    }
    panic!("{limits}: there is no limit");
}

#[tokio::test]
async fn guesses_cost_as_much_as_the_configuration_says() {
    // Of a name at an address the first wait is a second, which may be over.
    assert!((2..5).contains(&refusals("wrongpasswords: 2", false).await));
    assert!((20..50).contains(&refusals("wrongpasswords: 20", false).await));
    for is_another in [false, true] {
        let limits = "wrongpasswords: 100, wrongperaddress: 7";
        assert_eq!(refusals(limits, is_another).await, 7);
    }
    let limits = "wrongpasswords: 100, wrongpername: 8";
    assert_eq!(refusals(limits, false).await, 8);
    assert_eq!(refusals(limits, true).await, 50);
}

#[tokio::test]
async fn a_wait_is_as_long_as_the_configuration_says() {
    let limits = "  limits: {wrongpasswords: 4, longestwait: 1s}\n";
    let program = setup(&["ann"], limits).start();
    let url = format!("http://{}/v2/people/ann/app/tags/list", program.address);
    let guess = async || {
        let request = Client::new().get(&url).basic_auth("ann", Some(WRONG));
        request.send().await.unwrap()
    };
    for _ in 0..6 {
        eventually("it is refused once more", async || {
            guess().await.status() == StatusCode::UNAUTHORIZED
        })
        .await;
    }
    // It would be four seconds after the sixth.
    let refused = loop {
        let answer = guess().await;
        if answer.status() == StatusCode::TOO_MANY_REQUESTS {
            break answer;
        }
    };
    assert_eq!(refused.headers()["retry-after"], "1");
}

#[tokio::test]
async fn as_many_come_at_once_as_the_configuration_says() {
    for (limits, most) in [
        ("peraddress: 1, burst: 20", 20..40),
        ("peridentity: 1, burst: 20", 20..40),
        ("peraddress: 1", 1..20),
    ] {
        let program = setup(&["ann"], &format!("  limits: {{{limits}}}\n")).start();
        let url = format!("http://{}/v2/public/app/tags/list", program.address);
        let mut taken = 0;
        loop {
            let request = Client::new().get(&url).basic_auth("ann", Some(PASSWORD));
            match request.send().await.unwrap().status() {
                StatusCode::NOT_FOUND if taken < 100 => taken += 1,
                StatusCode::TOO_MANY_REQUESTS => break,
                other => panic!("{limits}: {other} after {taken}"),
            }
        }
        assert!(most.contains(&taken), "{limits}: {taken}");
    }
}

#[tokio::test]
async fn tokens_of_another_service_are_checked_as_the_configuration_says() {
    let service = setup(&["ann"], "").start();
    let keys = service.get("/v2/token/jwks.json").await.1;
    let signing = std::fs::read_dir(service.path("data/auth/keys")).unwrap();
    let signing = signing.map(|entry| entry.unwrap().path()).next().unwrap();
    let signing = KeyPair::from_pem(&std::fs::read_to_string(signing).unwrap()).unwrap();
    let certificate = CertificateParams::new(["login.example".to_owned()]).unwrap();
    let certificate = certificate.self_signed(&signing).unwrap().pem();
    let scope = "repository:people/ann/app:pull";
    let ann = token(&service, Some("ann"), scope).await;
    let good = "service: registry\n    issuer: registry";
    for (more, status) in [
        (
            format!("{good}\n    rootcertbundle: bundle.pem"),
            StatusCode::NOT_FOUND,
        ),
        (
            format!("{good}\n    rootcertbundle: other.pem"),
            StatusCode::UNAUTHORIZED,
        ),
        (
            format!("{good}\n    jwks: keys.json"),
            StatusCode::NOT_FOUND,
        ),
        (
            format!("{good}\n    jwks: keys.json\n    signingalgorithms: [RS256]"),
            StatusCode::UNAUTHORIZED,
        ),
        (
            "service: other\n    issuer: registry\n    jwks: keys.json".to_owned(),
            StatusCode::UNAUTHORIZED,
        ),
        (
            "service: registry\n    issuer: other\n    jwks: keys.json".to_owned(),
            StatusCode::UNAUTHORIZED,
        ),
    ] {
        let other = rcgen::generate_simple_self_signed(["other".to_owned()]).unwrap();
        let program = Setup::serve(&format!(
            "version: 0.1\nstorage: inmemory\nhttp: {{addr: '127.0.0.1:0'}}\nauth:\n  token:\n    \
             realm: https://login.example/token\n    {more}\n"
        ))
        .file("keys.json", &*keys)
        .file("bundle.pem", &certificate)
        .file("other.pem", other.cert.pem())
        .start();
        let challenge = program.challenge("/v2/").await;
        assert!(challenge.starts_with(r#"Bearer realm="https://login.example/token",service=""#));
        let url = format!("http://{}/v2/people/ann/app/tags/list", program.address);
        let answer = Client::new().get(url).bearer_auth(&ann).send().await;
        assert_eq!(answer.unwrap().status(), status, "{more}");
    }
    for (more, path) in [
        ("", "/auth/token/"),
        ("    autoredirectpath: /login\n", "/login"),
    ] {
        let program = Setup::serve(&format!(
            "version: 0.1\nstorage: inmemory\nhttp: {{addr: '127.0.0.1:0'}}\nauth:\n  token:\n    \
             service: registry\n    issuer: registry\n    jwks: keys.json\n    autoredirect: true\n{more}"
        ))
        .file("keys.json", &*keys)
        .start();
        let realm = format!("http://{}{path}", program.address);
        let challenge = program.challenge("/v2/").await;
        assert!(
            challenge.starts_with(&format!(r#"Bearer realm="{realm}","#)),
            "{challenge}"
        );
    }
}

/// One challenge only: that of the tokens.
#[tokio::test]
async fn passwords_are_taken_beside_tokens_of_another_service() {
    let service = setup(&["ann"], "").start();
    let keys = service.get("/v2/token/jwks.json").await.1;
    let scope = "repository:people/ann/app:pull";
    let token = token(&service, Some("ann"), scope).await;
    let program = Setup::serve(
        "version: 0.1\nstorage: inmemory\nhttp: {addr: '127.0.0.1:0'}\nauth:\n  htpasswd: {realm: \
         passwords, path: users.htpasswd}\n  token:\n    realm: https://login.example/token\n    \
         service: registry\n    issuer: registry\n    jwks: keys.json\n",
    )
    .file("keys.json", &*keys)
    .file(
        "users.htpasswd",
        format!("ben:{}", bcrypt::hash(PASSWORD, 4).unwrap()),
    )
    .start();
    let url = format!("http://{}/v2/people/ann/app/tags/list", program.address);
    let ask = async |with: &dyn Fn(reqwest::RequestBuilder) -> reqwest::RequestBuilder| {
        with(Client::new().get(&url)).send().await.unwrap()
    };
    let by_token = ask(&|request| request.bearer_auth(&token)).await;
    assert_eq!(by_token.status(), StatusCode::NOT_FOUND);
    let by_password = ask(&|request| request.basic_auth("ben", Some(PASSWORD))).await;
    assert_eq!(by_password.status(), StatusCode::NOT_FOUND);
    for refused in [
        ask(&|request| request).await,
        ask(&|request| request.basic_auth("ben", Some(WRONG))).await,
    ] {
        assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
        let challenges = refused.headers().get_all("www-authenticate");
        let challenges: Vec<_> = challenges
            .iter()
            .map(|value| value.to_str().unwrap())
            .collect();
        assert_eq!(challenges.len(), 1, "{challenges:?}");
        assert!(challenges[0].starts_with(r#"Bearer realm="https://login.example/token""#));
    }
}

/// S-21: a rule that comes counts at once, for what was looked at before, too.
#[tokio::test]
async fn s_21_a_rule_is_enforced_however_content_is_asked_for() {
    let program = setup(&["ann"], "").start();
    let send = async |method: Method, path: &str, header: (&str, &str), body: Vec<u8>| {
        let url = format!("http://{}/v2/people/ann/app/{path}", program.address);
        let request = Client::new().request(method, url);
        let request = request.basic_auth("ann", Some(PASSWORD));
        let request = request.header(header.0, header.1).body(body);
        request.send().await.unwrap().status().as_u16()
    };
    let none = ("accept", "*/*");
    let blob = registry_core::Algorithm::Sha256.digest(b"content");
    let path = format!("blobs/uploads/?digest={blob}");
    assert_eq!(
        send(Method::POST, &path, none, b"content".to_vec()).await,
        201
    );
    let media_type = ("content-type", "application/vnd.oci.image.manifest.v1+json");
    let pushed = manifest(b"content").into_bytes();
    let digest = registry_core::Algorithm::Sha256.digest(&pushed);
    assert_eq!(
        send(Method::PUT, "manifests/v1", media_type, pushed).await,
        201
    );

    let (blob, digest) = (format!("blobs/{blob}"), format!("manifests/{digest}"));
    let range = ("range", "bytes=1-2");
    let ways = [
        (Method::GET, &*blob, none, 200),
        (Method::HEAD, &blob, none, 200),
        (Method::GET, &blob, range, 206),
        (Method::GET, &blob, ("if-none-match", "*"), 304),
        (Method::GET, "manifests/v1", none, 200),
        (Method::HEAD, "manifests/v1", none, 200),
        (Method::GET, &digest, none, 200),
        (Method::GET, &digest, ("if-none-match", "*"), 304),
        (Method::GET, "tags/list", none, 200),
        (
            Method::GET,
            &digest.replace("manifests", "referrers"),
            none,
            200,
        ),
    ];
    for _ in 0..2 {
        for (method, path, header, status) in &ways {
            let answer = send(method.clone(), path, *header, Vec::new()).await;
            assert_eq!(answer, *status, "{method} {path} {header:?}");
        }
    }
    let denial = format!("{POLICY}  - nobody may pull, list people/**\n");
    std::fs::write(program.path("policy.yml"), denial).unwrap();
    eventually("the rule counts", async || {
        send(Method::GET, "tags/list", none, Vec::new()).await == 403
    })
    .await;
    for (method, path, header, _) in ways {
        let answer = send(method.clone(), path, header, Vec::new()).await;
        assert_eq!(answer, 403, "{method} {path} {header:?}");
    }
}

/// A directory that knows ann, with whatever password, and says that she is in the
/// group `team`. It keeps what it is sent.
fn directory() -> (String, Arc<Mutex<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("ldap://{}", listener.local_addr().unwrap());
    let heard = Arc::new(Mutex::new(String::new()));
    let all = Arc::clone(&heard);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let all = Arc::clone(&all);
            std::thread::spawn(move || converse(stream.unwrap(), &all));
        }
    });
    (url, heard)
}

/// RFC 4511, as far as a login needs it.
fn converse(mut stream: TcpStream, heard: &Mutex<String>) {
    let mut start = [0; 2];
    while stream.read_exact(&mut start).is_ok() {
        let length = match start[1] {
            0x81 | 0x82 | 0x84 => {
                let mut more = vec![0; usize::from(start[1] & 0x7f)];
                stream.read_exact(&mut more).unwrap();
                more.iter()
                    .fold(0, |sum, byte| sum << 8 | usize::from(*byte))
            }
            short => usize::from(short),
        };
        let mut message = vec![0; length];
        stream.read_exact(&mut message).unwrap();
        let sent = String::from_utf8_lossy(&message).into_owned();
        heard.lock().unwrap().push_str(&sent);
        let (number, rest) = message.split_at(3);
        let done = |tag, code| {
            let parts = [part(0x0a, &[code]), part(4, b""), part(4, b"")];
            part(0x30, &[number, &part(tag, &parts.concat())].concat())
        };
        let entry = |name: &str, attribute: &str, value: &str| {
            let values = part(0x31, &part(4, value.as_bytes()));
            let attribute = part(0x30, &[part(4, attribute.as_bytes()), values].concat());
            let parts = [part(4, name.as_bytes()), part(0x30, &attribute)];
            part(0x30, &[number, &part(0x64, &parts.concat())].concat())
        };
        let answer = match rest[0] {
            0x60 => done(0x61, 0),
            0x63 if sent.contains("ou=groups") => {
                [entry("cn=x,ou=groups", "called", "team"), done(0x65, 0)].concat()
            }
            0x63 => [entry("n=1,ou=people", "login", "ann"), done(0x65, 0)].concat(),
            // It can't be encrypted.
            0x77 => done(0x78, 2),
            _ => return,
        };
        stream.write_all(&answer).unwrap();
    }
}

fn part(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = u8::try_from(content.len()).unwrap();
    assert!(length < 0x80);
    [&[tag, length], content].concat()
}

#[tokio::test]
async fn a_directory_is_asked_as_the_configuration_says() {
    let (url, heard) = directory();
    let start = |more: &str| {
        Setup::serve(&format!(
            "version: 0.1\nstorage: inmemory\nhttp: {{addr: '127.0.0.1:0'}}\nauth:\n  \
             policy: {{path: policy.yml}}\n  ldap:\n    url: {url}\n    binddn: cn=keeper\n    \
             bindpasswordfile: secret\n    base: ou=people\n    filter: (login={{user}})\n    \
             nameattribute: login\n    groupbase: ou=groups\n    groupfilter: (owner={{dn}})\n    \
             groupattribute: called\n{more}"
        ))
        .file("secret", "known to two")
        .file(
            "policy.yml",
            "version: 1\nrules:\n  - group team are writers of team/**\n",
        )
    };
    let upload = async |program: &Program, repository: &str| {
        let url = format!("http://{}/v2/{repository}/blobs/uploads/", program.address);
        let request = Client::new().post(url).basic_auth("ann", Some("her own"));
        request.send().await.unwrap().status()
    };
    let program = start("").start();
    assert_eq!(upload(&program, "team/app").await, StatusCode::ACCEPTED);
    assert_eq!(upload(&program, "other/app").await, StatusCode::FORBIDDEN);
    let said = heard.lock().unwrap().clone();
    for part in [
        "cn=keeper",
        "known to two",
        "ou=people",
        "login",
        "her own",
        "n=1,ou=people",
        "ou=groups",
        "owner",
        "called",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let program = start("    starttls: true\n").start();
    heard.lock().unwrap().clear();
    let status = upload(&program, "team/app").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    let said = heard.lock().unwrap().clone();
    assert!(
        said.contains("1.3.6.1.4.1.1466.20037") && !said.contains("her own"),
        "{said}"
    );
    let end = start("    starttls: true\n    rootcertbundle: missing\n").run();
    assert!(end.stderr.contains("config.yml:17: "), "{}", end.stderr);
}
