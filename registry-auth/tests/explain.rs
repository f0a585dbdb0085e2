//! Why something would be allowed or refused.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test fails by panicking"
)]

use std::time::{Duration, UNIX_EPOCH};

use async_trait::async_trait;
use registry_auth::{
    AccessControl, Decision, Inquiry, Policy, Principal, Question, Review, Rule, Rules,
    TokenIssuer, TokenLimits,
};
use registry_core::{Action, Actions, Result, Scopes};

/// Nobody deletes before the audit ends.
#[derive(Debug)]
struct NoDeletes;

impl Policy for NoDeletes {
    fn decide(&self, _: &Question<'_>) -> Decision {
        Decision::deny(Action::Delete, "wait until the audit ends")
    }
}

fn access() -> AccessControl {
    let rule = |sentence: &str| sentence.parse::<Rule>().unwrap();
    let rules = Rules::new()
        .sentence("anyone is reader of library/**")
        .sentence("users are maintainers of team/**")
        .sentence("robot ci may push v* to team/**")
        .rule(
            rule("nobody may overwrite v* in team/**")
                .named("releases stay")
                .because("choose a new tag")
                .at("policy.yml:7"),
        )
        .rule(rule("user ann may pull late").until(UNIX_EPOCH + Duration::from_secs(100)))
        .sentence("user root is admin of **")
        .sentence("anyone is admin of open/**")
        .sentence("user kim may not list team/**")
        .sentence("robot puller may pull pulled/**")
        .sentence("robot ci may not push latest to open/**")
        .disable("mallory");
    AccessControl::new(rules).policy(NoDeletes)
}

/// `WHO ACTION REPOSITORY[:TAG]`, where `-` is nobody and no repository.
fn inquiry(text: &str) -> Inquiry {
    let words: Vec<_> = text.split(' ').collect();
    let [who, action, place] = words.as_slice() else {
        panic!("{text}");
    };
    let mut inquiry = Inquiry::new(action.parse::<Action>().unwrap());
    inquiry.principal = match who.strip_prefix("robot$") {
        Some(robot) => Some(Principal::robot(robot)),
        None => (*who != "-").then(|| Principal::new(*who)),
    };
    let (repository, tag) = place.split_once(':').unwrap_or((place, ""));
    inquiry.repository = (repository != "-").then(|| repository.parse().unwrap());
    inquiry.tags = tag
        .split_terminator(',')
        .map(|tag| tag.parse().unwrap())
        .collect();
    inquiry
}

#[test]
fn the_sentence_names_the_rule_that_decides() {
    let access = access();
    for (asked, granted, sentence) in [
        (
            "- pull library/x",
            true,
            "an anonymous client may pull library/x because of `anyone is reader of library/**`",
        ),
        (
            "- pull team/x",
            false,
            "an anonymous client may not pull team/x: no rule allows it",
        ),
        (
            "robot$ci push team/x:v1",
            true,
            "robot$ci may push v1 in team/x because of `users are maintainers of team/**`",
        ),
        (
            "ann overwrite team/x:v1",
            false,
            "ann may not overwrite v1 in team/x because of `releases stay: nobody may overwrite \
             v* in team/**` (policy.yml:7): choose a new tag",
        ),
        (
            "ann overwrite team/x:dev,v1",
            false,
            "ann may not overwrite dev, v1 in team/x because of `releases stay: nobody may \
             overwrite v* in team/**` (policy.yml:7): choose a new tag",
        ),
        (
            "ann delete team/x",
            false,
            "ann may not delete team/x because of `NoDeletes`: wait until the audit ends",
        ),
        (
            "- list library/x",
            true,
            "an anonymous client may list library/x because of `anyone is reader of library/**`",
        ),
        (
            "kim list team/x",
            false,
            "kim may not list team/x because of `user kim may not list team/**`",
        ),
        (
            "robot$puller list pulled/x",
            true,
            "robot$puller may list pulled/x because of `robot puller may pull pulled/**`",
        ),
        (
            "robot$ci overwrite open/x:latest",
            false,
            "robot$ci may not overwrite latest in open/x because of `robot ci may not push latest \
             to open/**`",
        ),
        (
            "mallory pull team/x",
            false,
            "mallory may not pull team/x: this login is disabled",
        ),
        (
            "root administer -",
            true,
            "root may administer the registry as a whole because of `user root is admin of **`",
        ),
        (
            "ann audit -",
            false,
            "ann may not audit the registry as a whole: no rule allows it",
        ),
        (
            "- administer open/x",
            false,
            "an anonymous client may not administer open/x: nobody unknown manages anything",
        ),
    ] {
        let explanation = access.explain(&inquiry(asked));
        assert_eq!(explanation.to_string(), sentence);
        assert_eq!(explanation.granted, granted, "{asked}");
    }
}

#[test]
fn of_several_actions_those_that_are_allowed_are_told() {
    let mut asked = inquiry("ann pull team/x:v1");
    asked.actions = [Action::Pull, Action::Push, Action::Overwrite].into();
    let sentence = "ann may not pull, push, overwrite v1 in team/x because of `releases stay: \
                    nobody may overwrite v* in team/**` (policy.yml:7): choose a new tag; allowed \
                    of this: pull, push";
    assert_eq!(access().explain(&asked).sentence, sentence);
    asked.principal = Some(Principal::new("mallory"));
    let sentence = access().explain(&asked).sentence;
    assert!(!sentence.contains("allowed of this"), "{sentence}");
}

#[test]
fn where_there_are_no_rules_none_is_named() {
    let explanation = AccessControl::open().explain(&inquiry("ann push team/x"));
    assert!(explanation.granted && explanation.decided_by.is_none());
    let sentence =
        "ann may push team/x: there are no rules, so everybody may do everything with content";
    assert_eq!(explanation.sentence, sentence);

    let explanation = AccessControl::open().explain(&inquiry("ann administer team/x"));
    assert!(!explanation.granted);
    let sentence = "ann may not administer team/x: no rule allows it";
    assert_eq!(explanation.sentence, sentence);
}

#[test]
fn other_rules_about_the_same_are_told_too() {
    let explanation = access().explain(&inquiry("robot$ci push team/x:v1"));
    let others: Vec<_> = explanation
        .others
        .iter()
        .map(|opinion| opinion.rule.as_str())
        .collect();
    assert_eq!(others, ["robot ci may push v* to team/**"]);
    assert_eq!(
        explanation.decided_by.unwrap().rule,
        "users are maintainers of team/**"
    );
}

#[test]
fn a_refusal_names_the_rule_about_what_is_lacking() {
    let rules = Rules::new()
        .sentence("user ann may pull team/**")
        .sentence("user ann may push team/**")
        .sentence("nobody may pull team/x")
        .sentence("nobody may list team/x");
    let access = AccessControl::new(rules);
    let named = |asked: &str| access.explain(&inquiry(asked)).decided_by.unwrap().rule;
    assert_eq!(named("ann list team/x"), "nobody may list team/x");
    assert_eq!(named("ann pull team/x"), "nobody may pull team/x");
    // A denial of pulling is one of listing.
    let hidden = Rules::new()
        .sentence("users are readers of team/**")
        .sentence("nobody may pull team/x");
    let hidden = AccessControl::new(hidden).explain(&inquiry("ann list team/x"));
    assert_eq!(
        hidden.sentence,
        "ann may not list team/x because of `nobody may pull team/x`"
    );
    // What is about other actions isn't told.
    let explanation = access.explain(&inquiry("ann push team/x"));
    assert_eq!(
        explanation.decided_by.unwrap().rule,
        "user ann may push team/**"
    );
    assert!(explanation.others.is_empty(), "{:?}", explanation.others);
}

#[test]
fn another_time_may_be_asked_about() {
    let mut inquiry = inquiry("ann pull late");
    assert!(!access().explain(&inquiry).granted);
    inquiry.at = Some(UNIX_EPOCH + Duration::from_secs(99));
    assert!(access().explain(&inquiry).granted);
}

#[test]
fn a_token_limits_what_its_holder_could_do() {
    let mut inquiry = inquiry("ann push team/x");
    let holder = |scope| {
        let scopes = Scopes::parse([scope]);
        let limits = TokenLimits::new(scopes, TokenIssuer::Own, UNIX_EPOCH);
        Some(Principal::new("ann").limited(limits))
    };
    inquiry.principal = holder("repository:team/x:pull");
    assert_eq!(
        access().explain(&inquiry).to_string(),
        "ann may not push team/x: the token doesn't cover it"
    );
    inquiry.principal = holder("repository:team/x:pull,push");
    assert!(access().explain(&inquiry).granted);
    inquiry.actions = Actions::from(Action::Pull) | Action::Push.into();
    assert!(access().explain(&inquiry).granted);
}

#[test]
fn the_holder_of_an_anonymous_token_is_somebody_anonymous() {
    let mut inquiry = Inquiry::new(Action::Pull);
    inquiry.principal = Some(Principal::anonymous());
    let sentence = access().explain(&inquiry).sentence;
    assert!(
        sentence.starts_with("an anonymous client may"),
        "{sentence}"
    );
}

const SPIFFE: &str = "spiffe://example.com/builder";

#[test]
fn everybody_is_found_by_a_name_whatever_is_in_it() {
    let rules = || {
        Rules::new()
            .sentence("user spiffe://example.com/builder may pull team/app")
            .sentence("user a:b may pull team/app")
            .sentence("user ci may pull team/app")
            .sentence("robot ci may push team/app")
            .sentence("workload ci may delete team/app")
            .sentence("group web may push, overwrite team/app")
    };
    let may = |rules: Rules, who: &str| {
        let mut inquiry = Inquiry::new(Action::Pull);
        inquiry.repository = Some("team/app".parse().unwrap());
        inquiry.principal = Principal::called(who);
        let access = AccessControl::new(rules);
        let mut granted = |action: Action| {
            inquiry.actions = action.into();
            access.explain(&inquiry).granted
        };
        let granted: Vec<_> = Action::ALL
            .into_iter()
            .filter(|action| granted(*action))
            .collect();
        granted
    };
    for (names, actions) in [
        (
            &[SPIFFE, "user spiffe://example.com/builder"][..],
            &[Action::List, Action::Pull][..],
        ),
        (&["user a:b"], &[Action::List, Action::Pull]),
        (&["ci", "user ci"], &[Action::List, Action::Pull]),
        (&["robot$ci", "robot ci"], &[Action::Push]),
        (
            &["ci:job", "ci:a:b", "workload ci a:b", "workload ci //a"],
            &[Action::Delete],
        ),
    ] {
        for name in names {
            assert_eq!(may(rules(), name), actions, "{name}");
            // The same spelling ends its login, and nobody else's.
            assert_eq!(may(rules().disable(name), name), [], "{name}");
            for other in ["ann:b", "user other"] {
                assert_eq!(may(rules().disable(other), name), actions, "{name}");
            }
        }
    }
    for (member, name) in [
        ("spiffe://example.com/builder", SPIFFE),
        ("user spiffe://example.com/builder", SPIFFE),
        ("user a:b", "user a:b"),
        ("a:b", "user a:b"),
        ("robot ci", "robot$ci"),
    ] {
        let granted = may(rules().group_members("web", &[member]), name);
        assert!(granted.contains(&Action::Overwrite), "{member}");
    }
    // Disabling means all who are called so.
    for name in ["a:b", "user a:b"] {
        assert_eq!(may(rules().disable(name), "user a:b"), [], "{name}");
    }
}

#[test]
fn the_claims_of_a_job_decide_and_the_rule_that_is_named_says_which() {
    let main = "workload github repository=org/app ref=refs/heads/main may push org/app";
    let sub = "workload github sub=repo:org/* may pull org/app";
    let access = AccessControl::new(Rules::new().sentence(main).sentence(sub));
    let ask = |action: Action, who: &str, claims: &[(&str, &str)]| {
        let mut inquiry = Inquiry::new(action);
        inquiry.repository = Some("org/app".parse().unwrap());
        let job = Principal::called(who).unwrap();
        let job = claims
            .iter()
            .fold(job, |job, (name, value)| job.with_claim(*name, *value));
        inquiry.principal = Some(job);
        let rule = access.explain(&inquiry).decided_by;
        rule.map(|opinion| opinion.rule)
    };
    let (repository, head) = (("repository", "org/app"), ("ref", "refs/heads/main"));
    let named = |claims: &[_]| ask(Action::Push, "github:", claims);
    assert_eq!(named(&[repository, head]).as_deref(), Some(main));
    assert_eq!(named(&[repository]), None);
    assert_eq!(named(&[repository, ("ref", "refs/heads/other")]), None);
    let other = ask(Action::Push, "gitlab:", &[repository, head]);
    assert_eq!(other, None);
    // The subject is a claim, too.
    let who = "github:repo:org/app:ref:refs/heads/main";
    assert_eq!(ask(Action::Pull, who, &[]).as_deref(), Some(sub));
    assert_eq!(ask(Action::Pull, "github:", &[]), None);
    let said = ask(Action::Pull, "github:x", &[("sub", "repo:org/app")]);
    assert_eq!(said.as_deref(), Some(sub));
}

/// Has a say, and no opinion.
#[derive(Debug)]
struct Silent;

#[async_trait]
impl Review for Silent {
    async fn review(&self, _: &Question<'_>, _: Actions) -> Result<Decision> {
        Ok(Decision::ABSTAIN)
    }
}

#[test]
fn it_is_said_where_a_review_would_be_asked_too() {
    let asked = |text: &str| access().review(Silent).explain(&inquiry(text));
    for (text, granted, end) in [
        (
            "- pull library/x",
            true,
            "; a review, such as a webhook's, is asked, too, and may deny it",
        ),
        (
            "- pull team/x",
            false,
            "; a review, such as a webhook's, is asked, too, and may allow it",
        ),
        // What the policies deny stays denied.
        ("ann overwrite team/x:v1", false, ": choose a new tag"),
        ("mallory pull team/x", false, ": this login is disabled"),
        // Who manages the registry is no question for others.
        ("root administer -", true, "`"),
        ("root administer team/x", true, "`"),
    ] {
        let explanation = asked(text);
        assert_eq!(explanation.granted, granted, "{text}");
        assert!(explanation.sentence.ends_with(end), "{explanation}");
        assert_eq!(explanation.reviewed, end.contains("review"), "{text}");
        // Who has no review isn't told of one.
        assert!(!access().explain(&inquiry(text)).reviewed);
    }
}
