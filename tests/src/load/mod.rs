//! A small load generator that remembers what the registry acknowledged.
//!
//! * [`Content`]: bytes of any size, made from a seed as they are read.
//! * [`Client`]: one client's requests; an answer that never comes is told apart from one that is an error.
//! * [`History`]: every request that changes something, and what the registry may hold after them.
//! * [`Mix`]: several clients at once, pushing, mounting, tagging and deleting.
//! * [`audit`]: what a registry holds, compared with the history.

mod audit;
mod client;
mod connections;
mod content;
mod history;
mod mix;

pub use audit::{Depth, audit};
pub use client::{Broken, Client, Pulled, Reply, Way};
pub use content::{Content, digest_of};
pub use history::{Effect, History, Image, Place, Ticket};
pub use mix::{Mix, Outcome};
