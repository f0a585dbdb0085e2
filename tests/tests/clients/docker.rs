//! Docker Engine: a daemon of its own, without a network, pushes and pulls. Needs root.

use std::time::Duration;

use registry_tests::harness::{Launch, Process, Tool, is_root, not_run, tool};
use tempfile::TempDir;

use super::content::{self, assert_saved_layer, path};

/// A Docker daemon and the client that talks to it. The daemon goes first: it unmounts what it has below `scratch`.
pub(crate) struct Engine {
    pub(crate) docker: Tool,
    _daemon: Process,
    pub(crate) scratch: TempDir,
}

impl Engine {
    pub(crate) fn start() -> Option<Self> {
        let (dockerd, docker) = (tool("dockerd")?, tool("docker")?);
        if !is_root() {
            not_run("only root can start a Docker daemon");
            return None;
        }
        let scratch = content::scratch();
        let socket = format!("unix://{}/docker.sock", scratch.path().display());
        std::fs::write(scratch.path().join("daemon.json"), "{}").expect("a configuration");
        let place = |option: &str, name: &str| {
            format!("--{option}={}", scratch.path().join(name).display())
        };
        let mut daemon = Process::spawn(&mut dockerd.command([
            "--bridge=none",
            "--iptables=false",
            "--storage-driver=vfs",
            &format!("--host={socket}"),
            &place("config-file", "daemon.json"),
            &place("data-root", "data"),
            &place("exec-root", "exec"),
            &place("pidfile", "pid"),
        ]))
        // It has a containerd to stop.
        .grace(Duration::from_secs(30));
        daemon.wait_for("`API listen on`", Duration::from_mins(1), |line| {
            line.contains("API listen on").then_some(())
        });
        let docker = docker
            .env("DOCKER_HOST", socket)
            .env("DOCKER_CONFIG", scratch.path().join("config"));
        Some(Self {
            docker,
            _daemon: daemon,
            scratch,
        })
    }
}

#[test]
fn docker_moves_a_root_file_system() {
    let Some(system) = content::root_file_system() else {
        return;
    };
    let Some(engine) = Engine::start() else {
        return;
    };
    let docker = &engine.docker;
    let server = Launch::new().start();
    let (first, second) = (
        format!("{}/library/debian", server.host()),
        format!("{}/copy/debian", server.host()),
    );
    let (tagged, copied) = (format!("{first}:stable"), format!("{second}:stable"));

    let id = docker
        .run(["import", path(&system.archive), &tagged])
        .text();
    docker.run(["push", &tagged]);
    let digest = super::layout::digest(&server.api().manifest("library/debian", "stable"));
    let by_digest = format!("{first}@{digest}");
    // The second repository gets its layers by a mount from the first.
    docker.run(["tag", &tagged, &copied]);
    docker.run(["push", &copied]);
    assert!(
        server.api().has_manifest("copy/debian", &digest),
        "the copy is the same manifest"
    );

    docker.run(["rmi", "--force", &id]);
    for reference in [&tagged, &by_digest, &copied] {
        docker.fails(["image", "inspect", reference]);
        docker.run(["pull", reference]);
        let pulled = docker
            .run(["image", "inspect", "--format", "{{.Id}}", reference])
            .text();
        assert_eq!(pulled, id, "{reference}");
        let saved = engine.scratch.path().join("saved.tar");
        docker.run(["save", "--output", path(&saved), reference]);
        assert_saved_layer(&saved, &system.archive);
        docker.run(["rmi", "--force", &id]);
    }
    docker.fails(["pull", &format!("{first}:missing")]);
}

#[test]
fn docker_pulls_an_index_and_a_layer_of_no_bytes_that_others_pushed() {
    let Some(engine) = Engine::start() else {
        return;
    };
    let docker = &engine.docker;
    let Some(crane) = tool("crane") else { return };
    let server = Launch::new().start();
    let layout = content::empty_archives(&engine.scratch.path().join("pushed"));
    let reference = format!("{}/team/app:v1", server.host());
    crane.run(["push", "--insecure", &layout.path(), &reference]);
    docker.run(["pull", &reference]);
    let digests = docker
        .run([
            "image",
            "inspect",
            "--format",
            "{{join .RepoDigests \" \"}}",
            &reference,
        ])
        .text();
    assert_eq!(
        digests,
        format!("{}/team/app@{}", server.host(), layout.digest())
    );
}
