//! The facts that a metadata store keeps.

use std::time::SystemTime;

use registry_core::{Digest, Event, MediaType, RepositoryName, UploadId, Usage};
use serde::{Deserialize, Serialize};

use crate::BlobKey;

/// Tells a repository from a later one of the same name. Never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RepositoryIdentity(pub u64);

/// A repository. It comes into being with the first thing put into it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepositoryRecord {
    /// Its name.
    pub name: RepositoryName,
    /// Its identity.
    pub identity: RepositoryIdentity,
    /// How much it holds. `repositories` is always one.
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
    /// When somebody last relied on them being there.
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
    pub pushed_at: SystemTime,
}

/// What a tag points to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TagRecord {
    /// The manifest.
    pub digest: Digest,
    /// Since when.
    pub moved_at: SystemTime,
}

/// An open upload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UploadRecord {
    /// Its identity.
    pub id: UploadId,
    /// The repository it was started in; it means nothing elsewhere.
    pub repository: RepositoryName,
    /// The number of bytes received.
    pub offset: u64,
    /// The state of the hasher behind those bytes.
    pub hasher: Vec<u8>,
    /// When it last received something.
    pub active_at: SystemTime,
}

/// An event that waits for delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxEntry {
    /// Its place in the order of commits.
    pub sequence: u64,
    /// The event.
    pub event: Event,
}
