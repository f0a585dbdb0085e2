//! What becomes of whoever guesses passwords, or asks too often.
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

use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use futures::FutureExt;
use http::{HeaderMap, Method};
use registry_auth::{
    AccessControl, Authenticator, Caller, Credentials, Decision, GuardLimits, Htpasswd, Policy,
    Principal, Question, Rate, RateLimits, Rules, Sender, TokenRequest, TokenServer,
};
use registry_core::{Clock, Error, ErrorKind, Operation, RequestOrigin, Result};
use tempfile::TempDir;
use tokio::sync::Semaphore;

use self::sender::{basic, headers};

/// Goes on when it is told to.
#[derive(Debug, Clone)]
struct Watch(Arc<AtomicU64>);

impl Watch {
    fn new() -> Self {
        Self(Arc::new(AtomicU64::new(1_800_000_000_000)))
    }

    fn go(&self, time: Duration) {
        let time = u64::try_from(time.as_millis()).unwrap();
        self.0.fetch_add(time, Ordering::Relaxed);
    }
}

impl Clock for Watch {
    fn now(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(self.0.load(Ordering::Relaxed))
    }
}

/// Knows `ann` and `ben`, whose password is `right`, and counts how often it
/// has to look.
#[derive(Debug, Clone, Default)]
struct People {
    checks: Arc<AtomicUsize>,
    /// Nobody gets an answer as long as there is none.
    answers: Option<Arc<Semaphore>>,
    down: Arc<Mutex<bool>>,
}

#[async_trait]
impl Authenticator for People {
    async fn authenticate(&self, caller: &Caller<'_>) -> Result<Option<Principal>> {
        let Credentials::Basic { user, password } = caller.credentials else {
            return Ok(None);
        };
        caller.admit()?;
        self.checks.fetch_add(1, Ordering::Relaxed);
        if let Some(answers) = &self.answers {
            answers.acquire().await.unwrap().forget();
        }
        if *self.down.lock().unwrap() {
            return Err(ErrorKind::Unavailable.error("the directory is down"));
        }
        let known = ["ann", "ben"].contains(&user.as_str());
        Ok((known & password.matches("right")).then(|| Principal::new(user)))
    }
}

struct Door {
    access: AccessControl,
    watch: Watch,
    people: People,
}

impl Door {
    fn new() -> Self {
        Self::with(People::default())
    }

    fn with(people: People) -> Self {
        let watch = Watch::new();
        let access = AccessControl::new(Rules::new().sentence("users are readers of **"))
            .authenticator(people.clone())
            .clock(watch.clone());
        Self {
            access,
            watch,
            people,
        }
    }

    fn limited(mut self, limits: RateLimits) -> Self {
        self.access = self.access.rates(limits);
        self
    }

    /// Logs in with `ann:password` from an address.
    async fn knock(&self, pair: &str, address: &str) -> Result<(), Error> {
        knock(&self.access, pair, address).await
    }

    /// What comes of it, without the words.
    async fn outcome(&self, pair: &str, address: &str) -> Outcome {
        outcome(self.knock(pair, address).await)
    }

    fn checks(&self) -> usize {
        self.people.checks.load(Ordering::Relaxed)
    }
}

async fn knock(access: &AccessControl, pair: &str, address: &str) -> Result<(), Error> {
    let shown = pair
        .split_once(':')
        .map(|(user, password)| basic(user, password));
    let headers = headers(shown.as_deref());
    let origin = RequestOrigin {
        address: (!address.is_empty()).then(|| address.parse::<IpAddr>().unwrap()),
        ..RequestOrigin::default()
    };
    let operation = Operation::parse(&Method::GET, "/v2/", None).unwrap();
    let answer = access
        .authorize(&Sender::new(&headers, origin), &operation)
        .await;
    answer.map(drop).map_err(|refusal| refusal.error)
}

#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    In,
    Wrong,
    /// Seconds.
    Wait(u64),
}

fn outcome(answer: Result<(), Error>) -> Outcome {
    match answer {
        Ok(()) => Outcome::In,
        Err(error) if error.kind() == ErrorKind::Unauthorized => Outcome::Wrong,
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::TooManyRequests, "{error}");
            Outcome::Wait(error.retry_after().unwrap().as_secs())
        }
    }
}

const HERE: &str = "192.0.2.1";
const THERE: &str = "192.0.2.2";

#[tokio::test]
async fn a_name_spelt_otherwise_has_to_wait_too() {
    let door = Door::new();
    for name in ["ann", "Ann", "ANN", " ann", "ann  "] {
        let pair = format!("{name}:wrong");
        assert_eq!(door.outcome(&pair, HERE).await, Outcome::Wrong, "{name}");
    }
    assert_eq!(door.outcome("ann:right", HERE).await, Outcome::Wait(1));
    assert_eq!(door.outcome("aNN:wrong", HERE).await, Outcome::Wait(1));
}

#[tokio::test]
async fn a_name_waits_longer_and_longer_for_guesses_from_an_address() {
    // A name that nobody has is no exception.
    for name in ["ann", "nobody"] {
        let door = Door::new();
        let (wrong, right) = (format!("{name}:wrong"), format!("{name}:right"));
        for _ in 0..5 {
            assert_eq!(door.outcome(&wrong, HERE).await, Outcome::Wrong);
        }
        let delays = [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300];
        for (guesses, delay) in (5..).zip(delays) {
            // Not even the right one gets in.
            for pair in [&wrong, &right] {
                assert_eq!(door.outcome(pair, HERE).await, Outcome::Wait(delay));
            }
            door.watch.go(Duration::from_secs(delay - 1));
            assert_eq!(door.outcome(&wrong, HERE).await, Outcome::Wait(1));
            assert_eq!(door.checks(), guesses);
            door.watch.go(Duration::from_secs(1));
            assert_eq!(door.outcome(&wrong, HERE).await, Outcome::Wrong);
        }
        // Others go on.
        assert_eq!(door.outcome("ben:right", HERE).await, Outcome::In);
        if name == "ann" {
            assert_eq!(door.outcome(&right, THERE).await, Outcome::In);
        }
        door.watch.go(Duration::from_mins(15));
        for _ in 0..5 {
            assert_eq!(door.outcome(&wrong, HERE).await, Outcome::Wrong);
        }
    }
}

#[tokio::test]
async fn the_right_password_ends_the_waiting() {
    let door = Door::new();
    for _ in 0..3 {
        for _ in 0..4 {
            assert_eq!(door.outcome("ann:wrong", HERE).await, Outcome::Wrong);
        }
        assert_eq!(door.outcome("ann:right", HERE).await, Outcome::In);
    }
}

#[tokio::test]
async fn an_address_waits_after_guesses_for_many_names() {
    let door = Door::new();
    let (one, other) = ("2001:db8::1", "2001:db8::ffff");
    assert_eq!(door.outcome("ben:right", one).await, Outcome::In);
    door.watch.go(Duration::from_secs(7));
    for number in 0..50 {
        let pair = format!("user{number}:wrong");
        assert_eq!(door.outcome(&pair, one).await, Outcome::Wrong);
    }
    // The next addresses are of the same household.
    for address in [one, other] {
        assert_eq!(door.outcome("ann:right", address).await, Outcome::Wait(300));
        // Where somebody was let in before, others can't lock the door.
        assert_eq!(door.outcome("ben:right", address).await, Outcome::In);
    }
    assert_eq!(
        door.outcome("ann:right", "2001:db8:0:1::1").await,
        Outcome::In
    );
    door.watch.go(Duration::from_mins(5));
    assert_eq!(door.outcome("ann:right", one).await, Outcome::In);
}

#[tokio::test]
async fn a_name_waits_after_guesses_from_many_addresses_except_at_its_own() {
    let door = Door::new();
    assert_eq!(door.outcome("ann:right", HERE).await, Outcome::In);
    for number in 0..100 {
        let address = format!("198.51.100.{number}");
        assert_eq!(door.outcome("ann:wrong", &address).await, Outcome::Wrong);
    }
    assert_eq!(door.outcome("ann:right", THERE).await, Outcome::Wait(900));
    assert_eq!(door.outcome("ann:right", HERE).await, Outcome::In);
    assert_eq!(door.outcome("ben:right", THERE).await, Outcome::In);
    door.watch.go(Duration::from_mins(15));
    assert_eq!(door.outcome("ann:right", THERE).await, Outcome::In);

    // An address is its own for a day.
    door.watch.go(Duration::from_hours(24));
    for number in 0..100 {
        let address = format!("198.51.100.{number}");
        assert_eq!(door.outcome("ann:wrong", &address).await, Outcome::Wrong);
    }
    assert_eq!(door.outcome("ann:right", HERE).await, Outcome::Wait(900));
}

#[tokio::test]
async fn an_address_is_a_names_own_for_a_day_after_a_login_to_the_second() {
    let door = Door::new();
    assert_eq!(door.outcome("ann:right", HERE).await, Outcome::In);
    door.watch
        .go(Duration::from_hours(24) - Duration::from_secs(1));
    for number in 0..100 {
        let address = format!("198.51.100.{number}");
        assert_eq!(door.outcome("ann:wrong", &address).await, Outcome::Wrong);
    }
    // A guess makes it no longer.
    assert_eq!(door.outcome("ann:wrong", HERE).await, Outcome::Wrong);
    door.watch.go(Duration::from_secs(1));
    assert_eq!(door.outcome("ann:right", HERE).await, Outcome::Wait(899));
}

#[tokio::test]
async fn of_a_name_64_passwords_are_checked_at_once_except_at_its_own_addresses() {
    let answers = Arc::new(Semaphore::new(1));
    let door = Arc::new(Door::with(People {
        answers: Some(Arc::clone(&answers)),
        ..People::default()
    }));
    assert_eq!(door.outcome("ann:right", HERE).await, Outcome::In);
    let knock = |address: String| {
        let door = Arc::clone(&door);
        tokio::spawn(async move { door.outcome("ann:right", &address).await })
    };
    let mut waiting: Vec<_> = (0..64)
        .map(|number| knock(format!("198.51.100.{number}")))
        .collect();
    let let_all_knock = async || {
        for _ in 0..1000 {
            tokio::task::yield_now().await;
        }
    };
    let_all_knock().await;
    assert_eq!(door.checks(), 65);
    // It is told so at once.
    let refused = door.outcome("ann:right", THERE).now_or_never();
    assert_eq!(refused, Some(Outcome::Wait(1)));
    waiting.push(knock(HERE.to_owned()));
    let_all_knock().await;
    assert_eq!(door.checks(), 66);
    answers.add_permits(66);
    for knock in waiting {
        assert_eq!(knock.await.unwrap(), Outcome::In);
    }
    assert_eq!(door.outcome("ann:right", THERE).await, Outcome::In);
}

#[tokio::test]
async fn whoever_has_guessed_before_guesses_one_at_a_time() {
    let answers = Arc::new(Semaphore::new(5));
    let door = Arc::new(Door::with(People {
        answers: Some(Arc::clone(&answers)),
        ..People::default()
    }));
    for _ in 0..5 {
        assert_eq!(door.outcome("ann:wrong", HERE).await, Outcome::Wrong);
    }
    door.watch.go(Duration::from_secs(1));
    let guesses: Vec<_> = (0..20)
        .map(|_| {
            let door = Arc::clone(&door);
            tokio::spawn(async move { door.outcome("ann:wrong", HERE).await })
        })
        .collect();
    let mut outcomes = BTreeMap::new();
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
    assert_eq!(door.checks(), 6);
    answers.add_permits(20);
    for guess in guesses {
        *outcomes
            .entry(format!("{:?}", guess.await.unwrap()))
            .or_insert(0) += 1;
    }
    assert_eq!(
        outcomes,
        BTreeMap::from([("Wrong".into(), 1), ("Wait(1)".into(), 19)])
    );
}

#[tokio::test]
async fn one_attempt_is_one_guess_however_many_look_at_it() {
    let mut door = Door::new();
    let second = People::default();
    door.access = door.access.authenticator(second.clone());
    for _ in 0..5 {
        assert_eq!(door.outcome("ann:wrong", HERE).await, Outcome::Wrong);
    }
    assert_eq!(door.outcome("ann:wrong", HERE).await, Outcome::Wait(1));
    door.watch.go(Duration::from_secs(1));
    assert_eq!(door.outcome("ann:wrong", HERE).await, Outcome::Wrong);
    assert_eq!(door.checks(), 6);
    assert_eq!(second.checks.load(Ordering::Relaxed), 6);
}

#[tokio::test]
async fn what_was_broken_off_or_could_not_be_told_is_no_guess() {
    let door = Door::with(People {
        answers: Some(Arc::new(Semaphore::new(0))),
        ..People::default()
    });
    for _ in 0..100 {
        // The client goes away.
        let knock = door.knock("ann:wrong", HERE);
        tokio::select! {
            biased;
            _ = knock => panic!("there is no answer"),
            () = tokio::task::yield_now() => {}
        }
    }
    assert_eq!(door.checks(), 100);
    door.people.answers.as_ref().unwrap().add_permits(1000);
    *door.people.down.lock().unwrap() = true;
    for _ in 0..100 {
        let error = door.knock("ann:wrong", HERE).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
    }
    *door.people.down.lock().unwrap() = false;
    assert_eq!(door.outcome("ann:right", HERE).await, Outcome::In);
}

#[tokio::test]
async fn guesses_cost_as_much_as_the_limits_say() {
    let many = u32::MAX;
    for (longest, delays) in [
        (Duration::ZERO, &[1, 1, 1][..]),
        (Duration::from_secs(3), &[1, 2, 3, 3]),
        (
            Duration::from_hours(1),
            &[1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900],
        ),
    ] {
        let mut door = Door::new();
        door.access = door.access.guard(GuardLimits {
            free: 2,
            per_address: many,
            per_name: many,
            longest,
        });
        assert_eq!(door.outcome("ann:wrong", HERE).await, Outcome::Wrong);
        for delay in delays {
            assert_eq!(door.outcome("ann:wrong", HERE).await, Outcome::Wrong);
            assert_eq!(door.outcome("ann:right", HERE).await, Outcome::Wait(*delay));
            door.watch.go(Duration::from_secs(*delay));
        }
        assert_eq!(door.outcome("ann:right", HERE).await, Outcome::In);
    }
    // An address and a name wait for the rest of a while.
    for (per_address, per_name, rest) in [(3, many, 5), (many, 3, 15)] {
        let mut door = Door::new();
        door.access = door.access.guard(GuardLimits {
            free: many,
            per_address,
            per_name,
            longest: Duration::ZERO,
        });
        for _ in 0..3 {
            assert_eq!(door.outcome("ann:wrong", HERE).await, Outcome::Wrong);
        }
        assert_eq!(
            door.outcome("ann:right", HERE).await,
            Outcome::Wait(rest * 60)
        );
    }
}

#[tokio::test]
async fn nobody_is_slowed_down_where_it_was_said_so() {
    let mut door = Door::new();
    door.access = door.access.guard(GuardLimits::NONE);
    for _ in 0..500 {
        assert_eq!(door.outcome("ann:wrong", HERE).await, Outcome::Wrong);
    }
    assert_eq!(door.outcome("ann:right", HERE).await, Outcome::In);
}

/// Otherwise anybody would lock out everybody, as all come from the same place.
#[tokio::test]
async fn without_an_address_nobody_waits_for_the_guesses_of_others() {
    let door = Door::new();
    for _ in 0..200 {
        assert_eq!(door.outcome("ann:wrong", "").await, Outcome::Wrong);
    }
    for address in ["", HERE] {
        assert_eq!(door.outcome("ann:right", address).await, Outcome::In);
    }
    // Nor is any place one of a name's own since somebody got in without an address.
    for _ in 0..5 {
        assert_eq!(door.outcome("ann:wrong", THERE).await, Outcome::Wrong);
    }
    assert_eq!(door.outcome("ann:right", THERE).await, Outcome::Wait(1));
    assert_eq!(door.outcome("ann:right", "").await, Outcome::In);
}

#[tokio::test]
async fn without_an_address_any_number_of_passwords_is_checked_at_once() {
    let answers = Arc::new(Semaphore::new(0));
    let door = Arc::new(Door::with(People {
        answers: Some(Arc::clone(&answers)),
        ..People::default()
    }));
    let guesses: Vec<_> = (0..100)
        .map(|_| {
            let door = Arc::clone(&door);
            tokio::spawn(async move { door.outcome("ann:wrong", "").await })
        })
        .collect();
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
    answers.add_permits(101);
    assert_eq!(door.outcome("ann:right", "").await, Outcome::In);
    for guess in guesses {
        assert_eq!(guess.await.unwrap(), Outcome::Wrong);
    }
}

/// Knows `ann` by an id that nobody guesses, so that nobody has to be slowed down.
#[derive(Debug)]
struct Session;

#[async_trait]
impl Authenticator for Session {
    async fn authenticate(&self, caller: &Caller<'_>) -> Result<Option<Principal>> {
        let Credentials::Basic { user, password } = caller.credentials else {
            return Ok(None);
        };
        let is_right = user == "ann" && password.matches("right");
        Ok(is_right.then(|| Principal::new(user)))
    }
}

#[tokio::test]
async fn what_nobody_checks_as_a_password_is_no_guess() {
    let access =
        AccessControl::new(Rules::new().sentence("users are readers of **")).authenticator(Session);
    let knock = async |pair: &str| outcome(knock(&access, pair, HERE).await);
    for _ in 0..200 {
        assert_eq!(knock("ann:wrong").await, Outcome::Wrong);
    }
    assert_eq!(knock("ann:right").await, Outcome::In);
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
async fn the_right_password_of_somebody_disabled_counts_as_a_wrong_one() {
    let mut door = Door::new();
    door.access = door.access.policy(WithoutAnn);
    for _ in 0..5 {
        assert_eq!(door.outcome("ann:right", HERE).await, Outcome::Wrong);
    }
    assert_eq!(door.outcome("ann:right", HERE).await, Outcome::Wait(1));
}

/// A door that remembers right passwords, and the directory of its password file.
fn remembering() -> (AccessControl, TempDir) {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("users");
    fs::write(
        &path,
        format!("ann:{}\n", bcrypt::hash("right", 4).unwrap()),
    )
    .unwrap();
    let access = AccessControl::new(Rules::new().sentence("users are readers of **"))
        .authenticator(Htpasswd::open(path).unwrap())
        .clock(Watch::new());
    (access, directory)
}

#[tokio::test]
async fn a_remembered_password_is_good_at_its_own_addresses_only_while_others_guess() {
    let (access, _directory) = remembering();
    let knock = async |pair: &str, address: &str| outcome(knock(&access, pair, address).await);
    assert_eq!(knock("ann:right", HERE).await, Outcome::In);
    for address in [HERE, THERE] {
        for _ in 0..5 {
            assert_eq!(knock("ann:wrong", address).await, Outcome::Wrong);
        }
        assert_eq!(knock("ann:wrong", address).await, Outcome::Wait(1));
    }
    // Otherwise the guesses would go on, until one is right.
    assert_eq!(knock("ann:right", THERE).await, Outcome::Wait(1));
    assert_eq!(knock("ann:right", HERE).await, Outcome::In);
    // That, too, ends at some time.
    for _ in 0..9_998 {
        assert_eq!(knock("ann:wrong", HERE).await, Outcome::Wait(1));
    }
    assert_eq!(knock("ann:right", HERE).await, Outcome::In);
    assert_eq!(knock("ann:wrong", HERE).await, Outcome::Wait(1));
    assert_eq!(knock("ann:right", HERE).await, Outcome::Wait(1));
}

#[tokio::test]
async fn a_remembered_password_makes_an_address_one_of_the_names_own() {
    let (access, _directory) = remembering();
    let knock = async |pair: &str, address: &str| outcome(knock(&access, pair, address).await);
    for address in [HERE, THERE] {
        assert_eq!(knock("ann:right", address).await, Outcome::In);
    }
    for number in 0..100 {
        let address = format!("198.51.100.{number}");
        assert_eq!(knock("ann:wrong", &address).await, Outcome::Wrong);
    }
    for address in [HERE, THERE] {
        assert_eq!(knock("ann:right", address).await, Outcome::In);
    }
    assert_eq!(knock("ann:right", "203.0.113.9").await, Outcome::Wait(900));
}

/// Checks the right password once, and remembers it for ever.
#[derive(Debug, Default)]
struct Remembering(AtomicBool);

#[async_trait]
impl Authenticator for Remembering {
    async fn authenticate(&self, caller: &Caller<'_>) -> Result<Option<Principal>> {
        let Credentials::Basic { user, password } = caller.credentials else {
            return Ok(None);
        };
        let is_right = password.matches("right");
        if !is_right || !self.0.load(Ordering::Relaxed) {
            caller.admit()?;
        }
        self.0.fetch_or(is_right, Ordering::Relaxed);
        Ok(is_right.then(|| Principal::new(user)))
    }
}

/// A door behind which a right password is remembered, and what its clock shows.
fn remembering_for_ever() -> (AccessControl, Watch) {
    let watch = Watch::new();
    let access = AccessControl::new(Rules::new().sentence("users are readers of **"))
        .authenticator(Remembering::default())
        .clock(watch.clone());
    (access, watch)
}

#[tokio::test]
async fn how_often_somebody_had_to_wait_is_forgotten_with_the_guesses() {
    let (access, watch) = remembering_for_ever();
    let knock = async |pair: &str| outcome(knock(&access, pair, HERE).await);
    assert_eq!(knock("ann:right").await, Outcome::In);
    for _ in 0..5 {
        assert_eq!(knock("ann:wrong").await, Outcome::Wrong);
    }
    for _ in 0..9_998 {
        assert_eq!(knock("ann:wrong").await, Outcome::Wait(1));
    }
    // Not with the second.
    watch.go(Duration::from_secs(1));
    assert_eq!(knock("ann:wrong").await, Outcome::Wrong);
    assert_eq!(knock("ann:wrong").await, Outcome::Wait(2));
    assert_eq!(knock("ann:right").await, Outcome::In);
    assert_eq!(knock("ann:wrong").await, Outcome::Wait(2));
    assert_eq!(knock("ann:right").await, Outcome::Wait(2));

    watch.go(Duration::from_mins(15));
    for _ in 0..5 {
        assert_eq!(knock("ann:wrong").await, Outcome::Wrong);
    }
    assert_eq!(knock("ann:wrong").await, Outcome::Wait(1));
    assert_eq!(knock("ann:right").await, Outcome::In);
}

#[tokio::test]
async fn a_remembered_password_prolongs_a_day_of_which_half_is_over() {
    for (hours, outcome_later) in [(11, Outcome::Wait(900)), (13, Outcome::In)] {
        let (access, watch) = remembering_for_ever();
        let knock = async |pair: &str, address: &str| outcome(knock(&access, pair, address).await);
        assert_eq!(knock("ann:right", HERE).await, Outcome::In);
        watch.go(Duration::from_hours(hours));
        assert_eq!(knock("ann:right", HERE).await, Outcome::In);
        watch.go(Duration::from_hours(30 - hours));
        for number in 0..100 {
            let address = format!("198.51.100.{number}");
            assert_eq!(knock("ann:wrong", &address).await, Outcome::Wrong);
        }
        assert_eq!(knock("ann:right", HERE).await, outcome_later, "{hours}");
    }
}

#[tokio::test]
async fn whoever_has_to_wait_ends_neither_its_own_waiting_nor_the_trust_in_others() {
    let door = Door::new();
    assert_eq!(door.outcome("ben:right", HERE).await, Outcome::In);
    for number in 0..50 {
        let pair = format!("name{number}:wrong");
        assert_eq!(door.outcome(&pair, THERE).await, Outcome::Wrong);
    }
    // More than there is room for.
    for number in 0..140_000 {
        let pair = format!("name{number}:wrong");
        assert_eq!(door.outcome(&pair, THERE).await, Outcome::Wait(300));
    }
    for number in 0..100 {
        let address = format!("198.51.100.{number}");
        assert_eq!(door.outcome("ben:wrong", &address).await, Outcome::Wrong);
    }
    assert_eq!(door.outcome("ben:right", HERE).await, Outcome::In);
}

#[tokio::test]
async fn an_address_and_an_identity_ask_at_their_rate() {
    let per_address = Door::new().limited(RateLimits {
        per_address: Some(Rate::per_second(10).burst(3)),
        per_identity: None,
    });
    for _ in 0..3 {
        assert_eq!(per_address.outcome("", "2001:db8::1").await, Outcome::Wrong);
    }
    assert_eq!(
        per_address.outcome("", "2001:db8::2").await,
        Outcome::Wait(1)
    );
    assert_eq!(per_address.outcome("", HERE).await, Outcome::Wrong);
    assert_eq!(per_address.outcome("", "").await, Outcome::Wrong);
    per_address.watch.go(Duration::from_millis(100));
    assert_eq!(per_address.outcome("", "2001:db8::1").await, Outcome::Wrong);
    assert_eq!(
        per_address.outcome("", "2001:db8::1").await,
        Outcome::Wait(1)
    );
    // It doesn't add up to more than were said.
    per_address.watch.go(Duration::from_hours(1));
    for _ in 0..3 {
        assert_eq!(per_address.outcome("", "2001:db8::1").await, Outcome::Wrong);
    }
    assert_eq!(
        per_address.outcome("", "2001:db8::1").await,
        Outcome::Wait(1)
    );

    // Also what is no operation, such as a page of the program's own.
    let headers = headers(None);
    let sender = |address: &str| {
        let origin = RequestOrigin {
            address: Some(address.parse().unwrap()),
            ..RequestOrigin::default()
        };
        Sender::new(&headers, origin)
    };
    for _ in 0..3 {
        per_address.access.count(&sender(THERE)).unwrap();
    }
    let refused = per_address.access.count(&sender(THERE)).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::TooManyRequests);

    let per_identity = Door::new().limited(RateLimits {
        per_address: None,
        per_identity: Some(Rate::per_second(2)),
    });
    for address in [HERE, THERE] {
        assert_eq!(
            per_identity.outcome("ann:right", address).await,
            Outcome::In
        );
    }
    assert_eq!(
        per_identity.outcome("ann:right", HERE).await,
        Outcome::Wait(1)
    );
    assert_eq!(per_identity.outcome("ben:right", HERE).await, Outcome::In);
    for _ in 0..10 {
        assert_eq!(per_identity.outcome("", HERE).await, Outcome::Wrong);
    }
    per_identity.watch.go(Duration::from_millis(500));
    assert_eq!(per_identity.outcome("ann:right", HERE).await, Outcome::In);
}

/// The same where tokens are given out.
#[tokio::test]
async fn whoever_asks_for_tokens_is_counted_however_it_asks() {
    let per_address = RateLimits {
        per_address: Some(Rate::per_second(3)),
        per_identity: None,
    };
    let per_identity = RateLimits {
        per_address: None,
        per_identity: Some(Rate::per_second(3)),
    };
    let headers = HeaderMap::new();
    for limits in [per_address, per_identity] {
        let door = Door::new().limited(limits);
        let access = door.access.tokens(TokenServer::ephemeral().unwrap());
        let form = b"grant_type=password&username=ann&password=right&service=registry&client_id=x";
        let request = TokenRequest::from_form(form).unwrap();
        let issue = async || {
            let origin = RequestOrigin {
                address: Some(HERE.parse().unwrap()),
                ..RequestOrigin::default()
            };
            let answer = access.issue(&Sender::new(&headers, origin), &request).await;
            outcome(answer.map(drop).map_err(|refusal| refusal.error))
        };
        for _ in 0..3 {
            assert_eq!(issue().await, Outcome::In, "{limits:?}");
        }
        assert_eq!(issue().await, Outcome::Wait(1), "{limits:?}");
    }
}
