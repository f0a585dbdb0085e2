//! Without any configuration.

use reqwest::{Method, StatusCode};

use crate::program::{Setup, eventually, is_there};

#[tokio::test]
async fn it_serves_everything_without_being_configured() {
    let program = Setup::new().arguments(&["--addr", "127.0.0.1:0"]).start();
    assert!(
        program.address.starts_with("127.0.0.1:"),
        "{}",
        program.address
    );
    assert!(is_there(&program.path("registry-data/blobs")));
    let push = format!("docker push {}/", program.address);
    let data = program.path("registry-data").display().to_string();
    eventually("it introduces itself", async || {
        let summary = program.stdout();
        summary.contains(&push) && summary.contains(&data)
    })
    .await;

    assert_eq!(program.push_blob("a/b", b"x").await, StatusCode::CREATED);
    assert_eq!(
        program.push_manifest("a/b", "t", b"x").await,
        StatusCode::CREATED
    );
    let (status, list) = program.get("/v2/_catalog").await;
    assert_eq!(
        (status, list.as_str()),
        (StatusCode::OK, r#"{"repositories":["a/b"]}"#)
    );
    let answer = program
        .call(Method::DELETE, "/v2/a/b/manifests/t", b"")
        .await;
    assert_eq!(answer.status(), StatusCode::ACCEPTED);
    for path in ["/livez", "/readyz"] {
        assert_eq!(program.get(path).await.0, StatusCode::OK, "{path}");
    }
    assert_eq!(program.get("/metrics").await.0, StatusCode::NOT_FOUND);
    assert_eq!(program.get("/debug/health").await.0, StatusCode::NOT_FOUND);
}

#[test]
fn it_listens_on_port_5000_of_this_machine_only() {
    // If another process is there already, that is as good.
    let _taken = std::net::TcpListener::bind("127.0.0.1:5000");
    let end = Setup::new().run();
    assert!(
        end.stderr.contains("127.0.0.1:5000 can't be listened on"),
        "{end:?}"
    );
}

#[test]
fn help_teaches_how_to_begin() {
    let end = Setup::new().arguments(&["--help"]).run();
    let again = Setup::new().arguments(&["help"]).run();
    assert_eq!((again.status, &again.stdout), (end.status, &end.stdout));
    assert!(end.status.success());
    for what in [
        "docker push",
        "REGISTRY_AUTH_HTPASSWD_PATH",
        "serve",
        "check",
        "rebuild",
    ] {
        assert!(end.stdout.contains(what), "{what}");
    }
    // Its own example works.
    let (_, example) = end
        .stdout
        .split_once("Listen here, for example on ")
        .unwrap();
    let example = example.split_whitespace().next().unwrap();
    let (host, _) = example.rsplit_once(':').unwrap();
    let address = format!("{host}:0");
    let program = Setup::new().arguments(&["--addr", &address]).start();
    assert!(program.address.starts_with(host), "{}", program.address);
    let end = Setup::new().arguments(&["--version"]).run();
    assert_eq!(
        end.stdout,
        format!("registry {}\n", env!("CARGO_PKG_VERSION"))
    );
    let end = Setup::new().arguments(&["garbage-collect"]).run();
    assert_eq!(end.status.code(), Some(2));
}
