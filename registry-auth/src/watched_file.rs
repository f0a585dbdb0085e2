//! A file whose content is kept up to date.

use std::fmt;
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use registry_core::{Error, Result};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep};
use zeroize::Zeroizing;

/// How often the file is looked at.
const INTERVAL: Duration = Duration::from_secs(1);

/// How long a changed file has to stay the same before it is read: somebody
/// may be writing it.
const SETTLED: Duration = Duration::from_millis(50);

/// What a file says, kept up to date as long as somebody asks for it.
///
/// It is always the whole of one version: while the file is missing, can't be
/// used or is being written, what it said before stays, and the log says why,
/// once for each change.
pub(crate) struct WatchedFile<T> {
    file: Arc<Described<T>>,
    state: Mutex<State<T>>,
    /// Held by whoever looks for a change; the others go on with what is known.
    watcher: tokio::sync::Mutex<Watched>,
}

/// Makes something of all that a file holds.
type Parse<T> = dyn Fn(&[u8]) -> Result<T> + Send + Sync;

/// Where the file is, and how it is read.
struct Described<T> {
    /// What it is called in messages, such as `password file`.
    what: &'static str,
    path: PathBuf,
    parse: Box<Parse<T>>,
    /// The most bytes that are read.
    most: u64,
    /// Whether nobody but its owner should read it.
    is_secret: bool,
}

struct State<T> {
    content: Arc<T>,
    looked: Instant,
}

/// What was seen last, so that nothing is read or reported twice.
struct Watched {
    seen: Option<Stamp>,
}

/// What changes when a file does, wherever symbolic links lead.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stamp {
    length: u64,
    modified: Option<SystemTime>,
    #[cfg(unix)]
    identity: (u64, u64, i64, i64),
}

impl<T: Send + Sync + 'static> WatchedFile<T> {
    /// Reads the file at `path`. It blocks while it does.
    ///
    /// # Errors
    ///
    /// If it can't be read, has more than `most` bytes, or `parse` refuses it.
    #[cfg(any(
        test,
        feature = "htpasswd",
        feature = "issuer",
        feature = "ldap",
        feature = "policy"
    ))]
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
            most,
            is_secret: true,
        })
    }

    fn start(file: Described<T>) -> Result<Self> {
        let (stamp, content) = file.load()?;
        Ok(Self {
            file: Arc::new(file),
            state: Mutex::new(State {
                content: Arc::new(content),
                looked: Instant::now(),
            }),
            watcher: tokio::sync::Mutex::new(Watched { seen: Some(stamp) }),
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
        match self.watcher.try_lock() {
            Ok(mut watched) => {
                self.look(&mut watched).await;
                Arc::clone(&self.lock().content)
            }
            Err(_) => content,
        }
    }

    /// What it said when somebody looked last.
    #[cfg(feature = "policy")]
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

    async fn look(&self, watched: &mut Watched) {
        let (what, path) = (self.file.what, self.file.path.display());
        let stamp = self.settled(watched.seen.as_ref()).await;
        if stamp != watched.seen {
            match self.read(stamp.is_some()).await {
                Ok(Some((stamp, content))) => {
                    tracing::info!(%path, "read the {what} again");
                    watched.seen = Some(stamp);
                    self.lock().content = Arc::new(content);
                }
                Ok(None) => {
                    tracing::error!(%path, "the {what} is gone; what it said before stays");
                    watched.seen = None;
                }
                Err(error) => {
                    tracing::error!(%path, %error, "the {what} can't be used; what it said before stays");
                    watched.seen = stamp;
                }
            }
        }
        self.lock().looked = Instant::now();
    }

    /// What the file looks like once nobody writes to it; absent if there is
    /// none. One that never comes to rest is left for the next time.
    async fn settled(&self, seen: Option<&Stamp>) -> Option<Stamp> {
        let mut last = self.stamp().await;
        for _ in 0..10 {
            if last.as_ref() == seen {
                break;
            }
            sleep(SETTLED).await;
            let now = self.stamp().await;
            if now == last {
                return now;
            }
            last = now;
        }
        seen.cloned()
    }

    async fn stamp(&self) -> Option<Stamp> {
        let file = Arc::clone(&self.file);
        let metadata = spawn_blocking(move || fs::metadata(&file.path)).await;
        metadata.ok()?.ok().map(|metadata| Stamp::of(&metadata))
    }

    async fn read(&self, exists: bool) -> Result<Option<(Stamp, T)>> {
        if !exists {
            return Ok(None);
        }
        let file = Arc::clone(&self.file);
        let what = self.file.what;
        spawn_blocking(move || file.load())
            .await
            .map_err(|source| Error::internal(format!("the {what} could not be read"), source))?
            .map(Some)
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Described<T> {
    /// Reads the file, and what it looked like then.
    fn load(&self) -> Result<(Stamp, T)> {
        let (metadata, content) = read(&self.path, self.most).map_err(|source| {
            let reason = format!(
                "the {} {} can't be read: {source}",
                self.what,
                self.path.display()
            );
            Error::internal(reason, source)
        })?;
        let content = (self.parse)(&content)?;
        if self.is_secret && may_be_read_by_others(&metadata) {
            let (what, path) = (self.what, self.path.display());
            tracing::warn!(
                %path,
                "others may read the {what}; let nobody but its owner do so (chmod 600)"
            );
        }
        Ok((Stamp::of(&metadata), content))
    }
}

/// At most `most` bytes, all of one version of the file.
fn read(path: &Path, most: u64) -> io::Result<(Metadata, Zeroizing<Vec<u8>>)> {
    let file = File::open(path)?;
    let before = Stamp::of(&file.metadata()?);
    let mut content = Zeroizing::new(Vec::new());
    // It may grow while it is read.
    let read = (&file)
        .take(most.saturating_add(1))
        .read_to_end(&mut content)?;
    if before.length > most || u64::try_from(read).unwrap_or(u64::MAX) > most {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    let after = file.metadata()?;
    if before != Stamp::of(&after) {
        return Err(io::Error::other("it is being written; try again later"));
    }
    Ok((after, content))
}

/// Whether more than its owner and their group may read a file.
fn may_be_read_by_others(metadata: &Metadata) -> bool {
    #[cfg(unix)]
    return std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o007 != 0;
    #[cfg(not(unix))]
    {
        let _ = metadata;
        false
    }
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self {
            length: metadata.len(),
            modified: metadata.modified().ok(),
            #[cfg(unix)]
            identity: {
                use std::os::unix::fs::MetadataExt;
                (
                    metadata.dev(),
                    metadata.ino(),
                    metadata.ctime(),
                    metadata.ctime_nsec(),
                )
            },
        }
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

    #[tokio::test(start_paused = true)]
    async fn it_is_always_the_whole_of_one_version() {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("note");
        fs::write(&path, "one.").unwrap();
        let file = open(path.clone(), 8).unwrap();
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
            for _ in 0..2 {
                advance(INTERVAL).await;
                assert_eq!(*file.current().await, expected, "{content:?}");
            }
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
                fs::write(&path, content).unwrap();
            }
            // Too early to look.
            let before = READ.load(Ordering::Relaxed);
            file.current().await;
            assert_eq!(READ.load(Ordering::Relaxed), before, "{content:?}");
            for _ in 0..3 {
                advance(INTERVAL).await;
                file.current().await;
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
