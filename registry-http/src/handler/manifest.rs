//! Manifests.

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, Response, StatusCode};
use registry_core::{
    Access, Action, Deletion, Descriptor, Digest, ErrorKind, MediaType, Precondition, PutManifest,
    Reference, Result, Tag,
};

use super::Request;
use crate::Body;
use crate::conditional::{PushCondition, is_not_modified, require_match};
use crate::header::{
    self, IMMUTABLE, OCI_SUBJECT, OCI_TAG, REVALIDATE, insert_digest, insert_location, respond,
    respond_empty,
};
use crate::request_body::RequestBody;
use crate::service::Settings;

/// Manifests above this size are read aside, one after the other: it takes long
/// enough to hold others up, and several times their size. How long the
/// registry behind takes to store them holds up nobody.
const LARGE: usize = 128 << 10;

/// Asks about a manifest.
pub(super) async fn stat(request: &Request<'_>, reference: &Reference) -> Result<Response<Body>> {
    let registry = &request.settings.registry;
    let found = registry.resolve(request.access()?, reference).await?;
    answer(request, reference, &found, Body::empty())
}

/// Fetches a manifest, in the bytes and with the type it was pushed with,
/// whatever the client accepts: anything else would have another digest.
pub(super) async fn get(request: &Request<'_>, reference: &Reference) -> Result<Response<Body>> {
    let registry = &request.settings.registry;
    let found = registry.get_manifest(request.access()?, reference).await?;
    let descriptor = found.descriptor();
    answer(request, reference, &descriptor, found.bytes.into())
}

fn answer(
    request: &Request<'_>,
    reference: &Reference,
    found: &Descriptor,
    body: Body,
) -> Result<Response<Body>> {
    require_match(request.headers(), &found.digest)?;
    let fresh = is_not_modified(request.headers(), &found.digest);
    let mut response = respond(if fresh {
        StatusCode::NOT_MODIFIED
    } else {
        StatusCode::OK
    });
    let headers = response.headers_mut();
    insert_digest(headers, &found.digest);
    let caching = match reference {
        Reference::Tag(_) => REVALIDATE,
        Reference::Digest(_) => IMMUTABLE,
    };
    headers.insert(CACHE_CONTROL, caching);
    if !fresh {
        headers.insert(CONTENT_TYPE, header::media_type(&found.media_type));
        headers.insert(CONTENT_LENGTH, found.size.into());
        *response.body_mut() = body;
    }
    Ok(response)
}

/// Pushes a manifest.
pub(super) async fn put(
    request: &Request<'_>,
    reference: &Reference,
    tags: &[Tag],
    body: RequestBody,
) -> Result<Response<Body>> {
    let settings = request.settings;
    let rules = &settings.manifest_rules;
    // Before the body is read.
    rules.check_tags(tags.len())?;
    require_no_oracle(request, reference)?;
    let media_type = content_type(request.headers())?;
    // In a box, so that other requests take no room for it.
    let collected = Box::pin(body.collect(rules.max_size, &settings.capacity, request.peer()));
    let (bytes, _hold) = collected.await?;
    let _document = settings.capacity.document(&bytes).await?;
    let push = check(settings, reference.clone(), media_type, bytes).await?;
    let access = &Box::pin(request.confirm()).await?;
    let precondition = precondition(request, access, reference).await?;
    let push = push
        .with_tags(tags.iter().cloned())?
        .with_precondition(precondition);
    let pushed = settings.registry.put_manifest(access, push).await?;

    let digest = pushed.descriptor.digest;
    let location = settings.locations.manifest(access.repository(), digest);
    let mut response = respond_empty(StatusCode::CREATED);
    let headers = response.headers_mut();
    insert_location(headers, location);
    insert_digest(headers, &digest);
    if let Some(subject) = &pushed.subject {
        headers.insert(&OCI_SUBJECT, header::value(subject.to_string()));
    }
    for tag in tags {
        headers.append(&OCI_TAG, header::value(tag.as_str().to_owned()));
    }
    Ok(response)
}

/// The media type that the client names, without its parameters.
fn content_type(headers: &HeaderMap) -> Result<Option<MediaType>> {
    let malformed =
        || ErrorKind::ManifestInvalid.error("the Content-Type is malformed; name one media type");
    let mut values = headers.get_all(CONTENT_TYPE).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some_and(|other| other != value) {
        return Err(malformed());
    }
    let value = value.to_str().map_err(|_| malformed())?;
    let name = value.split_once(';').map_or(value, |(name, _)| name).trim();
    if name.is_empty() {
        return Ok(None);
    }
    if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return name.to_ascii_lowercase().parse().map(Some);
    }
    name.parse().map(Some)
}

async fn check(
    settings: &Settings,
    reference: Reference,
    media_type: Option<MediaType>,
    bytes: Bytes,
) -> Result<PutManifest> {
    let rules = settings.manifest_rules.clone();
    if bytes.len() <= LARGE {
        return PutManifest::new(reference, media_type, bytes, &rules);
    }
    let check = move || PutManifest::new(reference, media_type, bytes, &rules);
    settings.capacity.manifest_work().run(check).await?
}

/// Whoever may not read what a tag points to doesn't find it out by conditions
/// either. That there is such a tag shows by pushing anyway.
fn require_no_oracle(request: &Request<'_>, reference: &Reference) -> Result<()> {
    let condition = PushCondition::from_headers(request.headers());
    let is_absence = matches!(reference, Reference::Tag(_))
        && condition.and_then(|condition| condition.precondition()) == Some(Precondition::Absent);
    if condition.is_none() || is_absence || request.access()?.permits(Action::Pull) {
        return Ok(());
    }
    Err(ErrorKind::Denied.error(
        "conditions about content are for those who may pull it; leave out If-Match, or use \
         If-None-Match: *",
    ))
}

/// What the client's conditions mean for the tags of the push.
async fn precondition(
    request: &Request<'_>,
    access: &Access,
    reference: &Reference,
) -> Result<Precondition> {
    let Some(condition) = PushCondition::from_headers(request.headers()) else {
        return Ok(Precondition::None);
    };
    let is_tag = matches!(reference, Reference::Tag(_));
    if let (true, Some(precondition)) = (is_tag, condition.precondition()) {
        return Ok(precondition);
    }
    let precondition = condition.check(current(request, access, reference).await?)?;
    // A manifest by its digest can't change; the condition says nothing about
    // tags that come with it.
    Ok(if is_tag {
        precondition
    } else {
        Precondition::None
    })
}

/// What is under a reference now.
async fn current(
    request: &Request<'_>,
    access: &Access,
    reference: &Reference,
) -> Result<Option<Digest>> {
    let registry = &request.settings.registry;
    match registry.resolve(access, reference).await {
        Ok(found) => Ok(Some(found.digest)),
        Err(error) if is_absent(error.kind()) => Ok(None),
        Err(error) => Err(error),
    }
}

fn is_absent(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::ManifestUnknown | ErrorKind::NameUnknown)
}

/// Removes a tag, or a manifest and every tag that points to it.
pub(super) async fn delete(request: &Request<'_>, reference: &Reference) -> Result<Response<Body>> {
    request.require_deletes()?;
    let registry = &request.settings.registry;
    let condition = PushCondition::from_headers(request.headers());
    // A condition says something only of what is there.
    let what = match (reference, condition) {
        (Reference::Tag(tag), None) => Deletion::tag(tag.clone()),
        (Reference::Tag(tag), Some(condition)) => {
            let found = registry.resolve(request.access()?, reference).await?;
            condition.check(Some(found.digest))?;
            Deletion::Tag {
                tag: tag.clone(),
                expected: Some(found.digest),
            }
        }
        (Reference::Digest(digest), condition) => {
            if let Some(condition) = condition {
                let found = registry.resolve(request.access()?, reference).await?;
                condition.check(Some(found.digest))?;
            }
            Deletion::Manifest(*digest)
        }
    };
    registry.delete(request.access()?, what).await?;
    Ok(respond_empty(StatusCode::ACCEPTED))
}
