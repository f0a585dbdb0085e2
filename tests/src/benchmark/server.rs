//! Servers: running ones, and those that are started and stopped here.

use std::{
    env,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;
use tokio::{
    process::{Child, Command},
    time::{Instant, sleep, timeout},
};

use super::{
    client::{Body, Connection, host_of},
    content::{Blob, digest_of},
    launcher::Known,
    options::{Named, Options, Start},
    push::Sending,
    usage::{self, Usage},
};

/// How long a server may take until it answers.
const START: Duration = Duration::from_mins(2);

/// How long it may take to end.
const STOP: Duration = Duration::from_secs(15);

/// One of the servers that are compared.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) name: String,
    pub(super) version: Option<String>,
    source: Source,
    /// Holds the roots of what is started here.
    data: PathBuf,
    /// What runs now.
    running: Option<Running>,
    /// It asks who is there.
    logins: bool,
}

#[derive(Debug)]
enum Source {
    /// It runs elsewhere.
    Address(String),
    Known {
        known: Known,
        program: PathBuf,
    },
    Command(String),
}

#[derive(Debug)]
struct Running {
    host: String,
    process: Option<Child>,
    directory: Option<TempDir>,
}

/// All servers named on the command line, in that order: first those to start.
pub(super) async fn named(options: &Options) -> Result<Vec<Server>> {
    let mut servers = Vec::new();
    for Start { known, program } in &options.start {
        let program = match program {
            Some(program) => program.clone(),
            None => find(known.program(), options.programs.as_deref())
                .with_context(|| format!("cannot find {}: {}", known.name(), known.where_from()))?,
        };
        servers.push(Server {
            name: known.name().to_owned(),
            version: version(&program, *known).await,
            source: Source::Known {
                known: *known,
                program,
            },
            data: options.data.clone(),
            running: None,
            logins: false,
        });
    }
    for (list, started) in [(&options.launch, true), (&options.server, false)] {
        for Named { name, value } in list {
            servers.push(Server {
                name: name.clone(),
                version: None,
                source: if started {
                    Source::Command(value.clone())
                } else {
                    Source::Address(host_of(value)?)
                },
                data: options.data.clone(),
                running: None,
                logins: false,
            });
        }
    }
    for (index, server) in servers.iter().enumerate() {
        ensure!(
            servers
                .iter()
                .skip(index + 1)
                .all(|other| other.name != server.name),
            "two servers are called {}",
            server.name
        );
    }
    Ok(servers)
}

/// Looks beside this program, then in `first`, then along PATH.
fn find(program: &str, first: Option<&Path>) -> Option<PathBuf> {
    let beside = env::current_exe().ok()?.parent()?.to_owned();
    let path = env::var_os("PATH").unwrap_or_default();
    [Some(beside), first.map(Path::to_owned)]
        .into_iter()
        .flatten()
        .chain(env::split_paths(&path))
        .chain([PathBuf::from("/usr/sbin")])
        .map(|directory| directory.join(program))
        .find(|candidate| candidate.is_file())
}

/// The first word of what the program says about itself that looks like its version.
async fn version(program: &Path, known: Known) -> Option<String> {
    let argument = known.version_argument();
    let output = Command::new(program).arg(argument).output().await.ok()?;
    let text = [output.stdout, output.stderr].concat();
    version_in(&String::from_utf8_lossy(&text), known)
}

fn version_in(text: &str, known: Known) -> Option<String> {
    // zot also tells the time and the version of the specification; only its own begins with a letter.
    let optional = known != Known::Zot;
    text.split(|c: char| c.is_whitespace() || matches!(c, '"' | '/' | ','))
        .find(|word| {
            let number = word.strip_prefix('v').or(optional.then_some(word));
            number.is_some_and(|number| {
                number.starts_with(|c: char| c.is_ascii_digit()) && number.contains('.')
            })
        })
        .map(str::to_owned)
}

impl Server {
    /// Takes part in reads only.
    pub(super) fn serves_files(&self) -> bool {
        matches!(&self.source, Source::Known { known, .. } if known.serves_files())
    }

    /// Can be restarted, and its processor time and memory can be read.
    pub(super) fn is_ours(&self) -> bool {
        !matches!(self.source, Source::Address(_))
    }

    /// The registry of this workspace, started here.
    pub(super) fn is_this_registry(&self) -> bool {
        matches!(&self.source, Source::Known { known, .. } if *known == Known::Registry)
    }

    /// A connection of somebody who may do everything that is measured.
    pub(super) fn connection(&self) -> Result<Connection> {
        let authorization = self.logins.then(super::logins::pusher);
        Ok(Connection::new(&self.host()?).authorized(authorization))
    }

    /// Where it listens now, as `host:port`.
    pub(super) fn host(&self) -> Result<String> {
        let running = self.running.as_ref();
        let host = running.map(|running| running.host.clone());
        host.with_context(|| format!("{} doesn't run", self.name))
    }

    /// Starts it with an empty root, stopping what ran before; gives the time until it answered.
    pub(super) async fn start(&mut self) -> Result<Duration> {
        self.start_with(false).await
    }

    /// The same, with users if it is to ask who is there.
    pub(super) async fn start_with(&mut self, logins: bool) -> Result<Duration> {
        self.stop().await?;
        self.logins = logins;
        let directory = TempDir::with_prefix_in("benchmark-data-", &self.data)
            .with_context(|| format!("cannot create a directory in {}", self.data.display()))?;
        fs::create_dir(directory.path().join("root"))?;
        self.start_in(Some(directory)).await
    }

    /// Starts it again with the root it had; gives the time until it answered.
    pub(super) async fn restart(&mut self) -> Result<Duration> {
        let directory = match &mut self.running {
            Some(running) => {
                end(running.process.as_mut()).await?;
                running.directory.take()
            }
            None => None,
        };
        self.start_in(directory).await
    }

    async fn start_in(&mut self, directory: Option<TempDir>) -> Result<Duration> {
        let (host, command) = match (&self.source, &directory) {
            (Source::Address(host), _) => (host.clone(), None),
            (source, Some(directory)) => {
                // Made absolute because some servers change their directory.
                let path = directory.path().canonicalize()?;
                let port = free_port()?;
                let mut command = command(source, &path, port, self.logins)?;
                command.stdin(Stdio::null());
                let log = File::create(path.join("log"))?;
                command.stdout(log.try_clone()?).stderr(log);
                (format!("127.0.0.1:{port}"), Some(command))
            }
            (_, None) => bail!("{} has no root to start again with", self.name),
        };
        let started = Instant::now();
        let process = match command {
            Some(mut command) => Some(
                command
                    .spawn()
                    .with_context(|| format!("cannot start {}", self.name))?,
            ),
            None => None,
        };
        let running = self.running.insert(Running {
            host,
            process,
            directory,
        });
        running
            .answers(started, if self.logins { 401 } else { 200 })
            .await
            .with_context(|| format!("{} did not start", self.name))
    }

    /// Stops it and removes its root; does nothing to one that runs elsewhere.
    pub(super) async fn stop(&mut self) -> Result<()> {
        if let Some(mut running) = self.running.take() {
            end(running.process.as_mut()).await?;
            if let Some(directory) = running.directory.take() {
                tokio::task::spawn_blocking(move || directory.close()).await??;
            }
        }
        Ok(())
    }

    /// What it has used so far.
    pub(super) fn usage(&self) -> Option<Usage> {
        usage::of_tree(self.process()?)
    }

    /// Lets its peak of memory begin anew.
    pub(super) fn forget_peak(&self) -> Result<()> {
        match self.process() {
            Some(process) => usage::forget_peak(process).context("cannot reset the peak of memory"),
            None => Ok(()),
        }
    }

    fn process(&self) -> Option<u32> {
        self.running.as_ref()?.process.as_ref()?.id()
    }

    /// Gives it a blob by whatever way it takes one.
    pub(super) async fn deposit_blob(&self, repository: &str, blob: &Blob) -> Result<()> {
        if self.serves_files() {
            let blob = blob.clone();
            let path = self.file(repository, "blobs", &blob.digest)?;
            return tokio::task::spawn_blocking(move || {
                let mut file = File::create(path)?;
                for slice in blob.slices(0, blob.size) {
                    io::Write::write_all(&mut file, slice)?;
                }
                Ok(file.sync_all()?)
            })
            .await?;
        }
        let mut connection = self.connection()?;
        connection
            .push_blob(repository, blob, Sending::Whole)
            .await?;
        connection.check_blob(repository, blob).await
    }

    /// Gives it a manifest under a tag and its digest.
    pub(super) async fn deposit_manifest(
        &self,
        repository: &str,
        tag: &str,
        manifest: &[u8],
    ) -> Result<()> {
        if self.serves_files() {
            for reference in [tag, &digest_of(manifest)] {
                fs::write(self.file(repository, "manifests", reference)?, manifest)?;
            }
            return Ok(());
        }
        self.connection()?
            .push_manifest(repository, tag, manifest)
            .await
    }

    /// Where its files are: its configuration, and its root.
    pub(super) fn directory(&self) -> Result<&Path> {
        let running = self.running.as_ref().context("not started")?;
        let directory = running.directory.as_ref().context("it has no files")?;
        Ok(directory.path())
    }

    fn file(&self, repository: &str, kind: &str, name: &str) -> Result<PathBuf> {
        let folder = self
            .directory()?
            .join("root/v2")
            .join(repository)
            .join(kind);
        fs::create_dir_all(&folder)?;
        Ok(folder.join(name))
    }
}

impl Running {
    async fn answers(&mut self, started: Instant, status: u16) -> Result<Duration> {
        let mut connection = Connection::new(&self.host);
        loop {
            let answer = connection.request("GET", "/v2/", &[], Body::None).await;
            match answer {
                Ok(answer) if answer.status == status => return Ok(started.elapsed()),
                Ok(answer) if answer.status < 500 => {
                    bail!("/v2/ answered {} {}", answer.status, answer.text)
                }
                Ok(_) | Err(_) => {}
            }
            if let Some(process) = &mut self.process
                && let Some(status) = process.try_wait()?
            {
                bail!("it ended with {status}: {}", self.last_words());
            }
            ensure!(
                started.elapsed() < START && self.process.is_some(),
                "no answer from {}: {}",
                self.host,
                self.last_words()
            );
            sleep(Duration::from_millis(1)).await;
        }
    }

    fn last_words(&self) -> String {
        let log = self
            .directory
            .as_ref()
            .and_then(|directory| fs::read_to_string(directory.path().join("log")).ok())
            .unwrap_or_default();
        let lines: Vec<&str> = log.lines().rev().take(3).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // After an interruption or an error: asked to end, it also ends its own children.
        if let Some(process) = &self.process {
            terminate(process);
        }
    }
}

fn terminate(process: &Child) {
    let id = process.id().and_then(|id| i32::try_from(id).ok());
    if let Some(id) = id.and_then(rustix::process::Pid::from_raw) {
        // It may have ended by itself.
        let _ = rustix::process::kill_process(id, rustix::process::Signal::TERM);
    }
}

async fn end(process: Option<&mut Child>) -> Result<()> {
    if let Some(process) = process {
        terminate(process);
        if timeout(STOP, process.wait()).await.is_err() {
            process.kill().await?;
        }
    }
    Ok(())
}

fn command(source: &Source, directory: &Path, port: u16, logins: bool) -> Result<Command> {
    match source {
        Source::Known { known, program } => {
            let mut command = Command::new(program);
            command.args(known.arguments(directory, port, logins)?);
            Ok(command)
        }
        Source::Command(line) => {
            let root = directory.join("root");
            let mut words = line.split_whitespace().map(|word| {
                word.replace("{address}", &format!("127.0.0.1:{port}"))
                    .replace("{port}", &port.to_string())
                    .replace("{root}", &root.display().to_string())
            });
            let mut command = Command::new(words.next().context("an empty command")?);
            command.args(words);
            Ok(command)
        }
        Source::Address(_) => bail!("it runs elsewhere"),
    }
}

fn free_port() -> io::Result<u16> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?
        .local_addr()?
        .port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_tell_their_versions_in_different_ways() {
        for (known, text, version) in [
            (
                Known::Docker28,
                "docker-registry github.com/docker/distribution 2.8.2+ds1",
                Some("2.8.2+ds1"),
            ),
            (
                Known::Distribution3,
                "registry github.com/distribution/distribution/v3 v3.1.2+unknown",
                Some("v3.1.2+unknown"),
            ),
            (
                Known::Nginx,
                "nginx version: nginx/1.22.1\n",
                Some("1.22.1"),
            ),
            (
                Known::Zot,
                r#"{"time":"2026-01-01T00:00:00.1Z","spec":"1.1.1","commit":"v2.1.8-0-g1"}"#,
                Some("v2.1.8-0-g1"),
            ),
            (
                Known::Zot,
                r#"{"time":"2026-01-01T00:00:00.1Z","spec":"1.1.1","commit":""}"#,
                None,
            ),
        ] {
            assert_eq!(version_in(text, known).as_deref(), version, "{text}");
        }
    }
}
