//! What a list looks at for somebody who may not see everything.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::unwrap_used,
    reason = "these are tests"
)]

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use registry_core::testkit::trusted;
use registry_core::{
    CatalogAccess, ManifestRules, MediaType, PageRequest, PutManifest, Reach, Reference, Registry,
    RepositoryName, Tag, Visibility,
};
use registry_storage::Engine;

const INDEX: &[u8] = br#"{"schemaVersion":2,"manifests":[]}"#;

async fn push(registry: &Engine, name: &str, tags: impl IntoIterator<Item = String>) {
    for tag in tags {
        let reference = Reference::Tag(tag.parse().unwrap());
        let (media_type, rules) = (Some(MediaType::OCI_INDEX), ManifestRules::default());
        let push = PutManifest::new(reference, media_type, Bytes::from(INDEX), &rules).unwrap();
        registry.put_manifest(&trusted(name), push).await.unwrap();
    }
}

/// The names that were asked about, and the right to see those that begin so.
fn watched(start: &'static str) -> (Arc<Mutex<Vec<RepositoryName>>>, CatalogAccess) {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&asked);
    let visible = move |name: &RepositoryName| {
        seen.lock().unwrap().push(name.clone());
        name.as_str().starts_with(start)
    };
    let visible = Visibility::Only(Arc::new(visible));
    (asked, CatalogAccess::granted(visible, Arc::default()))
}

/// S-15: how long a list takes doesn't tell what is hidden, wherever it begins.
#[tokio::test]
async fn a_list_of_repositories_looks_only_where_there_is_something_to_see() {
    let registry = Engine::memory();
    for number in 0..600 {
        push(&registry, &format!("hidden/r{number}"), ["v1".to_owned()]).await;
        push(
            &registry,
            &format!("shown/secret/r{number}"),
            ["v1".to_owned()],
        )
        .await;
    }
    for name in ["shown/a", "shown/z", "single"] {
        push(&registry, name, ["v1".to_owned()]).await;
    }
    let (asked, access) = watched("s");
    let reach = Reach::below("shown/").without(&Reach::below("shown/secret/"));
    let access = access.within(reach.and(Reach::exactly(&"single".parse().unwrap())));
    for (after, expected) in [
        (None, &["shown/a", "shown/z", "single"][..]),
        (Some("hidden/r300"), &["shown/a", "shown/z", "single"]),
        (Some("shown/a"), &["shown/z", "single"]),
        (Some("shown/secret/r300"), &["shown/z", "single"]),
        (Some("shown/zz"), &["single"]),
        (Some("single"), &[]),
        (Some("z"), &[]),
    ] {
        let page = PageRequest::default().after(after.map(str::to_owned));
        let found = registry.repositories(&access, page).await.unwrap();
        let found: Vec<_> = found.items.iter().map(RepositoryName::as_str).collect();
        assert_eq!(found, expected, "{after:?}");
        let asked = std::mem::take(&mut *asked.lock().unwrap());
        let asked: Vec<_> = asked.iter().map(RepositoryName::as_str).collect();
        assert_eq!(asked, expected, "{after:?}");
    }
}

/// S-63.
#[tokio::test]
async fn a_page_of_repositories_looks_at_a_bounded_number_of_others() {
    let registry = Engine::memory();
    for number in 0..9_000 {
        push(&registry, &format!("hidden/r{number}"), ["v1".to_owned()]).await;
    }
    push(&registry, "shown/a", ["v1".to_owned()]).await;
    let (asked, access) = watched("shown/");
    let mut page = PageRequest::first(1);
    let (mut pages, mut found) = (0, Vec::new());
    loop {
        let listed = registry.repositories(&access, page.clone()).await.unwrap();
        let asked = std::mem::take(&mut *asked.lock().unwrap());
        assert!(asked.len() < 5_000, "{}", asked.len());
        pages += 1;
        found.extend(listed.items);
        page.after = listed.next;
        if page.after.is_none() {
            break;
        }
    }
    assert_eq!(found, ["shown/a".parse().unwrap()]);
    assert_eq!(pages, 3);
}

/// S-63.
#[tokio::test]
async fn a_page_of_tags_looks_at_a_bounded_number_of_others() {
    let registry = Engine::memory();
    let hidden = (0..9_000).map(|number| format!("hidden{number}"));
    push(&registry, "team/app", hidden.chain(["v1".to_owned()])).await;
    let asked = Arc::new(Mutex::new(0));
    let counted = Arc::clone(&asked);
    let access = trusted("team/app").showing(Arc::new(move |tag: &Tag| {
        *counted.lock().unwrap() += 1;
        tag.as_str().starts_with('v')
    }));
    let mut page = PageRequest::first(1);
    let (mut pages, mut found) = (0, Vec::new());
    loop {
        let listed = registry.tags(&access, page.clone()).await.unwrap();
        let asked = std::mem::take(&mut *asked.lock().unwrap());
        assert!(asked < 5_000, "{asked}");
        pages += 1;
        found.extend(listed.items);
        page.after = listed.next;
        if page.after.is_none() {
            break;
        }
    }
    assert_eq!(found, ["v1".parse().unwrap()]);
    assert_eq!(pages, 3);
}
