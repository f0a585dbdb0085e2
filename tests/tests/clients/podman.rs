//! podman: its own storage, pushes that compress anew, pulls into an empty storage. Needs root.

use registry_tests::harness::{Launch, Tool, is_root, not_run, tool};
use tempfile::TempDir;

use super::content::{self, RootFileSystem, assert_saved_layer, path};

const PLAIN: &str = "--tls-verify=false";

/// podman with a storage of its own below `scratch`.
pub(crate) fn podman(scratch: &TempDir, storage: &str) -> Option<Tool> {
    let podman = tool("podman")?;
    if !is_root() {
        not_run("podman's storage driver vfs needs root here");
        return None;
    }
    let place = |option: &str| {
        format!(
            "--{option}={}",
            scratch.path().join(storage).join(option).display()
        )
    };
    Some(
        podman
            .with(place("root"))
            .with(place("runroot"))
            .with(place("tmpdir"))
            .with("--storage-driver=vfs")
            .with("--cgroup-manager=cgroupfs")
            .with("--events-backend=none"),
    )
}

#[test]
fn podman_moves_a_root_file_system() {
    let (server, scratch) = (Launch::new().start(), content::scratch());
    let Some(pusher) = podman(&scratch, "here") else {
        return;
    };
    let Some(other) = podman(&scratch, "there") else {
        return;
    };
    let Some(system) = content::root_file_system() else {
        return;
    };
    let (first, second) = (
        format!("{}/library/debian", server.host()),
        format!("{}/copy/debian", server.host()),
    );
    let tagged = format!("{first}:stable");

    let pusher = pusher.directory(&system.directory);
    let id = pusher
        .run(["pull", "--quiet", RootFileSystem::RELATIVE])
        .text();
    pusher.run(["push", PLAIN, &id, &format!("docker://{tagged}")]);
    pusher.run(["push", PLAIN, &id, &format!("docker://{second}:v1")]);
    let by_digest = format!(
        "{first}@{}",
        super::layout::digest(&server.api().manifest("library/debian", "stable"))
    );

    for reference in [&tagged, &by_digest, &format!("{second}:v1")] {
        let pulled = other.run(["pull", "--quiet", PLAIN, reference]).text();
        assert_eq!(pulled, id, "{reference}");
        let saved = scratch.path().join("saved.tar");
        other.run([
            "save",
            "--quiet",
            "--format=docker-archive",
            "--output",
            path(&saved),
            &pulled,
        ]);
        assert_saved_layer(&saved, &system.archive);
        std::fs::remove_file(&saved).expect("the saved image removed");
        other.run(["rmi", "--force", &pulled]);
    }

    let listed = pusher.run(["search", PLAIN, "--list-tags", "--format=json", &first]);
    let listed: serde_json::Value = serde_json::from_slice(&listed.stdout).expect("JSON");
    assert_eq!(listed[0]["Tags"], serde_json::json!(["stable"]));
    other.fails(["pull", "--quiet", PLAIN, &format!("{first}:missing")]);
}

#[test]
fn podman_pushes_and_pulls_an_index() {
    let (server, scratch) = (Launch::new().start(), content::scratch());
    let Some(podman) = podman(&scratch, "here") else {
        return;
    };
    let api = server.api();
    let layout = content::empty_archives(&scratch.path().join("pushed"));
    let target = format!("{}/team/app:v1", server.host());

    podman.run(["manifest", "create", "app"]);
    podman.run([
        "manifest",
        "add",
        "--all",
        "app",
        &format!("oci:{}:latest", layout.path()),
    ]);
    podman.run([
        "manifest",
        "push",
        "--all",
        PLAIN,
        "app",
        &format!("docker://{target}"),
    ]);
    let index: serde_json::Value =
        serde_json::from_slice(&api.manifest("team/app", "v1")).expect("an index");
    let children = index["manifests"].as_array().expect("an index");
    assert_eq!(children.len(), 1, "{index}");
    assert_eq!(children[0]["platform"]["architecture"], "amd64");
    podman.run(["pull", "--quiet", PLAIN, &target]);
}
