//! What a connection is doing, and until when it may.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::head::Violation;
use crate::Limits;
use crate::patience::Patience;

/// How much more patience there is with a client over HTTP/2, where several
/// answers share a connection and their clients may take them in turn.
const STREAM_PATIENCE: u32 = 4;

/// Shared by all that serve one connection.
#[derive(Debug)]
pub(super) struct Activity {
    header_timeout: Duration,
    keep_alive: Duration,
    write_idle: Duration,
    /// With a client at the beginning of an answer over HTTP/2.
    stream_patience: Patience,
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
    /// How much longer it may.
    patience: Patience,
    /// Which answers wait for the client to take their last part, until when.
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
    patience: Patience,
    /// How much of the answer was handed over last, and when.
    handed: Option<(Instant, u64)>,
}

impl Activity {
    pub(super) fn new(limits: &Limits) -> Arc<Self> {
        Arc::new(Self {
            header_timeout: limits.header_timeout,
            keep_alive: limits.keep_alive,
            write_idle: limits.write_idle,
            stream_patience: Patience::new(
                limits.write_idle.saturating_mul(STREAM_PATIENCE),
                limits.write_grace.saturating_mul(STREAM_PATIENCE),
                limits.write_min_rate,
            ),
            state: Mutex::new(State {
                requests: 0,
                busy: 0,
                idle: Instant::now(),
                head: None,
                blocked: None,
                patience: Patience::new(
                    limits.write_idle,
                    limits.write_grace,
                    limits.write_min_rate,
                ),
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
            patience: self.stream_patience.clone(),
            handed: None,
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

    /// The client took `bytes`, or all there was.
    pub(super) fn wrote(&self, bytes: usize) {
        let mut state = self.lock();
        let blocked = state.blocked.take();
        let waited = blocked.map_or(Duration::ZERO, |since| since.elapsed());
        state.patience.settle(waited, bytes as u64);
        // An answer may still be on its way when its request is over. What
        // goes out without waiting, such as the echo of a ping, is no work.
        if state.requests > 0 && blocked.is_some() {
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
            state
                .blocked
                .map(|since| after(since, state.patience.left())),
            head.map(|since| after(since, self.header_timeout)),
            state.handed.values().min().copied(),
        ];
        let stuck = stuck.into_iter().flatten().min();
        if stuck.is_some_and(|deadline| deadline <= now) {
            return Verdict::Stuck;
        }
        // Nothing that starts from now on can be over long before this.
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

    /// The next part of the answer is asked for: the one before was taken.
    pub(super) fn taken(&mut self) {
        if let Some((since, bytes)) = self.handed.take() {
            self.patience.settle(since.elapsed(), bytes);
            self.activity.lock().handed.remove(&self.number);
        }
    }

    /// A part of the answer was handed over.
    pub(super) fn handed(&mut self, bytes: usize) {
        let (now, bytes) = (Instant::now(), bytes as u64);
        self.handed = Some((now, bytes));
        if let Some(until) = now.checked_add(self.patience.left_for(bytes)) {
            self.activity.lock().handed.insert(self.number, until);
        }
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
#[allow(clippy::arithmetic_side_effects, reason = "a test fails by panicking")]
mod tests {
    use tokio::time::advance;

    use super::*;

    fn activity() -> Arc<Activity> {
        Activity::new(&Limits {
            header_timeout: Duration::from_secs(10),
            keep_alive: Duration::from_mins(1),
            write_idle: Duration::from_secs(30),
            write_grace: Duration::from_secs(20),
            write_min_rate: 1000,
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
        let mut ticket = activity.begin();
        activity.blocked();
        assert!(matches!(after(&activity, 19).await, Verdict::Until(_)));
        activity.wrote(100_000);
        activity.blocked();
        assert!(matches!(after(&activity, 29).await, Verdict::Until(_)));
        assert_eq!(after(&activity, 1).await, Verdict::Stuck);
        activity.wrote(1);
        ticket.handed(1);
        assert!(matches!(after(&activity, 79).await, Verdict::Until(_)));
        assert_eq!(after(&activity, 1).await, Verdict::Stuck);
        ticket.taken();
        assert!(matches!(after(&activity, 1000).await, Verdict::Until(_)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_little_is_stuck_after_a_while() {
        for (bytes, rounds) in [(1000, 1000), (500, 3)] {
            let activity = activity();
            let _ticket = activity.begin();
            for _ in 0..rounds {
                activity.blocked();
                assert!(matches!(after(&activity, 9).await, Verdict::Until(_)));
                activity.wrote(bytes * 10);
            }
            activity.blocked();
            let verdict = after(&activity, 9).await;
            assert_eq!(verdict == Verdict::Stuck, bytes == 500, "{bytes}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_among_others_must_be_taken_too() {
        let activity = activity();
        let (mut one, mut other) = (activity.begin(), activity.begin());
        other.handed(200_000);
        for _ in 0..10 {
            one.taken();
            one.handed(100_000);
            assert!(matches!(after(&activity, 19).await, Verdict::Until(_)));
        }
        assert_eq!(after(&activity, 10).await, Verdict::Stuck);
        other.taken();
        assert!(matches!(after(&activity, 0).await, Verdict::Until(_)));
    }

    #[tokio::test(start_paused = true)]
    async fn what_goes_out_without_waiting_is_no_work() {
        let activity = activity();
        drop(activity.begin());
        for _ in 0..5 {
            assert!(matches!(after(&activity, 10).await, Verdict::Until(_)));
            activity.wrote(17);
        }
        assert_eq!(after(&activity, 10).await, Verdict::Idle);
        activity.blocked();
        activity.wrote(17);
        assert!(matches!(after(&activity, 59).await, Verdict::Until(_)));
    }
}
