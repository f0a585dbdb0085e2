//! Who manages a registry, and what they can't give to others.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

#[path = "common/sender.rs"]
mod sender;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use async_trait::async_trait;
use registry_auth::{
    AccessControl, Authenticator, Caller, Credentials, Decision, Inquiry, Keys, Login,
    ManagementGrant, ManagementNeed, MemoryRecords, NewKey, Principal, Question, Refusal, Review,
    RobotChange, Rule, Rules, Secret, Sender, Standing, TokenRequest, TokenServer,
};
use registry_core::{
    Action, Actions, Clock, Epochs, ErrorKind, RepositoryEpoch, RepositoryName, RequestOrigin,
    Result, Scopes, SystemClock,
};

use self::sender::{basic, headers};

/// Knows everybody whose password is `right`, and can be asked about them.
#[derive(Debug)]
struct People;

#[async_trait]
impl Authenticator for People {
    async fn authenticate(&self, caller: &Caller<'_>) -> Result<Option<Principal>> {
        let Credentials::Basic { user, password } = caller.credentials else {
            return Ok(None);
        };
        Ok(password.matches("right").then(|| Principal::new(user)))
    }

    fn source(&self) -> &'static str {
        "people"
    }

    async fn standing(&self, principal: &Principal) -> Result<Standing> {
        Ok(Standing::Current(Principal::new(principal.name())))
    }
}

/// Whether every repository was deleted just now.
#[derive(Debug, Clone, Default)]
struct Deleted(Arc<AtomicBool>);

#[async_trait]
impl Epochs for Deleted {
    async fn epoch(&self, _: &RepositoryName) -> Result<RepositoryEpoch> {
        let number = u64::from(self.0.load(Ordering::Relaxed));
        Ok(RepositoryEpoch {
            number,
            since: None,
        })
    }
}

struct Scene {
    access: AccessControl,
    keys: Keys,
    deleted: Deleted,
}

const RULES: &[&str] = &[
    "user root is admin of **",
    "user keeper may administer, audit **",
    "user ann is admin of team/**",
    "user auditor is auditor of **",
    "robot ci is writer of team/**",
    "robot boss is admin of **",
    "nobody may delete kept/**",
];

fn rules(more: &[&str]) -> Rules {
    let rules = RULES.iter().chain(more);
    let rules = rules.fold(Rules::new(), |rules, sentence| rules.sentence(sentence));
    rules.check().unwrap()
}

fn scene_with(rules: Rules) -> Scene {
    let records = Arc::new(MemoryRecords::new());
    let keys = Keys::new(Arc::clone(&records));
    let deleted = Deleted::default();
    let access = AccessControl::new(rules)
        .authenticator(People)
        .keys(keys.clone())
        .tokens(TokenServer::ephemeral().unwrap().records(records))
        .epochs(deleted.clone());
    Scene {
        access,
        keys,
        deleted,
    }
}

fn scene() -> Scene {
    scene_with(rules(&[]))
}

fn password(user: &str) -> String {
    basic(user, "right")
}

fn bearer(secret: &Secret) -> String {
    format!("Bearer {}", secret.expose())
}

async fn manage(
    access: &AccessControl,
    authorization: Option<&str>,
    need: &ManagementNeed,
) -> Result<ManagementGrant, Refusal> {
    let headers = headers(authorization);
    let sender = Sender::new(&headers, RequestOrigin::default());
    access.authorize_management(&sender, need).await
}

async fn outcome(
    access: &AccessControl,
    authorization: &str,
    need: &ManagementNeed,
) -> Result<(), ErrorKind> {
    let answer = manage(access, Some(authorization), need).await;
    answer.map(drop).map_err(|refusal| refusal.error.kind())
}

async fn token(access: &AccessControl, authorization: Option<&str>, query: &str) -> String {
    let headers = headers(authorization);
    let sender = Sender::new(&headers, RequestOrigin::default());
    let request = TokenRequest::from_query(query).unwrap();
    bearer(&access.issue(&sender, &request).await.unwrap().token)
}

fn in_repository(action: Action, name: &str) -> ManagementNeed {
    ManagementNeed::Repository(action.into(), name.parse().unwrap())
}

fn every_need() -> Vec<ManagementNeed> {
    vec![
        ManagementNeed::Known,
        ManagementNeed::Login,
        ManagementNeed::Registry(Action::Audit),
        ManagementNeed::Registry(Action::Administer),
        in_repository(Action::Audit, "team/a"),
        in_repository(Action::Administer, "team/a"),
    ]
}

fn now() -> SystemTime {
    SystemClock.now()
}

#[tokio::test]
async fn nobody_unknown_manages_anything() {
    for need in every_need() {
        // Nor does somebody known, where nobody said who may.
        let access = AccessControl::open().authenticator(People);
        let manages = outcome(&access, &password("ann"), &need).await;
        let is_for_all = matches!(need, ManagementNeed::Known | ManagementNeed::Login);
        assert_eq!(manages == Ok(()), is_for_all, "{need:?}: {manages:?}");
        for authorization in [None, Some("Basic Zm9vOmJhcg=="), Some("garbage")] {
            let refused = manage(&AccessControl::open(), authorization, &need).await;
            let refusal = refused.unwrap_err();
            assert_eq!(refusal.error.kind(), ErrorKind::Denied, "{need:?}");
            assert_eq!(refusal.challenge, None);
        }
        let scene = scene_with(rules(&["anyone is admin of **"]));
        let anonymous = token(&scene.access, None, "scope=repository:team/a:*").await;
        for authorization in [
            None,
            Some("Basic Og=="),
            Some("Basic cm9vdDp3cm9uZw=="),
            Some("Bearer nonsense"),
            Some(&*anonymous),
        ] {
            let refused = manage(&scene.access, authorization, &need).await;
            let refusal = refused.unwrap_err();
            assert_eq!(refusal.error.kind(), ErrorKind::Unauthorized, "{need:?}");
            // A token would be no use.
            let challenge = refusal.challenge.unwrap();
            assert_eq!(challenge, "Basic realm=\"registry\"", "{authorization:?}");
        }
    }
}

#[tokio::test]
async fn rights_in_a_repository_are_none_in_the_registry() {
    let access = scene().access;
    let denied = Err(ErrorKind::Denied);
    let audit = ManagementNeed::Registry(Action::Audit);
    let administer = ManagementNeed::Registry(Action::Administer);
    for (who, audits, administers) in [
        ("root", Ok(()), Ok(())),
        ("auditor", Ok(()), denied),
        ("ann", denied, denied),
        ("stranger", denied, denied),
    ] {
        let who = password(who);
        assert_eq!(outcome(&access, &who, &audit).await, audits, "{who}");
        assert_eq!(
            outcome(&access, &who, &administer).await,
            administers,
            "{who}"
        );
        assert_eq!(outcome(&access, &who, &ManagementNeed::Known).await, Ok(()));
    }
    for (who, repository, may) in [
        ("root", "other", Ok(())),
        ("ann", "team/a", Ok(())),
        ("ann", "other", denied),
        ("auditor", "team/a", denied),
    ] {
        let need = in_repository(Action::Administer, repository);
        let who = password(who);
        assert_eq!(outcome(&access, &who, &need).await, may, "{who}");
    }
    let both = [Action::Administer, Action::Delete].into();
    let need = ManagementNeed::Repository(both, "kept/a".parse().unwrap());
    assert_eq!(outcome(&access, &password("root"), &need).await, denied);
    let need = in_repository(Action::Administer, "team/a");
    let grant = manage(&access, Some(&password("ann")), &need)
        .await
        .unwrap();
    assert_eq!(grant.actor().name.as_deref(), Some("ann"));
    let target = grant.target().unwrap();
    assert_eq!(target.repository().as_str(), "team/a");
    assert!(target.permits(Action::Administer));
}

/// Who was refused is what somebody looks for in logs.
#[tokio::test]
async fn a_refusal_says_who_it_was() {
    let scene = scene();
    let named = |refusal: Refusal| refusal.actor.and_then(|actor| actor.name.clone());
    let need = ManagementNeed::Registry(Action::Administer);
    for (who, name) in [(Some("ann"), Some("ann")), (None, None)] {
        let password = who.map(password);
        let refused = manage(&scene.access, password.as_deref(), &need).await;
        assert_eq!(named(refused.unwrap_err()).as_deref(), name);
    }
    let change = RobotChange::default();
    let boss = scene.keys.create_robot("boss", change, SystemClock.now());
    boss.await.unwrap();
    let robot = Principal::robot("boss");
    let key = scene
        .keys
        .create(&robot, NewKey::default(), SystemClock.now());
    let (_, key) = key.await.unwrap();
    let grant = manage(&scene.access, Some(&bearer(&key)), &need).await;
    let grant = grant.unwrap();
    grant.confirm().await.unwrap();
    scene.keys.delete_robot("boss").await.unwrap();
    let refused = grant.confirm().await.unwrap_err();
    assert_eq!(refused.error.kind(), ErrorKind::Unauthorized);
    assert_eq!(named(refused).as_deref(), Some("robot$boss"));
}

#[tokio::test]
async fn a_token_manages_no_more_than_it_covers() {
    let scene = scene();
    let query = "scope=repository:team/a:* repository:team/b:pull,push,delete registry:catalog:*";
    let query = query.replace(' ', "%20");
    let root = token(&scene.access, Some(&password("root")), &query).await;
    let ask = async |need: &ManagementNeed| outcome(&scene.access, &root, need).await;
    for need in [
        ManagementNeed::Login,
        ManagementNeed::Registry(Action::Audit),
        ManagementNeed::Registry(Action::Administer),
    ] {
        assert_eq!(ask(&need).await, Err(ErrorKind::Denied), "{need:?}");
    }
    assert_eq!(ask(&ManagementNeed::Known).await, Ok(()));
    let covered = in_repository(Action::Administer, "team/a");
    assert_eq!(ask(&covered).await, Ok(()));
    for name in ["team/b", "team/c"] {
        let need = in_repository(Action::Administer, name);
        let refusal = manage(&scene.access, Some(&root), &need).await.unwrap_err();
        assert_eq!(refusal.error.kind(), ErrorKind::Unauthorized);
        let challenge = refusal.challenge.unwrap();
        let challenge = challenge.to_str().unwrap();
        assert!(challenge.contains("insufficient_scope"), "{challenge}");
    }
    // Nor is it for a repository that is created under the name later.
    scene.deleted.0.store(true, Ordering::Relaxed);
    assert_eq!(ask(&covered).await, Err(ErrorKind::Unauthorized));
    let ann = token(
        &scene.access,
        Some(&password("ann")),
        "scope=repository:other:*",
    )
    .await;
    let need = in_repository(Action::Administer, "other");
    assert_eq!(
        outcome(&scene.access, &ann, &need).await,
        Err(ErrorKind::Denied)
    );
}

#[tokio::test]
async fn keys_are_made_by_users_who_logged_in() {
    let scene = scene();
    let need = ManagementNeed::Login;
    let denied = Err(ErrorKind::Denied);
    let ann = manage(&scene.access, Some(&password("ann")), &need)
        .await
        .unwrap();
    let ann = ann.principal().clone();
    let scoped = NewKey {
        scopes: Some(Scopes::parse(["repository:team/a:*"])),
        ..NewKey::default()
    };
    // A key that makes keys would have no end.
    for key in [NewKey::default(), scoped] {
        let (_, secret) = scene.keys.create(&ann, key, now()).await.unwrap();
        let refused = manage(&scene.access, Some(&bearer(&secret)), &need).await;
        let reason = refused.unwrap_err().error.to_string();
        assert!(reason.contains("with your password"), "{reason}");
        let key = bearer(&secret);
        assert_eq!(outcome(&scene.access, &key, &need).await, denied);
        assert_eq!(
            outcome(&scene.access, &key, &ManagementNeed::Known).await,
            Ok(())
        );
        let token = token(&scene.access, Some(&key), "").await;
        assert_eq!(outcome(&scene.access, &token, &need).await, denied);
    }
    let robot = Principal::robot("ci");
    let change = RobotChange::default();
    scene.keys.create_robot("ci", change, now()).await.unwrap();
    let (_, secret) = scene
        .keys
        .create(&robot, NewKey::default(), now())
        .await
        .unwrap();
    assert_eq!(
        outcome(&scene.access, &bearer(&secret), &need).await,
        denied
    );

    // A login that can't be asked later would leave keys without an end.
    let access = AccessControl::new(rules(&[]))
        .authenticator(Login::new(|_, password| async move {
            password.matches("right")
        }))
        .keys(scene.keys.clone());
    assert_eq!(outcome(&access, &password("ann"), &need).await, denied);
}

#[tokio::test]
async fn a_key_without_scopes_is_as_good_as_its_owner() {
    let scene = scene();
    let need = ManagementNeed::Login;
    let root = manage(&scene.access, Some(&password("root")), &need).await;
    let root = root.unwrap().principal().clone();
    let administer = ManagementNeed::Registry(Action::Administer);
    let (_, secret) = scene
        .keys
        .create(&root, NewKey::default(), now())
        .await
        .unwrap();
    let key = bearer(&secret);
    assert_eq!(outcome(&scene.access, &key, &administer).await, Ok(()));
    let everywhere = NewKey {
        scopes: Some(Scopes::parse([
            "repository:team/a:* registry:catalog:* registry:mount:pull",
        ])),
        ..NewKey::default()
    };
    let (_, secret) = scene.keys.create(&root, everywhere, now()).await.unwrap();
    let key = bearer(&secret);
    assert_eq!(
        outcome(&scene.access, &key, &administer).await,
        Err(ErrorKind::Denied)
    );
    let need = in_repository(Action::Administer, "team/a");
    assert_eq!(outcome(&scene.access, &key, &need).await, Ok(()));
}

#[tokio::test]
async fn nobody_gives_away_more_than_it_has() {
    let administer = ManagementNeed::Registry(Action::Administer);
    let giving = async |rules: Rules, who: &str, robot: &str, scopes: Option<&str>| {
        let access = scene_with(rules).access;
        let grant = manage(&access, Some(&password(who)), &administer)
            .await
            .unwrap();
        let scopes = scopes.map(|scopes| Scopes::parse([scopes]));
        let given = grant.require_giving(&Principal::robot(robot), scopes.as_ref());
        given.map_err(|error| error.kind())
    };
    let denied = Err(ErrorKind::Denied);
    // Who only administers can't pull by way of a robot.
    for (who, robot, scopes, may) in [
        ("root", "ci", None, Ok(())),
        ("root", "boss", None, Ok(())),
        ("root", "ci", Some("repository:team/a:pull,push"), Ok(())),
        ("root", "ci", Some("repository:kept/a:pull,push"), Ok(())),
        // Nobody deletes there.
        ("root", "ci", Some("repository:kept/a:delete"), denied),
        ("keeper", "ci", None, denied),
        ("keeper", "nobody", None, denied),
        ("keeper", "ci", Some("repository:team/a:pull"), denied),
        ("keeper", "ci", Some("registry:catalog:*"), denied),
        ("keeper", "ci", Some("registry:mount:pull"), denied),
        ("root", "ci", Some("registry:catalog:*"), Ok(())),
        ("root", "ci", Some("registry:mount:pull"), Ok(())),
    ] {
        let given = giving(rules(&[]), who, robot, scopes).await;
        assert_eq!(given, may, "{who} {robot} {scopes:?}");
    }
    // Of one repository, who may pull in no other.
    let more = ["user keeper is reader of team/**"];
    let scopes = Some("repository:team/a:pull");
    assert_eq!(giving(rules(&more), "keeper", "ci", scopes).await, Ok(()));
    // What nobody may do isn't given.
    let more = ["nobody may delete **"];
    assert_eq!(giving(rules(&more), "root", "ci", None).await, Ok(()));
    // What only the giver may not do would be.
    let more = ["user root may not delete **"];
    assert_eq!(giving(rules(&more), "root", "ci", None).await, denied);
    // Some manage and read; a robot that manages would let them.
    let more = [
        "user keeper is maintainer of **",
        "user keeper may not audit **",
    ];
    assert_eq!(giving(rules(&more), "keeper", "ci", None).await, Ok(()));
    assert_eq!(giving(rules(&more), "keeper", "boss", None).await, denied);
}

#[tokio::test]
async fn nobody_gives_away_what_a_condition_may_deny_it() {
    let rule = |sentence: &str| sentence.parse::<Rule>().unwrap();
    let elsewhere = |sentence: &str| rule(sentence).from("192.0.2.0/24".parse().unwrap());
    let later = |sentence: &str| rule(sentence).during("mon 00:00-00:01".parse().unwrap());
    let ending = |sentence: &str| rule(sentence).until(now() + std::time::Duration::from_hours(1));
    let giving = async |more: Vec<Rule>, who: &str, robot: &str, scopes: Option<&str>| {
        let rules = more.into_iter().fold(rules(&[]), Rules::rule);
        let access = scene_with(rules).access;
        let need = ManagementNeed::Known;
        let grant = manage(&access, Some(&password(who)), &need).await.unwrap();
        let scopes = scopes.map(|scopes| Scopes::parse([scopes]));
        let given = grant.require_giving(&Principal::robot(robot), scopes.as_ref());
        given.map_err(|error| error.kind())
    };
    let denied = Err(ErrorKind::Denied);
    let (pull, delete) = (
        Some("repository:team/a:pull"),
        Some("repository:team/a:delete"),
    );
    // What the giver is denied from another network, or at another time.
    for withheld in [&elsewhere as &dyn Fn(&str) -> Rule, &later] {
        let deny = || vec![withheld("user root may not delete team/**")];
        assert_eq!(giving(deny(), "root", "ci", None).await, denied);
        assert_eq!(giving(deny(), "root", "ci", delete).await, denied);
        assert_eq!(giving(deny(), "root", "ci", pull).await, Ok(()));
        // The robot is denied that, too.
        let deny = || vec![withheld("nobody may delete team/**")];
        assert_eq!(giving(deny(), "root", "ci", None).await, Ok(()));
        let deny = || vec![withheld("nobody except robot ci may delete team/**")];
        assert_eq!(giving(deny(), "root", "ci", None).await, denied);
        assert_eq!(giving(deny(), "root", "boss", None).await, Ok(()));
    }
    // What the giver is denied for some tags, or in some repositories.
    let deny = || vec![rule("nobody except robot ci may overwrite v* in team/**")];
    let overwrite = Some("repository:team/a:overwrite");
    assert_eq!(giving(deny(), "root", "ci", None).await, denied);
    assert_eq!(giving(deny(), "root", "ci", overwrite).await, denied);
    assert_eq!(giving(deny(), "root", "ci", pull).await, Ok(()));
    let deny = || vec![rule("users may not delete people/{user}/**")];
    assert_eq!(giving(deny(), "root", "ci", None).await, denied);
    // What the giver is allowed here only, or only until some time.
    let allowed = || vec![rule("user keeper is maintainer of **")];
    assert_eq!(giving(allowed(), "keeper", "ci", None).await, Ok(()));
    let allowed = || vec![ending("user keeper is maintainer of **")];
    assert_eq!(giving(allowed(), "keeper", "ci", None).await, denied);
    assert_eq!(giving(allowed(), "keeper", "ci", pull).await, denied);
    // What the robot is denied only until some time is given all the same.
    let most = "user keeper may list, pull, push, overwrite **";
    let deny = || vec![rule(most), rule("robot ci may not delete **")];
    assert_eq!(giving(deny(), "keeper", "ci", None).await, Ok(()));
    let deny = || vec![rule(most), ending("robot ci may not delete **")];
    assert_eq!(giving(deny(), "keeper", "ci", None).await, denied);
    // And so is what the robot is allowed elsewhere.
    let more = || {
        vec![
            rule("user keeper is maintainer of **"),
            rule("user keeper may not audit **"),
            elsewhere("robot late is auditor of **"),
        ]
    };
    assert_eq!(giving(more(), "keeper", "ci", None).await, Ok(()));
    assert_eq!(giving(more(), "keeper", "late", None).await, denied);
}

#[tokio::test]
async fn everybody_known_may_ask_about_itself() {
    let scene = scene();
    let explain = async |authorization: &str, action: Action, name: &str| {
        let grant = manage(&scene.access, Some(authorization), &ManagementNeed::Known).await;
        let mut inquiry = Inquiry::new(action);
        inquiry.principal = Some(Principal::new("root"));
        inquiry.repository = Some(name.parse().unwrap());
        grant.unwrap().explain_own(inquiry).granted
    };
    assert!(explain(&password("ann"), Action::Pull, "team/a").await);
    assert!(!explain(&password("ann"), Action::Pull, "other").await);
    let token = token(
        &scene.access,
        Some(&password("ann")),
        "scope=repository:team/a:pull",
    )
    .await;
    assert!(explain(&token, Action::Pull, "team/a").await);
    assert!(!explain(&token, Action::Push, "team/a").await);

    let need = ManagementNeed::Known;
    let auditor = manage(&scene.access, Some(&password("auditor")), &need)
        .await
        .unwrap();
    let ann = manage(&scene.access, Some(&password("ann")), &need)
        .await
        .unwrap();
    let (team, other) = ("team/a".parse().unwrap(), "other".parse().unwrap());
    assert!(auditor.permits(Action::Audit, None) && auditor.permits(Action::Audit, Some(&other)));
    assert!(ann.permits(Action::Audit, Some(&team)) && !ann.permits(Action::Audit, Some(&other)));
    assert!(!ann.permits(Action::Audit, None));
}

#[tokio::test]
async fn what_somebody_asks_about_itself_is_asked_from_where_it_is() {
    let office = "user ben may pull **".parse::<Rule>().unwrap();
    let office = office.from("10.0.0.0/8".parse().unwrap());
    let access = AccessControl::new(Rules::new().rule(office)).authenticator(People);
    for (address, may) in [("10.1.2.3", true), ("192.0.2.1", false)] {
        let origin = |address: &str| RequestOrigin {
            address: Some(address.parse().unwrap()),
            ..RequestOrigin::default()
        };
        let headers = headers(Some(&password("ben")));
        let sender = Sender::new(&headers, origin(address));
        let grant = access.authorize_management(&sender, &ManagementNeed::Known);
        let mut inquiry = Inquiry::new(Action::Pull);
        inquiry.repository = Some("a".parse().unwrap());
        inquiry.origin = origin("10.0.0.1");
        let explained = grant.await.unwrap().explain_own(inquiry);
        assert_eq!(explained.granted, may, "{explained}");
    }
}

/// Has a say in what is deleted.
#[derive(Debug)]
struct Frozen;

#[async_trait]
impl Review for Frozen {
    async fn review(&self, question: &Question<'_>, actions: Actions) -> Result<Decision> {
        let is_frozen = question
            .repository
            .is_some_and(|name| name.as_str() == "team/a");
        Ok(if is_frozen && actions.contains(Action::Delete.into()) {
            Decision::deny(Action::Delete, "frozen until Monday")
        } else {
            Decision::ABSTAIN
        })
    }
}

#[tokio::test]
async fn who_has_a_say_in_deletions_has_it_in_that_of_a_repository() {
    let access = scene().access.review(Frozen);
    for (name, may) in [("team/a", Err(ErrorKind::Denied)), ("team/b", Ok(()))] {
        let both = [Action::Administer, Action::Delete].into();
        let need = ManagementNeed::Repository(both, name.parse().unwrap());
        assert_eq!(
            outcome(&access, &password("root"), &need).await,
            may,
            "{name}"
        );
    }
}

#[tokio::test]
async fn a_token_permits_nothing_in_the_registry_as_a_whole() {
    let scene = scene();
    let query = "scope=repository:team/a:pull,push,delete";
    let token = token(&scene.access, Some(&password("root")), query).await;
    for (way, may) in [(password("root"), true), (token, false)] {
        let grant = manage(&scene.access, Some(&way), &ManagementNeed::Known);
        let grant = grant.await.unwrap();
        assert_eq!(grant.permits(Action::Pull, None), may);
        assert_eq!(grant.permits(Action::Administer, None), may);
        assert!(grant.permits(Action::Pull, Some(&"team/a".parse().unwrap())));
    }
}
