//! The very second at which something ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::Method;
use registry_auth::{AccessControl, MemoryRecords, Principal, TokenServer};
use registry_core::{Clock, SystemClock};

use crate::refresh::{login, redeem, unauthorized};
use crate::support::{People, ann, ask, basic, bearer, challenge, issue, rules};

const DAY: Duration = Duration::from_hours(24);

/// Shows whole seconds, and is set ahead by hand.
#[derive(Debug, Clone)]
struct Still(Arc<AtomicU64>);

impl Still {
    fn new() -> Self {
        let now = SystemClock.now().duration_since(UNIX_EPOCH).unwrap();
        Self(Arc::new(AtomicU64::new(now.as_secs())))
    }

    fn go(&self, time: Duration) {
        self.0.fetch_add(time.as_secs(), Ordering::Relaxed);
    }
}

impl Clock for Still {
    fn now(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(self.0.load(Ordering::Relaxed))
    }
}

#[tokio::test]
async fn a_login_ends_with_its_lifetime_also_where_that_is_shorter_by_now() {
    let clock = Still::new();
    let records = Arc::new(MemoryRecords::new().clock(clock.clone()));
    let access = |lifetime| {
        let server = TokenServer::ephemeral().unwrap();
        let server = server.refresh_lifetime(lifetime).unwrap();
        AccessControl::new(rules())
            .authenticator(People::of([ann()]))
            .tokens(server.records(Arc::clone(&records)))
            .clock(clock.clone())
    };
    let (before, now) = (access(2 * DAY), access(DAY));
    let tokens = [login(&before, "ann").await, login(&before, "ann").await];
    clock.go(Duration::from_secs(24 * 3600 - 1));
    redeem(&now, &tokens[0], "").await.unwrap();
    clock.go(Duration::from_secs(1));
    for token in &tokens {
        unauthorized(redeem(&now, token, "").await);
    }
    redeem(&before, &tokens[1], "").await.unwrap();
}

#[tokio::test]
async fn tokens_of_the_second_after_a_revocation_are_good() {
    let clock = Still::new();
    let server = TokenServer::ephemeral().unwrap();
    let server = server.records(MemoryRecords::new().clock(clock.clone()));
    let access = AccessControl::new(rules())
        .authenticator(People::of([ann()]))
        .tokens(server)
        .clock(clock.clone());
    let get = async || {
        let answer = issue(&access, Some(&basic("ann", "ann")), "").await;
        bearer(&answer.unwrap())
    };
    let ping = async |token: &str| ask(&access, Some(token), Method::GET, "/v2/").await;
    for everybodys in [false, true] {
        clock.go(Duration::from_mins(1));
        let before = get().await;
        ping(&before).await.unwrap();
        if everybodys {
            access.revoke_everybodys().await.unwrap();
        } else {
            access.revoke_all(&Principal::new("ann")).await.unwrap();
        }
        let within = get().await;
        clock.go(Duration::from_secs(1));
        let after = get().await;
        for ended in [before, within] {
            challenge(ping(&ended).await);
        }
        ping(&after).await.unwrap();
    }
}
