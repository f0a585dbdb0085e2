//! More manifests on their way than there is memory for.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, StatusCode};
use registry_http::{Limits, RegistryService};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::crowded::from;
use crate::exchange::{INDEX, Sent, index, paced, pieces, request, send, service, slow, whole};

/// A service with memory for `count` large manifests, which may be slow also if
/// others wait.
fn memory_for(count: usize) -> RegistryService {
    let limits = Limits::default().manifest_memory(count * (4 << 20));
    service().limits(
        limits
            .manifest_min_rate(0)
            .manifest_grace(Duration::from_hours(1)),
    )
}

/// Sends a manifest, perhaps with its size, and tells how that ended, and when.
async fn push(
    service: &RegistryService,
    peer: Option<&str>,
    size: Option<usize>,
    body: Sent,
) -> (StatusCode, u64) {
    let start = Instant::now();
    let length = size.map(|size| format!("content-length: {size}"));
    let mut headers = vec![concat!(
        "content-type: ",
        "application/vnd.oci.image.index.v1+json"
    )];
    headers.extend(length.as_deref());
    assert!(headers[0].ends_with(INDEX));
    let request = request(&Method::PUT, "/v2/a/manifests/v1", &headers, body);
    let answer = send(service, from(peer, request)).await;
    if answer.status == StatusCode::SERVICE_UNAVAILABLE {
        assert_eq!(answer.header("retry-after"), "1");
    }
    (answer.status, start.elapsed().as_secs())
}

/// A manifest of `size` bytes.
fn of_size(size: usize) -> Bytes {
    let mut content = index("a", None).into_bytes();
    content.resize(size, b' ');
    content.into()
}

/// A manifest of many bytes that come at once.
fn large() -> Sent {
    pieces(&of_size(100_000), 30_000)
}

/// One that never ends, but is fast enough for a body.
fn endless() -> Sent {
    slow(40_000, Duration::from_secs(1), 10_000)
}

/// One of which `first` bytes come at once, and then as few as a body may have.
fn slow_behind(first: usize) -> Sent {
    let first = (Duration::ZERO, Bytes::from(vec![b' '; first]));
    let few = (Duration::from_secs(1), Bytes::from_static(&[b' '; 2 << 10]));
    paced(std::iter::once(first).chain(std::iter::repeat(few)))
}

/// Somebody who always has one of those on its way, and says that it is as large
/// as can be.
fn keep_sending(service: &RegistryService, peer: String, first: usize) -> JoinHandle<()> {
    let service = service.clone();
    tokio::spawn(async move {
        loop {
            push(&service, Some(&peer), Some(4 << 20), slow_behind(first)).await;
        }
    })
}

#[tokio::test(start_paused = true)]
async fn who_sends_manifests_slowly_keeps_nobody_out() {
    // Also who fills the memory first, and from so many addresses that their
    // shares leave nothing.
    for (addresses, first) in [(4, 1), (4, 3 << 20), (16, 3 << 20), (16, 256 << 10)] {
        let service = service();
        let slow: Vec<_> = (0..addresses)
            .flat_map(|address| [address; 8])
            .map(|address| keep_sending(&service, format!("192.0.2.{address}"), first))
            .collect();
        for _ in 0..10 {
            tokio::time::sleep(Duration::from_secs(7)).await;
            let (status, seconds) = push(&service, Some("198.51.100.1"), None, large()).await;
            assert_eq!(status, StatusCode::CREATED);
            assert!(seconds <= 10, "{addresses} {first}: {seconds}");
        }
        for slow in slow {
            slow.abort();
        }
    }
}

/// 100 KiB at 4 KiB a second.
fn from_afar() -> Sent {
    let content = of_size(100 << 10);
    let piece = move |number: usize| {
        let start = number * (4 << 10);
        (
            Duration::from_secs(1),
            content.slice(start..start + (4 << 10)),
        )
    };
    paced((0..25).map(piece))
}

#[tokio::test(start_paused = true)]
async fn a_manifest_may_come_slowly_while_nobody_waits_for_its_memory() {
    let service = service();
    let peer = Some("192.0.2.1");
    for size in [Some(100 << 10), None] {
        let pushed = push(&service, peer, size, from_afar()).await;
        assert_eq!(pushed, (StatusCode::CREATED, 25));
    }
    // An address that has had its share is nobody whom others have to make room for.
    let greedy: Vec<_> = (0..100)
        .map(|_| keep_sending(&service, "192.0.2.2".to_owned(), 1 << 20))
        .collect();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let pushed = push(&service, peer, None, from_afar()).await;
    assert_eq!(pushed, (StatusCode::CREATED, 25));
    for greedy in greedy {
        greedy.abort();
    }
}

/// What is half read and waits for memory that others have who wait as well.
#[tokio::test]
async fn half_read_manifests_do_not_wait_for_each_other_for_ever() {
    // Little more than what one may take.
    let limits = Limits::default().manifest_memory(5 << 20);
    let service = service().limits(limits.manifest_min_rate(0));
    let content = of_size(2 << 20);
    let pushes = (0..20).map(|number| {
        let (service, content) = (service.clone(), content.clone());
        let peer = (number % 2 > 0).then(|| format!("192.0.2.{}", number % 5));
        tokio::spawn(async move {
            let size = (number % 3 > 0).then_some(content.len());
            let piece = move |piece: usize| {
                let start = piece * (64 << 10);
                (
                    Duration::from_millis(1),
                    content.slice(start..start + (64 << 10)),
                )
            };
            push(&service, peer.as_deref(), size, paced((0..32).map(piece)))
                .await
                .0
        })
    });
    for status in futures::future::join_all(pushes).await {
        assert_eq!(status.unwrap(), StatusCode::CREATED);
    }
    // Nothing is left behind that takes room from the next.
    let all = whole(of_size(4 << 20));
    let (status, _) = push(&service, None, Some(4 << 20), all).await;
    assert_eq!(status, StatusCode::CREATED);
}

#[tokio::test(start_paused = true)]
async fn a_slow_manifest_makes_room_for_those_who_wait() {
    let service = service().limits(Limits::default().manifest_memory(4 << 20));
    let holding = tokio::spawn({
        let service = service.clone();
        async move { push(&service, None, None, endless()).await }
    });
    tokio::time::sleep(Duration::from_secs(4)).await;
    let (status, waited) = push(&service, None, None, large()).await;
    assert_eq!(status, StatusCode::CREATED);
    let (status, held) = holding.await.unwrap();
    assert_eq!(status, StatusCode::REQUEST_TIMEOUT);
    assert!(waited + 4 == held && held < 30, "{waited} {held}");
}

#[tokio::test(start_paused = true)]
async fn a_manifest_that_takes_too_long_makes_room_for_others() {
    let service = memory_for(1);
    let holding = tokio::spawn({
        let service = service.clone();
        // Well below the largest size when its time is over.
        async move { push(&service, None, None, endless()).await }
    });
    tokio::time::sleep(Duration::from_secs(10)).await;
    // Small ones need no memory of the large.
    let small = pieces(index("b", None).as_bytes(), 30);
    let small = push(&service, None, None, small).await;
    assert_eq!(small, (StatusCode::CREATED, 0));
    let large = push(&service, None, None, large()).await;
    assert_eq!(large, (StatusCode::CREATED, 50));
    assert_eq!(holding.await.unwrap(), (StatusCode::REQUEST_TIMEOUT, 60));
}

#[tokio::test(start_paused = true)]
async fn a_manifest_waits_for_memory_as_long_as_another_one_may_take() {
    let service = memory_for(1);
    let push_after = async |seconds, body: Sent| {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        push(&service, None, None, body).await
    };
    let (first, second, third) = tokio::join!(
        push_after(0, endless()),
        push_after(1, endless()),
        push_after(3, large()),
    );
    assert_eq!(first, (StatusCode::REQUEST_TIMEOUT, 60));
    // The time for which it waited wasn't held against it.
    assert_eq!(second, (StatusCode::REQUEST_TIMEOUT, 118));
    assert_eq!(third, (StatusCode::SERVICE_UNAVAILABLE, 60));
    let large = push(&service, None, None, large()).await;
    assert_eq!(large, (StatusCode::CREATED, 0));
}

#[tokio::test(start_paused = true)]
async fn no_address_gets_all_the_memory_for_manifests() {
    let service = memory_for(4);
    let greedy: Vec<_> = (0..100)
        .map(|_| keep_sending(&service, "192.0.2.1".to_owned(), 1 << 20))
        .collect();
    tokio::time::sleep(Duration::from_secs(10)).await;
    let other = push(&service, Some("192.0.2.2"), None, large()).await;
    assert_eq!(other, (StatusCode::CREATED, 0));
    // It waits for the first of its own address's.
    let same = push(&service, Some("192.0.2.1"), None, large()).await;
    assert_eq!(same, (StatusCode::CREATED, 50));
    for greedy in greedy {
        greedy.abort();
    }
}
