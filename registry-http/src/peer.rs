//! Who is at the other end of the connection.

use std::net::IpAddr;

/// The address that a request came from.
///
/// `RegistryService` finds it among the request's
/// extensions, where the listener puts it; a program with a listener of its
/// own does the same. Without it, rules about networks don't match and events
/// name no address.
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
