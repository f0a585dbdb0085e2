//! Carrying out changes in a write transaction.

use std::collections::BTreeSet;
use std::time::SystemTime;

use redb::{ReadableTable, Table};
use registry_core::{Descriptor, Digest, RepositoryName, Result, Tag, UploadId};
use serde::Serialize;

use super::facts::{Bytes, Facts, failed};
use super::key::{self, Family, Key, StoreFact};
use super::value::{
    Blob, Content, Counters, Departed, Emitted, Manifest, References, Referrer, Repository,
    TagTarget, Upload, encode,
};
use crate::metadata::timestamp::to_nanoseconds;
use crate::metadata::{BlobState, Change, ManifestRecord, UploadRecord};

/// How many keys a removal of very many looks up at a time.
const REMOVED_AT_ONCE: usize = 1024;

/// The table, open for writing.
#[derive(Debug)]
pub(super) struct FactsMut<'t, 'txn>(pub(super) &'t mut Table<'txn, Bytes, Bytes>);

impl<'txn> FactsMut<'_, 'txn> {
    pub(super) fn view(&self) -> Facts<'_, Table<'txn, Bytes, Bytes>> {
        Facts(self.0)
    }

    pub(super) fn put<V: Serialize>(&mut self, key: &Key, value: &V) -> Result<()> {
        self.put_bytes(key, &encode(value)?)
    }

    /// Records that something is so, where the key says it all.
    fn mark(&mut self, key: &Key) -> Result<()> {
        self.put_bytes(key, &[])
    }

    fn put_bytes(&mut self, key: &Key, value: &[u8]) -> Result<()> {
        let replaced = self.0.insert(key.as_bytes(), value);
        replaced.map_err(failed).map(drop)
    }

    fn remove(&mut self, key: &Key) -> Result<bool> {
        let removed = self.0.remove(key.as_bytes()).map_err(failed)?;
        Ok(removed.is_some())
    }

    fn remove_all(&mut self, prefix: &Key) -> Result<()> {
        let end = prefix.end();
        let range = prefix.as_bytes()..end.as_slice();
        self.0
            .retain_in::<&[u8], _>(range, |_, _| false)
            .map_err(failed)
    }

    /// The first of the keys that start with `prefix`, as `read` reads the rest.
    fn first_of<X>(&self, prefix: &Key, read: impl Fn(&[u8]) -> Result<X>) -> Result<Vec<X>> {
        self.view()
            .list(prefix, None, REMOVED_AT_ONCE, |rest, _| read(rest))
    }

    pub(super) fn apply(&mut self, change: Change) -> Result<()> {
        match change {
            Change::PutContent(record) => {
                if record.state != BlobState::Live {
                    self.unlink_everywhere(&record.key.digest)?;
                }
                self.put_content(&record.key.digest, &Content::new(&record))
            }
            Change::Touch { digest, at } => {
                let at = to_nanoseconds(at);
                match self.view().live(&digest)? {
                    Some(mut content) if content.touched_at < at => {
                        content.touched_at = at;
                        self.put_content(&digest, &content)
                    }
                    _ => Ok(()),
                }
            }
            Change::Condemn { digest, at } => match self.view().live(&digest)? {
                Some(mut content) => {
                    content.condemn(at);
                    self.put_content(&digest, &content)?;
                    self.unlink_everywhere(&digest)
                }
                None => Ok(()),
            },
            Change::ForgetContent { key } => match self.view().content(&key.digest)? {
                Some(content) if content.is_under(&key) => {
                    self.remove(&Key::new(Family::Content).digest(&key.digest))?;
                    self.unlink_everywhere(&key.digest)
                }
                _ => Ok(()),
            },
            Change::LinkBlob {
                repository,
                digest,
                size,
            } => self.link(&repository, &digest, size),
            Change::UnlinkBlob { repository, digest } => self.unlink(&repository, &digest),
            Change::PutManifest {
                repository,
                manifest,
                references,
                referrer,
            } => self.put_manifest(&repository, &manifest, references, referrer),
            Change::DeleteManifest { repository, digest } => {
                self.delete_manifest(&repository, &digest)
            }
            Change::PutTag {
                repository,
                tag,
                digest,
                at,
            } => self.put_tag(&repository, &tag, &digest, at),
            Change::DeleteTag { repository, tag } => self.delete_tag(&repository, &tag),
            Change::DeleteRepository { repository, at } => self.delete_repository(&repository, at),
            Change::PutEpoch {
                repository,
                number,
                at,
            } => self.change_epoch(&repository, at, |before| before.max(number)),
            Change::PutUpload(record) => self.put_upload(record),
            Change::DeleteUpload { id } => self.delete_upload(&id),
            Change::Emit(event) => {
                let key = Key::store(StoreFact::Counters);
                let mut counters: Counters = self.view().store(StoreFact::Counters)?;
                counters.sequence = counters.sequence.saturating_add(1);
                self.put(&key, &counters)?;
                let key = Key::new(Family::Outbox).number(counters.sequence);
                self.put(&key, &Emitted::new(&event)?)
            }
            Change::Acknowledge { sequence } => self.remove_events(sequence),
            Change::AdvanceClock { to } => {
                let key = Key::store(StoreFact::Clock);
                let before: u64 = self.view().store(StoreFact::Clock)?;
                self.put(&key, &before.max(to_nanoseconds(to)))
            }
            Change::LimitOutbox { events } => {
                let counters: Counters = self.view().store(StoreFact::Counters)?;
                self.remove_events(counters.sequence.saturating_sub(events))
            }
        }
    }

    /// Removes the events up to `last` from the outbox.
    fn remove_events(&mut self, last: u64) -> Result<()> {
        let outbox = Key::new(Family::Outbox);
        let last = outbox.clone().number(last);
        let range = outbox.as_bytes()..=last.as_bytes();
        // Mostly there are none, and finding that out changes nothing.
        let none = {
            let mut found = self.0.range::<&[u8]>(range.clone()).map_err(failed)?;
            found.next().is_none()
        };
        if none {
            return Ok(());
        }
        self.0
            .retain_in::<&[u8], _>(range, |_, _| false)
            .map_err(failed)
    }

    fn put_content(&mut self, digest: &Digest, content: &Content) -> Result<()> {
        self.put(&Key::new(Family::Content).digest(digest), content)
    }

    fn bring_into_being(&mut self, name: &RepositoryName) -> Result<Repository> {
        if let Some(repository) = self.view().repository(name)? {
            return Ok(repository);
        }
        let mut counters: Counters = self.view().store(StoreFact::Counters)?;
        counters.identity = counters.identity.saturating_add(1);
        self.put(&Key::store(StoreFact::Counters), &counters)?;
        Ok(Repository {
            identity: counters.identity,
            blobs: 0,
            manifests: 0,
            tags: 0,
            bytes: 0,
        })
    }

    fn put_repository(&mut self, name: &RepositoryName, repository: &Repository) -> Result<()> {
        self.put(&Key::repository(name), repository)
    }

    fn link(&mut self, name: &RepositoryName, digest: &Digest, size: u64) -> Result<()> {
        if self.view().live(digest)?.is_none() {
            return Ok(());
        }
        let mut repository = self.bring_into_being(name)?;
        match self.view().blob(repository.identity, digest)? {
            Some(before) => repository.bytes = repository.bytes.saturating_sub(before.size),
            None => repository.blobs = repository.blobs.saturating_add(1),
        }
        repository.bytes = repository.bytes.saturating_add(size);
        let key = Key::within(Family::Blob, repository.identity).digest(digest);
        self.put(&key, &Blob { size })?;
        self.mark(&Key::new(Family::Holder).digest(digest).text(name.as_str()))?;
        self.put_repository(name, &repository)
    }

    fn unlink(&mut self, name: &RepositoryName, digest: &Digest) -> Result<()> {
        let Some(mut repository) = self.view().repository(name)? else {
            return Ok(());
        };
        let Some(blob) = self.view().blob(repository.identity, digest)? else {
            return Ok(());
        };
        repository.blobs = repository.blobs.saturating_sub(1);
        repository.bytes = repository.bytes.saturating_sub(blob.size);
        self.remove(&Key::within(Family::Blob, repository.identity).digest(digest))?;
        self.remove(&Key::new(Family::Holder).digest(digest).text(name.as_str()))?;
        self.put_repository(name, &repository)
    }

    fn unlink_everywhere(&mut self, digest: &Digest) -> Result<()> {
        let holders = Key::new(Family::Holder).digest(digest);
        loop {
            let names: Vec<RepositoryName> = self.first_of(&holders, key::read_text)?;
            if names.is_empty() {
                return Ok(());
            }
            for name in names {
                self.unlink(&name, digest)?;
            }
        }
    }

    fn put_manifest(
        &mut self,
        name: &RepositoryName,
        manifest: &ManifestRecord,
        references: Vec<Digest>,
        referrer: Option<Descriptor>,
    ) -> Result<()> {
        let mut repository = self.bring_into_being(name)?;
        let identity = repository.identity;
        let digest = &manifest.digest;
        match self.forget_manifest(identity, digest)? {
            Some(before) => repository.bytes = repository.bytes.saturating_sub(before.size),
            None => repository.manifests = repository.manifests.saturating_add(1),
        }
        repository.bytes = repository.bytes.saturating_add(manifest.size);
        let mut references = BTreeSet::from_iter(references);
        references.insert(*digest);
        for referred in &references {
            let key = Key::new(Family::ReferredBy).digest(referred);
            self.mark(&key.number(identity).digest(digest))?;
        }
        let key = Key::within(Family::References, identity).digest(digest);
        self.put(&key, &References::new(&references))?;
        if let (Some(subject), Some(referrer)) = (&manifest.subject, referrer) {
            let key = Key::within(Family::Referrer, identity).digest(subject);
            self.put(&key.digest(digest), &Referrer::new(referrer))?;
        }
        let key = Key::within(Family::Manifest, identity).digest(digest);
        self.put(&key, &Manifest::new(manifest))?;
        self.put_repository(name, &repository)
    }

    /// Removes a manifest with what it refers to, but neither its tags nor its
    /// part in the counts.
    fn forget_manifest(&mut self, identity: u64, digest: &Digest) -> Result<Option<Manifest>> {
        let key = Key::within(Family::Manifest, identity).digest(digest);
        let Some(manifest) = self.view().get::<Manifest>(&key)? else {
            return Ok(None);
        };
        self.remove(&key)?;
        if let Some(subject) = manifest.subject()? {
            let key = Key::within(Family::Referrer, identity).digest(&subject);
            self.remove(&key.digest(digest))?;
        }
        self.forget_references(identity, digest)?;
        Ok(Some(manifest))
    }

    fn forget_references(&mut self, identity: u64, digest: &Digest) -> Result<()> {
        let key = Key::within(Family::References, identity).digest(digest);
        if let Some(references) = self.view().get::<References>(&key)? {
            for referred in references.digests()? {
                let key = Key::new(Family::ReferredBy).digest(&referred);
                self.remove(&key.number(identity).digest(digest))?;
            }
            self.remove(&key)?;
        }
        Ok(())
    }

    fn delete_manifest(&mut self, name: &RepositoryName, digest: &Digest) -> Result<()> {
        let Some(mut repository) = self.view().repository(name)? else {
            return Ok(());
        };
        let identity = repository.identity;
        let Some(manifest) = self.forget_manifest(identity, digest)? else {
            return Ok(());
        };
        repository.manifests = repository.manifests.saturating_sub(1);
        repository.bytes = repository.bytes.saturating_sub(manifest.size);
        let tagged_by = Key::within(Family::TaggedBy, identity).digest(digest);
        loop {
            let tags: Vec<Tag> = self.first_of(&tagged_by, key::read_text)?;
            if tags.is_empty() {
                break;
            }
            for tag in tags {
                self.remove(&tagged_by.clone().tag(&tag))?;
                self.remove(&Key::within(Family::Tag, identity).tag(&tag))?;
                repository.tags = repository.tags.saturating_sub(1);
            }
        }
        self.put_repository(name, &repository)
    }

    fn put_tag(
        &mut self,
        name: &RepositoryName,
        tag: &Tag,
        digest: &Digest,
        at: SystemTime,
    ) -> Result<()> {
        let Some(mut repository) = self.view().repository(name)? else {
            return Ok(());
        };
        let identity = repository.identity;
        if self.view().manifest(identity, digest)?.is_none() {
            return Ok(());
        }
        if let Some(before) = self.view().tag(identity, tag)? {
            let before = before.digest()?;
            if before == *digest {
                return Ok(());
            }
            let key = Key::within(Family::TaggedBy, identity).digest(&before);
            self.remove(&key.tag(tag))?;
        } else {
            repository.tags = repository.tags.saturating_add(1);
            self.put_repository(name, &repository)?;
        }
        let key = Key::within(Family::TaggedBy, identity).digest(digest);
        self.mark(&key.tag(tag))?;
        let key = Key::within(Family::Tag, identity).tag(tag);
        self.put(&key, &TagTarget::new(digest, at))
    }

    fn delete_tag(&mut self, name: &RepositoryName, tag: &Tag) -> Result<()> {
        let Some(mut repository) = self.view().repository(name)? else {
            return Ok(());
        };
        let identity = repository.identity;
        let Some(target) = self.view().tag(identity, tag)? else {
            return Ok(());
        };
        self.remove(&Key::within(Family::Tag, identity).tag(tag))?;
        let key = Key::within(Family::TaggedBy, identity).digest(&target.digest()?);
        self.remove(&key.tag(tag))?;
        repository.tags = repository.tags.saturating_sub(1);
        self.put_repository(name, &repository)
    }

    fn change_epoch(
        &mut self,
        name: &RepositoryName,
        at: SystemTime,
        number: impl FnOnce(u64) -> u64,
    ) -> Result<()> {
        let key = Key::departed(name);
        let before: Departed = self.view().get(&key)?.unwrap_or_default();
        let departed = Departed {
            number: number(before.number),
            at: before.at.max(to_nanoseconds(at)),
        };
        self.put(&key, &departed)
    }

    fn delete_repository(&mut self, name: &RepositoryName, at: SystemTime) -> Result<()> {
        if let Some(Repository { identity, .. }) = self.view().repository(name)? {
            let blobs = Key::within(Family::Blob, identity);
            loop {
                let digests = self.first_of(&blobs, key::read_digest)?;
                if digests.is_empty() {
                    break;
                }
                for digest in digests {
                    let holder = Key::new(Family::Holder).digest(&digest);
                    self.remove(&holder.text(name.as_str()))?;
                    self.remove(&blobs.clone().digest(&digest))?;
                }
            }
            let references = Key::within(Family::References, identity);
            loop {
                let digests = self.first_of(&references, key::read_digest)?;
                if digests.is_empty() {
                    break;
                }
                for digest in digests {
                    self.forget_references(identity, &digest)?;
                }
            }
            for family in [
                Family::Manifest,
                Family::Referrer,
                Family::Tag,
                Family::TaggedBy,
            ] {
                self.remove_all(&Key::within(family, identity))?;
            }
            self.remove(&Key::repository(name))?;
            self.change_epoch(name, at, |before| before.saturating_add(1))?;
        }
        let uploads = Key::uploads_in(name);
        loop {
            let ids = self.first_of(&uploads, key::read_upload)?;
            if ids.is_empty() {
                return Ok(());
            }
            for id in ids {
                self.delete_upload(&id)?;
            }
        }
    }

    fn put_upload(&mut self, record: UploadRecord) -> Result<()> {
        let id = record.id;
        self.delete_upload(&id)?;
        let upload = Upload::new(record);
        self.mark(&Key::uploads_in(&upload.repository).bytes(id.as_bytes()))?;
        let idle = Key::new(Family::UploadIdle).number(upload.active_at);
        self.mark(&idle.bytes(id.as_bytes()))?;
        self.put_bytes(&Key::upload(&id), &upload.encode()?)
    }

    fn delete_upload(&mut self, id: &UploadId) -> Result<()> {
        let Some(upload) = self.view().upload(id)? else {
            return Ok(());
        };
        self.remove(&Key::upload(id))?;
        self.remove(&Key::uploads_in(&upload.repository).bytes(id.as_bytes()))?;
        let idle = Key::new(Family::UploadIdle).number(upload.active_at);
        self.remove(&idle.bytes(id.as_bytes()))?;
        Ok(())
    }
}
