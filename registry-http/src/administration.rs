//! What the management API manages.

use std::sync::Arc;

use registry_auth::Keys;
use registry_core::Management;

/// What the management API manages, each part if it is given.
///
/// Whoever gives [`RegistryService::management`](crate::RegistryService::management)
/// one opens the API. What has to be allowed for it is up to access control; nobody
/// unknown manages anything.
#[derive(Debug, Clone, Default)]
pub struct Administration {
    pub(crate) registry: Option<Arc<dyn Management>>,
    pub(crate) keys: Option<Keys>,
}

impl Administration {
    /// Nothing yet but what access control itself has: explanations, and, with
    /// tokens, their ends.
    pub fn new() -> Self {
        Self::default()
    }

    /// Also the repositories of `registry`, by the names that clients use: under a
    /// layer that renames repositories, they are to be renamed, too.
    pub fn registry(mut self, registry: impl Management) -> Self {
        self.registry = Some(Arc::new(registry));
        self
    }

    /// Also robots, and keys: those that access control takes.
    pub fn keys(mut self, keys: Keys) -> Self {
        self.keys = Some(keys);
        self
    }
}
