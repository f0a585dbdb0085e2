//! The suite leaves no clause out.

#![cfg(feature = "testkit")]

/// What the macro lists, against what the modules define.
#[test]
fn every_clause_is_in_the_suite() {
    let suite = include_str!("../src/testkit/suite.rs");
    let mut clauses = 0;
    for (group, source) in [
        (
            "anonymous_mounts",
            include_str!("../src/testkit/anonymous_mounts.rs"),
        ),
        ("blobs", include_str!("../src/testkit/blobs.rs")),
        ("catalog", include_str!("../src/testkit/catalog.rs")),
        ("deletions", include_str!("../src/testkit/deletions.rs")),
        ("denials", include_str!("../src/testkit/denials.rs")),
        ("manifests", include_str!("../src/testkit/manifests.rs")),
        ("mounts", include_str!("../src/testkit/mounts.rs")),
        ("referrers", include_str!("../src/testkit/referrers.rs")),
        ("tags", include_str!("../src/testkit/tags.rs")),
        ("uploads", include_str!("../src/testkit/uploads.rs")),
    ] {
        let listed = suite
            .split_once(&format!("registry_clauses!(@ {group},"))
            .and_then(|(_, rest)| rest.split_once(");"))
            .map(|(list, _)| list.split_whitespace().collect::<Vec<_>>())
            .unwrap();
        for line in source.lines() {
            if let Some(rest) = line.strip_prefix("pub async fn ") {
                let name = rest.split('(').next().unwrap();
                assert!(listed.contains(&name), "{group}: {name}");
                clauses += 1;
            }
        }
    }
    assert!(clauses > 50, "{clauses}");
}
