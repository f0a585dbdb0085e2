//! From keys to what they mean, with the Docker registry's defaults if there
//! is a file, and with friendlier ones if there is none.

mod auth;

use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use http::header::{HeaderName, HeaderValue};
use registry_http::{ClientAuth, IpNet};
use registry_storage::EngineOptions;
use tracing::Level;

use super::keys::CERTIFICATE_IF_GIVEN;
use super::problem::{Origin, Problem};
use super::tree::{Entry, Node, Value};
use super::{
    Address, CertificateSource, Changes, Configuration, Debug, Http, HttpLimits, LetsEncrypt, Log,
    LogFormat, Said, Storage, TlsOptions, UploadExpiry, choice, duration, keys, validate,
};

/// Where the Docker registry keeps its data.
const DOCKER_ROOT: &str = "/var/lib/registry";

/// Where data is kept if nobody says otherwise.
const ROOT: &str = "registry-data";

const ROOT_KEY: &str = "storage.filesystem.rootdirectory";

const PORT: u16 = 5000;

/// How many threads wait for the disk unless told otherwise: enough to keep it
/// busy, few enough to take little memory.
const BLOCKING_THREADS: u64 = 64;

/// What the listener for watchers has besides metrics.
const PAGES: &[&str] = &["/livez", "/readyz", "/debug/health"];

/// What the command line says.
#[derive(Debug, Default)]
pub(crate) struct Flags {
    pub(crate) address: Option<String>,
    pub(crate) root: Option<PathBuf>,
    pub(crate) plaintext: bool,
}

/// Reads a tree that holds only known keys with values of their kind; others
/// count as absent, since they were reported before. What has a problem is left at
/// something harmless, so that the rest can be looked at: nobody serves it.
pub(crate) fn read(
    tree: &Node,
    has_file: bool,
    flags: Flags,
    notes: Vec<Problem>,
    problems: &mut Vec<Problem>,
) -> Configuration {
    let mut reader = Reader {
        tree,
        has_file,
        problems,
    };
    let storage = reader.storage(flags.root);
    let changes = if reader.is("storage.maintenance.readonly.enabled", false) {
        Changes::None
    } else if reader.is("storage.delete.enabled", !reader.has_file) {
        Changes::All
    } else {
        Changes::Pushes
    };
    let address = reader.address(flags.address);
    let is_known = address.is_some();
    let http = reader.http(address, flags.plaintext);
    let debug = reader.debug(is_known.then_some(&http));
    Configuration {
        log: reader.log(),
        upload_expiry: reader.upload_expiry().filter(|_| changes != Changes::None),
        auth: reader.auth(),
        debug,
        blocking_threads: reader.number("storage.filesystem.maxthreads", BLOCKING_THREADS),
        engine: EngineOptions::default()
            .sparse_manifests(reader.is("validation.manifests.sparse", false))
            .exact_sizes(reader.is("validation.manifests.exactsizes", false))
            .verify_reads(reader.is("storage.verifyreads", false)),
        storage_health: reader.is("health.storagedriver.enabled", true),
        changes,
        storage: storage.unwrap_or(Storage::Memory),
        http,
        has_file,
        notes,
    }
}

struct Reader<'a> {
    tree: &'a Node,
    has_file: bool,
    problems: &'a mut Vec<Problem>,
}

impl<'a> Reader<'a> {
    /// The texts at `path`. One may stand without a list around it.
    fn items(&self, path: &str) -> &'a [Node] {
        let node = self.tree.at(path);
        match node.map(|node| &node.value) {
            Some(Value::List(items)) => items,
            _ => node.map(std::slice::from_ref).unwrap_or_default(),
        }
    }
}

impl Reader<'_> {
    fn text(&self, path: &str) -> Option<&str> {
        self.tree.at(path)?.text()
    }

    fn is(&self, path: &str, default: bool) -> bool {
        let said = self.text(path).and_then(validate::flag);
        said.unwrap_or(default)
    }

    fn number(&self, path: &str, default: u64) -> usize {
        let said = self.text(path).and_then(|text| text.parse().ok());
        usize::try_from(said.unwrap_or(default)).unwrap_or(usize::MAX)
    }

    fn time(&self, path: &str) -> Option<Duration> {
        duration::parse(self.text(path)?).ok()
    }

    /// The value at `path` as `T`, or a problem where it was said.
    fn parsed<T: FromStr<Err = String>>(&mut self, path: &str) -> Option<T> {
        let node = self.tree.at(path)?;
        match node.text()?.parse() {
            Ok(value) => Some(value),
            Err(message) => {
                self.problems.push(node.origin.problem(message));
                None
            }
        }
    }

    /// The text at `path`, with its place.
    fn said(&self, path: &str) -> Option<Said<String>> {
        let node = self.tree.at(path)?;
        Some(Said {
            value: node.text()?.to_owned(),
            origin: node.origin.clone(),
        })
    }

    /// A text that has to be said, since `section` was.
    fn required(&mut self, section: &str, name: &str) -> Option<Said<String>> {
        if let Some(said) = self.said(&format!("{section}.{name}")) {
            return Some(said);
        }
        let origin = self.origin_of(section)?;
        if !self.is_misspelt(section, name) {
            self.problems
                .push(origin.problem(format!("`{section}` needs `{name}`")));
        }
        None
    }

    /// Whether a key that isn't known may be meant as `name` in this section, or in the
    /// whole document: that was reported, and is no lack of it.
    fn is_misspelt(&self, section: &str, name: &str) -> bool {
        let entries = self.unknown_in(section);
        entries.into_iter().any(|entry| keys::is_near(entry, name))
    }

    /// The keys of a section, or of the whole document, that aren't known.
    fn unknown_in(&self, section: &str) -> Vec<&str> {
        let node = match section {
            "" => Some(self.tree),
            _ => self.tree.at(section),
        };
        let names = node.map(Node::entries).unwrap_or_default().iter();
        names
            .map(|entry| entry.name.as_str())
            .filter(|name| keys::find_in(section, name).is_none())
            .collect()
    }

    fn origin_of(&self, path: &str) -> Option<Origin> {
        let (section, name) = path.rsplit_once('.')?;
        Some(self.tree.at(section)?.entry(name)?.origin.clone())
    }

    fn log(&self) -> Log {
        let level = self.text("log.level").or_else(|| self.text("loglevel"));
        let fields = self.tree.at("log.fields").map(Node::entries);
        Log {
            level: match level.map(str::to_ascii_lowercase).as_deref() {
                Some("panic" | "fatal" | "error") => Level::ERROR,
                Some("warn" | "warning") => Level::WARN,
                Some("debug") => Level::DEBUG,
                Some("trace") => Level::TRACE,
                _ => Level::INFO,
            },
            format: match self.text("log.formatter") {
                Some("json") => LogFormat::Json,
                Some("logstash") => LogFormat::Logstash,
                _ => LogFormat::Text,
            },
            fields: fields
                .unwrap_or_default()
                .iter()
                .map(|entry| {
                    let value = entry.node.text().unwrap_or_default();
                    (entry.name.clone(), value.to_owned())
                })
                .collect(),
            access: !self.is("log.accesslog.disabled", false),
        }
    }

    fn storage(&mut self, root: Option<PathBuf>) -> Option<Storage> {
        let chosen = match choice::chosen(self.tree, "storage") {
            Ok(chosen) => chosen,
            Err(problem) => {
                self.problems.push(problem);
                return None;
            }
        };
        if self.text(ROOT_KEY) == Some("")
            && let Some(origin) = self.origin_of(ROOT_KEY)
        {
            let sentence = format!("`{ROOT_KEY}` is empty; name a directory");
            self.problems.push(origin.problem(sentence));
            return None;
        }
        let said = self.text(ROOT_KEY);
        let said = root.or_else(|| said.map(PathBuf::from));
        match (chosen, said) {
            // The flag asks for a directory.
            (_, Some(root)) => Some(Storage::Filesystem(root)),
            (Some("inmemory"), None) => Some(Storage::Memory),
            (Some(_), None) => Some(Storage::Filesystem(DOCKER_ROOT.into())),
            (None, None)
                if !self.unknown_in("storage").is_empty() || self.is_misspelt("", "storage") =>
            {
                None
            }
            (None, None) if self.has_file => {
                self.problems.push(self.tree.origin.problem(
                    "`storage` is missing; say where to keep the data with \
                     `storage.filesystem.rootdirectory`",
                ));
                None
            }
            (None, None) => Some(Storage::Filesystem(ROOT.into())),
        }
    }

    fn upload_expiry(&mut self) -> Option<UploadExpiry> {
        const SECTION: &str = "storage.maintenance.uploadpurging";
        if let Some(node) = self.tree.at(&format!("{SECTION}.dryrun"))
            && self.is(&format!("{SECTION}.dryrun"), false)
        {
            self.problems.push(node.origin.problem(format!(
                "`{SECTION}.dryrun` exists in the Docker registry and isn't supported by this \
                 version; set `{SECTION}.enabled: false` to keep unfinished uploads"
            )));
        }
        let day = Duration::from_hours(24);
        let week = Duration::from_hours(7 * 24);
        let interval = self.time(&format!("{SECTION}.interval")).unwrap_or(day);
        self.is(&format!("{SECTION}.enabled"), true).then(|| {
            UploadExpiry::default()
                .idle(self.time(&format!("{SECTION}.age")).unwrap_or(week))
                // Looking all the time would be all that is done.
                .interval(interval.max(Duration::from_secs(1)))
        })
    }

    fn http(&mut self, address: Option<Said<Address>>, plaintext: bool) -> Http {
        let tls = self.tls();
        let plain_http2 = self.is("http.h2c.enabled", !self.has_file);
        Http {
            address: address.unwrap_or_else(|| Said {
                value: Address::new("127.0.0.1", PORT),
                origin: self.tree.origin.clone(),
            }),
            prefix: self.text("http.prefix").unwrap_or_default().to_owned(),
            host: self.said("http.host"),
            headers: self.headers(),
            trusted_proxies: self.trusted_proxies(),
            http2: !self.is("http.http2.disabled", false) && (tls.is_some() || plain_http2),
            tls,
            plaintext: plaintext || self.is("http.plaintext", false),
            drain: self.time("http.draintimeout"),
            limits: self.limits(),
            max_catalog: self
                .text("catalog.maxentries")
                .and_then(|text| text.parse().ok())
                // As in the Docker registry, none would be a list of nothing.
                .filter(|most| *most > 0),
        }
    }

    /// Numbers out of bounds were reported before.
    fn limits(&self) -> HttpLimits {
        HttpLimits {
            uploads: self.limit("uploads"),
            downloads: self.limit("downloads"),
            requests: self.limit("requests"),
            address_share: self.limit("addressshare"),
            connections: self.limit("connections"),
            address_connections: self.limit("addressconnections"),
            blob_bytes: self.limit("blobbytes"),
            manifest_bytes: self.limit("manifestbytes"),
        }
    }

    fn limit<T: FromStr>(&self, name: &str) -> Option<T> {
        self.text(&format!("http.limits.{name}"))?.parse().ok()
    }

    /// Where to listen: what the flag says goes before what the keys say.
    fn address(&mut self, flag: Option<String>) -> Option<Said<Address>> {
        let said = match flag {
            Some(value) => Some(Said {
                value,
                origin: Origin::Flag("--addr"),
            }),
            None => self.said("http.addr"),
        };
        let Some(Said { value, origin }) = said else {
            let value = if self.has_file {
                Address::everywhere(PORT)
            } else {
                Address::new("127.0.0.1", PORT)
            };
            // Nothing says it: where it could be said, or else the file as a whole.
            let section = self.tree.entry("http").map(|entry| &entry.origin);
            let origin = match (section, &self.tree.origin) {
                (Some(line @ Origin::Line { .. }), _) => line.clone(),
                (_, Origin::Line { file, .. }) => Origin::File(Arc::clone(file)),
                (_, origin) => origin.clone(),
            };
            return Some(Said { value, origin });
        };
        match value.parse() {
            Ok(value) => Some(Said { value, origin }),
            Err(message) => {
                self.problems.push(origin.problem(message));
                None
            }
        }
    }

    fn tls(&mut self) -> Option<TlsOptions> {
        const SECTION: &str = "http.tls";
        let has = |name| self.tree.at(&format!("{SECTION}.{name}")).is_some();
        let has_files = has("certificate") || has("key");
        let has_more = ["clientcas", "clientauth", "minimumtls"].map(has);
        let has_more = has_more.contains(&true);
        let letsencrypt = self.origin_of("http.tls.letsencrypt");
        // For want of a certificate, whom nobody vouches for mustn't come in, nor who
        // doesn't speak TLS at all.
        let certificate = match letsencrypt {
            None if !has_files && !has_more => return None,
            None => {
                let certificate = self.required(SECTION, "certificate");
                let key = self.required(SECTION, "key");
                CertificateSource::Files {
                    certificate: certificate?.into_path(),
                    key: key?.into_path(),
                }
            }
            Some(origin) if has_files => {
                self.problems.push(origin.problem(
                    "there is a certificate already, in `http.tls.certificate`; leave out one of \
                     the two",
                ));
                return None;
            }
            Some(origin) => CertificateSource::LetsEncrypt(self.letsencrypt(&origin)?),
        };
        Some(TlsOptions {
            certificate,
            newest_only: self.text("http.tls.minimumtls") == Some("tls1.3"),
            client_authorities: self.client_authorities(),
            client_auth: match self.text("http.tls.clientauth") {
                Some(CERTIFICATE_IF_GIVEN) => ClientAuth::Optional,
                _ => ClientAuth::Required,
            },
        })
    }

    fn letsencrypt(&mut self, origin: &Origin) -> Option<LetsEncrypt> {
        const SECTION: &str = "http.tls.letsencrypt";
        let cache = self.required(SECTION, "cachefile");
        let hosts: Vec<_> = self
            .items("http.tls.letsencrypt.hosts")
            .iter()
            .filter_map(|item| item.text().map(str::to_owned))
            .collect();
        if hosts.is_empty() {
            // Whoever comes by would order certificates for names of its choice.
            self.problems
                .push(origin.problem(format!("`{SECTION}` needs `hosts`, what clients call it")));
            return None;
        }
        let text = |name| {
            self.said(&format!("{SECTION}.{name}"))
                .map(|said| said.value)
        };
        Some(LetsEncrypt {
            email: text("email"),
            directory: text("directoryurl"),
            cache: cache?.into_path(),
            hosts,
        })
    }

    fn client_authorities(&mut self) -> Vec<Said<PathBuf>> {
        let files: Vec<_> = self
            .items("http.tls.clientcas")
            .iter()
            .filter_map(|item| {
                let value = item.text()?.into();
                let origin = item.origin.clone();
                Some(Said { value, origin })
            })
            .collect();
        if files.is_empty()
            && let Some(origin) = self.origin_of("http.tls.clientauth")
        {
            self.problems.push(origin.problem(
                "`http.tls.clientauth` needs `http.tls.clientcas`, the certificates of those who \
                 vouch for clients",
            ));
        }
        files
    }

    fn trusted_proxies(&mut self) -> Vec<Said<IpNet>> {
        let mut networks = Vec::new();
        for item in self.items("http.trustedproxies") {
            let text = item.text().unwrap_or_default();
            // An address alone is a network of one.
            let network = text.parse::<IpNet>().ok();
            match network.or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from)) {
                // Everybody would choose the address that counts.
                Some(network) if network.prefix_len() == 0 => {
                    self.problems.push(item.origin.problem(format!(
                        "`{text}` is everybody; name the networks of the proxies"
                    )));
                }
                Some(value) => networks.push(Said {
                    value,
                    origin: item.origin.clone(),
                }),
                None => self.problems.push(item.origin.problem(format!(
                    "`{text}` is no network; write one such as 10.0.0.0/8 or fd00::/8"
                ))),
            }
        }
        networks
    }

    fn headers(&mut self) -> Vec<Said<(HeaderName, HeaderValue)>> {
        let mut headers = Vec::new();
        let entries = self.tree.at("http.headers").map(Node::entries);
        for entry in entries.unwrap_or_default() {
            if let Err(message) = header(entry, &mut headers) {
                self.problems.push(entry.origin.problem(message));
            }
        }
        headers
    }

    fn metrics_path(&mut self) -> String {
        const PATH: &str = "http.debug.prometheus.path";
        let Some(said) = self.said(PATH) else {
            return "/metrics".to_owned();
        };
        let path = said.value;
        let is_plain = |byte: u8| byte.is_ascii_graphic() && !b"?#%".contains(&byte);
        let wrong = if !path.starts_with('/') {
            Some(format!("write `/{path}`"))
        } else if !path.bytes().all(is_plain) {
            Some("it takes a path without a query, such as `/metrics`".to_owned())
        } else if PAGES.contains(&path.as_str()) {
            Some("there is another page; choose another path".to_owned())
        } else {
            None
        };
        if let Some(advice) = wrong {
            let message = format!("`{PATH}` can't be `{path}`; {advice}");
            self.problems.push(said.origin.problem(message));
        }
        path
    }

    /// The listener for watchers, which isn't that of `http`.
    fn debug(&mut self, http: Option<&Http>) -> Option<Debug> {
        const ADDRESS: &str = "http.debug.addr";
        let path = self.metrics_path();
        let enabled = self.is("http.debug.prometheus.enabled", false);
        if enabled && self.text(ADDRESS).is_none() {
            let origin = self.origin_of("http.debug.prometheus.enabled")?;
            self.problems.push(origin.problem(
                "`http.debug.prometheus` needs `http.debug.addr`, the address to show metrics on",
            ));
        }
        let address: Address = self.parsed(ADDRESS)?;
        if let (Some(http), Some(origin)) = (http, self.origin_of(ADDRESS))
            && address.overlaps(&http.address.value)
        {
            self.problems.push(origin.problem(format!(
                "`{ADDRESS}` can't be {address}, since clients are served on {}; choose another \
                 port",
                http.address.value
            )));
        }
        Some(Debug {
            address,
            metrics: enabled.then_some(path),
        })
    }
}

impl Said<String> {
    fn into_path(self) -> Said<PathBuf> {
        Said {
            value: self.value.into(),
            origin: self.origin,
        }
    }
}

fn header(entry: &Entry, headers: &mut Vec<Said<(HeaderName, HeaderValue)>>) -> Result<(), String> {
    let name: HeaderName = entry
        .name
        .parse()
        .map_err(|_| format!("`{}` is no name of a header", entry.name))?;
    let values = match &entry.node.value {
        Value::List(items) => items.as_slice(),
        _ => std::slice::from_ref(&entry.node),
    };
    for value in values {
        let text = HeaderValue::from_str(value.text().unwrap_or_default())
            .map_err(|_| format!("the value of the header `{}` is malformed", entry.name))?;
        headers.push(Said {
            value: (name.clone(), text),
            origin: value.origin.clone(),
        });
    }
    Ok(())
}
