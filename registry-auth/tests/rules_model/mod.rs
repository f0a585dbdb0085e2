//! Random rules, decided by the crate and by a model that was written from the
//! definition alone.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::{Duration, UNIX_EPOCH};

use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use registry_auth::{Decision, Effect, Policy, Principal, Question, Rule, Rules};
use registry_core::{Action, Actions, RequestOrigin, Tag};

const ACTIONS: [&str; 7] = [
    "list",
    "pull",
    "push",
    "overwrite",
    "delete",
    "administer",
    "audit",
];
const SUBJECTS: [&str; 12] = [
    "anyone",
    "users",
    "robots",
    "user ann",
    "user ci",
    "robot ci",
    "group web",
    "group ops",
    "workload github",
    "workload github ref=main",
    "workload github ref=m* env=prod",
    "workload gitlab",
];
const PATTERNS: [&str; 12] = [
    "a/ann",
    "ann/**/a",
    "**",
    "*",
    "a",
    "a/**",
    "a/*",
    "**/ann",
    "{user}/**",
    "*/{user}",
    "{group}/**",
    "a/{group}",
];
const TAG_PATTERNS: [&str; 5] = ["v*", "v1", "*", "?1", "dev"];
const NETWORKS: [(&str, [u8; 4], u32); 3] = [
    ("10.0.0.0/8", [10, 0, 0, 0], 8),
    ("10.1.0.0/16", [10, 1, 0, 0], 16),
    ("192.0.2.1", [192, 0, 2, 1], 32),
];

/// A rule as plain data.
#[derive(Debug, Clone)]
struct Spec {
    denies: bool,
    who: &'static str,
    except: Vec<&'static str>,
    actions: Vec<&'static str>,
    patterns: Vec<&'static str>,
    tags: Vec<&'static str>,
    networks: Vec<usize>,
    /// From and to which hour of the day.
    hours: Option<(u64, u64)>,
    until: Option<u64>,
}

/// Who asks, as plain data.
#[derive(Debug, Clone)]
struct Asker {
    /// `user`, `robot`, `workload`, or nothing.
    kind: &'static str,
    /// The name; of a workload, the issuer.
    name: &'static str,
    groups: Vec<&'static str>,
    claims: Vec<(&'static str, &'static str)>,
}

#[derive(Debug, Clone)]
struct Asked {
    asker: Asker,
    /// Nothing for the registry as a whole.
    repository: Option<&'static str>,
    tags: Vec<&'static str>,
    address: Option<[u8; 4]>,
    hour: u64,
}

fn glob(pattern: &str, text: &str) -> bool {
    match pattern.chars().next() {
        None => text.is_empty(),
        Some('*') => glob(&pattern[1..], text) || !text.is_empty() && glob(pattern, &text[1..]),
        Some(char) => {
            (char == '?' && !text.is_empty() || text.starts_with(char))
                && glob(&pattern[1..], &text[1..])
        }
    }
}

fn is(asker: &Asker, who: &str) -> bool {
    let words: Vec<_> = who.split(' ').collect();
    match words.as_slice() {
        ["anyone"] => true,
        ["users"] => ["user", "robot"].contains(&asker.kind),
        ["robots"] => asker.kind == "robot",
        ["group", name] => asker.kind != "nobody" && asker.groups.contains(name),
        ["workload", issuer, claims @ ..] => {
            asker.kind == "workload"
                && asker.name == *issuer
                && claims.iter().all(|claim| {
                    let (name, pattern) = claim.split_once('=').unwrap();
                    let mut known = asker.claims.iter();
                    known.any(|(key, value)| *key == name && glob(pattern, value))
                })
        }
        [kind, name] => asker.kind == *kind && asker.name == *name,
        _ => unreachable!("{who}"),
    }
}

fn fits(pattern: &[&str], name: &[&str], asker: &Asker) -> bool {
    match (pattern, name) {
        ([], []) => true,
        (["**"], name) => !name.is_empty(),
        (["**", rest @ ..], name) => {
            (0..=name.len()).any(|taken| fits(rest, &name[taken..], asker))
        }
        ([part, rest @ ..], [first, names @ ..]) => {
            let fitting = match *part {
                "*" => true,
                "{user}" => asker.kind == "user" && asker.name == *first,
                "{group}" => asker.kind != "nobody" && asker.groups.contains(first),
                part => part == *first,
            };
            fitting && fits(rest, names, asker)
        }
        _ => false,
    }
}

/// Whether the rule is about what is asked, but for tags.
fn concerns(spec: &Spec, asked: &Asked) -> bool {
    let who = &asked.asker;
    let subject = is(who, spec.who) && !spec.except.iter().any(|other| is(who, other));
    let place = match asked.repository {
        None => spec.tags.is_empty() && spec.patterns.contains(&"**"),
        Some(name) => spec.patterns.iter().any(|pattern| {
            let pattern: Vec<_> = pattern.split('/').collect();
            fits(&pattern, &name.split('/').collect::<Vec<_>>(), who)
        }),
    };
    let network = spec.networks.is_empty()
        || match asked.address {
            None => spec.denies,
            Some(address) => spec.networks.iter().any(|index| {
                let (_, network, bits) = NETWORKS[*index];
                let shift = 32 - bits;
                u32::from_be_bytes(address) >> shift == u32::from_be_bytes(network) >> shift
            }),
        };
    let time = spec
        .hours
        .is_none_or(|(from, to)| (from..to).contains(&(asked.hour % 24)))
        && spec.until.is_none_or(|until| asked.hour < until);
    subject && place && network && time
}

/// What the rule says about one tag, or about what has none.
fn says(spec: &Spec, tag: Option<&str>) -> BTreeSet<&'static str> {
    let only: &[&str] = match tag {
        _ if spec.tags.is_empty() => &ACTIONS,
        Some(tag) if spec.tags.iter().any(|pattern| glob(pattern, tag)) => &ACTIONS,
        Some(_) => &[],
        None if spec.denies => &["delete"],
        None => &["list", "pull", "push"],
    };
    let actions = spec.actions.iter().copied();
    actions.filter(|action| only.contains(action)).collect()
}

fn model(specs: &[Spec], asked: &Asked) -> BTreeSet<&'static str> {
    let about: Vec<Option<&str>> = match asked.tags.as_slice() {
        [] => vec![None],
        tags => tags.iter().copied().map(Some).collect(),
    };
    let said = |denies: bool, tag, action: &str| {
        specs.iter().any(|spec| {
            spec.denies == denies && concerns(spec, asked) && says(spec, tag).contains(action)
        })
    };
    // What may not be pulled isn't shown either.
    let denied = |action: &str| {
        let mut denying = ["pull"].into_iter().filter(|_| action == "list");
        let by = |action: &str| about.iter().any(|tag| said(true, *tag, action));
        by(action) || denying.any(by)
    };
    let mut may: BTreeSet<_> = ACTIONS
        .into_iter()
        .filter(|action| about.iter().all(|tag| said(false, *tag, action)))
        .filter(|action| !denied(action))
        .collect();
    if may.contains("pull") && !denied("list") {
        may.insert("list");
    }
    may
}

fn sentence(spec: &Spec) -> String {
    let except = match spec.except.as_slice() {
        [] => String::new(),
        some => format!(" except {}", some.join(", ")),
    };
    let tags = match spec.tags.as_slice() {
        [] => String::new(),
        some => format!(" {} in", some.join(", ")),
    };
    format!(
        "{}{except} may {}{}{tags} {}",
        spec.who,
        if spec.denies { "not " } else { "" },
        spec.actions.join(", "),
        spec.patterns.join(", "),
    )
}

fn rule(spec: &Spec) -> Rule {
    let mut rule: Rule = sentence(spec).parse().unwrap();
    assert_eq!(rule.to_string().parse::<Rule>().unwrap(), rule);
    for index in &spec.networks {
        rule = rule.from(NETWORKS[*index].0.parse().unwrap());
    }
    if let Some((from, to)) = spec.hours {
        rule = rule.during(format!("{from:02}:00-{to:02}:00").parse().unwrap());
    }
    match spec.until {
        Some(until) => rule.until(UNIX_EPOCH + Duration::from_hours(until)),
        None => rule,
    }
}

/// The group `ops` is known to the rules alone.
fn rules(specs: &[Spec]) -> Rules {
    specs
        .iter()
        .fold(Rules::new(), |rules, spec| rules.rule(rule(spec)))
        .group_members("ops", &["ann", "robot$ci"])
}

fn principal(asker: &Asker) -> Option<Principal> {
    let principal = match asker.kind {
        "user" => Principal::new(asker.name),
        "robot" => Principal::robot(asker.name),
        "workload" => Principal::workload(asker.name, "job"),
        _ => return None,
    };
    let claims = asker.claims.iter();
    let principal = claims.fold(principal, |known, (name, value)| {
        known.with_claim(*name, *value)
    });
    let groups = asker.groups.iter().filter(|group| **group != "ops");
    Some(groups.fold(principal, |known, group| known.member_of(*group)))
}

fn names(actions: Actions) -> BTreeSet<&'static str> {
    actions.iter().map(Action::as_str).collect()
}

fn specs() -> impl Strategy<Value = Spec> {
    let some_hours = prop_oneof![
        3 => Just(None),
        1 => (0_u64..12, 12_u64..24).prop_map(Some),
    ];
    (
        (
            prop::bool::weighted(0.3),
            select(&SUBJECTS[..]),
            prop_oneof![2 => Just(vec![]), 1 => subsequence(&SUBJECTS[3..], 1..3)],
        ),
        subsequence(&ACTIONS[..], 1..5),
        subsequence(&PATTERNS[..], 1..3),
        prop_oneof![2 => Just(vec![]), 1 => subsequence(&TAG_PATTERNS[..], 1..3)],
        prop_oneof![2 => Just(vec![]), 1 => subsequence(vec![0, 1, 2], 1..3)],
        some_hours,
        prop_oneof![3 => Just(None), 1 => (0_u64..48).prop_map(Some)],
    )
        .prop_map(
            |((denies, who, except), actions, patterns, tags, networks, hours, until)| Spec {
                denies,
                who,
                except,
                actions,
                patterns,
                tags,
                networks,
                hours,
                until,
            },
        )
}

fn asker() -> impl Strategy<Value = Asker> {
    let of = |kind, name, groups: &'static [&'static str]| {
        (
            subsequence(groups, 0..=groups.len()),
            subsequence(vec![("ref", "main"), ("ref", "dev"), ("env", "prod")], 0..3),
        )
            .prop_map(move |(groups, claims)| Asker {
                kind,
                name,
                groups,
                // A later value takes the place of an earlier one.
                claims: match claims.as_slice() {
                    [("ref", _), rest @ ("ref", _), ..] => vec![*rest],
                    _ => claims,
                },
            })
    };
    let in_ops = |asker: Asker| Asker {
        groups: asker.groups.into_iter().chain(["ops"]).collect(),
        ..asker
    };
    prop_oneof![
        Just(Asker {
            kind: "nobody",
            name: "",
            groups: vec![],
            claims: vec![]
        }),
        of("user", "ann", &["web", "a"]).prop_map(in_ops),
        of("user", "ci", &["web", "a"]),
        of("robot", "ci", &["web", "a"]).prop_map(in_ops),
        of("robot", "ann", &["web", "a"]),
        of("workload", "github", &["web"]),
        of("workload", "gitlab", &["web"]),
    ]
}

fn asked() -> impl Strategy<Value = Asked> {
    let repositories = [
        "a", "ann", "ann/a", "a/ann", "a/web", "web/a", "ops/a", "a/b/c",
    ];
    (
        asker(),
        prop_oneof![1 => Just(None), 9 => select(repositories.to_vec()).prop_map(Some)],
        subsequence(vec!["v1", "v2", "dev", "x1"], 0..3),
        prop_oneof![
            1 => Just(None),
            4 => select(vec![[10, 0, 0, 1], [10, 1, 0, 1], [192, 0, 2, 1], [8, 8, 8, 8]])
                .prop_map(Some),
        ],
        0_u64..48,
    )
        .prop_map(|(asker, repository, tags, address, hour)| Asked {
            asker,
            repository,
            tags: if repository.is_some() { tags } else { vec![] },
            address,
            hour,
        })
}

/// How many random sets of rules are tried: `RULES_CASES`, or ten thousand.
fn cases() -> u32 {
    std::env::var("RULES_CASES")
        .ok()
        .and_then(|cases| cases.parse().ok())
        .unwrap_or(10_000)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases()))]

    #[test]
    fn random_rules_mean_what_the_definition_says(
        specs in prop::collection::vec(specs(), 0..6),
        asked in prop::collection::vec(asked(), 1..6),
    ) {
        let rules = rules(&specs);
        let names_there = ["a", "ann", "ann/a", "a/ann", "a/web", "web/a", "ops/a", "a/b/c"];
        for asked in &asked {
            let principal = principal(&asked.asker);
            let repository = asked.repository.map(|name| name.parse().unwrap());
            let tags: Vec<Tag> = asked.tags.iter().map(|tag| tag.parse().unwrap()).collect();
            let origin = RequestOrigin {
                address: asked.address.map(IpAddr::from),
                ..RequestOrigin::default()
            };
            let at = UNIX_EPOCH + Duration::from_hours(asked.hour);
            let mut question = Question::registry(principal.as_ref(), &origin, at);
            question.repository = repository.as_ref();
            question.tags = &tags;

            let decision = rules.decide(&question);
            prop_assert_eq!(names(decision.granted()), model(&specs, asked), "{:?}", asked);

            // What is listed lies where lists look.
            let horizon = rules.horizon(&question);
            let reach = horizon.allowed.without(&horizon.denied);
            for name in names_there {
                let tagless = Asked { repository: Some(name), tags: vec![], ..asked.clone() };
                let may = model(&specs, &tagless).contains("list");
                prop_assert!(!may || reach.contains(&name.parse().unwrap()), "{} {:?}", name, asked);
            }

            // The explanation is made of the same rules.
            let told = rules.explain(&question).into_iter().fold(
                Decision::ABSTAIN,
                |all, opinion| all.and(match opinion.effect {
                    Effect::Allow => Decision::allow(opinion.actions),
                    Effect::Deny => Decision::deny_silently(opinion.actions),
                }),
            );
            prop_assert_eq!(told.denied(), decision.denied());
            if tags.len() < 2 {
                prop_assert_eq!(told.granted(), decision.granted());
            } else {
                prop_assert!(told.allowed().contains(decision.allowed()));
            }
        }
    }
}
