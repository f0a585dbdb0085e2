//! Headers that the operator adds to answers, and what they change besides.

use http::header::{
    ACCESS_CONTROL_ALLOW_ORIGIN, ALLOW, AUTHORIZATION, CACHE_CONTROL, COOKIE, ORIGIN,
    X_CONTENT_TYPE_OPTIONS,
};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode};
use registry_auth::ClientCertificate;
use registry_core::{ErrorKind, Result};

use crate::Body;
use crate::header::{self, NO_STORE, NOSNIFF, respond_empty};

/// What the headers begin with by which pages of other sites are let in.
///
/// Fetch standard, "CORS protocol".
const CROSS_ORIGIN: &str = "access-control-allow-";

/// From what site a page comes that has a browser send a request.
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// The headers that every answer gets.
#[derive(Debug, Clone, Default)]
pub(crate) struct ConfiguredHeaders(HeaderMap);

impl ConfiguredHeaders {
    /// One more, or one more value.
    ///
    /// # Errors
    ///
    /// If it would break or falsify answers, or show them to others.
    pub(crate) fn add(&mut self, name: HeaderName, value: HeaderValue) -> Result<()> {
        let advice = if header::is_ours(&name) {
            "is set by the registry where it is needed; leave it out"
        } else if name == X_CONTENT_TYPE_OPTIONS && value != NOSNIFF {
            "is always `nosniff`; leave it out"
        } else if name == CACHE_CONTROL && !keeps_to_one_client(&value) {
            "has to keep answers from caches that several clients share; add `private` or \
             `no-store`"
        } else {
            self.0.append(name, value);
            return Ok(());
        };
        Err(ErrorKind::RequestInvalid.error(format!("the header `{name}` {advice}")))
    }

    /// Adds them to an answer. Of the registry's own headers one makes room, how long
    /// answers may be kept, unless this one mustn't be kept at all. Others stand beside
    /// the registry's, as two policies for what a browser may do with content: it
    /// obeys both.
    pub(crate) fn complete(&self, headers: &mut HeaderMap) {
        for name in self.0.keys() {
            if name == CACHE_CONTROL {
                if headers.get(name) == Some(&NO_STORE) {
                    continue;
                }
                headers.remove(name);
            }
            for value in self.0.get_all(name) {
                if !headers.get_all(name).iter().any(|known| known == value) {
                    headers.append(name.clone(), value.clone());
                }
            }
        }
    }

    /// Lets in what a page of another site has a browser send only if the operator lets
    /// that site in, or if it changes nothing: browsers add the password or
    /// certificate that they have for the registry, whatever page asks. A query for a
    /// token `is_login`, whatever its method: one for a refresh token makes one, and may
    /// end another.
    ///
    /// Where `*` lets in all sites, that is without what browsers add, as everywhere
    /// (Fetch standard, "CORS protocol and credentials").
    ///
    /// # Errors
    ///
    /// [`Denied`](ErrorKind::Denied).
    pub(crate) fn admit_site(
        &self,
        parts: &Parts,
        host: Option<&str>,
        is_login: bool,
    ) -> Result<()> {
        let changes_nothing = parts.method.is_safe() && !is_login;
        if changes_nothing || !is_of_another_site(&parts.headers, host) {
            return Ok(());
        }
        let page = parts.headers.get(ORIGIN);
        let mut let_in = self.0.get_all(ACCESS_CONTROL_ALLOW_ORIGIN).iter();
        let has_credentials = browser_may_have_added_credentials(parts);
        if let_in.any(|site| Some(site) == page || (site == "*" && !has_credentials)) {
            return Ok(());
        }
        Err(ErrorKind::Denied.error(
            "a page of another site asks for this; its origin has to be in the header \
             `Access-Control-Allow-Origin` that the operator sets, where `*` is for requests \
             with a bearer token or without a login",
        ))
    }

    /// The answer to a browser that asks whether a page of another site may send a
    /// request to a path with these methods; none if that isn't what it asks, or if no
    /// site is let in. What the page then sends needs a login as any request does.
    pub(crate) fn preflight(
        &self,
        method: &Method,
        allowed: &HeaderValue,
    ) -> Option<Response<Body>> {
        let mut names = self.0.keys();
        let is_answered = method == Method::OPTIONS
            && !allowed.is_empty()
            && names.any(|name| name.as_str().starts_with(CROSS_ORIGIN));
        is_answered.then(|| {
            let mut response = respond_empty(StatusCode::OK);
            response.headers_mut().insert(ALLOW, allowed.clone());
            response
        })
    }
}

/// Whether a page that a browser shows sends a request, of a site that isn't the
/// registry's own.
///
/// Fetch Metadata Request Headers, section 2.3; RFC 6454, section 7.
fn is_of_another_site(headers: &HeaderMap, host: Option<&str>) -> bool {
    if let Some(site) = headers.get(SEC_FETCH_SITE) {
        return site != "same-origin" && site != "none";
    }
    // Browsers say nothing else over plain HTTP.
    headers.get(ORIGIN).is_some_and(|page| {
        let page = page.to_str().ok().and_then(|page| page.split_once("://"));
        page.is_none_or(|(_, page)| host.is_none_or(|host| !page.eq_ignore_ascii_case(host)))
    })
}

/// Whether a request has what browsers add by themselves. A bearer token isn't: the
/// page has to know it.
fn browser_may_have_added_credentials(parts: &Parts) -> bool {
    let mut logins = parts.headers.get_all(AUTHORIZATION).iter();
    parts.extensions.get::<ClientCertificate>().is_some()
        || parts.headers.contains_key(COOKIE)
        || logins.any(|login| {
            let scheme = login.as_bytes().split(|byte| *byte == b' ').next();
            scheme.is_none_or(|scheme| !scheme.eq_ignore_ascii_case(b"bearer"))
        })
}

/// Whether no cache that others share keeps an answer with this value.
fn keeps_to_one_client(value: &HeaderValue) -> bool {
    value.to_str().is_ok_and(|value| {
        let mut words = value.split(',').map(str::trim);
        words.any(|word| {
            word.eq_ignore_ascii_case("private") || word.eq_ignore_ascii_case("no-store")
        })
    })
}
