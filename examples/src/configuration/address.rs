//! Where to listen.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::str::FromStr;

use tokio::net::TcpListener;

/// A host, or every address of the machine, and a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    host: Option<String>,
    port: u16,
}

impl Address {
    /// A port of a host.
    pub fn new(host: &str, port: u16) -> Self {
        Self {
            host: Some(host.to_owned()),
            port,
        }
    }

    /// This port on every address of the machine.
    pub fn everywhere(port: u16) -> Self {
        Self { host: None, port }
    }

    /// Where this is, without listening there. It asks the system for the addresses of
    /// a host.
    ///
    /// # Errors
    ///
    /// If the host has none.
    pub fn resolve(&self) -> io::Result<SocketAddr> {
        let Some(host) = &self.host else {
            return Ok((Ipv6Addr::UNSPECIFIED, self.port).into());
        };
        let mut addresses = (host.as_str(), self.port).to_socket_addrs()?;
        addresses
            .next()
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Whether one process can't listen on both.
    pub(crate) fn overlaps(&self, other: &Self) -> bool {
        let is_everywhere = |address: &Self| {
            address.host.as_deref().is_none_or(|host| {
                host.parse::<IpAddr>()
                    .is_ok_and(|address| address.is_unspecified())
            })
        };
        // The system chooses another port each time if it is asked to.
        self.port != 0
            && self.port == other.port
            && (self.host == other.host || is_everywhere(self) || is_everywhere(other))
    }

    /// Listens.
    pub async fn bind(&self) -> io::Result<TcpListener> {
        if let Some(host) = &self.host {
            return TcpListener::bind((host.as_str(), self.port)).await;
        }
        match TcpListener::bind((Ipv6Addr::UNSPECIFIED, self.port)).await {
            // Another process has it, which trying again would only hide.
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => Err(error),
            // There may be machines without IPv6.
            Err(_) => TcpListener::bind((Ipv4Addr::UNSPECIFIED, self.port)).await,
            bound => bound,
        }
    }
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "`{text}` is no address to listen on; write one such as :5000 or 127.0.0.1:5000"
            )
        };
        let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
        let port = port.parse().map_err(|_| wrong())?;
        let host = match host.strip_prefix('[').and_then(|h| h.strip_suffix(']')) {
            Some(inner) => {
                inner.parse::<Ipv6Addr>().map_err(|_| wrong())?;
                inner
            }
            None if host.contains([':', '[', ']', '/', ' ']) => return Err(wrong()),
            None => host,
        };
        Ok(Self {
            host: (!host.is_empty()).then(|| host.to_owned()),
            port,
        })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Some(host) if host.contains(':') => write!(f, "[{host}]:{}", self.port),
            Some(host) => write!(f, "{host}:{}", self.port),
            None => write!(f, ":{}", self.port),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_host_if_any_and_a_port() {
        for text in [":5000", "127.0.0.1:0", "[::1]:5000", "localhost:80"] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
        for text in [
            "",
            "5000",
            "localhost",
            "::1:5000",
            ":70000",
            "[x]:1",
            "http://a:1",
        ] {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
    }
}
