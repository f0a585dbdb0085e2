//! A thread of its own for work that takes long.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};

use registry_core::{Error, ErrorKind, Result};
use tokio::sync::{mpsc, oneshot};

type Work = Box<dyn FnOnce() + Send>;

/// One thread that does one thing after the other, once there is something to
/// do. Clones share it.
///
/// Work that allocates much is better done here than by a pool of threads: many
/// allocators keep some memory for each thread that ever had much.
#[derive(Clone)]
pub(crate) struct Aside {
    name: &'static str,
    thread: Arc<Mutex<Option<mpsc::Sender<Work>>>>,
}

impl Aside {
    /// A thread called `name`.
    pub(crate) fn new(name: &'static str) -> Self {
        Self {
            name,
            thread: Arc::default(),
        }
    }

    /// What `work` comes to, when it is its turn. It isn't done for a caller
    /// that has left by then.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Internal`] if it panics, [`ErrorKind::Unavailable`] if the
    /// thread can't be started.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T> {
        let (answer, outcome) = oneshot::channel();
        let work = Box::new(move || {
            if !answer.is_closed() {
                let _ = answer.send(work());
            }
        });
        // It ends only after the last clone of this.
        let _ = self.thread()?.send(work).await;
        outcome
            .await
            .map_err(|source| Error::internal("the request was interrupted", source))
    }

    fn thread(&self) -> Result<mpsc::Sender<Work>> {
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(thread) = &*thread {
            return Ok(thread.clone());
        }
        // Callers wait outside.
        let (sender, mut waiting) = mpsc::channel::<Work>(1);
        std::thread::Builder::new()
            .name(self.name.to_owned())
            .spawn(move || {
                while let Some(work) = waiting.blocking_recv() {
                    // Its caller is told by the lack of an answer.
                    let _ = catch_unwind(AssertUnwindSafe(work));
                }
            })
            .map_err(|source| {
                ErrorKind::Unavailable
                    .error("the registry is busy; try again shortly")
                    .with_source(source)
            })?;
        Ok(thread.insert(sender).clone())
    }
}

impl fmt::Debug for Aside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Aside")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
