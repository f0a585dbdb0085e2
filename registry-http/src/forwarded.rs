//! Whom a trusted proxy asks for.

use std::net::{IpAddr, SocketAddr};

use http::HeaderMap;
use http::header::HeaderName;
use http::uri::Scheme;
use ipnet::IpNet;

use crate::Peer;

/// The header to which proxies add whom they heard from. `Forwarded` (RFC 7239)
/// is not read: a proxy that writes one of the two passes on what its client
/// wrote into the other.
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The header in which proxies say how they were asked. It has one value.
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// How a client asked the proxy `peer`, if that is in one of the `trusted`
/// networks and says so.
pub(crate) fn scheme(peer: Peer, headers: &HeaderMap, trusted: &[IpNet]) -> Option<Scheme> {
    let mut values = headers.get_all(X_FORWARDED_PROTO).iter();
    let (value, None) = (values.next()?, values.next()) else {
        return None;
    };
    let value = value.to_str().unwrap_or_default();
    [Scheme::HTTP, Scheme::HTTPS]
        .into_iter()
        .find(|scheme| value.eq_ignore_ascii_case(scheme.as_str()))
        .filter(|_| is_trusted(peer.address, trusted))
}

/// The client of a request that `peer` sent: `peer` itself, unless it is in one
/// of the `trusted` networks. Then it is the last address in the header that
/// isn't trusted, or the first if all are. What can't be understood says
/// nothing.
pub(crate) fn client(peer: Peer, headers: &HeaderMap, trusted: &[IpNet]) -> Peer {
    if !is_trusted(peer.address, trusted) {
        return peer;
    }
    let values = headers.get_all(X_FORWARDED_FOR).iter().rev();
    let mut client = peer;
    for element in values.flat_map(|value| value.to_str().unwrap_or_default().rsplit(',')) {
        let Some(address) = address(element.trim()) else {
            return peer;
        };
        client = Peer { address };
        if !is_trusted(address, trusted) {
            break;
        }
    }
    client
}

/// Whether a peer is a proxy that is believed.
pub(crate) fn is_trusted(address: IpAddr, trusted: &[IpNet]) -> bool {
    let address = address.to_canonical();
    trusted.iter().any(|network| network.contains(&address))
}

/// An address with or without a port, and with or without brackets.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|t| t.strip_suffix(']'));
    let address = match bare.unwrap_or(text).parse::<IpAddr>() {
        Ok(address) => address,
        Err(_) => text.parse::<SocketAddr>().ok()?.ip(),
    };
    Some(address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(peer: &str, headers: &[(&'static str, &'static str)]) -> String {
        let trusted = ["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()];
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        let address = peer.parse().unwrap();
        client(Peer { address }, &map, &trusted).address.to_string()
    }

    #[test]
    fn a_trusted_proxy_names_its_client() {
        for (name, value, client) in [
            ("x-forwarded-for", "192.0.2.1", "192.0.2.1"),
            (
                "x-forwarded-for",
                "198.51.100.9, 192.0.2.1, 10.9.9.9",
                "192.0.2.1",
            ),
            ("x-forwarded-for", "192.0.2.1:4711", "192.0.2.1"),
            (
                "x-forwarded-for",
                "1.1.1.1, [2001:db8::1]:80",
                "2001:db8::1",
            ),
            // What a client writes is left of what the proxy adds.
            ("x-forwarded-for", "nonsense, 192.0.2.1", "192.0.2.1"),
            ("x-forwarded-for", "10.1.1.1", "10.1.1.1"),
        ] {
            assert_eq!(from("10.0.0.1", &[(name, value)]), client, "{value}");
            assert_eq!(from("::ffff:10.0.0.1", &[(name, value)]), client);
            // Anybody can write a header.
            assert_eq!(from("203.0.113.5", &[(name, value)]), "203.0.113.5");
        }
    }

    #[test]
    fn a_trusted_proxy_says_how_it_was_asked() {
        let asked = |peer: &str, values: &[&str]| {
            let mut map = HeaderMap::new();
            for value in values {
                map.append("x-forwarded-proto", value.parse().unwrap());
            }
            let address = peer.parse().unwrap();
            scheme(Peer { address }, &map, &["10.0.0.0/8".parse().unwrap()])
        };
        assert_eq!(asked("10.0.0.1", &["https"]), Some(Scheme::HTTPS));
        assert_eq!(asked("10.0.0.1", &["HTTP"]), Some(Scheme::HTTP));
        for values in [
            &["https", "http"][..],
            &["https, http"],
            &["ftp"],
            &[""],
            &[],
        ] {
            assert_eq!(asked("10.0.0.1", values), None, "{values:?}");
        }
        assert_eq!(asked("203.0.113.5", &["https"]), None);
    }

    #[test]
    fn no_client_hides_behind_another_header() {
        let headers = [("forwarded", "x"), ("x-forwarded-for", "192.0.2.1")];
        assert_eq!(from("10.0.0.1", &headers), "192.0.2.1");
    }

    #[test]
    fn what_can_not_be_understood_says_nothing() {
        for headers in [
            &[("x-forwarded-for", "192.0.2.1, unknown")][..],
            &[("x-forwarded-for", "192.0.2.1,")],
            &[("forwarded", "for=1.1.1.1")],
            &[],
        ] {
            assert_eq!(from("10.0.0.1", headers), "10.0.0.1", "{headers:?}");
        }
    }
}
