//! What the log says of those who are refused.
#![cfg(all(feature = "htpasswd", feature = "keys", feature = "workload"))]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test fails by panicking"
)]

mod issuers;
#[path = "common/sender.rs"]
mod sender;

use std::fs;
use std::io::{self, Write};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::Method;
use registry_auth::{
    AccessControl, Authenticator, GuardLimits, Htpasswd, Issuer, Keys, MemoryRecords, NewKey,
    Principal, RobotChange, Rule, Rules, Sender, TokenRequest, TokenServer, Workload,
};
use registry_core::{Clock, ErrorKind, Operation, RequestOrigin};
use serde_json::json;
use tempfile::TempDir;
use tracing::Level;
use tracing::subscriber::{DefaultGuard, set_default};

use self::issuers::{Signer, Time, Web, key_set};
use self::sender::{basic, headers};

/// What is logged by this thread.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn listen(&self, level: Level) -> DefaultGuard {
        let log = self.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(level)
            .with_ansi(false)
            .with_writer(move || log.clone());
        set_default(subscriber.finish())
    }

    /// The lines that hold `what`, since they were last taken.
    fn take(&self, what: &str) -> Vec<String> {
        let text = String::from_utf8(std::mem::take(&mut *self.0.lock().unwrap())).unwrap();
        let lines = text.lines().filter(|line| line.contains(what));
        lines.map(str::to_owned).collect()
    }
}

impl Write for Log {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(text)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Stands still.
#[derive(Debug)]
struct Still;

impl Clock for Still {
    fn now(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_hours(500_000)
    }
}

/// Knows ann by the password `secret`.
fn access(rules: Rules, limits: GuardLimits) -> (AccessControl, TempDir) {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("users");
    let hash = bcrypt::hash("secret", 4).unwrap();
    fs::write(&path, format!("ann:{hash}\n")).unwrap();
    let access = AccessControl::new(rules)
        .authenticator(Htpasswd::open(path).unwrap())
        .guard(limits);
    (access, directory)
}

async fn ask(
    access: &AccessControl,
    authorization: Option<&str>,
    path: &str,
    address: &str,
) -> Result<(), ErrorKind> {
    let origin = RequestOrigin {
        address: Some(address.parse().unwrap()),
        ..RequestOrigin::default()
    };
    let headers = headers(authorization);
    let operation = Operation::parse(&Method::GET, path, None).unwrap();
    let answer = access
        .authorize(&Sender::new(&headers, origin), &operation)
        .await;
    answer.map(drop).map_err(|refusal| refusal.error.kind())
}

#[tokio::test]
async fn who_has_to_wait_is_told_once() {
    let log = Log::default();
    let _listening = log.listen(Level::WARN);
    let limits = GuardLimits {
        free: 2,
        per_address: 3,
        per_name: 4,
        ..GuardLimits::default()
    };
    let (access, _directory) = access(Rules::new(), limits);
    let access = access.clock(Still);
    let wrong = async |user: &str, address: &str| {
        let password = basic(user, "wrong");
        let refused = ask(&access, Some(&password), "/v2/", address).await;
        assert!(refused.is_err());
    };
    let told = || log.take("too many wrong passwords");

    wrong("ann", "192.0.2.1").await;
    assert_eq!(told(), Vec::<String>::new());
    wrong("ann", "192.0.2.1").await;
    let lines = told();
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].contains("for a name from an address"));
    assert!(lines[0].contains("ann") && lines[0].contains("192.0.2.1"));
    for part in ["cause=\"name at an address\"", "seconds=1", "longest=300"] {
        assert!(lines[0].contains(part), "{lines:?}");
    }
    // It isn't looked at, and isn't told again.
    wrong("ann", "192.0.2.1").await;
    assert_eq!(told(), Vec::<String>::new());

    // Of a name that is nobody's, it is told without the name.
    let typed = "maybe-a-password";
    wrong(typed, "192.0.2.2").await;
    wrong(typed, "192.0.2.2").await;
    let lines = told();
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(!lines[0].contains(typed));

    wrong("someone", "192.0.2.1").await;
    let lines = told();
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].contains("passwords from an address"), "{lines:?}");
    for part in ["cause=\"address\"", "seconds=300", "192.0.2.1"] {
        assert!(lines[0].contains(part), "{lines:?}");
    }

    wrong("ann", "192.0.2.3").await;
    assert_eq!(told(), Vec::<String>::new());
    wrong("ann", "192.0.2.4").await;
    let lines = told();
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].contains("passwords for a name; ") && lines[0].contains("ann"));
    for part in ["cause=\"name\"", "seconds=900"] {
        assert!(lines[0].contains(part), "{lines:?}");
    }
}

#[tokio::test]
async fn the_rule_that_refuses_is_told_of_those_who_are_known() {
    let denies: Rule = "nobody may pull secret/**".parse().unwrap();
    let rules = || {
        Rules::new()
            .sentence("users are readers of **")
            .rule(denies.clone().at("policy.yml:7"))
    };
    let password = basic("ann", "secret");
    let pull = |repository: &str| format!("/v2/{repository}/manifests/v1");
    let (secret, any) = (pull("secret/app"), pull("any/app"));
    for (level, of_known, of_unknown) in [
        (Level::WARN, 0, 0),
        (Level::INFO, 1, 0),
        (Level::DEBUG, 1, 1),
    ] {
        let log = Log::default();
        let _listening = log.listen(level);
        let (access, _directory) = access(rules(), GuardLimits::default());
        let refused = ask(&access, Some(&password), &secret, "192.0.2.1");
        assert_eq!(refused.await, Err(ErrorKind::Denied));
        let lines = log.take("refused by the rules");
        assert_eq!(lines.len(), of_known, "{level} {lines:?}");
        for line in lines {
            for part in [
                "ann",
                "pull",
                "secret/app",
                "nobody may pull",
                "policy.yml:7",
            ] {
                assert!(line.contains(part), "{line}");
            }
        }
        let refused = ask(&access, None, &any, "192.0.2.1");
        assert_eq!(refused.await, Err(ErrorKind::Unauthorized));
        let lines = log.take("refused by the rules");
        assert_eq!(lines.len(), of_unknown, "{level} {lines:?}");
        assert!(
            lines
                .iter()
                .all(|line| line.contains("none that allows it"))
        );
    }
}

#[tokio::test]
async fn an_issuer_that_nobody_knows_is_told_to_whoever_looks_for_it() {
    let encode = |text: &str| URL_SAFE_NO_PAD.encode(text);
    let header = encode(r#"{"alg":"RS256","kid":"1"}"#);
    let claims = encode(r#"{"iss":"https://ci.example.com","sub":"job"}"#);
    let token = format!("{header}.{claims}.{}", encode("signature"));
    let by_password = basic("job", &token);
    let by_bearer = format!("Bearer {token}");
    for (level, is_told) in [(Level::INFO, false), (Level::DEBUG, true)] {
        let log = Log::default();
        let _listening = log.listen(level);
        let (access, _directory) = access(
            Rules::new().sentence("users may pull **"),
            GuardLimits::default(),
        );
        let access = access.tokens(TokenServer::ephemeral().unwrap());
        for (shown, is_told) in [
            (Some(&by_password), is_told),
            // It isn't meant to be of a job where no exchange is asked for.
            (Some(&by_bearer), false),
            (None, false),
        ] {
            let refused = ask(&access, shown.map(String::as_str), "/v2/", "192.0.2.1");
            assert_eq!(refused.await, Err(ErrorKind::Unauthorized));
            let lines = log.take("https://ci.example.com");
            assert_eq!(lines.len(), usize::from(is_told), "{level} {lines:?}");
            assert!(!lines.iter().any(|line| line.contains(&token)));
        }
    }
}

/// Whoever is asked before the one who takes a token says that it isn't for it.
#[tokio::test]
async fn no_token_is_told_to_be_refused_that_somebody_takes() {
    let (web, time) = (Web::default(), Time::default());
    let (ci, login) = (Signer::new("ci"), Signer::new("login"));
    web.put("https://ci.example/keys", key_set(&[&ci]));
    web.put("https://login.example/keys", key_set(&[&login]));
    let issuer = Issuer::new("login", "registry")
        .keys_url("https://login.example/keys", web.clone())
        .unwrap()
        .clock(time.clone());
    let workload = Workload::new("ci", "https://ci.example", "registry.example")
        .unwrap()
        .keys_url("https://ci.example/keys", web)
        .unwrap()
        .clock(time.clone());
    let keys = Keys::new(MemoryRecords::new().clock(time.clone()));
    let access = AccessControl::new(Rules::new().sentence("robots may pull **"))
        .authenticator(issuer)
        .authenticator(workload)
        .keys(keys.clone())
        .tokens(TokenServer::ephemeral().unwrap())
        .clock(time.clone());
    let robot = keys.create_robot("ci", RobotChange::default(), time.now());
    robot.await.unwrap();
    let robot = Principal::robot("ci");
    let key = keys.create(&robot, NewKey::default(), time.now());
    let (_, key) = key.await.unwrap();
    let now = time.seconds();
    let job = ci.token(&json!({
        "iss": "https://ci.example", "aud": "registry.example", "sub": "job",
        "iat": now, "nbf": now, "exp": now + 600,
    }));
    let exchange = async |token: &str| {
        let form = format!(
            "grant_type=urn:ietf:params:oauth:grant-type:token-exchange&subject_token={token}\
             &subject_token_type=urn:ietf:params:oauth:token-type:id_token"
        );
        let request = TokenRequest::from_form(form.as_bytes()).unwrap();
        let headers = headers(None);
        let sender = Sender::new(&headers, RequestOrigin::default());
        let answer = access.issue(&sender, &request).await;
        answer.map(drop).map_err(|refusal| refusal.error.kind())
    };

    let log = Log::default();
    let _listening = log.listen(Level::DEBUG);
    let pull = "/v2/team/app/tags/list";
    for shown in [
        format!("Bearer {}", key.expose()),
        basic("robot$ci", key.expose()),
    ] {
        assert_eq!(ask(&access, Some(&shown), pull, "192.0.2.1").await, Ok(()));
        assert_eq!(log.take("refused"), Vec::<String>::new());
    }
    assert_eq!(exchange(&job).await, Ok(()));
    let lines = log.take("");
    assert!(
        !lines.iter().any(|line| line.contains("refused")),
        "{lines:#?}"
    );
    let others = lines
        .iter()
        .filter(|line| line.contains("others are asked"));
    assert_eq!(others.count(), 2, "{lines:#?}");

    // What nobody takes is.
    let refused = ask(&access, Some("Bearer nobodys"), pull, "192.0.2.1").await;
    assert_eq!(refused, Err(ErrorKind::Unauthorized));
    assert_eq!(log.take("a login was refused").len(), 1);
}

#[tokio::test]
async fn a_rule_that_keeps_from_listing_is_not_said_to_keep_from_pulling() {
    let log = Log::default();
    let _listening = log.listen(Level::INFO);
    let rules = Rules::new()
        .sentence("users may pull team/**")
        .sentence("nobody may list secret/**");
    let (access, _directory) = access(rules, GuardLimits::default());
    let ann = basic("ann", "secret");
    for (path, what) in [
        ("/v2/secret/app/manifests/v1", "none that allows it"),
        ("/v2/secret/app/tags/list", "nobody may list"),
    ] {
        let refused = ask(&access, Some(&ann), path, "192.0.2.1");
        assert_eq!(refused.await, Err(ErrorKind::Denied));
        let lines = log.take("refused by the rules");
        assert!(lines.iter().all(|line| line.contains(what)), "{lines:?}");
        assert_eq!(lines.len(), 1);
    }
}

/// A file that lost its end is as well-formed as one that was meant so.
#[tokio::test(start_paused = true)]
async fn users_who_are_gone_from_the_file_are_counted_and_not_named() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("users");
    let hash = bcrypt::hash("secret", 4).unwrap();
    let lines = |names: &[&str]| {
        let lines = names.iter().map(|name| format!("{name}:{hash}\n"));
        lines.collect::<String>()
    };
    fs::write(&path, lines(&["adelaide", "beatrice", "everett"])).unwrap();
    let users = Htpasswd::open(&path).unwrap();
    let log = Log::default();
    let _listening = log.listen(Level::WARN);
    for (content, expected) in [
        (
            lines(&["adelaide", "beatrice", "everett", "theodore"]),
            None,
        ),
        (
            lines(&["adelaide", "theodore"]),
            Some("2 of 4 users are gone"),
        ),
        // As many as before.
        (
            lines(&["adelaide", "winifred"]),
            Some("1 of 2 users is gone"),
        ),
        (lines(&["winifred", "adelaide"]), None),
        // What can't be used changes nothing.
        (lines(&["adelaide", "winifred"]) + "cut", None),
        (lines(&["constance"]), Some("2 of 2 users are gone")),
    ] {
        let new = directory.path().join("new");
        fs::write(&new, &content).unwrap();
        let written = fs::File::options().write(true).open(&new).unwrap();
        written.set_modified(UNIX_EPOCH).unwrap();
        fs::rename(&new, &path).unwrap();
        for _ in 0..3 {
            tokio::time::advance(Duration::from_secs(2)).await;
            users.standing(&Principal::new("adelaide")).await.unwrap();
        }
        let lines = log.take(" gone ");
        assert_eq!(lines.len(), usize::from(expected.is_some()), "{lines:?}");
        if let Some(expected) = expected {
            let line = &lines[0];
            assert!(line.contains(expected) && line.contains("users"), "{line}");
            let told = [
                &hash, "adelaide", "beatrice", "everett", "theodore", "winifred",
            ];
            assert!(!told.iter().any(|name| line.contains(name)), "{line}");
        }
    }
}
