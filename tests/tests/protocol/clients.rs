//! What clients do, request for request. The clients themselves are run elsewhere, where they are installed; here a
//! registry is held to what their code expects, whichever version is at hand.

use serde_json::{Value, json};

use crate::content::{
    CONFIG, DOCKER_IMAGE, Document, EMPTY, IMAGE, INDEX, LAYER, bytes, descriptor, sha256, sha512,
};
use crate::served::Served;
use crate::ways::{CHUNK, chunk, encode, finish};
use crate::wire::Ask;

promises!(
    docker_pushes_and_pulls,
    containerd_pushes_and_pulls,
    skopeo_copies_and_deletes,
    crane_pushes_and_signs,
    oras_pushes_and_attaches,
    regclient_pushes_in_chunks_and_recovers,
);

fn post(repository: &str, query: &str) -> Ask {
    Ask::post(format!("/v2/{repository}/blobs/uploads/{query}"))
}

/// docker reads the range with `%d-%d` and needs the end not before the start.
fn docker_range(range: &str) -> u64 {
    let (start, end) = range.split_once('-').unwrap();
    let [start, end] = [start, end].map(|number| number.parse::<u64>().unwrap());
    assert!(start == 0 && end >= start, "{range}");
    end
}

async fn docker_pushes_and_pulls(served: &Served) {
    let (app, base) = (served.repository("app"), served.repository("base"));
    let (layer, shared, config) = (bytes("layer", 90_000), bytes("shared", 5000), b"{}");
    served.push_blob(&base, &shared).await;
    served.get("/v2/").await.expect(200);

    for content in [&layer[..], config] {
        let digest = sha256(content);
        let blob = format!("/v2/{app}/blobs/{digest}");
        served.head(&blob).await.expect(404);
        let begun = served.ask(post(&app, "")).await.expect(202);
        let patch =
            Ask::patch(begun.header("location")).header("content-type", "application/octet-stream");
        let sent = served.ask(patch.chunked(content)).await.expect(202);
        let end = docker_range(sent.header("range"));
        assert_eq!(end + 1, content.len() as u64);
        let put = Ask::put(finish(sent.header("location"), &digest));
        served.ask(put).await.expect(201);
        // At once, or the push fails.
        let head = served.head(&blob).await.expect(200);
        assert_eq!(head.header("content-length"), content.len().to_string());
    }
    // It tries some repositories, and gives up the uploads that come of it.
    let mount = |from: &str| format!("?from={}&mount={}", encode(from), encode(&sha256(&shared)));
    let elsewhere = served.repository("elsewhere");
    let left = served.ask(post(&app, &mount(&elsewhere))).await.expect(202);
    served.delete(left.header("location")).await.expect(204);
    served.ask(post(&app, &mount(&base))).await.expect(201);

    let rootfs = "application/vnd.docker.image.rootfs.diff.tar.gzip";
    let image = Document::new(
        DOCKER_IMAGE,
        &json!({
            "schemaVersion": 2,
            "mediaType": DOCKER_IMAGE,
            "config": descriptor("application/vnd.docker.container.image.v1+json", config, sha256),
            "layers": [descriptor(rootfs, &layer, sha256), descriptor(rootfs, &shared, sha256)],
        }),
    );
    let pushed = served
        .put_manifest(&app, "latest", &image)
        .await
        .expect(201);
    assert_eq!(pushed.header("docker-content-digest"), image.digest());

    let accept = |ask: Ask| {
        [DOCKER_IMAGE, INDEX, IMAGE, "application/json"]
            .into_iter()
            .fold(ask, |ask, accept| ask.header("accept", accept))
    };
    let tag = Ask::head(format!("/v2/{app}/manifests/latest"));
    let head = served.ask(accept(tag)).await.expect(200);
    assert_eq!(head.header("content-type"), DOCKER_IMAGE);
    assert_eq!(head.header("content-length"), image.bytes.len().to_string());
    let digest = head.header("docker-content-digest");
    let get = Ask::get(format!("/v2/{app}/manifests/{digest}"));
    assert_eq!(served.ask(accept(get)).await.expect(200).body, image.bytes);
    let blob = format!("/v2/{app}/blobs/{}", sha256(&layer));
    let rest = Ask::get(&blob).header("range", "bytes=40000-");
    let rest = served.ask(rest).await.expect(206);
    assert_eq!(rest.header("content-range"), "bytes 40000-89999/90000");
    assert_eq!(rest.body, layer[40_000..]);
}

async fn containerd_pushes_and_pulls(served: &Served) {
    let (app, base) = (served.repository("app"), served.repository("base"));
    let (layer, empty, config) = (bytes("layer", 50_000), Vec::new(), b"{}".to_vec());
    served.push_blob(&base, &layer).await;
    let layers = vec![
        descriptor(LAYER, &layer, sha256),
        descriptor(LAYER, &empty, sha256),
    ];
    let image = Document::image(descriptor(CONFIG, &config, sha256), layers);

    // From a mirror's point of view, with the name of the host it stands for.
    let head = |target: String| {
        Ask::head(target + "?ns=docker.io").header("accept", format!("{IMAGE}, */*"))
    };
    let tag = format!("/v2/{app}/manifests/latest");
    served.ask(head(tag.clone())).await.expect(404);
    for content in [&layer, &empty, &config] {
        let digest = sha256(content);
        let blob = format!("/v2/{app}/blobs/{digest}");
        served.ask(head(blob)).await.expect(404);
        // Where it came from is written on some layers.
        let query = format!("?mount={}&from={}", encode(&digest), encode(&base));
        let answer = served.ask(post(&app, &query)).await;
        if answer.status == 201 {
            assert_eq!(content, &layer);
            continue;
        }
        let put = Ask::put(finish(answer.expect(202).header("location"), &digest))
            .header("content-type", "application/octet-stream");
        let put = put.send(!content.is_empty(), content);
        served.ask(put).await.expect(201);
    }
    served.push(&app, "latest", &image).await;

    let resolved = served.ask(head(tag)).await.expect(200);
    let digest = resolved.header("docker-content-digest");
    assert_eq!(digest, image.digest());
    // What it is isn't known yet; a blob of that digest would do as well.
    let blob = format!("/v2/{app}/blobs/{digest}");
    served.ask(head(blob)).await.expect(404);
    let get = Ask::get(format!("/v2/{app}/manifests/{digest}?ns=docker.io"));
    let get = get.header("accept", format!("{IMAGE}, */*"));
    assert_eq!(served.ask(get).await.expect(200).body, image.bytes);
    for (start, end) in [(0, 20_000), (20_000, 40_000), (40_000, 50_000)] {
        let get = Ask::get(format!("/v2/{app}/blobs/{}?ns=docker.io", sha256(&layer)))
            .header("accept-encoding", "zstd;q=1.0, gzip;q=0.8, deflate;q=0.5")
            .header("range", format!("bytes={start}-{}", end - 1));
        let part = served.ask(get).await.expect(206);
        assert_eq!(part.body, layer[start..end]);
    }
    let types = "artifactType=a%2Fb&artifactType=c%2Fd";
    let list = served
        .get(format!("/v2/{app}/referrers/{digest}?{types}"))
        .await;
    assert_eq!(list.expect(200).json()["manifests"], json!([]));
}

async fn skopeo_copies_and_deletes(served: &Served) {
    let (app, other) = (served.repository("app"), served.repository("other"));
    served.get("/v2/").await.expect(200);
    let (layer, config) = (bytes("layer", 4000), b"{}".to_vec());
    for (content, known) in [(&layer, true), (&config, false)] {
        let digest = sha256(content);
        for repository in [&app, &other] {
            let blob = format!("/v2/{repository}/blobs/{digest}");
            served.head(blob).await.expect(404);
        }
        let begun = served.ask(post(&app, "")).await.expect(202);
        let patch =
            Ask::patch(begun.header("location")).header("content-type", "application/octet-stream");
        let sent = served.ask(patch.send(known, content)).await.expect(202);
        let put = Ask::put(finish(sent.header("location"), &digest))
            .header("content-type", "application/octet-stream");
        served.ask(put).await.expect(201);
    }
    let layers = vec![descriptor(LAYER, &layer, sha256)];
    let image = Document::image(descriptor(CONFIG, &config, sha256), layers);
    served.push(&app, "v1", &image).await;

    // Images that are pulled in pieces, by podman: as many parts as were asked for.
    let get = Ask::get(format!("/v2/{app}/blobs/{}", sha256(&layer)))
        .header("range", "bytes=100-199,3900-3999");
    let parts = served.ask(get).await.expect(206);
    let parts_begin = parts.header("content-type");
    assert!(parts_begin.starts_with("multipart/byteranges; boundary="));

    let list = served.get(format!("/v2/{app}/tags/list")).await.expect(200);
    assert_eq!(list.json()["tags"], json!(["v1"]));
    let head = served.head(format!("/v2/{app}/manifests/v1")).await;
    let digest = head.expect(200).header("docker-content-digest").to_owned();
    let manifest = format!("/v2/{app}/manifests/{digest}");
    served.delete(&manifest).await.expect(202);
    served
        .get(format!("/v2/{app}/manifests/v1"))
        .await
        .expect(404);
}

async fn crane_pushes_and_signs(served: &Served) {
    let app = served.repository("app");
    // May I push? The upload is given up, if there is time for it.
    let asked = served.ask(post(&app, "")).await.expect(202);
    served.delete(asked.header("location")).await.expect(204);

    let (layer, config) = (bytes("layer", 4000), b"{}".to_vec());
    for content in [&layer, &config] {
        let digest = sha256(content);
        let blob = format!("/v2/{app}/blobs/{digest}");
        served.head(&blob).await.expect(404);
        let query = format!(
            "?from={}&mount={}&origin=index.docker.io",
            encode("library/nothing"),
            encode(&digest)
        );
        let begun = served.ask(post(&app, &query)).await.expect(202);
        let begun_again = post(&app, "").header("content-type", "application/json");
        served.delete(begun.header("location")).await.expect(204);
        let begun = served.ask(begun_again).await.expect(202);
        let sent = served
            .ask(Ask::patch(begun.header("location")).body(content))
            .await
            .expect(202);
        let put = Ask::put(finish(sent.header("location"), &digest))
            .header("content-type", "application/json");
        served.ask(put).await.expect(201);
    }
    let layers = vec![descriptor(LAYER, &layer, sha256)];
    let image = Document::image(descriptor(CONFIG, &config, sha256), layers);
    served.push(&app, "latest", &image).await;

    // cosign's signature; whether there are lists of referrers is asked by asking for one.
    let signature = Document::image(descriptor(EMPTY, &config, sha256), Vec::new()).and(json!({
        "artifactType": "application/vnd.dev.sigstore.bundle.v0.3+json",
        "subject": image.descriptor(sha256),
    }));
    served.push(&app, &signature.digest(), &signature).await;
    let list = format!("/v2/{app}/referrers/{}", image.digest());
    let list = served.get(list).await.expect(200);
    assert_eq!(list.header("content-type"), INDEX);
    assert_eq!(list.json()["manifests"][0]["digest"], signature.digest());
    let legacy = image.digest().replace(':', "-") + ".sig";
    served.push(&app, &legacy, &signature).await;
    let tags = served.get(format!("/v2/{app}/tags/list?n=1000")).await;
    assert_eq!(tags.expect(200).json()["tags"], json!(["latest", legacy]));
}

async fn oras_pushes_and_attaches(served: &Served) {
    let app = served.repository("app");
    let (content, empty) = (bytes("content", 4000), b"{}".to_vec());
    for content in [&content, &empty] {
        let digest = sha256(content);
        let blob = format!("/v2/{app}/blobs/{digest}");
        served.head(&blob).await.expect(404);
        let begun = served.ask(post(&app, "")).await.expect(202);
        let put = Ask::put(finish(begun.header("location"), &digest))
            .header("content-type", "application/octet-stream")
            .body(content);
        served.ask(put).await.expect(201);
        // It seeks in blobs if this is said, in these letters.
        let head = served.head(&blob).await.expect(200);
        assert_eq!(head.header("accept-ranges"), "bytes");
    }
    // Helm leaves the media type out.
    let helm = "application/vnd.cncf.helm.config.v1+json";
    let chart = Document::new(
        IMAGE,
        &json!({
            "schemaVersion": 2,
            "config": descriptor(helm, &empty, sha256),
            "layers": [descriptor("application/vnd.cncf.helm.chart.content.v1.tar+gzip", &content, sha256)],
        }),
    );
    served.push(&app, "1.0.0_build", &chart).await;

    // Are there lists of referrers?
    let zeros = format!("/v2/{app}/referrers/sha256:{}", "0".repeat(64));
    let none = served.get(zeros).await.expect(200);
    assert_eq!(none.header("content-type"), INDEX);
    let attached = Document::image(descriptor(EMPTY, &empty, sha256), Vec::new()).and(json!({
        "artifactType": "application/spdx+json",
        "subject": chart.descriptor(sha256),
    }));
    let pushed = served
        .put_manifest(&app, &attached.digest(), &attached)
        .await
        .expect(201);
    assert_eq!(pushed.header("oci-subject"), chart.digest());
    let query = "artifactType=application%2Fspdx%2Bjson&n=100";
    let list = format!("/v2/{app}/referrers/{}?{query}", chart.digest());
    let list = served.get(list).await.expect(200);
    assert_eq!(list.header("oci-filters-applied"), "artifactType");
    assert_eq!(list.json()["manifests"][0]["digest"], attached.digest());
    let entries = list.json()["manifests"].as_array().map(Vec::len);
    assert_eq!(entries, Some(1));
    // Where there were none it would look for a tag, and one that is too long is just not there.
    let tag = sha512(b"subject").replace(':', "-");
    served
        .get(format!("/v2/{app}/manifests/{tag}"))
        .await
        .expect(404);
}

async fn regclient_pushes_in_chunks_and_recovers(served: &Served) {
    let app = served.repository("app");
    let content = bytes("chunked", 3 * CHUNK);
    let digest = sha512(&content);
    let mount = post(&app, &format!("?mount={}", encode(&digest)));
    let answer = served.ask(mount).await.expect(202);
    served.delete(answer.header("location")).await.expect(204);
    let begun = served.ask(post(&app, "?digest-algorithm=sha512")).await;
    let begun = begun.expect(202);
    let least = begun.find("oci-chunk-min-length");
    assert!(least.is_none_or(|least| least.parse::<usize>().unwrap() <= CHUNK));
    let mut at = begun.goes_on(0);
    let send =
        |at: &str, start: usize| chunk(Ask::patch(at), start, &content[start..start + CHUNK]);
    at = served.ask(send(&at, 0)).await.expect(202).goes_on(CHUNK);
    // A chunk is taken for lost and sent again; the answer says where to go on.
    let refused = served.ask(send(&at, 0)).await.expect(416);
    at = refused.goes_on(CHUNK);
    at = served
        .ask(send(&at, CHUNK))
        .await
        .expect(202)
        .goes_on(2 * CHUNK);
    at = served.get(&at).await.expect(204).goes_on(2 * CHUNK);
    at = served
        .ask(send(&at, 2 * CHUNK))
        .await
        .expect(202)
        .goes_on(3 * CHUNK);
    // The digest is appended to the address as it is.
    let glue = if at.contains('?') { '&' } else { '?' };
    let put = Ask::put(format!("{at}{glue}digest={}", encode(&digest)));
    let put = served.ask(put).await.expect(201);
    assert_eq!(put.header("docker-content-digest"), digest);

    let image = Document::image(descriptor(CONFIG, &content, sha512), Vec::new());
    served.push(&app, "tag", &image).await;
    served
        .delete(format!("/v2/{app}/manifests/tag"))
        .await
        .expect(202);
    let listed = served.get(format!("/v2/{app}/tags/list")).await;
    assert_eq!(listed.expect(200).json()["tags"], Value::Array(Vec::new()));
}
