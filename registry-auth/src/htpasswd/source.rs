//! The file behind the users, which may change at any time.

use std::fmt;
use std::fs::{self, Metadata};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use registry_core::{Error, Result};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep};

use super::users::Users;

/// How often the file is looked at.
const INTERVAL: Duration = Duration::from_secs(1);

/// How long a changed file has to stay the same before it is read: somebody
/// may be writing it.
const SETTLED: Duration = Duration::from_millis(50);

/// The longest file that is read, in bytes.
const FILE_MAX: u64 = 16 << 20;

/// The users of a file, kept up to date as long as somebody asks for them.
pub(super) struct Source {
    path: Arc<Path>,
    state: Mutex<State>,
    /// Held by whoever looks for a change; the others go on with what is known.
    watcher: tokio::sync::Mutex<Watched>,
}

struct State {
    users: Arc<Users>,
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

impl Source {
    pub(super) fn open(path: PathBuf) -> Result<Self> {
        let path: Arc<Path> = path.into();
        let (stamp, users) = load(&path)?;
        Ok(Self {
            path,
            state: Mutex::new(State {
                users: Arc::new(users),
                looked: Instant::now(),
            }),
            watcher: tokio::sync::Mutex::new(Watched { seen: Some(stamp) }),
        })
    }

    /// The users known now.
    pub(super) async fn users(&self) -> Arc<Users> {
        let (users, looked) = {
            let state = self.lock();
            (Arc::clone(&state.users), state.looked)
        };
        if looked.elapsed() < INTERVAL {
            return users;
        }
        match self.watcher.try_lock() {
            Ok(mut watched) => {
                self.look(&mut watched).await;
                Arc::clone(&self.lock().users)
            }
            Err(_) => users,
        }
    }

    async fn look(&self, watched: &mut Watched) {
        let stamp = self.settled(watched.seen.as_ref()).await;
        if stamp != watched.seen {
            match self.read(stamp.is_some()).await {
                Ok(Some((stamp, users))) => {
                    tracing::info!(path = %self.path.display(), users = users.len(), "read the password file again");
                    watched.seen = Some(stamp);
                    self.lock().users = Arc::new(users);
                }
                Ok(None) => {
                    tracing::error!(path = %self.path.display(), "the password file is gone; the users known before stay");
                    watched.seen = None;
                }
                Err(error) => {
                    tracing::error!(path = %self.path.display(), %error, "the password file can't be used; the users known before stay");
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
        let path = Arc::clone(&self.path);
        let metadata = spawn_blocking(move || fs::metadata(path)).await;
        metadata.ok()?.ok().map(|metadata| Stamp::of(&metadata))
    }

    async fn read(&self, exists: bool) -> Result<Option<(Stamp, Users)>> {
        if !exists {
            return Ok(None);
        }
        let path = Arc::clone(&self.path);
        spawn_blocking(move || load(&path))
            .await
            .map_err(|source| Error::internal("the password file could not be read", source))?
            .map(Some)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads the file, and what it looked like before.
fn load(path: &Path) -> Result<(Stamp, Users)> {
    let unreadable = |source: io::Error| {
        let reason = format!(
            "the password file {} can't be read: {source}",
            path.display()
        );
        Error::internal(reason, source)
    };
    let metadata = fs::metadata(path).map_err(unreadable)?;
    if metadata.len() > FILE_MAX {
        return Err(unreadable(io::ErrorKind::FileTooLarge.into()));
    }
    let content = fs::read(path).map_err(unreadable)?;
    Ok((Stamp::of(&metadata), Users::parse(&content)?))
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

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}
