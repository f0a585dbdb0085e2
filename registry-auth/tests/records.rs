//! Records in memory and in a file.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test fails by panicking"
)]

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::{HeaderMap, HeaderValue};
use registry_auth::{
    AccessControl, FileRecords, Keys, Login, MemoryRecords, NewKey, RobotChange, Rules, Sender,
};
use registry_core::{Clock, ErrorKind, Expected, PageRequest, Records, RequestOrigin, SystemClock};
use tempfile::TempDir;
use tokio::task::yield_now;
use tokio::time::advance;

registry_core::records_suite!(memory, (MemoryRecords::new(), ()));

registry_core::records_suite!(file, {
    let directory = TempDir::new().unwrap();
    (FileRecords::open(directory.path()).unwrap(), directory)
});

/// Stands still.
#[derive(Debug)]
struct Fixed(SystemTime);

impl Clock for Fixed {
    fn now(&self) -> SystemTime {
        self.0
    }
}

fn log(directory: &Path) -> std::path::PathBuf {
    directory.join("records.log")
}

async fn put(records: &FileRecords, key: &str, value: &str) -> u64 {
    let value = value.as_bytes().to_vec();
    records.put(key, Expected::Any, value, None).await.unwrap()
}

async fn value(records: &FileRecords, key: &str) -> Option<String> {
    let record = records.get(key).await.unwrap()?;
    Some(String::from_utf8(record.value).unwrap())
}

#[tokio::test]
async fn a_list_begins_with_its_prefix_and_ends_with_what_is_alive() {
    let clock = Fixed(UNIX_EPOCH + Duration::from_secs(1_000));
    let records = MemoryRecords::new().clock(clock);
    for (key, seconds) in [
        ("ab", None),
        ("b1", None),
        ("b2", Some(1_000)),
        ("b3", Some(1_001)),
    ] {
        let end = seconds.map(|seconds| UNIX_EPOCH + Duration::from_secs(seconds));
        records
            .put(key, Expected::Any, Vec::new(), end)
            .await
            .unwrap();
    }
    for (after, expected) in [
        (None, &["b1", "b3"][..]),
        (Some("a"), &["b1", "b3"]),
        (Some("b1"), &["b3"]),
    ] {
        let mut page = PageRequest::default();
        page.after = after.map(str::to_owned);
        let listed = records.list("b", page).await.unwrap().items;
        let keys: Vec<_> = listed.iter().map(|record| record.key.as_str()).collect();
        assert_eq!(keys, expected, "{after:?}");
    }
    assert!(records.get("b2").await.unwrap().is_none());
}

#[tokio::test]
async fn what_was_written_is_there_after_a_start() {
    let root = TempDir::new().unwrap();
    let directory = root.path().join("auth");
    let records = FileRecords::open(&directory).unwrap();
    let end = SystemClock.now() + Duration::from_hours(1);
    put(&records, "a", "1").await;
    put(&records, "b", "2").await;
    records
        .put("c", Expected::Any, Vec::new(), Some(end))
        .await
        .unwrap();
    records.remove("a", Expected::Any).await.unwrap();
    let version = put(&records, "b", "3").await;
    drop(records);

    let records = FileRecords::open(&directory).unwrap();
    assert_eq!(value(&records, "a").await, None);
    assert_eq!(value(&records, "b").await.as_deref(), Some("3"));
    let seconds = |time: SystemTime| time.duration_since(UNIX_EPOCH).unwrap().as_secs();
    let record = records.get("c").await.unwrap().unwrap();
    assert_eq!(record.expires_at.map(seconds), Some(seconds(end)));
    assert!(put(&records, "d", "4").await > version);
    for (path, mode) in [(directory.clone(), 0o700), (log(&directory), 0o600)] {
        let found = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        assert_eq!(found, mode, "{}", path.display());
    }
}

#[tokio::test(start_paused = true)]
async fn several_processes_share_the_records() {
    let directory = TempDir::new().unwrap();
    let open = || FileRecords::open(directory.path()).unwrap();
    let (server, other) = (open(), open());
    put(&server, "a", "1").await;
    // Who writes sees what is there; who reads sees it a second later.
    let version = other
        .put("b", Expected::Absent, b"2".to_vec(), None)
        .await
        .unwrap();
    assert_eq!(value(&other, "a").await.as_deref(), Some("1"));
    let refused = server.put("b", Expected::Absent, Vec::new(), None).await;
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::PreconditionFailed);
    other.remove("b", Expected::Version(version)).await.unwrap();
    advance(Duration::from_secs(1)).await;
    assert_eq!(value(&server, "b").await, None);

    // Also after one of them has written the file anew.
    let before = fs::metadata(log(directory.path())).unwrap().len();
    for number in 0..600 {
        put(&other, "c", &number.to_string()).await;
    }
    let grown = fs::metadata(log(directory.path())).unwrap().len();
    assert!(grown < before + 600 * 40, "{grown}");
    advance(Duration::from_secs(1)).await;
    assert_eq!(value(&server, "c").await.as_deref(), Some("599"));
    assert_eq!(value(&server, "a").await.as_deref(), Some("1"));
    assert!(put(&server, "d", "1").await > version + 600);
    advance(Duration::from_secs(1)).await;
    assert_eq!(value(&other, "d").await.as_deref(), Some("1"));
    assert_eq!(value(&open(), "c").await.as_deref(), Some("599"));
}

#[tokio::test]
async fn what_has_expired_takes_no_room() {
    let directory = TempDir::new().unwrap();
    let watch = Watch::default();
    let records = FileRecords::open(directory.path())
        .unwrap()
        .clock(watch.clone());
    for round in 0..4 {
        for number in 0..600 {
            let (key, end) = (
                format!("{round}/{number}"),
                watch.now() + Duration::from_mins(1),
            );
            let written = records.put(&key, Expected::Any, Vec::new(), Some(end));
            written.await.unwrap();
        }
        watch.0.fetch_add(120, Ordering::Relaxed);
    }
    let lines = fs::read_to_string(log(directory.path())).unwrap();
    assert!(lines.lines().count() < 1500, "{}", lines.lines().count());
}

/// Seconds since 1970.
#[derive(Debug, Clone, Default)]
struct Watch(Arc<AtomicU64>);

impl Clock for Watch {
    fn now(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(self.0.load(Ordering::Relaxed))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_many_processes_wins() {
    let directory = TempDir::new().unwrap();
    let others: Vec<_> = (0..8)
        .map(|_| FileRecords::open(directory.path()).unwrap())
        .collect();
    for round in 0..10 {
        let key = format!("k/{round}");
        let tries = others
            .iter()
            .map(|records| records.put(&key, Expected::Absent, Vec::new(), None));
        let won = futures::future::join_all(tries).await;
        assert_eq!(won.iter().filter(|written| written.is_ok()).count(), 1);
    }
}

#[tokio::test]
async fn a_crash_costs_at_most_what_was_not_acknowledged() {
    let root = TempDir::new().unwrap();
    let whole = root.path().join("whole");
    let records = FileRecords::open(&whole).unwrap();
    put(&records, "a", "1").await;
    let before = fs::read(log(&whole)).unwrap();
    put(&records, "b", "2").await;
    let after = fs::read(log(&whole)).unwrap();
    let begin = after.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    for length in 0..after.len() {
        let directory = root.path().join(length.to_string());
        fs::create_dir(&directory).unwrap();
        fs::write(log(&directory), &after[..length]).unwrap();
        // The file is there with its beginning, or not at all.
        if length < begin {
            let error = FileRecords::open(&directory).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{length}");
            assert_eq!(fs::read(log(&directory)).unwrap(), &after[..length]);
            continue;
        }
        let records = FileRecords::open(&directory).unwrap();
        let survives = length >= before.len();
        let kept = if survives { before.len() } else { begin };
        assert_eq!(fs::read(log(&directory)).unwrap(), &after[..kept]);
        assert_eq!(value(&records, "a").await.is_some(), survives, "{length}");
        assert_eq!(value(&records, "b").await, None);
        // And what is written then is there.
        put(&records, "c", "3").await;
        let records = FileRecords::open(&directory).unwrap();
        assert_eq!(value(&records, "c").await.as_deref(), Some("3"), "{length}");
        assert_eq!(value(&records, "a").await.is_some(), survives, "{length}");
    }
}

#[tokio::test]
async fn a_last_line_that_a_crash_has_left_without_its_beginning_is_removed() {
    let directory = TempDir::new().unwrap();
    let records = FileRecords::open(directory.path()).unwrap();
    put(&records, "a", "1").await;
    let file = log(directory.path());
    let before = fs::read(&file).unwrap();
    put(&records, "b", "2").await;
    // Of what wasn't acknowledged, any part may be on the disk, such as the end.
    let mut after = fs::read(&file).unwrap();
    after[before.len()..][..20].fill(0);
    fs::write(&file, after).unwrap();
    let records = FileRecords::open(directory.path()).unwrap();
    assert_eq!(value(&records, "a").await.as_deref(), Some("1"));
    assert_eq!(value(&records, "b").await, None);
    assert_eq!(fs::read(&file).unwrap(), before);
}

#[tokio::test(start_paused = true)]
async fn what_somebody_is_writing_is_left_to_whoever_writes() {
    let (one, two) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let writer = FileRecords::open(one.path()).unwrap();
    put(&writer, "a", "1").await;
    let before = fs::read(log(one.path())).unwrap().len();
    put(&writer, "b", "2").await;
    let whole = fs::read(log(one.path())).unwrap();
    fs::write(log(two.path()), &whole[..before]).unwrap();
    let records = FileRecords::open(two.path()).unwrap();
    for length in before..=whole.len() {
        fs::write(log(two.path()), &whole[..length]).unwrap();
        advance(Duration::from_secs(1)).await;
        assert_eq!(value(&records, "a").await.as_deref(), Some("1"));
        let is_whole = length == whole.len();
        assert_eq!(value(&records, "b").await.is_some(), is_whole, "{length}");
        assert_eq!(fs::read(log(two.path())).unwrap(), &whole[..length]);
    }
}

#[tokio::test]
async fn a_change_is_one_more_line_of_the_same_file() {
    let directory = TempDir::new().unwrap();
    let records = FileRecords::open(directory.path()).unwrap();
    let inode = || fs::metadata(log(directory.path())).unwrap().ino();
    let before = inode();
    for number in 2..=10 {
        put(&records, "a", &number.to_string()).await;
        let lines = fs::read_to_string(log(directory.path())).unwrap();
        assert_eq!(lines.lines().count(), number);
    }
    assert_eq!(inode(), before);
}

#[tokio::test]
async fn no_version_comes_again_where_the_file_is_written_anew_without_records() {
    let directory = TempDir::new().unwrap();
    let records = FileRecords::open(directory.path()).unwrap();
    let lines = || {
        fs::read_to_string(log(directory.path()))
            .unwrap()
            .lines()
            .count()
    };
    let mut last = 0;
    for _ in 0..1000 {
        last = put(&records, "a", "1").await;
        let removed = records.remove("a", Expected::Version(last)).await;
        assert!(removed.unwrap());
        if lines() == 1 {
            break;
        }
    }
    assert_eq!(lines(), 1, "it was written anew");
    drop(records);
    let records = FileRecords::open(directory.path()).unwrap();
    // The removal was a change, too.
    assert_eq!(put(&records, "a", "1").await, last + 2);
}

/// Has the turn of those who write, until it is dropped. After a minute it lets go, so
/// that a test which waits for it fails in the end.
struct Writer {
    done: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<bool>>,
}

impl Writer {
    fn new(directory: &Path) -> Self {
        let lock = File::open(directory.join("records.lock")).unwrap();
        lock.lock().unwrap();
        let (done, is_done) = mpsc::channel::<()>();
        let thread = thread::spawn(move || {
            let ended = is_done.recv_timeout(Duration::from_mins(1));
            lock.unlock().unwrap();
            ended == Err(RecvTimeoutError::Disconnected)
        });
        Self {
            done: Some(done),
            thread: Some(thread),
        }
    }

    fn end(mut self) {
        drop(self.done.take());
        let thread = self.thread.take().unwrap();
        assert!(thread.join().unwrap(), "nobody waited for it");
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_writes_for_long_stops_nobody_while_nothing_is_written() {
    let directory = TempDir::new().unwrap();
    let records = FileRecords::open(directory.path()).unwrap();
    put(&records, "a", "1").await;
    let writer = Writer::new(directory.path());
    for _ in 0..5 {
        advance(Duration::from_secs(40)).await;
        assert_eq!(value(&records, "a").await.as_deref(), Some("1"));
    }
    writer.end();
}

#[tokio::test(start_paused = true)]
async fn while_a_write_hangs_what_is_known_counts_for_a_minute() {
    let directory = TempDir::new().unwrap();
    let records = Arc::new(FileRecords::open(directory.path()).unwrap());
    put(&records, "a", "1").await;
    let writer = Writer::new(directory.path());
    let ours = Arc::clone(&records);
    let write =
        tokio::spawn(async move { ours.put("a", Expected::Any, b"2".to_vec(), None).await });
    yield_now().await;
    // Each waits for the turn, though not for as long as it may take.
    let read = async |waits: Duration| {
        let records = Arc::clone(&records);
        let read = tokio::spawn(async move { records.get("a").await });
        yield_now().await;
        advance(waits).await;
        read.await.unwrap()
    };
    advance(Duration::from_secs(2)).await;
    let known = read(Duration::from_secs(1)).await.unwrap().unwrap();
    assert_eq!(known.value, b"1");
    advance(Duration::from_mins(1)).await;
    let error = write.await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    let error = read(Duration::from_secs(10)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("others are writing"), "{error}");
    writer.end();
    // The turn ends with the work, not with whoever waits for it.
    put(&records, "b", "3").await;
    assert_eq!(value(&records, "a").await.as_deref(), Some("2"));
}

#[tokio::test]
async fn damage_is_an_error_that_names_the_line() {
    let directory = TempDir::new().unwrap();
    let records = FileRecords::open(directory.path()).unwrap();
    for key in ["a", "b", "c"] {
        put(&records, key, "1").await;
    }
    let path = log(directory.path());
    let whole = fs::read_to_string(&path).unwrap();
    for (number, line) in (1..).zip(whole.lines().take(3)) {
        let broken = line.replace(':', ";");
        fs::write(&path, whole.replace(line, &broken)).unwrap();
        let error = FileRecords::open(directory.path()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert!(
            error
                .to_string()
                .contains(&format!("records.log:{number}:")),
            "{error}"
        );
    }
    // A later format is none that is known.
    fs::write(&path, whole.replace("\"format\":1", "\"format\":2")).unwrap();
    assert!(FileRecords::open(directory.path()).is_err());
    let (_, headless) = whole.split_once('\n').unwrap();
    fs::write(&path, headless).unwrap();
    assert!(FileRecords::open(directory.path()).is_err());
}

#[tokio::test]
async fn a_file_that_was_emptied_is_no_new_one() {
    let directory = TempDir::new().unwrap();
    let records = FileRecords::open(directory.path()).unwrap();
    put(&records, "a", "1").await;
    drop(records);
    fs::write(log(directory.path()), "").unwrap();
    let error = FileRecords::open(directory.path()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.to_string().contains("is empty"), "{error}");
    fs::remove_file(log(directory.path())).unwrap();
    let records = FileRecords::open(directory.path()).unwrap();
    assert_eq!(value(&records, "a").await, None);
}

#[tokio::test(start_paused = true)]
async fn what_the_file_has_lost_is_not_forgotten() {
    let directory = TempDir::new().unwrap();
    let file = log(directory.path());
    let records = FileRecords::open(directory.path()).unwrap();
    let begin = fs::read(&file).unwrap().len();
    put(&records, "a", "1").await;
    let before = fs::read(&file).unwrap().len();
    put(&records, "b", "2").await;
    let whole = fs::read(&file).unwrap();
    for length in [0, begin, before, whole.len() - 1] {
        fs::write(&file, &whole[..length]).unwrap();
        for _ in 0..2 {
            advance(Duration::from_secs(1)).await;
            assert_eq!(value(&records, "b").await.as_deref(), Some("2"), "{length}");
        }
        let written = records.put("c", Expected::Any, Vec::new(), None).await;
        assert_eq!(written.unwrap_err().kind(), ErrorKind::Corrupt, "{length}");
        advance(Duration::from_mins(1)).await;
        let error = records.get("b").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{length}");
        fs::write(&file, &whole).unwrap();
        advance(Duration::from_secs(1)).await;
        assert_eq!(value(&records, "b").await.as_deref(), Some("2"), "{length}");
    }
    // Nor where somebody has begun another one.
    fs::remove_file(&file).unwrap();
    let others = FileRecords::open(directory.path()).unwrap();
    put(&others, "d", "1").await;
    advance(Duration::from_secs(1)).await;
    assert_eq!(value(&records, "b").await.as_deref(), Some("2"));
    advance(Duration::from_mins(1)).await;
    assert!(records.get("b").await.is_err());
}

#[tokio::test(start_paused = true)]
async fn after_a_silence_nobody_is_told_what_was_before() {
    let directory = TempDir::new().unwrap();
    let open = || FileRecords::open(directory.path()).unwrap();
    let (server, other) = (open(), open());
    put(&server, "a", "1").await;
    for seconds in [2, 45, 3600] {
        put(&other, "a", &seconds.to_string()).await;
        advance(Duration::from_secs(seconds)).await;
        let all = (0..12).map(|_| value(&server, "a"));
        for found in futures::future::join_all(all).await {
            assert_eq!(found, Some(seconds.to_string()));
        }
    }
}

#[tokio::test]
async fn no_value_is_in_debug_output() {
    let directory = TempDir::new().unwrap();
    let records = FileRecords::open(directory.path()).unwrap();
    put(&records, "key", "canary").await;
    let page = records.list("", PageRequest::default()).await.unwrap();
    let shown = format!("{records:?} {page:?}");
    assert!(
        shown.contains("key") && !shown.contains("canary") && !shown.contains("99"),
        "{shown}"
    );
}

#[tokio::test(start_paused = true)]
async fn what_can_not_be_read_for_a_minute_is_no_answer_until_it_can_be() {
    let directory = TempDir::new().unwrap();
    let (file, away) = (log(directory.path()), directory.path().join("away"));
    let records = FileRecords::open(directory.path()).unwrap();
    put(&records, "a", "1").await;
    // However long nobody asks.
    advance(Duration::from_hours(1)).await;
    assert_eq!(value(&records, "a").await.as_deref(), Some("1"));

    fs::rename(&file, &away).unwrap();
    advance(Duration::from_secs(59)).await;
    assert_eq!(value(&records, "a").await.as_deref(), Some("1"));
    advance(Duration::from_secs(1)).await;
    for _ in 0..2 {
        let error = records.get("a").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        let error = records.list("", PageRequest::default()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        advance(Duration::from_secs(2)).await;
    }

    fs::rename(&away, &file).unwrap();
    assert_eq!(value(&records, "a").await.as_deref(), Some("1"));
    // What was written elsewhere meanwhile counts.
    fs::rename(&file, &away).unwrap();
    advance(Duration::from_mins(2)).await;
    assert!(records.get("a").await.is_err());
    fs::rename(&away, &file).unwrap();
    let others = FileRecords::open(directory.path()).unwrap();
    others.remove("a", Expected::Any).await.unwrap();
    advance(Duration::from_secs(1)).await;
    assert_eq!(value(&records, "a").await, None);
}

#[tokio::test(start_paused = true)]
async fn without_its_records_no_key_is_taken_and_passwords_go_on() {
    let directory = TempDir::new().unwrap();
    let (file, away) = (log(directory.path()), directory.path().join("away"));
    let keys = Keys::new(FileRecords::open(directory.path()).unwrap());
    let now = SystemClock.now();
    let robot = registry_auth::Principal::robot("ci");
    let made = keys.create_robot("ci", RobotChange::default(), now);
    made.await.unwrap();
    let (_, key) = keys.create(&robot, NewKey::default(), now).await.unwrap();
    let access = AccessControl::new(Rules::new())
        .authenticator(Login::new(|_, password| async move {
            password.matches("right")
        }))
        .keys(keys);
    let identify = async |authorization: &str| {
        let mut headers = HeaderMap::new();
        let value = HeaderValue::from_str(authorization).unwrap();
        headers.insert("authorization", value);
        let sender = Sender::new(&headers, RequestOrigin::default());
        let known = access.identify(&sender).await;
        known.map(drop).map_err(|refusal| refusal.error.kind())
    };
    let bearer = format!("Bearer {}", key.expose());
    assert_eq!(identify(&bearer).await, Ok(()));
    fs::rename(&file, &away).unwrap();
    advance(Duration::from_mins(1)).await;
    assert_eq!(identify(&bearer).await, Err(ErrorKind::Unavailable));
    // ann:right
    assert_eq!(identify("Basic YW5uOnJpZ2h0").await, Ok(()));
    fs::rename(&away, &file).unwrap();
    advance(Duration::from_secs(1)).await;
    assert_eq!(identify(&bearer).await, Ok(()));
}
