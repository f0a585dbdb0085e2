//! What the server says while it runs: messages on standard error, and a line
//! for each request on standard output.

mod access;
mod line;
mod messages;

use std::error::Error;
use std::io::{self, Write};

use tracing::Level;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use self::access::AccessLog;
use self::line::Lines;
use self::messages::Messages;
use registry_examples::configuration::{Log, LogFormat};

/// The target of the events about requests.
const ACCESS: &str = "registry::access";

/// Crates that say a lot about every connection.
const TALKATIVE: &[&str] = &["h2", "hyper", "hyper_util", "rustls"];

/// What has to live as long as the log: it writes what is still to be written
/// when it goes.
#[must_use]
pub(crate) struct Guard {
    // It may have a message about what is missing.
    access: Option<access::Guard>,
    _messages: messages::Guard,
}

impl Guard {
    /// Tells the operator, for ever, of requests that the log lacks.
    pub(crate) fn tell_of_missing(&self) -> impl Future<Output = ()> + Send + use<> {
        let missing = self.access.as_ref().map(access::Guard::missing);
        async {
            if let Some(missing) = missing {
                missing.tell().await;
            }
        }
    }
}

/// Begins to log.
pub(crate) fn install(log: &Log) -> Result<Guard, Box<dyn Error>> {
    let mut filter = Targets::new()
        .with_default(log.level)
        .with_target(ACCESS, LevelFilter::OFF);
    for target in TALKATIVE {
        filter = filter.with_target(*target, log.level.min(Level::WARN));
    }
    let (messages, messages_guard) = Messages::start(Lines::new(log))?;
    let messages = messages.with_filter(filter);
    let (access, guard) = if log.access {
        let (layer, guard) = AccessLog::start(Lines::new(log))?;
        let filter = Targets::new().with_target(ACCESS, Level::INFO);
        (Some(layer.with_filter(filter)), Some(guard))
    } else {
        (None, None)
    };
    tracing_subscriber::registry()
        .with(messages)
        .with(access)
        .try_init()?;
    Ok(Guard {
        access: guard,
        _messages: messages_guard,
    })
}

/// Says on standard error what other programs wait for, whatever is logged.
pub(crate) fn announce(log: &Log, sentence: &str) {
    let line = match log.format {
        LogFormat::Text => format!("{sentence}\n"),
        LogFormat::Json | LogFormat::Logstash => {
            Lines::new(log).message(Level::INFO, "registry", sentence, Vec::new())
        }
    };
    // Nobody is left to tell if standard error is gone.
    let _ = io::stderr().write_all(line.as_bytes());
}
