//! Lists of a remote registry.

use http::{HeaderMap, header};
use registry_core::{
    Access, Action, CatalogAccess, Descriptor, Digest, ErrorKind, MediaType, Operation, Page,
    PageRequest, Reference, ReferrerFilter, RepositoryName, Result, Tag,
};

use super::RemoteRegistry;
use super::authorization::Payload;
use super::failure::{failure, read_limited};
use super::link::{self, Next};
use super::list_body::{Listed, referrers, repositories, tags};

/// How many pages are read to fill one.
const PAGES: usize = 1000;

/// The most that is read for one page, in bytes.
const PAGE: usize = 16 << 20;

/// A list, and what is wanted of it.
struct Wanted<'a, T> {
    page: PageRequest,
    /// Asks for a page of it.
    operation: &'a (dyn Fn(PageRequest) -> Operation + Send + Sync),
    read: fn(&[u8]) -> Result<Listed<T>>,
    /// The position behind an item.
    position: fn(&T) -> String,
    keeps: &'a (dyn Fn(&T) -> bool + Send + Sync),
    /// Whether several of the other side's pages may fill one.
    fills: bool,
}

/// A page as the other side divides its list.
struct Part<T> {
    items: Vec<T>,
    next: Option<Next>,
    size: usize,
}

impl RemoteRegistry {
    pub(super) async fn tags(&self, access: &Access, page: PageRequest) -> Result<Page<Tag>> {
        access.require(Action::List)?;
        self.list(Wanted {
            page,
            operation: &|page| Operation::ListTags {
                repository: access.repository().clone(),
                page,
            },
            read: tags,
            position: Tag::to_string,
            keeps: &|tag| access.shows(tag),
            fills: !access.shows_all_tags(),
        })
        .await
    }

    pub(super) async fn referrers(
        &self,
        access: &Access,
        subject: &Digest,
        filter: ReferrerFilter,
        page: PageRequest,
    ) -> Result<Page<Descriptor>> {
        access.require(Action::List)?;
        let listed = self
            .list(Wanted {
                page,
                operation: &|page| Operation::ListReferrers {
                    repository: access.repository().clone(),
                    subject: *subject,
                    filter: filter.clone(),
                    page,
                },
                read: referrers,
                position: |referrer: &Descriptor| referrer.digest.to_string(),
                keeps: &|referrer| filter.matches(referrer),
                fills: false,
            })
            .await;
        match listed {
            // It doesn't know referrers; then they are listed under a tag.
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::NameUnknown | ErrorKind::ManifestUnknown | ErrorKind::Unsupported
                ) =>
            {
                self.tagged_referrers(access, subject, &filter).await
            }
            listed => listed,
        }
    }

    /// What the caller may not see is left out before anything is counted, so
    /// it may take several of the other side's pages to fill one.
    pub(super) async fn repositories(
        &self,
        access: &CatalogAccess,
        page: PageRequest,
    ) -> Result<Page<RepositoryName>> {
        self.list(Wanted {
            page,
            operation: &|page| Operation::ListRepositories { page },
            read: repositories,
            position: RepositoryName::to_string,
            keeps: &|name| access.permits(name),
            fills: true,
        })
        .await
    }

    /// A page of a list.
    ///
    /// A link usually names the item that the next page lies behind. Where it
    /// names something else, that is followed as it is given, and since nobody
    /// here knows what it stands for, a later page is read from the start on:
    /// such a registry doesn't know positions, and lists what is before them.
    async fn list<T: Send>(&self, wanted: Wanted<'_, T>) -> Result<Page<T>> {
        let Wanted { page, position, .. } = &wanted;
        let mut request = page.clone();
        if wanted.fills {
            // A page of none would tell nothing.
            request.limit = page.limit.map(|limit| limit.max(1));
        }
        let mut query: Option<String> = None;
        let mut items: Vec<T> = Vec::new();
        let mut is_behind = page.after.is_none();
        let mut size: usize = 0;
        for _ in 0..PAGES {
            let operation = (wanted.operation)(request.clone());
            let part = self.part(&operation, query.as_deref(), wanted.read).await?;
            size = size.saturating_add(part.size);
            if size > PAGE {
                return Err(ErrorKind::Unavailable
                    .error("the list of the remote registry is too long to be read"));
            }
            for item in part.items {
                if page.after.as_ref() == Some(&position(&item)) {
                    is_behind = true;
                    items.clear();
                } else if (wanted.keeps)(&item) {
                    items.push(item);
                }
            }
            let knows_positions = query.is_none()
                && part
                    .next
                    .as_ref()
                    .is_none_or(|next| next.position.is_some());
            // A position that was deleted meanwhile is before all there is.
            is_behind |= knows_positions || part.next.is_none();
            let limit = page.limit.filter(|_| is_behind).unwrap_or(usize::MAX);
            if items.len() > limit {
                items.truncate(limit);
                let next = items.last().map(position);
                return Ok(Page { items, next });
            }
            match part.next {
                Some(next) if knows_positions => {
                    // Without a limit, any page that isn't empty will do.
                    let done = !wanted.fills || (page.limit.is_none() && !items.is_empty());
                    let next = next
                        .position
                        .filter(|next| request.after.as_ref() != Some(next));
                    if done || next.is_none() {
                        return Ok(Page { items, next });
                    }
                    request.after = next;
                }
                Some(next) if items.len() < limit => {
                    if query.as_ref() == Some(&next.query) {
                        break;
                    }
                    query = Some(next.query);
                }
                next => {
                    let next = next.and_then(|_| items.last().map(position));
                    return Ok(Page { items, next });
                }
            }
        }
        Err(ErrorKind::Unavailable.error("the remote registry lists without end"))
    }

    /// What the other side gives for one page, or for `query` in place of it.
    async fn part<T: Send>(
        &self,
        operation: &Operation,
        query: Option<&str>,
        read: fn(&[u8]) -> Result<Listed<T>>,
    ) -> Result<Part<T>> {
        let (method, path) = operation.render();
        let mut url = self.inner.outbound.url(&path)?;
        if query.is_some() {
            url.set_query(query);
        }
        let answer = self
            .request_at(operation, method, url, HeaderMap::new(), Payload::Empty)
            .await?;
        if !answer.status().is_success() {
            return Err(failure(&self.inner.outbound, answer, operation).await);
        }
        let links = answer.headers().get_all(header::LINK);
        let links = links.iter().filter_map(|link| link.to_str().ok());
        let next = link::next(links, answer.url())?;
        let body = read_limited(self.inner.outbound.body(answer), PAGE).await?;
        let items = valid(read(&body)?, operation);
        let size = body.len();
        Ok(Part { items, next, size })
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
        // It is a list, although it has to be pulled.
        let list = Access::trusted(access.repository().clone());
        match self.get_manifest(&list, &Reference::Tag(tag)).await {
            Ok(index) if index.media_type == MediaType::OCI_INDEX => {
                let operation = Operation::ListReferrers {
                    repository: access.repository().clone(),
                    subject: *subject,
                    filter: filter.clone(),
                    page: PageRequest::default(),
                };
                let mut items = valid(referrers(&index.bytes)?, &operation);
                items.retain(|referrer| filter.matches(referrer));
                Ok(Page::whole(items))
            }
            Ok(_) => Ok(Page::whole(Vec::new())),
            Err(error) if error.kind() == ErrorKind::ManifestUnknown => Ok(Page::whole(Vec::new())),
            Err(error) => Err(error),
        }
    }
}

/// The items of a list without those that can't be asked for, which is noted.
fn valid<T>(listed: Listed<T>, operation: &Operation) -> Vec<T> {
    if listed.odd > 0 {
        let repository = operation.repository().map(RepositoryName::as_str);
        tracing::warn!(
            repository,
            left_out = listed.odd,
            operation = operation.name(),
            "the remote registry lists what has no valid name or digest; it is left out"
        );
    }
    listed.items
}
