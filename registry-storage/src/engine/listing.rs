//! Lists: tags, referrers and repositories, a page at a time.

use registry_core::{
    Access, Action, CatalogAccess, Descriptor, Digest, ErrorKind, Page, PageRequest,
    ReferrerFilter, RepositoryName, Result, Tag,
};

use super::Engine;
use crate::metadata::{ReferrerPage, listed_size};

/// How many records are read at once where some of them may not be wanted.
const STEP: usize = 256;

/// How many names are read at once where they end soon.
const NARROW_STEP: usize = 16;

/// How many names that aren't wanted are looked at for one page.
const LOOKED_AT_NAMES: usize = 4096;

/// A page of referrers ends before it grows beyond this many bytes: clients
/// read 4 MiB, and many follow no link.
const REFERRERS_BYTES: usize = 4_000_000;

/// How many bytes of referrers are looked at for one page. Where most aren't
/// wanted, a page holds fewer than it may, and the next one goes on behind them.
const LOOKED_AT_BYTES: usize = 4 * REFERRERS_BYTES;

impl Engine {
    pub(super) async fn tags(&self, access: &Access, page: PageRequest) -> Result<Page<Tag>> {
        access.require(Action::List)?;
        let limit = self.limit(&page);
        let most = if access.shows_all_tags() {
            // One more than wanted tells whether there is a next page.
            limit.saturating_add(1)
        } else {
            STEP
        };
        let mut after = page.after;
        let mut items: Vec<Tag> = Vec::new();
        let mut looked_at: usize = 0;
        loop {
            let step = self
                .metadata()
                .tags(access.repository(), after.as_deref(), most)
                .await?
                .ok_or_else(|| ErrorKind::NameUnknown.error("there is no such repository"))?;
            let exhausted = step.len() < most;
            for (tag, _) in step {
                if !access.shows(&tag) {
                    looked_at = looked_at.saturating_add(1);
                } else if items.len() < limit {
                    items.push(tag.clone());
                } else {
                    let next = items.last().map(ToString::to_string);
                    return Ok(Page { items, next });
                }
                after = Some(tag.to_string());
            }
            if exhausted {
                return Ok(Page::whole(items));
            }
            if looked_at >= LOOKED_AT_NAMES {
                return Ok(Page { items, next: after });
            }
            // A store that answers at once would keep others waiting.
            tokio::task::yield_now().await;
        }
    }

    pub(super) async fn referrers(
        &self,
        access: &Access,
        subject: &Digest,
        filter: ReferrerFilter,
        page: PageRequest,
    ) -> Result<Page<Descriptor>> {
        access.require(Action::List)?;
        let limit = self.limit(&page);
        let mut after = match &page.after {
            Some(after) => Some(after.parse().map_err(|_| {
                ErrorKind::PageInvalid.error("the position is not a digest; follow the link")
            })?),
            None => None,
        };
        let mut wanted = ReferrerPage::new(limit, REFERRERS_BYTES);
        let mut looked_at: usize = 0;
        loop {
            // Each step holds no more than a page may.
            let step = self
                .metadata()
                .referrers(
                    access.repository(),
                    subject,
                    after.as_ref(),
                    STEP,
                    REFERRERS_BYTES,
                )
                .await?;
            after = step.items.last().map(|last| last.digest);
            for referrer in step.items {
                looked_at = looked_at.saturating_add(listed_size(&referrer));
                if filter.matches(&referrer) && !wanted.push(referrer) {
                    return Ok(wanted.finish());
                }
            }
            if step.next.is_none() {
                return Ok(wanted.finish());
            }
            if looked_at >= LOOKED_AT_BYTES {
                return Ok(Page {
                    next: step.next,
                    ..wanted.finish()
                });
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
        let mut looked_at: usize = 0;
        while let Some((behind, end)) = access.reach().next(after.as_deref()) {
            // Little is read of what lies behind the end.
            let most = if end.is_some() { NARROW_STEP } else { STEP };
            let step = self
                .metadata()
                .repositories(behind.as_deref(), most)
                .await?;
            let exhausted = step.len() < most;
            let is_there = |name: &RepositoryName| end.is_none_or(|end| name.as_str() < end);
            let mut passed = false;
            for repository in step {
                if !is_there(&repository.name) {
                    passed = true;
                    break;
                }
                after = Some(repository.name.to_string());
                if !access.permits(&repository.name) {
                    looked_at = looked_at.saturating_add(1);
                    continue;
                }
                if items.len() >= limit {
                    let next = items.last().map(ToString::to_string);
                    return Ok(Page { items, next });
                }
                items.push(repository.name);
            }
            if exhausted && !passed {
                break;
            }
            if passed {
                after = end.map(str::to_owned);
            }
            looked_at = looked_at.saturating_add(1);
            if looked_at >= LOOKED_AT_NAMES {
                return Ok(Page { items, next: after });
            }
            // A store that answers at once would keep others waiting.
            tokio::task::yield_now().await;
        }
        Ok(Page::whole(items))
    }

    fn limit(&self, page: &PageRequest) -> usize {
        let max = self.options().max_page;
        page.limit.map_or(max, |limit| limit.min(max))
    }
}
