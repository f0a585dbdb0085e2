//! What the workspace's own registry is meant to reach, printed beside what it reached.

use serde::Serialize;

use super::{
    decision,
    launcher::Known,
    logins::{self, Guesses},
    results::{DISK, HASH, Outcome},
    scenario::Work,
    statistics::{median, median_ratio, welch},
};

/// A goal whose scenarios and servers were measured.
#[derive(Debug, Serialize)]
pub(super) struct Goal {
    pub(super) what: String,
    pub(super) bound: Bound,
    pub(super) measured: f64,
}

/// What is asked for: a ratio, or MiB.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

impl Goal {
    pub(super) fn met(&self) -> bool {
        match self.bound {
            Bound::AtLeast(bound) => self.measured >= bound,
            Bound::AtMost(bound) => self.measured <= bound,
        }
    }
}

/// Compares what was measured with every goal it allows to judge.
pub(super) fn judge(outcomes: &[Outcome]) -> Vec<Goal> {
    use Bound::{AtLeast, AtMost};
    let ours = Known::Registry.name();
    let docker = Known::Docker28.name();
    let nginx = Known::Nginx.name();
    let zot = Known::Zot.name();
    let found = |scenario: &str| outcomes.iter().find(|it| it.scenario.name == scenario);
    let values = |scenario: &str, server: &str| found(scenario)?.values(server);
    let title = |scenario: &str| found(scenario).map_or("", |it| it.scenario.title);

    let mut goals = Vec::new();
    let mut judged = |what: String, bound: Bound, measured: Option<f64>| {
        goals.extend(measured.map(|measured| Goal {
            what,
            bound,
            measured,
        }));
    };
    for (scenario, other, factor) in [
        ("manifest-tag-32", docker, 40.0),
        ("manifest-tag-32", nginx, 0.7),
        ("pull-single", nginx, 1.2),
        ("push-single-put", docker, 4.0),
        ("push-single-chunked", docker, 4.0),
        ("images-1", docker, 5.0),
        ("images-1", zot, 1.0),
        ("images-16", docker, 5.0),
        ("images-16", zot, 1.0),
    ] {
        let ratio = || median_ratio(&values(scenario, ours)?, &values(scenario, other)?);
        judged(
            format!("{}: ÷ {other}", title(scenario)),
            AtLeast(factor),
            ratio(),
        );
    }
    for scenario in ["push-single-put", "push-single-chunked"] {
        let ratio = || {
            let hash = values(scenario, HASH)?;
            let disk = values(scenario, DISK)?;
            let slower: Vec<f64> = hash.iter().zip(disk).map(|(a, b)| a.min(b)).collect();
            median_ratio(&values(scenario, ours)?, &slower)
        };
        judged(
            format!("{}: ÷ the slower of hash and disk", title(scenario)),
            AtLeast(0.7),
            ratio(),
        );
    }
    for (scenario, most) in [("memory-idle", 12.0), ("memory-load", 96.0)] {
        let mebibytes = || median(&values(scenario, ours)?);
        judged(
            format!("{}: MiB", title(scenario)),
            AtMost(most),
            mebibytes(),
        );
    }
    for (large, small, bound) in [
        ("tags-large", "tags-small", AtLeast(1.0 / 1.3)),
        ("start-large", "start-small", AtMost(1.3)),
    ] {
        let ratio = || median_ratio(&values(large, ours)?, &values(small, ours)?);
        judged(format!("{}: ÷ small", title(large)), bound, ratio());
    }
    for scenario in ["manifest-tag-bearer", "manifest-tag-basic"] {
        let ratio = || {
            median_ratio(
                &values(scenario, ours)?,
                &values(scenario, logins::ANONYMOUS)?,
            )
        };
        let what = format!("{}: ÷ {}", title(scenario), logins::ANONYMOUS);
        judged(what, AtLeast(0.85), ratio());
    }
    for (_, guesses) in Guesses::ALL {
        let ratio = || median_ratio(&values("flood", guesses)?, &values("flood", ours)?);
        judged(
            format!("Pulls while others guess, {guesses}: latency ÷ without"),
            AtMost(2.0),
            ratio(),
        );
    }
    for outcome in outcomes {
        let what = "likelihood that nobody's takes the same time (Welch)";
        judged(
            format!("{}: {what}", outcome.scenario.title),
            AtLeast(0.01),
            alike(outcome),
        );
    }
    for decision in decision::ALL {
        judged(
            format!("{}, {}: µs", title("decision-1000-rules"), decision.row),
            AtMost(2.0),
            values("decision-1000-rules", decision.row).and_then(|values| median(&values)),
        );
    }
    goals
}

/// How likely the wrong passwords of users take as long as those of others, if this was measured.
fn alike(outcome: &Outcome) -> Option<f64> {
    let times = |row| {
        let samples = outcome.row(row)?.samples.iter();
        let times = samples.flat_map(|sample| &sample.times_ms);
        Some(times.copied().collect::<Vec<_>>())
    };
    match outcome.scenario.work {
        Work::WrongPasswords { .. } => {
            welch(&times(Known::Registry.name())?, &times(logins::NOBODY)?)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::benchmark::{
        results::{Row, Sample},
        scenario,
    };

    fn outcome(name: &str, rows: &[(&str, &[f64])]) -> Outcome {
        Outcome {
            scenario: *scenario::ALL.iter().find(|it| it.name == name).unwrap(),
            detail: String::new(),
            rows: rows
                .iter()
                .map(|(server, values)| Row {
                    server: (*server).to_owned(),
                    samples: values
                        .iter()
                        .map(|&value| Sample {
                            value,
                            ..Sample::default()
                        })
                        .collect(),
                })
                .collect(),
        }
    }

    #[test]
    fn only_what_was_measured_is_judged() {
        let outcomes = [
            outcome(
                "pull-single",
                &[("registry", &[2.4, 1.0, 3.6]), ("nginx", &[2.0, 1.0, 1.0])],
            ),
            outcome("memory-idle", &[("registry", &[11.0, 13.0, 14.0])]),
            outcome("images-1", &[("zot", &[1.0])]),
        ];
        let goals = judge(&outcomes);
        let met: Vec<(f64, bool)> = goals.iter().map(|it| (it.measured, it.met())).collect();
        assert_eq!(met, [(1.2, true), (13.0, false)]);
    }

    #[test]
    fn a_push_is_compared_with_the_slower_limit_of_each_round() {
        let outcomes = [outcome(
            "push-single-put",
            &[
                ("registry", &[60.0, 90.0]),
                (HASH, &[100.0, 300.0]),
                (DISK, &[200.0, 100.0]),
            ],
        )];
        let goals = judge(&outcomes);
        assert_eq!(goals.len(), 1);
        assert!((goals[0].measured - 0.75).abs() < 1e-9 && goals[0].met());
    }
}
