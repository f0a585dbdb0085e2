//! Many who wait for a directory.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use registry_auth::{Authenticator, Principal, Standing};
use registry_core::ErrorKind;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;

use crate::directory::{BOUND, DONE, Tap, entry};
use crate::{access_by, directory, login};

#[tokio::test]
async fn a_silent_directory_is_given_up_and_only_so_many_wait_for_it() {
    let (listener, ldap) = directory().await;
    let silent = tokio::spawn(async move {
        let mut streams = Vec::new();
        loop {
            streams.push(listener.accept().await.unwrap());
        }
    });
    let ldap = Arc::new(ldap.timeout(Duration::from_millis(300)).build().unwrap());
    let access = access_by(Arc::clone(&ldap));
    let names: Vec<_> = (0..80).map(|number| format!("user{number}")).collect();
    let logins = join_all(names.iter().map(async |name| {
        let answer = login(&access, name).await;
        answer.expect_err("no answer")
    }));
    let standings = join_all(names.iter().map(async |name| {
        let answer = ldap.standing(&Principal::new(name)).await;
        answer.expect_err("no answer").kind()
    }));
    let of = |answers: &[ErrorKind], kind| answers.iter().filter(|said| **said == kind).count();
    for (answers, waited) in [(logins.await, 67), (standings.await, 68)] {
        assert_eq!(of(&answers, ErrorKind::Unavailable), waited);
        assert_eq!(of(&answers, ErrorKind::TooManyRequests), 80 - waited);
    }
    silent.abort();
}

/// Finds `ann`, but doesn't answer whoever logs in by a name. Tells of each of those.
async fn find_only(mut stream: TcpStream, logins: UnboundedSender<()>) {
    let mut request = [0; 4096];
    while let Ok(read @ 1..) = stream.read(&mut request).await {
        let start = if request[1] < 0x80 {
            2
        } else {
            2 + usize::from(request[1] & 0x7f)
        };
        let (id, operation) = (request[start + 2], request[start + 3]);
        let is_nobody = request[..read].ends_with(b"\x04\x00\x80\x00");
        let answer = match operation {
            0x60 if is_nobody => BOUND.to_vec().tap(4, id),
            0x60 => {
                let _ = logins.send(());
                pending().await
            }
            _ => [entry("ann", &[]).tap(4, id), DONE.to_vec().tap(4, id)].concat(),
        };
        stream.write_all(&answer).await.unwrap();
    }
}

#[tokio::test]
async fn users_are_looked_up_while_logins_hold_all_their_places() {
    let (listener, ldap) = directory().await;
    let (held, mut holds) = unbounded_channel();
    let served = tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(find_only(stream, held.clone()));
        }
    });
    let ldap = Arc::new(ldap.timeout(Duration::from_hours(1)).build().unwrap());
    let access = Arc::new(access_by(Arc::clone(&ldap)));
    let mut logins = JoinSet::new();
    for number in 0..100 {
        let access = Arc::clone(&access);
        logins.spawn(async move { login(&access, &format!("user{number}")).await });
    }
    // There is no place left for one who logs in, and three wait for the directory.
    let refused = logins.join_next().await.unwrap().unwrap();
    assert_eq!(refused, Err(ErrorKind::TooManyRequests));
    for _ in 0..3 {
        holds.recv().await.unwrap();
    }
    let standing = ldap.standing(&Principal::new("ann")).await.unwrap();
    assert!(matches!(standing, Standing::Current(_)), "{standing:?}");
    served.abort();
}
