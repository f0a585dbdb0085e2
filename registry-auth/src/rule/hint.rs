//! What somebody probably meant by a word that can't stand where it does.

use registry_core::Error;

use super::sentence::{quoted, wrong};
use crate::principal::{ROBOT, is_anonymous};
use crate::suggestion::suggestion;
use crate::{Pattern, TagPattern};

/// What to write where a repository is missing.
pub(super) const REPOSITORY: &str =
    "write one such as team/app, `team/**` for all below team, or `**` for all";

/// What is said for everybody elsewhere.
const EVERYBODY: [&str; 6] = ["everyone", "everybody", "anybody", "all", "public", "*"];

const ARTICLES: [&str; 3] = ["a", "an", "the"];

/// Whom `word` probably means, which begins no subject. Behind it comes what somebody may,
/// or not.
pub(super) fn subject(word: &str, is_all: bool) -> Option<String> {
    if EVERYBODY.contains(&word) || is_anonymous(word) {
        return Some("say `anyone` for everybody, or `users` for whoever is logged in".into());
    }
    if let Some(robot) = word.strip_prefix(ROBOT) {
        return Some(format!("write `robot {}`", quoted(robot)));
    }
    let kinds = [
        "user", "group", "robot", "workload", "anyone", "users", "robots",
    ];
    if let Some(kind) = suggestion(word, kinds) {
        return Some(format!("did you mean `{kind}`?"));
    }
    if let Some((issuer, _)) = word.split_once(':') {
        return Some(format!(
            "write `workload {} CLAIM=PATTERN` if these are CI jobs",
            quoted(issuer)
        ));
    }
    is_all.then(|| format!("write `user {}` if that is a user", quoted(word)))
}

/// What is wrong with a rule in which another word comes behind these, which were taken for
/// repositories.
pub(super) fn behind(words: &str) -> String {
    match words {
        "and" | "or" => "write a comma between several".to_owned(),
        _ => format!(
            "if `{words}` are tags, write `to` or `in` behind them, as in `v* to team/**`; if \
             there are several actions or repositories, commas between them"
        ),
    }
}

/// What to write in place of a role that isn't known.
pub(super) fn role(word: &str) -> Option<&'static str> {
    ARTICLES
        .contains(&word)
        .then_some("leave the article out, as in `user ann is writer of team/**`")
}

/// Why this is no pattern of repositories, if it is one and more.
pub(super) fn pattern(text: &str) -> Option<Error> {
    if let Some((repository, _)) = text.split_once('@') {
        repository.parse::<Pattern>().ok()?;
        return Some(wrong(format!(
            "rules are about repositories and tags, not digests; write `{repository}` in place of \
             `{text}`"
        )));
    }
    let (repository, tag) = text.rsplit_once(':')?;
    repository.parse::<Pattern>().ok()?;
    tag.parse::<TagPattern>().ok()?;
    Some(wrong(format!(
        "`{text}` is no repository; rules name tags before it, as in `may pull {} in {repository}`",
        quoted(tag)
    )))
}
