//! What each fact holds: one byte that says how it is written, then postcard.
//!
//! Fields are never added to a type here: a changed one gets the next byte, and
//! reads the earlier ones too.

use std::collections::BTreeMap;

use registry_core::{
    Descriptor, Digest, Error, Event, MediaType, RepositoryName, Result, UploadId, UploadOwner,
    Usage,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::key::{digest_bytes, read_digest, unreadable};
use crate::BlobKey;
use crate::metadata::timestamp::{from_nanoseconds, to_nanoseconds};
use crate::metadata::{
    BlobRecord, BlobState, ManifestRecord, RepositoryIdentity, RepositoryRecord, TagRecord,
    UploadRecord,
};

/// How facts are written, but for those that say otherwise.
const POSTCARD: u8 = 1;

/// How uploads are written: with their owner, which the first way leaves out.
const OWNED: u8 = 2;

/// The bytes of a fact.
pub(super) fn encode<T: Serialize>(fact: &T) -> Result<Vec<u8>> {
    encode_as(POSTCARD, fact)
}

fn encode_as<T: Serialize>(way: u8, fact: &T) -> Result<Vec<u8>> {
    postcard::to_extend(fact, vec![way])
        .map_err(|source| Error::internal("a metadata record can't be written", source))
}

/// The fact that `bytes` hold.
pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    match bytes.split_first() {
        Some((&POSTCARD, bytes)) => read(bytes),
        _ => Err(unreadable()),
    }
}

fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    postcard::from_bytes(bytes).map_err(|source| unreadable().with_source(source))
}

/// What was given last.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(super) struct Counters {
    pub(super) identity: u64,
    pub(super) sequence: u64,
}

/// How far the database holds what the change log holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Position {
    /// The number of the last record.
    pub(super) number: u64,
    /// The number that the segment with that record starts with.
    pub(super) segment: u64,
    /// Where the record ends in the segment.
    pub(super) offset: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Repository {
    pub(super) identity: u64,
    pub(super) blobs: u64,
    pub(super) manifests: u64,
    pub(super) tags: u64,
    pub(super) bytes: u64,
}

impl Repository {
    pub(super) fn record(self, name: RepositoryName) -> RepositoryRecord {
        RepositoryRecord {
            name,
            identity: RepositoryIdentity(self.identity),
            usage: Usage {
                repositories: 1,
                blobs: self.blobs,
                manifests: self.manifests,
                tags: self.tags,
                bytes: self.bytes,
            },
        }
    }
}

/// The repositories of one name that were deleted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Departed {
    /// How many.
    pub(super) number: u64,
    /// When the last one was.
    pub(super) at: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Content {
    generation: [u8; 16],
    size: u64,
    condemned_at: Option<u64>,
    pub(super) touched_at: u64,
}

impl Content {
    pub(super) fn new(record: &BlobRecord) -> Self {
        Self {
            generation: *record.key.generation.as_bytes(),
            size: record.size,
            condemned_at: match record.state {
                BlobState::Live => None,
                BlobState::Condemned { at } => Some(to_nanoseconds(at)),
            },
            touched_at: to_nanoseconds(record.touched_at),
        }
    }

    pub(super) fn is_live(&self) -> bool {
        self.condemned_at.is_none()
    }

    pub(super) fn is_under(&self, key: &BlobKey) -> bool {
        self.generation == *key.generation.as_bytes()
    }

    pub(super) fn condemn(&mut self, at: std::time::SystemTime) {
        self.condemned_at = Some(to_nanoseconds(at));
    }

    pub(super) fn record(self, digest: Digest) -> BlobRecord {
        BlobRecord {
            key: BlobKey {
                digest,
                generation: UploadId::from_bytes(self.generation),
            },
            size: self.size,
            state: match self.condemned_at {
                None => BlobState::Live,
                Some(at) => BlobState::Condemned {
                    at: from_nanoseconds(at),
                },
            },
            touched_at: from_nanoseconds(self.touched_at),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Blob {
    pub(super) size: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Manifest {
    pub(super) media_type: MediaType,
    pub(super) size: u64,
    subject: Option<Vec<u8>>,
    pushed_at: u64,
}

impl Manifest {
    pub(super) fn new(record: &ManifestRecord) -> Self {
        Self {
            media_type: record.media_type.clone(),
            size: record.size,
            subject: record.subject.as_ref().map(digest_bytes),
            pushed_at: to_nanoseconds(record.pushed_at),
        }
    }

    pub(super) fn subject(&self) -> Result<Option<Digest>> {
        self.subject.as_deref().map(read_digest).transpose()
    }

    pub(super) fn record(self, digest: Digest) -> Result<ManifestRecord> {
        Ok(ManifestRecord {
            digest,
            subject: self.subject()?,
            media_type: self.media_type,
            size: self.size,
            pushed_at: from_nanoseconds(self.pushed_at),
        })
    }
}

/// What a manifest refers to besides itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct References(Vec<Vec<u8>>);

impl References {
    pub(super) fn new<'a>(digests: impl IntoIterator<Item = &'a Digest>) -> Self {
        Self(digests.into_iter().map(digest_bytes).collect())
    }

    pub(super) fn digests(&self) -> Result<Vec<Digest>> {
        self.0.iter().map(|bytes| read_digest(bytes)).collect()
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Referrer {
    media_type: MediaType,
    digest: Vec<u8>,
    size: u64,
    artifact_type: Option<String>,
    annotations: BTreeMap<String, String>,
}

impl Referrer {
    pub(super) fn new(descriptor: Descriptor) -> Self {
        Self {
            digest: digest_bytes(&descriptor.digest),
            media_type: descriptor.media_type,
            size: descriptor.size,
            artifact_type: descriptor.artifact_type,
            annotations: descriptor.annotations,
        }
    }

    pub(super) fn descriptor(self) -> Result<Descriptor> {
        Ok(Descriptor {
            digest: read_digest(&self.digest)?,
            media_type: self.media_type,
            size: self.size,
            artifact_type: self.artifact_type,
            annotations: self.annotations,
        })
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct TagTarget {
    digest: Vec<u8>,
    moved_at: u64,
}

impl TagTarget {
    pub(super) fn new(digest: &Digest, moved_at: std::time::SystemTime) -> Self {
        Self {
            digest: digest_bytes(digest),
            moved_at: to_nanoseconds(moved_at),
        }
    }

    pub(super) fn digest(&self) -> Result<Digest> {
        read_digest(&self.digest)
    }

    pub(super) fn record(&self) -> Result<TagRecord> {
        Ok(TagRecord {
            digest: self.digest()?,
            moved_at: from_nanoseconds(self.moved_at),
        })
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Upload {
    pub(super) repository: RepositoryName,
    pub(super) offset: u64,
    hasher: Vec<u8>,
    pub(super) active_at: u64,
    incarnation: [u8; 16],
    owner: Option<[u8; 32]>,
}

/// An upload as it was written before it had an owner.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct UnownedUpload {
    repository: RepositoryName,
    offset: u64,
    hasher: Vec<u8>,
    active_at: u64,
    incarnation: [u8; 16],
}

impl Upload {
    pub(super) fn new(record: UploadRecord) -> Self {
        Self {
            repository: record.repository,
            offset: record.offset,
            hasher: record.hasher,
            active_at: to_nanoseconds(record.active_at),
            incarnation: *record.incarnation.as_bytes(),
            owner: record.owner.map(|owner| *owner.as_bytes()),
        }
    }

    /// Its bytes.
    pub(super) fn encode(&self) -> Result<Vec<u8>> {
        encode_as(OWNED, self)
    }

    /// The upload that `bytes` hold.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self> {
        match bytes.split_first() {
            Some((&OWNED, bytes)) => read(bytes),
            _ => decode::<UnownedUpload>(bytes).map(Self::from),
        }
    }

    pub(super) fn record(self, id: UploadId) -> UploadRecord {
        UploadRecord {
            id,
            repository: self.repository,
            owner: self.owner.map(UploadOwner::from_bytes),
            offset: self.offset,
            hasher: self.hasher,
            active_at: from_nanoseconds(self.active_at),
            incarnation: UploadId::from_bytes(self.incarnation),
        }
    }
}

impl From<UnownedUpload> for Upload {
    fn from(upload: UnownedUpload) -> Self {
        Self {
            repository: upload.repository,
            offset: upload.offset,
            hasher: upload.hasher,
            active_at: upload.active_at,
            incarnation: upload.incarnation,
            owner: None,
        }
    }
}

/// An event, written as JSON: its type belongs to the core crate, which adds
/// fields with defaults.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Emitted(String);

impl Emitted {
    pub(super) fn new(event: &Event) -> Result<Self> {
        serde_json::to_string(event)
            .map(Self)
            .map_err(|source| Error::internal("an event can't be written", source))
    }

    pub(super) fn event(&self) -> Result<Event> {
        serde_json::from_str(&self.0).map_err(|source| unreadable().with_source(source))
    }
}
