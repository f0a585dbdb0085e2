//! What a connection is doing, and until when it may.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::head::Violation;
use crate::Limits;

/// How much longer than nothing at all a client may take for the next part of
/// an answer over HTTP/2, where several answers share a connection.
const STREAM_PATIENCE: u32 = 4;

/// Shared by all that serve one connection.
#[derive(Debug)]
pub(super) struct Activity {
    header_timeout: Duration,
    keep_alive: Duration,
    write_idle: Duration,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// How many requests arrived.
    requests: u64,
    /// How many of them aren't answered completely.
    busy: usize,
    /// Since when there is none, or since when the connection exists.
    idle: Instant,
    /// Since when part of a head is there.
    head: Option<Instant>,
    /// Since when the client takes nothing.
    blocked: Option<Instant>,
    /// Which answers wait for the client to take their last part, since when.
    handed: HashMap<u64, Instant>,
    /// Which request, counted from one, must not be served.
    refused: Option<(u64, Violation)>,
}

/// What is to be done about a connection.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It may go on until then at least.
    Until(Instant),
    /// It has nothing to do.
    Idle,
    /// The client is too slow.
    Stuck,
}

/// A request in progress; over once dropped.
#[derive(Debug)]
pub(super) struct Ticket {
    activity: Arc<Activity>,
    pub(super) number: u64,
}

impl Activity {
    pub(super) fn new(limits: &Limits) -> Arc<Self> {
        Arc::new(Self {
            header_timeout: limits.header_timeout,
            keep_alive: limits.keep_alive,
            write_idle: limits.write_idle,
            state: Mutex::new(State {
                requests: 0,
                busy: 0,
                idle: Instant::now(),
                head: None,
                blocked: None,
                handed: HashMap::new(),
                refused: None,
            }),
        })
    }

    /// A request arrived.
    pub(super) fn begin(self: &Arc<Self>) -> Ticket {
        let mut state = self.lock();
        state.requests = state.requests.saturating_add(1);
        state.busy = state.busy.saturating_add(1);
        Ticket {
            activity: Arc::clone(self),
            number: state.requests,
        }
    }

    /// The `number`th request on the connection must not be served.
    pub(super) fn refuse(&self, number: u64, violation: Violation) {
        self.lock().refused = Some((number, violation));
    }

    /// Part of a head is there, or none.
    pub(super) fn set_in_head(&self, in_head: bool) {
        let mut state = self.lock();
        if in_head {
            // The time before the first request is part of its head's.
            let since = if state.requests == 0 {
                state.idle
            } else {
                Instant::now()
            };
            state.head.get_or_insert(since);
        } else {
            state.head = None;
        }
    }

    /// The client took something.
    pub(super) fn wrote(&self) {
        let mut state = self.lock();
        state.blocked = None;
        if state.requests > 0 {
            state.idle = Instant::now();
        }
    }

    /// The client took nothing.
    pub(super) fn blocked(&self) {
        self.lock().blocked.get_or_insert_with(Instant::now);
    }

    /// Whether the connection may go on, at `now`.
    pub(super) fn verdict(&self, now: Instant) -> Verdict {
        let state = self.lock();
        let after = |since: Instant, patience: Duration| since.checked_add(patience).unwrap_or(now);
        let head = state.head.filter(|_| state.busy == 0);
        let stuck = [
            state.blocked.map(|since| after(since, self.write_idle)),
            head.map(|since| after(since, self.header_timeout)),
            state
                .handed
                .values()
                .min()
                .map(|since| after(*since, self.write_idle.saturating_mul(STREAM_PATIENCE))),
        ];
        let stuck = stuck.into_iter().flatten().min();
        if stuck.is_some_and(|deadline| deadline <= now) {
            return Verdict::Stuck;
        }
        // Nothing that starts from now on can be over before this.
        let soonest = self
            .header_timeout
            .min(self.keep_alive)
            .min(self.write_idle);
        let next = if state.busy == 0 && head.is_none() {
            let patience = if state.requests == 0 {
                self.header_timeout
            } else {
                self.keep_alive
            };
            let deadline = after(state.idle, patience);
            if deadline <= now {
                return Verdict::Idle;
            }
            deadline
        } else {
            after(now, soonest)
        };
        Verdict::Until(
            stuck
                .map_or(next, |deadline| deadline.min(next))
                .min(after(now, soonest)),
        )
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ticket {
    /// Why the request must not be served.
    pub(super) fn refused(&self) -> Option<Violation> {
        let refused = self.activity.lock().refused;
        refused
            .filter(|(number, _)| *number == self.number)
            .map(|(_, violation)| violation)
    }

    /// A part of the answer was handed over.
    pub(super) fn handed(&self) {
        self.activity
            .lock()
            .handed
            .insert(self.number, Instant::now());
    }

    /// The next part of the answer was asked for and isn't there.
    pub(super) fn waiting(&self) {
        self.activity.lock().handed.remove(&self.number);
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut state = self.activity.lock();
        state.busy = state.busy.saturating_sub(1);
        state.handed.remove(&self.number);
        if state.busy == 0 {
            state.idle = Instant::now();
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    fn activity() -> Arc<Activity> {
        Activity::new(&Limits {
            header_timeout: Duration::from_secs(10),
            keep_alive: Duration::from_mins(1),
            write_idle: Duration::from_secs(30),
            ..Limits::default()
        })
    }

    async fn after(activity: &Activity, seconds: u64) -> Verdict {
        advance(Duration::from_secs(seconds)).await;
        activity.verdict(Instant::now())
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_request_has_the_time_of_a_head_in_all() {
        let activity = activity();
        assert!(matches!(after(&activity, 9).await, Verdict::Until(_)));
        activity.set_in_head(true);
        assert_eq!(after(&activity, 1).await, Verdict::Stuck);
        activity.set_in_head(false);
        assert_eq!(after(&activity, 0).await, Verdict::Idle);
    }

    #[tokio::test(start_paused = true)]
    async fn between_requests_a_connection_may_rest_longer() {
        let activity = activity();
        let ticket = activity.begin();
        assert!(matches!(after(&activity, 1000).await, Verdict::Until(_)));
        drop(ticket);
        assert!(matches!(after(&activity, 59).await, Verdict::Until(_)));
        activity.set_in_head(true);
        assert!(matches!(after(&activity, 9).await, Verdict::Until(_)));
        assert_eq!(after(&activity, 1).await, Verdict::Stuck);
        activity.set_in_head(false);
        assert_eq!(after(&activity, 0).await, Verdict::Idle);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_nothing_is_stuck() {
        let activity = activity();
        let ticket = activity.begin();
        activity.blocked();
        assert!(matches!(after(&activity, 29).await, Verdict::Until(_)));
        activity.wrote();
        activity.blocked();
        assert!(matches!(after(&activity, 29).await, Verdict::Until(_)));
        assert_eq!(after(&activity, 1).await, Verdict::Stuck);
        activity.wrote();
        ticket.handed();
        assert!(matches!(after(&activity, 119).await, Verdict::Until(_)));
        assert_eq!(after(&activity, 1).await, Verdict::Stuck);
        ticket.waiting();
        assert!(matches!(after(&activity, 1000).await, Verdict::Until(_)));
    }
}
