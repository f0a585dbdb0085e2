//! Refresh tokens, and the end of tokens before their time.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use futures::future::join_all;
use http::{HeaderMap, Method};
use registry_auth::{
    AccessControl, Decision, Login, MemoryRecords, Policy, Principal, Question, Refusal, Secret,
    Sender, TokenAnswer, TokenRequest, TokenServer,
};
use registry_core::{
    Clock, ErrorKind, Expected, PageRequest, Records, RequestOrigin, Result, SystemClock,
};

use crate::store::Watched;
use crate::support::{Ahead, People, ann, ask, basic, bearer, challenge, issue, rules};

struct Scene {
    people: People,
    records: Arc<MemoryRecords>,
    clock: Ahead,
    access: AccessControl,
}

fn scene() -> Scene {
    let clock = Ahead::default();
    let records = Arc::new(MemoryRecords::new().clock(clock.clone()));
    let people = People::of([ann(), Principal::new("ben"), Principal::robot("ci")]);
    let server = TokenServer::ephemeral()
        .unwrap()
        .records(Arc::clone(&records));
    let access = AccessControl::new(rules())
        .authenticator(people.clone())
        .tokens(server)
        .clock(clock.clone());
    Scene {
        people,
        records,
        clock,
        access,
    }
}

const LOGIN: &str = "offline_token=true&service=registry&client_id=docker";

/// The refresh token of a login.
pub(crate) async fn login(access: &AccessControl, user: &str) -> Secret {
    let answer = issue(access, Some(&basic(user, user)), LOGIN)
        .await
        .unwrap();
    answer.refresh_token.expect("a refresh token")
}

pub(crate) async fn redeem(
    access: &AccessControl,
    token: &Secret,
    more: &str,
) -> Result<TokenAnswer, Refusal> {
    let form = format!(
        "grant_type=refresh_token&service=registry&client_id=docker&refresh_token={}{more}",
        token.expose()
    );
    let request = TokenRequest::from_form(form.as_bytes()).unwrap();
    let headers = HeaderMap::new();
    let sender = Sender::new(&headers, RequestOrigin::default());
    access.issue(&sender, &request).await
}

pub(crate) fn unauthorized<T: std::fmt::Debug>(answer: Result<T, Refusal>) {
    let refusal = answer.expect_err("refused");
    assert_eq!(refusal.error.kind(), ErrorKind::Unauthorized);
    assert_eq!(refusal.challenge.unwrap(), r#"Basic realm="registry""#);
}

#[tokio::test]
async fn a_login_lasts_without_the_password() {
    let scene = scene();
    for user in ["ann", "robot$ci"] {
        let token = login(&scene.access, user).await;
        for _ in 0..3 {
            let answer = redeem(
                &scene.access,
                &token,
                "&scope=repository:public/a:pull,push",
            );
            let answer = answer.await.unwrap();
            // The client keeps the one that it has.
            assert!(answer.refresh_token.is_none());
            let access = bearer(&answer);
            let upload = "/v2/public/a/blobs/uploads/";
            let grant = ask(&scene.access, Some(&access), Method::POST, upload)
                .await
                .unwrap();
            assert_eq!(grant.actor.name.as_deref(), Some(user));
            scene.clock.go(Duration::from_hours(24 * 80));
        }
        // It is no token for the registry, and no password.
        for authorization in [
            format!("Bearer {}", token.expose()),
            basic(user, token.expose()),
        ] {
            let refused = ask(&scene.access, Some(&authorization), Method::GET, "/v2/").await;
            challenge(refused);
        }
        scene.clock.go(Duration::from_hours(24 * 92));
        unauthorized(redeem(&scene.access, &token, "").await);
    }
}

#[tokio::test]
async fn only_who_asks_and_can_be_asked_about_gets_a_refresh_token() {
    let scene = scene();
    let password = basic("ann", "ann");
    let given = async |access: &AccessControl, authorization: Option<&str>, query: &str| {
        let answer = issue(access, authorization, query).await.unwrap();
        answer.refresh_token.is_some()
    };
    assert!(given(&scene.access, Some(&password), LOGIN).await);
    assert!(!given(&scene.access, Some(&password), "service=registry").await);
    assert!(!given(&scene.access, None, LOGIN).await);
    // A token buys none: it would outlive the token.
    let token = bearer(&issue(&scene.access, Some(&password), "").await.unwrap());
    assert!(!given(&scene.access, Some(&token), LOGIN).await);
    // Nobody could tell when somebody is gone.
    let login = Login::new(|_, _| async { true });
    let server = TokenServer::ephemeral()
        .unwrap()
        .records(MemoryRecords::new());
    let access = AccessControl::new(rules())
        .authenticator(login)
        .tokens(server);
    assert!(!given(&access, Some(&password), LOGIN).await);
    // There is no place to keep them.
    assert!(
        !given(
            &crate::support::registry(&scene.people),
            Some(&password),
            LOGIN
        )
        .await
    );
}

#[tokio::test]
async fn a_refresh_token_is_its_holders_and_its_services() {
    let scene = scene();
    let token = login(&scene.access, "ann").await;
    let text = token.expose();
    for wrong in [
        String::new() + "x",
        format!("{text}x"),
        text[..text.len() - 1].to_owned(),
        text.to_uppercase(),
        text.replace("rgr_", "rgr_0"),
        text.replace("rgr_", ""),
        format!("rgr_{}_", "0".repeat(32)),
    ] {
        unauthorized(redeem(&scene.access, &Secret::new(wrong), "").await);
    }
    let server = TokenServer::ephemeral()
        .unwrap()
        .service("other")
        .records(Arc::clone(&scene.records));
    let other = AccessControl::new(rules())
        .authenticator(scene.people.clone())
        .tokens(server);
    let form = format!("grant_type=refresh_token&service=other&refresh_token={text}");
    let request = TokenRequest::from_form(form.as_bytes()).unwrap();
    let headers = HeaderMap::new();
    let sender = Sender::new(&headers, RequestOrigin::default());
    unauthorized(other.issue(&sender, &request).await);
    // Nothing that is kept is of any use to who reads it.
    let kept = scene
        .records
        .list("", PageRequest::default())
        .await
        .unwrap();
    let secret = text.splitn(3, '_').nth(2).unwrap();
    for record in kept.items {
        assert!(!String::from_utf8(record.value).unwrap().contains(secret));
        assert!(!record.key.contains(secret));
    }
    redeem(&scene.access, &token, "").await.unwrap();
}

#[tokio::test]
async fn another_password_ends_a_refresh_token() {
    let scene = scene();
    let token = login(&scene.access, "ann").await;
    scene.people.put(Principal::new("ann").with_stamp([2; 16]));
    unauthorized(redeem(&scene.access, &token, "").await);
    scene.people.remove("ann");
    unauthorized(redeem(&scene.access, &token, "").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn s_23_one_of_64_redemptions_wins() {
    let scene = scene();
    let mut token = login(&scene.access, "ann").await;
    for _ in 0..5 {
        let tries = (0..64).map(|_| {
            let (access, token) = (scene.access.clone(), token.clone());
            tokio::spawn(async move { redeem(&access, &token, "&access_type=offline").await })
        });
        let answers = join_all(tries).await.into_iter().map(Result::unwrap);
        let mut won: Vec<_> = answers.filter_map(Result::ok).collect();
        assert_eq!(won.len(), 1);
        token = won.remove(0).refresh_token.expect("another one");
    }
}

#[tokio::test]
async fn nobody_collects_refresh_tokens() {
    let scene = scene();
    let others = login(&scene.access, "ben").await;
    let mut tokens = Vec::new();
    for _ in 0..518 {
        tokens.push(login(&scene.access, "ann").await);
    }
    let mut good = Vec::new();
    for token in &tokens {
        good.push(redeem(&scene.access, token, "").await.is_ok());
    }
    assert_eq!(good.iter().filter(|good| **good).count(), 512);
    assert!(!good[5] && good[6] && good[517]);
    redeem(&scene.access, &others, "").await.unwrap();
    let distinct: BTreeSet<_> = tokens.iter().map(Secret::expose).collect();
    assert_eq!(distinct.len(), 518);
}

#[tokio::test]
async fn a_login_that_is_in_use_is_ended_by_no_others() {
    let scene = scene();
    let in_use = login(&scene.access, "ann").await;
    let unused = login(&scene.access, "ann").await;
    for _ in 0..600 {
        scene.clock.go(Duration::from_mins(1));
        login(&scene.access, "ann").await;
        redeem(&scene.access, &in_use, "").await.unwrap();
    }
    unauthorized(redeem(&scene.access, &unused, "").await);
    // Another one takes its place, whatever was noted about it.
    let other = redeem(&scene.access, &in_use, "&access_type=offline").await;
    let other = other.unwrap().refresh_token.unwrap();
    unauthorized(redeem(&scene.access, &in_use, "").await);
    redeem(&scene.access, &other, "").await.unwrap();
}

/// The day is what a login lasts by; the minute only says which one goes first.
#[tokio::test]
async fn a_use_that_cannot_be_noted_is_refused_once_a_day_at_most() {
    let (access, records, clock) = watched_scene();
    let token = login(&access, "ann").await;
    records.fail(Some(ErrorKind::Unavailable));
    // To noon of another day, so that the next minute is of the same.
    let today = clock.now().duration_since(UNIX_EPOCH).unwrap().as_secs() % 86_400;
    clock.go(Duration::from_secs(86_400 - today) + Duration::from_hours(12));
    let refusal = redeem(&access, &token, "").await.unwrap_err();
    assert_eq!(refusal.error.kind(), ErrorKind::Unavailable);
    records.fail(None);
    redeem(&access, &token, "").await.unwrap();
    records.fail(Some(ErrorKind::Unavailable));
    clock.go(Duration::from_mins(1));
    redeem(&access, &token, "").await.unwrap();
}

/// Disables ann once it is told to.
#[derive(Debug, Clone, Default)]
struct Disabled(Arc<AtomicBool>);

impl Policy for Disabled {
    fn decide(&self, _: &Question<'_>) -> Decision {
        Decision::ABSTAIN
    }

    fn is_disabled(&self, principal: &Principal) -> bool {
        principal.name() == "ann" && self.0.load(Ordering::Relaxed)
    }
}

#[tokio::test]
async fn s_22_a_disabled_user_has_no_way_in() {
    let scene = scene();
    let disabled = Disabled::default();
    let access = scene.access.clone().policy(disabled.clone());
    let password = basic("ann", "ann");
    let refresh = login(&access, "ann").await;
    let token = bearer(&issue(&access, Some(&password), "").await.unwrap());
    let form = "grant_type=password&service=registry&username=ann&password=ann";
    let form = TokenRequest::from_form(form.as_bytes()).unwrap();
    let headers = HeaderMap::new();
    let sender = Sender::new(&headers, RequestOrigin::default());
    for is_disabled in [false, true, false] {
        disabled.0.store(is_disabled, Ordering::Relaxed);
        let ways = [
            ask(&access, Some(&password), Method::GET, "/v2/")
                .await
                .is_ok(),
            ask(&access, Some(&token), Method::GET, "/v2/")
                .await
                .is_ok(),
            issue(&access, Some(&password), "").await.is_ok(),
            issue(&access, Some(&token), "").await.is_ok(),
            access.issue(&sender, &form).await.is_ok(),
            redeem(&access, &refresh, "").await.is_ok(),
        ];
        assert_eq!(ways, [!is_disabled; 6]);
    }
}

#[tokio::test]
async fn s_33_revoked_is_refused_at_once() {
    let scene = scene();
    let access = &scene.access;
    let ping = async |token: &str| ask(access, Some(token), Method::GET, "/v2/").await;
    let new = async || issue(access, Some(&basic("ann", "ann")), "").await.unwrap();

    // Nobody's gives what everybody has anyway.
    let nobodys = issue(access, None, "").await.unwrap();
    access.revoke(&nobodys.token).await.unwrap();
    ping(&bearer(&nobodys)).await.unwrap();
    // By whoever has it.
    let (first, second) = (new().await, new().await);
    ping(&bearer(&first)).await.unwrap();
    access.revoke(&first.token).await.unwrap();
    let refused = challenge(ping(&bearer(&first)).await);
    assert!(refused.contains(r#"error="invalid_token""#), "{refused}");
    assert!(issue(access, Some(&bearer(&first)), "").await.is_err());
    ping(&bearer(&second)).await.unwrap();
    let refresh = login(access, "ann").await;
    access.revoke(&refresh).await.unwrap();
    unauthorized(redeem(access, &refresh, "").await);
    // What is none is gone already.
    for token in ["", "x", "a.b.c", refresh.expose(), first.token.expose()] {
        access.revoke(&Secret::new(token)).await.unwrap();
    }

    // All at once, and nobody else's.
    let refresh = login(access, "ann").await;
    let bens = issue(access, Some(&basic("ben", "ben")), "").await.unwrap();
    let bens_refresh = login(access, "ben").await;
    access.revoke_all(&Principal::new("ann")).await.unwrap();
    challenge(ping(&bearer(&second)).await);
    unauthorized(redeem(access, &refresh, "").await);
    ping(&bearer(&bens)).await.unwrap();
    redeem(access, &bens_refresh, "").await.unwrap();
    // The password is still good, for tokens of a later second.
    scene.clock.go(Duration::from_secs(2));
    ping(&bearer(&new().await)).await.unwrap();

    // What is written down doesn't stay for longer than the tokens would live.
    scene.clock.go(Duration::from_hours(2));
    let kept = scene
        .records
        .list("revoked/", PageRequest::default())
        .await
        .unwrap();
    assert_eq!(kept.items.len(), 0);
}

#[tokio::test]
async fn nobody_fills_the_records_by_revoking_tokens() {
    let scene = scene();
    let access = &scene.access;
    let new = async |user: &str| issue(access, Some(&basic(user, user)), "").await.unwrap();
    let ping = async |token: &str| ask(access, Some(token), Method::GET, "/v2/").await;
    let kept = async || {
        let page = PageRequest::first(1000);
        scene
            .records
            .list("revoked/", page)
            .await
            .unwrap()
            .items
            .len()
    };
    let (left, bens) = (bearer(&new("ann").await), bearer(&new("ben").await));
    let refresh = login(access, "ann").await;
    let mut revoked = Vec::new();
    for number in 1..=512 {
        let token = new("ann").await;
        access.revoke(&token.token).await.unwrap();
        // Twice counts once.
        access.revoke(&token.token).await.unwrap();
        assert_eq!(kept().await, number);
        revoked.push(bearer(&token));
    }
    ping(&left).await.unwrap();
    let last = new("ann").await;
    access.revoke(&last.token).await.unwrap();
    revoked.push(bearer(&last));
    assert_eq!(kept().await, 1);
    for token in revoked.iter().chain([&left]) {
        challenge(ping(token).await);
    }
    // No login ends with them, and nobody else's do, nor those of later.
    let redeemed = redeem(access, &refresh, "&access_type=offline").await;
    assert!(redeemed.unwrap().refresh_token.is_some());
    ping(&bens).await.unwrap();
    scene.clock.go(Duration::from_secs(2));
    let later = new("ann").await;
    ping(&bearer(&later)).await.unwrap();
    access.revoke(&later.token).await.unwrap();
    assert_eq!(kept().await, 2);
    challenge(ping(&bearer(&later)).await);
}

#[tokio::test]
async fn no_login_lasts_for_longer_than_it_may_however_its_tokens_are_used_or_replaced() {
    let scene = scene();
    let day = Duration::from_hours(24);
    for replace in ["", "&access_type=offline"] {
        let mut token = login(&scene.access, "ann").await;
        for _ in 0..36 {
            scene.clock.go(10 * day);
            let answer = redeem(&scene.access, &token, replace).await.unwrap();
            if let Some(next) = answer.refresh_token {
                token = next;
            }
        }
        scene.clock.go(4 * day + Duration::from_hours(23));
        redeem(&scene.access, &token, "").await.unwrap();
        scene.clock.go(Duration::from_mins(59));
        redeem(&scene.access, &token, "").await.unwrap();
        scene.clock.go(Duration::from_hours(1));
        unauthorized(redeem(&scene.access, &token, "").await);
    }
    let server = || TokenServer::ephemeral().unwrap();
    for (time, is_taken) in [
        (Duration::from_mins(59), false),
        (Duration::from_hours(1), true),
        (730 * day, true),
        (731 * day, false),
    ] {
        assert_eq!(server().refresh_lifetime(time).is_ok(), is_taken);
    }
    let records = MemoryRecords::new().clock(scene.clock.clone());
    let server = server().refresh_lifetime(day).unwrap().records(records);
    let access = AccessControl::new(rules())
        .authenticator(scene.people.clone())
        .tokens(server)
        .clock(scene.clock.clone());
    let token = login(&access, "ann").await;
    redeem(&access, &token, "").await.unwrap();
    scene.clock.go(day);
    unauthorized(redeem(&access, &token, "").await);
}

#[tokio::test]
async fn all_tokens_of_everybody_end_at_once() {
    let scene = scene();
    let access = &scene.access;
    let ping = async |token: &str| ask(access, Some(token), Method::GET, "/v2/").await;
    let mut logins = Vec::new();
    for user in ["ann", "ben", "robot$ci"] {
        for _ in 0..3 {
            let password = basic(user, user);
            logins.push(issue(access, Some(&password), LOGIN).await.unwrap());
        }
    }
    assert_eq!(access.revoke_everybodys().await.unwrap(), 9);
    for login in &logins {
        challenge(ping(&bearer(login)).await);
        unauthorized(redeem(access, login.refresh_token.as_ref().unwrap(), "").await);
    }
    // Whoever has a password goes on.
    scene.clock.go(Duration::from_secs(2));
    let again = issue(access, Some(&basic("ann", "ann")), LOGIN)
        .await
        .unwrap();
    ping(&bearer(&again)).await.unwrap();
    redeem(access, &again.refresh_token.unwrap(), "")
        .await
        .unwrap();
    assert_eq!(access.revoke_all(&Principal::new("ann")).await.unwrap(), 1);
}

#[tokio::test]
async fn no_refresh_token_of_a_revoked_login_comes_late() {
    let scene = scene();
    for everybodys in [false, true] {
        scene.clock.go(Duration::from_secs(2));
        let token = login(&scene.access, "ann").await;
        // It is being replaced while all are ended: it was found before, and what
        // replaces it is written later.
        let held = scene.records.list("refresh/", PageRequest::default());
        let held = held.await.unwrap().items.remove(0);
        if everybodys {
            scene.access.revoke_everybodys().await.unwrap();
        } else {
            let ann = Principal::new("ann");
            scene.access.revoke_all(&ann).await.unwrap();
        }
        let put = scene
            .records
            .put(&held.key, Expected::Absent, held.value, None);
        put.await.unwrap();
        scene.clock.go(Duration::from_secs(2));
        let late = redeem(&scene.access, &token, "&access_type=offline").await;
        assert!(late.is_ok_and(|answer| answer.refresh_token.is_none()));
        let left = scene.records.list("refresh/", PageRequest::default());
        assert_eq!(left.await.unwrap().items.len(), 0);
    }
}

#[tokio::test]
async fn a_revocation_that_cannot_be_read_revokes() {
    let scene = scene();
    let token = issue(&scene.access, Some(&basic("ann", "ann")), "")
        .await
        .unwrap();
    scene
        .access
        .revoke_all(&Principal::new("ann"))
        .await
        .unwrap();
    let kept = scene
        .records
        .list("revoked/", PageRequest::default())
        .await
        .unwrap();
    let key = &kept.items[0].key;
    assert_eq!(kept.items.len(), 1);
    let later = SystemClock.now() + Duration::from_mins(5);
    let odd = scene
        .records
        .put(key, Expected::Any, b"odd".to_vec(), Some(later));
    odd.await.unwrap();
    challenge(ask(&scene.access, Some(&bearer(&token)), Method::GET, "/v2/").await);
}

/// The same, where the records can fail.
fn watched_scene() -> (AccessControl, Watched, Ahead) {
    let (records, clock) = (Watched::default(), Ahead::default());
    let server = TokenServer::ephemeral().unwrap().records(records.clone());
    let access = AccessControl::new(rules())
        .authenticator(People::of([ann()]))
        .tokens(server)
        .clock(clock.clone());
    (access, records, clock)
}

#[tokio::test]
async fn nothing_is_looked_up_for_what_no_refresh_token_is_like() {
    let (access, records, _) = watched_scene();
    let long = "a".repeat(600);
    for names in [
        &long[..31],
        &long[..33],
        &long,
        &format!("{}g", &long[..31]),
        "a/b",
    ] {
        let token = Secret::new(format!("rgr_{names}_A"));
        unauthorized(redeem(&access, &token, "").await);
    }
    assert_eq!(records.asked(), 0);
}

#[tokio::test]
async fn a_use_that_others_noted_is_a_use_and_one_that_can_not_be_noted_is_none() {
    let (access, records, clock) = watched_scene();
    let token = login(&access, "ann").await;
    clock.go(Duration::from_hours(25));
    records.fail(Some(ErrorKind::PreconditionFailed));
    redeem(&access, &token, "").await.unwrap();
    records.fail(Some(ErrorKind::Unavailable));
    let refusal = redeem(&access, &token, "").await.unwrap_err();
    assert_eq!(refusal.error.kind(), ErrorKind::Unavailable);
    records.fail(None);
    redeem(&access, &token, "").await.unwrap();
    // For the rest of the day nothing has to be.
    records.fail(Some(ErrorKind::Unavailable));
    redeem(&access, &token, "").await.unwrap();
}

#[tokio::test]
async fn a_token_that_others_ended_is_gone_and_one_that_can_not_be_ended_is_not() {
    let (access, records, _) = watched_scene();
    let token = login(&access, "ann").await;
    let replace = "&access_type=offline";
    records.fail(Some(ErrorKind::PreconditionFailed));
    unauthorized(redeem(&access, &token, replace).await);
    records.fail(Some(ErrorKind::Unavailable));
    let refusal = redeem(&access, &token, replace).await.unwrap_err();
    assert_eq!(refusal.error.kind(), ErrorKind::Unavailable);
    records.fail(None);
    redeem(&access, &token, replace).await.unwrap();
    unauthorized(redeem(&access, &token, replace).await);
}
