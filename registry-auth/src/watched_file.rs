//! A file whose content is kept up to date.

use std::fmt;
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use registry_core::{Clock, Error, Result, SystemClock};
use tokio::task::spawn_blocking;
use tokio::time::Instant;
#[cfg(feature = "policy")]
use tokio::time::sleep;
use zeroize::Zeroizing;

/// How often the file is looked at.
const INTERVAL: Duration = Duration::from_secs(1);

/// How long ago the file was looked at last where nobody waits for somebody who is
/// looking.
const RECENT: Duration = Duration::from_secs(2);

/// How long a file that was written in its place has to stay the same before it
/// counts. Somebody may be writing it, and what there is of it so far may be a file
/// that nothing is wrong with, only with fewer users, or without the last rule, which
/// denies something.
const SETTLED: Duration = Duration::from_secs(5);

/// What a file says, kept up to date as long as somebody asks for it.
///
/// It is always the whole of one version. One that took the place of the file, by
/// being renamed or behind a symbolic link, counts at once; one that was written into
/// the file, once nobody has written to it for five seconds. While the file is missing
/// or can't be used, what it said before stays, and the log says why, once for each
/// change.
pub(crate) struct WatchedFile<T> {
    file: Arc<Described<T>>,
    state: Mutex<State<T>>,
    /// Held by whoever looks for a change; the others go on with what is known, if that
    /// was known just now.
    watcher: tokio::sync::Mutex<Watched>,
    clock: Box<dyn Clock>,
}

/// Makes something of all that a file holds.
type Parse<T> = dyn Fn(&[u8]) -> Result<T> + Send + Sync;

/// What whoever looks after the file may not have meant, of what it said before and what
/// it says now.
type Compare<T> = dyn Fn(&T, &T) -> Option<String> + Send + Sync;

/// Where the file is, and how it is read.
struct Described<T> {
    /// What it is called in messages, such as `password file`.
    what: &'static str,
    path: PathBuf,
    parse: Box<Parse<T>>,
    compare: Option<Box<Compare<T>>>,
    /// The most bytes that are read.
    most: u64,
    /// Whether nobody but its owner should read it.
    is_secret: bool,
}

struct State<T> {
    content: Arc<T>,
    looked: Instant,
}

/// What was seen, so that nothing is read or reported twice.
struct Watched {
    /// The last version that was dealt with; absent while there is none.
    seen: Option<Stamp>,
    /// Where the last one was that there was.
    place: Place,
    /// What it has looked like since when, if that is something else.
    changing: Option<(Stamp, Instant)>,
}

/// What changes when a file does, wherever symbolic links lead.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stamp {
    length: u64,
    modified: Option<SystemTime>,
    /// Seconds and nanoseconds: when it was written, and when that or anything else
    /// was done with it.
    #[cfg(unix)]
    times: [(i64, i64); 2],
    #[cfg(unix)]
    inode: (u64, u64),
    #[cfg(unix)]
    mode: u32,
}

/// Which file it is, whatever is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    /// Where symbolic links lead.
    path: Option<PathBuf>,
    #[cfg(unix)]
    inode: (u64, u64),
}

/// A file as it was found.
struct Sight {
    stamp: Stamp,
    place: Place,
}

impl<T: Send + Sync + 'static> WatchedFile<T> {
    /// Reads the file at `path`. It blocks while it does.
    ///
    /// # Errors
    ///
    /// If it can't be read, has more than `most` bytes, or `parse` refuses it.
    #[cfg(any(test, feature = "issuer", feature = "ldap", feature = "policy"))]
    pub(crate) fn open(
        what: &'static str,
        path: PathBuf,
        parse: impl Fn(&[u8]) -> Result<T> + Send + Sync + 'static,
        most: u64,
    ) -> Result<Self> {
        Self::start(Described {
            what,
            path,
            parse: Box::new(parse),
            compare: None,
            most,
            is_secret: false,
        })
    }

    /// The same with a warning of what `compare` finds in each change of the file, of
    /// what it said before and what it says now.
    ///
    /// # Errors
    ///
    /// As `open`.
    #[cfg(feature = "htpasswd")]
    pub(crate) fn open_compared(
        what: &'static str,
        path: PathBuf,
        parse: impl Fn(&[u8]) -> Result<T> + Send + Sync + 'static,
        compare: impl Fn(&T, &T) -> Option<String> + Send + Sync + 'static,
        most: u64,
    ) -> Result<Self> {
        Self::start(Described {
            what,
            path,
            parse: Box::new(parse),
            compare: Some(Box::new(compare)),
            most,
            is_secret: false,
        })
    }

    /// The same for a file that holds a secret: the log warns if others may read it.
    ///
    /// # Errors
    ///
    /// As `open`.
    #[cfg(any(feature = "ldap", feature = "webhook"))]
    pub(crate) fn open_secret(
        what: &'static str,
        path: PathBuf,
        parse: impl Fn(&[u8]) -> Result<T> + Send + Sync + 'static,
        most: u64,
    ) -> Result<Self> {
        Self::start(Described {
            what,
            path,
            parse: Box::new(parse),
            compare: None,
            most,
            is_secret: true,
        })
    }

    fn start(file: Described<T>) -> Result<Self> {
        let place = |stamp: &Stamp| Place::of(fs::canonicalize(&file.path).ok(), stamp);
        let (stamp, content) = file
            .read()?
            .ok_or_else(|| io::Error::other("it is being written; try again later"))
            .map_err(|source| file.unreadable(source))?;
        let content = file.parse(&stamp, &content)?;
        let watched = Watched {
            place: place(&stamp),
            seen: Some(stamp),
            changing: None,
        };
        Ok(Self {
            file: Arc::new(file),
            state: Mutex::new(State {
                content: Arc::new(content),
                looked: Instant::now(),
            }),
            watcher: tokio::sync::Mutex::new(watched),
            clock: Box::new(SystemClock),
        })
    }

    /// What it says now, as far as is known.
    pub(crate) async fn current(&self) -> Arc<T> {
        let (content, looked) = {
            let state = self.lock();
            (Arc::clone(&state.content), state.looked)
        };
        if looked.elapsed() < INTERVAL {
            return content;
        }
        let mut watched = match self.watcher.try_lock() {
            Ok(watched) => watched,
            // Somebody is at it. After a silence that is waited for: nobody knows how long
            // ago the file changed.
            Err(_) if looked.elapsed() < RECENT => return content,
            Err(_) => self.watcher.lock().await,
        };
        // Whoever was waited for has looked.
        let unwatched = self.lock().looked.elapsed();
        if unwatched >= INTERVAL {
            self.look(&mut watched, unwatched).await;
        }
        Arc::clone(&self.lock().content)
    }

    /// What it said when somebody looked last.
    #[cfg(any(feature = "htpasswd", feature = "policy"))]
    pub(crate) fn now(&self) -> Arc<T> {
        Arc::clone(&self.lock().content)
    }

    /// Looks again and again.
    #[cfg(feature = "policy")]
    pub(crate) async fn watch(&self) {
        loop {
            sleep(INTERVAL).await;
            self.current().await;
        }
    }

    /// Looks for a change, which nobody did for so long.
    async fn look(&self, watched: &mut Watched, unwatched: Duration) {
        let (what, path) = (self.file.what, self.file.path.display());
        match self.sight().await {
            None => {
                if watched.seen.take().is_some() {
                    tracing::error!(%path, "the {what} is gone; what it said before stays");
                }
                watched.changing = None;
            }
            Some(sight) if watched.seen.as_ref() == Some(&sight.stamp) => watched.changing = None,
            Some(sight) => {
                if self.counts(watched, &sight, unwatched) {
                    self.take(watched, sight).await;
                }
            }
        }
        self.lock().looked = Instant::now();
    }

    /// Whether this is the whole of a version, as far as can be told.
    fn counts(&self, watched: &mut Watched, sight: &Sight, unwatched: Duration) -> bool {
        if sight.took_the_place_of(watched) {
            return true;
        }
        match &watched.changing {
            Some((stamp, since)) if *stamp == sight.stamp => since.elapsed() >= SETTLED,
            // Who wasn't there can only ask the file how long it has been so.
            None if unwatched >= SETTLED && sight.stamp.rested(self.clock.now()) >= SETTLED => true,
            before => {
                if before.is_none() {
                    let (what, path) = (self.file.what, self.file.path.display());
                    tracing::info!(
                        %path,
                        "somebody writes to the {what}; it counts once that was {} seconds ago",
                        SETTLED.as_secs()
                    );
                }
                watched.changing = Some((sight.stamp.clone(), Instant::now()));
                false
            }
        }
    }

    /// Takes over what the file says.
    async fn take(&self, watched: &mut Watched, sight: Sight) {
        let (what, path) = (self.file.what, self.file.path.display());
        let file = Arc::clone(&self.file);
        let (stamp, before) = (sight.stamp.clone(), Arc::clone(&self.lock().content));
        let read = spawn_blocking(move || match file.read()? {
            Some((read, content)) if read == stamp => {
                let content = file.parse(&read, &content)?;
                let compare = file.compare.as_ref();
                let remark = compare.and_then(|compare| compare(&before, &content));
                Ok(Some((content, remark)))
            }
            // It is another one already.
            _ => Ok(None),
        });
        let interrupted = |source| Error::internal(format!("the {what} could not be read"), source);
        match read.await.map_err(interrupted).and_then(|read| read) {
            Ok(None) => return,
            Ok(Some((content, remark))) => {
                tracing::info!(%path, "read the {what} again");
                if let Some(remark) = remark {
                    tracing::warn!(%path, "{remark}");
                }
                self.lock().content = Arc::new(content);
            }
            Err(error) => {
                tracing::error!(%path, %error, "the {what} can't be used; what it said before stays");
            }
        }
        *watched = Watched {
            seen: Some(sight.stamp),
            place: sight.place,
            changing: None,
        };
    }

    /// What the file looks like; absent if there is none.
    async fn sight(&self) -> Option<Sight> {
        let file = Arc::clone(&self.file);
        let sight = spawn_blocking(move || {
            let path = fs::canonicalize(&file.path)?;
            let stamp = Stamp::of(&fs::metadata(&path)?);
            io::Result::Ok(Sight {
                place: Place::of(Some(path), &stamp),
                stamp,
            })
        });
        sight.await.ok()?.ok()
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Described<T> {
    /// Reads the file, and what it looked like then. Nothing if somebody wrote to it
    /// meanwhile.
    fn read(&self) -> Result<Option<(Stamp, Zeroizing<Vec<u8>>)>> {
        read(&self.path, self.most).map_err(|source| self.unreadable(source))
    }

    /// What it says, with a warning if that is a secret that others may read.
    fn parse(&self, stamp: &Stamp, content: &[u8]) -> Result<T> {
        let content = (self.parse)(content)?;
        if self.is_secret && stamp.may_be_read_by_others() {
            let (what, path) = (self.what, self.path.display());
            tracing::warn!(
                %path,
                "others may read the {what}; let nobody but its owner do so (chmod 600)"
            );
        }
        Ok(content)
    }

    fn unreadable(&self, source: io::Error) -> Error {
        let reason = format!(
            "the {} {} can't be read: {source}",
            self.what,
            self.path.display()
        );
        Error::internal(reason, source)
    }
}

/// At most `most` bytes, all of one version of the file.
fn read(path: &Path, most: u64) -> io::Result<Option<(Stamp, Zeroizing<Vec<u8>>)>> {
    let file = File::open(path)?;
    let before = Stamp::of(&file.metadata()?);
    let mut content = Zeroizing::new(Vec::new());
    // It may grow while it is read.
    let read = (&file)
        .take(most.saturating_add(1))
        .read_to_end(&mut content)?;
    if u64::try_from(read).unwrap_or(u64::MAX) > most {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    let after = Stamp::of(&file.metadata()?);
    Ok((before == after).then_some((after, content)))
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        #[cfg(unix)]
        use std::os::unix::fs::MetadataExt;

        Self {
            length: metadata.len(),
            modified: metadata.modified().ok(),
            #[cfg(unix)]
            times: [
                (metadata.mtime(), metadata.mtime_nsec()),
                (metadata.ctime(), metadata.ctime_nsec()),
            ],
            #[cfg(unix)]
            inode: (metadata.dev(), metadata.ino()),
            #[cfg(unix)]
            mode: metadata.mode(),
        }
    }

    /// Whether more than its owner and their group may read it.
    fn may_be_read_by_others(&self) -> bool {
        #[cfg(unix)]
        return self.mode & 0o007 != 0;
        #[cfg(not(unix))]
        false
    }

    /// For how long nothing was done with it.
    fn rested(&self, now: SystemTime) -> Duration {
        let since = |time: SystemTime| now.duration_since(time).ok();
        let written = self.modified.and_then(since);
        #[cfg(unix)]
        let written = {
            let [_, (seconds, _)] = self.times;
            let seconds = u64::try_from(seconds).ok().map(Duration::from_secs);
            // It may be nearly a second later.
            let changed = seconds.and_then(|time| time.checked_add(Duration::from_secs(1)));
            let changed = changed.and_then(|time| SystemTime::UNIX_EPOCH.checked_add(time));
            written.zip(changed.and_then(since)).map(|(a, b)| a.min(b))
        };
        written.unwrap_or_default()
    }
}

impl Place {
    #[cfg_attr(not(unix), allow(unused_variables, reason = "inodes are in it"))]
    fn of(path: Option<PathBuf>, stamp: &Stamp) -> Self {
        Self {
            path,
            #[cfg(unix)]
            inode: stamp.inode,
        }
    }
}

impl Sight {
    /// Whether this is another file, which was whole before it was put here. Behind
    /// another symbolic link it is. Otherwise the last that was done with it must not
    /// have been writing, but renaming: a new file may also be written where it is.
    fn took_the_place_of(&self, before: &Watched) -> bool {
        if self.place.path != before.place.path {
            return true;
        }
        #[cfg(unix)]
        {
            let [written, changed] = self.stamp.times;
            // The number of one that is gone is given to another.
            let is_another = before.seen.is_none() || self.place.inode != before.place.inode;
            is_another && written != changed
        }
        #[cfg(not(unix))]
        false
    }
}

impl<T> fmt::Debug for WatchedFile<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WatchedFile")
            .field("path", &self.file.path)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use registry_core::ErrorKind;
    use tempfile::TempDir;
    use tokio::time::advance;

    use super::*;

    fn parse(content: &[u8]) -> Result<String> {
        match std::str::from_utf8(content) {
            Ok(text) if text.ends_with('.') => Ok(text.to_owned()),
            _ => Err(ErrorKind::RequestInvalid.error("it has no end; write a full stop")),
        }
    }

    fn open(path: PathBuf, most: u64) -> Result<WatchedFile<String>> {
        WatchedFile::open("note", path, parse, most)
    }

    /// Looks once a second, as often as this.
    async fn look(file: &WatchedFile<String>, times: usize) -> Vec<String> {
        let mut said = Vec::new();
        for _ in 0..times {
            advance(INTERVAL).await;
            said.push(file.current().await.to_string());
        }
        said
    }

    /// Puts a file with this content in the place of another.
    fn replace(path: &Path, content: &str) {
        let new = path.with_extension("new");
        fs::write(&new, content).unwrap();
        written_before(&new);
        fs::rename(new, path).unwrap();
    }

    /// As if it had been written a while ago.
    fn written_before(path: &Path) {
        let file = File::options().write(true).open(path).unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH).unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_always_the_whole_of_one_version() {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("note");
        fs::write(&path, "one.").unwrap();
        let file = open(path.clone(), 8).unwrap();
        let mut before = "one.";
        for (content, expected) in [
            (Some("two."), "two."),
            (Some("three"), "two."),
            (Some(""), "two."),
            (None, "two."),
            (Some("much longer."), "two."),
            (Some("exactly."), "exactly."),
        ] {
            match content {
                Some(content) => fs::write(&path, content).unwrap(),
                None => fs::remove_file(&path).unwrap(),
            }
            // From when it was seen first.
            assert_eq!(look(&file, 5).await, [before; 5], "{content:?}");
            assert_eq!(look(&file, 2).await, [expected; 2], "{content:?}");
            before = expected;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_is_still_written_to_is_not_taken() {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("note");
        fs::write(&path, "a.b.c.").unwrap();
        let file = open(path.clone(), 32).unwrap();
        let new = "a.d.c.e.f.";
        // In its place, and as another file that is written there.
        for is_new in [false, true] {
            for end in (0..new.len()).step_by(2) {
                if is_new && end == 0 {
                    fs::remove_file(&path).unwrap();
                }
                fs::write(&path, &new[..end]).unwrap();
                assert_eq!(look(&file, 5).await, ["a.b.c."; 5], "{end}");
            }
        }
        fs::write(&path, new).unwrap();
        assert_eq!(look(&file, 5).await, ["a.b.c."; 5]);
        assert_eq!(look(&file, 1).await, [new]);
    }

    #[cfg(unix)]
    #[tokio::test(start_paused = true)]
    async fn one_that_takes_the_place_of_the_file_counts_at_once() {
        use std::os::unix::fs::symlink;

        let directory = TempDir::new().unwrap();
        let at = |name: &str| directory.path().join(name);
        fs::write(at("note"), "one.").unwrap();
        let file = open(at("note"), 8).unwrap();
        replace(&at("note"), "two.");
        assert_eq!(look(&file, 1).await, ["two."]);
        // Also while somebody writes, or when there was none for a while.
        fs::write(at("note"), "t.").unwrap();
        assert_eq!(look(&file, 2).await, ["two."; 2]);
        replace(&at("note"), "three.");
        assert_eq!(look(&file, 1).await, ["three."]);
        fs::remove_file(at("note")).unwrap();
        assert_eq!(look(&file, 2).await, ["three."; 2]);
        replace(&at("note"), "four.");
        assert_eq!(look(&file, 1).await, ["four."]);
        // What can't be used doesn't, either way.
        replace(&at("note"), "five");
        assert_eq!(look(&file, 7).await, ["four."; 7]);

        // Behind a link it does, however new it is.
        fs::write(at("a"), "a.").unwrap();
        symlink("a", at("link")).unwrap();
        let file = open(at("link"), 8).unwrap();
        fs::write(at("b"), "b.").unwrap();
        symlink("b", at("next")).unwrap();
        fs::rename(at("next"), at("link")).unwrap();
        assert_eq!(look(&file, 1).await, ["b."]);
        fs::write(at("b"), "c.").unwrap();
        assert_eq!(look(&file, 5).await, ["b."; 5]);
        assert_eq!(look(&file, 1).await, ["c."]);
    }

    /// A clock that is ahead.
    #[derive(Debug)]
    struct Ahead(Duration);

    impl Clock for Ahead {
        fn now(&self) -> SystemTime {
            SystemClock.now().checked_add(self.0).unwrap()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_did_not_look_goes_by_what_the_file_says() {
        for (ahead, expected) in [(0, "one."), (3600, "two.")] {
            let directory = TempDir::new().unwrap();
            let path = directory.path().join("note");
            fs::write(&path, "one.").unwrap();
            let mut file = open(path.clone(), 8).unwrap();
            file.clock = Box::new(Ahead(Duration::from_secs(ahead)));
            advance(Duration::from_mins(1)).await;
            fs::write(&path, "two.").unwrap();
            assert_eq!(*file.current().await, expected);
            assert_eq!(look(&file, 5).await.last().unwrap(), "two.");
            // Not whoever looks often.
            fs::write(&path, "t.").unwrap();
            assert_eq!(look(&file, 5).await, ["two."; 5]);
        }
    }

    #[test]
    fn one_that_can_not_be_used_is_not_opened() {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("note");
        for (content, reason) in [
            (None, "the note "),
            (Some("no end"), "write a full stop"),
            (Some("too long."), "too large"),
        ] {
            if let Some(content) = content {
                fs::write(&path, content).unwrap();
            }
            let error = open(path.clone(), 8).unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn each_version_is_read_once_and_not_at_once() {
        static READ: AtomicUsize = AtomicUsize::new(0);

        fn counted(content: &[u8]) -> Result<String> {
            READ.fetch_add(1, Ordering::Relaxed);
            parse(content)
        }

        let directory = TempDir::new().unwrap();
        let path = directory.path().join("note");
        fs::write(&path, "one.").unwrap();
        let file = WatchedFile::open("note", path.clone(), counted, 8).unwrap();
        for (content, reads) in [(None, 1), (Some("two."), 2), (Some("bad"), 3)] {
            if let Some(content) = content {
                replace(&path, content);
            }
            // Too early to look.
            let before = READ.load(Ordering::Relaxed);
            file.current().await;
            assert_eq!(READ.load(Ordering::Relaxed), before, "{content:?}");
            for _ in 0..8 {
                look(&file, 1).await;
                file.current().await;
            }
            assert_eq!(READ.load(Ordering::Relaxed), reads, "{content:?}");
        }
    }

    #[cfg(all(unix, any(feature = "ldap", feature = "webhook")))]
    #[test]
    fn who_lets_others_read_a_secret_is_warned() {
        use std::os::unix::fs::PermissionsExt;

        let directory = TempDir::new().unwrap();
        let path = directory.path().join("note");
        fs::write(&path, "one.").unwrap();
        for (mode, warns) in [(0o600, false), (0o640, false), (0o604, true), (0o644, true)] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let log = Log::default();
            let subscriber = tracing_subscriber::fmt()
                .with_writer({
                    let log = log.clone();
                    move || log.clone()
                })
                .finish();
            tracing::subscriber::with_default(subscriber, || {
                open(path.clone(), 8).unwrap();
                assert_eq!(log.take(), "", "{mode:o}");
                WatchedFile::open_secret("note", path.clone(), parse, 8).unwrap();
            });
            let said = log.take();
            assert_eq!(said.contains("chmod 600"), warns, "{mode:o} {said}");
        }
    }

    /// What is logged.
    #[cfg(all(unix, any(feature = "ldap", feature = "webhook")))]
    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    #[cfg(all(unix, any(feature = "ldap", feature = "webhook")))]
    impl Log {
        fn take(&self) -> String {
            String::from_utf8(std::mem::take(&mut *self.0.lock().unwrap())).unwrap()
        }
    }

    #[cfg(all(unix, any(feature = "ldap", feature = "webhook")))]
    impl io::Write for Log {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
}
