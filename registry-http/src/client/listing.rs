//! Lists of a remote registry.

use http::{HeaderMap, header};
use registry_core::{
    Access, Action, CatalogAccess, Descriptor, Digest, ErrorKind, MediaType, Operation, Page,
    PageRequest, Reference, ReferrerFilter, RepositoryName, Result, Tag,
};
use reqwest::Response;

use super::failure::read_limited;
use super::list_body::{referrers, repositories, tags};
use super::{RemoteRegistry, link};

/// How many pages are read to fill one.
const PAGES: usize = 1000;

/// The largest page that is read, in bytes.
const PAGE: usize = 16 << 20;

impl RemoteRegistry {
    pub(super) async fn tags(&self, access: &Access, page: PageRequest) -> Result<Page<Tag>> {
        access.require(Action::Pull)?;
        let operation = Operation::ListTags {
            repository: access.repository().clone(),
            page,
        };
        let answer = self.ask(&operation, HeaderMap::new()).await?;
        let next = continuation(&answer)?;
        let items = tags(&read_limited(self.inner.outbound.body(answer), PAGE).await?)?;
        Ok(Page { items, next })
    }

    pub(super) async fn referrers(
        &self,
        access: &Access,
        subject: &Digest,
        filter: ReferrerFilter,
        page: PageRequest,
    ) -> Result<Page<Descriptor>> {
        access.require(Action::Pull)?;
        let operation = Operation::ListReferrers {
            repository: access.repository().clone(),
            subject: *subject,
            filter: filter.clone(),
            page,
        };
        let answer = match self.ask(&operation, HeaderMap::new()).await {
            // It doesn't know referrers; then they are listed under a tag.
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::NameUnknown | ErrorKind::ManifestUnknown | ErrorKind::Unsupported
                ) =>
            {
                return self.tagged_referrers(access, subject, &filter).await;
            }
            answer => answer?,
        };
        let next = continuation(&answer)?;
        let mut items = referrers(&read_limited(self.inner.outbound.body(answer), PAGE).await?)?;
        items.retain(|referrer| filter.matches(referrer));
        Ok(Page { items, next })
    }

    /// What the caller may not see is left out before anything is counted, so
    /// it may take several of the other side's pages to fill one.
    pub(super) async fn repositories(
        &self,
        access: &CatalogAccess,
        page: PageRequest,
    ) -> Result<Page<RepositoryName>> {
        // A page of none would tell nothing.
        let at_least_one = page.limit.map(|limit| limit.max(1));
        let mut request = page.clone().limit(at_least_one);
        let mut items: Vec<RepositoryName> = Vec::new();
        for _ in 0..PAGES {
            let operation = Operation::ListRepositories {
                page: request.clone(),
            };
            let answer = self.ask(&operation, HeaderMap::new()).await?;
            let next = continuation(&answer)?;
            let names = repositories(&read_limited(self.inner.outbound.body(answer), PAGE).await?)?;
            for name in names.into_iter().filter(|name| access.permits(name)) {
                if page.limit.is_some_and(|limit| items.len() >= limit) {
                    let next = items.last().map(ToString::to_string);
                    return Ok(Page { items, next });
                }
                items.push(name);
            }
            // Without a limit, any page that isn't empty will do.
            let done = page.limit.is_none() && !items.is_empty();
            match next {
                Some(next) if !done && request.after.as_ref() != Some(&next) => {
                    request.after = Some(next);
                }
                next => {
                    return Ok(Page {
                        items,
                        next: next.filter(|_| done),
                    });
                }
            }
        }
        Err(ErrorKind::Unavailable.error("the remote registry lists without end"))
    }

    /// Distribution specification, "Referrers tag schema".
    async fn tagged_referrers(
        &self,
        access: &Access,
        subject: &Digest,
        filter: &ReferrerFilter,
    ) -> Result<Page<Descriptor>> {
        let hex = subject.hex();
        let hex = hex.get(..64).unwrap_or(&hex);
        let tag: Tag = format!("{}-{hex}", subject.algorithm()).parse()?;
        match self.get_manifest(access, &Reference::Tag(tag)).await {
            Ok(index) if index.media_type == MediaType::OCI_INDEX => {
                let mut items = referrers(&index.bytes)?;
                items.retain(|referrer| filter.matches(referrer));
                Ok(Page::whole(items))
            }
            Ok(_) => Ok(Page::whole(Vec::new())),
            Err(error) if error.kind() == ErrorKind::ManifestUnknown => Ok(Page::whole(Vec::new())),
            Err(error) => Err(error),
        }
    }
}

/// The position that the link to the next page names.
fn continuation(answer: &Response) -> Result<Option<String>> {
    let links = answer.headers().get_all(header::LINK);
    let links = links.iter().filter_map(|link| link.to_str().ok());
    link::next(links, answer.url())
}
