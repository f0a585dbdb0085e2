//! The program in a process of its own.

use std::io::{BufRead, BufReader, Read};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use registry_tests::harness::silence::{TALKATIVE, assert_silent};
use reqwest::{Method, Response, StatusCode};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// How long anything may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// How to start the program, in an empty directory.
pub(crate) struct Setup {
    command: Command,
    directory: TempDir,
    is_heard: bool,
}

/// How the program ended.
#[derive(Debug)]
pub(crate) struct End {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Setup {
    /// Without arguments, and without variables that mean something to it.
    pub(crate) fn new() -> Self {
        Self::of(Command::new(env!("CARGO_BIN_EXE_registry")))
    }

    /// The same, with a mask that takes no permission from what it makes.
    pub(crate) fn unmasked() -> Self {
        Self::after("umask 0")
    }

    /// The same, once a shell has done something.
    pub(crate) fn after(preparation: &str) -> Self {
        let mut shell = Command::new("sh");
        let script = format!("{preparation}; exec \"$0\" \"$@\"");
        shell.args(["-c", &script]);
        shell.arg(env!("CARGO_BIN_EXE_registry"));
        Self::of(shell)
    }

    fn of(mut command: Command) -> Self {
        let directory = tempfile::tempdir().unwrap();
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("REGISTRY_") {
                command.env_remove(name);
            }
        }
        command.current_dir(directory.path());
        Self {
            command,
            directory,
            is_heard: true,
        }
    }

    /// Serving what this configuration file says.
    pub(crate) fn serve(configuration: &str) -> Self {
        let setup = Self::new().file("config.yml", configuration);
        setup.arguments(&["serve", "config.yml"])
    }

    /// Serving what a program before it served, which left this directory.
    pub(crate) fn again(directory: TempDir) -> Self {
        let mut setup = Self::new().arguments(&["serve", "config.yml"]);
        setup.command.current_dir(directory.path());
        setup.directory = directory;
        setup
    }

    pub(crate) fn arguments(mut self, arguments: &[&str]) -> Self {
        self.command.args(arguments);
        self
    }

    pub(crate) fn variable(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    /// Logging as much as its file says, and not everything.
    pub(crate) fn level_of_its_file(mut self) -> Self {
        self.command.env_remove(TALKATIVE.0);
        self
    }

    /// With nobody who reads its messages once it listens.
    pub(crate) fn unheard(mut self) -> Self {
        self.is_heard = false;
        self
    }

    /// With a directory in its directory.
    pub(crate) fn directory(self, name: &str) -> Self {
        std::fs::create_dir_all(self.path(name)).unwrap();
        self
    }

    /// With a file in its directory.
    pub(crate) fn file(self, name: &str, content: impl AsRef<[u8]>) -> Self {
        std::fs::write(self.path(name), content).unwrap();
        self
    }

    /// A path in its directory.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Runs it to its end.
    pub(crate) fn run(self) -> End {
        let (mut program, _) = self.spawn();
        let status = program.wait();
        let stderr = program.stderr();
        assert_silent(&stderr);
        End {
            status,
            stdout: program.stdout(),
            stderr,
        }
    }

    /// Starts it without waiting for anything.
    pub(crate) fn begin(self) -> Program {
        self.spawn().0
    }

    fn spawn(mut self) -> (Program, Receiver<String>) {
        let (level, everything) = TALKATIVE;
        if self.command.get_envs().all(|(name, _)| name != level) {
            self.command.env(level, everything);
        }
        let mut child = self
            .command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (stdout, stdout_reader, _) = collect(child.stdout.take().unwrap(), true);
        let (stderr, stderr_reader, lines) = collect(child.stderr.take().unwrap(), self.is_heard);
        let program = Program {
            child,
            address: String::new(),
            stdout,
            stderr,
            readers: vec![stdout_reader, stderr_reader],
            directory: self.directory,
        };
        (program, lines)
    }

    /// Starts it and waits until it listens.
    pub(crate) fn start(self) -> Program {
        let (mut program, lines) = self.spawn();
        let found = loop {
            let Ok(line) = lines.recv_timeout(PATIENCE) else {
                panic!("it doesn't listen: {}", program.stderr());
            };
            if let Some((_, rest)) = line.split_once("listening on ") {
                let end = rest.find(['"', ' ']).unwrap_or(rest.len());
                break rest[..end].to_owned();
            }
        };
        program.address = found;
        program
    }
}

/// The program at work. It is killed in the end, and no secret may be in what it printed.
pub(crate) struct Program {
    child: Child,
    pub(crate) address: String,
    stdout: Arc<Mutex<String>>,
    stderr: Arc<Mutex<String>>,
    readers: Vec<JoinHandle<()>>,
    directory: TempDir,
}

impl Program {
    pub(crate) fn stdout(&self) -> String {
        self.stdout.lock().unwrap().clone()
    }

    pub(crate) fn stderr(&self) -> String {
        self.stderr.lock().unwrap().clone()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let id = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(id, signal).unwrap();
    }

    /// Waits for its end, and for all that it printed.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let started = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                for reader in self.readers.drain(..) {
                    reader.join().unwrap();
                }
                return status;
            }
            let stderr = self.stderr();
            assert!(started.elapsed() < PATIENCE, "it doesn't end: {stderr}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Ends it with `signal`. What it left stays until the directory is dropped.
    pub(crate) fn end(mut self, signal: Signal) -> TempDir {
        self.signal(signal);
        self.wait();
        std::mem::replace(&mut self.directory, tempfile::tempdir().unwrap())
    }

    /// A connection to it.
    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    pub(crate) async fn call(&self, method: Method, path: &str, body: &[u8]) -> Response {
        let url = format!("http://{}{path}", self.address);
        let request = reqwest::Client::new().request(method, url);
        request.body(body.to_vec()).send().await.unwrap()
    }

    pub(crate) async fn get(&self, path: &str) -> (StatusCode, String) {
        let answer = self.call(Method::GET, path, b"").await;
        (answer.status(), answer.text().await.unwrap())
    }

    /// How a request without credentials is asked for some.
    pub(crate) async fn challenge(&self, path: &str) -> String {
        let answer = self.call(Method::GET, path, b"").await;
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
        answer.headers()["www-authenticate"]
            .to_str()
            .unwrap()
            .to_owned()
    }

    /// Pushes a blob in one request.
    pub(crate) async fn push_blob(&self, repository: &str, content: &[u8]) -> StatusCode {
        let digest = registry_core::Algorithm::Sha256.digest(content);
        let path = format!("/v2/{repository}/blobs/uploads/?digest={digest}");
        self.call(Method::POST, &path, content).await.status()
    }

    /// Pushes a manifest that names a blob with `content`, which it doesn't push.
    pub(crate) async fn push_manifest(
        &self,
        repository: &str,
        tag: &str,
        content: &[u8],
    ) -> StatusCode {
        let path = format!("/v2/{repository}/manifests/{tag}");
        let url = format!("http://{}{path}", self.address);
        let request = reqwest::Client::new().put(url);
        let request = request.header("content-type", "application/vnd.oci.image.manifest.v1+json");
        let request = request.body(manifest(content));
        request.send().await.unwrap().status()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if !std::thread::panicking() {
            for reader in self.readers.drain(..) {
                reader.join().unwrap();
            }
            assert_silent(&self.stderr());
            if !self.address.is_empty() {
                // It served. Elsewhere, this is where a key is shown.
                assert_silent(&self.stdout());
            }
        }
    }
}

/// A manifest of an image that consists of one blob.
pub(crate) fn manifest(content: &[u8]) -> String {
    let digest = registry_core::Algorithm::Sha256.digest(content);
    let length = content.len();
    format!(
        r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{digest}","size":{length}}},"layers":[]}}"#
    )
}

/// Whether there is something at a path.
pub(crate) fn is_there(path: &Path) -> bool {
    path.try_exists().unwrap()
}

/// Waits until `condition` holds.
pub(crate) async fn eventually(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let started = Instant::now();
    while !condition().await {
        assert!(started.elapsed() < PATIENCE, "{what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// What a stream said so far, who reads it, and its lines.
type Collected = (Arc<Mutex<String>>, JoinHandle<()>, Receiver<String>);

fn collect(stream: impl Read + Send + 'static, to_the_end: bool) -> Collected {
    let all = Arc::new(Mutex::new(String::new()));
    let (sender, lines) = channel();
    let collected = Arc::clone(&all);
    let reader = std::thread::spawn(move || {
        let mut stream = BufReader::new(stream);
        for line in stream.by_ref().lines().map_while(Result::ok) {
            let is_last = !to_the_end && line.contains("listening on ");
            {
                let mut all = collected.lock().unwrap();
                all.push_str(&line);
                all.push('\n');
            }
            // Whoever waited for a line may have found it.
            let _ = sender.send(line);
            if is_last {
                // Open, and full in the end.
                std::mem::forget(stream);
                return;
            }
        }
    });
    (all, reader, lines)
}
