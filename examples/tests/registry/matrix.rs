//! The matrix of `registry-http/tests/authorization`, in part, against the whole program:
//! its table of routes over a socket, with logins, rules and tokens as a configuration
//! has them. A new route is a row of that table, and so of this one.

#![allow(
    clippy::arithmetic_side_effects,
    reason = "there aren't that many cases"
)]

mod connection;
mod model;
mod principals;
mod side;
mod spelled;
mod world;

use std::collections::BTreeSet;

use crate::routes::{Needs, ROUTES, Route};
use crate::spellings::spellings;
use connection::Connection;
use principals::{Somebody, everybody};
use spelled::{WAYS, spelled};
use world::{CANARY, REPOSITORIES, World, content};

/// Cases, and what was wrong with them.
struct Trial {
    world: World,
    cases: usize,
    /// Changes that others would miss later: they aren't made.
    spared: usize,
    wrong: Vec<String>,
}

/// Somebody asks something of a repository.
#[derive(Clone, Copy)]
struct Case<'a> {
    route: &'a Route,
    who: &'a Somebody,
    repository: &'a str,
}

/// How a path is written.
enum Written {
    Plainly,
    /// The name so; whether that is the same name, or none.
    Named(String, bool),
    /// The whole path in this way, at that turn.
    Oddly(usize, usize),
}

impl Trial {
    fn ask(&mut self, connection: &mut Connection, case: Case<'_>, written: &Written) {
        let Case {
            route,
            who,
            repository,
        } = case;
        let expected = model::expected(route, who, repository);
        if changes_for_good(route, repository, expected) {
            self.spared += 1;
            return;
        }
        self.cases += 1;
        let spelled_name = match written {
            Written::Named(text, _) => text.as_str(),
            _ => repository,
        };
        let pushes = matches!(expected, 200..300);
        let names = (repository, spelled_name);
        let mut path = self.world.path(route.path, who, names, pushes);
        if let Written::Oddly(way, turn) = written {
            path = spelled(&path, *way, *turn);
        }
        let mut headers = who.headers.clone();
        headers.extend(route.headers.iter().map(|header| (*header).to_owned()));
        if route.method == "PUT" && route.path.contains("/manifests/") {
            let media_type = "application/vnd.oci.image.index.v1+json";
            headers.push(format!("content-type: {media_type}"));
        }
        let body = content(route.body).replace("{token}", who.token());
        let answer = connection.ask(route.method, &path, &headers, &body);
        let status = answer.status;
        let is_right = match written {
            Written::Plainly | Written::Named(_, true) => status == expected,
            Written::Named(_, false) => matches!(status, 400 | 404),
            // It is the same, or nothing.
            Written::Oddly(..) => status == expected || matches!(status, 400..500),
        };
        let tells = status >= 400 && answer.body.contains(CANARY);
        if !is_right || tells {
            let (who, method) = (who.label, route.method);
            let tells = if tells { ", and shows content" } else { "" };
            let expected = match written {
                Written::Named(_, false) => "400 or 404".to_owned(),
                _ => expected.to_string(),
            };
            let wrong = format!("{who}: {method} {path}: {status}, not {expected}{tells}");
            self.wrong.push(wrong);
        }
        if status < 300 && !["GET", "HEAD"].contains(&route.method) {
            self.restore(route, repository);
        }
    }

    fn restore(&mut self, route: &Route, repository: &str) {
        let is_there = REPOSITORIES.contains(&(repository, true));
        if route.path.starts_with("/api/v1/") {
            self.world.restore_management();
        } else if is_there && route.path.contains("/{name}/") {
            self.world.restore(repository);
        }
    }
}

/// Whether what becomes of it can't be taken back: a repository that is created or
/// deleted is another one from then on, and tokens are for the one before.
fn changes_for_good(route: &Route, repository: &str, expected: u16) -> bool {
    let is_there = REPOSITORIES.contains(&(repository, true));
    match route.needs {
        Needs::Whole => is_there && expected == 204,
        _ => !is_there && route.path.contains("/{name}/") && expected == 201,
    }
}

fn routes() -> impl Iterator<Item = &'static Route> {
    ROUTES.iter().flat_map(|(_, routes)| *routes)
}

/// Where a route is about no repository, one is enough.
fn repositories(route: &Route) -> impl Iterator<Item = &'static str> {
    let count = if route.path.contains("{name}") {
        REPOSITORIES.len()
    } else {
        1
    };
    REPOSITORIES[..count].iter().map(|(name, _)| *name)
}

/// S-01 and S-10: the program decides as its policy file says, and an odd spelling opens
/// nothing that the plain one doesn't.
#[tokio::test]
async fn s_01_every_route_of_the_program_for_everybody() {
    let mut world = World::start();
    let everybody = everybody(&mut world).await;
    let state = world.state();
    let mut trial = Trial {
        world,
        cases: 0,
        spared: 0,
        wrong: Vec::new(),
    };
    let mut ways = BTreeSet::new();
    let mut planned = 0;
    for (person, who) in everybody.iter().enumerate() {
        let mut connection = Connection::to(&trial.world.program.address);
        for (number, route) in routes().enumerate() {
            for repository in repositories(route) {
                let case = Case {
                    route,
                    who,
                    repository,
                };
                trial.ask(&mut connection, case, &Written::Plainly);
                planned += 1;
            }
            // Other ones for the next route and the next person.
            let turn = person * routes().count() + number;
            let all: Vec<_> = repositories(route).collect();
            let case = Case {
                route,
                who,
                repository: all[turn % all.len()],
            };
            let step = person + number;
            let written = if step % 2 == 0 {
                let way = step / 2 % WAYS;
                ways.insert((who.label, way));
                ways.insert((route.path, way));
                Written::Oddly(way, turn)
            } else if route.path.contains("/{name}") {
                let names = spellings(case.repository);
                let name = &names[turn % names.len()];
                Written::Named(name.text.clone(), name.is_same)
            } else {
                continue;
            };
            trial.ask(&mut connection, case, &written);
            planned += 1;
        }
        let now = trial.world.state();
        if now != state {
            let label = who.label;
            trial
                .wrong
                .push(format!("{label} changed something: {now} {state}"));
        }
    }
    let paths: BTreeSet<_> = routes().map(|route| route.path).collect();
    assert_eq!(ways.len(), (everybody.len() + paths.len()) * WAYS);
    assert_eq!(trial.cases + trial.spared, planned);
    assert!(trial.cases > 5_000, "{}", trial.cases);
    let (count, first) = (trial.wrong.len(), &trial.wrong[..trial.wrong.len().min(12)]);
    assert!(count == 0, "{count} wrong of {planned}: {first:#?}");
}
