//! How many of a repository's open uploads one caller may have.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::unwrap_used,
    reason = "these are tests"
)]

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use registry_core::testkit::trusted;
use registry_core::{
    Access, Action, Actions, Actor, Chunk, Error, ErrorKind, Management, Need, Registry,
    RequestOrigin, Upload, UploadOptions,
};
use registry_storage::testkit::metadata::FaultyMetadata;
use registry_storage::{Engine, EngineOptions, MemoryBlobs, MemoryMetadata};
use tokio::time::advance;

fn engine(options: EngineOptions) -> Engine {
    let engine = Engine::builder(MemoryBlobs::new(), MemoryMetadata::default());
    engine.options(options).build()
}

/// What somebody may do who logged in, or didn't, from an address.
fn access(repository: &str, name: Option<&str>, address: Option<&str>) -> Access {
    let address = address.map(|address| address.parse::<IpAddr>().unwrap());
    let request = RequestOrigin {
        address,
        ..RequestOrigin::default()
    };
    let actor = Actor {
        name: name.map(str::to_owned),
        request: Some(request),
    };
    let need = Need {
        repository: repository.parse().unwrap(),
        actions: Action::Push.into(),
        tags: Vec::new(),
    };
    Access::granted(&need, Actions::ALL, Arc::new(actor)).unwrap()
}

async fn begin(engine: &Engine, access: &Access) -> Result<Upload, Error> {
    engine.begin_upload(access, UploadOptions::default()).await
}

/// As many as can be begun, and why no more can.
async fn begin_all(engine: &Engine, access: &Access) -> (Vec<Upload>, Error) {
    let mut begun = Vec::new();
    loop {
        match begin(engine, access).await {
            Ok(upload) => begun.push(upload),
            Err(error) => return (begun, error),
        }
    }
}

#[tokio::test]
async fn each_caller_leaves_something_for_the_next() {
    let engine = engine(EngineOptions::default().max_uploads(64));
    let callers = [
        (Some("eve"), "192.0.2.1"),
        // Another name, from the same place.
        (Some("ada"), "192.0.2.1"),
        (None, "192.0.2.1"),
        (None, "192.0.2.2"),
        (None, "2001:db8::1"),
    ];
    let mut counts = Vec::new();
    for (name, address) in callers {
        let access = access("a", name, Some(address));
        let (begun, error) = begin_all(&engine, &access).await;
        assert_eq!(error.kind(), ErrorKind::TooManyRequests);
        assert!(error.to_string().contains("yours"), "{error}");
        counts.push(begun.len());
    }
    assert_eq!(counts, [32, 16, 8, 4, 2]);
    // The same name from elsewhere, and the same network.
    for (name, address) in [(Some("eve"), "198.51.100.1"), (None, "2001:db8::2")] {
        let same = access("a", name, Some(address));
        begin(&engine, &same).await.unwrap_err();
    }
    // Elsewhere there is room.
    let other = access("b", Some("eve"), Some("192.0.2.1"));
    assert_eq!(begin_all(&engine, &other).await.0.len(), 32);
}

#[tokio::test]
async fn an_upload_that_ends_makes_room_for_the_same_caller() {
    let engine = engine(EngineOptions::default().max_uploads(4));
    let eve = access("a", Some("eve"), None);
    let (begun, _) = begin_all(&engine, &eve).await;
    assert_eq!(begun.len(), 2);
    let digest = registry_core::Algorithm::Sha256.digest(b"x");
    let last = Some(Chunk::from_bytes("x"));
    let finished = engine.finish_upload(&eve, &begun[0].id, &digest, last);
    finished.await.unwrap();
    let second = begin(&engine, &eve).await.unwrap();
    begin(&engine, &eve).await.unwrap_err();
    engine.cancel_upload(&eve, &second.id).await.unwrap();
    begin(&engine, &eve).await.unwrap();
    begin(&engine, &eve).await.unwrap_err();
    engine.delete_repository(&trusted("a")).await.unwrap();
    assert_eq!(begin_all(&engine, &eve).await.0.len(), 2);
}

/// Not one of somebody else's, as long as there is room for others.
#[tokio::test(start_paused = true)]
async fn beyond_a_share_an_upload_of_the_callers_own_makes_room() {
    let engine = engine(EngineOptions::default().max_uploads(8));
    let (eve, ada) = (
        access("a", Some("eve"), None),
        access("a", Some("ada"), None),
    );
    let hers = begin(&engine, &ada).await.unwrap();
    advance(Duration::from_secs(5)).await;
    let (begun, error) = begin_all(&engine, &eve).await;
    assert!(begun.len() < 7, "{begun:?}");
    // When the first of them may go.
    assert_eq!(error.retry_after(), Some(Duration::from_secs(10)));
    advance(Duration::from_secs(4)).await;
    let error = begin(&engine, &eve).await.unwrap_err();
    assert_eq!(error.retry_after(), Some(Duration::from_secs(6)));
    advance(Duration::from_secs(7)).await;
    let (again, error) = begin_all(&engine, &eve).await;
    assert_eq!(again.len(), begun.len());
    assert_eq!(error.kind(), ErrorKind::TooManyRequests);
    for upload in begun {
        engine.upload(&eve, &upload.id).await.unwrap_err();
    }
    engine.upload(&ada, &hers.id).await.unwrap();
}

#[tokio::test]
async fn without_shares_one_caller_may_have_all() {
    let options = EngineOptions::default().max_uploads(8);
    let shared = engine(options.clone());
    let alone = engine(options.upload_share(None));
    let eve = access("a", Some("eve"), None);
    let (begun, error) = begin_all(&alone, &eve).await;
    assert_eq!(begun.len(), 8);
    assert!(error.to_string().contains("in this repository"), "{error}");
    // Nor is the program's own code kept to a share.
    assert_eq!(begin_all(&shared, &trusted("a")).await.0.len(), 8);
}

/// A client that goes away in the middle of each request takes no more than one
/// that waits.
#[tokio::test]
async fn uploads_whose_client_goes_away_count_too() {
    let engine = engine(EngineOptions::default().max_uploads(16));
    let eve = access("a", Some("eve"), None);
    for _ in 0..40 {
        let mut request = Box::pin(begin(&engine, &eve));
        let _ = futures::poll!(request.as_mut());
        drop(request);
        tokio::task::yield_now().await;
    }
    begin(&engine, &eve).await.unwrap_err();
    let ada = access("a", Some("ada"), None);
    assert_eq!(begin_all(&engine, &ada).await.0.len(), 4);
}

/// What failed to begin, or to end, takes no room for ever.
#[tokio::test]
async fn an_upload_whose_outcome_is_unknown_counts_if_it_is_there() {
    for is_made in [false, true] {
        let metadata = Arc::new(FaultyMetadata::new(MemoryMetadata::default()));
        let engine = Engine::builder(MemoryBlobs::new(), Arc::clone(&metadata))
            .options(EngineOptions::default().max_uploads(16))
            .build();
        let eve = access("a", Some("eve"), None);
        begin(&engine, &eve).await.unwrap();
        for _ in 0..3 {
            if is_made {
                metadata.lose_answer(0);
            } else {
                metadata.fail_commit(0);
            }
            let error = begin(&engine, &eve).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unavailable);
        }
        assert!(metadata.has_failed());
        let expected = if is_made { 4 } else { 7 };
        assert_eq!(begin_all(&engine, &eve).await.0.len(), expected);
    }
}
