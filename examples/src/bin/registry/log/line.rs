//! Lines of a log, in the formats of the Docker registry: `key=value` pairs,
//! JSON, or JSON for Logstash.

use std::borrow::Cow;
use std::fmt::{self, Write};

use jiff::Timestamp;
use registry_auth::hide_secrets;
use registry_core::{Clock, SystemClock};
use serde_json::{Map, Value};
use tracing::Level;
use tracing::field::{Field, Visit};

use registry_examples::configuration::{Log, LogFormat};

/// What every line says, in one format or another.
const OWN_NAMES: &[&str] = &["time", "@timestamp", "@version", "level", "msg", "message"];

/// Writes lines in one format.
#[derive(Debug, Clone)]
pub(crate) struct Lines {
    format: LogFormat,
    /// What every line says.
    fields: Vec<(String, String)>,
}

/// The fields of an event, in the order in which they were said.
#[derive(Debug, Default)]
pub(crate) struct Fields(pub(crate) Vec<(&'static str, Value)>);

impl Lines {
    pub(crate) fn new(log: &Log) -> Self {
        Self {
            format: log.format,
            fields: log.fields.clone(),
        }
    }

    pub(crate) fn format(&self) -> LogFormat {
        self.format
    }

    /// A message from a part of the program.
    pub(crate) fn message(
        &self,
        level: Level,
        target: &str,
        message: &str,
        fields: Vec<(&str, Value)>,
    ) -> String {
        let mut all = vec![("source", Value::from(target))];
        all.extend(fields);
        self.line(level, message, all)
    }

    /// A line with its time, level and message.
    pub(crate) fn line(&self, level: Level, message: &str, fields: Vec<(&str, Value)>) -> String {
        let time = format!("{:.3}", now());
        let level = match level {
            Level::ERROR => "error",
            Level::WARN => "warning",
            Level::INFO => "info",
            Level::DEBUG => "debug",
            Level::TRACE => "trace",
        };
        let (time_name, message_name) = match self.format {
            LogFormat::Logstash => ("@timestamp", "message"),
            LogFormat::Text | LogFormat::Json => ("time", "msg"),
        };
        let mut all = vec![
            (time_name, Value::from(time)),
            ("level", Value::from(level)),
            (message_name, Value::from(message)),
        ];
        if self.format == LogFormat::Logstash {
            all.push(("@version", Value::from("1")));
        }
        // In each format the same names are the registry's.
        let mut taken: Vec<&str> = OWN_NAMES.to_vec();
        taken.extend(fields.iter().map(|(name, _)| *name));
        let own: Vec<_> = self
            .fields
            .iter()
            .map(|(name, value)| (beside(name, &taken), value))
            .collect();
        all.extend(
            own.iter()
                .map(|(name, value)| (&**name, Value::from(value.as_str()))),
        );
        all.extend(fields);
        if self.format == LogFormat::Text {
            return pairs(&all);
        }
        let map: Map<_, _> = all
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect();
        format!("{}\n", Value::Object(map))
    }
}

/// The operator's name of a field, or another if that is one of `taken`. It is what
/// the Docker registry makes of it.
fn beside<'a>(name: &'a str, taken: &[&str]) -> Cow<'a, str> {
    if taken.contains(&name) {
        Cow::Owned(format!("fields.{name}"))
    } else {
        Cow::Borrowed(name)
    }
}

/// The time of day.
pub(crate) fn now() -> Timestamp {
    // A clock that far off shows as the beginning of time.
    Timestamp::try_from(SystemClock.now()).unwrap_or_default()
}

fn pairs(fields: &[(&str, Value)]) -> String {
    let mut line = String::with_capacity(128);
    for (name, value) in fields {
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(name);
        line.push('=');
        match value {
            Value::String(text) if is_word(text) => line.push_str(text),
            // JSON's way to quote is a good one: a line stays a line.
            value => drop(write!(line, "{value}")),
        }
    }
    line.push('\n');
    line
}

fn is_word(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._/@^+:".contains(&byte);
    !text.is_empty() && text.bytes().all(is_plain)
}

impl Fields {
    /// Removes a field.
    pub(crate) fn take(&mut self, name: &str) -> Option<Value> {
        let at = self.0.iter().position(|(known, _)| *known == name)?;
        Some(self.0.remove(at).1)
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Value> {
        let mut fields = self.0.iter();
        fields.find_map(|(known, value)| (*known == name).then_some(value))
    }
}

impl Fields {
    /// What is written like a key or token is in no log, whoever said it.
    fn push_text(&mut self, field: &Field, text: &str) {
        self.0.push((field.name(), hide_secrets(text).into()));
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.push_text(field, &format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.push_text(field, value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.0.push((field.name(), value.into()));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.0.push((field.name(), value.into()));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.0.push((field.name(), value.into()));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.0.push((field.name(), value.into()));
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.push_text(field, &crate::problem::sentence(value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(format: LogFormat) -> Lines {
        Lines {
            format,
            fields: vec![("service".into(), "hub".into())],
        }
    }

    #[test]
    fn text_keeps_a_line_a_line() {
        let fields = vec![("path", Value::from("a b\nlevel=error")), ("n", 3.into())];
        let line = lines(LogFormat::Text).message(Level::WARN, "x::y", "it's \"odd\"", fields);
        let (_, rest) = line.split_once(' ').unwrap();
        assert!(line.starts_with("time=2"), "{line}");
        assert_eq!(
            rest,
            "level=warning msg=\"it's \\\"odd\\\"\" service=hub source=x::y \
             path=\"a b\\nlevel=error\" n=3\n"
        );
    }

    #[test]
    fn json_has_the_names_that_collectors_know() {
        for (format, names) in [
            (LogFormat::Json, ["time", "msg"]),
            (LogFormat::Logstash, ["@timestamp", "message"]),
        ] {
            let line = lines(format).message(Level::INFO, "x", "hello", Vec::new());
            let value: Value = serde_json::from_str(&line).unwrap();
            assert!(value[names[0]].as_str().unwrap().ends_with('Z'), "{line}");
            assert_eq!(value[names[1]], "hello");
            assert_eq!(value["level"], "info");
            assert_eq!(value["service"], "hub");
        }
    }
}
