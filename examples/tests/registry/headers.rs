//! With headers of the operator's own.

use registry_tests::harness::silence::PASSWORD;
use reqwest::{Client, Method, StatusCode};

use crate::program::Setup;

const FILE: &str = "version: 0.1\nstorage: {inmemory: {}, delete: {enabled: true}}\n\
                    http:\n  addr: 127.0.0.1:0\n";

/// As user interfaces tell to configure it.
const CROSS_ORIGIN: &str = "  headers:
    Access-Control-Allow-Origin: ['http://ui.example']
    Access-Control-Allow-Methods: ['HEAD', 'GET', 'OPTIONS', 'DELETE']
    Access-Control-Allow-Headers: ['Authorization', 'Accept', 'Cache-Control']
    Access-Control-Expose-Headers: ['Docker-Content-Digest']
";

#[tokio::test]
async fn a_browser_may_ask_before_a_page_uses_the_registry() {
    let users = format!("alice:{}\n", bcrypt::hash(PASSWORD, 4).unwrap());
    let auth = "auth: {htpasswd: {realm: r, path: users}}\n";
    let program = Setup::serve(&format!("{FILE}{CROSS_ORIGIN}{auth}"))
        .file("users", users)
        .start();
    let url = format!("http://{}", program.address);
    for path in ["/v2/a/manifests/v1", "/v2/a/tags/list", "/v2/"] {
        // Without a login: browsers send none.
        let asked = Client::new()
            .request(Method::OPTIONS, format!("{url}{path}"))
            .header("origin", "http://ui.example")
            .header("access-control-request-method", "DELETE")
            .header("access-control-request-headers", "authorization");
        let answer = asked.send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK, "{path}");
        let header = |name: &str| answer.headers()[name].to_str().unwrap().to_owned();
        assert_eq!(header("access-control-allow-origin"), "http://ui.example");
        let names = answer.headers().get_all("access-control-allow-headers");
        let names: Vec<_> = names.iter().collect();
        assert_eq!(names, ["Authorization", "Accept", "Cache-Control"]);
        assert!(header("allow").starts_with("GET, HEAD"), "{path}");
        assert!(answer.headers().get("www-authenticate").is_none());
        assert_eq!(answer.text().await.unwrap(), "", "{path}");
    }
    let (status, _) = program.get("/v2/a/tags/list").await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    let nowhere = program.call(Method::OPTIONS, "/v3/", b"").await;
    assert_eq!(nowhere.status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn nobody_may_ask_unless_a_site_is_let_in() {
    for headers in ["", "  headers: {X-Frame-Options: [DENY]}\n"] {
        let program = Setup::serve(&format!("{FILE}{headers}")).start();
        let answer = program.call(Method::OPTIONS, "/v2/", b"").await;
        assert_eq!(answer.status(), StatusCode::METHOD_NOT_ALLOWED, "{headers}");
        assert_eq!(answer.headers()["allow"], "GET, HEAD");
    }
}

#[tokio::test]
async fn headers_of_the_operator_count_where_answers_have_one() {
    let headers = "  headers:
    Cache-Control: [no-store]
    Content-Security-Policy: [\"frame-ancestors 'none'\"]
    X-Content-Type-Options: [nosniff]
";
    let program = Setup::serve(&format!("{FILE}{headers}")).start();
    assert_eq!(program.push_blob("a", b"x").await, StatusCode::CREATED);
    let digest = registry_core::Algorithm::Sha256.digest(b"x");
    let path = format!("/v2/a/blobs/{digest}");
    let answer = program.call(Method::GET, &path, b"").await;
    assert_eq!(answer.status(), StatusCode::OK);
    let all = |name: &str| -> Vec<String> {
        let values = answer.headers().get_all(name).iter();
        values
            .map(|value| value.to_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(all("cache-control"), ["no-store"]);
    // A browser obeys both.
    assert_eq!(
        all("content-security-policy"),
        ["default-src 'none'; sandbox", "frame-ancestors 'none'"]
    );
    assert_eq!(all("x-content-type-options"), ["nosniff"]);
}
