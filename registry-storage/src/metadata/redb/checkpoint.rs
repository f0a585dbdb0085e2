//! Checkpoints: all lasting facts in one file, in place of the records that
//! led to them.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use redb::ReadableTable;
use registry_core::{Digest, Error, RepositoryName, Result, Tag};

use super::change_log::{Files, checkpoint_name, draft_name, segment_name};
use super::disk::Disk;
use super::facts::{Bytes, Facts};
use super::key::{self, Family, Key, StoreFact};
use super::line::{Line, LineWriter, VERSION};
use super::value::{
    Blob, Content, Counters, Departed, Manifest, Position, References, Referrer, Repository,
    TagTarget, decode,
};
use crate::metadata::Change;
use crate::metadata::timestamp::from_nanoseconds;

/// Writes a checkpoint of these facts, which must be durable. Returns false,
/// with nothing changed, if `stop` becomes true meanwhile.
pub(super) fn write<T: ReadableTable<Bytes, Bytes>>(
    facts: &Facts<'_, T>,
    disk: &Arc<dyn Disk>,
    longest_line: usize,
    stop: &AtomicBool,
) -> Result<bool> {
    let position: Position = facts.store(StoreFact::Position)?;
    let written = write_at(facts, position.number, disk, longest_line, stop);
    if written.is_err() {
        // Half of one would keep room from others. It may not even be there.
        let _ = disk.remove(&draft_name(position.number));
    }
    written
}

fn write_at<T: ReadableTable<Bytes, Bytes>>(
    facts: &Facts<'_, T>,
    number: u64,
    disk: &Arc<dyn Disk>,
    longest_line: usize,
    stop: &AtomicBool,
) -> Result<bool> {
    let name = checkpoint_name(number);
    let draft = draft_name(number);
    let file = disk.open(&draft).map_err(unwritable)?;
    let mut lines = LineWriter::new(file, longest_line).map_err(unwritable)?;
    let whole = list(facts, number, |line| {
        lines.write(&line).map_err(unwritable)?;
        Ok(!stop.load(Ordering::Relaxed))
    })?;
    if !whole {
        disk.remove(&draft).map_err(unwritable)?;
        return Ok(false);
    }
    lines
        .end()
        .and_then(|()| disk.rename(&draft, &name))
        .and_then(|()| disk.sync())
        .map_err(unwritable)?;
    Ok(true)
}

/// Removes the segments and checkpoints that the newest checkpoint replaces.
pub(super) fn remove_replaced(disk: &dyn Disk) -> Result<()> {
    let files = Files::list(disk).map_err(unwritable)?;
    let Some(newest) = files.checkpoints.last() else {
        return Ok(());
    };
    for first in files.replaced_segments() {
        disk.remove(&segment_name(first)).map_err(unwritable)?;
    }
    for older in files.checkpoints.iter().filter(|older| *older < newest) {
        disk.remove(&checkpoint_name(*older)).map_err(unwritable)?;
    }
    Ok(())
}

/// Removes what is left of checkpoints whose process ended before they did. What
/// stays costs room and nothing else.
pub(super) fn remove_drafts(files: &Files, disk: &dyn Disk) {
    for number in &files.drafts {
        let name = draft_name(*number);
        if let Err(error) = disk.remove(&name) {
            tracing::warn!(%error, name, "an unfinished checkpoint can't be removed");
        }
    }
}

/// Hands over the lines of a checkpoint but the last, as long as `take`
/// returns true. Returns whether it did to the end.
///
/// The order is one in which everything finds what it needs.
fn list<T: ReadableTable<Bytes, Bytes>>(
    facts: &Facts<'_, T>,
    number: u64,
    mut take: impl FnMut(Line) -> Result<bool>,
) -> Result<bool> {
    let counters: Counters = facts.store(StoreFact::Counters)?;
    let identity = counters.identity;
    let header = Line::Checkpoint {
        version: VERSION,
        number,
        identity,
    };
    let contents = Key::new(Family::Content);
    let departed = Key::new(Family::Departed);
    let repositories = Key::new(Family::Repository);
    Ok(take(header)?
        && facts.each(&contents, None, |rest, value| {
            let content: Content = decode(value)?;
            let record = content.record(key::read_digest(rest)?);
            take(Line::Fact(Box::new(Change::PutContent(record))))
        })?
        && facts.each(&departed, None, |rest, value| {
            let departed: Departed = decode(value)?;
            take(Line::Fact(Box::new(Change::PutEpoch {
                repository: key::read_text(rest)?,
                number: departed.number,
                at: from_nanoseconds(departed.at),
            })))
        })?
        && facts.each(&repositories, None, |rest, value| {
            let name: RepositoryName = key::read_text(rest)?;
            let repository: Repository = decode(value)?;
            list_repository(facts, &name, repository.identity, &mut take)
        })?)
}

fn list_repository<T: ReadableTable<Bytes, Bytes>>(
    facts: &Facts<'_, T>,
    name: &RepositoryName,
    identity: u64,
    take: &mut impl FnMut(Line) -> Result<bool>,
) -> Result<bool> {
    let blobs = Key::within(Family::Blob, identity);
    let manifests = Key::within(Family::Manifest, identity);
    let tags = Key::within(Family::Tag, identity);
    let line = Line::Repository {
        name: name.clone(),
        identity,
    };
    Ok(take(line)?
        && facts.each(&blobs, None, |rest, value| {
            take(Line::Fact(Box::new(Change::LinkBlob {
                repository: name.clone(),
                digest: key::read_digest(rest)?,
                size: decode::<Blob>(value)?.size,
            })))
        })?
        && facts.each(&manifests, None, |rest, value| {
            let digest = key::read_digest(rest)?;
            let manifest: Manifest = decode(value)?;
            let put = put_manifest(facts, name, identity, &digest, manifest)?;
            take(Line::Fact(Box::new(put)))
        })?
        && facts.each(&tags, None, |rest, value| {
            let tag: Tag = key::read_text(rest)?;
            let record = decode::<TagTarget>(value)?.record()?;
            take(Line::Fact(Box::new(Change::PutTag {
                repository: name.clone(),
                tag,
                digest: record.digest,
                at: record.moved_at,
            })))
        })?)
}

fn put_manifest<T: ReadableTable<Bytes, Bytes>>(
    facts: &Facts<'_, T>,
    name: &RepositoryName,
    identity: u64,
    digest: &Digest,
    manifest: Manifest,
) -> Result<Change> {
    let key = Key::within(Family::References, identity).digest(digest);
    let references: Option<References> = facts.get(&key)?;
    let referrer: Option<Referrer> = match manifest.subject()? {
        Some(subject) => {
            let key = Key::within(Family::Referrer, identity).digest(&subject);
            facts.get(&key.digest(digest))?
        }
        None => None,
    };
    Ok(Change::PutManifest {
        repository: name.clone(),
        manifest: manifest.record(*digest)?,
        references: references.ok_or_else(key::unreadable)?.digests()?,
        referrer: referrer.map(Referrer::descriptor).transpose()?,
    })
}

fn unwritable(source: io::Error) -> Error {
    Error::internal("a checkpoint of the change log can't be written", source)
}
