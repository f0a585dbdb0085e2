//! What the programs share: where the small ones listen and how they speak,
//! and the [configuration] of the server.

#![allow(
    clippy::print_stdout,
    reason = "these are programs that talk to people"
)]

pub mod configuration;

use tokio::net::TcpListener;

/// Listens on the address of the first argument, `127.0.0.1:5000` without one,
/// and says so.
///
/// # Errors
///
/// If the address isn't one, or somebody else has it: a sentence that names it.
pub async fn listen() -> Result<TcpListener, String> {
    let address = std::env::args()
        .nth(1)
        .unwrap_or_else(|| "127.0.0.1:5000".to_owned());
    let refused = |error| {
        format!("{address} can't be listened on; give another address as the argument: {error}")
    };
    let listener = TcpListener::bind(&address).await.map_err(refused)?;
    let address = listener.local_addr().map_err(refused)?;
    say(&format!("listening on {address}"));
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
