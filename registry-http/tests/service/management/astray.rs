//! Keys and tokens where none belongs.

use http::Method;
use serde_json::{Value, json};

use super::{basic, scene};
use crate::exchange::{Answer, call};

fn said(answer: &Answer) -> String {
    String::from_utf8_lossy(&answer.body).into_owned()
}

#[tokio::test]
async fn a_whole_key_in_the_place_of_its_id_is_revoked() {
    let scene = scene();
    scene.make("root", "robots", json!({"name": "ci"})).await;
    scene.make("root", "robots", json!({"name": "cd"})).await;
    for (owner, path) in [("ann", "keys"), ("root", "robots/ci/keys")] {
        let made = scene.make(owner, path, json!({})).await;
        let other = scene.make(owner, path, json!({})).await;
        let secret = made["secret"].as_str().unwrap();
        let header = format!("authorization: Bearer {secret}");
        assert!(scene.lets_in(&header).await);
        // It is nobody else's, and what isn't it is no key either.
        let mut wrong = secret.to_owned();
        wrong.replace_range(60..61, if secret.contains('A') { "B" } else { "A" });
        for (who, path) in [
            ("root", format!("robots/cd/keys/{secret}")),
            ("keeper", format!("keys/{secret}")),
            (owner, format!("{path}/{wrong}")),
            (owner, format!("{path}/{}", &secret[..80])),
            (owner, format!("{path}/{secret}0")),
        ] {
            let refused = scene.ask(who, Method::DELETE, &path, Value::Null).await;
            assert_eq!(refused.status, 404, "{path}");
            assert!(said(&refused).contains("by its id"), "{refused:?}");
            assert!(scene.lets_in(&header).await);
        }
        // Nor does it end itself.
        let own = format!("/api/v1/{path}/{secret}");
        let refused = call(&scene.service, Method::DELETE, &own, &[&header]).await;
        assert_eq!(refused.status, 403, "{refused:?}");

        let whole = format!("{path}/{secret}");
        for (status, lets_in) in [(204, false), (404, false)] {
            let revoked = scene.ask(owner, Method::DELETE, &whole, Value::Null).await;
            assert_eq!(revoked.status, status, "{revoked:?}");
            assert_eq!(scene.lets_in(&header).await, lets_in);
        }
        let other = other["secret"].as_str().unwrap();
        let header = format!("authorization: Bearer {other}");
        assert!(scene.lets_in(&header).await);
    }
}

#[tokio::test]
async fn a_key_or_token_is_in_no_document() {
    let scene = scene();
    scene.make("root", "robots", json!({"name": "ci"})).await;
    let made = scene.make("ann", "keys", json!({})).await;
    let key = made["secret"].as_str().unwrap();
    let token = scene.token(&basic("ann", "right")).await;
    let token = token.strip_prefix("authorization: Bearer ").unwrap();
    for secret in [key, token] {
        for text in [secret.to_owned(), format!("the one: {secret}.")] {
            for (method, path, document) in [
                (Method::POST, "revocations", json!({"who": text})),
                (Method::POST, "robots", json!({"name": text})),
                (
                    Method::POST,
                    "robots",
                    json!({"name": "new", "description": text}),
                ),
                (
                    Method::POST,
                    "robots",
                    json!({"name": "new", "groups": ["a", text]}),
                ),
                (Method::PATCH, "robots/ci", json!({"description": text})),
                (Method::POST, "robots/ci/keys", json!({"label": text})),
                (Method::POST, "keys", json!({"label": text})),
                (
                    Method::POST,
                    "explain",
                    json!({"who": text, "actions": ["pull"]}),
                ),
                (
                    Method::POST,
                    "explain",
                    json!({"who": "github:job", "claims": {"a": text}, "actions": ["pull"]}),
                ),
                (Method::POST, "signing-keys", json!({text: true})),
            ] {
                let refused = scene.ask("root", method, path, document).await;
                assert_eq!(refused.status, 400, "{path}: {refused:?}");
                assert!(said(&refused).contains("key or token"), "{refused:?}");
                assert!(!said(&refused).contains(secret), "{refused:?}");
            }
        }
    }
    let robots = scene.ask("root", Method::GET, "robots", Value::Null).await;
    assert_eq!(robots.json()["robots"].as_array().unwrap().len(), 1);
    let shown = &robots.json()["robots"][0];
    assert_eq!(shown["description"], "");
}
