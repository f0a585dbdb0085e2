//! Keys and tokens where none belongs, and the management API.

use serde_json::{Value, json};

use super::guarded::{Guarded, PASSWORD, USER, basic, last};
use super::secrets::encoded;

const JSON: (&str, &str) = ("content-type", "application/json");

/// Sends a document with the right password.
fn manage(guarded: &mut Guarded, method: &str, path: &str, document: &Value) -> Value {
    let right = basic(USER, PASSWORD);
    let headers = [("authorization", right.as_str()), JSON];
    let path = format!("/api/v1/{path}");
    guarded.send(method, &path, &headers, document.to_string().as_bytes())
}

/// Makes a key there.
fn make(guarded: &mut Guarded, what: &str, path: &str) -> String {
    let scopes = json!({"scopes": ["repository:team/app:pull"]});
    let made = manage(guarded, "POST", path, &scopes);
    assert_eq!(made["status"], 201, "{made}");
    let key = made["body"]["secret"].as_str().expect("a key").to_owned();
    guarded.secrets.plant(what, &key);
    let secret = key.rsplit_once('_').map(|(key, _)| last(key));
    guarded
        .secrets
        .plant(&format!("the secret in {what}"), secret.expect("a secret"));
    key
}

/// Puts a refresh token and an access token, and keys that the management API makes,
/// everywhere.
pub(crate) fn everywhere(guarded: &mut Guarded) {
    let own = make(guarded, "a key of a user", "keys");
    let of_robot = make(guarded, "another key of a robot", "robots/ci/keys");
    let asked = "/v2/token?service=registry&account=ann&offline_token=true";
    let right = basic(USER, PASSWORD);
    let answer = guarded.send("GET", asked, &[("authorization", &right)], b"")["body"].take();
    let token = answer["token"].as_str().expect("a token").to_owned();
    let refresh = answer["refresh_token"]
        .as_str()
        .expect("a token")
        .to_owned();
    guarded.secrets.plant_token("a token gone astray", &token);
    guarded
        .secrets
        .plant("the secret in a refresh token gone astray", last(&refresh));
    for secret in [&own, &of_robot, &token, &refresh] {
        named(guarded, secret);
        documents(guarded, secret);
        requests(guarded, secret);
    }
    // The right place, but for the key in place of its id.
    for (path, key) in [("keys", &own), ("robots/ci/keys", &of_robot)] {
        for key in [&key[..key.len().saturating_sub(9)], key, key] {
            manage(guarded, "DELETE", &format!("{path}/{key}"), &Value::Null);
        }
        let ended = guarded.get("/v2/", &format!("Bearer {key}"));
        assert_eq!(ended, 401, "{path}");
    }
}

/// As the name of a user, and as what is shown to the management API.
fn named(guarded: &mut Guarded, secret: &str) {
    for authorization in [
        basic(secret, "x"),
        basic(secret, ""),
        basic(secret, PASSWORD),
        basic(&format!("robot${secret}"), secret),
        format!("Bearer {secret}"),
        basic(USER, secret),
    ] {
        for path in [
            "/v2/team/app/tags/list",
            "/v2/token?service=registry",
            "/api/v1/keys",
            "/api/v1/robots",
        ] {
            guarded.get(path, &authorization);
        }
    }
}

fn documents(guarded: &mut Guarded, secret: &str) {
    for (path, document) in [
        ("revocations", json!({"who": secret})),
        ("revocations", json!({"who": format!("user {secret}")})),
        ("keys", json!({"label": secret})),
        ("robots", json!({"name": secret})),
        ("robots", json!({"name": "new", "description": secret})),
        ("robots", json!({"name": "new", "groups": [secret]})),
        ("robots/ci/keys", json!({"label": secret, "more": secret})),
        ("explain", json!({"who": secret, "actions": ["pull"]})),
        (
            "explain",
            json!({"who": "ann", "actions": ["pull"], "repository": secret}),
        ),
        ("signing-keys", json!({secret: secret})),
    ] {
        let refused = manage(guarded, "POST", path, &document);
        assert_eq!(refused["status"], 400, "{path}");
    }
    let described = json!({"description": secret});
    let refused = manage(guarded, "PATCH", "robots/ci", &described);
    assert_eq!(refused["status"], 400);
}

/// In paths, queries and headers, of requests that come to something and that don't.
fn requests(guarded: &mut Guarded, secret: &str) {
    let right = basic(USER, PASSWORD);
    for secret in [
        secret.to_owned(),
        encoded(secret),
        encoded(secret).replace('_', "%5f"),
    ] {
        for path in [
            format!("/v2/team/app/manifests/{secret}"),
            format!("/v2/team/app/blobs/{secret}"),
            format!("/v2/team/app/blobs/uploads/{secret}"),
            format!("/v2/{secret}/tags/list?n=1&last={secret}"),
            format!("/v2/token?service={secret}&account={secret}&scope=repository:{secret}:pull"),
            format!("/api/v1/robots/{secret}"),
            format!("/api/v1/keys?last={secret}"),
            format!("/api/v1/{secret}"),
            format!("/{secret}"),
        ] {
            let headers = [
                ("authorization", right.as_str()),
                ("user-agent", secret.as_str()),
                ("referer", secret.as_str()),
                ("x-request-id", secret.as_str()),
                ("x-forwarded-for", secret.as_str()),
            ];
            guarded.ask_about(&path, &headers);
        }
    }
}
