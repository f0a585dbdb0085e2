//! What stands beside the policies: what may be handed on, the wait of those who
//! guess, and whoever else has a say.

use std::sync::Arc;

use async_trait::async_trait;
use registry_core::{Action, Actions, Result};
use registry_http::registry_auth::{
    AccessControl, Decision, GuardLimits, Keys, MemoryRecords, Question, Review, Rule, Rules,
};
use registry_http::{Administration, RegistryService};
use registry_storage::Engine;

use crate::exchange::{Answer, send};
use crate::principals::{access_control, basic};

fn service(access: AccessControl) -> RegistryService {
    let keys = Keys::new(Arc::new(MemoryRecords::new()));
    RegistryService::new(Engine::memory())
        .access(access.keys(keys.clone()))
        .management(Administration::new().keys(keys))
}

async fn ask(
    service: &RegistryService,
    method: &str,
    path: &str,
    pair: &str,
    body: &str,
) -> Answer {
    let (user, password) = pair.split_once(':').unwrap();
    let headers = [
        basic(user, password),
        "content-type: application/json".to_owned(),
    ];
    send(service, method, path, &headers, body.to_owned()).await
}

#[tokio::test]
async fn nobody_makes_a_robot_that_may_do_more() {
    let elsewhere = "nobody except robot new may delete secret/**".parse::<Rule>();
    let elsewhere = elsewhere.unwrap().from("192.0.2.0/24".parse().unwrap());
    for (who, more, status) in [
        ("maker", None, 403),
        ("chief", None, 201),
        ("chief", Some(elsewhere), 403),
    ] {
        let rules = Rules::new()
            .sentence("user maker may administer, audit **")
            .sentence("user chief is admin of **");
        let rules = more.into_iter().fold(rules, Rules::rule);
        let service = service(access_control().policy(rules));
        let pair = format!("{who}:right");
        let made = ask(
            &service,
            "POST",
            "/api/v1/robots",
            &pair,
            r#"{"name":"new"}"#,
        )
        .await;
        assert_eq!(made.status, status, "{who} {made:?}");
    }
}

#[tokio::test]
async fn whoever_guesses_has_to_wait() {
    let service = service(access_control().guard(GuardLimits::default()));
    let login = async |pair| ask(&service, "GET", "/v2/", pair, "").await.status;
    for _ in 0..5 {
        assert_eq!(login("root:wrong").await, 401);
    }
    assert_eq!(login("root:wrong").await, 429);
    assert_eq!(login("root:right").await, 429);
    assert_eq!(login("writer:right").await, 200);
}

/// Lets nobody pull.
#[derive(Debug)]
struct NoPulls;

#[async_trait]
impl Review for NoPulls {
    async fn review(&self, _: &Question<'_>, _: Actions) -> Result<Decision> {
        Ok(Decision::deny_silently(Action::Pull))
    }
}

#[tokio::test]
async fn whoever_else_has_a_say_is_heard() {
    for (access, status) in [
        (access_control(), 404),
        (access_control().review(NoPulls), 403),
    ] {
        let path = "/v2/open/none/manifests/latest";
        let answer = ask(&service(access), "GET", path, "root:right", "").await;
        assert_eq!(answer.status, status, "{answer:?}");
    }
}
