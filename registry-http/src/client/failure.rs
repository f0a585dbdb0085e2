//! What a remote registry's refusal means here.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt};
use http::{HeaderMap, StatusCode, header};
use registry_core::{Digest, Error, ErrorDetail, ErrorKind, Operation, Result};
use reqwest::Response;
use serde::Deserialize;

use super::outbound::Outbound;

/// The largest error document that is read, in bytes.
const ERROR_BODY: usize = 64 << 10;

/// The error that an answer means which isn't one of success.
///
/// The code in the body tells most; without one the status does, together with
/// what was asked for. Only that a manifest or a list is gone is believed of a
/// registry alone: a cache forgets what it kept then, and any server in between
/// answers 404 to a path that it doesn't know.
pub(super) async fn failure(outbound: &Outbound, answer: Response, operation: &Operation) -> Error {
    let status = answer.status();
    let headers = answer.headers().clone();
    let withheld = answer.extensions().get::<Withheld>().cloned();
    // A body that can't be read says nothing more than the status does.
    let body = read_limited(outbound.body(answer), ERROR_BODY)
        .await
        .unwrap_or_default();
    let document: Document = serde_json::from_slice(&body).unwrap_or_default();
    let code = document.errors.first().map(|entry| entry.code.as_str());
    let kind = kind(status, code, operation);
    let mut error = kind.error(sentence(kind, status, withheld.as_ref()));
    if let Some(offset) = upload_offset(&headers).filter(|_| kind == ErrorKind::UploadOutOfOrder) {
        error = error.with_detail(ErrorDetail::Offset(offset));
    }
    if let Some(size) = unsatisfied_size(&headers).filter(|_| kind == ErrorKind::RangeInvalid) {
        error = error.with_detail(ErrorDetail::Size(size));
    }
    if kind == ErrorKind::ManifestBlobUnknown {
        error = error.with_detail(ErrorDetail::Missing(missing(&document)));
    }
    if let Some(delay) = retry_after(&headers) {
        error = error.with_retry_after(delay);
    }
    error
}

/// Noted on an answer: the token server that didn't get the credentials.
#[derive(Debug, Clone)]
pub(super) struct Withheld(pub(super) String);

#[derive(Default, Deserialize)]
struct Document {
    #[serde(default)]
    errors: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(default)]
    code: String,
    #[serde(default)]
    detail: serde_json::Value,
}

/// The content that a registry misses: its digest is the detail of an entry, or
/// the part of it called so.
fn missing(document: &Document) -> Vec<Digest> {
    document
        .errors
        .iter()
        .filter_map(|entry| {
            let detail = entry.detail.get("digest").unwrap_or(&entry.detail);
            let mut words = detail.as_str()?.split(' ');
            words.find_map(|word| word.strip_prefix("digest=").unwrap_or(word).parse().ok())
        })
        .collect()
}

fn kind(status: StatusCode, code: Option<&str>, operation: &Operation) -> ErrorKind {
    match status {
        // There is always a list, if a registry lists at all.
        StatusCode::NOT_FOUND if matches!(operation, Operation::ListRepositories { .. }) => {
            return ErrorKind::Unsupported;
        }
        StatusCode::NOT_FOUND if is_kept(operation) && !tells_absence(code) => {
            return ErrorKind::Unavailable;
        }
        StatusCode::UNAUTHORIZED => return ErrorKind::Unauthorized,
        StatusCode::FORBIDDEN => return ErrorKind::Denied,
        StatusCode::TOO_MANY_REQUESTS => return ErrorKind::TooManyRequests,
        StatusCode::METHOD_NOT_ALLOWED => return ErrorKind::Unsupported,
        StatusCode::PRECONDITION_FAILED => return ErrorKind::PreconditionFailed,
        StatusCode::RANGE_NOT_SATISFIABLE => {
            return match operation {
                Operation::GetBlob { .. } => ErrorKind::RangeInvalid,
                _ => ErrorKind::UploadOutOfOrder,
            };
        }
        StatusCode::PAYLOAD_TOO_LARGE => {
            return match operation {
                Operation::PutManifest { .. } => ErrorKind::ManifestTooLarge,
                _ => ErrorKind::BlobTooLarge,
            };
        }
        _ => {}
    }
    // A redirect that isn't followed is no fault of who asked.
    if status.is_server_error() || status.is_redirection() {
        return ErrorKind::Unavailable;
    }
    match code {
        Some("NAME_INVALID") => ErrorKind::NameInvalid,
        Some("NAME_UNKNOWN") => unknown(operation).unwrap_or(ErrorKind::NameUnknown),
        Some("TAG_INVALID") => ErrorKind::TagInvalid,
        Some("DIGEST_INVALID") => ErrorKind::DigestInvalid,
        Some("SIZE_INVALID") => ErrorKind::SizeInvalid,
        Some("BLOB_UNKNOWN") => ErrorKind::BlobUnknown,
        Some("BLOB_UPLOAD_UNKNOWN") => ErrorKind::UploadUnknown,
        Some("BLOB_UPLOAD_INVALID") => ErrorKind::UploadInvalid,
        Some("MANIFEST_UNKNOWN") => ErrorKind::ManifestUnknown,
        Some("MANIFEST_INVALID") => ErrorKind::ManifestInvalid,
        Some("MANIFEST_BLOB_UNKNOWN") => ErrorKind::ManifestBlobUnknown,
        Some("DENIED") => ErrorKind::Denied,
        Some("UNAUTHORIZED") => ErrorKind::Unauthorized,
        Some("UNSUPPORTED") => ErrorKind::Unsupported,
        Some("TOOMANYREQUESTS") => ErrorKind::TooManyRequests,
        _ if status == StatusCode::NOT_FOUND => {
            unknown(operation).unwrap_or(ErrorKind::NameUnknown)
        }
        _ => ErrorKind::RequestInvalid,
    }
}

/// What is missing if what an operation is about isn't found. A repository that
/// doesn't exist holds nothing, which is all a reader wants to know.
fn unknown(operation: &Operation) -> Option<ErrorKind> {
    match operation {
        Operation::StatBlob { .. } | Operation::GetBlob { .. } | Operation::DeleteBlob { .. } => {
            Some(ErrorKind::BlobUnknown)
        }
        Operation::UploadStatus { .. }
        | Operation::AppendUpload { .. }
        | Operation::FinishUpload { .. }
        | Operation::CancelUpload { .. } => Some(ErrorKind::UploadUnknown),
        Operation::StatManifest { .. }
        | Operation::GetManifest { .. }
        | Operation::DeleteManifest { .. } => Some(ErrorKind::ManifestUnknown),
        _ => None,
    }
}

/// Whether caches remember what the operation asks for.
fn is_kept(operation: &Operation) -> bool {
    matches!(
        operation,
        Operation::StatManifest { .. } | Operation::GetManifest { .. } | Operation::ListTags { .. }
    )
}

/// Whether a registry says with `code` that what was asked for isn't there.
/// `NOT_FOUND` is what Harbor says in place of the specification's codes.
fn tells_absence(code: Option<&str>) -> bool {
    matches!(
        code,
        Some("MANIFEST_UNKNOWN" | "NAME_UNKNOWN" | "NOT_FOUND")
    )
}

fn sentence(kind: ErrorKind, status: StatusCode, withheld: Option<&Withheld>) -> String {
    if let (ErrorKind::Unauthorized | ErrorKind::Denied, Some(Withheld(host))) = (kind, withheld) {
        return format!(
            "the remote registry does not permit this, and the credentials were not sent to its \
             token server on {host}; name that host as a token host if you trust it"
        );
    }
    match kind {
        ErrorKind::Unauthorized => "the remote registry asks for other credentials".into(),
        ErrorKind::Denied => "the remote registry does not permit this".into(),
        ErrorKind::TooManyRequests => "the remote registry asks to slow down".into(),
        ErrorKind::Unavailable if status == StatusCode::NOT_FOUND => {
            "there is no registry where the remote one should be (404 without its code); check \
             the address and what stands in between"
                .into()
        }
        ErrorKind::Unavailable if status.is_redirection() => format!(
            "the remote registry redirects ({}) what can't be sent elsewhere; give its new address",
            status.as_u16()
        ),
        _ => format!(
            "the remote registry answers {} ({})",
            status.as_u16(),
            kind.code()
        ),
    }
}

/// The number of bytes that an upload has, from `Range: 0-<last>`.
///
/// `0-0` stands for nothing as well as for one byte; it is left to the caller
/// to know which.
pub(super) fn upload_offset(headers: &HeaderMap) -> Option<u64> {
    let range = headers.get(header::RANGE)?.to_str().ok()?;
    let last: u64 = range
        .trim_start_matches("bytes=")
        .strip_prefix("0-")?
        .parse()
        .ok()?;
    if last == 0 {
        Some(0)
    } else {
        last.checked_add(1)
    }
}

/// The size in `Content-Range: bytes */<size>`.
fn unsatisfied_size(headers: &HeaderMap) -> Option<u64> {
    let range = headers.get(header::CONTENT_RANGE)?.to_str().ok()?;
    range.strip_prefix("bytes */")?.parse().ok()
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(header::RETRY_AFTER)?.to_str().ok()?;
    seconds.parse().ok().map(Duration::from_secs)
}

/// A body that must not be larger than `limit` bytes.
///
/// # Errors
///
/// [`ErrorKind::Unavailable`] if it is, or breaks off.
pub(super) async fn read_limited(
    parts: impl Stream<Item = Result<Bytes>>,
    limit: usize,
) -> Result<Bytes> {
    let mut parts = std::pin::pin!(parts);
    let mut body = BytesMut::new();
    while let Some(part) = parts.next().await.transpose()? {
        if body.len().saturating_add(part.len()) > limit {
            return Err(ErrorKind::Unavailable
                .error("the remote registry sends a document that is too large"));
        }
        body.extend_from_slice(&part);
    }
    Ok(body.freeze())
}

/// The error of an answer that breaks off.
pub(super) fn broken(source: reqwest::Error) -> Error {
    ErrorKind::Unavailable
        .error("the answer of the remote registry broke off; try again")
        .with_source(source.without_url())
}
