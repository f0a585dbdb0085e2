//! What is fetched of others, and from where nothing is.

#![allow(
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    reason = "these are tests"
)]

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use registry_core::ErrorKind;
use registry_http::registry_auth::Fetch;
use registry_http::{HttpFetch, TestServer};

type Body = BoxBody<Bytes, Infallible>;

/// A server that counts what it is asked, and answers by the path.
struct Server {
    listener: TestServer,
    asked: Arc<AtomicUsize>,
}

impl Server {
    async fn start() -> Self {
        let asked = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&asked);
        let service = tower::service_fn(move |request: Request<Incoming>| {
            counter.fetch_add(1, Ordering::SeqCst);
            async move { Ok::<_, Infallible>(answer(request).await) }
        });
        Self {
            listener: TestServer::with_service(service).await,
            asked,
        }
    }

    fn authority(&self) -> String {
        let url = self.listener.url();
        url.strip_prefix("http://").unwrap().to_owned()
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    fn fetch(&self) -> HttpFetch {
        let builder = HttpFetch::builder().host(&self.authority());
        builder.build().unwrap()
    }
}

async fn answer(request: Request<Incoming>) -> Response<Body> {
    let full = |bytes: Vec<u8>| Full::from(bytes).boxed();
    match request.uri().path() {
        "/echo" => {
            let body = request.into_body().collect().await.unwrap().to_bytes();
            let answer = Response::builder().header("cache-control", "max-age=7");
            answer.body(Full::new(body).boxed()).unwrap()
        }
        "/thousand" => Response::new(full(vec![b'x'; 1000])),
        // Nobody says how much it will be.
        "/endless" => {
            let part = || Ok(Frame::data(Bytes::from_static(&[b'x'; 1000])));
            let parts = futures::stream::repeat_with(part);
            Response::new(BodyExt::boxed(StreamBody::new(parts)))
        }
        "/silent" => std::future::pending().await,
        "/stuck" => {
            let part = Ok(Frame::data(Bytes::from_static(b"x")));
            let first = futures::stream::iter([part]);
            let parts = futures::StreamExt::chain(first, futures::stream::pending());
            Response::new(BodyExt::boxed(StreamBody::new(parts)))
        }
        path if path.starts_with("/redirect/") => {
            let to = path.strip_prefix("/redirect/").unwrap().to_owned();
            let answer = Response::builder().status(StatusCode::FOUND);
            let answer = answer.header("location", format!("http://{to}/thousand"));
            answer.body(full(Vec::new())).unwrap()
        }
        _ => Response::builder()
            .status(StatusCode::NOT_FOUND)
            .body(full(b"nothing".to_vec()))
            .unwrap(),
    }
}

async fn get(
    fetch: &impl Fetch,
    url: &str,
    most: usize,
) -> Result<(StatusCode, Vec<u8>), ErrorKind> {
    let request = Request::get(url).body(Vec::new()).unwrap();
    match fetch.fetch(request, most).await {
        Ok(answer) => Ok((answer.status(), answer.into_body())),
        Err(error) => Err(error.kind()),
    }
}

#[tokio::test]
async fn an_answer_comes_with_its_status_headers_and_body() {
    let server = Server::start().await;
    let request = Request::post(format!("{}/echo", server.listener.url()));
    let request = request.body(b"a question".to_vec()).unwrap();
    let answer = server.fetch().fetch(request, 10).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(answer.headers()["cache-control"], "max-age=7");
    assert_eq!(answer.body(), b"a question");
    let missing = format!("{}/missing", server.listener.url());
    let (status, body) = get(&server.fetch(), &missing, 10).await.unwrap();
    assert_eq!((status, &*body), (StatusCode::NOT_FOUND, &b"nothing"[..]));
}

#[tokio::test]
async fn no_more_is_read_than_was_asked_for() {
    let server = Server::start().await;
    let (fetch, url) = (server.fetch(), server.listener.url());
    let thousand = format!("{url}/thousand");
    assert_eq!(get(&fetch, &thousand, 1000).await.unwrap().1.len(), 1000);
    for (path, most) in [("thousand", 999), ("endless", 100_000), ("thousand", 0)] {
        let error = get(&fetch, &format!("{url}/{path}"), most).await;
        assert_eq!(error.unwrap_err(), ErrorKind::Unavailable, "{path} {most}");
    }
}

#[tokio::test]
async fn s_82_only_hosts_that_were_named_are_asked() {
    let (server, other) = (Server::start().await, Server::start().await);
    let fetch = server.fetch();
    let port = server.authority().rsplit_once(':').unwrap().1.to_owned();
    let urls = [
        other.listener.url(),
        // The same machine by other names.
        format!("http://localhost:{port}"),
        format!("http://[::1]:{port}"),
        format!("http://[::ffff:127.0.0.1]:{port}"),
        format!("http://127.0.0.2:{port}"),
        format!("http://0.0.0.0:{port}"),
        "http://127.0.0.1".to_owned(),
        "http://169.254.169.254/latest/meta-data".to_owned(),
        "http://10.0.0.1".to_owned(),
        "https://example.com".to_owned(),
        format!("http://{}@{}", server.authority(), other.authority()),
    ];
    for url in urls {
        let error = get(&fetch, &format!("{url}/thousand"), 1000).await;
        assert_eq!(error.unwrap_err(), ErrorKind::Unavailable, "{url}");
    }
    // Nobody named any.
    let none = HttpFetch::builder().build().unwrap();
    let url = format!("{}/thousand", server.listener.url());
    let error = get(&none, &url, 1000).await.unwrap_err();
    assert_eq!(error, ErrorKind::Unavailable);
    assert_eq!((server.asked(), other.asked()), (0, 0));
    // The address may be spelled in another way, and is the same.
    get(&fetch, &format!("http://2130706433:{port}/thousand"), 1000)
        .await
        .unwrap();
}

#[tokio::test]
async fn s_81_a_redirect_is_an_answer_and_leads_nowhere() {
    let (server, other) = (Server::start().await, Server::start().await);
    for to in [server.authority(), other.authority()] {
        let url = format!("{}/redirect/{to}", server.listener.url());
        let (status, _) = get(&server.fetch(), &url, 1000).await.unwrap();
        assert_eq!(status, StatusCode::FOUND);
    }
    assert_eq!((server.asked(), other.asked()), (2, 0));
}

#[tokio::test]
async fn who_does_not_answer_is_given_up() {
    let server = Server::start().await;
    for path in ["silent", "stuck"] {
        let builder = HttpFetch::builder().host(&server.authority());
        let fetch = builder.patience(Duration::from_millis(50)).unwrap();
        let fetch = fetch.build().unwrap();
        let url = format!("{}/{path}", server.listener.url());
        let error = get(&fetch, &url, 1000).await.unwrap_err();
        assert_eq!(error, ErrorKind::Unavailable, "{path}");
    }
    let gone = server.authority();
    drop(server);
    let fetch = HttpFetch::builder().host(&gone).build().unwrap();
    let error = get(&fetch, &format!("http://{gone}/"), 1).await;
    assert_eq!(error.unwrap_err(), ErrorKind::Unavailable);
}

#[tokio::test]
async fn what_is_no_host_is_refused() {
    for host in ["", "a/b", "a b", "https://a", "u@a", "a:b", "a?b", "a\\b"] {
        let error = HttpFetch::builder().host(host).build().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::RequestInvalid, "{host}");
    }
    let error = HttpFetch::builder().certificate("junk").build();
    assert_eq!(error.unwrap_err().kind(), ErrorKind::RequestInvalid);
    for longest in [Duration::ZERO, Duration::from_millis(10_001)] {
        let error = HttpFetch::builder().patience(longest).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::RequestInvalid);
    }
    for host in ["example.com", "Example.com:8443", "[::1]:80", "10.0.0.1"] {
        HttpFetch::builder().host(host).build().unwrap();
    }
}
