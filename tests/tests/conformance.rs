//! The official conformance suite of the OCI distribution specification.
//!
//! `cargo test -p registry-tests --test conformance` runs the program `conformance`, built by `.ci/install` from
//! `github.com/opencontainers/distribution-spec/conformance`, against a fresh server for each profile. The program's
//! exit status says nothing when its configuration is wrong, and its summary counts a skip as a pass, so every row of
//! `results.yaml` and every single result of the printed tree is held to what the profile must show.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a step that fails is the test's result"
)]

use std::collections::BTreeMap;
use std::fs;

use registry_tests::harness::silence::{HASH, PASSWORD};
use registry_tests::harness::{Launch, tool};

/// The rows of `results.yaml` under `apis`.
const APIS: [&str; 28] = [
    "Blob anonymous mount",
    "Blob chunked",
    "Blob delete",
    "Blob delete atomic",
    "Blob get",
    "Blob get range",
    "Blob head",
    "Blob mount",
    "Blob post only",
    "Blob post put",
    "Blob push",
    "Blob streaming",
    "Blob upload cancel",
    "Manifest delete",
    "Manifest delete atomic",
    "Manifest get by digest",
    "Manifest get by tag",
    "Manifest head by digest",
    "Manifest head by tag",
    "Manifest put by digest",
    "Manifest put by tag",
    "Manifest put with subject",
    "Manifest put with tag params",
    "Ping",
    "Referrers",
    "Tag delete",
    "Tag delete atomic",
    "Tag listing",
];

/// The rows of `results.yaml` under `data`.
const DATA: [&str; 24] = [
    "Artifact",
    "Artifact Index",
    "Artifact without Layers",
    "Artifacts with Subject",
    "Bad Digest Image",
    "Blobs sha256",
    "Blobs sha512",
    "Custom Fields",
    "Data Field",
    "Digest Algorithm sha512",
    "Empty Index",
    "Image",
    "Image Uncompressed",
    "Image with Large Manifest",
    "Index",
    "Index with Subject",
    "Invalid Manifest Digest",
    "Missing Subject",
    "Nested Index",
    "No Layers",
    "Non-distributable Layers",
    "Sparse Manifests",
    "Tag Param",
    "Tag Param sha512",
];

/// Rows that the released version of the specification does not have: its profile reports them as disabled.
const UNRELEASED: [&str; 4] = [
    "Blob upload cancel",
    "Manifest put with tag params",
    "Tag Param",
    "Tag Param sha512",
];

/// Sparse content is an image that is pushed without its blobs: accepted only when the server is told to.
const SPARSE: (&str, &str) = ("REGISTRY_VALIDATION_MANIFESTS_SPARSE", "true");

/// Asks for a password, or for a token in its place.
const PASSWORDS: (&str, &str) = ("REGISTRY_AUTH_TOKENSERVER_ENABLED", "false");
const TOKENS: (&str, &str) = ("REGISTRY_AUTH_TOKENSERVER_ENABLED", "true");

#[test]
fn the_released_specification() {
    conformance("1.1", &UNRELEASED, 850, &[SPARSE]);
}

#[test]
fn the_specification_under_development() {
    conformance("dev", &[], 950, &[SPARSE]);
}

/// As the server is if nobody says otherwise: what a manifest refers to has to be there.
#[test]
fn the_specification_under_development_with_validation() {
    conformance("dev", &["Sparse Manifests"], 900, &[]);
}

#[test]
fn the_released_specification_with_passwords() {
    conformance("1.1", &UNRELEASED, 850, &[SPARSE, PASSWORDS]);
}

#[test]
fn the_released_specification_with_tokens() {
    conformance("1.1", &UNRELEASED, 850, &[SPARSE, TOKENS]);
}

#[test]
fn the_specification_under_development_with_passwords() {
    conformance("dev", &[], 950, &[SPARSE, PASSWORDS]);
}

#[test]
fn the_specification_under_development_with_tokens() {
    conformance("dev", &[], 950, &[SPARSE, TOKENS]);
}

/// Runs one profile against a server with `variables`; `least` is the number of single results below which the suite
/// cannot have run whole.
fn conformance(profile: &str, disabled: &[&str], least: usize, variables: &[(&str, &str)]) {
    let Some(mut suite) = tool("conformance") else {
        return;
    };
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mut launch = Launch::new();
    for (name, value) in variables {
        launch = launch.env(name, value);
    }
    if variables
        .iter()
        .any(|variable| [PASSWORDS, TOKENS].contains(variable))
    {
        let users = directory.path().join("users");
        fs::write(&users, format!("suite:{HASH}\n")).expect("a password file");
        launch = launch
            .env("REGISTRY_AUTH", "htpasswd")
            .env("REGISTRY_AUTH_HTPASSWD_REALM", "conformance")
            .env(
                "REGISTRY_AUTH_HTPASSWD_PATH",
                users.to_str().expect("a path of text"),
            );
        suite = suite
            .env("OCI_USERNAME", "suite")
            .env("OCI_PASSWORD", PASSWORD);
    }
    let server = launch.start();
    let sparse = variables.contains(&SPARSE);
    let run = suite
        .directory(directory.path())
        .env("OCI_VERSION", profile)
        .env("OCI_REGISTRY", server.host())
        .env("OCI_TLS", "disabled")
        .env("OCI_DATA_SPARSE", if sparse { "true" } else { "false" })
        .env("OCI_RESULTS_DIR", directory.path())
        .attempt([""; 0]);
    let tree = run.text();
    let yaml = fs::read_to_string(directory.path().join("results.yaml"))
        .unwrap_or_else(|error| panic!("no results ({error}):\n{tree}\n{}", run.stderr));

    let mut wrong = Vec::new();
    for (section, names) in [("apis", APIS.as_slice()), ("data", DATA.as_slice())] {
        let mut rows = section_of(&yaml, section);
        for name in names {
            let expected = if disabled.contains(name) {
                "Disabled"
            } else {
                "Pass"
            };
            let status = rows.remove(*name).unwrap_or("missing");
            if status != expected {
                wrong.push(format!("{section}: {name}: {status}, expected {expected}"));
            }
        }
        for (name, status) in rows {
            wrong.push(format!(
                "{section}: {name}: {status}, a row this test does not know"
            ));
        }
    }
    let results = single_results(&tree);
    for result in &results {
        let expected =
            result.status == "Pass" || (result.status == "Disabled" && !disabled.is_empty());
        if !expected {
            wrong.push(format!(
                "{}: {}{}",
                result.name, result.status, result.errors
            ));
        }
    }
    assert!(wrong.is_empty(), "profile {profile}:\n{}", wrong.join("\n"));
    let passed = results
        .iter()
        .filter(|result| result.status == "Pass")
        .count();
    assert!(
        passed >= least,
        "profile {profile}: only {passed} results passed, expected at least {least}"
    );
    assert!(run.status.success(), "profile {profile}: {}", run.status);
}

/// The rows `  name: status` below a key at the start of a line.
fn section_of<'a>(yaml: &'a str, key: &str) -> BTreeMap<&'a str, &'a str> {
    yaml.lines()
        .skip_while(|line| line.strip_suffix(':') != Some(key))
        .skip(1)
        .map_while(|line| line.strip_prefix("  ")?.split_once(": "))
        .collect()
}

/// A line `<name>: <status>` of the printed tree, with the indented lines of errors that follow it.
struct SingleResult<'a> {
    name: &'a str,
    status: &'a str,
    errors: String,
}

fn single_results(tree: &str) -> Vec<SingleResult<'_>> {
    let mut results: Vec<SingleResult<'_>> = Vec::new();
    // The tree starts at its root and ends where the configuration is printed.
    let lines = tree
        .lines()
        .skip_while(|line| !line.starts_with("OCI Conformance Test: "));
    for line in lines.take_while(|line| *line != "Configuration:") {
        let heading = line.trim_start().strip_prefix("OCI Conformance Test");
        match (
            heading.and_then(|name| name.rsplit_once(": ")),
            results.last_mut(),
        ) {
            (Some((name, status)), _) => results.push(SingleResult {
                name,
                status,
                errors: String::new(),
            }),
            (None, Some(last)) => last.errors.extend(["\n    ", line.trim()]),
            (None, None) => {}
        }
    }
    results
}
