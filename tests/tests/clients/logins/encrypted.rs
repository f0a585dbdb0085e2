//! Clients over TLS, with a certificate by an authority that they are told of and nobody else knows.

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use registry_tests::harness::{Launch, Output, Tool, tool};
use tempfile::TempDir;

use super::{Guarded, PASSWORD, Places, UNKNOWN, USER, fails, said, works};
use crate::content;
use crate::layout::Layout;
use crate::skopeo;

/// How clients say that they don't know who vouches for a certificate.
const UNTRUSTED: [&str; 3] = [
    "certificate signed by unknown authority",
    "failed to verify certificate",
    "unable to get local issuer certificate",
];

/// A certificate of this machine, `own.crt`, its key, `own.key`, and the directory in which its authority's certificate
/// is.
pub(super) fn certify(files: &TempDir) -> PathBuf {
    let place = |name: &str| files.path().join(name);
    let mut params = CertificateParams::new(Vec::new()).expect("no names");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    // OpenSSL takes a certificate whose issuer is called as its subject for its own.
    params
        .distinguished_name
        .push(DnType::CommonName, "authority");
    let authority_key = KeyPair::generate().expect("a key");
    let authority = params.self_signed(&authority_key).expect("a certificate");
    let issuer = Issuer::new(params, authority_key);
    let own_key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("a name");
    let own = params.signed_by(&own_key, &issuer).expect("a certificate");
    // Some take every file in a directory that is called so.
    let trusted = place("trusted");
    fs::create_dir(&trusted).expect("a directory");
    for (path, text) in [
        (trusted.join("ca.crt"), authority.pem()),
        (place("own.crt"), own.pem()),
        (place("own.key"), own_key.serialize_pem()),
    ] {
        fs::write(path, text).expect("a file");
    }
    trusted
}

/// A server over TLS, and the directory in which its authority's certificate is.
fn start() -> (Guarded, PathBuf) {
    let files = content::scratch();
    let trusted = certify(&files);
    let place = |name: &str| files.path().join(name);
    let launch = Launch::new()
        .env("REGISTRY_HTTP_TLS_CERTIFICATE", place("own.crt"))
        .env("REGISTRY_HTTP_TLS_KEY", place("own.key"));
    (Guarded::launch(files, launch), trusted)
}

/// What a client does, once with its options for who is trusted and once without.
struct Encrypted<'a> {
    login: &'a dyn Fn(&str) -> Option<Output>,
    push: &'a dyn Fn(&str) -> Output,
    pull: &'a dyn Fn(&str, &str) -> Output,
    push_untrusting: &'a dyn Fn(&str) -> Output,
}

fn goes_over_tls(client: &Encrypted<'_>, guarded: &Guarded, places: &Places, layout: &Layout) {
    let own = format!("{}:v1", guarded.named("team/app"));
    fails("a push without a login", &(client.push)(&own), &UNKNOWN);
    if let Some(login) = (client.login)(guarded.host()) {
        works("a login", &login);
    }
    let untrusting = (client.push_untrusting)(&own);
    fails("a push by who trusts nobody", &untrusting, &UNTRUSTED);
    works("a push", &(client.push)(&own));
    let pulled = places.next();
    works("a pull", &(client.pull)(&own, &pulled));
    layout.assert_pulled(pulled.as_ref());
    let foreign = format!("{}:v1", guarded.named("other/app"));
    fails("a push among others", &(client.push)(&foreign), &["403"]);
}

pub(super) fn skopeo_goes(skopeo: Tool, guarded: &Guarded, trusted: &Path) {
    let places = Places::new();
    let layout = content::small(&places.at("pushed"));
    let skopeo = skopeo.env("REGISTRY_AUTH_FILE", places.logins());
    let from = format!("oci:{}:latest", layout.path());
    let option = |side: &str| format!("--{side}cert-dir={}", trusted.display());
    let push = |options: &[&str], reference: &str| {
        let to = format!("docker://{reference}");
        let all = ["copy", skopeo::EXACT]
            .into_iter()
            .chain(options.iter().copied());
        skopeo.attempt(all.chain([from.as_str(), to.as_str()]))
    };
    let client = Encrypted {
        login: &|host| {
            let cert_dir = option("");
            Some(skopeo.attempt(["login", &cert_dir, "-u", USER, "-p", PASSWORD, host]))
        },
        push: &|reference| push(&[&option("dest-")], reference),
        push_untrusting: &|reference| push(&[], reference),
        pull: &|reference, layout| {
            let (from, to) = (
                format!("docker://{reference}"),
                format!("oci:{layout}:latest"),
            );
            skopeo.attempt(["copy", skopeo::EXACT, &option("src-"), &from, &to])
        },
    };
    goes_over_tls(&client, guarded, &places, &layout);
}

pub(super) fn crane_goes(crane: Tool, guarded: &Guarded, trusted: &Path) {
    let places = Places::new();
    let layout = content::small(&places.at("pushed"));
    let crane = crane.env("DOCKER_CONFIG", places.at("docker"));
    let trusting = crane.clone().env("SSL_CERT_FILE", trusted.join("ca.crt"));
    let push = |crane: &Tool, reference: &str| crane.attempt(["push", &layout.path(), reference]);
    let client = Encrypted {
        login: &|host| {
            crane.run(["auth", "login", "-u", USER, "-p", PASSWORD, host]);
            None
        },
        push: &|reference| push(&trusting, reference),
        push_untrusting: &|reference| push(&crane, reference),
        pull: &|reference, layout| trusting.attempt(["pull", "--format=oci", reference, layout]),
    };
    goes_over_tls(&client, guarded, &places, &layout);
}

#[test]
fn skopeo_goes_over_tls() {
    let Some(skopeo) = skopeo::skopeo() else {
        return;
    };
    let (guarded, trusted) = start();
    skopeo_goes(skopeo, &guarded, &trusted);
}

#[test]
fn crane_goes_over_tls() {
    let Some(crane) = tool("crane") else { return };
    let (guarded, trusted) = start();
    crane_goes(crane, &guarded, &trusted);
}

#[test]
fn oras_goes_over_tls() {
    let Some(oras) = tool("oras") else { return };
    let (places, (guarded, trusted)) = (Places::new(), start());
    let layout = content::small(&places.at("pushed"));
    let oras = oras.env("DOCKER_CONFIG", places.at("docker"));
    let option = |side: &str| format!("--{side}ca-file={}", trusted.join("ca.crt").display());
    let from = format!("{}:latest", layout.path());
    let client = Encrypted {
        login: &|host| Some(oras.attempt(["login", &option(""), "-u", USER, "-p", PASSWORD, host])),
        push: &|reference| {
            oras.attempt(["cp", "--from-oci-layout", &from, &option("to-"), reference])
        },
        push_untrusting: &|reference| oras.attempt(["cp", "--from-oci-layout", &from, reference]),
        pull: &|reference, layout| {
            let to = format!("{layout}:latest");
            oras.attempt(["cp", &option("from-"), reference, "--to-oci-layout", &to])
        },
    };
    goes_over_tls(&client, &guarded, &places, &layout);
}

/// Where to get a token is said as an address of the same kind.
#[test]
fn the_token_server_is_named_by_its_encrypted_address() {
    let Some(curl) = tool("curl") else { return };
    let (guarded, trusted) = start();
    let host = guarded.host();
    let authority = trusted.join("ca.crt");
    let answer = curl.run([
        "--silent",
        "--include",
        "--cacert",
        content::path(&authority),
        &format!("https://{host}/v2/"),
    ]);
    let realm = format!("realm=\"https://{host}/v2/token\"");
    assert!(answer.text().contains(&realm), "{}", said(&answer));
}
