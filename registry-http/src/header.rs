//! Headers that the protocol adds to HTTP, and the values that never change.

use bytes::Bytes;
use http::header::{
    CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, ETAG, HOST, HeaderName, HeaderValue, LINK,
    LOCATION, X_CONTENT_TYPE_OPTIONS,
};
use http::request::Parts;
use http::{HeaderMap, Response, StatusCode};
use registry_core::{Digest, MediaType, Operation};

use crate::Body;

pub(crate) static DOCKER_CONTENT_DIGEST: HeaderName =
    HeaderName::from_static("docker-content-digest");
pub(crate) static DOCKER_UPLOAD_UUID: HeaderName = HeaderName::from_static("docker-upload-uuid");
static API_VERSION: HeaderName = HeaderName::from_static("docker-distribution-api-version");
pub(crate) static OCI_SUBJECT: HeaderName = HeaderName::from_static("oci-subject");
pub(crate) static OCI_TAG: HeaderName = HeaderName::from_static("oci-tag");
pub(crate) static OCI_FILTERS_APPLIED: HeaderName = HeaderName::from_static("oci-filters-applied");
pub(crate) static OCI_NAMESPACE: HeaderName = HeaderName::from_static("oci-namespace");
pub(crate) static REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

pub(crate) const JSON: HeaderValue = HeaderValue::from_static("application/json");
pub(crate) const OCTET_STREAM: HeaderValue = HeaderValue::from_static("application/octet-stream");
pub(crate) const NOSNIFF: HeaderValue = HeaderValue::from_static("nosniff");
const API_VERSION_2: HeaderValue = HeaderValue::from_static("registry/2.0");

/// What a browser may do with a blob that it was made to open: nothing.
pub(crate) const SANDBOX: HeaderValue = HeaderValue::from_static("default-src 'none'; sandbox");

/// For content named by its digest. It never changes, but who may see it does,
/// so no cache that others share may keep it.
pub(crate) const IMMUTABLE: HeaderValue =
    HeaderValue::from_static("private, max-age=31536000, immutable");

/// For what may change at any time, and for who may see it.
pub(crate) const REVALIDATE: HeaderValue = HeaderValue::from_static("private, no-cache");

/// For errors and for addresses that are rights.
pub(crate) const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");

/// Headers that frame an answer, belong to its connection, or mean something in
/// the protocol: only the registry and its server know their values.
///
/// RFC 9110, section 7.6.1, and the distribution specification.
const OURS: &[&str] = &[
    "accept-ranges",
    "allow",
    "connection",
    "content-encoding",
    "content-length",
    "content-range",
    "content-type",
    "date",
    "docker-content-digest",
    "docker-distribution-api-version",
    "docker-upload-uuid",
    "etag",
    "keep-alive",
    "link",
    "location",
    "oci-chunk-max-length",
    "oci-chunk-min-length",
    "oci-filters-applied",
    "oci-namespace",
    "oci-subject",
    "oci-tag",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "range",
    "retry-after",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "www-authenticate",
    "x-request-id",
];

/// Whom a client believes to ask, if that can be read.
pub(crate) fn host(parts: &Parts) -> Option<String> {
    let said = parts.headers.get(HOST).and_then(|host| host.to_str().ok());
    let authority = parts.uri.authority().map(http::uri::Authority::as_str);
    said.or(authority).map(str::to_owned)
}

/// Whether nobody else may set the header.
pub(crate) fn is_ours(name: &HeaderName) -> bool {
    OURS.contains(&name.as_str())
}

/// An answer without a body, and with room for the headers of any handler.
pub(crate) fn respond(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response.headers_mut().reserve(14);
    response
}

/// An answer that says what is done and has nothing to show.
pub(crate) fn respond_empty(status: StatusCode) -> Response<Body> {
    let mut response = respond(status);
    if status != StatusCode::NO_CONTENT {
        let length = HeaderValue::from_static("0");
        response.headers_mut().insert(CONTENT_LENGTH, length);
    }
    response
}

/// An answer that holds a JSON document.
pub(crate) fn respond_json(
    status: StatusCode,
    content_type: HeaderValue,
    document: impl Into<Bytes>,
) -> Response<Body> {
    let document = document.into();
    let mut response = respond(status);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, content_type);
    headers.insert(CONTENT_LENGTH, document.len().into());
    headers.insert(CACHE_CONTROL, REVALIDATE);
    *response.body_mut() = Body::from(document);
    response
}

/// Says what speaks here, and that content is what its type says.
pub(crate) fn insert_on_every_answer(headers: &mut HeaderMap) {
    headers.insert(&API_VERSION, API_VERSION_2);
    headers.insert(X_CONTENT_TYPE_OPTIONS, NOSNIFF);
}

/// Says which content this is.
pub(crate) fn insert_digest(headers: &mut HeaderMap, digest: &Digest) {
    let (plain, tag) = digest_values(digest);
    headers.insert(&DOCKER_CONTENT_DIGEST, plain);
    headers.insert(ETAG, tag);
}

/// The entity tag of the content with this digest: the digest in quotes.
pub(crate) fn entity_tag(digest: &Digest) -> HeaderValue {
    digest_values(digest).1
}

/// A digest as it is and in quotes, both in one piece of memory: they go into
/// nearly every answer.
fn digest_values(digest: &Digest) -> (HeaderValue, HeaderValue) {
    const HEX: [u8; 16] = *b"0123456789abcdef";
    let digit = |nibble: u8| HEX.get(usize::from(nibble)).copied().unwrap_or_default();
    let algorithm = digest.algorithm();
    let mut text = Vec::with_capacity(algorithm.size().saturating_mul(2).saturating_add(16));
    text.push(b'"');
    text.extend(algorithm.as_str().bytes());
    text.push(b':');
    for byte in digest.hash() {
        text.extend([digit(byte >> 4), digit(byte & 15)]);
    }
    text.push(b'"');
    let tag = Bytes::from(text);
    let plain = tag.slice(1..tag.len().saturating_sub(1));
    (value(plain), value(tag))
}

/// The header value of a media type.
pub(crate) fn media_type(media_type: &MediaType) -> HeaderValue {
    static KNOWN: [&str; 4] = [
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.docker.distribution.manifest.v2+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
    ];
    let name = media_type.as_str();
    KNOWN.iter().find(|known| **known == name).map_or_else(
        || value(Bytes::copy_from_slice(name.as_bytes())),
        |known| HeaderValue::from_static(known),
    )
}

/// Text from the types of the registry as a header value. They hold nothing
/// that a header can't; an empty value stands in for what does.
pub(crate) fn value(text: impl Into<Bytes>) -> HeaderValue {
    HeaderValue::from_maybe_shared(text.into()).unwrap_or(HeaderValue::from_static(""))
}

/// Says where the result is.
pub(crate) fn insert_location(headers: &mut HeaderMap, location: String) {
    headers.insert(LOCATION, value(location));
}

/// Says where a listing goes on: at `next`, which asks the same question for
/// the following page.
///
/// RFC 8288. Without scheme and host, so that it holds behind any proxy.
pub(crate) fn insert_link(headers: &mut HeaderMap, prefix: &str, next: &Operation) {
    let (_, target) = next.render();
    headers.insert(LINK, value(format!("<{prefix}{target}>; rel=\"next\"")));
}

#[cfg(test)]
mod tests {
    use registry_core::Algorithm;

    use super::*;

    #[test]
    fn a_digest_is_said_as_it_is_and_as_entity_tag() {
        for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
            let digest = algorithm.digest(b"{}");
            let mut headers = HeaderMap::new();
            insert_digest(&mut headers, &digest);
            assert_eq!(headers[&DOCKER_CONTENT_DIGEST], digest.to_string());
            assert_eq!(headers[ETAG], format!("\"{digest}\""));
        }
    }

    #[test]
    fn media_types_are_said_as_they_are() {
        for name in [
            MediaType::OCI_INDEX.as_str(),
            "application/vnd.example.thing+json",
        ] {
            assert_eq!(media_type(&name.parse().unwrap()), name);
        }
    }
}
