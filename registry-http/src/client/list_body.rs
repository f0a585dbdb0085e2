//! The bodies of answers with a list.

use registry_core::{Descriptor, ErrorKind, RepositoryName, Result, Tag};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// What an answer lists.
#[derive(Debug)]
pub(super) struct Listed<T> {
    /// What can be asked for by its name.
    pub(super) items: Vec<T>,
    /// How many others there are: names that break the grammar, and digests
    /// that nobody here can verify.
    pub(super) odd: usize,
}

/// The tags that a list holds.
pub(super) fn tags(list: &[u8]) -> Result<Listed<Tag>> {
    entries(list, "tags", Value::is_string)
}

/// The descriptors that an index holds.
pub(super) fn referrers(list: &[u8]) -> Result<Listed<Descriptor>> {
    // Serde takes an array of the values in their order, too.
    entries(list, "manifests", Value::is_object)
}

/// The names that a catalog holds.
pub(super) fn repositories(list: &[u8]) -> Result<Listed<RepositoryName>> {
    entries(list, "repositories", Value::is_string)
}

/// One odd entry doesn't hide all others.
fn entries<T: DeserializeOwned>(
    list: &[u8],
    key: &str,
    fits: impl Fn(&Value) -> bool,
) -> Result<Listed<T>> {
    let no_list = || {
        ErrorKind::Unavailable.error("the remote registry answers with something that isn't a list")
    };
    let mut list: Map<String, Value> =
        serde_json::from_slice(list).map_err(|source| no_list().with_source(source))?;
    let entries = match list.remove(key) {
        Some(Value::Array(entries)) => entries,
        None | Some(Value::Null) => Vec::new(),
        Some(_) => return Err(no_list()),
    };
    let count = entries.len();
    let items: Vec<T> = entries
        .into_iter()
        .filter(fits)
        .filter_map(|entry| T::deserialize(entry).ok())
        .collect();
    let odd = count.saturating_sub(items.len());
    Ok(Listed { items, odd })
}
