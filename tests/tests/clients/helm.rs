//! helm: charts as artifacts.

use std::fs;

use registry_tests::harness::{Launch, tool};

use super::content::{self, path};
use super::layout::{assert_same_file, digest};

#[test]
fn helm_pushes_and_pulls_charts() {
    let Some(helm) = tool("helm") else { return };
    let (server, scratch) = (Launch::new().start(), content::scratch());
    let home = scratch.path().join("home");
    let helm = helm
        .env("HELM_CONFIG_HOME", home.join("config"))
        .env("HELM_CACHE_HOME", home.join("cache"))
        .env("HELM_DATA_HOME", home.join("data"))
        .directory(scratch.path());
    let (charts, chart) = (
        format!("oci://{}/charts", server.host()),
        format!("oci://{}/charts/shop", server.host()),
    );

    helm.run(["create", "shop"]);
    for version in ["1.2.3", "1.3.0+build.7"] {
        helm.run(["package", "shop", "--version", version]);
        let package = scratch.path().join(format!("shop-{version}.tgz"));
        helm.run(["push", "--plain-http", path(&package), &charts]);

        // A `+` can't stand in a tag; helm writes `_` for it.
        let tag = version.replace('+', "_");
        let manifest = server.api().manifest("charts/shop", &tag);
        for (name, reference, more) in [
            ("tag", chart.clone(), vec!["--version", version]),
            ("digest", format!("{chart}@{}", digest(&manifest)), vec![]),
        ] {
            let pulled = scratch.path().join(format!("{name}-{version}"));
            fs::create_dir(&pulled).expect("a directory");
            helm.run(
                [
                    "pull",
                    "--plain-http",
                    "--destination",
                    path(&pulled),
                    &reference,
                ]
                .into_iter()
                .chain(more),
            );
            let archive = fs::read_dir(&pulled)
                .expect("a directory")
                .next()
                .expect("a chart")
                .expect("a chart")
                .path();
            assert_same_file(&package, &archive);
        }
    }

    // Without a version helm lists the tags and takes the newest that fits.
    let shown = helm
        .run([
            "show",
            "chart",
            "--plain-http",
            &chart,
            "--version",
            "^1.2.0",
        ])
        .text();
    assert!(shown.contains("version: 1.3.0+build.7"), "{shown}");
    let mut tags = server.api().tags("charts/shop");
    tags.sort();
    assert_eq!(tags, ["1.2.3", "1.3.0_build.7"]);
}
