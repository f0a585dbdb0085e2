//! What the log says of those who were refused.

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use registry_tests::harness::silence::{PASSWORD, WRONG};
use reqwest::{Certificate, Client, Method, StatusCode};
use serde_json::{Value, json};

use crate::authorized::{POLICY, setup};
use crate::program::{Program, Setup, eventually};
use crate::protected::client;

/// A request of `user`.
async fn ask(
    program: &Program,
    method: Method,
    path: &str,
    user: &str,
    password: &str,
) -> (StatusCode, String) {
    let url = format!("http://{}{path}", program.address);
    let request = Client::new().request(method, url);
    let answer = request
        .basic_auth(user, Some(password))
        .send()
        .await
        .unwrap();
    let status = answer.status();
    (status, answer.text().await.unwrap())
}

/// The messages that hold `what`, in the order in which they came.
fn messages(program: &Program, what: &str) -> Vec<Value> {
    let log = program.stderr();
    let messages = log
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok());
    messages
        .filter(|line: &Value| line["msg"].as_str().is_some_and(|text| text.contains(what)))
        .collect()
}

#[tokio::test]
async fn who_is_locked_out_is_told_once_and_by_name_only_if_somebody_is_called_so() {
    let program = setup(&["ann"], "")
        .variable("REGISTRY_LOG_FORMATTER", "json")
        .start();
    let typed = "canary-typed-in-the-wrong-field";
    for user in ["ann", typed] {
        for attempt in 0..9 {
            let (status, _) = ask(&program, Method::GET, "/v2/", user, WRONG).await;
            // Later ones may come when the second is over that they have to wait for.
            assert!(
                attempt >= 5 || status == StatusCode::UNAUTHORIZED,
                "{status}"
            );
        }
    }
    let locked = || {
        messages(
            &program,
            "too many wrong passwords for a name from an address",
        )
    };
    eventually("both are told", async || locked().len() >= 2).await;
    let locked = locked();
    assert_eq!(locked.len(), 2, "{locked:#?}");
    assert_eq!(
        (&locked[0]["name"], &locked[0]["address"]),
        (&"ann".into(), &"127.0.0.1".into())
    );
    assert_eq!(locked[0]["level"], "warning");
    assert_eq!(
        (&locked[0]["cause"], &locked[0]["seconds"]),
        (&"name at an address".into(), &1.into())
    );
    // People type passwords there.
    assert_eq!(locked[1]["name"], Value::Null, "{locked:#?}");
    assert!(!program.stderr().contains(typed), "{}", program.stderr());
}

/// That the tag exists is only known when the manifest has come.
#[tokio::test]
async fn the_reason_why_a_tag_stays_is_told() {
    let rules = format!(
        "{POLICY}  - user ben may pull, push v* in team/**\n  - rule: nobody may overwrite v* in team/**\n    \
         reason: releases stay\n  - users may overwrite **\n"
    );
    let program = setup(&["ben"], "")
        .variable("REGISTRY_LOG_FORMATTER", "json")
        .file("policy.yml", rules)
        .start();
    let media_type = "application/vnd.oci.image.index.v1+json";
    let push = async |tag: &str, title: &str| {
        let path = format!("/v2/team/app/manifests/{tag}");
        let index = json!({
            "schemaVersion": 2,
            "mediaType": media_type,
            "manifests": [],
            "annotations": { "title": title },
        });
        let request = Client::new().put(format!("http://{}{path}", program.address));
        let answer = request
            .basic_auth("ben", Some(PASSWORD))
            .header("content-type", media_type)
            .body(index.to_string())
            .send()
            .await
            .unwrap();
        (answer.status(), answer.text().await.unwrap())
    };
    assert_eq!(push("v1", "first").await.0, StatusCode::CREATED);
    let (status, body) = push("v1", "second").await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    assert!(body.contains("releases stay"), "{body}");
    assert_eq!(push("latest", "first").await.0, StatusCode::FORBIDDEN);

    let refused = || messages(&program, "refused by the rules");
    eventually("both are told", async || refused().len() >= 2).await;
    for (line, [actions, tags, rule]) in refused().iter().zip([
        ["overwrite", "v1", "nobody may overwrite v* in team/**"],
        ["push", "latest", "none that allows it"],
    ]) {
        assert_eq!(
            (&line["actions"], &line["tags"]),
            (&actions.into(), &tags.into())
        );
        assert_eq!(line["rule"], rule);
    }
}

#[tokio::test]
async fn a_refusal_is_told_with_the_rule_that_decided() {
    let rules = format!(
        "{POLICY}  - users are readers of **\n  - rule: nobody may delete team/**\n    \
         name: team stays\n    reason: ask the team\n"
    );
    let program = setup(&["ben"], "")
        .variable("REGISTRY_LOG_FORMATTER", "json")
        .variable("REGISTRY_STORAGE_DELETE_ENABLED", "true")
        .file("policy.yml", rules)
        .start();
    let push = ask(
        &program,
        Method::POST,
        "/v2/people/ann/app/blobs/uploads/",
        "ben",
        PASSWORD,
    );
    assert_eq!(push.await.0, StatusCode::FORBIDDEN);
    let delete = ask(
        &program,
        Method::DELETE,
        "/v2/team/app/manifests/v1",
        "ben",
        PASSWORD,
    )
    .await;
    assert!(delete.1.contains("ask the team"), "{delete:?}");
    // The reason of the same denial, where the repository goes as a whole.
    let whole = ask(
        &program,
        Method::DELETE,
        "/api/v1/repositories/team/app",
        "ben",
        PASSWORD,
    )
    .await;
    assert_eq!(whole.0, StatusCode::FORBIDDEN);
    assert!(whole.1.contains("ask the team"), "{whole:?}");
    let robots = ask(&program, Method::GET, "/api/v1/robots", "ben", PASSWORD).await;
    assert_eq!(robots.0, StatusCode::FORBIDDEN);

    let refused = || messages(&program, "refused by the rules");
    eventually("all are told", async || refused().len() >= 4).await;
    let refused = refused();
    for (line, [rule, actions]) in refused.iter().zip([
        ["none that allows it", "push"],
        ["team stays: nobody may delete team/**", "delete"],
        ["team stays: nobody may delete team/**", "delete,administer"],
        ["none that allows it", "audit"],
    ]) {
        assert_eq!(
            (&line["rule"], &line["actor"]),
            (&rule.into(), &"ben".into()),
            "{line}"
        );
        assert_eq!(line["actions"], actions, "{line}");
        assert_eq!(line["level"], "info");
    }
    assert_eq!(refused[1]["place"], "policy.yml:6");
    assert_eq!(refused[1]["repository"], "team/app");

    // Each names who it was, and the message is found by the request.
    let requests = || {
        let log = program.stdout();
        let lines = log.lines().map(|line| serde_json::from_str(line).unwrap());
        lines.collect::<Vec<Value>>()
    };
    eventually("all are logged", async || requests().len() >= 4).await;
    for (request, message) in requests().iter().zip(&refused) {
        assert_eq!(request["auth.user.name"], "ben", "{request}");
        assert_eq!(
            request["http.request.id"], message["id"],
            "{request}{message}"
        );
    }
}

#[tokio::test]
async fn a_token_of_an_unknown_issuer_is_told_to_who_looks_for_why() {
    let program = setup(
        &["ann"],
        "  oidc: {ci: {issuer: ci, audience: a, jwks: keys.json}}\n",
    )
    .file(
        "keys.json",
        r#"{"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "k",
            "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#,
    )
    .variable("REGISTRY_LOG_LEVEL", "debug")
    .variable("REGISTRY_LOG_FORMATTER", "json")
    .start();
    // {"alg":"EdDSA","typ":"JWT","kid":"k"} {"iss":"https://ci","aud":"a"}
    let token = "eyJhbGciOiJFZERTQSIsInR5cCI6IkpXVCIsImtpZCI6ImsifQ.\
                 eyJpc3MiOiJodHRwczovL2NpIiwiYXVkIjoiYSJ9.c2lnbmF0dXJl";
    let (status, _) = ask(&program, Method::GET, "/v2/", "ci", token).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    let told = || messages(&program, "no issuer that is known here");
    eventually("it is told", async || !told().is_empty()).await;
    let told = told();
    assert_eq!(told[0]["issuer"], "https://ci", "{told:?}");
    assert_eq!(told[0]["level"], "debug");
    assert!(!program.stderr().contains(token));
}

#[tokio::test]
async fn a_certificate_that_nobody_vouches_for_is_told() {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let authority = || {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap().pem();
        (certificate, Issuer::new(params, key))
    };
    let (clients, _) = authority();
    let (_, other) = authority();
    let program = Setup::serve(
        "version: 0.1\nstorage: inmemory\nlog: {formatter: json}\nhttp:\n  \
         addr: 127.0.0.1:0\n  tls: {certificate: c.pem, key: k.pem, clientcas: [clients.pem]}\n\
         auth:\n  certificate: {name: cn}\n  policy: {path: policy.yml}\n",
    )
    .file("c.pem", made.cert.pem())
    .file("k.pem", made.signing_key.serialize_pem())
    .file("clients.pem", clients)
    .file("policy.yml", POLICY)
    .start();
    let server = Certificate::from_pem(made.cert.pem().as_bytes()).unwrap();
    let shown = Client::builder().tls_certs_only([server]);
    let shown = shown.identity(client(&other, "ann")).build().unwrap();
    let port = program.address.rsplit(':').next().unwrap();
    let answer = shown
        .get(format!("https://localhost:{port}/v2/"))
        .send()
        .await;
    assert!(answer.is_err(), "{answer:?}");
    let told = || messages(&program, "certificate");
    eventually("it is told", async || !told().is_empty()).await;
    let told = told();
    assert_eq!(told.len(), 1, "{told:#?}");
    let reason = told[0]["error"].as_str().unwrap();
    assert!(reason.contains("invalid peer certificate"), "{told:#?}");
    assert_eq!(
        (&told[0]["level"], &told[0]["address"]),
        (&"warning".into(), &"127.0.0.1".into())
    );
}
