//! Password files, with real hashes and real files.
#![cfg(feature = "htpasswd")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test fails by panicking"
)]

#[path = "common/sender.rs"]
mod sender;

use std::fs;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use http::Method;
use registry_auth::{
    AccessControl, Authenticator, GuardLimits, Htpasswd, Login, PASSWORD_MAX, Principal, Rules,
    Sender, Standing,
};
use registry_core::{Action, ErrorKind, Operation, RequestOrigin};
use tempfile::TempDir;
use tokio::time::advance;

use self::sender::{basic, headers};

/// Made by `htpasswd -nbB -C 5 alice alice-secret` and the like: Apache writes
/// `$2y$`, Python `$2b$`, Java `$2a$`.
const FOREIGN: [(&str, &str, &str); 3] = [
    (
        "U*U",
        "$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW",
        "a",
    ),
    (
        "U*U*",
        "$2y$05$CCCCCCCCCCCCCCCCCCCCC.VGOzA784oUp/Z0DY336zx7pLYAy0lwK",
        "y",
    ),
    (
        "",
        "$2b$06$DCq7YPn5Rq63x1Lad4cll.TV4S6ytwfsfvkgY8jIucDrjc8deX1s.",
        "b",
    ),
];

/// Made by libargon2, the reference: user, hash and password.
const ARGON2ID: [(&str, &str, &str); 3] = [
    (
        "password",
        "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4",
        "quick",
    ),
    (
        "password",
        "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
        "usual",
    ),
    (
        "password",
        "$argon2id$v=19$m=256,t=2,p=2$c29tZXNhbHQ$bQk8UB/VmZZF4Oo79iDXuL5/0ttZwg2f/5U52iv1cDc",
        "lanes",
    ),
];

/// Of `password`, slow enough for a queue.
const SLOW: &str =
    "$argon2id$v=19$m=8192,t=1,p=1$c29tZXNhbHQ$ByAEVKTCNpqJN0HGv2NV8pvzV4V8xeuOh5UQT75wo44";

/// Of a hundred times `x`.
const LONG: &str = "$argon2id$v=19$m=64,t=1,p=4$MDEyMzQ1Njc4OWFiY2RlZg$Q8P6tAhidyH4KfGRpZC3NgEDQaF/oDytS14HuqYHS4I";

fn line(user: &str, password: &str, cost: u32) -> String {
    format!("{user}:{}\n", bcrypt::hash(password, cost).unwrap())
}

fn access(path: &Path) -> AccessControl {
    AccessControl::new(Rules::new().signed_in("**", &[Action::Pull]))
        .authenticator(Htpasswd::open(path).unwrap())
        .guard(GuardLimits::NONE)
}

/// The outcome of logging in: whether it worked, or the kind of the error.
async fn login(access: &AccessControl, user: &str, password: &str) -> Result<(), ErrorKind> {
    let headers = headers(Some(&basic(user, password)));
    let operation = Operation::parse(&Method::GET, "/v2/", None).unwrap();
    let answer = access
        .authorize(&Sender::new(&headers, RequestOrigin::default()), &operation)
        .await;
    answer
        .map(|grant| assert_eq!(grant.actor.name.as_deref(), Some(user)))
        .map_err(|refusal| refusal.error.kind())
}

const WRONG: Result<(), ErrorKind> = Err(ErrorKind::Unauthorized);

struct File {
    directory: TempDir,
}

impl File {
    fn new(content: &str) -> Self {
        let file = Self {
            directory: TempDir::new().unwrap(),
        };
        fs::write(file.path(), content).unwrap();
        file
    }

    /// Puts another in its place, which was written before.
    fn replace(&self, content: &str) {
        let new = self.directory.path().join("new");
        fs::write(&new, content).unwrap();
        let written = fs::File::options().write(true).open(&new).unwrap();
        written.set_modified(SystemTime::UNIX_EPOCH).unwrap();
        fs::rename(&new, self.path()).unwrap();
    }

    fn path(&self) -> std::path::PathBuf {
        self.directory.path().join("htpasswd")
    }
}

/// Whoever has no such file yet is told how to make one, and nobody else.
#[test]
fn a_file_that_is_missing_is_told_from_one_that_cannot_be_read() {
    let directory = TempDir::new().unwrap();
    for (path, is_missing) in [("users", true), ("", false)] {
        let path = directory.path().join(path);
        let error = Htpasswd::open(&path).unwrap_err().to_string();
        assert_eq!(
            error.contains("make it with `htpasswd -cB"),
            is_missing,
            "{error}"
        );
        assert!(error.contains(&*path.to_string_lossy()), "{error}");
    }
}

#[tokio::test]
async fn the_hashes_of_other_programs_work() {
    let all = || FOREIGN.into_iter().chain(ARGON2ID);
    let lines: Vec<_> = all()
        .map(|(_, hash, user)| format!("{user}:{hash}\n"))
        .collect();
    let file = File::new(&lines.concat());
    let access = access(&file.path());
    for (password, _, user) in all() {
        assert_eq!(login(&access, user, password).await, Ok(()), "{user}");
        assert_eq!(login(&access, user, "other").await, WRONG, "{user}");
    }
    assert_eq!(login(&access, "nobody", "U*U").await, WRONG);
    assert_eq!(login(&access, "*", "U*U").await, WRONG);
    assert_eq!(login(&access, "", "").await, WRONG);
}

#[tokio::test]
async fn a_right_password_stays_right_and_a_wrong_one_stays_wrong() {
    let file = File::new(&line("alice", "secret", 4));
    let access = access(&file.path());
    for _ in 0..3 {
        assert_eq!(login(&access, "alice", "secret").await, Ok(()));
        assert_eq!(login(&access, "alice", "wrong").await, WRONG);
    }
}

#[tokio::test]
async fn s_47_nothing_behind_72_bytes_is_ignored() {
    let longest = "x".repeat(PASSWORD_MAX);
    let file = File::new(&line("alice", &longest, 4));
    let access = access(&file.path());
    assert_eq!(login(&access, "alice", &longest).await, Ok(()));
    assert_eq!(login(&access, "alice", &format!("{longest}y")).await, WRONG);
    assert_eq!(login(&access, "alice", &longest[1..]).await, WRONG);
}

#[tokio::test]
async fn s_47_argon2id_looks_at_the_whole_of_a_long_password() {
    let file = File::new(&format!("alice:{LONG}\n"));
    let access = access(&file.path());
    let long = "x".repeat(100);
    assert_eq!(login(&access, "alice", &long).await, Ok(()));
    for wrong in [&long[1..], &format!("{long}x"), &format!("{}y", &long[1..])] {
        assert_eq!(login(&access, "alice", wrong).await, WRONG);
        assert_eq!(login(&access, "nobody", wrong).await, WRONG);
    }
}

#[tokio::test]
async fn another_authenticator_may_know_whom_the_file_does_not() {
    let file = File::new(&line("alice", "secret", 4));
    let long = "t".repeat(500);
    let expected = long.clone();
    let access = access(&file.path()).authenticator(Login::new(move |user, password| {
        let right = user == "alice" || user == "robot" && password.matches(&expected);
        async move { right }
    }));
    assert_eq!(login(&access, "robot", &long).await, Ok(()));
    assert_eq!(login(&access, "alice", "wrong").await, WRONG);
    assert_eq!(login(&access, "alice", &long).await, WRONG);
}

#[test]
fn s_48_a_malformed_file_is_not_opened() {
    let open = |content: &str| Htpasswd::open(File::new(content).path()).map(|_| ());
    let good = line("alice", "secret", 4);
    assert!(open(&good).is_ok());
    let argon2id = format!("bob:{LONG}\n");
    assert!(open(&argon2id).is_ok());
    let expensive = argon2id.replace("m=64", "m=262145");
    let endless = argon2id.replace("t=1", "t=11");
    for content in [
        "",
        "alice:{SHA}x\n",
        &format!("{good}bob\n"),
        &good[..40],
        &argon2id[..60],
        &argon2id[..argon2id.len() - 2],
        &expensive,
        &endless,
    ] {
        assert!(open(content).is_err(), "{content:?}");
    }
    let missing = Htpasswd::open("/nowhere/htpasswd").unwrap_err();
    assert!(
        missing.to_string().contains("/nowhere/htpasswd"),
        "{missing}"
    );
}

/// Lets the file be looked at again.
async fn later() {
    advance(Duration::from_millis(1100)).await;
}

/// Lets a file count that was written in its place.
async fn rest(access: &AccessControl) {
    for _ in 0..6 {
        later().await;
        // Somebody has to ask for it.
        assert_eq!(login(access, "nobody", "").await, WRONG);
    }
}

#[tokio::test(start_paused = true)]
async fn s_49_a_replaced_file_counts_as_a_whole() {
    let file = File::new(&(line("alice", "old", 4) + &line("bob", "b", 4)));
    let access = access(&file.path());
    assert_eq!(login(&access, "alice", "old").await, Ok(()));

    file.replace(&line("alice", "new", 4));
    later().await;
    // What was found right before doesn't count any more.
    assert_eq!(login(&access, "alice", "old").await, WRONG);
    assert_eq!(login(&access, "alice", "new").await, Ok(()));
    assert_eq!(login(&access, "bob", "b").await, WRONG);
}

#[tokio::test(start_paused = true)]
async fn after_a_silence_nobody_who_is_gone_gets_in_however_many_ask() {
    for seconds in [2, 45, 3600] {
        let file = File::new(&(line("alice", "a", 4) + &line("bob", "b", 4)));
        let access = access(&file.path());
        assert_eq!(login(&access, "alice", "a").await, Ok(()));
        file.replace(&line("bob", "b", 4));
        advance(Duration::from_secs(seconds)).await;
        let all = (0..4).map(|_| login(&access, "alice", "a"));
        for answer in futures::future::join_all(all).await {
            assert_eq!(answer, WRONG, "{seconds}");
        }
    }
}

#[cfg(unix)]
#[tokio::test(start_paused = true)]
async fn s_49_a_swapped_symbolic_link_is_followed() {
    use std::os::unix::fs::symlink;

    // As Kubernetes does it: file -> ..data/file, ..data -> directory.
    let root = TempDir::new().unwrap();
    let at = |name: &str| root.path().join(name);
    for (version, password) in [("v1", "old"), ("v2", "new")] {
        fs::create_dir(at(version)).unwrap();
        fs::write(at(version).join("htpasswd"), line("alice", password, 4)).unwrap();
    }
    symlink("v1", at("..data")).unwrap();
    symlink("..data/htpasswd", at("htpasswd")).unwrap();
    let access = access(&at("htpasswd"));
    assert_eq!(login(&access, "alice", "old").await, Ok(()));

    symlink("v2", at("..data_tmp")).unwrap();
    fs::rename(at("..data_tmp"), at("..data")).unwrap();
    later().await;
    assert_eq!(login(&access, "alice", "new").await, Ok(()));
    assert_eq!(login(&access, "alice", "old").await, WRONG);
}

#[tokio::test(start_paused = true)]
async fn s_49_a_file_that_cannot_be_used_leaves_the_users_as_they_were() {
    let good = line("alice", "secret", 4) + &line("bob", "b", 4);
    let file = File::new(&good);
    let access = access(&file.path());
    let garbage = format!("{good}carol:plain\n");
    for broken in [Some(""), Some(&good[..90]), Some(&garbage), None] {
        match broken {
            Some(content) => fs::write(file.path(), content).unwrap(),
            None => fs::remove_file(file.path()).unwrap(),
        }
        for _ in 0..8 {
            later().await;
            assert_eq!(
                login(&access, "alice", "secret").await,
                Ok(()),
                "{broken:?}"
            );
            assert_eq!(login(&access, "bob", "b").await, Ok(()), "{broken:?}");
            assert_eq!(login(&access, "carol", "plain").await, WRONG, "{broken:?}");
        }
    }
    fs::write(file.path(), line("carol", "c", 4)).unwrap();
    rest(&access).await;
    assert_eq!(login(&access, "carol", "c").await, Ok(()));
    assert_eq!(login(&access, "alice", "secret").await, WRONG);
}

#[tokio::test(start_paused = true)]
async fn s_49_a_file_that_is_written_slowly_counts_once_it_is_whole() {
    let lines = |users: &[&str]| {
        users
            .iter()
            .map(|user| line(user, "p", 4))
            .collect::<String>()
    };
    let old = lines(&["alice", "bob", "dora"]);
    let new = lines(&["alice", "carol", "dora", "erin"]);
    let file = File::new(&old);
    let access = access(&file.path());
    let all = ["alice", "bob", "carol", "dora", "erin"];
    let users = async || {
        let mut users = Vec::new();
        for user in all {
            if login(&access, user, "p").await.is_ok() {
                users.push(user);
            }
        }
        users
    };
    assert_eq!(users().await, ["alice", "bob", "dora"]);
    // Emptied, and then a line at a time; each of these is a file by itself.
    let ends = new.match_indices('\n').map(|(at, _)| at + 1);
    for end in std::iter::once(0).chain(ends) {
        fs::write(file.path(), &new[..end]).unwrap();
        for _ in 0..4 {
            later().await;
            assert_eq!(users().await, ["alice", "bob", "dora"], "{end}");
        }
    }
    rest(&access).await;
    assert_eq!(users().await, ["alice", "carol", "dora", "erin"]);
    // Who goes does, too, and more than that can't be known.
    fs::write(file.path(), lines(&["alice"])).unwrap();
    rest(&access).await;
    assert_eq!(users().await, ["alice"]);
}

/// How many checks run at once, and how many wait for them.
fn places() -> usize {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    processors.div_ceil(2) + 64
}

/// Where passwords are checked by one thread, which is stuck until it is told to
/// go on, and the time stands still.
struct Stuck {
    go: std::sync::mpsc::Sender<()>,
}

impl Stuck {
    fn run(test: impl AsyncFnOnce()) {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .max_blocking_threads(1)
            .build()
            .unwrap()
            .block_on(test());
    }

    fn begin() -> Self {
        let (go, told) = std::sync::mpsc::channel();
        // So that a test fails that waits for it in vain.
        tokio::task::spawn_blocking(move || told.recv_timeout(Duration::from_mins(1)));
        Self { go }
    }

    fn end(self) {
        self.go.send(()).unwrap();
    }
}

/// What comes of logging in without waiting for anything.
async fn at_once(
    attempt: &mut (impl Future<Output = Result<(), ErrorKind>> + Unpin),
) -> Option<Result<(), ErrorKind>> {
    // It may go on as if it were the first to be asked for a while.
    tokio::task::yield_now().await;
    match futures::poll!(attempt) {
        Poll::Ready(outcome) => Some(outcome),
        Poll::Pending => None,
    }
}

/// Logs in with a wrong password.
fn guess(
    access: &AccessControl,
    user: &'static str,
    number: u32,
) -> Pin<Box<dyn Future<Output = Result<(), ErrorKind>>>> {
    let access = access.clone();
    Box::pin(async move { login(&access, user, &format!("wrong{number}")).await })
}

/// Files of `alice`, whose password is `right`, and `bob`, of each kind of hash.
fn kinds() -> [(File, String); 2] {
    let right = "x".repeat(50);
    let bcrypt = File::new(&(line("alice", &right, 4) + &line("bob", "b", 4)));
    let long = "x".repeat(100);
    [
        (bcrypt, right),
        (File::new(&format!("alice:{LONG}\nbob:{SLOW}\n")), long),
    ]
}

#[test]
fn s_46_a_name_that_is_not_known_takes_the_same_work() {
    // Which work that is,
    // `s_46_each_refusal_takes_the_same_whoever_is_refused` says.
    Stuck::run(async || {
        for (file, _) in kinds() {
            let access = access(&file.path());
            for user in ["bob", "nobody"] {
                let stuck = Stuck::begin();
                let mut waiting = Vec::new();
                let mut places_left = None;
                for number in 0..100 {
                    let mut attempt = guess(&access, user, number);
                    match at_once(&mut attempt).await {
                        None => waiting.push(attempt),
                        Some(outcome) => {
                            assert_eq!(outcome, Err(ErrorKind::TooManyRequests), "{user}");
                            places_left.get_or_insert(waiting.len());
                        }
                    }
                }
                // Each takes one place, and none is answered without.
                assert_eq!(places_left, Some(places()), "{user}");
                assert_eq!(waiting.len(), places(), "{user}");
                stuck.end();
                for attempt in waiting {
                    assert_eq!(attempt.await, WRONG, "{user}");
                }
            }
        }
    });
}

#[test]
fn s_46_a_right_password_of_somebody_disabled_is_checked_each_time() {
    Stuck::run(async || {
        for (file, right) in kinds() {
            let users = Arc::new(Htpasswd::open(file.path()).unwrap());
            let access = |rules: Rules| {
                AccessControl::new(rules)
                    .authenticator(Arc::clone(&users))
                    .guard(GuardLimits::NONE)
            };
            let enabled = access(Rules::new());
            assert_eq!(login(&enabled, "alice", &right).await, Ok(()));
            // It is known to be right, and that would be seen.
            let disabled = access(Rules::new().disable("alice"));
            for password in [&right, "wrong", &right] {
                let stuck = Stuck::begin();
                let mut attempt = Box::pin(login(&disabled, "alice", password));
                assert_eq!(at_once(&mut attempt).await, None, "{password}");
                stuck.end();
                assert_eq!(attempt.await, WRONG, "{password}");
            }
            // Others go on.
            let mut known = Box::pin(login(&enabled, "alice", &right));
            assert_eq!(at_once(&mut known).await, Some(Ok(())));
        }
    });
}

#[test]
fn h_12_a_flood_of_wrong_passwords_is_bounded_and_known_users_go_on() {
    Stuck::run(async || {
        for (file, right) in kinds() {
            let access = access(&file.path());
            assert_eq!(login(&access, "alice", &right).await, Ok(()));
            for user in ["bob", "nobody"] {
                let stuck = Stuck::begin();
                let mut flood = Vec::new();
                for number in 0..300 {
                    let mut attempt = guess(&access, user, number);
                    match at_once(&mut attempt).await {
                        None => flood.push(attempt),
                        Some(outcome) => assert_eq!(outcome, Err(ErrorKind::TooManyRequests)),
                    }
                    // Whoever is known already waits for nobody.
                    let mut known = Box::pin(login(&access, "alice", &right));
                    assert_eq!(at_once(&mut known).await, Some(Ok(())), "{user} {number}");
                }
                assert_eq!(flood.len(), places(), "{user}");
                stuck.end();
                for attempt in flood {
                    assert_eq!(attempt.await, WRONG, "{user}");
                }
            }
        }
    });
}

#[test]
fn many_requests_with_the_same_password_check_it_once() {
    Stuck::run(async || {
        for (file, right) in kinds() {
            let access = access(&file.path());
            let stuck = Stuck::begin();
            let mut all = Vec::new();
            for _ in 0..32 {
                let mut attempt = Box::pin(login(&access, "alice", &right));
                assert_eq!(at_once(&mut attempt).await, None);
                all.push(attempt);
            }
            // Behind the checks that have begun: no other can be made.
            let again = Stuck::begin();
            stuck.end();
            for attempt in all {
                assert_eq!(attempt.await, Ok(()));
            }
            again.end();
        }
    });
}

#[tokio::test]
async fn s_91_neither_passwords_nor_hashes_are_in_debug_output() {
    let (_, argon2id, user) = ARGON2ID[0];
    let file = File::new(&format!(
        "{}{user}:{argon2id}\n",
        line("alice", "canary", 4)
    ));
    let access = access(&file.path());
    assert_eq!(login(&access, "alice", "canary").await, Ok(()));
    let shown = format!("{access:?}");
    assert!(
        !shown.contains("canary") && !shown.contains("$2") && !shown.contains("argon2"),
        "{shown}"
    );
}

/// What becomes of `user`: the stamp of the password, if there still is one.
async fn stamp(users: &Htpasswd, user: Principal) -> Option<[u8; 16]> {
    match users.standing(&user).await.unwrap() {
        Standing::Current(known) => {
            assert_eq!(known.name(), user.name());
            Some(*known.stamp().unwrap())
        }
        Standing::Gone => None,
        Standing::Unknown => panic!("the file can be asked at any time"),
    }
}

#[tokio::test]
async fn a_hash_of_argon2id_counts_as_a_whole_and_in_the_order_of_its_bytes() {
    let (password, hash, user) = ARGON2ID[0];
    let (rest, digest) = hash.rsplit_once('$').unwrap();
    let mut bytes = STANDARD_NO_PAD.decode(digest).unwrap();
    bytes.swap(0, 1);
    let swapped = format!("{rest}${}", STANDARD_NO_PAD.encode(&bytes));
    let mut stamps = Vec::new();
    for (hash, expected) in [(hash, Ok(())), (&swapped, WRONG)] {
        let file = File::new(&format!("{user}:{hash}\n"));
        assert_eq!(login(&access(&file.path()), user, password).await, expected);
        let users = Htpasswd::open(file.path()).unwrap();
        stamps.push(stamp(&users, Principal::new(user)).await.unwrap());
    }
    // Another hash ends what was given out for the one before.
    assert_ne!(stamps[0], stamps[1]);
}

#[tokio::test(start_paused = true)]
async fn whoever_was_known_can_be_asked_about_again() {
    let file = File::new(&format!("{}b:{SLOW}\n", line("a", "one", 4)));
    let users = Htpasswd::open(file.path()).unwrap();
    assert_eq!(users.source(), "htpasswd");
    let a = stamp(&users, Principal::new("a")).await.unwrap();
    let b = stamp(&users, Principal::new("b")).await.unwrap();
    assert_ne!(a, b);
    for stranger in [Principal::new("c"), Principal::robot("a")] {
        assert_eq!(stamp(&users, stranger).await, None);
    }

    // The same hash is the same password; only of the same user.
    file.replace(&format!("a:{SLOW}\nb:{SLOW}\n"));
    advance(Duration::from_secs(2)).await;
    let changed = stamp(&users, Principal::new("a")).await.unwrap();
    assert!(changed != a && changed != b);
    assert_eq!(stamp(&users, Principal::new("b")).await, Some(b));

    file.replace(&format!("a:{SLOW}\n"));
    advance(Duration::from_secs(2)).await;
    assert_eq!(stamp(&users, Principal::new("b")).await, None);
    assert_eq!(stamp(&users, Principal::new("a")).await, Some(changed));
}

#[test]
fn a_user_is_never_called_like_a_robot() {
    let file = File::new(&line("robot$ci", "one", 4));
    let error = Htpasswd::open(file.path()).unwrap_err().to_string();
    assert!(
        error.contains("robot$") && error.contains("htpasswd:1: "),
        "{error}"
    );
}
