//! The matrix: everybody, everywhere, in every way.

use std::collections::{BTreeMap, BTreeSet};

use crate::endpoint::{Endpoint, Offers};
use crate::exchange::Answer;
use crate::model::{self, Expected};
use crate::principals::{self, EVERYBODY, HOLDERS, Shows, Somebody};
use crate::routes::{Needs, ROUTES, Route, meaning};
use crate::spellings::spellings;
use crate::world::{Logins, Place, REPOSITORIES, World};

/// Cases, and what was wrong with them.
struct Trial {
    logins: Logins,
    place: Place,
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
    async fn new(logins: Logins) -> Self {
        Self::at(logins, Place::Memory).await
    }

    async fn at(logins: Logins, place: Place) -> Self {
        let world = World::at(logins, place).await;
        Self {
            logins,
            place,
            state: world.state().await,
            world,
            cases: 0,
            wrong: Vec::new(),
        }
    }

    async fn ask(&mut self, case: Case<'_>) -> Answer {
        self.cases += 1;
        let Case { route, who, .. } = case;
        let path = self
            .world
            .path(route.path, who.name, case.repository, case.spelled);
        let mut headers = self.world.headers(who).await;
        let token = headers.iter().find_map(|header| {
            let (_, token) = header.split_once(": Bearer ")?;
            Some(token)
        });
        let body = route.body.replace("{token}", token.unwrap_or("none"));
        headers.extend(route.headers.iter().map(|header| (*header).to_owned()));
        self.world.send(route.method, &path, &headers, &body).await
    }

    /// Notes what is wrong with an answer, and whether something changed that
    /// shouldn't have.
    async fn judge(&mut self, case: Case<'_>, expected: &Expected, answer: &Answer) {
        let mut wrong = Vec::new();
        if answer.status.as_u16() != expected.status {
            wrong.push(format!("not {}", expected.status));
        }
        let challenges: Vec<_> = answer.headers.get_all("www-authenticate").iter().collect();
        let is_right = match (challenges.as_slice(), expected.challenge) {
            ([], None) => true,
            ([challenge], Some(start)) => {
                let challenge = challenge.to_str().unwrap();
                let fault = challenge.split_once(",error=\"").map(|(_, rest)| rest);
                let fault = fault.and_then(|rest| rest.split('"').next());
                challenge.starts_with(start) && fault == expected.fault
            }
            _ => false,
        };
        if !is_right {
            wrong.push(format!("challenged by {challenges:?}"));
        }
        let is_needed = matches!(case.route.needs, Needs::Move { .. } | Needs::Exchange);
        let is_decided_before = !is_needed && expected.status != 405;
        if expected.refused && answer.was_read && is_decided_before {
            wrong.push("the body was read".to_owned());
        }
        if self.world.state().await != self.state {
            if expected.refused {
                wrong.push("something changed".to_owned());
            }
            self.world = World::at(self.logins, self.place).await;
            self.state = self.world.state().await;
        }
        if !wrong.is_empty() {
            let wrong = wrong.join(", ");
            let Case { route, who, .. } = case;
            let (method, path, spelled) = (route.method, route.path, case.spelled);
            let status = answer.status;
            self.wrong.push(format!(
                "{:?} {:?} {method} {path} in {spelled}: {status}, {wrong}",
                who.name, who.token
            ));
        }
    }

    fn end(self, cases: usize) {
        let (count, first) = (self.wrong.len(), &self.wrong[..self.wrong.len().min(12)]);
        assert!(count == 0, "{count} wrong of {}: {first:#?}", self.cases);
        assert_eq!(self.cases, cases);
    }
}

fn routes() -> impl Iterator<Item = &'static Route> {
    ROUTES.iter().flat_map(|(_, routes)| *routes)
}

/// Where a route is about no repository, one is enough.
fn repositories(route: &Route) -> &'static [(&'static str, bool)] {
    match route.needs {
        Needs::In { .. } | Needs::Move { .. } | Needs::Mount { .. } | Needs::Whole => REPOSITORIES,
        _ => &REPOSITORIES[..1],
    }
}

/// A row that means something else than it says tests nothing.
#[tokio::test]
async fn s_01_every_route_means_what_its_row_says() {
    let world = World::new(Logins::Tokens).await;
    for (named, routes) in ROUTES {
        for route in *routes {
            let path = world.path(route.path, "root", "secret/there", "secret/there");
            let (path, query) = path.split_once('?').unwrap_or((&path, ""));
            let method = route.method.parse().unwrap();
            let offers = Offers {
                tokens: true,
                management: true,
            };
            let parsed = Endpoint::parse(&method, path, Some(query), offers).unwrap();
            assert_eq!(meaning(&parsed), *named, "{route:?}");
        }
    }
}

/// Who has a token, and who shows a password or something else all the same, where
/// passwords are good for tokens.
fn with_tokens() -> Vec<&'static Somebody> {
    let others = EVERYBODY.iter().filter(|somebody| {
        let some = [principals::ANONYMOUS, principals::WRONG, "writer", "tagger"];
        let is_one = somebody.token.is_none() && some.contains(&somebody.name);
        is_one || !matches!(somebody.shows, Shows::Nothing | Shows::Basic(_))
    });
    HOLDERS.iter().chain(others).collect()
}

/// S-01. There are `least` cases and more, so that none gets lost.
async fn everybody_asks(logins: Logins, who: &[&Somebody], least: usize) {
    let each: usize = routes().map(|route| repositories(route).len()).sum();
    assert!(who.len() * each >= least, "{} by {each}", who.len());
    let mut trial = Trial::new(logins).await;
    ask_all(&mut trial, who, |route, who, repository| {
        model::expected(route, who, repository, logins)
    })
    .await;
    trial.end(who.len() * each);
}

/// Asks for each route, in each state and by the plain spelling, as each of these.
async fn ask_all(
    trial: &mut Trial,
    who: &[&Somebody],
    expected: impl Fn(&Route, &Somebody, &str) -> Expected,
) {
    for who in who {
        for route in routes() {
            for (repository, _) in repositories(route) {
                let case = Case {
                    route,
                    who,
                    repository,
                    spelled: repository,
                };
                let answer = trial.ask(case).await;
                let expected = expected(route, who, repository);
                trial.judge(case, &expected, &answer).await;
            }
        }
    }
}

#[tokio::test]
async fn s_01_every_route_for_everybody_in_every_state() {
    let everybody: Vec<_> = EVERYBODY.iter().collect();
    everybody_asks(Logins::Passwords, &everybody, 15_000).await;
}

/// Where passwords are good for tokens.
#[tokio::test]
async fn s_01_every_route_for_every_token_in_every_state() {
    everybody_asks(Logins::Tokens, &with_tokens(), 32_000).await;
}

/// The same where everything is in files and the database, for some of everybody.
#[tokio::test]
async fn every_route_of_a_directory_for_some_in_every_state() {
    let logins = Logins::Passwords;
    let names = [principals::ANONYMOUS, "stranger", "reader", "dropper"];
    let who: Vec<_> = names
        .iter()
        .filter_map(|name| EVERYBODY.iter().find(|somebody| somebody.name == *name))
        .collect();
    assert_eq!(who.len(), names.len());
    let mut trial = Trial::at(logins, Place::Directory).await;
    ask_all(&mut trial, &who, |route, who, repository| {
        model::expected(route, who, repository, logins)
    })
    .await;
    let each: usize = routes().map(|route| repositories(route).len()).sum();
    trial.end(who.len() * each);
}

/// S-14: through a cache, which takes no pushes, everybody is refused as without it.
#[tokio::test]
async fn s_01_every_route_of_a_cache_for_everybody_in_every_state() {
    let logins = Logins::Passwords;
    let mut trial = Trial::at(logins, Place::BehindACache).await;
    let everybody: Vec<_> = EVERYBODY.iter().collect();
    ask_all(&mut trial, &everybody, |route, who, repository| {
        model::expected_of_cache(route, who, repository, logins)
    })
    .await;
    let each: usize = routes().map(|route| repositories(route).len()).sum();
    trial.end(EVERYBODY.len() * each);
}

/// S-10: what is decided is decided about the name that is used, however it is
/// written. What is no name is nobody's.
///
/// Of each route in each state for everybody, `each` spellings are tried, other ones
/// for the next route and for the next person. So each spelling is written by
/// everybody in every state, and in every state on every route.
async fn everybody_spells(logins: Logins, who: &[&'static Somebody], each: usize) {
    let mut trial = Trial::new(logins).await;
    let routes: Vec<_> = routes()
        .filter(|route| route.path.contains("/{name}"))
        .collect();
    let (mut by_whom, mut on_route) = (BTreeSet::new(), BTreeSet::new());
    let mut everywhere = 0;
    for (repository, _) in REPOSITORIES {
        let spellings = spellings(repository);
        assert!(spellings.len() <= routes.len() && spellings.len() <= each * who.len());
        everywhere += spellings.len();
        for (person, who) in who.iter().enumerate() {
            for (number, route) in routes.iter().enumerate() {
                for turn in 0..each {
                    let at = (number + person * each + turn) % spellings.len();
                    let spelling = &spellings[at];
                    by_whom.insert((*repository, at, person));
                    on_route.insert((*repository, at, number));
                    let case = Case {
                        route,
                        who,
                        repository,
                        spelled: &spelling.text,
                    };
                    let answer = trial.ask(case).await;
                    let expected = if spelling.is_same {
                        model::expected(route, who, repository, logins)
                    } else if answer.status == 404 {
                        Expected::refusal(404)
                    } else {
                        Expected::refusal(400)
                    };
                    trial.judge(case, &expected, &answer).await;
                }
            }
        }
    }
    assert_eq!(by_whom.len(), everywhere * who.len());
    assert_eq!(on_route.len(), everywhere * routes.len());
    trial.end(REPOSITORIES.len() * who.len() * routes.len() * each);
}

#[tokio::test]
async fn s_10_spelled_otherwise_decided_alike() {
    let everybody: Vec<_> = EVERYBODY.iter().collect();
    everybody_spells(Logins::Passwords, &everybody, 2).await;
}

#[tokio::test]
async fn s_10_spelled_otherwise_decided_alike_for_tokens() {
    everybody_spells(Logins::Tokens, &with_tokens(), 1).await;
}

/// S-11: nobody learns what is there from how it is refused.
async fn refusals_are_alike(logins: Logins, who: impl IntoIterator<Item = &Somebody>) {
    let mut trial = Trial::new(logins).await;
    let mut compared = 0;
    for who in who {
        for route in routes() {
            let mut refusals = BTreeMap::new();
            for (repository, _) in repositories(route) {
                let is_of_them = repository.starts_with("secret/");
                // Who may push learns that by pushing.
                let moves = matches!(route.needs, Needs::Move { .. })
                    && model::may(who.name, "push", repository, &[]);
                let expected = model::expected(route, who, repository, logins);
                if !is_of_them || !expected.refused || moves {
                    continue;
                }
                let upload = trial.world.upload(repository, who.name).to_string();
                let foreign = trial.world.foreign_upload(repository).to_string();
                let case = Case {
                    route,
                    who,
                    repository,
                    spelled: repository,
                };
                let answer = trial.ask(case).await;
                refusals.insert(
                    *repository,
                    answer.without(&[repository, &upload, &foreign]),
                );
            }
            // Who may do something there learns that a token is no longer for it.
            let Some(absent) = refusals.get("secret/never").cloned() else {
                continue;
            };
            for (repository, refusal) in refusals {
                compared += 1;
                if refusal != absent && !model::has_outlived(who, repository) {
                    trial.wrong.push(format!(
                        "{:?} {} {} in {repository}: {refusal:?}, not {absent:?}",
                        who.name, route.method, route.path
                    ));
                }
            }
        }
    }
    assert!(compared > 1_000, "{compared}");
    let cases = trial.cases;
    trial.end(cases);
}

#[tokio::test]
async fn s_11_forbidden_is_like_absent() {
    refusals_are_alike(Logins::Passwords, EVERYBODY).await;
}

#[tokio::test]
async fn s_11_forbidden_is_like_absent_to_tokens() {
    refusals_are_alike(Logins::Tokens, HOLDERS).await;
}

/// S-15: names are as secret as content.
#[tokio::test]
async fn a_list_names_what_may_be_listed_and_nothing_else() {
    for logins in [Logins::Passwords, Logins::Tokens] {
        let world = World::new(logins).await;
        let lists = |who: &&Somebody| {
            let catalog = ROUTES.iter().find(|(name, _)| *name == "ListRepositories");
            let route = &catalog.unwrap().1[0];
            !model::expected(route, who, "open/there", logins).refused
        };
        for who in EVERYBODY.iter().chain(HOLDERS).filter(lists) {
            if logins == Logins::Passwords && who.token.is_some() {
                continue;
            }
            let headers = world.headers(who).await;
            let names = async |path| {
                let answer = world.send("GET", path, &headers, "").await;
                let list: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
                list["repositories"].clone()
            };
            let expected = model::listed(who.name);
            let all = names("/v2/_catalog").await;
            assert_eq!(all, serde_json::json!(expected), "{who:?}");
            // A page of it counts what is seen only.
            let first: Vec<_> = expected.into_iter().take(1).collect();
            let page = names("/v2/_catalog?n=1").await;
            assert_eq!(page, serde_json::json!(first), "{who:?}");
        }
    }
}
