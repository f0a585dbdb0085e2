//! The list of repositories.

use http::{Response, StatusCode};
use registry_core::{Error, ErrorKind, Operation, PageRequest, RepositoryName, Result};
use serde::Serialize;

use super::{Request, clamp};
use crate::Body;
use crate::header::{JSON, insert_link, respond_json};

/// What the list is called among others, which are called as repositories are.
const LIST: &str = "";

#[derive(Serialize)]
struct Document<'a> {
    repositories: &'a [RepositoryName],
}

pub(super) async fn list(request: &Request<'_>, page: &PageRequest) -> Result<Response<Body>> {
    let settings = request.settings;
    if !settings.catalog {
        return Err(ErrorKind::NotFound.error(
            "this registry does not list its repositories; the program that serves it can allow it",
        ));
    }
    let wanted = clamp(page, settings.limits.max_catalog_page);
    let none = wanted.limit == Some(0);
    let after = settings.positions.find(LIST, wanted.after)?;
    let wanted = PageRequest::default().limit(wanted.limit).after(after);
    let found = settings
        .registry
        .repositories(request.catalog()?, wanted)
        .await?;
    let document = Document {
        repositories: &found.items,
    };
    let document = serde_json::to_vec(&document)
        .map_err(|source| Error::internal("the list could not be written", source))?;
    let mut response = respond_json(StatusCode::OK, JSON, document);
    if let Some(next) = found.next.filter(|_| !none) {
        let last = found.items.last().map(RepositoryName::as_str);
        let next = settings.positions.tell(LIST, last, next)?;
        let next = Operation::ListRepositories {
            page: PageRequest::default().limit(page.limit).after(Some(next)),
        };
        insert_link(response.headers_mut(), settings.locations.prefix(), &next);
    }
    Ok(response)
}
