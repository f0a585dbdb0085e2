//! Pushing, pulling and deleting manifests through the service.

use crate::exchange::{
    INDEX, call, get, index, pieces, push_blob, push_index, put, request, send, service, sha256,
    whole,
};
use http::{Method, StatusCode};
use registry_core::{Algorithm, ManifestRules};

#[tokio::test]
async fn a_manifest_comes_back_as_pushed() {
    let service = service();
    let content = format!("{}\n  ", index("a", None));
    let digest = sha256(&content);
    let answer = push_index(&service, "team/app", "v1", &content).await;
    assert_eq!(
        answer.header("location"),
        format!("/v2/team/app/manifests/{digest}")
    );
    assert_eq!(answer.header("docker-content-digest"), digest.to_string());
    assert!(!answer.has("oci-subject") && !answer.has("oci-tag"));
    for (reference, caching) in [
        ("v1".to_owned(), "private, no-cache"),
        (digest.to_string(), "private, max-age=31536000, immutable"),
        (
            digest.to_string().replace(':', "%3A"),
            "private, max-age=31536000, immutable",
        ),
    ] {
        let uri = format!("/v2/team/app/manifests/{reference}");
        let answer = call(&service, Method::GET, &uri, &["accept: text/html"]).await;
        assert_eq!(answer.status, StatusCode::OK);
        assert_eq!(answer.body, content);
        assert_eq!(answer.header("content-type"), INDEX);
        assert_eq!(answer.header("content-length"), content.len().to_string());
        assert_eq!(answer.header("docker-content-digest"), digest.to_string());
        assert_eq!(answer.header("etag"), format!("\"{digest}\""));
        assert_eq!(answer.header("cache-control"), caching);
    }
}

#[tokio::test]
async fn the_length_need_not_be_known() {
    let service = service();
    let content = index("a", None);
    let body = pieces(content.as_bytes(), 7);
    let headers = [&*format!("content-type: {INDEX}")];
    let request = request(&Method::PUT, "/v2/a/manifests/v1", &headers, body);
    let answer = send(&service, request).await;
    assert_eq!(answer.status, StatusCode::CREATED);
}

#[tokio::test]
async fn a_content_type_may_be_decorated_or_missing() {
    let service = service();
    let content = index("a", None);
    for headers in [
        &[&*format!("content-type: {INDEX}; charset=utf-8")][..],
        &[&*format!("content-type: {}", INDEX.to_uppercase())][..],
        &["content-type: "][..],
        &[],
    ] {
        let answer = put(&service, "/v2/a/manifests/v1", headers, content.as_bytes()).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{headers:?}");
        let answer = get(&service, "/v2/a/manifests/v1").await;
        assert_eq!(answer.header("content-type"), INDEX, "{headers:?}");
    }
    for headers in [
        &["content-type: nonsense"][..],
        &["content-type: application/json"][..],
        &[
            &*format!("content-type: {INDEX}"),
            "content-type: text/html",
        ][..],
    ] {
        let answer = put(&service, "/v2/a/manifests/v1", headers, content.as_bytes()).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{headers:?}");
        assert_eq!(answer.code(), "MANIFEST_INVALID", "{headers:?}");
    }
}

#[tokio::test]
async fn tags_can_be_pushed_with_a_digest() {
    let service = service();
    let content = index("a", None);
    for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
        let digest = algorithm.digest(content.as_bytes());
        let reference = format!("{digest}?tag=one&tag=two");
        let answer = push_index(&service, "a", &reference, &content).await;
        let tags: Vec<_> = answer.headers.get_all("oci-tag").iter().collect();
        assert_eq!(tags, ["one", "two"]);
        for tag in ["one", "two"] {
            let answer = get(&service, &format!("/v2/a/manifests/{tag}")).await;
            assert_eq!(answer.header("docker-content-digest"), digest.to_string());
        }
    }
    let digest = sha256(&content);
    let many: Vec<String> = (0..65).map(|n| format!("tag=t{n}")).collect();
    let uri = format!("/v2/a/manifests/{digest}?{}", many.join("&"));
    let answer = put(&service, &uri, &[], content.as_bytes()).await;
    assert_eq!(answer.status, StatusCode::URI_TOO_LONG);
    assert_eq!(answer.code(), "MANIFEST_INVALID");
    let tags = get(&service, "/v2/a/tags/list").await.json();
    assert_eq!(tags["tags"], serde_json::json!(["one", "two"]));
}

#[tokio::test]
async fn a_subject_is_acknowledged() {
    let service = service();
    let subject = Algorithm::Sha512.digest(b"not there");
    let answer = push_index(&service, "a", "v1", &index("a", Some(&subject))).await;
    assert_eq!(answer.header("oci-subject"), subject.to_string());
}

#[tokio::test]
async fn a_manifest_up_to_the_limit_is_accepted_and_none_above() {
    let rules = ManifestRules::default().max_size(100_000);
    let service = service().manifest_rules(rules);
    let content = |size: usize| {
        let content = index("a", None);
        format!("{content}{}", " ".repeat(size - content.len()))
    };
    let fits = content(100_000);
    for body in [whole(fits.clone()), pieces(fits.as_bytes(), 9_000)] {
        let answer = send(
            &service,
            request(&Method::PUT, "/v2/a/manifests/v1", &[], body),
        )
        .await;
        assert_eq!(answer.status, StatusCode::CREATED);
    }
    let larger = content(100_001);
    for body in [whole(larger.clone()), pieces(larger.as_bytes(), 9_000)] {
        let answer = send(
            &service,
            request(&Method::PUT, "/v2/a/manifests/v2", &[], body),
        )
        .await;
        assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
        assert_eq!(answer.code(), "MANIFEST_INVALID");
    }
    let answer = get(&service, "/v2/a/manifests/v2").await;
    assert_eq!(
        (answer.status, &*answer.code()),
        (StatusCode::NOT_FOUND, "MANIFEST_UNKNOWN")
    );
}

#[tokio::test]
async fn each_missing_blob_is_named() {
    let service = service();
    push_blob(&service, "a", b"{}").await;
    let descriptor = |content: &str| {
        let (digest, size) = (sha256(content), content.len());
        format!(r#"{{"mediaType":"application/octet-stream","digest":"{digest}","size":{size}}}"#)
    };
    let content = format!(
        r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{},"layers":[{},{}]}}"#,
        descriptor("{}"),
        descriptor("one"),
        descriptor("two")
    );
    let answer = put(&service, "/v2/a/manifests/v1", &[], content.as_bytes()).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    let json = answer.json();
    let errors = json["errors"].as_array().unwrap();
    let mut missing: Vec<_> = errors
        .iter()
        .map(|error| {
            assert_eq!(error["code"], "MANIFEST_BLOB_UNKNOWN");
            let detail = error["detail"].as_str().unwrap();
            detail.strip_prefix("digest=").unwrap().to_owned()
        })
        .collect();
    missing.sort();
    let mut expected = [sha256("one").to_string(), sha256("two").to_string()];
    expected.sort();
    assert_eq!(missing, expected);
}

#[tokio::test]
async fn what_the_client_has_is_not_sent_again() {
    let service = service();
    let content = index("a", None);
    let digest = sha256(&content);
    push_index(&service, "a", "v1", &content).await;
    for (method, tag) in [
        (Method::GET, format!("\"{digest}\"")),
        (Method::HEAD, digest.to_string()),
    ] {
        let header = format!("if-none-match: {tag}");
        let answer = call(&service, method.clone(), "/v2/a/manifests/v1", &[&header]).await;
        assert_eq!(answer.status, StatusCode::NOT_MODIFIED);
        assert_eq!(answer.header("etag"), format!("\"{digest}\""));
        assert_eq!(answer.body, "");
        push_index(&service, "a", "v1", &index("b", None)).await;
        let answer = call(&service, method, "/v2/a/manifests/v1", &[&header]).await;
        assert_eq!(answer.status, StatusCode::OK);
        push_index(&service, "a", "v1", &content).await;
    }
}

#[tokio::test]
async fn a_push_may_depend_on_what_the_tag_points_to() {
    let service = service();
    let (first, second) = (index("a", None), index("b", None));
    let tag_of = |content: &str| format!("\"{}\"", sha256(content));
    let push = async |content: &str, condition: String| {
        let uri = "/v2/a/manifests/v1";
        put(&service, uri, &[&condition], content.as_bytes())
            .await
            .status
    };
    let failed = StatusCode::PRECONDITION_FAILED;
    assert_eq!(push(&first, "if-match: *".into()).await, failed);
    assert_eq!(
        push(&first, format!("if-match: {}", tag_of(&first))).await,
        failed
    );
    assert_eq!(
        push(&first, "if-none-match: *".into()).await,
        StatusCode::CREATED
    );
    assert_eq!(push(&first, "if-none-match: *".into()).await, failed);
    assert_eq!(
        push(&second, format!("if-match: {}", tag_of(&second))).await,
        failed
    );
    let listed = format!("if-none-match: \"x\", {}", tag_of(&first));
    assert_eq!(push(&second, listed).await, failed);
    let answer = get(&service, "/v2/a/manifests/v1").await;
    assert_eq!(answer.body, first);
    assert_eq!(
        push(&second, format!("if-match: {}", tag_of(&first))).await,
        StatusCode::CREATED
    );
    assert_eq!(
        push(&first, "if-match: *".into()).await,
        StatusCode::CREATED
    );
    let either = format!("if-match: {}, {}", tag_of(&first), tag_of(&second));
    assert_eq!(push(&second, either).await, StatusCode::CREATED);
    assert_eq!(get(&service, "/v2/a/manifests/v1").await.body, second);
}

#[tokio::test]
async fn nothing_is_read_or_deleted_on_a_condition_that_does_not_hold() {
    let service = service();
    let content = index("a", None);
    push_index(&service, "a", "v1", &content).await;
    let blob = push_blob(&service, "a", b"hello").await;
    let by_digest = format!("/v2/a/manifests/{}", sha256(&content));
    let other = sha256("other");
    for uri in ["/v2/a/manifests/v1", &by_digest, &blob] {
        for method in [Method::GET, Method::HEAD, Method::DELETE] {
            for condition in [
                format!("if-match: \"{other}\""),
                format!("if-match: \"{other}\", \"x\""),
            ] {
                let answer = call(&service, method.clone(), uri, &[&condition]).await;
                assert_eq!(
                    answer.status,
                    StatusCode::PRECONDITION_FAILED,
                    "{method} {uri}"
                );
            }
        }
        let none = "if-none-match: *";
        let answer = call(&service, Method::DELETE, uri, &[none]).await;
        assert_eq!(answer.status, StatusCode::PRECONDITION_FAILED, "{uri}");
        assert_eq!(get(&service, uri).await.status, StatusCode::OK);
    }
    for (uri, digest) in [
        ("/v2/a/manifests/v1", sha256(&content)),
        (&by_digest, sha256(&content)),
        (&blob, sha256("hello")),
    ] {
        let condition = format!("if-match: \"{other}\", \"{digest}\"");
        for (method, status) in [
            (Method::GET, StatusCode::OK),
            (Method::HEAD, StatusCode::OK),
            (Method::DELETE, StatusCode::ACCEPTED),
        ] {
            let answer = call(&service, method, uri, &[&condition]).await;
            assert_eq!(answer.status, status, "{uri}");
        }
    }
}

#[tokio::test]
async fn a_condition_says_nothing_of_what_is_not_there() {
    let service = service();
    push_index(&service, "a", "v1", &index("a", None)).await;
    let absent = sha256("absent");
    for uri in [
        "/v2/a/manifests/v2".to_owned(),
        format!("/v2/a/manifests/{absent}"),
        format!("/v2/a/blobs/{absent}"),
    ] {
        for condition in [
            format!("if-match: \"{absent}\""),
            "if-match: \"x\"".to_owned(),
            format!("if-none-match: \"{absent}\""),
            "if-none-match: *".to_owned(),
        ] {
            for method in [Method::GET, Method::HEAD, Method::DELETE] {
                let answer = call(&service, method.clone(), &uri, &[&condition]).await;
                assert_eq!(
                    answer.status,
                    StatusCode::NOT_FOUND,
                    "{method} {uri} {condition}"
                );
            }
        }
    }
}

#[tokio::test]
async fn deleting_a_tag_keeps_the_manifest_and_deleting_it_removes_its_tags() {
    let service = service();
    let content = index("a", None);
    let by_digest = format!("/v2/a/manifests/{}", sha256(&content));
    push_index(&service, "a", "v1", &content).await;
    push_index(&service, "a", "v2", &content).await;
    let answer = call(&service, Method::DELETE, "/v2/a/manifests/v1", &[]).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED);
    assert_eq!(answer.header("content-length"), "0");
    assert_eq!(
        get(&service, "/v2/a/manifests/v1").await.status,
        StatusCode::NOT_FOUND
    );
    assert_eq!(get(&service, &by_digest).await.status, StatusCode::OK);
    let answer = call(&service, Method::DELETE, &by_digest, &[]).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED);
    for uri in ["/v2/a/manifests/v2", &by_digest] {
        for method in [Method::GET, Method::DELETE] {
            let answer = call(&service, method, uri, &[]).await;
            assert_eq!(answer.status, StatusCode::NOT_FOUND);
            assert_eq!(answer.code(), "MANIFEST_UNKNOWN");
        }
    }
}

#[tokio::test]
async fn where_nothing_is_deleted_every_way_to_do_so_is_closed() {
    let service = service().deletes(false);
    let content = index("a", None);
    push_index(&service, "a", "v1", &content).await;
    let blob = push_blob(&service, "a", b"hello").await;
    let by_digest = format!("/v2/a/manifests/{}", sha256(&content));
    for uri in [
        "/v2/a/manifests/v1",
        &by_digest,
        &by_digest.replace(':', "%3A"),
        &blob,
    ] {
        let answer = call(&service, Method::DELETE, uri, &[]).await;
        assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED, "{uri}");
        assert_eq!(answer.code(), "UNSUPPORTED");
        assert!(answer.header("allow").starts_with("GET, HEAD"));
        assert!(!answer.header("allow").contains("DELETE"));
        assert_eq!(get(&service, uri).await.status, StatusCode::OK);
    }
}
