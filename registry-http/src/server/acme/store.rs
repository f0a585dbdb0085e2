//! Files that only their owner may read.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use registry_core::{Error, ErrorKind, Result};
use url::Url;
use zeroize::Zeroizing;

/// The longest file that is read.
const FILE_MAX: u64 = 1 << 20;

/// A directory with what was obtained from one ACME server.
#[derive(Debug)]
pub(super) struct Store(PathBuf);

impl Store {
    /// The directory of `server` below `cache`, which may not be there yet. What one
    /// server gave is of no use to another.
    pub(super) fn new(cache: &Path, server: &Url) -> Self {
        let plain = |character: char| match character {
            '.' | 'a'..='z' | 'A'..='Z' | '0'..='9' => character,
            _ => '-',
        };
        let address = server.as_str();
        let name: String = address
            .trim_start_matches("https://")
            .trim_end_matches('/')
            .chars()
            .take(200)
            .map(plain)
            .collect();
        Self(cache.join(name))
    }

    /// Makes the directory, if it isn't there.
    pub(super) fn prepare(&self) -> Result<()> {
        make(&self.0).map_err(|source| {
            ErrorKind::Unavailable
                .error(format!("the directory {} can't be made", self.0.display()))
                .with_source(source)
        })
    }

    /// What is in the file `name`, if there is one.
    pub(super) fn read(&self, name: &str) -> Result<Option<Zeroizing<Vec<u8>>>> {
        let path = self.0.join(name);
        let mut content = Zeroizing::new(Vec::new());
        let read = File::open(&path).and_then(|file| file.take(FILE_MAX).read_to_end(&mut content));
        match read {
            Ok(_) => Ok(Some(content)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(unusable("read", &path, source)),
        }
    }

    /// Puts `content` into the file `name`, as a whole and for good.
    pub(super) fn write(&self, name: &str, content: &[u8]) -> Result<()> {
        let path = self.0.join(name);
        self.replace(&path, content)
            .map_err(|source| unusable("written", &path, source))
    }

    /// Removes the file `name`.
    pub(super) fn remove(&self, name: &str) -> Result<()> {
        let path = self.0.join(name);
        fs::remove_file(&path).map_err(|source| unusable("removed", &path, source))
    }

    fn replace(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        let new = path.with_extension("new");
        // Of one who was interrupted.
        match fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(&new)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&new, path)?;
        File::open(&self.0)?.sync_all()
    }
}

/// Makes a directory that only its owner may look into, also where it is there.
fn make(path: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
        builder.mode(0o700);
        builder.create(path)?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o700))?;
    }
    #[cfg(not(unix))]
    builder.create(path)?;
    match path.parent() {
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}

fn unusable(what: &str, path: &Path, source: io::Error) -> Error {
    ErrorKind::Unavailable
        .error(format!("the file {} can't be {what}", path.display()))
        .with_source(source)
}
