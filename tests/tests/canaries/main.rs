//! S-91: what is secret shows up nowhere but with whom it belongs to.
//!
//! Secrets that exist nowhere else are given to the real server in every way that there is: as passwords, tokens, keys,
//! in forms, in files, in the configuration, well-formed and not. The log at its most talkative, the access log, the
//! metrics and every answer but those that give out tokens are then searched for them, in all the ways in which they may
//! be spelled. Whoever makes the server take another secret plants it here.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a step that fails is the test's result"
)]

mod astray;
mod configuration;
mod guarded;
mod secrets;

use std::fs;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

use registry_tests::harness::{Launch, silence};

use self::guarded::{Guarded, HASH, MANIFEST, PASSWORD, USER, basic, last};
use self::secrets::encoded;

/// Logs in rightly and wrongly.
fn passwords(guarded: &mut Guarded) {
    let right = basic(USER, PASSWORD);
    for path in [
        "/v2/",
        "/v2/team/app/tags/list",
        "/v2/_catalog",
        "/v2/other/app/tags/list",
    ] {
        guarded.get(path, &right);
    }
    let blob = guarded.push(&right);
    assert_eq!(guarded.get("/v2/team/app/manifests/v1", &right), 200);
    let range = [("authorization", right.as_str()), ("range", "bytes=0-0")];
    guarded.send("GET", &format!("/v2/team/app/blobs/{blob}"), &range, b"");
    guarded.get("/v2/team/app/manifests/missing", &right);
    let mount = format!("/v2/team/copy/blobs/uploads/?mount={blob}&from=team/app");
    guarded.send("POST", &mount, &[("authorization", &right)], b"");
    let manifest = [
        ("authorization", right.as_str()),
        ("content-type", MANIFEST),
    ];
    guarded.send(
        "PUT",
        "/v2/team/app/manifests/bad",
        &manifest,
        b"{\"a\": 1, \"a\": 2}",
    );
    guarded.send("DELETE", "/v2/team/app/manifests/v1", &manifest, b"");

    for (number, user) in ["ann", "nobody", "robot$ci", ""].into_iter().enumerate() {
        let wrong = format!("canary-wrong-{number}-Xk2Rt");
        guarded
            .secrets
            .plant_login("a wrong password", user, &wrong);
        for _ in 0..2 {
            guarded.get("/v2/team/app/tags/list", &basic(user, &wrong));
        }
        guarded.get("/v2/token?service=registry", &basic(user, &wrong));
    }
    // Nothing that is a login: not base64, no colon, another scheme, two of them, a cookie.
    let broken = "canary-not-base64-!!!";
    let (bare, digest) = ("canary-without-colon-Wd", "canary-of-digest-scheme-Pq");
    let (cookie, proxy) = ("canary-in-a-cookie-Bf7", "canary-for-a-proxy-Lm2");
    for (what, secret) in [
        ("what isn't base64", broken),
        ("a login without a colon", bare),
        ("another scheme", digest),
        ("a cookie", cookie),
        ("a login for a proxy", proxy),
    ] {
        guarded.secrets.plant(what, secret);
    }
    guarded.get("/v2/", &format!("Basic {broken}"));
    guarded.get("/v2/", &format!("Basic {}", STANDARD.encode(bare)));
    guarded.get(
        "/v2/",
        &format!("Digest username=\"ann\", response=\"{digest}\""),
    );
    guarded.get("/v2/", digest);
    let twice = [("authorization", right.as_str()), ("authorization", bare)];
    guarded.send("GET", "/v2/", &twice, b"");
    let session = format!("session={cookie}");
    let others = [("cookie", session.as_str()), ("proxy-authorization", proxy)];
    guarded.send("GET", "/v2/team/app/tags/list", &others, b"");
    for head in [
        format!("GET /v2/ HTTP/1.1\r\nHost: x\r\nAuthorization : {bare}\r\n\r\n"),
        format!("GET /v2/ HTTP/1.1\r\nHost: x\r\nAuthorization: {bare}\0\r\n\r\n"),
        format!(
            "GET /v2/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAuthorization: {right}\r\n\r\n"
        ),
        format!("{bare}\r\n\r\n"),
    ] {
        guarded.shout("no request", &head);
    }
}

/// What is no token.
const GARBAGE: &str = "canary-of-no-shape-Hs6";

/// Asks for tokens, uses them, and says wrong ones.
fn tokens(guarded: &mut Guarded) {
    let right = basic(USER, PASSWORD);
    let scope = "scope=repository:team/app:pull,push";
    let asked = format!("/v2/token?service=registry&{scope}&account=ann&offline_token=true");
    let headers = [("authorization", right.as_str())];
    let answer = guarded.send("GET", &asked, &headers, b"")["body"].take();
    let login = format!(
        "grant_type=password&username=ann&password={}&service=registry&client_id=canaries\
         &access_type=offline&{scope}",
        encoded(PASSWORD)
    );
    let other = guarded.form("/v2/token", &login)["body"].take();
    let anonymous = guarded.send("GET", "/v2/token?service=registry", &[], b"")["body"].take();
    let mut given = Vec::new();
    for answer in [&answer, &other, &anonymous] {
        let token = answer["token"].as_str().expect("a token").to_owned();
        guarded.secrets.plant_token("a token", &token);
        given.push(token);
        if let Some(refresh) = answer["refresh_token"].as_str() {
            guarded.secrets.plant("a refresh token", refresh);
            guarded
                .secrets
                .plant("the secret in a refresh token", last(refresh));
            given.push(refresh.to_owned());
        }
    }
    let [token, refresh, second, second_refresh, nobody] = &given[..] else {
        panic!("not everything that was asked for was given");
    };
    let bearer = |token: &str| format!("Bearer {token}");
    guarded.push(&bearer(token));
    for path in [
        "/v2/",
        "/v2/team/app/manifests/v1",
        "/v2/other/app/tags/list",
        "/v2/_catalog",
    ] {
        for token in [token, second, nobody] {
            guarded.get(path, &bearer(token));
        }
    }
    // Where a token has no business: the query, a password, another header.
    guarded.get(&format!("/v2/team/app/tags/list?token={token}"), "Bearer");
    guarded.get(
        &format!("/v2/team/app/tags/list?access_token={token}"),
        "Bearer",
    );
    guarded.get("/v2/", &basic(USER, token));
    guarded.get("/v2/", &basic("", refresh));
    guarded.get("/v2/", &bearer(refresh));

    // Changed, made up, cut off.
    let parts: Vec<&str> = token.split('.').collect();
    let claims = URL_SAFE_NO_PAD.encode(r#"{"iss":"registry","sub":"canary-subject-Vz3"}"#);
    guarded
        .secrets
        .plant("claims that somebody made up", &claims);
    let none = URL_SAFE_NO_PAD.encode(r#"{"alg":"none","typ":"JWT","kid":"x"}"#);
    guarded.secrets.plant("a token of no shape", GARBAGE);
    for forged in [
        format!("{}.{claims}.{}", parts[0], parts[2]),
        format!("{none}.{claims}.{}", parts[2]),
        format!("{none}.{claims}."),
        format!("{}.{}", parts[0], parts[1]),
        format!("{token}x"),
        GARBAGE.to_owned(),
    ] {
        guarded.get("/v2/team/app/manifests/v1", &bearer(&forged));
        guarded.get("/v2/token?service=registry", &bearer(&forged));
    }

    forms(guarded, [refresh, second_refresh, second]);
}

/// Sends forms: redeemed, made up, without what they need, of another kind, too long.
fn forms(guarded: &mut Guarded, [refresh, second_refresh, second]: [&str; 3]) {
    let redeem = |token: &str| {
        format!("grant_type=refresh_token&refresh_token={token}&service=registry&client_id=c")
    };
    guarded.form("/v2/token", &redeem(refresh));
    let unknown = refresh.replace(char::is_uppercase, "q");
    guarded
        .secrets
        .plant("a refresh token that nobody gave out", &unknown);
    let subject = "canary-subject-token-Jd9";
    let wrong = "canary-in-a-form-Nc4x+/";
    guarded.secrets.plant("a subject token", subject);
    guarded.secrets.plant("a wrong password in a form", wrong);
    let wrong = encoded(wrong);
    for form in [
        redeem(&unknown),
        redeem(GARBAGE),
        format!("grant_type=password&username=ann&password={wrong}&service=registry&client_id=c"),
        format!("grant_type=password&username=a%0Ab&password={wrong}&client_id=c"),
        format!("grant_type=password&password={wrong}&password=x"),
        format!("grant_type={GARBAGE}&password={wrong}"),
        format!(
            "grant_type=urn:ietf:params:oauth:grant-type:token-exchange&subject_token={subject}"
        ),
        format!("password={wrong}%ff"),
        format!(
            "grant_type=password&username=ann&password={wrong}{}",
            "x".repeat(70_000)
        ),
    ] {
        guarded.form("/v2/token", &form);
        let json = [("content-type", "application/json")];
        guarded.send("POST", "/v2/token", &json, form.as_bytes());
        guarded.form("/v2/elsewhere", &form);
    }
    for token in [second_refresh, second, GARBAGE, &unknown] {
        guarded.form("/v2/token/revoke", &format!("token={token}"));
    }
    guarded.form("/v2/token", &redeem(second_refresh));
    guarded.get("/v2/team/app/manifests/v1", &format!("Bearer {second}"));
}

/// Exchanges the token of a job, and uses it as it is.
fn jobs(guarded: &mut Guarded) {
    let job = guarded.job.clone();
    let exchange = |token: &str| {
        format!(
            "grant_type=urn:ietf:params:oauth:grant-type:token-exchange&subject_token={token}\
             &subject_token_type=urn:ietf:params:oauth:token-type:jwt\
             &scope=repository:team/app:pull"
        )
    };
    let answer = guarded.form("/v2/token", &exchange(&job))["body"].take();
    let token = answer["access_token"].as_str().expect("a token");
    guarded
        .secrets
        .plant_token("the token for that of a job", token);
    guarded.get("/v2/team/app/tags/list", &format!("Bearer {token}"));
    let cut = &job[..job.len().saturating_sub(20)];
    for token in [&job, &format!("{job}x"), cut] {
        guarded.form("/v2/token", &exchange(token));
        guarded.get("/v2/team/app/tags/list", &basic("ci", token));
        guarded.get("/v2/team/app/tags/list", &format!("Bearer {token}"));
    }
}

/// Logs in with keys.
fn keys(guarded: &mut Guarded, key: &str) {
    for login in [
        basic("robot$ci", key),
        basic("ann", key),
        basic("", key),
        format!("Bearer {key}"),
        basic("robot$ci", &key[..key.len().saturating_sub(1)]),
    ] {
        guarded.get("/v2/team/app/tags/list", &login);
        guarded.get(
            "/v2/token?service=registry&scope=repository:team/app:pull",
            &login,
        );
    }
    let made_up = key.replace(char::is_uppercase, "q");
    guarded
        .secrets
        .plant_login("a key that nobody made", "robot$ci", &made_up);
    guarded.get("/v2/", &basic("robot$ci", &made_up));
    guarded.get("/v2/", &format!("Bearer {made_up}"));
}

/// Breaks the files that hold secrets.
fn files(guarded: &mut Guarded) {
    let users = guarded.files.path().join("users");
    let plain = "canary-of-a-plain-line-Gt5";
    guarded.secrets.plant("a password that isn't hashed", plain);
    fs::write(&users, format!("{USER}:{HASH}\nben:{plain}\n")).expect("a file");
    let right = basic(USER, PASSWORD);
    guarded.until_told("the password file can't be used", |guarded| {
        guarded.get("/v2/", &right);
    });
    let keys: PathBuf = guarded.files.path().join("root/auth/keys");
    let body = "canaryOfAKeyThatIsNoneAtAllMIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEH";
    guarded.secrets.plant("a key file that holds none", body);
    let broken = format!("-----BEGIN PRIVATE KEY-----\n{body}\n-----END PRIVATE KEY-----\n");
    let path = keys.join("1999999999-aaaaaaaa.pem");
    fs::write(&path, broken).expect("a file");
    set_private(&path);
    guarded.until_told("aaaaaaaa", |guarded| {
        let headers = [("authorization", right.as_str())];
        guarded.send("GET", "/v2/token?service=registry", &headers, b"");
    });
    fs::remove_file(path).expect("the file removed");
}

fn set_private(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("permissions");
}

#[test]
fn s_91_secrets_are_in_no_log_metric_or_error() {
    let mut guarded = Guarded::start();
    passwords(&mut guarded);
    tokens(&mut guarded);
    let key = key_of(&guarded);
    keys(&mut guarded, &key);
    astray::everywhere(&mut guarded);
    jobs(&mut guarded);
    files(&mut guarded);
    let (secrets, heard) = guarded.end();
    heard.assert_silent(&secrets);

    // All of it was there to be found.
    assert!(secrets.0.len() > 130, "{}", secrets.0.len());
    assert!(heard.answers.len() > 150, "{}", heard.answers.len());
    assert!(heard.log.contains("level=debug"), "{}", heard.log);
    assert!(
        heard.log.contains("GET /v2/team/app/tags/list"),
        "{}",
        heard.log
    );
    assert!(heard.metrics.contains("\nregistry_"), "{}", heard.metrics);
    let errors = heard
        .answers
        .iter()
        .filter(|(_, answer)| answer.contains("errors"));
    assert!(errors.count() > 50);
}

/// The control of the other tests, whose servers are searched in the end.
#[test]
fn s_91_a_leak_in_any_test_is_found() {
    for leak in [silence::PASSWORD, &format!("ann:{}", silence::HASH)] {
        let server = Launch::new().start();
        let request = ureq::get(format!("http://{}/v2/", server.host()));
        request
            .header("user-agent", leak)
            .call()
            .expect("an answer");
        let ended = std::panic::catch_unwind(AssertUnwindSafe(|| drop(server.terminate())));
        assert!(ended.is_err(), "nobody finds {leak}");
    }
}

fn key_of(guarded: &Guarded) -> String {
    let is_key = |(what, _): &&(String, String)| what == "the key of a robot";
    let key = guarded.secrets.0.iter().find(is_key);
    key.expect("a key").1.clone()
}

/// The control: what is planted where it shows is found, in each of the places and spellings.
#[test]
fn s_91_a_leak_is_found() {
    let mut guarded = Guarded::start();
    let right = basic(USER, PASSWORD);
    let (_, pair) = right.split_once(' ').expect("a login");
    let numbers = format!("{:?}", PASSWORD.as_bytes());
    let spelled = [PASSWORD, pair, &encoded(PASSWORD), &numbers];
    for leak in spelled {
        // The access log shows it: nothing tells that it is a secret.
        guarded.send("GET", "/v2/", &[("user-agent", leak)], b"");
    }
    // Of a key, only where its mark is cut off.
    let key = key_of(&guarded);
    let (_, marked) = key.split_once('_').expect("a key");
    guarded.send("GET", "/v2/", &[("user-agent", marked)], b"");
    // Answers show what they are about.
    let named = format!("/v2/public/app/manifests/{key}");
    guarded.send("GET", &named, &[], b"");
    let (secrets, heard) = guarded.end();
    let found = secrets.found_in(&heard.log);
    for what in [
        "the right password",
        "the right password, with the user in base64",
        "the right password percent-encoded",
        "the right password as numbers",
        "the secret in the key of a robot",
    ] {
        assert!(found.contains(&what), "{what} is not in {found:?}");
    }
    let (_, answer) = heard.answers.last().expect("an answer");
    assert!(
        secrets.found_in(answer).contains(&"the key of a robot"),
        "{answer}"
    );
    assert_eq!(secrets.found_in(&heard.metrics), [""; 0]);
    let leaked = std::panic::catch_unwind(|| heard.assert_silent(&secrets));
    assert!(leaked.is_err());
}
