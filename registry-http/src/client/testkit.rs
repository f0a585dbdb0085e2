//! How the client understands what other registries send, for those who send
//! it nonsense (feature `testkit`, with `client`).

use registry_core::{Descriptor, ErrorKind, RepositoryName, Result, Tag};
use url::Url;

use super::challenge;
use super::{link, listing};

/// How a registry wants the client to say who it is.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Challenge {
    /// With user and password.
    Basic,
    /// With a token.
    Bearer {
        /// Where tokens are issued.
        realm: String,
        /// What they are for.
        service: Option<String>,
        /// The rights that the request needed.
        scope: Option<String>,
    },
}

/// The challenge that the client answers, of these values of
/// `WWW-Authenticate`.
pub fn challenge<'a>(values: impl IntoIterator<Item = &'a str>) -> Option<Challenge> {
    match challenge::Challenge::strongest(values.into_iter())? {
        challenge::Challenge::Basic => Some(Challenge::Basic),
        challenge::Challenge::Bearer {
            realm,
            service,
            scope,
        } => Some(Challenge::Bearer {
            realm,
            service,
            scope,
        }),
    }
}

/// Where a list goes on: what these values of `Link` say in an answer that came
/// from `url`.
///
/// # Errors
///
/// [`ErrorKind::Unavailable`] if it can't be understood, and
/// [`ErrorKind::RequestInvalid`] if `url` isn't a URL.
pub fn next<'a>(values: impl IntoIterator<Item = &'a str>, url: &str) -> Result<Option<String>> {
    let url = Url::parse(url).map_err(|source| {
        ErrorKind::RequestInvalid
            .error("not a URL")
            .with_source(source)
    })?;
    link::next(values.into_iter(), &url)
}

/// The tags that the body of an answer lists.
pub fn tags(body: &[u8]) -> Result<Vec<Tag>> {
    listing::tags(body)
}

/// The referrers that the body of an answer lists.
pub fn referrers(body: &[u8]) -> Result<Vec<Descriptor>> {
    listing::referrers(body)
}

/// The repositories that the body of an answer lists.
pub fn repositories(body: &[u8]) -> Result<Vec<RepositoryName>> {
    listing::repositories(body)
}
