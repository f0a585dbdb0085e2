//! Asking once more whether something may be done, when the client has sent what it
//! is to be done with.
//!
//! A client takes as long as it wants to send a body. Meanwhile it may have been
//! disabled, its token revoked, or the repository deleted and another one created
//! under its name. So what comes in the body becomes content only after another
//! decision; and while it comes, whoever may not push any more is cut off within
//! some minutes.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures::Stream;
use futures::future::BoxFuture;
use registry_auth::{Grant, Refusal};
use registry_core::{ByteStream, Error, ErrorKind, Operation, Result};
use tokio::time::{Interval, MissedTickBehavior, interval_at};

/// How often it is asked while a body comes. That a token was revoked is kept for
/// longer than this after its end.
const WHILE_IT_COMES: Duration = Duration::from_mins(5);

/// What was refused after it had been granted: it becomes the answer.
#[derive(Clone, Default)]
pub(super) struct Withdrawn(Arc<Mutex<Option<Refusal>>>);

impl Withdrawn {
    /// Keeps why, and returns what ends the push meanwhile.
    pub(super) fn withdraw(&self, refusal: Refusal) -> Error {
        let error = refusal.error.kind().error("the push may not go on");
        *self.lock() = Some(refusal);
        error
    }

    /// Why, if something was refused.
    pub(super) fn take(&self) -> Option<Refusal> {
        self.lock().take()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Refusal>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A body whose last bytes come only after it was asked once more. Without them no
/// registry can end what they belong to.
pub(super) struct Confirmed {
    body: ByteStream,
    asks: Arc<Asks>,
    /// What came last.
    held: Option<Bytes>,
    state: State,
    next: Interval,
}

struct Asks {
    grant: Grant,
    operation: Operation,
    withdrawn: Withdrawn,
}

enum State {
    Coming,
    /// It is asked, although there is more to come.
    AskingMeanwhile(BoxFuture<'static, Result<()>>),
    AskingAtTheEnd(BoxFuture<'static, Result<()>>),
    Broken(Error),
    Over,
}

impl Confirmed {
    pub(super) fn new(
        body: ByteStream,
        grant: Grant,
        operation: Operation,
        withdrawn: Withdrawn,
    ) -> Self {
        let now = tokio::time::Instant::now();
        let first = now.checked_add(WHILE_IT_COMES).unwrap_or(now);
        let mut next = interval_at(first, WHILE_IT_COMES);
        next.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let asks = Asks {
            grant,
            operation,
            withdrawn,
        };
        Self {
            body,
            asks: Arc::new(asks),
            held: None,
            state: State::Coming,
            next,
        }
    }

    fn ask(&self) -> BoxFuture<'static, Result<()>> {
        let asks = Arc::clone(&self.asks);
        Box::pin(async move {
            let confirmed = asks.grant.confirm(&asks.operation).await;
            confirmed
                .map(drop)
                .map_err(|refusal| asks.withdrawn.withdraw(refusal))
        })
    }

    /// The same, while a question that can't be answered now has time until the end.
    fn ask_meanwhile(&self) -> BoxFuture<'static, Result<()>> {
        let asks = Arc::clone(&self.asks);
        Box::pin(async move {
            match asks.grant.confirm(&asks.operation).await {
                Err(refusal) if is_final(refusal.error.kind()) => {
                    Err(asks.withdrawn.withdraw(refusal))
                }
                _ => Ok(()),
            }
        })
    }
}

fn is_final(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::Unauthorized | ErrorKind::Denied)
}

impl Stream for Confirmed {
    type Item = Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            match &mut self.state {
                State::Coming => {
                    if self.next.poll_tick(cx).is_ready() {
                        self.state = State::AskingMeanwhile(self.ask_meanwhile());
                        continue;
                    }
                    match ready!(self.body.as_mut().poll_next(cx)) {
                        // In place of what came before it would let out everything.
                        Some(Ok(bytes)) if bytes.is_empty() => {}
                        Some(Ok(bytes)) => {
                            if let Some(before) = self.held.replace(bytes) {
                                return Poll::Ready(Some(Ok(before)));
                            }
                        }
                        // What came before is kept.
                        Some(Err(error)) => {
                            self.state = State::Broken(error);
                            if let Some(held) = self.held.take() {
                                return Poll::Ready(Some(Ok(held)));
                            }
                        }
                        None => self.state = State::AskingAtTheEnd(self.ask()),
                    }
                }
                State::AskingMeanwhile(asked) => match ready!(asked.as_mut().poll(cx)) {
                    Ok(()) => self.state = State::Coming,
                    Err(error) => self.state = State::Broken(error),
                },
                State::AskingAtTheEnd(asked) => match ready!(asked.as_mut().poll(cx)) {
                    Ok(()) => {
                        self.state = State::Over;
                        return Poll::Ready(self.held.take().map(Ok));
                    }
                    Err(error) => self.state = State::Broken(error),
                },
                State::Broken(_) => {
                    let State::Broken(error) = std::mem::replace(&mut self.state, State::Over)
                    else {
                        continue;
                    };
                    return Poll::Ready(Some(Err(error)));
                }
                State::Over => return Poll::Ready(None),
            }
        }
    }
}
