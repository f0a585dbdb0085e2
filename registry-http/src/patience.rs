//! How long to wait for a client that is to send something, or to take it.

use std::time::Duration;

/// The time that a client has left. Being waited for uses it up, and each byte
/// that it sends or takes earns some, but never more than a pause may last:
/// who was fast for an hour can't be slow for the next one.
#[derive(Debug, Clone)]
pub(crate) struct Patience {
    idle: Duration,
    most: Duration,
    min_rate: u64,
    left: Duration,
}

impl Patience {
    /// For a client that may pause for `idle`, and be slower than `min_rate`
    /// bytes a second for `grace`.
    pub(crate) fn new(idle: Duration, grace: Duration, min_rate: u64) -> Self {
        Self {
            idle,
            most: grace.max(idle),
            min_rate,
            left: grace,
        }
    }

    /// How long the client may be waited for now, to send or take anything.
    pub(crate) fn left(&self) -> Duration {
        if self.min_rate == 0 {
            self.idle
        } else {
            self.left.min(self.idle)
        }
    }

    /// How long it may be waited for to take `bytes` of which is seen only
    /// that they are gone in the end.
    pub(crate) fn left_for(&self, bytes: u64) -> Duration {
        self.left().max(self.worth(bytes))
    }

    /// The client was waited for during `waited` for `bytes`.
    pub(crate) fn settle(&mut self, waited: Duration, bytes: u64) {
        let earned = self.left.saturating_add(self.worth(bytes));
        self.left = earned.saturating_sub(waited).min(self.most);
    }

    /// The longest time in which `bytes` may move.
    fn worth(&self, bytes: u64) -> Duration {
        let nanos = u128::from(bytes)
            .saturating_mul(1_000_000_000)
            .checked_div(u128::from(self.min_rate));
        nanos.map_or(Duration::ZERO, |nanos| {
            Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    fn patience() -> Patience {
        Patience::new(seconds(60), seconds(30), 1000)
    }

    #[test]
    fn a_client_at_the_slowest_rate_goes_on_for_ever() {
        let mut patience = patience();
        for _ in 0..1000 {
            assert!(patience.left() > seconds(20));
            patience.settle(seconds(20), 20_000);
        }
        let mut rounds = 0;
        while patience.left() > seconds(20) {
            patience.settle(seconds(20), 10_000);
            rounds += 1;
        }
        assert!(rounds < 3);
    }

    #[test]
    fn a_fast_start_buys_no_more_than_one_pause() {
        let mut patience = patience();
        patience.settle(seconds(1), 1 << 40);
        assert_eq!(patience.left(), seconds(60));
        patience.settle(seconds(59), 1);
        assert!(patience.left() < seconds(2));
    }

    #[test]
    fn what_is_handed_over_at_once_may_take_as_long_as_its_size_allows() {
        let mut patience = patience();
        assert_eq!(patience.left_for(1000), seconds(30));
        assert_eq!(patience.left_for(90_000), seconds(90));
        patience.settle(seconds(90), 90_000);
        assert_eq!(patience.left(), seconds(30));
    }

    #[test]
    fn without_a_slowest_rate_only_pauses_count() {
        let mut patience = Patience::new(seconds(60), seconds(30), 0);
        for _ in 0..10 {
            assert_eq!(patience.left(), seconds(60));
            assert_eq!(patience.left_for(1 << 40), seconds(60));
            patience.settle(seconds(59), 1);
        }
    }
}
