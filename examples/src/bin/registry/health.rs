//! Whether the server is fit to serve.

use registry_core::Result;
use registry_storage::Engine;

/// The health of a server, for those who ask at its side door.
#[derive(Debug, Clone)]
pub(crate) struct Health {
    engine: Engine,
    /// Whether the storage belongs to it.
    storage: bool,
}

impl Health {
    pub(crate) fn new(engine: Engine, storage: bool) -> Self {
        Self { engine, storage }
    }

    /// Whether all that was asked to be looked at works.
    ///
    /// # Errors
    ///
    /// With what doesn't.
    pub(crate) async fn check(&self) -> Result<()> {
        if self.storage {
            self.engine.check().await
        } else {
            Ok(())
        }
    }
}
