//! Layers: registries over other registries.
//!
//! The layers here keep no state, so they need no clock, no store and no task.
//! Each implements every method of [`Registry`]: a layer that forgot one would
//! answer "unsupported", or worse, let something pass that it was to check.

mod gated;
mod observe;
mod prefix;
mod pulls;
mod read_only;
mod route;

pub use gated::{Gated, GatedRegistry};
pub use observe::{Deed, Observation, Observations, Observe, ObservedRegistry, Observer, Queue};
pub use prefix::{Prefix, PrefixedRegistry};
pub use pulls::{PullEvents, Pulls};
pub use read_only::{ReadOnly, ReadOnlyRegistry};
pub use route::Route;

use crate::Registry;

/// Something to put over a registry.
///
/// ```
/// use registry_core::{Layer, ReadOnly, Registry, RegistryExt};
///
/// /// What every registry of this program gets.
/// fn dressed(registry: impl Registry) -> impl Registry {
///     registry.layer(ReadOnly)
/// }
/// ```
pub trait Layer<R> {
    /// The registry that comes out.
    type Registry: Registry;

    /// Puts it over `inner`.
    fn layer(self, inner: R) -> Self::Registry;
}

/// What can be done with any registry. Nobody else implements it.
pub trait RegistryExt: Registry + Sized {
    /// This registry under `layer`: what is asked passes the layer that was put
    /// on last first.
    fn layer<L: Layer<Self>>(self, layer: L) -> L::Registry {
        layer.layer(self)
    }
}

impl<R: Registry> RegistryExt for R {}
