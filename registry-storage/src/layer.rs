//! Layers that keep something.

mod pull_through;

pub use pull_through::PullThrough;
