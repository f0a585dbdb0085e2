//! What the server is told: by its flags, by the environment, by a
//! configuration file, or by nobody. The first of these that says something
//! decides.

mod address;
mod choice;
mod duration;
mod environment;
mod keys;
mod load;
mod problem;
mod read;
mod tree;
mod validate;
mod yaml;

pub use self::address::Address;
pub use self::load::{Examined, Sources, Text, examine, is_one, load, understand};
pub use self::problem::{Origin, Problem};
pub use registry_storage::UploadExpiry;

use std::path::PathBuf;
use std::time::Duration;

use http::header::{HeaderName, HeaderValue};
use registry_auth::jwt::Algorithm;
use registry_auth::{CertificateName, GuardLimits, RateLimits, SigningAlgorithm};
use registry_http::{ClientAuth, IpNet};
use registry_storage::EngineOptions;
use tracing::Level;

/// A value and where it was said, for what only shows once it is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said<T> {
    /// What was said.
    pub value: T,
    /// Where.
    pub origin: Origin,
}

/// Everything that can be chosen.
#[derive(Debug)]
pub struct Configuration {
    /// What is logged, and how.
    pub log: Log,
    /// Where the data is kept.
    pub storage: Storage,
    /// How many threads may wait for the disk.
    pub blocking_threads: usize,
    /// What clients may change.
    pub changes: Changes,
    /// What the registry accepts, and how sure it makes of what it serves.
    pub engine: EngineOptions,
    /// When unfinished uploads are forgotten, if ever.
    pub upload_expiry: Option<UploadExpiry>,
    /// Who gets in, and what for.
    pub auth: Auth,
    /// How clients reach it.
    pub http: Http,
    /// Where those who watch it reach it, if anywhere.
    pub debug: Option<Debug>,
    /// Whether the storage belongs to the health of the server.
    pub storage_health: bool,
    /// Whether a file was read. Without one, the server introduces itself.
    pub has_file: bool,
    /// What the operator may want to know.
    pub notes: Vec<Problem>,
}

/// What is logged.
#[derive(Debug)]
pub struct Log {
    /// The least important of what is logged.
    pub level: Level,
    /// How a line is written.
    pub format: LogFormat,
    /// What every line says.
    pub fields: Vec<(String, String)>,
    /// Whether requests are logged.
    pub access: bool,
}

/// How lines of the log are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// As people read it.
    Text,
    /// As JSON.
    Json,
    /// As JSON with the names that Logstash expects.
    Logstash,
}

/// Where data is kept.
#[derive(Debug, PartialEq, Eq)]
pub enum Storage {
    /// In this directory.
    Filesystem(PathBuf),
    /// In memory, until the server ends.
    Memory,
}

/// What may change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Changes {
    /// Nothing: the registry is read-only.
    None,
    /// Pushes are accepted.
    Pushes,
    /// Deletes too.
    All,
}

/// Who gets in, and what for: everybody for everything, unless something here
/// says otherwise.
#[derive(Debug)]
pub struct Auth {
    /// Who may log in with a password.
    pub password_file: Option<PasswordFile>,
    /// The service whose tokens are taken.
    pub issuer: Option<TokenService>,
    /// What a client's certificate calls its holder, if that is a login.
    pub certificate_name: Option<CertificateName>,
    /// The directory of users.
    pub directory: Option<Directory>,
    /// The systems that vouch for the programs which they run.
    pub workloads: Vec<WorkloadIssuer>,
    /// What rules may call such systems, unless a key that isn't known may say more.
    pub issuers: Option<Vec<String>>,
    /// Whether robots and users have keys.
    pub keys: bool,
    /// What each may do; without it, whoever is logged in may do everything with
    /// content.
    pub policy_file: Option<Said<PathBuf>>,
    /// Tokens in place of passwords.
    pub tokens: Option<Tokens>,
    /// A service that has a say in each decision.
    pub webhook: Option<DecisionService>,
    /// How many requests are taken.
    pub rates: RateLimits,
    /// How many wrong passwords are.
    pub guesses: GuardLimits,
}

impl Auth {
    /// Whether somebody may be there who manages something, if only its own keys.
    pub fn is_managed(&self) -> bool {
        self.keys || self.policy_file.is_some()
    }

    /// Whether nobody but the password file has users.
    pub fn has_no_other_users(&self) -> bool {
        self.directory.is_none() && self.certificate_name.is_none() && self.issuer.is_none()
    }

    /// Whether anybody can log in.
    pub fn has_logins(&self) -> bool {
        self.password_file.is_some()
            || self.issuer.is_some()
            || self.certificate_name.is_some()
            || self.directory.is_some()
            || !self.workloads.is_empty()
            || self.keys
    }
}

/// A directory of users.
#[derive(Debug)]
pub struct Directory {
    /// Where it is.
    pub url: Said<String>,
    /// Whether it is asked for TLS first.
    pub start_tls: bool,
    /// The certificates of those who vouch for it, in place of those that the
    /// system trusts.
    pub certificates: Option<Said<PathBuf>>,
    /// Who searches, and the file of the password; nobody in particular without.
    pub searcher: Option<(String, Said<PathBuf>)>,
    /// The entry below which users are.
    pub base: String,
    /// Which entries are users.
    pub filter: Option<String>,
    /// What in an entry its user is called by.
    pub name_attribute: Option<String>,
    /// Where groups are, if users have any.
    pub groups: Option<DirectoryGroups>,
}

/// The groups of a directory.
#[derive(Debug)]
pub struct DirectoryGroups {
    /// The entry below which they are.
    pub base: String,
    /// Which are those of a user.
    pub filter: String,
    /// What they are called by.
    pub attribute: String,
}

/// Another service that gives out tokens.
#[derive(Debug)]
pub struct TokenService {
    /// Where clients ask for them.
    pub realm: Said<String>,
    /// Whether that is a path of whatever host clients ask, in place of a URL.
    pub beside: bool,
    /// What they are for.
    pub service: String,
    /// Who gives them out.
    pub issuer: String,
    /// The certificates of its keys.
    pub certificates: Option<Said<PathBuf>>,
    /// Its keys: a file, or the address of one.
    pub keys: Option<Said<KeySource>>,
    /// How they may be signed; in every way that is safe if none is named.
    pub algorithms: Vec<Algorithm>,
}

/// Where the keys of an issuer are.
#[derive(Debug)]
pub enum KeySource {
    /// In a file.
    File(PathBuf),
    /// At a URL.
    Url(String),
}

/// A system that vouches for the programs which it runs.
#[derive(Debug)]
pub struct WorkloadIssuer {
    /// What rules call it, said where the section begins.
    pub name: Said<String>,
    /// What it calls itself.
    pub issuer: Said<String>,
    /// Whom its tokens are for: this registry.
    pub audience: Said<String>,
    /// Its keys, if they aren't where it says.
    pub keys: Option<Said<KeySource>>,
}

/// A service that has a say in each decision.
#[derive(Debug)]
pub struct DecisionService {
    /// Where it is asked.
    pub url: Said<String>,
    /// The file of the secret that signs the questions.
    pub secret_file: Option<Said<PathBuf>>,
    /// How long it may think.
    pub timeout: Option<Said<Duration>>,
    /// How long its answers are good.
    pub remember: Option<Said<Duration>>,
}

/// The server's own tokens.
#[derive(Debug)]
pub struct Tokens {
    /// Where clients ask for them, if it can't be told from their requests.
    pub realm: Option<Said<String>>,
    /// What they are for.
    pub service: Option<String>,
    /// Who gives them out, if it isn't called like the service.
    pub issuer: Option<String>,
    /// How long they are good.
    pub lifetime: Option<Said<Duration>>,
    /// How long what gets others without a password is good after a login.
    pub refresh_lifetime: Option<Said<Duration>>,
    /// The directory of the keys that sign them, if it isn't below the data.
    pub keys: Option<Said<PathBuf>>,
    /// What new keys are for.
    pub algorithm: SigningAlgorithm,
}

/// A file of users and their hashed passwords.
#[derive(Debug)]
pub struct PasswordFile {
    /// What clients are told they log in to.
    pub realm: Said<String>,
    /// Where the file is.
    pub path: Said<PathBuf>,
}

/// The listener for clients.
#[derive(Debug)]
pub struct Http {
    /// Where to listen.
    pub address: Said<Address>,
    /// The path that all of it is under, or nothing.
    pub prefix: String,
    /// What the registry is called by its clients, if it has to be said.
    pub host: Option<Said<String>>,
    /// What every answer carries.
    pub headers: Vec<Said<(HeaderName, HeaderValue)>>,
    /// The networks of the proxies that are believed whom they ask for.
    pub trusted_proxies: Vec<Said<IpNet>>,
    /// The certificate; without one, it speaks plain HTTP.
    pub tls: Option<TlsOptions>,
    /// Whether plain HTTP is also for others than this machine.
    pub plaintext: bool,
    /// Whether HTTP/2 is spoken.
    pub http2: bool,
    /// How long requests may go on once the server is told to stop.
    pub drain: Option<Duration>,
    /// The most repositories in one answer.
    pub max_catalog: Option<usize>,
    /// What clients may hold and send.
    pub limits: HttpLimits,
}

/// How much clients may hold and send, where that isn't as it is by default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HttpLimits {
    /// The most blobs on their way in.
    pub uploads: Option<usize>,
    /// The most blobs on their way out.
    pub downloads: Option<usize>,
    /// The most other requests in progress.
    pub requests: Option<usize>,
    /// How many times as many places as are free one address may hold; all of them
    /// with 0.
    pub address_share: Option<u32>,
    /// The most open connections.
    pub connections: Option<usize>,
    /// The most from one address.
    pub address_connections: Option<usize>,
    /// The largest blob.
    pub blob_bytes: Option<u64>,
    /// The largest manifest.
    pub manifest_bytes: Option<usize>,
}

/// How TLS is spoken.
#[derive(Debug)]
pub struct TlsOptions {
    /// Where the certificate comes from.
    pub certificate: CertificateSource,
    /// Whether TLS 1.2 is refused.
    pub newest_only: bool,
    /// Those who vouch for clients; without any, clients need no certificates.
    pub client_authorities: Vec<Said<PathBuf>>,
    /// Whether clients need one, if somebody vouches for them.
    pub client_auth: ClientAuth,
}

impl TlsOptions {
    /// Whether only clients come in for whom somebody vouches.
    pub fn requires_certificates(&self) -> bool {
        !self.client_authorities.is_empty() && self.client_auth == ClientAuth::Required
    }
}

/// Where a certificate comes from.
#[derive(Debug)]
pub enum CertificateSource {
    /// From files.
    Files {
        /// The certificate and those that vouch for it.
        certificate: Said<PathBuf>,
        /// Its private key.
        key: Said<PathBuf>,
    },
    /// From Let's Encrypt, or another such server.
    LetsEncrypt(LetsEncrypt),
}

/// What there is to tell such a server.
#[derive(Debug)]
pub struct LetsEncrypt {
    /// The directory where accounts and certificates are kept.
    pub cache: Said<PathBuf>,
    /// Where it may write to.
    pub email: Option<String>,
    /// What the certificate is for.
    pub hosts: Vec<String>,
    /// Which server that is, if it isn't Let's Encrypt's.
    pub directory: Option<String>,
}

/// The listener for those who watch the server.
#[derive(Debug)]
pub struct Debug {
    /// Where to listen.
    pub address: Address,
    /// The path of the metrics, if there are any.
    pub metrics: Option<String>,
}
