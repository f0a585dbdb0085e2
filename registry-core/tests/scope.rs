//! Scopes say what tokens are asked for and hold.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "what a test sets up is valid, or the test fails"
)]

use http::Method;
use proptest::prelude::*;
use registry_core::{Action, Actions, ErrorKind, Operation, RepositoryName, Scopes};

fn actions(scopes: &str, repository: &str) -> Option<Actions> {
    Scopes::parse([scopes]).actions(&repository.parse().expect("a repository name"))
}

#[test]
fn scopes_of_one_resource_add_up_in_any_order() {
    for values in [
        vec!["repository:a:pull,push"],
        vec!["repository:a:push,pull,push"],
        vec!["repository:a:push", "repository:a:pull"],
        vec!["repository:a:push repository:b:pull  repository:a:pull "],
        vec!["repository(plugin):a:pull", "repository:a:push"],
    ] {
        let scopes = Scopes::parse(values.iter().copied());
        assert_eq!(
            scopes.actions(&"a".parse().unwrap()),
            Some([Action::List, Action::Pull, Action::Push, Action::Overwrite].into()),
            "{values:?}"
        );
    }
}

#[test]
fn what_is_not_understood_grants_nothing() {
    for scope in [
        "",
        " ",
        "*",
        ":",
        "::",
        "repository",
        "repository:a",
        "repository::pull",
        "repository:A:pull",
        "repository:../a:pull",
        "Repository:a:pull",
        "registry:a:*",
        "registry:catalog:pull",
        "registry:catalog:",
        "registry:mount:*",
        "registry:mount:",
        "plugin:a:pull",
        "repository\t:a:pull",
    ] {
        assert!(Scopes::parse([scope]).is_empty(), "{scope}");
    }
    assert_eq!(actions("repository:a:", "a"), Some(Actions::NONE));
    assert_eq!(
        actions("repository:a:admin,PULL,pul", "a"),
        Some(Actions::NONE)
    );
    assert_eq!(
        actions("repository:a:admin,pull", "a"),
        Some([Action::List, Action::Pull].into())
    );
}

#[test]
fn a_port_in_a_name_is_not_taken_for_another_repository() {
    let scopes = Scopes::parse(["repository:localhost:5000/app:pull"]);
    assert!(scopes.is_empty(), "{scopes}");
}

#[test]
fn a_star_is_everything_in_one_repository() {
    assert_eq!(actions("repository:a:*", "a"), Some(Actions::ALL));
    assert_eq!(actions("repository:a:*", "b"), None);
    assert_eq!(
        Scopes::parse(["repository:a:*"]).to_string(),
        "repository:a:*"
    );
}

#[test]
fn scopes_that_are_written_down_are_understood_in_whole_or_not_at_all() {
    let exact = |text| Scopes::parse_exactly([text]);
    let written = ["repository:team/app:pull,push", "registry:catalog:*"];
    let scopes = Scopes::parse_exactly(written).unwrap();
    assert_eq!(scopes, Scopes::parse(written));
    for mistaken in [
        "",
        "repository:a:pulll",
        "repository:a:pull,pulll",
        "repository:A:pull",
        "repository:a:",
        "repository:a",
        "repositories:a:pull",
        "registry:catalog:list",
        "repository:a:pull repository:b:pull",
    ] {
        let error = exact(mistaken).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::RequestInvalid, "{mistaken}");
    }
}

#[test]
fn a_scope_never_says_more_than_the_actions() {
    let mut scopes = Scopes::default();
    scopes.insert_actions("a".parse().unwrap(), [Action::Push, Action::List].into());
    assert_eq!(scopes.to_string(), "repository:a:list,create");
    scopes.insert_actions("b".parse().unwrap(), Action::Administer.into());
    assert_eq!(scopes.to_string(), "repository:a:list,create repository:b:");
}

#[test]
fn pulling_is_fetching_and_listing() {
    for (words, actions, written) in [
        ("fetch", vec![Action::Pull], "fetch"),
        ("list", vec![Action::List], "list"),
        ("list,fetch", vec![Action::Pull, Action::List], "pull"),
        ("pull,list", vec![Action::Pull, Action::List], "pull"),
    ] {
        let scopes = Scopes::parse([format!("repository:a:{words}").as_str()]);
        let known = scopes.actions(&"a".parse().unwrap());
        assert_eq!(known, Some(actions.into_iter().collect()), "{words}");
        assert_eq!(scopes.to_string(), format!("repository:a:{written}"));
    }
}

#[test]
fn pushing_is_creating_and_overwriting() {
    for (words, actions, written) in [
        ("create", vec![Action::Push], "create"),
        ("overwrite", vec![Action::Overwrite], "overwrite"),
        (
            "overwrite,create",
            vec![Action::Push, Action::Overwrite],
            "push",
        ),
        ("push,create", vec![Action::Push, Action::Overwrite], "push"),
    ] {
        let scopes = Scopes::parse([format!("repository:a:{words}").as_str()]);
        let known = scopes.actions(&"a".parse().unwrap());
        assert_eq!(known, Some(actions.into_iter().collect()), "{words}");
        assert_eq!(scopes.to_string(), format!("repository:a:{written}"));
    }
}

#[test]
fn what_a_scope_allows_stays_within_another() {
    let asked = Scopes::parse([
        "repository:a:pull,push repository:b:pull registry:catalog:* registry:mount:pull",
    ]);
    let parent = Scopes::parse(["repository:a:pull,delete repository:c:* registry:mount:pull"]);
    assert_eq!(
        asked.intersection(&parent).to_string(),
        "repository:a:pull repository:b: registry:mount:pull"
    );
}

#[test]
fn a_challenge_asks_for_all_that_an_operation_needs() {
    let digest = registry_core::Algorithm::Sha256.digest(b"");
    for (method, path, query, scope) in [
        (Method::GET, "/v2/", None, String::new()),
        (
            Method::GET,
            "/v2/_catalog",
            None,
            "registry:catalog:*".to_owned(),
        ),
        (
            Method::GET,
            "/v2/a/tags/list",
            None,
            "repository:a:pull".to_owned(),
        ),
        (
            Method::PUT,
            "/v2/a/manifests/v1",
            None,
            "repository:a:pull,push".to_owned(),
        ),
        (
            Method::DELETE,
            "/v2/a/manifests/v1",
            None,
            "repository:a:delete".to_owned(),
        ),
        (
            Method::POST,
            "/v2/b/blobs/uploads/",
            Some(format!("mount={digest}&from=a")),
            "repository:a:pull repository:b:pull,push".to_owned(),
        ),
        (
            Method::POST,
            "/v2/b/blobs/uploads/",
            Some(format!("mount={digest}&from=b")),
            "repository:b:pull,push".to_owned(),
        ),
        (
            Method::POST,
            "/v2/b/blobs/uploads/",
            Some(format!("mount={digest}")),
            "repository:b:pull,push registry:mount:pull".to_owned(),
        ),
    ] {
        let operation = Operation::parse(&method, path, query.as_deref()).unwrap();
        assert_eq!(Scopes::of(&operation).to_string(), scope, "{method} {path}");
    }
}

fn scopes() -> impl Strategy<Value = Scopes> {
    let name = "[a-z]{1,3}(/[a-z]{1,3})?"
        .prop_map(|name| name.parse::<RepositoryName>().expect("a repository name"));
    let words = prop::collection::vec(
        prop::sample::select(vec![
            "pull",
            "fetch",
            "list",
            "push",
            "create",
            "overwrite",
            "delete",
            "*",
            "unknown",
        ]),
        0..4,
    );
    let entries = prop::collection::vec((name, words), 0..5);
    (entries, any::<bool>(), any::<bool>()).prop_map(|(entries, catalog, anywhere)| {
        let mut scopes = Scopes::default();
        for (name, words) in entries {
            scopes.insert("repository", name.as_str(), words);
        }
        if catalog {
            scopes.insert("registry", "catalog", ["*"]);
        }
        if anywhere {
            scopes.insert("registry", "mount", ["pull"]);
        }
        scopes
    })
}

proptest! {
    #[test]
    fn rendered_scopes_are_understood_as_themselves(scopes in scopes()) {
        let text = scopes.to_string();
        prop_assert_eq!(Scopes::parse([text.as_str()]), scopes.clone());
        prop_assert_eq!(Scopes::parse(text.split(' ').rev()), scopes.clone());
        let mut read = Scopes::default();
        for entry in scopes.entries() {
            read.insert(entry.kind, entry.name, entry.actions);
        }
        prop_assert_eq!(read, scopes);
    }

    #[test]
    fn no_scope_is_too_odd(text in "(repository|registry)?:?\\PC{0,40}") {
        let scopes = Scopes::parse([text.as_str()]);
        prop_assert_eq!(Scopes::parse([scopes.to_string().as_str()]), scopes);
    }
}
