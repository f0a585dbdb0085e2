//! Short words for what the clauses put into a store.

use async_trait::async_trait;
use registry_core::{
    Algorithm, Digest, MediaType, Reference, RepositoryName, UploadId, UploadOwner,
};

pub(super) use super::history::moment;
use crate::{
    Batch, BlobKey, BlobRecord, BlobState, Change, CommitError, ManifestRecord, MetadataStore,
    Requirement, UploadRecord,
};

pub(super) fn name(name: &str) -> RepositoryName {
    name.parse().unwrap()
}

pub(super) fn digest(number: u8) -> Digest {
    let algorithm = if number.is_multiple_of(2) {
        Algorithm::Sha256
    } else {
        Algorithm::Sha512
    };
    algorithm.digest(&[number])
}

/// Live bytes with this digest, from the upload of this number.
pub(super) fn content(number: u8, generation: u8, size: u64) -> Change {
    Change::PutContent(BlobRecord {
        key: BlobKey {
            digest: digest(number),
            generation: UploadId::from_random([generation; 16]),
        },
        size,
        state: BlobState::Live,
        touched_at: moment(0),
    })
}

pub(super) fn link(repository: &str, number: u8, size: u64) -> Change {
    Change::LinkBlob {
        repository: name(repository),
        digest: digest(number),
        size,
    }
}

pub(super) fn delete_repository(repository: &str, at: u64) -> Change {
    Change::DeleteRepository {
        repository: name(repository),
        at: moment(at),
    }
}

pub(super) fn manifest_record(number: u8, size: u64) -> ManifestRecord {
    ManifestRecord {
        digest: digest(number),
        media_type: MediaType::OCI_MANIFEST,
        size,
        subject: None,
        pushed_at: moment(3),
    }
}

pub(super) fn put_manifest(repository: &str, number: u8, size: u64) -> Change {
    Change::PutManifest {
        repository: name(repository),
        manifest: manifest_record(number, size),
        references: Vec::new(),
        referrer: None,
    }
}

pub(super) fn tag(repository: &str, tag: &str, number: u8) -> Change {
    Change::PutTag {
        repository: name(repository),
        tag: tag.parse().unwrap(),
        digest: digest(number),
        at: moment(4),
    }
}

/// The upload of this number, counted from one.
pub(super) fn upload(repository: &str, number: usize, offset: u64, active_at: u64) -> Change {
    Change::PutUpload(UploadRecord {
        id: super::history::uploads()[number - 1],
        repository: name(repository),
        owner: Some(UploadOwner::from_bytes([8; 32])),
        offset,
        hasher: vec![1, 2, 3],
        active_at: moment(active_at),
        incarnation: UploadId::from_random([9; 16]),
    })
}

pub(super) fn unconditional(changes: impl IntoIterator<Item = Change>) -> Batch {
    Batch {
        require: Vec::new(),
        changes: changes.into_iter().collect(),
        durable: true,
    }
}

/// Commits that have to succeed.
#[async_trait]
pub(super) trait Commit {
    async fn put<const N: usize>(&self, changes: [Change; N]);
}

#[async_trait]
impl Commit for dyn MetadataStore + '_ {
    async fn put<const N: usize>(&self, changes: [Change; N]) {
        self.commit(unconditional(changes)).await.unwrap();
    }
}

pub(super) fn conflict(result: Result<(), CommitError>) -> Option<Requirement> {
    match result {
        Ok(()) => None,
        Err(CommitError::Conflict(requirement)) => Some(requirement),
        Err(CommitError::Refused(error) | CommitError::Failed(error)) => {
            panic!("the store failed: {error:?}")
        }
    }
}

async fn require(store: &dyn MetadataStore, requirement: Requirement) -> Option<Requirement> {
    let mut batch = unconditional([]);
    batch.require.push(requirement);
    conflict(store.commit(batch).await)
}

/// The requirement holds.
pub(super) async fn allowed(store: &dyn MetadataStore, requirement: Requirement) {
    assert_eq!(require(store, requirement).await, None);
}

/// The requirement doesn't hold, and is named.
pub(super) async fn refused(store: &dyn MetadataStore, requirement: Requirement) {
    let found = require(store, requirement.clone()).await;
    assert_eq!(found, Some(requirement));
}

pub(super) async fn manifest(
    store: &dyn MetadataStore,
    repository: &str,
    number: u8,
) -> Option<ManifestRecord> {
    let reference = Reference::Digest(digest(number));
    store.manifest(&name(repository), &reference).await.unwrap()
}
