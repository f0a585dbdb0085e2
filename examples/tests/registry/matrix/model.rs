//! What the policy means, written anew, and what each route answers then.

use crate::matrix::principals::{ANONYMOUS, Shows, Somebody, WRONG};
use crate::matrix::world::{REPOSITORIES, VAULT};
use crate::routes::{Needs, Route};

/// Who may do what, where names begin so.
const GRANTS: &[(&str, &str, &str)] = &[
    ("reader", "secret/", "list pull"),
    ("robot$bot", "secret/", "list pull"),
    ("creator", "secret/", "list pull push"),
    ("writer", "secret/", "list pull push overwrite"),
    ("cleaner", "secret/", "list pull delete"),
    ("stranger", "elsewhere/", "list pull push overwrite"),
    ("auditor", "", "list audit"),
    (
        "root",
        "",
        "list pull push overwrite delete audit administer",
    ),
];

fn may(who: &Somebody, action: &str, repository: &str) -> bool {
    let open = repository.starts_with("open/") && matches!(action, "list" | "pull");
    let given = GRANTS.iter().any(|(name, start, actions)| {
        *name == who.name
            && repository.starts_with(start)
            && actions.split(' ').any(|given| given == action)
    });
    who.name != WRONG && (open || given)
}

/// Whether what is shown covers what its holder may do.
fn covers(who: &Somebody, action: &str) -> bool {
    let Shows::Token(words) = who.shows else {
        return true;
    };
    words.split(',').any(|word| match word {
        "*" => true,
        "pull" => matches!(action, "list" | "pull"),
        "push" => matches!(action, "push" | "overwrite"),
        word => word == action,
    })
}

/// The status of the answer to `who`.
pub(crate) fn expected(route: &Route, who: &Somebody, repository: &str) -> u16 {
    let is_token = matches!(who.shows, Shows::Token(_));
    let is_there = is_there(repository);
    let answer = if is_there { route.there } else { route.absent };
    // These keys are in files.
    let answer = if route.path == "/api/v1/signing-keys" {
        204
    } else {
        answer
    };
    let unknown = [ANONYMOUS, WRONG].contains(&who.name);
    match &route.needs {
        Needs::Nothing => return answer,
        Needs::Exchange => {
            let bearer = is_token || who.shows == Shows::KeyAsBearer;
            return if bearer && who.name != WRONG {
                answer
            } else {
                401
            };
        }
        Needs::Token if who.name != WRONG => return answer,
        _ if who.name == WRONG => return 401,
        Needs::Login if unknown && !is_token => return 401,
        Needs::Catalog if unknown || is_token => return 401,
        Needs::Known | Needs::Own { .. } | Needs::Manage { .. } | Needs::Whole if unknown => {
            return 401;
        }
        Needs::Token | Needs::Login | Needs::Catalog | Needs::Known => return answer,
        Needs::Own { .. } if who.shows != Shows::Password => return 403,
        Needs::Own { of } => {
            let owns = of.is_none_or(|owner| owner == who.name);
            return if owns { route.there } else { route.absent };
        }
        Needs::Manage { action, .. } => {
            let manages = !is_token && may(who, action, "");
            return if manages { answer } else { 403 };
        }
        _ => {}
    }
    let actions: &[&str] = match &route.needs {
        Needs::In { action, .. } => &[*action],
        Needs::Whole => &["administer", "delete"],
        _ => &["push"],
    };
    if !actions.iter().all(|action| may(who, action, repository)) {
        return if unknown { 401 } else { 403 };
    }
    if !actions.iter().all(|action| covers(who, action)) {
        return 401;
    }
    match &route.needs {
        Needs::Move { .. } if is_there => {
            let moves = may(who, "overwrite", repository) && covers(who, "overwrite");
            if moves { answer } else { 403 }
        }
        Needs::Mount { from, content } => {
            let from = from.replace("{name}", repository);
            mounted(who, &from, content)
        }
        _ => answer,
    }
}

/// What is answered to a mount of somebody who may push.
fn mounted(who: &Somebody, from: &str, content: &str) -> u16 {
    let is_token = matches!(who.shows, Shows::Token(_));
    let has = |source: &str| match content {
        "hidden" => source == VAULT,
        _ => is_there(source),
    };
    // Tokens are for none that never was.
    let is_named = from == VAULT || REPOSITORIES.iter().any(|(name, _)| *name == from);
    let found = if from.is_empty() {
        // They are for no mount from anywhere.
        if is_token {
            return 401;
        }
        let names = REPOSITORIES.iter().map(|(name, _)| *name).chain([VAULT]);
        names.filter(|source| may(who, "pull", source)).any(has)
    } else if !may(who, "pull", from) {
        false
    } else if is_token && !is_named {
        return 401;
    } else {
        covers(who, "pull") && has(from)
    };
    if found { 201 } else { 202 }
}

fn is_there(repository: &str) -> bool {
    REPOSITORIES
        .iter()
        .any(|(name, is_there)| *is_there && *name == repository)
}
