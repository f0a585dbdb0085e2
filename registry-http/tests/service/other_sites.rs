//! What pages of other sites have browsers send.

use crate::every_answer::{WRITER, guarded, guards};
use crate::exchange::{call, nothing, request, send, service};
use http::header::{HeaderName, HeaderValue};
use http::{Method, StatusCode};
use registry_auth::{ClientCertificate, TokenServer};
use registry_http::RegistryService;

#[tokio::test]
async fn pages_of_other_sites_change_nothing_with_what_a_browser_has_saved() {
    const HOST: &str = "host: registry.example:5000";
    const UPLOADS: &str = "/v2/team/a/blobs/uploads/";
    let others = [
        &["sec-fetch-site: cross-site"][..],
        &["sec-fetch-site: same-site", "origin: http://ui.example"],
        &["origin: http://evil.example"],
        &["origin: null"],
    ];
    let own = [
        &[][..],
        &[
            "sec-fetch-site: same-origin",
            "origin: http://registry.example:5000",
        ],
        &["sec-fetch-site: none"],
        &["origin: http://registry.example:5000"],
    ];
    let ask = async |service: &RegistryService, method: Method, path: &str, more: &[&str]| {
        let headers = [&[HOST, WRITER][..], more].concat();
        call(service, method, path, &headers).await.status
    };
    let service = service().access(guards().tokens(TokenServer::ephemeral().unwrap()));
    // A query for a token makes a refresh token where it asks for one.
    let login = "/v2/token?offline_token=true";
    for more in others {
        let status = ask(&service, Method::GET, login, more).await;
        assert_eq!(status, StatusCode::FORBIDDEN);
    }
    for more in own {
        let status = ask(&service, Method::GET, login, more).await;
        assert_eq!(status, StatusCode::OK);
    }
    for more in others {
        assert_eq!(
            ask(&service, Method::POST, UPLOADS, more).await,
            StatusCode::FORBIDDEN
        );
        assert_eq!(
            ask(&service, Method::GET, "/v2/", more).await,
            StatusCode::OK
        );
    }
    for more in own {
        assert_eq!(
            ask(&service, Method::POST, UPLOADS, more).await,
            StatusCode::ACCEPTED
        );
    }
    let open = guarded()
        .header(
            HeaderName::from_static("access-control-allow-origin"),
            HeaderValue::from_static("http://ui.example"),
        )
        .unwrap();
    let expected = [false, true, false, false];
    for (more, let_in) in others.into_iter().zip(expected) {
        let status = ask(&open, Method::POST, UPLOADS, more).await;
        assert_eq!(status == StatusCode::ACCEPTED, let_in, "{more:?}");
    }
}

#[tokio::test]
async fn pages_of_any_site_are_let_in_without_what_a_browser_has_saved() {
    const UPLOADS: &str = "/v2/team/a/blobs/uploads/";
    const PAGE: &str = "origin: http://evil.example";
    let service = service()
        .access(guards().tokens(TokenServer::ephemeral().unwrap()))
        .header(
            HeaderName::from_static("access-control-allow-origin"),
            HeaderValue::from_static("*"),
        )
        .unwrap();
    let token = "/v2/token?scope=repository:team/a:pull,push";
    let answer = call(&service, Method::GET, token, &[WRITER]).await;
    let given: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
    let bearer = format!("authorization: Bearer {}", given["token"].as_str().unwrap());
    let ask = async |method: Method, path: &str, headers: &[&str], certificate: bool| {
        let mut request = request(&method, path, headers, nothing());
        if certificate {
            let certificate = ClientCertificate::from_der(Vec::from(b"DER"));
            request.extensions_mut().insert(certificate);
        }
        send(&service, request).await.status
    };
    for (added, certificate) in [
        (&[WRITER][..], false),
        (&["authorization: basic d3JpdGVyOnNlY3JldA=="], false),
        (&["cookie: session=1"], false),
        (&[&bearer, "cookie: session=1"], false),
        (&[], true),
    ] {
        let page = [added, &[PAGE]].concat();
        for (method, path) in [
            (Method::POST, UPLOADS),
            (Method::GET, "/v2/token?offline_token=true"),
        ] {
            let status = ask(method, path, &page, certificate).await;
            assert_eq!(status, StatusCode::FORBIDDEN, "{added:?} {path}");
        }
        // Where no page asks for it, it is let in.
        let status = ask(Method::POST, UPLOADS, added, certificate).await;
        assert_ne!(status, StatusCode::FORBIDDEN, "{added:?}");
    }
    let status = ask(Method::POST, UPLOADS, &[&bearer, PAGE], false).await;
    assert_eq!(status, StatusCode::ACCEPTED);
    // Nobody without a login may push.
    let status = ask(Method::POST, UPLOADS, &[PAGE], false).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    let status = ask(Method::GET, token, &[PAGE], false).await;
    assert_eq!(status, StatusCode::OK);
}
