//! A configuration before anybody asks what it means: names, values, and where
//! each was said.

use super::problem::Origin;

/// A value and where it was said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) origin: Origin,
    pub(crate) value: Value,
}

/// A value that isn't understood yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value {
    /// Nothing: the default.
    Empty,
    /// A word, number or sentence, as it was written.
    Text(String),
    List(Vec<Node>),
    Section(Vec<Entry>),
}

/// A name in a section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) origin: Origin,
    pub(crate) node: Node,
}

impl Node {
    /// A section without entries.
    pub(crate) fn section(origin: Origin) -> Self {
        Self {
            origin,
            value: Value::Section(Vec::new()),
        }
    }

    pub(crate) fn entries(&self) -> &[Entry] {
        match &self.value {
            Value::Section(entries) => entries,
            _ => &[],
        }
    }

    pub(crate) fn entry(&self, name: &str) -> Option<&Entry> {
        self.entries().iter().find(|entry| entry.name == name)
    }

    /// The value at a path such as `http.tls.key`.
    pub(crate) fn at(&self, path: &str) -> Option<&Self> {
        path.split('.')
            .try_fold(self, |node, name| Some(&node.entry(name)?.node))
            .filter(|node| node.value != Value::Empty)
    }

    /// Whether it has neither a value nor entries.
    pub(crate) fn says_nothing(&self) -> bool {
        match &self.value {
            Value::Empty => true,
            Value::Section(entries) => entries.is_empty(),
            _ => false,
        }
    }

    pub(crate) fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Puts `node` at the end of `steps`, in place of what is there. What is on
    /// the way is made.
    ///
    /// # Errors
    ///
    /// With the length of a list that is too short for a step.
    pub(crate) fn set(&mut self, steps: &[Step<'_>], node: Self) -> Result<(), usize> {
        let Some((step, rest)) = steps.split_first() else {
            *self = node;
            return Ok(());
        };
        let empty = Self {
            origin: node.origin.clone(),
            value: Value::Empty,
        };
        match step {
            Step::Name(name) => {
                if !matches!(self.value, Value::Section(_)) {
                    *self = Self::section(node.origin.clone());
                }
                let Value::Section(entries) = &mut self.value else {
                    return Ok(());
                };
                if let Some(entry) = entries.iter_mut().find(|entry| entry.name == *name) {
                    return entry.node.set(rest, node);
                }
                let mut entry = Entry {
                    name: (*name).to_owned(),
                    origin: node.origin.clone(),
                    node: empty,
                };
                entry.node.set(rest, node)?;
                entries.push(entry);
            }
            Step::Index(index) => {
                if !matches!(self.value, Value::List(_)) {
                    self.value = Value::List(Vec::new());
                }
                let Value::List(items) = &mut self.value else {
                    return Ok(());
                };
                let length = items.len();
                if let Some(item) = items.get_mut(*index) {
                    return item.set(rest, node);
                }
                if *index > length {
                    return Err(length);
                }
                let mut item = empty;
                item.set(rest, node)?;
                items.push(item);
            }
        }
        Ok(())
    }
}

/// One step from a value to one within it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step<'a> {
    Name(&'a str),
    Index(usize),
}
