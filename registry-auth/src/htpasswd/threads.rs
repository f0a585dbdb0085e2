//! The threads that passwords are checked on.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use registry_core::{ErrorKind, Result};

/// How much less than other threads these count for the system, in its own
/// measure. Where all processors are busy they get about a tenth of one: enough
/// for those who log in, and too little to keep the rest waiting.
#[cfg(target_os = "linux")]
const NICE: i32 = 10;

type Work = Box<dyn FnOnce() + Send>;

/// Threads that wait for work, and yield to everything else.
///
/// Whoever guesses passwords keeps them busy, and that must not keep others
/// waiting. It takes threads of their own: one can lower its priority, but not
/// raise it again.
#[derive(Default)]
pub(super) struct Threads {
    /// They end once nothing can be sent to them any more.
    waiting: Mutex<Vec<Sender<Work>>>,
}

/// One of them, which waits for other work after this is dropped.
pub(super) struct Thread {
    work: Sender<Work>,
    threads: Arc<Threads>,
}

impl Threads {
    /// One that waits; if there is none, it is started.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unavailable`] if it can't be started.
    pub(super) fn take(self: &Arc<Self>) -> Result<Thread> {
        let waiting = self.lock().pop();
        Ok(Thread {
            work: waiting.map_or_else(start, Ok)?,
            threads: Arc::clone(self),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Sender<Work>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Thread {
    /// Has it do `work`, which is to drop it.
    pub(super) fn run(self, work: impl FnOnce(Self) + Send + 'static) {
        let thread = self.work.clone();
        // It ends only after the last sender.
        let _ = thread.send(Box::new(move || work(self)));
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        self.threads.lock().push(self.work.clone());
    }
}

fn start() -> Result<Sender<Work>> {
    let (sender, works) = channel::<Work>();
    thread::Builder::new()
        .name("passwords".to_owned())
        .spawn(move || {
            yield_to_others();
            for work in works {
                // Whoever waits is told by the lack of an answer.
                let _ = catch_unwind(AssertUnwindSafe(work));
            }
        })
        .map_err(|source| {
            ErrorKind::Unavailable
                .error("the registry is busy; try again shortly")
                .with_source(source)
        })?;
    Ok(sender)
}

/// Lowers the priority of this thread, where that isn't the one of the whole
/// process.
fn yield_to_others() {
    #[cfg(target_os = "linux")]
    {
        let this = rustix::thread::gettid();
        if let Err(error) = rustix::process::setpriority_process(Some(this), NICE) {
            tracing::debug!(%error, "the threads that check passwords yield to nobody");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::sync::mpsc::RecvTimeoutError;
    use std::time::Duration;

    use super::*;

    /// What `work` comes to on one of the threads; nothing if it panics.
    fn done<T: Send + 'static>(
        threads: &Arc<Threads>,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let (answer, outcome) = channel();
        threads.take().unwrap().run(move |thread| {
            let outcome = work();
            drop(thread);
            answer.send(outcome).unwrap();
        });
        outcome.recv().ok()
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn they_yield_to_all_others_and_only_they_do() {
        let nice = || rustix::process::getpriority_process(Some(rustix::thread::gettid())).unwrap();
        let before = nice();
        assert_eq!(done(&Arc::default(), nice), Some(NICE));
        assert_eq!(nice(), before);
    }

    #[test]
    fn one_does_one_thing_after_the_other() {
        let threads = Arc::default();
        let first = done(&threads, || thread::current().id()).unwrap();
        for _ in 0..100 {
            assert_eq!(done(&threads, || thread::current().id()), Some(first));
        }
        // While it is busy, another one is started.
        let busy = threads.take().unwrap();
        assert_ne!(done(&threads, || thread::current().id()), Some(first));
        drop(busy);
        assert_eq!(threads.lock().len(), 2);
    }

    #[test]
    fn one_goes_on_after_a_panic() {
        let threads = Arc::default();
        assert_eq!(done(&threads, || panic!("on purpose")), None::<()>);
        assert_eq!(done(&threads, || 7), Some(7));
    }

    std::thread_local! {
        static KEPT: RefCell<Option<Sender<()>>> = const { RefCell::new(None) };
    }

    #[test]
    fn they_end_when_nobody_can_use_them() {
        let threads = Arc::default();
        let (kept, ended) = channel();
        done(&threads, || KEPT.set(Some(kept))).unwrap();
        drop(threads);
        let ended = ended.recv_timeout(Duration::from_mins(1));
        assert_eq!(ended, Err(RecvTimeoutError::Disconnected));
    }
}
