//! Uploads: from the first byte to a blob of a repository.

use registry_core::{
    Access, Action, Admission, Algorithm, Chunk, Descriptor, Digest, Error, ErrorDetail, ErrorKind,
    EventAction, EventTarget, Hasher, Result, Upload, UploadId, UploadOwner, Verified,
};

use super::content::{Stored, keep_one};
use super::ingest::{Ending, ingest};
use super::read_back::hash_body;
use super::session::Session;
use super::{COMMIT_TRIES, Engine, contended, gone, same_repository, unexpected};
use crate::{Batch, BlobKey, Change, CommitError, Requirement, StagedBlob, UploadRecord};

impl Engine {
    pub(super) async fn upload(&self, access: &Access, id: &UploadId) -> Result<Upload> {
        access.require(Action::Push)?;
        let record = self.upload_record(access, id).await?;
        Ok(Upload {
            id: *id,
            offset: record.offset,
        })
    }

    pub(super) async fn append_upload(
        &self,
        access: &Access,
        id: &UploadId,
        chunk: Chunk,
    ) -> Result<Upload> {
        access.require(Action::Push)?;
        let (session, record) = self.enter(access, id, chunk.start).await?;
        let engine = self.clone();
        // On a task of its own, so that a client that goes away in the middle
        // leaves what it sent instead of nothing.
        let append = tokio::spawn(async move { engine.append(session, record, chunk).await });
        append.await.map_err(interrupted)?
    }

    pub(super) async fn finish_upload(
        &self,
        access: &Access,
        id: &UploadId,
        digest: &Digest,
        last: Option<Chunk>,
    ) -> Result<Descriptor> {
        access.require(Action::Push)?;
        let start = last.as_ref().and_then(|last| last.start);
        let (session, record) = match self.enter(access, id, start).await {
            Err(error) if error.kind() == ErrorKind::UploadUnknown => {
                return self.finished_before(access, digest).await?.ok_or(error);
            }
            entered => entered?,
        };
        let engine = self.clone();
        let access = access.clone();
        let digest = *digest;
        let finish =
            tokio::spawn(
                async move { engine.finish(&access, session, record, &digest, last).await },
            );
        finish.await.map_err(interrupted)?
    }

    pub(super) async fn cancel_upload(&self, access: &Access, id: &UploadId) -> Result<()> {
        access.require(Action::Push)?;
        // Nobody stops others from writing who could not do so himself.
        self.upload_record(access, id).await?;
        let _session = self.inner.sessions.take_over(*id).await;
        let record = self.upload_record(access, id).await?;
        self.forget_upload(&record).await
    }

    /// Removes the record of an upload, then its bytes.
    pub(super) async fn forget_upload(&self, record: &UploadRecord) -> Result<()> {
        let batch = Batch {
            require: vec![upload_at(record)],
            changes: vec![Change::DeleteUpload { id: record.id }],
            durable: false,
        };
        match self.commit(batch).await {
            Ok(()) => self.blobs().discard(&record.id).await,
            Err(CommitError::Conflict(_)) => Err(unknown()),
            Err(CommitError::Refused(error) | CommitError::Failed(error)) => Err(error),
        }
    }

    /// The record of an upload that was begun there, by the same actor.
    async fn upload_record(&self, access: &Access, id: &UploadId) -> Result<UploadRecord> {
        self.metadata()
            .upload(id)
            .await?
            .filter(|record| record.repository == *access.repository())
            .filter(|record| is_owner(access, record))
            .ok_or_else(unknown)
    }

    /// Takes the right to write to an upload, at the place where the client
    /// believes it to stand.
    async fn enter(
        &self,
        access: &Access,
        id: &UploadId,
        start: Option<u64>,
    ) -> Result<(Session, UploadRecord)> {
        // Nobody stands in the door of an upload that isn't theirs, not even for as
        // long as it takes to find that out.
        self.upload_record(access, id).await?;
        let session = self.inner.sessions.enter(*id);
        // Read behind the door: nobody else moves the offset now.
        let record = self.upload_record(access, id).await?;
        let out_of_order = |reason| {
            ErrorKind::UploadOutOfOrder
                .error(reason)
                .with_detail(ErrorDetail::Offset(record.offset))
        };
        let Some(session) = session else {
            return Err(out_of_order(
                "another request is writing to this upload; wait for it to end",
            ));
        };
        if start.is_some_and(|start| start != record.offset) {
            return Err(out_of_order(
                "the chunk does not start where the upload stands; go on from its offset",
            ));
        }
        Ok((session, record))
    }

    /// If an upload is gone because it ended well, and only the answer was
    /// lost, the blob is there.
    async fn finished_before(
        &self,
        access: &Access,
        digest: &Digest,
    ) -> Result<Option<Descriptor>> {
        let blob = self.metadata().blob(access.repository(), digest).await?;
        Ok(blob
            .filter(|record| !self.inner.damages.contains(&record.key))
            .map(|record| Descriptor::blob(*digest, record.size)))
    }

    async fn append(&self, session: Session, record: UploadRecord, chunk: Chunk) -> Result<Upload> {
        let hasher = self.inherited(&record).await?;
        let mut staged = self.stage(&record).await?;
        let max_size = self.options().max_blob_size;
        let portion = self.inner.portions.enter();
        let (hasher, ending) =
            ingest(chunk, &mut *staged, hasher, max_size, portion, &session).await?;
        if let Ending::Refused(error) = ending {
            return Err(error);
        }
        let upload = self.pause(staged, record, &hasher).await?;
        drop(session);
        match ending {
            Ending::Interrupted(error) => Err(error),
            _ => Ok(upload),
        }
    }

    /// Leaves an upload where its hasher stands.
    async fn pause(
        &self,
        staged: Box<dyn StagedBlob>,
        record: UploadRecord,
        hasher: &Hasher,
    ) -> Result<Upload> {
        staged.pause().await?;
        let upload = Upload {
            id: record.id,
            offset: hasher.size(),
        };
        // Whoever sends nothing doesn't stay.
        let active_at = if hasher.size() > record.offset {
            self.steady_now().await?
        } else {
            record.active_at
        };
        let batch = Batch {
            require: vec![upload_at(&record)],
            changes: vec![Change::PutUpload(UploadRecord {
                offset: hasher.size(),
                hasher: hasher.state(),
                active_at,
                incarnation: self.incarnation()?,
                ..record
            })],
            durable: false,
        };
        match self.commit(batch).await {
            Ok(()) => Ok(upload),
            Err(CommitError::Conflict(_)) => Err(unknown()),
            Err(CommitError::Refused(error) | CommitError::Failed(error)) => Err(error),
        }
    }

    async fn finish(
        &self,
        access: &Access,
        session: Session,
        record: UploadRecord,
        digest: &Digest,
        last: Option<Chunk>,
    ) -> Result<Descriptor> {
        let mut hasher = self.inherited(&record).await?;
        if hasher.size() == 0 {
            // Nothing was hashed yet, so the client's choice costs nothing.
            hasher = Hasher::new(digest.algorithm());
        }
        let mut staged = self.stage(&record).await?;
        if let Some(last) = last {
            let max_size = self.options().max_blob_size;
            let portion = self.inner.portions.enter();
            let (after, ending) =
                ingest(last, &mut *staged, hasher, max_size, portion, &session).await?;
            match ending {
                Ending::Complete => hasher = after,
                Ending::Refused(error) => return Err(error),
                Ending::Interrupted(error) => {
                    self.pause(staged, record, &after).await?;
                    return Err(error);
                }
            }
        }
        if hasher.algorithm() != digest.algorithm() {
            let size = hasher.size();
            staged.pause().await?;
            hasher = self
                .hash_staged(&record.id, size, digest.algorithm())
                .await?;
            staged = self.blobs().stage(&record.id, size).await?;
        }
        let verified = match hasher.finish().expect(digest) {
            Ok(verified) => verified,
            Err(error) => {
                drop(staged);
                self.forget_upload(&record).await?;
                return Err(error);
            }
        };
        let admission = Admission::PushBlob {
            digest,
            size: Some(verified.size()),
        };
        if let Err(error) = self.admit(access, admission).await {
            drop(staged);
            if error.kind() == ErrorKind::Denied {
                self.forget_upload(&record).await?;
            }
            return Err(error);
        }
        // What is published is staged no longer: without its record the client
        // would have to begin again.
        self.metadata().check().await?;
        let key = staged.publish(verified).await?;
        let mut superfluous = Some(key);
        let descriptor = self
            .link_upload(access, &record, verified, key, &mut superfluous)
            .await;
        if descriptor.is_err() {
            self.drop_copy(superfluous);
        }
        drop(session);
        descriptor
    }

    /// The hasher behind the bytes of an upload.
    ///
    /// Bytes that another process staged may not have survived what ended it,
    /// although the record did. Unless the store rules that out, they are read
    /// once more: what was acknowledged must be what is stored.
    async fn inherited(&self, record: &UploadRecord) -> Result<Hasher> {
        let Ok(hasher) = Hasher::resume(&record.hasher) else {
            // Another version of the program saved it.
            self.forget_upload(record).await?;
            return Err(unknown());
        };
        if record.offset == 0
            || record.incarnation == self.incarnation()?
            || self.blobs().staged_is_durable()
        {
            return Ok(hasher);
        }
        let again = self
            .hash_staged(&record.id, record.offset, hasher.algorithm())
            .await;
        match again {
            Ok(again) if again.state() == record.hasher => Ok(hasher),
            // A store that can't be read now says nothing about the bytes.
            Err(error)
                if !matches!(error.kind(), ErrorKind::UploadUnknown | ErrorKind::Corrupt) =>
            {
                Err(error)
            }
            _ => {
                self.forget_upload(record).await?;
                Err(unknown())
            }
        }
    }

    /// Opens the staged bytes of an upload at its end. If there are fewer than
    /// recorded, the upload can't go on.
    async fn stage(&self, record: &UploadRecord) -> Result<Box<dyn StagedBlob>> {
        match self.blobs().stage(&record.id, record.offset).await {
            Err(error) if error.kind() == ErrorKind::UploadUnknown => {
                self.forget_upload(record).await?;
                Err(error)
            }
            staged => staged,
        }
    }

    /// Hashes the first `size` staged bytes of an upload.
    async fn hash_staged(&self, id: &UploadId, size: u64, algorithm: Algorithm) -> Result<Hasher> {
        let body = self.blobs().open_staged(id, 0..size).await?;
        hash_body(Hasher::new(algorithm), body).await
    }

    /// Makes stored bytes a blob of the repository, and ends the upload. Leaves
    /// in `superfluous` those that are to go if it fails.
    async fn link_upload(
        &self,
        access: &Access,
        upload: &UploadRecord,
        verified: Verified,
        key: BlobKey,
        superfluous: &mut Option<BlobKey>,
    ) -> Result<Descriptor> {
        let digest = verified.digest();
        let size = verified.size();
        let at_first = self.live_content(&digest).await?.map(|record| record.key);
        let mut now = at_first;
        for _ in 0..COMMIT_TRIES {
            let stored = match now {
                None => Stored::Absent,
                Some(old) if now == at_first => Stored::Doubtful(old),
                Some(_) => Stored::Renewed,
            };
            let (mut batch, loser) = keep_one(stored, key, size, self.now());
            batch.require.extend(same_repository(access));
            batch.require.push(upload_at(upload));
            batch.changes.push(Change::LinkBlob {
                repository: access.repository().clone(),
                digest,
                size,
            });
            batch.changes.push(Change::DeleteUpload { id: upload.id });
            let target = EventTarget::Blob { digest, size };
            batch
                .changes
                .extend(self.tell(access, EventAction::Push, target, None)?);
            match self.commit(batch).await {
                Ok(()) => {
                    self.kept(loser);
                    return Ok(Descriptor::blob(digest, size));
                }
                Err(CommitError::Conflict(
                    Requirement::ContentAbsent { .. }
                    | Requirement::ContentIs { .. }
                    | Requirement::NotTouchedSince { .. },
                )) => now = self.live_content(&digest).await?.map(|record| record.key),
                Err(CommitError::Conflict(Requirement::UploadAt { .. })) => return Err(unknown()),
                Err(CommitError::Conflict(Requirement::EpochIs { .. })) => return Err(gone()),
                Err(CommitError::Conflict(conflict)) => return Err(unexpected(&conflict)),
                Err(CommitError::Refused(error)) => return Err(error),
                // The outcome is unknown, so the bytes stay.
                Err(CommitError::Failed(error)) => {
                    *superfluous = None;
                    return Err(error);
                }
            }
        }
        Err(contended())
    }
}

pub(super) fn upload_at(record: &UploadRecord) -> Requirement {
    Requirement::UploadAt {
        repository: record.repository.clone(),
        id: record.id,
        offset: record.offset,
    }
}

/// Whether an upload was begun by who is behind `access`, or by whom isn't known.
fn is_owner(access: &Access, record: &UploadRecord) -> bool {
    record
        .owner
        .is_none_or(|owner| owner == UploadOwner::of(access.actor()))
}

fn unknown() -> Error {
    ErrorKind::UploadUnknown.error("there is no such upload; start again")
}

pub(super) fn interrupted(source: tokio::task::JoinError) -> Error {
    Error::internal("the change was interrupted", source)
}
