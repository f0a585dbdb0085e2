//! A server that is killed with SIGKILL loses nothing that it acknowledged.
//!
//! `REGISTRY_TESTS_CRASHES=30 cargo test -p registry-tests --test crash` kills thirty servers under load, or as
//! many as that says; without it, a few. `REGISTRY_TESTS_SEED`, which every failure names, makes the clients choose the
//! same again.
//!
//! What SIGKILL doesn't show, since the kernel keeps what was written: that the bytes would survive a power failure.
//! The stores' own tests simulate that, and `durability` shows that the server syncs before it answers.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a step that fails is the test's result"
)]

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use fastrand::Rng;
use registry_tests::harness::{Launch, Server, binary, rebuild};
use registry_tests::load::{
    Client, Content, Depth, Effect, History, Mix, Outcome, Place, Way, audit,
};
use tempfile::TempDir;

/// How many servers are killed if nobody says how many.
const CRASHES: u64 = 5;

/// How many clients there are at once.
const CLIENTS: u64 = 6;

/// How many acknowledged requests are sure to leave blobs, manifests and tags.
const ENOUGH: usize = 40;

/// A server that was killed must serve again within this time.
const READY: Duration = Duration::from_secs(2);

/// How long the server is left alone, several times what it needs to make everything durable then.
const LEFT_ALONE: Duration = Duration::from_secs(3);

/// How many old places are looked at after each crash; all of them are after the last one.
const SAMPLE: usize = 100;

#[test]
fn killed_under_load_again_and_again_it_keeps_what_it_acknowledged() {
    let crashes = number("REGISTRY_TESTS_CRASHES").unwrap_or(CRASHES);
    let mut trial = Trial::new();
    let (mut acknowledged, mut unanswered, mut slowest) = (0_usize, 0_usize, Duration::ZERO);
    for crash in 1..=crashes {
        let (server, ready) = trial.start();
        slowest = slowest.max(ready);
        assert!(ready < READY, "{trial}: ready after {ready:?} only");
        trial.check(&server, false);
        trial.load_and_kill(server);
        acknowledged = acknowledged.saturating_add(trial.history.acknowledged());
        unanswered = unanswered.saturating_add(trial.history.unanswered());
        if crash == crashes {
            let (server, _) = trial.start();
            trial.check(&server, true);
        }
    }
    assert!(
        acknowledged > 0 && unanswered > 0,
        "{trial}: {acknowledged} requests acknowledged and {unanswered} cut off show nothing"
    );
    say(&format!(
        "{trial}: {crashes} crashes, {acknowledged} acknowledged, {unanswered} cut off, ready after {slowest:?} at most"
    ));
}

#[test]
fn a_lost_database_is_made_again_with_the_same_content() {
    let mut trial = Trial::new();
    for _ in 0..2 {
        let (server, _) = trial.start();
        trial.check(&server, false);
        trial.load_and_kill(server);
    }
    fs::remove_file(trial.root().join("metadata.redb")).expect("the database");
    rebuild(trial.root());
    let (server, _) = trial.start();
    trial.check(&server, true);
}

/// The checks above would not pass if something were lost.
#[test]
fn an_audit_reports_a_lost_file() {
    let mut trial = Trial::new();
    let (server, _) = trial.start();
    trial.load_and_kill_after(server, ENOUGH);
    let (server, _) = trial.start();
    trial.check(&server, true);
    server.kill();

    // Any file belongs to a blob or a manifest, unless it came just before the crash.
    let mut random = Rng::with_seed(trial.seed);
    let places = trial.history.settled();
    let held = places.into_iter().filter_map(|(place, value)| match place {
        Place::Blob(..) => value,
        _ => None,
    });
    let held: Vec<String> = held.collect();
    let lost = random.choice(&held).expect("a blob").clone();
    let (_, hex) = lost.split_once(':').expect("a digest");
    let fan_out = hex.get(..2).expect("two digits");
    let directory = trial.root().join("blobs/sha256").join(fan_out);
    let files = fs::read_dir(directory).expect("blobs");
    for file in files.map(|file| file.expect("a blob")) {
        if file.file_name().to_string_lossy().starts_with(hex) {
            fs::remove_file(file.path()).expect("a blob to remove");
        }
    }
    let (server, _) = trial.start();
    let wrong = audit(server.host(), &trial.history, Depth::Everything);
    assert!(
        wrong.iter().any(|problem| problem.contains(&lost)),
        "{trial}: nothing was said about {lost}: {wrong:?}"
    );
}

/// Nor if the server came up with what it held a while ago.
#[test]
fn an_audit_reports_forgotten_pushes() {
    let mut trial = Trial::new();
    let (server, _) = trial.start();
    assert!(server.terminate().status.success());
    let before = copies_of_metadata(trial.root());

    let (server, _) = trial.start();
    trial.load_and_kill_after(server, ENOUGH);
    for (path, _) in copies_of_metadata(trial.root()) {
        fs::remove_file(path).expect("metadata to remove");
    }
    for (path, bytes) in before {
        fs::write(path, bytes).expect("metadata to put back");
    }
    let (server, _) = trial.start();
    let wrong = audit(server.host(), &trial.history, Depth::Everything);
    let lost = wrong
        .iter()
        .filter(|problem| problem.contains("holds None"));
    assert!(lost.count() > 0, "{trial}: {wrong:?}");
}

/// Begins an upload of `content`, whose first 2 MB are acknowledged; returns where it goes on.
fn begin_and_append(client: &Client, content: &Content) -> String {
    let begun = client.begin("a").expect("an answer");
    let location = begun.location.expect("where to upload");
    let appended = client.append(&location, content, 0..2_000_000);
    let appended = appended.expect("an answer");
    assert_eq!(appended.status, 202, "{}", appended.body);
    location
}

#[test]
fn a_paused_upload_goes_on_after_a_crash() {
    let mut trial = Trial::new();
    let content = Content::new(trial.seed, 5_000_000);
    let (server, _) = trial.start();
    let client = Client::new(server.host());
    let location = begin_and_append(&client, &content);
    // What is acknowledged afterwards makes the upload as durable as itself.
    let small = Content::new(trial.seed, 10);
    let pushed = client
        .push_blob("a", &small, Way::Whole)
        .expect("an answer");
    assert_eq!(pushed.status, 201, "{}", pushed.body);
    server.kill();

    let (server, _) = trial.start();
    let client = Client::new(server.host());
    let upload = client.upload(&location).expect("an answer");
    assert_eq!(upload.status, 204, "{}", upload.body);
    assert_eq!(upload.range.as_deref(), Some("0-1999999"));
    let early = client.append(&location, &content, 1_000_000..1_500_000);
    assert_eq!(early.expect("an answer").status, 416);
    let late = client.append(&location, &content, 2_000_001..2_500_000);
    assert_eq!(late.expect("an answer").status, 416);
    let appended = client.append(&location, &content, 2_000_000..3_000_000);
    let location = appended
        .expect("an answer")
        .location
        .expect("where to go on");
    let finished = client.finish(&location, &content, 3_000_000..content.size());
    let finished = finished.expect("an answer");
    assert_eq!(finished.status, 201, "{}", finished.body);
    trial.holds(&server, &content);
}

/// Even if the server has done nothing since that had to last.
#[test]
fn an_upload_that_was_left_alone_outlives_a_crash() {
    let mut trial = Trial::new();
    let content = Content::new(trial.seed, 3_000_000);
    let (server, _) = trial.start();
    let client = Client::new(server.host());
    let location = begin_and_append(&client, &content);
    // Nothing outside tells when it is durable.
    std::thread::park_timeout(LEFT_ALONE);
    server.kill();

    let (server, _) = trial.start();
    let client = Client::new(server.host());
    let upload = client.upload(&location).expect("an answer");
    assert_eq!(upload.status, 204, "{}", upload.body);
    assert_eq!(upload.range.as_deref(), Some("0-1999999"));
    let finished = client.finish(&location, &content, 2_000_000..content.size());
    let finished = finished.expect("an answer");
    assert_eq!(finished.status, 201, "{}", finished.body);
    trial.holds(&server, &content);
}

#[test]
fn an_upload_that_a_crash_cuts_off_goes_on_where_the_server_says() {
    let mut trial = Trial::new();
    let (mut gone, mut kept) = (0, 0);
    for round in 0..8 {
        // Whatever is acknowledged for good takes with it what was before: here, the first part of the upload.
        let lasting = round % 2 == 0;
        let content = Content::new(trial.seed.wrapping_add(round), 3_000_000);
        let (server, _) = trial.start();
        let client = Client::new(server.host());
        let begun = client.begin("a").expect("an answer");
        let location = begun.location.expect("where to upload");
        let appended = client.append(&location, &content, 0..1_000_000);
        let next = appended
            .expect("an answer")
            .location
            .expect("where to go on");
        if lasting {
            let small = Content::new(trial.seed.wrapping_add(round), 10);
            let pushed = client
                .push_blob("a", &small, Way::Whole)
                .expect("an answer");
            assert_eq!(pushed.status, 201, "{}", pushed.body);
        }
        let (client, patched) = (client.pace(Duration::from_millis(4)), content.clone());
        let patch =
            std::thread::spawn(move || client.append(&next, &patched, 1_000_000..3_000_000));
        trial.pause(0..150);
        server.kill();
        // It was in the middle, or was done just before.
        let _ = patch.join().expect("the client's thread");

        let (server, _) = trial.start();
        let client = Client::new(server.host());
        let upload = client.upload(&location).expect("an answer");
        let offset = upload.range.as_deref().map_or(0, end_of);
        if lasting {
            assert_eq!(upload.status, 204, "{trial}: {upload:?}");
            assert!(offset >= 1_000_000, "{trial}: {upload:?}");
        } else if upload.status == 404 {
            // As long as it says so.
            gone += 1;
            continue;
        }
        let location = upload.location.expect("where to go on");
        let finished = client.finish(&location, &content, offset..content.size());
        let finished = finished.expect("an answer");
        assert_eq!(finished.status, 201, "{trial}: from {offset}: {finished:?}");
        kept += 1;
        trial.holds(&server, &content);
    }
    say(&format!(
        "{trial}: {kept} uploads went on, {gone} had to start again"
    ));
}

/// A root, and what its servers were asked to do.
struct Trial {
    seed: u64,
    random: Rng,
    root: TempDir,
    history: Arc<History>,
}

impl std::fmt::Display for Trial {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(to, "REGISTRY_TESTS_SEED={}", self.seed)
    }
}

impl Trial {
    fn new() -> Self {
        // Building it is no part of a start.
        binary();
        let seed = number("REGISTRY_TESTS_SEED").unwrap_or_else(|| fastrand::u64(..));
        Self {
            seed,
            random: Rng::with_seed(seed),
            root: TempDir::with_prefix("registry-crash-").expect("a temporary directory"),
            history: Arc::new(History::new()),
        }
    }

    fn root(&self) -> &Path {
        self.root.path()
    }

    /// Starts a server; returns after what time it served.
    #[allow(clippy::disallowed_methods, reason = "a real server takes real time")]
    fn start(&mut self) -> (Server, Duration) {
        let start = Instant::now();
        let server = Launch::new().root(self.root()).start();
        let ready = server.api().get("/v2/").status();
        assert_eq!(ready, 200, "{self}");
        (server, start.elapsed())
    }

    /// Kills the server at any moment: while it starts to work, or well into it.
    fn load_and_kill(&mut self, server: Server) {
        self.load_and_kill_after(server, 0);
    }

    /// Kills the server at any moment after this many acknowledged requests.
    fn load_and_kill_after(&mut self, server: Server, acknowledged: usize) {
        let mix = Mix::start(server.host(), &self.history, CLIENTS, self.random.u64(..));
        while self.history.acknowledged() < acknowledged && !mix.has_lost_one() {
            self.pause(1..10);
        }
        if self.random.u8(0..8) == 0 {
            self.pause(0..20);
        } else {
            self.pause(50..500);
        }
        let unanswered = mix.has_lost_one();
        let log = server.kill().log;
        let Outcome { faults, broken, .. } = mix.join();
        assert!(faults.is_empty(), "{self}: {}\n{log}", faults.join("\n"));
        assert!(
            !unanswered,
            "{self}: a server that lived gave no answer to one of these: {broken:#?}\n{log}"
        );
    }

    fn check(&mut self, server: &Server, everything: bool) {
        let depth = if everything {
            Depth::Everything
        } else {
            Depth::Changed {
                others: SAMPLE,
                seed: self.random.u64(..),
            }
        };
        let wrong = audit(server.host(), &self.history, depth);
        assert!(wrong.is_empty(), "{self}:\n{}", wrong.join("\n"));
    }

    /// Whether the server has exactly this blob.
    fn holds(&self, server: &Server, content: &Content) {
        let place = Place::Blob("a".to_owned(), content.digest().to_owned());
        self.history.know(content);
        let pushed = vec![Effect::Set(place, content.digest().to_owned())];
        let ticket = self.history.begin(pushed);
        self.history.acknowledge(ticket);
        let wrong = audit(server.host(), &self.history, Depth::Everything);
        assert!(wrong.is_empty(), "{self}:\n{}", wrong.join("\n"));
    }

    fn pause(&mut self, milliseconds: std::ops::Range<u64>) {
        let time = Duration::from_millis(self.random.u64(milliseconds));
        // Nobody else unparks this thread; if somebody did, another moment would be as good.
        std::thread::park_timeout(time);
    }
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{variable} is no number: {text}")),
    )
}

/// The offset after a range such as `0-99`.
fn end_of(range: &str) -> u64 {
    let (_, last) = range.split_once('-').expect("a range");
    let last: u64 = last.parse().expect("an offset");
    // An upload of nothing is said to be `0-0`, and so is one of a single byte.
    if last == 0 { 0 } else { last.saturating_add(1) }
}

fn copies_of_metadata(root: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let entries = fs::read_dir(root).expect("the root");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let metadata = paths.filter(|path| {
        let name = path.file_name().unwrap_or_default();
        name.to_string_lossy().starts_with("metadata.")
    });
    let copy = |path: PathBuf| {
        let bytes = fs::read(&path).expect("metadata");
        (path, bytes)
    };
    metadata.map(copy).collect()
}

/// Printed past the test runner, which swallows the output of tests that pass.
fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}
