//! Which of the repositories that had one name.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;

use crate::{RepositoryName, Result};

/// Tells a repository from those that had its name before and were deleted.
///
/// Whoever is given rights in a repository has them in this one, not in another
/// that is created later under the same name. A name that is free has the epoch
/// of the repository that will be created under it.
///
/// Only [`delete_repository`](crate::Management::delete_repository) begins
/// another one. A repository that lost its last tag and its last blob is still
/// the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct RepositoryEpoch {
    /// How many repositories of this name were deleted.
    pub number: u64,
    /// When the last of them was.
    pub since: Option<SystemTime>,
}

/// Knows the epochs of repositories.
#[async_trait]
pub trait Epochs: fmt::Debug + Send + Sync + 'static {
    /// The epoch of the repository called `repository`, whether or not there is
    /// one. It is asked for every request, so it costs no more than a lookup.
    ///
    /// # Errors
    ///
    /// [`Unavailable`](crate::ErrorKind::Unavailable) and others of the
    /// registry's own.
    async fn epoch(&self, repository: &RepositoryName) -> Result<RepositoryEpoch>;
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<E: Epochs + ?Sized> Epochs for Arc<E> {
    async fn epoch(&self, repository: &RepositoryName) -> Result<RepositoryEpoch> {
        (**self).epoch(repository).await
    }
}
