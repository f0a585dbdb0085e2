//! Blobs on their way in.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::content::{ALGORITHMS, Algorithm, bytes, sha256, sha512};
use crate::served::Served;
use crate::ways::{CHUNK, Way, chunk, finish};
use crate::wire::Ask;

promises!(
    every_way_to_push_ends_in_the_same_blob,
    a_chunk_out_of_order_is_refused_and_the_upload_goes_on,
    content_with_another_digest_is_refused_on_every_way,
    a_post_without_the_blob_it_names_starts_an_upload,
    an_upload_given_up_is_forgotten,
    an_old_address_of_an_upload_stays_good,
    the_address_of_an_upload_takes_any_query,
    an_upload_belongs_to_its_repository,
    without_a_good_digest_the_upload_stays_open,
    a_client_may_name_the_algorithm_first,
    a_lost_answer_may_be_asked_for_again,
    what_arrived_before_the_line_broke_is_kept,
    sizes_must_agree,
);

async fn every_way_to_push_ends_in_the_same_blob(served: &Served) {
    for (name, digest) in [("sha256", sha256 as Algorithm), ("sha512", sha512)] {
        for way in Way::ALL {
            for size in [0, 2, 512, CHUNK, 3067] {
                let repository = served.repository(&format!("{name}/{way:?}").to_lowercase());
                let content = bytes(&format!("{name} {way:?}"), size);
                let digest = digest(&content);
                let pushed = way.push(served, &repository, &digest, &content).await;
                let blob = pushed.header("location");
                let head = served.head(blob).await.expect(200);
                assert_eq!(head.header("content-length"), size.to_string());
                assert_eq!(head.header("docker-content-digest"), digest);
                let get = served.get(blob).await.expect(200);
                assert_eq!(get.body, content, "{way:?}");
                assert_eq!(get.header("docker-content-digest"), digest);
                served.delete(blob).await.expect(202);
                served.head(blob).await.expect(404);
                served.delete(blob).await.refused(404, "BLOB_UNKNOWN");
            }
        }
    }
}

/// Before every good chunk a bad one is sent, by `PATCH` and by `PUT`.
async fn a_chunk_out_of_order_is_refused_and_the_upload_goes_on(served: &Served) {
    let app = served.repository("app");
    let content = bytes("ordered", 3067);
    for digest in ALGORITHMS.map(|digest| digest(&content)) {
        for last_in_put in [false, true] {
            let mut at = served.begin(&app).await;
            let chunks: Vec<_> = content.chunks(CHUNK).enumerate().collect();
            for (index, piece) in &chunks {
                let start = index * CHUNK;
                for (wrong, other) in &chunks {
                    if wrong == index {
                        continue;
                    }
                    for ask in [Ask::patch(&at), Ask::put(finish(&at, &digest))] {
                        let refused = served.ask(chunk(ask, wrong * CHUNK, other)).await;
                        refused.refused(416, "BLOB_UPLOAD_INVALID");
                        // With both headers regclient goes on by itself.
                        refused.goes_on(start);
                    }
                    for target in [at.clone(), finish(&at, &digest)] {
                        at = served.get(target).await.expect(204).goes_on(start);
                    }
                }
                if last_in_put && index + 1 == chunks.len() {
                    let put = chunk(Ask::put(finish(&at, &digest)), start, piece);
                    served.ask(put).await.expect(201);
                } else {
                    let sent = served.ask(chunk(Ask::patch(&at), start, piece)).await;
                    at = sent.expect(202).goes_on(start + piece.len());
                }
            }
            if !last_in_put {
                served.ask(Ask::put(finish(&at, &digest))).await.expect(201);
            }
            let blob = format!("/v2/{app}/blobs/{digest}");
            assert_eq!(served.get(&blob).await.expect(200).body, content);
            served.delete(&blob).await.expect(202);
        }
    }
}

async fn content_with_another_digest_is_refused_on_every_way(served: &Served) {
    let app = served.repository("app");
    for way in Way::ALL {
        for algorithm in ALGORITHMS {
            let (content, other) = (bytes("sent", 3067), algorithm(b"meant"));
            let refused = way.attempt(served, &app, &other, &content).await;
            refused.refused(400, "DIGEST_INVALID");
            for digest in [other, algorithm(&content)] {
                let blob = format!("/v2/{app}/blobs/{digest}");
                served.head(blob).await.expect(404);
            }
        }
    }
}

async fn a_post_without_the_blob_it_names_starts_an_upload(served: &Served) {
    let app = served.repository("app");
    let content = bytes("later", 50);
    let digest = sha256(&content);
    let begun = served
        .ask(Ask::post(finish(
            &format!("/v2/{app}/blobs/uploads/"),
            &digest,
        )))
        .await;
    let at = begun.expect(202).goes_on(0);
    let put = Ask::put(finish(&at, &digest)).body(&content);
    served.ask(put).await.expect(201);
}

async fn an_upload_given_up_is_forgotten(served: &Served) {
    let app = served.repository("app");
    let content = bytes("given up", 100);
    let at = served.begin(&app).await;
    served
        .ask(Ask::patch(&at).chunked(&content))
        .await
        .expect(202);
    served.delete(&at).await.expect(204);
    for ask in [
        Ask::get(&at),
        Ask::patch(&at).body("more"),
        Ask::put(finish(&at, &sha256(b"given up"))),
        Ask::delete(&at),
    ] {
        served.ask(ask).await.refused(404, "BLOB_UPLOAD_UNKNOWN");
    }
    served.head(&at).await.expect(404);
    let blob = format!("/v2/{app}/blobs/{}", sha256(&content));
    served.head(blob).await.expect(404);
}

async fn an_old_address_of_an_upload_stays_good(served: &Served) {
    let content = bytes("stale", 2 * CHUNK);
    let first = served.begin(&served.repository("app")).await;
    let (head, tail) = content.split_at(CHUNK);
    let next = served.ask(chunk(Ask::patch(&first), 0, head)).await;
    let next = next.expect(202).goes_on(CHUNK);
    let again = served.ask(chunk(Ask::patch(&first), 0, head)).await;
    again.refused(416, "BLOB_UPLOAD_INVALID");
    for status in [served.get(&first).await, served.head(&first).await] {
        assert_eq!(status.expect(204).goes_on(CHUNK), next);
    }
    let last = chunk(Ask::put(finish(&first, &sha256(&content))), CHUNK, tail);
    served.ask(last).await.expect(201);
}

/// Clients add the digest to whatever is there: merged and sorted in Go, appended by regclient.
async fn the_address_of_an_upload_takes_any_query(served: &Served) {
    let app = served.repository("app");
    for (number, query) in [
        "?digest=DIGEST",
        "?_state=a%2Bb%3D&digest=DIGEST",
        "?digest=DIGEST&ns=docker.io&state=x",
        "?&digest=DIGEST",
    ]
    .into_iter()
    .enumerate()
    {
        for encoded in [":", "%3A", "%3a"] {
            let content = bytes(&format!("{number} {encoded}"), 60);
            let digest = sha256(&content).replace(':', encoded);
            let at = served.begin(&app).await;
            let part = Ask::patch(format!("{at}?_state=x")).chunked(&content[..30]);
            let at = served.ask(part).await.expect(202).goes_on(30);
            let put = Ask::put(format!("{at}{}", query.replace("DIGEST", &digest)));
            served.ask(put.body(&content[30..])).await.expect(201);
        }
    }
}

async fn an_upload_belongs_to_its_repository(served: &Served) {
    let (here, there) = (served.repository("here"), served.repository("there"));
    let at = served.begin(&here).await;
    let elsewhere = at.replace(&here, &there);
    for ask in [
        Ask::get(&elsewhere),
        Ask::patch(&elsewhere).body("x"),
        Ask::put(finish(&elsewhere, &sha256(b"x"))).body("x"),
        Ask::delete(&elsewhere),
    ] {
        served.ask(ask).await.refused(404, "BLOB_UPLOAD_UNKNOWN");
    }
    served.get(&at).await.expect(204).goes_on(0);
}

async fn without_a_good_digest_the_upload_stays_open(served: &Served) {
    let content = bytes("open", 100);
    let at = served.begin(&served.repository("app")).await;
    served
        .ask(Ask::patch(&at).chunked(&content))
        .await
        .expect(202);
    for query in ["", "?digest=", "?digest=sha256%3Abad", "?digest=md5%3A1234"] {
        let put = served.ask(Ask::put(format!("{at}{query}"))).await;
        put.refused(400, "DIGEST_INVALID");
        served.get(&at).await.expect(204).goes_on(content.len());
    }
    let put = Ask::put(finish(&at, &sha256(&content)));
    served.ask(put).await.expect(201);
}

async fn a_client_may_name_the_algorithm_first(served: &Served) {
    let uploads = format!("/v2/{}/blobs/uploads/", served.repository("app"));
    let content = bytes("hinted", 3000);
    for (hint, digest) in [
        ("sha256", sha256(&content)),
        ("sha512", sha512(&content)),
        // A hint is no promise.
        ("sha512", sha256(&content)),
        ("sha256", sha512(&content)),
    ] {
        let begin = Ask::post(format!("{uploads}?digest-algorithm={hint}"));
        let at = served.ask(begin).await.expect(202).goes_on(0);
        let sent = served.ask(Ask::patch(&at).chunked(&content)).await;
        let at = sent.expect(202).goes_on(content.len());
        let put = served.ask(Ask::put(finish(&at, &digest))).await.expect(201);
        assert_eq!(put.header("docker-content-digest"), digest);
        let blob = served.get(put.header("location")).await;
        assert_eq!(blob.expect(200).body, content);
    }
    let begin = Ask::post(format!("{uploads}?digest-algorithm=md5"));
    served.ask(begin).await.refused(400, "DIGEST_INVALID");
}

async fn a_lost_answer_may_be_asked_for_again(served: &Served) {
    let content = bytes("lost answer", 100);
    let at = served.begin(&served.repository("app")).await;
    let target = finish(&at, &sha256(&content));
    for _ in 0..2 {
        served
            .ask(Ask::put(&target).body(&content))
            .await
            .expect(201);
    }
    let other = Ask::put(finish(&at, &sha256(b"other"))).body("other");
    served.ask(other).await.refused(404, "BLOB_UPLOAD_UNKNOWN");
}

async fn what_arrived_before_the_line_broke_is_kept(served: &Served) {
    let content = bytes("broken", 3000);
    let at = served.begin(&served.repository("app")).await;
    let mut line = TcpStream::connect(served.wire.address()).await.unwrap();
    let head = format!("PATCH {at} HTTP/1.1\r\nHost: registry\r\nContent-Length: 3000\r\n\r\n");
    line.write_all(head.as_bytes()).await.unwrap();
    line.write_all(&content[..2000]).await.unwrap();
    line.shutdown().await.unwrap();
    // The server hangs up when it is done with what it got.
    line.read_to_end(&mut Vec::new()).await.unwrap();
    let at = served.get(&at).await.expect(204).goes_on(2000);
    let rest = chunk(Ask::patch(&at), 2000, &content[2000..]);
    let at = served.ask(rest).await.expect(202).goes_on(3000);
    let put = Ask::put(finish(&at, &sha256(&content)));
    served.ask(put).await.expect(201);
}

async fn sizes_must_agree(served: &Served) {
    let at = served.begin(&served.repository("app")).await;
    for range in ["0-3", "0-5", "0-99"] {
        for known in [true, false] {
            let patch = Ask::patch(&at).header("content-range", range);
            let refused = served.ask(patch.send(known, "hello")).await;
            refused.refused(400, "SIZE_INVALID");
            served.get(&at).await.expect(204).goes_on(0);
        }
    }
    // Forms that aren't the specification's but can't be misunderstood.
    for (range, received) in [("bytes 0-4/10", 5), ("bytes=5-9", 10)] {
        let patch = Ask::patch(&at).header("content-range", range);
        let sent = served.ask(patch.body("hello")).await;
        sent.expect(202).goes_on(received);
    }
}
