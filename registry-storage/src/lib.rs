//! Stores, engine and stateful layers of an embeddable OCI registry.

mod blob;
mod engine;
mod layer;
mod metadata;
mod portion;
#[cfg(feature = "testkit")]
pub mod testkit;

pub use blob::{BlobKey, BlobStore, MemoryBlobs, StagedBlob, StoredBlob};
#[cfg(feature = "filesystem")]
pub use blob::{Durability, FilesystemBlobs, FilesystemOptions};
pub use engine::{Engine, EngineBuilder, EngineOptions};
pub use layer::PullThrough;
pub use metadata::{
    Batch, BlobRecord, BlobState, CommitError, ManifestRecord, MemoryMetadata, MetadataStore,
    Operation, OutboxEntry, RepositoryIdentity, RepositoryRecord, Requirement, TagRecord,
    UploadRecord,
};
#[cfg(feature = "redb")]
pub use metadata::{Rebuilt, RedbMetadata, RedbOptions};
