//! Whether the server is fit to serve.

use std::sync::Arc;

use registry_core::{Records, Result};
use registry_storage::Engine;

/// The health of a server, for those who ask at its side door.
#[derive(Debug, Clone)]
pub(crate) struct Health {
    engine: Engine,
    /// Whether the storage belongs to it.
    storage: bool,
    /// What is kept about keys and tokens, without which they aren't taken.
    records: Option<Arc<dyn Records>>,
}

impl Health {
    pub(crate) fn new(engine: Engine, storage: bool, records: Option<Arc<dyn Records>>) -> Self {
        Self {
            engine,
            storage,
            records,
        }
    }

    /// Whether all that was asked to be looked at works.
    ///
    /// # Errors
    ///
    /// With what doesn't.
    pub(crate) async fn check(&self) -> Result<()> {
        if let Some(records) = &self.records {
            records.get("ready/now").await?;
        }
        if self.storage {
            self.engine.check().await
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::time::SystemTime;

    use async_trait::async_trait;
    use registry_core::{ErrorKind, Expected, Page, PageRequest, Record};

    use super::*;

    /// Records that can't be read.
    #[derive(Debug)]
    struct Away;

    fn away<T>() -> Result<T> {
        Err(ErrorKind::Unavailable.error("they can't be read"))
    }

    #[async_trait]
    impl Records for Away {
        async fn get(&self, _: &str) -> Result<Option<Record>> {
            away()
        }

        async fn put(
            &self,
            _: &str,
            _: Expected,
            _: Vec<u8>,
            _: Option<SystemTime>,
        ) -> Result<u64> {
            away()
        }

        async fn remove(&self, _: &str, _: Expected) -> Result<bool> {
            away()
        }

        async fn list(&self, _: &str, _: PageRequest) -> Result<Page<Record>> {
            away()
        }
    }

    #[tokio::test]
    async fn a_server_without_its_records_is_not_ready() {
        let engine = Engine::memory();
        let ready = Health::new(engine.clone(), true, None);
        ready.check().await.unwrap();
        for storage in [true, false] {
            let health = Health::new(engine.clone(), storage, Some(Arc::new(Away)));
            let error = health.check().await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unavailable);
        }
    }
}
