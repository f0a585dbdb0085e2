//! What is deleted is gone at once, and nothing else is.

use serde_json::json;

use crate::content::{CONFIG, Document, descriptor, sha256, sha512};
use crate::served::Served;

promises!(
    a_deleted_tag_leaves_its_manifest,
    a_deleted_manifest_takes_its_tags_with_it,
    what_an_index_names_stays_without_it,
    a_blob_can_be_deleted_while_a_manifest_names_it,
    what_is_not_there_can_not_be_deleted,
);

async fn tags(served: &Served, app: &str) -> serde_json::Value {
    let list = served.get(format!("/v2/{app}/tags/list")).await;
    list.expect(200).json()["tags"].take()
}

async fn a_deleted_tag_leaves_its_manifest(served: &Served) {
    let app = served.repository("app");
    let document = Document::note("kept");
    served.push(&app, "a", &document).await;
    let by_digest = served.push(&app, "b", &document).await;
    let tag = format!("/v2/{app}/manifests/a");
    served.delete(&tag).await.expect(202);
    for answer in [served.get(&tag).await, served.delete(&tag).await] {
        answer.refused(404, "MANIFEST_UNKNOWN");
    }
    served.head(&tag).await.expect(404);
    assert_eq!(tags(served, &app).await, json!(["b"]));
    served
        .get(format!("/v2/{app}/manifests/b"))
        .await
        .expect(200);
    served.get(&by_digest).await.expect(200);
    served
        .delete(format!("/v2/{app}/manifests/b"))
        .await
        .expect(202);
    served.get(&by_digest).await.expect(200);
    served.delete(&by_digest).await.expect(202);
    served.get(&by_digest).await.expect(404);
}

async fn a_deleted_manifest_takes_its_tags_with_it(served: &Served) {
    let app = served.repository("app");
    let (gone, kept) = (Document::note("gone"), Document::note("kept"));
    for (tag, document) in [("a", &gone), ("b", &kept), ("c", &gone)] {
        served.push(&app, tag, document).await;
    }
    // Under another algorithm it is another manifest.
    let other = served.push(&app, &sha512(&gone.bytes), &gone).await;
    let manifest = format!("/v2/{app}/manifests/{}", gone.digest().replace(':', "%3A"));
    served.delete(&manifest).await.expect(202);
    for reference in ["a", "c", &gone.digest()] {
        let target = format!("/v2/{app}/manifests/{reference}");
        served.get(&target).await.refused(404, "MANIFEST_UNKNOWN");
        served.head(&target).await.expect(404);
    }
    assert_eq!(tags(served, &app).await, json!(["b"]));
    served.get(&other).await.expect(200);
    served
        .delete(&manifest)
        .await
        .refused(404, "MANIFEST_UNKNOWN");
    // It can come back.
    let back = served.push(&app, "a", &gone).await;
    assert_eq!(served.get(back).await.expect(200).body, gone.bytes);
}

async fn what_an_index_names_stays_without_it(served: &Served) {
    let app = served.repository("app");
    let child = Document::note("child");
    let child_at = served.push(&app, &child.digest(), &child).await;
    let index = Document::index(vec![child.descriptor(sha256)]);
    let index_at = served.push(&app, "latest", &index).await;
    served.delete(index_at).await.expect(202);
    served.get(child_at).await.expect(200);
}

async fn a_blob_can_be_deleted_while_a_manifest_names_it(served: &Served) {
    let app = served.repository("app");
    let blob = served.push_blob(&app, b"{}").await;
    let image = Document::image(descriptor(CONFIG, b"{}", sha256), Vec::new());
    let manifest = served.push(&app, "latest", &image).await;
    served.delete(&blob).await.expect(202);
    served.head(&blob).await.expect(404);
    served.get(&blob).await.refused(404, "BLOB_UNKNOWN");
    assert_eq!(served.get(&manifest).await.expect(200).body, image.bytes);
}

async fn what_is_not_there_can_not_be_deleted(served: &Served) {
    let app = served.repository("app");
    for exists in [false, true] {
        if exists {
            served.push(&app, "there", &Document::note("there")).await;
        }
        for target in [
            format!("/v2/{app}/manifests/missing"),
            format!("/v2/{app}/manifests/{}", sha256(b"missing")),
            format!("/v2/{app}/blobs/{}", sha256(b"missing")),
        ] {
            served.delete(target).await.expect(404);
        }
    }
}

/// 405 is the one answer that the conformance suite takes for blobs.
#[tokio::test]
async fn where_nothing_may_be_deleted_clients_are_told_so() {
    let engine = registry_storage::Engine::memory();
    let service = registry_http::RegistryService::new(engine).deletes(false);
    let served = Served::by_service("kept", service).await;
    let app = served.repository("app");
    let blob = served.push_blob(&app, b"blob").await;
    let manifest = served.push(&app, "latest", &Document::note("kept")).await;
    let tag = format!("/v2/{app}/manifests/latest");
    for target in [&blob, &manifest, &tag] {
        served.delete(target).await.refused(405, "UNSUPPORTED");
        served.get(target).await.expect(200);
    }
    let upload = served.begin(&app).await;
    served.delete(upload).await.expect(204);
}
