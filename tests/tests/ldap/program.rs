//! The server itself, with a directory.

use std::fs;

use base64::Engine;
use registry_tests::harness::{Launch, Server};

use crate::slapd::{SEARCHER, SEARCHER_PASSWORD, Slapd};

/// The status of asking for tags.
fn tags(server: &Server, user: &str, password: &str, repository: &str) -> u16 {
    let pair = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
    let request = ureq::get(format!(
        "http://{}/v2/{repository}/tags/list",
        server.host()
    ))
    .config()
    .http_status_as_error(false)
    .build()
    .header("Authorization", format!("Basic {pair}"));
    request.call().unwrap().status().as_u16()
}

#[test]
fn the_server_knows_the_users_of_a_directory() {
    let Some(mut slapd) = Slapd::start() else {
        return;
    };
    let files = tempfile::tempdir().unwrap();
    let path = |name: &str| files.path().join(name).display().to_string();
    fs::write(path("secret"), format!("{SEARCHER_PASSWORD}\n")).unwrap();
    let policy = "version: 1\nrules:\n  - group web may pull web/**\n  - group release may pull release/**\n";
    fs::write(path("policy.yml"), policy).unwrap();
    let ldap = |key: &str| format!("REGISTRY_AUTH_LDAP_{key}");
    let mut server = Launch::new()
        .env("REGISTRY_AUTH_POLICY_PATH", path("policy.yml"))
        .env(ldap("URL"), slapd.url())
        .env(ldap("STARTTLS"), "true")
        .env(ldap("ROOTCERTBUNDLE"), slapd.authority())
        .env(ldap("BINDDN"), SEARCHER)
        .env(ldap("BINDPASSWORDFILE"), path("secret"))
        .env(ldap("BASE"), "dc=example,dc=org")
        .env(ldap("GROUPFILTER"), "(member={dn})")
        .env("REGISTRY_LOG_LEVEL", "trace")
        .start();
    for (user, password, repository, expected) in [
        ("ann", "ann-secret", "web/app", 404),
        ("ann", "ann-secret", "release/app", 404),
        ("ben", "ben-secret", "web/app", 404),
        ("ben", "ben-secret", "release/app", 403),
        ("ben", "wrong-secret", "web/app", 401),
        ("nobody", "ben-secret", "web/app", 401),
    ] {
        let status = tags(&server, user, password, repository);
        assert_eq!(status, expected, "{user} {repository}");
    }
    slapd.stop();
    assert_eq!(tags(&server, "twin", "twin-secret", "web/app"), 503);
    // Whom it can't be asked about any more was let in a moment ago.
    assert_eq!(tags(&server, "ann", "ann-secret", "web/app"), 404);
    assert!(
        server.log().contains("the connection failed"),
        "{}",
        server.log()
    );
    assert!(!server.log().contains("-secret"), "{}", server.log());
}
