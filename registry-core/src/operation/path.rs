//! Paths, understood from the right.

use http::Method;

use crate::operation::query::decode;
use crate::{ErrorKind, RepositoryName, Result};

/// What a path is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// The protocol itself.
    Base,
    /// The list of repositories.
    Catalog,
    /// The list of a repository's tags.
    Tags,
    /// Where uploads start.
    Uploads,
    /// One upload.
    Upload,
    /// One blob.
    Blob,
    /// One manifest.
    Manifest,
    /// The referrers of one manifest.
    Referrers,
}

/// A path, split into what its grammar tells apart. Nothing is validated but
/// its shape.
#[derive(Debug)]
pub(super) struct Resource {
    /// What it is about.
    pub(super) kind: Kind,
    /// The components of the repository's name.
    name: Vec<String>,
    /// The last segment, where it varies.
    pub(super) last: String,
}

impl Kind {
    /// The methods that the protocol has for it.
    pub(super) const fn methods(self) -> &'static [Method] {
        match self {
            Self::Base | Self::Catalog | Self::Tags | Self::Referrers => {
                &[Method::GET, Method::HEAD]
            }
            Self::Uploads => &[Method::POST],
            Self::Upload => &[
                Method::GET,
                Method::HEAD,
                Method::PATCH,
                Method::PUT,
                Method::DELETE,
            ],
            Self::Blob => &[Method::GET, Method::HEAD, Method::DELETE],
            Self::Manifest => &[Method::GET, Method::HEAD, Method::PUT, Method::DELETE],
        }
    }
}

impl Resource {
    /// What `path` is about; `None` if the protocol has no such path.
    pub(super) fn parse(path: &str) -> Option<Self> {
        let of = |kind, name: &[String], last: &str| Self {
            kind,
            name: name.to_vec(),
            last: last.to_owned(),
        };
        let path = path.strip_prefix("/v2")?;
        if matches!(path, "" | "/") {
            return Some(of(Kind::Base, &[], ""));
        }
        let segments: Vec<String> = path
            .strip_prefix('/')?
            .split('/')
            .map(decode)
            .collect::<Option<_>>()?;
        let words: Vec<&str> = segments.iter().map(String::as_str).collect();
        let (kind, fixed, last) = match words.as_slice() {
            ["_catalog"] => return Some(of(Kind::Catalog, &[], "")),
            [_, .., "tags", "list"] => (Kind::Tags, 2, ""),
            [_, .., "blobs", "uploads", ""] => (Kind::Uploads, 3, ""),
            [_, .., "blobs", "uploads"] => (Kind::Uploads, 2, ""),
            // The last segment of any other path says something.
            [.., ""] => return None,
            [_, .., "blobs", "uploads", last] => (Kind::Upload, 3, *last),
            [_, .., "blobs", last] => (Kind::Blob, 2, *last),
            [_, .., "manifests", last] => (Kind::Manifest, 2, *last),
            [_, .., "referrers", last] => (Kind::Referrers, 2, *last),
            _ => return None,
        };
        let name = segments.get(..segments.len().checked_sub(fixed)?)?;
        Some(of(kind, name, last))
    }

    /// The name of the repository.
    pub(super) fn repository(&self) -> Result<RepositoryName> {
        // Joining would hide a slash that was encoded.
        if self.name.iter().any(|component| component.contains('/')) {
            return Err(ErrorKind::NameInvalid
                .error("the repository name is malformed; do not encode the slashes in it")
                .about("name", &self.name.join("/")));
        }
        self.name.join("/").parse()
    }
}
