//! What the policy means, written anew: with nothing but texts.

use crate::principals::{ANONYMOUS, WRONG};
use crate::routes::{Needs, Route};
use crate::world::{REPOSITORIES, VAULT};

/// What a route answers to somebody.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Expected {
    pub(crate) status: u16,
    /// Whether it is asked to log in.
    pub(crate) challenge: bool,
    /// Whether nothing may come of it.
    pub(crate) refused: bool,
}

/// Whether `who` may do `action` in `repository`, concerning all of `tags`.
pub(crate) fn may(who: &str, action: &str, repository: &str, tags: &[&str]) -> bool {
    if tags.is_empty() {
        return may_one(who, action, repository, None);
    }
    tags.iter()
        .all(|tag| may_one(who, action, repository, Some(tag)))
}

fn may_one(who: &str, action: &str, repository: &str, tag: Option<&str>) -> bool {
    let below = |prefix: &str| repository.starts_with(prefix);
    let (secret, kept) = (below("secret/"), below("kept/"));
    let reads = matches!(action, "list" | "pull");
    let writes = reads || matches!(action, "push" | "overwrite");
    let maintains = writes || action == "delete";
    // Without a tag it could be the one of a protected manifest.
    let protected = tag.is_none_or(|tag| tag.starts_with("keep"));
    if kept && action == "delete" && protected {
        return false;
    }
    if kept && action == "overwrite" && tag.is_some_and(|tag| tag.starts_with("keep")) {
        return false;
    }
    let own = match who {
        "reader" => reads && (secret || kept),
        "writer" => writes && (secret || kept),
        "creator" => (reads || action == "push") && secret,
        "dropper" => action == "push" && secret,
        "cleaner" => (reads || action == "delete") && (secret || kept),
        "tagger" => {
            let called_so = tag.is_none_or(|tag| tag.starts_with('v'));
            (reads || action == "push") && secret && called_so
        }
        "root" => true,
        "member" => maintains && secret,
        "banned" => maintains && secret && action != "pull",
        "robot$ci" => reads && secret,
        "stranger" => writes && below("elsewhere/"),
        _ => false,
    };
    own || (reads && below("open/"))
}

/// What `route` is to answer to `who` about `repository`.
pub(crate) fn expected(route: &Route, who: &str, repository: &str) -> Expected {
    let challenge = Expected {
        status: 401,
        challenge: true,
        refused: true,
    };
    let forbidden = Expected {
        status: 403,
        challenge: false,
        refused: true,
    };
    let answer = |status| Expected {
        status,
        challenge: false,
        refused: false,
    };
    if who == WRONG {
        return challenge;
    }
    let is_there = is_there(repository);
    let allowed = match route.needs {
        Needs::Login => who != ANONYMOUS,
        Needs::In { action, tags } => may(who, action, repository, tags),
        Needs::Move { tags } => may(who, "push", repository, tags),
        Needs::Mount { .. } => may(who, "push", repository, &[]),
    };
    if !allowed {
        return if who == ANONYMOUS {
            challenge
        } else {
            forbidden
        };
    }
    match route.needs {
        Needs::Move { tags } if is_there && !may(who, "overwrite", repository, tags) => forbidden,
        Needs::Mount { from, content } => {
            let has = |source: &str| match content {
                "hidden" => source == VAULT,
                _ => self::is_there(source),
            };
            let found = match from {
                "{name}" => has(repository) && may(who, "pull", repository, &[]),
                // Anywhere.
                "" => everywhere().any(|source| has(source) && may(who, "pull", source, &[])),
                source => has(source) && may(who, "pull", source, &[]),
            };
            answer(if found { 201 } else { 202 })
        }
        _ => answer(if is_there { route.there } else { route.absent }),
    }
}

/// The repositories that `who` sees in a list, in its order.
pub(crate) fn listed(who: &str) -> Vec<&'static str> {
    let mut names: Vec<_> = everywhere()
        .filter(|name| (is_there(name) || *name == VAULT) && may(who, "pull", name, &[]))
        .collect();
    names.sort_unstable();
    names
}

fn everywhere() -> impl Iterator<Item = &'static str> {
    REPOSITORIES.iter().map(|(name, _)| *name).chain([VAULT])
}

fn is_there(repository: &str) -> bool {
    REPOSITORIES.contains(&(repository_of(repository), true))
}

/// The same name, for as long as the table lives.
fn repository_of(name: &str) -> &'static str {
    let mut names = REPOSITORIES.iter().map(|(name, _)| *name);
    names.find(|known| *known == name).unwrap_or(VAULT)
}
