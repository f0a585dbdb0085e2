//! A client that knows a layer to be in another repository of the same server asks for it to be mounted, also for
//! somebody who may not pull there. It is told to upload the layer (202), and does.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use registry_tests::harness::Launch;
use serde_json::Value;

use super::{Guarded, OTHER, PASSWORD, USER, fails};
use crate::containerd::{Engine, PLAIN};
use crate::content;

/// A server whose standard output, where it logs requests, goes to this file.
fn logging_to(file: &Path) -> Launch {
    let mut shell = Command::new("sh");
    shell.args(["-c", "exec \"$@\" >\"$0\""]).arg(file);
    Launch::new()
        .under(shell)
        .env("REGISTRY_LOG_FORMATTER", "json")
}

/// What was asked to be mounted in a repository: who asked, the digest, and the answer.
fn mounts<'a>(log: &'a [Value], repository: &str) -> BTreeSet<(&'a str, &'a str, u64)> {
    log.iter()
        .filter(|line| line["operation"] == "mount_blob" && line["vars.name"] == repository)
        .map(|line| {
            let text = |name: &str| line[name].as_str().expect("a text");
            let status = line["http.response.status"].as_u64().expect("a status");
            (text("auth.user.name"), text("vars.reference"), status)
        })
        .collect()
}

#[test]
fn containerd_uploads_what_it_may_not_mount() {
    let Some(engine) = Engine::start() else {
        return;
    };
    let files = content::scratch();
    let log = files.path().join("requests.log");
    let guarded = Guarded::launch(files, logging_to(&log));
    let layout = content::small(&engine.scratch.path().join("pushed"));
    let ctr = &engine.ctr;
    let user = |name: &str| format!("--user={name}:{PASSWORD}");
    let named = |repository: &str| guarded.named(repository) + ":v1";

    // The layers come from where she may not pull, then from where she may.
    let (foreign, own) = ("other/app", "team/app");
    for (pusher, source, target) in [(OTHER, foreign, own), (USER, own, "team/copy")] {
        let (source, target) = (named(source), named(target));
        if pusher == OTHER {
            engine.import(&layout, &source);
            ctr.run(["images", "push", PLAIN, &user(pusher), &source]);
            engine.empty(&[&source]);
        }
        // Only of what was fetched is it known where it is.
        ctr.run(["content", "fetch", PLAIN, &user(pusher), &source]);
        let fetched = ctr.attempt(["content", "fetch", PLAIN, &user(USER), &source]);
        if pusher == OTHER {
            fails("a pull from others", &fetched, &["403"]);
        }
        ctr.run(["images", "push", PLAIN, &user(USER), &target, &source]);
        engine.empty(&[&source]);
        ctr.run(["content", "fetch", PLAIN, &user(USER), &target]);
        engine.assert_holds(&target, &layout);
        engine.empty(&[&target]);
    }

    // The log is whole once the server has ended.
    guarded.server.terminate();
    let log = fs::read_to_string(&log).expect("the log of requests");
    let log: Vec<Value> = log
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect();
    // It asks for its configuration and its layer, each where it knows it to be.
    let copied = mounts(&log, "team/copy");
    assert_eq!(copied.len(), 2, "{copied:?}");
    for (who, _, status) in &copied {
        assert_eq!((*who, *status), (USER, 201));
    }
    let told = |status| move |(who, digest, _): &(_, _, u64)| (*who, *digest, status);
    let expected: BTreeSet<_> = copied.iter().map(told(202)).collect();
    assert_eq!(mounts(&log, own), expected);
}
