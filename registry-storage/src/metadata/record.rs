//! The facts that a metadata store keeps.

use std::time::SystemTime;

use registry_core::{Digest, Event, MediaType, RepositoryName, UploadId, UploadOwner, Usage};
use serde::{Deserialize, Serialize};

use super::timestamp;
use crate::BlobKey;

/// Tells a repository from a later one of the same name. Never used twice, also
/// not after a repository was deleted or the store was rebuilt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RepositoryIdentity(pub u64);

/// A repository. It comes into being with the first blob or manifest put into
/// it, and stays, with its identity, when it becomes empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepositoryRecord {
    /// Its name.
    pub name: RepositoryName,
    /// Its identity.
    pub identity: RepositoryIdentity,
    /// How much it holds. `repositories` is always one. Content that is in the
    /// repository both as a blob and as a manifest counts as both.
    pub usage: Usage,
}

/// Whether stored bytes may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum BlobState {
    /// They may.
    Live,
    /// Clean-up will delete them. For everybody else they are absent.
    Condemned {
        /// Since when.
        #[serde(with = "timestamp")]
        at: SystemTime,
    },
}

/// Stored bytes: those of a blob or of a manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlobRecord {
    /// Where they are.
    pub key: BlobKey,
    /// How many.
    pub size: u64,
    /// Whether they may be used.
    pub state: BlobState,
    /// When somebody last relied on them being there. Never moves back.
    #[serde(with = "timestamp")]
    pub touched_at: SystemTime,
}

/// A manifest of a repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManifestRecord {
    /// Its digest.
    pub digest: Digest,
    /// The media type it was pushed with.
    pub media_type: MediaType,
    /// Its size in bytes.
    pub size: u64,
    /// The manifest it is about.
    pub subject: Option<Digest>,
    /// When it was last pushed.
    #[serde(with = "timestamp")]
    pub pushed_at: SystemTime,
}

/// What a tag points to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TagRecord {
    /// The manifest.
    pub digest: Digest,
    /// Since when. Pointing a tag to the manifest that it points to already
    /// changes nothing.
    #[serde(with = "timestamp")]
    pub moved_at: SystemTime,
}

/// An open upload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UploadRecord {
    /// Its identity.
    pub id: UploadId,
    /// The repository it was started in; it means nothing elsewhere.
    pub repository: RepositoryName,
    /// Who started it; it means nothing to others. None if an earlier version of
    /// the program did, which didn't write it down: then it is anybody's who may
    /// push to the repository.
    #[serde(default)]
    pub owner: Option<UploadOwner>,
    /// The number of bytes received.
    pub offset: u64,
    /// The state of the hasher behind those bytes.
    pub hasher: Vec<u8>,
    /// When it last received something.
    #[serde(with = "timestamp")]
    pub active_at: SystemTime,
    /// The run of the engine that received it.
    pub incarnation: UploadId,
}

/// An event that waits for delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxEntry {
    /// Its place in the order of commits: one more than that of the event before
    /// it, in the life of a database.
    pub sequence: u64,
    /// The event; none if what is stored can't be read, so that it doesn't keep
    /// those behind it waiting.
    pub event: Option<Event>,
}
