//! Holding a configuration to the keys that there are.

use super::keys::{self, Key, Kind, Support};
use super::problem::Problem;
use super::tree::{Entry, Node, Value};
use super::{duration, keys::LEVELS, keys::WORDS_ELSEWHERE};

/// Finds everything that isn't known or not of its kind. Returns remarks on
/// what changes nothing.
pub(crate) fn validate(tree: &Node, problems: &mut Vec<Problem>) -> Vec<Problem> {
    let mut notes = Vec::new();
    match &tree.value {
        Value::Empty => {}
        Value::Section(entries) => section("", entries, problems, &mut notes),
        _ => problems.push(
            tree.origin
                .problem("this is no configuration; it consists of keys such as `http:`"),
        ),
    }
    notes
}

fn section(path: &str, entries: &[Entry], problems: &mut Vec<Problem>, notes: &mut Vec<Problem>) {
    for entry in entries {
        let inner = keys::join(path, &entry.name);
        let Some(key) = keys::find_in(path, &entry.name) else {
            let advice = keys::advice(path, &entry.name);
            problems.push(
                entry
                    .origin
                    .problem(format!("unknown key `{inner}`; {advice}")),
            );
            continue;
        };
        match key.support {
            Support::Not => {
                let mut sentence = not_yet(&format!("`{inner}`"));
                if let Some(other) = keys::elsewhere(&entry.name) {
                    sentence.push_str("; did you mean `");
                    sentence.push_str(other);
                    sentence.push_str("`?");
                }
                problems.push(entry.origin.problem(sentence));
                continue;
            }
            Support::NoEffect(why) => notes.push(
                entry
                    .origin
                    .problem(format!("`{inner}` changes nothing: {why}")),
            ),
            Support::Yes => {}
        }
        match (&entry.node.value, key.kind) {
            (Value::Empty, _) => {}
            (Value::Section(_), Kind::NamesOfSections) if keys::lacks_name(key, &entry.node) => {
                problems.push(entry.origin.problem(format!(
                    "`{inner}` lacks a name; write `{inner}:`, then `NAME:` indented below it, \
                     and the keys below that"
                )));
            }
            (Value::Section(entries), Kind::Section | Kind::NamesOfSections) => {
                section(&inner, entries, problems, notes);
            }
            _ => {
                if let Err(message) = value(key, &entry.node) {
                    problems.push(entry.node.origin.problem(message));
                }
            }
        }
    }
}

fn not_yet(what: &str) -> String {
    format!("{what} exists in the Docker registry and isn't supported by this version")
}

fn value(key: &Key, node: &Node) -> Result<(), String> {
    let path = key.path;
    match key.kind {
        Kind::Section => Err(format!(
            "`{path}` takes keys, not a value; {}",
            keys::advice(path, "")
        )),
        Kind::NamesOfSections => Err(format!("`{path}` takes names with keys each")),
        Kind::Names => match &node.value {
            Value::Section(entries) if entries.iter().all(|entry| is_plain(&entry.node)) => Ok(()),
            _ => Err(format!("`{path}` takes names with a text each")),
        },
        Kind::Texts if is_list(node) => Ok(()),
        Kind::Texts => Err(format!("`{path}` takes a list of texts, such as [a, b]")),
        Kind::NamesOfLists => match &node.value {
            Value::Section(entries) if entries.iter().all(|entry| is_list(&entry.node)) => Ok(()),
            _ => Err(format!("`{path}` takes names with a list of texts each")),
        },
        kind => {
            let text = node.text();
            let text = text.ok_or_else(|| format!("`{path}` takes a single value"))?;
            scalar(path, kind, text)
        }
    }
}

fn is_plain(node: &Node) -> bool {
    matches!(node.value, Value::Text(_) | Value::Empty)
}

fn is_list(node: &Node) -> bool {
    match &node.value {
        Value::List(items) => items.iter().all(is_plain),
        _ => is_plain(node),
    }
}

fn scalar(path: &str, kind: Kind, text: &str) -> Result<(), String> {
    match kind {
        Kind::Flag if flag(text).is_none() => {
            Err(format!("`{path}` is true or false, not `{text}`"))
        }
        Kind::Number if text.parse::<u64>().is_err() => {
            Err(format!("`{path}` is a whole number, not `{text}`"))
        }
        Kind::Between(least, most)
            if !text
                .parse::<u64>()
                .is_ok_and(|number| (least..=most).contains(&number)) =>
        {
            Err(format!(
                "`{path}` is a whole number from {least} to {most}, not `{text}`"
            ))
        }
        Kind::Duration => match duration::parse(text) {
            Ok(_) => Ok(()),
            Err(message) => Err(format!("`{path}`: {message}")),
        },
        Kind::Level if !LEVELS.contains(&text.to_ascii_lowercase().as_str()) => {
            let words = LEVELS.join(", ");
            Err(format!("`{path}` can't be `{text}`; it takes {words}"))
        }
        Kind::Choice(words) if !words.contains(&text) => {
            let words = words.join(", ");
            if WORDS_ELSEWHERE.contains(&(path, text)) {
                let sentence = not_yet(&format!("`{text}` for `{path}`"));
                Err(format!("{sentence}; it takes {words}"))
            } else {
                Err(format!("`{path}` can't be `{text}`; it takes {words}"))
            }
        }
        _ => Ok(()),
    }
}

/// YAML has many words for yes and no.
pub(crate) fn flag(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" => Some(true),
        "false" | "no" | "off" => Some(false),
        _ => None,
    }
}
