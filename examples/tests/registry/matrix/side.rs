//! The pages for whoever watches the server: they are on an address of their own, and
//! tell health and measurements only.

use crate::matrix::connection::Connection;
use crate::matrix::principals::everybody;
use crate::matrix::spelled::{WAYS, spelled};
use crate::matrix::world::{REPOSITORIES, World, content};
use crate::matrix::{repositories, routes};

/// Each page, and whether it is on the registry's address, too.
const PAGES: &[(&str, bool)] = &[
    ("/livez", true),
    ("/readyz", true),
    ("/debug/health", false),
    ("/metrics", false),
];

const METHODS: &[&str] = &["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"];

/// Nobody needs a login for these pages, and none is good for more.
#[tokio::test]
async fn the_pages_of_watchers_are_apart_from_the_registry() {
    let mut world = World::start();
    let everybody = everybody(&mut world).await;
    let state = world.state();
    let mut wrong = Vec::new();
    let mut note = |is_right: bool, about: String| {
        if !is_right {
            wrong.push(about);
        }
    };
    for (person, who) in everybody.iter().enumerate() {
        let mut side = Connection::to(&world.side);
        let mut registry = Connection::to(&world.program.address);
        for (page, (path, is_everywhere)) in PAGES.iter().enumerate() {
            for (number, method) in METHODS.iter().enumerate() {
                let expected = if number < 2 { 200 } else { 405 };
                let label = who.label;
                let answer = side.ask(method, path, &who.headers, "");
                let told = REPOSITORIES
                    .iter()
                    .any(|(name, _)| answer.body.contains(name));
                let is_right = answer.status == expected && !told;
                note(
                    is_right,
                    format!("{label}: {method} {path} aside: {answer:?}"),
                );
                let answer = registry.ask(method, path, &who.headers, "");
                let expected = if *is_everywhere { expected } else { 404 };
                let is_right = answer.status == expected;
                note(is_right, format!("{label}: {method} {path}: {answer:?}"));
                // In every way for some.
                let way = (person + page + number) % WAYS;
                let path = spelled(path, way, person / 2);
                for connection in [&mut side, &mut registry] {
                    let answer = connection.ask(method, &path, &who.headers, "");
                    let is_right = matches!(answer.status, 400 | 404);
                    note(is_right, format!("{label}: {method} {path}: {answer:?}"));
                }
            }
        }
        // And nothing of the registry is there, however it is written.
        for (number, route) in routes().enumerate() {
            let all: Vec<_> = repositories(route).collect();
            let name = all[(person + number) % all.len()];
            let plain = world.path(route.path, who, (name, name), false);
            let odd = spelled(&plain, (person + number) % WAYS, person * 7 + number);
            let mut headers = who.headers.clone();
            headers.extend(route.headers.iter().map(|header| (*header).to_owned()));
            let body = content(route.body).replace("{token}", who.token());
            for path in [plain, odd] {
                let answer = side.ask(route.method, &path, &headers, &body);
                let is_asked = answer.header("www-authenticate").is_some();
                let is_right = matches!(answer.status, 400 | 404) && !is_asked;
                let (label, method) = (who.label, route.method);
                note(
                    is_right,
                    format!("{label}: {method} {path} aside: {answer:?}"),
                );
            }
        }
    }
    let (count, first) = (wrong.len(), &wrong[..wrong.len().min(12)]);
    assert!(count == 0, "{count} wrong: {first:#?}");
    assert_eq!(world.state(), state);
}
