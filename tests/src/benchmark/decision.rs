//! How long it takes to decide what somebody may do, in this process.

use std::{hint::black_box, time::SystemTime};

use anyhow::{Context, Result};
use registry_auth::{Policy, Principal, Question, Rules};
use registry_core::{RepositoryName, RequestOrigin, Tag};
use tokio::time::Instant;

use super::results::Sample;

/// How often each question is asked.
const TIMES: u32 = 2_000;

/// A row: which rules, and whether the slowest question counts or all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Decision {
    pub(super) row: &'static str,
    is_mixed: bool,
    is_slowest: bool,
}

const MIXED: &str = "rules of all kinds";

pub(super) const ALL: [Decision; 4] = [
    Decision {
        row: MIXED,
        is_mixed: true,
        is_slowest: false,
    },
    Decision {
        row: "the slowest of these",
        is_mixed: true,
        is_slowest: true,
    },
    Decision {
        row: "rules that all apply",
        is_mixed: false,
        is_slowest: false,
    },
    Decision {
        row: "the slowest of those",
        is_mixed: false,
        is_slowest: true,
    },
];

/// Microseconds for one decision over a thousand rules.
pub(super) fn measure(decision: Decision) -> Result<Sample> {
    let rules = if decision.is_mixed { mixed() } else { worst() };
    let rules = rules.check()?;
    let repositories = [
        "people/user7/app",
        "products/app7",
        "teams/group7/a/b",
        "shared/a/group7",
        "partners/p7/x",
        "apps/app7",
        "library/image7",
        "archive/a7/x",
        "elsewhere/x",
    ];
    let repositories: Vec<RepositoryName> = repositories
        .iter()
        .map(|name| name.parse())
        .collect::<Result<_, _>>()?;
    let tag: [Tag; 1] = ["v1.2".parse()?];
    let origin = RequestOrigin::default();
    let (mut all, mut slowest, mut questions) = (0.0, 0.0_f64, 0_u32);
    for principal in &principals() {
        for repository in &repositories {
            for tags in [&[][..], &tag] {
                let at = SystemTime::UNIX_EPOCH;
                let mut question = Question::new(principal.as_ref(), repository, &origin, at);
                question.tags = tags;
                let began = Instant::now();
                for _ in 0..TIMES {
                    let _ = black_box(rules.decide(black_box(&question)));
                }
                let each = began.elapsed().as_secs_f64() * 1e6 / f64::from(TIMES);
                all += each;
                slowest = slowest.max(each);
                questions += 1;
            }
        }
    }
    let average = (questions > 0).then(|| all / f64::from(questions));
    Ok(Sample {
        value: if decision.is_slowest {
            slowest
        } else {
            average.context("no questions")?
        },
        ..Sample::default()
    })
}

/// A thousand rules of all kinds.
fn mixed() -> Rules {
    (0..100).fold(Rules::new(), |rules, number| {
        [
            format!("user user{number} is maintainer of people/user{number}/**"),
            format!("user user{number} may push v* to products/app{number}"),
            format!("group group{number} are writers of teams/group{number}/**"),
            format!("group group{number} are readers of shared/*/group{number}"),
            format!("robot robot{number} may push v*, w* to teams/group{number}/**"),
            format!("users except robots may pull partners/p{number}/**"),
            format!("workload github repository=org/app{number} may push apps/app{number}"),
            format!("anyone is reader of library/image{number}"),
            format!("nobody except group group{number} may delete v* in products/app{number}"),
            format!("robots may not overwrite archive/a{number}/**"),
        ]
        .iter()
        .fold(rules, |rules, sentence| rules.sentence(sentence))
    })
}

/// A thousand rules that are all about everybody and every repository, so that no index helps.
fn worst() -> Rules {
    (0..1000).fold(Rules::new(), |rules, number| {
        rules.sentence(&format!("anyone may pull v{number}-* in **"))
    })
}

fn principals() -> [Option<Principal>; 4] {
    let user = Principal::new("user7")
        .member_of("group7")
        .member_of("group8");
    let job = Principal::workload("github", "repo:org/app7").with_claim("repository", "org/app7");
    [
        None,
        Some(user),
        Some(Principal::robot("robot7")),
        Some(job),
    ]
}
