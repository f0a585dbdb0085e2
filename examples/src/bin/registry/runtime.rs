//! The runtime of the commands that don't serve.

use tokio::runtime::{Builder, Runtime};

use crate::problem::Failure;

/// Runs on the thread of the command.
pub(crate) fn current_thread() -> Result<Runtime, Failure> {
    let runtime = Builder::new_current_thread().enable_time().build();
    runtime.map_err(|error| Failure::new("the runtime can't be started", &error))
}
