//! A review that everybody asks at once.
#![cfg(feature = "webhook")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test fails by panicking"
)]

#[path = "common/sender.rs"]
mod sender;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use http::Method;
use registry_auth::{
    AccessControl, Decision, FairReview, Login, Principal, Question, Refusal, Review, Rules, Sender,
};
use registry_core::{Action, Actions, ErrorKind, Operation, RequestOrigin, Result};
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, yield_now};
use tokio::time::{advance, timeout};

use self::sender::{basic, headers};

/// Allows everything, once it is told to.
#[derive(Debug, Clone)]
struct Slow {
    asked: Arc<AtomicUsize>,
    answers: Arc<Semaphore>,
}

#[async_trait]
impl Review for Slow {
    async fn review(&self, _: &Question<'_>, _: Actions) -> Result<Decision> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        self.answers.acquire().await.unwrap().forget();
        Ok(Decision::allow(Action::Pull))
    }
}

/// Who asks for something, and what comes of it.
type Asking = JoinHandle<Result<(), (ErrorKind, Option<Duration>)>>;

/// A registry whose review has eight places.
struct Registry {
    access: AccessControl,
    slow: Slow,
}

impl Registry {
    fn new() -> Self {
        let slow = Slow {
            asked: Arc::default(),
            answers: Arc::new(Semaphore::new(0)),
        };
        let users = Login::new(|user, _| async move { Some(Principal::new(user)) });
        Self {
            access: AccessControl::new(Rules::new())
                .authenticator(users)
                .review(FairReview::new(slow.clone(), 8)),
            slow,
        }
    }

    /// Somebody asks for something, and all that comes of it by itself has.
    async fn ask(&self, user: Option<&str>, address: &str) -> Asking {
        let access = self.access.clone();
        let headers = headers(user.map(|user| basic(user, "secret")).as_deref());
        let origin = RequestOrigin {
            address: Some(address.parse().unwrap()),
            ..RequestOrigin::default()
        };
        let asking = tokio::spawn(async move {
            let path = "/v2/a/manifests/b";
            let operation = Operation::parse(&Method::GET, path, None).unwrap();
            let sender = Sender::new(&headers, origin);
            let answer = access.authorize(&sender, &operation).await;
            answer
                .map(drop)
                .map_err(|refusal: Refusal| (refusal.error.kind(), refusal.error.retry_after()))
        });
        settle().await;
        asking
    }

    /// How many questions the review was asked.
    fn asked(&self) -> usize {
        self.slow.asked.load(Ordering::SeqCst)
    }

    async fn answer(&self, count: usize) {
        self.slow.answers.add_permits(count);
        settle().await;
    }
}

/// What comes of it in the end.
async fn end(asking: Asking) -> Result<(), (ErrorKind, Option<Duration>)> {
    let answer = timeout(Duration::from_mins(1), asking).await;
    answer.expect("an end").unwrap()
}

async fn settle() {
    for _ in 0..64 {
        yield_now().await;
    }
}

const SECOND: Option<Duration> = Some(Duration::from_secs(1));

#[tokio::test(start_paused = true)]
async fn no_address_has_more_than_a_quarter_of_the_places() {
    let registry = Registry::new();
    for _ in 0..5 {
        registry.ask(None, "192.0.2.1").await;
    }
    assert_eq!(registry.asked(), 2);
    registry.ask(None, "192.0.2.2").await;
    assert_eq!(registry.asked(), 3);
    // One household, whoever is at home.
    for (user, address) in [
        ("ann", "2001:db8::1"),
        ("ben", "2001:db8::2"),
        ("cid", "2001:db8::3"),
    ] {
        registry.ask(Some(user), address).await;
    }
    assert_eq!(registry.asked(), 5);
    registry.ask(Some("cid"), "2001:db8:0:1::1").await;
    assert_eq!(registry.asked(), 6);
}

#[tokio::test(start_paused = true)]
async fn nobody_known_has_more_than_a_quarter_of_the_places() {
    let registry = Registry::new();
    for number in 1..=5 {
        registry
            .ask(Some("ann"), &format!("192.0.2.{number}"))
            .await;
    }
    assert_eq!(registry.asked(), 2);
    registry.ask(Some("ben"), "192.0.2.1").await;
    assert_eq!(registry.asked(), 3);
}

#[tokio::test(start_paused = true)]
async fn who_logged_in_finds_room_whatever_anonymous_callers_ask() {
    let registry = Registry::new();
    let mut waiting = Vec::new();
    for number in 0..200 {
        waiting.push(registry.ask(None, &format!("192.0.2.{number}")).await);
    }
    assert_eq!(registry.asked(), 4);
    // Also where they are.
    for (user, address) in [("ann", "192.0.2.0"), ("ben", "192.0.2.1")] {
        registry.ask(Some(user), address).await;
    }
    assert_eq!(registry.asked(), 6);
    // They don't fill the line either.
    let refused = waiting.extract_if(.., |asking| asking.is_finished());
    let refused: Vec<_> = refused.collect();
    assert_eq!(refused.len(), 200 - 4 - 16);
    for asking in refused {
        assert_eq!(end(asking).await, Err((ErrorKind::Unavailable, SECOND)));
    }
}

#[tokio::test(start_paused = true)]
async fn who_finds_no_place_waits_for_one_in_a_line_that_ends() {
    let registry = Registry::new();
    let mut all = Vec::new();
    for _ in 0..11 {
        all.push(registry.ask(None, "192.0.2.1").await);
    }
    // Two are asked about, and eight wait.
    let refused = all.pop().unwrap();
    assert!(refused.is_finished());
    let too_many = Err((ErrorKind::TooManyRequests, SECOND));
    assert_eq!(end(refused).await, too_many);
    assert!(all.iter().all(|asking| !asking.is_finished()));
    // Nobody else waits behind them.
    registry.ask(None, "192.0.2.2").await;
    assert_eq!(registry.asked(), 3);
    // Each answer lets in the next.
    registry.answer(1).await;
    assert_eq!(registry.asked(), 4);
    assert_eq!(end(all.remove(0)).await, Ok(()));
    // Who leaves the line makes room in it.
    all.push(registry.ask(None, "192.0.2.1").await);
    let refused = registry.ask(None, "192.0.2.1").await;
    assert_eq!(end(refused).await, too_many);
    let left = all.remove(5);
    left.abort();
    assert!(left.await.unwrap_err().is_cancelled());
    all.push(registry.ask(None, "192.0.2.1").await);
    assert!(all.iter().all(|asking| !asking.is_finished()));
    registry.answer(20).await;
    for asking in all {
        assert_eq!(end(asking).await, Ok(()));
    }
    // All places are free again.
    assert_eq!(registry.asked(), 12);
    for _ in 0..2 {
        registry.ask(None, "192.0.2.1").await;
    }
    assert_eq!(registry.asked(), 14);
}

#[tokio::test(start_paused = true)]
async fn who_waits_in_vain_is_told_whose_places_are_taken() {
    let registry = Registry::new();
    let mut all = Vec::new();
    for number in [1, 1, 1, 2, 2, 3] {
        all.push(registry.ask(None, &format!("192.0.2.{number}")).await);
    }
    advance(Duration::from_millis(4999)).await;
    settle().await;
    assert!(all.iter().all(|asking| !asking.is_finished()));
    advance(Duration::from_millis(1)).await;
    settle().await;
    let kinds = [all.remove(2), all.pop().unwrap()];
    assert!(all.iter().all(|asking| !asking.is_finished()));
    let [same, other] = kinds;
    assert_eq!(end(same).await, Err((ErrorKind::TooManyRequests, SECOND)));
    assert_eq!(end(other).await, Err((ErrorKind::Unavailable, SECOND)));
}
