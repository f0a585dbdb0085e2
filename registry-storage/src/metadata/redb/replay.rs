//! Carrying out again what a change log says, in a database of its own.

use redb::Database;
use registry_core::{ErrorKind, Result};

use super::facts::failed;
use super::facts_mut::FactsMut;
use super::key::{Key, StoreFact};
use super::line::{Line, VERSION};
use super::value::{Counters, Repository};
use super::writer::{FACTS, begin};
use crate::metadata::Change;

/// How many lines go into one transaction.
const LINES_AT_ONCE: usize = 4096;

/// How many bytes of lines wait for a transaction before there is one.
const BYTES_AT_ONCE: usize = 8 << 20;

/// Identities given out in a record that was skipped can't be known, so this
/// many are left out.
pub(super) const IDENTITIES_LEFT_OUT: u64 = 1 << 32;

/// A database that comes to hold what the lines of a change log amount to.
#[derive(Debug)]
pub(super) struct Replay<'a> {
    database: &'a Database,
    /// Lines that wait for a transaction.
    lines: Vec<Line>,
    /// How long they were about.
    bytes: usize,
    /// The oldest way in which any of the files is written.
    oldest: u32,
}

impl<'a> Replay<'a> {
    /// Goes on with what `database` holds.
    pub(super) fn new(database: &'a Database) -> Self {
        Self {
            database,
            lines: Vec::new(),
            bytes: 0,
            oldest: VERSION,
        }
    }

    /// The oldest way in which any of the files is written.
    pub(super) fn oldest_version(&self) -> u32 {
        self.oldest
    }

    /// Carries out a line that took `length` bytes, now or later.
    pub(super) fn take(&mut self, line: Line, length: usize) -> Result<()> {
        match line {
            // At once: what follows may be such that it looks damaged.
            Line::Segment { version, .. } | Line::Checkpoint { version, .. }
                if version > VERSION =>
            {
                return Err(ErrorKind::Unavailable.error(
                    "the change log was written by a later version of this program; use that one",
                ));
            }
            Line::Segment { version, .. } | Line::Checkpoint { version, .. } => {
                self.oldest = self.oldest.min(version);
                self.lines.push(line);
            }
            Line::Record { changes, .. } => self.take_changes(changes),
            line => self.lines.push(line),
        }
        self.bytes = self.bytes.saturating_add(length);
        if self.lines.len() >= LINES_AT_ONCE || self.bytes >= BYTES_AT_ONCE {
            self.flush()?;
        }
        Ok(())
    }

    fn take_changes(&mut self, changes: Vec<Change>) {
        let lines = changes.into_iter().map(Box::new).map(Line::Fact);
        self.lines.extend(lines);
    }

    /// Carries out all that waits.
    pub(super) fn flush(&mut self) -> Result<()> {
        let lines = std::mem::take(&mut self.lines);
        self.bytes = 0;
        self.change(|facts| lines.into_iter().try_for_each(|line| put(facts, line)))
    }

    pub(super) fn leave_out_identities(&mut self) -> Result<()> {
        self.flush()?;
        self.change(|facts| {
            let mut counters: Counters = facts.view().store(StoreFact::Counters)?;
            counters.identity = counters.identity.saturating_add(IDENTITIES_LEFT_OUT);
            facts.put(&Key::store(StoreFact::Counters), &counters)
        })
    }

    pub(super) fn change(
        &self,
        make: impl FnOnce(&mut FactsMut<'_, '_>) -> Result<()>,
    ) -> Result<()> {
        let transaction = begin(self.database, true)?;
        {
            let mut table = transaction.open_table(FACTS).map_err(failed)?;
            make(&mut FactsMut(&mut table))?;
        }
        transaction.commit().map_err(failed)
    }
}

fn put(facts: &mut FactsMut<'_, '_>, line: Line) -> Result<()> {
    match line {
        Line::Checkpoint { identity, .. } => {
            let mut counters: Counters = facts.view().store(StoreFact::Counters)?;
            counters.identity = identity;
            facts.put(&Key::store(StoreFact::Counters), &counters)
        }
        Line::Repository { name, identity } => {
            let repository = Repository {
                identity,
                blobs: 0,
                manifests: 0,
                tags: 0,
                bytes: 0,
            };
            facts.put(&Key::repository(&name), &repository)
        }
        Line::Fact(change) => facts.apply(*change),
        Line::Segment { .. } | Line::Record { .. } | Line::End { .. } => Ok(()),
    }
}
