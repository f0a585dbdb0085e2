//! Bytes, name, change log, database, answer: in this order, for each answer.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use registry_tests::harness::Launch;
use registry_tests::load::{Depth, History, Mix, audit};

use crate::strace;
use crate::trace::{CALLS, Trace};

/// How many answers are enough to look at.
const ENOUGH: usize = 60;

#[test]
fn each_201_follows_what_makes_it_durable() {
    let Some(tool) = strace() else {
        return;
    };
    let directory = tempfile::tempdir().expect("a temporary directory");
    let output = directory.path().join("trace");
    let root = directory.path().join("root");
    let mut strace = tool.command(["-D", "-f", "-yy", "-s", "600", "-e", CALLS, "-o"]);
    strace.arg(&output);
    let server = Launch::new().root(&root).under(strace).start();
    let history = Arc::new(History::new());
    let mix = Mix::start(server.host(), &history, 4, 0x7ace);
    while history.acknowledged() < ENOUGH && !mix.has_lost_one() {
        std::thread::park_timeout(std::time::Duration::from_millis(20));
    }
    mix.stop();
    let outcome = mix.join();
    assert!(outcome.faults.is_empty(), "{}", outcome.faults.join("\n"));
    assert!(outcome.broken.is_empty(), "{}", outcome.broken.join("\n"));
    let wrong = audit(server.host(), &history, Depth::Everything);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(server.terminate().status.success());

    let text = fs::read(&output).expect("what strace saw");
    let trace = Trace::parse(&String::from_utf8_lossy(&text));
    let root = root.to_string_lossy();
    trace
        .log_is_named(&root)
        .unwrap_or_else(|error| panic!("{error}"));
    let acknowledged: BTreeSet<_> = trace.acknowledged().into_iter().collect();
    assert!(
        acknowledged.len() >= ENOUGH / 3,
        "{} answers only",
        acknowledged.len()
    );
    let mut proved = 0_usize;
    for digest in &acknowledged {
        match trace.proof(digest) {
            Ok(()) => proved = proved.saturating_add(1),
            Err(problem) => panic!("{problem}"),
        }
    }
    assert_eq!(proved, acknowledged.len());

    // Without any one of the steps, the same answers prove nothing.
    let is_sync = |name: &str| name == "fsync" || name == "fdatasync";
    let steps = [
        "/staging/",
        "/blobs/sha256/",
        "/blobs/sha256>",
        ".log>",
        "metadata.redb>",
    ];
    for step in steps {
        let lacking = trace.without(|name, text| is_sync(name) && text.contains(step));
        let refused = acknowledged
            .iter()
            .filter(|digest| lacking.proof(digest).is_err());
        assert!(refused.count() > 0, "the syncs of {step} aren't looked at");
    }
    let unlinked = trace.without(|name, _| name == "linkat" || name.starts_with("rename"));
    assert!(
        acknowledged
            .iter()
            .all(|digest| unlinked.proof(digest).is_err())
    );
}

#[test]
fn each_new_directory_above_the_root_is_durable_before_it_is_used() {
    let Some(tool) = strace() else {
        return;
    };
    let directory = tempfile::tempdir().expect("a temporary directory");
    let output = directory.path().join("trace");
    let mut strace = tool.command(["-D", "-f", "-yy", "-s", "600", "-e", CALLS, "-o"]);
    strace.arg(&output);
    let root = directory.path().join("one/two/three");
    let server = Launch::new().root(&root).under(strace).start();
    assert!(server.terminate().status.success());

    let text = fs::read(&output).expect("what strace saw");
    let trace = Trace::parse(&String::from_utf8_lossy(&text));
    let made: Vec<&Path> = root.ancestors().take(3).collect();
    for directory in &made {
        trace
            .directory_is_named(directory)
            .unwrap_or_else(|error| panic!("{error}"));
    }
}
