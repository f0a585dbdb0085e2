//! Conformance, real clients, crash and security tests, and benchmarks.
//!
//! The library holds what those programs share: [`harness`] starts the real `registry` binary, finds and runs the
//! programs that talk to it, and asks it questions over plain HTTP; [`load`] puts it to work and remembers what it
//! acknowledged.

#![allow(
    clippy::expect_used,
    clippy::missing_panics_doc,
    clippy::panic,
    reason = "only tests use this crate, and a step that fails is the test's result"
)]

#[cfg(feature = "benchmark")]
pub mod benchmark;
pub mod harness;
pub mod load;
