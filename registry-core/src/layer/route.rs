//! Several registries as one, told apart by the names of repositories.

use std::sync::Arc;

use async_trait::async_trait;
use futures::future;

use crate::{
    Access, Action, Blob, CatalogAccess, Chunk, Deletion, Descriptor, Digest, Epochs, ErrorKind,
    Manifest, MountSource, OpenOptions, Page, PageRequest, Pushed, PutManifest, Reference,
    ReferrerFilter, Registry, RepositoryEpoch, RepositoryName, Result, Tag, Upload, UploadId,
    UploadOptions, Visibility,
};

/// Sends each repository to one of several registries, by the longest matching
/// start of its name.
///
/// A start matches whole components: `team` matches `team` and `team/app`, not
/// `teamwork`. Names stay as they are; [`Prefix::strip`](crate::Prefix::strip)
/// shortens them on the way.
///
/// ```
/// use registry_core::{Prefix, Registry, RegistryExt, Route};
///
/// fn house(own: impl Registry, hub: impl Registry) -> registry_core::Result<impl Registry> {
///     let hub = hub.layer(Prefix::strip(&"docker.io".parse()?));
///     Ok(Route::new().to("docker.io".parse()?, hub).otherwise(own))
/// }
/// ```
///
/// Blobs are mounted only within one registry; across two the client is asked
/// to upload. A registry that doesn't list its repositories adds none to the
/// list of all. Repositories of one that has no [epochs](crate::Registry::epochs) count
/// as never deleted, where others have some.
#[derive(Debug, Clone, Default)]
pub struct Route {
    /// The longest start first.
    routes: Vec<(RepositoryName, Arc<dyn Registry>)>,
    otherwise: Option<Arc<dyn Registry>>,
}

impl Route {
    /// No route at all: every repository is unknown.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sends the repositories whose names start with `prefix` to `registry`.
    /// Of two routes with the same start the later one counts.
    #[must_use]
    pub fn to(mut self, prefix: RepositoryName, registry: impl Registry) -> Self {
        self.routes.retain(|(other, _)| *other != prefix);
        self.routes.push((prefix, Arc::new(registry)));
        self.routes
            .sort_by_key(|(prefix, _)| std::cmp::Reverse(prefix.as_str().len()));
        self
    }

    /// Sends all other repositories to `registry`.
    #[must_use]
    pub fn otherwise(mut self, registry: impl Registry) -> Self {
        self.otherwise = Some(Arc::new(registry));
        self
    }
}

impl Route {
    fn registries(&self) -> impl Iterator<Item = &Arc<dyn Registry>> {
        self.routes
            .iter()
            .map(|(_, registry)| registry)
            .chain(&self.otherwise)
    }

    /// The registry of a repository.
    fn find(&self, repository: &RepositoryName) -> Option<&Arc<dyn Registry>> {
        self.routes
            .iter()
            .find(|(prefix, _)| {
                repository
                    .as_str()
                    .strip_prefix(prefix.as_str())
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            })
            .map(|(_, registry)| registry)
            .or(self.otherwise.as_ref())
    }

    fn target(&self, access: &Access) -> Result<&Arc<dyn Registry>> {
        self.find(access.repository()).ok_or_else(|| {
            ErrorKind::NameUnknown.error("there is no such repository; check the start of its name")
        })
    }

    /// The same right to see repositories, but only those of `registry`.
    fn limited(&self, access: &CatalogAccess, registry: &Arc<dyn Registry>) -> CatalogAccess {
        let (routes, outer, registry) = (self.clone(), access.clone(), Arc::clone(registry));
        let visible = move |name: &RepositoryName| {
            let here = routes.find(name);
            here.is_some_and(|here| Arc::ptr_eq(here, &registry)) && outer.permits(name)
        };
        CatalogAccess::granted(
            Visibility::Only(Arc::new(visible)),
            Arc::clone(access.actor()),
        )
        .within(access.reach().clone())
    }

    /// What one registry adds to the list of all.
    async fn part(
        &self,
        registry: &Arc<dyn Registry>,
        access: &CatalogAccess,
        page: PageRequest,
    ) -> Result<Page<RepositoryName>> {
        let access = self.limited(access, registry);
        match registry.repositories(&access, page).await {
            Err(error) if error.kind() == ErrorKind::Unsupported => Ok(Page::whole(Vec::new())),
            page => page,
        }
    }
}

/// The first `limit` of all items, in order.
fn merge(pages: Vec<Page<RepositoryName>>, limit: Option<usize>) -> Page<RepositoryName> {
    // Behind the end of a page that isn't its registry's last one, that
    // registry may have more.
    let certain = pages.iter().filter_map(|page| page.next.clone()).min();
    let mut items: Vec<RepositoryName> = pages
        .into_iter()
        .flat_map(|page| page.items)
        .filter(|name| certain.as_deref().is_none_or(|end| name.as_str() <= end))
        .collect();
    items.sort_unstable();
    let limit = limit.unwrap_or(usize::MAX);
    let next = if items.len() > limit {
        items.truncate(limit);
        items.last().map(ToString::to_string)
    } else {
        certain
    };
    Page { items, next }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Registry for Route {
    async fn stat_blob(&self, access: &Access, digest: &Digest) -> Result<Descriptor> {
        self.target(access)?.stat_blob(access, digest).await
    }

    async fn open_blob(
        &self,
        access: &Access,
        digest: &Digest,
        options: OpenOptions,
    ) -> Result<Blob> {
        self.target(access)?
            .open_blob(access, digest, options)
            .await
    }

    async fn mount_blob(
        &self,
        access: &Access,
        digest: &Digest,
        source: MountSource<'_>,
    ) -> Result<Option<Descriptor>> {
        let target = self.target(access)?;
        match source {
            MountSource::Repository(from) => {
                access.require(Action::Push)?;
                from.require(Action::Pull)?;
                match self.find(from.repository()) {
                    Some(other) if Arc::ptr_eq(target, other) => {
                        target.mount_blob(access, digest, source).await
                    }
                    _ => Ok(None),
                }
            }
            MountSource::Anywhere(catalog) => {
                let catalog = self.limited(catalog, target);
                target
                    .mount_blob(access, digest, MountSource::Anywhere(&catalog))
                    .await
            }
        }
    }

    async fn begin_upload(&self, access: &Access, options: UploadOptions) -> Result<Upload> {
        self.target(access)?.begin_upload(access, options).await
    }

    async fn upload(&self, access: &Access, id: &UploadId) -> Result<Upload> {
        self.target(access)?.upload(access, id).await
    }

    async fn append_upload(&self, access: &Access, id: &UploadId, chunk: Chunk) -> Result<Upload> {
        self.target(access)?.append_upload(access, id, chunk).await
    }

    async fn finish_upload(
        &self,
        access: &Access,
        id: &UploadId,
        digest: &Digest,
        last: Option<Chunk>,
    ) -> Result<Descriptor> {
        self.target(access)?
            .finish_upload(access, id, digest, last)
            .await
    }

    async fn cancel_upload(&self, access: &Access, id: &UploadId) -> Result<()> {
        self.target(access)?.cancel_upload(access, id).await
    }

    async fn resolve(&self, access: &Access, reference: &Reference) -> Result<Descriptor> {
        self.target(access)?.resolve(access, reference).await
    }

    async fn get_manifest(&self, access: &Access, reference: &Reference) -> Result<Manifest> {
        self.target(access)?.get_manifest(access, reference).await
    }

    async fn put_manifest(&self, access: &Access, push: PutManifest) -> Result<Pushed> {
        self.target(access)?.put_manifest(access, push).await
    }

    async fn delete(&self, access: &Access, what: Deletion) -> Result<()> {
        self.target(access)?.delete(access, what).await
    }

    async fn tags(&self, access: &Access, page: PageRequest) -> Result<Page<Tag>> {
        self.target(access)?.tags(access, page).await
    }

    async fn referrers(
        &self,
        access: &Access,
        subject: &Digest,
        filter: ReferrerFilter,
        page: PageRequest,
    ) -> Result<Page<Descriptor>> {
        let Some(registry) = self.find(access.repository()) else {
            // Nothing refers to anything in a repository that can't exist.
            access.require(Action::List)?;
            return Ok(Page::whole(Vec::new()));
        };
        registry.referrers(access, subject, filter, page).await
    }

    async fn repositories(
        &self,
        access: &CatalogAccess,
        page: PageRequest,
    ) -> Result<Page<RepositoryName>> {
        if page.limit == Some(0) {
            return Ok(Page::whole(Vec::new()));
        }
        let pages = future::try_join_all(
            self.registries()
                .map(|registry| self.part(registry, access, page.clone())),
        )
        .await?;
        Ok(merge(pages, page.limit))
    }

    fn epochs(&self) -> Option<&dyn Epochs> {
        // Where none of them tells, it would only pretend to.
        let mut registries = self.registries();
        let is_told = registries.any(|registry| registry.epochs().is_some());
        is_told.then_some(self as &dyn Epochs)
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Epochs for Route {
    async fn epoch(&self, repository: &RepositoryName) -> Result<RepositoryEpoch> {
        match self.find(repository).and_then(|registry| registry.epochs()) {
            Some(epochs) => epochs.epoch(repository).await,
            None => Ok(RepositoryEpoch::default()),
        }
    }
}
