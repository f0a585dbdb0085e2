//! Requests that can't be answered: which status and code they get. What else holds of errors is checked for every answer.

use crate::content::{Document, sha256};
use crate::served::Served;
use crate::wire::Ask;

promises!(
    every_mistake_has_its_answer,
    a_wrong_method_is_told_the_right_ones,
    names_have_a_grammar,
);

async fn every_mistake_has_its_answer(served: &Served) {
    let app = served.repository("app");
    served.push(&app, "there", &Document::note("there")).await;
    let v2 = |rest: &str| format!("/v2/{app}/{rest}");
    let digest = sha256(b"missing");
    let id = "00000000-0000-4000-8000-000000000000";
    for (ask, status, code) in [
        (
            Ask::get(v2(&format!("blobs/{digest}"))),
            404,
            "BLOB_UNKNOWN",
        ),
        (Ask::get(v2("blobs/sha256:bad")), 400, "DIGEST_INVALID"),
        (Ask::get(v2("manifests/missing")), 404, "MANIFEST_UNKNOWN"),
        (
            Ask::get(v2(&format!("blobs/uploads/{id}"))),
            404,
            "BLOB_UPLOAD_UNKNOWN",
        ),
        (
            Ask::patch(v2("blobs/uploads/no-id")).body("x"),
            404,
            "BLOB_UPLOAD_UNKNOWN",
        ),
        (
            Ask::put(v2(&format!("blobs/uploads/{id}?digest={digest}"))),
            404,
            "BLOB_UPLOAD_UNKNOWN",
        ),
        (
            Ask::delete(v2(&format!("blobs/uploads/{id}"))),
            404,
            "BLOB_UPLOAD_UNKNOWN",
        ),
        (
            Ask::post(v2("blobs/uploads/?digest=sha256%3Abad")).body("x"),
            400,
            "DIGEST_INVALID",
        ),
        (
            Ask::put(v2("manifests/latest")).body("{"),
            400,
            "MANIFEST_INVALID",
        ),
        (
            Ask::get("/v2/nowhere/at-all/tags/list"),
            404,
            "NAME_UNKNOWN",
        ),
        (Ask::get("/v2/Not/Lower/tags/list"), 400, "NAME_INVALID"),
    ] {
        served.ask(ask).await.refused(status, code);
    }
}

async fn a_wrong_method_is_told_the_right_ones(served: &Served) {
    let app = served.repository("app");
    for (ask, allowed) in [
        (Ask::post("/v2/"), "GET"),
        (Ask::put(format!("/v2/{app}/tags/list")), "GET"),
        (Ask::get(format!("/v2/{app}/blobs/uploads/")), "POST"),
        (Ask::post(format!("/v2/{app}/manifests/latest")), "PUT"),
        (
            Ask::put(format!("/v2/{app}/blobs/{}", sha256(b"x"))),
            "HEAD",
        ),
    ] {
        let answer = served.ask(ask).await;
        answer.refused(405, "UNSUPPORTED");
        assert!(answer.list("allow").contains(&allowed), "{answer:?}");
    }
}

async fn names_have_a_grammar(served: &Served) {
    let start = served.repository("");
    let longest = "x".repeat(255 - start.len());
    for name in ["a", "a-b", "a--b", "a_b", "a__b", "a.b", "0/1", &longest] {
        let upload = served.begin(&format!("{start}{name}")).await;
        served.delete(upload).await.expect(204);
    }
    for name in [
        "A",
        "a..b",
        "a___b",
        "-a",
        "a-",
        "a//b",
        "a/",
        "a%2Fb",
        "a%00",
        "a%20b",
        "%C3%A9",
        "..",
        "_a",
        &"x".repeat(256 - start.len()),
    ] {
        let post = Ask::post(format!("/v2/{start}{name}/blobs/uploads/"));
        served.ask(post).await.refused(400, "NAME_INVALID");
    }
}
