//! What rules mean, seen from outside: sentences go in, decisions come out.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test fails by panicking"
)]

mod rules_model;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use proptest::prelude::*;
use registry_auth::{Policy, Principal, Question, RemarkKind, Role, Rule, RuleRemark, Rules, Who};
use registry_core::{Action, Actions, RequestOrigin, Tag};

fn rules(sentences: &[&str]) -> Rules {
    sentences
        .iter()
        .fold(Rules::new(), |rules, sentence| rules.sentence(sentence))
        .check()
        .unwrap()
}

/// What may be done in a repository, or with a tag of it: `team/app:v1`.
fn granted(rules: &Rules, who: Option<&Principal>, what: &str) -> Actions {
    let (repository, tags) = what.split_once(':').unwrap_or((what, ""));
    let tags: Vec<Tag> = tags
        .split_terminator(',')
        .map(|tag| tag.parse().unwrap())
        .collect();
    let repository = repository.parse().unwrap();
    let origin = RequestOrigin::default();
    let mut question = Question::new(who, &repository, &origin, UNIX_EPOCH);
    question.tags = &tags;
    rules.decide(&question).granted()
}

const NOTHING: Actions = Actions::NONE;

#[test]
fn everyone_pulls_and_signed_in_users_push() {
    let rules = rules(&["anyone may pull **", "users are writers of **"]);
    let ann = Principal::new("ann");
    assert_eq!(granted(&rules, None, "a/b:v1"), Role::READER.into());
    assert_eq!(granted(&rules, Some(&ann), "a/b:v1"), Role::WRITER.into());
}

#[test]
fn each_user_and_each_team_has_a_name_space() {
    let rules = rules(&[
        "users are maintainers of people/{user}/**",
        "group web are writers of teams/{group}/**",
    ]);
    let ann = Principal::new("ann").member_of("web").member_of("ops");
    let ben = Principal::new("ben").member_of("ops");
    assert_eq!(
        granted(&rules, Some(&ann), "people/ann/x"),
        Role::MAINTAINER.into()
    );
    assert_eq!(granted(&rules, Some(&ben), "people/ann/x"), NOTHING);
    assert_eq!(
        granted(&rules, Some(&Principal::robot("ann")), "people/ann/x"),
        NOTHING
    );
    assert_eq!(granted(&rules, None, "people/ann/x"), NOTHING);
    assert_eq!(
        granted(&rules, Some(&ann), "teams/web/x"),
        Role::WRITER.into()
    );
    assert_eq!(granted(&rules, Some(&ben), "teams/ops/x"), NOTHING);
}

#[test]
fn a_ci_robot_pushes_only_its_tags_of_its_team() {
    let rules = rules(&["robot ci may push v* to team-a/**"]);
    let ci = Principal::robot("ci");
    let push = Actions::from(Action::Push);
    for (what, expected) in [
        ("team-a/app:v1", push),
        ("team-a/app:v1,v2", push),
        ("team-a/app:v1,latest", NOTHING),
        ("team-a/app:latest", NOTHING),
        ("team-a/app", push),
        ("team-a:v1", NOTHING),
        ("team-b/app:v1", NOTHING),
    ] {
        assert_eq!(granted(&rules, Some(&ci), what), expected, "{what}");
    }
    for other in [Principal::new("ci"), Principal::robot("cd")] {
        assert_eq!(granted(&rules, Some(&other), "team-a/app:v1"), NOTHING);
    }
}

#[test]
fn what_one_rule_denies_no_other_allows() {
    let rules = rules(&[
        "users are maintainers of **",
        "nobody except group release may overwrite, delete v*, stable in products/**",
        "robots may not delete **",
    ]);
    let ann = Principal::new("ann");
    let cleo = Principal::new("cleo").member_of("release");
    let ci = Principal::robot("ci");
    let may = |who, what, action: Action| granted(&rules, Some(who), what).contains(action.into());
    assert!(!may(&ann, "products/app:v1", Action::Overwrite));
    assert!(!may(&ann, "products/app:dev,stable", Action::Delete));
    assert!(may(&ann, "products/app:v1", Action::Push));
    assert!(may(&ann, "products/app:dev", Action::Delete));
    assert!(may(&ann, "elsewhere:v1", Action::Delete));
    assert!(may(&cleo, "products/app:v1", Action::Delete));
    assert!(!may(&ci, "a", Action::Delete) && may(&ci, "a", Action::Push));
    // By digest, it could be one of those.
    assert!(!may(&ann, "products/app", Action::Delete));
    assert!(may(&ann, "products/app", Action::Overwrite));
    assert!(may(&cleo, "products/app", Action::Delete));
}

#[test]
fn who_may_pull_may_list_unless_that_is_denied() {
    let rules = rules(&[
        "users may pull team/**",
        "user kim may list team/**",
        "user ann may not list team/**",
        "user eve may list **",
        "users may not pull team/secret/**",
    ]);
    let may = |name: &str, place: &str| granted(&rules, Some(&Principal::new(name)), place);
    assert_eq!(may("ben", "team/app"), Role::READER.into());
    assert_eq!(may("ann", "team/app"), Action::Pull.into());
    // Who is given no more than that lists what it can't pull, but not what is denied.
    assert_eq!(may("eve", "other/app"), Action::List.into());
    assert_eq!(may("eve", "team/secret/app"), NOTHING);
    assert_eq!(may("kim", "team/secret/app"), NOTHING);
    assert_eq!(may("ben", "team/secret/app"), NOTHING);
    assert_eq!(may("ann", "team/secret/app"), NOTHING);
}

#[test]
fn a_workload_is_known_by_what_its_issuer_says() {
    let rules = rules(&[
        "workload github repository=our-org/app ref=refs/heads/* may push, pull team-a/app",
        "workload cluster may pull **",
    ]);
    let job = |repository: &str, branch: &str| {
        Principal::workload("github", "x")
            .with_claim("repository", repository)
            .with_claim("ref", format!("refs/heads/{branch}"))
    };
    let both = [Action::List, Action::Pull, Action::Push].into();
    let may = |who: &Principal| granted(&rules, Some(who), "team-a/app:v1");
    assert_eq!(may(&job("our-org/app", "main")), both);
    assert_eq!(may(&job("our-org/apps", "main")), NOTHING);
    assert_eq!(may(&Principal::workload("github", "x")), NOTHING);
    assert_eq!(
        may(&Principal::workload("gitlab", "x").with_claim("repository", "our-org/app")),
        NOTHING
    );
    assert_eq!(
        may(&Principal::workload("cluster", "x")),
        Role::READER.into()
    );
    assert_eq!(may(&Principal::new("cluster")), NOTHING);
}

#[test]
fn groups_of_the_rules_add_to_those_of_the_login() {
    let rules = rules(&["group web are readers of teams/{group}/**"])
        .group_members("web", &["ann", "robot$ci"])
        .group_members("ops", &["ann"]);
    let reader = Actions::from(Role::READER);
    let may = |who: &Principal, what| granted(&rules, Some(who), what);
    assert_eq!(may(&Principal::new("ann"), "teams/web/a"), reader);
    assert_eq!(may(&Principal::new("ann"), "teams/ops/a"), reader);
    assert_eq!(may(&Principal::robot("ci"), "teams/web/a"), reader);
    assert_eq!(may(&Principal::robot("ci"), "teams/ops/a"), NOTHING);
    for other in [
        Principal::robot("ann"),
        Principal::new("ci"),
        Principal::workload("robot$ci", "ann"),
    ] {
        assert_eq!(may(&other, "teams/web/a"), NOTHING, "{other}");
    }
    let by_login = Principal::new("ben").member_of("web").member_of("x");
    assert_eq!(may(&by_login, "teams/x/a"), reader);
}

#[test]
fn s_22_whoever_is_disabled_is_known_by_the_name_that_logs_use() {
    let rules = Rules::new().disable("ann").disable("robot$ci");
    assert!(rules.is_disabled(&Principal::new("ann")));
    assert!(rules.is_disabled(&Principal::robot("ci")));
    assert!(!rules.is_disabled(&Principal::robot("ann")));
    assert!(!rules.is_disabled(&Principal::new("ci")));
}

fn at(hour: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_hours(hour)
}

#[test]
fn an_unknown_address_is_allowed_nothing_and_denied_everything() {
    let office = "10.0.0.0/8".parse().unwrap();
    let everywhere = "**".parse().unwrap();
    let with = |rule: Rule| Rules::new().sentence("anyone may list **").rule(rule);
    let allow = with(Rule::allow(
        Who::Anyone,
        Action::Pull,
        "**".parse().unwrap(),
    ));
    let allowed_there = with(Rule::allow(Who::Anyone, Action::Pull, everywhere).from(office));
    let deny = Rule::deny(Who::Anyone, Action::List, "**".parse().unwrap()).from(office);
    let denied_there = allow.rule(deny);
    let may = |rules: &Rules, address: Option<&str>, action: Action| {
        let repository = "a".parse().unwrap();
        let origin = RequestOrigin {
            address: address.map(|address| address.parse().unwrap()),
            ..RequestOrigin::default()
        };
        let question = Question::new(None, &repository, &origin, UNIX_EPOCH);
        rules.decide(&question).granted().contains(action.into())
    };
    for (address, inside, outside) in [
        (Some("10.1.2.3"), true, false),
        (Some("::ffff:10.1.2.3"), true, false),
        (Some("192.0.2.1"), false, true),
        (None, false, false),
    ] {
        assert_eq!(may(&allowed_there, address, Action::Pull), inside);
        assert_eq!(may(&denied_there, address, Action::List), outside);
    }
}

#[test]
fn a_rule_may_hold_at_times_and_until_an_end() {
    let rule: Rule = "anyone may pull **".parse().unwrap();
    let rules = Rules::new().rule(
        rule.during("02:00-04:00".parse().unwrap())
            .during("05:00-06:00 UTC".parse().unwrap())
            .until(at(27)),
    );
    for (hour, expected) in [
        (1, false),
        (2, true),
        (4, false),
        (5, true),
        (26, true),
        (27, false),
        (29, false),
    ] {
        let repository = "a".parse().unwrap();
        let origin = RequestOrigin::default();
        let question = Question::new(None, &repository, &origin, at(hour));
        let may = !rules.decide(&question).granted().is_empty();
        assert_eq!(may, expected, "{hour}");
    }
}

#[test]
fn the_reason_is_that_of_the_rule_that_denies() {
    let deny = |sentence: &str| sentence.parse::<Rule>().unwrap();
    let rules = Rules::new()
        .rule(deny("nobody may delete a").because("ask the owner"))
        .rule(deny("nobody may overwrite a").because("choose a new tag"))
        .rule(deny("nobody may push b"));
    let repository = "a".parse().unwrap();
    let origin = RequestOrigin::default();
    let decision = rules.decide(&Question::new(None, &repository, &origin, UNIX_EPOCH));
    assert_eq!(
        decision.reason(Action::Overwrite.into()),
        Some("choose a new tag")
    );
    assert_eq!(
        decision.reason(Action::Delete.into()),
        Some("ask the owner")
    );
    assert_eq!(decision.reason(Action::Push.into()), None);
}

#[test]
fn a_decision_is_explained_by_the_rules_it_comes_from() {
    let rules = Rules::new()
        .rule("users are writers of team/**".parse().unwrap())
        .rule(
            "nobody may overwrite v* in team/**"
                .parse::<Rule>()
                .unwrap()
                .named("releases stay")
                .because("choose a new tag")
                .at("policy.yml:7"),
        )
        .rule("users are readers of elsewhere".parse().unwrap());
    let ann = Principal::new("ann");
    let repository = "team/app".parse().unwrap();
    let origin = RequestOrigin::default();
    let mut question = Question::new(Some(&ann), &repository, &origin, UNIX_EPOCH);
    let tags = ["v1".parse().unwrap()];
    question.tags = &tags;
    let opinions = rules.explain(&question);
    let [writers, releases] = opinions.as_slice() else {
        panic!("{opinions:?}");
    };
    assert_eq!(writers.rule, "users are writers of team/**");
    assert_eq!(writers.actions, Role::WRITER.into());
    assert_eq!(
        releases.rule,
        "releases stay: nobody may overwrite v* in team/**"
    );
    assert_eq!(releases.place.as_deref(), Some("policy.yml:7"));
    assert_eq!(releases.reason.as_deref(), Some("choose a new tag"));
}

#[test]
fn sentences_are_read_and_written_alike() {
    for sentence in [
        "anyone is reader of library/**",
        "users are writers of shared/**, common/*",
        "group release may push products/**",
        "user root is admin of **",
        "group auditors are auditors of **",
        "robot ci may push v*, w? to team-a/**",
        "robots may not delete **",
        "anyone may pull, delete v* in a",
        "nobody except group release, user root may overwrite, delete v*, stable in products/**",
        "users except robots are maintainers of a",
        "workload github repository=our-org/app ref=refs/heads/main may pull, push team-a/app",
        "workload github may pull a",
        "workload cluster \"a b\"=\"x,y*\" may pull a",
        "user \"Ann Lee\" may pull a",
        "user \"\\\"\\\\\" may pull a",
        "user \"may\" may pull \"may\"",
        "anyone may pull \"in\"",
        "anyone may pull \"to\" in a",
        "users may audit **",
    ] {
        let rule: Rule = sentence.parse().expect(sentence);
        assert_eq!(rule.to_string(), sentence);
    }
    for (other, sentence) in [
        ("anyone may not pull **", "nobody may pull **"),
        ("  users\tis readers of **  ", "users are readers of **"),
        ("users may push to a", "users may push a"),
        ("users may pull,push in a ,b", "users may pull, push a, b"),
        ("users may pull, list a", "users are readers of a"),
        ("user may may pull a", "user \"may\" may pull a"),
        ("user a\"b c\"d may pull a", "user \"ab cd\" may pull a"),
        ("user \"\" may pull a", "user \"\" may pull a"),
    ] {
        let rule: Rule = other.parse().expect(other);
        assert_eq!(rule.to_string(), sentence);
        assert_eq!(sentence.parse::<Rule>().unwrap(), rule);
    }
}

#[test]
fn an_action_behind_the_tags_is_no_tag() {
    for sentence in [
        "nobody may overwrite v*, push in team/**",
        "users may pull delete in team/**",
    ] {
        let error = sentence.parse::<Rule>().unwrap_err().to_string();
        assert!(error.contains("put all actions before them"), "{error}");
    }
    let rule: Rule = "users may pull \"delete\" in team/**".parse().unwrap();
    assert_eq!(rule.to_string().parse::<Rule>().unwrap(), rule);
    assert_eq!(
        granted(
            &Rules::new().rule(rule),
            Some(&Principal::new("ann")),
            "team/a:delete"
        ),
        [Action::List, Action::Pull].into()
    );
}

#[test]
fn what_cannot_be_read_says_what_to_write() {
    for (sentence, advice) in [
        ("", "here is the end"),
        ("everyone may pull **", "`everyone`"),
        ("user", "a name"),
        ("user ann", "`may`, `is` or `are`"),
        ("user ann can pull a", "`can`"),
        ("\"anyone\" may pull a", "`anyone`"),
        ("anyone may pul a", "did you mean `pull`?"),
        ("anyone may fetch a", "use list, pull"),
        ("anyone may pull", "here is the end"),
        ("anyone may pull,, push a", "a comma"),
        ("anyone may pull push a b", "the end of the rule"),
        ("anyone may pull a,", "here is the end"),
        ("anyone may pull v* to", "here is the end"),
        ("anyone may pull team-*", "\"team-*\""),
        ("anyone may pull -v to a", "\"-v\""),
        ("anyone is raeder of a", "did you mean `reader`?"),
        ("anyone is boss of a", "use reader, writer"),
        ("anyone is reader a", "`of` and repositories"),
        ("nobody is reader of a", "what nobody may"),
        ("nobody may not pull a", "two things"),
        ("users except nobody may pull a", "`nobody`"),
        ("workload github =x may pull a", "a claim"),
        ("workload github a= may pull a", "the pattern is empty"),
        ("user \"ann may pull a", "add a double quote"),
        ("user \"a\u{7}\" may pull a", "control characters"),
    ] {
        let error = sentence.parse::<Rule>().expect_err(sentence).to_string();
        assert!(error.contains(advice), "{sentence}: {error}");
    }
    let long = format!("user {} may pull a", "x".repeat(5000));
    let error = long.parse::<Rule>().unwrap_err().to_string();
    assert!(error.len() < 100, "{error}");
}

#[test]
fn who_writes_what_others_would_say_is_told_how_it_is_said_here() {
    for (sentence, advice) in [
        ("users may push v* team/**", "write `to` or `in` behind"),
        ("users may pull and push a", "write a comma"),
        ("users may pull team/app:v1", "`may pull v1 in team/app`"),
        (
            "users may pull v1 in team/**:v*",
            "`may pull v* in team/**`",
        ),
        ("users are readers of a:v1", "`may pull v1 in a`"),
        ("users may pull a@sha256:00", "not digests; write `a`"),
        ("users may pull a:1/b", "\"a:1/b\" matches no repository"),
        ("robot$ci may pull a", "write `robot ci`"),
        ("users except robot$ci may pull a", "write `robot ci`"),
        ("everyone may pull **", "say `anyone`"),
        ("everybody may pull **", "say `anyone`"),
        ("anonymous may pull **", "say `anyone`"),
        ("groups web may pull a", "did you mean `group`?"),
        ("github:job may pull a", "`workload github CLAIM=PATTERN`"),
        ("ann may pull a", "write `user ann`"),
        ("ann pull a", "write a rule such as"),
        ("user ann is a writer of a", "leave the article out"),
        ("user ann is an admin of a", "leave the article out"),
        ("users may pull", "a repository was expected; write one"),
        ("users may pull a,", "a repository was expected"),
        ("users may push v* to", "a repository was expected"),
        ("users are writers of", "a repository was expected"),
    ] {
        let error = sentence.parse::<Rule>().expect_err(sentence).to_string();
        assert!(error.contains(advice), "{sentence}: {error}");
    }
}

#[test]
fn roles_have_what_their_names_promise() {
    use Action::{Administer, Audit, Delete, List, Overwrite, Pull, Push};
    for (role, actions) in [
        (Role::READER, &[List, Pull][..]),
        (Role::WRITER, &[List, Pull, Push, Overwrite]),
        (Role::MAINTAINER, &[List, Pull, Push, Overwrite, Delete]),
        (
            Role::ADMIN,
            &[List, Pull, Push, Overwrite, Delete, Administer, Audit],
        ),
        (Role::AUDITOR, &[List, Audit]),
    ] {
        let exactly: Actions = actions.iter().copied().collect();
        assert_eq!(role.actions(), exactly, "{role}");
    }
    assert_eq!(Role::ALL.len(), 5);
    // None of them is less for there being another action.
    assert_eq!(Role::ADMIN.actions(), Actions::ALL);
}

#[test]
fn sentences_name_the_roles_that_stand_before_them() {
    let pusher = || Role::new("pusher", [Action::Pull, Action::Push]).unwrap();
    let sentence = "robots are pushers of team/**";
    let rules = Rules::new().role(pusher()).sentence(sentence);
    let rules = rules.sentence("user ann is pusher of a").check().unwrap();
    let rights = [Action::List, Action::Pull, Action::Push].into();
    let robot = Principal::robot("ci");
    assert_eq!(granted(&rules, Some(&robot), "team/app"), rights);
    assert_eq!(granted(&rules, Some(&Principal::new("ann")), "a"), rights);
    assert_eq!(granted(&rules, Some(&robot), "a"), NOTHING);
    for (rules, advice) in [
        (Rules::new().sentence(sentence), "no role `pushers`"),
        (
            Rules::new().sentence(sentence).role(pusher()),
            "no role `pushers`",
        ),
        (
            Rules::new()
                .role(pusher())
                .sentence("robots are pusers of a"),
            "`pusher`",
        ),
        (
            Rules::new()
                .role(pusher())
                .role(pusher())
                .sentence(sentence),
            "twice",
        ),
    ] {
        assert_eq!(granted(&rules, Some(&robot), "team/app"), NOTHING);
        let error = rules.check().unwrap_err().to_string();
        assert!(error.contains(advice), "{error}");
    }
}

#[test]
fn a_role_has_a_name_of_its_own_and_something_to_do() {
    let pusher = Role::new("pusher".to_owned(), Action::Push).unwrap();
    assert_eq!(
        (pusher.name(), pusher.actions()),
        ("pusher", Action::Push.into())
    );
    assert_eq!(pusher.to_string(), "pusher");
    for (name, actions, advice) in [
        ("", Action::Pull.into(), "name"),
        ("reader", Action::Pull.into(), "ready-made"),
        ("auditors", Action::Pull.into(), "ready-made"),
        ("pusher", NOTHING, "nothing"),
    ] {
        let error = Role::new(name, actions).unwrap_err().to_string();
        assert!(error.contains(advice), "{name}: {error}");
    }
}

/// Whether `tag` as a whole is like `pattern`, by taking one character after the other
/// away from both.
fn is_like(pattern: &[u8], tag: &[u8]) -> bool {
    match (pattern, tag) {
        ([], tag) => tag.is_empty(),
        ([b'*', rest @ ..], tag) => (0..=tag.len()).any(|taken| is_like(rest, &tag[taken..])),
        ([b'?', rest @ ..], [_, others @ ..]) => is_like(rest, others),
        ([byte, rest @ ..], [first, others @ ..]) => byte == first && is_like(rest, others),
        _ => false,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// Tags that a rule protects, and those that it is about, are those that its pattern
    /// means as a whole: each case tries fifty, many of which hold one that it means.
    #[test]
    fn s_06b_rules_are_about_the_tags_that_their_patterns_mean(
        pattern in "[a-c0-2*?][a-c0-2.*?_-]{0,9}",
        tags in prop::collection::vec(("[a-c0-2]{0,2}", "[a-c0-2._-]{0,4}", "[a-c0-2.]{0,2}"), 50),
    ) {
        let protected = format!("nobody may overwrite, delete {pattern} in **");
        let protects = rules(&["anyone is maintainer of **", &protected]);
        let allows = rules(&[&format!("anyone may push {pattern} to **")]);
        for (before, filling, behind) in tags {
            // What the pattern means if its wildcards are filled in, with more around it.
            let middle = pattern.replacen('*', &filling, 1).replace(['*', '?'], "b");
            let tag = format!("{before}{middle}{behind}");
            if tag.parse::<Tag>().is_err() {
                continue;
            }
            let is_meant = is_like(pattern.as_bytes(), tag.as_bytes());
            let what = format!("a/b:{tag}");
            let moves = granted(&protects, None, &what);
            prop_assert_eq!(moves.contains(Action::Delete.into()), !is_meant, "{} {}", pattern, tag);
            prop_assert_eq!(moves.contains(Action::Overwrite.into()), !is_meant, "{} {}", pattern, tag);
            let pushes = granted(&allows, None, &what).contains(Action::Push.into());
            prop_assert_eq!(pushes, is_meant, "{} {}", pattern, tag);
            // One of several is enough to be protected, and too few to be allowed.
            let several = format!("{what},z");
            let kept = !granted(&protects, None, &several).contains(Action::Delete.into());
            prop_assert!(kept || !is_meant, "{} {}", pattern, tag);
            let pushes = granted(&allows, None, &several).contains(Action::Push.into());
            prop_assert_eq!(pushes, is_meant && is_like(pattern.as_bytes(), b"z"), "{} {}", pattern, tag);
        }
    }
}

#[test]
fn only_quotation_marks_make_a_word_of_what_would_be_something_else() {
    // Outside of them, a backslash is a character like others.
    let sentence = r"user a\b may pull a";
    assert_eq!(sentence.parse::<Rule>().unwrap().to_string(), sentence);
    let backslash = Principal::new(r"a\b");
    let may = |rule: &str, who: &Principal| !granted(&rules(&[rule]), Some(who), "a").is_empty();
    assert!(may(sentence, &backslash));
    assert!(may(r#"user "a\\b" may pull a"#, &backslash));

    // A claim ends at the first sign that isn't within them.
    let job = Principal::workload("ci", "x")
        .with_claim("ref", "a=b")
        .with_claim("a=b", "c")
        .with_claim("ref=a", "no");
    assert!(may("workload ci ref=a=b may pull a", &job));
    assert!(!may("workload ci ref=a=c may pull a", &job));
    assert!(may(r#"workload ci "a=b"=c may pull a"#, &job));
    assert!(may(r#"workload ci ref="a=b" may pull a"#, &job));
}

#[test]
fn a_sentence_has_4096_bytes_at_most() {
    for (length, is_read) in [(4096, true), (4097, false)] {
        let sentence = format!("{:length$}", "anyone may pull **");
        assert_eq!(sentence.parse::<Rule>().is_ok(), is_read, "{length}");
    }
}

/// The numbers of the rules whose pushes find nothing that lets the same pull.
fn pushes_without_pull(rules: &[&str]) -> Vec<usize> {
    let of_push = |remark: &&RuleRemark| remark.kind == RemarkKind::PushWithoutPull;
    let made = self::rules(rules)
        .group_members("web", &["ann", "robot$ci"])
        .remarks();
    let mut lines: Vec<_> = made
        .iter()
        .filter(of_push)
        .map(|remark| rules.iter().position(|rule| **rule == remark.rule).unwrap())
        .collect();
    lines.dedup();
    lines
}

#[test]
fn a_push_where_the_same_may_not_pull_is_remarked_on() {
    for (push, pull, is_found) in [
        (
            "user ann may push team/**",
            "user ann may pull team/**",
            false,
        ),
        (
            "user ann may push team/**",
            "user ann may pull team/*",
            true,
        ),
        ("user ann may push team/*", "user ann may pull **", false),
        (
            "user ann may push team/a/**",
            "user ann may pull team/**",
            false,
        ),
        ("user ann may push **", "user ann may pull team/**", true),
        (
            "user ann may push people/{user}/**",
            "users may pull people/**",
            false,
        ),
        (
            "user ann may push people/ann/**",
            "users may pull people/{user}/**",
            true,
        ),
        (
            "user ann may push team/**/a",
            "user ann may pull team/*/a",
            true,
        ),
        ("user ann may push a, b", "user ann may pull a", true),
        ("user ann may push a, b", "anyone may pull a, b", false),
        ("user ann may push a", "user ben may pull a", true),
        ("robot ci may push a", "robots may pull a", false),
        ("robots may push a", "robot ci may pull a", true),
        ("users may push a", "users may pull a", false),
        ("anyone may push a", "users may pull a", true),
        // Members that the rules know, and those that only a login knows.
        ("user ann may push a", "group web may pull a", false),
        ("robot ci may push a", "group web may pull a", false),
        ("user ben may push a", "group web may pull a", true),
        ("group web may push a", "users may pull a", false),
        (
            "workload ci a=b c=d may push a",
            "workload ci a=b may pull a",
            false,
        ),
        (
            "workload ci a=b may push a",
            "workload ci a=b c=d may pull a",
            true,
        ),
        (
            "user ann may push v* to a",
            "user ann may pull v* in a",
            false,
        ),
        ("user ann may push a", "user ann may pull v* in a", true),
        (
            "users except user ann may push a",
            "users except user ann may pull a",
            false,
        ),
        ("users may push a", "users except user ann may pull a", true),
        // What is denied lets nobody pull, and needs no pull itself.
        ("user ann may push a", "nobody may pull a", true),
        ("nobody may push a", "user ann may pull b", false),
        ("user ann may push, pull a", "user ann may pull b", false),
    ] {
        let expected = if is_found { vec![0] } else { vec![] };
        assert_eq!(
            pushes_without_pull(&[push, pull]),
            expected,
            "{push}, {pull}"
        );
    }
}

#[test]
fn a_group_without_members_and_changes_by_everybody_are_remarked_on() {
    let remarks = rules(&[
        "group web are writers of web/**",
        "group wep are readers of web/**",
        "nobody except group ops may delete **",
        "anyone is reader of public/**",
        "anyone may pull, delete scratch/**",
    ])
    .group_members("web", &["ann"])
    .remarks();
    let sentences: Vec<_> = remarks.iter().map(ToString::to_string).collect();
    assert_eq!(sentences.len(), 3, "{sentences:#?}");
    for (found, expected) in sentences.iter().zip([
        "`group wep are readers of web/**`: nobody is in the group `wep` here; did you mean `web`?",
        "`nobody except group ops may delete **`: nobody is in the group `ops` here; name",
        "`anyone may pull, delete scratch/**`: whoever reaches the registry may do this",
    ]) {
        assert!(found.starts_with(expected), "{found}");
    }
}

#[test]
fn a_robot_that_may_do_it_as_one_of_the_users_is_remarked_on() {
    let robot = "robot ci may pull, push v* to team-a/**";
    for (of_users, is_told) in [
        ("users are writers of **", true),
        ("users may pull, push team-a/**", true),
        ("users except robots are writers of **", false),
        ("users are readers of **", false),
        ("users are writers of team-b/**", false),
        ("users may pull, push w* to **", false),
    ] {
        let remarks = rules(&[of_users, robot]).remarks();
        let told = remarks.iter().any(|remark| {
            let is_meant = remark.kind == RemarkKind::RobotAmongUsers;
            is_meant && remark.rule == robot && remark.to_string().contains("except robots")
        });
        assert_eq!(told, is_told, "{of_users}: {remarks:?}");
    }
    let pulls = rules(&["users are readers of **", "robot ci may pull team-a/**"]);
    assert_eq!(pulls.remarks(), []);
}

#[test]
fn remarks_take_conditions_into_account() {
    let rule = |sentence: &str| sentence.parse::<Rule>().unwrap();
    let (push, pull) = (
        || rule("user ann may push team/**"),
        || rule("user ann may pull team/**"),
    );
    let from = |rule: Rule, network: &str| rule.from(network.parse().unwrap());
    let during = |rule: Rule, times: &str| rule.during(times.parse().unwrap());
    let until = |rule: Rule, seconds| rule.until(UNIX_EPOCH + Duration::from_secs(seconds));
    let (here, there) = ("10.0.0.0/8", "192.0.2.0/24");
    let (early, late) = ("mon 08:00-12:00", "mon 12:00-18:00");
    for (push, pull, is_found) in [
        (from(push(), here), pull(), false),
        (from(push(), here), from(pull(), here), false),
        (from(push(), here), from(pull(), there), true),
        (push(), from(pull(), here), true),
        (during(push(), early), pull(), false),
        (during(push(), early), during(pull(), early), false),
        (during(push(), early), during(pull(), late), true),
        (push(), during(pull(), early), true),
        (until(push(), 1), pull(), false),
        (until(push(), 1), until(pull(), 1), false),
        (until(push(), 1), until(pull(), 2), true),
        (push(), until(pull(), 1), true),
    ] {
        let told = format!("{push:?} {pull:?}");
        let remarks = Rules::new().rule(push).rule(pull).remarks();
        let found = remarks
            .iter()
            .any(|remark| remark.kind == RemarkKind::PushWithoutPull);
        assert_eq!(found, is_found, "{told}");
    }
    let open = || rule("anyone may pull, delete scratch/**");
    for (rule, is_found) in [(open(), true), (from(open(), here), false)] {
        assert_eq!(
            Rules::new().rule(rule).remarks().len(),
            usize::from(is_found)
        );
    }
}

#[test]
fn changes_by_jobs_of_everybody_are_remarked_on() {
    for (rule, is_found) in [
        ("workload ci may push, pull a/**", true),
        ("workload ci may delete a/**", true),
        ("workload ci is writer of a/**", true),
        ("workload ci may pull a/**", false),
        ("workload ci may not delete a/**", false),
        ("workload ci repository=* may push, pull a/**", true),
        ("workload ci sub=** may push, pull a/**", true),
        ("workload ci ref=refs/heads/main may push, pull a/**", true),
        (
            "workload ci ref=refs/heads/main sub=* may push, pull a/**",
            true,
        ),
        ("workload ci repository=org/* may push, pull a/**", false),
        (
            "workload ci repository_owner_id=7 may push, pull a/**",
            false,
        ),
        ("workload ci project_path=org/* may push, pull a/**", false),
        ("workload ci namespace_id=7 may push, pull a/**", false),
        (
            "workload ci ref=x sub=repo:org/app:* may push, pull a/**",
            false,
        ),
    ] {
        let remarks = rules(&[rule]).remarks();
        let found = remarks
            .iter()
            .filter(|remark| remark.kind == RemarkKind::OpenToJobs);
        let told: Vec<_> = found.map(ToString::to_string).collect();
        assert_eq!(told.len(), usize::from(is_found), "{rule}: {remarks:?}");
        assert!(told.iter().all(|told| told.contains("whose job it is")));
    }
}

#[test]
fn what_holds_under_a_condition_is_not_sure_to_hold() {
    let (ann, ben) = (Principal::new("ann"), Principal::new("ben"));
    let rule = || "user ann may pull team/**".parse::<Rule>().unwrap();
    let repository = "team/app".parse().unwrap();
    let origin = RequestOrigin::default();
    let question = Question::new(Some(&ann), &repository, &origin, UNIX_EPOCH);
    for (rule, is_sure) in [
        (rule(), true),
        (rule().from("10.0.0.0/8".parse().unwrap()), false),
        (rule().during("mon-fri 08:00-18:00".parse().unwrap()), false),
        (rule().until(UNIX_EPOCH + Duration::from_hours(1)), false),
    ] {
        let told = rule.to_string();
        let rules = Rules::new().rule(rule).check().unwrap();
        let sure = rules.at_least(&question, &ben).granted();
        assert_eq!(sure.contains(Action::Pull.into()), is_sure, "{told}");
    }
}
