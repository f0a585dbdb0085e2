//! The OCI distribution protocol over HTTP: service, listener and client of an embeddable registry.

#[cfg(feature = "client")]
mod client;
mod limits;
mod peer;

#[cfg(feature = "client")]
pub use client::{RemoteRegistry, RemoteRegistryBuilder};
pub use limits::Limits;
pub use peer::Peer;
