//! Finding keys, and the one that was meant.

use super::super::tree::{Node, Value};
use super::{KEYS, Key, Support};

/// The longest name that may be a key misspelt. To compare longer ones takes
/// long, and tells nothing.
const NAME_MAX: usize = 64;

/// The key at `path`.
pub(crate) fn find(path: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| below(key.path, path) == Some(""))
}

/// What `path` has behind the names of `section`, one of which may be any in it.
fn below<'a>(path: &'a str, section: &str) -> Option<&'a str> {
    let mut rest = path.split('.');
    let mut length = 0_usize;
    for name in section.split('.') {
        let next = rest.next()?;
        if next != name && next != "*" {
            return None;
        }
        length = length.saturating_add(next.len()).saturating_add(1);
    }
    Some(path.get(length..).unwrap_or_default())
}

/// The key `name` in the section at `path`. A name with a dot is none: it would
/// look like a path, and lead nowhere.
pub(crate) fn find_in(path: &str, name: &str) -> Option<&'static Key> {
    find(&join(path, name)).filter(|_| !name.contains('.'))
}

/// The names in the section at `path` that have a meaning here; in the whole
/// document if it is empty.
fn names_in(path: &str) -> impl Iterator<Item = &'static str> {
    let supported = KEYS.iter().filter(|key| key.support != Support::Not);
    supported.filter_map(move |key| {
        let name = match path {
            "" => key.path,
            _ => below(key.path, path)?,
        };
        (!name.contains('.') && !name.is_empty() && name != "*").then_some(name)
    })
}

/// The path of `name` in the section at `path`.
pub(crate) fn join(path: &str, name: &str) -> String {
    if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path}.{name}")
    }
}

/// Whether `name` may be `known`, misspelt.
pub(crate) fn is_near(name: &str, known: &str) -> bool {
    let most = name.len().max(known.len()).div_ceil(3);
    name.len() <= NAME_MAX && strsim::damerau_levenshtein(name, known) <= most
}

/// Where else a key called `name` is, if it is one.
pub(crate) fn elsewhere(name: &str) -> Option<&'static str> {
    let mut keys = KEYS.iter().filter(|key| key.support != Support::Not);
    let is_called = |key: &&Key| key.path.rsplit('.').next() == Some(name);
    Some(keys.find(is_called)?.path)
}

/// Whether the keys of a section stand where the names of such sections do: they have no
/// sections as values.
pub(crate) fn lacks_name(names: &Key, node: &Node) -> bool {
    let below = join(names.path, "*");
    let is_key = |name: &str| find_in(&below, name).is_some();
    let mut entries = node.entries().iter();
    entries.any(|entry| is_key(&entry.name) && !matches!(entry.node.value, Value::Section(_)))
}

/// What to write in place of `name` in the section at `path`.
pub(crate) fn advice(path: &str, name: &str) -> String {
    if let Some((section, _)) = name.split_once('.')
        && find(&join(path, name)).is_some()
    {
        return format!("write `{section}:` and the rest in the lines below, indented");
    }
    if name.len() > NAME_MAX {
        return "no key is that long".to_owned();
    }
    let last = |path: &'static str| path.rsplit('.').next().unwrap_or(path);
    let sibling = names_in(path)
        .filter(|known| is_near(name, known))
        .min_by_key(|known| strsim::damerau_levenshtein(name, known));
    if let Some(known) = sibling {
        return format!("did you mean `{}`?", join(path, known));
    }
    let elsewhere = KEYS
        .iter()
        .filter(|key| key.support != Support::Not && !key.path.contains('*'))
        .filter(|key| strsim::damerau_levenshtein(name, last(key.path)) <= 1)
        .min_by_key(|key| strsim::damerau_levenshtein(name, last(key.path)));
    if let Some(known) = elsewhere {
        return format!("did you mean `{}`?", known.path);
    }
    let known: Vec<_> = names_in(path).collect();
    if known.is_empty() {
        format!("`{path}` has no keys")
    } else {
        format!("known here are {}", known.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advice_names_the_nearest_key() {
        assert_eq!(advice("", "storge"), "did you mean `storage`?");
        assert_eq!(advice("http", "adr"), "did you mean `http.addr`?");
        assert_eq!(
            advice("storage", "rootdirectory"),
            "did you mean `storage.filesystem.rootdirectory`?"
        );
        assert_eq!(
            advice("storage.redirect", "xyzzyfoo"),
            "known here are disable"
        );
        // Not those that are refused themselves.
        for (section, name) in [("health", "file1"), ("auth", "file"), ("storage", "s4")] {
            let advice = advice(section, name);
            assert!(advice.starts_with("known here are "), "{advice}");
            let (_, known) = advice.split_at("known here are ".len());
            let mut known = known.split(", ");
            assert!(known.all(|known| !["file", "s3"].contains(&known)));
        }
        assert_eq!(
            advice("storage.inmemory", "size1"),
            "`storage.inmemory` has no keys"
        );
    }
}
