//! Remote registries that do less than the specification says, or otherwise.

#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use http::header::{IF_MATCH, IF_NONE_MATCH};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use registry_core::testkit::{ImageBuilder, Package, trusted};
use registry_core::{
    Algorithm, CatalogAccess, Chunk, Deletion, ErrorKind, PageRequest, Precondition, Reference,
    ReferrerFilter, Registry, Route, UploadOptions,
};
use registry_http::{RegistryService, RemoteRegistry, TestServer};
use registry_storage::Engine;
use tower::ServiceExt;

/// A server that says the same to everybody.
async fn always(
    answer: impl Fn() -> Response<Full<Bytes>> + Clone + Send + Sync + 'static,
) -> TestServer {
    let service = tower::service_fn(move |_: Request<Incoming>| {
        let answer = answer();
        async move { Ok::<_, Infallible>(answer) }
    });
    TestServer::with_service(service).await
}

#[tokio::test]
async fn a_push_may_take_longer_than_the_other_side_may_keep_silent() {
    let server = TestServer::start(Engine::memory()).await;
    let registry = RemoteRegistry::builder(&server.url())
        .silence(Duration::from_secs(5))
        .build()
        .unwrap();
    let access = trusted("team/app");
    let upload = registry
        .begin_upload(&access, UploadOptions::default())
        .await
        .unwrap();
    let pieces = futures::stream::iter(0..8).then(|_| async {
        tokio::time::sleep(Duration::from_millis(800)).await;
        Ok(Bytes::from_static(b"piece"))
    });
    let digest = Algorithm::Sha256.digest("piece".repeat(8).as_bytes());
    let last = Some(Chunk::new(pieces.boxed()));
    let blob = registry
        .finish_upload(&access, &upload.id, &digest, last)
        .await
        .unwrap();
    assert_eq!(blob.size, 40);
}

#[tokio::test]
async fn a_registry_that_keeps_silent_is_given_up() {
    let service = tower::service_fn(|_: Request<Incoming>| {
        std::future::pending::<Result<Response<Full<Bytes>>, Infallible>>()
    });
    let server = TestServer::with_service(service).await;
    let registry = RemoteRegistry::builder(&server.url())
        .silence(Duration::from_millis(100))
        .build()
        .unwrap();
    let access = trusted("team/app");
    let image = ImageBuilder::new("image").build();
    let error = registry.resolve(&access, &image.reference()).await;
    assert_eq!(error.unwrap_err().kind(), ErrorKind::Unavailable);
    let error = registry.put_manifest(&access, image.put(&[])).await;
    assert_eq!(error.unwrap_err().kind(), ErrorKind::Unavailable);
}

#[tokio::test]
async fn conditions_hold_where_the_registry_does_not_know_them() {
    let service = RegistryService::new(Engine::memory());
    let seen = Arc::new(Mutex::new(Vec::new()));
    let record = Arc::clone(&seen);
    let deaf = tower::service_fn(move |mut request: Request<Incoming>| {
        let removed = [IF_MATCH, IF_NONE_MATCH].map(|name| request.headers_mut().remove(name));
        if matches!(*request.method(), Method::PUT | Method::DELETE) {
            let conditional = removed.iter().flatten().next().is_some();
            record.lock().unwrap().push(conditional);
        }
        service.clone().oneshot(request)
    });
    let server = TestServer::with_service(deaf).await;
    let registry = RemoteRegistry::new(&server.url()).unwrap();
    let access = trusted("team/app");
    let (old, new) = (
        ImageBuilder::new("old").build(),
        ImageBuilder::new("new").build(),
    );
    old.push(&registry, &access, &["v1"]).await;
    new.push(&registry, &access, &[]).await;
    seen.lock().unwrap().clear();

    let push = |condition| {
        let push = new.put(&["v1"]).with_precondition(condition);
        registry.put_manifest(&access, push)
    };
    let (old, new) = (old.manifest().digest, new.manifest().digest);
    for condition in [Precondition::Absent, Precondition::Is(new)] {
        let error = push(condition).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PreconditionFailed);
    }
    push(Precondition::Is(old)).await.unwrap();
    let delete = |expected| {
        let what = Deletion::Tag {
            tag: "v1".parse().unwrap(),
            expected: Some(expected),
        };
        registry.delete(&access, what)
    };
    let error = delete(old).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PreconditionFailed);
    delete(new).await.unwrap();
    // Those that went out said so, for registries that know.
    assert_eq!(*seen.lock().unwrap(), [true, true]);
}

#[tokio::test]
async fn a_registry_without_a_catalog_adds_nothing_to_that_of_others() {
    for status in [StatusCode::NOT_FOUND, StatusCode::METHOD_NOT_ALLOWED] {
        let server = always(move || {
            let mut response = Response::new(Full::default());
            *response.status_mut() = status;
            response
        })
        .await;
        let remote = RemoteRegistry::new(&server.url()).unwrap();
        let all = CatalogAccess::trusted();
        let error = remote.repositories(&all, PageRequest::default()).await;
        assert_eq!(error.unwrap_err().kind(), ErrorKind::Unsupported);

        let own = Engine::memory();
        let image = ImageBuilder::new("image").build();
        image.push(&own, &trusted("own/app"), &["v1"]).await;
        let both = Route::new()
            .to("hub".parse().unwrap(), remote)
            .otherwise(own);
        let page = both.repositories(&all, PageRequest::default()).await;
        assert_eq!(page.unwrap().items, ["own/app".parse().unwrap()]);
    }
}

/// Something in between answers so, too, for a path that it doesn't know.
#[tokio::test]
async fn only_a_registry_can_say_that_a_manifest_is_gone() {
    let access = trusted("team/app");
    for (body, kind) in [
        ("", ErrorKind::Unavailable),
        ("<html>404 Not Found</html>", ErrorKind::Unavailable),
        (r#"{"errors":[]}"#, ErrorKind::Unavailable),
        (
            r#"{"errors":[{"status":404,"message":"no such file"}]}"#,
            ErrorKind::Unavailable,
        ),
        (
            r#"{"errors":[{"code":"UNSUPPORTED"}]}"#,
            ErrorKind::Unavailable,
        ),
        (
            r#"{"errors":[{"code":"MANIFEST_UNKNOWN"}]}"#,
            ErrorKind::ManifestUnknown,
        ),
        (
            r#"{"errors":[{"code":"NAME_UNKNOWN"}]}"#,
            ErrorKind::ManifestUnknown,
        ),
        // Harbor.
        (
            r#"{"errors":[{"code":"NOT_FOUND"}]}"#,
            ErrorKind::ManifestUnknown,
        ),
    ] {
        let server = always(move || {
            let mut answer = Response::new(Full::from(body));
            *answer.status_mut() = StatusCode::NOT_FOUND;
            answer
        })
        .await;
        let registry = RemoteRegistry::new(&server.url()).unwrap();
        for reference in [
            "v1".parse::<Reference>().unwrap(),
            Algorithm::Sha256.digest(b"x").into(),
        ] {
            let asked = registry.resolve(&access, &reference).await;
            assert_eq!(asked.unwrap_err().kind(), kind, "{body}");
            let asked = registry.get_manifest(&access, &reference).await;
            assert_eq!(asked.unwrap_err().kind(), kind, "{body}");
        }
        // A list of referrers takes the place of one that isn't there.
        let subject = Algorithm::Sha256.digest(b"x");
        let (filter, page) = (ReferrerFilter::default(), PageRequest::default());
        let asked = registry.referrers(&access, &subject, filter, page).await;
        let is_known = kind == ErrorKind::ManifestUnknown;
        assert_eq!(asked.is_ok(), is_known, "{body}");
    }
}

#[tokio::test]
async fn referrers_are_listed_under_a_tag_where_the_registry_lists_none() {
    let service = RegistryService::new(Engine::memory());
    for status in [StatusCode::NOT_FOUND, StatusCode::METHOD_NOT_ALLOWED] {
        let service = service.clone();
        let without = tower::service_fn(move |request: Request<Incoming>| {
            let service = service.clone();
            async move {
                if !request.uri().path().contains("/referrers/") {
                    return service.oneshot(request).await;
                }
                let body = r#"{"errors":[{"code":"UNSUPPORTED"}]}"#;
                let mut answer = Response::new(registry_http::Body::from(Bytes::from(body)));
                *answer.status_mut() = status;
                Ok(answer)
            }
        });
        let server = TestServer::with_service(without).await;
        let registry = RemoteRegistry::new(&server.url()).unwrap();
        let access = trusted("team/app");
        let image = ImageBuilder::new("image").build();
        image.push(&registry, &access, &[]).await;
        let signature = ImageBuilder::new("signature")
            .subject(image.descriptor())
            .build();
        let expected = [signature.descriptor()];
        let tag = image.manifest().digest.to_string().replace(':', "-");
        let list = Package::index(vec![signature], None);
        list.push(&registry, &access, &[&tag]).await;
        let (subject, filter) = (image.manifest().digest, ReferrerFilter::default());
        let page = PageRequest::default();
        let listed = registry.referrers(&access, &subject, filter, page).await;
        assert_eq!(listed.unwrap().items, expected, "{status}");
    }
}
