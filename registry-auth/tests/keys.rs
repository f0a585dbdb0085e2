//! Keys and robots: who gets in with them, what for, and until when.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test fails by panicking"
)]

#[path = "common/ahead.rs"]
mod ahead;
#[path = "common/sender.rs"]
mod sender;
#[path = "common/store.rs"]
mod store;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use http::Method;
use registry_auth::{
    AccessControl, Authenticator, Caller, Credentials, Decision, Keys, Login, MemoryRecords,
    NewKey, Principal, Question, Review, Robot, RobotChange, Rules, Secret, Sender, Standing,
    TokenRequest, TokenServer, wrong_credentials,
};
use registry_core::{
    Action, Actions, Clock, Epochs, ErrorKind, Expected, Operation, PageRequest, Records,
    RepositoryEpoch, RepositoryName, RequestOrigin, Result, Scopes, SystemClock,
};

use self::ahead::Ahead;
use self::sender::{basic, headers};
use self::store::Watched;

/// Knows ann by her name, as long as she is there, with her groups of the time.
#[derive(Debug, Clone)]
struct Ann(Arc<Mutex<Option<Principal>>>);

#[async_trait]
impl Authenticator for Ann {
    async fn authenticate(&self, caller: &Caller<'_>) -> Result<Option<Principal>> {
        let Credentials::Basic { user, password } = caller.credentials else {
            return Ok(None);
        };
        caller.admit()?;
        let ann = self.0.lock().unwrap().clone();
        let ann = ann.filter(|_| user == "ann" && password.matches("ann's"));
        ann.map(Some).ok_or_else(wrong_credentials)
    }

    fn source(&self) -> &'static str {
        "people"
    }

    async fn standing(&self, _: &Principal) -> Result<Standing> {
        let ann = self.0.lock().unwrap().clone();
        Ok(ann.map_or(Standing::Gone, Standing::Current))
    }
}

/// Whether `team/a` was deleted just now.
#[derive(Debug, Clone, Default)]
struct Deleted(Arc<AtomicBool>);

#[async_trait]
impl Epochs for Deleted {
    async fn epoch(&self, repository: &RepositoryName) -> Result<RepositoryEpoch> {
        let is_deleted = repository.as_str() == "team/a" && self.0.load(Ordering::Relaxed);
        Ok(RepositoryEpoch {
            number: u64::from(is_deleted),
            since: is_deleted.then(|| SystemClock.now()),
        })
    }
}

struct Scene {
    ann: Ann,
    records: Arc<MemoryRecords>,
    keys: Keys,
    clock: Ahead,
    deleted: Deleted,
    access: AccessControl,
}

fn scene() -> Scene {
    let clock = Ahead::default();
    let records = Arc::new(MemoryRecords::new().clock(clock.clone()));
    let keys = Keys::new(Arc::clone(&records));
    let ann = Ann(Arc::new(Mutex::new(Some(
        Principal::new("ann").member_of("team"),
    ))));
    let rules = Rules::new()
        .group("team", "team/*", &[Action::Pull, Action::Push])
        .sentence("robot ci may pull, push ci/**");
    let server = TokenServer::ephemeral()
        .unwrap()
        .records(Arc::clone(&records));
    let deleted = Deleted::default();
    let access = AccessControl::new(rules)
        .authenticator(ann.clone())
        .keys(keys.clone())
        .tokens(server)
        .epochs(deleted.clone())
        .clock(clock.clone());
    Scene {
        ann,
        records,
        keys,
        clock,
        deleted,
        access,
    }
}

impl Scene {
    async fn robot(&self, name: &str) -> Principal {
        let made = self
            .keys
            .create_robot(name, RobotChange::default(), self.clock.now());
        made.await.unwrap();
        Principal::robot(name)
    }

    async fn key(&self, owner: &Principal, new: NewKey) -> (String, Secret) {
        let made = self.keys.create(owner, new, self.clock.now()).await;
        let (key, secret) = made.unwrap();
        (key.id, secret)
    }

    /// A token for these credentials, as a header.
    async fn token(&self, with: &str) -> String {
        token(&self.access, with, "").await.unwrap()
    }

    /// A token for these credentials, as a header, and a refresh token.
    async fn lasting(&self, with: &str) -> (String, Secret) {
        let sent = headers(Some(with));
        let sender = Sender::new(&sent, RequestOrigin::default());
        let request = TokenRequest::from_query(LASTING).unwrap();
        let answer = self.access.issue(&sender, &request).await.unwrap();
        let refresh_token = answer.refresh_token.expect("the records are kept");
        (bearer(&answer.token), refresh_token)
    }

    /// A token for a refresh token, if it is good.
    async fn refreshed(&self, refresh_token: &Secret) -> Option<String> {
        let form = format!(
            "grant_type=refresh_token&service=registry&scope=repository:team/a:pull\
             &refresh_token={}",
            refresh_token.expose()
        );
        let request = TokenRequest::from_form(form.as_bytes()).unwrap();
        let nobody = headers(None);
        let sender = Sender::new(&nobody, RequestOrigin::default());
        let answer = self.access.issue(&sender, &request).await.ok()?;
        Some(bearer(&answer.token))
    }

    /// Has a token made and ends it.
    async fn revoke_one(&self, with: &str) {
        let one = self.token(with).await;
        let one = Secret::new(one.strip_prefix("Bearer ").unwrap());
        self.access.revoke(&one).await.unwrap();
    }

    async fn is_known(&self, token: &str) -> bool {
        ask(&self.access, token, Method::GET, "/v2/").await.is_ok()
    }

    /// Ann as her authenticator makes her.
    async fn ann(&self) -> Principal {
        let headers = headers(Some(&basic("ann", "ann's")));
        self.access
            .identify(&Sender::new(&headers, RequestOrigin::default()))
            .await
            .unwrap()
            .unwrap()
    }
}

fn bearer(secret: &Secret) -> String {
    format!("Bearer {}", secret.expose())
}

/// What may be done in a repository, and who is said to do it; or why not.
async fn ask(
    access: &AccessControl,
    authorization: &str,
    method: Method,
    path: &str,
) -> Result<(Actions, Option<String>), ErrorKind> {
    let operation = Operation::parse(&method, path, None).unwrap();
    let headers = headers(Some(authorization));
    // Guesses are counted where they come from.
    let origin = RequestOrigin {
        address: Some([192, 0, 2, 1].into()),
        ..RequestOrigin::default()
    };
    let sender = Sender::new(&headers, origin);
    match access.authorize(&sender, &operation).await {
        Ok(grant) => Ok((
            grant
                .target
                .map_or(Actions::NONE, |access| access.actions()),
            grant.actor.name.clone(),
        )),
        Err(refusal) => Err(refusal.error.kind()),
    }
}

async fn token(access: &AccessControl, authorization: &str, query: &str) -> Option<String> {
    let headers = headers(Some(authorization));
    let sender = Sender::new(&headers, RequestOrigin::default());
    let request = TokenRequest::from_query(query).unwrap();
    let answer = access.issue(&sender, &request).await.ok()?;
    Some(bearer(&answer.token))
}

const CI: &str = "/v2/ci/app/tags/list";

/// Asks for a refresh token, too.
const LASTING: &str = "scope=repository:team/a:pull&offline_token=true&service=registry";

#[tokio::test]
async fn s_18_a_key_means_the_same_however_it_is_sent() {
    let scene = scene();
    let robot = scene.robot("ci").await;
    let scopes = Some(Scopes::parse(["repository:ci/app:pull"]));
    let new = NewKey {
        scopes,
        ..NewKey::default()
    };
    let (_, secret) = scene.key(&robot, new).await;
    let text = secret.expose();
    let ways = [
        basic("robot$ci", text),
        basic("", text),
        basic("<token>", text),
        bearer(&secret),
    ];
    for way in &ways {
        let may = ask(&scene.access, way, Method::GET, CI).await.unwrap();
        assert_eq!(
            may,
            (
                [Action::List, Action::Pull].into(),
                Some("robot$ci".to_owned())
            ),
            "{way}"
        );
        let push = "/v2/ci/app/blobs/uploads/";
        let refused = ask(&scene.access, way, Method::POST, push).await;
        assert_eq!(refused, Err(ErrorKind::Unauthorized), "{way}");
        // Nor does a token that it gets.
        let query = "scope=repository:ci/app:pull,push";
        let token = token(&scene.access, way, query).await.unwrap();
        let may = ask(&scene.access, &token, Method::GET, CI).await.unwrap();
        assert_eq!(may.1.as_deref(), Some("robot$ci"));
        assert!(
            ask(&scene.access, &token, Method::POST, push)
                .await
                .is_err()
        );
    }
    // It is nobody else's, and no name.
    for way in [
        basic("ci", text),
        basic("ann", text),
        basic("robot$other", text),
        basic(text, ""),
        basic(text, text),
    ] {
        let refused = ask(&scene.access, &way, Method::GET, CI).await;
        assert_eq!(refused, Err(ErrorKind::Unauthorized), "{way}");
    }
}

#[tokio::test]
async fn what_is_no_key_is_refused() {
    let scene = scene();
    let robot = scene.robot("ci").await;
    let (id, secret) = scene.key(&robot, NewKey::default()).await;
    let text = secret.expose();
    assert_eq!(text.len(), "rgk_".len() + 32 + 1 + 43 + 1 + 8);
    assert!(text.contains(&id));
    ask(&scene.access, &basic("robot$ci", text), Method::GET, CI)
        .await
        .unwrap();
    let mut wrong: Vec<String> = (0..text.len())
        .map(|at| {
            let other = if text.as_bytes()[at] == b'0' {
                "1"
            } else {
                "0"
            };
            format!("{}{other}{}", &text[..at], &text[at + 1..])
        })
        .collect();
    // With a checksum that is right.
    let (signed, _) = text.rsplit_once('_').unwrap();
    let last = if signed.ends_with('A') { 'E' } else { 'A' };
    let forged = format!("{}{last}", &signed[..signed.len() - 1]);
    wrong.push(format!(
        "{forged}_{:08x}",
        crc32c::crc32c(forged.as_bytes())
    ));
    wrong.extend([
        "rgk_".to_owned(),
        "rgk__".to_owned(),
        text[..text.len() - 1].to_owned(),
    ]);
    for wrong in wrong {
        let refused = ask(&scene.access, &basic("robot$ci", &wrong), Method::GET, CI).await;
        assert!(
            matches!(
                refused,
                Err(ErrorKind::Unauthorized | ErrorKind::TooManyRequests)
            ),
            "{wrong}"
        );
        let refused = ask(&scene.access, &format!("Bearer {wrong}"), Method::GET, CI).await;
        assert_eq!(refused, Err(ErrorKind::Unauthorized), "{wrong}");
    }
}

#[tokio::test]
async fn a_key_is_shown_once() {
    let scene = scene();
    let robot = scene.robot("ci").await;
    let new = NewKey {
        label: "build".to_owned(),
        ..NewKey::default()
    };
    let (id, secret) = scene.key(&robot, new).await;
    let listed = scene
        .keys
        .list(&robot, PageRequest::default())
        .await
        .unwrap();
    let [key] = &listed.items[..] else {
        panic!("{listed:?}");
    };
    assert_eq!(
        (&key.id, key.label.as_str(), key.used_at),
        (&id, "build", None)
    );
    // Which may hold underscores itself.
    let secret_part = &secret.expose()["rgk_".len() + 32 + 1..][..43];
    let kept = scene
        .records
        .list("", PageRequest::default())
        .await
        .unwrap();
    for record in kept.items {
        let value = String::from_utf8(record.value).unwrap();
        assert!(!value.contains(secret_part) && !record.key.contains(secret_part));
    }
    assert!(!format!("{:?} {secret:?}", scene.keys).contains(secret_part));

    // When it was used is kept, to the minute.
    let used = async || {
        ask(&scene.access, &bearer(&secret), Method::GET, CI)
            .await
            .unwrap();
        // It is kept while the request goes on.
        tokio::task::yield_now().await;
        let listed = scene
            .keys
            .list(&robot, PageRequest::default())
            .await
            .unwrap();
        listed.items[0].used_at.expect("it was used")
    };
    let first = used().await;
    scene.clock.go(Duration::from_secs(30));
    assert_eq!(used().await, first);
    scene.clock.go(Duration::from_mins(1));
    assert!(used().await >= first + Duration::from_mins(1));
}

#[tokio::test]
async fn a_key_ends_when_it_should() {
    let scene = scene();
    let robot = scene.robot("ci").await;
    let expires_at = Some(scene.clock.now() + Duration::from_mins(2));
    let new = NewKey {
        expires_at,
        ..NewKey::default()
    };
    let (_, short) = scene.key(&robot, new).await;
    let (id, long) = scene.key(&robot, NewKey::default()).await;
    let good = async |authorization: &str| {
        ask(&scene.access, authorization, Method::GET, "/v2/")
            .await
            .is_ok()
    };
    let tokens = [
        token(&scene.access, &bearer(&short), "").await.unwrap(),
        token(&scene.access, &bearer(&long), "").await.unwrap(),
    ];
    assert!(good(&bearer(&short)).await && good(&tokens[0]).await);
    scene.clock.go(Duration::from_secs(121));
    // And with it the tokens that it got.
    assert!(!good(&bearer(&short)).await && !good(&tokens[0]).await);
    assert!(good(&bearer(&long)).await && good(&tokens[1]).await);
    scene.keys.revoke(&robot, &id).await.unwrap();
    assert!(!good(&bearer(&long)).await && !good(&tokens[1]).await);
    let again = scene.keys.revoke(&robot, &id).await;
    assert_eq!(again.unwrap_err().kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn s_91_a_key_is_in_no_text_that_is_shown_and_is_nobodys_name() {
    let scene = scene();
    let robot = scene.robot("ci").await;
    let (_, secret) = scene.key(&robot, NewKey::default()).await;
    let text = format!("was {}", secret.expose());
    let new = NewKey {
        label: text.clone(),
        ..NewKey::default()
    };
    let described = RobotChange {
        description: Some(text.clone()),
        ..RobotChange::default()
    };
    let grouped = RobotChange {
        groups: Some([text].into()),
        ..RobotChange::default()
    };
    let (keys, now) = (&scene.keys, scene.clock.now());
    for refused in [
        keys.create(&robot, new, now).await.map(drop),
        keys.create_robot("cd", described.clone(), now)
            .await
            .map(drop),
        keys.change_robot("ci", described).await.map(drop),
        keys.change_robot("ci", grouped).await.map(drop),
        keys.create_robot(
            "rgk_0123456789abcdef0123456789abcdef",
            RobotChange::default(),
            now,
        )
        .await
        .map(drop),
    ] {
        let error = refused.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::RequestInvalid);
        assert!(error.to_string().contains("key or token"), "{error}");
    }

    // Who is let in is named in logs and answers.
    let header = basic("ann", "ann's");
    let login = || ask(&scene.access, &header, Method::GET, "/v2/");
    assert!(login().await.is_ok());
    *scene.ann.0.lock().unwrap() = Some(Principal::new(secret.expose()));
    assert_eq!(login().await, Err(ErrorKind::Unauthorized));
}

#[tokio::test]
async fn s_17_a_key_of_another_robot_is_absent() {
    let scene = scene();
    let (one, other) = (scene.robot("one").await, scene.robot("other").await);
    let (id, secret) = scene.key(&one, NewKey::default()).await;
    for stranger in [&other, &Principal::new("one"), &Principal::robot("none")] {
        let error = scene.keys.revoke(stranger, &id).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        let listed = scene
            .keys
            .list(stranger, PageRequest::default())
            .await
            .unwrap();
        assert!(listed.items.is_empty());
    }
    for id in ["", "*", "../../robot/one", &format!("{id}x")] {
        assert!(scene.keys.revoke(&one, id).await.is_err(), "{id}");
    }
    ask(&scene.access, &bearer(&secret), Method::GET, "/v2/")
        .await
        .unwrap();
}

#[tokio::test]
async fn a_robot_that_changes_in_the_last_moment_is_not_written_over() {
    let records = Watched::default();
    let keys = Keys::new(records.clone());
    let robot = keys.create_robot("ci", RobotChange::default(), SystemClock.now());
    let robot = robot.await.unwrap();
    records.fail(Some(ErrorKind::PreconditionFailed));
    let changed = keys.change_known_robot(&robot, RobotChange::default());
    let error = changed.await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PreconditionFailed);
    assert!(error.to_string().contains("try again"), "{error}");
}

/// Whoever judged by what a robot was, did so for nothing else.
#[tokio::test]
async fn a_robot_that_was_judged_is_the_one_that_changes() {
    let scene = scene();
    let (keys, now) = (&scene.keys, scene.clock.now());
    let into = |group: &str| RobotChange {
        groups: Some([group.to_owned()].into()),
        ..RobotChange::default()
    };
    let first = keys.create_robot("ci", into("a"), now).await.unwrap();
    assert_eq!(keys.robot("ci").await.unwrap().unwrap(), first);
    let second = keys.change_known_robot(&first, into("b")).await.unwrap();
    assert_eq!(keys.robot("ci").await.unwrap().unwrap(), second);
    keys.create_for_robot(&second, NewKey::default(), now)
        .await
        .unwrap();
    let is_refused = async |known: &Robot| {
        let changed = keys.change_known_robot(known, into("a")).await;
        let made = keys.create_for_robot(known, NewKey::default(), now).await;
        let kinds = [changed.unwrap_err().kind(), made.unwrap_err().kind()];
        assert_eq!(kinds[0], kinds[1]);
        kinds[0]
    };
    assert_eq!(is_refused(&first).await, ErrorKind::PreconditionFailed);
    // Nor another one of its name.
    keys.delete_robot("ci").await.unwrap();
    assert_eq!(is_refused(&second).await, ErrorKind::NotFound);
    keys.create_robot("ci", into("b"), now).await.unwrap();
    assert_eq!(is_refused(&second).await, ErrorKind::PreconditionFailed);
    assert_eq!(
        keys.robot("ci").await.unwrap().unwrap().groups,
        ["b".to_owned()].into()
    );
}

#[tokio::test]
async fn a_robot_that_is_disabled_or_gone_has_no_way_in() {
    let scene = scene();
    let robot = scene.robot("ci").await;
    let (_, secret) = scene.key(&robot, NewKey::default()).await;
    let token = token(&scene.access, &bearer(&secret), "").await.unwrap();
    let ways = async || {
        let by_key = ask(&scene.access, &bearer(&secret), Method::GET, "/v2/")
            .await
            .is_ok();
        let by_token = ask(&scene.access, &token, Method::GET, "/v2/")
            .await
            .is_ok();
        assert_eq!(by_key, by_token);
        by_key
    };
    assert!(ways().await);
    for disabled in [true, false] {
        let change = RobotChange {
            disabled: Some(disabled),
            ..RobotChange::default()
        };
        let changed = scene.keys.change_robot("ci", change).await.unwrap();
        assert_eq!(changed.disabled, disabled);
        assert_eq!(ways().await, !disabled);
    }
    let kept = scene.records.list("key/", PageRequest::default()).await;
    scene.keys.delete_robot("ci").await.unwrap();
    assert!(!ways().await);
    // One that is made later has nothing in common with it but the name.
    scene.robot("ci").await;
    assert!(!ways().await);
    // Not even if a crash had left its keys.
    for record in kept.unwrap().items {
        let put = scene
            .records
            .put(&record.key, Expected::Any, record.value, None);
        put.await.unwrap();
    }
    assert!(!ways().await);
    scene.keys.delete_robot("ci").await.unwrap();
    scene.robot("ci").await;
    let listed = scene
        .keys
        .list(&robot, PageRequest::default())
        .await
        .unwrap();
    assert!(listed.items.is_empty());
    let (_, new) = scene.key(&robot, NewKey::default()).await;
    ask(&scene.access, &bearer(&new), Method::GET, "/v2/")
        .await
        .unwrap();
}

#[tokio::test]
async fn groups_of_a_robot_are_those_of_now() {
    let scene = scene();
    let robot = scene.robot("other").await;
    let (_, secret) = scene.key(&robot, NewKey::default()).await;
    let pull = async || {
        ask(
            &scene.access,
            &bearer(&secret),
            Method::GET,
            "/v2/team/a/tags/list",
        )
        .await
    };
    assert_eq!(pull().await, Err(ErrorKind::Denied));
    for (groups, may) in [(vec!["team"], true), (vec!["others"], false)] {
        let change = RobotChange {
            groups: Some(groups.into_iter().map(str::to_owned).collect()),
            ..RobotChange::default()
        };
        scene.keys.change_robot("other", change).await.unwrap();
        assert_eq!(pull().await.is_ok(), may);
    }
}

#[tokio::test]
async fn a_key_of_a_user_is_good_as_long_as_the_user_is() {
    let scene = scene();
    let ann = scene.ann().await;
    let (_, secret) = scene.key(&ann, NewKey::default()).await;
    let pull = async |way: &str| ask(&scene.access, way, Method::GET, "/v2/team/a/tags/list").await;
    for way in [basic("ann", secret.expose()), bearer(&secret)] {
        assert_eq!(pull(&way).await.unwrap().1.as_deref(), Some("ann"));
    }
    // Her password is still her password.
    pull(&basic("ann", "ann's")).await.unwrap();
    let way = bearer(&secret);
    *scene.ann.0.lock().unwrap() = Some(Principal::new("ann"));
    assert_eq!(pull(&way).await, Err(ErrorKind::Denied));
    *scene.ann.0.lock().unwrap() = None;
    assert_eq!(pull(&way).await, Err(ErrorKind::Unauthorized));

    // Where nobody can be asked about the owner, nobody is let in.
    let access = AccessControl::new(Rules::new().signed_in("**", &[Action::Pull]))
        .authenticator(Login::new(|_, _| async { false }))
        .keys(scene.keys.clone());
    let (_, secret) = scene.key(&Principal::new("ben"), NewKey::default()).await;
    assert!(
        ask(&access, &bearer(&secret), Method::GET, "/v2/")
            .await
            .is_err()
    );
}

#[tokio::test]
async fn a_key_of_a_user_ends_with_its_owner_and_not_with_the_password() {
    let scene = scene();
    let turn_into = |ann: Principal| *scene.ann.0.lock().unwrap() = Some(ann.member_of("team"));
    let pull = async |secret: &Secret| {
        let way = bearer(secret);
        let path = "/v2/team/a/tags/list";
        ask(&scene.access, &way, Method::GET, path).await.map(drop)
    };
    let (_, early) = scene.key(&scene.ann().await, NewKey::default()).await;
    let first = || Principal::new("ann").with_identity([1; 16]);
    turn_into(first().with_stamp([1; 16]));
    let (id, secret) = scene.key(&scene.ann().await, NewKey::default()).await;
    pull(&secret).await.unwrap();
    turn_into(first().with_stamp([2; 16]));
    pull(&secret).await.unwrap();
    for other in [
        Principal::new("ann").with_identity([2; 16]),
        Principal::new("ann"),
    ] {
        turn_into(other);
        assert_eq!(pull(&secret).await, Err(ErrorKind::Unauthorized));
        let ann = scene.ann().await;
        assert!(scene.keys.revoke(&ann, &id).await.is_err());
        let listed = scene.keys.list(&ann, PageRequest::default()).await;
        assert_eq!(listed.unwrap().items.len(), 1);
        // One that doesn't say which ann it is of is of all of them.
        pull(&early).await.unwrap();
    }
    turn_into(first());
    pull(&secret).await.unwrap();
}

#[tokio::test]
async fn a_user_of_the_same_name_elsewhere_has_other_keys() {
    let scene = scene();
    let ann = scene.ann().await;
    let (id, secret) = scene.key(&ann, NewKey::default()).await;
    let elsewhere =
        AccessControl::new(Rules::new()).authenticator(Login::new(|_, _| async { true }));
    let headers = headers(Some(&basic("ann", "another")));
    let sender = Sender::new(&headers, RequestOrigin::default());
    let other = elsewhere.identify(&sender).await.unwrap().unwrap();
    let listed = async |owner: &Principal| {
        let listed = scene.keys.list(owner, PageRequest::default()).await;
        let ids = listed.unwrap().items.into_iter().map(|key| key.id);
        ids.collect::<Vec<_>>()
    };
    assert_eq!(listed(&other).await, Vec::<String>::new());
    let error = scene.keys.revoke(&other, &id).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert_eq!(listed(&ann).await, [&*id]);
    ask(&scene.access, &bearer(&secret), Method::GET, "/v2/")
        .await
        .unwrap();
    // Whoever looks after users sees the keys of all who have the name.
    let named = Principal::new("ann");
    assert_eq!(listed(&named).await, [&*id]);
    scene.keys.revoke(&named, &id).await.unwrap();
}

#[tokio::test]
async fn users_of_one_name_have_as_many_keys_each() {
    let scene = scene();
    let ann = scene.ann().await;
    // Each of those who had the name one after the other.
    let identified = |number: u8| ann.clone().with_identity([number; 16]);
    let ann = identified(0);
    for _ in 0..64 {
        scene.key(&ann, NewKey::default()).await;
    }
    let full = async |owner: &Principal| {
        let made = scene
            .keys
            .create(owner, NewKey::default(), scene.clock.now());
        made.await.map(drop).map_err(|error| error.kind())
    };
    assert_eq!(full(&ann).await, Err(ErrorKind::RequestInvalid));
    let elsewhere =
        AccessControl::new(Rules::new()).authenticator(Login::new(|_, _| async { true }));
    let headers = headers(Some(&basic("ann", "another")));
    let sender = Sender::new(&headers, RequestOrigin::default());
    let other = elsewhere.identify(&sender).await.unwrap().unwrap();
    for _ in 0..64 {
        assert_eq!(full(&other).await, Ok(()));
    }
    assert_eq!(full(&other).await, Err(ErrorKind::RequestInvalid));

    // All together have not as many as they like.
    for number in 1..15 {
        let ann = identified(number);
        let mut made = 0;
        while full(&ann).await.is_ok() {
            made += 1;
        }
        assert_eq!(made, 64, "{number}");
    }
    assert_eq!(full(&identified(15)).await, Err(ErrorKind::RequestInvalid));
}

#[tokio::test]
async fn whoever_guesses_keeps_no_key_out() {
    let scene = scene();
    let robot = scene.robot("ci").await;
    let (_, secret) = scene.key(&robot, NewKey::default()).await;
    let ask = async |password: &str| {
        let way = basic("robot$ci", password);
        ask(&scene.access, &way, Method::GET, CI).await
    };
    for _ in 0..5 {
        assert_eq!(ask("guess").await, Err(ErrorKind::Unauthorized));
    }
    ask(secret.expose()).await.unwrap();
    // What only begins like a key waits as any other guess.
    let wrong = format!("{}x", secret.expose());
    for guess in ["guess", &wrong, "rgk_"] {
        assert_eq!(ask(guess).await, Err(ErrorKind::TooManyRequests), "{guess}");
    }
    ask(secret.expose()).await.unwrap();
}

#[tokio::test]
async fn tokens_for_a_key_of_a_user_end_with_it() {
    let scene = scene();
    let ann = scene.ann().await;
    let pull = async |way: &str| ask(&scene.access, way, Method::GET, "/v2/team/a/tags/list").await;
    for expires in [false, true] {
        let new = NewKey {
            expires_at: expires.then(|| scene.clock.now() + Duration::from_mins(2)),
            ..NewKey::default()
        };
        let (id, secret) = scene.key(&ann, new).await;
        let (_, other) = scene.key(&ann, NewKey::default()).await;
        let (first, refresh_token) = scene.lasting(&basic("ann", secret.expose())).await;
        let mut tokens = vec![first];
        // One that was got for it, and one for a refresh token.
        tokens.push(token(&scene.access, &tokens[0], LASTING).await.unwrap());
        tokens.push(scene.refreshed(&refresh_token).await.unwrap());
        let by_another = token(&scene.access, &bearer(&other), LASTING)
            .await
            .unwrap();
        let by_password = token(&scene.access, &basic("ann", "ann's"), LASTING)
            .await
            .unwrap();
        for token in &tokens {
            assert_eq!(pull(token).await.unwrap().1.as_deref(), Some("ann"));
        }
        if expires {
            scene.clock.go(Duration::from_secs(121));
        } else {
            scene.keys.revoke(&ann, &id).await.unwrap();
        }
        for token in &tokens {
            assert_eq!(pull(token).await, Err(ErrorKind::Unauthorized));
        }
        assert_eq!(scene.refreshed(&refresh_token).await, None);
        for token in [&by_another, &by_password] {
            pull(token).await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_key_for_a_repository_ends_with_it() {
    let scene = scene();
    let ann = scene.ann().await;
    let new = NewKey {
        scopes: Some(Scopes::parse([
            "repository:team/a:pull repository:team/b:pull",
        ])),
        ..NewKey::default()
    };
    let (_, secret) = scene.key(&ann, new).await;
    let pull = async |name: &str| {
        let path = format!("/v2/team/{name}/tags/list");
        ask(&scene.access, &bearer(&secret), Method::GET, &path)
            .await
            .is_ok()
    };
    assert!(pull("a").await && pull("b").await);
    scene.deleted.0.store(true, Ordering::Relaxed);
    assert!(!pull("a").await && pull("b").await);
}

/// When `team/a` was deleted, if it was.
#[derive(Debug, Clone, Default)]
struct DeletedAt(Arc<Mutex<Option<SystemTime>>>);

#[async_trait]
impl Epochs for DeletedAt {
    async fn epoch(&self, repository: &RepositoryName) -> Result<RepositoryEpoch> {
        let at = *self.0.lock().unwrap();
        let since = at.filter(|_| repository.as_str() == "team/a");
        Ok(RepositoryEpoch {
            number: u64::from(since.is_some()),
            since,
        })
    }
}

#[tokio::test]
async fn s_32_a_key_is_for_the_repository_of_its_time() {
    let scene = scene();
    let deleted = DeletedAt::default();
    let access = scene.access.clone().epochs(deleted.clone());
    let scopes = || Scopes::parse(["repository:team/a:pull"]);
    let make = async |at, is_known| {
        let new = NewKey {
            scopes: Some(scopes()),
            epochs: if is_known {
                access.epochs_of(&scopes()).await.unwrap()
            } else {
                BTreeMap::new()
            },
            ..NewKey::default()
        };
        let made = scene.keys.create(&scene.ann().await, new, at).await;
        made.unwrap().1
    };
    let is_good = async |secret: &Secret| {
        let (key, path) = (bearer(secret), "/v2/team/a/tags/list");
        ask(&access, &key, Method::GET, path).await.is_ok()
    };
    let second = SystemTime::UNIX_EPOCH + Duration::from_hours(500_000);
    let after = |milliseconds| second + Duration::from_millis(milliseconds);
    // All in one second.
    let early = make(after(90), false).await;
    // Its clock was set back after that.
    let ahead = make(after(5000), true).await;
    assert!(is_good(&early).await && is_good(&ahead).await);
    *deleted.0.lock().unwrap() = Some(after(100));
    let late = make(after(110), false).await;
    let behind = make(after(50), true).await;
    assert!(!is_good(&early).await && !is_good(&ahead).await);
    assert!(is_good(&late).await && is_good(&behind).await);
}

/// Takes its time, in which `team/a` is deleted; from the second question on.
#[derive(Debug)]
struct Overtaken {
    deleted: Deleted,
    is_first: AtomicBool,
}

#[async_trait]
impl Review for Overtaken {
    async fn review(&self, _: &Question<'_>, _: Actions) -> Result<Decision> {
        let is_first = self.is_first.swap(false, Ordering::Relaxed);
        self.deleted.0.store(!is_first, Ordering::Relaxed);
        Ok(Decision::ABSTAIN)
    }
}

#[tokio::test]
async fn a_key_for_a_repository_that_is_deleted_during_a_review_ends_with_it() {
    let scene = scene();
    let ann = scene.ann().await;
    let new = NewKey {
        scopes: Some(Scopes::parse(["repository:team/a:pull"])),
        ..NewKey::default()
    };
    let (_, secret) = scene.key(&ann, new).await;
    let access = scene.access.clone().review(Overtaken {
        deleted: scene.deleted.clone(),
        is_first: AtomicBool::new(true),
    });
    let operation = Operation::parse(&Method::GET, "/v2/team/a/tags/list", None).unwrap();
    let headers = headers(Some(&bearer(&secret)));
    let authorize = || async {
        let sender = Sender::new(&headers, RequestOrigin::default());
        access.authorize(&sender, &operation).await
    };
    let grant = authorize().await.unwrap();
    // Also where it is decided once more.
    scene.clock.go(Duration::from_secs(2));
    assert!(grant.confirm(&operation).await.is_err());
    scene.deleted.0.store(false, Ordering::Relaxed);
    assert!(authorize().await.is_err());
}

#[tokio::test]
async fn whoever_revokes_many_tokens_of_a_key_ends_no_others() {
    let scene = scene();
    for owner in [scene.ann().await, scene.robot("ci").await] {
        let (_, secret) = scene.key(&owner, NewKey::default()).await;
        let (_, other) = scene.key(&owner, NewKey::default()).await;
        let own = scene.token(&bearer(&secret)).await;
        let others = [
            scene.token(&basic("ann", "ann's")).await,
            scene.token(&bearer(&other)).await,
        ];
        for _ in 0..=512 {
            scene.revoke_one(&bearer(&secret)).await;
        }
        assert!(!scene.is_known(&own).await, "{owner}");
        for other in &others {
            assert!(scene.is_known(other).await, "{owner}");
        }
    }
}

#[tokio::test]
async fn whoever_revokes_tokens_of_many_keys_does_not_fill_the_disk() {
    let scene = scene();
    let ann = scene.ann().await;
    let (_, other) = scene.key(&ann, NewKey::default()).await;
    let (other, refresh_token) = scene.lasting(&bearer(&other)).await;
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
    let refreshes = async || {
        let page = PageRequest::first(1000);
        let found = scene.records.list("refresh/", page).await.unwrap();
        found.items.len()
    };
    assert_eq!(refreshes().await, 1);
    for count in [500, 400, 100] {
        let (id, secret) = scene.key(&ann, NewKey::default()).await;
        for _ in 0..count {
            scene.revoke_one(&bearer(&secret)).await;
        }
        scene.keys.revoke(&ann, &id).await.unwrap();
        assert!(scene.is_known(&other).await);
        assert!(scene.refreshed(&refresh_token).await.is_some());
    }
    assert_eq!(kept().await, 1000);
    let (_, secret) = scene.key(&ann, NewKey::default()).await;
    let robot = scene.robot("ci").await;
    let (_, robots) = scene.key(&robot, NewKey::default()).await;
    let robots = scene.token(&bearer(&robots)).await;
    scene.revoke_one(&bearer(&secret)).await;
    assert_eq!(kept().await, 1);
    // There is no telling any more which of hers.
    assert!(!scene.is_known(&other).await && scene.is_known(&robots).await);
    assert_eq!(scene.refreshed(&refresh_token).await, None);
    assert_eq!(refreshes().await, 0);
}

#[tokio::test]
async fn what_can_not_be_made_is_refused() {
    let scene = scene();
    let now = scene.clock.now();
    let long = "a".repeat(129);
    for name in ["", "A", "a b", "a/b", "-a", "robot$a", "ä", "a\n", &long] {
        let error = scene
            .keys
            .create_robot(name, RobotChange::default(), now)
            .await;
        assert_eq!(
            error.unwrap_err().kind(),
            ErrorKind::RequestInvalid,
            "{name}"
        );
    }
    let robot = scene.robot("ci").await;
    let again = scene
        .keys
        .create_robot("ci", RobotChange::default(), now)
        .await;
    let again = again.unwrap_err();
    assert_eq!(again.kind(), ErrorKind::PreconditionFailed);
    assert_eq!(again.to_string(), "there is a robot of this name");
    for change in [
        RobotChange {
            description: Some(long.clone()),
            ..RobotChange::default()
        },
        RobotChange {
            groups: Some(BTreeSet::from([String::new()])),
            ..RobotChange::default()
        },
        RobotChange {
            // As a rule names it.
            groups: Some(BTreeSet::from(["group web".to_owned()])),
            ..RobotChange::default()
        },
        RobotChange {
            groups: Some((0..65).map(|number| number.to_string()).collect()),
            ..RobotChange::default()
        },
    ] {
        let error = scene.keys.change_robot("ci", change).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::RequestInvalid);
    }
    let error = scene.keys.change_robot("no", RobotChange::default()).await;
    assert_eq!(error.unwrap_err().kind(), ErrorKind::NotFound);
    let error = scene.keys.delete_robot("no").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);

    let make = async |owner: &Principal, label: &str| {
        let new = NewKey {
            label: label.to_owned(),
            ..NewKey::default()
        };
        scene
            .keys
            .create(owner, new, now)
            .await
            .map_err(|error| error.kind())
    };
    let kind = make(&Principal::robot("no"), "").await.unwrap_err();
    assert_eq!(kind, ErrorKind::NotFound);
    for owner in [Principal::anonymous(), Principal::workload("a", "b")] {
        assert_eq!(
            make(&owner, "").await.unwrap_err(),
            ErrorKind::RequestInvalid
        );
    }
    assert_eq!(
        make(&robot, "a\nb").await.unwrap_err(),
        ErrorKind::RequestInvalid
    );
    for _ in 0..64 {
        make(&robot, "").await.unwrap();
    }
    assert_eq!(
        make(&robot, "").await.unwrap_err(),
        ErrorKind::RequestInvalid
    );
    let first = scene
        .keys
        .list(&robot, PageRequest::first(40))
        .await
        .unwrap();
    let mut rest = PageRequest::first(40);
    rest.after = first.next;
    let rest = scene.keys.list(&robot, rest).await.unwrap();
    assert_eq!((first.items.len(), rest.items.len()), (40, 24));
    let robots = scene.keys.robots(PageRequest::default()).await.unwrap();
    assert_eq!(
        (robots.items.len(), robots.items[0].name.as_str()),
        (1, "ci")
    );
}

#[tokio::test]
async fn what_is_as_long_as_it_may_be_is_made() {
    let scene = scene();
    let (now, long) = (scene.clock.now(), "a".repeat(128));
    let change = RobotChange {
        description: Some(long.clone()),
        groups: Some((0..64).map(|number| format!("{number:0128}")).collect()),
        ..RobotChange::default()
    };
    let made = scene.keys.create_robot(&long, change, now).await.unwrap();
    assert_eq!((made.description.len(), made.groups.len()), (128, 64));
    let found = scene.keys.robot(&long).await.unwrap();
    assert_eq!(found, Some(made));
    assert_eq!(scene.keys.robot("another").await.unwrap(), None);
}

/// Stands still until it is told to go on.
#[derive(Debug, Clone)]
struct Watch(Arc<AtomicU64>);

impl Clock for Watch {
    fn now(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(self.0.load(Ordering::Relaxed))
    }
}

#[tokio::test]
async fn a_use_a_minute_after_the_last_that_was_kept_is_kept() {
    let watch = Watch(Arc::new(AtomicU64::new(1_800_000_000)));
    let keys = Keys::new(MemoryRecords::new().clock(watch.clone()));
    let made = keys.create_robot("ci", RobotChange::default(), watch.now());
    made.await.unwrap();
    let robot = Principal::robot("ci");
    let (_, secret) = keys
        .create(&robot, NewKey::default(), watch.now())
        .await
        .unwrap();
    let access = AccessControl::new(Rules::new())
        .keys(keys.clone())
        .clock(watch.clone());
    for (seconds, kept) in [(0, 0), (59, 0), (60, 60), (119, 60), (120, 120)] {
        watch.0.store(1_800_000_000 + seconds, Ordering::Relaxed);
        ask(&access, &bearer(&secret), Method::GET, "/v2/")
            .await
            .unwrap();
        tokio::task::yield_now().await;
        let listed = keys.list(&robot, PageRequest::default()).await.unwrap();
        let used = listed.items[0].used_at.unwrap();
        let since = used
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap()
            .as_secs();
        assert_eq!(since, 1_800_000_000 + kept);
    }
}

#[tokio::test]
async fn nothing_is_looked_up_for_what_no_key_is_like() {
    let records = Watched::default();
    let access = AccessControl::new(Rules::new()).keys(Keys::new(records.clone()));
    let long = "a".repeat(600);
    for names in [
        &long[..31],
        &long[..33],
        &long,
        &format!("{}g", &long[..31]),
        "a/b",
    ] {
        let signed = format!("rgk_{names}_A");
        let checksum = crc32c::crc32c(signed.as_bytes());
        let bearer = format!("Bearer {signed}_{checksum:08x}");
        let refused = ask(&access, &bearer, Method::GET, "/v2/").await;
        assert_eq!(refused, Err(ErrorKind::Unauthorized), "{names}");
    }
    assert_eq!(records.asked(), 0);
}

#[tokio::test]
async fn a_key_is_good_where_its_use_can_not_be_kept() {
    let records = Watched::default();
    let keys = Keys::new(records.clone());
    let now = SystemClock.now();
    let made = keys.create_robot("ci", RobotChange::default(), now);
    made.await.unwrap();
    let robot = Principal::robot("ci");
    let (_, secret) = keys.create(&robot, NewKey::default(), now).await.unwrap();
    let access = AccessControl::new(Rules::new()).keys(keys.clone());
    for fault in [ErrorKind::PreconditionFailed, ErrorKind::Unavailable] {
        records.fail(Some(fault));
        ask(&access, &bearer(&secret), Method::GET, "/v2/")
            .await
            .unwrap();
        let listed = keys.list(&robot, PageRequest::default()).await.unwrap();
        assert_eq!(listed.items[0].used_at, None);
    }
}
