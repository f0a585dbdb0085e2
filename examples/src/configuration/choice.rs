//! Sections in which one of several things is chosen: the kind of storage, and
//! how users log in.

use super::keys;
use super::problem::{Origin, Problem};
use super::tree::{Node, Step, Value};

/// The sections. Their choice may be said alone, as in `auth: htpasswd`.
pub(crate) const SECTIONS: &[&str] = &["auth", "storage"];

/// What belongs to a section whatever is chosen there: kinds of storage, and
/// ways to log in.
const FOR_ANY_CHOICE: &[&str] = &[
    "delete",
    "maintenance",
    "verifyreads",
    "cache",
    "redirect",
    "tag",
    "certificate",
    "policy",
    "tokenserver",
    "keys",
    "ldap",
    "oidc",
    "webhook",
    "limits",
];

/// The ways to log in that go together: the first decides, as clients are sent there, and
/// passwords are still taken.
const TOGETHER: (&str, &str, &str) = ("auth", "token", "htpasswd");

/// A key that isn't known is none: it is told as such, and nobody knows what it would be.
fn is_choice(section: &str, name: &str) -> bool {
    !FOR_ANY_CHOICE.contains(&name) && keys::find_in(section, name).is_some()
}

/// Turns choices that stand alone into sections.
pub(crate) fn spell_out(tree: &mut Node) {
    for section in SECTIONS {
        let alone = tree.at(section).and_then(|node| {
            let chosen = node.text()?.to_owned();
            Some((chosen, node.origin.clone()))
        });
        if let Some((chosen, origin)) = alone {
            choose(tree, section, &chosen, &origin);
        }
    }
}

/// Makes `chosen` the only choice in the section `path`.
pub(crate) fn choose(tree: &mut Node, path: &str, chosen: &str, origin: &Origin) {
    let mut section = Node::section(origin.clone());
    let kept = tree.at(path).map(Node::entries).unwrap_or_default();
    if let Value::Section(entries) = &mut section.value {
        entries.extend(
            kept.iter()
                .filter(|entry| entry.name == chosen || !is_choice(path, &entry.name))
                .cloned(),
        );
    }
    if section.entry(chosen).is_none() {
        let empty = Node {
            origin: origin.clone(),
            value: Value::Empty,
        };
        // Without an index there is nothing to be too short.
        let _ = section.set(&[Step::Name(chosen)], empty);
    }
    let _ = tree.set(&[Step::Name(path)], section);
}

/// What is chosen in the section `path`; of what goes together, what decides.
///
/// # Errors
///
/// If it is more than one thing.
pub(crate) fn chosen<'a>(tree: &'a Node, path: &str) -> Result<Option<&'a str>, Problem> {
    let entries = tree.at(path).map(Node::entries).unwrap_or_default();
    let (section, deciding, beside) = TOGETHER;
    let is_led = path == section && entries.iter().any(|entry| entry.name == deciding);
    let mut choices = entries
        .iter()
        .filter(|entry| is_choice(path, &entry.name) && !(is_led && entry.name == beside));
    match (choices.next(), choices.next()) {
        (Some(first), Some(second)) => Err(second.origin.problem(format!(
            "`{path}` can't be {} and {} at once; leave one out",
            first.name, second.name
        ))),
        (first, _) => Ok(first.map(|entry| entry.name.as_str())),
    }
}
