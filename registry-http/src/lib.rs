//! The OCI distribution protocol over HTTP: service, listener and client of an embeddable registry.

mod limits;
mod peer;

pub use limits::Limits;
pub use peer::Peer;
