//! By those who watch it.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};

use registry_tests::harness::silence::PASSWORD;
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
async fn fields_of_the_operator_take_no_place_of_the_registrys() {
    for (format, names) in [
        ("json", ["time", "level", "msg"]),
        ("logstash", ["@timestamp", "level", "message"]),
    ] {
        let fields: Vec<_> = names.iter().map(|name| format!("'{name}': mine")).collect();
        let fields = fields.join(", ");
        let mut program = Setup::serve(&format!(
            "version: 0.1\nstorage: inmemory\nhttp: {{addr: '127.0.0.1:0', secret: x}}\n\
             log: {{formatter: {format}, fields: {{{fields}, vars.name: mine}}}}\n"
        ))
        .start();
        program.get("/v2/team/app/tags/list").await;
        program.signal(Signal::TERM);
        program.wait();
        let (stdout, stderr) = (program.stdout(), program.stderr());
        let lines: Vec<Value> = stdout
            .lines()
            .chain(stderr.lines())
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert!(lines.len() >= 3, "{stdout}{stderr}");
        for line in &lines {
            for name in names {
                assert_ne!(line[name], "mine", "{line}");
                assert_eq!(line[format!("fields.{name}")], "mine", "{line}");
            }
        }
        assert_eq!(lines[0]["vars.name"], "team/app", "{}", lines[0]);
        assert_eq!(lines[0]["fields.vars.name"], "mine", "{}", lines[0]);
    }
}

/// Standard output is a pipe that nobody reads.
#[tokio::test]
async fn lines_that_nobody_reads_are_told_of_and_counted() {
    let debug = free_address();
    let program = Setup::after("mkfifo log; exec 1<>log")
        .arguments(&["--addr", "127.0.0.1:0"])
        .variable("REGISTRY_HTTP_DEBUG_ADDR", &debug.to_string())
        .variable("REGISTRY_HTTP_DEBUG_PROMETHEUS_ENABLED", "true")
        .start();
    let count = async || {
        let scrape = reqwest::get(format!("http://{debug}/metrics")).await;
        let scrape = scrape.unwrap().text().await.unwrap();
        let mut lines = scrape.lines();
        let count =
            lines.find_map(|line| line.strip_prefix("registry_access_log_dropped_lines_total "));
        count.map(|count| count.parse::<u64>().unwrap())
    };
    eventually("it is counted from the beginning", async || {
        count().await == Some(0)
    })
    .await;
    let ask = || {
        let mut stream = program.connect();
        let request = "GET /v2/ HTTP/1.1\r\nHost: registry\r\n\r\n".repeat(100);
        std::thread::spawn(move || {
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let mut answered = 0;
            for _ in 0..30 {
                stream.write_all(request.as_bytes()).unwrap();
                let mut line = String::new();
                for _ in 0..100 {
                    while !line.contains("HTTP/1.1 200") {
                        line.clear();
                        reader.read_line(&mut line).unwrap();
                    }
                    line.clear();
                    answered += 1;
                }
            }
            answered
        })
    };
    let asking: Vec<_> = (0..4).map(|_| ask()).collect();
    let answered: u64 = asking
        .into_iter()
        .map(|asking| asking.join().unwrap())
        .sum();
    // Nobody waits for whoever reads the log.
    assert_eq!(answered, 12_000);
    eventually("the operator is told", async || {
        program
            .stderr()
            .contains("lines of the access log are missing")
    })
    .await;
    eventually("it is counted", async || {
        count().await.is_some_and(|count| count > 0)
    })
    .await;
    let told = program
        .stderr()
        .matches("lines of the access log are")
        .count();
    assert_eq!(told, 1, "{}", program.stderr());
}

#[tokio::test]
async fn the_first_page_is_empty_and_tells_nothing() {
    for prefix in ["/", "/images/"] {
        let debug = free_address();
        let users = format!("alice:{}\n", bcrypt::hash(PASSWORD, 4).unwrap());
        let program = Setup::new()
            .file("users", users)
            .arguments(&["--addr", "127.0.0.1:0"])
            .variable("REGISTRY_AUTH", "htpasswd")
            .variable("REGISTRY_AUTH_HTPASSWD_REALM", "r")
            .variable("REGISTRY_AUTH_HTPASSWD_PATH", "users")
            .variable("REGISTRY_HTTP_PREFIX", prefix)
            .variable("REGISTRY_HTTP_DEBUG_ADDR", &debug.to_string())
            .start();
        for method in [Method::GET, Method::HEAD] {
            let answer = program.call(method, "/", b"").await;
            assert_eq!(answer.status(), StatusCode::OK);
            for name in answer.headers().keys() {
                let usual = ["cache-control", "content-length", "content-type", "date"];
                assert!(usual.contains(&name.as_str()), "{name}");
            }
            assert_eq!(answer.text().await.unwrap(), "");
        }
        let answer = program.call(Method::POST, "/", b"").await;
        assert_eq!(answer.status(), StatusCode::METHOD_NOT_ALLOWED);
        let watched = reqwest::get(format!("http://{debug}/")).await.unwrap();
        assert_eq!(watched.status(), StatusCode::NOT_FOUND);
    }
}

#[tokio::test]
async fn requests_are_not_logged_if_told_so() {
    let mut program = Setup::serve(
        "version: 0.1\nstorage: inmemory\nlog: {level: error, accesslog: {disabled: true}}\n\
         http: {addr: '127.0.0.1:0'}\n",
    )
    .level_of_its_file()
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

/// An address that is free now.
pub(crate) fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}

/// The program with its measurements, and where those are.
fn measured(driver: &str) -> (Program, String) {
    let address = free_address();
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
    let address = free_address();
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
