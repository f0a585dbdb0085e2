//! Lists of tags and of repositories.

use serde_json::json;

use crate::content::Document;
use crate::served::Served;

promises!(
    tags_are_listed_in_the_order_of_their_bytes,
    a_page_goes_on_where_the_last_one_ended,
    a_position_need_not_be_a_tag,
    a_bad_page_is_refused,
    without_tags_the_list_is_empty,
    repositories_are_listed,
);

const SORTED: [&str; 8] = ["0", "1.10", "1.2", "A", "Z", "_x", "a", "b-c"];

async fn pushed(served: &Served) -> String {
    let app = served.repository("app");
    for tag in ["a", "Z", "1.2", "0", "b-c", "A", "_x", "1.10"] {
        served.push(&app, tag, &Document::note("tagged")).await;
    }
    app
}

async fn tags(served: &Served, target: &str) -> (Vec<String>, Option<String>) {
    let answer = served.get(target).await.expect(200);
    assert_eq!(answer.header("content-type"), "application/json");
    let json = answer.json();
    let tags = json["tags"].as_array().expect("a list, never null");
    let tags = tags.iter().map(|tag| tag.as_str().unwrap().to_owned());
    (tags.collect(), answer.next())
}

async fn tags_are_listed_in_the_order_of_their_bytes(served: &Served) {
    let app = pushed(served).await;
    let list = format!("/v2/{app}/tags/list");
    let answer = served.get(&list).await.expect(200);
    assert_eq!(answer.json(), json!({"name": app, "tags": SORTED}));
    let head = served.head(&list).await.expect(200);
    assert_eq!(head.lasting_headers(), answer.lasting_headers());
}

async fn a_page_goes_on_where_the_last_one_ended(served: &Served) {
    let list = format!("/v2/{}/tags/list", pushed(served).await);
    for size in [1, 3, 4, 7, 8, 9, 1000] {
        let mut next = Some(format!("{list}?n={size}"));
        let mut seen = Vec::new();
        let mut pages = 0;
        while let Some(target) = next {
            let (page, after) = tags(served, &target).await;
            assert!(!page.is_empty(), "no page may be empty: {target}");
            assert!(page.len() <= size, "{target}: {page:?}");
            seen.extend(page);
            next = after;
            pages += 1;
        }
        assert_eq!(seen, SORTED, "{size}");
        assert_eq!(pages, SORTED.len().div_ceil(size), "{size}");
    }
}

async fn a_position_need_not_be_a_tag(served: &Served) {
    let list = format!("/v2/{}/tags/list", pushed(served).await);
    for (query, expected) in [
        // Without a size there is no end but the list's.
        ("last=A", &SORTED[4..]),
        ("last=", &SORTED[..]),
        ("last=1.11", &SORTED[2..]),
        ("last=%5F", &SORTED[5..]),
        ("last=zzz", &[]),
        ("n=2&last=Z", &SORTED[5..7]),
        ("last=Z&n=2", &SORTED[5..7]),
        ("n=99999999999999999999999&last=a", &SORTED[7..]),
        ("ns=docker.io", &SORTED[..]),
        ("n=0", &[]),
    ] {
        let (page, next) = tags(served, &format!("{list}?{query}")).await;
        assert_eq!(page, expected, "{query}");
        let more = expected.len() == 2;
        assert_eq!(next.is_some(), more, "{query}: {next:?}");
    }
}

async fn a_bad_page_is_refused(served: &Served) {
    let list = format!("/v2/{}/tags/list", pushed(served).await);
    for size in ["-1", "x", "1.5", "", "+1", "0x10"] {
        let answer = served.get(format!("{list}?n={size}")).await;
        assert_eq!(answer.status, 400, "{size}: {answer:?}");
    }
}

async fn without_tags_the_list_is_empty(served: &Served) {
    let app = served.repository("app");
    let list = format!("/v2/{app}/tags/list");
    served.get(&list).await.refused(404, "NAME_UNKNOWN");
    let document = Document::note("untagged");
    let untagged = served.push(&app, &document.digest(), &document).await;
    assert_eq!(tags(served, &list).await, (Vec::new(), None));
    served.delete(untagged).await.expect(202);
}

async fn repositories_are_listed(served: &Served) {
    for name in ["c", "a/b", "a"] {
        let repository = served.repository(name);
        served.push(&repository, "v1", &Document::note("x")).await;
    }
    let mut expected = ["a", "a/b", "c"]
        .map(|name| served.repository(name))
        .to_vec();
    for size in [1, 2, 100] {
        let mut next = Some(format!("/v2/_catalog?n={size}"));
        let mut seen = Vec::new();
        while let Some(target) = next {
            let answer = served.get(target).await.expect(200);
            let page = answer.json()["repositories"].take();
            seen.extend(page.as_array().unwrap().iter().map(|name| {
                let name = name.as_str().unwrap();
                name.to_owned()
            }));
            next = answer.next();
        }
        let start = served.repository("");
        seen.retain(|name| name.starts_with(&start));
        expected.sort();
        assert_eq!(seen, expected, "{size}");
    }
}
