//! The contract of [`MetadataStore`](crate::MetadataStore): as random histories
//! that a store and the reference must agree on.

mod history;
mod observation;

pub use history::{batch, history};
pub use observation::{Observation, Scope, follow, observe};
