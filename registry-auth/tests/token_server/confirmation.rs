//! What was granted is decided once more, when what the client sent has come.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use http::Method;
use registry_auth::{
    AccessControl, Decision, Grant, Login, Principal, Question, Refusal, Review, TokenAnswer,
    TokenServer,
};
use registry_core::{
    Action, Actions, Clock, Epochs, ErrorKind, Operation, RepositoryEpoch, RepositoryName, Result,
    SystemClock,
};
use tempfile::TempDir;

use crate::support::{Ahead, People, ann, ask, basic, bearer, issue, rules};

const PUSH: &str = "/v2/team/app/manifests/v1";

struct Scene {
    people: People,
    access: AccessControl,
    _keys: TempDir,
}

fn scene() -> Scene {
    let people = People::of([ann(), Principal::new("ben")]);
    let keys = TempDir::new().unwrap();
    Scene {
        access: AccessControl::new(rules())
            .authenticator(people.clone())
            .tokens(TokenServer::open(keys.path()).unwrap()),
        people,
        _keys: keys,
    }
}

impl Scene {
    async fn token(&self) -> TokenAnswer {
        let query = "scope=repository:team/app:pull,push";
        issue(&self.access, Some(&basic("ann", "ann")), query)
            .await
            .unwrap()
    }

    /// What was granted to ann, by a token and by her password.
    async fn granted(&self) -> [Grant; 2] {
        let token = bearer(&self.token().await);
        let by_token = ask(&self.access, Some(&token), Method::PUT, PUSH).await;
        let password = basic("ann", "ann");
        let by_password = ask(&self.access, Some(&password), Method::PUT, PUSH).await;
        [by_token.unwrap(), by_password.unwrap()]
    }
}

fn operation() -> Operation {
    Operation::parse(&Method::PUT, PUSH, None).unwrap()
}

/// The challenge to whoever is told so.
fn refused(confirmed: Result<Grant, Refusal>) -> String {
    let refusal = confirmed.expect_err("refused");
    assert_eq!(refusal.error.kind(), ErrorKind::Unauthorized);
    let actor = refusal.actor.expect("who was refused");
    assert_eq!(actor.name.as_deref(), Some("ann"));
    refusal.challenge.unwrap().to_str().unwrap().to_owned()
}

#[tokio::test]
async fn what_still_holds_is_granted_again_as_it_was() {
    for grant in scene().granted().await {
        let again = grant.confirm(&operation()).await.unwrap();
        let again = again.confirm(&operation()).await.unwrap();
        let actions = |grant: &Grant| grant.target.as_ref().unwrap().actions();
        assert!(actions(&again).contains(Action::Push.into()));
        assert_eq!(actions(&again), actions(&grant));
        assert_eq!(again.actor.name.as_deref(), Some("ann"));
    }
}

#[tokio::test]
async fn a_token_that_is_taken_back_grants_nothing_more() {
    let scene = scene();
    let revoked = scene.token().await;
    let other = scene.token().await;
    let grant = async |token: &TokenAnswer| {
        let token = bearer(token);
        ask(&scene.access, Some(&token), Method::PUT, PUSH)
            .await
            .unwrap()
    };
    let (grant, others) = (grant(&revoked).await, grant(&other).await);
    scene.access.revoke(&revoked.token).await.unwrap();
    let challenge = refused(grant.confirm(&operation()).await);
    assert!(
        challenge.contains(r#"error="invalid_token""#),
        "{challenge}"
    );
    others.confirm(&operation()).await.unwrap();

    scene
        .access
        .revoke_all(&Principal::new("ben"))
        .await
        .unwrap();
    others.confirm(&operation()).await.unwrap();
    scene
        .access
        .revoke_all(&Principal::new("ann"))
        .await
        .unwrap();
    refused(others.confirm(&operation()).await);
}

#[tokio::test]
async fn tokens_of_keys_that_are_gone_grant_nothing_more() {
    let scene = scene();
    let [by_token, by_password] = scene.granted().await;
    scene.access.rotate_signing_keys(true).await.unwrap();
    refused(by_token.confirm(&operation()).await);
    by_password.confirm(&operation()).await.unwrap();
}

#[tokio::test]
async fn whoever_is_gone_or_has_another_password_is_granted_nothing_more() {
    let scene = scene();
    let grants = scene.granted().await;
    scene.people.put(ann().with_stamp([2; 16]));
    let [by_token, by_password] = &grants;
    let challenge = refused(by_token.confirm(&operation()).await);
    assert!(
        challenge.contains(r#"error="invalid_token""#),
        "{challenge}"
    );
    let challenge = refused(by_password.confirm(&operation()).await);
    assert!(!challenge.contains("error="), "{challenge}");
    scene.people.remove("ann");
    for grant in &grants {
        refused(grant.confirm(&operation()).await);
    }
    scene.people.put(ann());
    for grant in &grants {
        grant.confirm(&operation()).await.unwrap();
    }
}

/// Neither of whoever has no name, nor of whoever nobody keeps a list of.
#[tokio::test]
async fn nothing_can_have_become_of_somebody_whom_nobody_looks_after() {
    let access = AccessControl::new(rules())
        .authenticator(Login::new(|user, _| async move { user == "ann" }))
        .tokens(TokenServer::ephemeral().unwrap());
    let path = "/v2/public/app/manifests/v1";
    let pull = Operation::parse(&Method::GET, path, None).unwrap();
    let query = "scope=repository:public/app:pull";
    for password in [None, Some(basic("ann", "x"))] {
        let token = issue(&access, password.as_deref(), query).await.unwrap();
        let token = bearer(&token);
        let grant = ask(&access, Some(&token), Method::GET, path).await.unwrap();
        let again = grant.confirm(&pull).await.unwrap();
        assert!(
            again
                .target
                .unwrap()
                .actions()
                .contains(Action::Pull.into())
        );
    }
}

/// Allows pushes to whoever may not by the rules, and counts how often it is asked.
#[derive(Debug, Clone, Default)]
struct Generous(Arc<AtomicUsize>);

#[async_trait]
impl Review for Generous {
    async fn review(&self, _: &Question<'_>, _: Actions) -> Result<Decision> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Ok(Decision::allow([Action::Push, Action::Overwrite]))
    }
}

/// A time that stands still until it is set ahead.
#[derive(Debug, Clone)]
struct Still(SystemTime, Ahead);

impl Clock for Still {
    fn now(&self) -> SystemTime {
        self.0 + self.1.by()
    }
}

#[tokio::test]
async fn a_review_is_asked_again_after_a_second() {
    let (review, ahead) = (Generous::default(), Ahead::default());
    let access = AccessControl::new(rules())
        .authenticator(People::of([ann(), Principal::new("ben")]))
        .review(review.clone())
        .clock(Still(SystemClock.now(), ahead.clone()));
    let asked = || review.0.load(Ordering::Relaxed);
    let password = basic("ben", "ben");
    let grant = ask(&access, Some(&password), Method::PUT, PUSH).await;
    let grant = grant.unwrap();
    assert_eq!(asked(), 1);
    // What it said counts until then.
    let again = grant.confirm(&operation()).await.unwrap();
    let actions = again.target.unwrap().actions();
    assert!(actions.contains(Action::Push.into()));
    assert_eq!(asked(), 1);
    for (second, times) in [(1, 2), (2, 3)] {
        ahead.go(Duration::from_secs(1));
        grant.confirm(&operation()).await.unwrap();
        assert_eq!(asked(), times, "after {second} s");
    }
}

/// How often repositories were deleted, and how often that was asked for.
#[derive(Debug, Clone, Default)]
struct Deletions {
    number: Arc<AtomicU64>,
    asked: Arc<AtomicUsize>,
}

#[async_trait]
impl Epochs for Deletions {
    async fn epoch(&self, _: &RepositoryName) -> Result<RepositoryEpoch> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        Ok(RepositoryEpoch {
            number: self.number.load(Ordering::Relaxed),
            since: None,
        })
    }
}

#[tokio::test]
async fn which_repository_it_is_is_asked_once() {
    let deletions = Deletions::default();
    let mut scene = scene();
    scene.access = scene.access.epochs(deletions.clone());
    let asked = || deletions.asked.swap(0, Ordering::Relaxed);
    for (grant, times) in scene.granted().await.iter().zip([1, 0]) {
        asked();
        let again = grant.confirm(&operation()).await.unwrap();
        assert_eq!(asked(), times);
        // A change requires it once more.
        let epoch = again.target.unwrap().epoch();
        assert_eq!(epoch, (times > 0).then_some(0));
    }
}

/// Takes so long, when it is asked again, that somebody deletes the repository meanwhile.
#[derive(Debug, Clone)]
struct Slow(Deletions, Arc<AtomicUsize>);

#[async_trait]
impl Review for Slow {
    async fn review(&self, _: &Question<'_>, _: Actions) -> Result<Decision> {
        if self.1.fetch_add(1, Ordering::Relaxed) > 0 {
            self.0.number.fetch_add(1, Ordering::Relaxed);
        }
        Ok(Decision::ABSTAIN)
    }
}

#[tokio::test]
async fn a_repository_that_goes_while_a_review_is_asked_is_gone() {
    let (deletions, ahead) = (Deletions::default(), Ahead::default());
    let mut scene = scene();
    scene.access = scene
        .access
        .epochs(deletions.clone())
        .review(Slow(deletions.clone(), Arc::default()))
        .clock(Still(SystemClock.now(), ahead.clone()));
    let token = bearer(&scene.token().await);
    let grant = ask(&scene.access, Some(&token), Method::PUT, PUSH).await;
    let grant = grant.unwrap();
    grant.confirm(&operation()).await.unwrap();
    ahead.go(Duration::from_secs(1));
    let challenge = refused(grant.confirm(&operation()).await);
    assert!(
        challenge.contains(r#"error="invalid_token""#),
        "{challenge}"
    );
}
