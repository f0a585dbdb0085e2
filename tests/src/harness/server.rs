//! The real `registry` binary, started on a free loopback port.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::OnceLock;
use std::time::Duration;

use rustix::process::Signal;
use tempfile::TempDir;

use super::silence::{TALKATIVE, assert_silent};
use super::{Api, Process};

/// How long a server may take from its start to the line that names its port, and from a signal to its end.
const PATIENCE: Duration = Duration::from_secs(30);

/// How to start a server.
#[derive(Debug, Default)]
pub struct Launch {
    root: Option<PathBuf>,
    arguments: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    under: Option<Command>,
}

impl Launch {
    /// On an empty temporary root, with the defaults of `registry serve`.
    pub fn new() -> Self {
        Self::default()
    }

    /// On this root, which stays when the server has gone.
    #[must_use]
    pub fn root(mut self, root: impl Into<PathBuf>) -> Self {
        self.root = Some(root.into());
        self
    }

    /// With another command line argument.
    #[must_use]
    pub fn argument(mut self, argument: impl Into<OsString>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// With an environment variable. Without one that says how much it logs, it logs everything.
    #[must_use]
    pub fn env(mut self, key: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.environment.push((key.into(), value.into()));
        self
    }

    /// Run by this program with these arguments, which becomes the server or lets it have its process id, as
    /// `strace -D` does.
    #[must_use]
    pub fn under(mut self, program: Command) -> Self {
        self.under = Some(program);
        self
    }

    /// Starts the server and waits until it names its port.
    ///
    /// # Panics
    /// When it does not get that far; the message holds what it printed.
    pub fn start(self) -> Server {
        self.try_start()
            .unwrap_or_else(|stopped| panic!("the server did not start:\n{}", stopped.log))
    }

    /// Starts the server; returns how it ended if it ends before it names its port.
    ///
    /// # Errors
    /// When it doesn't get that far and ends by itself.
    pub fn try_start(self) -> Result<Server, Stopped> {
        let (root, temporary) = if let Some(root) = self.root {
            (root, None)
        } else {
            let temporary = TempDir::with_prefix("registry-").expect("a temporary directory");
            (temporary.path().to_owned(), Some(temporary))
        };
        // What it would print on its standard output is heard, too.
        let mut command = Command::new("sh");
        command.args(["-c", "exec \"$@\" 1>&2", "sh"]);
        if let Some(under) = self.under {
            command.arg(under.get_program()).args(under.get_args());
        }
        command.arg(binary());
        let mut process = Process::spawn(
            untold(&mut command)
                .args(["serve", "--addr", "127.0.0.1:0", "--root"])
                .arg(&root)
                .args(self.arguments)
                .envs([TALKATIVE])
                .envs(self.environment),
        );
        let announced = "`listening on 127.0.0.1:<port>`";
        let Some(port) = process.find(announced, PATIENCE, announced_port) else {
            let status = process.wait(PATIENCE);
            let log = process.log().to_owned();
            assert_silent(&log);
            return Err(Stopped { status, log });
        };
        Ok(Server {
            process,
            host: format!("127.0.0.1:{port}"),
            root,
            _temporary: temporary,
        })
    }
}

/// Runs `registry rebuild` on a root that no server uses.
///
/// # Panics
/// When it fails; the message holds what it printed.
pub fn rebuild(root: &Path) {
    let output = program()
        .arg("rebuild")
        .arg(root)
        .output()
        .expect("the server's binary");
    assert!(
        output.status.success(),
        "rebuild: {}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
}

/// The server's program, to be run in another way than as a server.
pub fn program() -> Command {
    let mut command = Command::new(binary());
    untold(&mut command);
    command
}

/// Without what tells the tests something: that would be a key of the server's configuration.
fn untold(command: &mut Command) -> &mut Command {
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("REGISTRY_") {
            command.env_remove(name);
        }
    }
    command
}

/// A running server. Dropping it kills it and removes a temporary root. In the end, no secret may be in its log.
#[derive(Debug)]
pub struct Server {
    process: Process,
    host: String,
    root: PathBuf,
    _temporary: Option<TempDir>,
}

/// How a server ended.
#[derive(Debug)]
pub struct Stopped {
    /// Its exit status.
    pub status: ExitStatus,
    /// All that it printed.
    pub log: String,
}

impl Server {
    /// `127.0.0.1:<port>`, as image references spell it.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Where it keeps its data.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Bare requests to it.
    pub fn api(&self) -> Api {
        Api::new(&self.host)
    }

    /// Everything it has printed so far, its access log included.
    pub fn log(&mut self) -> &str {
        self.process.log()
    }

    /// Sends SIGTERM and waits for its end.
    pub fn terminate(mut self) -> Stopped {
        self.stop(Signal::TERM)
    }

    /// Sends SIGKILL and waits for its end.
    pub fn kill(mut self) -> Stopped {
        self.stop(Signal::KILL)
    }

    fn stop(&mut self, signal: Signal) -> Stopped {
        self.process.signal(signal);
        let status = self.process.wait(PATIENCE);
        let log = self.process.log().to_owned();
        assert_silent(&log);
        Stopped { status, log }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if !std::thread::panicking() && !self.process.has_gone() {
            self.stop(Signal::KILL);
        }
    }
}

fn announced_port(line: &str) -> Option<u16> {
    let (_, rest) = line.split_once("listening on 127.0.0.1:")?;
    let digits = rest
        .find(|c: char| !c.is_ascii_digit())
        .map_or(rest, |end| rest.split_at(end).0);
    digits.parse().ok()
}

/// The server to test: `REGISTRY_BINARY`, or the workspace's own, brought up to date for the profile of this test.
///
/// The first call may build it, which takes a while: whoever measures a start calls this before.
pub fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| match std::env::var_os("REGISTRY_BINARY") {
        Some(path) => PathBuf::from(path),
        None => build(),
    })
}

/// Cargo builds the binaries of the package it tests only, so a test of this package alone could meet a stale server.
fn build() -> PathBuf {
    // <target>/<profile>/deps/<test>
    let test = std::env::current_exe().expect("the path of this test");
    let profile = test.ancestors().nth(2).expect("a profile directory");
    let target = profile.parent().expect("a target directory");
    let name = match profile.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => "dev",
        Some(name) => name,
    };
    let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args([
            "build",
            "--quiet",
            "--package",
            "registry-examples",
            "--bin",
            "registry",
            "--profile",
            name,
        ])
        .arg("--target-dir")
        .arg(target)
        .arg("--manifest-path")
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.toml"))
        .output()
        .expect("cargo");
    assert!(
        output.status.success(),
        "cannot build the server:\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    profile.join(format!("registry{}", std::env::consts::EXE_SUFFIX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_is_read_from_plain_and_structured_lines() {
        assert_eq!(announced_port("listening on 127.0.0.1:5000"), Some(5000));
        assert_eq!(
            announced_port(r#"level=info msg="listening on 127.0.0.1:43423" go=1"#),
            Some(43423)
        );
        assert_eq!(announced_port("listening on [::]:5000"), None);
        assert_eq!(announced_port("listening on 127.0.0.1:"), None);
    }
}
