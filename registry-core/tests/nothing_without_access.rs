//! Every method of a registry is given what allows it, and handlers don't make that up.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::fs;
use std::path::{Path, PathBuf};

use regex::Regex;

/// The trait of that name in `source`, without its comments.
fn body<'a>(source: &'a str, name: &str) -> &'a str {
    let (_, body) = source.split_once(&format!("pub trait {name}")).unwrap();
    body.split_once("\n}\n").unwrap().0
}

#[test]
fn s_09_every_method_takes_an_access() {
    let method = Regex::new(r"fn (\w+)\(\s*&self,?\s*([^)]*)\)").unwrap();
    for (source, name, least) in [
        (include_str!("../src/registry.rs"), "Registry", 15),
        (include_str!("../src/management.rs"), "Management", 3),
    ] {
        let methods: Vec<_> = method.captures_iter(body(source, name)).collect();
        let declared = body(source, name).matches(" fn ").count();
        assert_eq!(
            methods.len(),
            declared,
            "{name} has a method that isn't read here"
        );
        assert!(methods.len() >= least, "{name}");
        for method in methods {
            let (name, parameters) = (&method[1], &method[2]);
            let takes = parameters.starts_with("access: &Access")
                || parameters.starts_with("access: &CatalogAccess");
            // What tells repositories apart tells nothing of what is in them.
            assert!(takes || name == "epochs", "{name}({parameters})");
        }
    }
}

fn sources(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn s_09_no_handler_makes_an_access_up() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut found = Vec::new();
    for part in ["registry-auth/src", "registry-http/src", "examples/src"] {
        sources(&top.join(part), &mut found);
    }
    assert!(found.len() > 100);
    let making = Regex::new(r"(?m)^[^/\n]*\b(Catalog)?Access::(trusted|granted)\(").unwrap();
    let makers: Vec<_> = found
        .iter()
        .filter(|path| making.is_match(&fs::read_to_string(path).unwrap()))
        .map(|path| path.strip_prefix(top).unwrap().display().to_string())
        .collect();
    // Whoever is added here decides who may do what, or serves nobody.
    let known = [
        "registry-auth/src/access_control/decide.rs",
        "registry-auth/src/access_control/manage.rs",
        "registry-http/src/client/listing.rs",
    ];
    let unknown: Vec<_> = makers
        .iter()
        .filter(|path| !known.contains(&path.as_str()))
        .collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}
