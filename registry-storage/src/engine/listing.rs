//! Lists: tags, referrers and repositories, a page at a time.

use registry_core::{
    Access, Action, CatalogAccess, Descriptor, Digest, ErrorKind, Page, PageRequest,
    ReferrerFilter, RepositoryName, Result, Tag,
};

use super::Engine;

/// How many records are read at once where some of them may not be wanted.
const STEP: usize = 256;

/// A page of referrers ends before it grows beyond this many bytes: clients
/// read 4 MiB, and many follow no link.
const REFERRERS_BYTES: usize = 4_000_000;

impl Engine {
    pub(super) async fn tags(&self, access: &Access, page: PageRequest) -> Result<Page<Tag>> {
        access.require(Action::Pull)?;
        let limit = self.limit(&page);
        // One more than wanted tells whether there is a next page.
        let mut tags: Vec<Tag> = self
            .metadata()
            .tags(
                access.repository(),
                page.after.as_deref(),
                limit.saturating_add(1),
            )
            .await?
            .ok_or_else(|| ErrorKind::NameUnknown.error("there is no such repository"))?
            .into_iter()
            .map(|(tag, _)| tag)
            .collect();
        let more = tags.len() > limit;
        tags.truncate(limit);
        let next = tags.last().filter(|_| more).map(ToString::to_string);
        Ok(Page { items: tags, next })
    }

    pub(super) async fn referrers(
        &self,
        access: &Access,
        subject: &Digest,
        filter: ReferrerFilter,
        page: PageRequest,
    ) -> Result<Page<Descriptor>> {
        access.require(Action::Pull)?;
        let limit = self.limit(&page);
        let mut after = match &page.after {
            Some(after) => Some(after.parse().map_err(|_| {
                ErrorKind::PageInvalid.error("the position is not a digest; follow the link")
            })?),
            None => None,
        };
        let mut items: Vec<Descriptor> = Vec::new();
        let mut bytes = 0_usize;
        loop {
            let step = self
                .metadata()
                .referrers(access.repository(), subject, after.as_ref(), STEP)
                .await?;
            let exhausted = step.len() < STEP;
            for referrer in step {
                after = Some(referrer.digest);
                if !filter.matches(&referrer) {
                    continue;
                }
                bytes = bytes.saturating_add(json_size(&referrer));
                if items.len() >= limit || (bytes > REFERRERS_BYTES && !items.is_empty()) {
                    let next = items.last().map(|last| last.digest.to_string());
                    return Ok(Page { items, next });
                }
                items.push(referrer);
            }
            if exhausted {
                return Ok(Page::whole(items));
            }
            // A store that answers at once would keep others waiting.
            tokio::task::yield_now().await;
        }
    }

    pub(super) async fn repositories(
        &self,
        access: &CatalogAccess,
        page: PageRequest,
    ) -> Result<Page<RepositoryName>> {
        let limit = self.limit(&page);
        let mut after = page.after;
        let mut items: Vec<RepositoryName> = Vec::new();
        loop {
            let step = self.metadata().repositories(after.as_deref(), STEP).await?;
            let exhausted = step.len() < STEP;
            for repository in step {
                after = Some(repository.name.to_string());
                if !access.permits(&repository.name) {
                    continue;
                }
                if items.len() >= limit {
                    let next = items.last().map(ToString::to_string);
                    return Ok(Page { items, next });
                }
                items.push(repository.name);
            }
            if exhausted {
                return Ok(Page::whole(items));
            }
            // A store that answers at once would keep others waiting.
            tokio::task::yield_now().await;
        }
    }

    fn limit(&self, page: &PageRequest) -> usize {
        let max = self.options().max_page;
        page.limit.map_or(max, |limit| limit.min(max))
    }
}

/// About how many bytes a descriptor takes in a list.
fn json_size(descriptor: &Descriptor) -> usize {
    let annotations: usize = descriptor
        .annotations
        .iter()
        .map(|(key, value)| key.len().saturating_add(value.len()).saturating_add(8))
        .sum();
    annotations
        .saturating_add(descriptor.artifact_type.as_ref().map_or(0, String::len))
        .saturating_add(descriptor.media_type.as_str().len())
        .saturating_add(256)
}
