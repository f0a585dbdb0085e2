//! The distribution specification, and what its clients rely on beyond it, over real connections.
//!
//! `cargo test -p registry-tests --test protocol` needs no tool. Whole flows are played as clients play them, down to
//! chunked bodies, percent-encoded digests and addresses taken from the answer before; what each answer must have is
//! checked where it arrives, in [`wire`]. Every promise is held by an engine in memory, by one in a directory and by the
//! `registry` program, where all promises of a subject meet on one server.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a step that fails is the test's result"
)]

/// Makes tests of async functions that take a [`served::Served`]: one for each in process, one for all of them on the
/// program.
macro_rules! promises {
    ($($promise:ident),* $(,)?) => {
        mod in_memory {
            $(#[tokio::test]
            async fn $promise() {
                let served = crate::served::Served::in_memory(stringify!($promise)).await;
                super::$promise(&served).await;
            })*
        }

        mod in_a_directory {
            $(#[tokio::test]
            async fn $promise() {
                let served = crate::served::Served::in_a_directory(stringify!($promise)).await;
                super::$promise(&served).await;
            })*
        }

        #[tokio::test]
        async fn by_the_program() {
            let mut served = crate::served::Served::by_the_program();
            $(served.promise(stringify!($promise));
            $promise(&served).await;)*
        }
    };
}

mod content;
mod data_set;
mod served;
mod ways;
mod wire;

mod blobs;
mod clients;
mod data_sets;
mod deletions;
mod errors;
mod manifests;
mod mounts;
mod ping;
mod ranges;
mod referrers;
mod tags;
mod uploads;
