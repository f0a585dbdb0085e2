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
    let found = settings.registry.tags(access, wanted).await?;
    let document = Document {
        name: access.repository(),
        tags: &found.items,
    };
    let document = serde_json::to_vec(&document)
        .map_err(|source| Error::internal("the list could not be written", source))?;
    let mut response = respond_json(StatusCode::OK, JSON, document);
    if let Some(next) = found.next.filter(|_| !none) {
        let next = Operation::ListTags {
            repository: access.repository().clone(),
            page: PageRequest::default().limit(page.limit).after(Some(next)),
        };
        insert_link(response.headers_mut(), settings.locations.prefix(), &next);
    }
    Ok(response)
}
