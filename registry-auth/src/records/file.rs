//! Records in a file, which several processes may use.

use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use registry_core::{
    Clock, Error, ErrorKind, Expected, Page, PageRequest, Record, Records, Result, SystemClock,
};
use tokio::sync::OwnedMutexGuard;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout};

use super::line::Line;
use super::table::Table;

/// How often the file is looked at for what others have written.
const INTERVAL: Duration = Duration::from_secs(1);

/// How old may be what is known of the records while somebody looks.
const RECENT: Duration = Duration::from_secs(2);

/// How old may be what is known of the records.
const STALE: Duration = Duration::from_mins(1);

/// How often what has expired is dropped.
const EXPIRY: Duration = Duration::from_mins(1);

/// How long to wait for others who write.
const PATIENCE: Duration = Duration::from_secs(10);

/// How many lines there are besides those of records that are there before the
/// file is written anew.
const SPARE: u64 = 256;

/// Records in the file `records.log` of a directory, one change a line, each with
/// a checksum.
///
/// A change is on the disk before it is acknowledged. A line that was cut off by
/// a crash is removed; anything else that is damaged is an error that names the
/// line. The file is written anew once most of it is about what is gone.
///
/// Several processes may use the same directory, such as a command line beside a
/// server. Writers take turns; what they write is seen by the others after a
/// second at most. All of the records are held in memory.
///
/// While the file can't be read, what was in it before stays for a minute. Then
/// [`Unavailable`](ErrorKind::Unavailable) is the answer, until it can be read again:
/// nobody knows what was revoked meanwhile. The same goes for a file that has lost
/// something since it was read, which would be revocations that are forgotten: all of
/// it has to come back, or the program starts anew with what there is. It doesn't with
/// a file that was emptied.
///
/// It needs a Tokio runtime.
pub struct FileRecords {
    shared: Arc<Shared>,
    clock: Arc<dyn Clock>,
    /// Held by whoever reads or writes the file.
    turn: Arc<tokio::sync::Mutex<()>>,
}

struct Shared {
    directory: PathBuf,
    /// Its lock is the lock on the records: the file of the records itself comes
    /// and goes.
    lock: File,
    table: RwLock<Table>,
    log: Mutex<Log>,
    /// When the file was last known to hold no more than what was read.
    current: Mutex<Instant>,
}

/// The file, as far as it was read.
struct Log {
    file: File,
    offset: u64,
    lines: u64,
    looked: Instant,
    /// When what had expired was dropped.
    expired: SystemTime,
    /// Nobody knows what is on the disk.
    broken: bool,
}

impl FileRecords {
    /// Reads the records in `directory`, which is made if it isn't there, for
    /// nobody but its owner.
    ///
    /// It blocks while it reads.
    ///
    /// # Errors
    ///
    /// If the directory or the file can't be read or made, or the file is damaged.
    pub fn open(directory: impl Into<PathBuf>) -> Result<Self> {
        let directory = directory.into();
        let failed = |source| failed(&directory, "can't be used", source);
        let mut builder = DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(&directory).map_err(failed)?;
        let lock = private(&directory.join("records.lock")).map_err(failed)?;
        lock.lock().map_err(failed)?;
        let opened = Log::open(&directory);
        let unlocked = lock.unlock().map_err(failed);
        let (log, table) = opened?;
        unlocked?;
        Ok(Self {
            shared: Arc::new(Shared {
                directory,
                lock,
                table: RwLock::new(table),
                log: Mutex::new(log),
                current: Mutex::new(Instant::now()),
            }),
            clock: Arc::new(SystemClock),
            turn: Arc::default(),
        })
    }

    /// Takes the time from `clock`.
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Looks for what others have written, unless that was done just now, or
    /// somebody else does.
    ///
    /// # Errors
    ///
    /// [`Unavailable`](ErrorKind::Unavailable) if what is known is too old.
    async fn look(&self) -> Result<()> {
        let looked = self.shared.log.try_lock().map(|log| log.looked);
        if looked.is_ok_and(|looked| looked.elapsed() < INTERVAL) {
            return self.shared.require_current();
        }
        let turn = match Arc::clone(&self.turn).try_lock_owned() {
            Ok(turn) => turn,
            // Somebody is at it, which is waited for unless what is known is of just now.
            Err(_) if self.shared.age() < RECENT => return Ok(()),
            Err(_) => {
                let turn = Arc::clone(&self.turn).lock_owned();
                let is_good = self.shared.require_current().is_ok();
                let patience = if is_good { INTERVAL } else { PATIENCE };
                match timeout(patience, turn).await {
                    Ok(turn) => turn,
                    // While what is known is good, nobody waits for long.
                    Err(_) if is_good => return self.shared.require_current(),
                    Err(_) => return Err(busy()),
                }
            }
        };
        // Whoever was waited for has looked.
        if self.shared.log().looked.elapsed() < INTERVAL {
            return self.shared.require_current();
        }
        let looked = timeout(PATIENCE, self.blocking(turn, Shared::look)).await;
        if let Err(error) = looked.map_err(|_| busy()).flatten() {
            tracing::error!(
                %error,
                "the records can't be read; what is known of them stays for a minute"
            );
        }
        self.shared.require_current()
    }

    /// Changes the records when it is our turn.
    async fn change<T: Send + 'static>(
        &self,
        change: impl FnOnce(&Shared, &mut Log) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let turn = Arc::clone(&self.turn).lock_owned();
        let turn = timeout(PATIENCE, turn).await.map_err(|_| busy())?;
        let now = self.clock.now();
        let changed = self.blocking(turn, move |shared| {
            let failed = |source| failed(&shared.directory, "can't be locked", source);
            shared.lock.lock().map_err(failed)?;
            let changed = shared.change(now, change);
            shared.lock.unlock().map_err(failed)?;
            changed
        });
        timeout(PATIENCE, changed).await.map_err(|_| busy())?
    }

    /// Works on another thread. The turn ends with the work, not with whoever
    /// waits for it.
    async fn blocking<T: Send + 'static>(
        &self,
        turn: OwnedMutexGuard<()>,
        work: impl FnOnce(&Shared) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let shared = Arc::clone(&self.shared);
        let task = spawn_blocking(move || {
            let _turn = turn;
            work(&shared)
        });
        task.await
            .map_err(|source| Error::internal("the records could not be used", source))?
    }

    fn read<T>(&self, read: impl FnOnce(&Table) -> T) -> T {
        let table = self.shared.table.read();
        read(&table.unwrap_or_else(PoisonError::into_inner))
    }
}

#[async_trait]
impl Records for FileRecords {
    async fn get(&self, key: &str) -> Result<Option<Record>> {
        self.look().await?;
        let now = self.clock.now();
        Ok(self.read(|table| table.get(key, now).cloned()))
    }

    async fn put(
        &self,
        key: &str,
        expected: Expected,
        value: Vec<u8>,
        expires_at: Option<SystemTime>,
    ) -> Result<u64> {
        let (key, now) = (key.to_owned(), self.clock.now());
        self.change(move |shared, log| {
            let record = shared.with(|table| table.written(&key, expected, value, expires_at, now));
            let record = record?;
            let version = record.version;
            log.append(&Line::Put(record.clone()))?;
            shared.with(|table| table.apply(record));
            Ok(version)
        })
        .await
    }

    async fn remove(&self, key: &str, expected: Expected) -> Result<bool> {
        let (key, now) = (key.to_owned(), self.clock.now());
        self.change(move |shared, log| {
            let (fits, found, version) = shared.with(|table| {
                let found = table.get(&key, now).is_some();
                let fits = table.require(&key, expected, now);
                (fits, found, table.next_version())
            });
            fits?;
            if !found {
                return Ok(false);
            }
            log.append(&Line::Remove(key.clone(), version))?;
            shared.with(|table| table.remove(&key, version));
            Ok(true)
        })
        .await
    }

    async fn list(&self, prefix: &str, page: PageRequest) -> Result<Page<Record>> {
        self.look().await?;
        let now = self.clock.now();
        Ok(self.read(|table| table.list(prefix, &page, now)))
    }
}

impl Shared {
    fn with<T>(&self, work: impl FnOnce(&mut Table) -> T) -> T {
        work(&mut self.table.write().unwrap_or_else(PoisonError::into_inner))
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_current(&self, now: Instant) {
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = now;
    }

    /// For how long what is known has been known.
    fn age(&self) -> Duration {
        let current = *self.current.lock().unwrap_or_else(PoisonError::into_inner);
        current.elapsed()
    }

    /// Refuses what has been known for too long.
    fn require_current(&self) -> Result<()> {
        if self.age() < STALE {
            return Ok(());
        }
        Err(ErrorKind::Unavailable.error(
            "the records of keys and revocations can't be read; whoever runs the registry finds \
             why in its log",
        ))
    }

    /// Changes the records, up to date with what others have written. The lock is
    /// ours.
    fn change<T>(
        &self,
        now: SystemTime,
        change: impl FnOnce(&Self, &mut Log) -> Result<T>,
    ) -> Result<T> {
        let mut log = self.log();
        if log.broken {
            return Err(ErrorKind::Unavailable
                .error("the disk failed while records were written; see to it and start anew"));
        }
        self.catch_up(&mut log, true)?;
        let changed = change(self, &mut log)?;
        let since = now.duration_since(log.expired);
        if since.is_ok_and(|since| since >= EXPIRY) {
            log.expired = now;
            self.with(|table| table.expire(now));
        }
        let live = self.with(|table| table.all().len());
        let live = u64::try_from(live).unwrap_or(u64::MAX);
        if log.lines > live.saturating_mul(2).saturating_add(SPARE)
            && let Err(error) = self.rewrite(&mut log, now)
        {
            tracing::warn!(%error, "the records could not be written anew; the old file goes on");
        }
        Ok(changed)
    }

    /// Reads what others have written, unless one of them is writing.
    fn look(&self) -> Result<()> {
        let mut log = self.log();
        let now = Instant::now();
        let before = std::mem::replace(&mut log.looked, now);
        let unreadable = |source| failed(&self.directory, "can't be read", source);
        if log.is_current(&self.directory).map_err(unreadable)? {
            self.set_current(now);
            return Ok(());
        }
        // While what is known is good, nobody waits for whoever writes.
        let locked = if self.require_current().is_ok() {
            self.lock.try_lock_shared()
        } else {
            self.lock.lock_shared().map_err(TryLockError::Error)
        };
        match locked {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                log.looked = before;
                return Ok(());
            }
            Err(TryLockError::Error(error)) => return Err(unreadable(error)),
        }
        let read = self.catch_up(&mut log, false);
        self.lock.unlock().map_err(unreadable)?;
        read
    }

    /// Reads what was added. With `cut`, which only a writer may ask for, an end
    /// that a crash has left is removed.
    fn catch_up(&self, log: &mut Log, cut: bool) -> Result<()> {
        let unreadable = |source| failed(&self.directory, "can't be read", source);
        let now = Instant::now();
        if !log.is_same(&self.directory).map_err(unreadable)? {
            let (new, table) = Log::open_as(&self.directory, cut)?;
            if table.next_version() < self.with(|known| known.next_version()) {
                return Err(shortened(&self.directory));
            }
            *log = new;
            self.with(|known| *known = table);
            self.set_current(now);
            return Ok(());
        }
        // One that is written anew is another file.
        if log.length().map_err(unreadable)? < log.offset {
            return Err(shortened(&self.directory));
        }
        let lines = log.rest(&self.directory, cut)?;
        self.with(|table| {
            for line in lines {
                take(table, line);
            }
        });
        self.set_current(now);
        Ok(())
    }

    /// Writes a file of nothing but the records that are there. The lock is ours.
    fn rewrite(&self, log: &mut Log, now: SystemTime) -> Result<()> {
        let failed = |source| failed(&self.directory, "can't be written anew", source);
        let mut content = Vec::new();
        let mut lines = 1_u64;
        self.with(|table| {
            table.expire(now);
            content.extend(Line::Begin(table.next_version().saturating_sub(1)).write()?);
            for record in table.all() {
                content.extend(Line::Put(record.clone()).write()?);
                lines = lines.saturating_add(1);
            }
            Ok::<_, Error>(())
        })?;
        log.file = replace(&self.directory, &content).map_err(failed)?;
        log.offset = u64::try_from(content.len()).unwrap_or(u64::MAX);
        log.lines = lines;
        Ok(())
    }
}

impl Log {
    /// Opens the file, or makes one, and reads it. The lock is ours.
    fn open(directory: &Path) -> Result<(Self, Table)> {
        let failed = |source| failed(directory, "can't be made", source);
        if !path(directory).try_exists().map_err(failed)? {
            // As a whole, so that one that is there has a beginning.
            replace(directory, &Line::Begin(0).write()?).map_err(failed)?;
        }
        Self::open_as(directory, true)
    }

    fn open_as(directory: &Path, cut: bool) -> Result<(Self, Table)> {
        let unreadable = |source| failed(directory, "can't be read", source);
        let mut log = Self {
            file: OpenOptions::new()
                .read(true)
                .write(true)
                .open(path(directory))
                .map_err(unreadable)?,
            offset: 0,
            lines: 0,
            looked: Instant::now(),
            expired: SystemTime::UNIX_EPOCH,
            broken: false,
        };
        if log.length().map_err(unreadable)? == 0 {
            return Err(emptied(directory));
        }
        let mut lines = log.rest(directory, false)?;
        if !matches!(lines.first(), Some(Line::Begin(_))) {
            return Err(damaged(directory, 1));
        }
        if cut {
            lines.extend(log.rest(directory, true)?);
        }
        let mut table = Table::default();
        for line in lines {
            take(&mut table, line);
        }
        Ok((log, table))
    }

    /// The lines behind what was read.
    fn rest(&mut self, directory: &Path, cut: bool) -> Result<Vec<Line>> {
        let unreadable = |source| failed(directory, "can't be read", source);
        let mut content = Vec::new();
        self.file
            .seek(SeekFrom::Start(self.offset))
            .and_then(|_| self.file.read_to_end(&mut content))
            .map_err(unreadable)?;
        let mut lines = Vec::new();
        let mut rest = content.as_slice();
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let (line, behind) = rest.split_at(end);
            let behind = behind.get(1..).unwrap_or_default();
            match Line::read(line) {
                Some(line) => lines.push(line),
                // Only the last line can be what a crash has left.
                None if behind.is_empty() => break,
                None => return Err(damaged(directory, self.lines.saturating_add(1))),
            }
            self.lines = self.lines.saturating_add(1);
            rest = behind;
        }
        let read = content.len().saturating_sub(rest.len());
        let read = u64::try_from(read).unwrap_or(u64::MAX);
        self.offset = self.offset.saturating_add(read);
        if cut && !rest.is_empty() {
            tracing::warn!(
                path = %path(directory).display(),
                bytes = rest.len(),
                "the end of the records was cut off by a crash, and is removed",
            );
            self.file.set_len(self.offset).map_err(unreadable)?;
        }
        Ok(lines)
    }

    /// Adds a line, durably. Without success, nothing is added.
    fn append(&mut self, line: &Line) -> Result<()> {
        let line = line.write()?;
        let written = self
            .file
            .seek(SeekFrom::Start(self.offset))
            .and_then(|_| self.file.write_all(&line));
        if let Err(source) = written {
            self.broken = self.file.set_len(self.offset).is_err();
            return Err(Error::new(
                ErrorKind::Unavailable,
                "the records can't be written; see whether the disk is full",
            )
            .with_source(source));
        }
        if let Err(source) = self.file.sync_data() {
            self.broken = true;
            return Err(Error::internal(
                "the disk failed while records were written",
                source,
            ));
        }
        let length = u64::try_from(line.len()).unwrap_or(u64::MAX);
        self.offset = self.offset.saturating_add(length);
        self.lines = self.lines.saturating_add(1);
        Ok(())
    }

    /// Whether nobody has written anything since.
    fn is_current(&self, directory: &Path) -> io::Result<bool> {
        Ok(self.is_same(directory)? && self.length()? == self.offset)
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    /// Whether no other file has taken the place of this one.
    fn is_same(&self, directory: &Path) -> io::Result<bool> {
        let (ours, theirs) = (self.file.metadata()?, fs::metadata(path(directory))?);
        #[cfg(unix)]
        let same = {
            use std::os::unix::fs::MetadataExt;
            (ours.dev(), ours.ino()) == (theirs.dev(), theirs.ino())
        };
        #[cfg(not(unix))]
        let same = ours.created().ok() == theirs.created().ok();
        Ok(same)
    }
}

fn take(table: &mut Table, line: Line) {
    match line {
        Line::Begin(version) => table.begin(version),
        Line::Put(record) => table.apply(record),
        Line::Remove(key, version) => table.remove(&key, version),
    }
}

fn path(directory: &Path) -> PathBuf {
    directory.join("records.log")
}

/// Puts a file that holds `content` in the place of the one that is there, durably.
fn replace(directory: &Path, content: &[u8]) -> io::Result<File> {
    let fresh = directory.join("records.log.new");
    let mut file = private(&fresh)?;
    file.set_len(0)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&fresh, path(directory))?;
    sync_directory(directory)?;
    Ok(file)
}

/// A file to read and write, for nobody but its owner. It is made if it isn't
/// there.
fn private(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

fn sync_directory(path: &Path) -> io::Result<()> {
    if cfg!(unix) {
        File::open(path)?.sync_all()?;
    }
    Ok(())
}

fn failed(directory: &Path, what: &str, source: io::Error) -> Error {
    let path = directory.display();
    Error::internal(format!("the records in {path} {what}: {source}"), source)
}

fn damaged(directory: &Path, line: u64) -> Error {
    let path = path(directory);
    ErrorKind::Corrupt.error(format!(
        "{}:{line}: the line is damaged; bring the file back from a backup",
        path.display()
    ))
}

fn emptied(directory: &Path) -> Error {
    let path = path(directory);
    ErrorKind::Corrupt.error(format!(
        "{} is empty, so nobody knows what was revoked; bring the file back from a backup, or \
         remove it to begin without keys and revocations",
        path.display()
    ))
}

fn shortened(directory: &Path) -> Error {
    let path = path(directory);
    ErrorKind::Corrupt.error(format!(
        "{} holds less than before; bring back all of it, or start the program anew with what \
         there is",
        path.display()
    ))
}

fn busy() -> Error {
    ErrorKind::Unavailable.error("others are writing to the records; try again shortly")
}

impl fmt::Debug for FileRecords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileRecords")
            .field("directory", &self.shared.directory)
            .finish_non_exhaustive()
    }
}
