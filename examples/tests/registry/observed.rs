//! By those who watch it.

use reqwest::StatusCode;
use rustix::process::Signal;
use serde_json::Value;

use crate::program::{Setup, eventually};

#[tokio::test]
async fn requests_are_logged_on_standard_output() {
    let program = Setup::new().arguments(&["--addr", "127.0.0.1:0"]).start();
    program.get("/v2/team/app/tags/list?token=hush").await;
    eventually("the request is logged", async || {
        program.stdout().contains("127.0.0.1 - - [")
    })
    .await;
    let log = program.stdout();
    assert!(
        log.contains(r#"] "GET /v2/team/app/tags/list HTTP/1.1" 404 "#),
        "{log}"
    );
    assert!(!log.contains("hush"), "{log}");
}

#[tokio::test]
async fn logs_are_json_if_asked() {
    let mut program = Setup::new()
        .arguments(&["--addr", "127.0.0.1:0"])
        .variable("REGISTRY_LOG_FORMATTER", "json")
        .variable("REGISTRY_LOG_FIELDS_SERVICE", "hub")
        .variable("REGISTRY_HTTP_SECRET", "x")
        .start();
    program.get("/v2/team/app/tags/list").await;
    program.signal(Signal::TERM);
    program.wait();
    let stdout = program.stdout();
    let request: Value = serde_json::from_str(stdout.lines().last().unwrap()).unwrap();
    for (name, value) in [
        ("http.request.method", "GET"),
        ("http.request.uri", "/v2/team/app/tags/list"),
        ("http.request.remoteaddr", "127.0.0.1"),
        ("vars.name", "team/app"),
        ("service", "hub"),
    ] {
        assert_eq!(request[name], value, "{request}");
    }
    assert_eq!(request["http.response.status"], 404, "{request}");
    let stderr = program.stderr();
    assert!(stderr.lines().count() >= 2, "{stderr}");
    for line in stderr.lines() {
        let message: Value = serde_json::from_str(line).unwrap();
        assert_eq!(message["service"], "hub", "{line}");
    }
}

#[tokio::test]
async fn requests_are_not_logged_if_told_so() {
    let mut program = Setup::serve(
        "version: 0.1\nstorage: inmemory\nlog: {level: error, accesslog: {disabled: true}}\n\
         http: {addr: '127.0.0.1:0'}\n",
    )
    .start();
    program.get("/v2/").await;
    program.signal(Signal::TERM);
    program.wait();
    assert_eq!(program.stdout(), "");
    assert_eq!(
        program.stderr(),
        format!("listening on {}\n", program.address)
    );
}

#[tokio::test]
async fn measurements_are_on_a_listener_of_their_own() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let program = Setup::new()
        .arguments(&["--addr", "127.0.0.1:0"])
        .variable("REGISTRY_HTTP_DEBUG_ADDR", &address.to_string())
        .variable("REGISTRY_HTTP_DEBUG_PROMETHEUS_ENABLED", "true")
        .start();
    assert_eq!(program.push_blob("a", b"x").await, StatusCode::CREATED);
    assert_eq!(program.get("/metrics").await.0, StatusCode::NOT_FOUND);
    let get = async |path: &str| {
        let answer = reqwest::get(format!("http://{address}{path}"))
            .await
            .unwrap();
        (answer.status(), answer.text().await.unwrap())
    };
    let (status, metrics) = get("/metrics").await;
    assert_eq!(status, StatusCode::OK);
    let counted = r#"registry_http_requests_total{code="201",handler="push_blob",method="post"} 1"#;
    assert!(metrics.contains(counted), "{metrics}");
    assert!(
        metrics.contains("registry_http_request_duration_seconds_bucket{"),
        "{metrics}"
    );
    assert_eq!(
        get("/debug/health").await,
        (StatusCode::OK, "{}".to_owned())
    );
    assert_eq!(get("/readyz").await.0, StatusCode::OK);
    assert_eq!(get("/v2/").await.0, StatusCode::NOT_FOUND);
}
