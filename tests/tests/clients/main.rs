//! Real clients push, pull by tag and by digest, list, copy and delete; what comes back is compared byte for byte.
//!
//! `cargo test -p registry-tests --test clients` runs every client that `.ci/install` has installed; one that is missing
//! is reported as `NOT RUN` (and fails the test under `REGISTRY_TESTS_REQUIRE_TOOLS=1`). Docker, containerd, podman,
//! buildah and everything that needs the Debian root file system want root. That file system and a layer of 2 GiB are
//! made once and kept in the cache directory, `~/.cache/registry-ci`.
//!
//! Each test starts its own server. What a client says it did is checked with bare requests, and what it pulls is
//! compared with what was pushed.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a step that fails is the test's result"
)]

mod content;
mod layout;

mod buildah;
mod containerd;
mod crane;
mod docker;
mod helm;
mod logins;
mod oras;
mod podman;
mod regctl;
mod skopeo;
