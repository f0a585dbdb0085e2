//! A disk that fails, at one moment or from one on.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use registry_tests::harness::{Launch, Server, Tool};
use registry_tests::load::{Client, Content, Depth, Effect, History, Place, Way, audit};
use tokio::time::Instant;

use crate::strace;

/// How many pushes there are at most before the fault must have shown.
const PUSHES: u64 = 40;

/// How long a server may take to see that it can write again.
const PATIENCE: Duration = Duration::from_mins(1);

/// How many servers meet a fault while they serve, for each call that fails.
const SERVERS: usize = 3;

/// What becomes of a server when a system call fails.
enum Afterwards {
    /// It writes nothing more until it is restarted.
    ReadOnly,
    /// The next push may succeed.
    GoesOn,
    /// It writes again by itself, once it sees that it can.
    Recovers,
}

/// What fails, and what becomes of the server.
struct Failing {
    call: &'static str,
    error: &'static str,
    /// Only calls on this path below the root fail, if there is one.
    path: Option<&'static str>,
    /// Whether the root has been used before.
    used: bool,
    afterwards: Afterwards,
}

impl Failing {
    const fn call(call: &'static str, error: &'static str, afterwards: Afterwards) -> Self {
        Self {
            call,
            error,
            path: None,
            used: true,
            afterwards,
        }
    }
}

#[test]
fn after_one_failed_sync_of_the_metadata_nothing_is_written() {
    let failing = Failing::call("fdatasync", "EIO", Afterwards::ReadOnly);
    fails_at_some_calls(&failing, SERVERS);
}

#[test]
fn after_one_failed_sync_of_content_nothing_is_written() {
    let failing = Failing::call("fsync", "EIO", Afterwards::ReadOnly);
    fails_at_some_calls(&failing, SERVERS);
}

#[test]
fn a_disk_without_room_for_content_fails_pushes_only() {
    let failing = Failing::call("pwritev", "ENOSPC", Afterwards::GoesOn);
    fails_at_some_calls(&failing, SERVERS);
}

#[test]
fn a_disk_without_room_for_metadata_acknowledges_nothing_until_there_is_some() {
    let failing = Failing::call("pwrite64", "ENOSPC", Afterwards::Recovers);
    fails_at_some_calls(&failing, SERVERS);
}

/// Files of content are opened below the root's own descriptor.
#[test]
fn too_many_open_files_fail_a_push_of_content_only() {
    let failing = Failing {
        path: Some(""),
        ..Failing::call("openat", "EMFILE", Afterwards::GoesOn)
    };
    fails_at_some_calls(&failing, 2 * SERVERS);
}

#[test]
fn too_many_open_files_for_the_change_log_fail_a_push_only() {
    let failing = Failing {
        path: Some("metadata.00000000000000000001.log"),
        used: false,
        ..Failing::call("openat", "EMFILE", Afterwards::GoesOn)
    };
    fails_at_some_calls(&failing, 1);
}

/// Lets the first call fail, then in another server the second, until so many servers had begun to serve by then.
fn fails_at_some_calls(failing: &Failing, servers: usize) {
    let Some(strace) = strace() else {
        return;
    };
    let mut served = 0_usize;
    for number in 1..100 {
        if fails(&strace, failing, number) {
            served = served.saturating_add(1);
        }
        if served == servers {
            return;
        }
    }
    let call = failing.call;
    panic!("{call}: only {served} servers had begun to serve when it failed");
}

/// Pushes until the fault shows. Nothing that was acknowledged is lost, before and after a restart.
///
/// `strace` counts the calls of each thread, so which push meets the fault is up to the scheduler.
///
/// Returns false if the fault already kept the server from starting.
fn fails(strace: &Tool, failing: &Failing, number: usize) -> bool {
    let Failing { call, error, .. } = failing;
    let fault = format!("inject={call}:error={error}:when={number}");
    let fault = fault.as_str();
    let directory = tempfile::tempdir().expect("a temporary directory");
    let root = directory.path().join("root");
    let history = Arc::new(History::new());

    if failing.used {
        // What a healthy server makes of an empty root is not what fails here.
        let server = Launch::new().root(&root).start();
        let pusher = Pusher::new(&server, &history);
        assert_eq!(pusher.push(1_000_000), 201);
        assert!(server.terminate().status.success());
    }

    let trace = format!("trace={call}");
    let mut strace = strace.command(["-D", "-f", "--seccomp-bpf", "-e", &trace, "-e", fault, "-o"]);
    strace.arg("/dev/null");
    if let Some(path) = failing.path {
        strace.arg("-P").arg(root.join(path));
    }
    let server = match Launch::new().root(&root).under(strace).try_start() {
        Ok(server) => server,
        Err(stopped) => {
            assert_eq!(stopped.status.code(), Some(1), "{fault}: {}", stopped.log);
            assert!(
                stopped.log.contains("can't be used"),
                "{fault}: {}",
                stopped.log
            );
            restart(&root, fault, &history);
            return false;
        }
    };
    let pusher = Pusher::new(&server, &history);
    let failed = (0..PUSHES)
        .map(|number| pusher.push(number))
        .find(|status| *status != 201);
    let failed = failed.unwrap_or_else(|| panic!("{fault}: never showed"));
    assert!((500..600).contains(&failed), "{fault}: {failed}");
    let recovers = matches!(failing.afterwards, Afterwards::Recovers);
    let asked = Instant::now();
    while recovers && server.api().get("/readyz").status() != 200 {
        assert!(asked.elapsed() < PATIENCE, "{fault}: it doesn't recover");
    }
    let after: Vec<u16> = (PUSHES..PUSHES + 6)
        .map(|number| pusher.push(number))
        .collect();
    let ready = server.api().get("/readyz").status();
    match failing.afterwards {
        Afterwards::ReadOnly => {
            assert!(
                after.iter().all(|status| *status == 503),
                "{fault}: {after:?}"
            );
            assert_eq!(ready, 503, "{fault}");
        }
        Afterwards::GoesOn | Afterwards::Recovers => {
            assert!(after.contains(&201), "{fault}: {after:?}");
            assert_eq!(ready, 200, "{fault}");
        }
    }
    assert_eq!(server.api().get("/v2/").status(), 200, "{fault}");
    // What fails may still be found after the restart, so this look settles nothing.
    let wrong = audit(server.host(), &history.copy(), Depth::Everything);
    assert!(
        wrong.is_empty(),
        "{fault}: while it fails:\n{}",
        wrong.join("\n")
    );
    server.terminate();

    restart(&root, fault, &history);
    true
}

/// On a disk that works again, everything is there and more can come.
fn restart(root: &Path, fault: &str, history: &Arc<History>) {
    let server = Launch::new().root(root).start();
    let wrong = audit(server.host(), history, Depth::Everything);
    assert!(
        wrong.is_empty(),
        "{fault}: after a restart:\n{}",
        wrong.join("\n")
    );
    let pusher = Pusher::new(&server, history);
    assert_eq!(pusher.push(2_000_000), 201, "{fault}");
    assert_eq!(server.api().get("/readyz").status(), 200, "{fault}");
}

struct Pusher {
    client: Client,
    history: Arc<History>,
}

impl Pusher {
    fn new(server: &Server, history: &Arc<History>) -> Self {
        Self {
            client: Client::new(server.host()),
            history: Arc::clone(history),
        }
    }

    /// Pushes a blob that nobody has; returns the answer.
    fn push(&self, number: u64) -> u16 {
        let content = Content::new(number, number.saturating_add(1_000).min(100_000));
        let way = if number.is_multiple_of(2) {
            Way::Whole
        } else {
            Way::Single
        };
        self.history.know(&content);
        let place = Place::Blob("a".to_owned(), content.digest().to_owned());
        let ticket = self
            .history
            .begin(vec![Effect::Set(place, content.digest().to_owned())]);
        let reply = self.client.push_blob("a", &content, way);
        let reply = reply.unwrap_or_else(|broken| panic!("no answer: {broken:?}"));
        if reply.status == 201 {
            self.history.acknowledge(ticket);
        }
        reply.status
    }
}
