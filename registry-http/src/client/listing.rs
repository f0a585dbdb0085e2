//! Lists of a remote registry.

use http::{HeaderMap, header};
use registry_core::{
    Access, Action, CatalogAccess, Descriptor, Digest, Error, ErrorKind, MediaType, Operation,
    Page, PageRequest, Reference, ReferrerFilter, RepositoryName, Result, Tag,
};
use reqwest::Response;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::RemoteRegistry;
use super::failure::read_limited;

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
        let next = next(&answer);
        let list: TagList = read_json(answer).await?;
        Ok(Page {
            items: list.tags.unwrap_or_default(),
            next,
        })
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
            Err(error) if error.kind() == ErrorKind::NameUnknown => {
                return self.tagged_referrers(access, subject, &filter).await;
            }
            answer => answer?,
        };
        let next = next(&answer);
        let list: ReferrerList = read_json(answer).await?;
        let mut items = list.manifests.unwrap_or_default();
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
        let mut request = PageRequest {
            // A page of none would tell nothing.
            limit: page.limit.map(|limit| limit.max(1)),
            ..page.clone()
        };
        let mut items: Vec<RepositoryName> = Vec::new();
        for _ in 0..PAGES {
            let operation = Operation::ListRepositories {
                page: request.clone(),
            };
            let answer = self.ask(&operation, HeaderMap::new()).await?;
            let next = next(&answer);
            let list: Catalog = read_json(answer).await?;
            let names = list.repositories.unwrap_or_default();
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
                let list: ReferrerList =
                    serde_json::from_slice(&index.bytes).map_err(not_a_list)?;
                let mut items = list.manifests.unwrap_or_default();
                items.retain(|referrer| filter.matches(referrer));
                Ok(Page::whole(items))
            }
            Ok(_) => Ok(Page::whole(Vec::new())),
            Err(error) if error.kind() == ErrorKind::ManifestUnknown => Ok(Page::whole(Vec::new())),
            Err(error) => Err(error),
        }
    }
}

#[derive(Deserialize)]
struct TagList {
    tags: Option<Vec<Tag>>,
}

#[derive(Deserialize)]
struct ReferrerList {
    manifests: Option<Vec<Descriptor>>,
}

#[derive(Deserialize)]
struct Catalog {
    repositories: Option<Vec<RepositoryName>>,
}

async fn read_json<T: DeserializeOwned>(answer: Response) -> Result<T> {
    let body = read_limited(answer, PAGE).await?;
    serde_json::from_slice(&body).map_err(not_a_list)
}

fn not_a_list(source: serde_json::Error) -> Error {
    ErrorKind::Unavailable
        .error("the remote registry answers with something that isn't a list")
        .with_source(source)
}

/// The position that the link to the next page names.
///
/// RFC 8288; only the query of the link counts, since the request is built
/// anew.
fn next(answer: &Response) -> Option<String> {
    let link = answer.headers().get(header::LINK)?.to_str().ok()?;
    let (target, relation) = link.strip_prefix('<')?.split_once('>')?;
    if !relation.contains("next") {
        return None;
    }
    let url = answer.url().join(target).ok()?;
    let last = url.query_pairs().find(|(name, _)| name == "last")?;
    Some(last.1.into_owned())
}
