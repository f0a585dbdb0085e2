//! What is refused costs the same whatever there is: nobody who knows asks it.

use std::collections::BTreeSet;

use metrics_util::debugging::DebuggingRecorder;

use crate::principals::user;
use crate::routes::{Needs, ROUTES};
use crate::world::{Logins, REPOSITORIES, World};

/// What the registry was asked to do, by the name under which that is measured.
fn asked<F: Future>(requests: impl FnOnce() -> F) -> BTreeSet<String> {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    metrics::with_local_recorder(&recorder, || runtime.block_on(requests()));
    let measured = snapshotter.snapshot().into_vec();
    let actions = measured.iter().map(|(key, ..)| key.key());
    actions
        .filter(|key| key.name() == "registry_storage_action_seconds")
        .flat_map(|key| key.labels())
        .filter(|label| label.key() == "action")
        .map(|label| label.value().to_owned())
        .collect()
}

/// Sends all that is about a repository, to all in which nobody of these may do anything:
/// some are there, some are not, and some were.
async fn send_all(who: &[&str]) {
    let world = World::new(Logins::Passwords).await;
    let state = world.state().await;
    let hidden = REPOSITORIES
        .iter()
        .map(|(name, _)| *name)
        .filter(|name| !name.starts_with("open/"));
    let routes = ROUTES.iter().flat_map(|(_, routes)| *routes);
    let about_one = routes.filter(|route| {
        matches!(
            route.needs,
            Needs::In { .. } | Needs::Move { .. } | Needs::Mount { .. }
        )
    });
    let mut sent = 0;
    for route in about_one {
        for name in hidden.clone() {
            for who in who {
                let path = world.path(route.path, who, name, name);
                let mut headers = if who.is_empty() {
                    Vec::new()
                } else {
                    user(who)
                };
                headers.extend(route.headers.iter().map(|header| (*header).to_owned()));
                let answer = world.send(route.method, &path, &headers, route.body).await;
                let status = answer.status.as_u16();
                let expected = if who.is_empty() { 401 } else { 403 };
                assert_eq!(status, expected, "{who} {} {path}", route.method);
                assert!(!answer.was_read, "{who} {} {path}", route.method);
                sent += 1;
            }
        }
    }
    assert!(sent > 500, "{sent}");
    assert_eq!(world.state().await, state);
}

#[test]
fn s_03_what_is_refused_is_asked_of_no_registry() {
    let asked_for = asked(|| send_all(&["", "stranger", "nobody"]));
    assert_eq!(asked_for, BTreeSet::new());

    // What isn't refused is.
    let asked_for = asked(async || {
        let world = World::new(Logins::Passwords).await;
        for name in ["secret/there", "secret/never"] {
            let path = world.path("/v2/{name}/blobs/{hidden}", "reader", name, name);
            let answer = world.send("HEAD", &path, &user("reader"), "").await;
            assert_eq!(answer.status, 404);
        }
    });
    assert_eq!(asked_for, BTreeSet::from(["stat_blob".to_owned()]));
}
