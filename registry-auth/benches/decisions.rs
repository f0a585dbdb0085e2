//! How long a decision takes: `cargo bench -p registry-auth --bench decisions`.
//!
//! A registry asks for one with every request, and once for each name in a
//! listing.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a measurement, which nobody relies on"
)]

use std::hint::black_box;
use std::time::{Instant, UNIX_EPOCH};

use registry_auth::{Policy, Principal, Question, Rules};
use registry_core::{RepositoryName, RequestOrigin, Tag};

/// How often each question is asked.
const TIMES: u32 = 2000;

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

/// A thousand rules that are all about everybody and every repository, so that no
/// index helps.
fn worst() -> Rules {
    (0..1000).fold(Rules::new(), |rules, number| {
        rules.sentence(&format!("anyone may pull v{number}-* in **"))
    })
}

fn principals() -> Vec<Option<Principal>> {
    let user = Principal::new("user7")
        .member_of("group7")
        .member_of("group8");
    let job = Principal::workload("github", "repo:org/app7").with_claim("repository", "org/app7");
    vec![
        None,
        Some(user),
        Some(Principal::robot("robot7")),
        Some(job),
    ]
}

fn measure(title: &str, rules: &Rules) {
    let repositories: Vec<RepositoryName> = [
        "people/user7/app",
        "products/app7",
        "teams/group7/a/b",
        "shared/a/group7",
        "partners/p7/x",
        "apps/app7",
        "library/image7",
        "archive/a7/x",
        "elsewhere/x",
    ]
    .map(|name| name.parse().unwrap())
    .into();
    let tag: [Tag; 1] = ["v1.2".parse().unwrap()];
    let origin = RequestOrigin::default();
    let (mut all, mut questions, mut slowest) = (0, 0, 0);
    for principal in &principals() {
        for repository in &repositories {
            for tags in [&[][..], &tag] {
                let mut question =
                    Question::new(principal.as_ref(), repository, &origin, UNIX_EPOCH);
                question.tags = tags;
                let start = Instant::now();
                for _ in 0..TIMES {
                    let _ = black_box(rules.decide(black_box(&question)));
                }
                let each = start.elapsed().as_nanos() / u128::from(TIMES);
                all += each;
                questions += 1;
                slowest = slowest.max(each);
            }
        }
    }
    println!(
        "{title}: {} ns on average, {slowest} ns at most",
        all / questions
    );
}

fn main() {
    measure("1000 rules of all kinds", &mixed().check().unwrap());
    measure("1000 rules that all apply", &worst().check().unwrap());
}
