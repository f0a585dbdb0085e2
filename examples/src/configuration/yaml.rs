//! Reading YAML without losing sight of the lines.

use std::sync::Arc;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError};

use super::problem::{Origin, Problem};
use super::tree::{Entry, Node, Value};

/// The deepest nesting. Known keys need far less.
const DEPTH_MAX: usize = 32;

/// Reads the document in `text`.
///
/// # Errors
///
/// If it isn't YAML, says a name twice, or uses what a configuration has no
/// need of: references, keys that aren't words, several documents.
pub(crate) fn read(text: &str, place: &Place) -> Result<Node, Problem> {
    let mut open: Vec<Open> = Vec::new();
    let mut document = None;
    let place = &place.within(text);
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| place.malformed(&error))?;
        let origin = place.at(span.start.line());
        let value = match event {
            Event::Scalar(text, style, ..) => scalar(&text, style),
            Event::SequenceStart(..) => {
                push(&mut open, Open::List(Vec::new(), origin))?;
                continue;
            }
            Event::MappingStart(..) => {
                push(&mut open, Open::Section(Vec::new(), None, origin))?;
                continue;
            }
            Event::SequenceEnd | Event::MappingEnd => match open.pop() {
                Some(Open::List(items, origin)) => {
                    let node = Node {
                        origin,
                        value: Value::List(items),
                    };
                    add(&mut open, &mut document, node)?;
                    continue;
                }
                Some(Open::Section(entries, _, origin)) => {
                    let node = Node {
                        origin,
                        value: Value::Section(entries),
                    };
                    add(&mut open, &mut document, node)?;
                    continue;
                }
                None => continue,
            },
            Event::Alias(_) => {
                return Err(origin.problem(
                    "references such as *name aren't understood here; write the value out",
                ));
            }
            _ => continue,
        };
        add(&mut open, &mut document, Node { origin, value })?;
    }
    Ok(document.unwrap_or_else(|| Node {
        origin: place.at(1),
        value: Value::Empty,
    }))
}

/// Where a text stands.
#[derive(Debug, Clone)]
pub(crate) enum Place {
    File(Arc<str>),
    /// Without lines.
    Elsewhere(Origin),
}

/// A place and how many lines it has.
struct Lines<'a> {
    place: &'a Place,
    last: usize,
}

impl Place {
    fn within(&self, text: &str) -> Lines<'_> {
        let ends = text.matches(['\n', '\r']).count();
        let ends = ends.saturating_sub(text.matches("\r\n").count());
        let last = if text.ends_with(['\n', '\r']) {
            ends
        } else {
            ends.saturating_add(1)
        };
        Lines { place: self, last }
    }
}

impl Lines<'_> {
    /// What is missing at the end is missing in the last line.
    fn at(&self, line: usize) -> Origin {
        match self.place {
            Place::File(file) => Origin::Line {
                file: Arc::clone(file),
                line: line.min(self.last).max(1),
            },
            Place::Elsewhere(origin) => origin.clone(),
        }
    }

    fn malformed(&self, error: &ScanError) -> Problem {
        let origin = self.at(error.marker().line());
        origin.problem(format!("this isn't YAML: {}", error.info()))
    }
}

/// A list or section that isn't complete.
enum Open {
    List(Vec<Node>, Origin),
    Section(Vec<Entry>, Option<(String, Origin)>, Origin),
}

fn push(open: &mut Vec<Open>, new: Open) -> Result<(), Problem> {
    if open.len() >= DEPTH_MAX {
        let (Open::List(_, origin) | Open::Section(_, _, origin)) = new;
        return Err(origin.problem("this is nested too deeply"));
    }
    open.push(new);
    Ok(())
}

fn add(open: &mut [Open], document: &mut Option<Node>, node: Node) -> Result<(), Problem> {
    match open.last_mut() {
        None if document.is_some() => Err(node
            .origin
            .problem("there is a second document; a configuration is one")),
        None => {
            *document = Some(node);
            Ok(())
        }
        Some(Open::List(items, _)) => {
            items.push(node);
            Ok(())
        }
        Some(Open::Section(entries, name, _)) => match name.take() {
            None => {
                *name = Some(key(node, entries)?);
                Ok(())
            }
            Some((name, origin)) => {
                entries.push(Entry { name, origin, node });
                Ok(())
            }
        },
    }
}

fn key(node: Node, entries: &[Entry]) -> Result<(String, Origin), Problem> {
    let Value::Text(name) = node.value else {
        return Err(node.origin.problem("a key must be a word"));
    };
    if entries.iter().any(|entry| entry.name == name) {
        return Err(node.origin.problem(format!("`{name}` is said twice")));
    }
    Ok((name, node.origin))
}

fn scalar(text: &str, style: ScalarStyle) -> Value {
    if style == ScalarStyle::Plain && matches!(text, "" | "~" | "null" | "Null" | "NULL") {
        Value::Empty
    } else {
        Value::Text(text.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Node, String> {
        read(text, &Place::File("c.yml".into())).map_err(|problem| problem.to_string())
    }

    #[test]
    fn values_are_kept_as_written_with_their_lines() {
        let tree =
            parse("# c\nversion: 0.1\nhttp:\n  addr: :5000\n  tls:\n    key: '~'\nlog:\n").unwrap();
        assert_eq!(tree.at("version").unwrap().text(), Some("0.1"));
        assert_eq!(tree.at("http.addr").unwrap().text(), Some(":5000"));
        assert_eq!(tree.at("http.addr").unwrap().origin.to_string(), "c.yml:4");
        assert_eq!(tree.at("http.tls.key").unwrap().text(), Some("~"));
        assert_eq!(tree.entry("log").unwrap().origin.to_string(), "c.yml:7");
        assert!(tree.at("log").is_none());
        assert_eq!(parse("").unwrap().value, Value::Empty);
    }

    #[test]
    fn what_has_two_meanings_is_refused_with_its_line() {
        for (text, line, what) in [
            ("a: 1\nb: 2\na: 3\n", 3, "twice"),
            ("a: &x 1\nb: *x\n", 2, "write the value out"),
            ("a: 1\n---\nb: 1\n", 3, "second document"),
            ("a:\n  - b\n c: d\n", 3, "YAML"),
            ("? [a]\n: b\n", 1, "word"),
            ("a: [1\n", 1, "YAML"),
            ("a: 1\nb", 2, "YAML"),
            ("a: 1\r\nb\r\n", 2, "YAML"),
        ] {
            let problem = parse(text).expect_err(text);
            assert!(problem.starts_with(&format!("c.yml:{line}: ")), "{problem}");
            assert!(problem.contains(what), "{problem}");
        }
        let deep = "[".repeat(100);
        assert!(parse(&deep).unwrap_err().contains("deep"));
    }
}
