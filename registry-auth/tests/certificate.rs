//! Who is known by which certificate.
#![cfg(feature = "certificate")]
#![allow(
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    reason = "a test fails by panicking"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use http::{HeaderMap, Method};
use rcgen::{CertificateParams, DnType, KeyPair, SanType};
use registry_auth::{
    AccessControl, CertificateName, Certificates, ClientCertificate, Rules, Sender, TokenRequest,
    TokenServer,
};
use registry_core::{Clock, Operation, RequestOrigin, SystemClock};

fn certificate(change: impl FnOnce(&mut CertificateParams)) -> ClientCertificate {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    change(&mut params);
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    ClientCertificate::from_der(certificate.der().to_vec())
}

fn named(name: &str) -> ClientCertificate {
    certificate(|params| params.distinguished_name.push(DnType::CommonName, name))
}

/// The machine's clock, so many days ahead.
#[derive(Debug, Clone, Default)]
struct Ahead(Arc<AtomicU64>);

impl Clock for Ahead {
    fn now(&self) -> SystemTime {
        let days = self.0.load(Ordering::SeqCst);
        SystemClock.now() + Duration::from_hours(24 * days)
    }
}

/// Who somebody with `certificate` is.
async fn known(certificates: Certificates, certificate: &ClientCertificate) -> Option<String> {
    let access = AccessControl::new(Rules::new().sentence("anyone may pull **"));
    let access = access.authenticator(certificates);
    let headers = HeaderMap::new();
    let sender = Sender::new(&headers, RequestOrigin::default()).certificate(Some(certificate));
    let operation = Operation::parse(&Method::GET, "/v2/a/tags/list", None).unwrap();
    let grant = access.authorize(&sender, &operation).await.unwrap();
    grant.actor.name.clone()
}

async fn by(name: CertificateName, certificate: &ClientCertificate) -> Option<String> {
    known(Certificates::new(name), certificate).await
}

#[tokio::test]
async fn the_name_is_where_it_is_looked_for() {
    let ia5 = |text: &str| text.try_into().unwrap();
    let full = certificate(|params| {
        params
            .distinguished_name
            .push(DnType::CommonName, "Ann Lee");
        params.subject_alt_names = vec![
            SanType::Rfc822Name(ia5("ann@example.com")),
            SanType::DnsName(ia5("ann.example.com")),
            SanType::URI(ia5("https://example.com/ann")),
            SanType::URI(ia5("spiffe://example.com/ann")),
        ];
    });
    for (name, expected) in [
        ("cn", "Ann Lee"),
        ("email", "ann@example.com"),
        ("dns", "ann.example.com"),
        ("spiffe", "spiffe://example.com/ann"),
    ] {
        let found = by(name.parse().unwrap(), &full).await;
        assert_eq!(found.as_deref(), Some(expected));
    }
    assert!("subject".parse::<CertificateName>().is_err());
    let plain = named("ann");
    let common = by(CertificateName::CommonName, &plain).await;
    assert_eq!(common.as_deref(), Some("ann"));
    for name in ["email", "dns", "spiffe"] {
        assert_eq!(by(name.parse().unwrap(), &plain).await, None);
    }
}

#[tokio::test]
async fn of_two_names_none_counts() {
    let ia5 = |text: &str| text.try_into().unwrap();
    let several = certificate(|params| {
        params.subject_alt_names = vec![
            SanType::Rfc822Name(ia5("ann@example.com")),
            SanType::Rfc822Name(ia5("root@example.com")),
            SanType::URI(ia5("spiffe://example.com/ann")),
            SanType::URI(ia5("spiffe://example.com/root")),
        ];
    });
    assert_eq!(by(CertificateName::Email, &several).await, None);
    assert_eq!(by(CertificateName::Spiffe, &several).await, None);
}

#[tokio::test]
async fn names_that_show_otherwise_than_they_are_count_for_nothing() {
    for name in ["", " ann", "ann ", "ann\nroot", "ann\u{0}", "ann\troot"] {
        let found = by(CertificateName::CommonName, &named(name)).await;
        assert_eq!(found, None, "{name:?}");
    }
    assert_eq!(
        by(CertificateName::CommonName, &named(&"a".repeat(600))).await,
        None
    );
}

/// Nobody poses as a robot: such names are refused for everybody.
#[tokio::test]
async fn a_certificate_is_no_robots() {
    let access = AccessControl::new(Rules::new().sentence("robot ci may pull **"));
    let access = access.authenticator(Certificates::new(CertificateName::CommonName));
    let headers = HeaderMap::new();
    let certificate = named("robot$ci");
    let sender = Sender::new(&headers, RequestOrigin::default()).certificate(Some(&certificate));
    let operation = Operation::parse(&Method::GET, "/v2/a/tags/list", None).unwrap();
    assert!(access.authorize(&sender, &operation).await.is_err());
}

/// A connection may be older than that.
#[tokio::test]
async fn an_expired_certificate_is_nobodys() {
    let start = SystemClock.now();
    let short = certificate(|params| {
        params.distinguished_name.push(DnType::CommonName, "ann");
        params.not_before = start.into();
        params.not_after = (start + Duration::from_hours(24)).into();
    });
    let clock = Ahead::default();
    let certificates = || Certificates::new(CertificateName::CommonName).clock(clock.clone());
    assert_eq!(known(certificates(), &short).await.as_deref(), Some("ann"));
    clock.0.store(2, Ordering::SeqCst);
    assert_eq!(known(certificates(), &short).await, None);
}

#[tokio::test]
async fn what_is_no_certificate_is_nobodys() {
    for bytes in [
        &b""[..],
        b"x",
        &[0x30, 0x80],
        &[0x30, 0x03, 0x02, 0x01, 0x01],
    ] {
        let certificate = ClientCertificate::from_der(bytes.to_vec());
        assert_eq!(by(CertificateName::CommonName, &certificate).await, None);
    }
}

/// Stands still.
#[derive(Debug, Clone)]
struct Stopped(SystemTime);

impl Clock for Stopped {
    fn now(&self) -> SystemTime {
        self.0
    }
}

#[tokio::test]
async fn a_certificate_is_good_from_its_first_second_to_its_last() {
    let (first, last) = (1_800_000_000, 1_800_000_100);
    let time = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    let short = certificate(|params| {
        params.distinguished_name.push(DnType::CommonName, "ann");
        params.not_before = time(first).into();
        params.not_after = time(last).into();
    });
    for (now, is_good) in [
        (first - 1, false),
        (first, true),
        (last, true),
        (last + 1, false),
    ] {
        let certificates = Certificates::new(CertificateName::CommonName);
        let found = known(certificates.clock(Stopped(time(now))), &short).await;
        assert_eq!(found.is_some(), is_good, "{now}");
    }
}

#[tokio::test]
async fn a_token_for_a_certificate_ends_with_it() {
    let time = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    let short = certificate(|params| {
        params.distinguished_name.push(DnType::CommonName, "ann");
        params.not_before = time(1_800_000_000).into();
        params.not_after = time(1_800_000_400).into();
    });
    for (now, lifetime) in [
        (1_800_000_010, Some(300)),
        (1_800_000_390, Some(10)),
        (1_800_000_400, None),
    ] {
        let clock = Stopped(time(now));
        let access = AccessControl::new(Rules::new())
            .authenticator(Certificates::new(CertificateName::CommonName).clock(clock.clone()))
            .tokens(TokenServer::ephemeral().unwrap())
            .clock(clock);
        let headers = HeaderMap::new();
        let sender = Sender::new(&headers, RequestOrigin::default()).certificate(Some(&short));
        let given = access
            .issue(&sender, &TokenRequest::from_query("").unwrap())
            .await;
        let given = given.ok().map(|answer| answer.lifetime.as_secs());
        assert_eq!(given, lifetime, "{now}");
    }
}

#[tokio::test]
async fn whoever_is_known_by_a_certificate_is_said_to_be() {
    let access = AccessControl::new(Rules::new());
    let access = access.authenticator(Certificates::new(CertificateName::CommonName));
    let (headers, certificate) = (HeaderMap::new(), named("ann"));
    let sender = Sender::new(&headers, RequestOrigin::default()).certificate(Some(&certificate));
    let ann = access.identify(&sender).await.unwrap().unwrap();
    assert_eq!((ann.name(), ann.source()), ("ann", "certificate"));
}

#[tokio::test]
async fn a_name_has_512_bytes_at_most() {
    for (length, is_taken) in [(512, true), (513, false)] {
        let name = "a".repeat(length);
        let found = by(CertificateName::CommonName, &named(&name)).await;
        assert_eq!(found.is_some(), is_taken, "{length}");
    }
}
