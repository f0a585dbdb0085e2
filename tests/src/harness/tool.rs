//! Programs that a test needs and that may be missing.

use std::env;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::channel;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

/// How long one run of a program may take.
const LIMIT: Duration = Duration::from_mins(5);

/// Where tools and content that were made once are kept: `registry-ci` in the user's cache directory.
pub fn cache_dir() -> PathBuf {
    env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")))
        .unwrap_or_else(env::temp_dir)
        .join("registry-ci")
}

/// Whether this process may do what only root may.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Says on the terminal that a test did not run, or fails it where `REGISTRY_TESTS_REQUIRE_TOOLS=1` forbids that.
///
/// # Panics
/// With `REGISTRY_TESTS_REQUIRE_TOOLS=1`.
pub fn not_run(reason: &str) {
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    assert!(
        env::var_os("REGISTRY_TESTS_REQUIRE_TOOLS").is_none_or(|value| value != "1"),
        "{test} must run here: {reason}"
    );
    say_not_run(reason);
}

/// Says on the terminal that a test did not run.
pub fn say_not_run(reason: &str) {
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    // Printed past the test runner, which swallows the output of tests that pass.
    let _ = writeln!(std::io::stderr(), "NOT RUN: {test}: {reason}");
}

/// Finds a program in the tool cache or on the `PATH`; otherwise says that the test did not run, see [`not_run`].
pub fn tool(name: &str) -> Option<Tool> {
    let path = env::var_os("PATH").unwrap_or_default();
    let found = std::iter::once(cache_dir().join("bin"))
        .chain(env::split_paths(&path))
        // Where the system keeps programs meant for root.
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .map(|directory| directory.join(name))
        .find(|candidate| candidate.is_file());
    if found.is_none() {
        not_run(&format!(
            "{name} is not installed (.ci/install installs it)"
        ));
    }
    found.map(|path| Tool {
        path,
        leading: Vec::new(),
        environment: Vec::new(),
        directory: None,
    })
}

/// A program with the arguments and environment that all its runs share.
#[derive(Clone, Debug)]
pub struct Tool {
    path: PathBuf,
    leading: Vec<String>,
    environment: Vec<(String, String)>,
    directory: Option<PathBuf>,
}

/// What a run printed, and how it ended.
#[derive(Debug)]
pub struct Output {
    /// Its exit status.
    pub status: ExitStatus,
    /// Its standard output.
    pub stdout: Vec<u8>,
    /// Its standard error, as text.
    pub stderr: String,
}

impl Output {
    /// The standard output as text without surrounding white space.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).trim().to_owned()
    }

    /// The lines of the standard output, sorted.
    pub fn sorted_lines(&self) -> Vec<String> {
        let mut lines: Vec<String> = self
            .text()
            .lines()
            .map(|line| line.trim().to_owned())
            .collect();
        lines.sort();
        lines
    }
}

impl Tool {
    /// Puts an argument before those of every run.
    #[must_use]
    pub fn with(mut self, argument: impl Into<String>) -> Self {
        self.leading.push(argument.into());
        self
    }

    /// Sets an environment variable for every run.
    #[must_use]
    pub fn env(mut self, key: &str, value: impl AsRef<Path>) -> Self {
        self.environment.push((
            key.to_owned(),
            value.as_ref().to_string_lossy().into_owned(),
        ));
        self
    }

    /// Runs in this directory.
    #[must_use]
    pub fn directory(mut self, directory: impl Into<PathBuf>) -> Self {
        self.directory = Some(directory.into());
        self
    }

    /// The program with its shared arguments, ready for more.
    pub fn command<I: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = I>) -> Command {
        let mut command = Command::new(&self.path);
        command
            .args(&self.leading)
            .args(arguments)
            .envs(self.environment.iter().map(|(key, value)| (key, value)));
        if let Some(directory) = &self.directory {
            command.current_dir(directory);
        }
        command
    }

    /// Runs it and expects success.
    ///
    /// # Panics
    /// When it fails or takes too long; the message holds the command and all it printed.
    pub fn run<I: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = I>) -> Output {
        let (shown, output) = self.finish(arguments);
        assert!(
            output.status.success(),
            "{shown}: {}\n{}\n{}",
            output.status,
            output.text(),
            output.stderr
        );
        output
    }

    /// Runs it and expects it to fail by itself.
    ///
    /// # Panics
    /// When it succeeds, is killed, or takes too long.
    pub fn fails<I: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = I>) -> Output {
        let (shown, output) = self.finish(arguments);
        assert!(
            output.status.code().is_some_and(|code| code != 0),
            "{shown} should fail:\n{}",
            output.text()
        );
        output
    }

    /// Runs it and leaves the judgement to the caller.
    pub fn attempt<I: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = I>) -> Output {
        self.finish(arguments).1
    }

    fn finish<I: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = I>) -> (String, Output) {
        let mut command = self.command(arguments);
        let shown = format!("{command:?}");
        // Files rather than pipes: a daemon that a client leaves behind would hold a pipe open for ever.
        let (mut stdout, mut stderr) = (anonymous_file(), anonymous_file());
        let mut child = command
            .stdin(Stdio::null())
            .stdout(stdout.try_clone().expect("a file handle"))
            .stderr(stderr.try_clone().expect("a file handle"))
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {shown}: {error}"));
        let pid = i32::try_from(child.id())
            .ok()
            .and_then(Pid::from_raw)
            .expect("a process id");
        let (sender, ended) = channel();
        let waiter = std::thread::spawn(move || {
            let status = child.wait();
            let _ = sender.send(());
            status
        });
        let in_time = ended.recv_timeout(LIMIT).is_ok();
        if !in_time {
            // It may have ended this very moment; then there is nothing to kill.
            let _ = kill_process(pid, Signal::KILL);
        }
        let status = waiter
            .join()
            .expect("the waiting thread")
            .expect("an exit status");
        let output = Output {
            status,
            stdout: contents(&mut stdout),
            stderr: String::from_utf8_lossy(&contents(&mut stderr)).into_owned(),
        };
        assert!(
            in_time,
            "{shown} took more than {LIMIT:?}:\n{}\n{}",
            output.text(),
            output.stderr
        );
        (shown, output)
    }
}

fn anonymous_file() -> File {
    tempfile::tempfile().expect("a temporary file")
}

fn contents(file: &mut File) -> Vec<u8> {
    let mut bytes = Vec::new();
    file.rewind()
        .and_then(|()| file.read_to_end(&mut bytes))
        .expect("what the program printed");
    bytes
}
