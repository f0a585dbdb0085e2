//! What a registry promises about the list of repositories.

use std::sync::Arc;

use crate::testkit::{ImageBuilder, all_pages, trusted};
use crate::{CatalogAccess, PageRequest, Registry, RepositoryName, Visibility};

/// Names of which many start like others, in the order of their bytes.
const NAMES: [&str; 10] = [
    "a",
    "a-b",
    "a.b",
    "a/b",
    "a/b/c",
    "a/c",
    "a0",
    "a_b",
    "b",
    "blobs/tags",
];

async fn filled(registry: &dyn Registry) {
    let image = ImageBuilder::new("everywhere").build();
    for name in NAMES.iter().rev() {
        image.push(registry, &trusted(name), &["latest"]).await;
    }
}

fn names(repositories: &[RepositoryName]) -> Vec<&str> {
    repositories.iter().map(RepositoryName::as_str).collect()
}

/// Sees only the repositories with a name of odd length.
fn limited() -> CatalogAccess {
    let odd = |name: &RepositoryName| name.as_str().len() % 2 == 1;
    CatalogAccess::granted(Visibility::Only(Arc::new(odd)), Arc::default())
}

/// However small the pages, together they are the list, in order.
pub async fn pages_of_repositories_add_up(registry: &dyn Registry) {
    filled(registry).await;
    let all = CatalogAccess::trusted();
    for limit in (1..=NAMES.len() + 1).map(Some).chain([None]) {
        let found = all_pages(limit, |page| registry.repositories(&all, page)).await;
        assert_eq!(names(&found), NAMES, "{limit:?}");
    }
}

/// What is there all the time is listed once, whatever comes into being between
/// two pages.
pub async fn what_stays_is_listed_once_while_others_come(registry: &dyn Registry) {
    filled(registry).await;
    let image = &ImageBuilder::new("everywhere").build();
    let all = &CatalogAccess::trusted();
    for limit in 1..=3 {
        let mut pages = 0;
        let found = all_pages(Some(limit), |page| {
            pages += 1;
            async move {
                // Not for ever, since some come behind all others.
                if pages <= 4 {
                    for start in ["a", "a/b/d", "z"] {
                        let name = trusted(&format!("{start}{limit}{pages}"));
                        image.push(registry, &name, &["latest"]).await;
                    }
                }
                registry.repositories(all, page).await
            }
        })
        .await;
        let found = names(&found);
        assert!(found.is_sorted_by(|one, next| one < next), "{found:?}");
        let stayed: Vec<_> = found
            .into_iter()
            .filter(|name| NAMES.contains(name))
            .collect();
        assert_eq!(stayed, NAMES, "{limit}");
    }
}

/// What the caller may not see neither appears nor shortens a page.
pub async fn only_what_may_be_seen_is_counted(registry: &dyn Registry) {
    filled(registry).await;
    let access = limited();
    let visible: Vec<_> = NAMES
        .into_iter()
        .filter(|name| name.len() % 2 == 1)
        .collect();
    for limit in 1..=visible.len() {
        let page = PageRequest::first(limit);
        let found = registry.repositories(&access, page).await.expect("a page");
        assert_eq!(names(&found.items), visible[..limit]);
        // That there is no more to be seen is all that the end says.
        assert_eq!(found.next.is_none(), limit == visible.len(), "{limit}");
        let found = all_pages(Some(limit), |page| registry.repositories(&access, page)).await;
        assert_eq!(names(&found), visible);
    }
}

/// A list goes on behind a position, whether or not a repository is there.
pub async fn a_list_goes_on_behind_any_position(registry: &dyn Registry) {
    filled(registry).await;
    for after in ["", "A", "a", "a/", "a/b", "a/b0", "a/d", "b", "z"] {
        let page = PageRequest {
            limit: None,
            after: Some(after.to_owned()),
        };
        let found = registry
            .repositories(&CatalogAccess::trusted(), page)
            .await
            .expect("a page");
        let expected: Vec<_> = NAMES.into_iter().filter(|name| *name > after).collect();
        assert_eq!(names(&found.items), expected, "{after}");
        assert_eq!(found.next, None);
    }
}

/// No repository was asked for, so the list is over.
pub async fn a_page_of_none_is_empty(registry: &dyn Registry) {
    filled(registry).await;
    let found = registry
        .repositories(&CatalogAccess::trusted(), PageRequest::first(0))
        .await
        .expect("a page");
    assert_eq!((found.items, found.next), (Vec::new(), None));
}
