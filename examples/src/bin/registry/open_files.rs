//! How many files and connections the system lets the server have open.

/// Raises the limit as far as the system allows without asking anybody, and
/// returns it. `None` if there is none, or none that can be told.
#[cfg(unix)]
pub(crate) fn raise_limit() -> Option<u64> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(error) => {
            tracing::debug!(%error, "the limit of open files can't be raised");
            limit.current
        }
    }
}

#[cfg(not(unix))]
pub(crate) fn raise_limit() -> Option<u64> {
    None
}

/// The least that is kept for everything besides connections: about twenty are
/// open all the time.
const KEPT: u64 = 64;

/// How many of `files` may be connections: the rest is for what they ask for.
pub(crate) fn for_connections(files: u64) -> usize {
    let most = files.saturating_sub(KEPT.max(files.div_ceil(4))).max(1);
    usize::try_from(most).unwrap_or(usize::MAX)
}
