//! With rules of who may do what.

use registry_tests::harness::silence::PASSWORD;
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};

use crate::program::{Program, Setup, eventually};

pub(crate) const POLICY: &str = "\
version: 1
rules:
  - anyone is reader of public/**
  - users are writers of people/{user}/**
";

/// A server with a user of each of these names, whose passwords are [`PASSWORD`].
pub(crate) fn setup(users: &[&str], more: &str) -> Setup {
    let hash = bcrypt::hash(PASSWORD, 4).unwrap();
    let users: Vec<_> = users.iter().map(|user| format!("{user}:{hash}")).collect();
    let users = users.join("\n");
    Setup::serve(&format!(
        "version: 0.1\nstorage: {{filesystem: {{rootdirectory: data}}}}\n\
         http: {{addr: '127.0.0.1:0'}}\n\
         auth:\n  htpasswd: {{realm: r, path: users}}\n  policy: {{path: policy.yml}}\n{more}"
    ))
    .file("users", users)
    .file("policy.yml", POLICY)
}

/// The status of beginning an upload.
async fn push(program: &Program, user: Option<&str>, repository: &str) -> StatusCode {
    let url = format!("http://{}/v2/{repository}/blobs/uploads/", program.address);
    let request = Client::new().post(url);
    let request = match user {
        Some(user) => request.basic_auth(user, Some(PASSWORD)),
        None => request,
    };
    request.send().await.unwrap().status()
}

#[tokio::test]
async fn the_log_names_who_was_refused() {
    let program = setup(&["ben"], "").start();
    let status = push(&program, Some("ben"), "people/ann/app").await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    eventually("it is logged", async || {
        let log = program.stdout();
        log.lines()
            .any(|line| line.contains(" - ben [") && line.contains(" 403 "))
    })
    .await;
}

#[tokio::test]
async fn each_does_what_the_policy_file_says_and_follows_its_changes() {
    let program = setup(&["ann", "ben"], "").start();
    for (user, repository, status) in [
        (Some("ann"), "people/ann/app", StatusCode::ACCEPTED),
        (Some("ben"), "people/ann/app", StatusCode::FORBIDDEN),
        (None, "people/ann/app", StatusCode::UNAUTHORIZED),
        (None, "public/app", StatusCode::UNAUTHORIZED),
    ] {
        assert_eq!(
            push(&program, user, repository).await,
            status,
            "{user:?} {repository}"
        );
    }
    assert_eq!(
        program.get("/v2/public/app/tags/list").await.0,
        StatusCode::NOT_FOUND
    );
    assert_eq!(
        program.get("/v2/people/ann/app/tags/list").await.0,
        StatusCode::UNAUTHORIZED
    );

    std::fs::write(
        program.path("policy.yml"),
        format!("{POLICY}  - robot ci mya push x\n"),
    )
    .unwrap();
    eventually("the mistake is told", async || {
        program.stderr().contains("policy.yml:5: ")
    })
    .await;
    assert_eq!(
        push(&program, Some("ann"), "people/ann/app").await,
        StatusCode::ACCEPTED
    );
    std::fs::write(
        program.path("policy.yml"),
        format!("{POLICY}  - user ben may push people/**\n"),
    )
    .unwrap();
    eventually("ben may push", async || {
        push(&program, Some("ben"), "people/ann/app").await == StatusCode::ACCEPTED
    })
    .await;
}

/// A token for `scope`, as clients ask for it.
pub(crate) async fn token(program: &Program, user: Option<&str>, scope: &str) -> String {
    let challenge = program.challenge("/v2/").await;
    let realm = challenge.split('"').nth(1).unwrap().to_owned();
    assert!(challenge.starts_with("Bearer "), "{challenge}");
    let scope = scope.replace(' ', "%20");
    let request = Client::new().get(format!("{realm}?service=registry&scope={scope}"));
    let request = match user {
        Some(user) => request.basic_auth(user, Some(PASSWORD)),
        None => request,
    };
    let answer = request.send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    let answer: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
    answer["token"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn everybody_pulls_with_a_token_and_some_push_with_one() {
    let program = setup(&["ann", "ben"], "").start();
    let upload = async |token: &str, repository: &str| {
        let url = format!("http://{}/v2/{repository}/blobs/uploads/", program.address);
        let request = Client::new().post(url).bearer_auth(token);
        request.send().await.unwrap().status()
    };
    let tags = async |token: &str, repository: &str| {
        let url = format!("http://{}/v2/{repository}/tags/list", program.address);
        let request = Client::new().get(url).bearer_auth(token);
        request.send().await.unwrap().status()
    };
    let both = "repository:public/app:pull repository:people/ann/app:pull,push";
    let ann = token(&program, Some("ann"), both).await;
    let ben = token(&program, Some("ben"), both).await;
    let nobody = token(&program, None, both).await;
    assert_eq!(upload(&ann, "people/ann/app").await, StatusCode::ACCEPTED);
    assert_eq!(upload(&ben, "people/ann/app").await, StatusCode::FORBIDDEN);
    assert_eq!(
        upload(&nobody, "people/ann/app").await,
        StatusCode::UNAUTHORIZED
    );
    for token in [&ann, &ben, &nobody] {
        assert_eq!(tags(token, "public/app").await, StatusCode::NOT_FOUND);
    }
    // It was for something else.
    assert_eq!(
        upload(&ann, "people/ann/other").await,
        StatusCode::UNAUTHORIZED
    );

    // What signs them is nobody else's.
    let keys = program.path("data/auth/keys");
    let keys: Vec<_> = std::fs::read_dir(keys).unwrap().collect();
    assert_eq!(keys.len(), 1);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = keys[0]
            .as_ref()
            .unwrap()
            .metadata()
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}

#[tokio::test]
async fn a_login_lasts_without_the_password_until_it_is_revoked() {
    let program = setup(&["ann"], "").start();
    let url = format!("http://{}/v2/token", program.address);
    let form = async |path: &str, text: String| {
        let request = Client::new().post(format!("{url}{path}"));
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        let answer = request.body(text).send().await.unwrap();
        let status = answer.status();
        let text = answer.text().await.unwrap();
        (status, serde_json::from_str(&text).unwrap_or(Value::Null))
    };
    let login = format!(
        "grant_type=password&username=ann&password={PASSWORD}&service=registry&client_id=test\
         &access_type=offline&scope=repository:people/ann/app:pull,push"
    );
    let (status, answer) = form("", login).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    let refresh = answer["refresh_token"].as_str().unwrap();
    let redeem = format!(
        "grant_type=refresh_token&refresh_token={refresh}&service=registry&client_id=test\
         &scope=repository:people/ann/app:pull"
    );
    let (status, answer) = form("", redeem.clone()).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    assert!(answer["access_token"].is_string());
    // It isn't kept as it is.
    let records = std::fs::read_to_string(program.path("data/auth/records.log")).unwrap();
    let secret = refresh.rsplit('_').next().unwrap();
    assert!(!records.is_empty() && !records.contains(secret));

    let (status, _) = form("/revoke", format!("token={refresh}")).await;
    assert_eq!(status, StatusCode::OK);
    let (status, answer) = form("", redeem).await;
    assert!(status.is_client_error(), "{status} {answer}");
}

#[tokio::test]
async fn a_robot_pushes_with_a_key_that_the_command_line_made() {
    let rules = format!("{POLICY}  - robot ci may push, pull v* to team/**\n");
    let program = setup(&["ann"], "").file("policy.yml", rules).start();
    let root = program.path("data");
    let auth = |arguments: &[&str]| {
        let root = ["--root", root.to_str().unwrap()];
        let setup = Setup::new().arguments(&["auth"]).arguments(arguments);
        setup.arguments(&root).run()
    };
    assert!(
        auth(&["robot", "create", "ci", "--group", "builders"])
            .status
            .success()
    );
    assert_eq!(auth(&["robot", "create", "ci"]).status.code(), Some(1));
    assert_eq!(auth(&["key", "create", "other"]).status.code(), Some(1));
    let end = auth(&[
        "key",
        "create",
        "ci",
        "--expires",
        "90d",
        "--label",
        "builds",
        "--json",
    ]);
    let key: Value = serde_json::from_str(&end.stdout).expect(&end.stderr);
    let (secret, id) = (key["secret"].as_str().unwrap(), key["id"].as_str().unwrap());
    assert!(key["expires_at"].is_string());
    let listed = auth(&["key", "list", "ci"]).stdout;
    assert!(listed.contains(id) && !listed.contains(secret), "{listed}");

    let upload = async |repository: &str| {
        let url = format!("http://{}/v2/{repository}/blobs/uploads/", program.address);
        let request = Client::new().post(url);
        let request = request.basic_auth("robot$ci", Some(secret));
        request.send().await.unwrap().status()
    };
    let is = async |expected: StatusCode| {
        eventually(expected.as_str(), async || {
            upload("team/app").await == expected
        })
        .await;
    };
    is(StatusCode::ACCEPTED).await;
    assert_eq!(upload("people/ann/app").await, StatusCode::FORBIDDEN);
    // It is found beside the running server.
    assert!(auth(&["robot", "disable", "ci"]).status.success());
    is(StatusCode::UNAUTHORIZED).await;
    assert!(auth(&["robot", "enable", "ci"]).status.success());
    is(StatusCode::ACCEPTED).await;
    assert!(auth(&["key", "revoke", "ci", id]).status.success());
    is(StatusCode::UNAUTHORIZED).await;
    let listed = auth(&["robot", "list"]).stdout;
    assert_eq!(listed, "ci\tenabled\tbuilders\n");
    let listed = auth(&["robot", "list", "--json"]).stdout;
    let robots: Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(robots[0]["groups"][0], "builders");
    assert_eq!(
        Setup::new()
            .arguments(&["auth", "robot", "list"])
            .run()
            .status
            .code(),
        Some(2)
    );
}

#[tokio::test]
async fn whoever_asks_too_often_is_told_when_to_come_back() {
    let program = setup(&["ann"], "  limits: {peraddress: 3}\n").start();
    let mut refused = None;
    for _ in 0..50 {
        let url = format!("http://{}/v2/public/app/tags/list", program.address);
        let answer = Client::new().get(url).send().await.unwrap();
        if answer.status() == StatusCode::TOO_MANY_REQUESTS {
            refused = Some(answer);
            break;
        }
    }
    let refused = refused.expect("it never is too much");
    assert_eq!(refused.headers()["retry-after"], "1");
    assert!(refused.text().await.unwrap().contains("TOOMANYREQUESTS"));
}

#[tokio::test]
async fn tokens_of_another_service_open_what_they_cover() {
    // The other service is a registry, too.
    let service = setup(&["ann"], "").start();
    let keys = service.get("/v2/token/jwks.json").await.1;
    let address = format!("http://{}/v2/token/jwks.json", service.address);
    let realm = format!("http://{}/v2/token", service.address);
    for place in ["keys.json", &address] {
        let program = Setup::serve(&format!(
            "version: 0.1\nstorage: inmemory\nhttp: {{addr: '127.0.0.1:0'}}\nauth:\n  token:\n    \
             realm: {realm}\n    service: registry\n    issuer: registry\n    jwks: {place}\n    \
             signingalgorithms: [ES256]\n"
        ))
        .file("keys.json", &*keys)
        .start();
        assert_eq!(
            program.challenge("/v2/people/ann/app/tags/list").await,
            format!(
                r#"Bearer realm="{realm}",service="registry",scope="repository:people/ann/app:pull""#
            )
        );
        let scope = "repository:people/ann/app:pull,push";
        let ann = token(&program, Some("ann"), scope).await;
        let upload = async |repository: &str| {
            let url = format!("http://{}/v2/{repository}/blobs/uploads/", program.address);
            let request = Client::new().post(url).bearer_auth(&ann);
            request.send().await.unwrap().status()
        };
        assert_eq!(
            upload("people/ann/app").await,
            StatusCode::ACCEPTED,
            "{place}"
        );
        assert_eq!(upload("people/ben/app").await, StatusCode::UNAUTHORIZED);
        // A password is not for this server.
        assert_eq!(
            push(&program, Some("ann"), "people/ann/app").await,
            StatusCode::UNAUTHORIZED
        );
    }
}

#[test]
fn keys_at_an_address_that_is_not_safe_are_told_by_their_line() {
    let end = Setup::serve(
        "version: 0.1\nstorage: inmemory\nauth:\n  token:\n    realm: https://r/\n    service: s\n    \
         issuer: i\n    jwks: http://login.example/keys\n",
    )
    .run();
    assert_eq!(end.status.code(), Some(2), "{}", end.stderr);
    let sentence = "config.yml:8: the address can't be used: it must begin with https://";
    assert!(end.stderr.contains(sentence), "{}", end.stderr);
}

#[tokio::test]
async fn jobs_of_another_system_do_what_the_policy_file_says_of_their_claims() {
    // The other system is a registry, too, and Ann its job.
    let named = "  tokenserver: {issuer: login, service: apps}\n";
    let system = setup(&["ann", "ben"], named).start();
    let url = format!("http://{}/v2/token?service=apps", system.address);
    let vouch = async |user: &str| {
        let request = Client::new().get(&url).basic_auth(user, Some(PASSWORD));
        let answer = request.send().await.unwrap().text().await.unwrap();
        let answer: Value = serde_json::from_str(&answer).unwrap();
        answer["token"].as_str().unwrap().to_owned()
    };
    let keys = format!("http://{}/v2/token/jwks.json", system.address);
    let program = Setup::serve(&format!(
        "version: 0.1\nstorage: inmemory\nhttp: {{addr: '127.0.0.1:0'}}\nauth:\n  \
         policy: {{path: policy.yml}}\n  oidc:\n    \
         other: {{issuer: login, audience: another, jwks: '{keys}'}}\n    \
         ci: {{issuer: login, audience: apps, jwks: '{keys}'}}\n"
    ))
    .file(
        "policy.yml",
        "version: 1\nrules:\n  - workload ci sub=ann may push, pull apps/**\n  \
         - workload other may push **\n  - users may push **\n",
    )
    .start();
    let exchange = async |token: &str| {
        let form = format!(
            "grant_type=urn:ietf:params:oauth:grant-type:token-exchange&subject_token={token}\
             &subject_token_type=urn:ietf:params:oauth:token-type:jwt\
             &scope=repository:apps/a:pull,push repository:other/a:push"
        );
        let request = Client::new()
            .post(format!("http://{}/v2/token", program.address))
            .header("content-type", "application/x-www-form-urlencoded")
            .body(form.replace(' ', "+"));
        let answer = request.send().await.unwrap();
        let status = answer.status();
        let answer: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
        (
            status,
            answer["access_token"]
                .as_str()
                .unwrap_or_default()
                .to_owned(),
        )
    };
    let upload = async |token: &str, repository: &str| {
        let url = format!("http://{}/v2/{repository}/blobs/uploads/", program.address);
        let request = Client::new().post(url).bearer_auth(token);
        request.send().await.unwrap().status()
    };
    let ann = vouch("ann").await;
    let (status, token) = exchange(&ann).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(upload(&token, "apps/a").await, StatusCode::ACCEPTED);
    assert_eq!(upload(&token, "other/a").await, StatusCode::FORBIDDEN);
    // As `docker login` sends it.
    let url = format!("http://{}/v2/apps/a/blobs/uploads/", program.address);
    let request = Client::new().post(url).basic_auth("ci", Some(&ann));
    assert_eq!(request.send().await.unwrap().status(), StatusCode::ACCEPTED);
    // Without being exchanged it opens nothing.
    assert_eq!(upload(&ann, "apps/a").await, StatusCode::UNAUTHORIZED);

    let (status, token) = exchange(&vouch("ben").await).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(upload(&token, "apps/a").await, StatusCode::FORBIDDEN);
    let (status, _) = exchange(&format!("{ann}x")).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_service_has_a_say_and_nothing_goes_on_without_it() {
    let answer = async |body: String| {
        let question: Value = serde_json::from_str(&body).unwrap();
        let question = &question["input"];
        let result = match question["repository"].as_str().unwrap() {
            "public/app" => json!({"allow": question["user"] == "ben"}),
            "people/ann/frozen" => json!({"deny": true, "reason": "frozen until Monday"}),
            "people/ann/unsure" => return json!({}).to_string(),
            _ => json!({}),
        };
        json!({"result": result}).to_string()
    };
    let service = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = service.local_addr().unwrap();
    let router = axum::Router::new().route("/decide", axum::routing::post(answer));
    tokio::spawn(async { axum::serve(service, router).await });
    let webhook = format!("  webhook: {{url: 'http://{address}/decide'}}\n");
    let program = setup(&["ann", "ben"], &webhook).start();
    for (user, repository, status) in [
        (Some("ann"), "people/ann/app", StatusCode::ACCEPTED),
        (Some("ann"), "people/ann/frozen", StatusCode::FORBIDDEN),
        (
            Some("ann"),
            "people/ann/unsure",
            StatusCode::SERVICE_UNAVAILABLE,
        ),
        (Some("ann"), "public/app", StatusCode::FORBIDDEN),
        (Some("ben"), "public/app", StatusCode::ACCEPTED),
        (None, "public/app", StatusCode::UNAUTHORIZED),
    ] {
        assert_eq!(
            push(&program, user, repository).await,
            status,
            "{user:?} {repository}"
        );
    }
    // Whoever may know of the repository reads why.
    let url = format!("http://{}/v2/people/ann/frozen/tags/list", program.address);
    for (user, reads) in [("ann", true), ("ben", false)] {
        let request = Client::new().get(&url).basic_auth(user, Some(PASSWORD));
        let answer = request.send().await.unwrap().text().await.unwrap();
        assert_eq!(answer.contains("frozen until Monday"), reads, "{answer}");
    }
}

#[tokio::test]
async fn where_a_service_alone_decides_only_what_it_allows_goes_on() {
    let answer = async |body: String| {
        let question: Value = serde_json::from_str(&body).unwrap();
        let result = match question["input"]["repository"].as_str().unwrap() {
            "allowed" => json!({"allow": true}),
            "default" => json!({"allow": false}),
            _ => json!({}),
        };
        json!({"result": result}).to_string()
    };
    let service = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = service.local_addr().unwrap();
    let router = axum::Router::new().route("/", axum::routing::post(answer));
    tokio::spawn(async { axum::serve(service, router).await });
    let program = Setup::serve(&format!(
        "version: 0.1\nstorage: {{filesystem: {{rootdirectory: data}}}}\n\
         http: {{addr: '127.0.0.1:0'}}\nauth: {{webhook: {{url: 'http://{address}/'}}}}\n"
    ));
    let program = program.start();
    for (repository, status) in [
        ("allowed", StatusCode::ACCEPTED),
        ("default", StatusCode::FORBIDDEN),
        ("unsaid", StatusCode::FORBIDDEN),
    ] {
        assert_eq!(
            push(&program, None, repository).await,
            status,
            "{repository}"
        );
    }
}

#[test]
fn a_webhook_that_can_not_be_used_is_told_by_its_line() {
    for (webhook, what) in [
        ("url: http://policy.example/", "must begin with https://"),
        (
            "url: https://p/, secretfile: empty",
            "the secret of the webhook is empty",
        ),
        ("url: https://p/, secretfile: none", "can't be read"),
        ("url: https://p/, timeout: 11s", "up to 10 seconds"),
        ("url: https://p/, remember: 2m", "a minute at most"),
    ] {
        let end = setup(&["ann"], &format!("  webhook: {{{webhook}}}\n"))
            .file("empty", "\n")
            .run();
        assert_eq!(end.status.code(), Some(2), "{webhook}");
        let line = end
            .stderr
            .lines()
            .find(|line| line.contains("config.yml:7: "));
        assert!(
            line.is_some_and(|line| line.contains(what)),
            "{webhook}: {}",
            end.stderr
        );
    }
}

#[tokio::test]
async fn passwords_alone_are_asked_for_where_tokens_are_off() {
    let program = setup(&["ann"], "  tokenserver: {enabled: false}\n").start();
    let challenge = program.challenge("/v2/").await;
    assert_eq!(challenge, r#"Basic realm="r""#);
    for (wrong, what) in [
        ("lifetime: 2h", "tokens must live"),
        ("refreshlifetime: 59m", "refresh tokens must be good"),
        ("refreshlifetime: 17521h", "refresh tokens must be good"),
    ] {
        let end = setup(&["ann"], &format!("  tokenserver: {{{wrong}}}\n")).run();
        let expected = format!("config.yml:7: {what}");
        assert!(end.stderr.contains(&expected), "{}", end.stderr);
    }
}

#[test]
fn a_policy_file_is_checked_with_its_lines() {
    let good = Setup::new().file("policy.yml", POLICY);
    let end = good.arguments(&["auth", "check", "policy.yml"]).run();
    assert_eq!(end.stdout, "policy.yml: nothing is wrong\n");
    assert!(end.status.success());

    let bad = || {
        let text = format!("{POLICY}  - users are writres of x\n  - group a may fly x\n");
        Setup::new().file("policy.yml", text)
    };
    let end = bad().arguments(&["auth", "check", "policy.yml"]).run();
    assert_eq!(end.status.code(), Some(2));
    let lines: Vec<_> = end.stdout.lines().collect();
    assert!(
        lines[0].starts_with("policy.yml:5: ") && lines[1].starts_with("policy.yml:6: "),
        "{lines:?}"
    );

    let end = bad()
        .arguments(&["auth", "check", "--json", "policy.yml"])
        .run();
    let answer: Value = serde_json::from_str(&end.stdout).unwrap();
    assert_eq!(
        (&answer["valid"], &answer["problems"][1]["line"]),
        (&false.into(), &6.into())
    );
}

#[test]
fn rules_that_may_not_be_meant_are_remarked_on() {
    let rules = "version: 1\ngroups: {web: [ann]}\nrules:\n\
                 \x20 - robot ci may push v* to team/**\n\
                 \x20 - anyone is writer of scratch/**\n\
                 \x20 - group wep are writers of web/**\n\
                 \x20 - group ops are writers of ops/**\n";
    let remarks = [
        (4, "allow `pull`, too"),
        (5, "without a login"),
        (6, "did you mean `web`?"),
        (7, "nobody is in the group `ops`"),
    ];
    let directory = "  ldap: {url: 'ldap://127.0.0.1', base: b, groupfilter: '(member={dn})'}\n";
    let configuration = |more: &str| {
        format!("version: 0.1\nstorage: inmemory\nauth:\n  policy: {{path: policy.yml}}\n{more}")
    };
    for (command, expected) in [
        ("auth check policy.yml", 4),
        ("check plain.yml", 4),
        // It may know the groups, but one looks misspelt.
        ("check directory.yml", 3),
    ] {
        let setup = || {
            let command: Vec<_> = command.split(' ').collect();
            Setup::new()
                .file("policy.yml", rules)
                .file("plain.yml", configuration(""))
                .file("directory.yml", configuration(directory))
                .variable("REGISTRY_HTTP_ADDR", "127.0.0.1:0")
                .arguments(&command)
        };
        let end = setup().run();
        assert!(end.status.success(), "{end:?}");
        let lines: Vec<_> = end.stdout.lines().collect();
        assert_eq!(lines.len(), expected + 1, "{command}: {lines:#?}");
        for ((line, what), found) in remarks.iter().take(expected).zip(&lines) {
            assert!(
                found.starts_with(&format!("policy.yml:{line}: ")),
                "{found}"
            );
            assert!(
                found.contains(what) && found.ends_with(" (a remark)"),
                "{found}"
            );
        }
        assert!(lines[expected].ends_with(": nothing is wrong"), "{lines:?}");

        let end = setup().arguments(&["--json"]).run();
        let answer: Value = serde_json::from_str(&end.stdout).unwrap();
        assert_eq!(answer["valid"], true);
        assert_eq!(answer["remarks"].as_array().unwrap().len(), expected);
        assert_eq!(answer["remarks"][0]["line"], 4);
    }
}

#[test]
fn a_decision_is_explained_with_the_line_of_its_rule() {
    let asked = |arguments: &[&str]| {
        let text = format!("{POLICY}  - nobody may push v* to people/**\n");
        let setup = Setup::new().file("policy.yml", text);
        setup
            .arguments(&["auth", "explain"])
            .arguments(arguments)
            .run()
    };
    let policy = ["--policy", "policy.yml"];
    for (question, granted, line) in [
        (
            ["ann", "push", "people/ann/app:1"],
            true,
            Some("policy.yml:4"),
        ),
        (
            ["ann", "push", "people/ann/app:v1"],
            false,
            Some("policy.yml:5"),
        ),
        (["ann", "push", "people/ben/app:1"], false, None),
        (["robot$ann", "push", "people/ann/app"], false, None),
        (
            ["anonymous", "list,pull", "public/app"],
            true,
            Some("policy.yml:3"),
        ),
        (["anonymous", "pull,delete", "public/app"], false, None),
    ] {
        let end = asked(&[&question[..], &policy].concat());
        assert_eq!(
            end.status.code(),
            Some(i32::from(!granted)),
            "{question:?} {end:?}"
        );
        let first = end.stdout.lines().next().unwrap();
        assert_eq!(first.contains(" may not "), !granted, "{first}");
        assert_eq!(first.contains("policy.yml:"), line.is_some(), "{first}");
        assert!(line.is_none_or(|line| first.contains(line)), "{first}");
    }
    let end = asked(&[
        "ann",
        "pull",
        "people/ann/app",
        "--policy",
        "policy.yml",
        "--json",
    ]);
    let answer: Value = serde_json::from_str(&end.stdout).unwrap();
    assert_eq!(answer["decided_by"]["place"], "policy.yml:4");
    let end = asked(&["ann", "fly", "x", "--policy", "policy.yml"]);
    assert_eq!(end.status.code(), Some(2), "{}", end.stderr);

    // A server without a policy file has rules, too.
    let configuration =
        "version: 0.1\nstorage: inmemory\nauth: {htpasswd: {realm: r, path: users}}\n";
    let end = Setup::new()
        .file(
            "users",
            format!("ann:{}\n", bcrypt::hash(PASSWORD, 4).unwrap()),
        )
        .file("c.yml", configuration)
        .arguments(&[
            "auth",
            "explain",
            "ann",
            "administer",
            "x",
            "--config",
            "c.yml",
        ])
        .run();
    assert_eq!(end.status.code(), Some(1), "{end:?}");
    assert!(end.stdout.contains(" may not administer"), "{end:?}");
}

#[test]
fn a_job_is_explained_by_its_claims_and_a_webhook_is_told_of() {
    const RULE: &str = "workload ci ref=refs/heads/main may push team/**";
    let asked = |arguments: &[&str]| {
        let setup = Setup::new()
            .file("policy.yml", format!("version: 1\nrules:\n  - {RULE}\n"))
            .file(
                "c.yml",
                "version: 0.1\nstorage: inmemory\nauth:\n  policy: {path: policy.yml}\n  \
                 oidc: {ci: {issuer: 'https://ci.example.com', audience: a}}\n  \
                 webhook: {url: 'http://127.0.0.1:1/'}\n",
            );
        let setup = setup.arguments(&["auth", "explain"]);
        setup.arguments(arguments).run()
    };
    let policy = ["--policy", "policy.yml"];
    for (head, granted) in [("refs/heads/main", true), ("refs/heads/other", false)] {
        let claim = format!("ref={head}");
        let question = [
            "ci:", "push", "team/app", "--claim", "a=b=c", "--claim", &claim,
        ];
        let end = asked(&[&question[..], &policy].concat());
        assert_eq!(end.status.code(), Some(i32::from(!granted)), "{end:?}");
        assert_eq!(end.stdout.contains(RULE), granted, "{end:?}");
        assert!(!end.stdout.contains("review"), "{end:?}");
        let end = asked(&[&question[..], &["--config", "c.yml"]].concat());
        assert_eq!(end.status.code(), Some(i32::from(!granted)), "{end:?}");
        assert!(end.stdout.contains("webhook's, is asked, too"), "{end:?}");
    }
    let end = asked(&[
        "ann",
        "push",
        "team/app",
        "--claim",
        "a=b",
        "--policy",
        "policy.yml",
    ]);
    assert!(end.stderr.contains("claims are of CI jobs"), "{end:?}");
    for claim in ["a", "=a"] {
        let end = asked(&[
            "ci:",
            "push",
            "team/app",
            "--claim",
            claim,
            "--policy",
            "policy.yml",
        ]);
        assert_eq!(end.status.code(), Some(2), "{end:?}");
    }
    // Both ways to ask are named.
    let end = asked(&["ci:", "push", "team/app"]);
    assert_eq!(end.status.code(), Some(2), "{end:?}");
    for way in ["--config <CONFIG>", "--policy <POLICY>"] {
        assert!(end.stderr.contains(way), "{end:?}");
    }
    let both = ["--policy", "policy.yml", "--config", "c.yml"];
    let end = asked(&[&["ci:", "push", "team/app"][..], &both].concat());
    assert_eq!(end.status.code(), Some(2), "{end:?}");
}

#[test]
fn a_policy_file_that_can_not_be_used_is_told_before_anything_is_made() {
    let mut program = setup(&["ann"], "")
        .file("policy.yml", "rules: [x]\n")
        .begin();
    assert_eq!(program.wait().code(), Some(2));
    assert!(
        program.stderr().contains("policy.yml:1: "),
        "{}",
        program.stderr()
    );
    assert!(!program.path("data").try_exists().unwrap());

    let end = Setup::new()
        .file("policy.yml", "rules: [x]\n")
        .file(
            "c.yml",
            "version: 0.1\nstorage: inmemory\nauth: {policy: {path: policy.yml}}\n",
        )
        .arguments(&["check", "c.yml"])
        .run();
    assert!(end.stdout.contains("policy.yml:1: "), "{}", end.stdout);
}
