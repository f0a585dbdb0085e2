//! By those who watch it.

use std::collections::BTreeSet;

use reqwest::{Method, StatusCode};
use rustix::process::Signal;
use serde_json::Value;

use crate::program::{Program, Setup, eventually};

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
async fn a_trusted_proxy_is_believed_whom_it_asks_for() {
    for (trusted, client) in [
        ("[127.0.0.0/8, ::1]", "192.0.2.7"),
        ("127.0.0.1", "192.0.2.7"),
        ("[10.0.0.1]", "127.0.0.1"),
    ] {
        let program = Setup::new()
            .arguments(&["--addr", "127.0.0.1:0"])
            .variable("REGISTRY_HTTP_TRUSTEDPROXIES", trusted)
            .start();
        let request = reqwest::Client::new()
            .get(format!("http://{}/v2/team/app/tags/list", program.address))
            .header("x-forwarded-for", "203.0.113.1, 192.0.2.7");
        request.send().await.unwrap();
        eventually("the request is logged", async || {
            program.stdout().contains(&format!("{client} - - ["))
        })
        .await;
    }
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

/// The program with its measurements, and where those are.
fn measured(driver: &str) -> (Program, String) {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let program = Setup::serve(&format!(
        "version: 0.1\nstorage: {{{driver}, delete: {{enabled: true}}}}\nhttp:\n  addr: '127.0.0.1:0'\n  \
         debug: {{addr: '{address}', prometheus: {{enabled: true}}}}\n",
    ))
    .start();
    (program, format!("http://{address}"))
}

/// Pushes an image, pulls it, and asks whatever else can be asked.
async fn use_all(program: &Program) {
    let digest = |content: &[u8]| registry_core::Algorithm::Sha256.digest(content);
    program.get("/v2/").await;
    program.get("/v2/_catalog").await;
    assert_eq!(program.push_blob("a", b"x").await, StatusCode::CREATED);
    let manifest = program.push_manifest("a", "v1", b"x").await;
    assert_eq!(manifest, StatusCode::CREATED);
    for path in [
        "manifests/v1",
        "manifests/v1",
        "tags/list",
        &format!("blobs/{}", digest(b"x")),
        &format!("referrers/{}", digest(b"x")),
    ] {
        let (status, answer) = program.get(&format!("/v2/a/{path}")).await;
        assert_eq!(status, StatusCode::OK, "{path}: {answer}");
    }
    let path = "/v2/a/blobs/uploads/";
    let begun = program.call(Method::POST, path, b"").await;
    let upload = begun.headers()["location"].to_str().unwrap();
    let appended = program.call(Method::PATCH, upload, b"y").await;
    assert_eq!(appended.status(), StatusCode::ACCEPTED);
    program
        .call(Method::DELETE, "/v2/a/manifests/v1", b"")
        .await;
}

/// The series of a scrape with the names of their labels; and with the values
/// of `label`, all that it has.
fn series(scrape: &str, label: &str) -> (BTreeSet<String>, BTreeSet<String>) {
    let mut series = BTreeSet::new();
    let mut values = BTreeSet::new();
    for line in scrape.lines().filter(|line| !line.starts_with('#')) {
        let Some((key, _)) = line.rsplit_once(' ') else {
            continue;
        };
        let (name, labels) = key.split_once('{').unwrap_or((key, "}"));
        let labels = labels.trim_end_matches('}').split(',');
        let mut names: Vec<_> = labels
            .filter_map(|pair| {
                let (name, value) = pair.split_once('=')?;
                if name == label {
                    values.insert(value.trim_matches('"').to_owned());
                }
                Some(name)
            })
            .collect();
        names.sort_unstable();
        series.insert(format!("{name}{{{}}}", names.join(",")));
    }
    (series, values)
}

/// What boards that were made for the Docker registry select by.
#[tokio::test]
async fn measurements_have_the_names_and_labels_of_the_docker_registry() {
    for (storage, driver) in [
        ("inmemory: {}", "inmemory"),
        ("filesystem: {rootdirectory: data}", "filesystem"),
    ] {
        let (program, measurements) = measured(storage);
        use_all(&program).await;
        let scrape = reqwest::get(format!("{measurements}/metrics")).await;
        let scrape = scrape.unwrap().text().await.unwrap();
        let (found, handlers) = series(&scrape, "handler");
        for name in [
            "registry_http_requests_total{code,handler,method}",
            "registry_http_request_duration_seconds_bucket{handler,le,method}",
            "registry_http_request_duration_seconds_sum{handler,method}",
            "registry_http_request_duration_seconds_count{handler,method}",
            "registry_http_in_flight_requests{handler}",
            "registry_http_request_size_bytes_bucket{handler,le}",
            "registry_http_response_size_bytes_bucket{handler,le}",
            "registry_storage_action_seconds_bucket{action,driver,le}",
            "registry_storage_action_seconds_count{action,driver}",
            "registry_storage_cache_requests_total{}",
            "registry_storage_cache_hits_total{}",
            "registry_storage_cache_errors_total{}",
        ] {
            assert!(found.contains(name), "{name} in {found:#?}");
        }
        let handlers: Vec<_> = handlers.iter().map(String::as_str).collect();
        let expected = [
            "base",
            "blob",
            "blob_upload",
            "blob_upload_chunk",
            "catalog",
            "manifest",
            "referrers",
            "tags",
        ];
        assert_eq!(handlers, expected);
        let (_, methods) = series(&scrape, "method");
        let methods: Vec<_> = methods.iter().map(String::as_str).collect();
        assert_eq!(methods, ["delete", "get", "patch", "post", "put"]);
        let (_, drivers) = series(&scrape, "driver");
        assert_eq!(drivers, BTreeSet::from([driver.to_owned()]));
        assert!(
            scrape.contains("\nregistry_storage_cache_requests_total 2\n"),
            "{scrape}"
        );
    }
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
    let counted =
        r#"registry_http_requests_total{code="201",handler="blob_upload",method="post"} 1"#;
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
