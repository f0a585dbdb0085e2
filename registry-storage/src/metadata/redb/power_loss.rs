//! No acknowledged durable batch is lost to a power failure, and none is ever
//! there in part.
//!
//! `METADATA_POWER_LOSSES` sets how often the power fails; `METADATA_SEED`
//! where the chances start.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "in a test, a panic is the way to fail"
)]

use std::sync::Arc;

use futures::FutureExt;
use futures::future::join_all;
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use registry_core::{Algorithm, Descriptor, ErrorKind, MediaType};

use super::change_log::{self, Files};
use super::disk::Disk;
use super::key::StoreFact;
use super::simulated_disk::{Chance, SimulatedDisk};
use super::value::Counters;
use super::{RedbMetadata, RedbOptions, VerifiedMetadata, open, rebuild, verify};
use crate::metadata::{Batch, Change, CommitError, ManifestRecord, MemoryMetadata, MetadataStore};
use crate::testkit::metadata::{Scope, batch, observe};

/// How often the power fails on average before the database is lost and a
/// new world begins.
const FAILURES_PER_WORLD: u64 = 5;

fn options() -> RedbOptions {
    // Small segments, so that there is always a checkpoint under way.
    let options = RedbOptions::default().segment_bytes(3_000);
    // What is too long for it is reached sooner.
    RedbOptions {
        longest_line: 1 << 20,
        ..options
    }
}

/// A disk, and what must be on it.
struct World {
    disk: SimulatedDisk,
    chance: Chance,
    batches: TestRunner,
    /// What was acknowledged as durable.
    certain: MemoryMetadata,
    /// What came after that, and may be there or not, but only in this order.
    possible: Vec<Batch>,
}

/// What went wrong.
type Violation = String;

impl World {
    fn new(seed: u64, lies: bool) -> Self {
        let mut bytes = [7; 16];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        let random = TestRng::from_seed(RngAlgorithm::XorShift, &bytes);
        Self {
            disk: SimulatedDisk::new(seed, lies),
            chance: Chance::new(seed ^ 0x5eed),
            batches: TestRunner::new_with_rng(Config::default(), random),
            certain: MemoryMetadata::new(),
            possible: Vec::new(),
        }
    }

    fn disk(&self) -> Arc<dyn Disk> {
        Arc::new(self.disk.clone())
    }

    fn open(&self) -> registry_core::Result<RedbMetadata> {
        open::open(self.disk(), &options(), None)
    }

    /// Lets the power fail at some time, often while the store recovers from
    /// the last time.
    async fn live(&mut self) -> Result<(), Violation> {
        self.find_nothing()?;
        if self.chance.percent(40) {
            self.disk.fail_after(self.chance.below(40));
        }
        match self.open() {
            Ok(store) => {
                if !self.disk.has_failed() {
                    self.verify(&store, Scope::Everything).await?;
                    self.disk.fail_after(self.chance.below(150));
                }
                while !self.disk.has_failed() {
                    self.commit(&store).await?;
                }
                store.close().await.unwrap();
            }
            Err(_) if self.disk.has_failed() => {}
            Err(error) => return Err(format!("the store can't be opened: {error:?}")),
        }
        self.disk.reboot();
        Ok(())
    }

    /// Fails if verification finds anything in what a power failure left.
    fn find_nothing(&self) -> Result<(), Violation> {
        let disk = self.disk();
        if !open::is_there(&*disk).unwrap() {
            return Ok(());
        }
        let verified = verify::verify(&disk, &options());
        let verified = verified.map_err(|error| format!("not verified: {error:?}"))?;
        let nothing = VerifiedMetadata {
            database_is_whole: true,
            ..VerifiedMetadata::default()
        };
        if verified == nothing {
            Ok(())
        } else {
            Err(format!("found in what is whole: {verified:?}"))
        }
    }

    /// Commits a few batches at once.
    async fn commit(&mut self, store: &RedbMetadata) -> Result<(), Violation> {
        let group: Vec<_> = (0..=self.chance.below(4))
            .map(|_| batch().new_tree(&mut self.batches).unwrap().current())
            .collect();
        let results = join_all(group.iter().map(|batch| store.commit(batch.clone()))).await;
        for (batch, result) in group.into_iter().zip(results) {
            let acknowledged = match result {
                Ok(()) => true,
                Err(CommitError::Conflict(_) | CommitError::Refused(_)) => continue,
                Err(CommitError::Failed(_)) => false,
            };
            let certain = acknowledged && batch.durable;
            self.possible.push(batch);
            if certain {
                for batch in self.possible.drain(..) {
                    let result = self.certain.commit(batch).await;
                    result.map_err(|error| format!("the reference refused: {error:?}"))?;
                }
            }
        }
        Ok(())
    }

    /// Fails unless the store holds what is certain, and of what is possible a
    /// first part. That is what is certain then.
    async fn verify(&mut self, store: &RedbMetadata, scope: Scope) -> Result<(), Violation> {
        let found = observe(store, scope).await;
        let counters: Counters = store
            .read(|facts| facts.store(StoreFact::Counters))
            .map_err(|error| format!("{error:?}"))?;
        let candidate = self.certain.fork();
        let expected = observe(&candidate, scope).await;
        let mut possible = std::mem::take(&mut self.possible).into_iter();
        loop {
            let same = match scope {
                Scope::Everything => candidate.counters() == (counters.identity, counters.sequence),
                Scope::Lasting => candidate.counters().0 == counters.identity,
            };
            if same && observe(&candidate, scope).await == found {
                self.certain = candidate;
                return Ok(());
            }
            let Some(batch) = possible.next() else {
                let difference = found.difference(&expected);
                return Err(difference.unwrap_or_else(|| format!("{counters:?} are wrong")));
            };
            match candidate.commit(batch).await {
                Ok(()) | Err(CommitError::Conflict(_)) => {}
                Err(CommitError::Refused(error) | CommitError::Failed(error)) => {
                    return Err(format!("{error:?}"));
                }
            }
        }
    }

    /// Loses the database, and maybe the power while it is rebuilt.
    async fn rebuild(&mut self) -> Result<(), Violation> {
        let disk = self.disk();
        if disk
            .list()
            .unwrap()
            .iter()
            .any(|name| name == open::DATABASE)
        {
            disk.remove(open::DATABASE).unwrap();
            disk.sync().unwrap();
        }
        // Without a log, nothing that lasts can have happened.
        while !Files::list(&*disk).unwrap().is_empty() {
            if self.chance.percent(50) {
                self.disk.fail_after(self.chance.below(60));
            }
            let rebuilt = rebuild::rebuild(&disk, &options());
            match (rebuilt, self.disk.has_failed()) {
                (_, true) => self.disk.reboot(),
                (Ok(_), false) => break,
                (Err(error), false) => return Err(format!("no rebuild: {error:?}")),
            }
        }
        self.disk.reboot();
        self.find_nothing()?;
        let store = self.open();
        let store = store.map_err(|error| format!("not rebuilt: {error:?}"))?;
        self.verify(&store, Scope::Lasting).await?;
        store.close().await.unwrap();
        Ok(())
    }
}

/// Lets the power fail so many times. Returns the first violation.
async fn lose_power(failures: u64, seed: u64, lies: bool) -> Result<(), Violation> {
    let mut world = World::new(seed, lies);
    for failure in 0..failures {
        if failure > 0 && world.chance.below(FAILURES_PER_WORLD) == 0 {
            let rebuilt = world.rebuild().await;
            rebuilt.map_err(|violation| format!("failure {failure}: {violation}"))?;
            world = World::new(seed.wrapping_add(failure), lies);
        }
        let lived = world.live().await;
        lived.map_err(|violation| format!("failure {failure}: {violation}"))?;
    }
    Ok(())
}

fn from_environment(variable: &str, otherwise: u64) -> u64 {
    let set = std::env::var(variable);
    set.map_or(otherwise, |value| value.parse().unwrap())
}

#[tokio::test]
async fn acknowledged_batches_survive_power_losses() {
    let failures = from_environment("METADATA_POWER_LOSSES", 300);
    let seed = from_environment("METADATA_SEED", 1);
    let outcome = lose_power(failures, seed, false).await;
    assert_eq!(outcome, Ok(()), "with METADATA_SEED={seed}");
}

/// The same on a disk that says it synced and didn't: if this weren't noticed,
/// the test above would prove nothing.
#[test]
fn a_disk_that_lies_is_found_out() {
    let noticed = std::panic::catch_unwind(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        runtime.unwrap().block_on(lose_power(100, 1, true))
    });
    assert!(!matches!(noticed, Ok(Ok(()))));
}

/// A failed commit is not tried again, and neither is any other.
#[tokio::test]
async fn a_failed_commit_makes_the_store_read_only() {
    let world = World::new(1, false);
    let store = world.open().unwrap();
    store.commit(batch_of_nothing()).await.unwrap();
    assert!(!store.is_read_only());
    store.check().await.unwrap();
    world.disk.fail_after(0);
    for is_first in [true, false] {
        let error = match store.commit(batch_of_nothing()).await {
            Err(CommitError::Failed(error)) if is_first => error,
            Err(CommitError::Refused(error)) if !is_first => error,
            other => panic!("{other:?} without power"),
        };
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(store.is_read_only());
        store.check().await.unwrap_err();
    }
}

/// When there are too many open files for the next segment of the log, nothing
/// is written, so nothing is lost: those who wait are told to come back.
#[tokio::test]
async fn a_segment_that_cannot_be_opened_fails_its_group_only() {
    let mut world = World::new(1, false);
    let store = world.open().unwrap();
    let mut refused = 0;
    for _ in 0..20 {
        world.commit(&store).await.unwrap();
        world.verify(&store, Scope::Everything).await.unwrap();
        world.disk.fail_opens(true);
        // Until the segment is full.
        for _ in 0..100 {
            let batch = Batch {
                durable: true,
                ..batch().new_tree(&mut world.batches).unwrap().current()
            };
            match store.commit(batch.clone()).await {
                Ok(()) => world.certain.commit(batch).await.unwrap(),
                Err(CommitError::Conflict(_)) => {}
                Err(CommitError::Failed(error)) => panic!("{error:?}"),
                Err(CommitError::Refused(error)) => {
                    assert_eq!(error.kind(), ErrorKind::Unavailable);
                    assert!(error.to_string().contains("too many files"), "{error}");
                    assert!(error.retry_after().is_some());
                    refused += 1;
                    break;
                }
            }
        }
        assert!(!store.is_read_only());
        store.check().await.unwrap();
        world.verify(&store, Scope::Everything).await.unwrap();
        world.disk.fail_opens(false);
    }
    assert!(refused > 10, "{refused}");
    world.commit(&store).await.unwrap();
    store.close().await.unwrap();
    let store = world.open().unwrap();
    world.verify(&store, Scope::Everything).await.unwrap();
    store.close().await.unwrap();
    world.rebuild().await.unwrap();
}

/// A manifest whose record takes about this many bytes of the log.
fn large(bytes: usize) -> Batch {
    let subject = Algorithm::Sha256.digest(b"subject");
    let digest = Algorithm::Sha256.digest(&bytes.to_le_bytes());
    let mut referrer = Descriptor::new(MediaType::OCI_MANIFEST, digest, 1);
    let annotations = &mut referrer.annotations;
    annotations.insert("a".to_owned(), "x".repeat(bytes));
    let put = Change::PutManifest {
        repository: "large".parse().unwrap(),
        manifest: ManifestRecord {
            digest,
            media_type: MediaType::OCI_MANIFEST,
            size: 1,
            subject: Some(subject),
            pushed_at: std::time::SystemTime::UNIX_EPOCH,
        },
        references: Vec::new(),
        referrer: Some(referrer),
    };
    Batch {
        changes: vec![put],
        durable: true,
        ..Batch::default()
    }
}

/// What would be too long to be read again is never written; what is accepted
/// is there after a rebuild, from the log and from a checkpoint.
#[tokio::test]
async fn what_is_too_long_for_the_change_log_is_refused() {
    let mut world = World::new(1, false);
    let store = world.open().unwrap();
    let fits =
        |bytes: &usize| change_log::logged(&large(*bytes).changes, options().longest_line).is_ok();
    let (mut longest, mut refused) = (0, 4 << 20);
    assert!(fits(&longest) && !fits(&refused));
    while refused - longest > 1 {
        let middle = usize::midpoint(longest, refused);
        if fits(&middle) {
            longest = middle;
        } else {
            refused = middle;
        }
    }
    for bytes in [longest, longest - 1000] {
        store.commit(large(bytes)).await.unwrap();
        world.certain.commit(large(bytes)).await.unwrap();
    }
    for bytes in [refused, 4 << 20] {
        let Err(CommitError::Refused(error)) = store.commit(large(bytes)).await else {
            panic!("{bytes} bytes were accepted");
        };
        assert_eq!(error.kind(), ErrorKind::ManifestTooLarge);
    }
    store.check().await.unwrap();
    world.verify(&store, Scope::Everything).await.unwrap();
    store.close().await.unwrap();
    for _ in 0..2 {
        world.rebuild().await.unwrap();
    }
}

/// A sync takes as long as the disk has other things to write, so opening does
/// none, whatever is stored: reads go on, and what can't be made durable isn't
/// acknowledged.
#[tokio::test]
async fn opening_waits_for_no_sync_and_writing_does() {
    let mut world = World::new(1, false);
    let store = world.open().unwrap();
    for _ in 0..20 {
        world.commit(&store).await.unwrap();
    }
    store.close().await.unwrap();
    world.disk.fail_syncs(true);
    let store = world.open().unwrap();
    world.verify(&store, Scope::Everything).await.unwrap();
    let Err(CommitError::Refused(error)) = store.commit(batch_of_nothing()).await else {
        panic!("a commit was acknowledged without a sync");
    };
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(store.is_read_only());
    world.verify(&store, Scope::Everything).await.unwrap();
    store.close().await.unwrap();

    world.disk.fail_syncs(false);
    let store = world.open().unwrap();
    world.verify(&store, Scope::Everything).await.unwrap();
    store.commit(batch_of_nothing()).await.unwrap();
}

/// A disk that is full for a while. Meanwhile nothing is acknowledged and reads go
/// on; afterwards everything goes on by itself, with all that was acknowledged.
#[tokio::test]
async fn a_full_disk_is_written_to_again_once_there_is_room() {
    let patience = std::time::Duration::from_millis(20);
    for seed in 0..6 {
        let mut world = World::new(seed, false);
        let store = world.open().unwrap();
        for _ in 0..10 {
            world.commit(&store).await.unwrap();
        }
        // Somebody is faster than the look at what is left, or isn't.
        world.disk.fill(seed % 2 == 0);
        world.disk.claim_room(0);
        let room = |error: registry_core::Error| {
            assert_eq!(error.kind(), ErrorKind::Unavailable);
            assert!(error.to_string().contains("make room"), "{error}");
            assert!(error.retry_after().is_some());
        };
        // Also before the writer notices.
        room(store.check().await.unwrap_err());
        loop {
            world.commit(&store).await.unwrap();
            match store.commit(batch_of_nothing()).await {
                Ok(()) => {}
                Err(CommitError::Failed(error)) => room(error),
                Err(CommitError::Refused(error)) => {
                    room(error);
                    break;
                }
                Err(CommitError::Conflict(conflict)) => panic!("{conflict:?}"),
            }
            tokio::time::sleep(patience).await;
        }
        assert!(!store.is_read_only());
        store.repositories(None, 100).await.unwrap();

        world.disk.fill(false);
        world.disk.claim_room(u64::MAX);
        while store.check().await.is_err() {
            tokio::time::sleep(patience).await;
        }
        world.verify(&store, Scope::Everything).await.unwrap();
        for _ in 0..10 {
            world.commit(&store).await.unwrap();
        }
        world.verify(&store, Scope::Everything).await.unwrap();
        store.close().await.unwrap();
        let store = world.open().unwrap();
        world.verify(&store, Scope::Everything).await.unwrap();
        store.close().await.unwrap();
        world.rebuild().await.unwrap();
    }
}

/// Nobody knows what a failed sync left, also if it failed for want of room.
#[tokio::test]
async fn a_sync_that_runs_out_of_room_is_not_tried_again() {
    let world = World::new(1, false);
    let store = world.open().unwrap();
    store.commit(batch_of_nothing()).await.unwrap();
    world.disk.fail_syncs(true);
    store.commit(batch_of_nothing()).await.unwrap_err();
    assert!(store.is_read_only());
    world.disk.fail_syncs(false);
    store.commit(batch_of_nothing()).await.unwrap_err();
}

/// Something that the writer has yet to make durable when it ends.
async fn leave_something_to_do(store: &RedbMetadata) {
    let advance = Change::AdvanceClock {
        to: std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_hours(1),
    };
    let batch = Batch {
        changes: vec![advance],
        ..Batch::default()
    };
    store.commit(batch).await.unwrap();
}

/// Whoever drops a store may be an asynchronous worker.
#[tokio::test]
async fn dropping_a_store_waits_for_no_disk() {
    let world = World::new(1, false);
    let store = world.open().unwrap();
    store.commit(batch_of_nothing()).await.unwrap();
    leave_something_to_do(&store).await;
    let (send, dropped) = std::sync::mpsc::channel();
    let stalled = world.disk.stall();
    std::thread::spawn(move || {
        drop(store);
        send.send(())
    });
    let dropped = dropped.recv_timeout(std::time::Duration::from_mins(1));
    drop(stalled);
    dropped.unwrap();
    // It is finished all the same, and opening waits for that.
    let store = world.open().unwrap();
    assert!(store.clock().await.unwrap().is_some());
}

/// A store that is closed is free to be opened, and nobody can use it any more.
#[tokio::test]
async fn closing_a_store_waits_until_it_let_go_of_its_files() {
    let world = World::new(1, false);
    let store = world.open().unwrap();
    store.commit(batch_of_nothing()).await.unwrap();
    leave_something_to_do(&store).await;
    {
        let stalled = world.disk.stall();
        assert!(store.close().now_or_never().is_none());
        drop(stalled);
    }
    store.close().await.unwrap();
    let file = world.disk.open(open::DATABASE).unwrap();
    assert!(file.try_lock().unwrap());
    drop(file);

    assert!(store.is_read_only());
    let closed = [
        store.clock().await.map(drop),
        store.check().await,
        store
            .commit(batch_of_nothing())
            .await
            .map_err(|error| match error {
                CommitError::Refused(error) => error,
                other => panic!("{other:?}"),
            }),
    ];
    for closed in closed {
        let error = closed.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(error.to_string().contains("was closed"), "{error}");
    }
    store.close().await.unwrap();
    let store = world.open().unwrap();
    assert!(store.clock().await.unwrap().is_some());
}

/// The database isn't closed under those who read it.
#[tokio::test]
async fn reads_in_progress_are_finished_before_a_store_is_closed() {
    let world = World::new(1, false);
    // Without a cache, each read goes to the disk.
    let store = open::open(world.disk(), &options().cache_bytes(0), None).unwrap();
    leave_something_to_do(&store).await;
    let clock = store.read(|facts| {
        assert!(store.close().now_or_never().is_none());
        // Long enough for the writer to come to its end.
        while store.read(|_| Ok(())).is_ok() {
            std::thread::yield_now();
        }
        facts.store::<u64>(StoreFact::Clock)
    });
    assert!(clock.unwrap() > 0);
    store.close().await.unwrap();
}

fn batch_of_nothing() -> Batch {
    Batch {
        durable: true,
        ..Batch::default()
    }
}

/// A page that isn't in memory is waited for on whatever thread asks, also where
/// tokio can't put another in its place.
#[test]
fn a_cold_page_is_read_in_any_runtime() {
    let cold = || {
        let world = World::new(1, false);
        drop(world.open().unwrap());
        let options = options().cache_bytes(0);
        open::open(world.disk(), &options, None).unwrap()
    };
    let read = async |store: RedbMetadata| store.repositories(None, 1).await.unwrap().len();
    let many = tokio::runtime::Builder::new_multi_thread().build().unwrap();
    let store = cold();
    let spawned = many.spawn(async move { store.repositories(None, 1).await.unwrap().len() });
    assert_eq!(many.block_on(spawned).unwrap(), 0);
    let local = tokio::task::LocalSet::new();
    assert_eq!(many.block_on(local.run_until(read(cold()))), 0);
    let one = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    assert_eq!(one.block_on(read(cold())), 0);
    let alone = read(cold()).now_or_never();
    assert_eq!(alone, Some(0));

    // On a thread that the runtime started.
    let (stores, handle) = ([cold(), cold()], many.handle().clone());
    let nested = many.spawn_blocking(move || {
        let [first, second] = stores;
        let local = tokio::task::LocalSet::new();
        let in_a_set = handle.block_on(local.run_until(read(first)));
        let one = tokio::runtime::Builder::new_current_thread().build();
        let under_a_guard = one.unwrap().block_on(async {
            let _guard = handle.enter();
            read(second).await
        });
        in_a_set + under_a_guard
    });
    assert_eq!(many.block_on(nested).unwrap(), 0);
}
