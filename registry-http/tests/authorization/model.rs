//! What the policy means, written anew: with nothing but texts.

use crate::principals::{ANONYMOUS, Given, Shows, Somebody, WRONG, Way};
use crate::routes::{Needs, Route};
use crate::world::{Logins, REPOSITORIES, VAULT};

/// What a route answers to somebody.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Expected {
    pub(crate) status: u16,
    /// How the challenge begins, if somebody is to log in.
    pub(crate) challenge: Option<&'static str>,
    /// What is wrong with a token.
    pub(crate) fault: Option<&'static str>,
    /// Whether nothing may come of it.
    pub(crate) refused: bool,
}

impl Expected {
    pub(crate) const fn answer(status: u16) -> Self {
        Self {
            status,
            challenge: None,
            fault: None,
            refused: false,
        }
    }

    pub(crate) const fn refusal(status: u16) -> Self {
        Self {
            refused: true,
            ..Self::answer(status)
        }
    }
}

const INVALID: Option<&str> = Some("invalid_token");
const INSUFFICIENT: Option<&str> = Some("insufficient_scope");

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
        "creator" | "jobs:repo:org/app" => (reads || action == "push") && secret,
        "dropper" => action == "push" && secret,
        "cleaner" => (reads || action == "delete") && (secret || kept),
        "tagger" => {
            let called_so = tag.is_none_or(|tag| tag.starts_with('v'));
            (reads || action == "push") && secret && called_so
        }
        "root" => true,
        "auditor" => matches!(action, "list" | "audit"),
        "member" => maintains && secret,
        "banned" => maintains && secret && !reads,
        "unlisted" => action == "pull" && secret || reads && kept,
        "puller" | "robot$ci" => reads && secret,
        "stranger" => writes && below("elsewhere/"),
        _ => false,
    };
    own || (reads && below("open/"))
}

/// Whether a token that was given to `who` covers `action` in `repository`. It
/// covers what was asked for and could be done with some tag or other.
fn covers(who: &Somebody, action: &str, repository: &str) -> bool {
    let Some(token) = who.token else {
        return true;
    };
    let asked = token.words.split(',').any(|word| match word {
        "*" => true,
        "pull" => matches!(action, "pull" | "list"),
        "fetch" => action == "pull",
        "push" => matches!(action, "push" | "overwrite"),
        "create" => action == "push",
        word => word == action,
    });
    asked && repository.starts_with(token.below) && could(who.name, action, repository)
}

/// Whether `who` may do `action` with some tag.
fn could(who: &str, action: &str, repository: &str) -> bool {
    let tags = ["v1", "v9", "latest", "keep", "new"];
    may(who, action, repository, &[]) || tags.iter().any(|tag| may(who, action, repository, &[tag]))
}

/// Whether `who` shows a token, or a key as if it were one.
fn shows_bearer(who: &Somebody) -> bool {
    let as_token = matches!(who.shows, Shows::Key(Way::Bearer));
    as_token || who.token.is_some_and(|token| token.given != Given::Never)
}

/// Whether `who` shows a password that it can be asked for again.
fn shows_password(who: &Somebody) -> bool {
    matches!(who.shows, Shows::Basic(_) | Shows::Header(_))
}

/// Whether a token was for another repository of this name.
pub(crate) fn has_outlived(who: &Somebody, repository: &str) -> bool {
    let actions = ["pull", "push", "overwrite", "delete", "list", "administer"];
    let before = [Given::Before, Given::ForeignBefore];
    who.token.is_some_and(|token| before.contains(&token.given))
        && matches!(repository, "secret/ended" | "secret/again")
        && actions.iter().any(|action| covers(who, action, repository))
}

/// What `route` is to answer to `who` about `repository`.
pub(crate) fn expected(
    route: &Route,
    who: &Somebody,
    repository: &str,
    logins: Logins,
) -> Expected {
    let scheme = match logins {
        Logins::Passwords => "Basic realm=",
        Logins::Tokens => "Bearer realm=",
    };
    let login = |fault: Option<&'static str>| Expected {
        challenge: Some(scheme),
        // Only of what this registry gives out it is told what is wrong.
        fault: fault.filter(|_| logins == Logins::Tokens),
        ..Expected::refusal(401)
    };
    match (&route.needs, logins) {
        (Needs::Nothing | Needs::Token | Needs::Exchange, Logins::Passwords) => {
            return Expected::refusal(404);
        }
        (Needs::Exchange, Logins::Tokens) if who.name != WRONG && shows_bearer(who) => {
            return Expected::answer(200);
        }
        (Needs::Exchange, Logins::Tokens) => {
            return Expected {
                challenge: Some("Basic realm="),
                ..Expected::refusal(401)
            };
        }
        (Needs::Token, Logins::Tokens) if who.name == WRONG => {
            return Expected {
                challenge: Some("Basic realm="),
                ..Expected::refusal(401)
            };
        }
        (Needs::Nothing | Needs::Token, Logins::Tokens) => return Expected::answer(200),
        _ => {}
    }
    let is_there = is_there(repository);
    let status = if is_there { route.there } else { route.absent };
    // Where there is nothing, nothing comes of it.
    let answer = Expected {
        refused: status == 404,
        ..Expected::answer(status)
    };
    if let Some(expected) = managed(route, who, repository, logins, &answer) {
        return expected;
    }
    if who.name == WRONG {
        // A key is no token of this registry unless it is shown as one.
        return login(who.token.and(INVALID));
    }
    let (action, tags) = match route.needs {
        Needs::In { action, tags } => (action, tags),
        Needs::Move { tags } => ("push", tags),
        Needs::Mount { .. } => ("push", &[][..]),
        _ if who.name == ANONYMOUS && who.token.is_none() => return login(None),
        Needs::Catalog if who.token.is_some_and(|token| !token.registry) => {
            return login(INSUFFICIENT);
        }
        _ => return answer,
    };
    if !may(who.name, action, repository, tags) {
        return match who.name {
            ANONYMOUS => login(who.token.and(INSUFFICIENT)),
            _ => Expected::refusal(403),
        };
    }
    if !covers(who, action, repository) {
        return login(INSUFFICIENT);
    }
    if has_outlived(who, repository) {
        return login(INVALID);
    }
    match route.needs {
        Needs::Move { tags } if is_there => {
            let moves = may(who.name, "overwrite", repository, tags)
                && covers(who, "overwrite", repository);
            if moves {
                answer
            } else {
                Expected::refusal(403)
            }
        }
        Needs::Mount { from, content } => {
            let from = if from == "{name}" { repository } else { from };
            mounted(who, from, content, login)
        }
        _ => answer,
    }
}

/// What `route` is to answer where a cache is between: whoever may push is told that
/// there it can't, whatever becomes of the tags.
pub(crate) fn expected_of_cache(
    route: &Route,
    who: &Somebody,
    repository: &str,
    logins: Logins,
) -> Expected {
    let changes = !matches!(route.method, "GET" | "HEAD") || route.path.contains("/uploads/");
    if !changes || !route.path.starts_with("/v2/{name}/") {
        return expected(route, who, repository, logins);
    }
    let decided = if let Needs::Move { tags } = route.needs {
        let action = "push";
        let pushes = Route {
            needs: Needs::In { action, tags },
            ..*route
        };
        expected(&pushes, who, repository, logins)
    } else {
        expected(route, who, repository, logins)
    };
    // That nothing is there isn't found out.
    if decided.refused && decided.status != 404 {
        decided
    } else {
        Expected::refusal(405)
    }
}

/// What is answered to who manages something; nothing if `route` isn't for that.
fn managed(
    route: &Route,
    who: &Somebody,
    repository: &str,
    logins: Logins,
    answer: &Expected,
) -> Option<Expected> {
    let manages = matches!(
        route.needs,
        Needs::Known | Needs::Own { .. } | Needs::Manage { .. } | Needs::Whole
    );
    if !manages {
        return None;
    }
    // A token helps nobody here who shows no password.
    let log_in = Expected {
        challenge: Some("Basic realm="),
        ..Expected::refusal(401)
    };
    if who.name == WRONG || who.name == ANONYMOUS {
        return Some(log_in);
    }
    let status = answer.status;
    // What is protected from deletion is protected from this one, too.
    let all = |holds: &dyn Fn(&str) -> bool| holds("administer") && holds("delete");
    Some(match route.needs {
        Needs::Own { .. } if who.name.starts_with("robot$") => Expected::refusal(403),
        Needs::Own { .. } if who.token.is_some() || !shows_password(who) => Expected::refusal(403),
        Needs::Own { of: Some(owner) } => Expected::answer(if owner == who.name {
            route.there
        } else {
            route.absent
        }),
        Needs::Manage { action, .. } if !may_everywhere(who.name, action) => Expected::refusal(403),
        Needs::Manage { .. } if who.token.is_some() => Expected::refusal(403),
        Needs::Manage { tokens: true, .. } if logins == Logins::Passwords => Expected::answer(404),
        Needs::Whole if !all(&|action| may(who.name, action, repository, &[])) => {
            Expected::refusal(403)
        }
        Needs::Whole if !all(&|action| covers(who, action, repository)) => Expected {
            challenge: Some("Bearer realm="),
            fault: INSUFFICIENT,
            ..Expected::refusal(401)
        },
        Needs::Whole if has_outlived(who, repository) => log_in,
        _ => Expected::answer(status),
    })
}

/// Whether `who` may do `action` in the registry as a whole.
fn may_everywhere(who: &str, action: &str) -> bool {
    who == "root" || (who == "auditor" && matches!(action, "list" | "audit"))
}

/// What becomes of a mount for somebody who may push.
fn mounted(
    who: &Somebody,
    from: &str,
    content: &str,
    login: impl Fn(Option<&'static str>) -> Expected,
) -> Expected {
    let has = |source: &str| match content {
        "hidden" => source == VAULT,
        _ => is_there(source),
    };
    let pulls = |source: &str| may(who.name, "pull", source, &[]);
    let found = match (from, who.token) {
        ("", Some(token)) if !token.registry => return login(INSUFFICIENT),
        ("", _) => everywhere().any(|source| has(source) && pulls(source)),
        (source, _) if !pulls(source) => false,
        // The token wasn't asked for with it.
        (source, Some(token)) if !source.starts_with(token.below) || is_unnamed(source) => {
            return login(INSUFFICIENT);
        }
        (source, _) if !covers(who, "pull", source) => false,
        (source, _) if has_outlived(who, source) => return login(INVALID),
        (source, _) => has(source),
    };
    Expected::answer(if found { 201 } else { 202 })
}

/// Whether no token names it.
fn is_unnamed(repository: &str) -> bool {
    everywhere().all(|name| name != repository)
}

/// The repositories that `who` sees in a list, in its order.
pub(crate) fn listed(who: &str) -> Vec<&'static str> {
    let mut names: Vec<_> = everywhere()
        .filter(|name| (is_there(name) || *name == VAULT) && may(who, "list", name, &[]))
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
