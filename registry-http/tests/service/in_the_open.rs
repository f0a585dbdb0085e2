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
