//! The one way to change metadata.

use std::time::SystemTime;

use registry_core::{Descriptor, Digest, Error, Event, MediaType, RepositoryName, Tag, UploadId};
use serde::{Deserialize, Serialize};

use super::{BlobRecord, ManifestRecord, RepositoryIdentity, UploadRecord, timestamp};
use crate::BlobKey;

/// Changes that happen together, on conditions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    /// What must be true, checked in this order.
    pub require: Vec<Requirement>,
    /// What is to be done, in this order.
    pub changes: Vec<Change>,
    /// Whether it has to survive a power failure before it is acknowledged.
    pub durable: bool,
}

/// Something that must be true for a batch to be applied.
///
/// Condemned bytes are absent for all of them but
/// [`ContentCondemned`](Self::ContentCondemned). A repository that doesn't exist
/// holds nothing.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Requirement {
    /// The repository has this identity.
    RepositoryIs {
        /// Its name.
        repository: RepositoryName,
        /// Its identity.
        identity: RepositoryIdentity,
    },
    /// As many repositories of this name were deleted, whether or not there is one
    /// now: that of an [epoch](registry_core::RepositoryEpoch) is still there, or still
    /// to come.
    EpochIs {
        /// Its name.
        repository: RepositoryName,
        /// The number of the epoch.
        number: u64,
    },
    /// The repository holds at most this many bytes after the batch; the only
    /// requirement about the state that the changes leave behind.
    UsageAtMost {
        /// Its name.
        repository: RepositoryName,
        /// The limit in bytes.
        bytes: u64,
    },
    /// The tag doesn't exist.
    TagAbsent {
        /// Where.
        repository: RepositoryName,
        /// Which.
        tag: Tag,
    },
    /// The tag points to this manifest.
    TagIs {
        /// Where.
        repository: RepositoryName,
        /// Which.
        tag: Tag,
        /// The manifest.
        digest: Digest,
    },
    /// The tags that point to this manifest, in the order of their bytes.
    TaggedWith {
        /// Where.
        repository: RepositoryName,
        /// The manifest.
        digest: Digest,
        /// The tags: all, or the first of them.
        tags: Vec<Tag>,
        /// Whether there must be more behind them; none may be otherwise.
        more: bool,
    },
    /// There are at most this many tags in the repository.
    TagsAtMost {
        /// Where.
        repository: RepositoryName,
        /// How many.
        tags: u64,
    },
    /// There are no live bytes for this digest.
    ContentAbsent {
        /// Which.
        digest: Digest,
    },
    /// The live bytes of a digest are the ones under this key.
    ContentIs {
        /// The key.
        key: BlobKey,
    },
    /// The condemned bytes of a digest are the ones under this key.
    ContentCondemned {
        /// The key.
        key: BlobKey,
    },
    /// The blob is linked to the repository, and live.
    BlobLinked {
        /// Where.
        repository: RepositoryName,
        /// Which.
        digest: Digest,
    },
    /// The repository holds this manifest.
    ManifestPresent {
        /// Where.
        repository: RepositoryName,
        /// Which.
        digest: Digest,
    },
    /// The repository holds this manifest under this media type, or not at all.
    ManifestOnlyAs {
        /// Where.
        repository: RepositoryName,
        /// Which.
        digest: Digest,
        /// The media type.
        media_type: MediaType,
    },
    /// No manifest of any repository refers to this digest or has it, except as
    /// its subject.
    Unreferenced {
        /// Which.
        digest: Digest,
    },
    /// There are live bytes for this digest, last touched before this moment.
    NotTouchedSince {
        /// Which.
        digest: Digest,
        /// The moment.
        at: SystemTime,
    },
    /// The upload is open in this repository and stands here.
    UploadAt {
        /// Where.
        repository: RepositoryName,
        /// Which.
        id: UploadId,
        /// Its offset.
        offset: u64,
    },
    /// Fewer uploads than this are open in the repository. Checking it costs as
    /// much as the limit.
    UploadsBelow {
        /// Where.
        repository: RepositoryName,
        /// The limit.
        count: u64,
    },
}

/// A change of metadata.
///
/// Something can only be attached to what is there: a link needs live bytes, a
/// tag needs its manifest. A change that finds nothing to act on does
/// nothing; whoever relies on it acting adds a [`Requirement`].
///
/// Changes are also what the change log holds, so their encoding is part of
/// the format on disk: variants and fields are only ever added, with defaults.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// Records stored bytes, in place of others of the same digest. Links to
    /// the digest stay, unless the new record is condemned.
    PutContent(BlobRecord),
    /// Says that somebody relies on these live bytes. A moment before the last
    /// touch changes nothing, so that a clock that jumps back can't make bytes
    /// look older.
    Touch {
        /// Which.
        digest: Digest,
        /// When.
        #[serde(with = "timestamp")]
        at: SystemTime,
    },
    /// Condemns these live bytes and removes every link to them. References of
    /// manifests stay, which is why this needs
    /// [`Unreferenced`](Requirement::Unreferenced) beside it.
    Condemn {
        /// Which.
        digest: Digest,
        /// When.
        #[serde(with = "timestamp")]
        at: SystemTime,
    },
    /// Forgets the bytes under this key and every link to them, live or
    /// condemned, if the record is still theirs.
    ForgetContent {
        /// The key.
        key: BlobKey,
    },
    /// Makes a blob part of a repository, which comes into being if need be.
    /// Does nothing if there are no live bytes for the digest.
    LinkBlob {
        /// Where.
        repository: RepositoryName,
        /// Which.
        digest: Digest,
        /// Its size in bytes.
        size: u64,
    },
    /// Makes a blob no longer part of a repository.
    UnlinkBlob {
        /// Where.
        repository: RepositoryName,
        /// Which.
        digest: Digest,
    },
    /// Records a manifest with everything it refers to, in place of an earlier
    /// record of the same digest; the repository comes into being if need be.
    /// A manifest always refers to its own digest.
    PutManifest {
        /// Where.
        repository: RepositoryName,
        /// The manifest.
        manifest: ManifestRecord,
        /// All digests it refers to except its subject, which keep the content
        /// they name from being cleaned up.
        references: Vec<Digest>,
        /// How it is listed as a referrer of its subject; ignored if it has
        /// none.
        referrer: Option<Descriptor>,
    },
    /// Removes a manifest, what it referred to, its place among the referrers,
    /// and every tag that points to it.
    DeleteManifest {
        /// Where.
        repository: RepositoryName,
        /// Which.
        digest: Digest,
    },
    /// Points a tag to a manifest. Does nothing if the repository doesn't hold
    /// the manifest, or if the tag points there already.
    PutTag {
        /// Where.
        repository: RepositoryName,
        /// Which.
        tag: Tag,
        /// The manifest.
        digest: Digest,
        /// When.
        #[serde(with = "timestamp")]
        at: SystemTime,
    },
    /// Removes a tag.
    DeleteTag {
        /// Where.
        repository: RepositoryName,
        /// Which.
        tag: Tag,
    },
    /// Removes a repository with all its links, manifests and tags, and the
    /// uploads in its name. The stored bytes stay on record. A later repository
    /// of the same name has another identity, and its name another epoch: one
    /// more, since this moment or that of an earlier deletion, whichever is
    /// later.
    DeleteRepository {
        /// Which.
        repository: RepositoryName,
        /// When. Older change logs don't tell.
        #[serde(with = "timestamp", default = "timestamp::beginning")]
        at: SystemTime,
    },
    /// Says that as many repositories of this name were deleted, the last of
    /// them then. It never counts back, neither the number nor the moment.
    PutEpoch {
        /// Their name.
        repository: RepositoryName,
        /// How many.
        number: u64,
        /// When the last of them was.
        #[serde(with = "timestamp")]
        at: SystemTime,
    },
    /// Records an upload, in place of its earlier record. It doesn't bring the
    /// repository into being.
    PutUpload(UploadRecord),
    /// Forgets an upload.
    DeleteUpload {
        /// Which.
        id: UploadId,
    },
    /// Adds an event to the outbox, which keeps its time to the millisecond.
    Emit(Event),
    /// Removes the events up to this one from the outbox.
    Acknowledge {
        /// The last of them.
        sequence: u64,
    },
    /// Records how late it is. An earlier moment than the one on record changes
    /// nothing.
    AdvanceClock {
        /// The moment.
        #[serde(with = "timestamp")]
        to: SystemTime,
    },
    /// Removes the oldest events of the outbox until at most so many are left.
    LimitOutbox {
        /// How many may stay.
        events: u64,
    },
}

/// Why a batch wasn't applied.
#[derive(Debug)]
pub enum CommitError {
    /// This requirement doesn't hold.
    Conflict(Requirement),
    /// The store refused it before it did anything: for want of room, because it
    /// writes nothing any more, or because of what it can't read. Nothing was
    /// applied, and nothing will be.
    Refused(Error),
    /// The store failed, and nobody knows how far it came: the batch may or may not
    /// have been applied.
    Failed(Error),
}

impl From<Error> for CommitError {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}
