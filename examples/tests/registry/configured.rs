//! By flags, variables and a file.

use reqwest::{Method, StatusCode};

use crate::program::{Setup, is_there};

/// What the test suites of `BuildKit` and Moby write.
const FILE: &str = "\
version: 0.1
loglevel: debug
storage:
  filesystem:
    rootdirectory: of-file
http:
  addr: 127.0.0.1:0
";

#[tokio::test]
async fn a_flag_goes_before_a_variable_and_that_before_the_file() {
    let root = "REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY";
    for (setup, expected) in [
        (Setup::serve(FILE), "of-file"),
        (
            Setup::serve(FILE).variable(root, "of-variable"),
            "of-variable",
        ),
        (
            Setup::serve(FILE)
                .variable(root, "of-variable")
                .arguments(&["--root", "of-flag"]),
            "of-flag",
        ),
    ] {
        let program = setup.start();
        assert_eq!(program.get("/v2/").await.0, StatusCode::OK);
        for name in ["of-file", "of-variable", "of-flag"] {
            assert_eq!(is_there(&program.path(name)), name == expected, "{name}");
        }
    }
}

#[tokio::test]
async fn with_a_file_deletes_have_to_be_allowed() {
    let program = Setup::serve(FILE).start();
    assert_eq!(program.push_blob("a", b"x").await, StatusCode::CREATED);
    assert_eq!(
        program.push_manifest("a", "t", b"x").await,
        StatusCode::CREATED
    );
    let answer = program.call(Method::DELETE, "/v2/a/manifests/t", b"").await;
    assert_eq!(answer.status(), StatusCode::METHOD_NOT_ALLOWED);

    let program = Setup::serve(FILE)
        .variable("REGISTRY_STORAGE_DELETE_ENABLED", "true")
        .start();
    assert_eq!(program.push_blob("a", b"x").await, StatusCode::CREATED);
    assert_eq!(
        program.push_manifest("a", "t", b"x").await,
        StatusCode::CREATED
    );
    let answer = program.call(Method::DELETE, "/v2/a/manifests/t", b"").await;
    assert_eq!(answer.status(), StatusCode::ACCEPTED);
}

#[tokio::test]
async fn variables_do_without_a_file() {
    let program = Setup::new()
        .variable("REGISTRY_HTTP_ADDR", "127.0.0.1:0")
        .variable("REGISTRY_STORAGE", "inmemory")
        .variable("REGISTRY_VALIDATION_DISABLED", "true")
        .variable("REGISTRY_HTTP_HEADERS_X-FRAME-OPTIONS", "[DENY]")
        .variable("REGISTRY_HTTP_PREFIX", "/images/")
        // What a platform adds when a service is called `registry`.
        .variable("REGISTRY_PORT", "tcp://10.0.0.1:5000")
        .variable("REGISTRY_SERVICE_HOST", "10.0.0.1")
        .start();
    let answer = program.call(Method::GET, "/images/v2/", b"").await;
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(answer.headers()["x-frame-options"], "DENY");
    assert!(!is_there(&program.path("registry-data")));
    let stderr = program.stderr();
    assert!(stderr.contains("REGISTRY_SERVICE_HOST"), "{stderr}");
}

#[tokio::test]
async fn a_manifest_of_missing_content_needs_validation_to_be_off() {
    let program = Setup::serve(FILE).start();
    assert_eq!(
        program.push_manifest("a", "t", b"x").await,
        StatusCode::BAD_REQUEST
    );
    let program = Setup::serve(&format!("{FILE}validation: {{disabled: true}}\n")).start();
    assert_eq!(
        program.push_manifest("a", "t", b"x").await,
        StatusCode::CREATED
    );
}

#[tokio::test]
async fn a_variable_can_name_the_file() {
    let program = Setup::new()
        .file("c.yml", FILE)
        .variable("REGISTRY_CONFIGURATION_PATH", "c.yml")
        .start();
    assert!(is_there(&program.path("of-file")));
}

#[tokio::test]
async fn a_read_only_registry_takes_nothing() {
    let readonly = "REGISTRY_STORAGE_MAINTENANCE_READONLY_ENABLED";
    let program = Setup::serve(FILE).variable(readonly, "true").start();
    assert_eq!(
        program.push_blob("a", b"x").await,
        StatusCode::METHOD_NOT_ALLOWED
    );
    assert_eq!(program.get("/v2/_catalog").await.0, StatusCode::OK);
}
