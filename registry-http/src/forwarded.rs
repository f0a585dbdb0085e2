//! Whom a trusted proxy asks for.

use std::net::{IpAddr, SocketAddr};

use http::HeaderMap;
use http::header::{FORWARDED, HeaderName};
use ipnet::IpNet;

use crate::Peer;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The client of a request that `peer` sent: `peer` itself, unless it is in one
/// of the `trusted` networks. Then the headers count, read from the right, up
/// to the first address that isn't trusted.
///
/// What can't be understood, or two headers that disagree, say nothing: a proxy
/// that writes one of them passes on what its client wrote into the other.
///
/// RFC 7239, section 5.2.
pub(crate) fn client(peer: Peer, headers: &HeaderMap, trusted: &[IpNet]) -> Peer {
    if !is_trusted(peer.address, trusted) {
        return peer;
    }
    let named = [
        named(headers, &FORWARDED, trusted, forwarded_for),
        named(headers, &X_FORWARDED_FOR, trusted, address),
    ];
    let address = match named {
        [Named::Client(one), Named::Client(other)] if one == other => one,
        [Named::Client(address), Named::Nobody] | [Named::Nobody, Named::Client(address)] => {
            address
        }
        _ => return peer,
    };
    Peer { address }
}

enum Named {
    Client(IpAddr),
    Nobody,
    Nonsense,
}

fn named(
    headers: &HeaderMap,
    name: &HeaderName,
    trusted: &[IpNet],
    read: fn(&str) -> Option<IpAddr>,
) -> Named {
    let mut found = Named::Nobody;
    for value in headers.get_all(name).iter().rev() {
        let Ok(value) = value.to_str() else {
            return Named::Nonsense;
        };
        for element in value.rsplit(',') {
            let Some(address) = read(element.trim()) else {
                return Named::Nonsense;
            };
            found = Named::Client(address);
            if !is_trusted(address, trusted) {
                return found;
            }
        }
    }
    found
}

fn is_trusted(address: IpAddr, trusted: &[IpNet]) -> bool {
    let address = address.to_canonical();
    trusted.iter().any(|network| network.contains(&address))
}

/// The address in `for=192.0.2.1;by=…`.
fn forwarded_for(element: &str) -> Option<IpAddr> {
    let mut found = None;
    for pair in element.split(';') {
        let (name, value) = pair.trim().split_once('=')?;
        if name.eq_ignore_ascii_case("for") {
            if found.is_some() {
                return None;
            }
            let quoted = value.strip_prefix('"');
            let value = match quoted {
                Some(rest) => rest.strip_suffix('"')?,
                None => value,
            };
            found = Some(address(value)?);
        }
    }
    found
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
                "forwarded",
                r#"for=1.1.1.1, For="[2001:db8::1]:80";by=x"#,
                "2001:db8::1",
            ),
            ("x-forwarded-for", "10.1.1.1", "10.1.1.1"),
        ] {
            assert_eq!(from("10.0.0.1", &[(name, value)]), client, "{value}");
            assert_eq!(from("::ffff:10.0.0.1", &[(name, value)]), client);
            // Anybody can write a header.
            assert_eq!(from("203.0.113.5", &[(name, value)]), "203.0.113.5");
        }
    }

    #[test]
    fn what_can_not_be_understood_says_nothing() {
        for headers in [
            &[("x-forwarded-for", "192.0.2.1, unknown")][..],
            &[("x-forwarded-for", "192.0.2.1,")],
            &[("forwarded", "by=10.0.0.1")],
            &[("forwarded", "for=192.0.2.1;for=192.0.2.2")],
            &[("forwarded", "for=_hidden")],
            &[
                ("x-forwarded-for", "192.0.2.1"),
                ("forwarded", "for=1.1.1.1"),
            ],
            &[],
        ] {
            assert_eq!(from("10.0.0.1", headers), "10.0.0.1", "{headers:?}");
        }
    }
}
