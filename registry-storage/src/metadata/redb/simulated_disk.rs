//! A disk in memory that loses power.
//!
//! What wasn't synced when the power fails is kept or lost at random, sector by
//! sector; a changed length, or the last changes of the directory, may be lost
//! too.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::single_match_else,
    clippy::unwrap_used,
    reason = "in a test, a panic is the way to fail"
)]

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::disk::{Disk, DiskFile, Room};

const SECTOR: usize = 512;

/// Small, seeded, and good enough to choose with.
#[derive(Debug, Clone)]
pub(super) struct Chance(u64);

impl Chance {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number below `limit`.
    pub(super) fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % limit
    }

    pub(super) fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

#[derive(Debug, Clone)]
enum Change {
    Write {
        offset: usize,
        bytes: Vec<u8>,
        /// Whether the write made the file longer.
        extends: bool,
    },
    SetLen(usize),
}

#[derive(Debug, Clone, Default)]
struct Node {
    durable: Vec<u8>,
    current: Vec<u8>,
    unsynced: Vec<Change>,
    locked: bool,
}

#[derive(Debug, Clone)]
enum Renaming {
    Create(String, usize),
    Rename(String, String),
    Remove(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Broken {
    Syncs,
    Opens,
    Writes,
}

#[derive(Debug)]
struct State {
    nodes: Vec<Node>,
    durable: BTreeMap<String, usize>,
    current: BTreeMap<String, usize>,
    unsynced: Vec<Renaming>,
    /// How many changes are yet made before the power fails.
    left: Option<u64>,
    failed: bool,
    /// How often the power came back. Files opened before are dead.
    boots: u64,
    lies: bool,
    /// What fails though there is power.
    broken: Option<Broken>,
    /// How much room it says there is.
    free: u64,
    chance: Chance,
}

#[derive(Debug, Clone)]
pub(super) struct SimulatedDisk(Arc<Mutex<State>>);

#[derive(Debug)]
struct SimulatedFile {
    disk: SimulatedDisk,
    node: usize,
    boot: u64,
    /// Whether this opening locked the file.
    locks: AtomicBool,
}

fn no_power() -> io::Error {
    io::Error::other("the power failed")
}

impl SimulatedDisk {
    /// An empty disk. One that `lies` says that it synced, and didn't.
    pub(super) fn new(seed: u64, lies: bool) -> Self {
        Self(Arc::new(Mutex::new(State {
            nodes: Vec::new(),
            durable: BTreeMap::new(),
            current: BTreeMap::new(),
            unsynced: Vec::new(),
            left: None,
            failed: false,
            boots: 0,
            lies,
            broken: None,
            free: u64::MAX,
            chance: Chance::new(seed),
        })))
    }

    /// Lets the power fail after so many more changes.
    pub(super) fn fail_after(&self, changes: u64) {
        self.state().left = Some(changes);
    }

    /// Lets each sync fail, or no more.
    pub(super) fn fail_syncs(&self, fail: bool) {
        self.state().broken = fail.then_some(Broken::Syncs);
    }

    /// Lets each opening of a file fail because too many are open, or no more.
    pub(super) fn fail_opens(&self, fail: bool) {
        self.state().broken = fail.then_some(Broken::Opens);
    }

    /// Lets each write fail because there is no room, or no more.
    pub(super) fn fill(&self, full: bool) {
        self.state().broken = full.then_some(Broken::Writes);
    }

    /// Sets how much room the disk says there is.
    pub(super) fn claim_room(&self, free: u64) {
        self.state().free = free;
    }

    pub(super) fn has_failed(&self) -> bool {
        self.state().failed
    }

    /// Lets the power fail now, unless it did, and come back.
    pub(super) fn reboot(&self) {
        let mut guard = self.state();
        let state = &mut *guard;
        let kept = state.chance.below(state.unsynced.len() as u64 + 1);
        for change in state
            .unsynced
            .drain(..)
            .take(usize::try_from(kept).unwrap())
        {
            change.make(&mut state.durable);
        }
        state.current = state.durable.clone();
        for node in &mut state.nodes {
            node.lose(&mut state.chance);
        }
        state.left = None;
        state.failed = false;
        state.boots += 1;
    }

    /// Lets whoever uses the disk wait, as long as this is held.
    pub(super) fn stall(&self) -> impl fmt::Debug {
        self.state()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state, if there is power for one more change.
    fn change(&self) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.powered()?;
        if let Some(left) = &mut state.left {
            if *left == 0 {
                state.failed = true;
                return Err(no_power());
            }
            *left -= 1;
        }
        Ok(state)
    }

    /// The state, if a sync can be made.
    fn sync(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = self.change()?;
        if state.broken == Some(Broken::Syncs) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(state)
    }

    fn powered(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = self.state();
        if state.failed {
            Err(no_power())
        } else {
            Ok(state)
        }
    }
}

impl Renaming {
    fn make(self, names: &mut BTreeMap<String, usize>) {
        match self {
            Self::Create(name, node) => {
                names.insert(name, node);
            }
            Self::Rename(from, to) => {
                if let Some(node) = names.remove(&from) {
                    names.insert(to, node);
                }
            }
            Self::Remove(name) => {
                names.remove(&name);
            }
        }
    }
}

impl Node {
    fn sync(&mut self) {
        self.durable.clone_from(&self.current);
        self.unsynced.clear();
    }

    /// What is left of the file after a power failure.
    fn lose(&mut self, chance: &mut Chance) {
        // Often nothing or everything reached the disk, which finds more than
        // mere noise.
        let kept = [0, 50, 90, 100][usize::try_from(chance.below(4)).unwrap()];
        for change in std::mem::take(&mut self.unsynced) {
            match change {
                Change::SetLen(len) => {
                    if chance.percent(kept) {
                        self.durable.resize(len, 0);
                    }
                }
                Change::Write {
                    offset,
                    bytes,
                    extends,
                } => {
                    let mut start = offset;
                    let end = offset + bytes.len();
                    while start < end {
                        let next = (start / SECTOR + 1) * SECTOR;
                        let next = next.min(end);
                        let fits = extends || next <= self.durable.len();
                        if fits && chance.percent(kept) {
                            if self.durable.len() < next {
                                self.durable.resize(next, 0);
                            }
                            self.durable[start..next]
                                .copy_from_slice(&bytes[start - offset..next - offset]);
                        }
                        start = next;
                    }
                }
            }
        }
        self.current.clone_from(&self.durable);
        self.locked = false;
    }
}

impl Disk for SimulatedDisk {
    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.powered()?;
        if state.broken == Some(Broken::Opens) {
            // EMFILE
            return Err(io::Error::from_raw_os_error(24));
        }
        let node = match state.current.get(name) {
            Some(node) => *node,
            None => {
                let node = state.nodes.len();
                state.nodes.push(Node::default());
                let change = Renaming::Create(name.to_owned(), node);
                change.clone().make(&mut state.current);
                state.unsynced.push(change);
                node
            }
        };
        let boot = state.boots;
        let disk = self.clone();
        Ok(Arc::new(SimulatedFile {
            disk,
            node,
            boot,
            locks: AtomicBool::new(false),
        }))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.powered()?.current.keys().cloned().collect())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.change()?;
        let change = Renaming::Rename(from.to_owned(), to.to_owned());
        change.clone().make(&mut state.current);
        state.unsynced.push(change);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.change()?;
        let change = Renaming::Remove(name.to_owned());
        change.clone().make(&mut state.current);
        state.unsynced.push(change);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.sync()?;
        if !state.lies {
            state.durable = state.current.clone();
            state.unsynced.clear();
        }
        Ok(())
    }

    fn room(&self) -> io::Result<Option<Room>> {
        Ok(Some(Room {
            free: self.state().free,
            total: u64::MAX,
        }))
    }
}

impl SimulatedFile {
    fn change(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = self.disk.change()?;
        if state.boots == self.boot {
            Ok(state)
        } else {
            Err(no_power())
        }
    }

    fn powered(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = self.disk.powered()?;
        if state.boots == self.boot {
            Ok(state)
        } else {
            Err(no_power())
        }
    }
}

impl DiskFile for SimulatedFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.powered()?.nodes[self.node].current.len() as u64)
    }

    /// Nothing is ever in memory.
    fn try_read_at(&self, _: &mut [u8], _: u64) -> io::Result<bool> {
        Ok(false)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let state = self.powered()?;
        let start = usize::try_from(offset).unwrap();
        let bytes = state.nodes[self.node]
            .current
            .get(start..start + buffer.len());
        buffer.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut state = self.change()?;
        if state.broken == Some(Broken::Writes) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let node = &mut state.nodes[self.node];
        let offset = usize::try_from(offset).unwrap();
        let end = offset + bytes.len();
        let extends = end > node.current.len();
        if extends {
            node.current.resize(end, 0);
        }
        node.current[offset..end].copy_from_slice(bytes);
        node.unsynced.push(Change::Write {
            offset,
            bytes: bytes.to_vec(),
            extends,
        });
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.change()?;
        let node = &mut state.nodes[self.node];
        let len = usize::try_from(len).unwrap();
        node.current.resize(len, 0);
        node.unsynced.push(Change::SetLen(len));
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.disk.sync()?;
        if state.boots != self.boot {
            return Err(no_power());
        }
        if !state.lies {
            state.nodes[self.node].sync();
        }
        Ok(())
    }

    fn try_lock(&self) -> io::Result<bool> {
        let mut state = self.powered()?;
        let node = &mut state.nodes[self.node];
        let locks = !std::mem::replace(&mut node.locked, true);
        self.locks.fetch_or(locks, Ordering::Relaxed);
        Ok(locks)
    }
}

impl Drop for SimulatedFile {
    fn drop(&mut self) {
        let mut state = self.disk.state();
        if state.boots == self.boot && self.locks.load(Ordering::Relaxed) {
            state.nodes[self.node].locked = false;
        }
    }
}
