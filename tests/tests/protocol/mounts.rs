//! Blobs taken over from another repository.

use crate::content::{ALGORITHMS, bytes, sha256};
use crate::served::Served;
use crate::ways::{Way, encode, finish};
use crate::wire::{Answer, Ask};

promises!(
    a_blob_can_be_taken_over_by_name,
    a_blob_can_be_taken_over_from_anywhere,
    a_mount_that_is_not_possible_starts_an_upload,
    a_mount_wins_over_a_push_in_one_request,
    a_malformed_digest_is_refused,
);

async fn mount(served: &Served, target: &str, query: &str) -> Answer {
    let post = Ask::post(format!("/v2/{target}/blobs/uploads/?{query}"));
    served.ask(post).await
}

/// The blob is in `target` now, and stays when it is deleted where it came from.
async fn is_mounted(served: &Served, answer: Answer, target: &str, digest: &str, content: &[u8]) {
    let answer = answer.expect(201);
    let blob = format!("/v2/{target}/blobs/{digest}");
    assert_eq!(answer.header("location"), blob);
    assert_eq!(answer.header("docker-content-digest"), digest);
    assert_eq!(served.get(blob).await.expect(200).body, content);
}

async fn a_blob_can_be_taken_over_by_name(served: &Served) {
    let source = served.repository("deep/source");
    for (number, algorithm) in ALGORITHMS.into_iter().enumerate() {
        let content = bytes("mounted", 3000);
        let digest = algorithm(&content);
        Way::PostPut.push(served, &source, &digest, &content).await;
        let (from, mount_of) = (encode(&source), encode(&digest));
        for (order, query) in [
            format!("from={from}&mount={mount_of}"),
            format!("mount={digest}&from={source}&origin=registry.example"),
            format!("mount={mount_of}&from={from}&ns=docker.io"),
        ]
        .iter()
        .enumerate()
        {
            let target = served.repository(&format!("target{number}/{order}"));
            let answer = mount(served, &target, query).await;
            is_mounted(served, answer, &target, &digest, &content).await;
        }
        served
            .delete(format!("/v2/{source}/blobs/{digest}"))
            .await
            .expect(202);
        let kept = served.repository(&format!("target{number}/0"));
        let kept = served.get(format!("/v2/{kept}/blobs/{digest}")).await;
        assert_eq!(kept.expect(200).body, content);
    }
}

async fn a_blob_can_be_taken_over_from_anywhere(served: &Served) {
    let target = served.repository("target");
    for algorithm in ALGORITHMS {
        let content = bytes("from anywhere", 3000);
        let digest = algorithm(&content);
        let source = served.repository("source");
        Way::PostPut.push(served, &source, &digest, &content).await;
        let answer = mount(served, &target, &format!("mount={}", encode(&digest))).await;
        is_mounted(served, answer, &target, &digest, &content).await;
    }
}

/// Any error would end the push in containerd.
async fn a_mount_that_is_not_possible_starts_an_upload(served: &Served) {
    let (source, target) = (served.repository("source"), served.repository("target"));
    served
        .push_blob(&source, &bytes("something else", 10))
        .await;
    for (number, algorithm) in ALGORITHMS.into_iter().enumerate() {
        for (form, from) in [
            String::new(),
            format!("&from={}", encode(&source)),
            format!("&from={}", served.repository("nowhere")),
            "&from=".to_owned(),
            "&from=Not%20A%20Name".to_owned(),
            format!("&from={}", encode(&target)),
        ]
        .iter()
        .enumerate()
        {
            let content = bytes(&format!("nowhere {number} {form}"), 600);
            let digest = algorithm(&content);
            let query = format!("mount={}{from}", encode(&digest));
            let at = mount(served, &target, &query).await.expect(202).goes_on(0);
            served.get(&at).await.expect(204).goes_on(0);
            let put = Ask::put(finish(&at, &digest)).body(&content);
            served.ask(put).await.expect(201);
            // The next ones are left behind, as docker and skopeo do, with a word of it.
            let nothing = algorithm(format!("really nowhere {form}").as_bytes());
            let left = mount(served, &target, &format!("mount={nothing}{from}")).await;
            let left = left.expect(202).goes_on(0);
            served.delete(left).await.expect(204);
        }
    }
}

async fn a_mount_wins_over_a_push_in_one_request(served: &Served) {
    let (source, target) = (served.repository("source"), served.repository("target"));
    let content = bytes("both", 100);
    let digest = sha256(&content);
    served.push_blob(&source, &content).await;
    let query = format!("digest={digest}&from={source}&mount={digest}");
    let answer = mount(served, &target, &query).await;
    is_mounted(served, answer, &target, &digest, &content).await;
}

async fn a_malformed_digest_is_refused(served: &Served) {
    let target = served.repository("target");
    for digest in ["", "sha256", "sha256%3Abad", "md5%3A1234"] {
        let answer = mount(served, &target, &format!("mount={digest}&from=a")).await;
        answer.refused(400, "DIGEST_INVALID");
    }
}
