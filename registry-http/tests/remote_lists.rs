//! Remote registries whose lists are odd.

#![allow(
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    reason = "these are tests"
)]

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::header::LINK;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use registry_core::testkit::{all_pages, trusted};
use registry_core::{Algorithm, CatalogAccess, ErrorKind, PageRequest, ReferrerFilter, Registry};
use registry_http::{RemoteRegistry, TestServer};
use serde_json::{Value, json};

/// A server that answers to each query as it is told: with a document, and the
/// link to the next page.
async fn listing(
    answer: impl Fn(&str) -> (Value, Option<String>) + Clone + Send + Sync + 'static,
) -> (TestServer, RemoteRegistry) {
    let service = tower::service_fn(move |request: Request<Incoming>| {
        let (document, link) = answer(request.uri().query().unwrap_or_default());
        let mut response = Response::new(Full::from(Bytes::from(document.to_string())));
        if let Some(link) = link {
            response.headers_mut().insert(LINK, link.parse().unwrap());
        }
        async move { Ok::<_, Infallible>(response) }
    });
    let server = TestServer::with_service(service).await;
    let registry = RemoteRegistry::new(&server.url()).unwrap();
    (server, registry)
}

#[tokio::test]
async fn one_odd_entry_does_not_hide_the_others() {
    let digests = [b"a", b"b"].map(|content| Algorithm::Sha256.digest(content));
    let referrer = |digest: &str| {
        json!({
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": digest,
            "size": 7,
        })
    };
    let odd = format!("blake3:{}", "0".repeat(64));
    let mut unsized_one = referrer(&digests[0].to_string());
    unsized_one["size"] = json!("7");
    let document = json!({
        "tags": ["ok", "bad:tag", "", 7, null, ["a"], "v1"],
        "repositories": ["team/app", "Team/App", "team//app", {}, "team/web"],
        "manifests": [
            referrer(&digests[0].to_string()),
            referrer(&odd),
            unsized_one,
            ["application/json", digests[0].to_string(), 7],
            "digest",
            referrer(&digests[1].to_string()),
        ],
    });
    let (_server, registry) = listing(move |_| (document.clone(), None)).await;
    let (access, page) = (trusted("team/app"), PageRequest::default);
    let tags = registry.tags(&access, page()).await.unwrap();
    assert_eq!(tags.items, ["ok", "v1"].map(|tag| tag.parse().unwrap()));
    let all = CatalogAccess::trusted();
    let names = registry.repositories(&all, page()).await.unwrap();
    let expected = ["team/app", "team/web"].map(|name| name.parse().unwrap());
    assert_eq!(names.items, expected);
    let subject = Algorithm::Sha256.digest(b"subject");
    let listed = registry
        .referrers(&access, &subject, ReferrerFilter::default(), page())
        .await;
    let listed: Vec<_> = listed
        .unwrap()
        .items
        .iter()
        .map(|item| item.digest)
        .collect();
    assert_eq!(listed, digests);
}

#[tokio::test]
async fn what_is_no_list_is_not_an_empty_one() {
    for document in [
        json!([]),
        json!("tags"),
        json!({"tags": "v1"}),
        json!({"tags": {}}),
    ] {
        let (_server, registry) = listing(move |_| (document.clone(), None)).await;
        let tags = registry.tags(&trusted("a"), PageRequest::default()).await;
        assert_eq!(tags.unwrap_err().kind(), ErrorKind::Unavailable);
    }
}

/// As Quay pages: the links hold what it alone understands, and it knows
/// neither positions nor, in what it links to, how many are wanted.
#[tokio::test]
async fn links_are_followed_as_they_are_given() {
    let names: Vec<String> = (0..7).map(|number| format!("item-{number}")).collect();
    let digests = names
        .iter()
        .map(|name| Algorithm::Sha256.digest(name.as_bytes()));
    let mut digests: Vec<_> = digests.collect();
    digests.sort();
    let (texts, all) = (names.clone(), digests.clone());
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let (_server, registry) = listing(move |query| {
        count.fetch_add(1, Ordering::SeqCst);
        let token = query.strip_prefix("next_page=b3Bh%2FcXVl").unwrap_or("0");
        let page = token.parse::<usize>().unwrap();
        let range = page * 2..(page * 2 + 2).min(7);
        let manifests: Vec<_> = all[range.clone()]
            .iter()
            .map(|digest| json!({"mediaType": "a/b", "digest": digest, "size": 1}))
            .collect();
        let document = json!({
            "tags": texts[range.clone()],
            "repositories": texts[range.clone()],
            "manifests": manifests,
        });
        // It takes itself for another one, as those behind a proxy do.
        let next = format!(
            "<http://inside.example/v2/_lists?next_page=b3Bh%2FcXVl{}>; rel=\"next\"",
            page + 1
        );
        (document, Some(next).filter(|_| range.end < 7))
    })
    .await;
    let access = trusted("team/app");
    let catalog = CatalogAccess::trusted();
    let subject = Algorithm::Sha256.digest(b"subject");
    for limit in [None, Some(1), Some(2), Some(3), Some(7), Some(100)] {
        let tags = all_pages(limit, |page| registry.tags(&access, page)).await;
        assert_eq!(
            tags,
            *names
                .iter()
                .map(|name| name.parse().unwrap())
                .collect::<Vec<_>>()
        );
        let found = all_pages(limit, |page| registry.repositories(&catalog, page)).await;
        assert_eq!(
            found,
            *names
                .iter()
                .map(|name| name.parse().unwrap())
                .collect::<Vec<_>>()
        );
        let listed = all_pages(limit, |page| {
            registry.referrers(&access, &subject, ReferrerFilter::default(), page)
        })
        .await;
        let listed: Vec<_> = listed.iter().map(|referrer| referrer.digest).collect();
        assert_eq!(listed, digests);
    }
    // A first page doesn't cost more than it holds.
    asked.store(0, Ordering::SeqCst);
    let first = registry.tags(&access, PageRequest::first(3)).await.unwrap();
    assert_eq!(first.items.len(), 3);
    assert_eq!(asked.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_list_that_leads_in_a_circle_ends() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let (_server, registry) = listing(move |_| {
        count.fetch_add(1, Ordering::SeqCst);
        let document = json!({"tags": ["v1"], "repositories": ["a"], "manifests": []});
        let link = "</v2/team/app/tags/list?next_page=b3BhcXVl>; rel=\"next\"";
        (document, Some(link.to_owned()))
    })
    .await;
    let page = PageRequest::default;
    let tags = registry.tags(&trusted("team/app"), page()).await;
    assert_eq!(tags.unwrap_err().kind(), ErrorKind::Unavailable);
    let all = registry
        .repositories(&CatalogAccess::trusted(), page())
        .await;
    assert_eq!(all.unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(asked.load(Ordering::SeqCst), 4);
}
