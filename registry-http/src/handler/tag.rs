//! The list of a repository's tags.

use http::{Response, StatusCode};
use registry_core::{Error, Operation, PageRequest, RepositoryName, Result, Tag};
use serde::Serialize;

use super::{Request, clamp};
use crate::Body;
use crate::header::{JSON, insert_link, respond_json};

#[derive(Serialize)]
struct Document<'a> {
    name: &'a RepositoryName,
    tags: &'a [Tag],
}

pub(super) async fn list(request: &Request<'_>, page: &PageRequest) -> Result<Response<Body>> {
    let settings = request.settings;
    let access = request.access()?;
    let wanted = clamp(page, settings.limits.max_tags_page);
    let none = wanted.limit == Some(0);
    let after = settings
        .positions
        .find(access.repository().as_str(), wanted.after)?;
    let wanted = PageRequest::default().limit(wanted.limit).after(after);
    let found = settings.registry.tags(access, wanted).await?;
    let document = Document {
        name: access.repository(),
        tags: &found.items,
    };
    let document = serde_json::to_vec(&document)
        .map_err(|source| Error::internal("the list could not be written", source))?;
    let mut response = respond_json(StatusCode::OK, JSON, document);
    if let Some(next) = found.next.filter(|_| !none) {
        let last = found.items.last().map(Tag::as_str);
        let next = settings
            .positions
            .tell(access.repository().as_str(), last, next)?;
        let next = Operation::ListTags {
            repository: access.repository().clone(),
            page: PageRequest::default().limit(page.limit).after(Some(next)),
        };
        insert_link(response.headers_mut(), settings.locations.prefix(), &next);
    }
    Ok(response)
}
