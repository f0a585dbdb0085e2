//! skopeo: copies between registries and layouts without changing a byte.

use registry_tests::harness::{Launch, Tool, tool};

use super::content::{self, path};

pub(crate) const FROM: &str = "--src-tls-verify=false";
pub(crate) const TO: &str = "--dest-tls-verify=false";

/// Otherwise skopeo compresses layers that aren't.
pub(crate) const EXACT: &str = "--preserve-digests";

pub(crate) fn skopeo() -> Option<Tool> {
    Some(tool("skopeo")?.with("--insecure-policy"))
}

#[test]
fn skopeo_moves_a_root_file_system() {
    let Some(skopeo) = skopeo() else { return };
    let Some(system) = content::root_file_system() else {
        return;
    };
    let (server, scratch) = (Launch::new().start(), content::scratch());
    let digest = system.image.digest();
    let source = format!("oci:{}:latest", system.image.path());
    let repository = format!("docker://{}/library/debian", server.host());

    skopeo.run(["copy", TO, &source, &format!("{repository}:stable")]);
    system
        .image
        .assert_served(&server.api(), "library/debian", "stable");

    for (name, reference) in [
        ("tag", format!("{repository}:stable")),
        ("digest", format!("{repository}@{digest}")),
    ] {
        let pulled = scratch.path().join(name);
        skopeo.run([
            "copy",
            FROM,
            &reference,
            &format!("oci:{}:latest", path(&pulled)),
        ]);
        system.image.assert_pulled(&pulled);
    }

    let inspected = skopeo.run([
        "inspect",
        "--tls-verify=false",
        "--format",
        "{{.Digest}}",
        &format!("{repository}:stable"),
    ]);
    assert_eq!(inspected.text(), digest);
}

#[test]
fn skopeo_copies_lists_and_deletes_an_index() {
    let Some(skopeo) = skopeo() else { return };
    let (server, scratch) = (Launch::new().start(), content::scratch());
    let (api, layout) = (
        server.api(),
        content::platforms(&scratch.path().join("pushed")),
    );
    let source = format!("oci:{}:latest", layout.path());
    let (first, second) = (
        format!("docker://{}/team/app", server.host()),
        format!("docker://{}/copy/app", server.host()),
    );

    skopeo.run(["copy", "--all", EXACT, TO, &source, &format!("{first}:v1")]);
    skopeo.run([
        "copy",
        "--all",
        EXACT,
        FROM,
        TO,
        &format!("{first}:v1"),
        &format!("{first}:v2"),
    ]);
    skopeo.run([
        "copy",
        "--all",
        EXACT,
        FROM,
        TO,
        &format!("{first}@{}", layout.digest()),
        &format!("{second}:v1"),
    ]);
    layout.assert_served(&api, "team/app", "v2");
    layout.assert_served(&api, "copy/app", "v1");

    let listed: serde_json::Value = serde_json::from_str(
        &skopeo
            .run(["list-tags", "--tls-verify=false", &first])
            .text(),
    )
    .expect("a list of tags");
    assert_eq!(listed["Tags"], serde_json::json!(["v1", "v2"]));

    let pulled = scratch.path().join("pulled");
    skopeo.run([
        "copy",
        "--all",
        EXACT,
        FROM,
        &format!("{second}:v1"),
        &format!("oci:{}:latest", path(&pulled)),
    ]);
    layout.assert_pulled(&pulled);

    // skopeo deletes the manifest that the tag names, and so every tag of it.
    skopeo.run(["delete", "--tls-verify=false", &format!("{first}:v1")]);
    assert!(!api.has_manifest("team/app", "v1"), "the tag is gone");
    assert!(
        !api.has_manifest("team/app", &layout.digest()),
        "the manifest is gone"
    );
    skopeo.fails(["inspect", "--tls-verify=false", &format!("{first}:v2")]);
    layout.assert_served(&api, "copy/app", "v1");
}

#[test]
fn skopeo_copies_a_layer_of_no_bytes() {
    let Some(skopeo) = skopeo() else { return };
    let (server, scratch) = (Launch::new().start(), content::scratch());
    let layout = content::empty_layer(&scratch.path().join("pushed"));
    let target = format!("docker://{}/empty:latest", server.host());
    skopeo.run([
        "copy",
        EXACT,
        TO,
        &format!("oci:{}:latest", layout.path()),
        &target,
    ]);
    layout.assert_served(&server.api(), "empty", "latest");
    let pulled = scratch.path().join("pulled");
    skopeo.run([
        "copy",
        EXACT,
        FROM,
        &target,
        &format!("oci:{}:latest", path(&pulled)),
    ]);
    layout.assert_pulled(&pulled);
}
