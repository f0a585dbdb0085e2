//! Messages on standard error.

use std::io::{self, Write};

use serde_json::Value;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::registry::LookupSpan;

use super::line::{Fields, Lines};

/// Writes events with what is known about the request that they belong to.
#[derive(Debug)]
pub(super) struct Messages {
    lines: Lines,
}

impl Messages {
    pub(super) fn new(lines: Lines) -> Self {
        Self { lines }
    }
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
        // Nobody is left to tell if standard error is gone.
        let _ = io::stderr().write_all(line.as_bytes());
    }
}
