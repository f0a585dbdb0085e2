//! What each requirement and each change means.

use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use registry_core::{
    Descriptor, Digest, Event, RepositoryEpoch, RepositoryName, Tag, UploadId, Usage,
};

use crate::metadata::{
    BlobRecord, BlobState, Change, ManifestRecord, RepositoryIdentity, RepositoryRecord,
    Requirement, TagRecord, UploadRecord,
};

#[derive(Debug, Clone, Default)]
pub(super) struct State {
    /// The identity given last.
    pub(super) identity: u64,
    /// The place in the outbox given last.
    pub(super) sequence: u64,
    pub(super) repositories: BTreeMap<RepositoryName, Repository>,
    /// Those of names of which repositories were deleted.
    pub(super) epochs: BTreeMap<RepositoryName, RepositoryEpoch>,
    pub(super) content: BTreeMap<Digest, BlobRecord>,
    pub(super) uploads: BTreeMap<UploadId, UploadRecord>,
    pub(super) outbox: BTreeMap<u64, Event>,
    pub(super) clock: Option<SystemTime>,
}

#[derive(Debug, Clone)]
pub(super) struct Repository {
    identity: RepositoryIdentity,
    /// The blobs and their sizes.
    pub(super) blobs: BTreeMap<Digest, u64>,
    pub(super) manifests: BTreeMap<Digest, Manifest>,
    pub(super) tags: BTreeMap<Tag, TagRecord>,
}

#[derive(Debug, Clone)]
pub(super) struct Manifest {
    pub(super) record: ManifestRecord,
    references: BTreeSet<Digest>,
    pub(super) referrer: Option<Descriptor>,
}

impl State {
    pub(super) fn repository(&self, name: &RepositoryName) -> Option<RepositoryRecord> {
        self.repositories
            .get(name)
            .map(|repository| RepositoryRecord {
                name: name.clone(),
                identity: repository.identity,
                usage: repository.usage(),
            })
    }

    pub(super) fn epoch(&self, name: &RepositoryName) -> RepositoryEpoch {
        self.epochs.get(name).copied().unwrap_or_default()
    }

    fn live(&self, digest: &Digest) -> Option<&BlobRecord> {
        let record = self.content.get(digest);
        record.filter(|record| record.state == BlobState::Live)
    }

    fn live_mut(&mut self, digest: &Digest) -> Option<&mut BlobRecord> {
        let record = self.content.get_mut(digest);
        record.filter(|record| record.state == BlobState::Live)
    }

    pub(super) fn blob(&self, name: &RepositoryName, digest: &Digest) -> Option<&BlobRecord> {
        let repository = self.repositories.get(name)?;
        repository.blobs.get(digest)?;
        self.live(digest)
    }

    fn tag(&self, name: &RepositoryName, tag: &Tag) -> Option<&TagRecord> {
        self.repositories.get(name)?.tags.get(tag)
    }

    /// The tags that point to a manifest.
    pub(super) fn tags_of(&self, repository: &RepositoryName, digest: &Digest) -> Vec<Tag> {
        let tags = self.repositories.get(repository).into_iter();
        tags.flat_map(|repository| &repository.tags)
            .filter(|(_, record)| record.digest == *digest)
            .map(|(tag, _)| tag.clone())
            .collect()
    }

    /// Whether `requirement` holds now, or, if it is about the state behind
    /// `changes`, whether it will.
    pub(super) fn meets(&self, requirement: &Requirement, changes: &[Change]) -> bool {
        match requirement {
            Requirement::RepositoryIs {
                repository,
                identity,
            } => self
                .repositories
                .get(repository)
                .is_some_and(|repository| repository.identity == *identity),
            Requirement::EpochIs { repository, number } => self.epoch(repository).number == *number,
            Requirement::UsageAtMost { repository, bytes } => {
                let mut behind = self.clone();
                for change in changes {
                    behind.apply(change.clone());
                }
                let repository = behind.repositories.get(repository);
                repository.is_none_or(|repository| repository.usage().bytes <= *bytes)
            }
            Requirement::TagAbsent { repository, tag } => self.tag(repository, tag).is_none(),
            Requirement::TagIs {
                repository,
                tag,
                digest,
            } => self
                .tag(repository, tag)
                .is_some_and(|record| record.digest == *digest),
            Requirement::TaggedWith {
                repository,
                digest,
                tags,
                more,
            } => {
                let found = self.tags_of(repository, digest);
                let (first, others) = found.split_at_checked(tags.len()).unwrap_or((&found, &[]));
                first == tags && *more != others.is_empty()
            }
            Requirement::TagsAtMost { repository, tags } => {
                let repository = self.repositories.get(repository);
                repository.is_none_or(|repository| repository.usage().tags <= *tags)
            }
            Requirement::ContentAbsent { digest } => self.live(digest).is_none(),
            Requirement::ContentIs { key } => {
                let record = self.live(&key.digest);
                record.is_some_and(|record| record.key == *key)
            }
            Requirement::ContentCondemned { key } => {
                let record = self.content.get(&key.digest);
                record.is_some_and(|record| record.key == *key && record.state != BlobState::Live)
            }
            Requirement::BlobLinked { repository, digest } => {
                self.blob(repository, digest).is_some()
            }
            Requirement::ManifestPresent { repository, digest } => self
                .repositories
                .get(repository)
                .is_some_and(|repository| repository.manifests.contains_key(digest)),
            Requirement::ManifestOnlyAs {
                repository,
                digest,
                media_type,
            } => self
                .repositories
                .get(repository)
                .and_then(|repository| repository.manifests.get(digest))
                .is_none_or(|manifest| manifest.record.media_type == *media_type),
            Requirement::Unreferenced { digest } => {
                let mut repositories = self.repositories.values();
                let mut manifests = repositories.by_ref().flat_map(|r| r.manifests.values());
                !manifests.any(|manifest| manifest.references.contains(digest))
            }
            Requirement::NotTouchedSince { digest, at } => {
                let record = self.live(digest);
                record.is_some_and(|record| record.touched_at < *at)
            }
            Requirement::UploadAt {
                repository,
                id,
                offset,
            } => self
                .uploads
                .get(id)
                .is_some_and(|upload| upload.repository == *repository && upload.offset == *offset),
            Requirement::UploadsBelow { repository, count } => {
                let uploads = self.uploads.values();
                let open = uploads.filter(|upload| upload.repository == *repository);
                (open.count() as u64) < *count
            }
        }
    }

    pub(super) fn apply(&mut self, change: Change) {
        match change {
            Change::PutContent(record) => {
                if record.state != BlobState::Live {
                    self.unlink_everywhere(&record.key.digest);
                }
                self.content.insert(record.key.digest, record);
            }
            Change::Touch { digest, at } => {
                if let Some(record) = self.live_mut(&digest) {
                    record.touched_at = record.touched_at.max(at);
                }
            }
            Change::Condemn { digest, at } => {
                if let Some(record) = self.live_mut(&digest) {
                    record.state = BlobState::Condemned { at };
                    self.unlink_everywhere(&digest);
                }
            }
            Change::ForgetContent { key } => {
                let record = self.content.get(&key.digest);
                if record.is_some_and(|record| record.key == key) {
                    self.content.remove(&key.digest);
                    self.unlink_everywhere(&key.digest);
                }
            }
            Change::LinkBlob {
                repository,
                digest,
                size,
            } => {
                if self.live(&digest).is_some() {
                    self.bring_into_being(repository).blobs.insert(digest, size);
                }
            }
            Change::UnlinkBlob { repository, digest } => {
                if let Some(repository) = self.repositories.get_mut(&repository) {
                    repository.blobs.remove(&digest);
                }
            }
            Change::PutManifest {
                repository,
                manifest,
                references,
                referrer,
            } => {
                let digest = manifest.digest;
                let mut references = BTreeSet::from_iter(references);
                references.insert(digest);
                let manifest = Manifest {
                    record: manifest,
                    references,
                    referrer,
                };
                let repository = self.bring_into_being(repository);
                repository.manifests.insert(digest, manifest);
            }
            Change::DeleteManifest { repository, digest } => {
                if let Some(repository) = self.repositories.get_mut(&repository) {
                    repository.manifests.remove(&digest);
                    repository.tags.retain(|_, tag| tag.digest != digest);
                }
            }
            Change::PutTag {
                repository,
                tag,
                digest,
                at,
            } => self.put_tag(&repository, tag, digest, at),
            Change::DeleteTag { repository, tag } => {
                if let Some(repository) = self.repositories.get_mut(&repository) {
                    repository.tags.remove(&tag);
                }
            }
            Change::DeleteRepository { repository, at } => self.delete_repository(repository, at),
            Change::PutEpoch {
                repository,
                number,
                at,
            } => self.change_epoch(repository, at, |before| before.max(number)),
            Change::PutUpload(upload) => {
                self.uploads.insert(upload.id, upload);
            }
            Change::DeleteUpload { id } => {
                self.uploads.remove(&id);
            }
            Change::Emit(event) => {
                self.sequence = self.sequence.saturating_add(1);
                self.outbox.insert(self.sequence, event);
            }
            Change::Acknowledge { sequence } => {
                self.outbox.retain(|place, _| *place > sequence);
            }
            Change::AdvanceClock { to } => self.clock = self.clock.max(Some(to)),
            Change::LimitOutbox { events } => {
                let last = self.sequence.saturating_sub(events);
                self.outbox.retain(|place, _| *place > last);
            }
        }
    }

    fn put_tag(
        &mut self,
        repository: &RepositoryName,
        tag: Tag,
        digest: Digest,
        moved_at: SystemTime,
    ) {
        let Some(repository) = self.repositories.get_mut(repository) else {
            return;
        };
        let points_there = |record: &TagRecord| record.digest == digest;
        if repository.manifests.contains_key(&digest)
            && !repository.tags.get(&tag).is_some_and(points_there)
        {
            let record = TagRecord { digest, moved_at };
            repository.tags.insert(tag, record);
        }
    }

    fn delete_repository(&mut self, name: RepositoryName, at: SystemTime) {
        self.uploads.retain(|_, upload| upload.repository != name);
        if self.repositories.remove(&name).is_some() {
            self.change_epoch(name, at, |before| before.saturating_add(1));
        }
    }

    fn change_epoch(
        &mut self,
        name: RepositoryName,
        at: SystemTime,
        number: impl FnOnce(u64) -> u64,
    ) {
        let epoch = self.epochs.entry(name).or_default();
        epoch.number = number(epoch.number);
        epoch.since = epoch.since.max(Some(at));
    }

    fn bring_into_being(&mut self, name: RepositoryName) -> &mut Repository {
        let given = &mut self.identity;
        self.repositories.entry(name).or_insert_with(|| {
            *given = given.saturating_add(1);
            Repository {
                identity: RepositoryIdentity(*given),
                blobs: BTreeMap::new(),
                manifests: BTreeMap::new(),
                tags: BTreeMap::new(),
            }
        })
    }

    fn unlink_everywhere(&mut self, digest: &Digest) {
        for repository in self.repositories.values_mut() {
            repository.blobs.remove(digest);
        }
    }
}

impl Repository {
    fn usage(&self) -> Usage {
        let manifests = self.manifests.values().map(|manifest| manifest.record.size);
        let sizes = self.blobs.values().copied().chain(manifests);
        Usage {
            repositories: 1,
            blobs: self.blobs.len() as u64,
            manifests: self.manifests.len() as u64,
            tags: self.tags.len() as u64,
            bytes: sizes.fold(0, u64::saturating_add),
        }
    }
}
