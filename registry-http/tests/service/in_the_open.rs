//! Logins that somebody on the way could read.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::uri::Scheme;
use http::{Method, Request};
use registry_core::Action;
use registry_http::registry_auth::{AccessControl, Login, Rules, TokenServer};
use registry_http::{Peer, RegistryService};
use registry_storage::Engine;

use crate::exchange::{Answer, Sent, nothing, request, send, stalled};

fn service() -> RegistryService {
    let rules = Rules::new()
        .anonymous("public/**", &[Action::List, Action::Pull])
        .signed_in("**", &[Action::List, Action::Pull, Action::Push]);
    let people = Login::new(|_, password| async move { password.matches("right") });
    let access = AccessControl::new(rules)
        .authenticator(people)
        .tokens(TokenServer::ephemeral().unwrap());
    RegistryService::new(Engine::memory())
        .access(access)
        .trusted_proxies(["10.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()])
        .logins_over_tls(true)
}

fn basic() -> String {
    format!("authorization: Basic {}", STANDARD.encode("ann:right"))
}

fn from(peer: &str, mut request: Request<Sent>) -> Request<Sent> {
    if !peer.is_empty() {
        let address = peer.parse().unwrap();
        request.extensions_mut().insert(Peer { address });
    }
    // What a listener without TLS says.
    request.extensions_mut().insert(Scheme::HTTP);
    request
}

fn is_refused(answer: &Answer) -> bool {
    let said = std::str::from_utf8(&answer.body).unwrap_or_default();
    answer.status == 403
        && said.contains("logins are taken over TLS only, and this came in the open; use https")
        && said.contains("have the operator name the proxy")
        && !answer.headers.contains_key("www-authenticate")
}

#[tokio::test]
async fn a_login_in_the_open_is_refused_whoever_else_encrypts() {
    let service = service();
    let (basic, said) = (basic(), "x-forwarded-proto: https");
    for (peer, headers, may) in [
        ("192.0.2.1", &[&*basic][..], false),
        // Anybody can say so.
        ("192.0.2.1", &[&basic, said], false),
        ("", &[&basic, said], false),
        ("10.0.0.1", &[&basic], false),
        ("10.0.0.1", &[&basic, "x-forwarded-proto: http"], false),
        ("10.0.0.1", &[&basic, said], true),
        ("::ffff:10.0.0.1", &[&basic, said], true),
        // This very machine, unless it is a proxy that was asked in the open.
        ("127.0.0.1", &[&basic], true),
        ("::1", &[&basic], true),
        ("::1", &[&basic, "x-forwarded-proto: http"], false),
        ("127.0.0.1", &[&basic, "host: localhost:5000"], true),
        ("127.0.0.1", &[&basic, "host: [::1]:5000"], true),
        // A proxy there that nobody named: its client would be sent on without TLS.
        ("127.0.0.1", &[&basic, "host: registry.example.com"], false),
        ("127.0.0.1", &[&basic, said], false),
        ("127.0.0.1", &[&basic, "x-forwarded-for: 192.0.2.1"], false),
        ("127.0.0.1", &[&basic, "forwarded: for=192.0.2.1"], false),
        ("127.0.0.1", &[&basic, "via: 1.1 front"], false),
    ] {
        let ping = request(&Method::GET, "/v2/", headers, nothing());
        let answer = send(&service, from(peer, ping)).await;
        assert_eq!(answer.status == 200, may, "{peer} {headers:?} {answer:?}");
        assert_eq!(is_refused(&answer), !may, "{peer} {headers:?} {answer:?}");
    }
    let mut secure = from(
        "192.0.2.1",
        request(&Method::GET, "/v2/", &[&basic], nothing()),
    );
    secure.extensions_mut().insert(Scheme::HTTPS);
    assert_eq!(send(&service, secure).await.status, 200);
    // Clients are told to ask there, whatever the proxy passes on.
    let named = service
        .clone()
        .host("https://registry.example.com")
        .unwrap();
    let headers = [&*basic, "host: registry.example.com", said];
    let ping = || request(&Method::GET, "/v2/", &headers, nothing());
    assert_eq!(send(&named, from("127.0.0.1", ping())).await.status, 200);
    assert!(is_refused(&send(&named, from("192.0.2.1", ping())).await));
    // Where it is asked for by name, it is as ever.
    let service = service.logins_over_tls(false);
    let open = request(&Method::GET, "/v2/", &[&basic], nothing());
    assert_eq!(send(&service, from("192.0.2.1", open)).await.status, 200);
}

#[tokio::test]
async fn nobody_is_asked_for_a_password_or_given_a_token_in_the_open() {
    let service = service();
    let ask = async |method: &Method, path: &str, body: Sent| {
        let form = ["content-type: application/x-www-form-urlencoded"];
        send(
            &service,
            from("192.0.2.1", request(method, path, &form, body)),
        )
        .await
    };
    for path in [
        "/v2/",
        "/v2/other/tags/list",
        "/v2/token?scope=repository:public/a:pull",
    ] {
        let answer = ask(&Method::GET, path, nothing()).await;
        assert!(is_refused(&answer), "{path} {answer:?}");
    }
    // Passwords are in the body there, of which nothing is read.
    for path in ["/v2/token", "/v2/token/revoke"] {
        let answer = ask(&Method::POST, path, stalled(b"grant_type=password")).await;
        assert!(is_refused(&answer), "{path} {answer:?}");
    }
    // What everybody may do goes on.
    let public = ask(&Method::GET, "/v2/public/a/tags/list", nothing()).await;
    assert_eq!(public.status, 404, "{public:?}");
    let keys = ask(&Method::GET, "/v2/token/jwks.json", nothing()).await;
    assert_eq!(keys.status, 200, "{keys:?}");
}

#[tokio::test]
async fn a_name_that_was_made_to_point_here_opens_nothing() {
    let open = RegistryService::new(Engine::memory());
    let of_browser = ["origin: http://evil.example", "sec-fetch-site: same-origin"];
    for (peer, host, header, status) in [
        ("127.0.0.1", "evil.example", of_browser[0], 403),
        ("127.0.0.1", "evil.example", of_browser[1], 403),
        ("::1", "evil.example:5000", of_browser[1], 403),
        ("127.0.0.1", "localhost:5000", of_browser[1], 404),
        // No browser.
        ("127.0.0.1", "evil.example", "accept: */*", 404),
        // A proxy that is known, and another machine.
        ("10.0.0.1", "registry.example.com", of_browser[1], 404),
        ("192.0.2.1", "registry.example.com", of_browser[1], 404),
        // How the registry is called.
        ("127.0.0.1", "hub.example.com", of_browser[1], 404),
    ] {
        let service = open
            .clone()
            .trusted_proxies(["10.0.0.0/8".parse().unwrap()]);
        let service = service.host("https://hub.example.com").unwrap();
        let host = format!("host: {host}");
        let list = request(&Method::GET, "/v2/a/tags/list", &[&host, header], nothing());
        let answer = send(&service, from(peer, list)).await;
        assert_eq!(answer.status, status, "{peer} {host} {header} {answer:?}");
    }
    let here = open.trusted_proxies(["127.0.0.0/8".parse().unwrap()]);
    let headers = ["host: registry.example.com", of_browser[1]];
    let list = request(&Method::GET, "/v2/a/tags/list", &headers, nothing());
    assert_eq!(send(&here, from("127.0.0.1", list)).await.status, 404);
}
