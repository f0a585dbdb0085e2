//! Headers by which others say who somebody is.

use http::Method;
use registry_core::Action;
use registry_http::registry_auth::{AccessControl, Login, Pattern, Rule, Rules, Who};
use registry_http::{Peer, RegistryService};
use registry_storage::Engine;

use crate::exchange::{nothing, request, send};

/// Names that programs behind a login proxy believe.
const IDENTITIES: &[&str] = &[
    "x-webauth-user",
    "x-remote-user",
    "remote-user",
    "remote_user",
    "x-forwarded-user",
    "x-forwarded-email",
    "x-forwarded-preferred-username",
    "x-auth-request-user",
    "x-authenticated-user",
    "x-real-user",
    "x-user",
    "x-username",
    "x-client-cert",
    "x-ssl-client-s-dn",
    "x-forwarded-client-cert",
    "x-forwarded-tls-client-cert",
    "proxy-authorization",
    "cookie",
    "from",
];

fn service() -> RegistryService {
    let office = Rule::allow(
        Who::Anyone,
        Action::Pull,
        "open".parse::<Pattern>().unwrap(),
    );
    let rules = Rules::new()
        .sentence("user root is admin of **")
        .rule(office.from("10.0.0.0/8".parse().unwrap()));
    let login = Login::new(|_, password| async move { password.matches("right") });
    let access = AccessControl::new(rules.check().unwrap()).authenticator(login);
    RegistryService::new(Engine::memory()).access(access)
}

/// The status of a list of tags for what comes from `peer`.
async fn status(service: &RegistryService, peer: &str, repository: &str, header: &str) -> u16 {
    let uri = format!("/v2/{repository}/tags/list");
    let mut request = request(&Method::GET, &uri, &[header], nothing());
    let address = peer.parse().unwrap();
    request.extensions_mut().insert(Peer { address });
    send(service, request).await.status.as_u16()
}

#[tokio::test]
async fn s_20_no_header_says_who_somebody_is() {
    for trusted in [&[][..], &["192.0.2.0/24"], &["0.0.0.0/0", "::/0"]] {
        let networks = trusted.iter().map(|network| network.parse().unwrap());
        let service = service().trusted_proxies(networks);
        for peer in ["192.0.2.1", "198.51.100.1", "127.0.0.1", "::1"] {
            for name in IDENTITIES {
                for value in ["root", "user=root", "CN=root", "Basic cm9vdDpyaWdodA=="] {
                    let header = format!("{name}: {value}");
                    let status = status(&service, peer, "secret", &header).await;
                    assert_eq!(status, 401, "{header} from {peer}");
                }
            }
            let right = "authorization: Basic cm9vdDpyaWdodA==";
            assert_eq!(status(&service, peer, "secret", right).await, 404);
        }
    }
}

#[tokio::test]
async fn s_20_only_a_proxy_that_was_named_says_where_somebody_comes_from() {
    let (named, other) = ("192.0.2.1", "198.51.100.1");
    let no_proxy = service();
    let one = service().trusted_proxies(["192.0.2.0/24".parse().unwrap()]);
    for (service, peer, said, lets_in) in [
        (&no_proxy, named, "10.0.0.1", false),
        (&no_proxy, other, "10.0.0.1", false),
        (&one, other, "10.0.0.1", false),
        (&one, named, "10.0.0.1", true),
        (&one, named, "10.0.0.1, 192.0.2.9", true),
        (&one, named, "198.51.100.7, 10.0.0.1", true),
        // What stands on the left the client may have written itself.
        (&one, named, "10.0.0.1, 198.51.100.7", false),
        (&one, named, "10.0.0.1, 198.51.100.7, 192.0.2.9", false),
        (&one, named, "10.0.0.1, who knows", false),
        (&one, named, "", false),
    ] {
        let header = format!("x-forwarded-for: {said}");
        let expected = if lets_in { 404 } else { 401 };
        let status = status(service, peer, "open", &header).await;
        assert_eq!(status, expected, "{said:?} from {peer}");
    }
    for name in [
        "forwarded: for=10.0.0.1",
        "x-real-ip: 10.0.0.1",
        "client-ip: 10.0.0.1",
    ] {
        assert_eq!(status(&one, named, "open", name).await, 401, "{name}");
    }
}
