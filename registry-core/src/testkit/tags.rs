//! What a registry promises about lists of tags.

use std::sync::Arc;

use crate::testkit::{ImageBuilder, all_pages, refused, trusted};
use crate::{Access, ErrorKind, PageRequest, Registry, Tag};

/// Tags of which many start like others, in the order of their bytes.
const TAGS: [&str; 12] = [
    "0.1.2", "0.1.20", "A", "_", "a", "a-", "a.", "a.b", "a0", "aA", "a_", "latest",
];

async fn tagged(registry: &dyn Registry) -> Access {
    let access = trusted("team/app");
    let mut tags = TAGS;
    tags.reverse();
    let image = ImageBuilder::new("tagged").build();
    image.push(registry, &access, &tags).await;
    let other = ImageBuilder::new("other").build();
    other.push(registry, &trusted("team/app/b"), &["b"]).await;
    other.push(registry, &trusted("team/ap"), &["c"]).await;
    access
}

fn names(tags: &[Tag]) -> Vec<&str> {
    tags.iter().map(Tag::as_str).collect()
}

/// However small the pages, together they are the list, in order.
pub async fn pages_of_tags_add_up(registry: &dyn Registry) {
    let access = tagged(registry).await;
    let limits = (1..=TAGS.len() + 1)
        .map(Some)
        .chain([None, Some(usize::MAX)]);
    for limit in limits {
        let tags = all_pages(limit, |page| registry.tags(&access, page)).await;
        assert_eq!(names(&tags), TAGS, "{limit:?}");
    }
}

/// What the caller may not see is no part of the list, nor of the size of a page.
pub async fn tags_that_are_not_shown_are_left_out(registry: &dyn Registry) {
    let access = tagged(registry).await;
    let shown = |tag: &Tag| tag.as_str().len() == 2;
    let access = access.showing(Arc::new(shown));
    let expected: Vec<_> = TAGS.into_iter().filter(|tag| tag.len() == 2).collect();
    for limit in (1..=TAGS.len() + 1).map(Some).chain([None]) {
        let tags = all_pages(limit, |page| registry.tags(&access, page)).await;
        assert_eq!(names(&tags), expected, "{limit:?}");
    }
}

/// Of many names that begin others none is left out, however small the pages.
pub async fn pages_of_names_that_begin_others_add_up(registry: &dyn Registry) {
    let first = ["0", "A", "_", "a"];
    let next = ["", "-", ".", "0", "A", "_", "a"];
    let names_of = |first: &&str| next.map(|next| format!("{first}{next}"));
    let all: Vec<String> = first.iter().flat_map(names_of).collect();
    let pushed: Vec<&str> = all.iter().rev().map(String::as_str).collect();
    let access = trusted("team/app");
    let image = ImageBuilder::new("tagged").build();
    image.push(registry, &access, &pushed).await;
    for limit in 1..=all.len() + 1 {
        let found = all_pages(Some(limit), |page| registry.tags(&access, page)).await;
        assert_eq!(names(&found), all, "{limit}");
    }
}

/// What is there all the time is listed once, whatever is pushed between two
/// pages.
pub async fn what_stays_is_listed_once_while_others_come(registry: &dyn Registry) {
    let access = &tagged(registry).await;
    let image = &ImageBuilder::new("tagged").build();
    for limit in 1..=4 {
        let mut pages = 0;
        let found = all_pages(Some(limit), |page| {
            pages += 1;
            async move {
                // Not for ever, since some come behind all others.
                if pages <= 9 {
                    let others = ["0.1", "a", "z"].map(|start| format!("{start}{limit}{pages}"));
                    let others = others.each_ref().map(String::as_str);
                    image.push(registry, access, &others).await;
                }
                registry.tags(access, page).await
            }
        })
        .await;
        let found = names(&found);
        assert!(found.is_sorted_by(|one, next| one < next), "{found:?}");
        let stayed: Vec<_> = found.into_iter().filter(|tag| TAGS.contains(tag)).collect();
        assert_eq!(stayed, TAGS, "{limit}");
    }
}

/// A list goes on behind a position, whether or not a tag is there.
pub async fn a_list_goes_on_behind_any_position(registry: &dyn Registry) {
    let access = tagged(registry).await;
    for after in [
        "", "!", "0.1.2", "0.1.3", "a", "a-", "a-z", "aZ", "latest", "z",
    ] {
        let page = PageRequest {
            limit: None,
            after: Some(after.to_owned()),
        };
        let found = registry.tags(&access, page).await.expect("a page");
        let expected: Vec<_> = TAGS.into_iter().filter(|tag| *tag > after).collect();
        assert_eq!(names(&found.items), expected, "{after}");
        assert_eq!(found.next, None);
    }
}

/// No tag was asked for, so the list is over.
pub async fn a_page_of_none_is_empty(registry: &dyn Registry) {
    let access = tagged(registry).await;
    let found = registry
        .tags(&access, PageRequest::first(0))
        .await
        .expect("a page");
    assert_eq!((found.items, found.next), (Vec::new(), None));
}

/// A repository that nobody pushed to has no list.
pub async fn an_unknown_repository_has_no_list(registry: &dyn Registry) {
    tagged(registry).await;
    for name in ["team", "team/app/nowhere", "nowhere"] {
        let found = registry.tags(&trusted(name), PageRequest::default()).await;
        refused(found, ErrorKind::NameUnknown);
    }
}

/// Without its last tag a repository still is one.
pub async fn a_manifest_without_tag_is_not_listed(registry: &dyn Registry) {
    let access = trusted("team/app");
    let image = ImageBuilder::new("untagged").build();
    image.push(registry, &access, &[]).await;
    let tags = all_pages(None, |page| registry.tags(&access, page)).await;
    assert!(tags.is_empty(), "{tags:?}");
}
