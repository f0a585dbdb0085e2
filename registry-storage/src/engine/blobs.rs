//! Blobs of a repository: asking, opening, mounting and removing.

use std::ops::Range;

use registry_core::{
    Access, Action, Admission, Blob, BlobBody, CatalogAccess, Deletion, Descriptor, Digest, Error,
    ErrorKind, EventAction, EventTarget, MountSource, OpenOptions, RepositoryName, Result,
};

use super::{COMMIT_TRIES, Engine, contended, gone, same_repository, unexpected};
use crate::{Batch, BlobRecord, Change, CommitError, Requirement};

/// How many repositories are looked at to mount a blob from anywhere. A blob
/// that so many others hold, none of them visible to the caller, is uploaded.
const MOUNT_CANDIDATES: usize = 1000;

impl Engine {
    pub(super) async fn stat_blob(&self, access: &Access, digest: &Digest) -> Result<Descriptor> {
        access.require(Action::Pull)?;
        let record = self.blob_record(access.repository(), digest).await?;
        if self.inner.damages.contains(&record.key) {
            return Err(ErrorKind::BlobUnknown
                .error("the stored content is damaged; push it again to mend it"));
        }
        Ok(Descriptor::blob(*digest, record.size))
    }

    pub(super) async fn open_blob(
        &self,
        access: &Access,
        digest: &Digest,
        options: OpenOptions,
    ) -> Result<Blob> {
        access.require(Action::Pull)?;
        let record = self.blob_record(access.repository(), digest).await?;
        let range = match options.range {
            Some(range) => range.resolve(record.size)?,
            None => 0..record.size,
        };
        if self.inner.damages.contains(&record.key) {
            return Err(damaged());
        }
        let mut body = self.open_content(&record, range.clone()).await?;
        if self.options().verify_reads && range == (0..record.size) {
            body = self.hashed(record.key, record.size, body).await?;
        }
        Ok(Blob {
            digest: *digest,
            size: record.size,
            range,
            body,
        })
    }

    pub(super) async fn mount_blob(
        &self,
        access: &Access,
        digest: &Digest,
        source: MountSource<'_>,
    ) -> Result<Option<Descriptor>> {
        access.require(Action::Push)?;
        let mut same: Vec<_> = same_repository(access).into_iter().collect();
        let source = match source {
            MountSource::Repository(source) => {
                source.require(Action::Pull)?;
                same.extend(same_repository(source));
                Some(source.repository().clone())
            }
            MountSource::Anywhere(visible) => self.visible_holder(digest, visible).await?,
        };
        let Some(source) = source else {
            return Ok(None);
        };
        for _ in 0..COMMIT_TRIES {
            let Some(record) = self.metadata().blob(&source, digest).await? else {
                return Ok(None);
            };
            if self.inner.damages.contains(&record.key) {
                return Ok(None);
            }
            let admission = Admission::MountBlob {
                digest,
                source: Some(&source),
            };
            self.admit(access, admission).await?;
            let size = record.size;
            let target = EventTarget::Blob {
                digest: *digest,
                size,
            };
            let mut changes = vec![
                Change::Touch {
                    digest: *digest,
                    at: self.now(),
                },
                Change::LinkBlob {
                    repository: access.repository().clone(),
                    digest: *digest,
                    size,
                },
            ];
            changes.extend(self.tell(access, EventAction::Mount, target, Some(source.clone()))?);
            let mut require = same.clone();
            require.push(Requirement::ContentIs { key: record.key });
            require.push(Requirement::BlobLinked {
                repository: source.clone(),
                digest: *digest,
            });
            let batch = Batch {
                require,
                changes,
                durable: true,
            };
            match self.commit(batch).await {
                Ok(()) => return Ok(Some(Descriptor::blob(*digest, size))),
                Err(CommitError::Conflict(Requirement::EpochIs { .. })) => return Err(gone()),
                Err(CommitError::Conflict(_)) => {}
                Err(CommitError::Refused(error) | CommitError::Failed(error)) => return Err(error),
            }
        }
        Err(contended())
    }

    pub(super) async fn delete_blob(&self, access: &Access, digest: &Digest) -> Result<()> {
        access.require(Action::Delete)?;
        let record = self.blob_record(access.repository(), digest).await?;
        let deletion = Deletion::Blob(*digest);
        self.admit(access, Admission::Delete(&deletion)).await?;
        let target = EventTarget::Blob {
            digest: *digest,
            size: record.size,
        };
        let mut changes = vec![Change::UnlinkBlob {
            repository: access.repository().clone(),
            digest: *digest,
        }];
        changes.extend(self.tell(access, EventAction::Delete, target, None)?);
        let mut require: Vec<_> = same_repository(access).into_iter().collect();
        require.push(Requirement::BlobLinked {
            repository: access.repository().clone(),
            digest: *digest,
        });
        let batch = Batch {
            require,
            changes,
            durable: true,
        };
        match self.commit(batch).await {
            Ok(()) => Ok(()),
            Err(CommitError::Conflict(Requirement::BlobLinked { .. })) => Err(unknown()),
            Err(CommitError::Conflict(Requirement::EpochIs { .. })) => Err(gone()),
            Err(CommitError::Conflict(conflict)) => Err(unexpected(&conflict)),
            Err(CommitError::Refused(error) | CommitError::Failed(error)) => Err(error),
        }
    }

    async fn blob_record(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<BlobRecord> {
        self.metadata()
            .blob(repository, digest)
            .await?
            .ok_or_else(unknown)
    }

    /// Opens recorded bytes. If they are missing, that is damage and not
    /// absence: whoever pulls must not conclude that nobody has them. Whoever
    /// pushes is told that they are absent from then on.
    pub(super) async fn open_content(
        &self,
        record: &BlobRecord,
        range: Range<u64>,
    ) -> Result<BlobBody> {
        let mut key = record.key;
        for _ in 0..COMMIT_TRIES {
            let error = match self.blobs().open(&key, range.clone()).await {
                Err(error) if is_damage(&error) => error,
                opened => return opened,
            };
            match self.live_content(&key.digest).await? {
                // They were pushed again meanwhile.
                Some(now) if now.key != key => key = now.key,
                now => {
                    if now.is_some() {
                        self.inner.damages.remember(&key);
                    }
                    return Err(ErrorKind::Corrupt
                        .error(
                            "the stored content is missing or cut short; push it again to mend it",
                        )
                        .with_source(error));
                }
            }
        }
        Err(contended())
    }

    /// A repository that holds the blob and that the caller may pull from.
    async fn visible_holder(
        &self,
        digest: &Digest,
        visible: &CatalogAccess,
    ) -> Result<Option<RepositoryName>> {
        let holders = self
            .metadata()
            .holders(digest, None, MOUNT_CANDIDATES)
            .await?;
        Ok(holders.into_iter().find(|holder| visible.permits(holder)))
    }
}

/// Whether the error says that stored bytes aren't what they should be.
pub(super) fn is_damage(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::BlobUnknown | ErrorKind::Corrupt)
}

pub(super) fn damaged() -> Error {
    ErrorKind::Corrupt.error("the stored content is damaged; push it again to mend it")
}

fn unknown() -> Error {
    ErrorKind::BlobUnknown.error("this repository does not hold the blob")
}
