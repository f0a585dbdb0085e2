//! Parts of blobs.

use crate::content::{ALGORITHMS, bytes};
use crate::served::Served;
use crate::ways::Way;
use crate::wire::{Answer, Ask};

promises!(
    a_part_of_a_blob_can_be_pulled,
    a_part_outside_the_blob_is_refused_with_its_size,
    several_parts_come_one_by_one_in_order,
    what_is_no_range_gets_the_blob,
    a_pull_can_be_resumed,
);

const SIZE: usize = 2048;

async fn pushed(served: &Served) -> (Vec<u8>, Vec<String>) {
    let (app, content) = (served.repository("app"), bytes("ranges", SIZE));
    let mut blobs = Vec::new();
    for algorithm in ALGORITHMS {
        let digest = algorithm(&content);
        Way::PostPut.push(served, &app, &digest, &content).await;
        blobs.push(format!("/v2/{app}/blobs/{digest}"));
    }
    (content, blobs)
}

async fn part(served: &Served, blob: &str, range: &str) -> Answer {
    served.ask(Ask::get(blob).header("range", range)).await
}

async fn a_part_of_a_blob_can_be_pulled(served: &Served) {
    let (content, blobs) = pushed(served).await;
    for blob in &blobs {
        for (range, start, end) in [
            ("bytes=500-1499", 500, 1500),
            ("bytes=0-0", 0, 1),
            ("bytes=500-", 500, SIZE),
            ("bytes=-500", SIZE - 500, SIZE),
            ("bytes=-5000", 0, SIZE),
            ("bytes=2000-5000", 2000, SIZE),
            ("bytes=0-99999999999999999999", 0, SIZE),
        ] {
            let answer = part(served, blob, range).await.expect(206);
            assert_eq!(answer.body, content[start..end], "{range}");
            let expected = format!("bytes {start}-{}/{SIZE}", end - 1);
            assert_eq!(answer.header("content-range"), expected, "{range}");
            let whole = served.head(blob).await;
            for same in ["docker-content-digest", "etag", "content-type"] {
                assert_eq!(answer.header(same), whole.header(same));
            }
        }
        let head = Ask::head(blob).header("range", "bytes=1-2");
        let head = served.ask(head).await.expect(200);
        assert_eq!(head.header("content-length"), SIZE.to_string());
    }
}

async fn a_part_outside_the_blob_is_refused_with_its_size(served: &Served) {
    let (_, blobs) = pushed(served).await;
    let empty = served.push_blob(&served.repository("app"), b"").await;
    for (blob, size, range) in [
        (&blobs[0], SIZE, "bytes=500-0"),
        (&blobs[1], SIZE, "bytes=500-0"),
        (&blobs[0], SIZE, "bytes=5000-10000"),
        (&blobs[1], SIZE, "bytes=2048-"),
        (&blobs[0], SIZE, "bytes=-0"),
        (&empty, 0, "bytes=0-"),
        (&empty, 0, "bytes=0-0"),
        (&empty, 0, "bytes=-5"),
    ] {
        let answer = part(served, blob, range).await.expect(416);
        let expected = format!("bytes */{size}");
        assert_eq!(answer.header("content-range"), expected, "{range}");
    }
}

/// podman counts the parts, so they may not be put together even where they touch.
async fn several_parts_come_one_by_one_in_order(served: &Served) {
    let (content, blobs) = pushed(served).await;
    let ranges = [(1000, 1010), (1010, 1020), (0, 1), (2040, SIZE)];
    let list: Vec<_> = ranges
        .iter()
        .map(|(start, end)| format!("{start}-{}", end - 1))
        .collect();
    for blob in &blobs {
        let answer = part(served, blob, &format!("bytes={}", list.join(","))).await;
        let answer = answer.expect(206);
        let boundary = answer
            .header("content-type")
            .strip_prefix("multipart/byteranges; boundary=")
            .unwrap();
        let mut rest = &answer.body[..];
        for (start, end) in ranges {
            let (head, after) = split(rest, b"\r\n\r\n");
            let head = std::str::from_utf8(head).unwrap().to_lowercase();
            assert!(head.contains(&format!("--{}", boundary.to_lowercase())));
            let range = format!("content-range: bytes {start}-{}/{SIZE}", end - 1);
            assert!(head.lines().any(|line| line == range), "{head}");
            let (part, after) = after.split_at(end - start);
            assert_eq!(part, &content[start..end]);
            rest = after;
        }
        let end = format!("\r\n--{boundary}--");
        assert_eq!(rest.trim_ascii_end(), end.as_bytes());
    }
}

fn split<'a>(content: &'a [u8], at: &[u8]) -> (&'a [u8], &'a [u8]) {
    let place = content
        .windows(at.len())
        .position(|window| window == at)
        .unwrap_or_else(|| panic!("{}", String::from_utf8_lossy(content)));
    (&content[..place], &content[place + at.len()..])
}

async fn what_is_no_range_gets_the_blob(served: &Served) {
    let (content, blobs) = pushed(served).await;
    for range in ["bytes=", "bytes=a-b", "chunks=0-1", "0-1", "bytes=--1"] {
        let answer = part(served, &blobs[0], range).await.expect(200);
        assert_eq!(answer.body, content, "{range}");
    }
}

/// What docker and podman do when the line breaks: everything from an offset, and only of the same blob.
async fn a_pull_can_be_resumed(served: &Served) {
    let (content, blobs) = pushed(served).await;
    for blob in &blobs {
        let etag = served.head(blob).await.header("etag").to_owned();
        let resume = Ask::get(blob).header("range", "bytes=1000-");
        let answer = served
            .ask(resume.header("if-range", etag))
            .await
            .expect(206);
        let range = format!("bytes 1000-{}/{SIZE}", SIZE - 1);
        assert_eq!(answer.header("content-range"), range);
        assert_eq!(answer.body, content[1000..]);
        let changed = Ask::get(blob)
            .header("range", "bytes=1000-")
            .header("if-range", "\"other\"");
        assert_eq!(served.ask(changed).await.expect(200).body, content);
    }
}
