//! containerd: a daemon of its own pushes and pulls through `ctr`, as a Kubernetes node pulls. Needs root.
//!
//! It takes no layers of no bytes from any registry.

use std::time::Duration;

use registry_tests::harness::{Launch, Process, Tool, is_root, not_run, tool};
use tempfile::TempDir;

use super::content::{self, path};
use super::layout::Layout;

pub(crate) const PLAIN: &str = "--plain-http";

/// Unpacks layers by copying, which works on any file system.
const SNAPSHOTTER: &str = "--snapshotter=native";

/// A containerd and the client that talks to it. The daemon goes first: it has files below `scratch`.
pub(crate) struct Engine {
    pub(crate) ctr: Tool,
    _daemon: Process,
    pub(crate) scratch: TempDir,
}

impl Engine {
    pub(crate) fn start() -> Option<Self> {
        let (containerd, ctr) = (tool("containerd")?, tool("ctr")?);
        if !is_root() {
            not_run("only root can start containerd");
            return None;
        }
        let scratch = content::scratch();
        let place = |name: &str| scratch.path().join(name).display().to_string();
        // Kubernetes' part looks for networks.
        let configuration = "version = 2\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n";
        std::fs::write(place("config.toml"), configuration).expect("a configuration");
        let mut daemon = Process::spawn(&mut containerd.command([
            format!("--config={}", place("config.toml")),
            format!("--root={}", place("root")),
            format!("--state={}", place("state")),
            format!("--address={}", place("socket")),
        ]));
        daemon.wait_for("`successfully booted`", Duration::from_mins(1), |line| {
            line.contains("successfully booted").then_some(())
        });
        Some(Self {
            ctr: ctr.with(format!("--address={}", place("socket"))),
            _daemon: daemon,
            scratch,
        })
    }

    /// Takes over a layout as `name`, with everything that it holds.
    pub(crate) fn import(&self, layout: &Layout, name: &str) {
        let archive = self.scratch.path().join("imported.tar");
        tool("tar").expect("tar").run([
            "--create",
            "--file",
            path(&archive),
            "--directory",
            &layout.path(),
            ".",
        ]);
        let ctr = &self.ctr;
        let options = ["--all-platforms", "--no-unpack", "--base-name", name];
        ctr.run(
            ["images", "import"]
                .into_iter()
                .chain(options)
                .chain([path(&archive)]),
        );
        ctr.run(["images", "tag", &format!("{name}:latest"), name]);
        ctr.run(["images", "remove", &format!("{name}:latest")]);
    }

    /// Expects what it holds under this reference to be exactly the layout.
    pub(crate) fn assert_holds(&self, reference: &str, layout: &Layout) {
        let archive = self.scratch.path().join("exported.tar");
        self.ctr.run([
            "images",
            "export",
            "--all-platforms",
            path(&archive),
            reference,
        ]);
        let exported = content::scratch();
        tool("tar").expect("tar").run([
            "--extract",
            "--file",
            path(&archive),
            "--directory",
            path(exported.path()),
        ]);
        layout.assert_pulled(exported.path());
    }

    /// Gives up these images, after which nothing is left of any.
    pub(crate) fn empty(&self, references: &[&str]) {
        let remove = ["images", "remove", "--sync"].into_iter();
        self.ctr.run(remove.chain(references.iter().copied()));
        assert_eq!(self.ctr.run(["content", "list", "--quiet"]).text(), "");
    }
}

#[test]
fn containerd_moves_a_root_file_system() {
    let Some(system) = content::root_file_system() else {
        return;
    };
    let Some(engine) = Engine::start() else {
        return;
    };
    let ctr = &engine.ctr;
    let server = Launch::new().start();
    let api = server.api();
    let (first, second) = (
        format!("{}/library/debian", server.host()),
        format!("{}/copy/debian", server.host()),
    );
    let (tagged, copied) = (format!("{first}:stable"), format!("{second}:v1"));
    let by_digest = format!("{first}@{}", system.image.digest());

    engine.import(&system.image, &tagged);
    ctr.run(["images", "push", PLAIN, &tagged]);
    system.image.assert_served(&api, "library/debian", "stable");
    ctr.run(["images", "tag", &tagged, &copied]);
    ctr.run(["images", "push", PLAIN, &copied]);
    system.image.assert_served(&api, "copy/debian", "v1");

    engine.empty(&[&tagged, &copied]);
    for reference in [&tagged, &by_digest] {
        ctr.run(["images", "pull", PLAIN, SNAPSHOTTER, reference]);
        engine.assert_holds(reference, &system.image);
        engine.empty(&[reference]);
    }
    ctr.fails(["images", "pull", PLAIN, &format!("{first}:missing")]);
}

#[test]
fn containerd_pushes_and_pulls_an_index_of_platforms() {
    let Some(engine) = Engine::start() else {
        return;
    };
    let ctr = &engine.ctr;
    let server = Launch::new().start();
    let layout = content::platforms(&engine.scratch.path().join("platforms"));
    let reference = format!("{}/team/app:v1", server.host());
    engine.import(&layout, &reference);
    ctr.run(["images", "push", PLAIN, &reference]);
    layout.assert_served(&server.api(), "team/app", "v1");
    engine.empty(&[&reference]);
    ctr.run(["content", "fetch", PLAIN, "--all-platforms", &reference]);
    engine.assert_holds(&reference, &layout);
}
