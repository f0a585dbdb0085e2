//! Repositories under other names.

use std::sync::Arc;

use async_trait::async_trait;

use crate::{
    Access, Action, Blob, CatalogAccess, Chunk, Deletion, Descriptor, Digest, Epochs, ErrorKind,
    Layer, Manifest, MountSource, OpenOptions, Page, PageRequest, Pushed, PutManifest, Reference,
    ReferrerFilter, Registry, RepositoryEpoch, RepositoryName, Result, Tag, Upload, UploadId,
    UploadOptions, Visibility,
};

/// Adds a prefix to the names of repositories, or takes it away, on the way to
/// the registry below. Mounts and the list of repositories see the same names.
///
/// ```
/// use registry_core::{Prefix, Registry, RegistryExt};
///
/// /// What is pushed as `app` is `tenants/acme/app` below.
/// fn tenant(registry: impl Registry) -> registry_core::Result<impl Registry> {
///     Ok(registry.layer(Prefix::add(&"tenants/acme".parse()?)))
/// }
///
/// /// What is pulled as `docker.io/library/alpine` is `library/alpine` below.
/// fn mirror(hub: impl Registry) -> registry_core::Result<impl Registry> {
///     Ok(hub.layer(Prefix::strip(&"docker.io".parse()?)))
/// }
/// ```
///
/// Adding one makes a name longer: what then exceeds
/// [`NAME_MAX`](crate::NAME_MAX) is refused.
#[derive(Debug, Clone)]
pub struct Prefix {
    /// The prefix with the slash behind it.
    prefix: Arc<str>,
    direction: Direction,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    Add,
    Strip,
}

/// A registry under a [`Prefix`].
#[derive(Debug, Clone)]
pub struct PrefixedRegistry<R> {
    prefix: Prefix,
    inner: R,
}

impl Prefix {
    /// Asks for `prefix/name` when asked for `name`.
    ///
    /// Nothing outside `prefix` can be reached. The registry below is told to
    /// list from there, but may read on to its end if nothing comes after.
    pub fn add(prefix: &RepositoryName) -> Self {
        Self::new(prefix, Direction::Add)
    }

    /// Asks for `name` when asked for `prefix/name`. Any other repository is
    /// unknown.
    pub fn strip(prefix: &RepositoryName) -> Self {
        Self::new(prefix, Direction::Strip)
    }

    fn new(prefix: &RepositoryName, direction: Direction) -> Self {
        Self {
            prefix: format!("{prefix}/").into(),
            direction,
        }
    }

    /// The name below of a repository.
    fn inner(&self, name: &RepositoryName) -> Result<RepositoryName> {
        match self.direction {
            Direction::Add => format!("{}{name}", self.prefix).parse(),
            Direction::Strip => match name.as_str().strip_prefix(&*self.prefix) {
                Some(name) => name.parse(),
                None => Err(ErrorKind::NameUnknown
                    .error("there is no such repository; check the start of its name")),
            },
        }
    }

    /// The name of a repository below; `None` if it has none here.
    fn outer(&self, name: &RepositoryName) -> Option<RepositoryName> {
        match self.direction {
            Direction::Add => name.as_str().strip_prefix(&*self.prefix)?.parse().ok(),
            Direction::Strip => format!("{}{name}", self.prefix).parse().ok(),
        }
    }

    fn inner_access(&self, access: &Access) -> Result<Access> {
        Ok(access.renamed(self.inner(access.repository())?))
    }

    fn inner_catalog(&self, access: &CatalogAccess) -> CatalogAccess {
        let (prefix, outer) = (self.clone(), access.clone());
        let visible = move |name: &RepositoryName| {
            prefix.outer(name).is_some_and(|name| outer.permits(&name))
        };
        CatalogAccess::granted(
            Visibility::Only(Arc::new(visible)),
            Arc::clone(access.actor()),
        )
        .within(match self.direction {
            Direction::Add => access.reach().moved_below(&self.prefix),
            Direction::Strip => access.reach().taken_from(&self.prefix),
        })
    }

    /// Where to go on below; `None` if nothing can come after.
    fn inner_position(&self, after: Option<String>) -> Option<String> {
        let after = after.unwrap_or_default();
        match self.direction {
            Direction::Add => Some(format!("{}{after}", self.prefix)),
            Direction::Strip => match after.strip_prefix(&*self.prefix) {
                Some(after) => Some(after.to_owned()),
                None => (*after < *self.prefix).then(String::new),
            },
        }
    }

    /// Where to go on here; `None` if nothing can come after.
    fn outer_position(&self, next: &str) -> Option<String> {
        match self.direction {
            Direction::Add => next.strip_prefix(&*self.prefix).map(str::to_owned),
            Direction::Strip => Some(format!("{}{next}", self.prefix)),
        }
    }
}

impl<R: Registry> Layer<R> for Prefix {
    type Registry = PrefixedRegistry<R>;

    fn layer(self, inner: R) -> Self::Registry {
        PrefixedRegistry {
            prefix: self,
            inner,
        }
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<R: Registry> Registry for PrefixedRegistry<R> {
    async fn stat_blob(&self, access: &Access, digest: &Digest) -> Result<Descriptor> {
        let access = &self.prefix.inner_access(access)?;
        self.inner.stat_blob(access, digest).await
    }

    async fn open_blob(
        &self,
        access: &Access,
        digest: &Digest,
        options: OpenOptions,
    ) -> Result<Blob> {
        let access = &self.prefix.inner_access(access)?;
        self.inner.open_blob(access, digest, options).await
    }

    async fn mount_blob(
        &self,
        access: &Access,
        digest: &Digest,
        source: MountSource<'_>,
    ) -> Result<Option<Descriptor>> {
        let target = self.prefix.inner_access(access)?;
        match source {
            MountSource::Repository(source) => {
                // A source that doesn't exist is no error: the client uploads.
                let Ok(source) = self.prefix.inner_access(source) else {
                    target.require(Action::Push)?;
                    return Ok(None);
                };
                self.inner
                    .mount_blob(&target, digest, MountSource::Repository(&source))
                    .await
            }
            MountSource::Anywhere(catalog) => {
                let catalog = self.prefix.inner_catalog(catalog);
                self.inner
                    .mount_blob(&target, digest, MountSource::Anywhere(&catalog))
                    .await
            }
        }
    }

    async fn begin_upload(&self, access: &Access, options: UploadOptions) -> Result<Upload> {
        let access = &self.prefix.inner_access(access)?;
        self.inner.begin_upload(access, options).await
    }

    async fn upload(&self, access: &Access, id: &UploadId) -> Result<Upload> {
        let access = &self.prefix.inner_access(access)?;
        self.inner.upload(access, id).await
    }

    async fn append_upload(&self, access: &Access, id: &UploadId, chunk: Chunk) -> Result<Upload> {
        let access = &self.prefix.inner_access(access)?;
        self.inner.append_upload(access, id, chunk).await
    }

    async fn finish_upload(
        &self,
        access: &Access,
        id: &UploadId,
        digest: &Digest,
        last: Option<Chunk>,
    ) -> Result<Descriptor> {
        let access = &self.prefix.inner_access(access)?;
        self.inner.finish_upload(access, id, digest, last).await
    }

    async fn cancel_upload(&self, access: &Access, id: &UploadId) -> Result<()> {
        let access = &self.prefix.inner_access(access)?;
        self.inner.cancel_upload(access, id).await
    }

    async fn resolve(&self, access: &Access, reference: &Reference) -> Result<Descriptor> {
        let access = &self.prefix.inner_access(access)?;
        self.inner.resolve(access, reference).await
    }

    async fn get_manifest(&self, access: &Access, reference: &Reference) -> Result<Manifest> {
        let access = &self.prefix.inner_access(access)?;
        self.inner.get_manifest(access, reference).await
    }

    async fn put_manifest(&self, access: &Access, push: PutManifest) -> Result<Pushed> {
        let access = &self.prefix.inner_access(access)?;
        self.inner.put_manifest(access, push).await
    }

    async fn delete(&self, access: &Access, what: Deletion) -> Result<()> {
        let access = &self.prefix.inner_access(access)?;
        self.inner.delete(access, what).await
    }

    async fn tags(&self, access: &Access, page: PageRequest) -> Result<Page<Tag>> {
        let access = &self.prefix.inner_access(access)?;
        self.inner.tags(access, page).await
    }

    async fn referrers(
        &self,
        access: &Access,
        subject: &Digest,
        filter: ReferrerFilter,
        page: PageRequest,
    ) -> Result<Page<Descriptor>> {
        // Nothing refers to anything in a repository that can't exist.
        let Ok(access) = self.prefix.inner_access(access) else {
            access.require(Action::List)?;
            return Ok(Page::whole(Vec::new()));
        };
        self.inner.referrers(&access, subject, filter, page).await
    }

    async fn repositories(
        &self,
        access: &CatalogAccess,
        page: PageRequest,
    ) -> Result<Page<RepositoryName>> {
        let Some(after) = self.prefix.inner_position(page.after) else {
            return Ok(Page::whole(Vec::new()));
        };
        let page = PageRequest {
            limit: page.limit,
            after: Some(after),
        };
        let page = self
            .inner
            .repositories(&self.prefix.inner_catalog(access), page)
            .await?;
        Ok(Page {
            items: page
                .items
                .iter()
                .filter_map(|name| self.prefix.outer(name))
                .collect(),
            next: page.next.and_then(|next| self.prefix.outer_position(&next)),
        })
    }

    fn epochs(&self) -> Option<&dyn Epochs> {
        self.inner.epochs().map(|_| self as &dyn Epochs)
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<R: Registry> Epochs for PrefixedRegistry<R> {
    async fn epoch(&self, repository: &RepositoryName) -> Result<RepositoryEpoch> {
        match (self.inner.epochs(), self.prefix.inner(repository)) {
            (Some(epochs), Ok(name)) => epochs.epoch(&name).await,
            // There is no such repository here, and never was.
            _ => Ok(RepositoryEpoch::default()),
        }
    }
}
