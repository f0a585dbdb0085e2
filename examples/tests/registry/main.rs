//! The `registry` program, from outside: its flags, variables, files, signals,
//! and what it says.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "these are tests, of a process that only real time can be waited for"
)]

mod asked;
mod authorized;
mod configured;
mod enforced;
mod exit_codes;
mod exposed;
mod guided;
mod headers;
mod lasting;
mod managed;
mod mistakes;
mod observed;
mod program;
mod protected;
mod remarked;
mod reviewed;
mod started;
mod stopped;
mod told;
mod verified;
