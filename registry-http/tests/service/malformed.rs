//! Requests without sense: the client's fault, told which, and nothing stored.

use http::{Method, StatusCode};

use crate::every_answer::furnished;
use crate::exchange::{get, request, send, sha256, whole};

/// Status and code expected, method and target, headers, body; `$TAG` and
/// `$NAME` are too long, `$DIGEST` is one
/// of content that isn't there, `$UPLOAD` an upload that was never started.
const CORPUS: &str = "
400 MANIFEST_INVALID    | PUT /v2/team/new/manifests/$TAG | | {}
400 MANIFEST_INVALID    | PUT /v2/team/new/manifests/-x | | {}
400 DIGEST_INVALID      | PUT /v2/team/new/manifests/sha256:baddigeststring | | {}
400 DIGEST_INVALID      | PUT /v2/team/new/manifests/$DIGEST | | {}
400 DIGEST_INVALID      | PUT /v2/team/new/manifests/a:b:c | | {}
400 MANIFEST_INVALID    | PUT /v2/team/new/manifests/v1 | |
400 MANIFEST_INVALID    | PUT /v2/team/new/manifests/v1 | | {}
400 MANIFEST_INVALID    | PUT /v2/team/new/manifests/v1 | | []
400 MANIFEST_INVALID    | PUT /v2/team/new/manifests/v1 | | \u{fffd}
413 MANIFEST_INVALID    | PUT /v2/team/new/manifests/v1 | content-length: 9999999999 | {}
400 SIZE_INVALID        | PUT /v2/team/new/manifests/v1 | content-length: 99 | {}
400 SIZE_INVALID        | PUT /v2/team/new/manifests/v1 | content-length: 1 | {}
400 UNSUPPORTED         | PUT /v2/team/new/manifests/v1 | content-length: x | {}
400 UNSUPPORTED         | PUT /v2/team/new/manifests/v1 | content-length: 2; content-length: 2 | {}
400 UNSUPPORTED         | PUT /v2/team/new/manifests/v1 | content-length: -1 | {}
400 UNSUPPORTED         | PUT /v2/team/new/manifests/v1?tag=v2 | | {}
400 MANIFEST_INVALID    | PUT /v2/team/new/manifests/$DIGEST?tag=%ff | | {}
400 NAME_INVALID        | PUT /v2/Team/new/manifests/v1 | | {}
400 NAME_INVALID        | PUT /v2/$NAME/manifests/v1 | | {}
400 NAME_INVALID        | PUT /v2/team%2fnew/manifests/v1 | | {}
400 NAME_INVALID        | PUT /v2/../new/manifests/v1 | | {}
400 NAME_INVALID        | PUT /v2/%2e%2e/new/manifests/v1 | | {}
400 NAME_INVALID        | PUT /v2/team//new/manifests/v1 | | {}
400 NAME_INVALID        | PUT /v2/team/new;x/manifests/v1 | | {}
400 NAME_INVALID        | PUT /v2/team/new%00/manifests/v1 | | {}
404 NAME_UNKNOWN        | PUT /v2/team/new%/manifests/v1 | | {}
404 NAME_UNKNOWN        | PUT /v2/team/new/manifests/ | | {}
404 NAME_UNKNOWN        | PUT /v2/team/new/manifests/v1/ | | {}
404 MANIFEST_UNKNOWN    | GET /v2/team/new/manifests/v1 | | {}
404 MANIFEST_UNKNOWN    | GET /v2/team/new/manifests/$TAG | |
404 MANIFEST_UNKNOWN    | DELETE /v2/team/new/manifests/v1 | |
400 NAME_INVALID        | POST /v2/Team/new/blobs/uploads/ | |
400 DIGEST_INVALID      | POST /v2/team/new/blobs/uploads/?digest=x | | new
400 DIGEST_INVALID      | POST /v2/team/new/blobs/uploads/?digest=$DIGEST | | other
400 SIZE_INVALID        | POST /v2/team/new/blobs/uploads/?digest=$DIGEST | content-length: 9 | new
400 SIZE_INVALID        | POST /v2/team/new/blobs/uploads/?digest=$DIGEST | content-range: 0-8 | new
400 BLOB_UPLOAD_INVALID | POST /v2/team/new/blobs/uploads/?digest=$DIGEST | content-range: 8-0 | new
416 BLOB_UPLOAD_INVALID | POST /v2/team/new/blobs/uploads/?digest=$DIGEST | content-range: 1-3 | new
404 BLOB_UPLOAD_UNKNOWN | PATCH $UPLOAD | | new
404 BLOB_UPLOAD_UNKNOWN | PATCH /v2/team/new/blobs/uploads/.. | | new
404 BLOB_UPLOAD_UNKNOWN | PATCH /v2/team/new/blobs/uploads/00000000000040008000000000000000 | | new
400 DIGEST_INVALID      | PUT $UPLOAD | | new
404 BLOB_UPLOAD_UNKNOWN | PUT $UPLOAD?digest=$DIGEST | | new
400 DIGEST_INVALID      | PUT $UPLOAD?digest=$DIGEST&digest=sha256:0 | | new
404 BLOB_UNKNOWN        | DELETE /v2/team/new/blobs/$DIGEST | |
400 DIGEST_INVALID      | DELETE /v2/team/new/blobs/x | |
400 UNSUPPORTED         | GET /v2/team/app/tags/list?n=-1 | |
400 UNSUPPORTED         | GET /v2/team/app/tags/list?n=%2B1 | |
400 UNSUPPORTED         | GET /v2/team/app/tags/list?n=1e9 | |
400 UNSUPPORTED         | GET /v2/_catalog?n= | |
404 NAME_UNKNOWN        | GET /v2/_oci/ext/discover | |
404 NAME_UNKNOWN        | GET /v2/team/app | |
405 UNSUPPORTED         | TRACE /v2/ | |
405 UNSUPPORTED         | BREW /v2/team/app/tags/list | |
";

#[tokio::test]
async fn requests_without_sense_are_refused_and_change_nothing() {
    let (service, _) = furnished().await;
    let digest = sha256("new").to_string();
    let corpus = CORPUS
        .replace(
            "$UPLOAD",
            "/v2/team/new/blobs/uploads/00000000-0000-4000-8000-000000000000",
        )
        .replace("$TAG", &"t".repeat(129))
        .replace("$DIGEST", &digest)
        .replace("$NAME", &"n".repeat(256));
    let mut rows = 0;
    for row in corpus.lines().filter(|row| !row.is_empty()) {
        let cells: Vec<_> = row.splitn(4, '|').map(str::trim).collect();
        let (expected, headers, body) = (cells[0], cells[2], cells[3]);
        let (method, uri) = cells[1].split_once(' ').unwrap();
        let headers: Vec<_> = headers
            .split(';')
            .filter(|header| !header.is_empty())
            .collect();
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let body = whole(body.to_owned());
        let answer = send(&service, request(&method, uri, &headers, body)).await;
        let (status, code) = expected.split_once(' ').unwrap();
        let got = (answer.status.as_str(), answer.code());
        assert_eq!(got, (status, code.trim().to_owned()), "{row}");
        rows += 1;
    }
    assert!(rows > 50, "{rows}");
    let repositories = get(&service, "/v2/_catalog").await.json();
    assert_eq!(
        repositories["repositories"],
        serde_json::json!(["team/app"])
    );
    for content in ["new", "other", "{}"] {
        let uri = format!("/v2/team/new/blobs/{}", sha256(content));
        assert_eq!(get(&service, &uri).await.status, StatusCode::NOT_FOUND);
    }
}
