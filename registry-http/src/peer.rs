//! Who is at the other end of the connection.

use std::net::{IpAddr, Ipv6Addr};

/// The address that a request came from.
///
/// `RegistryService` finds it among the request's
/// extensions, where the listener puts it; a program with a listener of its
/// own does the same, for each request. Without it, rules about networks don't match,
/// events name no address, no address is kept to its
/// [share](crate::Limits::address_share) or [rate](registry_auth::RateLimits), and
/// nobody who guesses passwords has to [wait](registry_auth::GuardLimits), as those
/// who do can't be told from those who don't.
///
/// ```
/// use registry_http::Peer;
///
/// let mut request = http::Request::new(());
/// request.extensions_mut().insert(Peer { address: [127, 0, 0, 1].into() });
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// The client's address, or that of the last proxy in front.
    pub address: IpAddr,
}

impl Peer {
    /// Whom the address stands for. Whoever has an IPv6 address has 2⁶⁴ of
    /// them: those count as one.
    pub(crate) fn household(self) -> IpAddr {
        match self.address.to_canonical() {
            IpAddr::V6(address) => {
                Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into()
            }
            address @ IpAddr::V4(_) => address,
        }
    }
}
