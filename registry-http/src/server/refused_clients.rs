//! Tells the operator of clients that are refused before they can ask for anything.

use std::collections::HashSet;
use std::io;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rustls::Error;
use tokio::time::Instant;

use crate::Peer;

/// How long it isn't said again of an address, for the same reason.
const PERIOD: Duration = Duration::from_mins(1);

/// How many lines there are in that time at most, whoever comes.
const LINES_MAX: usize = 60;

/// How much is said of a reason, in characters: a certificate may name as many
/// usages as its maker likes.
const REASON_MAX: usize = 256;

/// What was told lately.
#[derive(Debug, Default)]
pub(super) struct RefusedClients(Mutex<Lately>);

#[derive(Debug, Default)]
struct Lately {
    began: Option<Instant>,
    told: HashSet<(IpAddr, Reason)>,
}

/// Why, in the words of the library without what they are about: nothing if there was no
/// certificate.
type Reason = Option<String>;

impl RefusedClients {
    /// Tells why no connection was made, if that is for want of a good certificate.
    /// The client itself learns no more than that it failed.
    pub(super) fn tell(&self, peer: Peer, error: &io::Error) {
        let error = error.get_ref().and_then(|error| error.downcast_ref());
        let reason = match error {
            Some(Error::InvalidCertificate(reason)) => Some(words(&format!("{reason:?}"))),
            Some(Error::NoCertificatesPresented) => None,
            _ => return,
        };
        let has_certificate = reason.is_some();
        let Some(error) = error.filter(|_| self.is_news(peer.household(), reason)) else {
            return;
        };
        let address = peer.address;
        let error: String = error.to_string().chars().take(REASON_MAX).collect();
        if has_certificate {
            tracing::warn!(
                %address,
                error,
                "a client's certificate was refused: it has to be of version 3, for clients, no \
                 authority's own, valid now, and signed by one of the authorities"
            );
        } else {
            tracing::warn!(%address, error, "a client was refused that shows no certificate");
        }
    }

    fn is_news(&self, household: IpAddr, reason: Reason) -> bool {
        let now = Instant::now();
        let mut lately = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if lately
            .began
            .is_none_or(|began| now.duration_since(began) >= PERIOD)
        {
            lately.began = Some(now);
            lately.told.clear();
        }
        lately.told.len() < LINES_MAX && lately.told.insert((household, reason))
    }
}

/// What a reason begins with, up to what differs from one certificate to another.
fn words(reason: &str) -> String {
    let is_of_words = |char: &char| char.is_ascii_alphanumeric() || *char == '(';
    reason.chars().take_while(is_of_words).collect()
}
