//! What a token server is asked, and what it answers.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderMap, Method};
use registry_auth::{
    AUTHORIZATION_MAX, AccessControl, MemoryRecords, Principal, Sender, TOKEN_REQUEST_MAX,
    TokenRequest, TokenServer,
};
use registry_core::{Clock, ErrorKind, RequestOrigin, SystemClock};
use serde_json::{Value, json};

use crate::support::{
    ASKS, Ahead, People, ann, ask, basic, bearer, challenge, claims, exchange_form, issue,
    registry, rules,
};

#[tokio::test]
async fn everybody_pulls_what_is_public_and_pushes_after_a_login() {
    let access = registry(&People::of([ann()]));
    let tags = "/v2/public/a/tags/list";
    // Clients find out here that there are tokens.
    assert_eq!(
        challenge(ask(&access, None, Method::GET, "/v2/").await),
        ASKS
    );
    let token = issue(
        &access,
        None,
        "service=registry&scope=repository:public/a:pull",
    )
    .await;
    let token = bearer(&token.unwrap());
    ask(&access, Some(&token), Method::GET, "/v2/")
        .await
        .unwrap();
    let grant = ask(&access, Some(&token), Method::GET, tags).await.unwrap();
    assert_eq!(grant.actor.name, None);

    let upload = "/v2/public/a/blobs/uploads/";
    let scope = r#",scope="repository:public/a:pull,push""#;
    assert_eq!(
        challenge(ask(&access, None, Method::POST, upload).await),
        format!("{ASKS}{scope}")
    );
    let refused = challenge(ask(&access, Some(&token), Method::POST, upload).await);
    // Clients show the words to whoever is to log in.
    let words = r#"error="insufficient_scope",error_description="log in to do this""#;
    assert_eq!(refused, format!("{ASKS}{scope},{words}"));
    let query = "service=registry&scope=repository:public/a:pull,push&account=ann&client_id=docker";
    let token = issue(&access, Some(&basic("ann", "ann")), query)
        .await
        .unwrap();
    let grant = ask(&access, Some(&bearer(&token)), Method::POST, upload)
        .await
        .unwrap();
    assert_eq!(grant.actor.name.as_deref(), Some("ann"));
    // And with the password itself, without any token.
    let password = basic("ann", "ann");
    ask(&access, Some(&password), Method::POST, upload)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_refusal_says_whether_another_token_would_help() {
    let access = registry(&People::of([ann()]));
    let pull = "service=registry&scope=repository:team/a:pull&scope=repository:secret/a:pull";
    let token = bearer(
        &issue(&access, Some(&basic("ann", "ann")), pull)
            .await
            .unwrap(),
    );
    let kind = async |authorization: &str, method, target| {
        let answer = ask(&access, Some(authorization), method, target).await;
        let refusal = answer.expect_err(target);
        let challenge = refusal
            .challenge
            .map(|value| value.to_str().unwrap().to_owned());
        (refusal.error.kind(), challenge.unwrap_or_default())
    };
    // The policies allow it, the token doesn't.
    let (error, challenge) = kind(&token, Method::POST, "/v2/team/a/blobs/uploads/").await;
    assert_eq!(error, ErrorKind::Unauthorized);
    assert!(
        challenge.contains(r#"scope="repository:team/a:pull,push",error="insufficient_scope""#)
    );
    // The policies don't, whatever the token covers.
    for target in ["/v2/secret/a/tags/list", "/v2/secret/b/tags/list"] {
        let refusal = kind(&token, Method::GET, target).await;
        assert_eq!(refusal, (ErrorKind::Denied, String::new()));
    }
    // No token at all.
    for token in [
        "Bearer x",
        "Bearer a.b.c",
        &format!("{token}x"),
        &token[..token.len() - 9],
    ] {
        let (error, challenge) = kind(token, Method::GET, "/v2/public/a/tags/list").await;
        assert_eq!(error, ErrorKind::Unauthorized);
        assert!(
            challenge.contains(r#",error="invalid_token""#),
            "{challenge}"
        );
        assert!(!challenge.contains("scope="), "{challenge}");
    }
    // Wrong passwords and headers that can't be read aren't about tokens.
    for authorization in [&basic("ann", "ben"), "Basic x", "Digest x"] {
        let (_, challenge) = kind(authorization, Method::GET, "/v2/public/a/tags/list").await;
        assert_eq!(challenge, ASKS);
    }
}

#[tokio::test]
async fn a_wrong_password_gets_no_token_and_nobody_gets_an_anonymous_one() {
    let access = registry(&People::of([ann()]));
    for authorization in [
        &basic("ann", "ben"),
        &basic("ben", "ben"),
        "Basic x",
        "Bearer x",
    ] {
        let refusal = issue(&access, Some(authorization), "service=registry")
            .await
            .unwrap_err();
        assert_eq!(refusal.error.kind(), ErrorKind::Unauthorized);
        assert_eq!(refusal.challenge.unwrap(), r#"Basic realm="registry""#);
    }
    let form = |form: &str| TokenRequest::from_form(form.as_bytes()).unwrap();
    let headers = HeaderMap::new();
    let sender = Sender::new(&headers, RequestOrigin::default());
    let wrong = form("grant_type=password&service=registry&client_id=x&username=ann&password=b");
    let refusal = access.issue(&sender, &wrong).await.unwrap_err();
    assert_eq!(refusal.error.kind(), ErrorKind::Unauthorized);
    let right = form(
        "grant_type=password&service=registry&client_id=x&username=ann&password=ann\
         &scope=repository%3Ateam%2Fa%3Apull+repository:team/b:pull&scope=repository:team/b:push",
    );
    let answer = access.issue(&sender, &right).await.unwrap();
    assert_eq!(
        answer.scopes.to_string(),
        "repository:team/a:pull repository:team/b:pull,create"
    );
    // Empty credentials are none.
    for authorization in [None, Some("Basic Og==")] {
        let answer = issue(&access, authorization, "scope=repository:team/a:pull,push").await;
        let answer = answer.unwrap();
        assert_eq!(claims(&answer)["sub"], "");
        assert_eq!(answer.scopes.to_string(), "repository:team/a:");
    }
}

#[tokio::test]
async fn a_token_buys_no_list_that_it_does_not_cover() {
    let access = registry(&People::of([ann()]));
    let lists = "scope=registry:catalog:*&scope=registry:mount:pull";
    let list = async |query: &str, child: &str| {
        let parent = issue(&access, Some(&basic("ann", "ann")), query).await;
        let parent = bearer(&parent.unwrap());
        let child = issue(&access, Some(&parent), child).await.unwrap();
        let target = "/v2/_catalog";
        (
            child.scopes.to_string(),
            ask(&access, Some(&bearer(&child)), Method::GET, target).await,
        )
    };
    let (scopes, grant) = list(lists, lists).await;
    assert_eq!(scopes, "registry:catalog:* registry:mount:pull");
    let catalog = grant.unwrap().catalog.unwrap();
    assert!(catalog.permits(&"team/a".parse().unwrap()));
    assert!(!catalog.permits(&"secret/a".parse().unwrap()));
    for (parent, child) in [("", lists), (lists, "")] {
        let (scopes, refused) = list(parent, child).await;
        assert_eq!(scopes, "");
        let refused = challenge(refused);
        assert!(
            refused.contains(r#",scope="registry:catalog:*",error="insufficient_scope""#),
            "{refused}"
        );
    }
}

#[tokio::test]
async fn a_request_that_cannot_be_met_is_told_so() {
    let access = registry(&People::of([ann()]));
    let error = issue(&access, None, "service=other")
        .await
        .unwrap_err()
        .error;
    assert_eq!(error.kind(), ErrorKind::RequestInvalid);
    let many: Vec<_> = (0..101)
        .map(|n| format!("scope=repository:a{n}:pull"))
        .collect();
    let error = issue(&access, None, &many.join("&"))
        .await
        .unwrap_err()
        .error;
    assert_eq!(error.kind(), ErrorKind::RequestInvalid);
    issue(&access, Some(&basic("ann", "ann")), &many[1..].join("&"))
        .await
        .unwrap();
    for query in ["service=a&service=b", "scope=%ff"] {
        let error = TokenRequest::from_query(query).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::RequestInvalid, "{query}");
    }
    for form in [
        "",
        "grant_type=",
        "grant_type=client_credentials",
        "grant_type=password&username=ann",
        "grant_type=password&grant_type=refresh_token&username=ann&password=a",
        "grant_type=password&username=a%0ab&password=a",
        "grant_type=password&username=a:b&password=a",
        "grant_type=password&username=ann&password=ann%00",
        "grant_type=password&username=ann&password=a%0ab",
        "grant_type=refresh_token&refresh_token=a%00",
        &exchange_form("x%00", ""),
        "grant_type=token-exchange&subject_token=x",
        "grant_type=urn:ietf:params:oauth:grant-type:token-exchange&subject_token=x",
        "grant_type=urn:ietf:params:oauth:grant-type:token-exchange&subject_token=x\
         &subject_token_type=urn:ietf:params:oauth:token-type:saml2",
        &exchange_form("", ""),
        &exchange_form("x", "&subject_token=y"),
        &exchange_form("x", "&actor_token=y&actor_token_type=jwt"),
        &exchange_form(
            "x",
            "&requested_token_type=urn:ietf:params:oauth:token-type:id_token",
        ),
    ] {
        let error = TokenRequest::from_form(form.as_bytes()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::RequestInvalid, "{form}");
    }
    let error = TokenRequest::token_to_revoke(b"token=a%00").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::RequestInvalid);
    let form = "grant_type=refresh_token&refresh_token=a";
    for (length, is_read) in [(TOKEN_REQUEST_MAX, true), (TOKEN_REQUEST_MAX + 1, false)] {
        let padded = format!("{form}{}", "&".repeat(length - form.len()));
        let read = TokenRequest::from_form(padded.as_bytes());
        assert_eq!(read.is_ok(), is_read, "{length}");
    }
    // What isn't understood in a scope grants nothing, and is no error.
    let answer = issue(&access, None, "scope=*&scope=&scope=repository:x:&x=y").await;
    assert_eq!(
        claims(&answer.unwrap())["access"],
        json!([{"type": "repository", "name": "x", "actions": []}])
    );

    let open = AccessControl::open();
    assert!(access.gives_tokens() && !open.gives_tokens());
    let error = issue(&open, None, "").await.unwrap_err().error;
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert_eq!(
        open.key_set().await.unwrap_err().kind(),
        ErrorKind::NotFound
    );
}

#[tokio::test]
async fn a_token_is_as_dockers_registry_reads_it() {
    let people = People::of([ann(), Principal::robot("ci")]);
    let server = TokenServer::ephemeral()
        .unwrap()
        .service("registry.example")
        .issuer("login.example")
        .lifetime(Duration::from_mins(10))
        .unwrap();
    let access = AccessControl::new(rules())
        .authenticator(people)
        .tokens(server);
    let query = "scope=repository:team/a:pull,push,delete registry:catalog:*";
    let answer = issue(&access, Some(&basic("ann", "ann")), query)
        .await
        .unwrap();
    let mut claims = claims(&answer);
    let issued = answer
        .issued_at
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_secs();
    assert_eq!(claims["jti"].as_str().unwrap().len(), 32);
    claims["jti"] = Value::Null;
    assert_eq!(
        claims,
        json!({
            "iss": "login.example", "sub": "ann", "aud": "registry.example", "jti": null,
            "iat": issued, "nbf": issued, "exp": issued + 600,
            "access": [
                {"type": "repository", "name": "team/a", "actions": ["pull", "create"], "asked": ["pull", "push", "delete"]},
                {"type": "registry", "name": "catalog", "actions": ["*"]},
            ],
            "kind": "user", "via": "people", "stp": "AQEBAQEBAQEBAQEBAQEBAQ",
        })
    );
    let document: Value = serde_json::from_slice(&answer.to_json().unwrap()).unwrap();
    assert_eq!(document["token"], document["access_token"]);
    assert_eq!(document["token"], answer.token.expose());
    assert_eq!(document["expires_in"], 600);
    assert_eq!(
        document["scope"],
        "repository:team/a:pull,create registry:catalog:*"
    );
    let written = document["issued_at"].as_str().unwrap();
    assert!(written.ends_with('Z') && written.len() == 20, "{written}");

    // Whoever has the key set can check it.
    let header = answer.token.expose().split('.').next().unwrap();
    let header: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(header).unwrap()).unwrap();
    let keys: Value = serde_json::from_slice(&access.key_set().await.unwrap()).unwrap();
    assert_eq!(keys["keys"].as_array().unwrap().len(), 1);
    assert_eq!(keys["keys"][0]["kid"], header["kid"]);
    assert_eq!(keys["keys"][0]["kty"], "EC");
    assert!(keys["keys"][0].get("d").is_none());
    let set = registry_auth::jwt::KeySet::parse_jwks(&access.key_set().await.unwrap()).unwrap();
    let profile = registry_auth::jwt::Profile::new("login.example", "registry.example");
    registry_auth::jwt::verify(answer.token.expose(), &set, &profile, SystemClock.now()).unwrap();

    let robot = issue(&access, Some(&basic("robot$ci", "robot$ci")), "")
        .await
        .unwrap();
    assert_eq!(self::claims(&robot)["sub"], "robot$ci");
    let grant = ask(&access, Some(&bearer(&robot)), Method::GET, "/v2/")
        .await
        .unwrap();
    assert_eq!(grant.actor.name.as_deref(), Some("robot$ci"));
}

#[tokio::test]
async fn settings_that_clients_cannot_use_are_refused() {
    let server = || TokenServer::ephemeral().unwrap();
    for seconds in [0, 59, 3601] {
        assert!(
            server().lifetime(Duration::from_secs(seconds)).is_err(),
            "{seconds}"
        );
    }
    assert!(server().realm("https://r.example/v2/token?a=b").is_err());
    assert!(server().rotate(SystemClock.now()).await.is_err());
    let server = server().realm("https://login.example/token").unwrap();
    let access = AccessControl::new(rules())
        .authenticator(People::default())
        .tokens(server);
    assert_eq!(
        challenge(ask(&access, None, Method::GET, "/v2/").await),
        r#"Bearer realm="https://login.example/token",service="registry""#
    );
}

#[tokio::test]
async fn what_is_bought_with_a_token_ends_with_it() {
    let clock = Ahead::default();
    let access = AccessControl::new(rules())
        .authenticator(People::of([ann()]))
        .tokens(TokenServer::ephemeral().unwrap())
        .clock(clock.clone());
    let query = "scope=repository:team/a:pull";
    let first = issue(&access, Some(&basic("ann", "ann")), query)
        .await
        .unwrap();
    let end = claims(&first)["exp"].as_u64().unwrap();
    let form = exchange_form(first.token.expose(), "&scope=repository:team/a:pull");
    let exchange = TokenRequest::from_form(form.as_bytes()).unwrap();
    let headers = HeaderMap::new();
    let sender = Sender::new(&headers, RequestOrigin::default());
    clock.go(Duration::from_secs(200));
    let by_header = issue(&access, Some(&bearer(&first)), query).await.unwrap();
    let by_exchange = access.issue(&sender, &exchange).await.unwrap();
    for bought in [&by_header, &by_exchange] {
        assert!(claims(bought)["exp"].as_u64().unwrap() <= end);
        assert!(bought.lifetime <= Duration::from_secs(100), "{bought:?}");
        assert_eq!(bought.scopes.to_string(), "repository:team/a:pull");
    }
    // Nor does it get another one in its last moments, as clocks may differ.
    clock.go(Duration::from_secs(102));
    for bought in [&first, &by_header] {
        let refusal = issue(&access, Some(&bearer(bought)), query).await;
        assert_eq!(refusal.unwrap_err().error.kind(), ErrorKind::Unauthorized);
    }
    let refusal = access.issue(&sender, &exchange).await.unwrap_err();
    assert_eq!(refusal.error.kind(), ErrorKind::Unauthorized);
}

/// Such as that of a session, where the program itself knows who has which.
#[tokio::test]
async fn what_is_given_for_a_login_that_ends_does_not_outlive_it() {
    let clock = Ahead::default();
    let people = People::of([ann()]);
    let access = AccessControl::new(rules())
        .authenticator(people.clone())
        .tokens(
            TokenServer::ephemeral()
                .unwrap()
                .records(MemoryRecords::new()),
        )
        .clock(clock.clone());
    let password = basic("ann", "ann");
    let answer = issue(&access, Some(&password), "offline_token=true").await;
    let answer = answer.unwrap();
    assert_eq!(answer.lifetime, Duration::from_mins(5));
    assert!(answer.refresh_token.is_some());
    let end = clock.now() + Duration::from_secs(100);
    people.put(ann().until(end));
    let answer = issue(&access, Some(&password), "offline_token=true").await;
    let answer = answer.unwrap();
    assert!(answer.lifetime <= Duration::from_secs(100), "{answer:?}");
    assert!(answer.refresh_token.is_none());
    // Of two ends, the first counts.
    people.put(ann().until(end + Duration::from_hours(1)));
    let again = issue(&access, Some(&bearer(&answer)), "").await.unwrap();
    assert!(again.lifetime <= Duration::from_secs(100), "{again:?}");
}

#[tokio::test]
async fn the_longest_token_that_is_given_out_fits_into_a_header() {
    let access = registry(&People::of([ann()]));
    let login = basic("ann", "ann");
    let query = |others: usize, length: usize| {
        let names = (0..others).map(|number| format!("public/{number:0160}"));
        let scopes = names.chain([format!("public/{}", "a".repeat(length))]);
        let scopes = scopes.map(|name| format!("scope=repository:{name}:pull"));
        scopes.collect::<Vec<_>>().join("&")
    };
    let mut others = 0;
    while issue(&access, Some(&login), &query(others + 1, 1))
        .await
        .is_ok()
    {
        others += 1;
    }
    let mut longest = None;
    for length in 1..249 {
        match issue(&access, Some(&login), &query(others, length)).await {
            Ok(answer) => longest = Some(answer),
            Err(refusal) => {
                assert_eq!(refusal.error.kind(), ErrorKind::RequestInvalid);
                break;
            }
        }
    }
    let token = bearer(&longest.unwrap());
    assert_eq!(token.len(), AUTHORIZATION_MAX);
    ask(&access, Some(&token), Method::GET, "/v2/")
        .await
        .unwrap();
    // Whatever is asked for, up to as many as there may be.
    for others in [others + 1, 80, 99] {
        let refusal = issue(&access, Some(&login), &query(others, 240))
            .await
            .unwrap_err();
        assert_eq!(refusal.error.kind(), ErrorKind::RequestInvalid);
    }
}

#[tokio::test]
async fn an_exchange_may_call_the_service_its_audience() {
    let access = registry(&People::of([ann()]));
    let first = issue(&access, Some(&basic("ann", "ann")), "")
        .await
        .unwrap();
    let headers = HeaderMap::new();
    let sender = Sender::new(&headers, RequestOrigin::default());
    let password = |more: &str| format!("grant_type=password&username=ann&password=ann{more}");
    let exchange = |more: &str| exchange_form(first.token.expose(), more);
    for (form, is_ours) in [
        (exchange("&audience=registry"), true),
        (exchange("&audience=other"), false),
        (exchange("&audience=other&service=registry"), true),
        (exchange("&service=other"), false),
        // Elsewhere it is nothing that is known.
        (password("&audience=other"), true),
        (password("&service=other"), false),
    ] {
        let request = TokenRequest::from_form(form.as_bytes()).unwrap();
        let answer = access.issue(&sender, &request).await;
        match answer {
            Ok(_) => assert!(is_ours, "{form}"),
            Err(refusal) => {
                assert_eq!(refusal.error.kind(), ErrorKind::RequestInvalid);
                assert!(!is_ours, "{form}");
            }
        }
    }
}
