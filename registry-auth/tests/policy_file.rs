//! A policy file, seen from outside: text goes in, decisions or all that is
//! wrong come out.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test fails by panicking"
)]

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use registry_auth::{Policy, PolicyFile, Principal, Question, Role};
use registry_core::{Action, Actions, RequestOrigin};
use tempfile::TempDir;
use tokio::time::advance;

/// The example of the documentation.
const EXAMPLE: &str = "\
version: 1
groups:
  web: [ann, ben, robot$ci]
roles:
  releaser: [list, pull, push]      # adds tags and never moves any
disabled: [mallory]
rules:
  - anyone is reader of library/**
  - users are maintainers of people/{user}/**
  - group web are releasers of team/**
  - robot ci may push v* to team/**
  - rule: group contractors may pull team/**
    name: contractors in the office
    from: [10.0.0.0/8, \"2001:db8::/32\"]
    times: mon-fri 08:00-18:00 Europe/Berlin
    until: 2027-01-31T00:00:00Z
  - rule: nobody except group release may overwrite, delete v* in products/**
    reason: releases stay; ask the release team
";

fn problems(text: &str) -> Vec<String> {
    match PolicyFile::parse("policy.yml", text.as_bytes()) {
        Ok(_) => Vec::new(),
        Err(problems) => problems.iter().map(ToString::to_string).collect(),
    }
}

/// What may be done in a repository now, from somewhere.
struct Asked<'a> {
    who: Option<&'a Principal>,
    repository: &'a str,
    address: Option<&'a str>,
    at: &'a str,
}

impl Asked<'_> {
    fn granted(&self, policy: &dyn Policy) -> Actions {
        let repository = self.repository.parse().unwrap();
        let origin = RequestOrigin {
            address: self.address.map(|address| address.parse().unwrap()),
            ..RequestOrigin::default()
        };
        let at: SystemTime = self.at.parse::<Timestamp>().unwrap().into();
        policy
            .decide(&Question::new(self.who, &repository, &origin, at))
            .granted()
    }
}

fn granted(policy: &dyn Policy, who: Option<&Principal>, repository: &str) -> Actions {
    let asked = Asked {
        who,
        repository,
        address: None,
        at: "2026-12-01T12:00:00Z",
    };
    asked.granted(policy)
}

#[test]
fn the_example_of_the_documentation_does_what_it_says() {
    let documented = fs::read_to_string("src/policy_file.rs").unwrap();
    let shown = format!("/// {}\n", EXAMPLE.trim_end().replace('\n', "\n/// "));
    assert!(documented.contains(&shown));

    let rules = PolicyFile::parse("policy.yml", EXAMPLE.as_bytes()).unwrap();
    let ann = Principal::new("ann");
    let ci = Principal::robot("ci");
    let releaser = Actions::from([Action::List, Action::Pull, Action::Push]);
    assert_eq!(granted(&rules, None, "library/x"), Role::READER.into());
    assert_eq!(granted(&rules, None, "team/x"), Actions::NONE);
    assert_eq!(granted(&rules, Some(&ann), "team/x"), releaser);
    assert_eq!(granted(&rules, Some(&ci), "team/x"), releaser);
    assert_eq!(
        granted(&rules, Some(&ann), "people/ann/x"),
        Role::MAINTAINER.into()
    );
    assert!(rules.is_disabled(&Principal::new("mallory")));

    // More than one of a role.
    let text = "version: 1\nroles: {boss: [pull]}\nrules: [users are bosses of **]";
    let bosses = PolicyFile::parse("policy.yml", text.as_bytes()).unwrap();
    assert_eq!(
        granted(&bosses, Some(&ann), "x"),
        [Action::List, Action::Pull].into()
    );

    let contractor = Principal::new("zoe").member_of("contractors");
    for (address, at, expected) in [
        (Some("10.2.3.4"), "2026-12-01T12:00:00Z", true),
        (Some("2001:db8::1"), "2026-12-01T12:00:00Z", true),
        (Some("192.0.2.1"), "2026-12-01T12:00:00Z", false),
        (None, "2026-12-01T12:00:00Z", false),
        (Some("10.2.3.4"), "2026-12-01T17:30:00Z", false),
        (Some("10.2.3.4"), "2026-12-05T12:00:00Z", false),
        (Some("10.2.3.4"), "2027-02-01T12:00:00Z", false),
    ] {
        let asked = Asked {
            who: Some(&contractor),
            repository: "team/x",
            address,
            at,
        };
        assert_eq!(!asked.granted(&rules).is_empty(), expected, "{at}");
    }
}

#[test]
fn an_explanation_says_in_which_line_the_rule_is() {
    let rules = PolicyFile::parse("policy.yml", EXAMPLE.as_bytes()).unwrap();
    let repository = "products/a".parse().unwrap();
    let origin = RequestOrigin::default();
    let tags = ["v1".parse().unwrap()];
    let mut question = Question::new(None, &repository, &origin, SystemTime::UNIX_EPOCH);
    question.tags = &tags;
    let opinions = rules.explain(&question);
    let [denial] = opinions.as_slice() else {
        panic!("{opinions:?}");
    };
    assert_eq!(denial.place.as_deref(), Some("policy.yml:17"));
    assert_eq!(
        denial.reason.as_deref(),
        Some("releases stay; ask the release team")
    );
}

#[test]
fn everything_that_is_wrong_is_told_at_once_with_its_line() {
    let text = "\
version: 2
group: {}
roles:
  reader: [pull]
  boss: [pul, push]
disabled: [a, [b]]
rules:
  - anyone is raeder of library/**
  - users are bos of x
  - rule: users may pull team-*
  - rule: users may pull a
    form: 10.0.0.0/8
    from: 10.0.0.1/8
    times:
      - mon-fri 08:00-18:00 Europe/Berlin
      - all day
    until: tomorrow
    reason: none
  - name: lonely
  - [users may pull a]
  - rule: nobody may pull a
    from: []
  - rule: nobody may pull a
    reason:
";
    let expected = [
        (1, "write `version: 1`"),
        (2, "did you mean `groups`?"),
        (4, "ready-made"),
        (5, "there is no action `pul`; did you mean `pull`?"),
        (6, "must be a text"),
        (8, "did you mean `reader`?"),
        (9, "there is no role `bos`; did you mean `boss`?"),
        (10, "\"team-*\""),
        (12, "did you mean `from`?"),
        (13, "write 10.0.0.0/8"),
        (16, "the day \"all\""),
        (17, "write it such as 2027-01-31T00:00:00Z"),
        (18, "needs no reason"),
        (19, "the rule itself is missing"),
        (20, "a rule is a sentence"),
        (22, "the list is empty"),
        (24, "here is nothing"),
    ];
    let problems = problems(text);
    assert_eq!(problems.len(), expected.len(), "{problems:#?}");
    for ((line, advice), told) in expected.into_iter().zip(&problems) {
        let place = format!("policy.yml:{line}: ");
        assert!(
            told.starts_with(&place) && told.contains(advice),
            "{line} {advice}: {told}"
        );
    }
}

#[test]
fn what_is_no_policy_is_refused_with_its_line() {
    for (text, line, advice) in [
        ("", 1, "the version is missing"),
        ("rules: []\n", 1, "the version is missing"),
        ("version: 1\nversion: 1\n", 2, "said twice"),
        ("version: 1\nrules:\n  - a\n b: c\n", 4, "isn't YAML"),
        (
            "version: 1\nrules:\n\t- a\n",
            3,
            "a tab is in the indentation",
        ),
        (
            "version: 1\nrules:\n  - rule: users may pull a\n\tname: x\n",
            4,
            "a tab is in the indentation",
        ),
        ("version: 1\n---\nversion: 1\n", 3, "second document"),
        ("version: &x 1\nrules: *x\n", 2, "write the value out"),
        ("version: 1\nrules: users may pull a\n", 2, "must be a list"),
        ("version: 1\ngroups: [a]\n", 2, "names with values"),
        ("version: 1\n? [a]\n: b\n", 2, "a key must be a word"),
        ("- version: 1\n", 1, "names with values"),
        (
            "version: 1\ngroups:\n  web: {ann: ben}\n",
            3,
            "must be a text",
        ),
        (
            "version: 1\nrules: [[[[[[[[[[[]]]]]]]]]]]\n",
            2,
            "nested too deeply",
        ),
    ] {
        let problems = problems(text);
        let place = format!("policy.yml:{line}: ");
        assert!(
            problems
                .iter()
                .any(|told| told.starts_with(&place) && told.contains(advice)),
            "{text:?}: {problems:#?}"
        );
    }
    assert!(PolicyFile::parse("p", b"version: 1\n# \xff\n").is_err());
    let deep = format!("version: 1\nrules: {}", "[".repeat(100_000));
    assert!(!problems(&deep).is_empty());
}

struct File {
    directory: TempDir,
}

impl File {
    fn new(text: &str) -> Self {
        let file = Self {
            directory: TempDir::new().unwrap(),
        };
        fs::write(file.path(), text).unwrap();
        file
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("policy.yml")
    }
}

fn pulls(repository: &str) -> String {
    format!("version: 1\nrules:\n  - anyone may pull {repository}\n")
}

/// Lets time go on, for whoever looks at the file without being asked.
async fn pass() {
    advance(Duration::from_millis(100)).await;
    tokio::task::spawn_blocking(|| {}).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_change_takes_effect_by_itself_and_only_as_a_whole() {
    let file = File::new(&pulls("a"));
    let policy = PolicyFile::open(file.path()).unwrap();
    let may = |repository| !granted(&policy, None, repository).is_empty();
    assert!(may("a") && !may("b"));

    for name in ["b", "c"] {
        fs::write(file.path(), pulls(name)).unwrap();
        for _ in 0..10_000 {
            if may(name) {
                break;
            }
            pass().await;
        }
        assert!(may(name) && !may("a"));

        let half = format!("{}  - anyone may pul d\n", pulls("d"));
        let long = format!("{}# {}", pulls("d"), "x".repeat(1 << 20));
        for unusable in [Some(half), Some(String::new()), None, Some(long)] {
            match unusable {
                Some(text) => fs::write(file.path(), text).unwrap(),
                None => fs::remove_file(file.path()).unwrap(),
            }
            for _ in 0..80 {
                pass().await;
                assert!(may(name) && !may("d"));
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_file_that_is_written_slowly_counts_once_it_is_whole() {
    let old = "version: 1\nrules:\n  - users may pull **\n  \
               - nobody except user ann may pull secret/**\n";
    let new = "version: 1\nrules:\n  - users may pull **\n  - users may list **\n  \
               - nobody except user ann may pull secret/**\n  - user ann may push **\n";
    let file = File::new(old);
    let policy = PolicyFile::open(file.path()).unwrap();
    let (ann, ben) = (Principal::new("ann"), Principal::new("ben"));
    let rights = || {
        [
            granted(&policy, Some(&ann), "secret/a"),
            granted(&policy, Some(&ben), "secret/a"),
            granted(&policy, Some(&ben), "b"),
        ]
    };
    let before = rights();
    assert!(before[1].is_empty());
    let after = {
        let file = File::new(new);
        let policy = PolicyFile::open(file.path()).unwrap();
        granted(&policy, Some(&ann), "secret/a")
    };
    assert_ne!(after, before[0]);
    let ends = new.match_indices('\n').map(|(at, _)| at + 1);
    for end in std::iter::once(0).chain(ends) {
        fs::write(file.path(), &new[..end]).unwrap();
        for _ in 0..40 {
            pass().await;
            assert_eq!(rights(), before, "{end}");
        }
    }
    for _ in 0..10_000 {
        if rights() != before {
            break;
        }
        pass().await;
    }
    assert_eq!(rights()[0], after);
    let ben = granted(&policy, Some(&ben), "secret/a");
    assert!(!ben.contains(Action::Pull.into()), "{ben:?}");
}

#[tokio::test]
async fn one_that_is_wrong_is_not_opened() {
    let file = File::new(&format!("{}  - a\n  - b\n", pulls("a")));
    let error = PolicyFile::open(file.path()).unwrap_err().to_string();
    let lines: Vec<_> = error.lines().collect();
    assert_eq!(lines.len(), 2, "{error}");
    // As whoever opened it calls it.
    let name = file.path().display().to_string();
    assert!(lines[0].starts_with(&format!("{name}:4: ")), "{error}");
    assert!(lines[1].starts_with(&format!("{name}:5: ")), "{error}");

    let read = PolicyFile::read(file.path()).unwrap_err();
    let read: Vec<_> = read.iter().map(ToString::to_string).collect();
    assert_eq!(read, lines);

    fs::write(
        file.path(),
        format!("{}{}", pulls("a"), "  - a\n".repeat(100)),
    )
    .unwrap();
    let error = PolicyFile::open(file.path()).unwrap_err().to_string();
    assert!(error.ends_with("and 80 more"), "{error}");

    fs::remove_file(file.path()).unwrap();
    assert!(PolicyFile::open(file.path()).is_err());
    let read = PolicyFile::read(file.path()).unwrap_err();
    assert!(read[0].to_string().contains("can't be read"), "{}", read[0]);
}

#[test]
fn a_file_has_a_mebibyte_at_most() {
    for (length, is_read) in [(1 << 20, true), ((1 << 20) + 1, false)] {
        let start = format!("{}# ", pulls("a"));
        let file = File::new(&format!("{start}{}", "x".repeat(length - start.len())));
        let read = PolicyFile::read(file.path());
        assert_eq!(read.is_ok(), is_read, "{length}");
    }
}

#[test]
fn a_problem_says_where_it_is_and_what_to_do() {
    let text = format!("{}  - anyone may pul b\n", pulls("a"));
    let problems = PolicyFile::parse("policy.yml", text.as_bytes()).unwrap_err();
    let [problem] = &problems[..] else {
        panic!("{problems:?}")
    };
    assert_eq!((problem.file(), problem.line()), ("policy.yml", Some(4)));
    assert_eq!(
        problem.reason(),
        "there is no action `pul`; did you mean `pull`?"
    );
    let missing = PolicyFile::read("/nowhere/policy.yml").unwrap_err();
    assert_eq!(missing[0].line(), None);
}

#[tokio::test]
async fn an_open_file_is_a_policy_in_every_respect() {
    let file = File::new(EXAMPLE);
    let policy = PolicyFile::open(file.path()).unwrap();
    let origin = RequestOrigin::default();
    let repository = "library/alpine".parse().unwrap();
    let question = Question::new(None, &repository, &origin, SystemTime::UNIX_EPOCH);
    let opinions = policy.explain(&question);
    assert_eq!(opinions.len(), 1);
    let place = format!("{}:8", file.path().display());
    assert_eq!(opinions[0].place.as_deref(), Some(place.as_str()));
    assert!(policy.is_disabled(&Principal::new("mallory")));
    assert!(!policy.is_disabled(&Principal::new("ann")));
    assert!(policy.rewards_login());
    let public = File::new(&pulls("**"));
    let public = PolicyFile::open(public.path()).unwrap();
    assert!(!public.rewards_login());

    let names = ["library/alpine", "team/app"].map(|name| name.parse().unwrap());
    let looked_at = names.map(|name| policy.horizon(&question).allowed.contains(&name));
    assert_eq!(looked_at, [true, false]);
    let some = File::new("version: 1\nrules: [anyone may pull v* in library/**]\n");
    let some = PolicyFile::open(some.path()).unwrap();
    assert!(some.lists_by_tag(&question) && !public.lists_by_tag(&question));
}

#[tokio::test]
async fn nobody_looks_at_a_file_that_is_closed() {
    let file = File::new(&pulls("a"));
    let tasks = || {
        tokio::runtime::Handle::current()
            .metrics()
            .num_alive_tasks()
    };
    let policy = PolicyFile::open(file.path()).unwrap();
    assert_eq!(tasks(), 1);
    drop(policy);
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert_eq!(tasks(), 0);
}

#[test]
fn it_is_opened_where_it_can_be_watched() {
    let file = File::new(&pulls("a"));
    let error = PolicyFile::open(file.path()).unwrap_err().to_string();
    assert!(error.contains("Tokio"), "{error}");
}

#[test]
fn a_rule_for_a_name_that_nobody_can_have_is_wrong() {
    for (rule, advice) in [
        ("robot CI may push a", "write `robot ci`"),
        ("user robot$ci may push a", "write `robot ci`"),
        ("robot robot$ci may push a", "write `robot ci`"),
        ("nobody except robot Ci may push a", "write `robot ci`"),
        ("users except user robot$ci may push a", "write `robot ci`"),
    ] {
        let text = format!("version: 1\nrules:\n  - anyone may pull a\n  - {rule}\n");
        let problems = PolicyFile::parse("policy.yml", text.as_bytes()).unwrap_err();
        let [problem] = problems.as_slice() else {
            panic!("{rule}: {problems:?}");
        };
        assert_eq!(problem.line(), Some(4), "{rule}");
        assert!(problem.reason().contains(advice), "{problem}");
    }
    for (names, advice) in [
        ("disabled: [group web]", "who is in the group"),
        ("disabled: [users]", "such as `user ann`"),
        ("disabled: ['robot$']", "lacks a name"),
        ("disabled: ['github:']", "add its subject"),
        ("groups: {web: [group ops]}", "who is in the group"),
        ("groups: {web: [workload ci job]}", "users and robots"),
        ("groups: {web: ['ci:job2']}", "users and robots"),
        ("groups: {web: [robot CI]}", "write `robot ci`"),
        ("groups: {web: [robot robot$ci]}", "write `robot ci`"),
        ("groups: {web: 'ann, ben'}", "write `[ann, ben]`"),
        ("disabled: ann, ben", "write `[ann, ben]`"),
        ("disabled: ['robot$CI']", "write `robot ci`"),
        ("disabled: ['user robot$ci']", "write `robot ci`"),
    ] {
        let text = format!("version: 1\nrules: [anyone may pull a]\n{names}\n");
        let problems = PolicyFile::parse("policy.yml", text.as_bytes()).unwrap_err();
        let [problem] = problems.as_slice() else {
            panic!("{names}: {problems:?}");
        };
        assert_eq!(problem.line(), Some(3), "{names}");
        assert!(problem.reason().contains(advice), "{problem}");
    }
    // Users may be called as they like otherwise.
    let text = "version: 1\nrules: [user CI may push a, robot ci may push a]";
    assert!(PolicyFile::parse("policy.yml", text.as_bytes()).is_ok());
}

#[test]
fn a_rule_for_an_issuer_that_is_not_known_is_wrong_where_somebody_knows_them() {
    let text = "version: 1\nrules:\n  - workload github ref=a may pull a\n  \
                - workload githubb ref=a may pull a\n  - nobody except workload x may push a\n";
    let file = File::new(text);
    assert!(PolicyFile::read(file.path()).is_ok());
    let told = |issuers: &[&str]| {
        let read = PolicyFile::read_with_issuers(file.path(), issuers.iter().copied());
        let problems = read.err().unwrap_or_default();
        let directory = format!("{}/", file.directory.path().display());
        let told = problems.iter().map(ToString::to_string);
        told.map(|problem| problem.replace(&directory, ""))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        told(&["gitlab", "github"]),
        [
            "policy.yml:4: no issuer is called `githubb` here; did you mean `github`?",
            "policy.yml:5: no issuer is called `x` here; configured are github, gitlab",
        ]
    );
    let none = told(&[]);
    assert_eq!(none.len(), 3);
    assert!(none[0].contains("none is configured"), "{none:?}");
    assert!(told(&["github", "githubb", "x"]).is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_change_that_names_an_unknown_issuer_changes_nothing() {
    let workload = |issuer: &str| format!("  - workload {issuer} ref=a may pull b\n");
    let file = File::new(&format!("{}{}", pulls("a"), workload("ci")));
    assert!(PolicyFile::open_with_issuers(file.path(), ["github"]).is_err());
    let policy = PolicyFile::open_with_issuers(file.path(), ["ci"]).unwrap();
    let may = |repository| !granted(&policy, None, repository).is_empty();
    assert!(may("a"));
    fs::write(file.path(), format!("{}{}", pulls("c"), workload("cj"))).unwrap();
    for _ in 0..40 {
        pass().await;
        assert!(may("a") && !may("c"));
    }
    fs::write(file.path(), format!("{}{}", pulls("c"), workload("ci"))).unwrap();
    for _ in 0..10_000 {
        if may("c") {
            break;
        }
        pass().await;
    }
    assert!(may("c") && !may("a"));
}

#[test]
fn whoever_begins_a_rule_otherwise_is_told_all_that_it_may_begin_with() {
    let told = problems("version: 1\nrules: [somebody may pull a]\n").join("");
    assert!(told.contains("`nobody`"), "{told}");
    let told = problems("version: 1\nrules: [users except nobody may pull a]\n").join("");
    assert!(!told.contains("`anyone`, `nobody`"), "{told}");
}
