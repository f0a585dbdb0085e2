//! The server syncs before it answers, and gives up rather than guess when the disk fails.
//!
//! `strace` watches the real server, and lets its system calls fail. Power failures themselves are simulated in the
//! stores' own tests.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a step that fails is the test's result"
)]

mod failing_disk;
mod large_blob;
mod order;
mod sending;
mod trace;

use registry_tests::harness::{Tool, not_run, tool};

/// `strace`, if it is there and may watch programs.
fn strace() -> Option<Tool> {
    let strace = tool("strace")?;
    let tried = strace.attempt(["-D", "-f", "-o", "/dev/null", "true"]);
    if tried.status.success() {
        return Some(strace);
    }
    not_run(&format!(
        "strace may not watch programs here: {}",
        tried.stderr
    ));
    None
}
