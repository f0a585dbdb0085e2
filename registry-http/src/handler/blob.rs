//! Blobs on their way out.

use http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_SECURITY_POLICY,
    CONTENT_TYPE, HeaderValue,
};
use http::{HeaderMap, Response, StatusCode};
use registry_core::{
    Access, Blob, BlobBody, ByteRange, Deletion, Digest, Error, OpenOptions, Result,
};

use super::Request;
use crate::Body;
use crate::conditional::{PushCondition, is_not_modified, require_match};
use crate::header::{
    IMMUTABLE, NO_STORE, OCTET_STREAM, SANDBOX, entity_tag, insert_digest, insert_location,
    respond, respond_empty,
};
use crate::multipart::Multipart;
use crate::range::RangeRequest;

/// How many parts of a blob are opened one by one for one answer.
const FEW: usize = 4;

/// Asks about a blob.
pub(super) async fn stat(request: &Request<'_>, digest: &Digest) -> Result<Response<Body>> {
    let registry = &request.settings.registry;
    let found = registry.stat_blob(request.access()?, digest).await?;
    require_match(request.headers(), digest)?;
    if is_not_modified(request.headers(), digest) {
        return Ok(not_modified(digest));
    }
    let mut response = respond(StatusCode::OK);
    let headers = response.headers_mut();
    describe(headers, digest);
    headers.insert(CONTENT_TYPE, OCTET_STREAM);
    headers.insert(CONTENT_LENGTH, found.size.into());
    Ok(response)
}

/// Fetches a blob, or parts of it.
pub(super) async fn get(request: &Request<'_>, digest: &Digest) -> Result<Response<Body>> {
    let settings = request.settings;
    let access = request.access()?;
    let condition = require_match(request.headers(), digest);
    let fresh = is_not_modified(request.headers(), digest);
    if condition.is_err() || fresh {
        // A condition says something only of what is there, and what the client
        // has says nothing about what it may see.
        settings.registry.stat_blob(access, digest).await?;
        condition?;
        return Ok(not_modified(digest));
    }
    let etag = entity_tag(digest);
    match RangeRequest::from_headers(request.headers(), &etag, settings.limits.max_ranges) {
        RangeRequest::Whole => {
            let blob = open(request, access, digest, None).await?;
            serve(digest, blob, false)
        }
        RangeRequest::Single(range) => {
            let blob = open(request, access, digest, Some(range)).await?;
            serve(digest, blob, true)
        }
        RangeRequest::Several(ranges) => several(request, access, digest, &ranges).await,
    }
}

async fn open(
    request: &Request<'_>,
    access: &Access,
    digest: &Digest,
    range: Option<ByteRange>,
) -> Result<Blob> {
    let registry = &request.settings.registry;
    registry
        .open_blob(access, digest, OpenOptions::default().range(range))
        .await
}

/// Answers with what was opened: a part of the blob, or all of it.
fn serve(digest: &Digest, blob: Blob, partial: bool) -> Result<Response<Body>> {
    if let BlobBody::Redirect(url) = blob.body {
        return Ok(redirect(url));
    }
    let length = blob.range.end.saturating_sub(blob.range.start);
    let body = Body::from_blob(blob.body, length).ok_or_else(unknown_form)?;
    let mut response = respond(if partial {
        StatusCode::PARTIAL_CONTENT
    } else {
        StatusCode::OK
    });
    let headers = response.headers_mut();
    describe(headers, digest);
    headers.insert(CONTENT_TYPE, OCTET_STREAM);
    headers.insert(CONTENT_LENGTH, length.into());
    if partial {
        let last = blob.range.end.saturating_sub(1);
        let range = format!("bytes {}-{last}/{}", blob.range.start, blob.size);
        headers.insert(CONTENT_RANGE, crate::header::value(range));
    }
    *response.body_mut() = body;
    Ok(response)
}

/// Answers with several parts, one for each range that lies in the blob.
///
/// Ranges that together ask for more than the blob holds get the blob instead,
/// so that a small request can't make the registry send any amount. So do many
/// ranges of content that has to be asked for anew for each of them, maybe
/// across a network.
async fn several(
    request: &Request<'_>,
    access: &Access,
    digest: &Digest,
    ranges: &[ByteRange],
) -> Result<Response<Body>> {
    let whole = if ranges.len() > FEW {
        let blob = open(request, access, digest, None).await?;
        if !matches!(blob.body, BlobBody::Bytes(_) | BlobBody::File(_)) {
            return serve(digest, blob, false);
        }
        Some(blob)
    } else {
        None
    };
    let registry = &request.settings.registry;
    let size = match &whole {
        Some(blob) => blob.size,
        None => registry.stat_blob(access, digest).await?.size,
    };
    let mut parts = Vec::with_capacity(ranges.len());
    let mut outside = None;
    let mut left = Some(size);
    for range in ranges {
        match range.resolve(size) {
            Ok(part) => {
                let length = part.end.saturating_sub(part.start);
                left = left.and_then(|left| left.checked_sub(length));
                parts.push(part);
            }
            Err(error) => outside = Some(error),
        }
    }
    if let (true, Some(error)) = (parts.is_empty(), outside) {
        return Err(error);
    }
    let blob = match (whole, parts.first()) {
        (Some(blob), _) => blob,
        (None, Some(first)) if left.is_some() => {
            let range = ByteRange::From {
                first: first.start,
                last: Some(first.end.saturating_sub(1)),
            };
            open(request, access, digest, Some(range)).await?
        }
        (None, _) => open(request, access, digest, None).await?,
    };
    if left.is_none() || matches!(blob.body, BlobBody::Redirect(_)) {
        return serve(digest, blob, false);
    }
    let multipart = Multipart::new(parts, size, request.settings.randomness.bytes()?);
    let content_type = multipart.content_type();
    let registry = request.settings.registry.registry();
    let body = multipart.into_body(blob, registry, access.clone());
    let mut response = respond(StatusCode::PARTIAL_CONTENT);
    let headers = response.headers_mut();
    describe(headers, digest);
    headers.insert(CONTENT_TYPE, content_type);
    headers.insert(CONTENT_LENGTH, body.len().into());
    *response.body_mut() = body;
    Ok(response)
}

/// Removes a blob from the repository.
pub(super) async fn delete(request: &Request<'_>, digest: &Digest) -> Result<Response<Body>> {
    request.require_deletes()?;
    let registry = &request.settings.registry;
    if let Some(condition) = PushCondition::from_headers(request.headers()) {
        registry.stat_blob(request.access()?, digest).await?;
        condition.check(Some(*digest))?;
    }
    registry
        .delete(request.access()?, Deletion::Blob(*digest))
        .await?;
    Ok(respond_empty(StatusCode::ACCEPTED))
}

/// What is true of a blob whichever part is sent.
fn describe(headers: &mut HeaderMap, digest: &Digest) {
    insert_digest(headers, digest);
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(CACHE_CONTROL, IMMUTABLE);
    headers.insert(CONTENT_SECURITY_POLICY, SANDBOX);
}

fn not_modified(digest: &Digest) -> Response<Body> {
    let mut response = respond(StatusCode::NOT_MODIFIED);
    describe(response.headers_mut(), digest);
    response
}

/// Sends the client elsewhere. The address is a right of its own, so nothing on
/// the way may keep it.
fn redirect(url: String) -> Response<Body> {
    let mut response = respond_empty(StatusCode::TEMPORARY_REDIRECT);
    let headers = response.headers_mut();
    insert_location(headers, url);
    headers.insert(CACHE_CONTROL, NO_STORE);
    response
}

fn unknown_form() -> Error {
    Error::unsupported("this form of stored content")
}
