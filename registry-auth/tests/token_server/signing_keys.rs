//! The keys that sign.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::Method;
use registry_auth::{AccessControl, SigningAlgorithm, TokenServer};
use registry_core::{Clock, ErrorKind, SystemClock};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{Ahead, People, ann, ask, bearer, challenge, issue, rules};

fn files(directory: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    files
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn the_first_key_is_made_for_nobody_elses_eyes() {
    let root = TempDir::new().unwrap();
    let directory = root.path().join("auth/keys");
    for algorithm in [SigningAlgorithm::Es256, SigningAlgorithm::EdDsa] {
        TokenServer::open_with(&directory, algorithm).unwrap();
        // Another start uses it.
        TokenServer::open_with(&directory, algorithm).unwrap();
        let [file] = &files(&directory)[..] else {
            panic!("{:?}", files(&directory));
        };
        assert_eq!((mode(&directory), mode(file)), (0o700, 0o600));
        fs::set_permissions(file, fs::Permissions::from_mode(0o644)).unwrap();
        let error = TokenServer::open(&directory).unwrap_err().to_string();
        assert!(
            error.contains("chmod 600") && error.contains(file.to_str().unwrap()),
            "{error}"
        );
        fs::remove_file(file).unwrap();
    }
    for content in [
        "",
        "garbage",
        "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
    ] {
        let file = directory.join("own.pem");
        fs::write(&file, content).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        let error = TokenServer::open(&directory).unwrap_err().to_string();
        assert!(error.contains("own.pem"), "{error}");
    }
}

async fn all_take(servers: &[AccessControl], tokens: &[(SystemTime, String)]) {
    for server in servers {
        for (_, token) in tokens {
            ask(server, Some(token), Method::GET, "/v2/").await.unwrap();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn keys_change_without_a_moment_in_which_tokens_fail() {
    let directory = TempDir::new().unwrap();
    let clock = Ahead::default();
    // Two servers with the same keys, as far as they know them.
    let servers: Vec<_> = (0..2)
        .map(|_| {
            let server = TokenServer::open(directory.path())
                .unwrap()
                .rotate_every(Duration::from_hours(5));
            AccessControl::new(rules())
                .authenticator(People::of([ann()]))
                .tokens(server)
                .clock(clock.clone())
        })
        .collect();
    let mut alive: Vec<(SystemTime, String)> = Vec::new();
    let mut kids = std::collections::BTreeSet::new();
    for _ in 0..400 {
        clock.go(Duration::from_mins(2));
        // Time enough to look.
        tokio::time::advance(Duration::from_secs(2)).await;
        let now = clock.now();
        alive.retain(|(until, _)| *until > now);
        // Each has looked before one of them adds a key.
        all_take(&servers, &alive).await;
        for server in &servers {
            let answer = issue(server, None, "").await.unwrap();
            let header = answer.token.expose().split('.').next().unwrap();
            kids.insert(header.to_owned());
            alive.push((answer.issued_at + answer.lifetime, bearer(&answer)));
        }
        all_take(&servers, &alive).await;
    }
    assert_eq!(kids.len(), 3, "keys sign for five hours each");
    // What is of no more use isn't kept.
    assert!(
        files(directory.path()).len() <= 2,
        "{:?}",
        files(directory.path())
    );
}

#[tokio::test(start_paused = true)]
async fn a_key_that_was_followed_by_another_is_no_good_in_the_end() {
    let directory = TempDir::new().unwrap();
    let clock = Ahead::default();
    let server = TokenServer::open(directory.path()).unwrap();
    let first = fs::read(&files(directory.path())[0]).unwrap();
    server
        .rotate(clock.now() + Duration::from_secs(1))
        .await
        .unwrap();
    let access = AccessControl::new(rules())
        .authenticator(People::of([ann()]))
        .tokens(server)
        .clock(clock.clone());
    // Whoever has stolen the first key makes tokens that never end.
    let forged = || {
        let now = clock.now().duration_since(std::time::UNIX_EPOCH).unwrap();
        let claims = json!({
            "iss": "registry", "jti": "x", "sub": "", "aud": "registry", "access": [], "kind": "anonymous",
            "via": "nobody", "iat": now.as_secs(), "exp": now.as_secs() + 300,
        });
        format!("Bearer {}", sign(&first, &claims))
    };
    let ping = async |token: String| ask(&access, Some(&token), Method::GET, "/v2/").await;
    ping(forged()).await.unwrap();
    clock.go(Duration::from_mins(79));
    ping(forged()).await.unwrap();
    clock.go(Duration::from_mins(2));
    let refused = challenge(ping(forged()).await);
    assert!(refused.contains(r#"error="invalid_token""#), "{refused}");
}

/// A token of these claims by the key in a PEM file.
fn sign(pem: &[u8], claims: &Value) -> String {
    use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};

    let pem = std::str::from_utf8(pem).unwrap();
    let encoded: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    let der = STANDARD.decode(encoded).unwrap();
    let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &der).unwrap();
    let public: PublicKeyX509Der<'_> = key.public_key().as_der().unwrap();
    let public = registry_auth::jwt::VerificationKey::from_spki(public.as_ref()).unwrap();
    let header = json!({"alg": "ES256", "typ": "JWT", "kid": public.kid()});
    let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", encode(&header), encode(claims));
    let signature = key.sign(&SystemRandom::new(), signed.as_bytes()).unwrap();
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

#[tokio::test(start_paused = true)]
async fn a_stolen_key_is_of_no_use_once_it_is_replaced() {
    let directory = TempDir::new().unwrap();
    let server = TokenServer::open(directory.path()).unwrap();
    let access = AccessControl::new(rules())
        .authenticator(People::of([ann()]))
        .tokens(server);
    let token = bearer(&issue(&access, None, "").await.unwrap());
    // As another process does it.
    let other = TokenServer::open(directory.path()).unwrap();
    other.replace_keys(SystemClock.now()).await.unwrap();
    tokio::time::advance(Duration::from_secs(2)).await;
    let refused = challenge(ask(&access, Some(&token), Method::GET, "/v2/").await);
    assert!(refused.contains(r#"error="invalid_token""#), "{refused}");
    let token = bearer(&issue(&access, None, "").await.unwrap());
    ask(&access, Some(&token), Method::GET, "/v2/")
        .await
        .unwrap();

    // A directory that is emptied by mistake leaves what is known.
    for file in files(directory.path()) {
        fs::remove_file(file).unwrap();
    }
    tokio::time::advance(Duration::from_secs(2)).await;
    ask(&access, Some(&token), Method::GET, "/v2/")
        .await
        .unwrap();
}

fn server_in(directory: &Path, clock: &Ahead) -> AccessControl {
    let server = TokenServer::open(directory).unwrap();
    AccessControl::new(rules())
        .authenticator(People::of([ann()]))
        .tokens(server.rotate_every(Duration::from_hours(5)))
        .clock(clock.clone())
}

#[tokio::test(start_paused = true)]
async fn the_directory_is_looked_at_once_a_second() {
    let directory = TempDir::new().unwrap();
    let access = server_in(directory.path(), &Ahead::default());
    let token = bearer(&issue(&access, None, "").await.unwrap());
    let other = TokenServer::open(directory.path()).unwrap();
    other.replace_keys(SystemClock.now()).await.unwrap();
    for (milliseconds, is_good) in [(999, true), (1, false)] {
        tokio::time::advance(Duration::from_millis(milliseconds)).await;
        let answer = ask(&access, Some(&token), Method::GET, "/v2/").await;
        assert_eq!(answer.is_ok(), is_good);
    }
}

#[tokio::test(start_paused = true)]
async fn after_a_silence_no_replaced_key_is_taken_however_many_ask() {
    for seconds in [2, 30, 3600] {
        let directory = TempDir::new().unwrap();
        let access = server_in(directory.path(), &Ahead::default());
        let token = bearer(&issue(&access, None, "").await.unwrap());
        let other = TokenServer::open(directory.path()).unwrap();
        other.replace_keys(SystemClock.now()).await.unwrap();
        tokio::time::advance(Duration::from_secs(seconds)).await;
        let all = (0..40).map(|_| ask(&access, Some(&token), Method::GET, "/v2/"));
        let answers = futures::future::join_all(all).await;
        assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_that_could_not_be_added_is_added_ten_minutes_later() {
    let root = TempDir::new().unwrap();
    let (directory, away) = (root.path().join("keys"), root.path().join("away"));
    let clock = Ahead::default();
    let access = server_in(&directory, &clock);
    clock.go(Duration::from_hours(6));
    fs::rename(&directory, &away).unwrap();
    issue(&access, None, "").await.unwrap();
    fs::rename(&away, &directory).unwrap();
    for (milliseconds, keys) in [(0, 1), (10 * 60_000 - 1, 1), (1, 2), (20 * 60_000, 2)] {
        tokio::time::advance(Duration::from_millis(milliseconds)).await;
        issue(&access, None, "").await.unwrap();
        assert_eq!(files(&directory).len(), keys);
    }
}

#[tokio::test]
async fn only_pem_files_that_are_there_are_keys() {
    let directory = TempDir::new().unwrap();
    let path = |name: &str| directory.path().join(name);
    TokenServer::open(directory.path()).unwrap();
    let key = fs::read(&files(directory.path())[0]).unwrap();
    for name in ["README", ".half.pem", "key.pem.bak"] {
        fs::write(path(name), "no key").unwrap();
    }
    // As a secret that is being swapped is mounted.
    std::os::unix::fs::symlink("nowhere", path("gone.pem")).unwrap();
    TokenServer::open(directory.path()).unwrap();
    // What can't be looked at may be a key.
    std::os::unix::fs::symlink("loop.pem", path("loop.pem")).unwrap();
    assert!(TokenServer::open(directory.path()).is_err());
    fs::remove_file(path("loop.pem")).unwrap();

    for number in 1..32 {
        let file = path(&format!("{number:02}.pem"));
        fs::write(&file, &key).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    }
    TokenServer::open(directory.path()).unwrap();
}

#[tokio::test]
async fn all_keys_can_be_replaced_however_many_there_are() {
    let directory = TempDir::new().unwrap();
    let access = server_in(directory.path(), &Ahead::default());
    let token = bearer(&issue(&access, None, "").await.unwrap());
    while files(directory.path()).len() < 32 {
        access.rotate_signing_keys(false).await.unwrap();
    }
    let error = access.rotate_signing_keys(false).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooManyRequests, "{error}");
    assert_eq!(files(directory.path()).len(), 32);
    ask(&access, Some(&token), Method::GET, "/v2/")
        .await
        .unwrap();

    // Another program put more there.
    let key = fs::read(&files(directory.path())[0]).unwrap();
    for number in 0..3 {
        let file = directory.path().join(format!("{number}.pem"));
        fs::write(&file, &key).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    }
    let access = server_in(directory.path(), &Ahead::default());
    access.rotate_signing_keys(true).await.unwrap();
    assert_eq!(files(directory.path()).len(), 1);
    challenge(ask(&access, Some(&token), Method::GET, "/v2/").await);
}

#[tokio::test(start_paused = true)]
async fn only_keys_that_were_made_here_are_removed() {
    let directory = TempDir::new().unwrap();
    let clock = Ahead::default();
    TokenServer::open(directory.path()).unwrap();
    let first = files(directory.path()).remove(0);
    // Somebody's own, whose name says nothing of its age.
    let own = directory.path().join("own.pem");
    let elsewhere = TempDir::new().unwrap();
    TokenServer::open(elsewhere.path()).unwrap();
    fs::copy(&files(elsewhere.path())[0], &own).unwrap();
    let access = server_in(directory.path(), &clock);
    for _ in 0..3 {
        clock.go(Duration::from_hours(6));
        tokio::time::advance(Duration::from_secs(2)).await;
        issue(&access, None, "").await.unwrap();
    }
    let left = files(directory.path());
    assert!(left.contains(&own) && !left.contains(&first), "{left:?}");
}

#[tokio::test]
async fn the_registry_adds_a_key_or_replaces_all() {
    let directory = TempDir::new().unwrap();
    let access = server_in(directory.path(), &Ahead::default());
    let token = bearer(&issue(&access, None, "").await.unwrap());
    let ping = async || ask(&access, Some(&token), Method::GET, "/v2/").await;
    access.rotate_signing_keys(false).await.unwrap();
    assert_eq!(files(directory.path()).len(), 2);
    ping().await.unwrap();
    access.rotate_signing_keys(true).await.unwrap();
    assert_eq!(files(directory.path()).len(), 1);
    challenge(ping().await);
}

#[tokio::test]
async fn what_is_signed_counts_only_as_it_would_have_been_written_here() {
    let directory = TempDir::new().unwrap();
    let access = server_in(directory.path(), &Ahead::default());
    let key = fs::read(&files(directory.path())[0]).unwrap();
    let now = SystemClock.now().duration_since(std::time::UNIX_EPOCH);
    let now = now.unwrap().as_secs();
    let with = |kind: &str, subject: &str| {
        let claims = json!({
            "iss": "registry", "jti": "x", "sub": subject, "aud": "registry", "access": [],
            "kind": kind, "via": "people", "iat": now, "exp": now + 300,
        });
        format!("Bearer {}", sign(&key, &claims))
    };
    for (kind, subject, is_good) in [
        ("anonymous", "", true),
        ("anonymous", "ann", false),
        ("robot", "ci", false),
        ("workload", "ci:x", false),
        ("nobody", "", false),
    ] {
        let answer = ask(&access, Some(&with(kind, subject)), Method::GET, "/v2/").await;
        assert_eq!(answer.is_ok(), is_good, "{kind} {subject}");
    }
}
