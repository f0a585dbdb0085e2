//! What becomes of a token when things change.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use http::Method;
use registry_auth::{
    AccessControl, Authenticator, Caller, Credentials, Decision, Policy, Principal, Question,
    Rules, Standing, TokenServer,
};
use registry_core::{
    Action, Clock, Epochs, ErrorKind, Operation, RepositoryEpoch, RepositoryName, Result,
    SystemClock,
};
use tempfile::TempDir;

use crate::support::{
    Ahead, People, ann, ask, basic, bearer, challenge, claims, issue, registry, rules,
};

#[tokio::test]
async fn a_token_expires() {
    let clock = Ahead::default();
    let access = registry(&People::of([ann()])).clock(clock.clone());
    let token = bearer(
        &issue(&access, None, "scope=repository:public/a:pull")
            .await
            .unwrap(),
    );
    let tags = "/v2/public/a/tags/list";
    clock.go(Duration::from_secs(299));
    ask(&access, Some(&token), Method::GET, tags).await.unwrap();
    clock.go(Duration::from_secs(8));
    let refused = challenge(ask(&access, Some(&token), Method::GET, tags).await);
    assert!(refused.contains(r#"error="invalid_token""#), "{refused}");
}

#[tokio::test]
async fn tokens_of_another_service_or_server_are_refused() {
    let directory = TempDir::new().unwrap();
    let server = || TokenServer::open(directory.path()).unwrap();
    let access = |server| {
        AccessControl::new(rules())
            .authenticator(People::of([ann()]))
            .tokens(server)
    };
    let one = access(server());
    let token = bearer(&issue(&one, None, "").await.unwrap());
    let ping = async |access: &AccessControl| ask(access, Some(&token), Method::GET, "/v2/").await;
    ping(&one).await.unwrap();
    ping(&access(server())).await.unwrap();
    for other in [
        server().service("other"),
        server().issuer("other"),
        TokenServer::ephemeral().unwrap(),
    ] {
        let refused = challenge(ping(&access(other)).await);
        assert!(refused.contains(r#"error="invalid_token""#), "{refused}");
    }
}

#[tokio::test]
async fn whoever_is_gone_or_has_another_password_loses_the_token() {
    let people = People::of([ann()]);
    let access = registry(&people);
    let token = bearer(
        &issue(&access, Some(&basic("ann", "ann")), "")
            .await
            .unwrap(),
    );
    let ping = async || ask(&access, Some(&token), Method::GET, "/v2/").await;
    ping().await.unwrap();
    for change in [
        || Some(Principal::new("ann").with_stamp([2; 16])),
        || Some(Principal::new("ann")),
        || None,
    ] {
        match change() {
            Some(person) => people.put(person),
            None => people.remove("ann"),
        }
        let refused = challenge(ping().await);
        assert!(refused.contains(r#"error="invalid_token""#), "{refused}");
        people.put(ann());
        ping().await.unwrap();
    }
}

#[tokio::test]
async fn s_31_groups_are_replaced() {
    let people = People::of([ann()]);
    let access = registry(&people);
    let query = "scope=repository:ops/a:pull";
    let token = bearer(
        &issue(&access, Some(&basic("ann", "ann")), query)
            .await
            .unwrap(),
    );
    let pull = async || ask(&access, Some(&token), Method::GET, "/v2/ops/a/tags/list").await;
    pull().await.unwrap();
    people.put(
        Principal::new("ann")
            .member_of("others")
            .with_stamp([1; 16]),
    );
    assert_eq!(pull().await.unwrap_err().error.kind(), ErrorKind::Denied);
}

/// Knows everybody once, and nobody later.
#[derive(Debug)]
struct Passing;

#[async_trait]
impl Authenticator for Passing {
    async fn authenticate(&self, caller: &Caller<'_>) -> Result<Option<Principal>> {
        Ok(match caller.credentials {
            Credentials::Basic { .. } => Some(
                Principal::workload("github", "repo:org/app")
                    .member_of("ops")
                    .with_claim("ref", "main"),
            ),
            _ => None,
        })
    }
}

/// Lets the main branch push.
#[derive(Debug)]
struct MainBranch;

impl Policy for MainBranch {
    fn decide(&self, question: &Question<'_>) -> Decision {
        match question.principal {
            Some(known) if known.claim("ref") == Some("main") => {
                Decision::allow([Action::Push, Action::Pull])
            }
            _ => Decision::ABSTAIN,
        }
    }
}

#[tokio::test]
async fn a_token_remembers_what_cannot_be_asked_again() {
    let access = AccessControl::new(rules())
        .policy(MainBranch)
        .authenticator(Passing)
        .tokens(TokenServer::ephemeral().unwrap());
    let query = "scope=repository:ops/a:pull scope&scope=repository:x:push";
    let answer = issue(&access, Some(&basic("any", "any")), query)
        .await
        .unwrap();
    let token = bearer(&answer);
    for (method, target) in [
        (Method::GET, "/v2/ops/a/tags/list"),
        (Method::POST, "/v2/x/blobs/uploads/"),
    ] {
        let grant = ask(&access, Some(&token), method, target).await.unwrap();
        assert_eq!(grant.actor.name.as_deref(), Some("github:repo:org/app"));
    }
    // Without the source, nobody vouches for it any more.
    let another = AccessControl::new(rules())
        .authenticator(People::default())
        .tokens(TokenServer::ephemeral().unwrap());
    let refused = ask(&another, Some(&token), Method::GET, "/v2/").await;
    assert!(refused.is_err());
}

/// How often each repository was deleted.
#[derive(Debug, Clone, Default)]
struct Deletions(Arc<AtomicU64>);

#[async_trait]
impl Epochs for Deletions {
    async fn epoch(&self, repository: &RepositoryName) -> Result<RepositoryEpoch> {
        let number = match repository.as_str() {
            "team/a" => self.0.load(Ordering::Relaxed),
            _ => 0,
        };
        Ok(RepositoryEpoch {
            number,
            since: None,
        })
    }
}

#[tokio::test]
async fn a_token_is_of_the_repository_that_was_there() {
    let deletions = Deletions::default();
    let access = registry(&People::of([ann()])).epochs(deletions.clone());
    let password = basic("ann", "ann");
    let query = "scope=repository:team/a:pull,push&scope=repository:team/b:pull,push";
    let new = async |authorization: &str| {
        bearer(&issue(&access, Some(authorization), query).await.unwrap())
    };
    let digest = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    let mount = format!("/v2/team/b/blobs/uploads/?mount={digest}&from=team/a");
    let mut token = new(&password).await;
    for _ in 0..3 {
        ask(&access, Some(&token), Method::GET, "/v2/team/a/tags/list")
            .await
            .unwrap();
        ask(&access, Some(&token), Method::POST, &mount)
            .await
            .unwrap();
        deletions.0.fetch_add(1, Ordering::Relaxed);
        for (method, target) in [
            (Method::GET, "/v2/team/a/tags/list"),
            (Method::POST, &*mount),
        ] {
            let refused = challenge(ask(&access, Some(&token), method, target).await);
            assert!(refused.contains(r#"error="invalid_token""#), "{refused}");
        }
        ask(&access, Some(&token), Method::GET, "/v2/team/b/tags/list")
            .await
            .unwrap();
        // Nor does it buy a token for the one that came after.
        let child = new(&token).await;
        assert!(
            ask(&access, Some(&child), Method::GET, "/v2/team/a/tags/list")
                .await
                .is_err()
        );
        token = new(&password).await;
    }
}

/// Also where everybody may push: whoever shows a token is who got it, for what it was
/// given for, and whoever shows nothing needs none.
#[tokio::test]
async fn a_token_of_nobody_in_particular_is_of_the_repository_that_was_there() {
    let deletions = Deletions::default();
    let all = [Action::Pull, Action::Push];
    let access = AccessControl::new(Rules::new().anonymous("team/*", &all))
        .authenticator(People::of([ann()]))
        .tokens(TokenServer::ephemeral().unwrap())
        .epochs(deletions.clone());
    let query = "scope=repository:team/a:pull,push&scope=repository:team/b:pull,push";
    let token = bearer(&issue(&access, None, query).await.unwrap());
    let push = |name: &str| format!("/v2/team/{name}/blobs/uploads/");
    let pushed = async |token: Option<&str>, name: &str| {
        ask(&access, token, Method::POST, &push(name)).await
    };
    let granted = pushed(Some(&token), "a").await.unwrap();
    let operation = Operation::parse(&Method::POST, &push("a"), None).unwrap();
    let without = pushed(None, "a").await.unwrap();
    deletions.0.fetch_add(1, Ordering::Relaxed);

    for refused in [
        pushed(Some(&token), "a").await,
        granted.confirm(&operation).await,
    ] {
        let refused = challenge(refused);
        assert!(refused.contains(r#"error="invalid_token""#), "{refused}");
    }
    pushed(Some(&token), "b").await.unwrap();
    for granted in [without.confirm(&operation).await, pushed(None, "a").await] {
        // It is for whatever has the name.
        assert_eq!(granted.unwrap().target.unwrap().epoch(), None);
    }
    let token = bearer(&issue(&access, None, query).await.unwrap());
    let granted = pushed(Some(&token), "a").await.unwrap();
    assert_eq!(granted.target.unwrap().epoch(), Some(1));
}

#[tokio::test]
async fn s_11_whoever_may_do_nothing_learns_nothing_of_deletions() {
    let deletions = Deletions::default();
    let people = People::of([ann(), Principal::new("ben")]);
    let access = registry(&people).epochs(deletions.clone());
    let ben = basic("ben", "ben");
    let query = "scope=repository:team/a:pull,push&scope=repository:team/never:pull,push";
    let before = issue(&access, Some(&ben), query).await.unwrap();
    deletions.0.fetch_add(1, Ordering::Relaxed);
    let after = issue(&access, Some(&ben), query).await.unwrap();
    for answer in [&before, &after] {
        let entries = claims(answer)["access"].to_string();
        assert!(!entries.contains("epoch"), "{entries}");
        let token = bearer(answer);
        let refused = async |name: &str| {
            let target = format!("/v2/{name}/tags/list");
            let refusal = ask(&access, Some(&token), Method::GET, &target).await;
            let refusal = refusal.unwrap_err();
            assert_eq!(refusal.challenge, None);
            refusal.error.to_string()
        };
        assert_eq!(refused("team/a").await, refused("team/never").await);
    }
    let entries = claims(
        &issue(&access, Some(&basic("ann", "ann")), query)
            .await
            .unwrap(),
    );
    assert!(entries["access"].to_string().contains("\"epoch\":1"));
}

/// Deleted an hour ago, once.
#[derive(Debug)]
struct DeletedBefore;

#[async_trait]
impl Epochs for DeletedBefore {
    async fn epoch(&self, _: &RepositoryName) -> Result<RepositoryEpoch> {
        Ok(RepositoryEpoch {
            number: 1,
            since: SystemClock.now().checked_sub(Duration::from_hours(1)),
        })
    }
}

#[tokio::test]
async fn a_right_that_depends_on_a_tag_is_covered_although_nothing_is_granted_yet() {
    let rules = Rules::new().sentence("user ann may delete tmp-* in team/a");
    let clock = Ahead::default();
    let access = AccessControl::new(rules)
        .authenticator(People::of([ann()]))
        .tokens(TokenServer::ephemeral().unwrap())
        .epochs(DeletedBefore)
        .clock(clock.clone());
    let query = "scope=repository:team/a:delete";
    let answer = issue(&access, Some(&basic("ann", "ann")), query)
        .await
        .unwrap();
    assert_eq!(answer.scopes.to_string(), "repository:team/a:");
    let token = bearer(&answer);
    let delete = async |tag: &str| {
        let target = format!("/v2/team/a/manifests/{tag}");
        ask(&access, Some(&token), Method::DELETE, &target).await
    };
    delete("tmp-1").await.unwrap();
    let denied = delete("v1").await.unwrap_err();
    assert_eq!(denied.error.kind(), ErrorKind::Denied);
}

#[tokio::test]
async fn an_answer_says_for_the_log_who_got_it() {
    let access = registry(&People::of([ann()]));
    for (authorization, name) in [(Some(basic("ann", "ann")), Some("ann")), (None, None)] {
        let answer = issue(&access, authorization.as_deref(), "").await.unwrap();
        assert_eq!(answer.actor.name.as_deref(), name);
        assert!(answer.actor.request.is_some());
    }
}

/// Knows whoever it is told to, whatever is shown.
#[derive(Debug)]
struct Known(Principal);

#[async_trait]
impl Authenticator for Known {
    async fn authenticate(&self, caller: &Caller<'_>) -> Result<Option<Principal>> {
        let is_password = matches!(caller.credentials, Credentials::Basic { .. });
        Ok(is_password.then(|| self.0.clone()))
    }

    fn source(&self) -> &'static str {
        "known"
    }

    async fn standing(&self, principal: &Principal) -> Result<Standing> {
        let is_it = principal.kind() == self.0.kind()
            && principal.name() == self.0.name()
            && principal.issuer() == self.0.issuer();
        Ok(if is_it {
            Standing::Current(self.0.clone())
        } else {
            Standing::Gone
        })
    }
}

#[tokio::test]
async fn tokens_end_by_the_name_that_their_holder_is_shown_by() {
    for holder in [
        Principal::new("ann"),
        Principal::new("spiffe://example.com/builder"),
        Principal::new("a:b"),
        Principal::new("workload a b"),
        Principal::robot("ci"),
        Principal::workload("ci", "repo:org/app"),
        Principal::workload("ci", "spiffe://example.com/job"),
        Principal::workload("spiffe", "//example.com/builder"),
    ] {
        let access = AccessControl::new(rules())
            .authenticator(Known(holder.clone()))
            .tokens(TokenServer::ephemeral().unwrap());
        let token = bearer(&issue(&access, Some(&basic("x", "x")), "").await.unwrap());
        let ping = async || ask(&access, Some(&token), Method::GET, "/v2/").await;
        let shown = ping().await.unwrap().actor.name.clone().unwrap();
        assert_eq!(shown, holder.to_string());
        for other in ["ben", "robot ann", "other:repo"] {
            access
                .revoke_all(&Principal::called(other).unwrap())
                .await
                .unwrap();
        }
        ping().await.unwrap();
        access
            .revoke_all(&Principal::called(&shown).unwrap())
            .await
            .unwrap();
        challenge(ping().await);
    }
}
