//! Who gets in, seen from outside: headers and an operation go in, a grant or
//! a refusal comes out.
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

use async_trait::async_trait;
use http::{HeaderMap, HeaderValue, Method};
use registry_auth::{
    AccessControl, Authenticator, Caller, Challenge, Credentials, Decision, Grant, Login, Policy,
    Principal, Question, Refusal, Review, Rules, Sender, TokenIssuer, TokenLimits,
    wrong_credentials,
};
use registry_core::{
    Action, Actions, Clock, Epochs, ErrorKind, Operation, RepositoryEpoch, RepositoryName,
    RequestOrigin, Result, Scopes,
};

use self::sender::{basic, headers};

const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

async fn ask(
    access: &AccessControl,
    authorization: Option<&str>,
    method: Method,
    target: &str,
) -> Result<Grant, Refusal> {
    let (path, query) = target
        .split_once('?')
        .map_or((target, None), |(p, q)| (p, Some(q)));
    let operation = Operation::parse(&method, path, query).unwrap();
    access
        .authorize(
            &Sender::new(&headers(authorization), RequestOrigin::default()),
            &operation,
        )
        .await
}

/// Everybody may pull from library, those who are known may push there, and
/// the team keeps to itself.
fn private_registry() -> AccessControl {
    let rules = Rules::new()
        .anonymous("library/**", &[Action::Pull])
        .signed_in("library/**", &[Action::Pull, Action::Push])
        .user("ci", "team/**", &[Action::Pull, Action::Push]);
    AccessControl::new(rules).authenticator(Login::new(|user, password| async move {
        (user == "ci" || user == "guest") & password.matches("secret")
    }))
}

fn refused(answer: Result<Grant, Refusal>, kind: ErrorKind) -> Option<HeaderValue> {
    let refusal = answer.expect_err("refused");
    assert_eq!(refusal.error.kind(), kind, "{}", refusal.error);
    refusal.challenge
}

#[tokio::test]
async fn an_open_registry_lets_everybody_do_everything_and_ignores_credentials() {
    let access = AccessControl::open();
    for authorization in [None, Some("Basic Zm9vOmJhcg=="), Some("garbage")] {
        ask(&access, authorization, Method::GET, "/v2/")
            .await
            .unwrap();
        let grant = ask(&access, authorization, Method::PUT, "/v2/a/manifests/v1")
            .await
            .unwrap();
        let content: Actions = Action::ALL
            .into_iter()
            .filter(|action| !matches!(action, Action::Administer | Action::Audit))
            .collect();
        assert_eq!(grant.target.unwrap().actions(), content);
        assert_eq!(grant.actor.name, None);
        let grant = ask(&access, authorization, Method::GET, "/v2/_catalog")
            .await
            .unwrap();
        assert!(grant.catalog.unwrap().is_unlimited());
    }
}

#[tokio::test]
async fn whoever_is_unknown_is_asked_to_log_in_where_it_helps() {
    let access = private_registry();
    ask(
        &access,
        None,
        Method::GET,
        "/v2/library/alpine/manifests/latest",
    )
    .await
    .unwrap();
    for (method, target) in [
        (Method::GET, "/v2/"),
        (Method::GET, "/v2/_catalog"),
        (Method::GET, "/v2/team/app/manifests/latest"),
        (Method::POST, "/v2/library/alpine/blobs/uploads/"),
        (Method::DELETE, "/v2/library/alpine/manifests/latest"),
    ] {
        let challenge = refused(
            ask(&access, None, method, target).await,
            ErrorKind::Unauthorized,
        );
        assert_eq!(challenge.unwrap(), "Basic realm=\"registry\"", "{target}");
    }
}

#[tokio::test]
async fn the_challenge_can_name_another_realm() {
    let access = private_registry().challenge(Challenge::basic("our images").unwrap());
    let challenge = refused(
        ask(&access, None, Method::GET, "/v2/").await,
        ErrorKind::Unauthorized,
    );
    assert_eq!(challenge.unwrap(), "Basic realm=\"our images\"");
}

#[tokio::test]
async fn without_logins_nobody_is_asked_to_log_in() {
    let access = AccessControl::new(Rules::new().anonymous("**", &[Action::Pull]));
    ask(&access, None, Method::GET, "/v2/").await.unwrap();
    ask(&access, None, Method::GET, "/v2/a/tags/list")
        .await
        .unwrap();
    let answer = ask(&access, None, Method::POST, "/v2/a/blobs/uploads/").await;
    assert_eq!(refused(answer, ErrorKind::Denied), None);
}

#[tokio::test]
async fn where_nobody_gains_by_a_login_none_is_asked_for() {
    let access = AccessControl::new(Rules::new().anonymous("**", &[Action::Pull]))
        .authenticator(Login::new(|_, _| async { true }));
    for target in ["/v2/", "/v2/_catalog"] {
        ask(&access, None, Method::GET, target).await.unwrap();
    }
}

#[tokio::test]
async fn wrong_credentials_are_refused_even_where_none_are_needed() {
    let access = private_registry();
    for authorization in [
        basic("ci", "wrong").as_str(),
        &basic("nobody", "secret"),
        "Bearer abc",
        "Negotiate abc",
        "Basic !",
    ] {
        for target in ["/v2/", "/v2/library/alpine/manifests/latest"] {
            let answer = ask(&access, Some(authorization), Method::GET, target).await;
            assert!(
                refused(answer, ErrorKind::Unauthorized).is_some(),
                "{authorization}"
            );
        }
    }
}

#[tokio::test]
async fn s_46_a_wrong_password_and_an_unknown_name_get_the_same_answer() {
    let access = private_registry();
    let answer = async |user| {
        let authorization = basic(user, "wrong");
        let refusal = ask(&access, Some(&authorization), Method::GET, "/v2/")
            .await
            .unwrap_err();
        (format!("{:#?}", refusal.error), refusal.challenge)
    };
    assert_eq!(answer("ci").await, answer("nobody").await);
}

#[tokio::test]
async fn whoever_is_known_gets_what_the_rules_allow() {
    let access = private_registry();
    let ci = basic("ci", "secret");
    let guest = basic("guest", "secret");

    let grant = ask(&access, Some(&ci), Method::GET, "/v2/").await.unwrap();
    assert_eq!(grant.actor.name.as_deref(), Some("ci"));

    let target = "/v2/team/app/blobs/uploads/";
    let grant = ask(&access, Some(&ci), Method::POST, target).await.unwrap();
    let access_right = grant.target.unwrap();
    assert_eq!(access_right.repository().as_str(), "team/app");
    assert_eq!(
        access_right.actions(),
        [Action::List, Action::Pull, Action::Push].into()
    );
    assert_eq!(access_right.actor().name.as_deref(), Some("ci"));

    // Whoever is known and may not is told so: another login wouldn't help.
    let answer = ask(&access, Some(&guest), Method::POST, target).await;
    assert_eq!(refused(answer, ErrorKind::Denied), None);
}

#[tokio::test]
async fn s_02_a_mount_needs_the_right_to_pull_from_its_source() {
    let access = private_registry();
    let guest = basic("guest", "secret");
    let mount = async |from: &str| {
        let target = format!("/v2/library/new/blobs/uploads/?mount={DIGEST}{from}");
        ask(&access, Some(&guest), Method::POST, &target)
            .await
            .unwrap()
    };

    let allowed = mount("&from=library/alpine").await;
    assert_eq!(
        allowed.source.unwrap().repository().as_str(),
        "library/alpine"
    );
    assert!(allowed.target.is_some());

    let forbidden = mount("&from=team/app").await;
    assert!(forbidden.source.is_none() && forbidden.catalog.is_none());
    assert!(forbidden.target.is_some());

    let catalog = mount("").await.catalog.unwrap();
    assert!(catalog.permits(&"library/alpine".parse().unwrap()));
    assert!(!catalog.permits(&"team/app".parse().unwrap()));
}

#[tokio::test]
async fn s_15_a_list_is_looked_for_where_the_rules_let_the_caller_see() {
    let rules = Rules::new()
        .sentence("anyone is reader of public/**, single, open")
        .sentence("users are readers of people/{user}/**")
        .sentence("user root is admin of **")
        .sentence("user ann may list teams/*/app")
        .sentence("user ann may pull kept/**")
        .sentence("nobody may list public/hidden/**, open")
        .sentence("nobody may pull kept/in/**");
    let access =
        AccessControl::new(rules.check().unwrap()).authenticator(Login::new(|_, _| async { true }));
    let names = [
        "kept/in/a",
        "kept/out",
        "open",
        "other",
        "people/ann/a",
        "people/ben/a",
        "public/a",
        "public/hidden/a",
        "single",
        "singles",
        "teams/web/app",
    ];
    for (user, expected) in [
        ("ben", &["people/ben/a", "public/a", "single"][..]),
        (
            "ann",
            &[
                "kept/out",
                "people/ann/a",
                "public/a",
                "single",
                "teams/web/app",
            ],
        ),
        (
            "root",
            &[
                "kept/out",
                "other",
                "people/ann/a",
                "people/ben/a",
                "public/a",
                "single",
                "singles",
                "teams/web/app",
            ],
        ),
    ] {
        let authorization = basic(user, "x");
        let grant = ask(&access, Some(&authorization), Method::GET, "/v2/_catalog").await;
        let catalog = grant.unwrap().catalog.unwrap();
        let looked_at = |name: &&str| catalog.reach().contains(&name.parse().unwrap());
        let looked_at: Vec<_> = names.into_iter().filter(looked_at).collect();
        assert_eq!(looked_at, expected, "{user}");
        let seen = |name: &&str| catalog.permits(&name.parse().unwrap());
        assert_eq!(names.into_iter().filter(seen).collect::<Vec<_>>(), expected);
    }
}

#[tokio::test]
async fn s_15_listings_show_what_the_caller_may_pull() {
    let access = private_registry();
    let visible = async |user| {
        let authorization = basic(user, "secret");
        let grant = ask(&access, Some(&authorization), Method::GET, "/v2/_catalog")
            .await
            .unwrap();
        let catalog = grant.catalog.unwrap();
        ["library/alpine", "team/app", "other"]
            .into_iter()
            .filter(|name| catalog.permits(&name.parse().unwrap()))
            .collect::<Vec<_>>()
    };
    assert_eq!(visible("guest").await, ["library/alpine"]);
    assert_eq!(visible("ci").await, ["library/alpine", "team/app"]);
}

#[derive(Debug)]
struct NoDeletes;

impl Policy for NoDeletes {
    fn decide(&self, _: &Question<'_>) -> Decision {
        Decision::deny(Action::Delete, "deleting is off until the audit ends")
    }
}

#[tokio::test]
async fn a_denial_wins_and_its_reason_is_for_those_who_may_pull() {
    let rules = Rules::new().user("ci", "team/**", &Action::ALL).user(
        "cleaner",
        "team/**",
        &[Action::Delete],
    );
    let access = AccessControl::new(rules)
        .policy(NoDeletes)
        .authenticator(Login::new(|_, password| async move {
            password.matches("secret")
        }));
    let reason = async |user| {
        let authorization = basic(user, "secret");
        let target = "/v2/team/app/manifests/v1";
        let refusal = ask(&access, Some(&authorization), Method::DELETE, target)
            .await
            .unwrap_err();
        assert_eq!(refusal.error.kind(), ErrorKind::Denied);
        refusal.error.to_string()
    };
    assert_eq!(reason("ci").await, "deleting is off until the audit ends");
    assert!(!reason("cleaner").await.contains("audit"));
    assert_eq!(reason("cleaner").await, reason("nobody-special").await);
}

/// Knows sessions by a header, as a program behind its own front end would.
#[derive(Debug)]
struct Session;

#[async_trait::async_trait]
impl Authenticator for Session {
    async fn authenticate(&self, caller: &Caller<'_>) -> Result<Option<Principal>> {
        match caller.headers.get("x-session").map(HeaderValue::as_bytes) {
            Some(b"7") => Ok(Some(Principal::new("seven").member_of("odd"))),
            Some(_) => Err(wrong_credentials()),
            None => Ok(None),
        }
    }
}

/// Fails whenever there are credentials.
#[derive(Debug)]
struct Broken;

#[async_trait::async_trait]
impl Authenticator for Broken {
    async fn authenticate(&self, caller: &Caller<'_>) -> Result<Option<Principal>> {
        match caller.credentials {
            Credentials::None => Ok(None),
            _ => Err(ErrorKind::Unavailable.error("the directory is down")),
        }
    }
}

#[tokio::test]
async fn authenticators_are_asked_in_turn() {
    let rules = Rules::new().group("odd", "a", &[Action::Pull]);
    let access = AccessControl::new(rules)
        .authenticator(Session)
        .authenticator(Login::new(|user, _| async move {
            (user == "eight").then(|| Principal::new("eight").member_of("odd"))
        }))
        .authenticator(Broken);
    let operation = Operation::parse(&Method::GET, "/v2/a/tags/list", None).unwrap();
    let ask = async |headers: HeaderMap| {
        access
            .authorize(&Sender::new(&headers, RequestOrigin::default()), &operation)
            .await
            .map(|grant| grant.actor.name.clone().unwrap())
            .map_err(|refusal| refusal.error.kind())
    };
    let session = |value| {
        HeaderMap::from_iter([(
            http::HeaderName::from_static("x-session"),
            HeaderValue::from_static(value),
        )])
    };
    assert_eq!(ask(session("7")).await, Ok("seven".to_owned()));
    assert_eq!(ask(session("8")).await, Err(ErrorKind::Unauthorized));
    assert_eq!(
        ask(headers(Some(&basic("eight", "")))).await,
        Ok("eight".to_owned())
    );
    assert_eq!(
        ask(headers(Some(&basic("nine", "")))).await,
        Err(ErrorKind::Unavailable)
    );
    assert_eq!(ask(headers(None)).await, Err(ErrorKind::Unauthorized));
}

#[tokio::test]
async fn s_44_a_header_full_of_dots_is_refused_at_once() {
    let dots = format!("Bearer {}", ".".repeat(64 << 10));
    let access = private_registry();
    let answer = ask(&access, Some(&dots), Method::GET, "/v2/").await;
    assert!(refused(answer, ErrorKind::Unauthorized).is_some());
}

/// Whoever logs in by one of these names is somebody of another kind.
fn kinds() -> Login<impl Fn(String, registry_auth::Secret) -> std::future::Ready<Option<Principal>>>
{
    Login::new(|user: String, _| {
        std::future::ready(Some(match user.as_str() {
            "robot" => Principal::robot("ci"),
            "job" => Principal::workload("github", "repo:org/app"),
            "talkative" => (0..65).fold(Principal::new(user), |principal, number| {
                principal.with_claim(number.to_string(), "x")
            }),
            name => Principal::new(name),
        }))
    })
}

#[tokio::test]
async fn events_tell_users_robots_and_jobs_apart_and_nobody_poses_as_another() {
    let access =
        AccessControl::new(Rules::new().signed_in("**", &[Action::Pull])).authenticator(kinds());
    let name = async |user| {
        ask(&access, Some(&basic(user, "x")), Method::GET, "/v2/")
            .await
            .map(|grant| grant.actor.name.clone().unwrap())
            .map_err(|refusal| refusal.error.to_string())
    };
    assert_eq!(name("ci").await.unwrap(), "ci");
    assert_eq!(name("robot").await.unwrap(), "robot$ci");
    assert_eq!(name("job").await.unwrap(), "github:repo:org/app");
    let wrong = wrong_credentials().to_string();
    assert_eq!(name("robot$ci").await.unwrap_err(), wrong);
    assert_eq!(name("talkative").await.unwrap_err(), wrong);
}

/// Nobody is to let these in any more.
#[derive(Debug)]
struct Banned(Principal);

impl Policy for Banned {
    fn decide(&self, _: &Question<'_>) -> Decision {
        Decision::ABSTAIN
    }

    fn is_disabled(&self, principal: &Principal) -> bool {
        principal.name() == self.0.name() && principal.kind() == self.0.kind()
    }
}

#[tokio::test]
async fn whoever_is_disabled_is_as_unknown() {
    let access = private_registry().policy(Arc::new(Banned(Principal::new("ci"))));
    let answer = async |user, password| {
        let authorization = basic(user, password);
        let target = "/v2/library/alpine/manifests/latest";
        let refusal = ask(&access, Some(&authorization), Method::GET, target)
            .await
            .map(|grant| grant.actor.name.clone());
        refusal.map_err(|refusal| (format!("{:#?}", refusal.error), refusal.challenge))
    };
    assert_eq!(answer("guest", "secret").await, Ok(Some("guest".into())));
    assert!(answer("ci", "secret").await.is_err());
    assert_eq!(answer("ci", "secret").await, answer("ci", "wrong").await);
}

#[tokio::test]
async fn nobody_unknown_manages_anything() {
    // Where a program's own policy allows everything to everybody, even then.
    for access in [
        AccessControl::open(),
        AccessControl::new(Rules::new().anonymous("**", &Action::ALL)).authenticator(kinds()),
    ] {
        let target = "/v2/a/manifests/v1";
        let grant = ask(&access, None, Method::DELETE, target).await.unwrap();
        let target = grant.target.unwrap();
        assert!(!target.permits(Action::Administer) && !target.permits(Action::Audit));
    }
    let access =
        AccessControl::new(Rules::new().anonymous("**", &Action::ALL)).authenticator(kinds());
    let grant = ask(
        &access,
        Some(&basic("ann", "")),
        Method::GET,
        "/v2/a/tags/list",
    )
    .await;
    assert!(grant.unwrap().target.unwrap().permits(Action::Administer));
}

/// Lets in holders of tokens for `scope`, whoever they are.
#[derive(Debug)]
struct Ticket {
    holder: Principal,
    scope: &'static str,
    issuer: TokenIssuer,
}

#[async_trait::async_trait]
impl Authenticator for Ticket {
    async fn authenticate(&self, caller: &Caller<'_>) -> Result<Option<Principal>> {
        let limits = TokenLimits::new(Scopes::parse([self.scope]), self.issuer, Stopped.now());
        Ok(match caller.credentials {
            Credentials::Bearer(_) => Some(self.holder.clone().limited(limits)),
            _ => None,
        })
    }
}

#[tokio::test]
async fn a_token_gives_no_more_than_it_covers_and_its_holder_may() {
    let rules = || {
        Rules::new().anonymous("public/*", &[Action::Pull]).user(
            "ann",
            "team/*",
            &[Action::Pull, Action::Push],
        )
    };
    let scope =
        "repository:team/a:pull,delete repository:team/b:push repository:public/a:pull,push";
    let issuer = TokenIssuer::Own;
    let with = |holder, scope| {
        AccessControl::new(rules()).authenticator(Ticket {
            holder,
            scope,
            issuer,
        })
    };
    let ann = with(Principal::new("ann"), scope);
    let nobody = with(Principal::anonymous(), scope);
    let granted = async |access: &AccessControl, method, target| {
        ask(access, Some("Bearer x"), method, target)
            .await
            .map(|grant| (grant.target.unwrap().actions(), grant.actor.name.clone()))
            .map_err(|refusal| refusal.error.kind())
    };
    let name = Some("ann".to_owned());
    assert_eq!(
        granted(&ann, Method::GET, "/v2/team/a/tags/list").await,
        Ok(([Action::List, Action::Pull].into(), name.clone()))
    );
    assert_eq!(
        granted(&ann, Method::POST, "/v2/team/b/blobs/uploads/").await,
        Ok((Action::Push.into(), name))
    );
    for (method, target) in [
        (Method::POST, "/v2/team/a/blobs/uploads/"),
        (Method::DELETE, "/v2/team/a/manifests/v1"),
        (Method::GET, "/v2/team/b/tags/list"),
        (Method::GET, "/v2/team/c/tags/list"),
        (Method::GET, "/v2/public/b/tags/list"),
        (Method::POST, "/v2/public/a/blobs/uploads/"),
    ] {
        for access in [&ann, &nobody] {
            assert!(
                granted(access, method.clone(), target).await.is_err(),
                "{target}"
            );
        }
    }
    assert_eq!(
        granted(&nobody, Method::GET, "/v2/public/a/tags/list").await,
        Ok(([Action::List, Action::Pull].into(), None))
    );
    assert!(
        granted(&nobody, Method::GET, "/v2/team/a/tags/list")
            .await
            .is_err()
    );

    // The list of repositories is a right of its own, within the policies.
    let catalog = ask(&ann, Some("Bearer x"), Method::GET, "/v2/_catalog").await;
    assert!(catalog.is_err());
    let access = with(Principal::new("ann"), "registry:catalog:*");
    let grant = ask(&access, Some("Bearer x"), Method::GET, "/v2/_catalog")
        .await
        .unwrap();
    let catalog = grant.catalog.unwrap();
    assert!(catalog.permits(&"team/c".parse().unwrap()));
    assert!(!catalog.permits(&"other".parse().unwrap()) && !catalog.is_unlimited());
}

/// A policy of a program's own, which says nothing of lists.
#[derive(Debug)]
struct Own;

impl Policy for Own {
    fn decide(&self, question: &Question<'_>) -> Decision {
        if question.tags.iter().any(|tag| tag.as_str() == "secret") {
            return Decision::deny_silently(Actions::ALL);
        }
        Decision::allow(Action::Pull).and(Decision::allow(Action::List))
    }
}

#[tokio::test]
async fn s_15_a_list_of_tags_shows_those_that_may_be_listed() {
    let rules = || {
        Rules::new()
            .sentence("user vic may list, pull v* in team/**")
            .sentence("user ann may pull team/**")
            .sentence("user ben may pull team/**")
            .sentence("user ben may push v* to team/**")
    };
    let login = || Login::new(|_, _| async { true });
    let shown = async |access: &AccessControl, user: &str| {
        let target = "/v2/team/app/tags/list";
        let grant = ask(access, Some(&basic(user, "x")), Method::GET, target).await;
        let access = grant.unwrap().target.unwrap();
        let tags = ["v1", "latest", "secret"].into_iter();
        let tags: Vec<_> = tags
            .filter(|tag| access.shows(&tag.parse().unwrap()))
            .collect();
        (access.shows_all_tags(), tags)
    };
    for access in [
        AccessControl::new(rules()),
        AccessControl::new(Arc::new(rules())),
    ] {
        let access = access.authenticator(login());
        assert_eq!(shown(&access, "vic").await, (false, vec!["v1"]));
        for user in ["ann", "ben"] {
            let all = vec!["v1", "latest", "secret"];
            assert_eq!(shown(&access, user).await, (true, all), "{user}");
        }
    }
    let own = AccessControl::new(Own).authenticator(login());
    assert_eq!(shown(&own, "ann").await, (false, vec!["v1", "latest"]));
    assert!(shown(&AccessControl::open(), "ann").await.0);
}

#[tokio::test]
async fn a_mount_is_looked_for_where_the_caller_may_pull_though_not_list() {
    let rules = || {
        Rules::new()
            .sentence("user ann is writer of **")
            .sentence("nobody may list hidden/**")
    };
    let access = AccessControl::new(rules()).authenticator(Login::new(|_, _| async { true }));
    let mount = format!("/v2/a/blobs/uploads/?mount={DIGEST}");
    let ann = basic("ann", "x");
    let grant = ask(&access, Some(&ann), Method::POST, &mount).await;
    let hidden = "hidden/a".parse().unwrap();
    let catalog = grant.unwrap().catalog.unwrap();
    assert!(catalog.reach().contains(&hidden) && catalog.permits(&hidden));
    let grant = ask(&access, Some(&ann), Method::GET, "/v2/_catalog").await;
    assert!(!grant.unwrap().catalog.unwrap().reach().contains(&hidden));
    let open = ask(&AccessControl::open(), None, Method::GET, "/v2/_catalog").await;
    assert!(open.unwrap().catalog.unwrap().is_unlimited());
}

#[tokio::test]
async fn a_list_is_looked_for_below_the_names_of_groups_that_names_may_begin_with() {
    let reach = async |groups: Vec<String>| {
        let access = AccessControl::new(Rules::new().sentence("users may pull teams/{group}/**"))
            .authenticator(Login::new(move |user, _| {
                let member = groups.iter().fold(Principal::new(user), |member, group| {
                    member.member_of(group)
                });
                async { Some(member) }
            }));
        let catalog = ask(
            &access,
            Some(&basic("ann", "x")),
            Method::GET,
            "/v2/_catalog",
        )
        .await;
        let catalog = catalog.unwrap().catalog.unwrap();
        let looks = |name: &&str| catalog.reach().contains(&name.parse().unwrap());
        ["teams/web/a", "teams/ops/hidden/a", "teams/other/a"]
            .into_iter()
            .filter(looks)
            .collect::<Vec<_>>()
    };
    let groups = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let odd = groups(&["web", "ops/hidden", ""]);
    assert_eq!(reach(odd).await, ["teams/web/a"]);
    // Beyond so many, everything that the pattern begins with is looked through.
    let many = |count: usize| (0..count).map(|number| format!("g{number}")).collect();
    assert!(reach(many(1024)).await.is_empty());
    for count in [1025, 1026] {
        assert_eq!(reach(many(count)).await.len(), 3, "{count}");
    }
}

/// Lets in whoever calls itself so, and says where that comes from.
#[derive(Debug)]
struct Front;

#[async_trait::async_trait]
impl Authenticator for Front {
    async fn authenticate(&self, caller: &Caller<'_>) -> Result<Option<Principal>> {
        let name = caller
            .headers
            .get("x-user")
            .map(|name| name.to_str().unwrap());
        Ok(name.map(Principal::new))
    }

    fn source(&self) -> &'static str {
        "front"
    }
}

#[tokio::test]
async fn everybody_is_said_to_come_from_who_knows_them() {
    let front: Arc<dyn Authenticator> = Arc::new(Front);
    let access = AccessControl::new(Rules::new())
        .authenticator(Session)
        .authenticator(front);
    for (header, value, source) in [("x-session", "7", "custom"), ("x-user", "ann", "front")] {
        let headers = HeaderMap::from_iter([(
            http::HeaderName::from_static(header),
            HeaderValue::from_static(value),
        )]);
        let sender = Sender::new(&headers, RequestOrigin::default());
        let known = access.identify(&sender).await.unwrap().unwrap();
        assert_eq!(known.source(), source);
    }
}

#[tokio::test]
async fn a_refusal_says_who_was_refused() {
    let access = private_registry();
    let refusal = ask(
        &access,
        Some(&basic("guest", "secret")),
        Method::GET,
        "/v2/team/app/tags/list",
    )
    .await
    .unwrap_err();
    assert_eq!(refusal.error.kind(), ErrorKind::Denied);
    assert_eq!(refusal.actor.unwrap().name.as_deref(), Some("guest"));
}

#[tokio::test]
async fn a_login_may_fail() {
    let access = AccessControl::new(Rules::new()).authenticator(Login::new(|user, _| async move {
        match user.as_str() {
            "ann" => Ok(true),
            "ben" => Ok(false),
            _ => Err(ErrorKind::Unavailable.error("the directory is down")),
        }
    }));
    for (user, expected) in [
        ("ann", None),
        ("ben", Some(ErrorKind::Unauthorized)),
        ("cyn", Some(ErrorKind::Unavailable)),
    ] {
        let headers = headers(Some(&basic(user, "x")));
        let sender = Sender::new(&headers, RequestOrigin::default());
        let known = access.identify(&sender).await;
        assert_eq!(known.err().map(|refusal| refusal.error.kind()), expected);
    }
}

/// Refuses everybody, having checked a password or not, or remembers whether it was to
/// let somebody in.
#[derive(Debug, Clone)]
enum Guard {
    Refuses { checks: bool },
    Second(Arc<std::sync::Mutex<Vec<bool>>>),
}

#[async_trait::async_trait]
impl Authenticator for Guard {
    async fn authenticate(&self, caller: &Caller<'_>) -> Result<Option<Principal>> {
        match self {
            Self::Refuses { checks } => {
                if *checks {
                    caller.admit()?;
                }
                Err(wrong_credentials())
            }
            Self::Second(asked) => {
                caller.admit()?;
                let ann = Principal::new("ann");
                asked.lock().unwrap().push(caller.lets_in(&ann));
                Ok(Some(ann))
            }
        }
    }
}

#[tokio::test]
async fn whoever_comes_later_is_asked_about_a_password_that_was_checked_and_lets_nobody_in() {
    for (checks, expected) in [(true, &[false][..]), (false, &[])] {
        let asked = Arc::default();
        let access = AccessControl::new(Rules::new())
            .authenticator(Guard::Refuses { checks })
            .authenticator(Guard::Second(Arc::clone(&asked)));
        let headers = headers(Some(&basic("ann", "x")));
        let sender = Sender::new(&headers, RequestOrigin::default());
        let refusal = access.identify(&sender).await.unwrap_err();
        assert_eq!(refusal.error.kind(), ErrorKind::Unauthorized);
        assert_eq!(*asked.lock().unwrap(), expected);
    }
    let asked = Arc::default();
    let second = Guard::Second(Arc::clone(&asked));
    let access = AccessControl::new(Rules::new()).authenticator(second);
    let headers = headers(Some(&basic("ann", "x")));
    let sender = Sender::new(&headers, RequestOrigin::default());
    assert!(access.identify(&sender).await.unwrap().is_some());
    assert_eq!(*asked.lock().unwrap(), [true]);
}

#[tokio::test]
async fn a_mount_asks_for_a_token_that_covers_its_source() {
    let rules = || Rules::new().user("ann", "team/*", &[Action::Pull, Action::Push]);
    let scope = "repository:team/a:pull repository:team/b:push repository:team/d: \
                 repository:other/a:pull";
    let with = |scope| {
        let holder = Principal::new("ann");
        let issuer = TokenIssuer::Own;
        let ticket = Ticket {
            holder,
            scope,
            issuer,
        };
        AccessControl::new(rules()).authenticator(ticket)
    };
    let ann = with(scope);
    let mount = async |access: &AccessControl, from: &str| {
        let target = format!("/v2/team/b/blobs/uploads/?mount={DIGEST}{from}");
        ask(access, Some("Bearer x"), Method::POST, &target).await
    };
    let source = mount(&ann, "&from=team/a").await.unwrap().source;
    assert_eq!(source.unwrap().repository().as_str(), "team/a");
    // Asked for and refused, by the token server or by the policies.
    for from in ["team/d", "team/b", "other/a", "other/b"] {
        let grant = mount(&ann, &format!("&from={from}")).await.unwrap();
        assert!(grant.source.is_none(), "{from}");
    }
    // Not asked for yet.
    refused(mount(&ann, "&from=team/c").await, ErrorKind::Unauthorized);

    refused(mount(&ann, "").await, ErrorKind::Unauthorized);
    let ann = with("repository:team/b:push registry:mount:pull");
    let sources = mount(&ann, "").await.unwrap().catalog.unwrap();
    assert!(sources.permits(&"team/c".parse().unwrap()));
    assert!(!sources.permits(&"other/a".parse().unwrap()) && !sources.is_unlimited());
}

/// Stands still in 2020.
#[derive(Debug)]
struct Stopped;

impl Clock for Stopped {
    fn now(&self) -> std::time::SystemTime {
        std::time::UNIX_EPOCH + std::time::Duration::from_hours(438_288)
    }
}

/// Closed since then.
#[derive(Debug)]
struct OpenUntil(std::time::SystemTime);

impl Policy for OpenUntil {
    fn decide(&self, question: &Question<'_>) -> Decision {
        if question.at < self.0 {
            Decision::allow(Action::Pull)
        } else {
            Decision::ABSTAIN
        }
    }
}

#[tokio::test]
async fn policies_go_by_the_clock_of_the_program() {
    let ask_until = async |until| {
        let access = AccessControl::new(OpenUntil(until)).clock(Stopped);
        ask(&access, None, Method::GET, "/v2/a/tags/list")
            .await
            .is_ok()
    };
    assert!(!ask_until(Stopped.now()).await);
    assert!(ask_until(Stopped.now() + std::time::Duration::from_secs(1)).await);
}

/// Says when the repository `team/a` was deleted last.
#[derive(Debug)]
struct DeletedAt(Option<std::time::SystemTime>);

#[async_trait::async_trait]
impl Epochs for DeletedAt {
    async fn epoch(&self, repository: &RepositoryName) -> Result<RepositoryEpoch> {
        let since = self.0.filter(|_| repository.as_str() == "team/a");
        Ok(RepositoryEpoch {
            number: since.map_or(0, |_| 1),
            since,
        })
    }
}

#[tokio::test]
async fn s_32_a_token_of_another_issuer_is_of_a_repository_that_was_there() {
    let second = std::time::Duration::from_secs(1);
    for (deleted, good) in [
        (None, true),
        (Some(Stopped.now() - 61 * second), true),
        // The issuer's clock may be ahead by a minute.
        (Some(Stopped.now() - 60 * second), false),
        (Some(Stopped.now()), false),
        (Some(Stopped.now() + second), false),
    ] {
        let ticket = Ticket {
            holder: Principal::new("ann"),
            scope: "repository:team/a:pull repository:team/b:pull,push",
            issuer: TokenIssuer::Foreign,
        };
        let access = AccessControl::new(Rules::new().sentence("users are writers of team/*"))
            .authenticator(ticket)
            .epochs(DeletedAt(deleted));
        let mount = format!("/v2/team/b/blobs/uploads/?mount={DIGEST}&from=team/a");
        for (method, target) in [
            (Method::GET, "/v2/team/a/tags/list"),
            (Method::POST, &*mount),
        ] {
            let answer = ask(&access, Some("Bearer x"), method, target).await;
            let kind = answer.map(drop).map_err(|refusal| refusal.error.kind());
            let expected = if good {
                Ok(())
            } else {
                Err(ErrorKind::Unauthorized)
            };
            assert_eq!(kind, expected, "{deleted:?}");
        }
        ask(
            &access,
            Some("Bearer x"),
            Method::GET,
            "/v2/team/b/tags/list",
        )
        .await
        .unwrap();
    }
}

#[tokio::test]
async fn the_first_policy_takes_the_place_of_an_open_registry() {
    let rules = || Rules::new().sentence("user ann may pull team/*");
    let may = async |access: &AccessControl, authorization: Option<&str>, target: &str| {
        let answer = ask(access, authorization, Method::GET, target).await;
        answer.is_ok()
    };
    let access = AccessControl::open()
        .authenticator(Login::new(|_, _| async { true }))
        .policy(rules());
    let ann = basic("ann", "");
    for (authorization, target, is_allowed) in [
        (None, "/v2/team/a/tags/list", false),
        (Some(&*ann), "/v2/team/a/tags/list", true),
        (Some(&*ann), "/v2/other/tags/list", false),
    ] {
        assert_eq!(
            may(&access, authorization, target).await,
            is_allowed,
            "{target}"
        );
    }
    // A further one adds to it, as ever.
    let access = access.policy(Rules::new().sentence("anyone may pull other"));
    assert!(may(&access, None, "/v2/other/tags/list").await);
    assert!(may(&access, Some(&*ann), "/v2/team/a/tags/list").await);
    assert!(!may(&access, None, "/v2/team/a/tags/list").await);
}

#[tokio::test]
async fn an_open_registry_asks_nobody_to_log_in_although_somebody_could() {
    let access = AccessControl::open().authenticator(Login::new(|_, _| async { true }));
    let grant = ask(&access, None, Method::GET, "/v2/").await.unwrap();
    assert_eq!(grant.actor.name, None);
}

#[cfg(feature = "token")]
#[tokio::test]
async fn clients_can_be_sent_to_a_path_beside_the_registry() {
    let access = private_registry().challenge(Challenge::bearer_beside("auth/token", "shop"));
    let headers = headers(None);
    let sender = Sender::new(&headers, RequestOrigin::default()).base(Some("https://shop.example"));
    let operation = Operation::parse(&Method::GET, "/v2/", None).unwrap();
    let refused_with = refused(
        access.authorize(&sender, &operation).await,
        ErrorKind::Unauthorized,
    );
    assert_eq!(
        refused_with.unwrap(),
        r#"Bearer realm="https://shop.example/auth/token",service="shop""#
    );
}

#[cfg(feature = "token")]
#[test]
fn it_is_known_whether_clients_are_sent_to_the_host_that_they_asked() {
    let elsewhere = Challenge::bearer("https://login.example/token", "shop").unwrap();
    let beside = Challenge::bearer_beside("auth/token", "shop");
    let tokens = registry_auth::TokenServer::ephemeral().unwrap();
    assert!(!private_registry().names_its_host());
    assert!(!private_registry().challenge(elsewhere).names_its_host());
    assert!(private_registry().challenge(beside).names_its_host());
    assert!(private_registry().tokens(tokens).names_its_host());
}

#[test]
fn a_token_says_which_repository_of_a_name_it_was_made_for() {
    let (app, other): (RepositoryName, RepositoryName) =
        ("team/app".parse().unwrap(), "team/other".parse().unwrap());
    let now = std::time::UNIX_EPOCH;
    let limits = TokenLimits::new(Scopes::default(), TokenIssuer::Own, now);
    let limits = limits.with_epoch(app.clone(), 7);
    assert_eq!((limits.epoch(&app), limits.epoch(&other)), (Some(7), None));
}

/// Has nothing to say, and counts how often it is asked.
#[derive(Debug, Clone, Default)]
struct Counting(Arc<AtomicUsize>);

#[async_trait]
impl Review for Counting {
    async fn review(&self, _: &Question<'_>, _: Actions) -> Result<Decision> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Ok(Decision::ABSTAIN)
    }
}

#[tokio::test]
async fn no_review_is_asked_about_what_is_not_admitted() {
    let review = Counting::default();
    let access = private_registry().review(review.clone());
    let path = "/v2/library/alpine/manifests/v1";
    let operation = Operation::parse(&Method::GET, path, None).unwrap();
    let headers = headers(None);
    for (admitted, asked) in [(false, 0), (true, 1)] {
        let sender = Sender::new(&headers, RequestOrigin::default());
        let no_room = || ErrorKind::Unavailable.error("there is no room");
        let admit = || admitted.then_some(()).ok_or_else(no_room);
        let answer = access.authorize_admitted(&sender, &operation, admit);
        assert_eq!(answer.await.is_ok(), admitted);
        assert_eq!(review.0.load(Ordering::Relaxed), asked);
    }
}

#[tokio::test]
async fn nobody_is_let_in_by_the_name_of_nobody() {
    let rules = Rules::new().sentence("users may pull **");
    let access = AccessControl::new(rules).authenticator(Login::new(|_, _| async { true }));
    for (user, is_known) in [("anonymous", false), ("Anonymous", false), ("anonym", true)] {
        let headers = headers(Some(&basic(user, "x")));
        let sender = Sender::new(&headers, RequestOrigin::default());
        let known = access.identify(&sender).await;
        let kind = known.map(drop).map_err(|refusal| refusal.error.kind());
        let expected = if is_known {
            Ok(())
        } else {
            Err(ErrorKind::Unauthorized)
        };
        assert_eq!(kind, expected, "{user}");
    }
    // Nor does a rule seem to be about it.
    for sentence in [
        "user anonymous may pull **",
        "users except user Anonymous may pull **",
    ] {
        let error = sentence.parse::<registry_auth::Rule>().unwrap_err();
        assert!(error.to_string().contains("say `anyone`"), "{error}");
    }
}
