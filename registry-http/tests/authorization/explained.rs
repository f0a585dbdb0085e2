//! What is explained is what a request gets.

use registry_auth::{Inquiry, Principal};
use registry_core::Action;

use crate::principals::{ANONYMOUS, EVERYBODY, Shows, access_control};
use crate::routes::{Needs, ROUTES};
use crate::world::{Logins, World, known};

/// What a request does that needs this: where, and with which tags.
fn inquiries(needs: &Needs, repository: &str) -> Option<Inquiry> {
    let (actions, place, tags) = match needs {
        Needs::In { action, tags } => (vec![*action], Some(repository), *tags),
        Needs::Move { tags } => (vec!["overwrite"], Some(repository), *tags),
        Needs::Manage {
            action,
            tokens: false,
        } => (vec![*action], None, &[][..]),
        Needs::Whole => (vec!["administer", "delete"], Some(repository), &[][..]),
        _ => return None,
    };
    let actions = actions.into_iter().map(|action| action.parse().unwrap());
    let mut inquiry = Inquiry::new(actions.collect::<registry_core::Actions>());
    inquiry.repository = place.map(|name| name.parse().unwrap());
    inquiry.tags = tags.iter().map(|tag| tag.parse().unwrap()).collect();
    Some(inquiry)
}

#[tokio::test]
async fn what_is_explained_is_what_requests_get() {
    let mut world = World::new(Logins::Passwords).await;
    let mut state = world.state().await;
    let access = access_control();
    let mut compared = [0; Action::ALL.len()];
    for who in EVERYBODY {
        // What a token covers is another matter.
        if who.token.is_some() {
            continue;
        }
        let principal = match who.shows {
            Shows::Nothing => None,
            Shows::Basic(name) if name == who.name => Some(known(name).await),
            Shows::Header(_) => Some(Principal::robot("ci")),
            _ => continue,
        };
        assert_eq!(principal.is_none(), who.name == ANONYMOUS);
        for route in ROUTES.iter().flat_map(|(_, routes)| *routes) {
            for repository in ["open/there", "secret/there", "kept/there"] {
                let Some(mut inquiry) = inquiries(&route.needs, repository) else {
                    continue;
                };
                inquiry.principal = principal.clone();
                let told = access.explain(&inquiry);
                let path = world.path(route.path, who.name, repository, repository);
                let mut headers = world.headers(who).await;
                headers.extend(route.headers.iter().map(|header| (*header).to_owned()));
                let answer = world.send(route.method, &path, &headers, route.body).await;
                let may = !matches!(answer.status.as_u16(), 401 | 403);
                assert_eq!(may, told.granted, "{told}, but {route:?}: {answer:?}");
                for (action, count) in Action::ALL.into_iter().zip(&mut compared) {
                    *count += usize::from(inquiry.actions.contains(action.into()));
                }
                if world.state().await != state {
                    world = World::new(Logins::Passwords).await;
                    state = world.state().await;
                }
            }
        }
    }
    assert!(compared.iter().all(|count| *count > 20), "{compared:?}");
}
