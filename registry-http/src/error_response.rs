//! Errors as clients see them.
//!
//! Distribution specification, "Error codes".

use http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_RANGE, HeaderValue, RANGE, RETRY_AFTER, WWW_AUTHENTICATE,
};
use http::{Response, StatusCode};
use registry_auth::Refusal;
use registry_core::{Error, ErrorDetail, ErrorKind, Operation};
use serde::Serialize;
use serde_json::Value;

use crate::Body;
use crate::endpoint::Endpoint;
#[cfg(feature = "server")]
use crate::error_detail::Parts;
use crate::error_detail::details;
use crate::header::{self, JSON, NO_STORE};
use crate::location::Locations;

/// The status of each kind of error.
const fn status(kind: ErrorKind) -> StatusCode {
    match kind {
        ErrorKind::NameInvalid
        | ErrorKind::TagInvalid
        | ErrorKind::DigestInvalid
        | ErrorKind::SizeInvalid
        | ErrorKind::UploadInvalid
        | ErrorKind::ManifestInvalid
        | ErrorKind::ManifestBlobUnknown
        | ErrorKind::PageInvalid
        | ErrorKind::RequestInvalid => StatusCode::BAD_REQUEST,
        ErrorKind::Unauthorized => StatusCode::UNAUTHORIZED,
        ErrorKind::Denied => StatusCode::FORBIDDEN,
        ErrorKind::NameUnknown
        | ErrorKind::BlobUnknown
        | ErrorKind::UploadUnknown
        | ErrorKind::ManifestUnknown
        | ErrorKind::NotFound => StatusCode::NOT_FOUND,
        ErrorKind::Unsupported => StatusCode::METHOD_NOT_ALLOWED,
        ErrorKind::RequestIncomplete => StatusCode::REQUEST_TIMEOUT,
        ErrorKind::PreconditionFailed => StatusCode::PRECONDITION_FAILED,
        ErrorKind::BlobTooLarge | ErrorKind::ManifestTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        ErrorKind::TooManyTags => StatusCode::URI_TOO_LONG,
        ErrorKind::UploadOutOfOrder | ErrorKind::RangeInvalid => StatusCode::RANGE_NOT_SATISFIABLE,
        ErrorKind::TooManyRequests => StatusCode::TOO_MANY_REQUESTS,
        ErrorKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        // What a registry will invent is its own fault until told otherwise.
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// The document that carries errors.
#[derive(Serialize)]
struct Document<'a> {
    errors: Vec<Entry<'a>>,
    /// For clients of the token server (RFC 6749, section 5.2).
    #[serde(flatten)]
    oauth: Option<OAuth<'a>>,
}

#[derive(Serialize)]
struct OAuth<'a> {
    error: &'static str,
    error_description: &'a str,
}

#[derive(Serialize)]
struct Entry<'a> {
    code: &'static str,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<Value>,
}

/// An error on its way to the client.
#[derive(Debug)]
pub(crate) struct Failure {
    /// What went wrong.
    pub(crate) error: Error,
    /// How the client can prove who it is.
    pub(crate) challenge: Option<HeaderValue>,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self {
            error,
            challenge: None,
        }
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self {
            error: refusal.error,
            challenge: refusal.challenge,
        }
    }
}

impl Failure {
    /// The answer to the request that was understood as `endpoint`, if it was.
    /// Its path has the methods `allowed`.
    pub(crate) fn respond(
        &self,
        endpoint: Option<&Endpoint>,
        allowed: HeaderValue,
        locations: &Locations,
    ) -> Response<Body> {
        let kind = self.error.kind();
        let operation = endpoint.and_then(Endpoint::operation);
        let status = match operation {
            // What makes clients keep the list themselves, under a tag.
            Some(Operation::ListReferrers { .. }) if kind == ErrorKind::Unsupported => {
                StatusCode::NOT_FOUND
            }
            _ => status(kind),
        };
        let mut response = header::respond_json(status, JSON, document(&self.error, endpoint));
        let headers = response.headers_mut();
        headers.insert(CACHE_CONTROL, NO_STORE);
        if let Some(challenge) = &self.challenge {
            headers.insert(WWW_AUTHENTICATE, challenge.clone());
        }
        if let Some(delay) = self.error.retry_after() {
            let seconds = delay
                .as_secs()
                .saturating_add(u64::from(delay.subsec_nanos() > 0));
            headers.insert(RETRY_AFTER, seconds.into());
        }
        match (kind, self.error.detail()) {
            (ErrorKind::Unsupported, _) if status == StatusCode::METHOD_NOT_ALLOWED => {
                headers.insert(ALLOW, allowed);
            }
            (ErrorKind::RangeInvalid, Some(ErrorDetail::Size(size))) => {
                headers.insert(CONTENT_RANGE, header::value(format!("bytes */{size}")));
            }
            (ErrorKind::UploadOutOfOrder, Some(ErrorDetail::Offset(offset))) => {
                // Where to go on: clients that see both headers do.
                if let Some(
                    Operation::AppendUpload { repository, id }
                    | Operation::FinishUpload { repository, id, .. },
                ) = operation
                {
                    header::insert_location(headers, locations.upload(repository, id));
                    headers.insert(RANGE, upload_range(*offset));
                }
            }
            _ => {}
        }
        response
    }
}

/// The answer to a request that isn't understood far enough to reach the
/// service.
#[cfg(feature = "server")]
pub(crate) fn refuse_unread(status: StatusCode, message: &str, detail: Parts) -> Response<Body> {
    let errors = vec![Entry {
        code: ErrorKind::RequestInvalid.code(),
        message,
        detail: detail.detail(),
    }];
    let document = Document {
        errors,
        oauth: None,
    };
    let mut response = header::respond_json(status, JSON, serialized(&document));
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, NO_STORE);
    header::insert_on_every_answer(headers);
    response
}

/// How far an upload has come: the positions of its first and last byte. An
/// empty upload has none; `0-0` is what clients expect then.
pub(crate) fn upload_range(offset: u64) -> HeaderValue {
    header::value(format!("0-{}", offset.saturating_sub(1)))
}

fn document(error: &Error, endpoint: Option<&Endpoint>) -> Vec<u8> {
    let message = error.to_string();
    let operation = endpoint.and_then(Endpoint::operation);
    let oauth = matches!(endpoint, Some(Endpoint::Token | Endpoint::Revoke)).then(|| OAuth {
        error: oauth_code(error.kind()),
        error_description: &message,
    });
    let errors = details(error, operation)
        .into_iter()
        .map(|detail| Entry {
            code: error.kind().code(),
            message: &message,
            detail,
        })
        .collect();
    serialized(&Document { errors, oauth })
}

fn serialized(document: &Document<'_>) -> Vec<u8> {
    // Serializing strings into memory doesn't fail; the status says enough.
    serde_json::to_vec(document).unwrap_or_default()
}

/// The code of RFC 6749 that comes nearest.
const fn oauth_code(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::Unauthorized => "invalid_grant",
        ErrorKind::TooManyRequests | ErrorKind::Unavailable => "temporarily_unavailable",
        kind if kind.is_server_fault() => "server_error",
        _ => "invalid_request",
    }
}

/// The value of an `Allow` header.
pub(crate) fn allow(methods: &[&http::Method]) -> HeaderValue {
    let methods: Vec<&str> = methods.iter().map(|method| method.as_str()).collect();
    header::value(methods.join(", "))
}
