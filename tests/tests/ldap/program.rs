//! The server itself, with a directory.

use std::fs;

use base64::Engine;
use registry_tests::harness::{Launch, Server};

use crate::secrets::Secrets;
use crate::slapd::{SEARCHER, SEARCHER_PASSWORD, Slapd, certificates};

/// The status of asking for tags, whose answer never repeats the password.
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
    let mut answer = request.call().unwrap();
    let body = answer.body_mut().read_to_string().unwrap();
    assert!(!body.contains(password), "{body}");
    answer.status().as_u16()
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
    let server = Launch::new()
        .env("REGISTRY_AUTH_POLICY_PATH", path("policy.yml"))
        .env(ldap("URL"), slapd.url())
        .env(ldap("STARTTLS"), "true")
        .env(ldap("ROOTCERTBUNDLE"), slapd.authority())
        .env(ldap("BINDDN"), SEARCHER)
        .env(ldap("BINDPASSWORDFILE"), path("secret"))
        .env(ldap("BASE"), "dc=example,dc=org")
        .env(ldap("GROUPFILTER"), "(member={dn})")
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
    // All of it is written once the server has ended.
    let log = server.terminate().log;
    assert!(log.contains("the connection failed"), "{log}");
    // S-91, for what a directory is asked with.
    let mut secrets = Secrets::default();
    secrets.plant("the searcher's password", SEARCHER_PASSWORD);
    for login in [
        "ann:ann-secret",
        "ben:ben-secret",
        "ben:wrong-secret",
        "nobody:ben-secret",
        "twin:twin-secret",
    ] {
        secrets.plant(login, login);
        let (_, password) = login.split_once(':').unwrap();
        assert!(!log.contains(password), "{log}");
    }
    let found = secrets.found_in(&log);
    assert!(found.is_empty(), "{found:?} in {log}");
}

#[test]
fn only_who_is_in_the_bundle_vouches_for_a_directory() {
    let Some(slapd) = Slapd::start() else {
        return;
    };
    let files = tempfile::tempdir().unwrap();
    let path = |name: &str| files.path().join(name).display().to_string();
    fs::write(path("secret"), SEARCHER_PASSWORD).unwrap();
    // Of the same name as the authority that did sign, and with another key.
    certificates(&path("other.pem"), &path("unused.pem"), &path("unused.key"));
    let right = slapd.authority().display().to_string();
    for (bundle, expected) in [(path("other.pem"), 503), (right, 404)] {
        let ldap = |key: &str| format!("REGISTRY_AUTH_LDAP_{key}");
        let mut server = Launch::new()
            .env(ldap("URL"), slapd.url())
            .env(ldap("STARTTLS"), "true")
            .env(ldap("ROOTCERTBUNDLE"), bundle)
            .env(ldap("BINDDN"), SEARCHER)
            .env(ldap("BINDPASSWORDFILE"), path("secret"))
            .env(ldap("BASE"), "dc=example,dc=org")
            .start();
        let status = tags(&server, "ann", "ann-secret", "web/app");
        assert_eq!(status, expected, "{}", server.log());
    }
}
