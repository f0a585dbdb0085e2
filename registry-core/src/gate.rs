//! Gates: a last word on what may be pushed, pulled or deleted.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

use crate::{Access, Deletion, Descriptor, PutManifest, Reference, Result};

/// What is about to happen.
#[non_exhaustive]
#[derive(Debug, Clone, Copy)]
pub enum Admission<'a> {
    /// A manifest was pushed and isn't stored yet.
    Push(&'a PutManifest),
    /// A manifest was asked for and found, and isn't served yet.
    Pull {
        /// What was asked for.
        reference: &'a Reference,
        /// What was found.
        descriptor: &'a Descriptor,
    },
    /// Something is to be removed.
    Delete(&'a Deletion),
}

/// Decides, beyond access control, whether something may happen: because a
/// signature is missing, a scan found a vulnerability, or a rule of the house
/// says so.
#[async_trait]
pub trait Gate: fmt::Debug + Send + Sync + 'static {
    /// Lets it happen, or says why not.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Denied`](crate::ErrorKind::Denied) with a reason for the
    /// client, or any other error if the gate can't decide: then it doesn't
    /// happen either.
    async fn admit(&self, access: &Access, admission: Admission<'_>) -> Result<()>;
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<G: Gate + ?Sized> Gate for Arc<G> {
    async fn admit(&self, access: &Access, admission: Admission<'_>) -> Result<()> {
        (**self).admit(access, admission).await
    }
}
