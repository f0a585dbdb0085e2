//! Waiting for batches, for a while only.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use tokio::sync::mpsc;

/// Waits until there is something to receive, and takes at most `limit`.
/// Returns how much, nothing if nobody can send any more, and `None` if
/// `patience` ended first.
pub(super) fn receive_many<T>(
    receiver: &mut mpsc::Receiver<T>,
    taken: &mut Vec<T>,
    limit: usize,
    patience: Option<Duration>,
) -> Option<usize> {
    let Some(patience) = patience else {
        return Some(receiver.blocking_recv_many(taken, limit));
    };
    let bell = Arc::new(Bell::default());
    let waker = Waker::from(Arc::clone(&bell));
    let mut context = Context::from_waker(&waker);
    let mut rang = true;
    loop {
        match receiver.poll_recv_many(&mut context, taken, limit) {
            Poll::Ready(count) => return Some(count),
            Poll::Pending if !rang => return None,
            Poll::Pending => rang = bell.wait(patience),
        }
    }
}

/// What the receiver rings when there is something.
#[derive(Debug, Default)]
struct Bell {
    rang: Mutex<bool>,
    ringing: Condvar,
}

impl Bell {
    /// Returns whether it rang in time.
    fn wait(&self, patience: Duration) -> bool {
        let rang = self.rang.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self
            .ringing
            .wait_timeout_while(rang, patience, |rang| !*rang);
        let (mut rang, _) = waited.unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *rang)
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        *self.rang.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.ringing.notify_one();
    }
}
