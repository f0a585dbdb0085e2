//! That the keys which are ours are told of.

use std::collections::BTreeSet;

use super::{KEYS, Key, Kind};

/// The keys that are ours, with all below them: the Docker registry doesn't know
/// them.
const OWN: &[&str] = &[
    "storage.verifyreads",
    "auth.certificate",
    "auth.policy",
    "auth.tokenserver",
    "auth.keys",
    "auth.ldap",
    "auth.oidc",
    "auth.webhook",
    "auth.limits",
    "http.trustedproxies",
    "http.plaintext",
    "http.limits",
    "validation.manifests.sparse",
    "validation.manifests.exactsizes",
];

const TABLE: &str = include_str!("../../../../docs/configuration.md");

fn is_own(key: &Key) -> bool {
    let below = |own: &&str| {
        key.path
            .strip_prefix(*own)
            .is_some_and(|rest| rest.starts_with('.'))
    };
    OWN.contains(&key.path) || OWN.iter().any(below)
}

#[test]
fn the_table_has_a_row_for_each_key_of_ours_and_for_no_other() {
    let is_section = |key: &&Key| matches!(key.kind, Kind::Section | Kind::NamesOfSections);
    let own: BTreeSet<_> = KEYS
        .iter()
        .filter(|key| is_own(key) && !is_section(key))
        .map(|key| key.path.replace('*', "NAME"))
        .collect();
    let (_, rows) = TABLE.split_once("## Keys of ours").unwrap();
    let rows: BTreeSet<_> = rows
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`'))
        .map(|(path, _)| path.to_owned())
        .collect();
    let untold: Vec<_> = own.difference(&rows).collect();
    assert!(untold.is_empty(), "docs/configuration.md lacks {untold:?}");
    let unknown: Vec<_> = rows.difference(&own).collect();
    assert!(unknown.is_empty(), "there is no {unknown:?}");
    for own in OWN {
        assert!(KEYS.iter().any(|key| key.path == *own), "{own}");
    }
}

#[test]
fn each_row_says_what_holds_without_the_key_and_what_it_means() {
    let (_, rows) = TABLE.split_once("## Keys of ours").unwrap();
    for row in rows.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<_> = row.trim_matches('|').split('|').map(str::trim).collect();
        assert_eq!(cells.len(), 4, "{row}");
        assert!(cells.iter().all(|cell| !cell.is_empty()), "{row}");
    }
}
