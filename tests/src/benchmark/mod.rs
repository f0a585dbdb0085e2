//! Measures any number of registries side by side.
//!
//! What is compared takes turns: round by round every server does the same work, each round in another order, so that a
//! machine that grows slower or faster meanwhile changes all of them alike. What is quoted is the median, and for a
//! comparison of two servers the median of the ratios within each round.
//!
//! Read it in this order: [`Options`] is the command line, `scenario` what is measured, `run` the rounds, `client` the
//! HTTP client (small on purpose: its work is taken from the same cores), `server` and `launcher` how servers are started,
//! `report` and `chart` what is written.

// The numbers here are our own measurements, never outside data, and are rounded for people to read.
#![allow(
    clippy::arithmetic_side_effects,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss
)]

mod chart;
mod client;
mod content;
mod decision;
mod filling;
mod goal;
mod launcher;
mod lifetime;
mod logins;
mod machine;
mod meter;
mod options;
mod push;
mod reference;
mod report;
mod requests;
mod results;
mod run;
mod scenario;
mod server;
mod statistics;
mod transfer;
mod usage;

pub use options::Options;
pub use run::main;
