//! The keys of a token server in a directory, kept up to date.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use registry_core::{Error, ErrorKind, Result};
use tokio::task::spawn_blocking;
use tokio::time::Instant;

use super::key_ring::{DatedKey, KeyRing};
use super::signing_key::{SigningAlgorithm, SigningKey};

/// How often the directory is looked at.
const INTERVAL: Duration = Duration::from_secs(1);

/// How long ago the directory was looked at last where nobody waits for somebody who is
/// looking.
const RECENT: Duration = Duration::from_secs(2);

/// How long to wait after a key could not be made.
const PAUSE: Duration = Duration::from_mins(10);

/// The longest file that is read, in bytes.
const FILE_MAX: u64 = 16 << 10;

/// The most keys that are read. Of more, the newest are.
const KEYS_MAX: usize = 32;

/// What the names of key files end with.
const SUFFIX: &str = ".pem";

/// The keys of a token server, wherever they are kept.
#[derive(Debug)]
pub(super) struct SigningKeys {
    directory: Option<Arc<Directory>>,
    state: Mutex<State>,
    /// Held by whoever looks for a change; the others go on with what is known, if that
    /// was known just now.
    watcher: tokio::sync::Mutex<Watched>,
}

#[derive(Debug)]
struct State {
    ring: Arc<KeyRing>,
    looked: Instant,
}

#[derive(Debug)]
struct Watched {
    /// What was seen last, so that nothing is read or reported twice.
    seen: Listing,
    /// When a key could not be made.
    failed: Option<Instant>,
}

/// What the files of a directory look like: their lengths and times.
type Listing = BTreeMap<OsString, (u64, Option<SystemTime>)>;

#[derive(Debug)]
struct Directory {
    path: PathBuf,
    algorithm: SigningAlgorithm,
}

impl SigningKeys {
    /// Reads the keys in the directory at `path`, and makes both if there are
    /// none.
    pub(super) fn open(
        path: PathBuf,
        algorithm: SigningAlgorithm,
        now: SystemTime,
    ) -> Result<Self> {
        let directory = Directory { path, algorithm };
        directory.create()?;
        if directory.list()?.is_empty() {
            directory.add(now)?;
        }
        let (seen, ring) = directory.load()?;
        Ok(Self::new(Some(directory), seen, ring))
    }

    /// One key, which ends with the process.
    pub(super) fn ephemeral(algorithm: SigningAlgorithm, now: SystemTime) -> Result<Self> {
        let (key, _) = SigningKey::generate(algorithm)?;
        let ring = KeyRing::new(vec![DatedKey { made_at: now, key }])?;
        Ok(Self::new(None, Listing::new(), ring))
    }

    fn new(directory: Option<Directory>, seen: Listing, ring: KeyRing) -> Self {
        Self {
            directory: directory.map(Arc::new),
            state: Mutex::new(State {
                ring: Arc::new(ring),
                looked: Instant::now(),
            }),
            watcher: tokio::sync::Mutex::new(Watched { seen, failed: None }),
        }
    }

    /// The keys as far as is known.
    pub(super) async fn current(&self) -> Arc<KeyRing> {
        let (ring, looked) = {
            let state = self.lock();
            (Arc::clone(&state.ring), state.looked)
        };
        let Some(directory) = &self.directory else {
            return ring;
        };
        if looked.elapsed() < INTERVAL {
            return ring;
        }
        let mut watched = match self.watcher.try_lock() {
            Ok(watched) => watched,
            // Somebody is at it. After a silence that is waited for: nobody knows for how
            // long a key has been gone.
            Err(_) if looked.elapsed() < RECENT => return ring,
            Err(_) => self.watcher.lock().await,
        };
        let looked = self.lock().looked;
        if looked.elapsed() >= INTERVAL {
            self.look(directory, &mut watched).await;
        }
        Arc::clone(&self.lock().ring)
    }

    /// The same, after another key was added if the newest one is older than
    /// `every`. Where that fails, those that there are go on.
    pub(super) async fn renewed(&self, every: Duration, now: SystemTime) -> Arc<KeyRing> {
        let ring = self.current().await;
        let (true, Some(directory)) = (ring.is_older_than(every, now), &self.directory) else {
            return ring;
        };
        let Ok(mut watched) = self.watcher.try_lock() else {
            return ring;
        };
        if watched
            .failed
            .is_some_and(|failed| failed.elapsed() < PAUSE)
        {
            return ring;
        }
        match self.add(directory, &mut watched, every, now).await {
            Ok(()) => tracing::info!("the last key for tokens is old; there is another one now"),
            Err(error) => {
                watched.failed = Some(Instant::now());
                tracing::error!(%error, "no key for tokens could be added; the old ones go on");
            }
        }
        Arc::clone(&self.lock().ring)
    }

    /// Adds a key, which signs after its introduction.
    pub(super) async fn rotate(&self, now: SystemTime) -> Result<()> {
        let directory = self.directory()?;
        let mut watched = self.watcher.lock().await;
        self.add(directory, &mut watched, Duration::ZERO, now).await
    }

    /// Replaces all keys by a new one, which signs at once: whatever the others
    /// signed is of no use any more.
    pub(super) async fn replace(&self, now: SystemTime) -> Result<()> {
        let directory = self.directory()?;
        let mut watched = self.watcher.lock().await;
        let others = Arc::clone(directory);
        let (seen, ring) = blocking(move || {
            let old = others.files()?;
            others.add(now)?;
            old.keys().try_for_each(|name| others.remove(name))?;
            others.load()
        })
        .await?;
        self.take(&mut watched, seen, ring);
        Ok(())
    }

    fn directory(&self) -> Result<&Arc<Directory>> {
        self.directory.as_ref().ok_or_else(|| {
            ErrorKind::Unsupported.error("the key for tokens is in memory; start the program anew")
        })
    }

    /// Adds a key, unless another server did so since the last one was `every`
    /// old.
    async fn add(
        &self,
        directory: &Arc<Directory>,
        watched: &mut Watched,
        every: Duration,
        now: SystemTime,
    ) -> Result<()> {
        let directory = Arc::clone(directory);
        let (seen, ring) = blocking(move || {
            let (seen, ring) = directory.load()?;
            if !ring.is_older_than(every, now) {
                return Ok((seen, ring));
            }
            directory.remove_retired(&ring, now)?;
            if directory.files()?.len() >= KEYS_MAX {
                return Err(ErrorKind::TooManyRequests.error(format!(
                    "there are {KEYS_MAX} keys in {}, and tokens of theirs are still good; wait an \
                     hour, or replace them all",
                    directory.path.display()
                )));
            }
            directory.add(now)?;
            directory.load()
        })
        .await?;
        self.take(watched, seen, ring);
        Ok(())
    }

    async fn look(&self, directory: &Arc<Directory>, watched: &mut Watched) {
        let (known, place) = (watched.seen.clone(), Arc::clone(directory));
        let found = blocking(move || {
            let listing = place.list()?;
            if listing == known {
                return Ok(None);
            }
            Ok(Some((listing, place.load())))
        });
        match found.await {
            Ok(Some((_, Ok((seen, ring))))) => {
                tracing::info!(path = %directory.path.display(), "read the keys for tokens again");
                self.take(watched, seen, ring);
            }
            Ok(Some((listing, Err(error)))) => {
                tracing::error!(%error, "the keys for tokens can't be used; those before stay");
                watched.seen = listing;
            }
            Ok(None) => {}
            Err(error) => {
                tracing::debug!(%error, "the directory of the keys for tokens can't be read");
            }
        }
        self.lock().looked = Instant::now();
    }

    fn take(&self, watched: &mut Watched, seen: Listing, ring: KeyRing) {
        watched.seen = seen;
        let mut state = self.lock();
        state.ring = Arc::new(ring);
        state.looked = Instant::now();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Directory {
    /// Makes the directory, for nobody but its owner.
    fn create(&self) -> Result<()> {
        let mut builder = DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder
            .create(&self.path)
            .map_err(|source| self.failed("can't be made", source))
    }

    /// The keys that are used: as a rule all.
    fn list(&self) -> Result<Listing> {
        let mut files = self.files()?;
        let excess = files.len().saturating_sub(KEYS_MAX);
        let mut oldest: Vec<_> = files.keys().cloned().collect();
        oldest.sort_by_key(made_at);
        for name in oldest.iter().take(excess) {
            files.remove(name);
        }
        Ok(files)
    }

    /// The files that hold keys. What starts with a dot is another's.
    fn files(&self) -> Result<Listing> {
        let unreadable = |source| self.failed("can't be read", source);
        let mut listing = Listing::new();
        for entry in fs::read_dir(&self.path).map_err(unreadable)? {
            let name = entry.map_err(unreadable)?.file_name();
            let is_key = |name: &str| !name.starts_with('.') && name.ends_with(SUFFIX);
            if !name.to_str().is_some_and(is_key) {
                continue;
            }
            // Through symbolic links, which is how secrets are mounted.
            match fs::metadata(self.path.join(&name)) {
                Ok(metadata) => {
                    listing.insert(name, (metadata.len(), metadata.modified().ok()));
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(unreadable(error)),
            }
        }
        Ok(listing)
    }

    /// All keys, and what the directory looked like before they were read.
    fn load(&self) -> Result<(Listing, KeyRing)> {
        let listing = self.list()?;
        if listing.len() == KEYS_MAX {
            tracing::warn!(
                path = %self.path.display(),
                "of the keys for tokens no more than the newest {KEYS_MAX} are used",
            );
        }
        let keys = listing.keys().map(|name| {
            let key = self.read(name)?;
            Ok(DatedKey {
                made_at: made_at(name),
                key,
            })
        });
        let ring = KeyRing::new(keys.collect::<Result<_>>()?)?;
        Ok((listing, ring))
    }

    fn read(&self, name: &OsString) -> Result<SigningKey> {
        let path = self.path.join(name);
        let read = || {
            let file = File::open(&path)?;
            #[cfg(unix)]
            if std::os::unix::fs::PermissionsExt::mode(&file.metadata()?.permissions()) & 0o007 != 0
            {
                return Err(io::Error::other(
                    "others may read it; let nobody but its owner do so (chmod 600)",
                ));
            }
            let mut pem = zeroize::Zeroizing::new(Vec::new());
            file.take(FILE_MAX).read_to_end(&mut pem)?;
            Ok(pem)
        };
        let unusable =
            |reason: String| format!("the key {} can't be used: {reason}", path.display());
        let pem = read()
            .map_err(|source: io::Error| Error::internal(unusable(source.to_string()), source))?;
        SigningKey::from_pem(&pem).map_err(|source| {
            Error::new(source.kind(), unusable(source.to_string())).with_source(source)
        })
    }

    /// Makes a key and its file, which nobody but its owner may read. It is
    /// durable, and there as a whole or not at all.
    fn add(&self, now: SystemTime) -> Result<()> {
        let (key, pem) = SigningKey::generate(self.algorithm)?;
        let seconds = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let kid = key.public().kid();
        let name = format!("{seconds}-{}{SUFFIX}", kid.get(..8).unwrap_or(kid));
        let path = self.path.join(&name);
        let write = || {
            let fresh = self.path.join(format!(".{name}"));
            let mut options = OpenOptions::new();
            options.write(true).create_new(true);
            #[cfg(unix)]
            std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
            let mut file = options.open(&fresh)?;
            file.write_all(pem.expose().as_bytes())?;
            file.sync_all()?;
            fs::rename(&fresh, &path)?;
            sync_directory(&self.path)
        };
        write().map_err(|source| self.failed("takes no new key", source))
    }

    /// Removes keys whose tokens have all expired. Only those that were made
    /// here: others belong to whoever put them there.
    fn remove_retired(&self, ring: &KeyRing, now: SystemTime) -> Result<()> {
        for name in self.list()?.keys().filter(|name| is_ours(name)) {
            let key = self.read(name)?;
            if !ring.is_trusted(key.public().kid(), now) {
                self.remove(name)?;
            }
        }
        Ok(())
    }

    fn remove(&self, name: &OsString) -> Result<()> {
        fs::remove_file(self.path.join(name))
            .and_then(|()| sync_directory(&self.path))
            .map_err(|source| self.failed("keeps an old key", source))
    }

    fn failed(&self, what: &str, source: io::Error) -> Error {
        let path = self.path.display();
        Error::internal(
            format!("the directory {path} of the keys for tokens {what}: {source}"),
            source,
        )
    }
}

/// When the key of this file was made, as its name says: long ago, if it doesn't.
fn made_at(name: &OsString) -> SystemTime {
    name.to_str()
        .and_then(|name| name.split_once('-')?.0.parse().ok())
        .and_then(|seconds| UNIX_EPOCH.checked_add(Duration::from_secs(seconds)))
        .unwrap_or(UNIX_EPOCH)
}

fn is_ours(name: &OsString) -> bool {
    made_at(name) > UNIX_EPOCH
}

fn sync_directory(path: &Path) -> io::Result<()> {
    if cfg!(unix) {
        File::open(path)?.sync_all()?;
    }
    Ok(())
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    spawn_blocking(work)
        .await
        .map_err(|source| Error::internal("the keys for tokens could not be read", source))?
}
