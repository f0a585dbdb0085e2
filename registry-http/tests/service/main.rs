//! The service as its clients see it: real requests, real answers, the real
//! engine behind it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test that can't go on fails"
)]

mod blobs;
mod crowded;
mod crowded_manifests;
mod decisions;
mod defects;
mod error_details;
mod every_answer;
mod exchange;
mod forged_headers;
mod guarded_cache;
mod in_the_open;
mod lists;
mod malformed;
mod management;
mod manifests;
mod observed;
mod other_sites;
mod overtaken;
mod read_only;
mod tokens;
mod upload_owners;
mod uploads;
