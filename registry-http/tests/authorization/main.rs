//! Who gets what, on every way there is.
//!
//! Each request that the protocol knows is sent by everybody, to repositories in
//! every state, spelled in every way, and the answers are compared with those of
//! a [model] that shares no code with the policies. Nearly every hole that a
//! registry ever had is a case here that was missing there.
//!
//! `controls/` has patches that take one check out of the code; `.ci/controls`
//! sees to it that these tests fail with each of them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test that can't go on fails"
)]

mod deleted;
mod disabled;
#[path = "../../src/endpoint.rs"]
#[allow(
    dead_code,
    unreachable_pub,
    reason = "only what requests can mean is needed of it"
)]
mod endpoint;
mod exchange;
mod explained;
mod held;
mod identities;
#[path = "../../src/management_operation.rs"]
#[allow(
    dead_code,
    unreachable_pub,
    reason = "only what requests can mean is needed of it"
)]
mod management_operation;
mod matrix;
mod model;
mod others;
mod paths;
mod principals;
mod routes;
mod shared;
mod spellings;
mod unasked;
mod world;
