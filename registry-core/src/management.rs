//! The administrative seam: what an owner asks that no client does.

use std::fmt;

use async_trait::async_trait;

use crate::{Access, CatalogAccess, Digest, Error, Page, PageRequest, RepositoryName, Result};

/// How much a repository, or a whole registry, holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Repositories counted.
    pub repositories: u64,
    /// Blobs, each counted once in each repository.
    pub blobs: u64,
    /// Manifests.
    pub manifests: u64,
    /// Tags.
    pub tags: u64,
    /// Bytes of blobs and manifests, each counted once in each repository.
    pub bytes: u64,
}

/// Stored content that isn't what it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// The content.
    pub digest: Digest,
    /// What is wrong with it, as a sentence.
    pub reason: String,
}

/// What an owner asks of a registry.
///
/// As with [`Registry`](crate::Registry), what isn't implemented is
/// unsupported.
#[async_trait]
pub trait Management: fmt::Debug + Send + Sync + 'static {
    /// How much one repository holds, or all that the caller may see.
    ///
    /// # Errors
    ///
    /// [`NameUnknown`](crate::ErrorKind::NameUnknown) if there is no such
    /// repository.
    async fn usage(
        &self,
        access: &CatalogAccess,
        repository: Option<&RepositoryName>,
    ) -> Result<Usage> {
        let _ = (access, repository);
        Err(Error::unsupported("usage"))
    }

    /// Reads stored content again, a page at a time in the order of its
    /// digests, and tells what is missing or changed. Costs as much as reading
    /// the content.
    ///
    /// # Errors
    ///
    /// [`Denied`](crate::ErrorKind::Denied) unless the caller may see
    /// everything.
    async fn verify(&self, access: &CatalogAccess, page: PageRequest) -> Result<Page<Damage>> {
        let _ = (access, page);
        Err(Error::unsupported("verification"))
    }

    /// Deletes a whole repository: its tags, manifests, blobs and unfinished
    /// uploads. Whatever right was bound to it ends, also in a repository that
    /// is created under its name later: that one has another
    /// [epoch](crate::RepositoryEpoch).
    ///
    /// # Errors
    ///
    /// [`NameUnknown`](crate::ErrorKind::NameUnknown) if there is no such
    /// repository, and [`Denied`](crate::ErrorKind::Denied) unless the caller may
    /// [administer](crate::Action::Administer) it.
    async fn delete_repository(&self, access: &Access) -> Result<()> {
        let _ = access;
        Err(Error::unsupported("deleting repositories"))
    }
}
