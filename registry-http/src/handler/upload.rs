//! Blobs on their way in.

use http::header::{CACHE_CONTROL, HeaderMap, RANGE};
use http::{Response, StatusCode};
use registry_core::{
    Access, Algorithm, Chunk, Digest, Error, ErrorKind, MountSource, RepositoryName, Result,
    Upload, UploadId, UploadOptions,
};

use tracing::Instrument;

use super::Request;
use crate::Body;
use crate::access_log::Causes;
use crate::content_range::ContentRange;
use crate::error_response::upload_range;
use crate::header::{
    self, DOCKER_CONTENT_DIGEST, DOCKER_UPLOAD_UUID, NO_STORE, insert_location, respond,
    respond_empty,
};
use crate::request_body::{RequestBody, too_large};
use crate::storage::Storage;

/// Starts an upload.
pub(super) async fn begin(
    request: &Request<'_>,
    algorithm: Option<Algorithm>,
) -> Result<Response<Body>> {
    let access = request.access()?;
    let registry = &request.settings.registry;
    let upload = registry
        .begin_upload(access, UploadOptions::default().algorithm(algorithm))
        .await?;
    let mut response = respond_empty(StatusCode::ACCEPTED);
    describe(request, access, &upload, response.headers_mut());
    Ok(response)
}

/// Pushes a blob in one request. A request without a body is one to start an
/// upload, unless it is the digest of nothing that it names.
pub(super) async fn push(
    request: &Request<'_>,
    digest: &Digest,
    mut body: RequestBody,
) -> Result<Response<Body>> {
    let access = request.access()?;
    let algorithm = digest.algorithm();
    if body.is_empty().await? && *digest != algorithm.digest(b"") {
        Box::pin(request.confirm()).await?;
        return begin(request, Some(algorithm)).await;
    }
    let settings = request.settings;
    let max = settings.limits.max_blob;
    let mut chunk = chunk(request.headers(), body, max, 0)?;
    chunk.body = request.confirmed(chunk.body);
    let registry = &settings.registry;
    let options = UploadOptions::default().algorithm(Some(algorithm));
    let whole = push_whole(registry.clone(), access.clone(), options, *digest, chunk);
    // On a task of its own, so that a client that goes away in the middle leaves
    // no upload behind that nobody knows of.
    match tokio::spawn(whole.in_current_span()).await {
        Ok(pushed) => pushed?,
        Err(stopped) => match stopped.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(stopped) => return Err(Error::internal("the push was interrupted", stopped)),
        },
    }
    Ok(created(request, access, digest))
}

/// Pushes a blob of one chunk. Nothing is left of it if that fails: the client
/// doesn't know of the upload, so it can't go on with it.
async fn push_whole(
    registry: Storage,
    access: Access,
    options: UploadOptions,
    digest: Digest,
    chunk: Chunk,
) -> Result<()> {
    let upload = registry.begin_upload(&access, options).await?;
    let pushed = registry
        .finish_upload(&access, &upload.id, &digest, Some(chunk))
        .await;
    let Err(error) = pushed else {
        return Ok(());
    };
    match registry.cancel_upload(&access, &upload.id).await {
        Err(other) if other.kind() != ErrorKind::UploadUnknown => {
            tracing::warn!(
                error = %Causes(&other),
                "a failed upload could not be cancelled; it expires later"
            );
        }
        _ => {}
    }
    Err(error)
}

/// Takes a blob over from another repository, or starts an upload if that
/// can't be done for whatever reason: clients upload then.
pub(super) async fn mount(
    request: &Request<'_>,
    digest: &Digest,
    from: Option<&RepositoryName>,
) -> Result<Response<Body>> {
    let settings = request.settings;
    let access = request.access()?;
    let grant = request.grant;
    let source = match from {
        Some(_) => grant.source.as_ref().map(MountSource::Repository),
        None if settings.anonymous_mount => grant.catalog.as_ref().map(MountSource::Anywhere),
        None => None,
    };
    if let Some(source) = source {
        match settings.registry.mount_blob(access, digest, source).await {
            Ok(Some(_)) => return Ok(created(request, access, digest)),
            Ok(None) => {}
            Err(error) => match error.kind() {
                ErrorKind::BlobUnknown
                | ErrorKind::NameUnknown
                | ErrorKind::Denied
                | ErrorKind::Unsupported => {}
                _ => return Err(error),
            },
        }
    }
    begin(request, Some(digest.algorithm())).await
}

/// Says where an upload stands.
pub(super) async fn status(request: &Request<'_>, id: &UploadId) -> Result<Response<Body>> {
    let access = request.access()?;
    let upload = request.settings.registry.upload(access, id).await?;
    let mut response = respond(StatusCode::NO_CONTENT);
    // It is true for a moment only.
    response.headers_mut().insert(CACHE_CONTROL, NO_STORE);
    describe(request, access, &upload, response.headers_mut());
    Ok(response)
}

/// Adds bytes to an upload.
pub(super) async fn append(
    request: &Request<'_>,
    id: &UploadId,
    body: RequestBody,
) -> Result<Response<Body>> {
    let access = request.access()?;
    let (max, received) = bounds(request, access, id).await?;
    let mut chunk = chunk(request.headers(), body, max, received)?;
    chunk.body = request.confirmed(chunk.body);
    let registry = &request.settings.registry;
    let upload = registry.append_upload(access, id, chunk).await?;
    let mut response = respond_empty(StatusCode::ACCEPTED);
    describe(request, access, &upload, response.headers_mut());
    Ok(response)
}

/// Ends an upload, with its last bytes if there are any in the body.
pub(super) async fn finish(
    request: &Request<'_>,
    id: &UploadId,
    digest: &Digest,
    body: RequestBody,
) -> Result<Response<Body>> {
    let access = request.access()?;
    let (max, received) = bounds(request, access, id).await?;
    let mut chunk = chunk(request.headers(), body, max, received)?;
    let has_chunk = chunk.start.is_some() || chunk.length != Some(0);
    chunk.body = request.confirmed(chunk.body);
    let last = has_chunk.then_some(chunk);
    let registry = &request.settings.registry;
    registry.finish_upload(access, id, digest, last).await?;
    Ok(created(request, access, digest))
}

/// Gives an upload up.
pub(super) async fn cancel(request: &Request<'_>, id: &UploadId) -> Result<Response<Body>> {
    let registry = &request.settings.registry;
    registry.cancel_upload(request.access()?, id).await?;
    Ok(respond_empty(StatusCode::NO_CONTENT))
}

/// The largest blob, and how much of it is there already, which only matters
/// if there is a largest.
async fn bounds(
    request: &Request<'_>,
    access: &Access,
    id: &UploadId,
) -> Result<(Option<u64>, u64)> {
    let Some(max) = request.settings.limits.max_blob else {
        return Ok((None, 0));
    };
    let upload = request.settings.registry.upload(access, id).await?;
    Ok((Some(max), upload.offset))
}

/// The bytes of the body, and what the headers say of them.
fn chunk(headers: &HeaderMap, body: RequestBody, max: Option<u64>, received: u64) -> Result<Chunk> {
    let range = ContentRange::from_headers(headers)?;
    let mut length = body.length();
    if let Some(range) = range {
        if length.is_some_and(|length| length != range.length) {
            return Err(ErrorKind::SizeInvalid
                .error("the body has not the length that the Content-Range says"));
        }
        length = Some(range.length);
    }
    let left = max.map(|max| max.saturating_sub(received));
    if let (Some(left), Some(length)) = (left, length)
        && length > left
    {
        return Err(too_large());
    }
    Ok(Chunk {
        start: range.map(|range| range.start),
        length,
        body: body.into_stream(left),
    })
}

/// Says where an upload is and how far it has come.
fn describe(request: &Request<'_>, access: &Access, upload: &Upload, headers: &mut HeaderMap) {
    let locations = &request.settings.locations;
    insert_location(headers, locations.upload(access.repository(), &upload.id));
    headers.insert(RANGE, upload_range(upload.offset));
    let id = header::value(upload.id.to_string());
    headers.insert(&DOCKER_UPLOAD_UUID, id);
}

/// The repository holds the blob now.
fn created(request: &Request<'_>, access: &Access, digest: &Digest) -> Response<Body> {
    let locations = &request.settings.locations;
    let mut response = respond_empty(StatusCode::CREATED);
    let headers = response.headers_mut();
    insert_location(headers, locations.blob(access.repository(), digest));
    let digest = header::value(digest.to_string());
    headers.insert(&DOCKER_CONTENT_DIGEST, digest);
    response
}
