//! buildah: builds an image, pushes it, and starts from what it pushed. Needs root.

use std::fs;

use registry_tests::harness::{Launch, Tool, is_root, not_run, tool};
use tempfile::TempDir;

use super::content::{self, RootFileSystem, path};
use super::layout::{assert_same_file, digest};

const PLAIN: &str = "--tls-verify=false";

/// buildah with a storage of its own below `scratch`.
pub(crate) fn buildah(scratch: &TempDir, storage: &str) -> Option<Tool> {
    let buildah = tool("buildah")?;
    if !is_root() {
        not_run("buildah's storage driver vfs needs root here");
        return None;
    }
    let place = |option: &str| {
        format!(
            "--{option}={}",
            scratch.path().join(storage).join(option).display()
        )
    };
    Some(
        buildah
            .with(place("root"))
            .with(place("runroot"))
            .with("--storage-driver=vfs"),
    )
}

#[test]
fn buildah_builds_on_a_root_file_system_pushes_and_pulls() {
    let (server, scratch) = (Launch::new().start(), content::scratch());
    let Some(pusher) = buildah(&scratch, "here") else {
        return;
    };
    let Some(other) = buildah(&scratch, "there") else {
        return;
    };
    let Some(system) = content::root_file_system() else {
        return;
    };
    let api = server.api();
    let repository = format!("{}/team/app", server.host());
    let added = scratch.path().join("added");
    fs::write(&added, "a file of our own\n".repeat(999)).expect("a file");

    let pusher = pusher.directory(&system.directory);
    let container = pusher.run(["from", RootFileSystem::RELATIVE]).text();
    pusher.run(["copy", &container, path(&added), "/srv/added"]);
    pusher.run(["config", "--label", "made-by=buildah", &container]);
    pusher.run(["commit", "--quiet", &container, "app"]);
    pusher.run(["push", PLAIN, "app", &format!("docker://{repository}:v1")]);
    // A second push finds every blob there; a push to another repository mounts them.
    pusher.run(["push", PLAIN, "app", &format!("docker://{repository}:v2")]);
    pusher.run([
        "push",
        PLAIN,
        "app",
        &format!("docker://{}/copy/app:v1", server.host()),
    ]);
    assert_eq!(api.tags("team/app"), ["v1", "v2"]);

    let by_digest = format!("{repository}@{}", digest(&api.manifest("team/app", "v1")));
    for reference in [
        format!("{repository}:v1"),
        by_digest,
        format!("{}/copy/app:v1", server.host()),
    ] {
        let container = other
            .run([
                "from",
                PLAIN,
                "--pull-always",
                &format!("docker://{reference}"),
            ])
            .text();
        let mounted = other.run(["mount", &container]).text();
        assert_same_file(&added, &std::path::Path::new(&mounted).join("srv/added"));
        // The rest of the file system, by what its own package manager says of it.
        let checked = tool("dpkg").map(|dpkg| dpkg.run(["--verify", "--root", &mounted]).text());
        assert_eq!(checked.unwrap_or_default(), "", "{reference}");
        other.run(["rm", &container]);
        other.run(["rmi", "--all", "--force"]);
    }
}

#[test]
fn buildah_pushes_an_index_of_two_platforms() {
    let (server, scratch) = (Launch::new().start(), content::scratch());
    let Some(buildah) = buildah(&scratch, "here") else {
        return;
    };
    let file = scratch.path().join("file");
    fs::write(&file, "content").expect("a file");
    buildah.run(["manifest", "create", "app"]);
    for architecture in ["amd64", "arm64"] {
        let container = buildah
            .run(["from", "--arch", architecture, "scratch"])
            .text();
        buildah.run(["copy", &container, path(&file), &format!("/{architecture}")]);
        buildah.run(["config", "--arch", architecture, &container]);
        buildah.run(["commit", "--quiet", &container, architecture]);
        buildah.run([
            "manifest",
            "add",
            "--arch",
            architecture,
            "app",
            &format!("containers-storage:localhost/{architecture}"),
        ]);
    }
    buildah.run([
        "manifest",
        "push",
        "--all",
        PLAIN,
        "app",
        &format!("docker://{}/team/app:v1", server.host()),
    ]);
    let index: serde_json::Value =
        serde_json::from_slice(&server.api().manifest("team/app", "v1")).expect("an index");
    let mut platforms: Vec<&str> = index["manifests"]
        .as_array()
        .expect("an index")
        .iter()
        .filter_map(|child| child["platform"]["architecture"].as_str())
        .collect();
    platforms.sort_unstable();
    assert_eq!(platforms, ["amd64", "arm64"]);
    let pulled = format!("docker://{}/team/app:v1", server.host());
    let container = buildah
        .run(["from", PLAIN, "--pull-always", "--arch", "arm64", &pulled])
        .text();
    let mounted = buildah.run(["mount", &container]).text();
    assert_same_file(&file, &std::path::Path::new(&mounted).join("arm64"));
}
