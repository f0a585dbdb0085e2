//! What is said within this very machine, and what only seems to be.

use std::net::IpAddr;

use http::HeaderMap;
use http::header::{FORWARDED, ORIGIN, VIA};
use http::request::Parts;
use http::uri::{Authority, Scheme};
use ipnet::IpNet;

use crate::forwarded::{is_trusted, scheme};
use crate::{Peer, header};

/// Whether somebody between here and the client may have read a request, as far as is known:
/// neither the listener nor one of the `trusted` proxies speaks of TLS, and it wasn't sent
/// within this machine.
pub(crate) fn is_in_the_open(parts: &Parts, trusted: &[IpNet], is_named: bool) -> bool {
    let peer = parts.extensions.get::<Peer>().copied();
    let said = peer.and_then(|peer| scheme(peer, &parts.headers, trusted));
    match said {
        Some(scheme) => scheme != Scheme::HTTPS,
        None if parts.extensions.get() == Some(&Scheme::HTTPS) => false,
        None => peer.is_none_or(|peer| {
            let host = header::host(parts);
            !is_within(peer, &parts.headers, host.as_deref(), is_named)
        }),
    }
}

/// Whether `peer` and the client that it speaks for are on this machine, as far as
/// is known.
///
/// A proxy on this machine that is asked from elsewhere passes on under which name it
/// was asked, or says that it is one. `is_named` is whether it was configured how
/// clients call the registry: then they are sent nowhere else, whatever they write.
fn is_within(peer: Peer, headers: &HeaderMap, host: Option<&str>, is_named: bool) -> bool {
    let is_passed_on = headers.keys().any(|name| {
        *name == FORWARDED || *name == VIA || name.as_str().starts_with("x-forwarded-")
    });
    is_here(peer) && (is_named || !is_passed_on && host.is_none_or(is_name))
}

/// Whether a page of another site may have had a browser send a request to this machine
/// under that site's name, which points here by now (DNS rebinding). To the browser it is
/// a page of the registry's own, and no login may be needed here.
///
/// It isn't that under a name of this machine, or the one that the registry is `known_as`,
/// nor if a `trusted` proxy asks.
pub(crate) fn is_rebound(parts: &Parts, trusted: &[IpNet], known_as: Option<&str>) -> bool {
    let mut names = parts.headers.keys();
    let is_of_browser =
        names.any(|name| *name == ORIGIN || name.as_str().starts_with("sec-fetch-"));
    let peer = parts.extensions.get::<Peer>();
    is_of_browser
        && peer.is_some_and(|&peer| is_here(peer) && !is_trusted(peer.address, trusted))
        && header::host(parts).is_some_and(|host| {
            !is_name(&host) && !known_as.is_some_and(|known| known.eq_ignore_ascii_case(&host))
        })
}

fn is_here(peer: Peer) -> bool {
    peer.address.to_canonical().is_loopback()
}

/// Whether it is one of the names by which this machine calls itself.
///
/// RFC 6761, section 6.3.
fn is_name(host: &str) -> bool {
    let Ok(authority) = host.parse::<Authority>() else {
        return false;
    };
    let name = authority.host().trim_end_matches('.').to_ascii_lowercase();
    let bare = name
        .strip_prefix('[')
        .and_then(|name| name.strip_suffix(']'));
    let address = bare.unwrap_or(&name).parse::<IpAddr>();
    name == "localhost"
        || name.ends_with(".localhost")
        || address.is_ok_and(|address| address.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_has_few_names_for_itself() {
        for (host, expected) in [
            ("localhost", true),
            ("LocalHost:5000", true),
            ("registry.localhost", true),
            ("localhost.", true),
            ("127.0.0.1:5000", true),
            ("127.9.9.9", true),
            ("[::1]:5000", true),
            ("[::ffff:127.0.0.1]", true),
            ("registry.example.com", false),
            ("notlocalhost", false),
            ("localhost.example.com", false),
            ("127.0.0.1.example.com", false),
            ("10.0.0.1", false),
            ("", false),
            ("a b", false),
        ] {
            assert_eq!(is_name(host), expected, "{host}");
        }
    }
}
