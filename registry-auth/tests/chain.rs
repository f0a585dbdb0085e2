//! Several who know users by their passwords: a password file, then a directory.
#![cfg(all(feature = "htpasswd", feature = "ldap"))]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test fails by panicking"
)]

#[path = "common/directory.rs"]
mod directory;
#[path = "common/sender.rs"]
mod sender;

use std::fs;
use std::net::IpAddr;
use std::time::Duration;

use registry_auth::{AccessControl, Htpasswd, Ldap, Policy, Principal, Rules, Sender};
use registry_auth::{Decision, Question};
use registry_core::{ErrorKind, RequestOrigin};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::time::sleep;

use self::directory::{entry, find};
use self::sender::{basic, headers};

/// Where nobody has guessed before.
const HERE: &str = "192.0.2.1";

/// With `ann` and `ben` in a password file, whose passwords are `right`, and a
/// directory that listens nowhere yet.
async fn chain() -> (AccessControl, TcpListener, TempDir) {
    let files = TempDir::new().unwrap();
    let path = files.path().join("users");
    let hash = bcrypt::hash("right", 4).unwrap();
    fs::write(&path, format!("ann:{hash}\nben:{hash}\n")).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let ldap = Ldap::builder(format!("ldap://{}", listener.local_addr().unwrap()))
        .base("dc=example")
        .timeout(Duration::from_secs(30))
        .build()
        .unwrap();
    let access = AccessControl::new(Rules::new().sentence("users are readers of **"))
        .authenticator(Htpasswd::open(path).unwrap())
        .authenticator(ldap);
    (access, listener, files)
}

/// Who that is, or all that is said about why it is nobody.
async fn knock(access: &AccessControl, user: &str, password: &str) -> Result<Principal, String> {
    let headers = headers(Some(&basic(user, password)));
    let origin = RequestOrigin {
        address: Some(HERE.parse::<IpAddr>().unwrap()),
        ..RequestOrigin::default()
    };
    let known = access.identify(&Sender::new(&headers, origin)).await;
    known
        .map(|known| known.expect("somebody"))
        .map_err(|refusal| format!("{:?}: {refusal:?}", refusal.error.kind()))
}

fn is(answer: &Result<Principal, String>, kind: ErrorKind) -> bool {
    let start = format!("{kind:?}: ");
    answer.as_ref().is_err_and(|said| said.starts_with(&start))
}

/// What is answered to a login, and how often a directory that has `entry` is asked
/// for it.
async fn asked(
    access: AccessControl,
    listener: &TcpListener,
    entry: Option<Vec<u8>>,
    (user, password): (&str, &str),
) -> (Result<Principal, String>, usize) {
    let login = async {
        let answer = knock(&access, user, password).await;
        drop(access);
        answer
    };
    tokio::pin!(login);
    let stream = tokio::select! {
        answer = &mut login => return (answer, 0),
        accepted = listener.accept() => accepted.unwrap().0,
    };
    tokio::join!(login, find(stream, entry))
}

#[tokio::test]
async fn s_46_the_directory_is_asked_as_much_about_names_of_the_password_file() {
    let mut refusals = Vec::new();
    for user in ["ann", "eve"] {
        let (access, listener, _files) = chain().await;
        refusals.push(asked(access, &listener, None, (user, "wrong")).await);
    }
    assert!(is(&refusals[0].0, ErrorKind::Unauthorized), "{refusals:?}");
    assert!(refusals[0].1 >= 2, "{refusals:?}");
    assert_eq!(refusals[0], refusals[1]);
    // A right password goes nowhere else.
    let (access, listener, _files) = chain().await;
    let (ann, count) = asked(access, &listener, None, ("ann", "right")).await;
    assert_eq!(ann.unwrap().source(), "htpasswd");
    assert_eq!(count, 0);
}

#[tokio::test]
async fn s_46_while_the_directory_is_away_a_wrong_password_is_answered_as_an_unknown_name() {
    let (access, listener, _files) = chain().await;
    drop(listener);
    for _ in 0..5 {
        let ann = knock(&access, "ann", "wrong").await;
        assert!(is(&ann, ErrorKind::Unavailable), "{ann:?}");
        assert_eq!(ann, knock(&access, "eve", "wrong").await);
    }
    // Nor is that a way to guess on and on.
    let ann = knock(&access, "ann", "wrong").await;
    assert!(is(&ann, ErrorKind::TooManyRequests), "{ann:?}");
    assert_eq!(ann, knock(&access, "eve", "wrong").await);
    // Passwords of the file go on.
    assert!(knock(&access, "ben", "right").await.is_ok());
}

#[tokio::test]
async fn a_password_of_the_directory_opens_nothing_under_a_name_of_the_file() {
    let found = Some(entry("ann", &[]));
    let (access, listener, _files) = chain().await;
    let (ann, count) = asked(access, &listener, found.clone(), ("ann", "theirs")).await;
    assert!(is(&ann, ErrorKind::Unauthorized), "{ann:?}");
    assert!(count > 2, "it was right there");

    let (access, listener, _files) = chain().await;
    let (eve, _) = asked(
        access,
        &listener,
        Some(entry("eve", &[])),
        ("eve", "theirs"),
    )
    .await;
    assert_eq!(eve.unwrap().source(), "ldap");
}

/// Ann is to be let in no more.
#[derive(Debug)]
struct WithoutAnn;

impl Policy for WithoutAnn {
    fn decide(&self, _: &Question<'_>) -> Decision {
        Decision::ABSTAIN
    }

    fn is_disabled(&self, principal: &Principal) -> bool {
        principal.name() == "ann"
    }
}

#[tokio::test]
async fn the_right_password_of_somebody_disabled_is_taken_on_as_far_as_a_wrong_one() {
    let mut refusals = Vec::new();
    for password in ["right", "wrong"] {
        let (access, listener, _files) = chain().await;
        let access = access.policy(WithoutAnn);
        refusals.push(asked(access, &listener, None, ("ann", password)).await);
    }
    assert!(is(&refusals[0].0, ErrorKind::Unauthorized), "{refusals:?}");
    assert!(refusals[0].1 >= 2, "{refusals:?}");
    assert_eq!(refusals[0], refusals[1]);
}

#[tokio::test]
async fn who_hangs_up_before_the_refusal_has_guessed_all_the_same() {
    let (access, listener, _files) = chain().await;
    for _ in 0..5 {
        tokio::select! {
            answer = knock(&access, "ann", "wrong") => panic!("{answer:?}"),
            // The file has said no, so the directory is asked.
            accepted = listener.accept() => drop(accepted.unwrap()),
        }
    }
    let ann = knock(&access, "ann", "wrong").await;
    assert!(is(&ann, ErrorKind::TooManyRequests), "{ann:?}");

    // A directory that says no is no other.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let ldap = Ldap::builder(format!("ldap://{}", listener.local_addr().unwrap()));
    let access =
        AccessControl::new(Rules::new()).authenticator(ldap.base("dc=example").build().unwrap());
    let served = tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(find(stream, None));
        }
    });
    for _ in 0..200 {
        tokio::select! {
            answer = knock(&access, "ann", "wrong") => {
                assert!(is(&answer, ErrorKind::TooManyRequests), "{answer:?}");
                served.abort();
                return;
            }
            () = sleep(Duration::from_millis(100)) => {}
        }
    }
    panic!("nobody was made to wait");
}
