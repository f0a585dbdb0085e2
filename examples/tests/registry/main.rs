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
#[path = "../../../registry-http/src/endpoint.rs"]
#[allow(
    dead_code,
    unreachable_pub,
    reason = "only what requests can mean is needed of it"
)]
mod endpoint;
mod enforced;
mod exit_codes;
mod exposed;
mod guided;
mod headers;
mod lasting;
mod managed;
#[path = "../../../registry-http/src/management_operation.rs"]
#[allow(
    dead_code,
    unreachable_pub,
    unexpected_cfgs,
    reason = "only what requests can mean is needed of it"
)]
mod management_operation;
mod matrix;
mod mistakes;
mod observed;
mod program;
mod protected;
mod remarked;
mod reviewed;
#[path = "../../../registry-http/tests/authorization/routes.rs"]
#[allow(dead_code, reason = "not all of a row is needed")]
mod routes;
#[path = "../../../registry-http/tests/authorization/spellings.rs"]
mod spellings;
mod started;
mod stopped;
mod told;
mod verified;
