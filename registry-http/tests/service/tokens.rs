//! Tokens as clients get them and use them: Docker's way and that of RFC 6749.

use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{Method, Request};
use http_body_util::{BodyExt, StreamBody};
use registry_core::{Action, Clock, Result, SystemClock};
use registry_http::registry_auth::{
    AccessControl, Authenticator, Caller, Credentials, Login, MemoryRecords, Principal, Rate,
    RateLimits, Rules, Standing, TokenServer,
};
use registry_http::{Peer, RegistryService};
use registry_storage::Engine;
use tokio::time::Instant;

use crate::exchange::{Answer, Sent, call, nothing, request, send, sha256, slow, whole};

fn access() -> AccessControl {
    let rules = Rules::new()
        .anonymous("public/**", &[Action::Pull])
        .signed_in(
            "public/**",
            &[Action::Pull, Action::Push, Action::Overwrite],
        )
        .user("ann", "team/**", &[Action::Pull, Action::Push]);
    let people = Login::new(|user, password| async move {
        matches!(&*user, "ann" | "ben") & password.matches(&format!("{user}'s"))
    });
    AccessControl::new(rules)
        .authenticator(people)
        .tokens(TokenServer::ephemeral().unwrap())
}

fn service() -> RegistryService {
    RegistryService::new(Engine::memory())
        .catalog(true)
        .access(access())
}

fn basic(user: &str, password: &str) -> String {
    let encoded = STANDARD.encode(format!("{user}:{password}"));
    format!("authorization: Basic {encoded}")
}

/// The parameters of the one challenge of an answer.
fn challenge(answer: &Answer) -> Vec<(String, String)> {
    assert_eq!(answer.status, 401, "{answer:?}");
    let all = answer.headers.get_all("www-authenticate");
    assert_eq!(all.iter().count(), 1, "{answer:?}");
    let value = answer.header("www-authenticate");
    let parameters = value.strip_prefix("Bearer ").expect(value);
    let quoted = parameters.trim_end_matches('"').split("\",");
    quoted
        .map(|parameter| parameter.split_once("=\"").expect(value))
        .map(|(name, text)| (name.to_owned(), text.to_owned()))
        .collect()
}

fn parameter(parameters: &[(String, String)], name: &str) -> Option<String> {
    let mut found = parameters.iter().filter(|(known, _)| known == name);
    let value = found.next().map(|(_, value)| value.clone());
    assert!(found.next().is_none(), "{name} is there twice");
    value
}

/// What a client does that is refused: it follows the challenge and asks again.
async fn obtain(service: &RegistryService, refused: &Answer, headers: &[&str]) -> String {
    let asked = challenge(refused);
    let realm = parameter(&asked, "realm").unwrap();
    let path = realm
        .strip_prefix("http://registry.example:5000")
        .expect(&realm);
    let scope = parameter(&asked, "scope").map_or(String::new(), |scope| format!("&scope={scope}"));
    let service_name = parameter(&asked, "service").unwrap();
    let uri = format!("{path}?service={service_name}{}", scope.replace(' ', "%20"));
    let answer = call(service, Method::GET, &uri, headers).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.header("cache-control"), "no-store");
    let token = answer.json()["token"].as_str().unwrap().to_owned();
    format!("authorization: Bearer {token}")
}

const HOST: &str = "host: registry.example:5000";

async fn form(service: &RegistryService, form: &str) -> Answer {
    let kind = "content-type: application/x-www-form-urlencoded; charset=utf-8";
    let body = whole(form.to_owned());
    send(
        service,
        request(&Method::POST, "/v2/token", &[kind, HOST], body),
    )
    .await
}

#[tokio::test]
async fn a_login_finds_its_way_from_the_ping() {
    let service = service();
    let refused = call(&service, Method::GET, "/v2/", &[HOST]).await;
    let parameters = challenge(&refused);
    assert_eq!(
        parameter(&parameters, "realm").as_deref(),
        Some("http://registry.example:5000/v2/token")
    );
    assert_eq!(parameter(&parameters, "scope"), None);
    assert_eq!(parameter(&parameters, "error"), None);
    let ann = basic("ann", "ann's");
    let uri = "/v2/token?account=ann&client_id=docker&offline_token=true&service=registry";
    let answer = call(&service, Method::GET, uri, &[HOST, &ann]).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let token = format!(
        "authorization: bearer {}",
        answer.json()["token"].as_str().unwrap()
    );
    assert_eq!(
        call(&service, Method::GET, "/v2/", &[&token]).await.status,
        200
    );
    // Old clients send the password again and again.
    assert_eq!(
        call(&service, Method::GET, "/v2/", &[&ann]).await.status,
        200
    );

    // A wrong password is noticed here, or nowhere.
    let answer = call(&service, Method::GET, uri, &[HOST, &basic("ann", "ben's")]).await;
    assert_eq!(answer.status, 401);
    assert_eq!(
        answer.header("www-authenticate"),
        "Basic realm=\"registry\""
    );
    assert_eq!(answer.code(), "UNAUTHORIZED");
    assert_eq!(answer.json()["error"], "invalid_grant");
    assert_eq!(
        answer.json()["error_description"],
        answer.json()["errors"][0]["message"]
    );
}

#[tokio::test]
async fn anonymous_pulls_and_pushes_after_a_login_go_together() {
    let service = service();
    let ann = basic("ann", "ann's");
    let upload = "/v2/public/app/blobs/uploads/";
    let digest = sha256(b"layer");
    let single = format!("{upload}?digest={digest}");
    let blob = format!("/v2/public/app/blobs/{digest}");

    let refused = call(&service, Method::POST, &single, &[HOST]).await;
    assert_eq!(
        parameter(&challenge(&refused), "scope").as_deref(),
        Some("repository:public/app:pull,push")
    );
    let anonymous = obtain(&service, &refused, &[HOST]).await;
    let refused = call(&service, Method::POST, &single, &[HOST, &anonymous]).await;
    assert_eq!(
        parameter(&challenge(&refused), "error").as_deref(),
        Some("insufficient_scope")
    );
    let token = obtain(&service, &refused, &[HOST, &ann]).await;
    let body = whole(&b"layer"[..]);
    let kind = "content-type: application/octet-stream";
    let answer = send(
        &service,
        request(&Method::POST, &single, &[kind, &token], body),
    )
    .await;
    assert_eq!(answer.status, 201, "{answer:?}");

    // Everybody pulls it, with and without the token that they may have.
    for headers in [&[HOST][..], &[HOST, &anonymous], &[HOST, &token]] {
        let answer = call(&service, Method::GET, &blob, headers).await;
        assert_eq!(
            (answer.status.as_u16(), &*answer.body),
            (200, &b"layer"[..])
        );
    }
    // The team's own is for nobody else, whether it exists or not.
    let mount = format!("/v2/team/app/blobs/uploads/?mount={digest}&from=public/app");
    let refused = call(&service, Method::POST, &mount, &[HOST, &ann]).await;
    assert_eq!(refused.status, 201, "{refused:?}");
    let ben = basic("ben", "ben's");
    for path in ["app", "nothing"] {
        let target = format!("/v2/team/{path}/blobs/{digest}");
        let refused = call(&service, Method::GET, &target, &[HOST]).await;
        let token = obtain(&service, &refused, &[HOST, &ben]).await;
        let denied = call(&service, Method::GET, &target, &[HOST, &token]).await;
        assert_eq!(
            (denied.status.as_u16(), denied.code().as_str()),
            (403, "DENIED")
        );
        let token = obtain(&service, &refused, &[HOST]).await;
        let refused = call(&service, Method::GET, &target, &[HOST, &token]).await;
        assert_eq!(
            parameter(&challenge(&refused), "error").as_deref(),
            Some("insufficient_scope")
        );
    }
}

#[tokio::test]
async fn a_mount_is_an_upload_where_its_source_is_refused() {
    let service = service();
    let digest = sha256(b"layer");
    let ann = basic("ann", "ann's");
    let single = format!("/v2/public/app/blobs/uploads/?digest={digest}");
    let kind = "content-type: application/octet-stream";
    let pushed = request(&Method::POST, &single, &[kind, &ann], whole(&b"layer"[..]));
    assert_eq!(send(&service, pushed).await.status, 201);

    let mount = |from: &str| format!("/v2/team/app/blobs/uploads/?mount={digest}&from={from}");
    let token = async |scope: &str| {
        let uri = format!("/v2/token?service=registry{scope}");
        let answer = call(&service, Method::GET, &uri, &[HOST, &ann]).await;
        format!(
            "authorization: Bearer {}",
            answer.json()["token"].as_str().unwrap()
        )
    };
    let push = "&scope=repository:team/app:push,pull";
    let both = token(&format!("{push}&scope=repository:public/app:pull")).await;
    let answer = call(&service, Method::POST, &mount("public/app"), &[HOST, &both]).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    // What is no right of ann's is refused by a token, and without one.
    let refused = token(&format!("{push}&scope=repository:secret/app:pull")).await;
    for authorization in [&refused, &ann] {
        let answer = call(
            &service,
            Method::POST,
            &mount("secret/app"),
            &[HOST, authorization],
        )
        .await;
        assert_eq!(answer.status, 202, "{answer:?}");
    }
    // Who didn't ask is told what to ask for.
    let answer = call(
        &service,
        Method::POST,
        &mount("public/app"),
        &[HOST, &token(push).await],
    )
    .await;
    assert_eq!(
        parameter(&challenge(&answer), "scope").as_deref(),
        Some("repository:public/app:pull repository:team/app:pull,push")
    );
}

#[tokio::test]
async fn forms_are_read_as_oauth2_writes_them() {
    let service = service();
    let answer = form(
        &service,
        "grant_type=password&service=registry&client_id=containerd-client&username=ann\
         &password=ann%27s&scope=repository%3Ateam%2Fapp%3Apull%2Cpush&scope=repository:public/x:pull",
    )
    .await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let json = answer.json();
    assert_eq!(json["access_token"], json["token"]);
    assert_eq!(json["token_type"], "Bearer");
    assert_eq!(json["expires_in"], 300);
    assert_eq!(
        json["scope"],
        "repository:public/x:pull repository:team/app:pull,create"
    );
    assert_eq!(answer.header("cache-control"), "no-store");

    let answer = form(&service, "grant_type=password&username=ann&password=x").await;
    assert_eq!(answer.status, 401);
    assert_eq!(answer.json()["error"], "invalid_grant");
    for (body, kind) in [
        ("grant_type=other", "application/x-www-form-urlencoded"),
        ("", "application/x-www-form-urlencoded"),
        (
            "grant_type=password&username=ann&password=ann's",
            "text/plain",
        ),
        (&*"x".repeat(65 << 10), "application/x-www-form-urlencoded"),
    ] {
        let kind = format!("content-type: {kind}");
        let sent = request(&Method::POST, "/v2/token", &[&kind], whole(body.to_owned()));
        let answer = send(&service, sent).await;
        assert_eq!(answer.status, 400, "{answer:?}");
        assert_eq!(answer.json()["error"], "invalid_request");
        assert_eq!(answer.header("cache-control"), "no-store");
    }
}

#[tokio::test]
async fn a_refresh_token_lasts_until_it_is_revoked() {
    // Only who can be asked whether somebody is still there gives refresh tokens.
    #[derive(Debug)]
    struct Everybody;
    #[async_trait::async_trait]
    impl Authenticator for Everybody {
        async fn authenticate(&self, caller: &Caller<'_>) -> Result<Option<Principal>> {
            Ok(match caller.credentials {
                Credentials::Basic { user, .. } => Some(Principal::new(user)),
                _ => None,
            })
        }

        async fn standing(&self, principal: &Principal) -> Result<Standing> {
            Ok(Standing::Current(Principal::new(principal.name())))
        }
    }
    let server = TokenServer::ephemeral()
        .unwrap()
        .records(MemoryRecords::new());
    let access = AccessControl::new(Rules::new().signed_in("**", &[Action::Pull]))
        .authenticator(Everybody)
        .tokens(server);
    let service = RegistryService::new(Engine::memory()).access(access);
    let uri = "/v2/token?service=registry&offline_token=true";
    let ann = basic("ann", "ann's");
    let answer = call(&service, Method::GET, uri, &[&ann]).await.json();
    let refresh = answer["refresh_token"].as_str().unwrap();
    let redeem = format!("grant_type=refresh_token&service=registry&refresh_token={refresh}");
    let answer = form(&service, &redeem).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let token = answer.json()["access_token"].as_str().unwrap().to_owned();
    let header = format!("authorization: Bearer {token}");
    let ping = async || call(&service, Method::GET, "/v2/", &[&header]).await.status;
    assert_eq!(ping().await, 200);
    let revoke = async |form: String| {
        let kind = "content-type: application/x-www-form-urlencoded";
        let sent = request(&Method::POST, "/v2/token/revoke", &[kind], whole(form));
        send(&service, sent).await.status.as_u16()
    };
    assert_eq!(revoke("token=x".to_owned()).await, 200);
    assert_eq!(revoke("x=y".to_owned()).await, 400);
    assert_eq!(ping().await, 200);
    assert_eq!(
        revoke(format!("token={token}&token_type_hint=access_token")).await,
        200
    );
    assert_eq!(ping().await, 401);
    assert_eq!(revoke(format!("token={refresh}")).await, 200);
    let answer = form(&service, &redeem).await;
    assert_eq!(
        (answer.status.as_u16(), &answer.json()["error"]),
        (401, &"invalid_grant".into())
    );
}

#[tokio::test]
async fn keys_are_shown_to_everybody() {
    let service = service();
    for path in ["/v2/token/jwks.json", "/.well-known/jwks.json"] {
        let answer = call(&service, Method::GET, path, &[]).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.header("content-type"), "application/json");
        assert_eq!(answer.json()["keys"][0]["alg"], "ES256");
        assert!(answer.json()["keys"][0].get("d").is_none());
        let head = call(&service, Method::HEAD, path, &[]).await;
        assert_eq!((head.status.as_u16(), head.body.len()), (200, 0));
    }
    for (path, allowed) in [
        ("/v2/token", "GET, POST"),
        ("/v2/token/revoke", "POST"),
        ("/v2/token/jwks.json", "GET, HEAD"),
    ] {
        let answer = call(&service, Method::DELETE, path, &[]).await;
        assert_eq!(
            (answer.status.as_u16(), answer.header("allow")),
            (405, allowed)
        );
    }
}

#[tokio::test]
async fn a_registry_without_tokens_has_nothing_there() {
    let service = RegistryService::new(Engine::memory());
    for (method, path) in [
        (Method::GET, "/v2/token"),
        (Method::POST, "/v2/token"),
        (Method::DELETE, "/v2/token"),
        (Method::POST, "/v2/token/revoke"),
        (Method::GET, "/v2/token/jwks.json"),
        (Method::GET, "/.well-known/jwks.json"),
    ] {
        assert_eq!(
            call(&service, method, path, &[]).await.status,
            404,
            "{path}"
        );
    }
}

#[tokio::test]
async fn the_realm_is_where_the_client_asked() {
    let realm = async |service: &RegistryService, request: Request<Sent>| {
        let parameters = challenge(&send(service, request).await);
        parameter(&parameters, "realm").unwrap()
    };
    let ping = |headers: &[&str]| request(&Method::GET, "/v2/", headers, nothing());
    let plain = service().trusted_proxies(["10.0.0.0/8".parse().unwrap()]);
    assert_eq!(
        realm(&plain, ping(&["host: r.example"])).await,
        "http://r.example/v2/token"
    );
    // Without any name there is still a path.
    for headers in [&[][..], &["host: a b"], &["host: u@r"]] {
        assert_eq!(
            realm(&plain, ping(headers)).await,
            "/v2/token",
            "{headers:?}"
        );
    }
    let mut secure = ping(&["host: r.example"]);
    secure.extensions_mut().insert(http::uri::Scheme::HTTPS);
    assert_eq!(realm(&plain, secure).await, "https://r.example/v2/token");
    for (peer, scheme) in [("10.0.0.1", "https"), ("192.0.2.1", "http")] {
        let mut behind = ping(&["host: r.example", "x-forwarded-proto: https"]);
        let address = peer.parse().unwrap();
        behind.extensions_mut().insert(Peer { address });
        assert_eq!(
            realm(&plain, behind).await,
            format!("{scheme}://r.example/v2/token")
        );
    }
    let named = service()
        .host("https://registry.example")
        .unwrap()
        .prefix("x");
    assert_eq!(
        realm(&named, ping(&["host: other"])).await,
        "https://registry.example/x/v2/token"
    );
    let answer = call(&named, Method::GET, "/x/v2/token", &[]).await;
    assert_eq!(answer.status, 200, "{answer:?}");
}

#[tokio::test]
async fn an_address_asks_for_whatever_it_likes_at_its_rate() {
    for (method, path, expected) in [
        (Method::GET, "/.well-known/jwks.json", 200),
        (Method::POST, "/v2/token/revoke", 200),
        (Method::GET, "/v2/token", 200),
        // The form says nothing of what it is for.
        (Method::POST, "/v2/token", 400),
        (Method::GET, "/v2/", 401),
        (Method::GET, "/v2/team/unknown", 404),
        (Method::GET, "/elsewhere", 404),
    ] {
        let rates = RateLimits {
            per_address: Some(Rate::per_second(1).burst(2)),
            per_identity: None,
        };
        let service = RegistryService::new(Engine::memory()).access(access().rates(rates));
        let ask = async |body| {
            let kind = "content-type: application/x-www-form-urlencoded";
            let mut request = request(&method, path, &[HOST, kind], body);
            let address = "192.0.2.1".parse().unwrap();
            request.extensions_mut().insert(Peer { address });
            send(&service, request).await
        };
        for expected in [expected, expected, 429] {
            let form = whole("token=x".to_owned());
            assert_eq!(ask(form).await.status, expected, "{method} {path}");
        }
        // Nobody waits for a form that doesn't count any more.
        let never = BodyExt::boxed(StreamBody::new(futures::stream::pending()));
        let answer = ask(never).await;
        assert!(answer.headers.contains_key("retry-after"), "{path}");
    }
}

/// The machine's clock when the test began, and then that of its runtime, which may be
/// paused.
#[derive(Debug)]
struct Runtime(SystemTime, Instant);

impl Clock for Runtime {
    fn now(&self) -> SystemTime {
        self.0 + self.1.elapsed()
    }
}

/// Whether a token is good is asked when a request begins, and not again: an upload that
/// takes longer than its token lives is received. The next request needs another one.
#[tokio::test(start_paused = true)]
async fn a_token_that_ends_during_a_request_breaks_nothing_off() {
    let clock = Runtime(SystemClock.now(), Instant::now());
    let service = RegistryService::new(Engine::memory()).access(access().clock(clock));
    let ann = basic("ann", "ann's");
    let token = async || {
        let uri = "/v2/token?scope=repository:team/app:pull,push";
        let answer = call(&service, Method::GET, uri, &[&ann]).await;
        let token = answer.json()["token"].as_str().unwrap().to_owned();
        format!("authorization: Bearer {token}")
    };
    let first = token().await;
    let uploads = "/v2/team/app/blobs/uploads/";
    let answer = call(&service, Method::POST, uploads, &[&first]).await;
    assert_eq!(answer.status, 202);
    let location = answer.header("location").to_owned();
    // Ten minutes, of which the token lives five.
    let (size, count) = (1 << 20, 60);
    let body = slow(size, Duration::from_secs(10), count);
    let began = Instant::now();
    let patch = request(&Method::PATCH, &location, &[&first], body);
    let answer = send(&service, patch).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    assert!(began.elapsed() > Duration::from_mins(9));
    let last = size * count - 1;
    assert_eq!(answer.header("range"), format!("0-{last}"));
    let location = answer.header("location").to_owned();
    let digest = sha256(vec![b' '; size * count]);
    let mark = if location.contains('?') { '&' } else { '?' };
    let uri = format!("{location}{mark}digest={digest}");
    for (method, uri) in [
        (Method::GET, &location),
        (Method::PATCH, &location),
        (Method::PUT, &uri),
        (Method::DELETE, &location),
    ] {
        let answer = call(&service, method.clone(), uri, &[&first]).await;
        assert_eq!(answer.status, 401, "{method}");
        assert!(answer.header("www-authenticate").contains("invalid_token"));
    }
    let answer = call(&service, Method::PUT, &uri, &[&token().await]).await;
    assert_eq!(answer.status, 201, "{answer:?}");
}
