//! crane, the client of go-containerregistry, which kaniko, ko and cosign share.

use registry_tests::harness::{Launch, Tool, tool};

use super::content::{self, path};

fn crane() -> Option<Tool> {
    Some(tool("crane")?.with("--insecure"))
}

#[test]
fn crane_moves_a_root_file_system() {
    let Some(crane) = crane() else { return };
    let Some(system) = content::root_file_system() else {
        return;
    };
    let (server, scratch) = (Launch::new().start(), content::scratch());
    let repository = format!("{}/library/debian", server.host());

    let pushed = crane
        .run([
            "push",
            &system.image.path(),
            &format!("{repository}:stable"),
        ])
        .text();
    assert_eq!(pushed, format!("{repository}@{}", system.image.digest()));
    system
        .image
        .assert_served(&server.api(), "library/debian", "stable");

    for (name, reference) in [("tag", format!("{repository}:stable")), ("digest", pushed)] {
        let pulled = scratch.path().join(name);
        crane.run(["pull", "--format=oci", &reference, path(&pulled)]);
        system.image.assert_pulled(&pulled);
    }

    // The unpacked file system, put together from the layers that crane streams.
    let exported = scratch.path().join("exported.tar");
    crane.run(["export", &format!("{repository}:stable"), path(&exported)]);
    let names = |archive| {
        tool("tar")
            .expect("tar")
            .run(["--list", "--file", path(archive)])
            .sorted_lines()
            .len()
    };
    assert_eq!(names(&exported), names(&system.archive));
}

#[test]
fn crane_copies_lists_and_deletes_an_index() {
    let Some(crane) = crane() else { return };
    let (server, scratch) = (Launch::new().start(), content::scratch());
    let (api, layout) = (
        server.api(),
        content::platforms(&scratch.path().join("pushed")),
    );
    let (first, second) = (
        format!("{}/team/app", server.host()),
        format!("{}/copy/app", server.host()),
    );

    crane.run(["push", &layout.path(), &format!("{first}:v1")]);
    crane.run(["tag", &format!("{first}:v1"), "v2"]);
    crane.run([
        "copy",
        &format!("{first}@{}", layout.digest()),
        &format!("{second}:v1"),
    ]);
    layout.assert_served(&api, "team/app", "v2");
    layout.assert_served(&api, "copy/app", "v1");
    assert_eq!(crane.run(["ls", &first]).sorted_lines(), ["v1", "v2"]);
    assert_eq!(
        crane.run(["catalog", server.host()]).sorted_lines(),
        ["copy/app", "team/app"]
    );
    assert_eq!(
        crane.run(["digest", &format!("{first}:v2")]).text(),
        layout.digest()
    );

    let pulled = scratch.path().join("pulled");
    crane.run([
        "pull",
        "--format=oci",
        &format!("{second}:v1"),
        path(&pulled),
    ]);
    layout.assert_pulled(&pulled);

    crane.run(["delete", &format!("{first}@{}", layout.digest())]);
    assert!(
        !api.has_manifest("team/app", &layout.digest()),
        "the manifest is gone"
    );
    crane.fails(["manifest", &format!("{first}:v2")]);
    layout.assert_served(&api, "copy/app", "v1");
}

#[test]
fn crane_copies_a_layer_of_no_bytes() {
    let Some(crane) = crane() else { return };
    let (server, scratch) = (Launch::new().start(), content::scratch());
    let layout = content::empty_layer(&scratch.path().join("pushed"));
    let target = format!("{}/empty:latest", server.host());
    crane.run(["push", &layout.path(), &target]);
    layout.assert_served(&server.api(), "empty", "latest");
    let pulled = scratch.path().join("pulled");
    crane.run(["pull", "--format=oci", &target, path(&pulled)]);
    layout.assert_pulled(&pulled);
}
