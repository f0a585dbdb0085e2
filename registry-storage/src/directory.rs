//! Making directories that stay, and what is in them private.

use std::fs::DirBuilder;
use std::io;
use std::path::Path;

use registry_core::Error;

/// Makes a directory, and those above it that are missing. Each has a name that
/// survives a power failure before the next one is made in it. The directory
/// itself is private; one that is there already is left as it is.
pub(crate) fn create(path: &Path) -> io::Result<()> {
    let mut missing = Vec::new();
    for directory in path.ancestors() {
        if directory.as_os_str().is_empty() || directory.is_dir() {
            break;
        }
        missing.push(directory);
    }
    for directory in missing.iter().rev() {
        let made = if **directory == *path {
            create_private(directory)
        } else {
            std::fs::create_dir(directory)
        };
        match made {
            // Somebody else was faster, or the path turns back on itself.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && directory.is_dir() => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(io::Error::new(io::ErrorKind::NotADirectory, error));
            }
            made => made?,
        }
        if let Some(parent) = directory.parent() {
            sync(parent)?;
        }
    }
    Ok(())
}

/// Makes a directory that nobody but its owner may look into, whatever the mask
/// of the process, where the system has modes.
pub(crate) fn create_private(path: &Path) -> io::Result<()> {
    #[allow(unused_mut, reason = "not every system has modes")]
    let mut builder = DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

#[cfg(any(
    feature = "redb",
    not(target_os = "linux"),
    all(test, feature = "testkit")
))]
/// How to open a file so that, if it is made, nobody but its owner may use it.
pub(crate) fn private_file() -> std::fs::OpenOptions {
    #[allow(unused_mut, reason = "not every system has modes")]
    let mut options = std::fs::OpenOptions::new();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

/// How often a lock is tried, and how long to wait in between.
#[cfg(feature = "redb")]
const TRIES: (u32, std::time::Duration) = (100, std::time::Duration::from_millis(10));

/// What `attempt` gets, which is tried for about a second. A store that was
/// dropped lets go of its directory when it has finished writing, and so does a
/// process that was told to end.
#[cfg(feature = "redb")]
pub(crate) fn patiently<X>(
    mut attempt: impl FnMut() -> io::Result<Option<X>>,
) -> io::Result<Option<X>> {
    for _ in 1..TRIES.0 {
        if let Some(got) = attempt()? {
            return Ok(Some(got));
        }
        #[expect(
            clippy::disallowed_methods,
            reason = "the system has no lock that can be waited for that long and no longer"
        )]
        std::thread::sleep(TRIES.1);
    }
    attempt()
}

/// The error of a directory that can't be used, which names it: those who start
/// a program see it, and no clients.
pub(crate) fn unusable(what: &str, path: &Path, error: Error) -> Error {
    let reason = format!("the {what} in {} can't be used: {error}", path.display());
    error.kind().error(reason).with_source(error)
}

#[cfg(unix)]
pub(crate) fn sync(directory: &Path) -> io::Result<()> {
    let here = Path::new(".");
    let is_here = directory.as_os_str().is_empty();
    std::fs::File::open(if is_here { here } else { directory })?.sync_all()
}

/// Directories can't be synced here; the system does so by itself.
#[cfg(not(unix))]
pub(crate) fn sync(_: &Path) -> io::Result<()> {
    Ok(())
}
