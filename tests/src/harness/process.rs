//! A child process whose standard error is collected and can be waited on.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

/// A running program that is stopped when dropped: with SIGKILL, or first with SIGTERM if it was [given time](Self::grace).
///
/// The lines of its standard error are the only thing a test waits for: a line that says it is ready, and the end of
/// the stream, which says it has gone. Nothing polls.
#[derive(Debug)]
pub struct Process {
    child: Child,
    name: String,
    lines: Receiver<String>,
    log: String,
    gone: bool,
    grace: Option<Duration>,
}

impl Process {
    /// Starts `command` with no standard input and its standard error collected.
    pub fn spawn(command: &mut Command) -> Self {
        let name = command.get_program().to_string_lossy().into_owned();
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {name}: {error}"));
        let stderr = child.stderr.take().expect("standard error is piped");
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).split(b'\n').map_while(Result::ok) {
                if sender
                    .send(String::from_utf8_lossy(&line).into_owned())
                    .is_err()
                {
                    break;
                }
            }
        });
        Self {
            child,
            name,
            lines,
            log: String::new(),
            gone: false,
            grace: None,
        }
    }

    /// Lets it end by itself when dropped, for programs with children of their own.
    #[must_use]
    pub fn grace(mut self, limit: Duration) -> Self {
        self.grace = Some(limit);
        self
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until `found` accepts a line of standard error, at most `limit` from one line to the next.
    ///
    /// # Panics
    /// When the program ends or falls silent before that; the message holds what it printed.
    pub fn wait_for<T>(
        &mut self,
        what: &str,
        limit: Duration,
        found: impl Fn(&str) -> Option<T>,
    ) -> T {
        self.find(what, limit, found).unwrap_or_else(|| {
            panic!(
                "{} ended before it printed {what}:\n{}",
                self.name, self.log
            )
        })
    }

    /// Waits like [`wait_for`](Self::wait_for), and returns nothing if the program ends before that.
    ///
    /// # Panics
    /// When the program falls silent before that; the message holds what it printed.
    pub fn find<T>(
        &mut self,
        what: &str,
        limit: Duration,
        found: impl Fn(&str) -> Option<T>,
    ) -> Option<T> {
        loop {
            match self.lines.recv_timeout(limit) {
                Ok(line) => {
                    let hit = found(&line);
                    self.keep(&line);
                    if hit.is_some() {
                        return hit;
                    }
                }
                Err(RecvTimeoutError::Timeout) => {
                    panic!(
                        "{} did not print {what} within {limit:?}:\n{}",
                        self.name, self.log
                    )
                }
                Err(RecvTimeoutError::Disconnected) => return None,
            }
        }
    }

    /// Whether it has been waited for.
    pub fn has_gone(&self) -> bool {
        self.gone
    }

    /// Everything it has printed to standard error so far.
    pub fn log(&mut self) -> &str {
        while let Ok(line) = self.lines.try_recv() {
            self.keep(&line);
        }
        &self.log
    }

    /// Sends a signal. A process that has already been waited for is left alone.
    pub fn signal(&mut self, signal: Signal) {
        if !self.gone {
            let pid = i32::try_from(self.child.id())
                .ok()
                .and_then(Pid::from_raw)
                .expect("a process id");
            kill_process(pid, signal)
                .unwrap_or_else(|error| panic!("cannot signal {}: {error}", self.name));
        }
    }

    /// Waits until it has closed its standard error and ended.
    ///
    /// # Panics
    /// When it prints nothing for `limit` and is still there.
    pub fn wait(&mut self, limit: Duration) -> ExitStatus {
        loop {
            match self.lines.recv_timeout(limit) {
                Ok(line) => self.keep(&line),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {
                    panic!("{} did not end within {limit:?}:\n{}", self.name, self.log)
                }
            }
        }
        self.gone = true;
        self.child
            .wait()
            .unwrap_or_else(|error| panic!("cannot wait for {}: {error}", self.name))
    }

    fn keep(&mut self, line: &str) {
        self.log.push_str(line);
        self.log.push('\n');
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // The test is over, whichever way: what matters is that nothing keeps running, not how it ends.
        if self.gone {
            return;
        }
        if let Some(limit) = self.grace {
            self.signal(Signal::TERM);
            while self.lines.recv_timeout(limit).is_ok() {}
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
