//! Manifests and tags of a repository.

use bytes::Bytes;
use registry_core::{
    Access, Action, Admission, Deletion, Descriptor, Digest, Error, ErrorDetail, ErrorKind,
    EventAction, EventTarget, Hasher, Manifest, ManifestReference, Precondition, Pushed,
    PutManifest, Reference, ReferenceKind, Result, Tag, Verified,
};

use super::blobs::{damaged, is_damage};
use super::content::{Stored, keep_one};
use super::gate::{MAX_TAGS, too_many_tags};
use super::read_back::{blocking, collect};
use super::{COMMIT_TRIES, Engine, contended, gone, same_repository};
use crate::{Batch, BlobKey, Change, CommitError, ManifestRecord, Requirement};

/// Manifests up to this size are hashed where they are; that takes less time
/// than changing threads.
const HASH_HERE: usize = 64 << 10;

/// How many larger ones are read and hashed at once.
pub(super) const LARGE_READS: usize = 4;

/// How many of the tags that go with a manifest the event about it names.
const MAX_EVENT_TAGS: usize = 100;

impl Engine {
    pub(super) async fn resolve(
        &self,
        access: &Access,
        reference: &Reference,
    ) -> Result<Descriptor> {
        access.require(Action::Pull)?;
        let record = self.manifest_record(access, reference).await?;
        // Whoever asks before a push would not push it.
        if self.lacks(&record.digest).await? {
            return Err(ErrorKind::ManifestUnknown
                .error("the stored manifest is damaged; push it again to mend it")
                .with_source(damaged()));
        }
        Ok(Descriptor::new(
            record.media_type,
            record.digest,
            record.size,
        ))
    }

    pub(super) async fn get_manifest(
        &self,
        access: &Access,
        reference: &Reference,
    ) -> Result<Manifest> {
        access.require(Action::Pull)?;
        let record = self.manifest_record(access, reference).await?;
        let bytes = match self.inner.manifests.get(&record.digest) {
            Some(bytes) => bytes,
            None => self
                .read_manifest(&record)
                .await
                .inspect_err(|_| self.inner.manifests.count_error())?,
        };
        Ok(Manifest {
            media_type: record.media_type,
            digest: record.digest,
            bytes,
        })
    }

    pub(super) async fn put_manifest(&self, access: &Access, push: PutManifest) -> Result<Pushed> {
        access.require(Action::Push)?;
        let engine = self.clone();
        let access = access.clone();
        // On a task of its own: a client that goes away doesn't leave stored
        // bytes without a record.
        let put = tokio::spawn(async move { engine.put(&access, &push).await });
        put.await
            .map_err(|source| Error::internal("the push was interrupted", source))?
    }

    pub(super) async fn delete(&self, access: &Access, what: Deletion) -> Result<()> {
        match what {
            Deletion::Blob(digest) => self.delete_blob(access, &digest).await,
            Deletion::Manifest(digest) => self.delete_manifest(access, &digest).await,
            Deletion::Tag { tag, expected } => self.delete_tag(access, tag, expected).await,
        }
    }

    async fn manifest_record(
        &self,
        access: &Access,
        reference: &Reference,
    ) -> Result<ManifestRecord> {
        self.metadata()
            .manifest(access.repository(), reference)
            .await?
            .ok_or_else(unknown)
    }

    /// Reads a manifest from the store, checks it, and keeps it in memory.
    async fn read_manifest(&self, record: &ManifestRecord) -> Result<Bytes> {
        // Kept until the bytes are the caller's, not only until they were read.
        let _turn = if record.size > HASH_HERE as u64 {
            self.inner.large_manifests.acquire().await.ok()
        } else {
            None
        };
        let content = self.metadata().content(&record.digest).await?;
        let content = content.ok_or_else(damaged)?;
        let body = self.open_content(&content, 0..record.size).await?;
        let bytes = match collect(body, record.size).await {
            Ok(bytes) => bytes,
            Err(error) => {
                if is_damage(&error) {
                    self.inner.damages.remember(&content.key);
                }
                return Err(error);
            }
        };
        let verified = hash(record.digest, bytes.clone()).await?;
        if verified.expect(&record.digest).is_err() {
            self.inner.damages.remember(&content.key);
            return Err(damaged());
        }
        self.inner.manifests.insert(record.digest, &bytes);
        Ok(bytes)
    }

    async fn put(&self, access: &Access, push: &PutManifest) -> Result<Pushed> {
        self.admit(access, Admission::Push(push)).await?;
        let mut written = None;
        let pushed = self.put_and_write(access, push, &mut written).await;
        if pushed.is_err() {
            self.drop_copy(written);
        }
        pushed
    }

    /// Leaves in `written` the bytes that are superfluous if it fails.
    async fn put_and_write(
        &self,
        access: &Access,
        push: &PutManifest,
        written: &mut Option<BlobKey>,
    ) -> Result<Pushed> {
        let manifest = push.manifest();
        let size = manifest.bytes.len() as u64;
        for _ in 0..COMMIT_TRIES {
            let mut require = vec![self.require_type(access, manifest).await?];
            require.extend(self.require_references(access, push).await?);
            require.extend(self.require_tags(access, push).await?);

            let (mut batch, loser) = self.require_content(access, manifest, written).await?;
            batch.require.extend(same_repository(access));
            batch.require.extend(require);
            let at = self.now();
            let repository = access.repository();
            batch.changes.push(Change::PutManifest {
                repository: repository.clone(),
                manifest: ManifestRecord {
                    digest: manifest.digest,
                    media_type: manifest.media_type.clone(),
                    size,
                    subject: push.document().subject().map(|subject| subject.digest),
                    pushed_at: at,
                },
                references: kept(push.document().references()),
                referrer: push.document().subject().map(|_| referrer(push)),
            });
            batch
                .changes
                .extend(push.tags().iter().map(|tag| Change::PutTag {
                    repository: repository.clone(),
                    tag: tag.clone(),
                    digest: manifest.digest,
                    at,
                }));
            let target = EventTarget::Manifest {
                digest: manifest.digest,
                media_type: manifest.media_type.clone(),
                size,
                tags: push.tags().to_vec(),
                more_tags: false,
            };
            batch
                .changes
                .extend(self.tell(access, EventAction::Push, target, None)?);
            match self.commit(batch).await {
                Ok(()) => {
                    self.kept(loser);
                    self.inner
                        .manifests
                        .insert(manifest.digest, &manifest.bytes);
                    return Ok(Pushed {
                        descriptor: manifest.descriptor(),
                        subject: push.document().subject().map(|subject| subject.digest),
                        tags: push.tags().to_vec(),
                    });
                }
                Err(CommitError::Conflict(Requirement::EpochIs { .. })) => return Err(gone()),
                // Something changed in between: look at it again.
                Err(CommitError::Conflict(_)) => {}
                Err(CommitError::Refused(error)) => return Err(error),
                // The outcome is unknown, so the bytes stay.
                Err(CommitError::Failed(error)) => {
                    *written = None;
                    return Err(error);
                }
            }
        }
        Err(contended())
    }

    /// What is stored keeps its media type: under another one it could cease to
    /// be about its subject, and tags would lead to something else, though the
    /// push moves none.
    async fn require_type(&self, access: &Access, manifest: &Manifest) -> Result<Requirement> {
        let repository = access.repository();
        let reference = Reference::Digest(manifest.digest);
        let known = self.metadata().manifest(repository, &reference).await?;
        let media_type = manifest.media_type.clone();
        match known.map(|known| known.media_type) {
            Some(known) if known != media_type => Err(ErrorKind::ManifestInvalid.error(format!(
                "the manifest is here already as {known} and can't become {media_type}; send it \
                 as what it is, or delete it first"
            ))),
            _ => Ok(Requirement::ManifestOnlyAs {
                repository: repository.clone(),
                digest: manifest.digest,
                media_type,
            }),
        }
    }

    /// Sees to it that the bytes of the manifest are stored. A manifest that
    /// this repository holds already, whole, isn't written again.
    async fn require_content(
        &self,
        access: &Access,
        manifest: &Manifest,
        written: &mut Option<BlobKey>,
    ) -> Result<(Batch, Option<BlobKey>)> {
        let digest = manifest.digest;
        let size = manifest.bytes.len() as u64;
        let stored = self.stored(manifest).await?;
        if let (Stored::Whole(key), None) = (stored, &written) {
            let reference = Reference::Digest(digest);
            let known = self
                .metadata()
                .manifest(access.repository(), &reference)
                .await?;
            if known.is_some() {
                let (batch, _) = keep_one(stored, key, size, self.now());
                return Ok((batch, None));
            }
        }
        let key = if let Some(key) = *written {
            key
        } else {
            let verified = hash(digest, manifest.bytes.clone())
                .await?
                .expect(&digest)?;
            let id = self.new_id()?;
            // No record names these bytes yet, so that the expiry of uploads
            // would take them for forgotten ones.
            let _session = self.inner.sessions.enter(id);
            let mut staged = self.blobs().stage(&id, 0).await?;
            staged.write(manifest.bytes.clone()).await?;
            *written.insert(staged.publish(verified).await?)
        };
        Ok(keep_one(stored, key, size, self.now()))
    }

    /// What is stored of a manifest. Manifests are small enough to compare.
    async fn stored(&self, manifest: &Manifest) -> Result<Stored> {
        let Some(record) = self.live_content(&manifest.digest).await? else {
            return Ok(Stored::Absent);
        };
        let key = record.key;
        let size = manifest.bytes.len() as u64;
        let bytes = match self.blobs().open(&key, 0..size).await {
            Ok(body) => collect(body, size).await,
            Err(error) => Err(error),
        };
        match bytes {
            Ok(bytes) if bytes == manifest.bytes => {
                self.inner.damages.forget(&key);
                Ok(Stored::Whole(key))
            }
            Ok(_) => Ok(Stored::Doubtful(key)),
            Err(error) if is_damage(&error) => Ok(Stored::Doubtful(key)),
            Err(error) => Err(error),
        }
    }

    /// What has to be in the repository for the manifest to be accepted.
    async fn require_references(
        &self,
        access: &Access,
        push: &PutManifest,
    ) -> Result<Vec<Requirement>> {
        let mut require = Vec::new();
        let mut missing = Vec::new();
        let mut wrong = Vec::new();
        if self.options().sparse_manifests {
            return Ok(require);
        }
        for reference in push.document().references() {
            let said = reference.descriptor.size;
            match self.require_reference(access, reference).await? {
                Some(Some((requirement, size))) => {
                    require.push(requirement);
                    if size != said {
                        wrong.push((reference.descriptor.digest, said, size));
                    }
                }
                Some(None) => {}
                None => missing.push(reference.descriptor.digest),
            }
        }
        if missing.is_empty() {
            self.judge_sizes(access, push, &wrong)?;
            return Ok(require);
        }
        Err(ErrorKind::ManifestBlobUnknown
            .error("push everything that the manifest refers to before the manifest")
            .with_detail(ErrorDetail::Missing(missing)))
    }

    /// What becomes of a manifest that says of content that it has another size than
    /// it has: these digests, with the sizes said and found. Clients that trust the
    /// manifest fail, or read too little.
    fn judge_sizes(
        &self,
        access: &Access,
        push: &PutManifest,
        wrong: &[(Digest, u64, u64)],
    ) -> Result<()> {
        let Some((digest, said, size)) = wrong.first() else {
            return Ok(());
        };
        if self.options().exact_sizes {
            return Err(ErrorKind::ManifestInvalid.error(format!(
                "{digest} has {size} bytes, not {said} as the manifest says; correct the manifest"
            )));
        }
        tracing::warn!(
            repository = %access.repository(),
            manifest = %push.manifest().digest,
            %digest,
            said,
            size,
            others = wrong.len().saturating_sub(1),
            "a manifest says of content that it has another size than it has"
        );
        Ok(())
    }

    /// What one reference needs, and the size of what is there, if it needs anything;
    /// `None` if it isn't there.
    async fn require_reference(
        &self,
        access: &Access,
        reference: &ManifestReference,
    ) -> Result<Option<Option<(Requirement, u64)>>> {
        let repository = access.repository();
        let digest = reference.descriptor.digest;
        let (as_manifest, as_blob) = match reference.kind {
            ReferenceKind::Config => (false, true),
            ReferenceKind::Layer => (
                false,
                !reference.descriptor.media_type.is_non_distributable(),
            ),
            ReferenceKind::Manifest => (true, false),
            ReferenceKind::Other => (true, true),
            ReferenceKind::Subject | ReferenceKind::Unknown => (false, false),
        };
        if !as_manifest && !as_blob {
            return Ok(Some(None));
        }
        // What is damaged has to be pushed again, which is said in the same way
        // as that it is absent.
        if self.is_damaged(&digest).await? {
            return Ok(None);
        }
        if as_blob && let Some(record) = self.metadata().blob(repository, &digest).await? {
            let linked = Requirement::BlobLinked {
                repository: repository.clone(),
                digest,
            };
            return Ok(Some(Some((linked, record.size))));
        }
        let by_digest = Reference::Digest(digest);
        if as_manifest
            && let Some(record) = self.metadata().manifest(repository, &by_digest).await?
            && !self.lacks(&digest).await?
        {
            let present = Requirement::ManifestPresent {
                repository: repository.clone(),
                digest,
            };
            return Ok(Some(Some((present, record.size))));
        }
        Ok(None)
    }

    /// What must be true of the tags.
    async fn require_tags(&self, access: &Access, push: &PutManifest) -> Result<Vec<Requirement>> {
        let pushed = push.manifest().digest;
        let mut require = Vec::new();
        for tag in push.tags() {
            let reference = Reference::Tag(tag.clone());
            let current = self
                .metadata()
                .manifest(access.repository(), &reference)
                .await?
                .map(|manifest| manifest.digest);
            let met = match push.precondition() {
                Precondition::None => true,
                Precondition::Absent => current.is_none(),
                Precondition::Is(expected) => current == Some(expected),
            };
            if !met {
                return Err(ErrorKind::PreconditionFailed
                    .error("the tag is not where the request expects it; look at it again"));
            }
            let moves = current.is_some_and(|current| current != pushed);
            if moves && !access.permits(Action::Overwrite) {
                return Err(ErrorKind::Denied
                    .error("the tag exists and you may not move it; choose another one")
                    .with_detail(ErrorDetail::Fixed(tag.clone())));
            }
            if let Some(from) = current.as_ref().filter(|_| moves) {
                let to = &pushed;
                self.admit(access, Admission::MoveTag { tag, from, to })
                    .await?;
            }
            let is_free =
                push.precondition() == Precondition::None && access.permits(Action::Overwrite);
            if is_free && !self.is_gated() {
                continue;
            }
            let repository = access.repository().clone();
            let tag = tag.clone();
            require.push(match current {
                None => Requirement::TagAbsent { repository, tag },
                Some(digest) => Requirement::TagIs {
                    repository,
                    tag,
                    digest,
                },
            });
        }
        Ok(require)
    }

    async fn delete_manifest(&self, access: &Access, digest: &Digest) -> Result<()> {
        access.require(Action::Delete)?;
        let repository = access.repository();
        let by_digest = &Reference::Digest(*digest);
        self.commit_prepared(move || async move {
            let record = self.manifest_record(access, by_digest).await?;
            let mut require: Vec<_> = same_repository(access).into_iter().collect();
            require.push(Requirement::ManifestPresent {
                repository: repository.clone(),
                digest: *digest,
            });
            let (mut tags, mut more_tags) = (Vec::new(), false);
            if self.inner.outbox.is_some() || self.is_gated() {
                let most = if self.is_gated() {
                    MAX_TAGS
                } else {
                    MAX_EVENT_TAGS
                };
                let enough = most.saturating_add(1);
                tags = self.metadata().tags_of(repository, digest, enough).await?;
                more_tags = tags.len() == enough;
                if self.is_gated() {
                    if more_tags {
                        return Err(too_many_tags());
                    }
                    let deletion = Deletion::Manifest(*digest);
                    self.admit(access, Admission::Delete(&deletion)).await?;
                    self.admit_removals(access, digest, &tags).await?;
                }
                tags.truncate(most);
                // The gate was asked about the tags that the commit removes, and the
                // event tells of them.
                require.push(Requirement::TaggedWith {
                    repository: repository.clone(),
                    digest: *digest,
                    tags: tags.clone(),
                    more: more_tags,
                });
                more_tags |= tags.len() > MAX_EVENT_TAGS;
                tags.truncate(MAX_EVENT_TAGS);
            }
            let target = EventTarget::Manifest {
                digest: *digest,
                media_type: record.media_type,
                size: record.size,
                tags,
                more_tags,
            };
            let mut changes = vec![Change::DeleteManifest {
                repository: repository.clone(),
                digest: *digest,
            }];
            changes.extend(self.tell(access, EventAction::Delete, target, None)?);
            Ok(Batch {
                require,
                changes,
                durable: true,
            })
        })
        .await
    }

    async fn delete_tag(&self, access: &Access, tag: Tag, expected: Option<Digest>) -> Result<()> {
        access.require(Action::Delete)?;
        let repository = access.repository();
        let (tag, reference) = (&tag, &Reference::Tag(tag.clone()));
        self.commit_prepared(move || async move {
            let digest = self.manifest_record(access, reference).await?.digest;
            if expected.is_some_and(|expected| expected != digest) {
                return Err(ErrorKind::PreconditionFailed
                    .error("the tag is not where the request expects it; look at it again"));
            }
            let deletion = Deletion::Tag {
                tag: tag.clone(),
                expected,
            };
            self.admit(access, Admission::Delete(&deletion)).await?;
            self.admit_removals(access, &digest, std::slice::from_ref(tag))
                .await?;
            let target = EventTarget::Tag {
                tag: tag.clone(),
                digest,
            };
            let mut changes = vec![Change::DeleteTag {
                repository: repository.clone(),
                tag: tag.clone(),
            }];
            changes.extend(self.tell(access, EventAction::Delete, target, None)?);
            let mut require: Vec<_> = same_repository(access).into_iter().collect();
            require.push(Requirement::TagIs {
                repository: repository.clone(),
                tag: tag.clone(),
                digest,
            });
            Ok(Batch {
                require,
                changes,
                durable: true,
            })
        })
        .await
    }
}

/// What the manifest keeps from being cleaned up: everything but its subject,
/// which lives on its own and keeps its referrers.
fn kept(references: &[ManifestReference]) -> Vec<Digest> {
    let mut kept: Vec<Digest> = references
        .iter()
        .filter(|reference| reference.kind != ReferenceKind::Subject)
        .map(|reference| reference.descriptor.digest)
        .collect();
    kept.sort_unstable();
    kept.dedup();
    kept
}

/// How a manifest is listed among the referrers of its subject.
///
/// Distribution specification, "Listing referrers".
fn referrer(push: &PutManifest) -> Descriptor {
    Descriptor {
        artifact_type: push.document().artifact_type().map(str::to_owned),
        annotations: push.document().annotations().clone(),
        ..push.manifest().descriptor()
    }
}

async fn hash(digest: Digest, bytes: Bytes) -> Result<Verified> {
    let here = bytes.len() <= HASH_HERE;
    let hash = move || {
        let mut hasher = Hasher::new(digest.algorithm());
        hasher.update(&bytes);
        hasher.finish()
    };
    if here {
        Ok(hash())
    } else {
        blocking(hash).await
    }
}

fn unknown() -> Error {
    ErrorKind::ManifestUnknown.error("this repository does not hold the manifest")
}
