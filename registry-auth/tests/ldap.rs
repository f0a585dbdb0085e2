//! Directories that don't answer as they should. How a real one answers is in
//! `tests/tests/ldap`.
#![cfg(feature = "ldap")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test fails by panicking"
)]

#[path = "ldap/asked.rs"]
mod asked;
#[path = "ldap/crowd.rs"]
mod crowd;
#[path = "common/directory.rs"]
mod directory;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use futures::future::join_all;
use http::{HeaderMap, HeaderValue};
use registry_auth::{
    AccessControl, Authenticator, GuardLimits, Ldap, LdapBuilder, Principal, Rules, Secret, Sender,
    Standing,
};
use registry_core::{Action, ErrorKind, RequestOrigin};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

use self::directory::{BOUND, DONE, Tap, entry, find};

/// The entry of `ann`.
const ANN: &[u8] =
    b"\x30\x1d\x02\x01\x02\x64\x18\x04\x05uid=a0\x0f\x30\x0d\x04\x03uid1\x06\x04\x04ann ";
/// A reference to another directory.
const REFERENCE: &[u8] = b"\x30\x0a\x02\x01\x02\x73\x05\x04\x03ldp";
/// The end of everything.
const DISCONNECTION: &[u8] = b"\x30\x0c\x02\x01\x00\x78\x07\x0a\x01\x34\x04\x00\x04\x00";
/// TLS may begin.
const TLS: &[u8] = b"\x30\x0c\x02\x01\x01\x78\x07\x0a\x01\x00\x04\x00\x04\x00";

fn access(ldap: LdapBuilder) -> AccessControl {
    access_by(ldap.build().unwrap())
}

fn access_by(ldap: impl Authenticator) -> AccessControl {
    AccessControl::new(Rules::new().signed_in("**", &[Action::Pull]))
        .authenticator(ldap)
        .guard(GuardLimits::NONE)
}

fn basic(user: &str, password: &str) -> HeaderValue {
    let pair = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
    HeaderValue::from_str(&format!("Basic {pair}")).unwrap()
}

async fn login(access: &AccessControl, user: &str) -> Result<Option<Principal>, ErrorKind> {
    login_by(access, user, "secret").await
}

async fn login_by(
    access: &AccessControl,
    user: &str,
    password: &str,
) -> Result<Option<Principal>, ErrorKind> {
    let mut headers = HeaderMap::new();
    headers.insert("authorization", basic(user, password));
    let sender = Sender::new(&headers, RequestOrigin::default());
    let known = access.identify(&sender).await;
    known.map_err(|refusal| refusal.error.kind())
}

/// A listener, and what is to be asked there.
async fn directory() -> (TcpListener, LdapBuilder) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ldap://{}", listener.local_addr().unwrap());
    let ldap = Ldap::builder(url)
        .base("dc=example")
        .timeout(Duration::from_secs(30));
    (listener, ldap)
}

/// Gives each request the next of these answers, then nothing.
async fn answer(mut stream: TcpStream, answers: Vec<Vec<u8>>) {
    let mut request = [0; 4096];
    for answer in answers {
        if stream.read(&mut request).await.is_ok_and(|read| read > 0) {
            // Whoever is told nonsense hangs up.
            let _ = stream.write_all(&answer).await;
        }
    }
}

/// Why somebody isn't let in, as the log says it.
async fn trouble(access: &AccessControl, user: &str) -> String {
    let mut headers = HeaderMap::new();
    headers.insert("authorization", basic(user, "secret"));
    let sender = Sender::new(&headers, RequestOrigin::default());
    let error = access.identify(&sender).await.unwrap_err().error;
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    std::error::Error::source(&error).unwrap().to_string()
}

#[tokio::test]
async fn a_directory_that_talks_nonsense_lets_nobody_in() {
    let endless = |message: &[u8]| message.repeat(1100);
    let done = |answer: Vec<u8>| vec![BOUND.to_vec(), answer];
    for (what, answers, expected) in [
        ("nothing", vec![], "the connection failed"),
        (
            "another protocol",
            vec![b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()],
            "isn't LDAP",
        ),
        (
            "a refusal of who searches",
            vec![BOUND.to_vec().tap(9, 49)],
            "refuses the login of who searches: result 49",
        ),
        (
            "a refusal",
            done(DONE.to_vec().tap(9, 53)),
            "refuses a search: result 53",
        ),
        (
            "half a message",
            done(DONE[..5].to_vec()),
            "the connection failed",
        ),
        (
            "the end",
            done(DISCONNECTION.to_vec()),
            "ends the connection",
        ),
        (
            "another answer",
            done(DONE.to_vec().tap(4, 7)),
            "answers something else",
        ),
        (
            "another operation",
            done(DONE.to_vec().tap(5, 0x61)),
            "doesn't answer what it was asked",
        ),
        (
            "an endless message",
            done(b"\x30\x84\xff\xff\xff\xff".to_vec()),
            "more than 256 KiB",
        ),
        (
            "a long message",
            done(b"\x30\x83\x10\x00\x00".to_vec()),
            "more than 256 KiB",
        ),
        (
            "a message that is a byte too long",
            done(b"\x30\x83\x04\x00\x01".to_vec()),
            "more than 256 KiB",
        ),
        ("no length", done(b"\x30\x80".to_vec()), "isn't LDAP"),
        (
            "references for ever",
            done(endless(REFERENCE)),
            "more than it was asked for",
        ),
        (
            "entries for ever",
            done(endless(ANN)),
            "more than it was asked for",
        ),
    ] {
        let (listener, ldap) = directory().await;
        let served = tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            answer(stream, answers).await;
        });
        let said = trouble(&access(ldap), "ann").await;
        assert!(said.contains(expected), "{what}: {said}");
        served.await.unwrap();
    }
}

#[tokio::test]
async fn a_user_is_let_in_by_the_name_in_the_directory_and_no_other_spelling() {
    for (user, is_known) in [("admin", true), ("ADMIN", false), ("Admin", false)] {
        let (listener, ldap) = directory().await;
        let served = tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            find(stream, Some(entry("admin", &[]))).await;
        });
        let expected = if is_known {
            Ok(Some("admin".to_owned()))
        } else {
            Err(ErrorKind::Unauthorized)
        };
        let known = login(&access(ldap), user).await;
        let name = known.map(|known| known.map(|known| known.name().to_owned()));
        assert_eq!(name, expected, "{user}");
        served.await.unwrap();
    }
}

#[tokio::test]
async fn an_account_that_ended_is_of_no_use_whatever_it_is_asked_for() {
    for (values, is_there) in [
        (&[("userAccountControl", "512")][..], true),
        (&[("userAccountControl", "514")], false),
        (&[("accountExpires", "0")], true),
        (&[("accountExpires", "9223372036854775807")], true),
        // 2009 and 2100.
        (&[("accountExpires", "129000000000000000")], false),
        (&[("accountExpires", "157700000000000000")], true),
        (&[("nsAccountLock", "FALSE")], true),
        (&[("nsAccountLock", "true")], false),
        (&[("pwdAccountLockedTime", "20260101000000Z")], true),
        (&[("pwdAccountLockedTime", "000001010000Z")], false),
        (&[("shadowExpire", "-1")], true),
        (&[("shadowExpire", "0")], true),
        (&[("shadowExpire", "15000")], false),
        (&[("shadowExpire", "50000")], true),
        // What isn't understood says nothing.
        (&[("userAccountControl", "x")], true),
    ] {
        let (listener, ldap) = directory().await;
        let served = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(find(stream, Some(entry("ann", values))));
            }
        });
        let ldap = Arc::new(ldap.build().unwrap());
        let standing = ldap.standing(&Principal::new("ann")).await.unwrap();
        let is_current = matches!(standing, Standing::Current(_));
        assert_eq!(is_current, is_there, "{values:?}");
        // Also where the directory still takes its password.
        let access = AccessControl::new(Rules::new())
            .authenticator(Arc::clone(&ldap))
            .guard(GuardLimits::NONE);
        assert_eq!(login(&access, "ann").await.is_ok(), is_there, "{values:?}");
        served.abort();
    }
}

/// Knows `entry` and nobody else, whose password is `right`. Says what it was asked
/// for, one after the other, once nobody asks any more.
async fn steps(listener: TcpListener, entry: Option<Vec<u8>>) -> Vec<u8> {
    let mut asked = Vec::new();
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut request = [0; 4096];
    while let Ok(read @ 1..) = stream.read(&mut request).await {
        let start = if request[1] < 0x80 {
            2
        } else {
            2 + usize::from(request[1] & 0x7f)
        };
        let (id, operation) = (request[start + 2], request[start + 3]);
        let is_wrong = request[..read].ends_with(b"wrong");
        let answer = match operation {
            0x60 => BOUND
                .to_vec()
                .tap(4, id)
                .tap(9, if is_wrong { 49 } else { 0 }),
            0x63 => {
                let entry = entry.clone().map(|entry| entry.tap(4, id));
                [entry.unwrap_or_default(), DONE.to_vec().tap(4, id)].concat()
            }
            _ => break,
        };
        asked.push(operation);
        stream.write_all(&answer).await.unwrap();
    }
    asked
}

#[tokio::test]
async fn s_46_each_refusal_asks_the_directory_for_the_same_and_takes_its_time() {
    let ann = || Some(entry("ann", &[]));
    let refusals = [
        ("wrong", ann(), "wrong"),
        ("unknown", None, "wrong"),
        ("unknown, with a password of others", None, "right"),
        (
            "ended",
            Some(entry("ann", &[("userAccountControl", "514")])),
            "wrong",
        ),
        (
            "ended, though right",
            Some(entry("ann", &[("userAccountControl", "514")])),
            "right",
        ),
        ("disabled", Some(entry("eve", &[])), "wrong"),
        ("disabled, though right", Some(entry("eve", &[])), "right"),
    ];
    for groups in [false, true] {
        let asked = join_all(refusals.clone().map(async |(what, entry, password)| {
            let (listener, ldap) = directory().await;
            let served = tokio::spawn(steps(listener, entry));
            let ldap = if groups {
                ldap.groups("", "(member={dn})", "cn")
            } else {
                ldap
            };
            let access = AccessControl::new(Rules::new().disable("eve"))
                .authenticator(ldap.build().unwrap())
                .guard(GuardLimits::NONE);
            let user = if what.starts_with("disabled") {
                "eve"
            } else {
                "ann"
            };
            let began = Instant::now();
            assert_eq!(
                login_by(&access, user, password).await,
                Err(ErrorKind::Unauthorized),
                "{what}"
            );
            assert!(began.elapsed() >= Duration::from_secs(1), "{what}");
            drop(access);
            served.await.unwrap()
        }))
        .await;
        assert_eq!(asked[0].len(), if groups { 5 } else { 3 }, "{asked:?}");
        for (asked_then, (what, ..)) in asked.iter().zip(&refusals) {
            assert_eq!(asked_then, &asked[0], "{what}");
        }
    }
}

#[tokio::test]
async fn s_46_that_the_password_of_somebody_disabled_was_right_is_not_remembered() {
    let (listener, ldap) = directory().await;
    let served = tokio::spawn(steps(listener, Some(entry("eve", &[]))));
    let ldap = Arc::new(ldap.build().unwrap());
    let access = |rules: Rules| {
        AccessControl::new(rules)
            .authenticator(Arc::clone(&ldap))
            .guard(GuardLimits::NONE)
    };
    for _ in 0..2 {
        assert!(
            login_by(&access(Rules::new()), "eve", "right")
                .await
                .is_ok()
        );
    }
    let refused = login_by(&access(Rules::new().disable("eve")), "eve", "right").await;
    assert_eq!(refused, Err(ErrorKind::Unauthorized));
    drop(ldap);
    // Once for who is let in, and once more.
    assert_eq!(served.await.unwrap(), [0x60, 0x63, 0x60].repeat(2));
}

#[tokio::test]
async fn who_gets_a_name_later_is_told_from_who_had_it() {
    let mut identities = Vec::new();
    let mut stamps = Vec::new();
    for values in [
        &[("entryUUID", "7f3c"), ("pwdChangedTime", "20260101000000Z")][..],
        &[("entryUUID", "7f3c"), ("pwdChangedTime", "20260202000000Z")],
        &[("entryUUID", "80aa")],
        &[("objectGUID", "7f3d")],
        &[],
    ] {
        let (listener, ldap) = directory().await;
        let served = tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            find(stream, Some(entry("ann", values))).await;
        });
        let ann = login(&access(ldap), "ann").await.unwrap().unwrap();
        identities.push(ann.identity().copied());
        stamps.push(*ann.stamp().unwrap());
        served.await.unwrap();
    }
    let [one, same, other, active, unknown] = identities.try_into().unwrap();
    assert!(one.is_some() && one == same);
    assert!(other.is_some() && active.is_some() && unknown.is_none());
    assert!(one != other && one != active);
    // What was given out ends with the password, too.
    let different: BTreeSet<_> = stamps.iter().collect();
    assert_eq!(different.len(), 5, "{stamps:?}");
}

#[cfg(feature = "token")]
#[tokio::test]
async fn refresh_tokens_are_for_users_whose_new_passwords_are_seen() {
    use registry_auth::{MemoryRecords, TokenRequest, TokenServer};

    let request = TokenRequest::from_query("offline_token=true").unwrap();
    for (values, lasts) in [
        (&[("pwdChangedTime", "20260101000000Z")][..], true),
        (&[("pwdLastSet", "133000000000000000")], true),
        (&[("entryUUID", "7f3c")], false),
        (&[], false),
    ] {
        let (listener, ldap) = directory().await;
        let found = entry("ann", values);
        let served = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(find(stream, Some(found.clone())));
            }
        });
        let access = access(ldap).tokens(
            TokenServer::ephemeral()
                .unwrap()
                .records(MemoryRecords::new()),
        );
        let mut headers = HeaderMap::new();
        headers.insert("authorization", basic("ann", "secret"));
        let sender = Sender::new(&headers, RequestOrigin::default());
        let answer = access.issue(&sender, &request).await.unwrap();
        assert_eq!(answer.refresh_token.is_some(), lasts, "{values:?}");
        served.abort();
    }
}

#[tokio::test]
async fn what_is_said_before_tls_is_not_taken_for_said_within() {
    let (listener, ldap) = directory().await;
    let served = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let injected = [TLS, BOUND, ANN, DONE].concat();
        answer(stream, vec![injected, vec![]]).await;
    });
    let certificate = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let ldap = ldap.start_tls().certificates(certificate.cert.pem());
    assert_eq!(
        login(&access(ldap), "ann").await,
        Err(ErrorKind::Unavailable)
    );
    served.await.unwrap();
}

#[tokio::test]
async fn a_port_where_nobody_listens_is_no_answer() {
    let (listener, ldap) = directory().await;
    drop(listener);
    assert_eq!(
        login(&access(ldap), "ann").await,
        Err(ErrorKind::Unavailable)
    );
}

#[test]
fn what_would_let_in_the_wrong_ones_is_refused_before() {
    let ldap = || Ldap::builder("ldap://localhost").base("dc=example");
    assert!(ldap().build().is_ok());
    for (wrong, expected) in [
        (Ldap::builder("ldap://ldap.example.com"), "clear text"),
        (
            Ldap::builder("http://localhost"),
            "no address of a directory",
        ),
        (ldap().filter("(objectClass=person)"), "{user}"),
        (ldap().filter("(uid={dn})"), "{user}"),
        (ldap().filter("uid={user}"), "no filter"),
        (
            ldap().groups("", "(objectClass=group)", "cn"),
            "every group",
        ),
        (ldap().groups("", "(member={dn}", "cn"), "no filter"),
        (ldap().bind("cn=a", Secret::new("")), "is empty"),
        (ldap().start_tls().certificates("nothing"), "no certificate"),
    ] {
        let shown = format!("{wrong:?}");
        let error = wrong.build().expect_err(&shown).to_string();
        assert!(error.contains(expected), "{error}");
    }
    for filter in [
        "(member={dn})",
        "(memberUid={user})",
        "(|(a={dn})(b={user}))",
    ] {
        assert!(ldap().groups("", filter, "cn").build().is_ok(), "{filter}");
    }
    let secret = format!("{:?}", ldap().bind("cn=a", Secret::new("canary")));
    assert!(!secret.contains("canary"), "{secret}");
}
