//! Making directories that stay.

use std::io;
use std::path::Path;

/// Makes a directory, and those above it that are missing. Each has a name that
/// survives a power failure before the next one is made in it.
pub(crate) fn create(path: &Path) -> io::Result<()> {
    let mut missing = Vec::new();
    for directory in path.ancestors() {
        if directory.as_os_str().is_empty() || directory.is_dir() {
            break;
        }
        missing.push(directory);
    }
    for directory in missing.iter().rev() {
        match std::fs::create_dir(directory) {
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

#[cfg(unix)]
fn sync(directory: &Path) -> io::Result<()> {
    let here = Path::new(".");
    let is_here = directory.as_os_str().is_empty();
    std::fs::File::open(if is_here { here } else { directory })?.sync_all()
}

/// Directories can't be synced here; the system does so by itself.
#[cfg(not(unix))]
fn sync(_: &Path) -> io::Result<()> {
    Ok(())
}
