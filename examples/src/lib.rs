//! What the programs share: where the small ones listen and how they speak,
//! and the [configuration] of the server.

#![allow(
    clippy::print_stdout,
    reason = "these are programs that talk to people"
)]

pub mod configuration;

use std::io;

use tokio::net::TcpListener;

/// Listens on the address of the first argument, `127.0.0.1:5000` without one,
/// and says so.
///
/// # Errors
///
/// If the address isn't one, or somebody else has it.
pub async fn listen() -> io::Result<TcpListener> {
    let address = std::env::args()
        .nth(1)
        .unwrap_or_else(|| "127.0.0.1:5000".to_owned());
    let listener = TcpListener::bind(address).await?;
    say(&format!("listening on {}", listener.local_addr()?));
    Ok(listener)
}

/// Prints a line.
pub fn say(line: &str) {
    println!("{line}");
}

/// The code in the README compiles.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
#[derive(Debug)]
pub struct Readme;
