//! What the server is told: by its flags, by the environment, by a
//! configuration file, or by nobody. The first of these that says something
//! decides.

mod address;
mod choice;
mod duration;
mod environment;
mod keys;
mod load;
mod read;
mod tree;
mod validate;
mod yaml;

pub(crate) use self::address::Address;
pub(crate) use self::load::{Sources, load};

use std::path::PathBuf;
use std::time::Duration;

use http::HeaderMap;
use tracing::Level;

use crate::problem::Problem;

/// Everything that can be chosen.
#[derive(Debug)]
pub(crate) struct Configuration {
    pub(crate) log: Log,
    pub(crate) storage: Storage,
    /// How many threads may wait for the disk.
    pub(crate) blocking_threads: usize,
    pub(crate) changes: Changes,
    /// Whether manifests may refer to content that isn't there.
    pub(crate) sparse_manifests: bool,
    pub(crate) upload_expiry: Option<UploadExpiry>,
    pub(crate) password_file: Option<PasswordFile>,
    pub(crate) http: Http,
    pub(crate) debug: Option<Debug>,
    /// Whether the storage belongs to the health of the server.
    pub(crate) storage_health: bool,
    /// Whether a file was read. Without one, the server introduces itself.
    pub(crate) has_file: bool,
    /// What the operator may want to know.
    pub(crate) notes: Vec<Problem>,
}

#[derive(Debug)]
pub(crate) struct Log {
    pub(crate) level: Level,
    pub(crate) format: LogFormat,
    /// What every line says.
    pub(crate) fields: Vec<(String, String)>,
    /// Whether requests are logged.
    pub(crate) access: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LogFormat {
    Text,
    Json,
    Logstash,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Storage {
    Filesystem(PathBuf),
    Memory,
}

/// What may change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Changes {
    /// Nothing: the registry is read-only.
    None,
    /// Pushes are accepted.
    Pushes,
    /// Deletes too.
    All,
}

/// When uploads that nobody finishes are forgotten.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct UploadExpiry {
    /// How long an upload may rest.
    pub(crate) idle: Duration,
    /// How often to look.
    pub(crate) interval: Duration,
}

#[derive(Debug)]
pub(crate) struct PasswordFile {
    pub(crate) realm: String,
    pub(crate) path: PathBuf,
}

#[derive(Debug)]
pub(crate) struct Http {
    pub(crate) address: Address,
    pub(crate) prefix: String,
    pub(crate) host: Option<String>,
    pub(crate) headers: HeaderMap,
    pub(crate) tls: Option<TlsFiles>,
    pub(crate) http2: bool,
    /// How long requests may go on once the server is told to stop.
    pub(crate) drain: Option<Duration>,
    /// The most repositories in one answer.
    pub(crate) max_catalog: Option<usize>,
}

#[derive(Debug)]
pub(crate) struct TlsFiles {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
    /// Whether TLS 1.2 is refused.
    pub(crate) newest_only: bool,
}

/// The listener for those who watch the server.
#[derive(Debug)]
pub(crate) struct Debug {
    pub(crate) address: Address,
    /// The path of the metrics, if there are any.
    pub(crate) metrics: Option<String>,
}
