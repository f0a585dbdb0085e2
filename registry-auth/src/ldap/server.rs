//! Where a directory is, and how its certificate is checked.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use http::Uri;
use registry_core::{Error, ErrorKind, Result};
use rustls::ClientConfig;

use super::trust::{Authorities, Trust};

/// A directory.
pub(super) struct Server {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) transport: Transport,
}

/// How what is sent is kept secret.
pub(super) enum Transport {
    /// It isn't: it doesn't leave the machine.
    Plain,
    /// By TLS from the first byte.
    Tls(Trust),
    /// By TLS after a request for it.
    StartTls(Trust),
}

impl Server {
    /// The directory at `url`.
    ///
    /// # Errors
    ///
    /// If it is no URL of a directory, or passwords would be sent in clear text
    /// to another machine.
    pub(super) fn new(url: &str, start_tls: bool, authorities: Authorities) -> Result<Self> {
        let uri: Uri = url.parse().map_err(|_| no_url(url))?;
        let path = uri.path_and_query().map_or("", |path| path.as_str());
        let authority = uri.authority().ok_or_else(|| no_url(url))?;
        if !matches!(path, "" | "/") || authority.as_str().contains('@') {
            return Err(no_url(url));
        }
        let host = authority.host();
        let host = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
            .unwrap_or(host);
        if host.is_empty() {
            return Err(no_url(url));
        }
        let is_here = host.eq_ignore_ascii_case("localhost")
            || host
                .parse()
                .is_ok_and(|address: IpAddr| address.is_loopback());
        let (port, transport) = match uri.scheme_str() {
            Some("ldaps") if start_tls => {
                return Err(ErrorKind::RequestInvalid.error(
                    "ldaps:// is over TLS from the first byte; leave StartTLS out, or use ldap://",
                ));
            }
            Some("ldaps") => (636, Transport::Tls(Trust::new(authorities)?)),
            Some("ldap") if start_tls => (389, Transport::StartTls(Trust::new(authorities)?)),
            Some("ldap") if is_here => (389, Transport::Plain),
            Some("ldap") => {
                return Err(ErrorKind::RequestInvalid.error(format!(
                    "passwords would be sent to {host} in clear text; use StartTLS or ldaps://"
                )));
            }
            _ => return Err(no_url(url)),
        };
        Ok(Self {
            host: host.to_owned(),
            port: match authority.as_str().strip_prefix(authority.host()) {
                Some("") => port,
                rest => rest
                    .and_then(|rest| rest.strip_prefix(':')?.parse().ok())
                    .ok_or_else(|| no_url(url))?,
            },
            transport,
        })
    }

    /// How its certificate is checked now, if it has to have one.
    pub(super) async fn trust(&self) -> Option<Arc<ClientConfig>> {
        match &self.transport {
            Transport::Plain => None,
            Transport::Tls(trust) | Transport::StartTls(trust) => Some(trust.current().await),
        }
    }
}

fn no_url(url: &str) -> Error {
    let url: String = url.chars().take(200).collect();
    ErrorKind::RequestInvalid.error(format!(
        "`{url}` is no address of a directory; write one such as ldaps://ldap.example.com"
    ))
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::{Authorities, Server};

    #[test]
    fn addresses_of_directories_are_understood() {
        for (url, start_tls, host, port) in [
            ("ldap://localhost", false, "localhost", 389),
            ("ldap://127.0.0.1:10389/", false, "127.0.0.1", 10389),
            ("ldap://[::1]:390", false, "::1", 390),
            ("ldap://ldap.example.com", true, "ldap.example.com", 389),
            ("ldaps://ldap.example.com", false, "ldap.example.com", 636),
        ] {
            let server = Server::new(url, start_tls, Authorities::System).unwrap();
            assert_eq!((server.host.as_str(), server.port), (host, port), "{url}");
        }
    }

    #[test]
    fn no_password_leaves_the_machine_in_clear_text() {
        for url in [
            "ldap://ldap.example.com",
            "ldap://10.0.0.1",
            "ldap://localhost.example.com",
        ] {
            let error = Server::new(url, false, Authorities::System)
                .err()
                .unwrap()
                .to_string();
            assert!(error.contains("clear text"), "{error}");
        }
    }

    #[test]
    fn other_urls_are_refused() {
        for url in [
            "",
            "localhost",
            "http://localhost",
            "ldap://",
            "ldap://localhost/dc=example",
            "ldap://user@localhost",
            "ldap://localhost:x",
            "ldapi:///",
        ] {
            assert!(
                Server::new(url, false, Authorities::System).is_err(),
                "{url}"
            );
        }
        assert!(Server::new("ldaps://a", true, Authorities::System).is_err());
        assert!(Server::new("ldaps://a", false, Authorities::Given(Vec::new())).is_err());
    }
}
