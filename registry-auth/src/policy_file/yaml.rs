//! As much of YAML as a policy needs, with the lines.

use std::collections::HashSet;

use saphyr_parser::{Event, Parser, ScanError, Span, StrInput};

/// The deepest nesting.
const DEPTH_MAX: usize = 8;

/// What stands in a line.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) line: usize,
    pub(super) value: Value,
}

#[derive(Debug)]
pub(super) enum Value {
    Text(String),
    List(Vec<Node>),
    /// Each name with its line.
    Section(Vec<(String, usize, Node)>),
}

/// What is wrong in a line.
pub(super) type Wrong = (usize, String);

/// Reads the one document in `text`, if there is one.
pub(super) fn read(text: &str) -> Result<Option<Node>, Wrong> {
    let mut events = Events {
        parser: Parser::new_from_str(text),
        text,
    };
    let mut document = None;
    while let Some((event, line)) = events.next()? {
        match event {
            Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd
            | Event::Nothing => {}
            _ if document.is_some() => {
                return Err((line, "there is a second document; write one".to_owned()));
            }
            event => document = Some(events.node(event, line, 0)?),
        }
    }
    Ok(document)
}

struct Events<'a> {
    parser: Parser<'a, StrInput<'a>>,
    text: &'a str,
}

impl<'a> Events<'a> {
    fn next(&mut self) -> Result<Option<(Event<'a>, usize)>, Wrong> {
        let event: Option<Result<(Event<'a>, Span), ScanError>> = self.parser.next();
        match event {
            None => Ok(None),
            Some(Ok((event, span))) => Ok(Some((event, span.start.line()))),
            Some(Err(error)) => Err(malformed(self.text, &error)),
        }
    }

    fn node(&mut self, event: Event<'a>, line: usize, depth: usize) -> Result<Node, Wrong> {
        if depth >= DEPTH_MAX {
            return Err((line, "this is nested too deeply; write it out".to_owned()));
        }
        let value = match event {
            Event::Scalar(text, ..) => Value::Text(text.into_owned()),
            Event::SequenceStart(..) => {
                let mut items = Vec::new();
                while let Some((event, line)) = self.item()? {
                    items.push(self.node(event, line, depth.saturating_add(1))?);
                }
                Value::List(items)
            }
            Event::MappingStart(..) => {
                let mut entries = Vec::new();
                let mut names = HashSet::new();
                while let Some((event, line)) = self.item()? {
                    let Event::Scalar(name, ..) = event else {
                        return Err((line, "a key must be a word".to_owned()));
                    };
                    if !names.insert(name.clone()) {
                        return Err((line, format!("`{name}` is said twice; leave one out")));
                    }
                    let (event, below) = self.item()?.ok_or_else(|| unfinished(line))?;
                    let node = self.node(event, below, depth.saturating_add(1))?;
                    entries.push((name.into_owned(), line, node));
                }
                Value::Section(entries)
            }
            Event::Alias(_) => {
                let reason = "references such as *name aren't understood; write the value out";
                return Err((line, reason.to_owned()));
            }
            _ => return Err(unfinished(line)),
        };
        Ok(Node { line, value })
    }

    /// The next event, unless it ends the list or section.
    fn item(&mut self) -> Result<Option<(Event<'a>, usize)>, Wrong> {
        let item = self.next()?;
        Ok(item.filter(|(event, _)| !matches!(event, Event::SequenceEnd | Event::MappingEnd)))
    }
}

/// A tab is told by its own line: the parser may name the one that goes on there.
fn malformed(text: &str, error: &ScanError) -> Wrong {
    let line = error.marker().line();
    let has_tab = |text: &str| {
        let mut indentation = text.chars().take_while(|char| char.is_whitespace());
        indentation.any(|char| char == '\t')
    };
    let mut lines = (1..).zip(text.lines()).skip(line.saturating_sub(1));
    match lines.find(|(_, text)| has_tab(text)) {
        Some((line, _)) if error.info().contains("tab") => (
            line,
            "this isn't YAML: a tab is in the indentation; write blanks".to_owned(),
        ),
        _ => (line, format!("this isn't YAML: {}", error.info())),
    }
}

fn unfinished(line: usize) -> Wrong {
    (line, "this has no end; complete it".to_owned())
}
