//! The bodies of answers with a list.

use registry_core::{Descriptor, Error, ErrorKind, RepositoryName, Result, Tag};
use serde::Deserialize;

/// The tags that a list holds.
pub(super) fn tags(list: &[u8]) -> Result<Vec<Tag>> {
    #[derive(Deserialize)]
    struct List {
        tags: Option<Vec<Tag>>,
    }
    let list: List = serde_json::from_slice(list).map_err(not_a_list)?;
    Ok(list.tags.unwrap_or_default())
}

/// The descriptors that an index holds.
pub(super) fn referrers(list: &[u8]) -> Result<Vec<Descriptor>> {
    #[derive(Deserialize)]
    struct List {
        manifests: Option<Vec<Descriptor>>,
    }
    let list: List = serde_json::from_slice(list).map_err(not_a_list)?;
    Ok(list.manifests.unwrap_or_default())
}

/// The names that a catalog holds.
pub(super) fn repositories(list: &[u8]) -> Result<Vec<RepositoryName>> {
    #[derive(Deserialize)]
    struct List {
        repositories: Option<Vec<RepositoryName>>,
    }
    let list: List = serde_json::from_slice(list).map_err(not_a_list)?;
    Ok(list.repositories.unwrap_or_default())
}

fn not_a_list(source: serde_json::Error) -> Error {
    ErrorKind::Unavailable
        .error("the remote registry answers with something that isn't a list")
        .with_source(source)
}
