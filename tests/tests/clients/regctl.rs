//! regctl: copies with referrers, tag deletion, chunked uploads of layers past 2 GiB.

use std::fs;

use registry_tests::harness::{Launch, Server, Tool, tool};
use tempfile::TempDir;

use super::content;
use super::layout::digest;

/// regctl with its own configuration, in which this server speaks plain HTTP.
fn regctl(server: &Server, scratch: &TempDir) -> Option<Tool> {
    let regctl = tool("regctl")?.env("REGCTL_CONFIG", scratch.path().join("regctl.json"));
    regctl.run([
        "registry",
        "set",
        "--tls=disabled",
        "--skip-check",
        server.host(),
    ]);
    Some(regctl)
}

#[test]
fn regctl_moves_a_root_file_system() {
    let (server, scratch) = (Launch::new().start(), content::scratch());
    let Some(regctl) = regctl(&server, &scratch) else {
        return;
    };
    let Some(system) = content::root_file_system() else {
        return;
    };
    let repository = format!("{}/library/debian", server.host());

    regctl.run([
        "image",
        "copy",
        &format!("ocidir://{}:latest", system.image.path()),
        &format!("{repository}:stable"),
    ]);
    system
        .image
        .assert_served(&server.api(), "library/debian", "stable");

    let by_digest = format!("{repository}@{}", system.image.digest());
    for (name, reference) in [
        ("tag", format!("{repository}:stable")),
        ("digest", by_digest),
    ] {
        let pulled = scratch.path().join(name);
        regctl.run([
            "image",
            "copy",
            &reference,
            &format!("ocidir://{}:latest", pulled.display()),
        ]);
        system.image.assert_pulled(&pulled);
    }
}

#[test]
fn regctl_copies_lists_and_deletes_an_index_with_its_referrers() {
    let (server, scratch) = (Launch::new().start(), content::scratch());
    let Some(regctl) = regctl(&server, &scratch) else {
        return;
    };
    let (api, layout) = (
        server.api(),
        content::platforms(&scratch.path().join("pushed")),
    );
    let (first, second) = (
        format!("{}/team/app", server.host()),
        format!("{}/copy/app", server.host()),
    );
    let bill = scratch.path().join("bill.json");
    fs::write(&bill, r#"{"components": []}"#).expect("a file");

    regctl.run([
        "image",
        "copy",
        &format!("ocidir://{}:latest", layout.path()),
        &format!("{first}:v1"),
    ]);
    regctl.run([
        "image",
        "copy",
        &format!("{first}:v1"),
        &format!("{first}:v2"),
    ]);
    regctl.run([
        "artifact",
        "put",
        "--artifact-type=application/vnd.example.bill",
        "--file-media-type=application/json",
        &format!("--file={}", bill.display()),
        &format!("--subject={first}:v1"),
    ]);
    regctl.run([
        "image",
        "copy",
        "--referrers",
        &format!("{first}@{}", layout.digest()),
        &format!("{second}:v1"),
    ]);
    layout.assert_served(&api, "team/app", "v2");
    layout.assert_served(&api, "copy/app", "v1");
    let fetched = regctl.run([
        "artifact",
        "get",
        &format!("--subject={second}:v1"),
        "--filter-artifact-type=application/vnd.example.bill",
    ]);
    assert_eq!(fetched.stdout, fs::read(&bill).expect("the file"));
    let tags = regctl
        .run(["tag", "ls", "--exclude", "sha256-.*", &first])
        .sorted_lines();
    assert_eq!(tags, ["v1", "v2"]);
    assert_eq!(
        regctl.run(["repo", "ls", server.host()]).sorted_lines(),
        ["copy/app", "team/app"]
    );

    // Deleting a tag leaves the manifest and its other tags alone.
    regctl.run(["tag", "rm", &format!("{first}:v1")]);
    assert!(!api.has_manifest("team/app", "v1"), "the tag is gone");
    layout.assert_served(&api, "team/app", "v2");
    regctl.run(["manifest", "rm", &format!("{first}@{}", layout.digest())]);
    assert!(!api.has_manifest("team/app", "v2"), "the manifest is gone");
    layout.assert_served(&api, "copy/app", "v1");
}

#[test]
fn regctl_stores_and_deletes_blobs() {
    let (server, scratch) = (Launch::new().start(), content::scratch());
    let Some(regctl) = regctl(&server, &scratch) else {
        return;
    };
    let layout = content::empty_layer(&scratch.path().join("pushed"));
    let repository = format!("{}/empty", server.host());
    regctl.run([
        "image",
        "copy",
        &format!("ocidir://{}:latest", layout.path()),
        &format!("{repository}:latest"),
    ]);
    layout.assert_served(&server.api(), "empty", "latest");
    regctl.run([
        "image",
        "copy",
        &format!("{repository}:latest"),
        &format!("ocidir://{}/pulled:latest", scratch.path().display()),
    ]);
    layout.assert_pulled(&scratch.path().join("pulled"));

    let blob = digest(b"not empty");
    assert_eq!(
        regctl.run(["blob", "get", &repository, &blob]).stdout,
        b"not empty"
    );
    regctl.run(["blob", "delete", &repository, &blob]);
    regctl.fails(["blob", "head", &repository, &blob]);
}

#[test]
fn regctl_moves_a_layer_of_two_gibibytes() {
    let (server, scratch) = (Launch::new().start(), content::scratch());
    let Some(regctl) = regctl(&server, &scratch) else {
        return;
    };
    let huge = content::huge();
    let target = format!("{}/huge:latest", server.host());
    regctl.run([
        "image",
        "copy",
        &format!("ocidir://{}:latest", huge.path()),
        &target,
    ]);
    let pulled = scratch.path().join("pulled");
    regctl.run([
        "image",
        "copy",
        &target,
        &format!("ocidir://{}:latest", pulled.display()),
    ]);
    huge.assert_pulled(&pulled);
}
