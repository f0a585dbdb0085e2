//! What errors are about, for programs.

use crate::exchange::{
    begin, call, index, pieces, push_blob, push_index, put, request, send, service, sha256,
};
use http::{Method, StatusCode};
use registry_auth::{AccessControl, Login, Rules};
use registry_core::{Action, ManifestRules};
use registry_http::{Limits, RegistryService};
use serde_json::{Value, json};

/// The code and the detail of the refusal of a request.
async fn refused(service: &RegistryService, method: &str, path: &str) -> (u16, String, Value) {
    let method = Method::from_bytes(method.as_bytes()).unwrap();
    let answer = call(service, method, path, &["range: bytes=90-"]).await;
    let error = answer.json()["errors"][0].clone();
    (
        answer.status.as_u16(),
        answer.code(),
        error["detail"].clone(),
    )
}

#[allow(clippy::too_many_lines, reason = "it is a table")]
#[tokio::test]
async fn every_refusal_says_what_it_is_about() {
    let service = service();
    let blob = push_blob(&service, "a/b", b"hello").await;
    let hello = sha256("hello");
    let absent = sha256("absent");
    let id = "00000000-0000-4000-8000-000000000000";
    let upload = begin(&service, "a/b").await;
    let upload_id = upload.rsplit('/').next().unwrap();
    let uploads = "/v2/a/b/blobs/uploads";
    for (method, path, status, code, detail) in [
        (
            "GET",
            "/v2/a/b/manifests/v1".to_owned(),
            404,
            "MANIFEST_UNKNOWN",
            json!("name=a/b tag=v1"),
        ),
        (
            "DELETE",
            "/v2/a/b/manifests/v1".into(),
            404,
            "MANIFEST_UNKNOWN",
            json!("name=a/b tag=v1"),
        ),
        (
            "GET",
            format!("/v2/a/b/manifests/{absent}"),
            404,
            "MANIFEST_UNKNOWN",
            json!(format!("name=a/b revision={absent}")),
        ),
        (
            "GET",
            "/v2/a/b/manifests/-v".into(),
            404,
            "MANIFEST_UNKNOWN",
            json!("tag=-v"),
        ),
        (
            "PUT",
            "/v2/a/b/manifests/-v".into(),
            400,
            "MANIFEST_INVALID",
            json!("tag=-v"),
        ),
        (
            "PUT",
            "/v2/a/b/manifests/v1".into(),
            400,
            "MANIFEST_INVALID",
            json!("name=a/b tag=v1"),
        ),
        (
            "GET",
            format!("/v2/a/b/blobs/{absent}"),
            404,
            "BLOB_UNKNOWN",
            json!(format!("name=a/b digest={absent}")),
        ),
        (
            "GET",
            "/v2/a/b/blobs/sha256:1".into(),
            400,
            "DIGEST_INVALID",
            json!("digest=sha256:1"),
        ),
        (
            "GET",
            "/v2/a/b/blobs/md5:1".into(),
            400,
            "DIGEST_INVALID",
            json!("digest=md5:1"),
        ),
        (
            "GET",
            blob,
            416,
            "BLOB_UPLOAD_INVALID",
            json!(format!("name=a/b digest={hello} size=5")),
        ),
        (
            "GET",
            "/v2/A/tags/list".into(),
            400,
            "NAME_INVALID",
            json!("name=A"),
        ),
        (
            "GET",
            "/v2/a%2Fb/tags/list".into(),
            400,
            "NAME_INVALID",
            json!("name=a/b"),
        ),
        (
            "GET",
            "/v2/c/tags/list".into(),
            404,
            "NAME_UNKNOWN",
            json!("name=c"),
        ),
        (
            "GET",
            "/v2/a/b/tags/list?n=-1".into(),
            400,
            "UNSUPPORTED",
            json!("n=-1"),
        ),
        (
            "GET",
            "/v2/a/b/tags/list?n=2&n=3".into(),
            400,
            "UNSUPPORTED",
            json!("n=2,3"),
        ),
        (
            "GET",
            "/v2/a/b/tags/list?last=%ff".into(),
            400,
            "UNSUPPORTED",
            json!("last=%ff"),
        ),
        (
            "GET",
            "/v2/a/b/tags/list?last=x&last=y".into(),
            400,
            "UNSUPPORTED",
            json!("last=x,y"),
        ),
        (
            "GET",
            format!("/v2/a/b/referrers/{absent}?artifactType=%ff"),
            400,
            "UNSUPPORTED",
            json!("artifactType=%ff"),
        ),
        (
            "PUT",
            format!("/v2/a/b/manifests/{absent}?tag=%ff"),
            400,
            "MANIFEST_INVALID",
            json!("tag=%ff"),
        ),
        (
            "PUT",
            "/v2/a/b/manifests/v1?tag=v2".into(),
            400,
            "UNSUPPORTED",
            json!("tag=v1"),
        ),
        (
            "PUT",
            upload.clone(),
            400,
            "DIGEST_INVALID",
            json!("digest="),
        ),
        (
            "POST",
            format!("{uploads}/?digest=x&digest=y"),
            400,
            "DIGEST_INVALID",
            json!("digest=x,y"),
        ),
        (
            "POST",
            format!("{uploads}/?digest-algorithm=x&digest-algorithm=y"),
            400,
            "DIGEST_INVALID",
            json!("digest-algorithm=x,y"),
        ),
        (
            "GET",
            "/elsewhere".into(),
            404,
            "NAME_UNKNOWN",
            json!("path=/elsewhere"),
        ),
        (
            "GET",
            "/v2/a/nothing".into(),
            404,
            "NAME_UNKNOWN",
            json!("path=/v2/a/nothing"),
        ),
        (
            "PUT",
            "/v2/a/b/tags/list".into(),
            405,
            "UNSUPPORTED",
            json!("allowed=GET,HEAD"),
        ),
        (
            "GET",
            format!("{uploads}/{id}"),
            404,
            "BLOB_UPLOAD_UNKNOWN",
            json!(format!("name=a/b upload={id}")),
        ),
        (
            "PATCH",
            format!("{uploads}/x"),
            404,
            "BLOB_UPLOAD_UNKNOWN",
            json!("upload=x"),
        ),
        (
            "PUT",
            format!("{upload}?digest={absent}"),
            400,
            "DIGEST_INVALID",
            json!(format!("name=a/b upload={upload_id} digest={absent}")),
        ),
        (
            "POST",
            format!("{uploads}/?digest-algorithm=md5"),
            400,
            "DIGEST_INVALID",
            json!("digest-algorithm=md5"),
        ),
    ] {
        let expected = (status, code.to_owned(), detail);
        assert_eq!(
            refused(&service, method, &path).await,
            expected,
            "{method} {path}"
        );
    }
}

#[tokio::test]
async fn a_chunk_out_of_order_is_told_where_the_upload_stands() {
    let service = service();
    let upload = begin(&service, "a").await;
    let range = "content-range: 7-9";
    let body = pieces(b"abc", 3);
    let answer = send(&service, request(&Method::PATCH, &upload, &[range], body)).await;
    assert_eq!(answer.status, StatusCode::RANGE_NOT_SATISFIABLE);
    let id = upload.rsplit('/').next().unwrap();
    let detail = json!(format!("name=a upload={id} offset=0"));
    assert_eq!(answer.json()["errors"][0]["detail"], detail);
}

#[tokio::test]
async fn what_is_too_large_is_told_the_limit() {
    let limits = Limits::default().max_blob(Some(4));
    let rules = ManifestRules::default().max_size(8).max_tags(1);
    let service = service().limits(limits).manifest_rules(rules);
    let upload = begin(&service, "a").await;
    for (method, path, max) in [
        (Method::PATCH, upload, 4),
        (Method::PUT, "/v2/a/manifests/v1".into(), 8),
        (
            Method::PUT,
            format!("/v2/a/manifests/{}?tag=x&tag=y", sha256("")),
            1,
        ),
    ] {
        let body = pieces(b"0123456789", 4);
        let answer = send(&service, request(&method, &path, &[], body)).await;
        let status = answer.status;
        assert!(status.is_client_error(), "{path}: {status}");
        let error = &answer.json()["errors"][0];
        let detail = error["detail"].as_str().unwrap();
        assert!(detail.ends_with(&format!(" max={max}")), "{path}: {detail}");
    }
}

#[tokio::test]
async fn who_is_refused_is_told_which_rights_it_takes() {
    let right = |kind: &str, name: &str, action: &str| json!({"Type": kind, "Class": "", "Name": name, "Action": action});
    let login = Login::new(|_, password| async move { password.matches("secret") });
    let rules = Rules::new().signed_in("team/**", &[Action::Pull]);
    let service = service().access(AccessControl::new(rules).authenticator(login));
    let digest = sha256("x");
    for (method, path, rights) in [
        (
            Method::GET,
            "/v2/team/app/manifests/v1".to_owned(),
            json!([right("repository", "team/app", "pull")]),
        ),
        (
            Method::POST,
            format!("/v2/team/app/blobs/uploads/?mount={digest}&from=other"),
            json!([
                right("repository", "team/app", "push"),
                right("repository", "other", "pull")
            ]),
        ),
        (
            Method::GET,
            "/v2/_catalog".into(),
            json!([right("registry", "catalog", "*")]),
        ),
        (Method::GET, "/v2/".into(), json!([])),
    ] {
        let answer = call(&service, method, &path, &[]).await;
        assert_eq!(answer.code(), "UNAUTHORIZED", "{path}");
        assert_eq!(answer.json()["errors"][0]["detail"], rights, "{path}");
    }
    let reader = "authorization: Basic eDpzZWNyZXQ=";
    let answer = put(&service, "/v2/team/app/manifests/v1", &[reader], b"").await;
    assert_eq!(answer.code(), "DENIED");
    let rights = json!([right("repository", "team/app", "push")]);
    assert_eq!(answer.json()["errors"][0]["detail"], rights);
}

#[tokio::test]
async fn a_condition_that_fails_names_the_tag() {
    let service = service();
    let content = index("a", None);
    push_index(&service, "a", "v1", &content).await;
    let absent = "if-none-match: *";
    let answer = put(
        &service,
        "/v2/a/manifests/v1",
        &[absent],
        content.as_bytes(),
    )
    .await;
    assert_eq!(answer.status, StatusCode::PRECONDITION_FAILED);
    // Not a code on which clients log in or try again.
    assert_eq!(answer.code(), "UNSUPPORTED");
    let detail = json!("name=a tag=v1");
    assert_eq!(answer.json()["errors"][0]["detail"], detail);
}

/// Whoever sends much gets little of it back.
#[tokio::test]
async fn what_is_malformed_is_repeated_in_part_only() {
    let name = "é".repeat(1000);
    let (_, code, detail) = refused(
        &service(),
        "GET",
        &format!("/v2/a/blobs/sha256:{}", "%C3%A9".repeat(1000)),
    )
    .await;
    assert_eq!(code, "DIGEST_INVALID");
    let digest = detail.as_str().unwrap().strip_prefix("digest=").unwrap();
    assert!(digest.len() <= 255, "{}", digest.len());
    assert!(format!("sha256:{name}").starts_with(digest));
}
