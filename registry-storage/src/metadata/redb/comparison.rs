//! Comparing what the database says with what its change log amounts to.

use std::cell::Cell;
use std::cmp::Ordering;
use std::fmt::Display;

use redb::{AccessGuard, Range, ReadableTable};
use registry_core::{Digest, RepositoryName, Result, Tag};
use serde::de::DeserializeOwned;

use super::facts::{Bytes, Facts, failed};
use super::key::{self, Family, Key, StoreFact};
use super::value::{
    Blob, Content, Counters, Departed, Manifest, References, Referrer, Repository, TagTarget,
    decode,
};

/// The first version of the change log that tells which repositories were
/// deleted in a way that the database of its time remembered.
const WITH_EPOCHS: u32 = 2;

/// A fact that the database and its change log don't agree about, or that
/// can't be.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrongFact {
    /// The repository that it is about; none if it is about what all share.
    pub repository: Option<RepositoryName>,
    /// What it is about.
    pub kind: FactKind,
    /// Its name in the repository: a tag, or a digest. Empty if the fact is about
    /// the repository, or the store, as a whole.
    pub name: String,
    /// What is wrong with it.
    pub fault: FactFault,
}

/// What a fact is about.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FactKind {
    /// Whether there is a repository, which of its name it is, and how much it
    /// holds.
    Repository,
    /// How many repositories of a name were deleted, and when.
    Epoch,
    /// A blob of a repository.
    Blob,
    /// A manifest, what it refers to, and how it is listed as a referrer.
    Manifest,
    /// A tag.
    Tag,
    /// The stored bytes behind a digest.
    Content,
    /// By what something else is found.
    Index,
}

/// What is wrong with a fact.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FactFault {
    /// The database says it, and the change log doesn't: the log is behind.
    OnlyInDatabase,
    /// The change log says it, and the database doesn't: the database is behind.
    OnlyInChangeLog,
    /// They say different things.
    Different,
    /// A repository holds a blob, and no record says where its bytes are.
    WithoutContent,
}

impl FactFault {
    /// What that means, and what helps.
    pub fn reason(self) -> &'static str {
        match self {
            Self::OnlyInDatabase => {
                "the database has it and its change log doesn't, so that a rebuild would lose it; \
                 keep a copy of the database until a checkpoint replaces the log"
            }
            Self::OnlyInChangeLog => {
                "its change log has it and the database doesn't; if it is missed, rebuild the \
                 database from the change log (`registry rebuild DIRECTORY`)"
            }
            Self::Different => {
                "the database and its change log say different things about it, and a rebuild \
                 would believe the log; keep a copy of the database before that"
            }
            Self::WithoutContent => {
                "no record says where its bytes are, so that it can't be pulled; push it again"
            }
        }
    }
}

/// Two sets of facts that should be the same.
#[derive(Debug)]
pub(super) struct Comparison<'t, T> {
    pub(super) database: Facts<'t, T>,
    /// What the change log amounts to.
    pub(super) log: Facts<'t, T>,
    /// Whether all of the change log could be read.
    pub(super) log_is_whole: bool,
    /// The oldest way in which any of its files is written.
    pub(super) oldest_version: u32,
}

impl<T: ReadableTable<Bytes, Bytes>> Comparison<'_, T> {
    /// Hands over all that is wrong, in an order that stays the same.
    pub(super) fn make(&self, found: &mut impl FnMut(WrongFact)) -> Result<()> {
        let same = Cell::new(true);
        let mut found = |wrong| {
            same.set(false);
            found(wrong);
        };
        self.compare_contents(&mut found)?;
        self.compare_epochs(&mut found)?;
        self.compare_repositories(&mut found)?;
        // These follow from the others, and so do their differences.
        if same.get() && self.log_is_whole {
            self.compare_indexes(&mut found)?;
        }
        if same.get() && self.log_is_whole {
            self.compare_counters(&mut found)?;
        }
        Ok(())
    }

    fn compare_contents(&self, found: &mut impl FnMut(WrongFact)) -> Result<()> {
        let prefix = Key::new(Family::Content);
        self.merge(&prefix, &prefix, |rest, database, log| {
            if let Some(fault) = difference::<Content>(database, log) {
                found(wrong(
                    None,
                    FactKind::Content,
                    key::read_digest(rest)?,
                    fault,
                ));
            }
            Ok(())
        })
    }

    fn compare_epochs(&self, found: &mut impl FnMut(WrongFact)) -> Result<()> {
        let prefix = Key::new(Family::Departed);
        self.merge(&prefix, &prefix, |rest, database, log| {
            let Some(fault) = difference::<Departed>(database, log) else {
                return Ok(());
            };
            let number = |value: Option<&[u8]>| {
                let departed = value.map(decode::<Departed>).transpose();
                departed.map(|departed| departed.unwrap_or_default().number)
            };
            // The databases of that time remembered none of the deletions that
            // the log tells of, and a rebuild may well count more.
            let is_older = self.oldest_version < WITH_EPOCHS;
            if !(is_older && number(log)? >= number(database)?) {
                let name = key::read_text(rest)?;
                found(wrong(Some(&name), FactKind::Epoch, "", fault));
            }
            Ok(())
        })
    }

    fn compare_repositories(&self, found: &mut impl FnMut(WrongFact)) -> Result<()> {
        let prefix = Key::new(Family::Repository);
        self.merge(&prefix, &prefix, |rest, database, log| {
            let name: RepositoryName = key::read_text(rest)?;
            let database: Option<Repository> = database.map(decode).transpose()?;
            let log: Option<Repository> = log.map(decode).transpose()?;
            let fault = match (database, log) {
                (Some(database), Some(log)) => {
                    return self.compare_repository(&name, database, log, found);
                }
                (Some(database), None) => {
                    self.find_without_content(&name, database, found)?;
                    FactFault::OnlyInDatabase
                }
                _ => FactFault::OnlyInChangeLog,
            };
            found(wrong(Some(&name), FactKind::Repository, "", fault));
            Ok(())
        })
    }

    fn compare_repository(
        &self,
        name: &RepositoryName,
        database: Repository,
        log: Repository,
        found: &mut impl FnMut(WrongFact),
    ) -> Result<()> {
        let same = Cell::new(true);
        let mut found = |kind, text: String, fault| {
            same.set(false);
            found(wrong(Some(name), kind, text, fault));
        };
        let within = |family| {
            let of = |repository: Repository| Key::within(family, repository.identity);
            (of(database), of(log))
        };
        let (ours, theirs) = within(Family::Blob);
        self.merge(&ours, &theirs, |rest, blob, logged| {
            let digest = key::read_digest(rest)?;
            let fault = if blob.is_some() && self.database.live(&digest)?.is_none() {
                Some(FactFault::WithoutContent)
            } else {
                difference::<Blob>(blob, logged)
            };
            if let Some(fault) = fault {
                found(FactKind::Blob, digest.to_string(), fault);
            }
            Ok(())
        })?;
        let (ours, theirs) = within(Family::Manifest);
        self.merge(&ours, &theirs, |rest, manifest, logged| {
            let digest = key::read_digest(rest)?;
            let mut fault = difference::<Manifest>(manifest, logged);
            if fault.is_none()
                && let Some(manifest) = manifest
                && self.is_about_other(database, log, &digest, manifest)?
            {
                fault = Some(FactFault::Different);
            }
            if let Some(fault) = fault {
                found(FactKind::Manifest, digest.to_string(), fault);
            }
            Ok(())
        })?;
        let (ours, theirs) = within(Family::Tag);
        self.merge(&ours, &theirs, |rest, target, logged| {
            if let Some(fault) = difference::<TagTarget>(target, logged) {
                let tag: Tag = key::read_text(rest)?;
                found(FactKind::Tag, tag.to_string(), fault);
            }
            Ok(())
        })?;
        // How much there is follows from what there is. Which one of its name it
        // is can't be told from a log that lacks some.
        if same.get() && self.log_is_whole && database != log {
            found(FactKind::Repository, String::new(), FactFault::Different);
        }
        Ok(())
    }

    /// Whether what a manifest refers to, or is listed as, isn't the same.
    fn is_about_other(
        &self,
        database: Repository,
        log: Repository,
        digest: &Digest,
        manifest: &[u8],
    ) -> Result<bool> {
        let references = |facts: &Facts<'_, T>, repository: Repository| {
            let key = Key::within(Family::References, repository.identity).digest(digest);
            facts.get::<References>(&key)
        };
        if references(&self.database, database)? != references(&self.log, log)? {
            return Ok(true);
        }
        let Some(subject) = decode::<Manifest>(manifest)?.subject()? else {
            return Ok(false);
        };
        let referrer = |facts: &Facts<'_, T>, repository: Repository| {
            let key = Key::within(Family::Referrer, repository.identity).digest(&subject);
            facts.get::<Referrer>(&key.digest(digest))
        };
        Ok(referrer(&self.database, database)? != referrer(&self.log, log)?)
    }

    /// Finds the blobs of a repository that the database alone knows whose bytes
    /// it doesn't.
    fn find_without_content(
        &self,
        name: &RepositoryName,
        repository: Repository,
        found: &mut impl FnMut(WrongFact),
    ) -> Result<()> {
        let blobs = Key::within(Family::Blob, repository.identity);
        let all = self.database.each(&blobs, None, |rest, _| {
            let digest = key::read_digest(rest)?;
            if self.database.live(&digest)?.is_none() {
                let fault = FactFault::WithoutContent;
                found(wrong(Some(name), FactKind::Blob, digest, fault));
            }
            Ok(true)
        });
        all.map(drop)
    }

    /// Compares what follows from facts that are the same.
    fn compare_indexes(&self, found: &mut impl FnMut(WrongFact)) -> Result<()> {
        for family in [
            Family::Holder,
            Family::References,
            Family::ReferredBy,
            Family::Referrer,
            Family::TaggedBy,
        ] {
            let prefix = Key::new(family);
            self.merge(&prefix, &prefix, |rest, database, log| {
                let fault = match (database, log) {
                    (Some(_), Some(_)) => return Ok(()),
                    (Some(_), None) => FactFault::OnlyInDatabase,
                    _ => FactFault::OnlyInChangeLog,
                };
                let (repository, name) = self.indexed(family, rest)?;
                found(wrong(repository.as_ref(), FactKind::Index, name, fault));
                Ok(())
            })?;
        }
        Ok(())
    }

    /// The repository and the name that an entry of an index is about.
    fn indexed(&self, family: Family, rest: &[u8]) -> Result<(Option<RepositoryName>, String)> {
        match family {
            Family::Holder => {
                let (digest, name) = key::split_digest(rest)?;
                Ok((Some(key::read_text(name)?), digest.to_string()))
            }
            Family::ReferredBy => {
                let (_, rest) = key::split_digest(rest)?;
                let (identity, manifest) = key::split_number(rest)?;
                let digest = key::read_digest(manifest)?;
                Ok((self.name_of(identity)?, digest.to_string()))
            }
            Family::TaggedBy => {
                let (identity, rest) = key::split_number(rest)?;
                let (_, tag) = key::split_digest(rest)?;
                let tag: Tag = key::read_text(tag)?;
                Ok((self.name_of(identity)?, tag.to_string()))
            }
            _ => {
                let (identity, rest) = key::split_number(rest)?;
                let (digest, _) = key::split_digest(rest)?;
                Ok((self.name_of(identity)?, digest.to_string()))
            }
        }
    }

    /// The repository with an identity, if it is there.
    fn name_of(&self, identity: u64) -> Result<Option<RepositoryName>> {
        let mut name = None;
        let repositories = Key::new(Family::Repository);
        self.database.each(&repositories, None, |rest, value| {
            if decode::<Repository>(value)?.identity == identity {
                name = Some(key::read_text(rest)?);
            }
            Ok(name.is_none())
        })?;
        Ok(name)
    }

    fn compare_counters(&self, found: &mut impl FnMut(WrongFact)) -> Result<()> {
        let given = |facts: &Facts<'_, T>| {
            let counters: Result<Counters> = facts.store(StoreFact::Counters);
            counters.map(|counters| counters.identity)
        };
        if given(&self.database)? != given(&self.log)? {
            let fault = FactFault::Different;
            found(wrong(None, FactKind::Repository, "", fault));
        }
        Ok(())
    }

    /// Visits the facts whose keys start so, in order: the rest of the key, and
    /// the value in the database and in the log, of which at least one is there.
    fn merge(
        &self,
        database: &Key,
        log: &Key,
        mut visit: impl FnMut(&[u8], Option<&[u8]>, Option<&[u8]>) -> Result<()>,
    ) -> Result<()> {
        let mut database = Side::new(&self.database, database)?;
        let mut log = Side::new(&self.log, log)?;
        loop {
            let (next, order) = match (database.key(), log.key()) {
                (None, None) => return Ok(()),
                (Some(next), None) => (next, Ordering::Less),
                (None, Some(next)) => (next, Ordering::Greater),
                (Some(ours), Some(theirs)) => (ours.min(theirs), ours.cmp(theirs)),
            };
            visit(
                next,
                database.value().filter(|_| order.is_le()),
                log.value().filter(|_| order.is_ge()),
            )?;
            if order.is_le() {
                database.advance()?;
            }
            if order.is_ge() {
                log.advance()?;
            }
        }
    }
}

/// A fact that is wrong.
fn wrong(
    repository: Option<&RepositoryName>,
    kind: FactKind,
    name: impl Display,
    fault: FactFault,
) -> WrongFact {
    WrongFact {
        repository: repository.cloned(),
        kind,
        name: name.to_string(),
        fault,
    }
}

/// How two values differ, however they are written.
fn difference<V: DeserializeOwned + PartialEq>(
    database: Option<&[u8]>,
    log: Option<&[u8]>,
) -> Option<FactFault> {
    match (database, log) {
        (Some(ours), Some(theirs)) if ours == theirs => None,
        (Some(ours), Some(theirs)) => match (decode::<V>(ours), decode::<V>(theirs)) {
            (Ok(ours), Ok(theirs)) if ours == theirs => None,
            _ => Some(FactFault::Different),
        },
        (Some(_), None) => Some(FactFault::OnlyInDatabase),
        (None, Some(_)) => Some(FactFault::OnlyInChangeLog),
        (None, None) => None,
    }
}

/// Facts whose keys start alike, one after the other.
struct Side<'a> {
    facts: Range<'a, Bytes, Bytes>,
    prefix: usize,
    next: Option<(AccessGuard<'a, Bytes>, AccessGuard<'a, Bytes>)>,
}

impl<'a> Side<'a> {
    fn new<T: ReadableTable<Bytes, Bytes>>(facts: &Facts<'a, T>, prefix: &Key) -> Result<Self> {
        let end = prefix.end();
        let range = prefix.as_bytes()..end.as_slice();
        let mut side = Self {
            facts: facts.0.range::<&[u8]>(range).map_err(failed)?,
            prefix: prefix.as_bytes().len(),
            next: None,
        };
        side.advance()?;
        Ok(side)
    }

    fn advance(&mut self) -> Result<()> {
        self.next = self.facts.next().transpose().map_err(failed)?;
        Ok(())
    }

    /// The key without what it starts with.
    fn key(&self) -> Option<&[u8]> {
        self.next.as_ref()?.0.value().get(self.prefix..)
    }

    fn value(&self) -> Option<&[u8]> {
        Some(self.next.as_ref()?.1.value())
    }
}
