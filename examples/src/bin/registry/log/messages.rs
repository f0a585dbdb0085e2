//! Messages on standard error.
//!
//! A thread of its own writes them: nothing that the server does waits for
//! whoever reads them. If it can't keep up, messages are dropped and counted.

use std::fs::File;
use std::io::{self, Write};

use serde_json::Value;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Subscriber};
use tracing_appender::non_blocking::{NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::registry::LookupSpan;

use super::line::{Fields, Lines};

/// How many messages may wait to be written.
const WAITING_MAX: usize = 8192;

/// Writes events with what is known about the request that they belong to.
#[derive(Debug)]
pub(super) struct Messages {
    lines: Lines,
    writer: NonBlocking,
}

/// Writes the last messages when it goes, and says how many are missing.
pub(super) struct Guard {
    lines: Lines,
    writer: NonBlocking,
    /// Goes last: it waits for what was written before, but not for ever.
    _worker: WorkerGuard,
}

impl Messages {
    /// Starts the thread.
    pub(super) fn start(lines: Lines) -> io::Result<(Self, Guard)> {
        let (writer, worker) = NonBlockingBuilder::default()
            .lossy(true)
            .buffered_lines_limit(WAITING_MAX)
            .thread_name("messages")
            .finish(io::BufWriter::new(standard_error()?));
        let guard = Guard {
            lines: lines.clone(),
            writer: writer.clone(),
            _worker: worker,
        };
        Ok((Self { lines, writer }, guard))
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let dropped = self.writer.error_counter().dropped_lines();
        if dropped > 0 {
            let line = self.lines.message(
                Level::WARN,
                "registry",
                "messages are missing, since they weren't read fast enough",
                vec![("dropped", dropped.into())],
            );
            let _ = self.writer.write_all(line.as_bytes());
        }
    }
}

/// Standard error without the lock that others need for theirs.
#[cfg(unix)]
fn standard_error() -> io::Result<File> {
    use std::os::fd::AsFd;
    Ok(io::stderr().as_fd().try_clone_to_owned()?.into())
}

#[cfg(windows)]
fn standard_error() -> io::Result<File> {
    use std::os::windows::io::AsHandle;
    Ok(io::stderr().as_handle().try_clone_to_owned()?.into())
}

impl<S> Layer<S> for Messages
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if let Some(span) = context.span(id) {
            let mut fields = Fields::default();
            attributes.record(&mut fields);
            span.extensions_mut().insert(fields);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(fields) = span.extensions_mut().get_mut::<Fields>()
        {
            values.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let message = match fields.take("message") {
            Some(Value::String(message)) => message,
            _ => String::new(),
        };
        let Fields(mut fields) = fields;
        for span in context.event_scope(event).into_iter().flatten() {
            if let Some(Fields(of_span)) = span.extensions().get::<Fields>() {
                for (name, value) in of_span {
                    // What is nearer to the event counts.
                    if fields.iter().all(|(known, _)| known != name) {
                        fields.push((*name, value.clone()));
                    }
                }
            }
        }
        let metadata = event.metadata();
        let line = self
            .lines
            .message(*metadata.level(), metadata.target(), &message, fields);
        // A message that finds no room is counted.
        let _ = self.writer.clone().write_all(line.as_bytes());
    }
}
