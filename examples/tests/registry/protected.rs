//! With passwords and certificates.

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, SanType};
use registry_tests::harness::silence::{PASSWORD, WRONG};
use reqwest::tls::Version;
use reqwest::{Certificate, Client, Identity, Method, StatusCode};

use serde_json::Value;

use crate::program::{Setup, eventually};

#[tokio::test]
async fn only_users_of_the_password_file_get_in() {
    let users = format!("alice:{}\n", bcrypt::hash(PASSWORD, 4).unwrap());
    let program = Setup::new()
        .file("users", users)
        .variable("REGISTRY_AUTH", "htpasswd")
        .variable("REGISTRY_AUTH_HTPASSWD_REALM", "Team images")
        .variable("REGISTRY_AUTH_HTPASSWD_PATH", "users")
        .variable("REGISTRY_HTTP_ADDR", "127.0.0.1:0")
        .start();
    let url = format!("http://{}/v2/_catalog", program.address);
    let anonymous = Client::new().get(&url).send().await.unwrap();
    assert_eq!(anonymous.status(), StatusCode::UNAUTHORIZED);
    let challenge = anonymous.headers()["www-authenticate"].to_str().unwrap();
    assert!(challenge.contains(r#"realm="Team images""#), "{challenge}");
    for (password, status) in [
        (PASSWORD, StatusCode::OK),
        (WRONG, StatusCode::UNAUTHORIZED),
    ] {
        let request = Client::new().get(&url).basic_auth("alice", Some(password));
        assert_eq!(request.send().await.unwrap().status(), status, "{password}");
    }
    // Those who watch have no password.
    assert_eq!(program.get("/readyz").await.0, StatusCode::OK);
}

#[tokio::test]
async fn it_speaks_tls_with_the_certificate_it_was_given() {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let program = Setup::new()
        .file("c.pem", made.cert.pem())
        .file("k.pem", made.signing_key.serialize_pem())
        .variable("REGISTRY_HTTP_TLS_CERTIFICATE", "c.pem")
        .variable("REGISTRY_HTTP_TLS_KEY", "k.pem")
        .arguments(&["--addr", "127.0.0.1:0"])
        .start();
    let port = program.address.strip_prefix("127.0.0.1:").unwrap();
    let client = Client::builder()
        .tls_certs_only([Certificate::from_pem(made.cert.pem().as_bytes()).unwrap()])
        .build()
        .unwrap();
    let url = format!("https://localhost:{port}/v2/");
    let answer = client.get(url).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(answer.version(), reqwest::Version::HTTP_2);
}

#[tokio::test]
async fn no_older_tls_is_spoken_than_the_configuration_says() {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    for (minimum, is_old_taken) in [
        ("", true),
        ("    minimumtls: tls1.2\n", true),
        ("    minimumtls: tls1.3\n", false),
    ] {
        let program = Setup::serve(&format!(
            "version: 0.1\nstorage: inmemory\nhttp:\n  addr: 127.0.0.1:0\n  tls:\n    \
             certificate: c.pem\n    key: k.pem\n{minimum}"
        ))
        .file("c.pem", made.cert.pem())
        .file("k.pem", made.signing_key.serialize_pem())
        .start();
        let port = program.address.strip_prefix("127.0.0.1:").unwrap();
        let url = format!("https://localhost:{port}/v2/");
        for (newest, is_taken) in [(Version::TLS_1_2, is_old_taken), (Version::TLS_1_3, true)] {
            let server = Certificate::from_pem(made.cert.pem().as_bytes()).unwrap();
            let client = Client::builder().tls_certs_only([server]);
            let client = client.tls_version_max(newest).build().unwrap();
            let answer = client.get(&url).send().await;
            let status = answer.map(|answer| answer.status());
            assert_eq!(
                status.as_ref().ok(),
                is_taken.then_some(&StatusCode::OK),
                "{minimum}{newest:?}: {status:?}"
            );
            if let Err(error) = status {
                let told = format!("{error:?}");
                assert!(told.contains("ProtocolVersion"), "{told}");
            }
        }
    }
}

#[tokio::test]
async fn who_speaks_plain_http_where_tls_is_spoken_is_told_so() {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let program = Setup::new()
        .file("c.pem", made.cert.pem())
        .file("k.pem", made.signing_key.serialize_pem())
        .variable("REGISTRY_HTTP_TLS_CERTIFICATE", "c.pem")
        .variable("REGISTRY_HTTP_TLS_KEY", "k.pem")
        .arguments(&["--addr", "127.0.0.1:0"])
        .start();
    for path in ["/v2/", "/livez"] {
        let answer = program.call(Method::GET, path, b"").await;
        assert_eq!(answer.status(), StatusCode::BAD_REQUEST, "{path}");
        assert_eq!(answer.headers()["connection"], "close", "{path}");
        let sentence = answer.text().await.unwrap();
        assert!(sentence.contains("this port speaks HTTPS"), "{sentence}");
    }
}

#[tokio::test]
async fn everybody_gets_in_once_that_is_what_was_chosen() {
    let file = "version: 0.1\nstorage: inmemory\nhttp: {addr: '127.0.0.1:0'}\n";
    let with_users = format!("{file}auth: {{htpasswd: {{realm: r, path: missing}}}}\n");
    for setup in [
        Setup::serve(&format!("{file}auth: none\n")),
        Setup::serve(&with_users).variable("REGISTRY_AUTH", "none"),
    ] {
        let program = setup.start();
        assert_eq!(program.get("/v2/").await.0, StatusCode::OK);
    }
}

/// A certificate of `name`, and its key, as one PEM file.
pub(crate) fn client(authority: &Issuer<'_, KeyPair>, name: &str) -> Identity {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, authority).unwrap();
    let both = format!("{}{}", certificate.pem(), key.serialize_pem());
    Identity::from_pem(both.as_bytes()).unwrap()
}

#[tokio::test]
async fn clients_come_in_with_certificates() {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let authority = params.self_signed(&key).unwrap().pem();
    let issuer = Issuer::new(params, key);
    let policy = "version: 1\nrules:\n  - user ann is writer of ann/**\n";
    let ask = async |needed: &str, shown: Option<Identity>| {
        let file = format!(
            "version: 0.1\nstorage: inmemory\nhttp:\n  addr: 127.0.0.1:0\n  tls:\n    \
             certificate: c.pem\n    key: k.pem\n    clientcas: [clients.pem]\n{needed}\
             auth:\n  certificate: {{name: cn}}\n  policy: {{path: policy.yml}}\n"
        );
        let program = Setup::serve(&file)
            .file("c.pem", made.cert.pem())
            .file("k.pem", made.signing_key.serialize_pem())
            .file("clients.pem", &authority)
            .file("policy.yml", policy)
            .start();
        let port = program.address.strip_prefix("127.0.0.1:").unwrap();
        let server = Certificate::from_pem(made.cert.pem().as_bytes()).unwrap();
        let client = Client::builder().tls_certs_only([server]);
        let client = match shown {
            Some(shown) => client.identity(shown),
            None => client,
        };
        let url = format!("https://localhost:{port}/v2/ann/app/blobs/uploads/");
        let answer = client.build().unwrap().post(url).send().await;
        answer.ok().map(|answer| answer.status())
    };
    let optional = "    clientauth: verify-client-cert-if-given\n";
    for needed in ["", optional] {
        let ann = ask(needed, Some(client(&issuer, "ann"))).await;
        assert_eq!(ann, Some(StatusCode::ACCEPTED));
        let ben = ask(needed, Some(client(&issuer, "ben"))).await;
        assert_eq!(ben, Some(StatusCode::FORBIDDEN));
    }
    assert_eq!(ask(optional, None).await, Some(StatusCode::UNAUTHORIZED));
    assert_eq!(ask("", None).await, None);
}

/// The same, called by a SPIFFE ID.
fn service(authority: &Issuer<'_, KeyPair>, id: &str) -> Identity {
    let mut params = CertificateParams::default();
    params.subject_alt_names = vec![SanType::URI(id.try_into().unwrap())];
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, authority).unwrap();
    let both = format!("{}{}", certificate.pem(), key.serialize_pem());
    Identity::from_pem(both.as_bytes()).unwrap()
}

#[tokio::test]
async fn whoever_is_called_by_a_url_is_explained_and_revoked_by_it() {
    const ID: &str = "spiffe://example.com/builder";
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let authority = params.self_signed(&key).unwrap().pem();
    let issuer = Issuer::new(params, key);
    let program = Setup::serve(
        "version: 0.1\nstorage: {filesystem: {rootdirectory: data}}\nhttp:\n  addr: 127.0.0.1:0\n  \
         tls:\n    certificate: c.pem\n    key: k.pem\n    clientcas: [clients.pem]\n    \
         clientauth: verify-client-cert-if-given\n\
         auth:\n  certificate: {name: spiffe}\n  policy: {path: policy.yml}\n",
    )
    .file("c.pem", made.cert.pem())
    .file("k.pem", made.signing_key.serialize_pem())
    .file("clients.pem", &authority)
    .file(
        "policy.yml",
        format!("version: 1\nrules:\n  - user {ID} is writer of a/**\n"),
    )
    .start();
    let port = program.address.strip_prefix("127.0.0.1:").unwrap();
    let trusting = || {
        let server = Certificate::from_pem(made.cert.pem().as_bytes()).unwrap();
        Client::builder().tls_certs_only([server])
    };
    let builder = trusting().identity(service(&issuer, ID)).build().unwrap();
    let url = format!("https://localhost:{port}/v2/token?scope=repository:a/b:pull");
    let answer = builder.get(url).send().await.unwrap().text().await.unwrap();
    let answer: Value = serde_json::from_str(&answer).unwrap();
    let anybody = trusting().build().unwrap();
    let status = async || {
        let url = format!("https://localhost:{port}/v2/a/b/tags/list");
        let request = anybody
            .get(url)
            .bearer_auth(answer["token"].as_str().unwrap());
        request.send().await.unwrap().status()
    };
    assert_eq!(status().await, StatusCode::NOT_FOUND);

    let policy = program.path("policy.yml");
    let root = program.path("data");
    let (policy, root) = (policy.to_str().unwrap(), root.to_str().unwrap());
    for name in [ID.to_owned(), format!("user {ID}")] {
        let end = Setup::new()
            .arguments(&["auth", "explain", &name, "pull", "a/b", "--policy", policy])
            .run();
        assert!(
            end.stdout
                .starts_with(&format!("{ID} may pull a/b because of ")),
            "{end:?}"
        );
        let end = Setup::new()
            .arguments(&["auth", "token", "revoke", &name, "--root", root])
            .run();
        assert!(end.status.success(), "{end:?}");
        eventually("its token ends", async || {
            status().await == StatusCode::UNAUTHORIZED
        })
        .await;
    }
}
