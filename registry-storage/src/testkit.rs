//! The contracts of the ports as tests, and stores that fail on purpose
//! (feature `testkit`).
//!
//! Whoever writes a store runs the same tests as the stores of this crate, in
//! one line. They need `tokio` with its `macros` and a runtime among the
//! development dependencies.
//!
//! ```
//! use registry_storage::MemoryBlobs;
//!
//! registry_storage::blob_store_suite!(memory, MemoryBlobs::new());
//! ```

#![allow(
    clippy::missing_panics_doc,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "it is the body of tests, where a panic is the way to fail"
)]

pub mod blob;
#[cfg(feature = "filesystem")]
mod blob_file_system;
mod fault;
pub mod metadata;

#[cfg(feature = "redb")]
pub use crate::metadata::change_log;
#[cfg(feature = "filesystem")]
pub use blob_file_system::SimulatedFileSystem;
pub use fault::{BlobCall, Fault, FaultyBlobs};
