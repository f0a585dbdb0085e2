//! The list of the manifests that are about another one.
//!
//! It is there for every repository, also one that doesn't exist: "not found"
//! would tell clients that the registry has no such lists. One that has none
//! says so with `UNSUPPORTED`, since `NAME_UNKNOWN` means to some that the
//! repository is missing.

use http::{HeaderValue, Response, StatusCode};
use registry_core::{
    Descriptor, Digest, Error, ErrorKind, MediaType, Operation, Page, PageRequest, ReferrerFilter,
    Result,
};

use super::{Request, clamp};
use crate::Body;
use crate::header::{self, OCI_FILTERS_APPLIED, insert_link, respond_json};

pub(super) async fn list(
    request: &Request<'_>,
    subject: &Digest,
    filter: &ReferrerFilter,
    page: &PageRequest,
) -> Result<Response<Body>> {
    let settings = request.settings;
    let access = request.access()?;
    let wanted = clamp(page, settings.limits.max_referrers_page);
    let none = wanted.limit == Some(0);
    let found = settings
        .registry
        .referrers(access, subject, filter.clone(), wanted)
        .await;
    let found = match found {
        Ok(found) => found,
        Err(error) => match error.kind() {
            ErrorKind::NameUnknown | ErrorKind::ManifestUnknown => Page::whole(Vec::new()),
            ErrorKind::Unsupported => {
                return Err(ErrorKind::Unsupported
                    .error("this registry does not list referrers; use the tag schema")
                    .with_source(error));
            }
            _ => return Err(error),
        },
    };
    let (document, next) = index(found, settings.limits.max_referrers_bytes)?;
    let content_type = header::media_type(&MediaType::OCI_INDEX);
    let mut response = respond_json(StatusCode::OK, content_type, document);
    let headers = response.headers_mut();
    if !filter.artifact_types.is_empty() {
        let applied = HeaderValue::from_static("artifactType");
        headers.insert(&OCI_FILTERS_APPLIED, applied);
    }
    if let Some(next) = next.filter(|_| !none) {
        let next = Operation::ListReferrers {
            repository: access.repository().clone(),
            subject: *subject,
            filter: filter.clone(),
            page: PageRequest::default().limit(page.limit).after(Some(next)),
        };
        insert_link(headers, settings.locations.prefix(), &next);
    }
    Ok(response)
}

/// An index with as many of the referrers as fit into `max` bytes, at least
/// one, and the position to go on from if not all do.
fn index(found: Page<Descriptor>, max: usize) -> Result<(Vec<u8>, Option<String>)> {
    let head =
        r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":["#;
    let tail = b"]}";
    let mut document = Vec::from(head);
    let mut last: Option<&Descriptor> = None;
    for descriptor in &found.items {
        let entry = serde_json::to_vec(descriptor)
            .map_err(|source| Error::internal("the list could not be written", source))?;
        let size = document.len().saturating_add(entry.len());
        if let Some(last) = last {
            if size.saturating_add(tail.len()).saturating_add(1) > max {
                document.extend(tail);
                return Ok((document, Some(last.digest.to_string())));
            }
            document.push(b',');
        }
        document.extend(entry);
        last = Some(descriptor);
    }
    document.extend(tail);
    Ok((document, found.next))
}
