//! Tokens of the registry's own: who gets one, what it is good for, and how long.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test fails by panicking"
)]

#[path = "../common/ahead.rs"]
mod ahead;
mod confirmation;
mod holders;
mod moments;
mod refresh;
mod requests;
mod scopes;
#[path = "../common/sender.rs"]
mod sender;
mod signing_keys;
#[path = "../common/store.rs"]
mod store;
mod support;
