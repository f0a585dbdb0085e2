//! What is on the disk, and what would be if all of it had been synced.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

/// What a disk writes whole or not at all.
const SECTOR: u64 = 512;

/// A file, and the start of the machine since which it is open. No number is
/// used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NodeId {
    number: u64,
    boot: u64,
}

#[derive(Debug, Default)]
struct Node {
    durable: Vec<u8>,
    current: Vec<u8>,
    /// What leads from the durable bytes to the current ones.
    pending: Vec<Change>,
}

#[derive(Debug)]
enum Change {
    Write { offset: u64, bytes: Vec<u8> },
    Truncate(u64),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Entry {
    File(u64),
    Directory,
}

#[derive(Debug, Default)]
struct Directory {
    durable: BTreeMap<String, Entry>,
    current: BTreeMap<String, Entry>,
    pending: Vec<(String, Option<Entry>)>,
}

#[derive(Debug)]
pub(super) struct Disk {
    nodes: BTreeMap<u64, Node>,
    directories: BTreeMap<PathBuf, Directory>,
    next: u64,
    boot: u64,
    calls_left: Option<u64>,
    syncs_left: Option<u64>,
    opens_left: Option<u64>,
    ignores_syncs: bool,
    limit: u64,
    unnamed: bool,
}

impl Default for Disk {
    fn default() -> Self {
        Self {
            nodes: BTreeMap::new(),
            directories: BTreeMap::from([(PathBuf::new(), Directory::default())]),
            next: 0,
            boot: 0,
            calls_left: None,
            syncs_left: None,
            opens_left: None,
            ignores_syncs: false,
            limit: u64::MAX,
            unnamed: true,
        }
    }
}

fn not_found() -> io::Error {
    io::ErrorKind::NotFound.into()
}

/// The directory that a path is in, and its name there.
fn split(path: &Path) -> (&Path, &str) {
    let name = path.file_name().and_then(|name| name.to_str());
    (path.parent().unwrap(), name.unwrap())
}

fn apply(bytes: &mut Vec<u8>, offset: u64, written: &[u8]) {
    let start = usize::try_from(offset).unwrap();
    let end = start + written.len();
    if bytes.len() < end {
        bytes.resize(end, 0);
    }
    bytes[start..end].copy_from_slice(written);
}

impl Node {
    /// Only what is still pending gets to the disk, which after a failed sync
    /// isn't all.
    fn make_durable(&mut self) {
        for change in self.pending.drain(..) {
            match change {
                Change::Write { offset, bytes } => apply(&mut self.durable, offset, &bytes),
                Change::Truncate(size) => self.durable.truncate(usize::try_from(size).unwrap()),
            }
        }
    }
}

impl Disk {
    pub(super) fn cut_power_after(&mut self, calls: u64) {
        self.calls_left = Some(calls);
    }

    pub(super) fn has_power(&self) -> bool {
        self.calls_left != Some(0)
    }

    pub(super) fn ignore_syncs(&mut self) {
        self.ignores_syncs = true;
    }

    pub(super) fn fail_sync_after(&mut self, syncs: u64) {
        self.syncs_left = Some(syncs);
    }

    pub(super) fn limit_opens(&mut self, opens: Option<u64>) {
        self.opens_left = opens;
    }

    /// Counts a call that needs a descriptor, which fails if there is none.
    pub(super) fn opening(&mut self) -> io::Result<&mut Self> {
        self.running()?;
        match &mut self.opens_left {
            // EMFILE
            Some(0) => return Err(io::Error::from_raw_os_error(24)),
            Some(left) => *left -= 1,
            None => {}
        }
        Ok(self)
    }

    pub(super) fn limit(&mut self, bytes: u64) {
        self.limit = bytes;
    }

    pub(super) fn without_unnamed_files(&mut self) {
        self.unnamed = false;
    }

    /// Counts a call, which fails if the power is off.
    pub(super) fn running(&mut self) -> io::Result<&mut Self> {
        match &mut self.calls_left {
            Some(0) => Err(io::Error::other("the power is off")),
            Some(left) => {
                *left -= 1;
                Ok(self)
            }
            None => Ok(self),
        }
    }

    /// Counts a sync, and tells whether it is to do anything.
    fn syncing(&mut self) -> io::Result<bool> {
        match &mut self.syncs_left {
            Some(0) => {
                self.syncs_left = None;
                return Err(io::Error::other("the disk failed"));
            }
            Some(left) => *left -= 1,
            None => {}
        }
        Ok(!self.ignores_syncs)
    }

    pub(super) fn crash(&mut self, seed: u64) {
        let mut random = fastrand::Rng::with_seed(seed);
        // Nothing, all, and something in between each show defects of their own.
        let odds = [0.0, 0.2, 0.5, 0.8, 1.0][random.usize(..5)];
        for node in self.nodes.values_mut() {
            for change in node.pending.drain(..) {
                match change {
                    Change::Truncate(size) if random.f64() < odds => {
                        node.durable.truncate(usize::try_from(size).unwrap());
                    }
                    Change::Truncate(_) => {}
                    Change::Write { mut offset, bytes } => {
                        let mut rest = bytes.as_slice();
                        while !rest.is_empty() {
                            let sector = SECTOR - offset % SECTOR;
                            let count = rest.len().min(usize::try_from(sector).unwrap());
                            if random.f64() < odds {
                                apply(&mut node.durable, offset, &rest[..count]);
                            }
                            rest = &rest[count..];
                            offset += count as u64;
                        }
                    }
                }
            }
            node.current.clone_from(&node.durable);
        }
        for directory in self.directories.values_mut() {
            for (name, entry) in directory.pending.drain(..) {
                if random.f64() < odds {
                    match entry {
                        Some(entry) => directory.durable.insert(name, entry),
                        None => directory.durable.remove(&name),
                    };
                }
            }
            directory.current.clone_from(&directory.durable);
        }
        self.forget_unreachable();
        self.boot += 1;
        self.calls_left = None;
    }

    fn forget_unreachable(&mut self) {
        let mut reachable = vec![PathBuf::new()];
        let mut files = Vec::new();
        let mut next = 0;
        while let Some(path) = reachable.get(next).cloned() {
            next += 1;
            let directory = self.directories.entry(path.clone()).or_default();
            for (name, entry) in &directory.current {
                match entry {
                    Entry::File(number) => files.push(*number),
                    Entry::Directory => reachable.push(path.join(name)),
                }
            }
        }
        self.directories.retain(|path, _| reachable.contains(path));
        self.nodes.retain(|number, _| files.contains(number));
    }

    fn directory(&mut self, path: &Path) -> io::Result<&mut Directory> {
        // The root is there to stay, so what it is in needn't be anything.
        let path = if path == Path::new(".") || path == Path::new("..") {
            Path::new("")
        } else {
            path
        };
        self.directories.get_mut(path).ok_or_else(not_found)
    }

    fn change(&mut self, path: &Path, entry: Option<Entry>) -> io::Result<()> {
        let (parent, name) = split(path);
        let directory = self.directory(parent)?;
        match entry {
            Some(entry) => directory.current.insert(name.to_owned(), entry),
            None => directory.current.remove(name),
        };
        directory.pending.push((name.to_owned(), entry));
        Ok(())
    }

    pub(super) fn create_directory(&mut self, path: &Path) -> io::Result<()> {
        let (parent, name) = split(path);
        match self.directory(parent)?.current.get(name) {
            Some(Entry::Directory) => Ok(()),
            Some(Entry::File(_)) => Err(io::ErrorKind::NotADirectory.into()),
            None => {
                self.change(path, Some(Entry::Directory))?;
                self.directories
                    .insert(path.to_owned(), Directory::default());
                Ok(())
            }
        }
    }

    pub(super) fn create_unnamed(&mut self, directory: &Path) -> io::Result<NodeId> {
        if !self.unnamed {
            return Err(io::ErrorKind::Unsupported.into());
        }
        self.directory(directory)?;
        Ok(self.new_node())
    }

    fn new_node(&mut self) -> NodeId {
        self.next += 1;
        self.nodes.insert(self.next, Node::default());
        NodeId {
            number: self.next,
            boot: self.boot,
        }
    }

    pub(super) fn create(&mut self, path: &Path) -> io::Result<NodeId> {
        if self.find(path).is_ok() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let node = self.new_node();
        self.enter(path, node)?;
        Ok(node)
    }

    pub(super) fn find(&mut self, path: &Path) -> io::Result<NodeId> {
        let (parent, name) = split(path);
        let boot = self.boot;
        match self.directory(parent)?.current.get(name) {
            Some(Entry::File(number)) => Ok(NodeId {
                number: *number,
                boot,
            }),
            Some(Entry::Directory) => Err(io::ErrorKind::InvalidData.into()),
            None => Err(not_found()),
        }
    }

    /// Gives a file a name.
    pub(super) fn enter(&mut self, path: &Path, node: NodeId) -> io::Result<()> {
        self.node(node)?;
        self.change(path, Some(Entry::File(node.number)))
    }

    pub(super) fn remove(&mut self, path: &Path) -> io::Result<()> {
        self.find(path)?;
        self.change(path, None)
    }

    pub(super) fn names(&mut self, directory: &Path) -> io::Result<Vec<String>> {
        Ok(self.directory(directory)?.current.keys().cloned().collect())
    }

    pub(super) fn sync_directory(&mut self, path: &Path) -> io::Result<()> {
        let effective = self.syncing()?;
        let directory = self.directory(path)?;
        if effective {
            directory.durable.clone_from(&directory.current);
            directory.pending.clear();
        }
        Ok(())
    }

    fn node(&mut self, node: NodeId) -> io::Result<&mut Node> {
        let known = self.nodes.get_mut(&node.number);
        known
            .filter(|_| node.boot == self.boot)
            .ok_or_else(|| io::Error::other("the file was open before the power failed"))
    }

    pub(super) fn bytes(&mut self, node: NodeId) -> io::Result<&[u8]> {
        Ok(&self.node(node)?.current)
    }

    pub(super) fn count_names(&self, node: NodeId) -> u64 {
        let entries = self
            .directories
            .values()
            .flat_map(|directory| directory.current.values());
        entries
            .filter(|entry| **entry == Entry::File(node.number))
            .count() as u64
    }

    pub(super) fn write(&mut self, id: NodeId, offset: u64, bytes: &[u8]) -> io::Result<usize> {
        let used: u64 = self
            .nodes
            .values()
            .map(|node| node.current.len() as u64)
            .sum();
        let left = usize::try_from(self.limit.saturating_sub(used)).unwrap();
        if left == 0 && !bytes.is_empty() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let bytes = &bytes[..bytes.len().min(left)];
        let node = self.node(id)?;
        apply(&mut node.current, offset, bytes);
        node.pending.push(Change::Write {
            offset,
            bytes: bytes.to_vec(),
        });
        Ok(bytes.len())
    }

    pub(super) fn truncate(&mut self, id: NodeId, size: u64) -> io::Result<()> {
        let node = self.node(id)?;
        node.current.truncate(usize::try_from(size).unwrap());
        node.pending.push(Change::Truncate(size));
        Ok(())
    }

    pub(super) fn sync(&mut self, id: NodeId) -> io::Result<()> {
        let effective = self.syncing();
        let node = self.node(id)?;
        match effective {
            Ok(true) => {
                node.make_durable();
                Ok(())
            }
            Ok(false) => Ok(()),
            Err(error) => {
                node.pending.clear();
                Err(error)
            }
        }
    }
}
