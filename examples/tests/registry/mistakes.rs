//! What it says when something is wrong.

use registry_tests::harness::silence::PASSWORD;
use serde_json::Value;

use crate::program::Setup;

/// Each mistake in a file, its line, and what the sentence has to hold.
const MISTAKES: &[(&str, usize, &str)] = &[
    ("version: 0.2\n", 1, "it takes 0.1"),
    (
        "version: 0.1\nstorge: inmemory\n",
        2,
        "did you mean `storage`?",
    ),
    (
        "http:\n  addr: :1\n  adr: :2\n",
        3,
        "did you mean `http.addr`?",
    ),
    ("http:\n  addr: :1\n  addr: :2\n", 3, "twice"),
    ("http.addr: :1\n", 1, "write `http:`"),
    ("http: {addr: 5000}\n", 1, "write one such as :5000"),
    ("http: [a]\n", 1, "takes keys"),
    (
        "http:\n  trustedproxies: [10.0.0.0/8, proxy]\n",
        2,
        "`proxy` is no network",
    ),
    ("http:\n  trustedproxies: {a: b}\n", 2, "takes a list"),
    (
        "http:\n  trustedproxies: [10.0.0.0/8, '::/0']\n",
        2,
        "`::/0` is everybody",
    ),
    ("auth:\n", 1, "`auth` says nothing"),
    (
        "auth:\n  htpasswd: {realm: r, path: p}\n  policy:\n",
        3,
        "`auth.policy` says nothing",
    ),
    ("auth:\n  ldap: {}\n", 2, "`auth.ldap` says nothing"),
    (
        "auth:\n  token: {realm: r, service: s, issuer: i, jwks: k}\n  policy: {path: p}\n  keys: {enabled: true}\n",
        4,
        "`auth.keys` and `auth.token` exclude each other",
    ),
    (
        "auth:\n  ldap:\n    url: ldap://127.0.0.1\n    base: dc=a\n    rootcertbundle: c.pem\n",
        5,
        "means nothing without encryption",
    ),
    ("http:\n  tls:\n    key: k.pem\n", 2, "needs `certificate`"),
    (
        "http:\n  tls:\n    letsencrypt: {}\n",
        3,
        "needs `cachefile`",
    ),
    (
        "http:\n  tls:\n    letsencrypt: {cachefile: c}\n",
        3,
        "needs `hosts`",
    ),
    (
        "http:\n  tls:\n    certificate: c\n    key: k\n    letsencrypt: {cachefile: c, hosts: [a]}\n",
        5,
        "there is a certificate already",
    ),
    (
        "http:\n  tls:\n    ciphersuites: [a]\n",
        3,
        "isn't supported",
    ),
    (
        "auth:\n  limits:\n    burst: 5\n",
        3,
        "say how many a second, too",
    ),
    (
        "auth:\n  limits:\n    longestwait: 1h\n",
        3,
        "a time from 1s to 15m",
    ),
    (
        "auth:\n  limits:\n    wrongpasswords: 0\n",
        3,
        "a whole number from 1",
    ),
    (
        "auth:\n  ldap: {url: 'ldap://localhost'}\n",
        2,
        "needs `base`",
    ),
    (
        "auth:\n  ldap: {url: 'ldap://localhost', base: b, binddn: c}\n",
        2,
        "needs `bindpasswordfile`",
    ),
    (
        "auth:\n  ldap: {url: 'ldap://localhost', base: b, groupbase: c}\n",
        2,
        "needs `groupfilter`",
    ),
    (
        "http:\n  tls:\n    clientcas: [a]\n",
        2,
        "needs `certificate`",
    ),
    (
        "http:\n  tls:\n    minimumtls: tls1.3\n",
        2,
        "needs `certificate`",
    ),
    (
        "http:\n  tls:\n    minimumtls: tls1.1\n",
        3,
        "isn't supported by this version; it takes tls1.2, tls1.3",
    ),
    (
        "http:\n  tls:\n    certificate: c\n    key: k\n    clientauth: verify-client-cert-if-given\n",
        5,
        "needs `http.tls.clientcas`",
    ),
    (
        "http:\n  tls:\n    clientauth: request-client-cert\n",
        3,
        "isn't supported",
    ),
    (
        "auth:\n  certificate: {name: cn}\n",
        2,
        "needs `http.tls.clientcas`",
    ),
    ("http:\n  net: unix\n", 2, "isn't supported"),
    ("http:\n  draintimeout: 10\n", 2, "write one such as 30s"),
    (
        "http:\n  headers:\n    a b: [c]\n",
        3,
        "no name of a header",
    ),
    (
        "storage:\n  delete: {enabled: perhaps}\n",
        2,
        "true or false",
    ),
    ("storage:\n  s3: {bucket: b}\n", 2, "isn't supported"),
    ("storage:\n  inmemory:\n  filesystem:\n", 3, "at once"),
    (
        "storage:\n  cache:\n    blobdescriptor: redis\n",
        3,
        "isn't supported",
    ),
    (
        "storage:\n  rootdirectory: /x\n",
        2,
        "`storage.filesystem.rootdirectory`",
    ),
    (
        "auth:\n  token: {realm: r}\n",
        2,
        "`auth.token` needs `service`",
    ),
    (
        "auth:\n  token: {realm: 'http://r/', service: s, issuer: i}\n",
        2,
        "name a file of certificates",
    ),
    (
        "auth:\n  token:\n    signingalgorithms: [ES256, HS256]\n",
        3,
        "`HS256` aren't taken",
    ),
    ("auth:\n  silly: {realm: r}\n", 2, "isn't supported"),
    (
        "auth:\n  token: {realm: 'http://r/', service: s, issuer: i}\n",
        2,
        "name a file of certificates",
    ),
    (
        "auth:\n  token:\n    signingalgorithms: [ES256, HS256]\n",
        3,
        "`HS256` aren't taken",
    ),
    ("auth:\n  silly: {realm: r}\n", 2, "isn't supported"),
    ("auth:\n  htpasswd:\n    realm: r\n", 2, "needs `path`"),
    (
        "auth:\n  oidc:\n    ci: {issuer: 'https://ci', audience: a}\n",
        2,
        "`auth.policy.path`",
    ),
    (
        "auth:\n  policy: {path: p}\n  oidc:\n    ci: {issuer: 'https://ci'}\n",
        4,
        "`auth.oidc.ci` needs `audience`",
    ),
    (
        "auth:\n  policy: {path: p}\n  oidc:\n    a: {issuer: 'https://ci', audience: a}\n    \
         b: {issuer: 'https://ci', audience: b}\n    c: {issuer: 'https://ci', audience: a}\n",
        6,
        "`auth.oidc.c` takes the same tokens as `auth.oidc.a`",
    ),
    (
        "auth:\n  oidc:\n    ci:\n      isuer: x\n",
        4,
        "did you mean `auth.oidc.ci.issuer`?",
    ),
    (
        "auth:\n  webhook: {timeout: 1s}\n",
        2,
        "`auth.webhook` needs `url`",
    ),
    ("auth:\n  oidc: [ci]\n", 2, "names with keys each"),
    (
        "auth:\n  policy: {path: p}\n  oidc: {issuer: 'https://ci', audience: a}\n",
        3,
        "`auth.oidc` lacks a name; write `auth.oidc:`, then `NAME:`",
    ),
    (
        "policy: {path: p}\n",
        1,
        "isn't supported by this version; did you mean `auth.policy`?",
    ),
    ("auth:\n  oidc: {ci: x}\n", 2, "takes keys, not a value"),
    ("notifications:\n  endpoints: []\n", 1, "isn't supported"),
    ("proxy: {remoteurl: x}\n", 1, "isn't supported"),
    ("redis: {addr: x}\n", 1, "isn't supported"),
    ("middleware: {}\n", 1, "isn't supported"),
    ("log:\n  level: loud\n", 2, "it takes panic"),
    (
        "storage:\n  filesystem:\n    rootdirectory: ''\n",
        3,
        "is empty; name a directory",
    ),
    // Advice that would be refused is none.
    ("health:\n  files: {}\n", 2, "known here are storagedriver"),
    ("log: {level: info}\n", 1, "`storage` is missing"),
    ("a: b: c\n", 1, "YAML"),
    (
        "storage:\n  filesystem:\n    maxthreads: 18446744073709551615\n",
        3,
        "from 2 to 4096",
    ),
    (
        "storage:\n  filesystem:\n    maxthreads: 1\n",
        3,
        "from 2 to 4096",
    ),
    (
        "http:\n  debug:\n    prometheus:\n      enabled: true\n",
        4,
        "needs `http.debug.addr`",
    ),
    (
        "http:\n  debug:\n    addr: :0\n    prometheus: {enabled: true,\n      path: metrics}\n",
        5,
        "write `/metrics`",
    ),
    (
        "http:\n  debug:\n    prometheus:\n      path: /livez\n",
        4,
        "another page",
    ),
    (
        "http:\n  addr: 127.0.0.1:5001\n  debug:\n    addr: 127.0.0.1:5001\n",
        4,
        "clients are served on 127.0.0.1:5001; choose another port",
    ),
    (
        "http:\n  addr: :5001\n  debug: {addr: '127.0.0.1:5001'}\n",
        3,
        "clients are served on :5001; choose another port",
    ),
    ("auth:\n  none:\n    realm: r\n", 3, "unknown key"),
    ("auth:\n  none:\n  htpasswd:\n", 3, "at once"),
];

#[test]
fn a_mistake_in_the_file_is_told_by_its_line() {
    for (file, line, what) in MISTAKES {
        let end = Setup::serve(file).level_of_its_file().run();
        assert_eq!(end.status.code(), Some(2), "{file}{}", end.stderr);
        let place = format!("config.yml:{line}: ");
        let found = end
            .stderr
            .lines()
            .any(|sentence| sentence.starts_with(&place) && sentence.contains(what));
        assert!(found, "{file}{place}{what}\n{}", end.stderr);
    }
}

#[test]
fn checking_says_the_same_without_serving() {
    for (file, line, what) in MISTAKES {
        let check = ["check", "config.yml", "--json"];
        let end = Setup::new()
            .file("config.yml", file)
            .arguments(&check)
            .level_of_its_file()
            .run();
        assert_eq!(end.status.code(), Some(2), "{file}");
        let answer: Value = serde_json::from_str(&end.stdout).unwrap();
        assert_eq!(answer["valid"], false);
        let problems = answer["problems"].as_array().unwrap();
        let is_told = |problem: &Value| {
            problem["line"] == *line && problem["message"].as_str().unwrap().contains(what)
        };
        assert!(problems.iter().any(is_told), "{file}{answer}");
    }
    let file = "version: 0.1\nstorage: inmemory\nhttp: {addr: '127.0.0.1:0', secret: x}\n";
    let end = Setup::new()
        .file("config.yml", file)
        .arguments(&["check", "config.yml"])
        .run();
    assert!(end.status.success());
    assert!(
        end.stdout
            .contains("config.yml:3: `http.secret` changes nothing"),
        "{end:?}"
    );
    assert!(end.stdout.contains("nothing is wrong"), "{end:?}");
}

#[test]
fn checking_remarks_on_a_registry_that_is_open_to_all() {
    let users = format!("alice:{}\n", bcrypt::hash(PASSWORD, 4).unwrap());
    for (more, rights) in [
        ("", Some("may push and pull without a login")),
        (
            "  delete: {enabled: true}\n",
            Some("may push, pull and delete without a login"),
        ),
        (
            "  maintenance: {readonly: {enabled: true}}\n",
            Some("may pull without a login"),
        ),
        ("auth: {htpasswd: {realm: r, path: users}}\n", None),
        ("auth: {policy: {path: policy.yml}}\n", None),
    ] {
        let file = format!(
            "version: 0.1\nhttp: {{addr: '127.0.0.1:5000'}}\nstorage:\n  inmemory:\n{more}"
        );
        let end = Setup::new()
            .file("config.yml", &file)
            .file("users", &users)
            .file("policy.yml", "version: 1\nrules: [user ann may pull a]\n")
            .arguments(&["check", "config.yml"])
            .run();
        assert!(end.status.success(), "{file}{end:?}");
        let found = end.stdout.contains("without a login");
        assert_eq!(found, rights.is_some(), "{file}{end:?}");
        assert!(rights.is_none_or(|rights| end.stdout.contains(rights)));
    }
}

/// Each value that only shows when it is used, its line, and what the sentence
/// has to hold.
const UNUSABLE: &[(&str, usize, &str)] = &[
    (
        "http:\n  tls:\n    certificate: missing\n    key: missing\n",
        5,
        "the certificate missing can't be read",
    ),
    (
        "http:\n  tls:\n    certificate: c.pem\n    key: missing\n",
        6,
        "the key missing can't be read",
    ),
    (
        "http:\n  tls:\n    certificate: own.pem\n    key: own.key\n    clientcas:\n      - missing\n",
        8,
        "the certificate missing can't be read",
    ),
    (
        "auth:\n  htpasswd:\n    realm: r\n    path: missing\n",
        6,
        "there is no password file missing; make it with `htpasswd -cB missing USER`",
    ),
    (
        "auth:\n  htpasswd:\n    realm: \"\\x01\"\n    path: users\n",
        5,
        "realm",
    ),
    (
        "auth:\n  policy: {path: policy.yml}\n  oidc:\n    ci: {issuer: ci, audience: a}\n",
        6,
        "the issuer `ci` is no URL, so nobody can be asked for its keys",
    ),
    ("http:\n  host: registry.example\n", 4, "http"),
    (
        "http:\n  headers:\n    X-Content-Type-Options: [nosniff]\n    Transfer-Encoding: [chunked]\n",
        6,
        "`transfer-encoding` is set by the registry",
    ),
    (
        "http:\n  headers:\n    Content-Length:\n      - 7\n",
        6,
        "leave it out",
    ),
    (
        "http:\n  headers:\n    Cache-Control: ['public, max-age=60']\n",
        5,
        "`cache-control` has to keep answers from caches that several clients share",
    ),
    (
        "http:\n  headers:\n    X-Content-Type-Options: [sniff]\n",
        5,
        "is always `nosniff`",
    ),
    (
        "http:\n  tls:\n    certificate: own.pem\n    key: locked.key\n",
        6,
        "the key locked.key is encrypted",
    ),
    (
        "http:\n  tls:\n    certificate: own.pem\n    key: old.key\n",
        6,
        "the key old.key is encrypted",
    ),
];

/// Keys behind a passphrase, in the form that is usual now and in the older one.
const LOCKED: &str = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIGjMF8GCSqGSIb3DQEFDTBS\n\
                      -----END ENCRYPTED PRIVATE KEY-----\n";
const LOCKED_OLD: &str = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\
                          DEK-Info: AES-256-CBC,0123456789ABCDEF0123456789ABCDEF\n\n\
                          MIGjMF8GCSqGSIb3DQEFDTBS\n-----END RSA PRIVATE KEY-----\n";

#[test]
fn what_only_shows_when_it_is_used_is_told_by_its_line_too() {
    let certificate = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let users = format!("alice:{}\n", bcrypt::hash(PASSWORD, 4).unwrap());
    for (rest, line, what) in UNUSABLE {
        let file = format!("version: 0.1\nstorage: inmemory\n{rest}");
        let setup = || {
            Setup::new()
                .file("config.yml", &file)
                .file("c.pem", certificate.cert.pem())
                .file("own.pem", certificate.cert.pem())
                .file("own.key", certificate.signing_key.serialize_pem())
                .file("users", &users)
                .file("policy.yml", "version: 1\nrules: [user ann may pull a]\n")
                .file("locked.key", LOCKED)
                .file("old.key", LOCKED_OLD)
                .variable("REGISTRY_HTTP_ADDR", "127.0.0.1:0")
        };
        let end = setup().arguments(&["check", "config.yml"]).run();
        assert_eq!(end.status.code(), Some(2), "{file}{end:?}");
        let place = format!("config.yml:{line}: ");
        assert!(end.stdout.starts_with(&place), "{file}{end:?}");
        assert!(end.stdout.contains(what), "{file}{end:?}");
        assert_eq!(end.stdout.lines().count(), 1, "{file}{end:?}");

        let serve = ["serve", "config.yml"];
        let end = setup().arguments(&serve).run();
        assert_eq!(end.status.code(), Some(2), "{file}{end:?}");
        assert!(end.stderr.contains(&place), "{file}{end:?}");
        assert!(end.stderr.contains(what), "{file}{end:?}");
    }
}

#[test]
fn a_mistake_elsewhere_is_told_by_its_name() {
    for (setup, what) in [
        (
            Setup::new().variable("REGISTRY_HTTP_ADRR", ":1"),
            "REGISTRY_HTTP_ADRR: the configuration has no such key; did you mean REGISTRY_HTTP_ADDR?",
        ),
        (
            Setup::new().variable("REGISTRY_PROXY_REMOTEURL", "https://x"),
            "REGISTRY_PROXY_REMOTEURL: `proxy` exists in the Docker registry",
        ),
        (
            Setup::new().variable("REGISTRY_STORAGE_DELETE_ENABLED", "maybe"),
            "REGISTRY_STORAGE_DELETE_ENABLED: `storage.delete.enabled` is true or false",
        ),
        (
            Setup::new().variable(
                "REGISTRY_STORAGE_FILESYSTEM_MAXTHREADS",
                "18446744073709551615",
            ),
            "REGISTRY_STORAGE_FILESYSTEM_MAXTHREADS: `storage.filesystem.maxthreads` is a whole number from 2",
        ),
        (
            Setup::new().arguments(&["--addr", "x"]),
            "--addr: `x` is no address",
        ),
        (
            Setup::new().arguments(&["serve", "missing.yml"]),
            "missing.yml: the file can't be read",
        ),
        (Setup::new().arguments(&["--adr", "x"]), "--addr"),
    ] {
        let end = setup.run();
        assert_eq!(end.status.code(), Some(2), "{what}: {end:?}");
        assert!(end.stderr.contains(what), "{what}: {end:?}");
    }
}

#[test]
fn what_can_not_be_used_leaves_no_data_directory() {
    let storage = "version: 0.1\nstorage:\n  filesystem: {rootdirectory: data}\n";
    for (rest, sentence) in [
        (
            "auth:\n  htpasswd:\n    realm: r\n    path: users\n",
            "there is no password file users",
        ),
        (
            "http:\n  host: registry.example\n",
            "config.yml:5: the host must be",
        ),
        (
            "http:\n  headers:\n    Transfer-Encoding: [chunked]\n",
            "config.yml:6: the header `transfer-encoding` is set",
        ),
        (
            "http:\n  tls:\n    certificate: c.pem\n    key: k.pem\n",
            "the certificate c.pem can't be read",
        ),
    ] {
        let mut program = Setup::serve(&format!("{storage}{rest}"))
            .variable("REGISTRY_HTTP_ADDR", "127.0.0.1:0")
            .begin();
        assert_eq!(program.wait().code(), Some(2), "{}", program.stderr());
        assert!(program.stderr().contains(sentence), "{}", program.stderr());
        assert!(!program.path("data").try_exists().unwrap(), "{rest}");
    }
}

/// How mistakes begin: with the variable that has them, or with data that isn't there.
const MISTAKEN: [&str; 3] = [
    "REGISTRY_",
    "registry: the data in missing",
    "registry: the data in empty",
];

#[test]
fn what_can_not_be_used_is_told_in_one_sentence() {
    let listen = &["--addr", "127.0.0.1:0"];
    let running = Setup::new().arguments(listen).start();
    let root = running.path("registry-data");
    let root = root.to_str().unwrap();
    let password_file = |path: &str| {
        Setup::new()
            .arguments(listen)
            .variable("REGISTRY_AUTH", "htpasswd")
            .variable("REGISTRY_AUTH_HTPASSWD_REALM", "r")
            .variable("REGISTRY_AUTH_HTPASSWD_PATH", path)
    };
    let certificate = || rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let tls = |certificate: String, key: String| {
        Setup::new()
            .arguments(listen)
            .file("c.pem", certificate)
            .file("k.pem", key)
            .variable("REGISTRY_HTTP_TLS_CERTIFICATE", "c.pem")
            .variable("REGISTRY_HTTP_TLS_KEY", "k.pem")
    };
    let (one, another) = (certificate(), certificate());
    for (setup, what) in [
        (
            Setup::new().arguments(&["--addr", &running.address]),
            format!(
                "{} can't be listened on: another process listens there",
                running.address
            ),
        ),
        (
            Setup::new().arguments(listen).arguments(&["--root", root]),
            format!("the data in {root} can't be used: another process uses this directory"),
        ),
        (
            Setup::new()
                .file("file", "")
                .arguments(listen)
                .arguments(&["--root", "file/data"]),
            "the data in file/data can't be used: its path leads through a file".to_owned(),
        ),
        (
            Setup::new()
                .file("file", "")
                .arguments(listen)
                .arguments(&["--root", "file"]),
            "registry: the data in file can't be used: it is a file; choose a directory\n".to_owned(),
        ),
        (
            tls(String::new(), String::new()).variable("REGISTRY_HTTP_TLS_KEY", "missing"),
            "there is no certificate in PEM form in c.pem\n".to_owned(),
        ),
        (
            tls(one.cert.pem(), String::new()).variable("REGISTRY_HTTP_TLS_KEY", "missing"),
            "REGISTRY_HTTP_TLS_KEY: the key missing can't be read: No such file or directory (os error 2)\n".to_owned(),
        ),
        (
            password_file("missing"),
            "there is no password file missing".to_owned(),
        ),
        (
            password_file("users").file("users", "alice:secret\n"),
            "REGISTRY_AUTH_HTPASSWD_PATH: users:1: the hash is neither bcrypt".to_owned(),
        ),
        (
            tls(one.cert.pem(), another.signing_key.serialize_pem()),
            "the certificate c.pem doesn't belong to the key k.pem".to_owned(),
        ),
        (
            tls(String::new(), String::new()),
            "there is no certificate".to_owned(),
        ),
        (
            Setup::new().arguments(&["rebuild", "missing"]),
            "the data in missing can't be used: there is no such directory".to_owned(),
        ),
        (
            Setup::new().directory("empty").arguments(&["rebuild", "empty"]),
            "the data in empty can't be used: there is no change log".to_owned(),
        ),
        (
            Setup::new()
                .directory("docker/registry/v2/blobs")
                .arguments(listen)
                .arguments(&["--root", "."]),
            "the data in . can't be used: it holds the data of a Docker registry \
             (docker/registry/v2), which is laid out otherwise; choose another root directory \
             (--root)\n".to_owned(),
        ),
    ] {
        let end = setup.run();
        assert!(end.stderr.contains(&what), "{what}: {end:?}");
        assert_eq!(end.stderr.lines().count(), 1, "{end:?}");
        let is_mistake = MISTAKEN.iter().any(|start| end.stderr.starts_with(start));
        let code = if is_mistake { 2 } else { 1 };
        assert_eq!(end.status.code(), Some(code), "{what}: {end:?}");
        assert!(
            !end.stderr.contains("Error {") && !end.stderr.contains("secret"),
            "{end:?}"
        );
    }
}
