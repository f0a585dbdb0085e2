//! The token server's end-points.
//!
//! Docker registry v2 authentication, RFC 6749, sections 4.3 and 6, and RFC 7009.

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue, PRAGMA};
use http::request::Parts;
use http::{Method, Response, StatusCode};
use registry_auth::{Sender, TOKEN_REQUEST_MAX, TokenAnswer, TokenRequest};
use registry_core::{ErrorKind, Result};

use crate::Body;
use crate::error_response::Failure;
use crate::header::{JSON, NO_STORE, respond_empty, respond_json};
use crate::request_body::RequestBody;
use crate::service::Settings;

/// What forms are sent as, whatever follows it.
const FORM: &str = "application/x-www-form-urlencoded";

/// The set of keys may be kept for half as long as a new key is shown before it
/// signs.
const FIVE_MINUTES: HeaderValue = HeaderValue::from_static("public, max-age=300");

/// Gives out a token, to whoever was counted.
pub(crate) async fn issue(
    settings: &Settings,
    parts: &Parts,
    sender: &Sender<'_>,
    body: RequestBody,
) -> Result<TokenAnswer, Failure> {
    let request = if parts.method == Method::POST {
        TokenRequest::from_form(&form(settings, parts, body).await?)?
    } else {
        TokenRequest::from_query(parts.uri.query().unwrap_or_default())?
    };
    Ok(settings.access.issue_counted(sender, &request).await?)
}

/// The answer that carries a token. Nobody is to keep it but the client.
pub(crate) fn answer(answer: &TokenAnswer) -> Result<Response<Body>> {
    let mut response = respond_json(StatusCode::OK, JSON, answer.to_json()?);
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, NO_STORE);
    headers.insert(PRAGMA, HeaderValue::from_static("no-cache"));
    Ok(response)
}

/// Ends a token, for whoever has it (RFC 7009).
pub(crate) async fn revoke(
    settings: &Settings,
    parts: &Parts,
    body: RequestBody,
) -> Result<Response<Body>> {
    let form = form(settings, parts, body).await?;
    let token = TokenRequest::token_to_revoke(&form)?;
    settings.access.revoke(&token).await?;
    let mut response = respond_empty(StatusCode::OK);
    response.headers_mut().insert(CACHE_CONTROL, NO_STORE);
    Ok(response)
}

async fn form(settings: &Settings, parts: &Parts, body: RequestBody) -> Result<Bytes> {
    let is_form = |value: &HeaderValue| {
        let kind = value.to_str().unwrap_or_default().split(';').next();
        kind.is_some_and(|kind| kind.trim().eq_ignore_ascii_case(FORM))
    };
    if !parts.headers.get(CONTENT_TYPE).is_some_and(is_form) {
        return Err(
            ErrorKind::RequestInvalid.error(format!("send the form with the Content-Type {FORM}"))
        );
    }
    let deadline = settings.capacity.manifest_deadline();
    body.small(TOKEN_REQUEST_MAX, deadline).await
}

/// Shows the public keys.
pub(crate) async fn key_set(settings: &Settings) -> Result<Response<Body>> {
    let document = settings.access.key_set().await?;
    let mut response = respond_json(StatusCode::OK, JSON, document);
    response.headers_mut().insert(CACHE_CONTROL, FIVE_MINUTES);
    Ok(response)
}
