//! A token never gives more than what it was made from.

use std::collections::BTreeMap;

use http::{HeaderMap, Method};
use proptest::prelude::*;
use registry_auth::{
    AccessControl, Decision, Grant, ManagementNeed, Policy, Question, Sender, TokenAnswer,
    TokenRequest, TokenServer,
};
use registry_core::{Action, Actions, Algorithm, RequestOrigin, Scopes};
use tempfile::TempDir;

use crate::support::{People, ann, ask, basic, bearer, exchange_form, headers, issue};

/// Allows and denies as it was told, whoever asks.
#[derive(Debug)]
struct Told(BTreeMap<String, (Actions, Actions)>);

impl Policy for Told {
    fn decide(&self, question: &Question<'_>) -> Decision {
        let name = question.repository.map_or("", |name| name.as_str());
        self.0
            .get(name)
            .map_or(Decision::ABSTAIN, |(allowed, denied)| {
                Decision::allow(*allowed).and(Decision::deny(*denied, "no"))
            })
    }
}

fn actions() -> impl Strategy<Value = Actions> {
    prop::collection::vec(prop::sample::select(Action::ALL.to_vec()), 0..5)
        .prop_map(|actions| actions.into_iter().collect())
}

fn asked() -> impl Strategy<Value = String> {
    let words = prop::collection::vec(
        prop::sample::select(vec![
            "pull",
            "fetch",
            "list",
            "push",
            "create",
            "overwrite",
            "delete",
            "administer",
            "audit",
            "*",
        ]),
        0..4,
    );
    let scope = (0..4_u8, words)
        .prop_map(|(name, words)| format!("repository:r{name}:{}", words.join(",")));
    let wide = prop::sample::select(vec!["registry:catalog:*", "registry:mount:pull"]);
    let scope = prop_oneof![4 => scope, 1 => wide.prop_map(str::to_owned)];
    prop::collection::vec(scope, 0..6).prop_map(|scopes| scopes.join(" "))
}

fn policy() -> impl Strategy<Value = BTreeMap<String, (Actions, Actions)>> {
    prop::collection::btree_map(
        (0..4_u8).prop_map(|name| format!("r{name}")),
        (actions(), actions()),
        0..5,
    )
}

const NAMES: [&str; 4] = ["r0", "r1", "r2", "r3"];

/// What may be done in a repository, by the ways that there are to do it.
async fn power(access: &AccessControl, authorization: &str, name: &str) -> Actions {
    let mut power = Actions::NONE;
    let digest = Algorithm::Sha256.digest(b"");
    for (method, target) in [
        (Method::GET, format!("/v2/{name}/tags/list")),
        (Method::GET, format!("/v2/{name}/manifests/v1")),
        (Method::POST, format!("/v2/{name}/blobs/uploads/")),
        (Method::PUT, format!("/v2/{name}/manifests/v1")),
        (
            Method::PUT,
            format!("/v2/{name}/manifests/{digest}?tag=v1&tag=v2"),
        ),
        (Method::DELETE, format!("/v2/{name}/manifests/v1")),
        (Method::DELETE, format!("/v2/{name}/blobs/{digest}")),
    ] {
        if let Ok(grant) = ask(access, Some(authorization), method, &target).await {
            power = power | grant.target.unwrap().actions();
        }
    }
    let headers = headers(Some(authorization));
    let sender = Sender::new(&headers, RequestOrigin::default());
    for action in [Action::Administer, Action::Audit] {
        let need = ManagementNeed::Repository(action.into(), name.parse().unwrap());
        if access.authorize_management(&sender, &need).await.is_ok() {
            power = power | action.into();
        }
    }
    power
}

/// What is seen of all repositories: in a list, and by mounts from anywhere. Nothing
/// where that is refused.
async fn sight(access: &AccessControl, authorization: &str) -> [Option<Vec<&'static str>>; 2] {
    let seen = |grant: &Grant| {
        let catalog = grant.catalog.as_ref().unwrap();
        let sees = |name: &&str| catalog.permits(&name.parse().unwrap());
        NAMES.into_iter().filter(sees).collect()
    };
    let list = ask(access, Some(authorization), Method::GET, "/v2/_catalog").await;
    let digest = Algorithm::Sha256.digest(b"");
    let mut mount = None;
    for name in NAMES {
        let target = format!("/v2/{name}/blobs/uploads/?mount={digest}");
        if let Ok(grant) = ask(access, Some(authorization), Method::POST, &target).await {
            mount = Some(seen(&grant));
        }
    }
    [list.ok().map(|grant| seen(&grant)), mount]
}

/// Whether `less` is seen by whoever sees `more`.
fn is_within(less: Option<&[&str]>, more: Option<&[&str]>) -> bool {
    less.is_none_or(|less| more.is_some_and(|more| less.iter().all(|name| more.contains(name))))
}

/// What a token is exchanged for (RFC 8693).
async fn exchange(access: &AccessControl, token: &TokenAnswer, scope: &str) -> TokenAnswer {
    let form = exchange_form(token.token.expose(), &format!("&scope={scope}"));
    let request = TokenRequest::from_form(form.as_bytes()).unwrap();
    let headers = HeaderMap::new();
    let sender = Sender::new(&headers, RequestOrigin::default());
    access.issue(&sender, &request).await.unwrap()
}

proptest! {
    #[test]
    fn s_12_never_more_than_user_request_and_parent(
        then in policy(),
        now in policy(),
        parent in asked(),
        child in asked(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let directory = TempDir::new().unwrap();
            let registry = |policy| {
                AccessControl::new(Told(policy))
                    .authenticator(People::of([ann()]))
                    .tokens(TokenServer::open(directory.path()).unwrap())
            };
            let (before, after) = (registry(then), registry(now));
            let password = basic("ann", "ann");
            let first = issue(&before, Some(&password), &format!("scope={parent}")).await.unwrap();
            let second = issue(&before, Some(&bearer(&first)), &format!("scope={child}")).await.unwrap();
            let third = exchange(&before, &first, &child).await;
            let (parent, child) = (Scopes::parse([&*parent]), Scopes::parse([&*child]));
            for access in [&before, &after] {
                let wide = |scopes: &Scopes| [scopes.catalog(), scopes.anywhere()];
                let user = sight(access, &password).await;
                let held = sight(access, &bearer(&first)).await;
                for (at, is_covered) in wide(&parent).into_iter().enumerate() {
                    let most = user[at].as_deref().filter(|_| is_covered);
                    assert!(is_within(held[at].as_deref(), most));
                }
                for bought in [&second, &third] {
                    let held = sight(access, &bearer(bought)).await;
                    for (at, is_covered) in wide(&parent.intersection(&child)).into_iter().enumerate() {
                        let most = user[at].as_deref().filter(|_| is_covered);
                        assert!(is_within(held[at].as_deref(), most));
                    }
                }
                for name in NAMES {
                    let repository = name.parse().unwrap();
                    let covered = |scopes: &Scopes| scopes.actions(&repository).unwrap_or_default();
                    let user = power(access, &password, name).await;
                    let held = power(access, &bearer(&first), name).await;
                    assert!(user.intersection(covered(&parent)).contains(held));
                    let most = user.intersection(covered(&parent)).intersection(covered(&child));
                    for bought in [&second, &third] {
                        let held = power(access, &bearer(bought), name).await;
                        assert!(most.contains(held));
                    }
                }
            }
            // What others read is what may be done at the time.
            for name in NAMES {
                let repository = name.parse().unwrap();
                let said = second.scopes.actions(&repository).unwrap_or_default();
                let user = power(&before, &password, name).await;
                let by_word = |action: Action| said.contains(action.into()) && matches!(action, Action::List | Action::Pull | Action::Push | Action::Delete);
                for action in Action::ALL.into_iter().filter(|action| by_word(*action)) {
                    assert!(user.contains(action.into()), "{name} {action:?}");
                }
            }
        });
    }
}
