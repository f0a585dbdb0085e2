//! Whoever is disabled gets in by nothing.

use std::sync::Arc;
use std::time::Duration;

use registry_auth::{Keys, MemoryRecords, NewKey, Principal, RobotChange, Rules, TokenServer};
use registry_core::{Clock, SystemClock};
use registry_http::RegistryService;
use registry_storage::Engine;
use tempfile::TempDir;

use crate::exchange::{CERTIFICATE, send};
use crate::identities::{foreign, job};
use crate::principals::{access_control_by, basic, user};
use crate::world::{bearer, known};

/// Those who are disabled, by the names that logs use.
const DISABLED: &[&str] = &["ann", "ben", "robot$ci", "jobs:repo:org/app"];

/// A form that is sent for a token.
async fn form(service: &RegistryService, form: String) -> (u16, serde_json::Value) {
    let headers = ["content-type: application/x-www-form-urlencoded".to_owned()];
    let answer = send(service, "POST", "/v2/token", &headers, form).await;
    let document = serde_json::from_str(&answer.body).unwrap_or_default();
    (answer.status.as_u16(), document)
}

fn exchange(token: &str) -> String {
    format!(
        "grant_type=urn:ietf:params:oauth:grant-type:token-exchange\
         &subject_token_type=urn:ietf:params:oauth:token-type:jwt&subject_token={token}\
         &scope=repository:a/b:pull"
    )
}

/// What each of them shows: everything that this registry takes. Those who were let in
/// show a token, too, that they got before.
async fn shown(before: &RegistryService, keys: &Keys) -> Vec<(String, Vec<String>)> {
    let now = SystemClock.now() + Duration::from_secs(2);
    let ann = known("ann").await;
    let key = async |owner: &Principal| {
        let (_, secret) = keys.create(owner, NewKey::default(), now).await.unwrap();
        secret.expose().to_owned()
    };
    let robot = keys.create_robot("ci", RobotChange::default(), now);
    let robot = key(&Principal::robot(&robot.await.unwrap().name)).await;
    let own = key(&ann).await;
    let scope = ["repository:a/b:pull".to_owned()];
    let foreign = foreign("ann", &scope, now);
    let mut all: Vec<(String, Vec<String>)> = [
        ("a password", basic("ann", "right")),
        (
            "a header of the program's own",
            "x-key: of-the-robot".to_owned(),
        ),
        ("a certificate", format!("{CERTIFICATE}: ben")),
        ("a key as a password", basic("ann", &own)),
        ("a key as a password of nobody", basic("", &own)),
        ("a key as a token", format!("authorization: Bearer {own}")),
        ("a robot's key", basic("robot$ci", &robot)),
        (
            "a robot's key as a token",
            format!("authorization: Bearer {robot}"),
        ),
        ("the token of a job", basic("any", &job("org/app"))),
        (
            "a token of another issuer",
            format!("authorization: Bearer {foreign}"),
        ),
    ]
    .map(|(what, header)| (what.to_owned(), vec![header]))
    .into();
    for (what, headers) in all.clone() {
        let (_, value) = headers[0].split_once(": ").unwrap();
        let token = match value.strip_prefix("Bearer ") {
            Some(token) => {
                let (status, document) = form(before, exchange(token)).await;
                assert_eq!(status, 200, "{what}");
                format!(
                    "authorization: Bearer {}",
                    document["access_token"].as_str().unwrap()
                )
            }
            None => bearer(before, &headers, &scope).await.remove(0),
        };
        all.push((format!("a token that was given for {what}"), vec![token]));
    }
    all
}

/// S-22.
#[tokio::test]
async fn s_22_a_disabled_user_has_no_way_in() {
    let directory = TempDir::new().unwrap();
    let records = Arc::new(MemoryRecords::new());
    let keys = Keys::new(Arc::clone(&records));
    let registry = |disabled: &[&str]| {
        let rules = Rules::new().sentence("anyone may list, pull a/**");
        let rules = disabled
            .iter()
            .fold(rules, |rules, name| rules.disable(name));
        let tokens = TokenServer::open(directory.path()).unwrap();
        let access = access_control_by(rules.check().unwrap())
            .tokens(tokens.records(Arc::clone(&records)))
            .keys(keys.clone());
        RegistryService::new(Engine::memory()).access(access)
    };
    let (before, after) = (registry(&[]), registry(DISABLED));
    let all = shown(&before, &keys).await;
    assert_eq!(all.len(), 20);
    for (what, headers) in &all {
        // What anybody may see, too: who shows what isn't good is told so.
        for path in ["/v2/", "/v2/a/b/tags/list"] {
            let answer = send(&before, "GET", path, headers, "").await;
            assert!(
                [200, 404].contains(&answer.status.as_u16()),
                "{what}: {answer:?}"
            );
            let answer = send(&after, "GET", path, headers, "").await;
            assert_eq!(answer.status, 401, "{what}: {answer:?}");
        }
        let explain = [
            headers.as_slice(),
            &["content-type: application/json".to_owned()],
        ]
        .concat();
        let answer = send(&after, "POST", "/api/v1/explain", &explain, "{}").await;
        assert!(
            [401, 404].contains(&answer.status.as_u16()),
            "{what}: {answer:?}"
        );
        // Nor does it get another one.
        let (_, value) = headers[0].split_once(": ").unwrap();
        if let Some(token) = value.strip_prefix("Bearer ") {
            assert_eq!(form(&before, exchange(token)).await.0, 200, "{what}");
            assert_eq!(form(&after, exchange(token)).await.0, 401, "{what}");
        } else {
            let answer = send(&after, "GET", "/v2/token", headers, "").await;
            assert_eq!(answer.status, 401, "{what}");
        }
    }
    // In the form: a job's token, a password, and what it was told to come back with.
    let job = exchange(&job("org/app"));
    let password = "grant_type=password&username=ann&password=right&client_id=a".to_owned();
    let offline = format!("{password}&access_type=offline");
    let (status, document) = form(&before, offline).await;
    assert_eq!(status, 200, "{document}");
    let refresh = document["refresh_token"].as_str().unwrap();
    let refresh = format!("grant_type=refresh_token&client_id=a&refresh_token={refresh}");
    for (what, sent) in [("job", job), ("password", password), ("refresh", refresh)] {
        assert_eq!(form(&after, sent.clone()).await.0, 401, "{what}");
        assert_eq!(form(&before, sent).await.0, 200, "{what}");
    }
    // Others are let in, and so is nobody.
    let answer = send(&after, "GET", "/v2/", &user("cleo"), "").await;
    assert_eq!(answer.status, 200);
    let answer = send(&after, "GET", "/v2/a/b/tags/list", &[], "").await;
    assert_eq!(answer.status, 404);
}
