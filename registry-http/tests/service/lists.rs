//! Lists of tags, referrers and repositories.

use crate::exchange::{INDEX, call, get, index, push_index, service, sha256};
use http::{Method, StatusCode};
use registry_auth::{AccessControl, Rules};
use registry_core::{
    Access, Action, Algorithm, CatalogAccess, Descriptor, Digest, ErrorKind, Page, PageRequest,
    ReferrerFilter, Registry, RepositoryName, Result, Tag,
};
use registry_http::{Limits, RegistryService};
use registry_storage::Engine;
use serde_json::{Value, json};

/// The target of the link to the next page.
fn next(answer: &crate::exchange::Answer) -> Option<String> {
    let link = answer.headers.get("link")?.to_str().unwrap();
    let target = link.strip_prefix('<').unwrap();
    Some(target.strip_suffix(">; rel=\"next\"").unwrap().to_owned())
}

/// The items of all pages, and how many there were on each.
async fn follow(
    service: &RegistryService,
    first: &str,
    items: impl Fn(&Value) -> Vec<String>,
) -> (Vec<String>, Vec<usize>) {
    let (mut all, mut sizes) = (Vec::new(), Vec::new());
    let mut uri = Some(first.to_owned());
    while let Some(page) = uri {
        let answer = get(service, &page).await;
        assert_eq!(answer.status, StatusCode::OK, "{page}");
        let found = items(&answer.json());
        sizes.push(found.len());
        all.extend(found);
        uri = next(&answer);
    }
    (all, sizes)
}

fn strings(list: &Value) -> Vec<String> {
    let text = |item: &Value| item.as_str().unwrap().to_owned();
    list.as_array().unwrap().iter().map(text).collect()
}

async fn with_tags(tags: &[&str]) -> RegistryService {
    let service = service();
    for tag in tags {
        push_index(&service, "team/app", tag, &index("a", None)).await;
    }
    service
}

#[tokio::test]
async fn tags_are_listed_in_the_order_of_their_bytes() {
    let service = with_tags(&["b", "a", "a-b", "A", "0.1.20", "0.1.2"]).await;
    let answer = get(&service, "/v2/team/app/tags/list").await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.header("content-type"), "application/json");
    assert_eq!(answer.header("cache-control"), "private, no-cache");
    assert!(!answer.has("link"));
    let tags = ["0.1.2", "0.1.20", "A", "a", "a-b", "b"];
    assert_eq!(answer.json(), json!({"name": "team/app", "tags": tags}));
}

#[tokio::test]
async fn pages_of_tags_make_up_the_list() {
    let tags = ["0.1.2", "0.1.20", "A", "a", "a-b", "b"];
    let service = with_tags(&tags).await;
    for (n, sizes) in [(1, vec![1; 6]), (4, vec![4, 2]), (6, vec![6]), (9, vec![6])] {
        let first = format!("/v2/team/app/tags/list?n={n}");
        let (all, found) = follow(&service, &first, |page| strings(&page["tags"])).await;
        assert_eq!(all, tags, "{n}");
        assert_eq!(found, sizes, "{n}");
    }
    let answer = get(&service, "/v2/team/app/tags/list?n=2&last=0").await;
    assert_eq!(
        next(&answer).unwrap(),
        "/v2/team/app/tags/list?n=2&last=0.1.20"
    );
    let answer = get(&service, "/v2/team/app/tags/list?last=a").await;
    assert_eq!(strings(&answer.json()["tags"]), ["a-b", "b"]);
    let answer = get(&service, "/v2/team/app/tags/list?last=zzz").await;
    assert_eq!(answer.json()["tags"], json!([]));
}

#[tokio::test]
async fn none_of_the_tags_is_no_page() {
    let service = with_tags(&["a", "b"]).await;
    let answer = get(&service, "/v2/team/app/tags/list?n=0").await;
    assert_eq!(answer.json()["tags"], json!([]));
    assert!(!answer.has("link"));
}

/// Has always more of everything.
#[derive(Debug)]
struct Endless;

fn more<T>() -> Page<T> {
    Page {
        items: Vec::new(),
        next: Some("x".into()),
    }
}

#[async_trait::async_trait]
impl Registry for Endless {
    async fn tags(&self, _: &Access, _: PageRequest) -> Result<Page<Tag>> {
        Ok(more())
    }

    async fn referrers(
        &self,
        _: &Access,
        _: &Digest,
        _: ReferrerFilter,
        _: PageRequest,
    ) -> Result<Page<Descriptor>> {
        Ok(more())
    }

    async fn repositories(
        &self,
        _: &CatalogAccess,
        _: PageRequest,
    ) -> Result<Page<RepositoryName>> {
        Ok(more())
    }
}

#[tokio::test]
async fn who_asks_for_nothing_is_not_sent_on() {
    let service = RegistryService::new(Endless).catalog(true);
    let referrers = format!("/v2/a/referrers/{}", sha256(""));
    for list in ["/v2/a/tags/list", "/v2/_catalog", &referrers] {
        assert!(
            get(&service, &format!("{list}?n=1")).await.has("link"),
            "{list}"
        );
        assert!(
            !get(&service, &format!("{list}?n=0")).await.has("link"),
            "{list}"
        );
    }
}

#[tokio::test]
async fn s_61_a_number_of_items_is_one_or_is_refused() {
    let service = with_tags(&["a", "b", "c"]).await;
    let referrers = format!("/v2/team/app/referrers/{}", sha256(""));
    for list in ["/v2/team/app/tags/list", "/v2/_catalog", &referrers] {
        for n in [
            "0",
            "1",
            "007",
            "1&n=1",
            "%31",
            "2147483648",
            "9223372036854775808",
            "18446744073709551616",
            "999999999999999999999999999999",
        ] {
            let answer = get(&service, &format!("{list}?n={n}")).await;
            assert_eq!(answer.status, StatusCode::OK, "{list} {n}");
        }
        for n in [
            "-1", "+1", "%2B1", "1e9", "", "%20", "%201", "1%20", "1.0", "0x1", "1&n=2", "1&n=",
            "%D9%A1", "%ff", "%", "1%00", "n", "1,2",
        ] {
            let answer = get(&service, &format!("{list}?n={n}")).await;
            assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{list} {n}");
            assert_eq!(answer.code(), "UNSUPPORTED", "{list} {n}");
        }
    }
}

#[tokio::test]
async fn a_page_is_never_larger_than_the_limit() {
    let limits = Limits::default().max_tags_page(2).max_catalog_page(1);
    let service = with_tags(&["a", "b", "c"]).await.limits(limits);
    push_index(&service, "team/other", "a", &index("a", None)).await;
    for n in [
        "",
        "?n=3",
        "?n=18446744073709551615",
        "?n=99999999999999999999999",
    ] {
        let first = format!("/v2/team/app/tags/list{n}");
        let (all, sizes) = follow(&service, &first, |page| strings(&page["tags"])).await;
        assert_eq!((all.len(), sizes), (3, vec![2, 1]), "{n}");
        let first = format!("/v2/_catalog{n}");
        let (all, sizes) = follow(&service, &first, |page| strings(&page["repositories"])).await;
        assert_eq!(all, ["team/app", "team/other"], "{n}");
        assert_eq!(sizes, [1, 1], "{n}");
    }
}

#[tokio::test]
async fn a_repository_that_is_not_there_has_no_tags() {
    let service = service();
    let answer = get(&service, "/v2/nowhere/tags/list").await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
    assert_eq!(answer.code(), "NAME_UNKNOWN");
}

#[tokio::test]
async fn repositories_are_listed_only_if_asked_for_and_only_to_those_who_may_see_them() {
    let service = service();
    push_index(&service, "public/app", "a", &index("a", None)).await;
    push_index(&service, "secret/app", "a", &index("a", None)).await;
    let closed = service.clone().catalog(false);
    let answer = get(&closed, "/v2/_catalog").await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
    let sentence = &answer.json()["errors"][0]["message"];
    let way_out = "the program that serves it can allow it";
    assert!(sentence.as_str().unwrap().contains(way_out), "{sentence}");
    let rules = Rules::new().anonymous("public/**", &[Action::List, Action::Pull]);
    let service = service.access(AccessControl::new(rules));
    let answer = get(&service, "/v2/_catalog?n=1").await;
    assert_eq!(answer.json(), json!({"repositories": ["public/app"]}));
    assert!(!answer.has("link"));
}

#[tokio::test]
async fn a_list_of_tags_shows_what_may_be_listed_and_nothing_else() {
    let service = with_tags(&["latest", "secret1", "v1", "v2"]).await;
    for (rules, expected) in [
        (
            &["anyone may list, pull v* in team/**"][..],
            &["v1", "v2"][..],
        ),
        (&["anyone may pull v* in team/**"], &["v1", "v2"]),
        (
            &["anyone may pull **", "nobody may list secret* in team/**"],
            &["latest", "v1", "v2"],
        ),
        (
            &["anyone may pull v1 in **", "anyone may list latest in **"],
            &["latest", "v1"],
        ),
        (
            &["anyone may pull v* in **", "nobody may pull v2 in **"],
            &["v1"],
        ),
        (
            &[
                "anyone is reader of **",
                "nobody may pull secret*, v2 in **",
            ],
            &["latest", "v1"],
        ),
    ] {
        let rules = rules
            .iter()
            .fold(Rules::new(), |all, rule| all.sentence(rule));
        let access = AccessControl::new(rules.check().unwrap());
        let service = service.clone().access(access);
        let items = |page: &Value| strings(&page["tags"]);
        for query in ["", "?n=1"] {
            let uri = format!("/v2/team/app/tags/list{query}");
            let (tags, _) = follow(&service, &uri, items).await;
            assert_eq!(tags, expected);
        }
    }
}

#[tokio::test]
async fn what_is_denied_to_pull_is_in_no_list() {
    let service = service();
    for name in ["public/app", "secret/app"] {
        push_index(&service, name, "v1", &index("a", None)).await;
    }
    let rules = Rules::new()
        .sentence("anyone is reader of **")
        .sentence("anyone may not pull secret/**");
    let service = service.access(AccessControl::new(rules.check().unwrap()));
    let answer = get(&service, "/v2/_catalog").await;
    assert_eq!(answer.json(), json!({"repositories": ["public/app"]}));
    let subject = sha256("something");
    for list in ["tags/list", &format!("referrers/{subject}")] {
        let answer = get(&service, &format!("/v2/public/app/{list}")).await;
        assert_eq!(answer.status, StatusCode::OK, "{list}");
        let answer = get(&service, &format!("/v2/secret/app/{list}")).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{list}");
    }
}

/// S-15: neither does the way to the next page.
#[tokio::test]
async fn a_page_that_ends_among_hidden_names_tells_none_of_them() {
    let service = service();
    let hidden = |number: usize| format!("secret/r{number}/hidden");
    for number in 0..4_200 {
        push_index(&service, &hidden(number), "a", &index("a", None)).await;
    }
    for name in ["a/shown", "z/shown"] {
        for tag in ["v1", "v2"] {
            push_index(&service, name, tag, &index("a", None)).await;
        }
    }
    let rules = Rules::new().anonymous("*/shown", &[Action::Pull]);
    let service = service.access(AccessControl::new(rules));
    let answer = get(&service, "/v2/_catalog").await;
    assert_eq!(answer.json(), json!({"repositories": ["a/shown"]}));
    let second = next(&answer).unwrap();
    assert!(second.contains("last=~"), "{second}");
    let answer = get(&service, &second).await;
    assert_eq!(answer.json(), json!({"repositories": ["z/shown"]}));
    assert_eq!(next(&answer), None);
    // It is a position in this list, and nobody can make one.
    let (_, position) = second.split_once("last=").unwrap();
    for uri in [
        format!("/v2/a/shown/tags/list?last={position}"),
        "/v2/_catalog?last=~0".to_owned(),
        "/v2/_catalog?last=~".to_owned(),
    ] {
        let answer = get(&service, &uri).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{uri}");
    }
}

#[tokio::test]
async fn referrers_are_listed_for_every_subject() {
    let service = service();
    let subject = sha256("something");
    let empty = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": []});
    for repository in ["nowhere", "team/app"] {
        let answer = get(&service, &format!("/v2/{repository}/referrers/{subject}")).await;
        assert_eq!(answer.status, StatusCode::OK);
        assert_eq!(answer.header("content-type"), INDEX);
        assert!(!answer.has("oci-filters-applied"));
        assert_eq!(answer.json(), empty);
        push_index(&service, "team/app", "v1", &index("a", None)).await;
    }
    let content = index("sbom", Some(&subject));
    push_index(&service, "team/app", "v1", &content).await;
    let answer = get(&service, &format!("/v2/team/app/referrers/{subject}")).await;
    assert_eq!(
        answer.json()["manifests"],
        json!([{
            "mediaType": INDEX,
            "digest": sha256(&content).to_string(),
            "size": content.len(),
            "artifactType": "application/vnd.example.sbom+json",
            "annotations": {"note": "sbom"},
        }])
    );
    let answer = get(&service, "/v2/team/app/referrers/sha256:1").await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert_eq!(answer.code(), "DIGEST_INVALID");
}

#[tokio::test]
async fn referrers_are_filtered_and_paged_and_the_link_keeps_both() {
    let service = service();
    let subject = Algorithm::Sha512.digest(b"something");
    for n in 0..5 {
        let content = format!("{}{}", index("sbom", Some(&subject)), " ".repeat(n));
        push_index(&service, "team/app", "v1", &content).await;
        let content = format!("{}{}", index("scan", Some(&subject)), " ".repeat(n));
        push_index(&service, "team/app", "v1", &content).await;
    }
    let types = |page: &Value| {
        let manifests = page["manifests"].as_array().unwrap();
        let name = |entry: &Value| entry["artifactType"].as_str().unwrap().to_owned();
        manifests.iter().map(name).collect::<Vec<_>>()
    };
    let base = format!("/v2/team/app/referrers/{subject}");
    for (query, count, pages) in [
        ("", 10, 1),
        ("?n=3", 10, 4),
        (
            "?artifactType=application%2Fvnd.example.scan%2Bjson&n=2",
            5,
            3,
        ),
        ("?artifactType=application/vnd.example.scan+json", 5, 1),
        (
            "?artifactType=application/vnd.example.scan%2Bjson&artifactType=x/y&n=4",
            5,
            2,
        ),
        ("?artifactType=x/y", 0, 1),
        ("?artifactType=", 10, 1),
    ] {
        let uri = format!("{base}{query}");
        let (all, sizes) = follow(&service, &uri, types).await;
        assert_eq!((all.len(), sizes.len()), (count, pages), "{query}");
        let filtered = query.contains("Type=a") || query.contains("Type=x");
        if filtered {
            assert!(all.iter().all(|name| name.contains("scan")), "{query}");
        }
        let answer = get(&service, &uri).await;
        assert_eq!(answer.has("oci-filters-applied"), filtered, "{query}");
        if let Some(uri) = next(&answer).filter(|_| filtered) {
            let answer = get(&service, &uri).await;
            assert_eq!(answer.header("oci-filters-applied"), "artifactType");
        }
    }
}

#[tokio::test]
async fn a_list_of_referrers_stays_small_enough_for_clients() {
    let limits = Limits::default().max_referrers_bytes(1000);
    let service = service().limits(limits);
    let subject = sha256("something");
    let mut pushed = Vec::new();
    for n in 0..9 {
        let content = format!("{}{}", index("sbom", Some(&subject)), " ".repeat(n));
        push_index(&service, "a", "v1", &content).await;
        pushed.push(sha256(content).to_string());
    }
    pushed.sort();
    let digests = |page: &Value| {
        assert!(page.to_string().len() <= 1000);
        let manifests = page["manifests"].as_array().unwrap();
        let digest = |entry: &Value| entry["digest"].as_str().unwrap().to_owned();
        manifests.iter().map(digest).collect::<Vec<_>>()
    };
    let (all, sizes) = follow(&service, &format!("/v2/a/referrers/{subject}"), digests).await;
    assert_eq!(all, pushed);
    assert!(sizes.len() > 2 && sizes[0] > 1, "{sizes:?}");
}

/// Many clients read one page and follow no link.
#[tokio::test]
async fn a_thousand_and_more_referrers_that_fit_are_one_page() {
    let service = service();
    let subject = sha256("something");
    for n in 0..1_100 {
        let content = index(&format!("n{n}"), Some(&subject));
        push_index(&service, "a", &sha256(&content).to_string(), &content).await;
    }
    let answer = get(&service, &format!("/v2/a/referrers/{subject}")).await;
    assert_eq!(answer.json()["manifests"].as_array().unwrap().len(), 1_100);
    assert!(!answer.has("link"));
}

/// Fails to list referrers in one way, and lists no tags at all.
#[derive(Debug)]
struct Failing(ErrorKind);

#[async_trait::async_trait]
impl Registry for Failing {
    async fn referrers(
        &self,
        _: &Access,
        _: &Digest,
        _: ReferrerFilter,
        _: PageRequest,
    ) -> Result<Page<Descriptor>> {
        Err(self.0.error("no referrers"))
    }
}

#[tokio::test]
async fn only_a_registry_without_lists_of_referrers_has_none() {
    let uri = format!("/v2/a/referrers/{}", sha256(""));
    for kind in [ErrorKind::NameUnknown, ErrorKind::ManifestUnknown] {
        let answer = get(&RegistryService::new(Failing(kind)), &uri).await;
        assert_eq!(answer.status, StatusCode::OK, "{kind:?}");
        assert_eq!(answer.json()["manifests"], json!([]), "{kind:?}");
    }
    let service = RegistryService::new(Failing(ErrorKind::Unsupported));
    let answer = get(&service, &uri).await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
    // `NAME_UNKNOWN` would mean that the repository is missing.
    assert_eq!(answer.code(), "UNSUPPORTED");
    assert!(!answer.headers.contains_key("allow"));
    let answer = get(&service, "/v2/a/tags/list").await;
    assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED);
    let service = RegistryService::new(Failing(ErrorKind::Unavailable));
    let answer = get(&service, &uri).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn links_hold_behind_a_prefix() {
    let service = RegistryService::new(Engine::memory()).prefix("/mirror/one/");
    for tag in ["a", "b", "c"] {
        let uri = format!("/mirror/one/v2/app/manifests/{tag}");
        let answer = crate::exchange::put(&service, &uri, &[], index("a", None).as_bytes()).await;
        assert_eq!(answer.status, StatusCode::CREATED);
        assert!(
            answer
                .header("location")
                .starts_with("/mirror/one/v2/app/manifests/sha256:")
        );
    }
    let first = "/mirror/one/v2/app/tags/list?n=1";
    let (all, _) = follow(&service, first, |page| strings(&page["tags"])).await;
    assert_eq!(all, ["a", "b", "c"]);
    let stripped = call(&service, Method::GET, "/v2/app/tags/list?n=1", &[]).await;
    assert_eq!(
        next(&stripped).unwrap(),
        "/mirror/one/v2/app/tags/list?n=1&last=a"
    );
    for uri in ["/v2x/", "/other/v2/", "/", "/mirror/one"] {
        let answer = get(&service, uri).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{uri}");
        assert_eq!(answer.code(), "NAME_UNKNOWN");
    }
}
