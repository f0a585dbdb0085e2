//! What is said about a manifest by others.

use serde_json::{Value, json};

use crate::content::{ALGORITHMS, CONFIG, Document, EMPTY, INDEX, descriptor, sha256, sha512};
use crate::served::Served;
use crate::wire::Answer;

promises!(
    every_subject_has_a_list,
    a_referrer_is_listed_as_it_describes_itself,
    a_filter_is_applied_and_named,
    a_long_list_comes_in_pages,
    a_deleted_referrer_leaves_the_list,
    a_malformed_subject_is_refused,
);

async fn list(served: &Served, target: &str) -> (Vec<Value>, Answer) {
    let answer = served.get(target).await.expect(200);
    assert_eq!(answer.header("content-type"), INDEX);
    let mut json = answer.json();
    assert_eq!(json["schemaVersion"], 2);
    assert_eq!(json["mediaType"], INDEX);
    let Value::Array(items) = json["manifests"].take() else {
        panic!("{answer:?}")
    };
    (items, answer)
}

/// Digests, as the order of the list is the registry's.
fn digests(items: &[Value]) -> Vec<String> {
    let mut digests: Vec<_> = items
        .iter()
        .map(|item| item["digest"].as_str().unwrap().to_owned())
        .collect();
    digests.sort();
    digests
}

/// Of a repository that isn't there as well: oras takes that as the sign that there are lists at all.
async fn every_subject_has_a_list(served: &Served) {
    let app = served.repository("app");
    let zeros = format!("sha256:{}", "0".repeat(64));
    for exists in [false, true] {
        for subject in [&zeros, &sha256(b"random"), &sha512(b"random")] {
            let target = format!("/v2/{app}/referrers/{subject}");
            let (items, answer) = list(served, &target).await;
            assert_eq!(items, [] as [Value; 0]);
            assert_eq!(answer.find("oci-filters-applied"), None);
            let head = served.head(&target).await.expect(200);
            assert_eq!(head.lasting_headers(), answer.lasting_headers());
        }
        if !exists {
            served.push(&app, "latest", &Document::note("app")).await;
        }
    }
}

async fn a_referrer_is_listed_as_it_describes_itself(served: &Served) {
    let app = served.repository("app");
    let empty = descriptor(EMPTY, b"{}", sha256);
    let config = descriptor(CONFIG, b"{}", sha256);
    served.push_blob(&app, b"{}").await;
    for algorithm in ALGORITHMS {
        let subject = Document::note("about me");
        let digest = algorithm(&subject.bytes);
        let about = json!({"subject": subject.descriptor(algorithm)});
        let image = Document::image(config.clone(), Vec::new()).and(about.clone());
        let annotations = json!({"org.example/é": "", "b": "2"});
        let artifact = Document::image(empty.clone(), vec![empty.clone()])
            .and(
                json!({"artifactType": "application/vnd.example+json", "annotations": annotations}),
            )
            .and(about.clone());
        let index = Document::index(Vec::new()).and(about.clone());
        for (document, more) in [
            // An image is named by the type of its configuration.
            (&image, json!({"artifactType": CONFIG})),
            (
                &artifact,
                json!({"artifactType": "application/vnd.example+json", "annotations": annotations}),
            ),
            (&index, json!({})),
        ] {
            let pushed = served
                .put_manifest(&app, &document.digest(), document)
                .await;
            assert_eq!(pushed.expect(201).header("oci-subject"), digest);
            let mut expected = document.descriptor(sha256);
            let more = more.as_object().unwrap().clone();
            expected.as_object_mut().unwrap().extend(more);
            let (items, _) = list(served, &format!("/v2/{app}/referrers/{digest}")).await;
            assert!(items.contains(&expected), "{items:?}");
        }
        // Pushed again, or later than what is said about it: nothing changes.
        served.push(&app, "again", &artifact).await;
        served.push(&app, &digest, &subject).await;
        let encoded = digest.replace(':', "%3A");
        let (items, _) = list(served, &format!("/v2/{app}/referrers/{encoded}")).await;
        let mut expected = [&image, &artifact, &index].map(Document::digest);
        expected.sort();
        assert_eq!(digests(&items), expected);
        let other = served.repository("other");
        let (items, _) = list(served, &format!("/v2/{other}/referrers/{digest}")).await;
        assert_eq!(items, [] as [Value; 0]);
    }
}

/// Referrers of one subject, one for each type; their digests.
async fn pushed(served: &Served, app: &str, types: &[&str]) -> (String, Vec<String>) {
    let subject = Document::note("subject");
    let mut referrers = Vec::new();
    for artifact_type in types {
        let document = Document::note("referrer").and(json!({
            "artifactType": artifact_type,
            "subject": subject.descriptor(sha256),
        }));
        served.push(app, &document.digest(), &document).await;
        referrers.push(document.digest());
    }
    let list = format!("/v2/{app}/referrers/{}", subject.digest());
    (list, referrers)
}

async fn a_filter_is_applied_and_named(served: &Served) {
    let app = served.repository("app");
    let types = ["application/vnd.a+json", "application/vnd.b", "a/c"];
    let (target, referrers) = pushed(served, &app, &types).await;
    for (query, expected) in [
        ("artifactType=application%2Fvnd.a%2Bjson", &[0][..]),
        // Not encoded, `+` means a space.
        ("artifactType=application/vnd.a+json", &[0]),
        ("artifactType=application/vnd.b&ns=docker.io", &[1]),
        // containerd asks for several at once.
        (
            "artifactType=application%2Fvnd.b&artifactType=a%2Fc",
            &[1, 2],
        ),
        ("artifactType=a%2Fc&n=1000", &[2]),
        ("artifactType=application%2Fvnd", &[]),
    ] {
        let (items, answer) = list(served, &format!("{target}?{query}")).await;
        let mut expected: Vec<_> = expected.iter().map(|at| referrers[*at].clone()).collect();
        expected.sort();
        assert_eq!(digests(&items), expected, "{query}");
        assert_eq!(answer.header("oci-filters-applied"), "artifactType");
    }
    let (items, answer) = list(served, &format!("{target}?artifactType=")).await;
    assert_eq!(items.len(), types.len());
    assert_eq!(answer.find("oci-filters-applied"), None);
}

async fn a_long_list_comes_in_pages(served: &Served) {
    let app = served.repository("app");
    let types = ["a/x", "a/x+y", "a/x", "a/x+y", "a/x+y"];
    // The same type gives the same document; they have to differ.
    let (target, _) = pushed(served, &app, &types[..2]).await;
    let subject = Document::note("subject").descriptor(sha256);
    for (number, artifact_type) in types.iter().enumerate().skip(2) {
        let document = Document::note(&number.to_string())
            .and(json!({"artifactType": artifact_type, "subject": subject}));
        served.push(&app, &document.digest(), &document).await;
    }
    for (query, count) in [("n=2", 5), ("n=2&artifactType=a%2Fx%2By", 3)] {
        let mut next = Some(format!("{target}?{query}"));
        let mut seen = Vec::new();
        while let Some(target) = next {
            let (items, answer) = list(served, &target).await;
            assert!((1..=2).contains(&items.len()), "{target}");
            let filtered = answer.find("oci-filters-applied").is_some();
            assert_eq!(filtered, query.contains("artifactType"), "{target}");
            seen.extend(digests(&items));
            next = answer.next();
        }
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), count, "{query}");
    }
}

async fn a_deleted_referrer_leaves_the_list(served: &Served) {
    let app = served.repository("app");
    let (target, referrers) = pushed(served, &app, &["a/x", "a/y"]).await;
    let subject = Document::note("subject");
    let subject = served.push(&app, "latest", &subject).await;
    // What is said about a manifest outlives it.
    served.delete(subject).await.expect(202);
    assert_eq!(list(served, &target).await.0.len(), 2);
    for (index, referrer) in referrers.iter().enumerate() {
        let manifest = format!("/v2/{app}/manifests/{referrer}");
        served.delete(manifest).await.expect(202);
        let (items, _) = list(served, &target).await;
        assert_eq!(digests(&items), &referrers[index + 1..]);
    }
}

async fn a_malformed_subject_is_refused(served: &Served) {
    let app = served.repository("app");
    for subject in ["sha256:bad", "latest", "sha256"] {
        let answer = served.get(format!("/v2/{app}/referrers/{subject}")).await;
        answer.refused(400, "DIGEST_INVALID");
    }
}
