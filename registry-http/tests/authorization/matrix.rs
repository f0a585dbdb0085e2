//! The matrix: everybody, everywhere, in every way.

use std::collections::BTreeMap;

use registry_core::Operation;

use crate::exchange::Answer;
use crate::model::{self, Expected};
use crate::principals::{self, EVERYBODY, Somebody};
use crate::routes::{Needs, ROUTES, Route, meaning};
use crate::spellings::spellings;
use crate::world::{REPOSITORIES, World};

/// Cases, and what was wrong with them.
struct Trial {
    world: World,
    /// What the world was like before anybody changed it.
    state: String,
    cases: usize,
    wrong: Vec<String>,
}

/// Somebody asks something of a repository.
#[derive(Clone, Copy)]
struct Case<'a> {
    route: &'a Route,
    who: &'a Somebody,
    repository: &'a str,
    spelled: &'a str,
}

impl Trial {
    async fn new() -> Self {
        let world = World::new().await;
        Self {
            state: world.state(),
            world,
            cases: 0,
            wrong: Vec::new(),
        }
    }

    async fn ask(&mut self, case: Case<'_>) -> Answer {
        self.cases += 1;
        let Case { route, who, .. } = case;
        let path = self.world.path(route.path, case.repository, case.spelled);
        let mut headers = who.headers();
        headers.extend(route.headers.iter().map(|header| (*header).to_owned()));
        self.world
            .send(route.method, &path, &headers, route.body)
            .await
    }

    /// Notes what is wrong with an answer, and whether something changed that
    /// shouldn't have.
    async fn judge(&mut self, case: Case<'_>, expected: &Expected, answer: &Answer) {
        let mut wrong = Vec::new();
        if answer.status.as_u16() != expected.status {
            wrong.push(format!("not {}", expected.status));
        }
        if answer.header("www-authenticate").is_some() != expected.challenge {
            wrong.push("with or without a challenge".to_owned());
        }
        let moves = matches!(case.route.needs, Needs::Move { .. });
        if expected.refused && answer.was_read && !moves {
            wrong.push("the body was read".to_owned());
        }
        if self.world.state() != self.state {
            if expected.refused {
                wrong.push("something changed".to_owned());
            }
            self.world = World::new().await;
            self.state = self.world.state();
        }
        if !wrong.is_empty() {
            let wrong = wrong.join(", ");
            let Case { route, who, .. } = case;
            let (method, path, spelled) = (route.method, route.path, case.spelled);
            let status = answer.status;
            self.wrong.push(format!(
                "{:?} {method} {path} in {spelled}: {status}, {wrong}",
                who.name
            ));
        }
    }

    fn end(self, least: usize) {
        let (count, first) = (self.wrong.len(), &self.wrong[..self.wrong.len().min(12)]);
        assert!(count == 0, "{count} wrong of {}: {first:#?}", self.cases);
        assert!(self.cases >= least, "only {} cases", self.cases);
    }
}

fn routes() -> impl Iterator<Item = &'static Route> {
    ROUTES.iter().flat_map(|(_, routes)| *routes)
}

/// Where a route is about no repository, one is enough.
fn repositories(route: &Route) -> &'static [(&'static str, bool)] {
    match route.needs {
        Needs::Login => &REPOSITORIES[..1],
        _ => REPOSITORIES,
    }
}

/// A row that means something else than it says tests nothing.
#[tokio::test]
async fn every_route_means_the_operation_of_its_row() {
    let world = World::new().await;
    for (operation, routes) in ROUTES {
        for route in *routes {
            let path = world.path(route.path, "secret/there", "secret/there");
            let (path, query) = path.split_once('?').unwrap_or((&path, ""));
            let method = route.method.parse().unwrap();
            let parsed = Operation::parse(&method, path, Some(query)).unwrap();
            assert_eq!(meaning(&parsed), *operation, "{route:?}");
        }
    }
}

/// S-01.
#[tokio::test]
async fn every_route_for_everybody_in_every_state() {
    let mut trial = Trial::new().await;
    for route in routes() {
        for who in EVERYBODY {
            for (repository, _) in repositories(route) {
                let case = Case {
                    route,
                    who,
                    repository,
                    spelled: repository,
                };
                let expected = model::expected(route, who.name, repository);
                let answer = trial.ask(case).await;
                trial.judge(case, &expected, &answer).await;
            }
        }
    }
    trial.end(5_000);
}

/// S-10: what is decided is decided about the name that is used, however it is
/// written. What is no name is nobody's.
#[tokio::test]
async fn spelled_otherwise_decided_alike() {
    let mut trial = Trial::new().await;
    for route in routes().filter(|route| route.path.contains("{name}/")) {
        for repository in ["open/there", "secret/there"] {
            for spelling in spellings(repository) {
                for who in principals::some() {
                    let case = Case {
                        route,
                        who,
                        repository,
                        spelled: &spelling.text,
                    };
                    let answer = trial.ask(case).await;
                    let nothing = Expected {
                        status: if answer.status == 404 { 404 } else { 400 },
                        challenge: false,
                        refused: true,
                    };
                    let expected = if spelling.is_same {
                        model::expected(route, who.name, repository)
                    } else {
                        nothing
                    };
                    trial.judge(case, &expected, &answer).await;
                }
            }
        }
    }
    trial.end(10_000);
}

/// S-11: nobody learns what is there from how it is refused.
#[tokio::test]
async fn forbidden_is_like_absent() {
    let mut trial = Trial::new().await;
    let mut compared = 0;
    for route in routes().filter(|route| !matches!(route.needs, Needs::Login)) {
        for who in EVERYBODY {
            let mut refusals = BTreeMap::new();
            for (repository, _) in REPOSITORIES {
                if !repository.starts_with("secret/")
                    || !model::expected(route, who.name, repository).refused
                    || matches!(route.needs, Needs::Move { .. })
                        && model::may(who.name, "push", repository, &[])
                {
                    continue;
                }
                let upload = trial.world.upload(repository).to_string();
                let case = Case {
                    route,
                    who,
                    repository,
                    spelled: repository,
                };
                let answer = trial.ask(case).await;
                refusals.insert(*repository, answer.without(&[repository, &upload]));
            }
            let absent = refusals.get("secret/never").cloned();
            for (repository, refusal) in refusals {
                compared += 1;
                if Some(&refusal) != absent.as_ref() {
                    trial.wrong.push(format!(
                        "{:?} {} {} in {repository}: {refusal:?}, not {absent:?}",
                        who.name, route.method, route.path
                    ));
                }
            }
        }
    }
    assert!(compared > 1_000, "{compared}");
    trial.end(1_000);
}

/// S-15: names are as secret as content.
#[tokio::test]
async fn a_list_names_what_may_be_pulled_and_nothing_else() {
    let world = World::new().await;
    for who in EVERYBODY {
        if [principals::ANONYMOUS, principals::WRONG].contains(&who.name) {
            continue;
        }
        let headers = who.headers();
        let answer = world.send("GET", "/v2/_catalog", &headers, "").await;
        let list: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
        let expected = serde_json::json!(model::listed(who.name));
        assert_eq!(list["repositories"], expected, "{who:?}");
        // A page of it counts what is seen only.
        let answer = world.send("GET", "/v2/_catalog?n=1", &headers, "").await;
        let list: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
        let first: Vec<_> = model::listed(who.name).into_iter().take(1).collect();
        assert_eq!(list["repositories"], serde_json::json!(first), "{who:?}");
    }
}
