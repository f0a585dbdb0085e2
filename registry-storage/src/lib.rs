//! Stores, engine and stateful layers of an embeddable OCI registry.
//!
//! An [`Engine`] is a [`Registry`](registry_core::Registry) over two stores. By
//! default both are in one directory:
//!
//! ```
//! # #[cfg(feature = "redb")]
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let directory = tempfile::tempdir()?;
//! # let root = directory.path();
//! use std::time::Duration;
//!
//! use registry_core::{Access, PageRequest, Registry};
//! use registry_storage::Engine;
//!
//! let engine = Engine::open(root).await?;
//! let app = Access::trusted("team/app".parse()?);
//! assert!(engine.tags(&app, PageRequest::default()).await.is_err());
//!
//! // At once, not after a week: uploads that received nothing for a day.
//! engine.expire_uploads(Duration::from_hours(24)).await?;
//! # Ok(())
//! # }
//! # #[cfg(not(feature = "redb"))]
//! # fn main() {}
//! ```
//!
//! [`Engine::memory`] keeps everything in memory, for tests.
//!
//! # Two ports
//!
//! Bytes and facts live differently, so each has a port of its own, and
//! [`Engine::builder`] takes any two that fit them:
//!
//! * [`BlobStore`]: content under keys that are never used twice. Here are
//!   [`MemoryBlobs`] and `FilesystemBlobs`.
//! * [`MetadataStore`]: a few reads, and one atomic write, the [`Batch`], with
//!   what it requires. Here are [`MemoryMetadata`], which is the reference for
//!   all others, and `RedbMetadata`.
//!
//! The feature `testkit` has the contract of both as tests, for stores of your
//! own.
//!
//! # The directory
//!
//! | path in the root | what it is |
//! |---|---|
//! | `lock` | one process at a time uses the directory |
//! | `blobs/sha256/ab/<hex>.<upload>` | content: blobs and manifests alike |
//! | `staging/<upload>` | uploads that are paused |
//! | `metadata.redb` | the facts |
//! | `metadata.<20 digits>.log` | the change log: the same facts, checksummed |
//! | `metadata.<20 digits>.checkpoint` | what the log before it amounts to |
//! | `metadata.redb.replaced` | the database from before a rebuild; from before later ones, with `.2` and so on behind it |
//!
//! # Durability
//!
//! What returned without an error is on the disk: the bytes, then their name,
//! then the facts about them. It outlives the process and a power failure,
//! unless `Durability::None` was chosen. After a failed sync a store takes no
//! more writes, since the system no longer knows what is on the disk; reads go
//! on.
//!
//! If the database is lost or damaged, `Engine::rebuild` makes it again from the
//! change log. It stops at damage in the log, unless it was told to skip that.
//!
//! Dropping an engine waits for nothing: its thread finishes what it was given
//! and lets go of the directory, for which opening it again waits.
//! [`Engine::close`] waits for that, as a program should before it ends.
//!
//! # Unfinished uploads
//!
//! An engine from `Engine::open` forgets uploads that received nothing for a
//! week, as long as a tokio runtime runs it; [`EngineBuilder::upload_expiry`]
//! changes the time. [`Engine::expire_uploads`] does it at once.
//!
//! # Features
//!
//! * `filesystem`, on by default: blobs as files.
//! * `redb`, on by default: metadata in an embedded database, and the engine in
//!   one directory.
//! * `testkit`: the contracts of both ports as tests, and stores that fail on
//!   purpose.

#![forbid(unsafe_code)]

mod blob;
#[cfg(feature = "filesystem")]
mod directory;
mod engine;
mod layer;
mod metadata;
mod portion;
mod recycled;
#[cfg(feature = "filesystem")]
mod scarcity;
#[cfg(feature = "testkit")]
pub mod testkit;

pub use blob::{BlobKey, BlobStore, MemoryBlobs, StagedBlob, StoredBlob};
#[cfg(feature = "filesystem")]
pub use blob::{Durability, FilesystemBlobs, FilesystemOptions};
pub use engine::{
    Engine, EngineBuilder, EngineOptions, Finding, Inspected, Inspection, UploadExpiry,
};
pub use layer::PullThrough;
pub use metadata::{
    Batch, BlobRecord, BlobState, Change, CommitError, ManifestRecord, MemoryMetadata,
    MetadataStore, OutboxEntry, RepositoryIdentity, RepositoryRecord, Requirement, TagRecord,
    UploadRecord,
};
#[cfg(feature = "redb")]
pub use metadata::{
    ColdReads, FactFault, FactKind, MetadataFinding, Rebuilt, RedbMetadata, RedbOptions,
    VerifiedMetadata, WrongFact,
};
