//! Putting the libraries together as the configuration says.

use registry_auth::{AccessControl, Challenge, Htpasswd, Rules};
use registry_core::{Action, Error, ReadOnly, Registry, RegistryExt};
use registry_http::{Limits, RegistryService, Tls, TlsVersion};
use registry_storage::{ColdReads, Engine, MemoryBlobs, MemoryMetadata, RedbOptions};

use crate::open_files;
use crate::problem::{Failure, sentence};
use registry_examples::configuration::{
    Changes, Configuration, Http, PasswordFile, Problem, Said, Storage,
};

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
) -> Result<RegistryService, Problem> {
    let http = &configuration.http;
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
        .access(access)
        .deletes(configuration.changes == Changes::All)
        .prefix(&http.prefix)
        .trusted_proxies(http.trusted_proxies.iter().copied());
    if let Some(host) = &http.host {
        service = service.host(&host.value).map_err(wrong(host))?;
    }
    for header in &http.headers {
        let (name, value) = header.value.clone();
        service = service.header(name, value).map_err(wrong(header))?;
    }
    Ok(service)
}

/// Says where the configuration has what turned out to be unusable.
fn wrong<T>(said: &Said<T>) -> impl Fn(Error) -> Problem {
    |error| said.origin.problem(sentence(&error))
}

fn with_registry(registry: impl Registry) -> RegistryService {
    RegistryService::new(registry).catalog(true)
}

/// What clients may do, also those that come to the side door.
pub(crate) fn limits(http: &Http) -> Limits {
    let default = Limits::default();
    Limits {
        drain_timeout: http.drain.unwrap_or(default.drain_timeout),
        max_catalog_page: http.max_catalog.unwrap_or(default.max_catalog_page),
        ..default
    }
}

/// Leaves files for what the connections ask for. Half of the connections may
/// come from one address.
pub(crate) fn connections(limits: Limits) -> Limits {
    let Some(files) = open_files::raise_limit() else {
        return limits;
    };
    let most = open_files::for_connections(files);
    Limits {
        max_connections: limits.max_connections.min(most),
        max_connections_per_address: limits.max_connections_per_address.min(most.div_ceil(2)),
        ..limits
    }
}

/// Who may do what: everybody everything, or everybody with a password.
///
/// # Errors
///
/// If the password file can't be used, or the realm isn't plain text.
pub(crate) fn access(password_file: Option<&PasswordFile>) -> Result<AccessControl, Problem> {
    let Some(file) = password_file else {
        return Ok(AccessControl::open());
    };
    let PasswordFile { realm, path } = file;
    // A password is for content. Who manages the registry is said elsewhere.
    let content = [
        Action::List,
        Action::Pull,
        Action::Push,
        Action::Overwrite,
        Action::Delete,
    ];
    let rules = Rules::new().signed_in("**", &content);
    let rules = rules.check().map_err(wrong(path))?;
    let users = Htpasswd::open(&path.value).map_err(wrong(path))?;
    let challenge = Challenge::basic(&realm.value).map_err(wrong(realm))?;
    Ok(AccessControl::new(rules)
        .authenticator(users)
        .challenge(challenge))
}

/// The certificate, if there is one.
///
/// # Errors
///
/// If the files can't be used.
pub(crate) fn tls(http: &Http) -> Result<Option<Tls>, Problem> {
    let Some(files) = &http.tls else {
        return Ok(None);
    };
    let (certificate, key) = (&files.certificate, &files.key);
    let tls = Tls::open(&certificate.value, &key.value).map_err(|error| {
        let about_key = ["the key ", "there is no key "];
        let reason = error.to_string();
        if about_key.iter().any(|start| reason.starts_with(start)) {
            wrong(key)(error)
        } else {
            wrong(certificate)(error)
        }
    })?;
    Ok(Some(if files.newest_only {
        tls.minimum_version(TlsVersion::V1_3)
    } else {
        tls
    }))
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
