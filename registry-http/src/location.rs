//! The addresses that answers point to.

use std::fmt::Display;

use http::uri::Authority;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use registry_core::{ErrorKind, RepositoryName, Result, UploadId};

use crate::endpoint::WELL_KNOWN_KEY_SET;
use crate::management_operation::MANAGEMENT;

/// What a path can't contain as it is.
const ESCAPED: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'\\')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// Where the registry is, seen by its clients.
///
/// Unless told the host, addresses are paths: these hold behind any proxy,
/// whatever scheme and name the client uses.
#[derive(Debug, Clone, Default)]
pub(crate) struct Locations {
    /// The scheme and authority, without a slash at the end.
    host: String,
    /// The path in front of `/v2`, without a slash at the end.
    prefix: String,
}

impl Locations {
    /// The same place behind the path `prefix`.
    pub(crate) fn set_prefix(&mut self, prefix: &str) {
        let prefix = prefix.trim_matches('/');
        self.prefix = if prefix.is_empty() {
            String::new()
        } else {
            format!("/{}", utf8_percent_encode(prefix, ESCAPED))
        };
    }

    /// The same place at the host of the URL `host`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::RequestInvalid`] if it isn't an absolute URL of a host.
    pub(crate) fn set_host(&mut self, host: &str) -> Result<()> {
        let invalid = || {
            ErrorKind::RequestInvalid
                .error("the host must be an http or https URL without a path; use the prefix")
        };
        let url: http::Uri = host.parse().map_err(|_| invalid())?;
        let (Some(scheme @ ("http" | "https")), Some(authority), "/", None) =
            (url.scheme_str(), url.authority(), url.path(), url.query())
        else {
            return Err(invalid());
        };
        if authority.as_str().contains('@') {
            return Err(invalid());
        }
        self.host = format!("{scheme}://{authority}");
        Ok(())
    }

    /// The name and port under which clients are told to ask, if that was set.
    pub(crate) fn authority(&self) -> Option<&str> {
        self.host.split_once("://").map(|(_, authority)| authority)
    }

    /// The path in front of `/v2`.
    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// What follows the prefix in `path`. A router that has removed it already
    /// is fine as well. `None` if it is a path of somebody else.
    pub(crate) fn strip<'p>(&self, path: &'p str) -> Option<&'p str> {
        let is_ours = |path: &str| {
            path == "/v2"
                || path.starts_with("/v2/")
                || path.starts_with(MANAGEMENT)
                || path == WELL_KNOWN_KEY_SET
        };
        [path.strip_prefix(self.prefix.as_str()), Some(path)]
            .into_iter()
            .flatten()
            .find(|path| is_ours(path))
    }

    /// Where a client believes the registry to be that asked `host` for it.
    pub(crate) fn base(&self, secure: bool, host: Option<&str>) -> Option<String> {
        let Self {
            host: known,
            prefix,
        } = self;
        if !known.is_empty() {
            return Some(format!("{known}{prefix}"));
        }
        let host = host?.parse::<Authority>().ok()?;
        let scheme = if secure { "https" } else { "http" };
        (!host.as_str().contains('@')).then(|| format!("{scheme}://{host}{prefix}"))
    }

    /// The address of an upload. It says nothing but which one it is.
    pub(crate) fn upload(&self, repository: &RepositoryName, id: &UploadId) -> String {
        self.of(repository, "blobs/uploads", id)
    }

    /// The address of a blob.
    pub(crate) fn blob(&self, repository: &RepositoryName, digest: impl Display) -> String {
        self.of(repository, "blobs", digest)
    }

    /// The address of a manifest.
    pub(crate) fn manifest(&self, repository: &RepositoryName, digest: impl Display) -> String {
        self.of(repository, "manifests", digest)
    }

    fn of(&self, repository: &RepositoryName, kind: &str, last: impl Display) -> String {
        let Self { host, prefix } = self;
        format!("{host}{prefix}/v2/{repository}/{kind}/{last}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn locations(prefix: &str, host: Option<&str>) -> Locations {
        let mut locations = Locations::default();
        locations.set_prefix(prefix);
        if let Some(host) = host {
            locations.set_host(host).unwrap();
        }
        locations
    }

    #[test]
    fn addresses_are_paths_unless_the_host_is_known() {
        let team = "team/app".parse().unwrap();
        let blob = |prefix, host| locations(prefix, host).blob(&team, "d");
        assert_eq!(blob("", None), "/v2/team/app/blobs/d");
        assert_eq!(blob("/", None), "/v2/team/app/blobs/d");
        assert_eq!(blob("/a/b/", None), "/a/b/v2/team/app/blobs/d");
        assert_eq!(blob("a b", None), "/a%20b/v2/team/app/blobs/d");
        assert_eq!(
            blob("x", Some("https://r.example:8443/")),
            "https://r.example:8443/x/v2/team/app/blobs/d"
        );
    }

    #[test]
    fn a_client_is_told_the_address_that_it_asked() {
        let base = |host| locations("/x", None).base(true, host);
        assert_eq!(
            base(Some("r.example:8443")).as_deref(),
            Some("https://r.example:8443/x")
        );
        assert_eq!(
            base(Some("[::1]:5000")).as_deref(),
            Some("https://[::1]:5000/x")
        );
        for host in [
            None,
            Some(""),
            Some("a b"),
            Some("a/b"),
            Some("u@r"),
            Some("a\"b"),
        ] {
            assert_eq!(base(host), None, "{host:?}");
        }
        let known = locations("", Some("https://r.example"));
        assert_eq!(
            known.base(false, Some("other")).as_deref(),
            Some("https://r.example")
        );
    }

    #[test]
    fn a_host_is_an_origin() {
        for host in [
            "r.example",
            "/x",
            "ftp://r",
            "https://u:p@r",
            "https://r/x",
            "",
        ] {
            assert!(Locations::default().set_host(host).is_err(), "{host}");
        }
    }

    #[test]
    fn the_prefix_may_be_there_or_be_gone() {
        let locations = locations("/x/", None);
        assert_eq!(locations.strip("/x/v2/"), Some("/v2/"));
        assert_eq!(locations.strip("/v2"), Some("/v2"));
        for path in ["/x", "/x/", "/x/v3", "/y/v2/", "/xv2/", "/v2x", "/x/x/v2/"] {
            assert_eq!(locations.strip(path), None, "{path}");
        }
    }
}
