//! Putting the libraries together as the configuration says.

use registry_auth::{AccessControl, Challenge, Htpasswd, Rules};
use registry_core::{Action, ReadOnly, Registry, RegistryExt, Result};
use registry_http::{Limits, RegistryService, Tls, TlsVersion};
use registry_storage::{Durability, Engine, EngineOptions, MemoryBlobs, MemoryMetadata};

use crate::problem::Failure;
use registry_examples::configuration::{Changes, Configuration, Http, PasswordFile, Storage};

/// Opens the storage.
pub(crate) async fn engine(configuration: &Configuration) -> Result<Engine, Failure> {
    let options = EngineOptions {
        sparse_manifests: configuration.sparse_manifests,
        ..EngineOptions::default()
    };
    match &configuration.storage {
        Storage::Memory => {
            let builder = Engine::builder(MemoryBlobs::default(), MemoryMetadata::default());
            Ok(builder.options(options).build())
        }
        Storage::Filesystem(root) => {
            let builder = Engine::root(root, Durability::Full).await;
            let builder = builder.map_err(|error| {
                let root = root.display();
                Failure::new(format!("the data in {root} can't be used"), &error)
            })?;
            Ok(builder.options(options).build())
        }
    }
}

/// The registry behind HTTP.
pub(crate) fn service(configuration: &Configuration, engine: Engine) -> Result<RegistryService> {
    let http = &configuration.http;
    let service = if configuration.changes == Changes::None {
        with_registry(engine.layer(ReadOnly))
    } else {
        with_registry(engine)
    };
    let mut service = service
        .limits(limits(http))
        .access(access(configuration.password_file.as_ref())?)
        .deletes(configuration.changes == Changes::All)
        .prefix(&http.prefix);
    if let Some(host) = &http.host {
        service = service.host(host)?;
    }
    for (name, value) in &http.headers {
        service = service.header(name.clone(), value.clone());
    }
    Ok(service)
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

/// Who may do what: everybody everything, or everybody with a password.
///
/// # Errors
///
/// If the password file can't be used, or the realm isn't plain text.
pub(crate) fn access(password_file: Option<&PasswordFile>) -> Result<AccessControl> {
    let Some(file) = password_file else {
        return Ok(AccessControl::open());
    };
    let rules = Rules::new().signed_in("**", &Action::ALL).check()?;
    Ok(AccessControl::new(rules)
        .authenticator(Htpasswd::open(&file.path)?)
        .challenge(Challenge::basic(&file.realm)?))
}

/// The certificate, if there is one.
///
/// # Errors
///
/// If the files can't be used.
pub(crate) fn tls(http: &Http) -> Result<Option<Tls>> {
    let Some(files) = &http.tls else {
        return Ok(None);
    };
    let tls = Tls::open(&files.certificate, &files.key)?;
    Ok(Some(if files.newest_only {
        tls.minimum_version(TlsVersion::V1_3)
    } else {
        tls
    }))
}

/// Whether the host of absolute URLs can be used.
///
/// # Errors
///
/// If it can't.
pub(crate) fn host(http: &Http) -> Result<()> {
    match &http.host {
        Some(host) => with_registry(Engine::memory()).host(host).map(drop),
        None => Ok(()),
    }
}
