//! Addresses that a request may go to, decided when the connection is made.
//!
//! Looking at a name isn't enough: it may stand for any address, and for
//! another one a moment later.

use std::collections::HashSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// Which addresses may be connected to.
#[derive(Debug, Clone)]
pub(super) struct AddressPolicy {
    /// Hosts that the operator named: they may be anywhere.
    named: Arc<HashSet<String>>,
    private_networks: bool,
}

impl AddressPolicy {
    pub(super) fn new(named: HashSet<String>, private_networks: bool) -> Self {
        Self {
            named: Arc::new(named),
            private_networks,
        }
    }

    /// Whether `host`, as it stands in a URL, may be connected to as far as
    /// can be told without resolving it. Addresses written as such are never
    /// resolved.
    pub(super) fn permits_host(&self, host: &str) -> bool {
        let literal = host.trim_start_matches('[').trim_end_matches(']').parse();
        match literal {
            Ok(address) => self.permits(host, address),
            Err(_) => true,
        }
    }

    fn permits(&self, host: &str, address: IpAddr) -> bool {
        self.private_networks || self.named.contains(host) || is_public(address)
    }
}

impl Resolve for AddressPolicy {
    fn resolve(&self, name: Name) -> Resolving {
        let policy = self.clone();
        Box::pin(async move {
            let host = name.as_str().to_owned();
            let addresses: Vec<SocketAddr> = tokio::net::lookup_host((host.as_str(), 0))
                .await?
                .filter(|address| policy.permits(&host, address.ip()))
                .collect();
            if addresses.is_empty() {
                let reason = "the host has no address that may be connected to";
                return Err(io::Error::new(io::ErrorKind::PermissionDenied, reason).into());
            }
            let addresses: Addrs = Box::new(addresses.into_iter());
            Ok(addresses)
        })
    }
}

/// Whether an address belongs to the public Internet, also when it is wrapped
/// into one of the formats that carry IPv4 addresses in IPv6 ones.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => match embedded(address) {
            Some(inner) => is_public_v4(inner),
            None => is_public_v6(address),
        },
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [first, second, third, _] = address.octets();
    !(address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_broadcast()
        || address.is_documentation()
        || address.is_multicast()
        || first == 0
        || (first == 100 && second & 0xc0 == 64)
        || (first == 192 && second == 0 && third == 0)
        || (first == 198 && second & 0xfe == 18)
        || first >= 240)
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let [first, second, ..] = address.segments();
    // Only 2000::/3 is handed out, and parts of it are for documentation,
    // Teredo and benchmarks.
    first & 0xe000 == 0x2000
        && !(first == 0x2001 && (second < 0x0200 || second == 0x0db8))
        && !(first == 0x3fff && second & 0xf000 == 0)
}

/// The IPv4 address within an IPv6 one: mapped, compatible, translated (NAT64)
/// or tunnelled (6to4).
fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let join = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        Ipv4Addr::new(a, b, c, d)
    };
    match address.segments() {
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
            Some(join(high, low))
        }
        [0x2002, high, low, ..] => Some(join(high, low)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_public_addresses_are_public() {
        for private in [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "127.0.0.1",
            "169.254.169.254",
            "172.16.0.1",
            "192.0.0.1",
            "192.168.1.1",
            "198.18.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::7f00:1",
            "64:ff9b::a00:1",
            "64:ff9b:1::1",
            "2002:7f00:1::",
            "2001::1",
            "2001:db8::1",
            "3fff::1",
            "fc00::1",
            "fe80::1",
            "ff02::1",
        ] {
            assert!(!is_public(private.parse().unwrap()), "{private}");
        }
        for public in [
            "1.1.1.1",
            "93.184.216.34",
            "2606:4700::1111",
            "::ffff:1.1.1.1",
        ] {
            assert!(is_public(public.parse().unwrap()), "{public}");
        }
    }

    #[test]
    fn hosts_that_the_operator_named_may_be_anywhere() {
        let policy = AddressPolicy::new(HashSet::from(["127.0.0.1".to_owned()]), false);
        assert!(policy.permits_host("127.0.0.1"));
        assert!(!policy.permits_host("127.0.0.2"));
        assert!(!policy.permits_host("[::1]"));
        assert!(policy.permits_host("1.1.1.1"));
        assert!(AddressPolicy::new(HashSet::new(), true).permits_host("[::1]"));
    }
}
