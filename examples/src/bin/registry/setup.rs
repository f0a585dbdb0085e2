//! Putting the libraries together as the configuration says.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use http::Uri;
use http::uri::Authority;
use registry_auth::{
    AccessControl, Certificates, Challenge, FileRecords, Htpasswd, Issuer, Keys, Ldap,
    MemoryRecords, PolicyFile, Rules, TokenServer, TrustIssuer, Webhook, Workload,
};
use registry_core::{
    Action, Error, ErrorKind, ManifestRules, ReadOnly, Records, Registry, RegistryExt,
};
use registry_http::{
    Acme, Administration, HttpFetch, HttpFetchBuilder, Limits, RegistryService, Tls, TlsVersion,
};
use registry_storage::{ColdReads, Engine, MemoryBlobs, MemoryMetadata, RedbOptions};

use crate::open_files;
use crate::problem::{Failure, Found, sentence};
use registry_examples::configuration::{
    Auth, CertificateSource, Changes, Configuration, DecisionService, Directory, Http, KeySource,
    LetsEncrypt, PasswordFile, Problem, Said, Storage, TokenService, WorkloadIssuer,
};

/// Where the keys that sign tokens are, below the data.
pub(crate) const TOKEN_KEYS: &str = "auth/keys";

/// Where what outlives tokens is kept, below the data.
const RECORDS: &str = "auth";

/// How the names of the metadata begin, below the data.
pub(crate) const METADATA: &str = "metadata.";

/// Opens the storage.
pub(crate) async fn engine(configuration: &Configuration) -> Result<Engine, Failure> {
    let options = configuration.engine.clone();
    let expiry = configuration.upload_expiry;
    match &configuration.storage {
        Storage::Memory => {
            let builder = Engine::builder(MemoryBlobs::default(), MemoryMetadata::default());
            Ok(builder.options(options).upload_expiry(expiry).build())
        }
        Storage::Filesystem(root) => {
            // All requests are served by tasks of the one multi-thread runtime.
            let database = RedbOptions::default().cold_reads(ColdReads::HandOver);
            let builder = Engine::root(root, database).await;
            Ok(builder?.options(options).upload_expiry(expiry).build())
        }
    }
}

/// The registry behind HTTP.
pub(crate) fn service(
    configuration: &Configuration,
    engine: Engine,
    access: AccessControl,
    keys: Option<Keys>,
) -> Result<RegistryService, Problem> {
    let http = &configuration.http;
    let administration = administration(configuration, &engine, keys);
    let service = if configuration.changes == Changes::None {
        with_registry(engine.layer(ReadOnly))
    } else {
        with_registry(engine)
    };
    let driver = match &configuration.storage {
        Storage::Memory => "inmemory",
        Storage::Filesystem(_) => "filesystem",
    };
    let mut service = service
        .storage_driver(driver)
        .limits(limits(http))
        .manifest_rules(manifest_rules(http))
        .access(access)
        .pushes(configuration.changes != Changes::None)
        .deletes(configuration.changes == Changes::All)
        .prefix(&http.prefix)
        .trusted_proxies(http.trusted_proxies.iter().map(|network| network.value))
        .logins_over_tls(http.tls.is_none() && !http.plaintext);
    if let Some(administration) = administration {
        service = service.management(administration);
    }
    if let Some(host) = &http.host {
        service = service.host(&host.value).map_err(wrong(host))?;
    }
    for header in &http.headers {
        let (name, value) = header.value.clone();
        service = service.header(name, value).map_err(wrong(header))?;
    }
    Ok(service)
}

/// What is managed over HTTP, if anything is.
fn administration(
    configuration: &Configuration,
    engine: &Engine,
    keys: Option<Keys>,
) -> Option<Administration> {
    if !configuration.auth.is_managed() {
        return None;
    }
    let mut administration = Administration::new();
    if configuration.changes != Changes::None {
        administration = administration.registry(engine.clone());
    }
    Some(match keys {
        Some(keys) => administration.keys(keys),
        None => administration,
    })
}

/// Says where the configuration has what turned out to be unusable.
fn wrong<T>(said: &Said<T>) -> impl Fn(Error) -> Problem {
    |error| said.origin.problem(sentence(&error))
}

/// The same of a file that may have several mistakes, each in a line of the error.
fn wrong_lines<T>(said: &Said<T>) -> impl Fn(Error) -> Vec<Problem> {
    |error| {
        let lines = sentence(&error);
        lines
            .lines()
            .map(|line| said.origin.problem(line))
            .collect()
    }
}

fn with_registry(registry: impl Registry) -> RegistryService {
    RegistryService::new(registry).catalog(true)
}

/// What clients may do, also those that come to the side door.
pub(crate) fn limits(http: &Http) -> Limits {
    let default = Limits::default();
    let (said, share) = (&http.limits, default.address_share);
    // With 0, one address may hold all there is.
    let share = said
        .address_share
        .map_or(share, |times| Some(times).filter(|_| times > 0));
    let (uploads, downloads) = (default.max_uploads, default.max_downloads);
    let (requests, connections) = (default.max_requests, default.max_connections);
    let one_address = default.max_connections_per_address;
    let drain = http.drain.unwrap_or(default.drain_timeout);
    let catalog = http.max_catalog.unwrap_or(default.max_catalog_page);
    default
        .drain_timeout(drain)
        .max_catalog_page(catalog)
        .max_uploads(said.uploads.unwrap_or(uploads))
        .max_downloads(said.downloads.unwrap_or(downloads))
        .max_requests(said.requests.unwrap_or(requests))
        .address_share(share)
        .max_connections(said.connections.unwrap_or(connections))
        .max_connections_per_address(said.address_connections.unwrap_or(one_address))
        .max_blob(said.blob_bytes)
}

/// Which manifests are taken.
fn manifest_rules(http: &Http) -> ManifestRules {
    let rules = ManifestRules::default();
    match http.limits.manifest_bytes {
        Some(bytes) => rules.max_size(bytes),
        None => rules,
    }
}

/// Leaves files for what the connections ask for. Half of the connections may
/// come from one address.
pub(crate) fn connections(limits: Limits) -> Limits {
    let Some(files) = open_files::raise_limit() else {
        return limits;
    };
    let most = open_files::for_connections(files);
    let one_address = limits.max_connections_per_address;
    let all = limits.max_connections.min(most);
    limits
        .max_connections(all)
        .max_connections_per_address(one_address.min(most.div_ceil(2)))
}

/// Who may do what: everybody everything, everybody with a password, or what the
/// policy file says. It gives out no tokens yet: see [`with_keys`].
///
/// Within a runtime.
///
/// # Errors
///
/// All that can't be used, such as a file, or a realm that isn't plain text.
pub(crate) fn access(auth: &Auth) -> Result<AccessControl, Vec<Problem>> {
    let mut found = Found::default();
    let has_users =
        auth.password_file.is_some() || auth.certificate_name.is_some() || auth.directory.is_some();
    let access = match &auth.policy_file {
        Some(path) => {
            let opened = match &auth.issuers {
                Some(issuers) => PolicyFile::open_with_issuers(&path.value, issuers),
                None => PolicyFile::open(&path.value),
            };
            match found.take_all(opened.map_err(wrong_lines(path))) {
                Some(policy) => AccessControl::new(policy),
                None => AccessControl::new(Rules::new()),
            }
        }
        None if has_users => {
            // A login is for content. Who manages the registry is said elsewhere.
            let content = [
                Action::List,
                Action::Pull,
                Action::Push,
                Action::Overwrite,
                Action::Delete,
            ];
            let access = AccessControl::new(Rules::new().signed_in("**", &content));
            // A token says what it is for, be it nobody's.
            match &auth.issuer {
                Some(_) => access.policy(TrustIssuer),
                None => access,
            }
        }
        None if auth.issuer.is_some() => AccessControl::new(TrustIssuer),
        // Whoever asks somebody about each request means to leave nothing open.
        None if auth.webhook.is_some() => AccessControl::new(Rules::new()),
        None => AccessControl::open(),
    };
    let mut access = access.rates(auth.rates).guard(auth.guesses);
    if let Some(name) = auth.certificate_name {
        access = access.authenticator(Certificates::new(name));
    }
    if let Some(service) = &auth.issuer {
        let realm = &service.realm;
        let challenge = if service.beside {
            Ok(Challenge::bearer_beside(&realm.value, &service.service))
        } else {
            Challenge::bearer(&realm.value, &service.service).map_err(wrong(realm))
        };
        let issuer = found.take(issuer(service));
        if let (Some(issuer), Some(challenge)) = (issuer, found.take(challenge)) {
            access = access.authenticator(issuer).challenge(challenge);
        }
    }
    for (index, of) in auth.workloads.iter().enumerate() {
        let Some(mut known) = found.take(workload(of)) else {
            continue;
        };
        let mut later = auth.workloads.iter().skip(index.saturating_add(1));
        if later.any(|other| other.issuer.value == of.issuer.value) {
            known = known.leave_other_audiences();
        }
        access = access.authenticator(known);
    }
    if let Some(PasswordFile { realm, path }) = &auth.password_file {
        let users = found.take_all(Htpasswd::open(&path.value).map_err(wrong_lines(path)));
        let challenge = found.take(Challenge::basic(&realm.value).map_err(wrong(realm)));
        if let (Some(users), Some(challenge)) = (users, challenge) {
            access = access.authenticator(users);
            // Clients are told of one way: where the tokens are.
            if auth.issuer.is_none() {
                access = access.challenge(challenge);
            }
        }
    }
    let directory = auth.directory.as_ref().map(ldap);
    if let Some(directory) = directory.and_then(|built| found.take(built)) {
        access = access.authenticator(directory);
    }
    let service = auth.webhook.as_ref().map(webhook);
    if let Some(service) = service.and_then(|built| found.take(built)) {
        access = access.review(service);
    }
    let problems = found.into_problems();
    if problems.is_empty() {
        Ok(access)
    } else {
        Err(problems)
    }
}

/// The directory whose users may log in.
fn ldap(directory: &Directory) -> Result<Ldap, Problem> {
    let mut ldap = Ldap::builder(&directory.url.value).base(&directory.base);
    if let Some((name, file)) = &directory.searcher {
        ldap = ldap
            .bind_password_file(name, &file.value)
            .map_err(wrong(file))?;
    }
    if let Some(filter) = &directory.filter {
        ldap = ldap.filter(filter);
    }
    if let Some(attribute) = &directory.name_attribute {
        ldap = ldap.name_attribute(attribute);
    }
    if let Some(groups) = &directory.groups {
        ldap = ldap.groups(&groups.base, &groups.filter, &groups.attribute);
    }
    if directory.start_tls {
        ldap = ldap.start_tls();
    }
    if let Some(certificates) = &directory.certificates {
        ldap = ldap
            .certificates_file(&certificates.value)
            .map_err(wrong(certificates))?;
    }
    ldap.build().map_err(wrong(&directory.url))
}

/// The service whose tokens are taken.
fn issuer(service: &TokenService) -> Result<Issuer, Problem> {
    let mut issuer = Issuer::new(&service.issuer, &service.service);
    if !service.algorithms.is_empty() {
        issuer = issuer.algorithms(service.algorithms.iter().copied());
    }
    if let Some(path) = &service.certificates {
        issuer = issuer.certificates(&path.value).map_err(wrong(path))?;
    }
    if let Some(keys) = &service.keys {
        let trusting = match &keys.value {
            KeySource::File(path) => issuer.keys(path),
            KeySource::Url(url) => fetch(url).and_then(|fetch| issuer.keys_url(url, fetch)),
        };
        issuer = trusting.map_err(wrong(keys))?;
    }
    Ok(issuer)
}

/// A system that vouches for the programs which it runs.
fn workload(of: &WorkloadIssuer) -> Result<Workload, Problem> {
    let (name, issuer) = (&of.name, &of.issuer);
    let workload = Workload::new(&name.value, &issuer.value, &of.audience.value);
    let workload = workload.map_err(wrong(name))?;
    let Some(keys) = &of.keys else {
        if !issuer.value.contains("://") {
            return Err(issuer.origin.problem(format!(
                "the issuer `{}` is no URL, so nobody can be asked for its keys; write it exactly \
                 as in its tokens (`iss`), such as https://gitlab.com, or name a file of its keys \
                 in `jwks`",
                issuer.value
            )));
        }
        let fetch = fetch(&issuer.value);
        let discovering = fetch.and_then(|fetch| workload.discover(fetch));
        return discovering.map_err(wrong(issuer));
    };
    let trusting = match &keys.value {
        KeySource::File(path) => workload.keys(path),
        KeySource::Url(url) => fetch(url).and_then(|fetch| workload.keys_url(url, fetch)),
    };
    trusting.map_err(wrong(keys))
}

/// The service that has a say in each decision.
fn webhook(service: &DecisionService) -> Result<Webhook, Problem> {
    let url = &service.url;
    let mut fetch = asking(&url.value).map_err(wrong(url))?;
    if let Some(timeout) = &service.timeout {
        fetch = fetch.patience(timeout.value).map_err(wrong(timeout))?;
    }
    let fetch = fetch.build().map_err(wrong(url))?;
    let mut webhook = Webhook::new(&url.value, fetch).map_err(wrong(url))?;
    if let Some(file) = &service.secret_file {
        webhook = webhook.secret_file(&file.value).map_err(wrong(file))?;
    }
    if let Some(remember) = &service.remember {
        webhook = webhook.remember(remember.value).map_err(wrong(remember))?;
    }
    Ok(webhook)
}

/// What asks the host of `url`, and no other.
fn fetch(url: &str) -> registry_core::Result<HttpFetch> {
    asking(url)?.build()
}

/// The same, to be told more.
fn asking(url: &str) -> registry_core::Result<HttpFetchBuilder> {
    let uri: Uri = url.parse().map_err(|source| {
        ErrorKind::RequestInvalid
            .error("the address can't be used: it is no URL")
            .with_source(source)
    })?;
    let host = uri.authority().map(Authority::as_str);
    Ok(HttpFetch::builder().host(host.unwrap_or_default()))
}

/// What came of [`with_keys`].
pub(crate) struct Keyed {
    pub(crate) access: AccessControl,
    pub(crate) keys: Option<Keys>,
    /// Where keys, and the ends of tokens, are kept.
    pub(crate) records: Option<Arc<dyn Records>>,
}

/// The same, with keys and tokens if there are to be any, and the keys. What signs
/// tokens is kept with the data unless the configuration names another place.
///
/// # Errors
///
/// If the keys can't be read or made.
pub(crate) fn with_keys(
    mut access: AccessControl,
    configuration: &Configuration,
) -> Result<Keyed, Failure> {
    let auth = &configuration.auth;
    if !auth.keys && auth.tokens.is_none() {
        return Ok(Keyed {
            access,
            keys: None,
            records: None,
        });
    }
    let records: Arc<dyn Records> = match &configuration.storage {
        Storage::Filesystem(root) => Arc::new(records(root)?),
        Storage::Memory => Arc::new(MemoryRecords::new()),
    };
    let keys = auth.keys.then(|| Keys::new(Arc::clone(&records)));
    if let Some(keys) = &keys {
        access = access.keys(keys.clone());
    }
    let Some(tokens) = &auth.tokens else {
        return Ok(Keyed {
            access,
            keys,
            records: Some(records),
        });
    };
    let mut server = match (&tokens.keys, &configuration.storage) {
        (Some(keys), _) => {
            TokenServer::open_with(&keys.value, tokens.algorithm).map_err(wrong(keys))?
        }
        (None, Storage::Filesystem(root)) => {
            TokenServer::open_with(root.join(TOKEN_KEYS), tokens.algorithm)?
        }
        (None, Storage::Memory) => TokenServer::ephemeral()?,
    };
    if let Some(service) = &tokens.service {
        server = server.service(service);
    }
    if let Some(issuer) = &tokens.issuer {
        server = server.issuer(issuer);
    }
    if let Some(realm) = &tokens.realm {
        server = server.realm(&realm.value).map_err(wrong(realm))?;
    }
    if let Some(lifetime) = &tokens.lifetime {
        server = server.lifetime(lifetime.value).map_err(wrong(lifetime))?;
    }
    if let Some(lifetime) = &tokens.refresh_lifetime {
        let set = server.refresh_lifetime(lifetime.value);
        server = set.map_err(wrong(lifetime))?;
    }
    Ok(Keyed {
        access: access.tokens(server.records(Arc::clone(&records))),
        keys,
        records: Some(records),
    })
}

/// What is kept about keys and logins beside the data in `root`.
///
/// # Errors
///
/// If it can't be read or made.
pub(crate) fn records(root: &Path) -> registry_core::Result<FileRecords> {
    FileRecords::open(root.join(RECORDS))
}

/// Whether something was ever kept there.
pub(crate) fn has_records(root: &Path) -> bool {
    root.join(RECORDS).join("records.log").is_file()
}

/// What is wrong with how tokens are given out, as far as it shows without the
/// keys.
pub(crate) fn tokens(auth: &Auth) -> Vec<Problem> {
    let server = TokenServer::ephemeral;
    let Some(tokens) = &auth.tokens else {
        return Vec::new();
    };
    let realm = tokens.realm.iter().filter_map(|realm| {
        let set = server().and_then(|server| server.realm(&realm.value));
        set.map_err(wrong(realm)).err()
    });
    let lifetime = tokens.lifetime.iter().filter_map(|lifetime| {
        let set = server().and_then(|server| server.lifetime(lifetime.value));
        set.map_err(wrong(lifetime)).err()
    });
    let refresh_lifetime = tokens.refresh_lifetime.iter().filter_map(|lifetime| {
        let set = server().and_then(|server| server.refresh_lifetime(lifetime.value));
        set.map_err(wrong(lifetime)).err()
    });
    realm.chain(lifetime).chain(refresh_lifetime).collect()
}

/// The certificate, if there is one.
///
/// # Errors
///
/// If the files can't be used.
pub(crate) fn tls(http: &Http) -> Result<Option<Tls>, Problem> {
    let Some(options) = &http.tls else {
        return Ok(None);
    };
    let tls = match &options.certificate {
        CertificateSource::Files { certificate, key } => files(certificate, key)?,
        CertificateSource::LetsEncrypt(letsencrypt) => obtained(letsencrypt)?,
    };
    let tls = if options.newest_only {
        tls.minimum_version(TlsVersion::V1_3)
    } else {
        tls
    };
    let Some(first) = options.client_authorities.first() else {
        return Ok(Some(tls));
    };
    let authorities = options.client_authorities.iter().map(|file| &file.value);
    tls.client_authorities(authorities, options.client_auth)
        .map(Some)
        .map_err(wrong(first))
}

/// With a certificate from files.
fn files(certificate: &Said<PathBuf>, key: &Said<PathBuf>) -> Result<Tls, Problem> {
    Tls::open(&certificate.value, &key.value).map_err(|error| {
        let about_key = ["the key ", "there is no key "];
        let reason = error.to_string();
        if about_key.iter().any(|start| reason.starts_with(start)) {
            wrong(key)(error)
        } else {
            wrong(certificate)(error)
        }
    })
}

/// With a certificate that is obtained once the server runs.
fn obtained(letsencrypt: &LetsEncrypt) -> Result<Tls, Problem> {
    let cache = &letsencrypt.cache;
    let mut acme = Acme::new(&cache.value, &letsencrypt.hosts);
    if let Some(email) = &letsencrypt.email {
        acme = acme.email(email);
    }
    if let Some(directory) = &letsencrypt.directory {
        acme = acme.server(directory);
    }
    Tls::acme(acme).map_err(wrong(cache))
}

/// Whether the host of absolute URLs and the headers of all answers can be
/// used: every problem of theirs.
pub(crate) fn answers(http: &Http) -> Vec<Problem> {
    let service = || with_registry(Engine::memory());
    let host = http.host.iter();
    let host = host.filter_map(|host| service().host(&host.value).map_err(wrong(host)).err());
    let headers = http.headers.iter().filter_map(|header| {
        let (name, value) = header.value.clone();
        service().header(name, value).map_err(wrong(header)).err()
    });
    host.chain(headers).collect()
}
