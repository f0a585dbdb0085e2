//! What proxies say of whom they ask for: the address of the peer, the networks of
//! trusted proxies with commas between them, then values of `X-Forwarded-For`, and
//! of `X-Forwarded-Proto` after a `!`; one on each line.

#![no_main]

#[allow(dead_code, reason = "not all of it reads headers")]
#[path = "../../../registry-http/src/forwarded.rs"]
mod forwarded;

use std::net::{IpAddr, SocketAddr};

use http::HeaderMap;
use http::header::HeaderValue;
use http::uri::Scheme;
use ipnet::IpNet;
use libfuzzer_sys::fuzz_target;

/// As that of the registry.
#[derive(Clone, Copy)]
pub struct Peer {
    pub address: IpAddr,
}

/// What an element of the header says.
fn said(element: &str) -> Option<IpAddr> {
    let element = element.trim();
    let inner = element
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    let plain = inner.unwrap_or(element).parse().ok();
    let with_port = || element.parse::<SocketAddr>().ok().map(|it| it.ip());
    plain.or_else(with_port).map(|it: IpAddr| it.to_canonical())
}

fuzz_target!(|input: &[u8]| {
    let mut lines = input.split(|byte| *byte == b'\n');
    let mut text = || std::str::from_utf8(lines.next()?).ok();
    let Some(address) = text().and_then(|line| line.parse::<IpAddr>().ok()) else {
        return;
    };
    let networks = text().unwrap_or_default().split(',');
    let trusted: Vec<IpNet> = networks.filter_map(|it| it.parse().ok()).collect();
    let mut headers = HeaderMap::new();
    for line in lines.take(20) {
        let (name, value) = match line.strip_prefix(b"!") {
            Some(value) => ("x-forwarded-proto", value),
            None => ("x-forwarded-for", line),
        };
        if let Ok(value) = HeaderValue::from_bytes(value) {
            headers.append(name, value);
        }
    }
    let is_proxy = |address: IpAddr| {
        let address = address.to_canonical();
        trusted.iter().any(|network| network.contains(&address))
    };

    let list: Option<Vec<_>> = headers
        .get_all("x-forwarded-for")
        .iter()
        .map(|value| value.to_str().ok().map(str::to_owned))
        .collect();
    // A value that isn't text says nothing, like an empty one.
    let read = forwarded::client(Peer { address }, &headers, &trusted).address;
    if let Some(list) = list {
        let hops = list.join(",");
        let hops = hops.split(',').map(said).collect::<Vec<_>>();
        let mut client = address;
        if is_proxy(address) && !list.is_empty() {
            for hop in hops.into_iter().rev() {
                let Some(hop) = hop else {
                    client = address;
                    break;
                };
                client = hop;
                if !is_proxy(hop) {
                    break;
                }
            }
        }
        assert_eq!(read, client);
    }
    if !is_proxy(address) {
        assert_eq!(read, address);
    }

    let said: Vec<_> = headers.get_all("x-forwarded-proto").iter().collect();
    let scheme = match said[..] {
        [one] if is_proxy(address) && one.as_bytes().eq_ignore_ascii_case(b"https") => {
            Some(Scheme::HTTPS)
        }
        [one] if is_proxy(address) && one.as_bytes().eq_ignore_ascii_case(b"http") => {
            Some(Scheme::HTTP)
        }
        _ => None,
    };
    assert_eq!(
        forwarded::scheme(Peer { address }, &headers, &trusted),
        scheme
    );
});
