//! More requests than there is room for, and clients who keep others out.

use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use http::{Method, Response, StatusCode};
use http_body_util::BodyExt;
use registry_core::{
    Access, Blob, BlobBody, Descriptor, Digest, ErrorKind, OpenOptions, Pushed, PutManifest,
    Registry, Result,
};
use registry_http::{Body, Limits, Peer, RegistryService};
use registry_storage::{Engine, EngineOptions, MemoryBlobs, MemoryMetadata};
use tokio::time::{Instant, advance};
use tower::ServiceExt;

use crate::exchange::{
    Answer, Sent, begin, call, get, index, nothing, pieces, push_blob, push_index, request, send,
    sha256, stalled, whole,
};

/// Has a blob of 10 000 bytes that come in parts of 100, or not at all.
#[derive(Debug)]
struct Parts {
    come: bool,
}

#[async_trait::async_trait]
impl Registry for Parts {
    async fn stat_blob(&self, _: &Access, digest: &Digest) -> Result<Descriptor> {
        Ok(Descriptor::blob(*digest, 10_000))
    }

    async fn open_blob(&self, _: &Access, digest: &Digest, _: OpenOptions) -> Result<Blob> {
        let parts = futures::stream::repeat(Bytes::from_static(&[7; 100]))
            .take(if self.come { 100 } else { 0 })
            .map(Ok)
            .chain(futures::stream::pending());
        Ok(Blob {
            digest: *digest,
            size: 10_000,
            range: 0..10_000,
            body: BlobBody::Stream(Box::pin(parts)),
        })
    }
}

fn limits(max_downloads: usize) -> Limits {
    Limits::default().max_downloads(max_downloads)
}

/// Asks for a blob and reads nothing of it.
async fn pull(service: &RegistryService, uri: &str) -> Response<Body> {
    let request = request(&Method::GET, uri, &[], nothing());
    service.clone().oneshot(request).await.unwrap()
}

/// The next part of an answer, which must have one.
async fn part(answer: &mut Response<Body>) -> Result<Bytes> {
    let frame = answer.frame().await.expect("a part");
    frame.map(|frame| frame.into_data().unwrap())
}

#[tokio::test]
async fn who_comes_when_all_places_are_taken_is_asked_to_come_back() {
    let limits = limits(2).retry_after(Duration::from_secs(7));
    let service = RegistryService::new(Parts { come: false }).limits(limits);
    let uri = format!("/v2/a/blobs/{}", sha256(""));
    let first = pull(&service, &uri).await;
    let second = pull(&service, &uri).await;
    assert_eq!(
        (first.status(), second.status()),
        (StatusCode::OK, StatusCode::OK)
    );
    let answer = pull(&service, &uri).await;
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer.headers()["retry-after"], "7");
    let other = call(&service, Method::HEAD, &uri, &[]).await;
    assert_eq!(other.status, StatusCode::OK);
    drop(first);
    assert_eq!(pull(&service, &uri).await.status(), StatusCode::OK);
}

/// How long a pull keeps its place from others if its client takes a part
/// every `pause` seconds.
async fn keeps_its_place_for(service: &RegistryService, uri: &str, pause: u64) -> u64 {
    let start = Instant::now();
    let mut slow = pull(service, uri).await;
    for seconds in 0..1000 {
        if seconds % pause == 0 && slow.frame().await.is_none() {
            break;
        }
        advance(Duration::from_secs(1)).await;
        if pull(service, uri).await.status() == StatusCode::OK {
            let error = part(&mut slow).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::RequestIncomplete);
            assert!(slow.frame().await.is_none());
            break;
        }
    }
    start.elapsed().as_secs()
}

#[tokio::test(start_paused = true)]
async fn who_takes_an_answer_too_slowly_loses_its_place_to_others() {
    // At 1 KiB a second, 100 bytes are worth a tenth of a second, and there
    // are 30 seconds to begin with.
    let parts = RegistryService::new(Parts { come: true }).limits(limits(1));
    let uri = format!("/v2/a/blobs/{}", sha256(""));
    let keeps = keeps_its_place_for(&parts, &uri, 1000).await;
    assert_eq!(keeps, 30);
    let keeps = keeps_its_place_for(&parts, &uri, 2).await;
    assert!((30..34).contains(&keeps), "{keeps}");

    let engine = Engine::memory();
    let service = RegistryService::new(engine).limits(limits(1));
    let uri = push_blob(&service, "a", &vec![7; 320 << 10]).await;
    let keeps = keeps_its_place_for(&service, &uri, 1000).await;
    assert_eq!(keeps, 64);
}

#[tokio::test(start_paused = true)]
async fn who_takes_an_answer_slowly_enough_keeps_its_place() {
    let service = RegistryService::new(Engine::memory()).limits(limits(1));
    let uri = push_blob(&service, "a", &vec![7; 640 << 10]).await;
    // 64 KiB a minute are just above 1 KiB a second.
    let mut slow = pull(&service, &uri).await;
    for _ in 0..10 {
        part(&mut slow).await.unwrap();
        advance(Duration::from_mins(1)).await;
        let other = pull(&service, &uri).await;
        assert_eq!(other.status(), StatusCode::SERVICE_UNAVAILABLE);
    }
    assert!(slow.frame().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn what_the_registry_does_not_have_yet_is_not_held_against_the_client() {
    let service = RegistryService::new(Parts { come: false }).limits(limits(1));
    let uri = format!("/v2/a/blobs/{}", sha256(""));
    let mut waiting = pull(&service, &uri).await;
    assert!(futures::poll!(waiting.frame()).is_pending());
    advance(Duration::from_secs(1000)).await;
    let other = pull(&service, &uri).await;
    assert_eq!(other.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(futures::poll!(waiting.frame()).is_pending());
}

/// Who asks, if anybody is known to.
pub(crate) fn from(peer: Option<&str>, mut request: http::Request<Sent>) -> http::Request<Sent> {
    if let Some(address) = peer {
        let address = address.parse().unwrap();
        request.extensions_mut().insert(Peer { address });
    }
    request
}

/// How many of `attempts` are answered with 200, and with what the others are.
async fn pulls(
    service: &RegistryService,
    peer: Option<&str>,
    attempts: usize,
    held: &mut Vec<Response<Body>>,
) -> (usize, Option<StatusCode>) {
    let uri = format!("/v2/a/blobs/{}", sha256(""));
    let (mut served, mut refused) = (0, None);
    for _ in 0..attempts {
        let request = from(peer, request(&Method::GET, &uri, &[], nothing()));
        let answer = service.clone().oneshot(request).await.unwrap();
        if answer.status() == StatusCode::OK {
            served += 1;
            held.push(answer);
        } else {
            assert!(answer.headers().contains_key("retry-after"));
            refused = Some(answer.status());
        }
    }
    (served, refused)
}

#[tokio::test]
async fn no_address_gets_all_downloads() {
    let share = |address_share| limits(8).address_share(address_share);
    let crowded = Some(StatusCode::TOO_MANY_REQUESTS);
    let full = Some(StatusCode::SERVICE_UNAVAILABLE);
    let service = RegistryService::new(Parts { come: false }).limits(share(Some(1)));
    let mut held = Vec::new();
    let mut pulls = async |peer, attempts| pulls(&service, peer, attempts, &mut held).await;
    assert_eq!(pulls(Some("192.0.2.1"), 9).await, (4, crowded));
    // Another spelling of the same one.
    assert_eq!(pulls(Some("::ffff:192.0.2.1"), 1).await, (0, crowded));
    // One network of 64 bits.
    assert_eq!(pulls(Some("2001:db8::1"), 1).await, (1, None));
    assert_eq!(pulls(Some("2001:db8::2"), 9).await, (1, crowded));
    // Nobody in particular, as where a program has a listener of its own.
    assert_eq!(pulls(None, 9).await, (2, full));
    held.clear();

    let service = RegistryService::new(Parts { come: false }).limits(share(None));
    assert_eq!(
        self::pulls(&service, Some("192.0.2.1"), 9, &mut held).await,
        (8, full)
    );
}

#[tokio::test(start_paused = true)]
async fn no_address_gets_all_uploads() {
    let limits = Limits::default().max_uploads(2);
    let service = RegistryService::new(Engine::memory()).limits(limits);
    let patch = async |peer: &str, body: Sent| -> Answer {
        let upload = begin(&service, "a").await;
        let request = from(Some(peer), request(&Method::PATCH, &upload, &[], body));
        send(&service, request).await
    };
    let upload = begin(&service, "a").await;
    let endless = request(&Method::PATCH, &upload, &[], stalled(b"hello "));
    let mut endless = std::pin::pin!(send(&service, from(Some("192.0.2.1"), endless)));
    assert!(futures::poll!(endless.as_mut()).is_pending());
    let same = patch("192.0.2.1", nothing()).await;
    assert_eq!(same.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(same.code(), "TOOMANYREQUESTS");
    assert_eq!(same.header("retry-after"), "1");
    let other = patch("192.0.2.2", nothing()).await;
    assert_eq!(other.status, StatusCode::ACCEPTED);
    assert_eq!(endless.await.status, StatusCode::REQUEST_TIMEOUT);
    let same = patch("192.0.2.1", nothing()).await;
    assert_eq!(same.status, StatusCode::ACCEPTED);
}

/// Uploads that are open, whether anybody sends to them or not.
#[tokio::test]
async fn no_address_gets_all_places_for_open_uploads() {
    let options = EngineOptions::default().max_uploads(16);
    let engine = Engine::builder(MemoryBlobs::new(), MemoryMetadata::default());
    let service = RegistryService::new(engine.options(options).build());
    let post = async |peer: &str| {
        let post = request(&Method::POST, "/v2/a/blobs/uploads/", &[], nothing());
        send(&service, from(Some(peer), post)).await
    };
    for (peer, places) in [("192.0.2.1", 8), ("192.0.2.2", 4)] {
        for _ in 0..places {
            assert_eq!(post(peer).await.status, StatusCode::ACCEPTED);
        }
        let refused = post(peer).await;
        assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(refused.code(), "TOOMANYREQUESTS");
        // By then one that nobody sent to makes room.
        let seconds: u64 = refused.header("retry-after").parse().unwrap();
        assert!((1..=10).contains(&seconds), "{seconds}");
    }
    // A blob in one request needs a place, too, and leaves it at once.
    let last = "192.0.2.3";
    for content in ["one", "two", "three"] {
        let uri = format!("/v2/a/blobs/uploads/?digest={}", sha256(content));
        let whole = request(&Method::POST, &uri, &[], whole(content));
        let answer = send(&service, from(Some(last), whole)).await;
        assert_eq!(answer.status, StatusCode::CREATED);
    }
}

#[tokio::test]
async fn a_large_answer_keeps_its_place_until_it_was_taken() {
    let engine = Engine::memory();
    let long = format!(r#""note":"{}""#, "x".repeat(100 << 10));
    let content = index("a", None).replace(r#""note":"a""#, &long);
    push_index(
        &RegistryService::new(engine.clone()),
        "a",
        "large",
        &content,
    )
    .await;
    push_index(
        &RegistryService::new(engine.clone()),
        "a",
        "small",
        &index("a", None),
    )
    .await;
    let limits = Limits::default().max_requests(1);
    let service = RegistryService::new(engine).limits(limits);
    let large = request(&Method::GET, "/v2/a/manifests/large", &[], nothing());
    let mut large = service.clone().oneshot(large).await.unwrap();
    assert_eq!(large.status(), StatusCode::OK);
    let mut taken = large
        .frame()
        .await
        .unwrap()
        .unwrap()
        .into_data()
        .unwrap()
        .to_vec();
    assert!(taken.len() < content.len());
    let small = get(&service, "/v2/a/manifests/small").await;
    assert_eq!(small.status, StatusCode::SERVICE_UNAVAILABLE);
    while let Some(frame) = large.frame().await {
        taken.extend_from_slice(&frame.unwrap().into_data().unwrap());
    }
    assert_eq!(taken, content.as_bytes());
    drop(large);
    let small = get(&service, "/v2/a/manifests/small").await;
    assert_eq!(small.status, StatusCode::OK);
}

/// Asks for what is large, and reads nothing of it.
async fn ask(service: &RegistryService, peer: &str, uri: &str) -> Response<Body> {
    let request = request(&Method::GET, uri, &[], nothing());
    let request = from(Some(peer), request);
    service.clone().oneshot(request).await.unwrap()
}

/// A registry with large and small manifests and large lists, and memory for
/// two large answers.
async fn with_large_answers() -> RegistryService {
    let engine = Engine::memory();
    let service = RegistryService::new(engine).catalog(true);
    push_index(&service, "a", "small", &index("a", None)).await;
    let subject = sha256(index("a", None));
    let long = format!(r#""note":"{}""#, "x".repeat(100 << 10));
    let large = index("a", None).replace(r#""note":"a""#, &long);
    push_index(&service, "a", "large", &large).await;
    for note in 0..3 {
        let long = format!(r#""note":"{note}{}""#, "x".repeat(30 << 10));
        let referrer = index("r", Some(&subject)).replace(r#""note":"r""#, &long);
        push_index(&service, "a", &format!("r{note}"), &referrer).await;
    }
    let tag = "t".repeat(120);
    for number in 0..700 {
        let tag = format!("{tag}{number}");
        push_index(&service, "many", &tag, &index("a", None)).await;
    }
    service.limits(Limits::default().answer_memory(256 << 10))
}

#[tokio::test(start_paused = true)]
async fn large_answers_that_nobody_takes_leave_memory_to_other_addresses() {
    let service = with_large_answers().await;
    let subject = sha256(index("a", None));
    let referrers = format!("/v2/a/referrers/{subject}");
    let (one, two, three) = ("192.0.2.1", "192.0.2.2", "192.0.2.3");
    for uri in ["/v2/a/manifests/large", "/v2/many/tags/list", &referrers] {
        let first = ask(&service, one, uri).await;
        assert_eq!(first.status(), StatusCode::OK, "{uri}");
        let start = Instant::now();
        let same = ask(&service, one, uri).await;
        assert_eq!(same.status(), StatusCode::TOO_MANY_REQUESTS, "{uri}");
        assert_eq!(same.headers()["retry-after"], "1");
        assert_eq!(start.elapsed().as_secs(), 5);
        let second = ask(&service, two, uri).await;
        assert_eq!(second.status(), StatusCode::OK, "{uri}");
        let third = ask(&service, three, uri).await;
        assert_eq!(third.status(), StatusCode::SERVICE_UNAVAILABLE, "{uri}");
        assert_eq!(third.headers()["retry-after"], "1");
        // What is small, or only asked about, needs none.
        let small = ask(&service, one, "/v2/a/manifests/small").await;
        assert_eq!(small.status(), StatusCode::OK);
        let head = call(&service, Method::HEAD, "/v2/a/manifests/large", &[]).await;
        assert_eq!(head.status, StatusCode::OK);
        drop((first, second));
        let third = ask(&service, three, uri).await;
        assert_eq!(third.status(), StatusCode::OK, "{uri}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_memory_goes_on_when_others_have_taken_their_answers() {
    let service = with_large_answers().await;
    let uri = "/v2/a/manifests/large";
    let mut first = ask(&service, "192.0.2.1", uri).await;
    let second = ask(&service, "192.0.2.2", uri).await;
    let mut third = std::pin::pin!(ask(&service, "192.0.2.3", uri));
    let mut fourth = std::pin::pin!(ask(&service, "192.0.2.4", uri));
    let a_while = Duration::from_secs(1);
    assert!(tokio::time::timeout(a_while, third.as_mut()).await.is_err());
    assert!(
        tokio::time::timeout(a_while, fourth.as_mut())
            .await
            .is_err()
    );
    // Sent to the end, though the body is still there.
    while let Some(part) = first.frame().await {
        part.unwrap();
    }
    let start = Instant::now();
    let third = third.await;
    assert_eq!(third.status(), StatusCode::OK);
    drop(second);
    let fourth = fourth.await;
    assert_eq!(fourth.status(), StatusCode::OK);
    assert_eq!(start.elapsed(), Duration::ZERO);
    let taken = third.into_body().collect().await.unwrap().to_bytes();
    let whole = fourth.into_body().collect().await.unwrap().to_bytes();
    assert!(taken.len() > 100 << 10);
    assert_eq!(taken, whole);
    drop(first);
}

#[tokio::test]
async fn an_answer_larger_than_all_memory_is_given_when_there_is_no_other() {
    let service = with_large_answers().await;
    let service = service.limits(Limits::default().answer_memory(64 << 10));
    let large = get(&service, "/v2/a/manifests/large").await;
    assert_eq!(large.status, StatusCode::OK);
}

/// Stores manifests of one repository, and never gets done with those of
/// another.
#[derive(Debug)]
struct Slow(Engine);

#[async_trait::async_trait]
impl Registry for Slow {
    async fn put_manifest(&self, access: &Access, push: PutManifest) -> Result<Pushed> {
        if access.repository().as_str() == "slow" {
            futures::future::pending::<()>().await;
        }
        self.0.put_manifest(access, push).await
    }
}

#[tokio::test]
async fn a_registry_that_is_slow_to_store_holds_up_no_other_manifest() {
    let service = RegistryService::new(Slow(Engine::memory()));
    let content = format!("{}{}", index("a", None), " ".repeat(300_000));
    let put = |uri| {
        let request = request(&Method::PUT, uri, &[], pieces(content.as_bytes(), 30_000));
        send(&service, request)
    };
    let mut stalled = std::pin::pin!(put("/v2/slow/manifests/v1"));
    for _ in 0..100 {
        assert!(futures::poll!(stalled.as_mut()).is_pending());
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let other = put("/v2/a/manifests/v1").await;
    assert_eq!(other.status, StatusCode::CREATED);
}
