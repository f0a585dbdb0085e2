//! Manifests, pushed and pulled.

use serde_json::{Value, json};

use crate::content::{
    CONFIG, DOCKER_IMAGE, DOCKER_LIST, Document, IMAGE, INDEX, LAYER, bytes, descriptor, sha256,
    sha512,
};
use crate::served::Served;
use crate::wire::Ask;

promises!(
    a_manifest_comes_back_as_it_was_pushed,
    a_manifest_that_is_not_there_is_unknown,
    the_digest_in_the_path_must_be_that_of_the_bytes,
    the_media_type_is_found_where_it_is,
    media_types_must_agree,
    any_answer_is_acceptable,
    a_tag_moves_and_what_it_pointed_to_stays,
    one_push_sets_many_tags,
    a_push_with_a_bad_tag_changes_nothing,
    missing_content_is_named,
    what_is_no_manifest_is_refused,
    large_manifests_are_accepted_up_to_a_limit,
    what_the_client_has_is_not_sent_again,
);

/// An image whose content `repository` has.
async fn image(served: &Served, repository: &str) -> Document {
    let (config, layer) = (b"{}".to_vec(), bytes("layer", 500));
    served.push_blob(repository, &config).await;
    served.push_blob(repository, &layer).await;
    let layers = vec![descriptor(LAYER, &layer, sha256)];
    Document::image(descriptor(CONFIG, &config, sha256), layers)
}

async fn a_manifest_comes_back_as_it_was_pushed(served: &Served) {
    let app = served.repository("app");
    let image = image(served, &app).await;
    let spaced = format!("\n{}  ", String::from_utf8_lossy(&image.bytes)).replace(",\"", " ,\t\"");
    let spaced = Document {
        bytes: spaced.into(),
        ..image
    };
    for (document, reference, digest) in [
        (&image, "latest".to_owned(), image.digest()),
        (&image, image.digest(), image.digest()),
        (&image, image.digest().replace(':', "%3A"), image.digest()),
        (&image, sha512(&image.bytes), sha512(&image.bytes)),
        (&spaced, "A_tag.with-128".to_owned(), spaced.digest()),
        (&spaced, "x".repeat(128), spaced.digest()),
    ] {
        // Again, and without a length, as the conformance suite sends it: both are a success.
        for known in [true, false] {
            let target = format!("/v2/{app}/manifests/{reference}");
            let put = Ask::put(&target)
                .header("content-type", document.media_type)
                .send(known, &document.bytes);
            let pushed = served.ask(put).await.expect(201);
            // docker's push fails without.
            assert_eq!(pushed.header("docker-content-digest"), digest);
            assert_eq!(pushed.find("oci-subject"), None);
            for target in [&*target, pushed.header("location")] {
                let get = served.get(target).await.expect(200);
                assert_eq!(get.body, document.bytes);
                assert_eq!(get.header("content-type"), document.media_type);
                assert_eq!(get.header("docker-content-digest"), digest);
                assert_eq!(get.header("etag"), format!("\"{digest}\""));
                let head = served.head(target).await.expect(200);
                assert_eq!(head.lasting_headers(), get.lasting_headers());
            }
        }
    }
}

async fn a_manifest_that_is_not_there_is_unknown(served: &Served) {
    let app = served.repository("app");
    for exists in [false, true] {
        if exists {
            served.push(&app, "there", &Document::note("there")).await;
        }
        for reference in ["missing", &sha256(b"missing"), &sha512(b"missing")] {
            let target = format!("/v2/{app}/manifests/{reference}");
            let missing = served.get(&target).await;
            assert_eq!(missing.status, 404, "{missing:?}");
            let code = &missing.codes()[0];
            assert!(["MANIFEST_UNKNOWN", "NAME_UNKNOWN"].contains(&&**code));
            served.head(&target).await.expect(404);
        }
    }
    let there = format!("/v2/{app}/manifests/there");
    let elsewhere = there.replace("/app/", "/other/");
    served.get(&there).await.expect(200);
    served.get(&elsewhere).await.expect(404);
    // containerd asks for manifests among blobs, and oras for tags that are too long: no error but "not there".
    let digest = Document::note("there").digest();
    served
        .head(format!("/v2/{app}/blobs/{digest}"))
        .await
        .expect(404);
    let long = sha512(b"subject").replace(':', "-");
    served
        .get(format!("/v2/{app}/manifests/{long}"))
        .await
        .expect(404);
}

async fn the_digest_in_the_path_must_be_that_of_the_bytes(served: &Served) {
    let app = served.repository("app");
    let image = image(served, &app).await;
    let longer = Document {
        bytes: [&image.bytes[..], b"  "].concat().into(),
        ..image
    };
    for reference in [
        image.digest(),
        sha512(&image.bytes),
        "sha256:baddigeststring".to_owned(),
        "sha256:".to_owned(),
        image.digest().to_uppercase(),
        "md5:d41d8cd98f00b204e9800998ecf8427e".to_owned(),
    ] {
        let refused = served.put_manifest(&app, &reference, &longer).await;
        assert_eq!(refused.status, 400, "{refused:?}");
        let get = served.get(format!("/v2/{app}/manifests/{reference}")).await;
        assert!([400, 404].contains(&get.status), "{get:?}");
    }
    let target = format!("/v2/{app}/manifests/{}", longer.digest());
    served.head(target).await.expect(404);
}

async fn the_media_type_is_found_where_it_is(served: &Served) {
    let app = served.repository("app");
    let image = image(served, &app).await;
    let without = |document: &Document| {
        let mut json = document.json();
        json.as_object_mut().unwrap().remove("mediaType");
        Document::new(document.media_type, &json)
    };
    let docker = image.and(json!({"mediaType": DOCKER_IMAGE}));
    for (header, document, media_type) in [
        (Some(IMAGE.to_owned()), &image, IMAGE),
        (Some(format!("{IMAGE}; charset=utf-8")), &image, IMAGE),
        (Some(IMAGE.to_uppercase()), &image, IMAGE),
        // Helm and the first versions of oras.
        (Some(IMAGE.to_owned()), &without(&image), IMAGE),
        (None, &image, IMAGE),
        (None, &without(&image), IMAGE),
        (None, &without(&Document::note("shape")), INDEX),
        (Some(DOCKER_IMAGE.to_owned()), &docker, DOCKER_IMAGE),
        (None, &docker, DOCKER_IMAGE),
        (
            Some(DOCKER_LIST.to_owned()),
            &without(&Document::note("list")),
            DOCKER_LIST,
        ),
    ] {
        let target = format!("/v2/{app}/manifests/latest");
        let mut put = Ask::put(&target).body(&document.bytes);
        if let Some(header) = &header {
            put = put.header("content-type", header);
        }
        served.ask(put).await.expect(201);
        let head = served.head(&target).await.expect(200);
        assert_eq!(head.header("content-type"), media_type, "{header:?}");
        let digest = sha256(&document.bytes);
        assert_eq!(head.header("docker-content-digest"), digest, "{header:?}");
        served
            .delete(format!("/v2/{app}/manifests/{digest}"))
            .await
            .expect(202);
    }
}

async fn media_types_must_agree(served: &Served) {
    let app = served.repository("app");
    let image = image(served, &app).await;
    for header in [
        INDEX,
        DOCKER_IMAGE,
        // Content that is given up, and content that isn't a manifest.
        "application/vnd.docker.distribution.manifest.v1+prettyjws",
        "application/vnd.oci.artifact.manifest.v1+json",
        "application/octet-stream",
        "nonsense",
    ] {
        let put = Ask::put(format!("/v2/{app}/manifests/latest"))
            .header("content-type", header)
            .body(&image.bytes);
        served.ask(put).await.refused(400, "MANIFEST_INVALID");
    }
}

async fn any_answer_is_acceptable(served: &Served) {
    let app = served.repository("app");
    let image = image(served, &app).await;
    served.push(&app, "latest", &image).await;
    let target = format!("/v2/{app}/manifests/latest");
    for accepts in [
        &[][..],
        &["*/*"][..],
        &[INDEX][..],
        &["application/json"][..],
        &[DOCKER_IMAGE, IMAGE][..],
        &["application/vnd.oci.image.manifest.v1+json;q=0.1, text/html;q=0"][..],
        // Several lines, as docker and the conformance suite send.
        &[DOCKER_LIST, DOCKER_IMAGE, INDEX, "*/*"][..],
    ] {
        for ask in [Ask::get(&target), Ask::head(&target)] {
            let ask = accepts
                .iter()
                .fold(ask, |ask, accept| ask.header("accept", *accept));
            let answer = served.ask(ask).await.expect(200);
            assert_eq!(answer.header("content-type"), IMAGE, "{accepts:?}");
            assert_eq!(answer.header("docker-content-digest"), image.digest());
        }
    }
}

async fn a_tag_moves_and_what_it_pointed_to_stays(served: &Served) {
    let app = served.repository("app");
    let (old, new) = (Document::note("old"), Document::note("new"));
    let tag = format!("/v2/{app}/manifests/latest");
    let mut places = Vec::new();
    for document in [&old, &new, &old, &new] {
        places.push(served.push(&app, "latest", document).await);
        assert_eq!(served.get(&tag).await.expect(200).body, document.bytes);
    }
    for (place, document) in places.iter().zip([&old, &new]) {
        assert_eq!(served.get(place).await.expect(200).body, document.bytes);
    }
}

async fn one_push_sets_many_tags(served: &Served) {
    let app = served.repository("app");
    for (number, algorithm) in crate::content::ALGORITHMS.into_iter().enumerate() {
        let document = Document::note(&format!("tagged {number}"));
        let digest = algorithm(&document.bytes);
        for count in [1, 2, 10] {
            let tags: Vec<_> = (0..count).map(|tag| format!("v{count}.{tag}")).collect();
            let query: Vec<_> = tags.iter().map(|tag| format!("tag={tag}")).collect();
            let reference = format!("{}?{}", digest.replace(':', "%3A"), query.join("&"));
            let pushed = served.put_manifest(&app, &reference, &document).await;
            let pushed = pushed.expect(201);
            assert_eq!(pushed.list("oci-tag"), tags);
            assert_eq!(pushed.header("docker-content-digest"), digest);
            for tag in tags {
                let found = served.get(format!("/v2/{app}/manifests/{tag}")).await;
                let found = found.expect(200);
                assert_eq!(found.body, document.bytes);
                assert_eq!(found.header("docker-content-digest"), digest);
            }
        }
    }
}

async fn a_push_with_a_bad_tag_changes_nothing(served: &Served) {
    let app = served.repository("app");
    let document = Document::note("refused");
    let digest = document.digest();
    let long = "x".repeat(129);
    for (reference, status) in [
        (format!("{digest}?tag=good&tag=-bad"), 400),
        (format!("{digest}?tag=good&tag="), 400),
        (format!("{digest}?tag=good&tag={long}"), 400),
        ("latest?tag=good".to_owned(), 400),
        (long, 400),
        (".hidden".to_owned(), 400),
        // The same tag, however often, is one.
        (format!("{digest}?tag=good{}", "&tag=b".repeat(100)), 201),
    ] {
        let answer = served.put_manifest(&app, &reference, &document).await;
        assert_eq!(answer.status, status, "{reference}: {answer:?}");
        let expected = if status == 201 { 200 } else { 404 };
        for reference in ["good", &digest] {
            let target = format!("/v2/{app}/manifests/{reference}");
            served.head(target).await.expect(expected);
        }
    }
    let many: Vec<_> = (0..100).map(|tag| format!("tag=t{tag}")).collect();
    let reference = format!("{digest}?{}", many.join("&"));
    let answer = served.put_manifest(&app, &reference, &document).await;
    answer.expect(414);
    let none = served.head(format!("/v2/{app}/manifests/t0")).await;
    none.expect(404);
}

async fn missing_content_is_named(served: &Served) {
    let app = served.repository("app");
    let image = image(served, &app).await;
    let missing = |label: &str| descriptor(LAYER, label.as_bytes(), sha256);
    for (document, count) in [
        (image.and(json!({"layers": [missing("a")]})), 1),
        (
            image.and(json!({"config": missing("c"), "layers": [missing("a"), missing("b")]})),
            3,
        ),
        (
            Document::index(vec![descriptor(IMAGE, b"child", sha256)]),
            1,
        ),
        (
            Document::index(vec![descriptor(INDEX, b"child", sha512)]),
            1,
        ),
        // buildkit keeps its cache in an index of blobs.
        (
            Document::index(vec![
                missing("a"),
                descriptor(LAYER, &bytes("layer", 500), sha256),
            ]),
            1,
        ),
    ] {
        let answer = served.put_manifest(&app, "latest", &document).await;
        answer.refused(400, "MANIFEST_BLOB_UNKNOWN");
        assert_eq!(answer.codes().len(), count, "{answer:?}");
    }
    // What another repository has is missing, too.
    let answer = served
        .put_manifest(&served.repository("other"), "latest", &image)
        .await;
    answer.refused(400, "MANIFEST_BLOB_UNKNOWN");
    served.push(&app, "latest", &image).await;
}

async fn what_is_no_manifest_is_refused(served: &Served) {
    let app = served.repository("app");
    let image = image(served, &app).await;
    let layer = image.json()["layers"][0].clone();
    let with = |field: &str, value: Value| {
        let mut layer = layer.clone();
        layer[field] = value;
        image.and(json!({"layers": [layer]})).bytes
    };
    let text = String::from_utf8(image.bytes.to_vec()).unwrap();
    for body in [
        b"".to_vec().into(),
        b"{}".to_vec().into(),
        b"[]".to_vec().into(),
        b"not json".to_vec().into(),
        b"\xff\xfe".to_vec().into(),
        image.bytes.slice(..image.bytes.len() - 1),
        format!("{text}{text}").into(),
        text.replacen('{', r#"{"schemaVersion":2,"#, 1).into(),
        image.and(json!({"schemaVersion": 1})).bytes,
        image.and(json!({"schemaVersion": "2"})).bytes,
        image.and(json!({"config": null})).bytes,
        // One document that is two, depending on who reads it.
        image.and(json!({"manifests": []})).bytes,
        image.and(json!({"annotations": {"a": 1}})).bytes,
        with("size", json!(-1)),
        with("size", json!("500")),
        with("digest", json!("sha256:bad")),
        with("digest", Value::Null),
        with("mediaType", json!("no media type")),
    ] {
        let put = Ask::put(format!("/v2/{app}/manifests/latest"))
            .header("content-type", IMAGE)
            .body(&body);
        let answer = served.ask(put).await;
        assert_eq!(answer.status, 400, "{body:?}: {answer:?}");
        assert!(["MANIFEST_INVALID", "DIGEST_INVALID"].contains(&&*answer.codes()[0]));
    }
    served
        .head(format!("/v2/{app}/manifests/latest"))
        .await
        .expect(404);
}

async fn large_manifests_are_accepted_up_to_a_limit(served: &Served) {
    let app = served.repository("app");
    let sized = |size: usize| {
        let frame = Document::note("").bytes.len();
        Document::note(&"x".repeat(size - frame))
    };
    let limit = 4 << 20;
    for known in [true, false] {
        for (size, status) in [(limit, 201), (limit + 1, 413), (6 << 20, 413)] {
            let document = sized(size);
            assert_eq!(document.bytes.len(), size);
            let target = format!("/v2/{app}/manifests/{size}");
            let put = Ask::put(&target)
                .header("content-type", INDEX)
                .send(known, &document.bytes);
            let answer = served.ask(put).await.expect(status);
            if status == 201 {
                let back = served.get(answer.header("location")).await;
                assert_eq!(back.expect(200).body, document.bytes);
            }
        }
    }
}

async fn what_the_client_has_is_not_sent_again(served: &Served) {
    let app = served.repository("app");
    let document = Document::note("known");
    let digest = document.digest();
    let by_digest = served.push(&app, "latest", &document).await;
    for target in [&by_digest, &format!("/v2/{app}/manifests/latest")] {
        for (known, status) in [
            (format!("\"{digest}\""), 304),
            (digest.clone(), 304),
            (format!("\"{}\"", sha256(b"other")), 200),
        ] {
            let get = Ask::get(target).header("if-none-match", known);
            let answer = served.ask(get).await.expect(status);
            assert_eq!(answer.header("docker-content-digest"), digest);
        }
    }
}
