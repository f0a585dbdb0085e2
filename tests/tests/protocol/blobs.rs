//! Blobs as they are pulled.

use crate::content::{ALGORITHMS, bytes, sha256};
use crate::served::Served;
use crate::ways::Way;
use crate::wire::Ask;

promises!(
    a_blob_that_is_not_there_is_unknown,
    head_says_what_get_says,
    a_blob_belongs_to_its_repository,
    digests_and_names_may_be_encoded,
    headers_of_clients_change_nothing,
    the_same_blob_may_be_pushed_by_many_at_once,
    names_may_look_like_paths,
);

async fn a_blob_that_is_not_there_is_unknown(served: &Served) {
    let app = served.repository("app");
    for exists in [false, true] {
        if exists {
            served.push_blob(&app, &bytes("another", 10)).await;
        }
        for digest in ALGORITHMS.map(|digest| digest(b"not there")) {
            let blob = format!("/v2/{app}/blobs/{digest}");
            let missing = served.get(&blob).await;
            assert_eq!(missing.status, 404);
            assert!(["BLOB_UNKNOWN", "NAME_UNKNOWN"].contains(&&*missing.codes()[0]));
            served.head(&blob).await.expect(404);
        }
    }
    // An algorithm that the registry can't compute is no mistake of the client's.
    for digest in ["sha256:baddigeststring", "sha256:", "multihash+base58:QmRZ"] {
        let missing = served.get(format!("/v2/{app}/blobs/{digest}")).await;
        assert!([400, 404].contains(&missing.status), "{missing:?}");
    }
    let repeated = "Cached negative answers are fatal to clients that look before they push.";
    let (digest, content) = (sha256(repeated.as_bytes()), repeated.as_bytes());
    let blob = format!("/v2/{app}/blobs/{digest}");
    served.head(&blob).await.expect(404);
    Way::PatchStream.push(served, &app, &digest, content).await;
    served.head(&blob).await.expect(200);
}

async fn head_says_what_get_says(served: &Served) {
    let app = served.repository("app");
    for digest in ALGORITHMS {
        for content in [bytes("content", 70_000), Vec::new(), b"{}".to_vec()] {
            let digest = digest(&content);
            Way::PostPut.push(served, &app, &digest, &content).await;
            let blob = format!("/v2/{app}/blobs/{digest}");
            let get = served.get(&blob).await.expect(200);
            assert_eq!(get.body, content);
            assert_eq!(get.header("docker-content-digest"), digest);
            assert_eq!(get.header("content-type"), "application/octet-stream");
            // oras seeks only if it reads exactly this.
            assert_eq!(get.header("accept-ranges"), "bytes");
            assert_eq!(get.header("etag"), format!("\"{digest}\""));
            let head = served.head(&blob).await.expect(200);
            assert_eq!(head.lasting_headers(), get.lasting_headers());
        }
    }
}

async fn a_blob_belongs_to_its_repository(served: &Served) {
    let (here, there) = (served.repository("here"), served.repository("there"));
    let content = bytes("mine", 100);
    let blob = served.push_blob(&here, &content).await;
    let elsewhere = blob.replace(&here, &there);
    served.get(&elsewhere).await.expect(404);
    served.head(&elsewhere).await.expect(404);
    served.push_blob(&there, &content).await;
    served.delete(&blob).await.expect(202);
    assert_eq!(served.get(&elsewhere).await.expect(200).body, content);
}

async fn digests_and_names_may_be_encoded(served: &Served) {
    let app = served.repository("app");
    let content = bytes("encoded", 100);
    let blob = served.push_blob(&app, &content).await;
    let (name, digest) = (served.repository("%61pp"), sha256(&content));
    for colon in ["%3A", "%3a"] {
        let digest = digest.replace(':', colon);
        for target in [
            blob.replace(':', colon),
            format!("/v2/{name}/blobs/{digest}?ns=docker.io"),
        ] {
            let answer = served.get(target).await.expect(200);
            assert_eq!(answer.body, content);
            assert_eq!(
                answer.header("docker-content-digest"),
                digest.replace(colon, ":")
            );
        }
    }
}

async fn headers_of_clients_change_nothing(served: &Served) {
    let content = bytes("headers", 5000);
    let blob = served.push_blob(&served.repository("app"), &content).await;
    for (name, value) in [
        (
            "accept-encoding",
            "zstd;q=1.0, gzip;q=0.8, deflate;q=0.5, identity;q=0",
        ),
        (
            "accept",
            "application/vnd.oci.image.layer.v1.tar+gzip, */*;q=0.1",
        ),
        ("accept", "text/html"),
        ("authorization", "Basic Og=="),
    ] {
        let answer = served.ask(Ask::get(&blob).header(name, value)).await;
        assert_eq!(answer.expect(200).body, content, "{name}: {value}");
    }
}

async fn the_same_blob_may_be_pushed_by_many_at_once(served: &Served) {
    let app = served.repository("app");
    let content = bytes("popular", 100_000);
    let digest = sha256(&content);
    let others: [_; 4] = std::array::from_fn(|_| crate::wire::Wire::new(served.wire.address()));
    let target = format!("/v2/{app}/blobs/uploads/?digest={digest}");
    let pushes = others.iter().map(|wire| {
        let push = Ask::post(&target).chunked(&content);
        async { wire.ask(push).await.expect(201) }
    });
    futures::future::join_all(pushes).await;
    let blob = served.get(format!("/v2/{app}/blobs/{digest}")).await;
    assert_eq!(blob.expect(200).body, content);
}

/// Paths are read from the right: what looks like one of the protocol's words may be part of a name.
async fn names_may_look_like_paths(served: &Served) {
    for name in [
        "blobs/uploads",
        "manifests/latest/blobs",
        "tags/list",
        "referrers",
        "a/blobs/uploads/b",
    ] {
        let repository = served.repository(name);
        let content = bytes(name, 100);
        let blob = served.push_blob(&repository, &content).await;
        assert_eq!(served.get(&blob).await.expect(200).body, content, "{name}");
    }
}
