//! A line for each request on standard output.
//!
//! A thread of its own writes them. If it can't keep up, lines are dropped and
//! counted, and the operator is told: requests never wait for whoever reads the log.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::Notify;
use tokio::time::Instant;
use tracing::{Event, Level, Subscriber};
use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::layer::{Context, Layer};

use super::line::{Fields, Lines, now};
use registry_examples::configuration::LogFormat;

/// The lines that are missing, among the measurements.
const DROPPED: &str = "registry_access_log_dropped_lines_total";

/// How often the operator is told of missing lines, at most.
const TOLD_EVERY: Duration = Duration::from_mins(1);

/// How many lines may wait to be written.
const WAITING_MAX: usize = 8192;

/// How often measurements are told of missing lines, at most.
const COUNTED_EVERY: Duration = Duration::from_secs(1);

const MISSING: &str = "lines of the access log are missing, since they weren't read fast enough";

/// Names of fields here and in the Docker registry's log.
const NAMES: &[(&str, &str)] = &[
    ("id", "http.request.id"),
    ("method", "http.request.method"),
    ("path", "http.request.uri"),
    ("client", "http.request.remoteaddr"),
    ("user_agent", "http.request.useragent"),
    ("received", "http.request.written"),
    ("status", "http.response.status"),
    ("sent", "http.response.written"),
    ("seconds", "http.response.duration"),
    ("repository", "vars.name"),
    ("reference", "vars.reference"),
    ("actor", "auth.user.name"),
];

/// Writes the events about requests.
#[derive(Debug)]
pub(super) struct AccessLog {
    lines: Lines,
    writer: NonBlocking,
    missing: Arc<Missing>,
}

/// Writes the last lines when it goes, and says how many are missing.
pub(super) struct Guard {
    missing: Arc<Missing>,
    worker: Option<WorkerGuard>,
}

/// The lines that weren't written.
#[derive(Debug)]
pub(super) struct Missing {
    dropped: ErrorCounter,
    /// How many of them were noticed.
    noticed: AtomicUsize,
    more: Notify,
}

impl Missing {
    /// Looks whether there are more.
    fn look(&self) {
        let dropped = self.dropped.dropped_lines();
        if self.noticed.fetch_max(dropped, Ordering::Relaxed) < dropped {
            self.more.notify_one();
        }
    }

    /// Counts them for ever, and tells the operator now and then.
    pub(super) async fn tell(self: Arc<Self>) {
        metrics::describe_counter!(DROPPED, "Lines of the access log that nobody read in time.");
        let counter = metrics::counter!(DROPPED);
        let mut told: Option<Instant> = None;
        loop {
            let dropped = self.dropped.dropped_lines();
            counter.absolute(u64::try_from(dropped).unwrap_or(u64::MAX));
            if dropped > 0 && told.is_none_or(|told| told.elapsed() >= TOLD_EVERY) {
                told = Some(Instant::now());
                tracing::warn!(dropped, "{MISSING}");
            }
            // Not more often than somebody looks.
            tokio::time::sleep(COUNTED_EVERY).await;
            self.more.notified().await;
        }
    }
}

impl AccessLog {
    /// Starts the thread.
    pub(super) fn start(lines: Lines) -> io::Result<(Self, Guard)> {
        let (writer, worker) = NonBlockingBuilder::default()
            .lossy(true)
            .buffered_lines_limit(WAITING_MAX)
            .thread_name("access-log")
            .finish(io::BufWriter::new(standard_output()?));
        let missing = Arc::new(Missing {
            dropped: writer.error_counter(),
            noticed: AtomicUsize::new(0),
            more: Notify::new(),
        });
        let guard = Guard {
            missing: Arc::clone(&missing),
            worker: Some(worker),
        };
        let log = Self {
            lines,
            writer,
            missing,
        };
        Ok((log, guard))
    }

    fn line(&self, mut fields: Fields) -> String {
        if self.lines.format() == LogFormat::Text {
            return combined(&fields);
        }
        // It says nothing about the request.
        let _ = fields.take("message");
        let Fields(fields) = fields;
        let fields = fields.into_iter().map(|(name, value)| {
            let known = NAMES.iter().find(|(ours, _)| *ours == name);
            (known.map_or(name, |(_, theirs)| theirs), value)
        });
        self.lines
            .line(Level::INFO, "response completed", fields.collect())
    }
}

impl Guard {
    /// The lines that are missing, as long as the server runs.
    pub(super) fn missing(&self) -> Arc<Missing> {
        Arc::clone(&self.missing)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        drop(self.worker.take());
        let dropped = self.missing.dropped.dropped_lines();
        if dropped > 0 {
            tracing::warn!(dropped, "{MISSING}");
        }
    }
}

/// Standard output without a buffer of its own, which would be written at the
/// end of every line.
#[cfg(unix)]
fn standard_output() -> io::Result<File> {
    use std::os::fd::AsFd;
    Ok(io::stdout().as_fd().try_clone_to_owned()?.into())
}

#[cfg(windows)]
fn standard_output() -> io::Result<File> {
    use std::os::windows::io::AsHandle;
    Ok(io::stdout().as_handle().try_clone_to_owned()?.into())
}

/// The combined format of web servers. Nothing a client sends ends a field.
fn combined(fields: &Fields) -> String {
    let text = |name| fields.get(name).and_then(Value::as_str).unwrap_or("-");
    let number = |name| fields.get(name).and_then(Value::as_u64).unwrap_or_default();
    let time = now().strftime("%d/%b/%Y:%H:%M:%S +0000");
    let mut line = String::with_capacity(160);
    // Writing to a string doesn't fail.
    let _ = writeln!(
        line,
        "{} - {} [{time}] \"{} {} {}\" {} {} \"-\" \"{}\"",
        text("client"),
        Quoted(text("actor"), true),
        Quoted(text("method"), false),
        Quoted(text("path"), false),
        text("version"),
        number("status"),
        number("sent"),
        Quoted(text("user_agent"), false),
    );
    line
}

/// A text without what ends a field; with `true`, a field without quotes.
struct Quoted<'a>(&'a str, bool);

impl std::fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self(text, is_bare) = self;
        for c in text.chars() {
            match c {
                '"' | '\\' => write!(f, "\\{c}")?,
                ' ' if !is_bare => f.write_char(c)?,
                c if c.is_control() || c.is_whitespace() => {
                    write!(f, "\\x{:02x}", u32::from(c))?;
                }
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

impl<S: Subscriber> Layer<S> for AccessLog {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let line = self.line(fields);
        // A full buffer is counted; another error can't be helped.
        let _ = self.writer.clone().write_all(line.as_bytes());
        self.missing.look();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_what_web_servers_write_and_nothing_ends_a_field_early() {
        let fields = Fields(vec![
            ("method", "GET".into()),
            ("path", "/v2/a\"b".into()),
            ("version", "HTTP/1.1".into()),
            ("status", 200.into()),
            ("sent", 7.into()),
            ("client", "192.0.2.1".into()),
            ("actor", "a b".into()),
            ("user_agent", "x\" y\n".into()),
        ]);
        let line = combined(&fields);
        let (before, rest) = line.split_once(" [").unwrap();
        let (time, after) = rest.split_once("] ").unwrap();
        assert_eq!(before, "192.0.2.1 - a\\x20b");
        assert!(time.ends_with(" +0000"), "{time}");
        assert_eq!(
            after,
            "\"GET /v2/a\\\"b HTTP/1.1\" 200 7 \"-\" \"x\\\" y\\x0a\"\n"
        );
    }
}
