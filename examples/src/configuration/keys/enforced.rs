//! That what decides who may do what is not only read.

use std::path::Path;

use super::lookup::find;
use super::{KEYS, Key, Kind, Support};

/// S-21: for each key that says who may do what, the test that sets it and sees what
/// comes of it: in a module of the tests of the program, or a file of the workspace.
const ENFORCED: &[(&str, &str, &[&str])] = &[
    (
        "protected",
        "only_users_of_the_password_file_get_in",
        &["auth.htpasswd.realm", "auth.htpasswd.path"],
    ),
    (
        "protected",
        "everybody_gets_in_once_that_is_what_was_chosen",
        &["auth.none"],
    ),
    (
        "protected",
        "clients_come_in_with_certificates",
        &["auth.certificate.name"],
    ),
    (
        "authorized",
        "each_does_what_the_policy_file_says_and_follows_its_changes",
        &["auth.policy.path"],
    ),
    (
        "enforced",
        "s_21_a_rule_is_enforced_however_content_is_asked_for",
        &["auth.policy.path"],
    ),
    (
        "authorized",
        "passwords_alone_are_asked_for_where_tokens_are_off",
        &["auth.tokenserver.enabled"],
    ),
    (
        "enforced",
        "tokens_are_as_the_configuration_says",
        &[
            "auth.tokenserver.realm",
            "auth.tokenserver.service",
            "auth.tokenserver.issuer",
            "auth.tokenserver.lifetime",
            "auth.tokenserver.refreshlifetime",
            "auth.tokenserver.keys",
            "auth.tokenserver.algorithm",
        ],
    ),
    (
        "enforced",
        "keys_are_no_good_where_they_are_off",
        &["auth.keys.enabled"],
    ),
    (
        "enforced",
        "a_directory_is_asked_as_the_configuration_says",
        &[
            "auth.ldap.url",
            "auth.ldap.starttls",
            "auth.ldap.binddn",
            "auth.ldap.bindpasswordfile",
            "auth.ldap.base",
            "auth.ldap.filter",
            "auth.ldap.nameattribute",
            "auth.ldap.groupbase",
            "auth.ldap.groupfilter",
            "auth.ldap.groupattribute",
        ],
    ),
    (
        "tests/tests/ldap/program.rs",
        "only_who_is_in_the_bundle_vouches_for_a_directory",
        &["auth.ldap.rootcertbundle"],
    ),
    (
        "authorized",
        "jobs_of_another_system_do_what_the_policy_file_says_of_their_claims",
        &[
            "auth.oidc.*.issuer",
            "auth.oidc.*.audience",
            "auth.oidc.*.jwks",
        ],
    ),
    (
        "authorized",
        "a_service_has_a_say_and_nothing_goes_on_without_it",
        &["auth.webhook.url"],
    ),
    (
        "reviewed",
        "questions_are_signed_with_the_secret_of_the_configuration",
        &["auth.webhook.secretfile"],
    ),
    (
        "reviewed",
        "a_service_is_waited_for_as_long_as_the_configuration_says",
        &["auth.webhook.timeout"],
    ),
    (
        "reviewed",
        "answers_are_remembered_as_the_configuration_says",
        &["auth.webhook.remember"],
    ),
    (
        "authorized",
        "whoever_asks_too_often_is_told_when_to_come_back",
        &["auth.limits.peraddress"],
    ),
    (
        "enforced",
        "whoever_is_known_is_counted_apart_from_its_address",
        &["auth.limits.peridentity"],
    ),
    (
        "enforced",
        "as_many_come_at_once_as_the_configuration_says",
        &["auth.limits.burst"],
    ),
    (
        "enforced",
        "guesses_cost_as_much_as_the_configuration_says",
        &[
            "auth.limits.wrongpasswords",
            "auth.limits.wrongperaddress",
            "auth.limits.wrongpername",
        ],
    ),
    (
        "enforced",
        "a_wait_is_as_long_as_the_configuration_says",
        &["auth.limits.longestwait"],
    ),
    (
        "enforced",
        "tokens_of_another_service_are_checked_as_the_configuration_says",
        &[
            "auth.token.realm",
            "auth.token.service",
            "auth.token.issuer",
            "auth.token.rootcertbundle",
            "auth.token.jwks",
            "auth.token.signingalgorithms",
            "auth.token.autoredirect",
            "auth.token.autoredirectpath",
        ],
    ),
    (
        "protected",
        "it_speaks_tls_with_the_certificate_it_was_given",
        &["http.tls.certificate", "http.tls.key"],
    ),
    (
        "protected",
        "no_older_tls_is_spoken_than_the_configuration_says",
        &["http.tls.minimumtls"],
    ),
    (
        "protected",
        "clients_come_in_with_certificates",
        &["http.tls.clientcas", "http.tls.clientauth"],
    ),
    (
        "tests/tests/acme/main.rs",
        "the_server_obtains_its_certificate",
        &[
            "http.tls.letsencrypt.cachefile",
            "http.tls.letsencrypt.email",
            "http.tls.letsencrypt.hosts",
            "http.tls.letsencrypt.directoryurl",
        ],
    ),
    (
        "exposed",
        "others_than_this_machine_are_not_spoken_to_in_the_open_unless_that_is_asked_for",
        &["http.addr", "http.plaintext", "http.trustedproxies"],
    ),
    (
        "exposed",
        "logins_are_taken_in_the_open_only_where_that_was_asked_for",
        &["http.plaintext", "http.trustedproxies", "http.host"],
    ),
    (
        "observed",
        "a_trusted_proxy_is_believed_whom_it_asks_for",
        &["http.trustedproxies"],
    ),
    (
        "headers",
        "a_browser_may_ask_before_a_page_uses_the_registry",
        &["http.headers"],
    ),
    (
        "configured",
        "an_address_holds_as_much_as_the_configuration_says",
        &["http.limits.uploads", "http.limits.addressshare"],
    ),
    (
        "configured",
        "nothing_is_larger_than_the_configuration_says",
        &["http.limits.blobbytes", "http.limits.manifestbytes"],
    ),
    (
        "configured",
        "there_are_as_many_connections_as_the_configuration_says",
        &["http.limits.connections", "http.limits.addressconnections"],
    ),
    (
        "observed",
        "measurements_are_on_a_listener_of_their_own",
        &["http.debug.addr", "http.debug.prometheus.enabled"],
    ),
    (
        "configured",
        "with_a_file_deletes_have_to_be_allowed",
        &["storage.delete.enabled"],
    ),
    (
        "configured",
        "a_read_only_registry_takes_nothing",
        &["storage.maintenance.readonly.enabled"],
    ),
];

/// Those that say nothing of who may do what, with all below them. A key that is
/// neither of these nor has a row above is one that nobody has judged.
const UNCONCERNED: &[&str] = &[
    "version",
    "loglevel",
    "log",
    "storage.filesystem",
    "storage.maintenance.uploadpurging",
    "storage.verifyreads",
    "http.net",
    "http.prefix",
    "http.draintimeout",
    "http.limits.downloads",
    "http.limits.requests",
    "http.debug.prometheus.path",
    "http.http2",
    "http.h2c",
    "health",
    "validation",
    "catalog",
];

fn is_concerned(key: &Key) -> bool {
    let is_within = |other: &&str| {
        key.path
            .strip_prefix(*other)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    let is_value = !matches!(key.kind, Kind::Section | Kind::NamesOfSections);
    key.support == Support::Yes
        && (is_value || key.path == "auth.none")
        && !UNCONCERNED.iter().any(is_within)
}

#[test]
fn s_21_every_key_that_decides_is_enforced() {
    for key in KEYS.iter().filter(|key| is_concerned(key)) {
        let is_listed = |row: &(_, _, &[&str])| row.2.contains(&key.path);
        let is_shown = ENFORCED.iter().any(is_listed);
        assert!(
            is_shown,
            "no test sets `{}` and sees what comes of it",
            key.path
        );
    }
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (file, test, keys) in ENFORCED {
        let path = if file.contains('/') {
            here.join("..").join(file)
        } else {
            here.join(format!("tests/registry/{file}.rs"))
        };
        let text = std::fs::read_to_string(path).unwrap();
        let (before, after) = text.split_once(&format!("fn {test}()")).expect(test);
        let attribute = before.trim_end_matches("async ").lines().next_back();
        assert!(
            attribute.is_some_and(|line| line.starts_with("#[") && line.contains("test")),
            "{test}"
        );
        let end = after.find("\n}\n").unwrap();
        for key in *keys {
            assert!(find(key).is_some_and(is_concerned), "{key}");
            let name = key.rsplit('.').next().unwrap();
            // Where it is set, be it by what a test has in common with others.
            let is_named =
                after[..end].to_lowercase().contains(name) || before.contains(&format!("{name}:"));
            assert!(is_named, "{test} doesn't name {key}");
        }
    }
}
