//! When the system has too little of something to begin a call.

use std::io;
use std::time::Duration;

use registry_core::{Error, ErrorKind};

/// When it is worth another try.
const SOON: Duration = Duration::from_secs(1);

/// Whether a file couldn't be opened because too many are open, in this process
/// or in all. Nothing happened to any file then, and later it may work.
pub(crate) fn is_out_of_descriptors(error: &io::Error) -> bool {
    // ENFILE and EMFILE, which have the same numbers on all Unix systems.
    cfg!(unix) && matches!(error.raw_os_error(), Some(23 | 24))
}

/// What everybody is told whose bytes the disk has no room for.
pub(crate) fn full() -> Error {
    ErrorKind::Unavailable
        .error("the storage is full; make room and try again")
        .with_retry_after(SOON)
}

/// What everybody is told whose file couldn't be opened for that reason.
pub(crate) fn too_many_files() -> Error {
    ErrorKind::Unavailable
        .error("too many files are open; try again later")
        .with_retry_after(SOON)
}
